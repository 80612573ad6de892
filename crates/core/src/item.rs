//! Owns what one child execution is given: a run, a policy, and one source.

use jiff::Timestamp;
use serde::{
    Deserialize, Deserializer, Serialize,
    de::{self, IntoDeserializer},
};

use crate::{
    id::{ImageId, InstanceId, Region},
    naming::{BY_POLICY, NEVER},
    policy::{BackupPolicy, label, path_in_bucket},
};

/// The run that a step works for. It goes through every envelope.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RunContext {
    /// Identity of the run; starting the same run again goes on where it stopped.
    #[serde(deserialize_with = "label")]
    pub run: String,
    /// When this start of the run began. A store task that failed before does not count as failed.
    pub started_at: Timestamp,
    /// Name of the policy.
    #[serde(deserialize_with = "label")]
    pub policy: String,
    /// When what the run makes may go.
    #[serde(default)]
    pub expires: Expires,
    /// The instance or image that the run was asked to back up: generations of it are one family, however they were made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<String>,
    /// Home Region: where the sources and the bucket are.
    pub region: Region,
    /// Prefix in the bucket for what this start writes, with its end slash.
    #[serde(deserialize_with = "attempt")]
    pub attempt: String,
}

/// Reads the prefix of a start: nothing is written elsewhere on the word of a document.
fn attempt<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let text = path_in_bucket(deserializer)?;
    if text.starts_with("runs/") { Ok(text) } else { Err(de::Error::custom("must lie below `runs/`")) }
}

/// When something may go, as it is written on it from its first moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum Expires {
    /// When the retention of a clean-up no longer keeps it.
    #[default]
    ByPolicy,
    /// Never: a person asked for it, as for a restored image.
    Never,
    /// At this time.
    At(Timestamp),
}

impl std::fmt::Display for Expires {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::ByPolicy => f.write_str(BY_POLICY),
            Self::Never => f.write_str(NEVER),
            Self::At(at) => at.fmt(f),
        }
    }
}

impl From<Expires> for String {
    fn from(expires: Expires) -> Self {
        expires.to_string()
    }
}

impl Expires {
    /// Reads what a run wrote down; before there was `never`, a run without a time wrote `null`.
    pub(crate) fn or_null<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text: Option<String> = Option::deserialize(deserializer)?;
        text.map_or(Ok(Self::ByPolicy), |text| Self::deserialize(text.into_deserializer()))
    }
}

impl TryFrom<String> for Expires {
    type Error = jiff::Error;

    fn try_from(text: String) -> Result<Self, jiff::Error> {
        match text.as_str() {
            BY_POLICY => Ok(Self::ByPolicy),
            NEVER => Ok(Self::Never),
            _ => text.parse().map(Self::At),
        }
    }
}

/// What is backed up: an instance (an image is made of it first) or an image. Exactly one is set.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", try_from = "Ids")]
pub struct Source {
    /// The instance.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub instance_id: Option<InstanceId>,
    /// The image.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image_id: Option<ImageId>,
}

/// A source as it is read.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Ids {
    #[serde(default)]
    instance_id: Option<InstanceId>,
    #[serde(default)]
    image_id: Option<ImageId>,
}

impl TryFrom<Ids> for Source {
    type Error = &'static str;

    fn try_from(Ids { instance_id, image_id }: Ids) -> Result<Self, Self::Error> {
        if instance_id.is_some() == image_id.is_some() {
            return Err("must have either `instanceId` or `imageId`");
        }
        Ok(Self { instance_id, image_id })
    }
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
        expires: Expires::ByPolicy,
        origin: None,
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
    fn an_expiry_is_written_as_it_is_read() {
        for (text, expires) in [
            ("by-policy", Expires::ByPolicy),
            ("never", Expires::Never),
            ("2026-11-30T02:00:00Z", Expires::At(Timestamp::constant(1_796_004_000, 0))),
        ] {
            assert_eq!((expires.to_string().as_str(), Expires::try_from(text.to_owned()).ok()), (text, Some(expires)));
        }
        assert!(Expires::try_from("soon".to_owned()).is_err());
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
