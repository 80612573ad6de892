//! Owns which images are due, by what the account's listings say: nothing keeps them but what only a look at each image
//! can tell.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{
    account::{Account, Expiry, Image, trusted},
    policy::CleanupPolicy,
    reason::Reason,
    retention::{Member, Stages, days, kept_by_retention, kept_for_safety, younger_than},
};
use crate::{error::StepError, image::ImageState};

/// What is done with an image or a snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Action {
    /// Nothing.
    Keep,
    /// An image is hidden from those that it is shared with.
    Deprecate,
    /// Nobody can launch an image until it is enabled again.
    Disable,
    /// An image is removed, and the snapshots that no other image is on with it.
    Deregister,
    /// A snapshot is removed.
    DeleteSnapshot,
}

impl Action {
    /// As it is written.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Keep => "KEEP",
            Self::Deprecate => "DEPRECATE",
            Self::Disable => "DISABLE",
            Self::Deregister => "DEREGISTER",
            Self::DeleteSnapshot => "DELETE_SNAPSHOT",
        }
    }
}

/// What the listings say of an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Judgement {
    /// `Keep`, or what it is due for.
    pub action: Action,
    /// Why: all that keeps it, or why it is due.
    pub reasons: Vec<Reason>,
    /// The newest verified backup of its family, by its place in the account's images: what must still be there when
    /// this one goes.
    pub last_good: Option<usize>,
}

/// Judges every image of an account, in the order of its images.
///
/// # Errors
/// `Conflict` if a listing cannot be trusted: nothing is due then.
pub fn judge(account: &Account, policy: &CleanupPolicy, now: Timestamp) -> Result<Vec<Judgement>, StepError> {
    trusted(&account.readings, policy, &account.last_readings, &account.region)?;
    let mut kept: Vec<Vec<Reason>> =
        account.images.iter().map(|image| kept_alone(account, image, policy, now)).collect();
    let mut last_good: Vec<Option<usize>> = vec![None; account.images.len()];
    for places in families(account).values() {
        let members: Vec<Member> =
            places.iter().map(|(created_at, place)| member(account, policy, *created_at, *place)).collect();
        let good = members.iter().zip(places).find(|(member, _)| member.verified).map(|(_, (_, place))| *place);
        let retained = policy.retention.as_ref().map(|retention| kept_by_retention(&members, retention, now));
        let retained = retained.unwrap_or_else(|| vec![Vec::new(); members.len()]);
        for (((_, place), safe), retained) in places.iter().zip(kept_for_safety(&members)).zip(retained) {
            if let (Some(kept), Some(last_good)) = (kept.get_mut(*place), last_good.get_mut(*place)) {
                kept.extend(safe);
                kept.extend(retained);
                *last_good = good;
            }
        }
    }
    let judged = account.images.iter().zip(kept).zip(last_good);
    Ok(judged.map(|((image, kept), last_good)| conclude(image, kept, last_good, policy, now)).collect())
}

/// Why an image stays, by itself.
fn kept_alone(account: &Account, image: &Image, policy: &CleanupPolicy, now: Timestamp) -> Vec<Reason> {
    let mut kept = image.protections.clone();
    kept.extend(account.uses.of_image(&image.image_id).iter().cloned().map(Reason::InUse));
    if let (Some(days), Some(at)) = (policy.launched_within_days, image.launched_at)
        && younger_than(at, days, now)
    {
        kept.push(Reason::Launched(at));
    }
    match &image.state {
        ImageState::Available | ImageState::Disabled | ImageState::Terminal(_) => {}
        other => kept.push(Reason::State(other.as_str().to_owned())),
    }
    if image.created_at.is_none() {
        kept.push(Reason::NoAge);
    }
    if image.family.is_none() {
        kept.push(Reason::NoFamily);
    }
    match &image.expiry {
        Expiry::ByPolicy if policy.retention.is_none() => kept.push(Reason::NoExpiry),
        Expiry::ByPolicy => {}
        Expiry::Never => kept.push(Reason::Never),
        Expiry::At(at) if now < *at => kept.push(Reason::NotBefore(*at)),
        Expiry::At(_) => {}
        Expiry::Unreadable(text) => kept.push(Reason::UnreadableExpiry(text.clone())),
    }
    if policy.require_object
        && let Some(problem) = account.object_problem(image)
    {
        kept.push(Reason::NoObject(problem));
    }
    kept
}

