//! Owns what a launch template is.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::Tags;

/// A launch template with its versions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LaunchTemplate {
    /// `lt-…`.
    pub id: String,
    /// Account that owns it.
    pub account: String,
    /// Region it is in.
    pub region: String,
    /// Name.
    pub name: String,
    /// When it was made.
    pub created: Timestamp,
    /// Number of the default version.
    pub default_version: u64,
    /// Versions, by number.
    pub versions: BTreeMap<u64, TemplateVersion>,
    /// Tags.
    pub tags: Tags,
    /// Nobody sees it before.
    pub visible_at: Timestamp,
}

/// A version of a launch template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TemplateVersion {
    /// Image, or the alias of one; `None`: whoever launches says it.
    pub image_id: Option<String>,
    /// Type of the instances.
    pub instance_type: Option<String>,
    /// Devices that are made from a snapshot: device name and snapshot.
    pub devices: Vec<(String, String)>,
    /// Description.
    pub description: String,
    /// When it was made.
    pub created: Timestamp,
    /// Nobody sees it before.
    pub visible_at: Timestamp,
}

impl LaunchTemplate {
    /// Number of the latest version.
    pub fn latest(&self) -> u64 {
        self.versions.keys().next_back().copied().unwrap_or_default()
    }

    /// Number of the version that `text` means at `now`: a number, `$Latest` or `$Default`.
    pub fn number(&self, text: &str, now: Timestamp) -> Option<u64> {
        match text {
            "$Latest" => self.newest(1, now).next().map(|(number, _)| number),
            "$Default" => Some(self.default_version),
            number => number.parse().ok().filter(|number| self.seen(*number, now).is_some()),
        }
    }

    /// The version with this number, if it can be seen at `now`.
    pub fn seen(&self, number: u64, now: Timestamp) -> Option<&TemplateVersion> {
        self.versions.get(&number).filter(|version| version.visible_at <= now)
    }

    /// The newest versions that can be seen, with their numbers.
    pub fn newest(&self, depth: usize, now: Timestamp) -> impl Iterator<Item = (u64, &TemplateVersion)> {
        let seen = self.versions.iter().rev().filter(move |(_, version)| version.visible_at <= now);
        seen.take(depth).map(|(number, version)| (*number, version))
    }
}
