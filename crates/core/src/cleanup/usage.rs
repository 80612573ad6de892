//! Owns who uses an image or a snapshot, by what a listing of an account says.

use std::{collections::BTreeMap, fmt};

use serde::{Deserialize, Serialize};

use crate::{
    id::{ImageId, SnapshotId},
    text::shown,
};

/// What uses it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum User {
    /// An instance that is not terminated.
    Instance,
    /// A version of a launch template.
    LaunchTemplate,
    /// A launch configuration of Auto Scaling.
    LaunchConfiguration,
    /// An Auto Scaling group that names the image itself.
    AutoScalingGroup,
    /// An EC2 Fleet that names the image itself.
    Fleet,
    /// A Spot Fleet request.
    SpotFleet,
    /// An SSM parameter.
    Parameter,
    /// A recipe of Image Builder.
    ImageRecipe,
    /// A container recipe of Image Builder.
    ContainerRecipe,
    /// Another account.
    Account,
    /// A store, an export or another task that reads it at the moment.
    Task,
    /// Something that was not known when this was written.
    Other,
}

impl User {
    /// Every user there is.
    pub const ALL: &'static [Self] = &[
        Self::Instance,
        Self::LaunchTemplate,
        Self::LaunchConfiguration,
        Self::AutoScalingGroup,
        Self::Fleet,
        Self::SpotFleet,
        Self::Parameter,
        Self::ImageRecipe,
        Self::ContainerRecipe,
        Self::Account,
        Self::Task,
        Self::Other,
    ];

    /// As a person says it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Instance => "instance",
            Self::LaunchTemplate => "launch template",
            Self::LaunchConfiguration => "launch configuration",
            Self::AutoScalingGroup => "Auto Scaling group",
            Self::Fleet => "fleet",
            Self::SpotFleet => "Spot Fleet",
            Self::Parameter => "SSM parameter",
            Self::ImageRecipe => "image recipe",
            Self::ContainerRecipe => "container recipe",
            Self::Account => "account",
            Self::Task => "task",
            Self::Other => "resource",
        }
    }
}

/// One use.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Use {
    /// What uses it.
    pub by: User,
    /// Its id, name or ARN, with whatever else tells it: `lt-… version 3`.
    pub id: String,
}

impl fmt::Display for Use {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.by.as_str(), shown(&self.id))
    }
}

/// What a listing shows to use an image, or snapshots by themselves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sighting {
    /// What uses them.
    pub by: User,
    /// Its id, with whatever else tells it.
    pub id: String,
    /// The image that it launches.
    pub image: Option<ImageId>,
    /// Snapshots that its device mappings name.
    pub snapshots: Vec<SnapshotId>,
}

/// Who uses what.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Uses {
    images: BTreeMap<ImageId, Vec<Use>>,
    snapshots: BTreeMap<SnapshotId, Vec<Use>>,
}

impl Uses {
    /// Adds a use of an image.
    pub fn add(&mut self, image: ImageId, by: User, id: impl Into<String>) {
        insert(self.images.entry(image).or_default(), Use { by, id: id.into() });
    }

    /// Adds an instance of an image, in a state as EC2 spells it. Only a terminated one is no use: one that is stopped
    /// may be replaced from its image at any time.
    pub fn add_instance(&mut self, image: ImageId, instance: &str, state: &str) {
        if state != "terminated" {
            self.add(image, User::Instance, format!("{instance} ({state})"));
        }
    }

    /// Adds a use of a snapshot.
    pub fn add_snapshot(&mut self, snapshot: SnapshotId, by: User, id: impl Into<String>) {
        insert(self.snapshots.entry(snapshot).or_default(), Use { by, id: id.into() });
    }

    /// Adds what a listing shows.
    pub fn see(&mut self, sighting: Sighting) {
        if let Some(image) = sighting.image {
            self.add(image, sighting.by, sighting.id.clone());
        }
        for snapshot in sighting.snapshots {
            self.add_snapshot(snapshot, sighting.by, sighting.id.clone());
        }
    }

    /// Adds what the versions of launch templates name, as far as `which` says that they count.
    pub fn add_launch_templates(&mut self, versions: &[TemplateVersion], pins: &[Pin], which: VersionsInUse) {
        for (version, because) in counting(versions, pins, which) {
            let id = format!("{} version {}{because}", version.template_id, version.number);
            if let Some(image) = &version.image {
                self.add(image.clone(), User::LaunchTemplate, id.clone());
            }
            for snapshot in &version.snapshots {
                self.add_snapshot(snapshot.clone(), User::LaunchTemplate, id.clone());
            }
        }
    }

    /// Who uses an image.
    pub fn of_image(&self, image: &ImageId) -> &[Use] {
        self.images.get(image).map(Vec::as_slice).unwrap_or_default()
    }

