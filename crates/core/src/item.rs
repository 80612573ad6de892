//! Owns what one child execution is given: a run, a policy, and one source.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{
    id::{ImageId, InstanceId, Region},
    policy::BackupPolicy,
};

/// The run that a step works for. It goes through every envelope.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RunContext {
    /// Identity of the run; starting the same run again goes on where it stopped.
    pub run: String,
    /// When this start of the run began. A store task that failed before does not count as failed.
    pub started_at: Timestamp,
    /// Name of the policy.
    pub policy: String,
    /// When what the run makes may go; `None` is never.
    #[serde(default)]
    pub expires: Option<Timestamp>,
    /// Home Region: where the sources and the bucket are.
    pub region: Region,
    /// Prefix in the bucket for what this start writes, with its end slash.
    pub attempt: String,
}

/// What is backed up: an instance (an image is made of it first) or an image. Exactly one is set.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Source {
    /// The instance.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance_id: Option<InstanceId>,
    /// The image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image_id: Option<ImageId>,
}

impl Source {
    /// The id, whichever it is.
    pub fn as_str(&self) -> &str {
        match (&self.instance_id, &self.image_id) {
            (Some(id), _) => id.as_str(),
            (None, Some(id)) => id.as_str(),
            (None, None) => "(no source)",
        }
    }
}

/// An image that is waited for. `check-image` needs nothing else.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Awaited {
    /// The image.
    pub image_id: ImageId,
    /// The Region it is in.
    pub region: Region,
}

/// The work of one child execution; also the subject of the wait for a created image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Item {
    /// Number of the item in its run, from 0.
    pub item: u32,
    /// The run.
    pub run: RunContext,
    /// What to do.
    pub policy: BackupPolicy,
    /// What to do it to.
    pub source: Source,
    /// The image that was made of an instance, once there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub awaited: Option<Awaited>,
}

impl Item {
    /// The image that the legs work on: the source, or what was made of it.
    pub fn image_id(&self) -> Option<&ImageId> {
        self.source.image_id.as_ref().or(self.awaited.as_ref().map(|awaited| &awaited.image_id))
    }
}

#[cfg(test)]
pub(crate) fn test_run() -> RunContext {
    RunContext {
        run: "r".into(),
        started_at: Timestamp::UNIX_EPOCH,
        policy: "p".into(),
        expires: None,
        region: "us-east-1".parse().unwrap_or_else(|_| unreachable!()),
        attempt: "runs/x/0/".into(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::error::StepError;

    fn item(source: serde_json::Value, awaited: serde_json::Value) -> Result<Item, StepError> {
        crate::input::parse(json!({
            "item": 0,
            "run": test_run(),
            "policy": {"name": "p", "store": null, "copies": [], "export": null, "reboot": false, "imageName": "backup",
                "keepDays": null, "carryOver": [], "deadlineMinutes": null},
            "source": source,
            "awaited": awaited,
        }))
    }

    #[test]
    fn the_legs_work_on_the_image_that_was_given_or_made() -> Result<(), StepError> {
        let made = json!({"imageId": "ami-87654321", "region": "us-east-1"});
        for (source, awaited, named, image) in [
            (json!({"imageId": "ami-12345678"}), json!(null), "ami-12345678", Some("ami-12345678")),
            (json!({"instanceId": "i-12345678"}), json!(null), "i-12345678", None),
            (json!({"instanceId": "i-12345678"}), made, "i-12345678", Some("ami-87654321")),
        ] {
            let item = item(source, awaited)?;
            assert_eq!((item.source.as_str(), item.image_id().map(ImageId::as_str)), (named, image));
        }
        Ok(())
    }
}
