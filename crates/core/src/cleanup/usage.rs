//! Owns who uses an image or a snapshot, by what a listing of an account says.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    str::FromStr,
};

use serde::{Deserialize, Serialize};

use super::note::{Note, quoted};
use crate::{
    id::{ImageId, SnapshotId, Typed},
    image::OddImage,
    text::shown,
};

/// What the name of an image begins with that stands for whichever image a parameter names at the moment.
const ALIAS: &str = "resolve:ssm:";

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

/// What a listing shows to use an image, or snapshots by themselves, as people typed it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sighting {
    /// What uses them.
    pub by: User,
    /// Its id, with whatever else tells it.
    pub id: String,
    /// What stands where the image belongs that it launches.
    pub image: Option<String>,
    /// What stands where the snapshots of its device mappings belong.
    pub snapshots: Vec<String>,
}

/// Who uses what, and what of the listings refers to nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Uses {
    images: BTreeMap<ImageId, Vec<Use>>,
    snapshots: BTreeMap<SnapshotId, Vec<Use>>,
    notes: BTreeSet<Note>,
}

impl Uses {
    /// Adds a use of an image.
    pub fn add(&mut self, image: ImageId, by: User, id: impl Into<String>) {
        insert(self.images.entry(image).or_default(), Use { by, id: id.into() });
    }

    /// Adds an instance of an image, in a state as EC2 spells it. Only a terminated one is no use: one that is stopped
    /// may be replaced from its image at any time.
    pub fn add_instance(&mut self, image: Option<&str>, instance: &str, state: &str) {
        if let (Some(image), true) = (image, state != "terminated") {
            self.name_image(image, User::Instance, &format!("{instance} ({state})"));
        }
    }

    /// Adds a use of a snapshot.
    pub fn add_snapshot(&mut self, snapshot: SnapshotId, by: User, id: impl Into<String>) {
        insert(self.snapshots.entry(snapshot).or_default(), Use { by, id: id.into() });
    }

    /// Adds what a listing shows.
    pub fn see(&mut self, sighting: Sighting) {
        let Sighting { by, id, image, snapshots } = sighting;
        if let Some(image) = image {
            self.name_image(&image, by, &id);
        }
        for snapshot in snapshots {
            if let Some(snapshot) = self.named(&snapshot, "a snapshot id", by, &id) {
                self.add_snapshot(snapshot, by, id.clone());
            }
        }
    }

    /// Adds a row of a listing of images that shows no machine image. The snapshots that it names stay.
    pub fn add_odd_image(&mut self, odd: OddImage) {
        self.note(format!("image {}", quoted(&odd.id)), "it is no machine image, and is left as it is".into());
        self.see(Sighting { by: User::Other, id: odd.id, image: None, snapshots: odd.snapshots });
    }

    /// Adds a row of a listing of snapshots that cannot be told apart from others.
    pub fn add_odd_snapshot(&mut self, id: &str) {
        self.note(format!("snapshot {}", quoted(id)), "that is no snapshot id; it is left as it is".into());
    }

    /// Adds a row of the Recycle Bin's images that cannot be told apart from others.
    pub fn add_odd_binned(&mut self, id: &str) {
        self.note("Recycle Bin".into(), format!("{} is not an image id; orphans stay", quoted(id)));
    }

    /// Adds what the versions of launch templates name, as far as `which` says that they count. What groups and fleets
    /// launch counts always; what they name and is not there is noted.
    pub fn add_launch_templates(&mut self, templates: &Templates, pins: &[Pin], which: VersionsInUse) {
        let by_template = templates.newest_first();
        let mut launched: BTreeMap<(&str, u64), &str> = BTreeMap::new();
        for pin in pins {
            match pin.meant(templates, &by_template) {
                Ok(version) => {
                    launched.entry(version).or_insert(&pin.by);
                }
                Err(why) => self.note(pin.by.clone(), why),
            }
        }
        for (template_id, versions) in &by_template {
            for (rank, version) in (0_u32..).zip(versions) {
                let counts = match which {
                    VersionsInUse::All => true,
                    VersionsInUse::DefaultAndLatest => version.default || rank == 0,
                    VersionsInUse::Newest(newest) => version.default || rank < newest,
                    VersionsInUse::Groups => false,
                };
                let because = match launched.get(&(*template_id, version.number)) {
                    Some(by) => format!(", which {by} launches"),
                    None if counts => String::new(),
                    None => continue,
                };
                self.add_version(version, &because, &templates.aliases);
            }
        }
    }

