//! Owns the policy of a clean-up: what may be asked for, and what that means in full.
//!
//! Whatever is left out is careful: a dry run, over what this product made, all versions of launch templates in use,
//! orphans left alone.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{
    account::Source,
    family::FamilyRule,
    protection::KeepTag,
    retention::{Retention, Stages},
    usage::VersionsInUse,
};
use crate::{
    error::StepError,
    id::Region,
    input,
    policy::{LONGEST_RUN, run_identity, valid_label},
};

/// Images that go in one run and Region unless the policy says otherwise: few enough to be looked at by a person.
pub const DEFAULT_IMAGES: u32 = 25;
/// Orphan snapshots that go in one run and Region unless the policy says otherwise.
pub const DEFAULT_ORPHAN_SNAPSHOTS: u32 = 100;
/// A run that would take more of the images than this asks first. Half: a family of which the newest is kept and one
/// more expires is no alarm, a policy that takes everything is.
pub const DEFAULT_SHARE_PERCENT: u32 = 50;
/// How long a plan may be applied: what it saw in the morning is not what is there the day after.
pub const DEFAULT_FRESH_MINUTES: u32 = 24 * 60;
/// A plan is not fresh for longer than a week.
const LONGEST_FRESH_MINUTES: u32 = 7 * 24 * 60;

/// Which snapshots go whose image is gone in any form.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct OrphanPolicy {
    /// Days for which a snapshot must have been seen as an orphan before it goes.
    pub grace_days: u32,
}

/// How much may go.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Limits {
    /// Images that are deprecated, disabled or deregistered in one run and Region.
    pub images: u32,
    /// Orphans and leftovers that are deleted in one run and Region. The snapshots of a deregistered image go with it.
    pub orphan_snapshots: u32,
    /// Images that must be left in the account and Region.
    pub remaining: u32,
    /// The largest share, in percent, of the images that the run may touch which are due. Above it the run stops.
    pub share_percent: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            images: DEFAULT_IMAGES,
            orphan_snapshots: DEFAULT_ORPHAN_SNAPSHOTS,
            remaining: 1,
            share_percent: DEFAULT_SHARE_PERCENT,
        }
    }
}

/// What may be asked for, as it comes in.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct CleanupInput {
    run: Option<String>,
    scheduled_time: Option<String>,
    policy: Option<String>,
    regions: Option<Vec<Region>>,
    apply: bool,
    approval: bool,
    families: Option<Vec<FamilyRule>>,
    retention: Option<Retention>,
    stages: Option<Stages>,
    launched_within_days: Option<u32>,
    require_object: bool,
    include_unmanaged: bool,
    keep_tags: Vec<KeepTag>,
    launch_template_versions: VersionsInUse,
    usage_reports: Option<bool>,
    orphans: Option<OrphanPolicy>,
    limits: Limits,
    floors: BTreeMap<String, u64>,
    fresh_minutes: Option<u32>,
}

/// A policy in full: nothing is left to default.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CleanupPolicy {
    /// Name of the policy.
    pub name: String,
    /// What makes images generations of one thing; the first rule that fits an image counts.
    pub families: Vec<FamilyRule>,
    /// What is kept of each family. `None`: only what is written on an image says when it may go.
    pub retention: Option<Retention>,
    /// How an image goes step by step. `None`: it is deregistered when it is due.
    pub stages: Option<Stages>,
    /// An image that was launched within so many days stays.
    pub launched_within_days: Option<u32>,
    /// Whether an image counts as a backup, and may go, only if its object is in the bucket.
    pub require_object: bool,
    /// Whether images that this product did not make may go too.
    pub include_unmanaged: bool,
    /// What carries one of these tags stays.
    pub keep_tags: Vec<KeepTag>,
    /// Which versions of a launch template are a use.
    pub launch_template_versions: VersionsInUse,
    /// Whether EC2 is asked for a report on the usage of an image by other accounts before it goes.
    pub usage_reports: bool,
    /// Whether and when orphan snapshots go.
    pub orphans: Option<OrphanPolicy>,
    /// How much may go.
    pub limits: Limits,
    /// The least that a listing of a healthy account holds.
    pub floors: BTreeMap<Source, u64>,
    /// Minutes for which the plan may be applied.
    pub fresh_minutes: u32,
    /// Whether a person has to agree to each plan, and not only to one that asks.
    pub approval: bool,
}

