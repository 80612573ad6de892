//! Owns what was read of an account in one Region, distilled to what a clean-up decides by: a Region has up to 50,000
//! images and many more snapshots, and the function that holds them all is small.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{
    family::family_of,
    intent::LeftOver,
    policy::CleanupPolicy,
    protection::{Tool, tool_of_image, tool_of_snapshot},
    reason::Reason,
    summary::Removed,
    usage::Uses,
};
use crate::{
    error::{ErrorName, StepError},
    id::{ImageId, Region, SnapshotId},
    image::{ImageFacts, ImageState, SnapshotFacts},
    naming::{BY_POLICY, NEVER, TAG_EXPIRES},
    tags::{Tags, is_managed},
};

/// A listing of a whole account in one Region.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Source {
    /// The account's own images, disabled ones included.
    Images,
    /// The account's own snapshots.
    Snapshots,
    /// Its locked snapshots.
    LockedSnapshots,
    /// Instances in any state.
    Instances,
    /// Versions of launch templates, with their aliases resolved.
    LaunchTemplateVersions,
    /// Launch configurations of Auto Scaling.
    LaunchConfigurations,
    /// Auto Scaling groups.
    AutoScalingGroups,
    /// EC2 Fleets and Spot Fleets.
    Fleets,
    /// Store and export tasks that run.
    Tasks,
    /// The Recycle Bin: its rules and what is in it.
    RecycleBin,
    /// Stored objects in the bucket.
    Objects,
}

impl Source {
    /// Every listing that a plan needs. One that was not made is as good as one that failed.
    pub const ALL: &'static [Self] = &[
        Self::Images,
        Self::Snapshots,
        Self::LockedSnapshots,
        Self::Instances,
        Self::LaunchTemplateVersions,
        Self::LaunchConfigurations,
        Self::AutoScalingGroups,
        Self::Fleets,
        Self::Tasks,
        Self::RecycleBin,
        Self::Objects,
    ];

    /// Whether a plan under a policy needs it. The objects are listed, a bucket of them, only where one is required.
    pub const fn is_needed(self, policy: &CleanupPolicy) -> bool {
        match self {
            Self::Objects => policy.require_object,
            _ => true,
        }
    }

    /// Whether it holds what passes by itself: dozens today and none tomorrow is no sign of an outage.
    const fn is_fleeting(self) -> bool {
        matches!(self, Self::Tasks | Self::RecycleBin)
    }

    /// What is being done when it is made, for errors to say.
    pub fn listing(self) -> String {
        format!("list {}", self.as_str())
    }

    /// As a person says it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Images => "images",
            Self::Snapshots => "snapshots",
            Self::LockedSnapshots => "locked snapshots",
            Self::Instances => "instances",
            Self::LaunchTemplateVersions => "versions of launch templates",
            Self::LaunchConfigurations => "launch configurations",
            Self::AutoScalingGroups => "Auto Scaling groups",
            Self::Fleets => "fleets",
            Self::Tasks => "store and export tasks",
            Self::RecycleBin => "the Recycle Bin",
            Self::Objects => "stored objects",
        }
    }
}

/// How many each listing held, or why it could not be made.
pub type Readings = BTreeMap<Source, Result<u64, String>>;

/// Below this a listing may shrink by any share: three instances of yesterday may be one today.
const SMALLEST_COMPARED: u64 = 20;

/// Refuses to decide by what cannot be trusted: a listing that failed or was not made, that is below the policy's floor,
/// or that has shrunk to less than half of what the last plan saw where the policy has no floor for it. An empty answer of a service that has an outage looks
/// like an account in which nothing is in use.
///
/// # Errors
/// `Conflict` with the listing, and what was expected of it.
pub fn trusted(
    readings: &Readings,
    policy: &CleanupPolicy,
    last: &BTreeMap<Source, u64>,
    region: &Region,
) -> Result<(), StepError> {
    for source in Source::ALL.iter().filter(|source| source.is_needed(policy)) {
        let refuse = |reason: String| {
            Err(StepError::new(ErrorName::Conflict, source.listing(), reason)
                .in_region(region)
                .leaving("nothing was removed"))
        };
        let count = match readings.get(source) {
            Some(Ok(count)) => *count,
            Some(Err(reason)) => return refuse(reason.clone()),
            None => return refuse("it was not done".into()),
        };
        if let Some(floor) = policy.floors.get(source) {
            if count < *floor {
                return refuse(format!("there are {count}, and by `floors` a healthy account has at least {floor}"));
            }
            // The operator knows how few there may be.
            continue;
        }
        if source.is_fleeting() {
            continue;
        }
        let before = last.get(source).copied().unwrap_or(0);
        if before >= SMALLEST_COMPARED && count < before.div_ceil(2) {
            return refuse(format!(
                "there are {count}, and the last plan saw {before}: if that is so, set a floor for it in `floors`"
            ));
        }
    }
    Ok(())
}

