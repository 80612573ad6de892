//! Owns the snapshots of a batch.

use std::collections::{BTreeMap, BTreeSet};

use ami_backup_aws::Aws;
use ami_backup_core::{
    StepError,
    cleanup::{
        account::Snapshot,
        apply::{Again, ItemOutcome, ItemResult, SnapshotNow, snapshot_again},
        batch::{Batch, Outcomes, removed},
        judge::Action,
        run::RegionWork,
    },
    failure::AwsFailure,
    id::{ImageId, SnapshotId},
};

use crate::{ended, refused};

/// EC2's answer while an image is on a snapshot, also for a moment after that image has gone.
const IN_USE: &str = "InvalidSnapshot.InUse";

/// Looks at the snapshots of a batch again, and deletes what still goes.
///
/// # Errors
/// What passes: whatever ended before is in `done`.
pub(crate) async fn apply(
    aws: &Aws,
    work: &RegionWork,
    batch: &Batch<'_>,
    outcomes: &Outcomes,
    done: &mut Vec<ItemOutcome>,
) -> Result<(), StepError> {
    let (region, policy) = (&work.region, &work.policy);
    let ids: Vec<SnapshotId> = batch.snapshots.iter().map(|line| line.snapshot_id.clone()).collect();
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
    let on = images_on(aws, work, &ids, outcomes, done).await.map_err(again)?;
    let uses = aws.uses_of(region, policy, &[]).await?;
    let origins = origins(aws, work, batch, &snapshots).await.map_err(again)?;
    for line in &batch.snapshots {
        let id = &line.snapshot_id;
        let snapshot = snapshots.get(id);
        let shared = match snapshot {
            Some(_) => shared_with(aws, work, id).await,
            None => Ok(None),
        };
        let shared = match shared {
            Ok(shared) => shared,
            Err(failure) => {
                done.push(refused(work, id.as_str(), line.action, failure)?);
                continue;
            }
        };
        let origin = snapshot.and_then(|snapshot| {
            let made = [&snapshot.retires_with, &snapshot.made_for];
            made.into_iter().flatten().find(|image| origins.contains(*image))
        });
        let seen = SnapshotNow {
            snapshot,
            on: on.get(id).map(Vec::as_slice).unwrap_or_default(),
            uses: uses.of_snapshot(id),
            shared_with: shared.as_deref(),
            origin,
        };
        let outcome = match snapshot_again(line, seen) {
            Again::Gone => ended(work, id.as_str(), line.action, ItemResult::Gone, &[]),
            Again::Keep(reasons) => ended(work, id.as_str(), line.action, ItemResult::Kept, &reasons),
            Again::Go => match aws.delete_snapshot(region, id).await {
                Ok(()) => ended(work, id.as_str(), line.action, ItemResult::Done, &[]),
                Err(failure) if failure.is(IN_USE) => in_use(work, id, outcomes, &failure),
                Err(failure) => refused(work, id.as_str(), line.action, failure)?,
            },
        };
        done.push(outcome);
    }
    Ok(())
}

/// It is tried again: so many times so far in this start of the run.
fn in_use(work: &RegionWork, id: &SnapshotId, outcomes: &Outcomes, failure: &AwsFailure) -> ItemOutcome {
    let before = outcomes.get(id.as_str()).filter(|outcome| outcome.started_at == work.started_at);
    let tries = before.map_or(0, |outcome| outcome.tries).saturating_add(1);
    let error = Some(failure.to_string());
    ItemOutcome { tries, error, ..ended(work, id.as_str(), Action::DeleteSnapshot, ItemResult::InUse, &[]) }
}

/// The images on each snapshot, without those that this run has just removed: they may be listed for a moment yet.
async fn images_on(
    aws: &Aws,
    work: &RegionWork,
    ids: &[SnapshotId],
    outcomes: &Outcomes,
    done: &[ItemOutcome],
) -> Result<BTreeMap<SnapshotId, Vec<ImageId>>, AwsFailure> {
    let gone = |outcome: &&ItemOutcome| matches!(outcome.result, ItemResult::Done | ItemResult::Gone);
    let mut removed: BTreeSet<&str> = removed(outcomes);
    removed.extend(done.iter().filter(gone).map(|outcome| outcome.id.as_str()));
    let mut on: BTreeMap<SnapshotId, Vec<ImageId>> = BTreeMap::new();
    for image in aws.images_on(&work.region, ids).await? {
        if removed.contains(image.image_id.as_str()) {
            continue;
        }
        for snapshot in image.snapshot_ids() {
            on.entry(snapshot).or_default().push(image.image_id.clone());
        }
    }
    Ok(on)
}

/// Which of the images that orphans were made for, or were to go with, exist in any form.
async fn origins(
    aws: &Aws,
    work: &RegionWork,
    batch: &Batch<'_>,
    snapshots: &BTreeMap<SnapshotId, Snapshot>,
) -> Result<BTreeSet<ImageId>, AwsFailure> {
    let alone = batch.snapshots.iter().filter(|line| line.images.is_empty());
    let alone = alone.filter_map(|line| snapshots.get(&line.snapshot_id));
    let images: BTreeSet<ImageId> =
        alone.flat_map(|one| [one.retires_with.clone(), one.made_for.clone()]).flatten().collect();
    if images.is_empty() {
        return Ok(BTreeSet::new());
    }
    let wanted: Vec<ImageId> = images.iter().cloned().collect();
    let registered = aws.own_images(&work.region, &wanted).await?;
    let binned = aws.binned_images(&work.region).await?;
    let binned = binned.images.into_iter().filter(|image| images.contains(image));
    Ok(registered.into_iter().map(|image| image.image_id).chain(binned).collect())
}

async fn shared_with(aws: &Aws, work: &RegionWork, id: &SnapshotId) -> Result<Option<String>, AwsFailure> {
    let all = aws.snapshot_shared_with(&work.region, id).await?;
    Ok((!all.is_empty()).then(|| all.join(", ")))
}
