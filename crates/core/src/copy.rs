//! Owns copying an image to another Region: what identifies the copy.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::{
    id::{ImageId, Region},
    item::{Awaited, RunContext},
    naming::{Identity, Purpose},
    policy::CarryOver,
};

/// What is copied where: the subject of the wait for a copy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CopySubject {
    /// The run; its Region is where the source is.
    pub run: RunContext,
    /// The source.
    pub image_id: ImageId,
    /// Sum of its volumes in GiB.
    pub size_gib: u64,
    /// Where the copy goes.
    pub region: Region,
    /// Key of that Region with which it is encrypted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kms_key_id: Option<String>,
    /// What is put back on it.
    #[serde(default)]
    pub carry_over: BTreeSet<CarryOver>,
    /// Minutes that the wait may last, in place of the budget by size.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline_minutes: Option<u32>,
    /// The copy, once there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub awaited: Option<Awaited>,
    /// Whether the copy was there before this step looked.
    #[serde(default)]
    pub adopted: bool,
    /// What could not be carried over, for people.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

impl CopySubject {
    /// What tells this copy from others.
    pub fn identity(&self) -> Identity<'_> {
        Identity {
            purpose: Purpose::Copy,
            run: &self.run.run,
            source: self.image_id.as_str(),
            region: &self.region,
            parameters: self.kms_key_id.as_deref().unwrap_or_default(),
        }
    }
}
