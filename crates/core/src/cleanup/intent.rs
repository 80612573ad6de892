//! Owns the paper that a cleanup writes just before it deregisters an image, and what a snapshot that is left is by it.
//!
//! Once the image has gone, nothing in EC2 says that its snapshots were to go with it. A tag could say so, and a tag can be
//! written by anybody and outlives its reason; so it is a paper in the stack's bucket, one for each image of a plan.

use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::{apply::ItemResult, batch::Outcomes, binding::Binding};
use crate::{
    id::{ImageId, Region, SnapshotId},
    naming::run_digest,
};

/// No plan is applied for longer than a week, so that after this no paper is added to those of its plan.
const SETTLED: SignedDuration = SignedDuration::from_hours(8 * 24);

/// That an image is about to be deregistered, by which plan, and which snapshots go with it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Intent {
    /// The run.
    pub run: String,
    /// Where.
    pub region: Region,
    /// Prefix of the plan's files.
    pub plan: String,
    /// Which plan it is.
    pub binding: Binding,
    /// The image.
    pub image_id: ImageId,
    /// The snapshots that go once it has gone.
    pub snapshots: Vec<Intended>,
}

/// A snapshot that goes with its images.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Intended {
    /// The snapshot.
    pub snapshot_id: SnapshotId,
    /// The images that are on it, of which this is the last.
    pub images: Vec<ImageId>,
}

/// A snapshot that a plan was to remove with its images and did not get to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeftOver {
    /// The images that were on it.
    pub images: Vec<ImageId>,
    /// When that plan was made.
    pub since: Timestamp,
    /// Key of the paper that says so.
    pub intent: String,
}

/// Which papers the next plan has to look at.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct OpenIntents {
    /// Keys of older papers by which something is left.
    pub open: Vec<String>,
    /// Every key up to this one has been looked at for the last time, but for those.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<String>,
}

/// Prefix of the papers of all plans of a Region, with its end slash.
pub fn intents_prefix(region: &Region) -> String {
    format!("cleanups/intents/{region}/")
}

/// Key of the paper of an image, by the plan that was made at a time. Keys sort by that time.
pub fn intent_key(run: &str, region: &Region, made_at: Timestamp, image: &ImageId) -> String {
    format!("{}{}/{image}.json", from(region, made_at), run_digest(run))
}

fn from(region: &Region, made_at: Timestamp) -> String {
    format!("{}{:013}/", intents_prefix(region), made_at.as_millisecond())
}

/// What the key of a paper says.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct IntentKey {
    /// What the keys of all papers of the plan begin with.
    pub plan: String,
    /// When the plan was made.
    pub made_at: Timestamp,
    /// The image.
    pub image_id: ImageId,
}

impl IntentKey {
    /// Reads a key; `None` if it is that of no paper of the Region.
    pub fn of(region: &Region, key: &str) -> Option<Self> {
        let rest = key.strip_prefix(&intents_prefix(region))?.strip_suffix(".json")?;
        let (plan, image_id) = rest.rsplit_once('/')?;
        let (millisecond, _run) = plan.split_once('/')?;
        Some(Self {
            plan: plan.to_owned(),
            made_at: Timestamp::from_millisecond(millisecond.parse().ok()?).ok()?,
            image_id: image_id.parse().ok()?,
        })
    }
}

/// What of the papers the next plan has to look at: those by which something is left now, and all that are younger than
/// any plan that is still applied.
pub fn still_open(region: &Region, left: BTreeSet<String>, now: Timestamp) -> OpenIntents {
    let until = now.checked_sub(SETTLED).ok().map(|at| from(region, at));
    let older = |key: &String| until.as_ref().is_some_and(|until| key <= until);
    OpenIntents { open: left.into_iter().filter(older).collect(), until }
}

/// Whether a snapshot is left of the plan whose paper names it. `outcomes` are that plan's, `intended` the images of which
/// it has papers, and `registered` says whether EC2 has an image.
///
/// Every image that was on it has gone by that plan: an outcome says so; or EC2 does not have the image any more, the paper
/// was written, and no outcome says anything else, as that EC2 refused.
pub fn is_left_over(
    snapshot: &Intended,
    outcomes: &Outcomes,
    intended: &BTreeSet<ImageId>,
    registered: impl Fn(&ImageId) -> bool,
) -> bool {
    let outcome = |id: &str| outcomes.get(id);
    // It went, and somebody has brought it back.
    let went = outcome(snapshot.snapshot_id.as_str()).is_some_and(|one| one.went());
    let gone = |image: &ImageId| match outcome(image.as_str()) {
        Some(one) => one.went(),
        None => intended.contains(image) && !registered(image),
    };
    !went && !snapshot.images.is_empty() && snapshot.images.iter().all(gone)
}

