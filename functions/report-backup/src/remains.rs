//! Owns looking for what a run left of an image whose execution left no outcome: by tags, and by the
//! key that EC2 gives an object.

use ami_backup_aws::Aws;
use ami_backup_core::{
    ErrorName, StepError,
    failure::AwsFailure,
    id::{ImageId, Region},
    item::Item,
    naming::{TAG_RUN, TAG_SOURCE, predicted_object_key},
    report::Remains,
    store::key_in_bucket,
};

/// Looks once.
///
/// # Errors
/// What passes, so that the step is tried again. What does not is in what is returned: the report is
/// written all the same.
pub(crate) async fn remains(aws: &Aws, item: &Item) -> Result<Remains, StepError> {
    let mut found = Remains::default();
    match look(aws, item, &mut found).await {
        Ok(()) => Ok(found),
        Err(failure) => {
            let error = failure.into_step_error(format!("look for what run {} left", item.run.run));
            match error.name {
                ErrorName::Throttled | ErrorName::Transient => Err(error),
                _ => Ok(Remains { not_looked_for: not_looked_for(&error.to_string()).not_looked_for, ..found }),
            }
        }
    }
}

/// Nothing was looked for, for a reason.
pub(crate) fn not_looked_for(reason: &str) -> Remains {
    let how = format!("what it left was not looked for, because {reason}; it carries the tag {TAG_RUN}");
    Remains { not_looked_for: Some(how), ..Remains::default() }
}

async fn look(aws: &Aws, item: &Item, found: &mut Remains) -> Result<(), AwsFailure> {
    let home = aws.home();
    if let Some(instance) = &item.source.instance_id {
        found.image_id = made(aws, home, item, instance.as_str()).await?;
    }
    let Some(image) = item.source.image_id.clone().or_else(|| found.image_id.clone()) else { return Ok(()) };
    for copy in &item.policy.copies {
        if let Some(id) = made(aws, &copy.region, item, image.as_str()).await? {
            found.copies.insert(copy.region.clone(), id);
        }
    }
    if let Some(store) = &item.policy.store {
        let tasks = aws.store_tasks(&image).await?;
        found.object_key = key_in_bucket(&store.bucket, &tasks).map(str::to_owned);
        if found.object_key.is_none() {
            let key = predicted_object_key(&store.prefix, &image);
            found.object_key = aws.object(home, &store.bucket, &key).await?.map(|object| object.key);
        }
    }
    if item.policy.export.is_some() {
        let is = |tag: Option<&String>, value: &str| tag.is_some_and(|tag| tag == value);
        let ours = aws.export_tasks().await?.into_iter().find(|task| {
            is(task.tags.get(TAG_RUN), &item.run.run)
                && is(task.tags.get(TAG_SOURCE), image.as_str())
                && !task.has_failed()
        });
        found.export_task_id = ours.map(|task| task.task_id);
    }
    Ok(())
}

/// The image that the run made of a source in a Region, if it did not fail.
async fn made(aws: &Aws, region: &Region, item: &Item, source: &str) -> Result<Option<ImageId>, AwsFailure> {
    let images = aws.images_of_run(region, &item.run.run, source).await?;
    Ok(images.into_iter().find(|image| !image.state.is_terminal()).map(|image| image.image_id))
}
