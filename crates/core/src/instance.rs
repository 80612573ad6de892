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