/// What is written on an image about when it may go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Expiry {
    /// Nothing, or that the policy of the clean-up decides.
    ByPolicy,
    /// Never.
    Never,
    /// At this time.
    At(Timestamp),
    /// Something that is no time.
    Unreadable(String),
}

impl Expiry {
    /// As the tags say.
    pub fn of(tags: &Tags) -> Self {
        match tags.get(TAG_EXPIRES).map(String::as_str) {
            None | Some(BY_POLICY) => Self::ByPolicy,
            Some(NEVER) => Self::Never,
            Some(text) => text.parse().map_or_else(|_| Self::Unreadable(text.to_owned()), Self::At),
        }
    }
}

/// A retention rule of the Recycle Bin.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct BinRule {
    /// Whether it is for images; for snapshots otherwise.
    pub images: bool,
    /// Days for which it keeps them.
    pub days: u32,
    /// Tags of which a thing must carry one; a missing value is any. Empty: every thing.
    pub tags: Vec<(String, Option<String>)>,
    /// Tags of which a thing must carry none.
    pub excluded: Vec<(String, Option<String>)>,
}

impl BinRule {
    fn matches(&self, tags: &Tags) -> bool {
        let carries = |(key, value): &(String, Option<String>)| {
            tags.get(key).is_some_and(|found| value.as_ref().is_none_or(|value| value == found))
        };
        (self.tags.is_empty() || self.tags.iter().any(carries)) && !self.excluded.iter().any(carries)
    }
}

/// Days for which the Recycle Bin keeps something with these tags: the longest rule that fits. `None`: it is gone at once.
fn bin_days(rules: &[BinRule], images: bool, tags: &Tags) -> Option<u32> {
    rules.iter().filter(|rule| rule.images == images && rule.matches(tags)).map(|rule| rule.days).max()
}

/// An image, as far as a clean-up decides by it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// Its id.
    pub image_id: ImageId,
    /// Its name.
    pub name: String,
    /// Its state.
    pub state: ImageState,
    /// When it was made.
    pub created_at: Option<Timestamp>,
    /// Which images it is a generation of.
    pub family: Option<String>,
    /// Whether the run may touch it at all: it is ours or the operator opted in, and no other tool looks after it.
    pub in_scope: bool,
    /// When it may go, by what is written on it.
    pub expiry: Expiry,
    /// Why it is not touched, by what it carries.
    pub protections: Vec<Reason>,
    /// When it is or was deprecated.
    pub deprecated_at: Option<Timestamp>,
    /// When an instance was last launched from it, as far as EC2 knows.
    pub launched_at: Option<Timestamp>,
    /// The snapshots that it is on.
    pub snapshots: Vec<SnapshotId>,
    /// Sum of its volume sizes in GiB.
    pub provisioned_gib: u64,
    /// Days for which the Recycle Bin keeps it.
    pub bin_days: Option<u32>,
}

impl Image {
    /// What of an image's facts counts under a policy.
    pub fn of(facts: &ImageFacts, policy: &CleanupPolicy, bin: &[BinRule]) -> Self {
        let time = |text: &Option<String>| text.as_deref().and_then(|text| text.parse().ok());
        let tool = tool_of_image(facts);
        let ours = is_managed(&facts.tags) || policy.include_unmanaged;
        let mut protections = common_protections(tool.clone(), ours, &facts.tags, policy);
        if facts.is_protected() {
            protections.push(Reason::Protected(facts.deregistration_protection.clone().unwrap_or_default()));
        }
        if facts.public {
            protections.push(Reason::Public);
        }
        Self {
            image_id: facts.image_id.clone(),
            name: facts.name.clone(),
            state: facts.state.clone(),
            created_at: time(&facts.creation_date),
            family: family_of(facts, &policy.families),
            in_scope: ours && tool.is_none(),
            expiry: Expiry::of(&facts.tags),
            protections,
            deprecated_at: time(&facts.deprecation_time),
            launched_at: time(&facts.last_launched_time),
            snapshots: facts.snapshot_ids(),
            provisioned_gib: facts.size_gib(),
            bin_days: bin_days(bin, true, &facts.tags),
        }
    }
}

