//! Owns the look at an image or a snapshot just before it goes: whether what the plan saw still holds.
//!
//! Between a plan and its application a person reads it, and somebody launches an image, shares it, keeps it with a tag,
//! or removes the backup that was to replace it.

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::{
    account::{Expiry, Image, Snapshot},
    judge::Action,
    plan::{ImageLine, SnapshotLine},
    policy::{CleanupPolicy, Limits},
    reason::{Reason, WrittenReason},
    retention::{Member, kept_by_retention, younger_than},
    usage::Use,
};
use crate::{id::ImageId, image::ImageState};

/// What is done with something now that it was looked at again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Again {
    /// What the plan says.
    Go,
    /// It is gone already: by an earlier try, or by somebody else.
    Gone,
    /// It stays, for these reasons.
    Keep(Vec<Reason>),
}

/// Within this after now an image counts as deprecated: EC2 takes no time in the past, and rounds to minutes.
pub const DEPRECATION_MARGIN: SignedDuration = SignedDuration::from_mins(2);

/// What a look at an image shows just before it goes.
#[derive(Debug, Clone, Copy)]
pub struct ImageNow<'a> {
    /// The image; `None`: EC2 does not know it any more.
    pub image: Option<&'a Image>,
    /// Who uses it.
    pub uses: &'a [Use],
    /// The backup that was to replace it, if it is there.
    pub last_good: Option<&'a Image>,
    /// The images of its family that the run may touch, itself among them.
    pub family: &'a [Generation],
    /// How many more images this run may change or remove.
    pub room: u32,
}

/// An image as retention counts it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Generation {
    /// The image.
    pub image_id: ImageId,
    /// When it was made.
    pub created_at: Timestamp,
    /// Whether it is available.
    pub available: bool,
}

impl Generation {
    /// An image, if retention counts it at all.
    pub fn of(image: &Image) -> Option<Self> {
        let created_at = image.created_at.filter(|_| image.in_scope)?;
        let available = image.state == ImageState::Available;
        Some(Self { image_id: image.image_id.clone(), created_at, available })
    }
}

/// Whether an image still goes.
pub fn image_again(planned: &ImageLine, seen: ImageNow<'_>, policy: &CleanupPolicy, now: Timestamp) -> Again {
    let Some(image) = seen.image else { return Again::Gone };
    if is_so_already(planned.action, image, now) {
        return Again::Gone;
    }
    let mut kept = image.protections.clone();
    kept.extend(seen.uses.iter().cloned().map(Reason::InUse));
    kept.extend(changes(planned, image));
    kept.extend(expiry_again(image, policy, now));
    if let (Some(days), Some(at)) = (policy.launched_within_days, image.launched_at)
        && younger_than(at, days, now)
    {
        kept.push(Reason::Launched(at));
    }
    kept.extend(replacement_problem(planned, image, seen.last_good));
    kept.extend(retained_again(image, seen.family, policy, now));
    if seen.room == 0 {
        kept.push(Reason::OverLimit { limit: policy.limits.images });
    }
    if kept.is_empty() { Again::Go } else { Again::Keep(kept) }
}

/// What retention keeps an image for now: images that were kept in its place may have gone since the plan.
fn retained_again(image: &Image, family: &[Generation], policy: &CleanupPolicy, now: Timestamp) -> Vec<Reason> {
    let Some(retention) = &policy.retention else { return Vec::new() };
    let mut family: Vec<&Generation> = family.iter().collect();
    family.sort_by(|a, b| (b.created_at, &b.image_id).cmp(&(a.created_at, &a.image_id)));
    let members: Vec<Member> =
        family.iter().map(|one| Member { created_at: one.created_at, verified: one.available }).collect();
    let kept = family.iter().zip(kept_by_retention(&members, retention, now));
    kept.filter(|(one, _)| one.image_id == image.image_id).flat_map(|(_, reasons)| reasons).collect()
}

/// Whether an image is already as the plan would make it: an earlier try did it, and its reply was lost.
fn is_so_already(action: Action, image: &Image, now: Timestamp) -> bool {
    match action {
        Action::Disable => image.state == ImageState::Disabled,
        // EC2 rounds the time to the minute, and takes none in the past.
        Action::Deprecate => image.deprecated_at.is_some_and(|at| at <= now + DEPRECATION_MARGIN),
        Action::Keep | Action::Deregister | Action::DeleteSnapshot => false,
    }
}

