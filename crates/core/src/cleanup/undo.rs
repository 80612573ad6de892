//! Owns bringing back what a clean-up removed: what of it is there, what the Recycle Bin can give back, and in which order.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{
    apply::ItemOutcome,
    batch::Outcomes,
    judge::Action,
    plan::{ImageLine, Line},
};
use crate::{
    error::StepError,
    id::{ImageId, Region, SnapshotId},
    image::ImageState,
    input,
    naming::{NEVER, TAG_EXPIRES},
    policy::{LONGEST_RUN, valid_label},
    report::{Claim, Verdict},
    selection::ObjectPlace,
    tags::Tags,
};

/// Restores and the like of one turn: a few seconds of calls, within what EC2 allows at once.
const MOST_STEPS: usize = 40;
/// A cause is at most 32,768 characters long; so many of what is lost are named in it.
const MOST_NAMED: usize = 50;

/// What is to be brought back, as it comes in.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct UndoInput {
    /// The run of the clean-up.
    pub run: String,
    /// In which of its Regions; all if missing.
    #[serde(default)]
    pub regions: Option<Vec<Region>>,
}

/// Reads what is to be brought back.
///
/// # Errors
/// `InvalidInput` with the path of the field.
pub fn undo_request(value: Value) -> Result<UndoInput, StepError> {
    let asked: UndoInput = input::parse(value)?;
    valid_label("run", &asked.run, LONGEST_RUN)?;
    if asked.regions.as_ref().is_some_and(Vec::is_empty) {
        return Err(StepError::input("regions", "has none: leave it out for all Regions of the run"));
    }
    Ok(asked)
}

/// What a run removed or changed in a Region: the lines of its plans that were done. What somebody else removed is not
/// brought back.
pub fn removed_lines(going: Vec<Line>, outcomes: &Outcomes) -> Vec<Line> {
    going.into_iter().filter(|line| outcomes.get(line.id()).is_some_and(ItemOutcome::went)).collect()
}

/// An image as it is now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageSeen {
    /// Its state.
    pub state: ImageState,
    /// Whether it is deprecated, or will be.
    pub deprecated: bool,
    /// Its tags.
    pub tags: Tags,
}

/// A snapshot as it is now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnapshotSeen {
    /// Whether it can be used.
    pub completed: bool,
    /// Its tags.
    pub tags: Tags,
}

/// What is there now of what a run removed, in one Region.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Seen {
    /// The images that are registered.
    pub images: BTreeMap<ImageId, ImageSeen>,
    /// The snapshots that are there.
    pub snapshots: BTreeMap<SnapshotId, SnapshotSeen>,
    /// The images in the Recycle Bin.
    pub binned_images: BTreeSet<ImageId>,
    /// The snapshots in the Recycle Bin.
    pub binned_snapshots: BTreeSet<SnapshotId>,
}

/// One thing to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UndoStep {
    /// Bring a snapshot back from the bin.
    RestoreSnapshot(SnapshotId),
    /// Bring an image back from the bin.
    RestoreImage(ImageId),
    /// Let an image be launched again.
    Enable(ImageId),
    /// Take its deprecation back.
    Undeprecate(ImageId),
    /// Mark what is back, so that the next clean-up does not remove it again: an image or a snapshot.
    Keep(String),
}

/// What is back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Back {
    /// What is so.
    pub claim: Claim,
}

/// What cannot be brought back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Lost {
    /// Where it was.
    pub region: Region,
    /// The image or the snapshot.
    pub id: String,
    /// Why.
    pub why: String,
}

/// What is to be done next in a Region, and what has come of it so far.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Undo {
    /// The next things to do: none of them waits for another.
    pub steps: Vec<UndoStep>,
    /// Whether something waits for a snapshot that is on its way.
    pub waits: bool,
    /// What is as it was, with its state.
    pub back: BTreeMap<String, String>,
    /// What cannot be brought back, and why.
    pub lost: BTreeMap<String, String>,
}

/// Decides what to do next: snapshots first, then the images on them.
pub fn undo(lines: &[Line], seen: &Seen) -> Undo {
    let mut undo = Undo::default();
    for line in lines {
        match line {
            Line::Snapshot(line) => undo.snapshot(&line.snapshot_id, seen),
            Line::Image(line) => undo.image(line, seen),
        }
    }
    undo.steps.truncate(MOST_STEPS);
    undo
}

