//! Owns what lies beside a plan: how its items ended, a file for each batch, and that a person has agreed to it.

use ami_backup_aws::Aws;
use ami_backup_core::{
    ErrorName, StepError,
    cleanup::{
        batch::{Outcomes, batches},
        plan::Line,
        run::{Approval, MadePlan, approval_key, outcomes_key},
    },
    report::json_lines,
};

/// Writes down that a person has agreed to the plan, so that a later start of the run does not ask again.
///
/// # Errors
/// What S3 refused.
pub(crate) async fn keep_approval(aws: &Aws, plan: &MadePlan, approval: &Approval) -> Result<(), StepError> {
    let bucket = aws.settings().backup_bucket()?;
    let key = approval_key(&plan.prefix);
    let approval = Approval { version: plan.binding.version.clone(), ..approval.clone() };
    let text = serde_json::to_string(&approval)
        .map_err(|error| StepError::new(ErrorName::Defect, "write an approval", error.to_string()))?;
    let name = format!("write s3://{bucket}/{key}");
    aws.write_text(bucket, &key, text).await.map_err(|f| f.into_step_error(name))
}

/// Writes how the items of a batch ended.
///
/// # Errors
/// What S3 refused.
pub(crate) async fn write(
    aws: &Aws,
    plan: &str,
    going: &[Line],
    number: usize,
    outcomes: &Outcomes,
) -> Result<(), StepError> {
    let bucket = aws.settings().backup_bucket()?;
    let all = batches(going);
    let Some(batch) = all.get(number) else { return Ok(()) };
    let images = batch.images.iter().map(|line| line.image_id.as_str());
    let ids = images.chain(batch.snapshots.iter().map(|line| line.snapshot_id.as_str()));
    let text = json_lines(ids.filter_map(|id| outcomes.get(id)))?;
    let key = outcomes_key(plan, number);
    let name = format!("write s3://{bucket}/{key}");
    aws.write_text(bucket, &key, text).await.map_err(|f| f.into_step_error(name))
}
