//! Owns launch templates in the account file.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// A launch template with its versions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LaunchTemplate {
    /// Region it is in.
    pub region: String,
    /// `lt-…`.
    pub id: String,
    /// Name.
    pub name: String,
    /// Number of the default version; absent: the lowest there is.
    #[serde(default)]
    pub default_version: Option<u64>,
    /// Tags.
    #[serde(default)]
    pub tags: BTreeMap<String, String>,
    /// Versions.
    pub versions: Vec<LaunchTemplateVersion>,
}

/// A version of a launch template.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LaunchTemplateVersion {
    /// Number.
    pub number: u64,
    /// `ami-…`, or `resolve:ssm:<name>` with or without `:<version>`; absent: none.
    #[serde(default)]
    pub image_id: Option<String>,
    /// Snapshots that its block device mappings name.
    #[serde(default)]
    pub snapshot_ids: Vec<String>,
    /// When it was made; absent: a day before the world started.
    #[serde(default)]
    pub create_time: Option<Timestamp>,
}