/// What a clean-up was asked to do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CleanupRequest {
    /// Identity of the run.
    pub run: String,
    /// Whether a schedule asked.
    pub scheduled: bool,
    /// Where.
    pub regions: Vec<Region>,
    /// Whether the plan is applied; a dry run otherwise.
    pub apply: bool,
    /// What to do.
    pub policy: CleanupPolicy,
}

/// Reads what a clean-up was asked to do. `home` is where it happens unless the input names Regions.
///
/// # Errors
/// `InvalidInput` with the path of the field.
pub fn cleanup_request(value: Value, execution_name: Option<&str>, home: &Region) -> Result<CleanupRequest, StepError> {
    let asked: CleanupInput = input::parse(value)?;
    let run = run_identity(asked.run.as_deref(), asked.scheduled_time.as_deref(), execution_name)?;
    let families = asked.families.unwrap_or_else(|| vec![FamilyRule::Source]);
    check_families(&families)?;
    if let Some(retention) = &asked.retention {
        retention.check()?;
    }
    if let Some(stages) = &asked.stages {
        stages.check()?;
    }
    if asked.launch_template_versions == VersionsInUse::Newest(0) {
        return Err(StepError::input("launchTemplateVersions.newest", "must be at least 1"));
    }
    if asked.orphans.as_ref().is_some_and(|orphans| orphans.grace_days == 0) {
        return Err(StepError::input(
            "orphans.graceDays",
            "must be at least 1: what looks like an orphan may be in the making",
        ));
    }
    check_limits(&asked.limits)?;
    let fresh_minutes = asked.fresh_minutes.unwrap_or(DEFAULT_FRESH_MINUTES);
    if !(1..=LONGEST_FRESH_MINUTES).contains(&fresh_minutes) {
        return Err(StepError::input("freshMinutes", format!("must be 1 to {LONGEST_FRESH_MINUTES}")));
    }
    let policy = CleanupPolicy {
        name: valid_label("policy", asked.policy.as_deref().unwrap_or("manual"), LONGEST_RUN)?,
        families,
        retention: asked.retention,
        stages: asked.stages,
        launched_within_days: asked.launched_within_days,
        require_object: asked.require_object,
        include_unmanaged: asked.include_unmanaged,
        keep_tags: asked.keep_tags,
        launch_template_versions: asked.launch_template_versions,
        usage_reports: asked.usage_reports.unwrap_or(true),
        orphans: asked.orphans,
        limits: asked.limits,
        floors: floors(asked.floors)?,
        fresh_minutes,
        approval: asked.approval,
    };
    let regions = regions(asked.regions, home)?;
    Ok(CleanupRequest { run, scheduled: asked.scheduled_time.is_some(), regions, apply: asked.apply, policy })
}

fn regions(asked: Option<Vec<Region>>, home: &Region) -> Result<Vec<Region>, StepError> {
    let Some(regions) = asked else { return Ok(vec![home.clone()]) };
    if regions.is_empty() {
        return Err(StepError::input("regions", "has none: leave it out for the Region that the product runs in"));
    }
    for (index, region) in regions.iter().enumerate() {
        if regions.iter().take(index).any(|before| before == region) {
            return Err(StepError::input(&format!("regions[{index}]"), format!("{region} is there twice")));
        }
    }
    Ok(regions)
}

