//! Owns one look at an image that is being stored: done only when the task is `Completed` and the
//! object is there.

use ami_backup_aws::Aws;
use ami_backup_core::{
    ErrorName, StepError, Timestamp,
    naming::predicted_object_key,
    report::Leg,
    store::{ObjectFacts, StoreCheck, StoreSubject, store_check},
    turn::{Look, Turn, budget},
};

/// Looks once.
///
/// # Errors
/// `ResourceFailed` with EC2's reason if the task failed, or if what it left cannot be the image.
pub async fn handle(aws: &Aws, now: Timestamp, turn: Turn<StoreSubject>) -> Result<Turn<StoreSubject>, StepError> {
    let allowed = budget(turn.subject.size_gib, turn.subject.deadline_minutes);
    let mut turn = turn.begun(now, allowed);
    let subject = &turn.subject;
    let (image_id, bucket) = (subject.image_id.clone(), subject.bucket.clone());
    let key = subject.key.clone().unwrap_or_else(|| predicted_object_key(&subject.prefix, &image_id));
    let doing = format!("store {image_id} as s3://{bucket}/{key}");
    let look = Look::new(aws.settings(), &doing, aws.home(), now);
    let tasks = aws.store_tasks(&image_id).await.map_err(|f| f.into_step_error("list store tasks"))?;
    let object = aws
        .object(aws.home(), &bucket, &key)
        .await
        .map_err(|f| f.into_step_error(format!("look for s3://{bucket}/{key}")))?;
    match store_check(subject, &tasks, object, turn.age(now)) {
        StoreCheck::Done(object) => {
            if tasks.is_empty() {
                check_against_record(aws, subject, &object, &doing).await?;
            }
            turn.subject.key = Some(key);
            turn.subject.object = Some(object);
            Ok(turn.done("present"))
        }
        StoreCheck::InProgress(what, percent) => turn.in_progress(&what, percent, &look),
        StoreCheck::Failed(reason) => {
            Err(StepError::new(ErrorName::ResourceFailed, &doing, reason).in_region(aws.home()))
        }
        StoreCheck::ObjectMissing => {
            let reason = "the task is Completed and S3 does not show the object";
            Err(StepError::new(ErrorName::NotYetVisible, &doing, reason).in_region(aws.home()))
        }
    }
}

/// EC2 forgets tasks after 31 days. The record then says how large the object was.
async fn check_against_record(
    aws: &Aws,
    subject: &StoreSubject,
    object: &ObjectFacts,
    doing: &str,
) -> Result<(), StepError> {
    let Some(record) = aws.record(&aws.record_place(&subject.image_id)?).await? else {
        return Ok(());
    };
    let known = record
        .backups
        .iter()
        .filter(|backup| backup.leg == Leg::Store && backup.bucket.as_ref() == Some(&object.bucket))
        .find(|backup| backup.id == object.key)
        .and_then(|backup| backup.size_bytes);
    match known {
        Some(size_bytes) if size_bytes != object.size_bytes => Err(StepError::new(
            ErrorName::ResourceFailed,
            doing,
            format!("the object has {} bytes, and the record says {size_bytes}", object.size_bytes),
        )
        .in_region(aws.home())),
        _ => Ok(()),
    }
}
