//! Owns what EC2 knows of an instance, as far as imaging it goes.

use crate::{id::InstanceId, tags::Tags};

/// What DescribeInstances says of an instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InstanceFacts {
    /// The instance.
    pub instance_id: InstanceId,
    /// `running`, `stopped`, `terminated`, ….
    pub state: String,
    /// `ebs` or `instance-store`.
    pub root_device_type: String,
    /// Its tags.
    pub tags: Tags,
}

impl InstanceFacts {
    /// Why no image can be made of it, or `None` if one can.
    pub fn cannot_be_imaged(&self) -> Option<String> {
        if self.root_device_type != "ebs" {
            return Some(format!(
                "its root device is `{}`, and only EBS-backed instances can be imaged",
                self.root_device_type
            ));
        }
        match self.state.as_str() {
            "running" | "stopped" | "stopping" => None,
            state => Some(format!("it is `{state}`")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instance_is_imaged_if_it_is_ebs_backed_and_runs_or_is_stopped() {
        for (root_device_type, state, refused_for) in [
            ("ebs", "running", None),
            ("ebs", "stopping", None),
            ("ebs", "stopped", None),
            ("ebs", "pending", Some("`pending`")),
            ("ebs", "terminated", Some("`terminated`")),
            ("instance-store", "running", Some("`instance-store`")),
        ] {
            let instance = InstanceFacts {
                instance_id: "i-12345678".parse().unwrap_or_else(|_| unreachable!()),
                state: state.into(),
                root_device_type: root_device_type.into(),
                tags: Tags::new(),
            };
            let reason = instance.cannot_be_imaged();
            assert_eq!(reason.is_some(), refused_for.is_some(), "{root_device_type} {state}");
            assert!(reason.unwrap_or_default().contains(refused_for.unwrap_or_default()), "{root_device_type} {state}");
        }
    }
}
