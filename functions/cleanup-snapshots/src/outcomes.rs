//! Owns what lies beside a plan: how its items ended, a file for each batch, and the mark that it is being undone.

use ami_backup_aws::Aws;
use ami_backup_core::{
    ErrorName, StepError,
    cleanup::{
        apply::ItemOutcome,
        batch::{Outcomes, batches},
        plan::Line,
        run::{RegionWork, going_key, outcomes_key, outcomes_prefix, undo_key},
    },
};
use serde_json::Error;

/// Refuses to apply what somebody is bringing back.
///
/// # Errors
/// `Conflict`.
pub(crate) async fn refuse_if_undone(aws: &Aws, work: &RegionWork) -> Result<(), StepError> {
    let bucket = aws.settings().backup_bucket()?;
    let key = undo_key(&work.run, &work.region);
    let doing = format!("look for s3://{bucket}/{key}");
    let mark = aws.read_text(aws.home(), bucket, &key).await.map_err(|f| f.into_step_error(doing))?;
    if mark.is_none() {
        return Ok(());
    }
    let reason = "it was undone: start another run, which makes a new plan";
    Err(StepError::new(ErrorName::Conflict, "apply the plan", reason).in_region(&work.region))
}

/// The lines of a plan that go.
///
/// # Errors
/// `Conflict` if they are not there, or cannot be read.
pub(crate) async fn read_going(aws: &Aws, prefix: &str) -> Result<Vec<Line>, StepError> {
    let bucket = aws.settings().backup_bucket()?;
    let key = going_key(prefix);
    let name = format!("s3://{bucket}/{key}");
    let text = aws.read_text(aws.home(), bucket, &key).await.map_err(|f| f.into_step_error(format!("read {name}")))?;
    let broken = |reason: String| StepError::new(ErrorName::Conflict, format!("read {name}"), reason);
    let text = text.ok_or_else(|| broken("it is not there".into()))?;
    text.lines().map(|line| serde_json::from_str(line).map_err(|error: Error| broken(error.to_string()))).collect()
}

/// How the items of the plan ended so far.
///
/// # Errors
/// `Conflict` if a file cannot be read: what it says went must not be tried as if it had not.
pub(crate) async fn read(aws: &Aws, work: &RegionWork) -> Result<Outcomes, StepError> {
    let bucket = aws.settings().backup_bucket()?;
    let prefix = outcomes_prefix(&work.run, &work.region);
    let name = format!("s3://{bucket}/{prefix}");
    let keys = aws.keys(bucket, &prefix).await.map_err(|f| f.into_step_error(format!("list {name}")))?;
    let texts = aws.read_texts(bucket, &keys).await.map_err(|f| f.into_step_error(format!("read {name}")))?;
    let broken = |error: Error| StepError::new(ErrorName::Conflict, format!("read {name}"), error.to_string());
    let mut outcomes = Outcomes::new();
    for line in texts.iter().flat_map(|text| text.lines()) {
        let outcome: ItemOutcome = serde_json::from_str(line).map_err(broken)?;
        outcomes.insert(outcome.id.clone(), outcome);
    }
    Ok(outcomes)
}

/// Writes how the items of a batch ended.
///
/// # Errors
/// What S3 refused.
pub(crate) async fn write(
    aws: &Aws,
    work: &RegionWork,
    going: &[Line],
    number: usize,
    outcomes: &Outcomes,
) -> Result<(), StepError> {
    let bucket = aws.settings().backup_bucket()?;
    let all = batches(going);
    let Some(batch) = all.get(number) else { return Ok(()) };
    let images = batch.images.iter().map(|line| line.image_id.as_str());
    let ids = images.chain(batch.snapshots.iter().map(|line| line.snapshot_id.as_str()));
    let mut text = String::new();
    for outcome in ids.filter_map(|id| outcomes.get(id)) {
        let line = serde_json::to_string(outcome)
            .map_err(|error| StepError::new(ErrorName::Defect, "write an outcome", error.to_string()))?;
        text.push_str(&line);
        text.push('\n');
    }
    let key = outcomes_key(&work.run, &work.region, number);
    let name = format!("write s3://{bucket}/{key}");
    aws.write_text(bucket, &key, text).await.map_err(|f| f.into_step_error(name))
}