    /// Who uses a snapshot.
    pub fn of_snapshot(&self, snapshot: &SnapshotId) -> &[Use] {
        self.snapshots.get(snapshot).map(Vec::as_slice).unwrap_or_default()
    }
}

/// In order and once, so that the order of listings and pages changes nothing.
fn insert(uses: &mut Vec<Use>, new: Use) {
    if let Err(place) = uses.binary_search(&new) {
        uses.insert(place, new);
    }
}

/// Which versions of a launch template are a use of their image. What a group or a fleet names always is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum VersionsInUse {
    /// All of them.
    #[default]
    All,
    /// The default one and the latest.
    DefaultAndLatest,
    /// The default one and the newest so many.
    Newest(u32),
    /// Only what an Auto Scaling group or a fleet names.
    Groups,
}

/// A version of a launch template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TemplateVersion {
    /// The template.
    pub template_id: String,
    /// Number of the version.
    pub number: u64,
    /// Whether it is the default.
    pub default: bool,
    /// The image that it launches, with aliases resolved; a version need not name one.
    pub image: Option<ImageId>,
    /// Snapshots that its device mappings name.
    pub snapshots: Vec<SnapshotId>,
}

/// The version that somebody launches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PinnedVersion {
    /// This one.
    Number(u64),
    /// Whichever is the default.
    Default,
    /// Whichever is the latest.
    Latest,
}

impl PinnedVersion {
    /// As groups and fleets write it: a number, `$Latest`, `$Default`, or nothing, which is the default. `None`: as no
    /// service writes it.
    pub fn parse(text: Option<&str>) -> Option<Self> {
        match text.unwrap_or_default() {
            "" | "$Default" => Some(Self::Default),
            "$Latest" => Some(Self::Latest),
            number => number.parse().ok().map(Self::Number),
        }
    }
}

/// A group or a fleet that launches from a template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pin {
    /// The template.
    pub template_id: String,
    /// Its version.
    pub version: PinnedVersion,
    /// Who: `group web`, `fleet fleet-…`.
    pub by: String,
}