fn common_protections(tool: Option<Tool>, ours: bool, tags: &Tags, policy: &CleanupPolicy) -> Vec<Reason> {
    let mut protections = Vec::new();
    protections.extend(tool.map(Reason::ManagedBy));
    if !ours {
        protections.push(Reason::NotOurs);
    }
    let keeps = policy.keep_tags.iter().filter(|tag| tag.keeps(tags));
    protections.extend(keeps.map(|tag| Reason::KeepTag(tag.to_string())));
    protections
}

/// A snapshot, as far as a clean-up decides by it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// Its id.
    pub snapshot_id: SnapshotId,
    /// Whether this product made it.
    pub managed: bool,
    /// The image that it was made for, by the description that EC2 wrote.
    pub made_for: Option<ImageId>,
    /// Why it is not touched, by what it carries.
    pub protections: Vec<Reason>,
    /// Size of its volume in GiB.
    pub provisioned_gib: u64,
    /// Bytes of all its blocks, those that it shares with other snapshots among them, where EC2 says so.
    pub full_bytes: Option<u64>,
    /// Days for which the Recycle Bin keeps it.
    pub bin_days: Option<u32>,
}

impl Snapshot {
    /// What of a snapshot's facts counts under a policy. `lock` is how it is locked, if it is.
    pub fn of(facts: &SnapshotFacts, lock: Option<&str>, policy: &CleanupPolicy, bin: &[BinRule]) -> Self {
        let tool = tool_of_snapshot(&facts.tags, &facts.description);
        let managed = is_managed(&facts.tags);
        let mut protections = common_protections(tool, managed || policy.include_unmanaged, &facts.tags, policy);
        protections.extend(lock.map(|lock| Reason::Locked(lock.to_owned())));
        if !["completed", "error"].contains(&facts.state.as_str()) {
            protections.push(Reason::State(facts.state.clone()));
        }
        Self {
            snapshot_id: facts.snapshot_id.clone(),
            managed,
            made_for: made_for(&facts.description),
            protections,
            provisioned_gib: facts.volume_size_gib,
            full_bytes: facts.full_size_bytes,
            bin_days: bin_days(bin, false, &facts.tags),
        }
    }
}

impl Snapshot {
    /// Whether the run may touch it at all.
    pub fn is_in_scope(&self) -> bool {
        !self.protections.iter().any(|reason| matches!(reason, Reason::NotOurs | Reason::ManagedBy(_)))
    }

    /// Whether it is a recovery point of AWS Backup.
    pub fn is_recovery_point(&self) -> bool {
        self.protections.contains(&Reason::ManagedBy(Tool::Backup))
    }
}

/// The image that a snapshot was made for, by what CreateImage and CopyImage write into its description. Of a copy only
/// the first image is in this Region.
pub(crate) fn made_for(description: &str) -> Option<ImageId> {
    let after = match description.strip_prefix("Created by CreateImage(") {
        Some(rest) => rest.split_once(") for ")?.1,
        None => description.strip_prefix("Copied for DestinationAmi ")?,
    };
    after.split_whitespace().next()?.parse().ok()
}

/// An image in the Recycle Bin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BinnedImage {
    /// The image.
    pub image_id: ImageId,
    /// The snapshots that it is on, if an earlier plan or a record of the image says so: the bin does not.
    pub snapshots: Option<BTreeSet<SnapshotId>>,
}

