//! Owns in which pieces a plan is applied, and what of it is still to be done.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use super::{
    apply::{ItemOutcome, ItemResult},
    plan::{ImageLine, Line, SnapshotLine},
    policy::Limits,
    summary::Removed,
};
use crate::id::ImageId;

/// Images of a batch: DescribeImageReferences answers for ten.
const IMAGES: usize = 10;
/// Snapshots of a batch without images. EC2 lets an account delete a hundred at once and five more each second.
const SNAPSHOTS: usize = 40;
/// How often a snapshot is tried that an image is said to be on which has just gone.
pub const MOST_TRIES: u32 = 8;

/// A piece of a plan: its images go first, then its snapshots.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Batch<'a> {
    /// Its number in the plan, from 0.
    pub number: usize,
    /// The images.
    pub images: Vec<&'a ImageLine>,
    /// The snapshots, each after the last image that is on it.
    pub snapshots: Vec<&'a SnapshotLine>,
}

impl Batch<'_> {
    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.images.is_empty() && self.snapshots.is_empty()
    }
}

/// The pieces of a plan, from the lines that go. The same lines are always cut in the same way.
pub fn batches(going: &[Line]) -> Vec<Batch<'_>> {
    let images = going.iter().filter_map(|line| if let Line::Image(image) = line { Some(image) } else { None });
    let images: Vec<&ImageLine> = images.collect();
    let mut batches: Vec<Batch<'_>> =
        images.chunks(IMAGES).map(|chunk| Batch { images: chunk.to_vec(), ..Batch::default() }).collect();
    let place: BTreeMap<&ImageId, usize> =
        (0..).zip(&images).map(|(index, image): (usize, _)| (&image.image_id, index / IMAGES)).collect();
    let mut alone = Vec::new();
    for line in going {
        let Line::Snapshot(snapshot) = line else { continue };
        let last = snapshot.images.iter().filter_map(|image| place.get(image)).max();
        match last.and_then(|place| batches.get_mut(*place)) {
            Some(batch) => batch.snapshots.push(snapshot),
            None => alone.push(snapshot),
        }
    }
    batches.extend(alone.chunks(SNAPSHOTS).map(|chunk| Batch { snapshots: chunk.to_vec(), ..Batch::default() }));
    for (number, batch) in batches.iter_mut().enumerate() {
        batch.number = number;
    }
    batches
}

/// How the items of a plan ended so far, by id.
pub type Outcomes = BTreeMap<String, ItemOutcome>;

/// Whether an item need not be tried again in the start of the run that began at `started_at`: it is gone, or this start
/// has looked at it. What an earlier start kept or failed at is looked at again.
fn ended(outcome: &ItemOutcome, started_at: Timestamp) -> bool {
    match outcome.result {
        ItemResult::Done | ItemResult::Gone => true,
        ItemResult::InUse => outcome.started_at == started_at && outcome.tries >= MOST_TRIES,
        ItemResult::Kept | ItemResult::Failed => outcome.started_at == started_at,
    }
}

/// Whether every item was done or kept for a reason: then a later start of the run has nothing to do.
pub fn is_finished(going: &[Line], outcomes: &Outcomes) -> bool {
    use ItemResult::{Done, Gone, Kept};
    let finished = |outcome: &ItemOutcome| matches!(outcome.result, Done | Gone | Kept);
    going.iter().all(|line| outcomes.get(line.id()).is_some_and(finished))
}

/// What is left of each piece, without pieces of which nothing is.
pub fn pending<'a>(going: &'a [Line], outcomes: &Outcomes, started_at: Timestamp) -> Vec<Batch<'a>> {
    let open = |id: &str| outcomes.get(id).is_none_or(|outcome| !ended(outcome, started_at));
    let mut batches = batches(going);
    for batch in &mut batches {
        batch.images.retain(|image| open(image.image_id.as_str()));
        batch.snapshots.retain(|snapshot| open(snapshot.snapshot_id.as_str()));
    }
    batches.retain(|batch| !batch.is_empty());
    batches
}

/// The ids of what a run has removed: an image among them may still be listed for a moment.
pub fn removed(outcomes: &Outcomes) -> BTreeSet<&str> {
    let gone = |outcome: &&ItemOutcome| matches!(outcome.result, ItemResult::Done | ItemResult::Gone);
    outcomes.values().filter(gone).map(|outcome| outcome.id.as_str()).collect()
}