/// What is not as the plan saw it.
fn changes(planned: &ImageLine, image: &Image) -> Vec<Reason> {
    let all = [
        ("state", planned.state != image.state.as_str()),
        ("snapshots", planned.snapshots != image.snapshots),
        ("family", planned.family != image.family),
        ("age", planned.created_at != image.created_at),
    ];
    all.into_iter().filter(|(_, changed)| *changed).map(|(what, _)| Reason::Changed(what)).collect()
}

fn expiry_again(image: &Image, policy: &CleanupPolicy, now: Timestamp) -> Option<Reason> {
    match &image.expiry {
        Expiry::ByPolicy => policy.retention.is_none().then_some(Reason::NoExpiry),
        Expiry::Never => Some(Reason::Never),
        Expiry::At(at) => (now < *at).then_some(Reason::NotBefore(*at)),
        Expiry::Unreadable(text) => Some(Reason::UnreadableExpiry(text.clone())),
    }
}

/// Why the backup that was to replace the image does not: it is not there, is not available, or is not of its family or
/// not newer.
fn replacement_problem(planned: &ImageLine, image: &Image, last_good: Option<&Image>) -> Option<Reason> {
    let replaces = |good: &Image| {
        Some(&good.image_id) == planned.last_good.as_ref()
            && good.image_id != image.image_id
            && good.state == ImageState::Available
            && good.family == image.family
            && good.created_at >= image.created_at
    };
    (!last_good.is_some_and(replaces)).then(|| Reason::NoReplacement(planned.last_good.clone()))
}

/// What a look at a snapshot shows just before it goes.
#[derive(Debug, Clone, Copy)]
pub struct SnapshotNow<'a> {
    /// The snapshot; `None`: EC2 does not know it any more.
    pub snapshot: Option<&'a Snapshot>,
    /// Images that are on it, whatever their state.
    pub on: &'a [ImageId],
    /// Who uses it.
    pub uses: &'a [Use],
    /// Who it is shared with, if with anybody.
    pub shared_with: Option<&'a str>,
    /// The image that it was made for, or is left of, if that exists in any form.
    pub origin: Option<&'a ImageId>,
    /// An image with which it was to go and that this run did not remove.
    pub not_removed: Option<&'a ImageId>,
    /// Whether it is still left of a plan, by the paper that the line names.
    pub left_over: bool,
    /// How many more snapshots without images this run may delete.
    pub room: u32,
}

/// Whether a snapshot still goes. The images that were on it have gone before it.
pub fn snapshot_again(planned: &SnapshotLine, seen: SnapshotNow<'_>, limits: &Limits) -> Again {
    let Some(snapshot) = seen.snapshot else { return Again::Gone };
    let mut kept = snapshot.protections.clone();
    kept.extend(seen.uses.iter().cloned().map(Reason::InUse));
    kept.extend(seen.shared_with.map(|who| Reason::SharedWith(who.to_owned())));
    kept.extend(seen.on.iter().cloned().map(Reason::Backs));
    // What goes with its images was made for one of them, and that has just gone.
    if planned.images.is_empty() {
        kept.extend(seen.origin.cloned().map(Reason::ImageExists));
        if planned.intent.is_some() && !seen.left_over {
            kept.push(Reason::Changed("standing as a leftover"));
        }
        if seen.room == 0 {
            kept.push(Reason::OverLimit { limit: limits.orphan_snapshots });
        }
    } else if kept.is_empty() {
        kept.extend(seen.not_removed.cloned().map(Reason::NotRemoved));
    }
    if kept.is_empty() { Again::Go } else { Again::Keep(kept) }
}

/// How an item of a plan ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum ItemResult {
    /// The plan's action was done.
    Done,
    /// It was gone already.
    Gone,
    /// It stays, because what the plan saw no longer holds.
    Kept,
    /// EC2 says that an image is still on the snapshot which has just gone: it is tried again.
    InUse,
    /// AWS refused, or could not be asked.
    Failed,
}

