//! Owns looking for what a run left of an image where no outcome says so: by tags, and by the key that EC2 gives an
//! object.

use ami_backup_aws::Aws;
use ami_backup_core::{
    ErrorName, StepError, Timestamp,
    export::ExportTask,
    failure::AwsFailure,
    id::{BucketName, ImageId, Region},
    input::document,
    item::Item,
    naming::{TAG_RUN, TAG_SOURCE, predicted_object_key, store_claims_prefix},
    report::{Leg, LegPlace, Remains},
    store::{StoreClaim, key_in_bucket},
};

/// Looks once for what the legs left.
///
/// # Errors
/// What passes, so that the step is tried again. What does not is in what is returned: the report is
/// written all the same.
///
/// `exports` is the list of export tasks, once an image has needed it.
pub(crate) async fn remains(
    aws: &Aws,
    item: &Item,
    legs: &[LegPlace],
    now: Timestamp,
    exports: &mut Option<Vec<ExportTask>>,
) -> Result<Remains, StepError> {
    let mut found = Remains::default();
    if let Err(failure) = look(aws, item, legs, now, exports, &mut found).await {
        let error = failure.into_step_error(format!("look for what run {} left", item.run.run));
        if matches!(error.name, ErrorName::Throttled | ErrorName::Transient) {
            return Err(error);
        }
        found.not_looked_for = Some(not_looked_for(item, &error.to_string()));
    }
    Ok(found)
}

/// Says that something was not looked for, why, and how a person finds it.
pub(crate) fn not_looked_for(item: &Item, reason: &str) -> String {
    let run = &item.run.run;
    format!("what it left was not looked for, because {reason}; it carries the tag {TAG_RUN} with the value {run}")
}

async fn look(
    aws: &Aws,
    item: &Item,
    legs: &[LegPlace],
    now: Timestamp,
    exports: &mut Option<Vec<ExportTask>>,
    found: &mut Remains,
) -> Result<(), AwsFailure> {
    let home = aws.home();
    if let Some(instance) = &item.source.instance_id {
        found.image_id = made(aws, home, item, instance.as_str()).await?;
    }
    let Some(image) = item.source.image_id.clone().or_else(|| found.image_id.clone()) else { return Ok(()) };
    let wanted = |leg: Leg| legs.iter().filter(move |(wanted, _)| *wanted == leg);
    for region in wanted(Leg::Copy).filter_map(|(_, region)| region.as_ref()) {
        if let Some(id) = made(aws, region, item, image.as_str()).await? {
            found.copies.insert(region.clone(), id);
        }
    }
    if let (Some(store), Some(_)) = (&item.policy.store, wanted(Leg::Store).next()) {
        let tasks = aws.store_tasks(&image).await?;
        found.object_key = key_in_bucket(&store.bucket, &tasks).map(str::to_owned);
        if found.object_key.is_none() {
            let key = predicted_object_key(&store.prefix, &image);
            let there = aws.object(home, &store.bucket, &key).await?.is_some();
            // What was asked for moments ago may not show yet.
            let there = there || is_claimed(aws, item, &store.bucket, &image, now).await?;
            found.object_key = there.then_some(key);
        }
    }
    if wanted(Leg::Export).next().is_some() {
        let is = |tag: Option<&String>, value: &str| tag.is_some_and(|tag| tag == value);
        let tasks = match exports {
            Some(tasks) => tasks,
            None => exports.insert(aws.export_tasks(home).await?),
        };
        let ours = tasks.iter().find(|task| {
            is(task.tags.get(TAG_RUN), &item.run.run)
                && is(task.tags.get(TAG_SOURCE), image.as_str())
                && !task.has_failed()
        });
        found.export_task_id = ours.map(|task| task.task_id.clone());
    }
    Ok(())
}

/// Whether the run has claimed the storing of an image lately.
async fn is_claimed(
    aws: &Aws,
    item: &Item,
    bucket: &BucketName,
    image: &ImageId,
    now: Timestamp,
) -> Result<bool, AwsFailure> {
    let Ok(claims) = aws.settings().backup_bucket() else { return Ok(false) };
    let keys = aws.keys(claims, &store_claims_prefix(bucket, image)).await?;
    let Some(last) = keys.last() else { return Ok(false) };
    let text = aws.read_text(aws.home(), claims, last).await?;
    let claim = text.and_then(|text| document::<StoreClaim>(&text, "a claim").ok());
    Ok(claim.is_some_and(|claim| claim.may_show_later(&item.run.run, now)))
}

/// The image that the run made of a source in a Region, if it did not fail.
async fn made(aws: &Aws, region: &Region, item: &Item, source: &str) -> Result<Option<ImageId>, AwsFailure> {
    let images = aws.images_of_run(region, &item.run.run, source).await?;
    Ok(images.into_iter().find(|image| !image.state.is_terminal()).map(|image| image.image_id))
}
