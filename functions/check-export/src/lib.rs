//! Owns one look at an image that is being exported. No export task is ever called failed: one that
//! ends without a file is deleted.

use ami_backup_aws::Aws;
use ami_backup_core::{
    ErrorName, SignedDuration, StepError, Timestamp,
    export::{ExportSubject, ExportTask},
    turn::{Look, Turn, budget},
};

/// EC2 may not know a new id for up to about five minutes; twice that, and it is gone.
const SETTLING: SignedDuration = SignedDuration::from_mins(10);

/// Looks once.
///
/// # Errors
/// `ResourceFailed` with EC2's message if the task was deleted.
pub async fn handle(aws: &Aws, now: Timestamp, turn: Turn<ExportSubject>) -> Result<Turn<ExportSubject>, StepError> {
    let allowed = budget(turn.subject.size_gib, turn.subject.deadline_minutes);
    let turn = turn.begun(now, allowed);
    let Some(task_id) = turn.subject.task_id.clone() else {
        return Err(StepError::input("subject.taskId", "is missing"));
    };
    let doing = format!("export {} as {task_id}", turn.subject.image_id);
    let look = Look::new(aws.settings(), &doing, aws.home(), now);
    let task = aws.export_task(&task_id).await.map_err(|f| f.into_step_error(format!("look at {task_id}")))?;
    let fail = |name: ErrorName, reason: String| StepError::new(name, &doing, reason).in_region(aws.home());
    let Some(task) = task else {
        let name = if turn.age(now) < SETTLING { ErrorName::NotYetVisible } else { ErrorName::ResourceFailed };
        return Err(fail(name, "EC2 does not show the task".into()));
    };
    if task.has_failed() {
        let message = task.status_message.as_deref().unwrap_or("EC2 gives no reason");
        return Err(fail(ErrorName::ResourceFailed, format!("the task is {}: {message}", task.status)));
    }
    if task.status == "completed" {
        return finished(aws, turn, &task, &doing).await;
    }
    let what = task.status_message.clone().unwrap_or_else(|| task.status.clone());
    turn.in_progress(&what, task.progress_percent, &look)
}

/// Done once the file is there, under the key that EC2 made of the task's id.
async fn finished(
    aws: &Aws,
    mut turn: Turn<ExportSubject>,
    task: &ExportTask,
    doing: &str,
) -> Result<Turn<ExportSubject>, StepError> {
    let bucket = match &turn.subject.bucket {
        Some(bucket) => bucket.clone(),
        None => aws.settings().export_bucket()?.clone(),
    };
    let key = if task.prefix.is_some() {
        task.key(turn.subject.format)
    } else {
        ExportTask { prefix: Some(turn.subject.prefix.clone()), ..task.clone() }.key(turn.subject.format)
    };
    let object = aws
        .object(aws.home(), &bucket, &key)
        .await
        .map_err(|f| f.into_step_error(format!("look for s3://{bucket}/{key}")))?;
    match object {
        Some(object) if object.size_bytes > 0 => {
            turn.subject.bucket = Some(bucket);
            turn.subject.object = Some(object);
            Ok(turn.done("present"))
        }
        Some(_) => {
            let reason = format!("s3://{bucket}/{key} is empty");
            Err(StepError::new(ErrorName::ResourceFailed, doing, reason).in_region(aws.home()))
        }
        None => {
            let reason = format!("the task is completed and S3 does not show s3://{bucket}/{key}");
            Err(StepError::new(ErrorName::NotYetVisible, doing, reason).in_region(aws.home()))
        }
    }
}
