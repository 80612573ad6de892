//! Owns finding what a clean-up removed, and what is there of it now.

use std::collections::BTreeSet;

use ami_backup_aws::Aws;
use ami_backup_core::{
    StepError,
    cleanup::{
        binding::{digest, read_going},
        plan::Line,
        run::region_prefix,
        undo::{ImageSeen, Seen, SnapshotSeen, UndoInput, removed_lines},
    },
    failure::AwsFailure,
    id::{ImageId, Region, SnapshotId},
};

/// EC2 takes up to 200 values in a filter.
const FILTER_VALUES: usize = 200;
/// How the key of a plan's lines ends.
const GOING: &str = "/going.jsonl";

/// What the run removed in a Region, by all plans that it has made of it.
///
/// # Errors
/// What S3 refused, or `Conflict` if a plan is not the one that was applied.
pub(crate) async fn removed(aws: &Aws, request: &UndoInput, region: &Region) -> Result<Vec<Line>, StepError> {
    let bucket = aws.settings().backup_bucket()?;
    let prefix = region_prefix(&request.run, region);
    let keys =
        aws.keys(bucket, &prefix).await.map_err(|f| f.into_step_error(format!("list s3://{bucket}/{prefix}")))?;
    let mut lines = Vec::new();
    for key in keys.iter().filter(|key| key.ends_with(GOING)) {
        let plan = key.trim_end_matches("going.jsonl");
        let mut found = String::new();
        let read = |place: &str, text: &str| {
            found = digest(text);
            read_going(place, text)
        };
        let going = aws.plan_going(plan, read).await?;
        // The outcomes name the plan that was applied.
        lines.extend(removed_lines(going.lines, &aws.plan_outcomes(plan, &found).await?));
    }
    Ok(lines)
}

/// What is there now.
///
/// # Errors
/// The refusal of any listing.
pub(crate) async fn seen(aws: &Aws, region: &Region, lines: &[Line]) -> Result<Seen, StepError> {
    let again = |failure: AwsFailure| failure.into_step_error("look for what was removed");
    let (mut images, mut snapshots): (BTreeSet<ImageId>, BTreeSet<SnapshotId>) = Default::default();
    for line in lines {
        match line {
            Line::Image(line) => {
                images.insert(line.image_id.clone());
                snapshots.extend(line.snapshots.iter().cloned());
            }
            Line::Snapshot(line) => drop(snapshots.insert(line.snapshot_id.clone())),
        }
    }
    let mut seen = Seen::default();
    if lines.is_empty() {
        return Ok(seen);
    }
    let images: Vec<ImageId> = images.into_iter().collect();
    for some in images.chunks(FILTER_VALUES) {
        for image in aws.own_images(region, some).await.map_err(again)? {
            let deprecated = image.deprecation_time.is_some();
            seen.images.insert(image.image_id, ImageSeen { state: image.state, deprecated, tags: image.tags });
        }
    }
    let snapshots: Vec<SnapshotId> = snapshots.into_iter().collect();
    for snapshot in aws.snapshots(region, &snapshots).await.map_err(again)? {
        let there = SnapshotSeen { completed: snapshot.state == "completed", tags: snapshot.tags };
        seen.snapshots.insert(snapshot.snapshot_id, there);
    }
    seen.binned_images = aws.binned_images(region).await.map_err(again)?.images.into_iter().collect();
    seen.binned_snapshots = aws.binned_snapshots(region).await.map_err(again)?.into_iter().collect();
    Ok(seen)
}
