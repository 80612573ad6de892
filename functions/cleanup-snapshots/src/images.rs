//! Owns the images of a batch.

use std::collections::{BTreeMap, BTreeSet};

use ami_backup_aws::Aws;
use ami_backup_core::{
    ErrorName, StepError, Timestamp,
    cleanup::{
        account::Image,
        apply::{Again, DEPRECATION_MARGIN, Generation, ImageNow, ItemOutcome, ItemResult, image_again},
        intent::{Intended, Intent, intent_key, is_gone_by_others},
        judge::Action,
        plan::{Checked, ImageLine},
        reason::Reason,
    },
    failure::AwsFailure,
    id::ImageId,
    image::{ImageFacts, OddImage},
};

use crate::Job;

/// Looks at the images of a batch again, and lets go what still goes.
///
/// # Errors
/// What passes: whatever ended before is in `done`.
pub(crate) async fn apply(
    aws: &Aws,
    job: &Job<'_>,
    now: Timestamp,
    done: &mut Vec<ItemOutcome>,
) -> Result<(), StepError> {
    let (region, policy) = (&job.work.region, &job.work.policy);
    let ids: Vec<ImageId> = job.batch.images.iter().map(|line| line.image_id.clone()).collect();
    let Seen { images, families } = look(aws, job, &ids).await?;
    let uses = aws.uses_of(region, policy, &ids).await?;
    let checks = aws.check_images(region, policy, &ids).await?;
    let mut room = job.room.images;
    for line in &job.batch.images {
        let id = &line.image_id;
        let family = line.family.as_ref().and_then(|family| families.get(family));
        let seen = ImageNow {
            image: images.get(id),
            uses: uses.of_image(id),
            last_good: line.last_good.as_ref().and_then(|id| images.get(id)),
            family: family.map(Vec::as_slice).unwrap_or_default(),
            room,
        };
        let end = |result, reasons: &[Reason]| job.ended(id.as_str(), line.action, result, reasons);
        let outcome = match (image_again(line, seen, policy, now), checks.get(id)) {
            (Again::Gone, _) => gone(aws, job, line).await?,
            (Again::Keep(reasons), _) => end(ItemResult::Kept, &reasons),
            (Again::Go, Some(Checked::Held(reasons))) => end(ItemResult::Kept, reasons),
            (Again::Go, Some(Checked::Free)) => {
                write_intent(aws, job, line).await?;
                match go(aws, job, line, now).await {
                    Ok(()) => end(ItemResult::Done, &[]),
                    Err(failure) => job.refused(id.as_str(), line.action, failure)?,
                }
            }
            // Somebody may have removed it in the middle of the look. Else it stays, and that is no success.
            (Again::Go, Some(Checked::Unknown(why))) => match is_there(aws, job, id).await? {
                true => end(ItemResult::Failed, &[Reason::CannotTell(why.clone())]),
                false => gone(aws, job, line).await?,
            },
            (Again::Go, None) => end(ItemResult::Failed, &[Reason::CannotTell("it was not looked at".into())]),
        };
        room = room.saturating_sub(u32::from(outcome.went()));
        done.push(outcome);
    }
    Ok(())
}

/// What is there now: the images of a batch and what replaces them, and the families that they are of.
#[derive(Default)]
struct Seen {
    images: BTreeMap<ImageId, Image>,
    families: BTreeMap<String, Vec<Generation>>,
}

/// Looks at every image of the account: what retention counted on may be gone.
async fn look(aws: &Aws, job: &Job<'_>, ids: &[ImageId]) -> Result<Seen, StepError> {
    let replacements = job.batch.images.iter().filter_map(|line| line.last_good.as_ref());
    let wanted: BTreeSet<&ImageId> = ids.iter().chain(replacements).collect();
    let families: BTreeSet<&String> = job.batch.images.iter().filter_map(|line| line.family.as_ref()).collect();
    let mut seen = Seen::default();
    // What is no machine image is none of the plan's, and counts in no family.
    let each = |facts: Result<ImageFacts, OddImage>| {
        let Ok(facts) = facts else { return };
        let image = Image::of(&facts, &job.work.policy, &[]);
        if let (Some(family), Some(one)) =
            (image.family.as_ref().filter(|family| families.contains(family)), Generation::of(&image))
        {
            seen.families.entry(family.clone()).or_default().push(one);
        }
        if wanted.contains(&image.image_id) {
            seen.images.insert(image.image_id.clone(), image);
        }
    };
    let looked = aws.each_own_image(&job.work.region, each).await;
    looked.map_err(|failure| failure.into_step_error("look at the images again"))?;
    Ok(seen)
}

/// How an image ended that is not there any more, or is so already.
async fn gone(aws: &Aws, job: &Job<'_>, line: &ImageLine) -> Result<ItemOutcome, StepError> {
    let outcome = job.ended(line.image_id.as_str(), line.action, ItemResult::Gone, &[]);
    if line.action != Action::Deregister {
        return Ok(outcome);
    }
    let intended: Option<Intent> = aws.read_json(&key(job, line)).await?;
    let earlier = job.outcomes.get(line.image_id.as_str()).map(|outcome| outcome.result);
    Ok(ItemOutcome { by_others: is_gone_by_others(earlier, intended.is_some()), ..outcome })
}

async fn is_there(aws: &Aws, job: &Job<'_>, id: &ImageId) -> Result<bool, StepError> {
    let found = aws.own_images(&job.work.region, std::slice::from_ref(id)).await;
    let found = found.map_err(|failure| failure.into_step_error(format!("look at {id} once more")))?;
    Ok(!found.is_empty())
}

fn key(job: &Job<'_>, line: &ImageLine) -> String {
    intent_key(&job.work.run, &job.work.region, job.plan.made_at, &line.image_id)
}

/// Writes down that an image is about to be deregistered, and what goes with it. If the run is cut off then, nothing else
/// says so. A paper that is there already is of an earlier try, and says the same.
async fn write_intent(aws: &Aws, job: &Job<'_>, line: &ImageLine) -> Result<(), StepError> {
    if line.action != Action::Deregister {
        return Ok(());
    }
    let with = job.batch.snapshots.iter().filter(|snapshot| snapshot.images.contains(&line.image_id));
    let snapshots =
        with.map(|snapshot| Intended { snapshot_id: snapshot.snapshot_id.clone(), images: snapshot.images.clone() });
    let intent = Intent {
        run: job.work.run.clone(),
        region: job.work.region.clone(),
        plan: job.plan.prefix.clone(),
        binding: job.plan.binding.clone(),
        image_id: line.image_id.clone(),
        snapshots: snapshots.collect(),
    };
    let (bucket, key) = (aws.settings().backup_bucket()?, key(job, line));
    let doing = format!("write s3://{bucket}/{key}");
    let text = serde_json::to_string(&intent)
        .map_err(|error| StepError::new(ErrorName::Defect, doing.clone(), error.to_string()))?;
    aws.write_text_once(bucket, &key, text).await.map(|_| ()).map_err(|failure| failure.into_step_error(doing))
}

async fn go(aws: &Aws, job: &Job<'_>, line: &ImageLine, now: Timestamp) -> Result<(), AwsFailure> {
    let (region, id) = (&job.work.region, &line.image_id);
    match line.action {
        Action::Deprecate => aws.deprecate(region, id, now + DEPRECATION_MARGIN / 2).await,
        Action::Disable => aws.disable(region, id).await,
        Action::Deregister => aws.deregister(region, id).await,
        Action::Keep | Action::DeleteSnapshot => Ok(()),
    }
}
