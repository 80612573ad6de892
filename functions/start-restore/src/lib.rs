//! Owns asking EC2 to restore an image from its object: it adopts the image that this run is
//! restoring already, or starts it under a name that does not collide.

use ami_backup_aws::{Aws, NewRestore};
use ami_backup_core::{
    ErrorName, StepError, Timestamp,
    adopt::{ImageStart, adopted, image_start},
    failure::FailureClass,
    item::Awaited,
    naming::image_name,
    restore::{Method, RestoreSubject},
    tags::{Tags, identity_tags, planned_tags},
    text::shown,
    turn::{Look, Turn, budget},
};

/// Starts restoring an image.
///
/// # Errors
/// `InvalidInput` if the object is not there or archived.
pub async fn handle(aws: &Aws, now: Timestamp, turn: Turn<RestoreSubject>) -> Result<Turn<RestoreSubject>, StepError> {
    let allowed = budget(turn.subject.size_gib, turn.subject.deadline_minutes);
    let mut turn = turn.begun(now, allowed);
    let subject = &turn.subject;
    let (Some(bucket), Some(key), Method::Object) = (subject.bucket.clone(), subject.key.clone(), subject.method)
    else {
        return Err(StepError::input("subject", "needs `bucket`, `key` and the method OBJECT"));
    };
    let region = subject.region.clone();
    let doing = format!("restore s3://{bucket}/{}", shown(&key));
    let look = Look::new(aws.settings(), &doing, &region, now);
    let (source, parameters) = (subject.source(), subject.parameters());
    let found = aws
        .images_of_run(&region, &subject.run.run, &source)
        .await
        .map_err(|f| f.into_step_error(format!("look for the image restored from s3://{bucket}/{}", shown(&key))))?;
    match image_start(&subject.identity(&source, &parameters), &found)? {
        ImageStart::Adopt(image) => {
            turn.subject.awaited = Some(Awaited { image_id: image.image_id.clone(), region: region.clone() });
            turn.subject.adopted = true;
            adopted(turn, &image, &look)
        }
        ImageStart::Create { token } => {
            turn.may_create(&look)?;
            check_object(aws, subject, &doing).await?;
            let record = match &subject.record {
                Some(place) if subject.trust_record => aws.record_by_anybody(place).await?,
                Some(place) => aws.record(place).await?,
                None => None,
            };
            let stem = subject.original_name.as_deref().unwrap_or(&source);
            let name = subject.name.clone().unwrap_or_else(|| image_name(&format!("{stem}-restored"), &token));
            let tags = record.as_ref().map(|record| record.survey.image.tags.clone()).unwrap_or_default();
            let new = NewRestore { bucket, key, name, tags: tags_for(subject, &source, &token, &tags) };
            match aws.create_restore_task(&region, &new).await {
                Ok(image_id) => {
                    turn.subject.awaited = Some(Awaited { image_id, region: region.clone() });
                    turn.in_progress("pending", Some(0), &look)
                }
                Err(failure) if failure.class() == FailureClass::Quota => turn.deferred(&failure.to_string(), &look),
                Err(failure) => Err(aws.name_refused(&region, &new.name, failure, doing.clone()).await),
            }
        }
    }
}

fn tags_for(subject: &RestoreSubject, source: &str, token: &str, tags: &Tags) -> Tags {
    planned_tags(tags, identity_tags(&subject.run, source, token)).tags
}

async fn check_object(aws: &Aws, subject: &RestoreSubject, doing: &str) -> Result<(), StepError> {
    let refuse = |reason: &str| StepError::new(ErrorName::InvalidInput, doing, reason).in_region(&subject.region);
    let (Some(bucket), Some(key)) = (&subject.bucket, &subject.key) else {
        return Err(refuse("there is no object to restore from"));
    };
    match aws
        .object(&subject.region, bucket, key)
        .await
        .map_err(|f| f.into_step_error(format!("look for {}", shown(key))))?
    {
        None => Err(refuse("the object is not there")),
        Some(object) if object.is_archived() => {
            Err(refuse("the object is archived: restore it in S3 first, for longer than the image takes"))
        }
        Some(_) => Ok(()),
    }
}