/// Whether an image that is gone when it is looked at again was removed by somebody else: this plan was not about to remove
/// it, or EC2 has refused it to this plan.
pub fn is_gone_by_others(earlier: Option<ItemResult>, intended: bool) -> bool {
    !intended || earlier == Some(ItemResult::Failed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cleanup::{
        account::tests::region,
        apply::ItemOutcome,
        judge::{Action, tests::id},
    };

    const IMAGE: &str = "ami-00000002";
    const SNAPSHOT: &str = "snap-00000002";

    fn snapshot_id(number: u32) -> SnapshotId {
        format!("snap-{number:08x}").parse().unwrap_or_else(|_| unreachable!())
    }

    fn outcome(id: &str, result: ItemResult) -> (String, ItemOutcome) {
        let outcome = ItemOutcome {
            id: id.to_owned(),
            action: Action::Deregister,
            result,
            by_others: false,
            plan: None,
            started_at: Timestamp::UNIX_EPOCH,
            tries: 1,
            reasons: Vec::new(),
            error: None,
        };
        (id.to_owned(), outcome)
    }

    fn on(images: &[u32]) -> Intended {
        Intended { snapshot_id: snapshot_id(2), images: images.iter().map(|number| id(*number)).collect() }
    }

    /// 74. A leftover goes only if an applied plan of this stack names it under its image. Either the plan's outcome says
    ///     that the image went, or EC2 no longer has it and no outcome says that EC2 refused.
    #[test]
    fn a_snapshot_is_left_over_by_the_papers_of_an_applied_plan_alone() {
        use ItemResult::{Done, Failed, Gone, InUse, Kept};
        let intended: BTreeSet<ImageId> = [id(2)].into();
        let left = |results: &[(&str, ItemResult)], registered: bool| {
            let outcomes = results.iter().map(|(id, result)| outcome(id, *result)).collect();
            is_left_over(&on(&[2]), &outcomes, &intended, |_| registered)
        };
        for (results, registered, expected) in [
            (&[(IMAGE, Done)][..], false, true),
            (&[(IMAGE, Gone)][..], false, true),
            // The run was cut off between the call and its outcome.
            (&[][..], false, true),
            (&[][..], true, false),
            // EC2 refused, or the plan did not hold: whoever deregistered it later may want the snapshot.
            (&[(IMAGE, Failed)][..], false, false),
            (&[(IMAGE, Kept)][..], false, false),
            // What was refused of the snapshot is tried again.
            (&[(IMAGE, Done), (SNAPSHOT, Failed)][..], false, true),
            (&[(IMAGE, Done), (SNAPSHOT, InUse)][..], false, true),
            (&[(IMAGE, Done), (SNAPSHOT, Kept)][..], false, true),
            // It went, and is back.
            (&[(IMAGE, Done), (SNAPSHOT, Done)][..], false, false),
            (&[(IMAGE, Done), (SNAPSHOT, Gone)][..], false, false),
        ] {
            assert_eq!(left(results, registered), expected, "{results:?} {registered}");
        }
        assert!(!is_left_over(&on(&[]), &Outcomes::new(), &intended, |_| false), "of no image");
        assert!(!is_left_over(&on(&[2, 3]), &Outcomes::new(), &intended, |_| false), "the plan never got to the other");
        let both = [outcome(IMAGE, Done), outcome("ami-00000003", Done)].into();
        assert!(is_left_over(&on(&[2, 3]), &both, &BTreeSet::new(), |_| false));
        let mut by_hand = outcome(IMAGE, Gone);
        by_hand.1.by_others = true;
        assert!(!is_left_over(&on(&[2]), &[by_hand].into(), &intended, |_| false));
    }

    /// 74. What somebody else deregistered keeps its snapshots.
    #[test]
    fn what_is_gone_went_by_this_plan_only_if_it_was_about_to_and_was_not_refused() {
        use ItemResult::{Failed, InUse, Kept};
        assert!(!is_gone_by_others(None, true) && !is_gone_by_others(Some(Kept), true));
        assert!(!is_gone_by_others(Some(InUse), true));
        assert!(is_gone_by_others(None, false) && is_gone_by_others(Some(Failed), true));
    }

    #[test]
    fn papers_sort_by_their_plans_and_are_read_from_their_keys() {
        let at = Timestamp::constant(1_700_000_000, 123_000_000);
        let key = intent_key("nightly", &region(), at, &id(2));
        let digits = run_digest("nightly");
        assert_eq!(key, format!("cleanups/intents/us-east-1/1700000000123/{digits}/ami-00000002.json"));
        let read = IntentKey::of(&region(), &key);
        let plan = format!("1700000000123/{digits}");
        assert_eq!(read, Some(IntentKey { plan, made_at: at, image_id: id(2) }));
        let early = intent_key("zeta", &region(), Timestamp::constant(1_600_000_000, 0), &id(9));
        assert!(early < key);
        let elsewhere = key.replace("us-east-1", "eu-west-1");
        for other in ["cleanups/known/us-east-1.json", &elsewhere, "cleanups/intents/us-east-1/x/y/ami-00000002.json"] {
            assert_eq!(IntentKey::of(&region(), other), None, "{other}");
        }
    }

    #[test]
    fn a_paper_is_looked_at_while_its_plan_may_be_applied_and_while_something_is_left() {
        let now = Timestamp::constant(1_700_000_000, 0);
        let key = |days: i64| intent_key("r", &region(), now - SignedDuration::from_hours(24 * days), &id(2));
        let left = [key(1), key(9), key(400)].into();
        let open = still_open(&region(), left, now);
        assert_eq!(open.open, [key(400), key(9)]);
        let until = open.until.unwrap_or_default();
        assert!(key(9) < until && key(7) > until, "a plan is fresh for up to seven days");
    }
}