/// The images of each family that the run may touch and whose age is known, newest first: by time, then by id, so that
/// the order of a listing changes nothing.
fn families(account: &Account) -> BTreeMap<&str, Vec<(Timestamp, usize)>> {
    let mut families: BTreeMap<&str, Vec<(Timestamp, usize)>> = BTreeMap::new();
    for (place, image) in account.images.iter().enumerate() {
        if let (true, Some(family), Some(created_at)) = (image.in_scope, &image.family, image.created_at) {
            families.entry(family).or_default().push((created_at, place));
        }
    }
    let id = |place: usize| account.images.get(place).map(|image| &image.image_id);
    for places in families.values_mut() {
        places.sort_by(|(a_at, a), (b_at, b)| b_at.cmp(a_at).then_with(|| id(*b).cmp(&id(*a))));
    }
    families
}

fn member(account: &Account, policy: &CleanupPolicy, created_at: Timestamp, place: usize) -> Member {
    let verified = account.images.get(place).is_some_and(|image| {
        image.state == ImageState::Available && (!policy.require_object || account.object_problem(image).is_none())
    });
    Member { created_at, verified }
}

fn conclude(
    image: &Image,
    kept: Vec<Reason>,
    last_good: Option<usize>,
    policy: &CleanupPolicy,
    now: Timestamp,
) -> Judgement {
    let due = match (&policy.stages, image.created_at) {
        (None, _) | (_, None) => Ok(Action::Deregister),
        (Some(stages), Some(created_at)) => next_stage(image, stages, created_at, now),
    };
    let (action, reasons) = match due {
        _ if !kept.is_empty() => (Action::Keep, kept),
        Ok(action) => (action, why_due(image, policy)),
        Err(reason) => (Action::Keep, vec![reason]),
    };
    Judgement { action, reasons, last_good }
}

fn why_due(image: &Image, policy: &CleanupPolicy) -> Vec<Reason> {
    let mut reasons = Vec::new();
    if let ImageState::Terminal(state) = &image.state {
        reasons.push(Reason::Broken(state.clone()));
    }
    if let Expiry::At(at) = image.expiry {
        reasons.push(Reason::Expired(at));
    }
    if policy.retention.is_some() {
        reasons.push(Reason::PastRetention);
    }
    reasons
}

/// The first stage that the image has not been through, if its age is there; else why it stays.
fn next_stage(image: &Image, stages: &Stages, created_at: Timestamp, now: Timestamp) -> Result<Action, Reason> {
    let usable = image.state == ImageState::Available;
    let deprecated = image.deprecated_at.is_some_and(|at| at <= now);
    // What is not available can neither be deprecated nor disabled, or has been.
    let all = [
        ("deprecate", stages.deprecate_days, usable && !deprecated, Action::Deprecate),
        ("disable", stages.disable_days, usable, Action::Disable),
        ("deregister", stages.deregister_days, true, Action::Deregister),
    ];
    for (stage, age_days, open, action) in all {
        let (Some(age_days), true) = (age_days, open) else { continue };
        if !younger_than(created_at, age_days, now) {
            return Ok(action);
        }
        // A time that cannot be written is far away.
        let at = created_at.checked_add(days(age_days)).unwrap_or(Timestamp::MAX);
        return Err(Reason::StageFrom { stage, at });
    }
    Err(Reason::LastStage)
}

