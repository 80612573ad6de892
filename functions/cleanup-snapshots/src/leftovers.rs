//! Owns whether a snapshot is still left of an earlier run, by the paper that the plan names.

use std::collections::{BTreeMap, BTreeSet};

use ami_backup_aws::Aws;
use ami_backup_core::{
    StepError,
    cleanup::intent::{Intended, Intent, IntentKey, intent_key, is_left_over},
    id::{ImageId, SnapshotId},
};

use crate::Job;

/// What a paper says now.
pub(crate) struct Left {
    /// The images that were on the snapshot.
    pub(crate) images: Vec<ImageId>,
    /// Whether it is still left of them.
    pub(crate) still: bool,
}

/// Reads the papers of the leftovers in a batch again: the run that wrote one may have been undone since, or have found
/// out how its images ended.
///
/// # Errors
/// What S3 refused, or `Conflict` if what is there cannot be read.
pub(crate) async fn again(aws: &Aws, job: &Job<'_>) -> Result<BTreeMap<SnapshotId, Left>, StepError> {
    let mut all = BTreeMap::new();
    for line in &job.batch.snapshots {
        let Some(key) = &line.intent else { continue };
        let Some(intent) = aws.read_json::<Intent>(key).await? else { continue };
        let named = intent.snapshots.iter().find(|one| one.snapshot_id == line.snapshot_id);
        let (Some(snapshot), Some(key)) = (named, IntentKey::of(&job.work.region, key)) else { continue };
        let still = match aws.undo_mark(&intent.run, &job.work.region).await? {
            Some(_) => false,
            None => is_left(aws, job, &intent, &key, snapshot).await?,
        };
        all.insert(line.snapshot_id.clone(), Left { images: snapshot.images.clone(), still });
    }
    Ok(all)
}

/// Whether the images exist is looked at by itself.
async fn is_left(
    aws: &Aws,
    job: &Job<'_>,
    intent: &Intent,
    key: &IntentKey,
    snapshot: &Intended,
) -> Result<bool, StepError> {
    let outcomes = aws.plan_outcomes(&intent.plan, &intent.binding.digest).await?;
    let mut intended = BTreeSet::new();
    for image in &snapshot.images {
        let key = intent_key(&intent.run, &job.work.region, key.made_at, image);
        if aws.read_json::<Intent>(&key).await?.is_some() {
            intended.insert(image.clone());
        }
    }
    Ok(is_left_over(snapshot, &outcomes, &intended, |_| false))
}
