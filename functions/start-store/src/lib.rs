//! Owns asking EC2 to store an image as one object: it joins a task that is running, adopts an object
//! that is there, and asks only if there is neither.

mod claim;

use ami_backup_aws::Aws;
use ami_backup_core::{
    ErrorName, StepError, Timestamp,
    failure::{AwsFailure, FailureClass},
    image::cannot_be_stored,
    naming::{Identity, Purpose, predicted_object_key, token},
    store::{ObjectFacts, StoreStart, StoreSubject, StoreTask, store_start, stored_elsewhere},
    tags::identity_tags,
    turn::{Look, Turn, budget},
};

/// Starts storing an image.
///
/// # Errors
/// `ResourceFailed` if a task of this run has failed; `Conflict` if something else is under the key.
pub async fn handle(aws: &Aws, now: Timestamp, turn: Turn<StoreSubject>) -> Result<Turn<StoreSubject>, StepError> {
    let allowed = budget(turn.subject.size_gib, turn.subject.deadline_minutes);
    let mut turn = turn.begun(now, allowed);
    let subject = &turn.subject;
    let (image_id, bucket) = (subject.image_id.clone(), subject.bucket.clone());
    let doing = format!("store {image_id} in s3://{bucket}/{}", subject.prefix);
    let look = Look::new(aws.settings(), &doing, aws.home(), now);
    let key = subject.key.clone().unwrap_or_else(|| predicted_object_key(&subject.prefix, &image_id));
    let tasks = aws.store_tasks(&image_id).await.map_err(|f| f.into_step_error("list store tasks"))?;
    let object = look_for_object(aws, subject, &key).await?;
    match store_start(subject, &tasks, object, subject.run.started_at) {
        StoreStart::Join(task) => {
            turn.subject.key = Some(task.key);
            turn.subject.adopted = true;
            turn.in_progress("stored", task.progress_percent, &look)
        }
        StoreStart::Stored(object) => Ok(stored(turn, object)),
        StoreStart::InTheWay(object) => {
            let reason = format!("{} holds {} bytes, which cannot be this image", object.key, object.size_bytes);
            Err(StepError::new(ErrorName::Conflict, &doing, reason).in_region(aws.home()))
        }
        StoreStart::Failed(task) => {
            let reason = task.failure_reason.unwrap_or_else(|| "EC2 gives no reason".into());
            Err(StepError::new(ErrorName::ResourceFailed, &doing, format!("the store task failed: {reason}"))
                .in_region(aws.home())
                .leaving("no object"))
        }
        StoreStart::Create => {
            turn.may_create(&look)?;
            refuse_if_it_cannot_be_stored(aws, &turn.subject, &doing).await?;
            let claim = claim::claim(aws, now, &turn.subject, &doing).await?;
            let created = create(aws, &turn.subject).await;
            if created.as_ref().is_err_and(|failure| failure.class() != FailureClass::Transient) {
                claim::release(aws, claim).await;
            }
            match created {
                Ok(key) => {
                    turn.subject.key = Some(key);
                    turn.in_progress("stored", Some(0), &look)
                }
                Err(failure) if failure.class() == FailureClass::Quota => turn.deferred(&failure.to_string(), &look),
                Err(failure) if failure.says_it_is_there() => adopt_refused(aws, turn, &tasks, &failure, &doing).await,
                Err(failure) => Err(failure.into_settling_error(&doing)),
            }
        }
    }
}

fn stored(mut turn: Turn<StoreSubject>, object: ObjectFacts) -> Turn<StoreSubject> {
    turn.subject.key = Some(object.key.clone());
    turn.subject.object = Some(object);
    turn.subject.adopted = true;
    turn.done("present")
}

/// EC2 says that the image is stored already: under another path of the bucket, or by a call of ours
/// whose reply was lost and whose task does not show yet.
async fn adopt_refused(
    aws: &Aws,
    turn: Turn<StoreSubject>,
    tasks: &[StoreTask],
    failure: &AwsFailure,
    doing: &str,
) -> Result<Turn<StoreSubject>, StepError> {
    let found = match stored_elsewhere(&turn.subject, tasks) {
        Some(key) => look_for_object(aws, &turn.subject, key).await?,
        None => None,
    };
    match found {
        Some(object) if object.is_plausible(turn.subject.size_gib) => Ok(stored(turn, object)),
        _ => Err(StepError::new(ErrorName::NotYetVisible, doing, failure.to_string()).in_region(aws.home())),
    }
}

async fn look_for_object(aws: &Aws, subject: &StoreSubject, key: &str) -> Result<Option<ObjectFacts>, StepError> {
    let bucket = &subject.bucket;
    let region = aws.bucket_region(bucket).await.map_err(|f| f.into_step_error(format!("look for bucket {bucket}")))?;
    match region {
        Some(region) if region == *aws.home() => aws
            .object(aws.home(), bucket, key)
            .await
            .map_err(|f| f.into_step_error(format!("look for s3://{bucket}/{key}"))),
        Some(region) => Err(StepError::input(
            "subject.bucket",
            format!("{bucket} is in {region}, and images of {home} are stored in {home}", home = aws.home()),
        )),
        None => Err(StepError::input("subject.bucket", format!("there is no bucket {bucket}"))),
    }
}

async fn refuse_if_it_cannot_be_stored(aws: &Aws, subject: &StoreSubject, doing: &str) -> Result<(), StepError> {
    let refuse = |reason: String| StepError::new(ErrorName::InvalidInput, doing, reason).in_region(aws.home());
    let image = aws
        .image(aws.home(), &subject.image_id)
        .await
        .map_err(|f| f.into_step_error(format!("look at {}", subject.image_id)))?
        .ok_or_else(|| refuse("there is no such image here, or it is not shared with this account".into()))?;
    let account = aws.account().await.map_err(|f| f.into_step_error("find out the own account"))?;
    match cannot_be_stored(&image, &account, aws.settings().store_limit_gb) {
        Some(reason) => Err(refuse(reason)),
        None => Ok(()),
    }
}

async fn create(aws: &Aws, subject: &StoreSubject) -> Result<String, AwsFailure> {
    let identity = Identity {
        purpose: Purpose::Store,
        run: &subject.run.run,
        source: subject.image_id.as_str(),
        region: aws.home(),
        parameters: subject.bucket.as_str(),
    };
    let tags = identity_tags(&subject.run, subject.image_id.as_str(), &token(&identity, 0));
    let path = subject.prefix.trim_end_matches('/');
    let place = if path.is_empty() { subject.bucket.to_string() } else { format!("{}/{path}", subject.bucket) };
    aws.create_store_task(&subject.image_id, &place, &tags).await
}