fn check_families(families: &[FamilyRule]) -> Result<(), StepError> {
    if families.is_empty() {
        return Err(StepError::input("families", "without a rule no image belongs to a family, and nothing could go"));
    }
    for (index, rule) in families.iter().enumerate() {
        let (FamilyRule::Tag(text) | FamilyRule::Name(text)) = rule else { continue };
        if text.is_empty() {
            return Err(StepError::input(&format!("families[{index}]"), "must not be empty"));
        }
    }
    Ok(())
}

fn floors(asked: BTreeMap<String, u64>) -> Result<BTreeMap<Source, u64>, StepError> {
    let one =
        |(name, floor): (String, u64)| input::word(&format!("floors.{name}"), &name).map(|source| (source, floor));
    asked.into_iter().map(one).collect()
}

fn check_limits(limits: &Limits) -> Result<(), StepError> {
    if !(1..=100).contains(&limits.share_percent) {
        return Err(StepError::input("limits.sharePercent", "must be 1 to 100"));
    }
    if limits.remaining == 0 {
        return Err(StepError::input("limits.remaining", "must be at least 1: no clean-up empties a Region"));
    }
    Ok(())
}

#[cfg(test)]
pub(crate) mod tests {
    use serde_json::json;

    use super::*;
    use crate::{cleanup::account::tests::region, error::ErrorName};

    pub(crate) fn policy(value: Value) -> CleanupPolicy {
        cleanup_request(value, Some("execution-1"), &region())
            .map(|request| request.policy)
            .unwrap_or_else(|e| unreachable!("{e}"))
    }

    #[track_caller]
    fn refused(value: Value, path: &str) {
        let error = cleanup_request(value.clone(), Some("execution-1"), &region()).err();
        assert_eq!(error.as_ref().map(|e| e.name), Some(ErrorName::InvalidInput), "{value}");
        let text = error.map(|e| e.to_string()).unwrap_or_default();
        assert!(text.contains(path), "{path} is missing from {text}");
    }

    #[test]
    fn what_is_left_out_is_careful() -> Result<(), StepError> {
        let request = cleanup_request(json!({}), Some("execution-1"), &region())?;
        assert_eq!((request.run.as_str(), request.scheduled, request.apply), ("execution-1", false, false));
        assert_eq!(request.regions, [region()]);
        let policy = request.policy;
        assert!(policy.usage_reports && !policy.approval);
        assert!(!policy.include_unmanaged && policy.orphans.is_none() && policy.retention.is_none());
        assert_eq!(policy.launch_template_versions, VersionsInUse::All);
        assert_eq!(policy.families, [FamilyRule::Source]);
        assert_eq!((policy.name.as_str(), policy.fresh_minutes), ("manual", DEFAULT_FRESH_MINUTES));
        assert_eq!(policy.limits, Limits { images: 25, orphan_snapshots: 100, remaining: 1, share_percent: 50 });
        Ok(())
    }

    #[test]
    fn everything_that_can_be_asked_for_is_read() -> Result<(), StepError> {
        let request = cleanup_request(
            json!({
                "scheduledTime": "2026-11-23T02:00:00Z", "policy": "nightly", "apply": true,
                "families": ["source", {"tag": "Role"}, {"name": "web-*"}],
                "retention": {"newest": 3, "days": 30, "daily": 7, "weekly": 4, "monthly": 12, "yearly": 0},
                "stages": {"deprecateDays": 30, "disableDays": 60, "deregisterDays": 90},
                "launchedWithinDays": 30, "requireObject": true, "includeUnmanaged": true,
                "keepTags": ["Keep", "Tier=gold"], "launchTemplateVersions": {"newest": 5},
                "orphans": {"graceDays": 14}, "floors": {"instances": 10, "launchTemplateVersions": 1},
                "limits": {"images": 50, "sharePercent": 100}, "freshMinutes": 60,
                "regions": ["eu-west-1", "us-east-1"], "approval": true, "usageReports": false,
            }),
            None,
            &region(),
        )?;
        assert_eq!((request.run.as_str(), request.scheduled, request.apply), ("2026-11-23T02:00:00Z", true, true));
        assert_eq!(request.regions.iter().map(Region::as_str).collect::<Vec<_>>(), ["eu-west-1", "us-east-1"]);
        let policy = request.policy;
        assert!(policy.approval && !policy.usage_reports);
        assert_eq!(policy.families.len(), 3);
        assert_eq!(policy.retention.as_ref().map(|r| (r.newest, r.yearly)), Some((3, 0)));
        assert_eq!(policy.limits, Limits { images: 50, share_percent: 100, ..Limits::default() });
        assert_eq!(policy.floors.get(&Source::Instances), Some(&10));
        assert_eq!(policy.launch_template_versions, VersionsInUse::Newest(5));
        let again: CleanupPolicy = input::parse(serde_json::to_value(&policy).unwrap_or_default())?;
        assert_eq!(again, policy);
        Ok(())
    }