impl Undo {
    fn snapshot(&mut self, id: &SnapshotId, seen: &Seen) {
        if let Some(snapshot) = seen.snapshots.get(id) {
            self.keep(id.as_str(), if snapshot.completed { "completed" } else { "pending" }, &snapshot.tags);
        } else if seen.binned_snapshots.contains(id) {
            self.restore(id);
        } else {
            self.lost.insert(id.to_string(), "it is not in the Recycle Bin".into());
        }
    }

    fn image(&mut self, line: &ImageLine, seen: &Seen) {
        let id = &line.image_id;
        match seen.images.get(id).filter(|image| !image.state.is_terminal()) {
            Some(image) if line.action == Action::Disable && image.state == ImageState::Disabled => {
                self.steps.push(UndoStep::Enable(id.clone()));
            }
            Some(image) if line.action == Action::Deprecate && image.deprecated => {
                self.steps.push(UndoStep::Undeprecate(id.clone()));
            }
            Some(image) => self.keep(id.as_str(), image.state.as_str(), &image.tags),
            None if !seen.binned_images.contains(id) => {
                let why = "it is not in the Recycle Bin; if its snapshots are there, the restore machine registers it again \
                           with `fromSnapshots`";
                self.lost.insert(id.to_string(), why.into());
            }
            None => self.binned(line, seen),
        }
    }

    /// An image in the bin comes back once all its snapshots are there.
    fn binned(&mut self, line: &ImageLine, seen: &Seen) {
        let mut ready = true;
        for snapshot in &line.snapshots {
            match seen.snapshots.get(snapshot) {
                Some(there) => ready &= there.completed,
                // Another run may have removed it, as a leftover of this one.
                None if seen.binned_snapshots.contains(snapshot) => {
                    ready = false;
                    self.restore(snapshot);
                }
                None => {
                    let why = format!("its snapshot {snapshot} is gone");
                    self.lost.insert(line.image_id.to_string(), why);
                    return;
                }
            }
        }
        if ready {
            self.steps.push(UndoStep::RestoreImage(line.image_id.clone()));
        } else {
            self.waits = true;
        }
    }

    fn restore(&mut self, snapshot: &SnapshotId) {
        let step = UndoStep::RestoreSnapshot(snapshot.clone());
        if !self.steps.contains(&step) {
            self.steps.push(step);
        }
    }

    fn keep(&mut self, id: &str, state: &str, tags: &Tags) {
        if tags.get(TAG_EXPIRES).is_some_and(|value| value == NEVER) {
            self.back.insert(id.to_owned(), state.to_owned());
        } else {
            self.steps.push(UndoStep::Keep(id.to_owned()));
        }
    }

    /// Whether there is more to do.
    pub fn goes_on(&self) -> bool {
        self.waits || !self.steps.is_empty()
    }
}

/// How the undoing of a run ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Undone {
    /// `OK` if everything is back.
    pub verdict: Verdict,
    /// Where the report is: one JSON line for each image and snapshot.
    pub report: ObjectPlace,
    /// Images and snapshots that are back.
    pub back: usize,
    /// Images and snapshots that are not.
    pub lost: usize,
    /// Error of the execution, if it fails.
    pub error: Option<String>,
    /// Cause of the execution, if it fails.
    pub cause: Option<String>,
}