#[cfg(test)]
pub(crate) mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::{
        cleanup::{
            account::tests::{all_read, region},
            policy::tests::policy,
            usage::{User, Uses},
        },
        id::ImageId,
    };

    pub(crate) const NOW: &str = "2026-11-24T02:00:00Z";

    pub(crate) fn now() -> Timestamp {
        NOW.parse().unwrap_or_else(|_| unreachable!())
    }

    pub(crate) fn id(number: u32) -> ImageId {
        format!("ami-{number:08x}").parse().unwrap_or_else(|_| unreachable!())
    }

    /// An image of ours, so many days old, of one family.
    pub(crate) fn image(number: u32, age_days: u32) -> Image {
        Image {
            image_id: id(number),
            name: format!("backup-{number}"),
            state: ImageState::Available,
            created_at: now().checked_sub(days(age_days)).ok(),
            family: Some("source i-12345678, x86_64".into()),
            in_scope: true,
            expiry: Expiry::ByPolicy,
            protections: Vec::new(),
            deprecated_at: None,
            launched_at: None,
            snapshots: format!("snap-{number:08x}").parse().into_iter().collect(),
            provisioned_gib: 8,
            bin_days: None,
        }
    }

    pub(crate) fn account(images: Vec<Image>) -> Account {
        Account {
            account_id: "111122223333".into(),
            region: region(),
            images,
            snapshots: Vec::new(),
            uses: Uses::default(),
            binned: Vec::new(),
            odd_binned: Vec::new(),
            objects: BTreeMap::new(),
            orphans_since: BTreeMap::new(),
            left_over: BTreeMap::new(),
            removed_before: crate::cleanup::summary::Removed::default(),
            readings: all_read(),
            last_readings: BTreeMap::new(),
        }
    }

    fn judged(account: &Account, asked: Value) -> Vec<(Action, Vec<&'static str>)> {
        let judged = judge(account, &policy(asked), now()).unwrap_or_else(|error| unreachable!("{error}"));
        let codes = |judgement: &Judgement| judgement.reasons.iter().map(Reason::code).collect();
        judged.iter().map(|judgement| (judgement.action, codes(judgement))).collect()
    }

    /// What is said of the oldest of three images, after a change of it. The policy keeps the newest.
    fn of_oldest(change: impl FnOnce(&mut Image)) -> (Action, Vec<&'static str>) {
        of_oldest_under(json!({"retention": {"newest": 1}}), change)
    }

    fn of_oldest_under(asked: Value, change: impl FnOnce(&mut Image)) -> (Action, Vec<&'static str>) {
        let mut oldest = image(3, 100);
        change(&mut oldest);
        judged(&account(vec![image(1, 1), image(2, 50), oldest]), asked).pop().unwrap_or_else(|| unreachable!())
    }

    #[test]
    fn what_retention_does_not_keep_is_due() {
        let all = judged(&account(vec![image(1, 1), image(2, 2), image(3, 3)]), json!({"retention": {"newest": 2}}));
        assert_eq!(all[0], (Action::Keep, vec!["last-good", "among-newest"]));
        assert_eq!(all[1], (Action::Keep, vec!["among-newest"]));
        assert_eq!(all[2], (Action::Deregister, vec!["past-retention"]));
    }

    /// 49. What cannot be aged, or belongs to no family, stays.
    #[test]
    fn what_an_image_carries_keeps_it() {
        let kept = |change: fn(&mut Image), code| assert_eq!(of_oldest(change), (Action::Keep, vec![code]));
        kept(|image| image.protections.push(Reason::KeepTag("Keep".into())), "keep-tag");
        kept(|image| image.protections.push(Reason::Public), "public");
        kept(|image| image.created_at = None, "no-age");
        kept(|image| image.family = None, "no-family");
        kept(|image| image.expiry = Expiry::Never, "never");
        kept(|image| image.expiry = Expiry::Unreadable("soon".into()), "unreadable-expiry");
        kept(|image| image.expiry = Expiry::At(now() + days(1)), "not-expired");
        kept(|image| image.state = ImageState::Pending, "state");
        kept(|image| image.state = ImageState::Other("transient".into()), "state");
    }

    /// 48. What is written on an image outlives the policy: before that date it stays, `never` stays for ever, and what
    ///     is no date stays too.
    ///
    /// Case 31: what is written on an image counts, with and without a policy that knows it.
    #[test]
    fn the_date_on_an_image_outlives_the_policy() {
        let expired = |image: &mut Image| image.expiry = Expiry::At(now());
        assert_eq!(of_oldest_under(json!({}), expired), (Action::Deregister, vec!["expired"]));
        assert_eq!(of_oldest(expired), (Action::Deregister, vec!["expired", "past-retention"]));
        assert_eq!(of_oldest_under(json!({}), |_| {}), (Action::Keep, vec!["no-expiry"]));
        for asked in [json!({}), json!({"retention": {"newest": 1}})] {
            let with = |expiry| of_oldest_under(asked.clone(), |image| image.expiry = expiry);
            assert_eq!(with(Expiry::At(now() + days(1))), (Action::Keep, vec!["not-expired"]));
            assert_eq!(with(Expiry::Never), (Action::Keep, vec!["never"]));
            assert_eq!(with(Expiry::Unreadable("soon".into())), (Action::Keep, vec!["unreadable-expiry"]));
        }
        // A date that is over does not overrule what retention still wants.
        assert_eq!(of_oldest_under(json!({"retention": {"newest": 3}}), expired), (Action::Keep, vec!["among-newest"]));
    }

    /// 45. Nothing in use goes, whichever kind of use it is. A use is an instance in any state but terminated, a
    ///     version of a launch template, a launch configuration, an Auto Scaling group, a fleet, an SSM parameter, a
    ///     recipe, another account, a task that reads it.
    ///
    /// Cases 1 and 10: whatever uses it, and however it is used.
    #[test]
    fn what_is_in_use_stays_whichever_use_it_is() {
        let stays = |case: &str, add: &dyn Fn(&mut Uses)| {
            let mut account = account(vec![image(1, 1), image(2, 2), image(3, 3)]);
            add(&mut account.uses);
            let all = judged(&account, json!({"retention": {"newest": 1}}));
            assert_eq!(all[1].0, Action::Deregister);
            assert_eq!(all[2], (Action::Keep, vec!["in-use"]), "{case}");
        };
        for by in User::ALL.iter().copied() {
            stays(by.as_str(), &|uses| uses.add(id(3), by, "x"));
        }
        for state in ["pending", "running", "stopping", "stopped", "shutting-down"] {
            stays(state, &|uses| uses.add_instance(Some(id(3).as_str()), "i-12345678", state));
        }
    }

    #[test]
    fn what_was_launched_lately_stays_if_the_policy_says_so() {
        let launched = |ago| move |image: &mut Image| image.launched_at = now().checked_sub(days(ago)).ok();
        let asked = json!({"retention": {"newest": 1}, "launchedWithinDays": 30});
        assert_eq!(of_oldest_under(asked.clone(), launched(29)), (Action::Keep, vec!["launched"]));
        assert_eq!(of_oldest_under(asked.clone(), launched(30)).0, Action::Deregister);
        assert_eq!(of_oldest_under(asked, |_| {}).0, Action::Deregister);
        assert_eq!(of_oldest(launched(1)).0, Action::Deregister);
    }

    /// Case 28: when backups have failed for weeks, the last good one stays however old it is.
    #[test]
    fn the_last_good_backup_stays_and_what_is_newer() {
        let mut broken = image(2, 10);
        broken.state = ImageState::Terminal("failed".into());
        let mut making = image(1, 0);
        making.state = ImageState::Pending;
        let all =
            judged(&account(vec![making, broken, image(3, 400), image(4, 500)]), json!({"retention": {"days": 1}}));
        assert_eq!(all[0].1, ["state", "newer-than-last-good", "young"]);
        assert_eq!(all[1].1, ["newer-than-last-good"]);
        assert_eq!(all[2].1, ["last-good"]);
        assert_eq!(all[3], (Action::Deregister, vec!["past-retention"]));
    }

    #[test]
    fn what_never_became_an_image_goes_once_a_newer_one_is_good() {
        let broken = |image: &mut Image| image.state = ImageState::Terminal("failed".into());
        assert_eq!(of_oldest(broken), (Action::Deregister, vec!["broken", "past-retention"]));
    }

    /// 46. Good is what is available and, where an object is required, has one that is plausible.
    #[test]
    fn where_an_object_is_required_only_what_has_one_counts_and_goes() {
        let asked = json!({"retention": {"newest": 1}, "requireObject": true});
        let disabled = Image { state: ImageState::Disabled, ..image(6, 0) };
        let mut account = account(vec![image(1, 1), image(2, 2), image(3, 3), image(4, 4), image(5, 5), disabled]);
        let all = judged(&account, asked.clone());
        assert!(all.iter().all(|(action, codes)| *action == Action::Keep && codes.contains(&"none-verified")));
        account.objects = [(id(2), 1 << 30), (id(3), 8 << 30), (id(4), 0), (id(5), (8 << 30) + 1), (id(6), 1)].into();
        let all = judged(&account, asked);
        assert_eq!(all[0].1, ["no-object", "newer-than-last-good"]);
        assert_eq!(all[1].1, ["last-good", "among-newest"]);
        assert_eq!(all[2], (Action::Deregister, vec!["past-retention"]));
        assert_eq!(all[3].1, ["no-object"]);
        assert_eq!(all[4].1, ["no-object"]);
        assert_eq!(all[5].1, ["newer-than-last-good"], "it has an object and cannot be launched");
    }

    #[test]
    fn families_are_kept_each_by_itself() {
        let mut other = image(3, 3);
        other.family = Some("source i-87654321, x86_64".into());
        let all = judged(&account(vec![image(1, 1), image(2, 2), other]), json!({"retention": {"newest": 1}}));
        assert_eq!(
            all.iter().map(|(action, _)| *action).collect::<Vec<_>>(),
            [Action::Keep, Action::Deregister, Action::Keep]
        );
    }

    #[test]
    fn what_the_run_may_not_touch_replaces_nothing() {
        let mut foreign = image(1, 1);
        foreign.in_scope = false;
        foreign.protections.push(Reason::NotOurs);
        let all = judged(&account(vec![foreign, image(2, 2)]), json!({"retention": {"newest": 1}}));
        assert_eq!(all[0].1, ["not-ours"]);
        assert_eq!(all[1].1, ["last-good", "among-newest"]);
    }

    #[test]
    fn of_two_of_one_moment_the_order_of_the_listing_decides_nothing() {
        let due = |images| {
            let account = account(images);
            let judged = judge(&account, &policy(json!({"retention": {"newest": 1}})), now()).unwrap_or_default();
            let due = judged.iter().zip(&account.images).find(|(judgement, _)| judgement.action != Action::Keep);
            due.map(|(_, image)| image.image_id.clone())
        };
        assert_eq!(due(vec![image(1, 5), image(2, 5)]), due(vec![image(2, 5), image(1, 5)]));
    }

    #[test]
    fn what_goes_knows_what_replaces_it() {
        let judged = judge(
            &account(vec![image(2, 2), image(1, 1), image(3, 3)]),
            &policy(json!({"retention": {"newest": 1}})),
            now(),
        );
        let good: Vec<_> = judged.unwrap_or_default().iter().map(|judgement| judgement.last_good).collect();
        assert_eq!(good, [Some(1), Some(1), Some(1)]);
    }

    #[test]
    fn an_image_goes_one_stage_at_a_time_and_each_from_its_age() {
        let asked = json!({"retention": {"newest": 1},
            "stages": {"deprecateDays": 30, "disableDays": 60, "deregisterDays": 90}});
        let at = |age: u32, deprecated: bool, state: ImageState| {
            of_oldest_under(asked.clone(), |image| {
                *image = Image {
                    created_at: now().checked_sub(days(age)).ok(),
                    deprecated_at: deprecated.then(now),
                    state,
                    ..image.clone()
                }
            })
        };
        let (open, off) = (ImageState::Available, ImageState::Disabled);
        let waits = (Action::Keep, vec!["next-stage-later"]);
        // The second image of the fixture is 50 days old: what is younger is no longer the oldest, and due all the same.
        assert_eq!(at(29, false, open.clone()), waits);
        assert_eq!(at(30, false, open.clone()), (Action::Deprecate, vec!["past-retention"]));
        assert_eq!(at(400, false, open.clone()).0, Action::Deprecate);
        assert_eq!(at(59, true, open.clone()), waits);
        assert_eq!(at(60, true, open).0, Action::Disable);
        assert_eq!(at(89, true, off.clone()), waits);
        assert_eq!(at(90, true, off.clone()).0, Action::Deregister);
        assert_eq!(at(90, false, off).0, Action::Deregister);
        assert_eq!(at(89, false, ImageState::Terminal("failed".into())), waits);
        assert_eq!(at(90, false, ImageState::Terminal("failed".into())).0, Action::Deregister);
    }

    #[test]
    fn a_stage_that_the_policy_does_not_have_is_not_waited_for() {
        let with = |stages: Value, change: fn(&mut Image)| {
            of_oldest_under(json!({"retention": {"newest": 1}, "stages": stages}), change)
        };
        assert_eq!(with(json!({"disableDays": 10}), |_| {}).0, Action::Disable);
        assert_eq!(with(json!({"disableDays": 10}), |image| image.state = ImageState::Disabled).1, ["last-stage"]);
        assert_eq!(with(json!({"deprecateDays": 10}), |image| image.deprecated_at = Some(now())).1, ["last-stage"]);
        let later = |image: &mut Image| image.deprecated_at = Some(now() + days(1));
        assert_eq!(with(json!({"deprecateDays": 10}), later).0, Action::Deprecate);
        assert_eq!(with(json!({"deregisterDays": 10}), |_| {}).0, Action::Deregister);
    }

    #[test]
    fn what_waits_for_its_stage_says_until_when() {
        let mut account = account(vec![image(1, 1), image(2, 20)]);
        account.images[1].created_at = Some(now() - days(20));
        let asked = policy(json!({"retention": {"newest": 1}, "stages": {"disableDays": 30}}));
        let judged = judge(&account, &asked, now()).unwrap_or_default();
        assert_eq!(judged[1].reasons, [Reason::StageFrom { stage: "disable", at: now() + days(10) }]);
    }

    #[test]
    fn an_action_is_written_everywhere_alike() {
        for action in [Action::Keep, Action::Deprecate, Action::Disable, Action::Deregister, Action::DeleteSnapshot] {
            assert_eq!(serde_json::to_value(action).ok(), Some(action.as_str().into()));
        }
    }

    #[test]
    fn without_trust_nothing_is_judged() {
        let mut account = account(vec![image(1, 1), image(2, 2)]);
        account.readings.remove(&crate::cleanup::account::Source::Instances);
        let error = judge(&account, &policy(json!({"retention": {"newest": 1}})), now()).err();
        assert!(error.is_some_and(|error| error.doing == "list instances"));
    }
}