    fn add_version(&mut self, version: &TemplateVersion, because: &str, aliases: &Aliases) {
        let by = User::LaunchTemplate;
        let id = format!("{} version {}{because}", version.template_id, version.number);
        let image = match version.image.as_ref().map(|text| (text, aliases.get(text))) {
            Some((alias, Some(Err(why)))) => {
                self.note(place(by, &id), format!("{} stands for no image: {why}", quoted(alias)));
                None
            }
            Some((_, Some(Ok(image)))) => Some(image.clone()),
            Some((image, None)) => Some(image.clone()),
            None => None,
        };
        self.see(Sighting { by, id, image, snapshots: version.snapshots.clone() });
    }

    fn name_image(&mut self, text: &str, by: User, id: &str) {
        if text.starts_with(ALIAS) {
            self.note(place(by, id), format!("{} is an alias, and is not followed here", quoted(text)));
        } else if let Some(image) = self.named(text, "an image id", by, id) {
            self.add(image, by, id);
        }
    }

    /// The id that a text means, or may mean. What is no id as it stands is noted.
    fn named<T: FromStr + fmt::Display>(&mut self, text: &str, kind: &str, by: User, id: &str) -> Option<T> {
        let meant = match Typed::read(text) {
            Typed::Id(meant) => return Some(meant),
            _ if text.is_empty() => return None,
            Typed::Perhaps(meant) => Some(meant),
            Typed::Nothing => None,
        };
        let then = match &meant {
            Some(meant) => format!("{meant} stays, in case that is meant"),
            None => "it refers to nothing".to_owned(),
        };
        self.note(place(by, id), format!("{} is not {kind}; {then}", quoted(text)));
        meant
    }

    fn note(&mut self, place: String, text: String) {
        self.notes.insert(Note { place, text });
    }

    /// Who uses an image.
    pub fn of_image(&self, image: &ImageId) -> &[Use] {
        self.images.get(image).map(Vec::as_slice).unwrap_or_default()
    }

    /// Who uses a snapshot.
    pub fn of_snapshot(&self, snapshot: &SnapshotId) -> &[Use] {
        self.snapshots.get(snapshot).map(Vec::as_slice).unwrap_or_default()
    }

    /// What of the listings refers to nothing, or may refer to something else than it says.
    pub const fn notes(&self) -> &BTreeSet<Note> {
        &self.notes
    }
}

fn place(by: User, id: &str) -> String {
    format!("{} {id}", by.as_str())
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
    /// What stands where the image belongs that it launches: an id, an alias, or what else people typed. A version need
    /// not name one.
    pub image: Option<String>,
    /// What stands where the snapshots of its device mappings belong.
    pub snapshots: Vec<String>,
}

impl TemplateVersion {
    /// The alias by which it names its image.
    pub fn alias(&self) -> Option<&str> {
        self.image.as_deref().filter(|image| image.starts_with(ALIAS))
    }
}

/// What each alias stands for, or why for nothing.
pub type Aliases = BTreeMap<String, Result<String, String>>;

/// The launch templates of an account in one Region, and such of their versions as a policy needs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Templates {
    /// How many templates there are.
    pub count: u64,
    /// Id of each template by its name.
    pub ids: BTreeMap<String, String>,
    /// Versions.
    pub versions: Vec<TemplateVersion>,
    /// What their aliases stand for.
    pub aliases: Aliases,
}

impl Templates {
    fn newest_first(&self) -> BTreeMap<&str, Vec<&TemplateVersion>> {
        let mut templates: BTreeMap<&str, Vec<&TemplateVersion>> = BTreeMap::new();
        for version in &self.versions {
            templates.entry(&version.template_id).or_default().push(version);
        }
        for versions in templates.values_mut() {
            versions.sort_by_key(|version| std::cmp::Reverse(version.number));
        }
        templates
    }
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

/// What a group or a fleet launches from, as it says so.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pin {
    /// Id of the template, if it is named by that.
    pub template_id: Option<String>,
    /// Name of the template.
    pub template_name: Option<String>,
    /// Its version.
    pub version: Option<String>,
    /// Who: `group web`, `fleet fleet-…`.
    pub by: String,
}

impl Pin {
    /// Id of the template, if it has one.
    pub fn template<'a>(&'a self, ids: &'a BTreeMap<String, String>) -> Option<&'a str> {
        self.template_id.as_deref().or_else(|| ids.get(self.template_name.as_ref()?).map(String::as_str))
    }

