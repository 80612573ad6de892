//! Owns looking for what a run left of an image whose execution left no outcome: by tags, and by the
//! key that EC2 gives an object.

use ami_backup_aws::Aws;
use ami_backup_core::{
    ErrorName, StepError,
    export::ExportTask,
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
///
/// `exports` is the list of export tasks, once an image has needed it.
pub(crate) async fn remains(
    aws: &Aws,
    item: &Item,
    exports: &mut Option<Vec<ExportTask>>,
) -> Result<Remains, StepError> {
    let mut found = Remains::default();
    if let Err(failure) = look(aws, item, exports, &mut found).await {
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
    exports: &mut Option<Vec<ExportTask>>,
    found: &mut Remains,
) -> Result<(), AwsFailure> {
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
        let tasks = match exports {
            Some(tasks) => tasks,
            None => exports.insert(aws.export_tasks().await?),
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

/// The image that the run made of a source in a Region, if it did not fail.
async fn made(aws: &Aws, region: &Region, item: &Item, source: &str) -> Result<Option<ImageId>, AwsFailure> {
    let images = aws.images_of_run(region, &item.run.run, source).await?;
    Ok(images.into_iter().find(|image| !image.state.is_terminal()).map(|image| image.image_id))
}
