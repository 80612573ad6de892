//! Owns what keeps snapshots and images, in the account file: locks, tiers, Recycle Bin rules.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// How a lock can be taken off.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum LockMode {
    /// By who has the right to.
    Governance,
    /// By nobody, once the cooling-off period is over.
    Compliance,
}

/// A lock on a snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SnapshotLock {
    /// Mode.
    pub mode: LockMode,
    /// When it was put on; absent: a day before the world started.
    #[serde(default)]
    pub created_at: Option<Timestamp>,
    /// Days that it lasts; absent: 365, or what `expiresAt` says.
    #[serde(default)]
    pub duration_days: Option<u32>,
    /// When it ends.
    #[serde(default)]
    pub expires_at: Option<Timestamp>,
    /// Hours in which a compliance lock can still be taken off.
    #[serde(default)]
    pub cool_off_hours: Option<u32>,
}

/// Where the blocks of a snapshot are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum StorageTier {
    /// At hand.
    #[default]
    Standard,
    /// In the archive.
    Archive,
}

impl StorageTier {
    /// As EC2 writes it.
    pub fn text(self) -> &'static str {
        match self {
            Self::Standard => "standard",
            Self::Archive => "archive",
        }
    }
}

/// What a rule of the Recycle Bin keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum BinnedType {
    /// Snapshots.
    #[serde(rename = "EBS_SNAPSHOT")]
    EbsSnapshot,
    /// Images.
    #[serde(rename = "EC2_IMAGE")]
    Ec2Image,
}

impl BinnedType {
    /// As the Recycle Bin writes it.
    pub fn text(self) -> &'static str {
        match self {
            Self::EbsSnapshot => "EBS_SNAPSHOT",
            Self::Ec2Image => "EC2_IMAGE",
        }
    }
}

/// A retention rule of the Recycle Bin.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RecycleBinRule {
    /// Region it holds in.
    pub region: String,
    /// Eleven letters and digits; absent: made up.
    #[serde(default)]
    pub id: Option<String>,
    /// What it keeps.
    pub resource_type: BinnedType,
    /// For how many days.
    pub retention_days: u32,
    /// Description.
    #[serde(default)]
    pub description: String,
    /// It keeps what has one of these tags (`null`: with any value); absent: everything.
    #[serde(default)]
    pub resource_tags: BTreeMap<String, Option<String>>,
    /// It does not keep what has one of these tags.
    #[serde(default)]
    pub exclude_resource_tags: BTreeMap<String, Option<String>>,
}