    /// The version that it launches, or why there is none.
    fn meant<'a>(
        &'a self,
        templates: &'a Templates,
        by_template: &BTreeMap<&str, Vec<&TemplateVersion>>,
    ) -> Result<(&'a str, u64), String> {
        let named = self.template_id.as_ref().or(self.template_name.as_ref()).map_or("", String::as_str);
        let gone = || format!("it launches from launch template {}, which does not exist", quoted(named));
        let template = self.template(&templates.ids).ok_or_else(gone)?;
        let versions = by_template.get(template).ok_or_else(gone)?;
        let found = match PinnedVersion::parse(self.version.as_deref()) {
            Some(PinnedVersion::Number(number)) => versions.iter().find(|version| version.number == number),
            Some(PinnedVersion::Default) => versions.iter().find(|version| version.default),
            Some(PinnedVersion::Latest) => versions.first(),
            None => None,
        };
        let version = self.version.as_deref().unwrap_or("$Default");
        found.map(|version| (template, version.number)).ok_or_else(|| {
            format!("it launches version {} of launch template {template}, which does not exist", quoted(version))
        })
    }
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
                image: Some(image(number).to_string()),
                snapshots: Vec::new(),
            })
            .into()
    }

    fn templates(versions: &[TemplateVersion]) -> Templates {
        let ids =
            versions.iter().map(|version| (format!("name of {}", version.template_id), version.template_id.clone()));
        Templates { ids: ids.collect(), versions: versions.to_vec(), ..Templates::default() }
    }

    fn pin(template: &str, version: &str) -> Pin {
        Pin {
            template_id: Some(template.into()),
            version: Some(version.into()),
            by: "group web".into(),
            ..Pin::default()
        }
    }

    fn noted(uses: &Uses) -> Vec<String> {
        uses.notes().iter().map(ToString::to_string).collect()
    }

    fn used(versions: &[TemplateVersion], pins: &[Pin], which: VersionsInUse) -> Vec<u64> {
        let mut uses = Uses::default();
        uses.add_launch_templates(&templates(versions), pins, which);
        (1..=5).filter(|number| !uses.of_image(&image(*number)).is_empty()).collect()
    }

    #[test]
    fn what_a_listing_shows_is_a_use_of_the_image_and_of_each_snapshot() {
        let snapshots: Vec<SnapshotId> =
            ["snap-00000001", "snap-00000002"].iter().filter_map(|id| id.parse().ok()).collect();
        let mut uses = Uses::default();
        let by = User::LaunchConfiguration;
        let named: Vec<String> = snapshots.iter().map(ToString::to_string).collect();
        uses.see(Sighting { by, id: "web".into(), image: Some(image(1).to_string()), snapshots: named.clone() });
        uses.see(Sighting { by, id: "batch".into(), image: None, snapshots: named[1..].to_vec() });
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
        for (pinned, number) in [("3", 3), ("$Default", 2), ("", 2), ("$Latest", 5)] {
            assert_eq!(used(&versions, &[pin("lt-1", pinned)], VersionsInUse::Groups), [number]);
            let name = Some("name of lt-1".to_owned());
            let by_name = Pin { template_id: None, template_name: name, ..pin("", pinned) };
            assert_eq!(used(&versions, &[by_name], VersionsInUse::Groups), [number]);
        }
        assert_eq!(used(&versions, &[pin("lt-2", "3")], VersionsInUse::Groups), Vec::<u64>::new());
    }

    /// 68. A version of a launch template that is gone, or a template that is gone, refers to nothing, and is noted with
    ///     what names it.
    #[test]
    fn what_a_group_names_and_is_gone_is_noted_with_the_group() {
        let versions = template("lt-1");
        let noted_of = |pin: Pin| {
            let mut uses = Uses::default();
            uses.add_launch_templates(&templates(&versions), &[pin], VersionsInUse::Groups);
            assert!((1..=5).all(|number| uses.of_image(&image(number)).is_empty()));
            noted(&uses)
        };
        let version = |shown: &str| {
            [format!("group web: it launches version `{shown}` of launch template lt-1, which does not exist")]
        };
        assert_eq!(noted_of(pin("lt-1", "7")), version("7"));
        assert_eq!(noted_of(pin("lt-1", "newest")), version("newest"));
        let template =
            |shown: &str| [format!("group web: it launches from launch template `{shown}`, which does not exist")];
        assert_eq!(noted_of(pin("lt-2", "3")), template("lt-2"));
        let by_name = Pin { template_id: None, template_name: Some("batch".into()), ..pin("", "3") };
        assert_eq!(noted_of(by_name), template("batch"));
        assert_eq!(used(&versions, &[pin("lt-1", "7")], VersionsInUse::All), [1, 2, 3, 4, 5]);
    }

    /// 67. An alias that stands for no image concerns the launch templates that name it, and is noted with them.
    #[test]
    fn a_broken_alias_concerns_the_templates_that_name_it() {
        let alias = |template: &str, alias: &str| {
            let version = self::template(template).remove(0);
            TemplateVersion { image: Some(format!("resolve:ssm:{alias}")), ..version }
        };
        let versions = [alias("lt-1", "/good"), alias("lt-2", "/bad"), alias("lt-3", "/bad")];
        let mut all = templates(&versions);
        all.aliases = [
            ("resolve:ssm:/good".to_owned(), Ok(image(1).to_string())),
            ("resolve:ssm:/bad".to_owned(), Err("no such parameter".to_owned())),
        ]
        .into();
        let mut uses = Uses::default();
        uses.add_launch_templates(&all, &[], VersionsInUse::All);
        assert_eq!(uses.of_image(&image(1)).len(), 1);
        let broken = |template: &str| {
            format!("launch template {template} version 3: `resolve:ssm:/bad` stands for no image: no such parameter")
        };
        assert_eq!(noted(&uses), ["lt-2", "lt-3"].map(broken));
        all.aliases.insert("resolve:ssm:/good".to_owned(), Ok("ami-placeholder".to_owned()));
        let mut uses = Uses::default();
        uses.add_launch_templates(&all, &[], VersionsInUse::All);
        assert!(noted(&uses).iter().any(|note| note.contains("lt-1") && note.contains("`ami-placeholder`")));
    }

    /// 68. What people typed where an id belongs and is none refers to nothing, and is noted with its place. An id that
    ///     could be a true one in lower case, and without what surrounds it, keeps what it could concern.
    ///
    /// Whatever it is that names the image or the snapshot.
    #[test]
    fn what_people_typed_is_noted_where_it_stands_and_keeps_what_it_may_mean() {
        for by in User::ALL.iter().copied() {
            let said = |image: &str, snapshot: &str| {
                let mut uses = Uses::default();
                let (image, snapshots) = (Some(image.to_owned()), vec![snapshot.to_owned()]);
                uses.see(Sighting { by, id: "x".into(), image, snapshots });
                let used = [uses.images.len(), uses.snapshots.len()];
                (used, noted(&uses))
            };
            let place = format!("{} x", by.as_str());
            assert_eq!(said("ami-00000001", "snap-00000001"), ([1, 1], Vec::new()));
            assert_eq!(said("", ""), ([0, 0], Vec::new()));
            let odd = |text: &str, kind: &str, then: &str| format!("{place}: `{text}` is not {kind}; {then}");
            let nothing = "it refers to nothing";
            let (used, notes) = said("ami-placeholder", "snap-placeholder");
            let both =
                [odd("ami-placeholder", "an image id", nothing), odd("snap-placeholder", "a snapshot id", nothing)];
            assert_eq!((used, notes), ([0, 0], both.to_vec()));
            let (used, notes) = said("AMI-00000001", "snap-00000001 ");
            let stays = |id: &str| format!("{id} stays, in case that is meant");
            let both = [
                odd("AMI-00000001", "an image id", &stays("ami-00000001")),
                odd("snap-00000001 ", "a snapshot id", &stays("snap-00000001")),
            ];
            assert_eq!((used, notes), ([1, 1], both.to_vec()));
            let (used, notes) = said("resolve:ssm:/golden", "");
            assert_eq!(
                (used, notes),
                ([0, 0], vec![format!("{place}: `resolve:ssm:/golden` is an alias, and is not followed here")])
            );
        }
    }

    /// 69. A row of a listing that is odd never fails the listing: what it could concern stays, and it is noted.
    #[test]
    fn an_image_that_is_none_keeps_the_snapshots_that_it_names() {
        let mut uses = Uses::default();
        uses.add_odd_image(OddImage { id: "aki-12345678".into(), snapshots: vec!["snap-00000001".into()] });
        uses.add_odd_snapshot("snap-1");
        let snapshot = "snap-00000001".parse().unwrap_or_else(|_| unreachable!());
        assert_eq!(uses.of_snapshot(&snapshot).len(), 1);
        let notes = [
            "image `aki-12345678`: it is no machine image, and is left as it is",
            "snapshot `snap-1`: that is no snapshot id; it is left as it is",
        ];
        assert_eq!(noted(&uses), notes);
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
        version.snapshots = vec![snapshot.to_string()];
        uses.add_launch_templates(&templates(std::slice::from_ref(&version)), &[pin("lt-1", "3")], VersionsInUse::All);
        uses.add_launch_templates(&templates(&[version]), &[], VersionsInUse::All);
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
            uses.add_instance(Some("ami-00000001"), "i-12345678", state);
            uses.add_instance(None, "i-87654321", state);
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