/// What was read of an account in one Region.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// The account.
    pub account_id: String,
    /// The Region.
    pub region: Region,
    /// Its own images.
    pub images: Vec<Image>,
    /// Its own snapshots.
    pub snapshots: Vec<Snapshot>,
    /// Who uses what.
    pub uses: Uses,
    /// Images in the Recycle Bin.
    pub binned: Vec<BinnedImage>,
    /// What the listing of the Recycle Bin shows and is no image id.
    pub odd_binned: Vec<String>,
    /// Size in bytes of the stored object of each image that has one.
    pub objects: BTreeMap<ImageId, u64>,
    /// Since when each orphan snapshot is known to be one, by the plans so far.
    pub orphans_since: BTreeMap<SnapshotId, Timestamp>,
    /// Snapshots that an applied plan was to remove with their images, and did not get to.
    pub left_over: BTreeMap<SnapshotId, LeftOver>,
    /// What this run has removed by earlier plans.
    pub removed_before: Removed,
    /// How far each listing can be trusted.
    pub readings: Readings,
    /// What the last plan read of each listing.
    pub last_readings: BTreeMap<Source, u64>,
}

impl Account {
    /// Why an image's stored object is no backup, or `None` if it is one: there, larger than nothing, and not larger
    /// than the volumes.
    pub fn object_problem(&self, image: &Image) -> Option<String> {
        match self.objects.get(&image.image_id) {
            None => Some("there is none".into()),
            Some(0) => Some("it is empty".into()),
            Some(bytes) if u128::from(*bytes) > u128::from(image.provisioned_gib) << 30 => {
                Some(format!("it has {bytes} bytes, more than the {} GiB of the volumes", image.provisioned_gib))
            }
            Some(_) => None,
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use serde_json::json;

    use super::*;
    use crate::{
        cleanup::policy::tests::policy,
        image::tests::{image as facts, snapshot as snapshot_facts},
        naming::TAG_MANAGED,
    };

    pub(crate) fn region() -> Region {
        "us-east-1".parse().unwrap_or_else(|_| unreachable!())
    }

    pub(crate) fn all_read() -> Readings {
        Source::ALL.iter().map(|source| (*source, Ok(100))).collect()
    }

    fn tags(pairs: &[(&str, &str)]) -> Tags {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    #[track_caller]
    fn refused(readings: &Readings, floors: &[(Source, u64)], last: &[(Source, u64)], part: &str) {
        let policy = strict(floors.iter().copied().collect());
        let last = last.iter().copied().collect();
        let error = trusted(readings, &policy, &last, &region()).err();
        assert_eq!(error.as_ref().map(|error| error.name), Some(ErrorName::Conflict));
        let text = error.map(|error| error.to_string()).unwrap_or_default();
        assert!(text.contains(part) && text.contains("us-east-1") && text.contains("nothing was removed"), "{text}");
    }

    /// A policy that needs every listing.
    fn strict(floors: BTreeMap<Source, u64>) -> CleanupPolicy {
        CleanupPolicy { floors, require_object: true, ..policy(json!({})) }
    }

    /// 51. A listing cannot be trusted if it failed, was not made, is below its floor, or has shrunk to less than half
    ///     of what the last plan saw.
    ///
    /// Cases 5 and 7: what could not be listed, and what is strangely short, decides nothing.
    #[test]
    fn a_listing_that_cannot_be_trusted_stops_everything() {
        for source in Source::ALL {
            let mut readings = all_read();
            readings.insert(*source, Err("denied".into()));
            refused(&readings, &[], &[], "denied");
            refused(&readings, &[], &[], source.as_str());
            readings.remove(source);
            refused(&readings, &[], &[], "it was not done");
            let mut readings = all_read();
            refused(&readings, &[(*source, 101)], &[], "at least 101");
            if !source.is_fleeting() {
                refused(&readings, &[], &[(*source, 201)], "the last plan saw 201");
            }
            readings.insert(*source, Ok(0));
            refused(&readings, &[(*source, 1)], &[], "there are 0");
            if !source.is_fleeting() {
                refused(&readings, &[], &[(*source, 20)], "there are 0");
            }
        }
    }

    /// 51. A listing may shrink by more if it has a floor, held fewer than twenty, or is that of running tasks or of
    ///     the Recycle Bin.
    #[test]
    fn a_listing_may_be_at_its_floor_at_half_of_the_last_and_small_ones_may_shrink() -> Result<(), StepError> {
        let readings = all_read();
        let all = |count: u64| Source::ALL.iter().map(|source| (*source, count)).collect::<BTreeMap<_, _>>();
        trusted(&readings, &strict(all(100)), &all(200), &region())?;
        trusted(&readings, &strict(BTreeMap::new()), &all(200), &region())?;
        trusted(&readings, &strict(BTreeMap::new()), &all(199), &region())?;
        trusted(&readings, &strict(all(1)), &all(1_000), &region())?;
        let fleeting = [Source::Tasks, Source::RecycleBin];
        assert!(Source::ALL.iter().all(|source| source.is_fleeting() == fleeting.contains(source)));
        trusted(&readings, &strict(BTreeMap::new()), &fleeting.map(|source| (source, 1_000)).into(), &region())?;
        let empty: Readings = Source::ALL.iter().map(|source| (*source, Ok(0))).collect();
        trusted(&empty, &strict(BTreeMap::new()), &all(19), &region())
    }

    #[test]
    fn the_bucket_is_listed_only_where_an_object_is_required() -> Result<(), StepError> {
        let mut readings = all_read();
        readings.remove(&Source::Objects);
        let last = [(Source::Objects, 1_000)].into();
        trusted(&readings, &policy(json!({})), &last, &region())?;
        assert!(trusted(&readings, &strict(BTreeMap::new()), &last, &region()).is_err());
        Ok(())
    }

    #[test]
    fn every_listing_has_a_name_and_can_have_a_floor() {
        let names: BTreeSet<_> = Source::ALL.iter().map(|source| source.as_str()).collect();
        assert!(names.len() == Source::ALL.len() && !names.contains(""));
        for source in Source::ALL {
            let field = serde_json::to_value(source).unwrap_or_default();
            let floors = json!({"floors": {field.as_str().unwrap_or_default(): 7}});
            assert_eq!(policy(floors).floors, [(*source, 7)].into());
        }
    }

    #[test]
    fn an_expiry_is_a_time_a_promise_or_nothing() {
        let at = "2026-11-23T02:00:00Z".parse().unwrap_or_default();
        for (tag, expiry) in [
            (None, Expiry::ByPolicy),
            (Some("by-policy"), Expiry::ByPolicy),
            (Some("never"), Expiry::Never),
            (Some("2026-11-23T02:00:00Z"), Expiry::At(at)),
            (Some("tomorrow"), Expiry::Unreadable("tomorrow".into())),
            (Some(""), Expiry::Unreadable(String::new())),
        ] {
            let tags = tag.map(|value| (TAG_EXPIRES.to_owned(), value.to_owned())).into_iter().collect();
            assert_eq!(Expiry::of(&tags), expiry);
        }
    }

    #[test]
    fn a_snapshot_is_of_the_image_in_this_region() {
        let first = "ami-11111111".parse().ok();
        for (description, image) in [
            ("Created by CreateImage(i-12345678) for ami-11111111", first.clone()),
            ("Created by CreateImage(i-12345678) for ami-11111111 from vol-12345678", first.clone()),
            ("Copied for DestinationAmi ami-11111111 from SourceAmi ami-22222222 for SourceSnapshot snap-3", first),
            ("Created by CreateImage(i-12345678)", None),
            ("Copy of ami-11111111", None),
            ("for ami-11111111", None),
            ("Copied for DestinationAmi", None),
            ("", None),
        ] {
            assert_eq!(made_for(description), image, "{description}");
        }
    }

    #[test]
    fn an_image_is_read_with_what_protects_it() {
        let policy = policy(json!({"keepTags": ["Keep"], "families": [{"tag": "Role"}]}));
        let mut seen = facts("ami-12345678");
        seen.creation_date = Some("2026-01-01T00:00:00.000Z".into());
        seen.deprecation_time = Some("2026-02-01T00:00:00.000Z".into());
        seen.last_launched_time = Some("2026-03-01T00:00:00.000Z".into());
        seen.tags = tags(&[(TAG_MANAGED, "true"), ("Role", "web")]);
        let ours = Image::of(&seen, &policy, &[]);
        assert!(ours.in_scope && ours.protections.is_empty(), "{ours:?}");
        let times = [ours.created_at, ours.deprecated_at, ours.launched_at];
        let written = times.map(|at| at.map(|at| at.to_string()[..7].to_owned()).unwrap_or_default());
        assert_eq!(written, ["2026-01", "2026-02", "2026-03"]);
        assert_eq!(ours.family.as_deref(), Some("Role=web, x86_64"));
        assert_eq!((ours.provisioned_gib, ours.snapshots.len()), (8, 1));

        seen.public = true;
        seen.deregistration_protection = Some("enabled-with-cooldown".into());
        seen.tags.insert("Keep".into(), "yes".into());
        let kept = Image::of(&seen, &policy, &[]).protections;
        let codes: Vec<_> = kept.iter().map(Reason::code).collect();
        assert_eq!(codes, ["keep-tag", "protected", "public"]);

        seen = facts("ami-12345678");
        seen.tags = tags(&[("aws:backup:source-resource", "x")]);
        let foreign = Image::of(&seen, &policy, &[]);
        let codes: Vec<_> = foreign.protections.iter().map(Reason::code).collect();
        assert!(!foreign.in_scope && codes == ["managed-by-another-tool", "not-ours"], "{codes:?}");
    }

    #[test]
    fn what_is_not_ours_is_in_scope_only_if_the_operator_says_so_and_never_if_a_tool_looks_after_it() {
        let wide = policy(json!({"includeUnmanaged": true}));
        let mut seen = facts("ami-12345678");
        assert!(Image::of(&seen, &wide, &[]).in_scope);
        assert!(!Image::of(&seen, &policy(json!({})), &[]).in_scope);
        seen.owner_alias = Some("aws-backup-vault".into());
        assert!(!Image::of(&seen, &wide, &[]).in_scope);
    }

    #[test]
    fn a_snapshot_is_read_with_what_protects_it() {
        let policy = policy(json!({"keepTags": ["Keep"]}));
        let codes = |facts: &SnapshotFacts, lock: Option<&str>| -> Vec<&'static str> {
            Snapshot::of(facts, lock, &policy, &[]).protections.iter().map(Reason::code).collect()
        };
        let mut seen = snapshot_facts("snap-12345678");
        seen.tags = tags(&[(TAG_MANAGED, "true")]);
        assert_eq!(codes(&seen, None), Vec::<&str>::new());
        assert_eq!(codes(&seen, Some("governance")), ["locked"]);
        seen.state = "error".into();
        assert_eq!(codes(&seen, None), Vec::<&str>::new());
        seen.state = "pending".into();
        seen.tags = tags(&[("Keep", "")]);
        assert_eq!(codes(&seen, None), ["not-ours", "keep-tag", "state"]);
        seen.description = "This snapshot is created by the AWS Backup service.".into();
        let backup = Snapshot::of(&seen, None, &policy, &[]);
        assert!(backup.is_recovery_point());
        seen.tags = tags(&[(TAG_MANAGED, "true")]);
        seen.description = "Created by CreateImage(i-12345678) for ami-87654321".into();
        let ours = Snapshot::of(&seen, None, &policy, &[]);
        assert!(ours.managed && !ours.is_recovery_point());
        assert_eq!((ours.provisioned_gib, ours.full_bytes), (8, None));
        seen.full_size_bytes = Some(5);
        assert_eq!(Snapshot::of(&seen, None, &policy, &[]).full_bytes, Some(5));
        assert_eq!(ours.made_for, "ami-87654321".parse().ok());
    }

    #[test]
    fn the_longest_rule_of_the_bin_that_fits_counts() {
        let rule = |images, days, tags: &[(&str, Option<&str>)], excluded: &[(&str, Option<&str>)]| {
            let pairs = |pairs: &[(&str, Option<&str>)]| -> Vec<(String, Option<String>)> {
                pairs.iter().map(|(key, value)| ((*key).to_owned(), value.map(str::to_owned))).collect()
            };
            BinRule { images, days, tags: pairs(tags), excluded: pairs(excluded) }
        };
        let rules = [
            rule(true, 7, &[], &[("Role", Some("db"))]),
            rule(true, 30, &[("Role", Some("web")), ("Gold", None)], &[]),
            rule(false, 3, &[], &[]),
        ];
        for (pairs, image_days) in [
            (&[][..], Some(7)),
            (&[("Role", "web")][..], Some(30)),
            (&[("Gold", "")][..], Some(30)),
            (&[("Role", "db")][..], None),
            (&[("Role", "db"), ("Gold", "x")][..], Some(30)),
            (&[("Role", "api")][..], Some(7)),
        ] {
            assert_eq!(bin_days(&rules, true, &tags(pairs)), image_days, "{pairs:?}");
            assert_eq!(bin_days(&rules, false, &tags(pairs)), Some(3));
        }
        assert_eq!(bin_days(&[], true, &Tags::new()), None);
    }
}
