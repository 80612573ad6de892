//! Owns the snapshots of a batch.

use std::collections::{BTreeMap, BTreeSet};

use ami_backup_aws::Aws;
use ami_backup_core::{
    StepError,
    cleanup::{
        account::Snapshot,
        apply::{Again, ItemOutcome, ItemResult, SnapshotNow, snapshot_again},
        batch::removed,
        judge::Action,
        plan::SnapshotLine,
        reason::Reason,
    },
    failure::AwsFailure,
    id::{ImageId, SnapshotId},
};

use crate::{
    Job,
    leftovers::{self, Left},
};

/// EC2's answer while an image is on a snapshot, also for a moment after that image has gone.
const IN_USE: &str = "InvalidSnapshot.InUse";

/// Looks at the snapshots of a batch again, and deletes what still goes.
///
/// # Errors
/// What passes: whatever ended before is in `done`.
pub(crate) async fn apply(aws: &Aws, job: &Job<'_>, done: &mut Vec<ItemOutcome>) -> Result<(), StepError> {
    let (region, policy) = (&job.work.region, &job.work.policy);
    let ids: Vec<SnapshotId> = job.batch.snapshots.iter().map(|line| line.snapshot_id.clone()).collect();
    let again = |failure: AwsFailure| failure.into_step_error("look at the snapshots again");
    let locks = aws.locked_snapshots(region).await.map_err(again)?;
    let snapshots = aws.snapshots(region, &ids).await.map_err(again)?;
    let snapshots: BTreeMap<SnapshotId, Snapshot> = snapshots
        .iter()
        .map(|facts| {
            let lock = locks.get(&facts.snapshot_id).map(String::as_str);
            (facts.snapshot_id.clone(), Snapshot::of(facts, lock, policy, &[]))
        })
        .collect();
    let on = images_on(aws, job, &ids, done).await.map_err(again)?;
    let uses = aws.uses_of(region, policy, &[]).await?;
    let left = leftovers::again(aws, job).await?;
    let origins = origins(aws, job, &snapshots, &left).await.map_err(again)?;
    let mut room = job.room.snapshots;
    for line in &job.batch.snapshots {
        let id = &line.snapshot_id;
        let snapshot = snapshots.get(id);
        let shared = match snapshot {
            Some(_) => shared_with(aws, job, id).await,
            None => Ok(None),
        };
        let shared = match shared {
            Ok(shared) => shared,
            Err(failure) => {
                done.push(job.refused(id.as_str(), line.action, failure)?);
                continue;
            }
        };
        let seen = SnapshotNow {
            snapshot,
            on: on.get(id).map(Vec::as_slice).unwrap_or_default(),
            uses: uses.of_snapshot(id),
            shared_with: shared.as_deref(),
            origin: made_for(id, &snapshots, &left).find(|image| origins.contains(*image)),
            not_removed: not_removed(job, line, done),
            left_over: left.get(id).is_some_and(|left| left.still),
            room,
        };
        let end = |result, reasons: &[Reason]| job.ended(id.as_str(), line.action, result, reasons);
        let outcome = match snapshot_again(line, seen, &policy.limits) {
            Again::Gone => end(ItemResult::Gone, &[]),
            Again::Keep(reasons) => end(ItemResult::Kept, &reasons),
            Again::Go => match aws.delete_snapshot(region, id).await {
                Ok(()) => end(ItemResult::Done, &[]),
                Err(failure) if failure.is(IN_USE) => in_use(job, id, &failure),
                Err(failure) => job.refused(id.as_str(), line.action, failure)?,
            },
        };
        room = room.saturating_sub(u32::from(line.images.is_empty() && outcome.went()));
        done.push(outcome);
    }
    Ok(())
}

/// An image with which a snapshot was to go and that this run did not remove.
fn not_removed<'a>(job: &Job<'_>, line: &'a SnapshotLine, done: &[ItemOutcome]) -> Option<&'a ImageId> {
    let went = |image: &ImageId| {
        let now = done.iter().find(|outcome| outcome.id == image.as_str());
        now.or_else(|| job.outcomes.get(image.as_str())).is_some_and(ItemOutcome::went)
    };
    line.images.iter().find(|image| !went(image))
}

/// It is tried again: so many times so far in this start of the run.
fn in_use(job: &Job<'_>, id: &SnapshotId, failure: &AwsFailure) -> ItemOutcome {
    let before = job.outcomes.get(id.as_str()).filter(|outcome| outcome.started_at == job.work.started_at);
    let tries = before.map_or(0, |outcome| outcome.tries).saturating_add(1);
    let error = Some(failure.to_string());
    ItemOutcome { tries, error, ..job.ended(id.as_str(), Action::DeleteSnapshot, ItemResult::InUse, &[]) }
}

/// The images on each snapshot, without those that this run has just removed: they may be listed for a moment yet.
async fn images_on(
    aws: &Aws,
    job: &Job<'_>,
    ids: &[SnapshotId],
    done: &[ItemOutcome],
) -> Result<BTreeMap<SnapshotId, Vec<ImageId>>, AwsFailure> {
    let gone = |outcome: &&ItemOutcome| matches!(outcome.result, ItemResult::Done | ItemResult::Gone);
    let mut removed: BTreeSet<&str> = removed(job.outcomes);
    removed.extend(done.iter().filter(gone).map(|outcome| outcome.id.as_str()));
    let mut on: BTreeMap<SnapshotId, Vec<ImageId>> = BTreeMap::new();
    for image in aws.images_on(&job.work.region, ids).await? {
        if removed.contains(image.image_id.as_str()) {
            continue;
        }
        for snapshot in image.snapshot_ids() {
            on.entry(snapshot).or_default().push(image.image_id.clone());
        }
    }
    Ok(on)
}

/// The images that a snapshot was made for or is left of.
fn made_for<'a>(
    id: &SnapshotId,
    snapshots: &'a BTreeMap<SnapshotId, Snapshot>,
    left: &'a BTreeMap<SnapshotId, Left>,
) -> impl Iterator<Item = &'a ImageId> + use<'a> {
    let made_for = snapshots.get(id).and_then(|snapshot| snapshot.made_for.as_ref());
    left.get(id).into_iter().flat_map(|left| &left.images).chain(made_for)
}

/// Which of the images that orphans and leftovers were made for, or are left of, exist in any form.
async fn origins(
    aws: &Aws,
    job: &Job<'_>,
    snapshots: &BTreeMap<SnapshotId, Snapshot>,
    left: &BTreeMap<SnapshotId, Left>,
) -> Result<BTreeSet<ImageId>, AwsFailure> {
    let alone = job.batch.snapshots.iter().filter(|line| line.images.is_empty());
    let images: BTreeSet<ImageId> =
        alone.flat_map(|line| made_for(&line.snapshot_id, snapshots, left)).cloned().collect();
    if images.is_empty() {
        return Ok(BTreeSet::new());
    }
    let wanted: Vec<ImageId> = images.iter().cloned().collect();
    let registered = aws.own_images(&job.work.region, &wanted).await?;
    let binned = aws.binned_images(&job.work.region).await?;
    let binned = binned.images.into_iter().filter(|image| images.contains(image));
    Ok(registered.into_iter().map(|image| image.image_id).chain(binned).collect())
}

async fn shared_with(aws: &Aws, job: &Job<'_>, id: &SnapshotId) -> Result<Option<String>, AwsFailure> {
    let all = aws.snapshot_shared_with(&job.work.region, id).await?;
    Ok((!all.is_empty()).then(|| all.join(", ")))
}
