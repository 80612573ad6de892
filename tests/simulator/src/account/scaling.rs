//! Owns what launches instances by itself, in the account file: Auto Scaling groups and fleets.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::small_instance;

/// A launch template as something names it: by its id or its name.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct TemplateSpecification {
    /// `lt-…`.
    pub launch_template_id: Option<String>,
    /// Name.
    pub launch_template_name: Option<String>,
    /// A number, `$Latest` or `$Default`; absent: the default version.
    pub version: Option<String>,
}

/// A launch template and what is changed about it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TemplateWithOverrides {
    /// The launch template.
    pub launch_template: TemplateSpecification,
    /// What is changed.
    #[serde(default)]
    pub overrides: Vec<TemplateOverride>,
}

/// What is changed about a launch template.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct TemplateOverride {
    /// Type of the instance.
    pub instance_type: Option<String>,
    /// Another launch template (Auto Scaling groups only).
    pub launch_template: Option<TemplateSpecification>,
    /// Another image (not in Spot Fleets).
    pub image_id: Option<String>,
}

/// An Auto Scaling group. It launches nothing: a test does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AutoScalingGroup {
    /// Region it is in.
    pub region: String,
    /// Name.
    pub name: String,
    /// Its launch configuration.
    #[serde(default)]
    pub launch_configuration_name: Option<String>,
    /// Its launch template.
    #[serde(default)]
    pub launch_template: Option<TemplateSpecification>,
    /// Its launch template with others beside it.
    #[serde(default)]
    pub mixed_instances_policy: Option<TemplateWithOverrides>,
    /// How many instances it is to have.
    #[serde(default)]
    pub desired_capacity: u32,
    /// Tags.
    #[serde(default)]
    pub tags: BTreeMap<String, String>,
}

/// A launch configuration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LaunchConfiguration {
    /// Region it is in.
    pub region: String,
    /// Name.
    pub name: String,
    /// `ami-…`.
    pub image_id: String,
    /// Type of the instances.
    #[serde(default = "small_instance")]
    pub instance_type: String,
    /// Snapshots that its block device mappings name.
    #[serde(default)]
    pub snapshot_ids: Vec<String>,
}

/// An EC2 Fleet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Fleet {
    /// Region it is in.
    pub region: String,
    /// `fleet-…`.
    pub id: String,
    /// E.g. `active` or `deleted`.
    #[serde(default = "active")]
    pub state: String,
    /// `maintain`, `request` or `instant`.
    #[serde(rename = "type", default = "maintain")]
    pub kind: String,
    /// What it launches.
    #[serde(default)]
    pub launch_template_configs: Vec<TemplateWithOverrides>,
    /// Tags.
    #[serde(default)]
    pub tags: BTreeMap<String, String>,
}

/// A Spot Fleet request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SpotFleet {
    /// Region it is in.
    pub region: String,
    /// `sfr-…`.
    pub id: String,
    /// E.g. `active` or `cancelled`.
    #[serde(default = "active")]
    pub state: String,
    /// What it launches without a launch template.
    #[serde(default)]
    pub launch_specifications: Vec<SpotLaunch>,
    /// What it launches with launch templates.
    #[serde(default)]
    pub launch_template_configs: Vec<TemplateWithOverrides>,
}

/// A launch specification of a Spot Fleet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SpotLaunch {
    /// `ami-…`.
    pub image_id: String,
    /// Type of the instances.
    #[serde(default = "small_instance")]
    pub instance_type: String,
    /// Snapshots that its block device mappings name.
    #[serde(default)]
    pub snapshot_ids: Vec<String>,
}

fn active() -> String {
    "active".into()
}

fn maintain() -> String {
    "maintain".into()
}
