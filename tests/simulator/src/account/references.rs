//! Owns what names images outside of EC2, in the account file: parameters and recipes.

use serde::{Deserialize, Serialize};

/// One version of a parameter of Systems Manager. Of several with the same name the highest version is
/// the latest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SsmParameter {
    /// Region it is in.
    pub region: String,
    /// Name, e.g. `/golden/latest`.
    pub name: String,
    /// `ami-…`.
    pub value: String,
    /// Number of the version.
    #[serde(default = "first")]
    pub version: u64,
}

/// An image recipe or a container recipe of Image Builder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Recipe {
    /// Region it is in.
    pub region: String,
    /// ARN.
    pub arn: String,
    /// Image that it builds on.
    pub image_id: String,
}

fn first() -> u64 {
    1
}