/// What became of an item of a plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ItemOutcome {
    /// The image or the snapshot.
    pub id: String,
    /// What the plan says.
    pub action: Action,
    /// How it ended.
    pub result: ItemResult,
    /// Of an image that is gone: that somebody else removed it. This plan was not about to, or EC2 refused.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub by_others: bool,
    /// The digest of the plan.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan: Option<String>,
    /// The start of the run that says so.
    pub started_at: Timestamp,
    /// How often that start has tried.
    #[serde(default)]
    pub tries: u32,
    /// Why it stays.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub reasons: Vec<WrittenReason>,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

impl ItemOutcome {
    /// Whether it went by this plan.
    pub fn went(&self) -> bool {
        matches!(self.result, ItemResult::Done | ItemResult::Gone) && !self.by_others
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::cleanup::{
        judge::{
            judge,
            tests::{account, id, image, now},
        },
        plan::{
            Line, Plan,
            tests::{all_free, snapshot},
        },
        policy::tests::policy,
        protection::Tool,
        retention::days,
        usage::User,
    };

    fn retention() -> CleanupPolicy {
        policy(json!({"retention": {"newest": 1}, "limits": {"sharePercent": 100}}))
    }

    /// A plan in which image 2 goes with its snapshot, and image 1 replaces it.
    fn planned() -> (ImageLine, SnapshotLine) {
        let mut account = account(vec![image(1, 1), image(2, 2)]);
        account.snapshots = vec![snapshot(2)];
        let policy = retention();
        let judged = judge(&account, &policy, now()).unwrap_or_default();
        let lines: Vec<Line> = Plan::new(&account, judged, &all_free(&account), &policy, now()).lines().collect();
        match (&lines[1], &lines[2]) {
            (Line::Image(image), Line::Snapshot(snapshot)) => (image.clone(), snapshot.clone()),
            other => unreachable!("{other:?}"),
        }
    }

    fn again_under(policy: &CleanupPolicy, change: impl FnOnce(&mut Image, &mut Image, &mut Vec<Use>)) -> Again {
        let (mut good, mut going, mut uses) = (image(1, 1), image(2, 2), Vec::new());
        change(&mut going, &mut good, &mut uses);
        let family: Vec<Generation> = [image(1, 1), image(2, 2)].iter().filter_map(Generation::of).collect();
        let seen = ImageNow { last_good: Some(&good), ..now_seen(&going, &uses, &family) };
        image_again(&planned().0, seen, policy, now())
    }

    fn now_seen<'a>(image: &'a Image, uses: &'a [Use], family: &'a [Generation]) -> ImageNow<'a> {
        ImageNow { image: Some(image), uses, last_good: None, family, room: 1 }
    }

    fn codes(again: Again) -> Vec<&'static str> {
        match again {
            Again::Keep(reasons) => reasons.iter().map(Reason::code).collect(),
            Again::Go => vec!["goes"],
            Again::Gone => vec!["gone"],
        }
    }

    fn again(change: impl FnOnce(&mut Image, &mut Image, &mut Vec<Use>)) -> Vec<&'static str> {
        codes(again_under(&retention(), change))
    }

    #[test]
    fn what_is_as_the_plan_saw_it_goes() {
        assert_eq!(again(|_, _, _| {}), ["goes"]);
    }

    /// 57. Just before something goes it is looked at again, and what came into use since stays. What was protected or
    ///     changed since stays too.
    ///
    /// Case 11: what came into use, or under protection, since the plan stays.
    #[test]
    fn what_somebody_wants_meanwhile_stays() {
        assert_eq!(again(|_, _, uses| uses.push(Use { by: User::Instance, id: "i-1 (pending)".into() })), ["in-use"]);
        assert_eq!(again(|image, _, _| image.protections.push(Reason::KeepTag("Keep".into()))), ["keep-tag"]);
        assert_eq!(again(|image, _, _| image.state = ImageState::Disabled), ["changed"]);
        assert_eq!(again(|image, _, _| image.snapshots.clear()), ["changed"]);
        assert_eq!(again(|image, _, _| image.created_at = None), ["changed"]);
        assert_eq!(again(|image, good, _| (image.family, good.family) = (None, None)), ["changed"]);
        assert_eq!(again(|image, _, _| image.expiry = Expiry::Never), ["never"]);
        assert_eq!(again(|image, _, _| image.expiry = Expiry::At(now() + days(1))), ["not-expired"]);
        assert_eq!(again(|image, _, _| image.expiry = Expiry::At(now())), ["goes"]);
        assert_eq!(again(|image, _, _| image.expiry = Expiry::Unreadable("x".into())), ["unreadable-expiry"]);
    }

    #[test]
    fn what_was_launched_since_stays_if_the_policy_says_so() {
        let launched = |image: &mut Image, _: &mut Image, _: &mut Vec<Use>| image.launched_at = Some(now());
        let policy = CleanupPolicy { launched_within_days: Some(1), ..retention() };
        assert_eq!(codes(again_under(&policy, launched)), ["launched"]);
        assert_eq!(again(launched), ["goes"]);
    }

    #[test]
    fn without_a_date_on_it_an_image_goes_only_by_a_retention() {
        let policy = CleanupPolicy { retention: None, ..retention() };
        assert_eq!(codes(again_under(&policy, |_, _, _| {})), ["no-expiry"]);
        assert_eq!(codes(again_under(&policy, |image, _, _| image.expiry = Expiry::At(now()))), ["goes"]);
    }

    /// 57. An image goes only while the backup that replaces it is there.
    ///
    /// The backup that replaces an image may have been removed since, or have turned out to be none.
    #[test]
    fn an_image_goes_only_while_what_replaces_it_is_there() {
        let stays = ["no-replacement"];
        assert_eq!(again(|_, good, _| good.state = ImageState::Disabled), stays);
        assert_eq!(again(|_, good, _| good.image_id = id(9)), stays);
        assert_eq!(again(|_, good, _| good.family = None), stays);
        assert_eq!(
            again(|image, good, _| good.created_at = image.created_at.map(|at| at - SignedDuration::from_secs(1))),
            stays
        );
        assert_eq!(again(|image, good, _| good.created_at = image.created_at), ["goes"]);
        let (line, _) = planned();
        let going = image(2, 2);
        let alone = now_seen(&going, &[], &[]);
        assert_eq!(codes(image_again(&line, alone, &retention(), now())), stays);
        let itself = ImageNow { last_good: Some(&going), ..alone };
        let line = ImageLine { last_good: Some(id(2)), ..line };
        assert_eq!(codes(image_again(&line, itself, &retention(), now())), stays);
    }

    #[test]
    fn what_is_gone_is_gone() {
        let (line, snapshot_line) = planned();
        let seen = ImageNow { image: None, uses: &[], last_good: None, family: &[], room: 0 };
        assert_eq!(image_again(&line, seen, &retention(), now()), Again::Gone);
        let on = [id(1)];
        let there = snapshot(2);
        let seen = SnapshotNow { snapshot: None, on: &on, ..free(&there) };
        assert_eq!(snapshot_again(&snapshot_line, seen, &Limits::default()), Again::Gone);
    }

    fn free(snapshot: &Snapshot) -> SnapshotNow<'_> {
        SnapshotNow {
            snapshot: Some(snapshot),
            on: &[],
            uses: &[],
            shared_with: None,
            origin: None,
            not_removed: None,
            left_over: false,
            room: 1,
        }
    }

    fn snapshot_codes(line: &SnapshotLine, seen: SnapshotNow<'_>) -> Vec<&'static str> {
        codes(snapshot_again(line, seen, &Limits::default()))
    }

    /// 74. What somebody else deregistered keeps its snapshots.
    ///
    /// 75. The look just before a removal holds limits and retention too.
    #[test]
    fn a_snapshot_goes_with_what_this_run_removed_and_a_leftover_by_its_paper() {
        let (_, line) = planned();
        let orphan = SnapshotLine { images: Vec::new(), ..line.clone() };
        let left = SnapshotLine { intent: Some("cleanups/intents/x.json".into()), ..orphan.clone() };
        let (snapshot, image) = (snapshot(2), id(2));
        let seen = free(&snapshot);
        assert_eq!(snapshot_codes(&line, SnapshotNow { not_removed: Some(&image), ..seen }), ["image-not-removed"]);
        assert_eq!(snapshot_codes(&left, seen), ["changed"]);
        let left_over = SnapshotNow { left_over: true, ..seen };
        assert_eq!(snapshot_codes(&left, left_over), ["goes"]);
        assert_eq!(snapshot_codes(&left, SnapshotNow { origin: Some(&image), ..left_over }), ["image-exists"]);
        assert_eq!(snapshot_codes(&left, SnapshotNow { room: 0, ..left_over }), ["over-limit"]);
        assert_eq!(snapshot_codes(&orphan, SnapshotNow { room: 0, ..seen }), ["over-limit"]);
        assert_eq!(snapshot_codes(&line, SnapshotNow { room: 0, ..seen }), ["goes"], "it counts with its image");
    }

    /// 75. The look just before a removal holds limits and retention too.
    #[test]
    fn what_retention_counted_on_may_have_gone_since() {
        let policy = policy(json!({"retention": {"newest": 2}, "limits": {"images": 1, "sharePercent": 100}}));
        let line = ImageLine { last_good: Some(id(1)), ..planned().0 };
        let (good, next, mut going) = (image(1, 1), image(3, 2), image(2, 2));
        going.created_at = line.created_at;
        let look = |family: &[&Image], room| {
            let family: Vec<Generation> = family.iter().copied().filter_map(Generation::of).collect();
            let seen = ImageNow { last_good: Some(&good), room, ..now_seen(&going, &[], &family) };
            codes(image_again(&line, seen, &policy, now()))
        };
        assert_eq!(look(&[&good, &next, &going], 1), ["goes"]);
        assert_eq!(look(&[&going, &good], 1), ["among-newest"]);
        let mut disabled = next.clone();
        disabled.state = ImageState::Disabled;
        assert_eq!(look(&[&good, &disabled, &going], 1), ["among-newest"]);
        let mut foreign = next.clone();
        foreign.in_scope = false;
        assert_eq!(look(&[&good, &foreign, &going], 1), ["among-newest"]);
        assert_eq!(look(&[&good, &next, &going], 0), ["over-limit"]);
    }

    /// 57. Just before something goes it is looked at again, and what came into use since stays.
    #[test]
    fn a_snapshot_goes_only_if_nobody_needs_it_now() {
        let (_, line) = planned();
        let orphan = SnapshotLine { images: Vec::new(), ..line.clone() };
        let (unlocked, mut locked) = (snapshot(2), snapshot(2));
        locked.protections.push(Reason::ManagedBy(Tool::Backup));
        let origin = id(2);
        let seen = free(&unlocked);
        let uses = [Use { by: User::LaunchTemplate, id: "lt-1 version 1".into() }];
        for line in [&line, &orphan] {
            assert_eq!(snapshot_codes(line, seen), ["goes"]);
            for (seen, code) in [
                (SnapshotNow { snapshot: Some(&locked), ..seen }, "managed-by-another-tool"),
                (SnapshotNow { on: &[id(3)], ..seen }, "backs-an-image"),
                (SnapshotNow { uses: &uses, ..seen }, "in-use"),
                (SnapshotNow { shared_with: Some("444455556666"), ..seen }, "shared"),
            ] {
                assert_eq!(snapshot_codes(line, seen), [code]);
            }
        }
        let origin = SnapshotNow { origin: Some(&origin), ..seen };
        assert_eq!(snapshot_codes(&orphan, origin), ["image-exists"]);
        assert_eq!(snapshot_codes(&line, origin), ["goes"]);
    }

    #[test]
    fn what_is_already_as_the_plan_would_make_it_is_left() {
        let staged = |action| ImageLine { action, ..planned().0 };
        let (mut going, good) = (image(2, 2), image(1, 1));
        let look = |line: &ImageLine, going: &Image| {
            codes(image_again(
                line,
                ImageNow { last_good: Some(&good), ..now_seen(going, &[], &[]) },
                &retention(),
                now(),
            ))
        };
        assert_eq!(look(&staged(Action::Disable), &going), ["goes"]);
        assert_eq!(look(&staged(Action::Deprecate), &going), ["goes"]);
        going.deprecated_at = Some(now() + DEPRECATION_MARGIN);
        assert_eq!(look(&staged(Action::Deprecate), &going), ["gone"]);
        going.deprecated_at = Some(now() + DEPRECATION_MARGIN + SignedDuration::from_secs(1));
        assert_eq!(look(&staged(Action::Deprecate), &going), ["goes"]);
        going.state = ImageState::Disabled;
        assert_eq!(look(&staged(Action::Disable), &going), ["gone"]);
        assert_eq!(look(&staged(Action::Deregister), &going), ["changed"]);
    }
}
