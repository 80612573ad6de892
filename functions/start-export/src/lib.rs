//! Owns asking EC2 to export an image as a VM file: it adopts the task that this run has started
//! already, or starts one under a deterministic token.

use ami_backup_aws::{Aws, NewExport};
use ami_backup_core::{
    ErrorName, StepError, Timestamp,
    export::{ExportStart, ExportSubject, export_start},
    failure::{AwsFailure, FailureClass},
    id::BucketName,
    image::cannot_be_exported,
    tags::identity_tags,
    turn::{Look, Turn, budget},
};

/// Starts exporting an image.
///
/// # Errors
/// `InvalidInput` if EC2 does not export such an image, or not into that bucket.
pub async fn handle(aws: &Aws, now: Timestamp, turn: Turn<ExportSubject>) -> Result<Turn<ExportSubject>, StepError> {
    let allowed = budget(turn.subject.size_gib, turn.subject.deadline_minutes);
    let mut turn = turn.begun(now, allowed);
    let bucket = aws.settings().export_bucket()?.clone();
    let doing = format!("export {} to s3://{bucket}/{}", turn.subject.image_id, turn.subject.prefix);
    let look = Look::new(aws.settings(), &doing, aws.home(), now);
    if !turn.subject.prefix.ends_with('/') {
        return Err(StepError::input(
            "subject.prefix",
            "must end with a slash: EC2 puts nothing between it and the name",
        ));
    }
    let tasks = aws.export_tasks(aws.home()).await.map_err(|f| f.into_step_error("list export tasks"))?;
    let parameters = turn.subject.parameters(&bucket);
    match export_start(&turn.subject.identity(&parameters), &tasks)? {
        ExportStart::Adopt(task) => {
            turn.subject.bucket = Some(bucket);
            turn.subject.task_id = Some(task.task_id);
            turn.subject.adopted = true;
            turn.in_progress("exported", task.progress_percent, &look)
        }
        ExportStart::Busy(task) => {
            turn.deferred(&format!("{} is exporting the image, and EC2 does so once at a time", task.task_id), &look)
        }
        ExportStart::Create { token } => {
            turn.may_create(&look)?;
            refuse_if_it_cannot_be_exported(aws, &turn.subject, &bucket, &doing).await?;
            match create(aws, &turn.subject, &bucket, token).await? {
                Ok(task_id) => {
                    turn.subject.bucket = Some(bucket);
                    turn.subject.task_id = Some(task_id);
                    turn.in_progress("exported", Some(0), &look)
                }
                Err(failure) => refused(failure, turn, &look),
            }
        }
    }
}

async fn refuse_if_it_cannot_be_exported(
    aws: &Aws,
    subject: &ExportSubject,
    bucket: &BucketName,
    doing: &str,
) -> Result<(), StepError> {
    let refuse = |reason: String| StepError::new(ErrorName::InvalidInput, doing, reason).in_region(aws.home());
    let image = aws
        .image(aws.home(), &subject.image_id)
        .await
        .map_err(|f| f.into_step_error(format!("look at {}", subject.image_id)))?
        .ok_or_else(|| refuse("there is no such image here, or it is not shared with this account".into()))?;
    let account = aws.account().await.map_err(|f| f.into_step_error("find out the own account"))?;
    if let Some(reason) = cannot_be_exported(&image, &account) {
        return Err(refuse(reason));
    }
    let region = aws.bucket_region(bucket).await.map_err(|f| f.into_step_error(format!("look for bucket {bucket}")))?;
    match region {
        Some(region) if region == *aws.home() => Ok(()),
        Some(region) => Err(refuse(format!("{bucket} is in {region}, and the image is not"))),
        None => Err(refuse(format!("there is no bucket {bucket}"))),
    }
}

async fn create(
    aws: &Aws,
    subject: &ExportSubject,
    bucket: &BucketName,
    token: String,
) -> Result<Result<String, AwsFailure>, StepError> {
    let new = NewExport {
        image_id: subject.image_id.clone(),
        format: subject.format,
        bucket: bucket.clone(),
        prefix: subject.prefix.clone(),
        role_name: aws.settings().export_role_name()?.to_owned(),
        description: format!("Export of {} in run {}", subject.image_id, subject.run.run),
        tags: identity_tags(&subject.run, subject.image_id.as_str(), &token),
        client_token: token,
    };
    Ok(aws.export_image(&new).await.map(|task| task.task_id))
}

fn refused(failure: AwsFailure, turn: Turn<ExportSubject>, look: &Look<'_>) -> Result<Turn<ExportSubject>, StepError> {
    match failure.class() {
        FailureClass::Quota => turn.deferred(&failure.to_string(), look),
        // The token is ours alone: a call whose reply was lost has started the task.
        FailureClass::TokenReused => Err(StepError::new(ErrorName::NotYetVisible, look.doing, failure.to_string())
            .in_region(&failure.region)
            .leaving("the task that an earlier call started")),
        _ => Err(failure.into_settling_error(look.doing)),
    }
}