fn counting<'a>(
    versions: &'a [TemplateVersion],
    pins: &[Pin],
    which: VersionsInUse,
) -> Vec<(&'a TemplateVersion, String)> {
    let mut templates: BTreeMap<&str, Vec<&TemplateVersion>> = BTreeMap::new();
    for version in versions {
        templates.entry(&version.template_id).or_default().push(version);
    }
    let mut counting = Vec::new();
    for (template_id, mut versions) in templates {
        versions.sort_by_key(|version| std::cmp::Reverse(version.number));
        for (rank, version) in (0_u32..).zip(versions) {
            let by_rule = match which {
                VersionsInUse::All => true,
                VersionsInUse::DefaultAndLatest => version.default || rank == 0,
                VersionsInUse::Newest(newest) => version.default || rank < newest,
                VersionsInUse::Groups => false,
            };
            let pinned = pins.iter().find(|pin| {
                pin.template_id == template_id
                    && match pin.version {
                        PinnedVersion::Number(number) => version.number == number,
                        PinnedVersion::Default => version.default,
                        PinnedVersion::Latest => rank == 0,
                    }
            });
            match pinned {
                Some(pin) => counting.push((version, format!(", which {} launches", pin.by))),
                None if by_rule => counting.push((version, String::new())),
                None => {}
            }
        }
    }
    counting
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image(number: u64) -> ImageId {
        format!("ami-{number:08x}").parse().unwrap_or_else(|_| unreachable!())
    }

    /// A template of five versions, of which the second is the default; version n launches image n.
    fn template(id: &str) -> Vec<TemplateVersion> {
        [3, 1, 5, 2, 4]
            .map(|number| TemplateVersion {
                template_id: id.into(),
                number,
                default: number == 2,
                image: Some(image(number)),
                snapshots: Vec::new(),
            })
            .into()
    }

    fn used(versions: &[TemplateVersion], pins: &[Pin], which: VersionsInUse) -> Vec<u64> {
        let mut uses = Uses::default();
        uses.add_launch_templates(versions, pins, which);
        (1..=5).filter(|number| !uses.of_image(&image(*number)).is_empty()).collect()
    }

    #[test]
    fn what_a_listing_shows_is_a_use_of_the_image_and_of_each_snapshot() {
        let snapshots: Vec<SnapshotId> =
            ["snap-00000001", "snap-00000002"].iter().filter_map(|id| id.parse().ok()).collect();
        let mut uses = Uses::default();
        let by = User::LaunchConfiguration;
        uses.see(Sighting { by, id: "web".into(), image: Some(image(1)), snapshots: snapshots.clone() });
        uses.see(Sighting { by, id: "batch".into(), image: None, snapshots: snapshots[1..].to_vec() });
        let told = |uses: &[Use]| uses.iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(told(uses.of_image(&image(1))), ["launch configuration web"]);
        assert_eq!(told(uses.of_snapshot(&snapshots[0])), ["launch configuration web"]);
        assert_eq!(told(uses.of_snapshot(&snapshots[1])), ["launch configuration batch", "launch configuration web"]);
    }

    #[test]
    fn a_version_is_read_as_groups_and_fleets_write_it() {
        for (text, version) in [
            (None, Some(PinnedVersion::Default)),
            (Some(""), Some(PinnedVersion::Default)),
            (Some("$Default"), Some(PinnedVersion::Default)),
            (Some("$Latest"), Some(PinnedVersion::Latest)),
            (Some("7"), Some(PinnedVersion::Number(7))),
            (Some("newest"), None),
        ] {
            assert_eq!(PinnedVersion::parse(text), version, "{text:?}");
        }
    }

    /// Case 8: old versions are a use until the operator says otherwise.
    #[test]
    fn the_operator_says_which_versions_count() {
        let versions = template("lt-1");
        assert_eq!(used(&versions, &[], VersionsInUse::default()), [1, 2, 3, 4, 5]);
        assert_eq!(used(&versions, &[], VersionsInUse::DefaultAndLatest), [2, 5]);
        assert_eq!(used(&versions, &[], VersionsInUse::Newest(1)), [2, 5]);
        assert_eq!(used(&versions, &[], VersionsInUse::Newest(2)), [2, 4, 5]);
        assert_eq!(used(&versions, &[], VersionsInUse::Groups), Vec::<u64>::new());
    }

    /// Case 32: what `$Default` points at stays, and what a group launches.
    #[test]
    fn what_a_group_launches_is_in_use_under_every_rule() {
        let versions = template("lt-1");
        let pin = |version| Pin { template_id: "lt-1".into(), version, by: "group web".into() };
        for (pinned, number) in [(PinnedVersion::Number(3), 3), (PinnedVersion::Default, 2), (PinnedVersion::Latest, 5)]
        {
            assert_eq!(used(&versions, &[pin(pinned)], VersionsInUse::Groups), [number]);
        }
        let elsewhere = Pin { template_id: "lt-2".into(), ..pin(PinnedVersion::Number(3)) };
        assert_eq!(used(&versions, &[elsewhere], VersionsInUse::Groups), Vec::<u64>::new());
    }

    #[test]
    fn the_versions_of_each_template_are_counted_by_themselves() {
        let mut versions = template("lt-1");
        versions.extend(template("lt-2").into_iter().filter(|version| version.number == 1));
        assert_eq!(used(&versions, &[], VersionsInUse::DefaultAndLatest), [1, 2, 5]);
    }

    #[test]
    fn a_use_is_told_so_that_a_person_finds_it() {
        let mut uses = Uses::default();
        let snapshot: SnapshotId = "snap-12345678".parse().unwrap_or_else(|_| unreachable!());
        let mut version = template("lt-1").remove(0);
        version.snapshots = vec![snapshot.clone()];
        let pin = Pin { template_id: "lt-1".into(), version: PinnedVersion::Number(3), by: "group web".into() };
        uses.add_launch_templates(std::slice::from_ref(&version), &[pin], VersionsInUse::All);
        uses.add_launch_templates(&[version], &[], VersionsInUse::All);
        let text: Vec<String> = uses.of_image(&image(3)).iter().map(ToString::to_string).collect();
        assert_eq!(
            text,
            ["launch template lt-1 version 3", "launch template lt-1 version 3, which group web launches"]
        );
        assert_eq!(uses.of_snapshot(&snapshot).len(), 2);
    }

    #[test]
    fn only_a_terminated_instance_is_no_use() {
        for (state, used) in [
            ("pending", true),
            ("running", true),
            ("stopping", true),
            ("stopped", true),
            ("shutting-down", true),
            ("terminated", false),
        ] {
            let mut uses = Uses::default();
            uses.add_instance(image(1), "i-12345678", state);
            assert_eq!(!uses.of_image(&image(1)).is_empty(), used, "{state}");
        }
    }

    #[test]
    fn the_order_of_what_is_read_changes_nothing() {
        let add = |ids: &[&str]| {
            let mut uses = Uses::default();
            for id in ids {
                uses.add(image(1), User::Parameter, *id);
            }
            uses
        };
        assert_eq!(add(&["/a", "/b", "/a"]), add(&["/b", "/a"]));
        assert_eq!(add(&["/a", "/b"]).of_image(&image(1)).len(), 2);
    }

    #[test]
    fn every_user_has_a_name() {
        let names: std::collections::BTreeSet<_> = User::ALL.iter().map(|user| user.as_str()).collect();
        assert!(names.len() == User::ALL.len() && !names.contains(""), "{names:?}");
    }
}