    #[test]
    fn bad_input_is_refused_with_its_path() {
        refused(json!({"aply": true}), "aply");
        refused(json!({"families": []}), "families");
        refused(json!({"families": [{"tag": ""}]}), "families[0]");
        refused(json!({"families": ["source", {"name": ""}]}), "families[1]");
        refused(json!({"families": [{"prefix": "x"}]}), "families[0]");
        refused(json!({"retention": {}}), "retention");
        refused(json!({"retention": {"newest": 0, "days": 0}}), "retention");
        refused(json!({"retention": {"newest": -1}}), "retention.newest");
        refused(json!({"retention": {"hourly": 1}}), "hourly");
        refused(json!({"stages": {}}), "stages");
        refused(json!({"stages": {"deprecateDays": 60, "disableDays": 30}}), "stages.disableDays");
        refused(json!({"stages": {"deprecateDays": 60, "deregisterDays": 30}}), "stages.deregisterDays");
        refused(json!({"keepTags": [""]}), "keepTags[0]");
        refused(json!({"keepTags": ["=gold"]}), "keepTags[0]");
        refused(json!({"launchTemplateVersions": {"newest": 0}}), "launchTemplateVersions");
        refused(json!({"orphans": {"graceDays": 0}}), "orphans.graceDays");
        refused(json!({"orphans": {}}), "orphans");
        refused(json!({"limits": {"sharePercent": 0}}), "limits.sharePercent");
        refused(json!({"limits": {"sharePercent": 101}}), "limits.sharePercent");
        refused(json!({"limits": {"remaining": 0}}), "limits.remaining");
        refused(json!({"regions": []}), "regions");
        refused(json!({"regions": ["us-east-1", "eu-west-1", "us-east-1"]}), "regions[2]");
        refused(json!({"regions": ["Atlantis"]}), "regions[0]");
        refused(json!({"freshMinutes": 0}), "freshMinutes");
        refused(json!({"freshMinutes": 10_081}), "freshMinutes");
        refused(json!({"floors": {"images": "many"}}), "floors.images");
        refused(json!({"floors": {"imagos": 1}}), "floors.imagos");
        refused(json!({"scheduledTime": "<aws.scheduler.scheduled-time>"}), "scheduledTime");
    }

    #[test]
    fn limits_may_be_as_wide_as_is_said() {
        assert_eq!(policy(json!({"limits": {"sharePercent": 1}})).limits.share_percent, 1);
        assert_eq!(policy(json!({"orphans": {"graceDays": 1}})).orphans, Some(OrphanPolicy { grace_days: 1 }));
        assert_eq!(policy(json!({})).fresh_minutes, 1440, "a day");
        assert_eq!(policy(json!({"freshMinutes": 1})).fresh_minutes, 1);
        assert_eq!(policy(json!({"freshMinutes": 10_080})).fresh_minutes, LONGEST_FRESH_MINUTES);
    }
}
