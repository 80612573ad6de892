//! Owns the images of a batch.

use std::collections::BTreeMap;

use ami_backup_aws::Aws;
use ami_backup_core::{
    StepError, Timestamp,
    cleanup::{
        account::Image,
        apply::{Again, DEPRECATION_MARGIN, ImageNow, ItemOutcome, ItemResult, image_again},
        batch::Batch,
        judge::Action,
        plan::{Checked, ImageLine},
        reason::Reason,
        run::RegionWork,
    },
    failure::AwsFailure,
    id::ImageId,
    naming::TAG_RETIRES_WITH,
};

use crate::{ended, refused};

/// Looks at the images of a batch again, and lets go what still goes.
///
/// # Errors
/// What passes: whatever ended before is in `done`.
pub(crate) async fn apply(
    aws: &Aws,
    work: &RegionWork,
    batch: &Batch<'_>,
    now: Timestamp,
    done: &mut Vec<ItemOutcome>,
) -> Result<(), StepError> {
    let (region, policy) = (&work.region, &work.policy);
    let ids: Vec<ImageId> = batch.images.iter().map(|line| line.image_id.clone()).collect();
    let replacements = batch.images.iter().filter_map(|line| line.last_good.clone());
    let wanted: Vec<ImageId> = ids.iter().cloned().chain(replacements).collect();
    let found = aws.own_images(region, &wanted).await.map_err(|f| f.into_step_error("look at the images again"))?;
    let images: BTreeMap<ImageId, Image> =
        found.iter().map(|facts| (facts.image_id.clone(), Image::of(facts, policy, &[]))).collect();
    let uses = aws.uses_of(region, policy, &ids).await?;
    let checks = aws.check_images(region, policy, &ids).await?;
    for line in &batch.images {
        let id = &line.image_id;
        let last_good = line.last_good.as_ref().and_then(|id| images.get(id));
        let seen = ImageNow { image: images.get(id), uses: uses.of_image(id), last_good };
        let end = |result, reasons: &[Reason]| ended(work, id.as_str(), line.action, result, reasons);
        let outcome = match (image_again(line, seen, policy, now), checks.get(id)) {
            (Again::Gone, _) => end(ItemResult::Gone, &[]),
            (Again::Keep(reasons), _) => end(ItemResult::Kept, &reasons),
            (Again::Go, Some(Checked::Held(reasons))) => end(ItemResult::Kept, reasons),
            (Again::Go, Some(Checked::Free)) => match go(aws, work, batch, line, now).await {
                Ok(()) => end(ItemResult::Done, &[]),
                Err(failure) => refused(work, id.as_str(), line.action, failure)?,
            },
            // Somebody may have removed it in the middle of the look. Else it stays, and that is no success.
            (Again::Go, Some(Checked::Unknown(why))) => match is_there(aws, work, id).await? {
                true => end(ItemResult::Failed, &[Reason::CannotTell(why.clone())]),
                false => end(ItemResult::Gone, &[]),
            },
            (Again::Go, None) => end(ItemResult::Failed, &[Reason::CannotTell("it was not looked at".into())]),
        };
        done.push(outcome);
    }
    Ok(())
}

async fn is_there(aws: &Aws, work: &RegionWork, id: &ImageId) -> Result<bool, StepError> {
    let found = aws.own_images(&work.region, std::slice::from_ref(id)).await;
    let found = found.map_err(|failure| failure.into_step_error(format!("look at {id} once more")))?;
    Ok(!found.is_empty())
}

async fn go(
    aws: &Aws,
    work: &RegionWork,
    batch: &Batch<'_>,
    line: &ImageLine,
    now: Timestamp,
) -> Result<(), AwsFailure> {
    let (region, id) = (&work.region, &line.image_id);
    match line.action {
        Action::Deprecate => aws.deprecate(region, id, now + DEPRECATION_MARGIN / 2).await,
        Action::Disable => aws.disable(region, id).await,
        Action::Deregister => {
            // From here on nothing but this tag says that the snapshots were to go with it: if the run is cut off now, the
            // next one finds them by it.
            let with = batch.snapshots.iter().filter(|snapshot| snapshot.images.contains(id));
            let with: Vec<String> = with.map(|snapshot| snapshot.snapshot_id.to_string()).collect();
            if !with.is_empty() {
                let tag = [(TAG_RETIRES_WITH.to_owned(), id.to_string())].into();
                aws.create_tags(region, &with, &tag).await?;
            }
            aws.deregister(region, id).await
        }
        Action::Keep | Action::DeleteSnapshot => Ok(()),
    }
}