/// The verdict on the undoing of a run.
pub fn undone(run: &str, report: ObjectPlace, back: usize, lost: &[Lost]) -> Undone {
    let (verdict, error) = match (back, lost.is_empty()) {
        (_, true) => (Verdict::Ok, None),
        (0, false) => (Verdict::Failed, Some("UndoFailed")),
        (_, false) => (Verdict::Partial, Some("UndoPartial")),
    };
    let named: Vec<&Lost> = lost.iter().take(MOST_NAMED).collect();
    let cause = error.map(|_| {
        serde_json::json!({
            "verdict": verdict, "run": run, "report": format!("s3://{}/{}", report.bucket, report.key), "back": back,
            "lost": named, "notShown": lost.len() - named.len(),
        })
        .to_string()
    });
    Undone { verdict, report, back, lost: lost.len(), error: error.map(str::to_owned), cause }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::cleanup::apply::ItemResult;

    fn image(number: u32, action: &str) -> Line {
        let value = json!({"kind": "image", "imageId": format!("ami-{number:08x}"), "name": "n", "state": "available",
            "action": action, "reasons": [], "provisionedGib": 8, "snapshots": [format!("snap-{number:08x}")]});
        serde_json::from_value(value).unwrap_or_else(|error| unreachable!("{error}"))
    }

    fn snapshot(number: u32) -> Line {
        let value = json!({"kind": "snapshot", "snapshotId": format!("snap-{number:08x}"), "action": "DELETE_SNAPSHOT",
            "reasons": [], "images": [], "provisionedGib": 8});
        serde_json::from_value(value).unwrap_or_else(|error| unreachable!("{error}"))
    }

    fn image_id(number: u32) -> ImageId {
        format!("ami-{number:08x}").parse().unwrap_or_else(|_| unreachable!())
    }

    fn snapshot_id(number: u32) -> SnapshotId {
        format!("snap-{number:08x}").parse().unwrap_or_else(|_| unreachable!())
    }

    fn kept() -> Tags {
        [(TAG_EXPIRES.to_owned(), NEVER.to_owned())].into()
    }

    fn there(state: &str, tags: Tags) -> ImageSeen {
        ImageSeen { state: state.to_owned().into(), deprecated: false, tags }
    }

    /// 65. Snapshots come first, then their image. What is back never expires.
    ///
    /// Case 17: snapshots first, then the image, then the mark.
    #[test]
    fn an_image_comes_back_after_its_snapshots() {
        let lines = [image(1, "DEREGISTER"), snapshot(1)];
        let mut seen =
            Seen { binned_images: [image_id(1)].into(), binned_snapshots: [snapshot_id(1)].into(), ..Seen::default() };
        let first = undo(&lines, &seen);
        assert_eq!((&first.steps[..], first.waits), (&[UndoStep::RestoreSnapshot(snapshot_id(1))][..], true));
        seen.binned_snapshots.clear();
        seen.snapshots.insert(snapshot_id(1), SnapshotSeen { completed: false, tags: kept() });
        let second = undo(&lines, &seen);
        assert_eq!((second.steps.len(), second.waits), (0, true), "a snapshot that is not usable yet is waited for");
        seen.snapshots.insert(snapshot_id(1), SnapshotSeen { completed: true, tags: kept() });
        assert_eq!(undo(&lines, &seen).steps, [UndoStep::RestoreImage(image_id(1))]);
        seen.binned_images.clear();
        seen.images.insert(image_id(1), there("available", Tags::new()));
        assert_eq!(undo(&lines, &seen).steps, [UndoStep::Keep("ami-00000001".into())]);
        seen.images.insert(image_id(1), there("available", kept()));
        let last = undo(&lines, &seen);
        assert!(!last.goes_on() && last.back.len() == 2 && last.lost.is_empty());
    }

    #[test]
    fn a_snapshot_that_another_run_removed_as_a_leftover_comes_back_with_its_image() {
        let seen =
            Seen { binned_images: [image_id(1)].into(), binned_snapshots: [snapshot_id(1)].into(), ..Seen::default() };
        assert_eq!(undo(&[image(1, "DEREGISTER")], &seen).steps, [UndoStep::RestoreSnapshot(snapshot_id(1))]);
    }

    /// 65. Deprecating and disabling are taken back.
    #[test]
    fn what_was_disabled_or_deprecated_is_taken_back() {
        let of = |action: &str, image_seen: ImageSeen| {
            let seen = Seen { images: [(image_id(1), image_seen)].into(), ..Seen::default() };
            undo(&[image(1, action)], &seen).steps
        };
        assert_eq!(of("DISABLE", there("disabled", kept())), [UndoStep::Enable(image_id(1))]);
        assert_eq!(of("DISABLE", there("available", kept())), []);
        let deprecated = ImageSeen { deprecated: true, ..there("available", kept()) };
        assert_eq!(of("DEPRECATE", deprecated.clone()), [UndoStep::Undeprecate(image_id(1))]);
        assert_eq!(of("DEREGISTER", deprecated), []);
        assert_eq!(of("DEREGISTER", there("disabled", kept())), [], "it was so before");
    }

    #[test]
    fn what_is_not_in_the_bin_is_lost_and_an_image_without_its_snapshots_too() {
        let lines = [image(1, "DEREGISTER"), snapshot(1), image(2, "DEREGISTER"), image(3, "DEREGISTER")];
        let mut seen = Seen { binned_images: [image_id(1), image_id(3)].into(), ..Seen::default() };
        seen.images.insert(image_id(3), there("deregistered", kept()));
        seen.binned_snapshots.insert(snapshot_id(3));
        let undo = undo(&lines, &seen);
        assert!(undo.lost["ami-00000001"].contains("snap-00000001"));
        assert!(undo.lost["ami-00000002"].contains("fromSnapshots") && undo.lost.contains_key("snap-00000001"));
        assert!(
            undo.waits && !undo.lost.contains_key("ami-00000003"),
            "it is in the bin, whatever is listed for a moment"
        );
    }

    #[test]
    fn no_more_is_done_in_a_turn_than_fits() {
        let lines: Vec<Line> = (1..=100).map(snapshot).collect();
        let seen = Seen { binned_snapshots: (1..=100).map(snapshot_id).collect(), ..Seen::default() };
        let undo = undo(&lines, &seen);
        assert!(undo.steps.len() == MOST_STEPS && undo.goes_on());
    }

    #[test]
    fn only_what_was_done_is_undone() {
        let outcome = |id: &str, result| {
            let outcome = ItemOutcome {
                id: id.to_owned(),
                action: Action::DeleteSnapshot,
                result,
                by_others: id == "snap-00000006",
                plan: None,
                started_at: jiff::Timestamp::UNIX_EPOCH,
                tries: 1,
                reasons: Vec::new(),
                error: None,
            };
            (id.to_owned(), outcome)
        };
        let outcomes = [
            outcome("snap-00000001", ItemResult::Done),
            outcome("snap-00000002", ItemResult::Gone),
            outcome("snap-00000003", ItemResult::Kept),
            outcome("snap-00000004", ItemResult::Failed),
            outcome("snap-00000006", ItemResult::Gone),
        ]
        .into();
        let removed = removed_lines((1..=6).map(snapshot).collect(), &outcomes);
        assert_eq!(removed.iter().map(Line::id).collect::<Vec<_>>(), ["snap-00000001", "snap-00000002"]);
    }

    #[test]
    fn the_verdict_says_what_is_lost() {
        let lost = |count: usize| {
            let region: Region = "us-east-1".parse().unwrap_or_else(|_| unreachable!());
            vec![Lost { region, id: "ami-00000001".into(), why: "x".repeat(300) }; count]
        };
        let report =
            || ObjectPlace { bucket: "backups".parse().unwrap_or_else(|_| unreachable!()), key: "report".into() };
        let undone = |back, lost: Vec<Lost>| super::undone("r", report(), back, &lost);
        assert_eq!((undone(3, lost(0)).verdict, undone(0, lost(0)).error), (Verdict::Ok, None));
        assert_eq!(undone(0, lost(1)).error.as_deref(), Some("UndoFailed"));
        let partial = undone(3, lost(400));
        assert_eq!((partial.back, partial.lost), (3, 400));
        assert_eq!((partial.verdict, partial.error.as_deref()), (Verdict::Partial, Some("UndoPartial")));
        let cause = partial.cause.unwrap_or_default();
        assert!(
            cause.len() < 32_000 && cause.contains("ami-00000001") && cause.contains("\"notShown\":350"),
            "{cause}"
        );
    }

    #[test]
    fn bad_input_is_refused_with_its_path() {
        for (value, path) in [
            (json!({}), "run"),
            (json!({"run": ""}), "run"),
            (json!({"run": "r", "regions": []}), "regions"),
            (json!({"run": "r", "regions": ["Atlantis"]}), "regions[0]"),
            (json!({"run": "r", "item": 1}), "item"),
        ] {
            let error = undo_request(value).err().map(|error| error.to_string()).unwrap_or_default();
            assert!(error.contains(path), "{path}: {error}");
        }
        assert_eq!(undo_request(json!({"run": "r"})).ok(), Some(UndoInput { run: "r".into(), regions: None }));
    }
}