/// What a plan has changed or removed so far, as the limits of a run count it, after what the run removed `before` it.
pub fn removed_so_far(going: &[Line], outcomes: &Outcomes, before: Removed) -> Removed {
    let went = |line: &&Line| outcomes.get(line.id()).is_some_and(ItemOutcome::went);
    going.iter().filter(went).fold(before, |removed, line| match line {
        Line::Image(_) => Removed { images: removed.images.saturating_add(1), ..removed },
        Line::Snapshot(line) if line.images.is_empty() => {
            Removed { snapshots: removed.snapshots.saturating_add(1), ..removed }
        }
        // It goes with its images.
        Line::Snapshot(_) => removed,
    })
}

/// What the limits of a run have room for after what it has removed.
#[must_use]
pub fn room(limits: &Limits, removed: Removed) -> Removed {
    Removed {
        images: limits.images.saturating_sub(removed.images),
        snapshots: limits.orphan_snapshots.saturating_sub(removed.snapshots),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn image(number: usize) -> Line {
        let value = json!({"kind": "image", "imageId": format!("ami-{number:08x}"), "name": "n", "state": "available",
            "action": "DEREGISTER", "reasons": [], "provisionedGib": 8, "snapshots": []});
        serde_json::from_value(value).unwrap_or_else(|error| unreachable!("{error}"))
    }

    fn snapshot(number: usize, images: &[usize]) -> Line {
        let images: Vec<String> = images.iter().map(|image| format!("ami-{image:08x}")).collect();
        let value = json!({"kind": "snapshot", "snapshotId": format!("snap-{number:08x}"), "action": "DELETE_SNAPSHOT",
            "reasons": [], "images": images, "provisionedGib": 8});
        serde_json::from_value(value).unwrap_or_else(|error| unreachable!("{error}"))
    }

    fn outcome(id: &str, result: ItemResult, started_at: Timestamp, tries: u32) -> (String, ItemOutcome) {
        let outcome = ItemOutcome {
            id: id.to_owned(),
            action: crate::cleanup::judge::Action::Deregister,
            result,
            by_others: false,
            plan: None,
            started_at,
            tries,
            reasons: Vec::new(),
            error: None,
        };
        (id.to_owned(), outcome)
    }

    #[test]
    fn a_snapshot_goes_with_the_last_of_its_images_and_others_after_all() {
        let mut going: Vec<Line> = (0..25).map(image).collect();
        going.extend([snapshot(1, &[0]), snapshot(2, &[3, 12]), snapshot(3, &[24, 1]), snapshot(4, &[])]);
        let batches = batches(&going);
        let snapshots = |batch: &Batch<'_>| -> Vec<String> {
            batch.snapshots.iter().map(|line| line.snapshot_id.to_string()).collect()
        };
        assert_eq!(batches.iter().map(|batch| batch.images.len()).collect::<Vec<_>>(), [10, 10, 5, 0]);
        let all: Vec<Vec<String>> = batches.iter().map(snapshots).collect();
        assert_eq!(all, [["snap-00000001"], ["snap-00000002"], ["snap-00000003"], ["snap-00000004"]]);
        assert_eq!(batches.iter().map(|batch| batch.number).collect::<Vec<_>>(), [0, 1, 2, 3]);
    }

    /// 58. The same run, started again while the plan is fresh, does the rest and nothing else.
    #[test]
    fn what_has_ended_is_not_tried_again_and_what_an_earlier_start_left_is() {
        let going = [image(1), snapshot(1, &[1])];
        let (this, earlier) = (Timestamp::constant(100, 0), Timestamp::constant(50, 0));
        let left = |result, started_at, tries| {
            let outcomes = [outcome("ami-00000001", result, started_at, tries)].into();
            pending(&going, &outcomes, this).iter().map(|batch| batch.images.len()).sum::<usize>()
        };
        for (result, started_at, tries, images) in [
            (ItemResult::Done, earlier, 0, 0),
            (ItemResult::Gone, earlier, 0, 0),
            (ItemResult::Kept, this, 0, 0),
            (ItemResult::Kept, earlier, 0, 1),
            (ItemResult::Failed, this, 0, 0),
            (ItemResult::Failed, earlier, 0, 1),
            (ItemResult::InUse, this, MOST_TRIES - 1, 1),
            (ItemResult::InUse, this, MOST_TRIES, 0),
            (ItemResult::InUse, earlier, MOST_TRIES, 1),
        ] {
            assert_eq!(left(result, started_at, tries), images, "{result:?} {tries}");
        }
        let both =
            [outcome("ami-00000001", ItemResult::Done, this, 0), outcome("snap-00000001", ItemResult::Gone, this, 0)]
                .into();
        assert_eq!(pending(&going, &both, this), []);
        assert_eq!(removed(&both), ["ami-00000001", "snap-00000001"].into());
        for (id, rest) in [("ami-00000001", (0, 1)), ("snap-00000001", (1, 0))] {
            let one = [outcome(id, ItemResult::Done, this, 0)].into();
            let left = pending(&going, &one, this);
            let left: Vec<_> = left.iter().map(|batch| (batch.images.len(), batch.snapshots.len())).collect();
            assert_eq!(left, [rest], "{id} has ended");
        }
        let kept = [outcome("ami-00000001", ItemResult::Kept, this, 0)].into();
        assert!(removed(&kept).is_empty());
    }

    #[test]
    fn a_plan_is_finished_once_every_item_was_done_or_kept() {
        let going = [image(1), snapshot(1, &[1])];
        let at = Timestamp::UNIX_EPOCH;
        let finished = |results: &[ItemResult]| {
            let outcomes = going.iter().zip(results).map(|(line, result)| outcome(line.id(), *result, at, 9)).collect();
            is_finished(&going, &outcomes)
        };
        use ItemResult::{Done, Failed, Gone, InUse, Kept};
        assert!(finished(&[Done, Gone]) && finished(&[Kept, Kept]));
        assert!(!finished(&[Done]) && !finished(&[Done, Failed]) && !finished(&[InUse, Done]));
        assert!(is_finished(&[], &Outcomes::new()));
    }

    /// 75. The look just before a removal holds limits and retention too.
    #[test]
    fn what_a_run_has_removed_leaves_less_room() {
        let going = [image(1), image(2), image(3), snapshot(1, &[1]), snapshot(4, &[]), snapshot(5, &[])];
        let at = Timestamp::UNIX_EPOCH;
        let mut outcomes: Outcomes = [
            outcome("ami-00000001", ItemResult::Done, at, 0),
            outcome("ami-00000002", ItemResult::Kept, at, 0),
            outcome("ami-00000003", ItemResult::Gone, at, 0),
            outcome("snap-00000001", ItemResult::Done, at, 0),
            outcome("snap-00000004", ItemResult::Gone, at, 0),
        ]
        .into();
        let before = Removed { images: 4, snapshots: 2 };
        assert_eq!(removed_so_far(&going, &outcomes, before), Removed { images: 6, snapshots: 3 });
        outcomes.values_mut().for_each(|outcome| outcome.by_others = true);
        assert_eq!(removed_so_far(&going, &outcomes, before), before);
        let limits = Limits { images: 5, orphan_snapshots: 2, ..Limits::default() };
        assert_eq!(room(&limits, before), Removed { images: 1, snapshots: 0 });
    }

    proptest! {
        /// 63. An image goes before its snapshots.
        #[test]
        fn everything_is_in_one_batch_and_no_snapshot_before_its_images(
            images in 0_usize..60,
            snapshots in prop::collection::vec(prop::collection::vec(0_usize..80, 0..4), 0..150),
        ) {
            let mut going: Vec<Line> = (0..images).map(image).collect();
            going.extend(snapshots.iter().enumerate().map(|(number, on)| snapshot(number, on)));
            let batches = batches(&going);
            let mut seen = BTreeSet::new();
            for batch in &batches {
                prop_assert!(batch.images.len() <= IMAGES);
                for image in &batch.images {
                    prop_assert!(seen.insert(image.image_id.to_string()));
                }
                for snapshot in &batch.snapshots {
                    prop_assert!(seen.insert(snapshot.snapshot_id.to_string()));
                    let planned = |id: &&ImageId| going.iter().any(|line| line.id() == id.as_str());
                    prop_assert!(snapshot.images.iter().filter(planned).all(|id| seen.contains(id.as_str())));
                }
            }
            prop_assert_eq!(seen.len(), going.len());
        }
    }
}
