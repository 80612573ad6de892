//! Owns the first step of a clean-up: it checks the policy, and says in which Regions there is work.

use ami_backup_aws::Aws;
use ami_backup_core::{
    ErrorName, StepError, Timestamp,
    cleanup::{
        policy::{CleanupRequest, cleanup_request},
        run::{StartedCleanup, StartedRegions, started_key},
    },
    id::BucketName,
    input::document,
};
use serde::Deserialize;
use serde_json::Value;

/// What the machine hands over.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Input {
    /// The execution's input: the policy.
    pub input: Value,
    /// The execution's name, the run's identity of last resort.
    #[serde(default)]
    pub execution_name: Option<String>,
}

/// Begins a clean-up.
///
/// # Errors
/// `InvalidInput` with the path of the field; `Conflict` if the run was started with other input.
pub async fn handle(aws: &Aws, now: Timestamp, input: Input) -> Result<StartedRegions, StepError> {
    let request = cleanup_request(input.input, input.execution_name.as_deref(), aws.home())?;
    check_regions(aws, &request).await?;
    let bucket = aws.settings().backup_bucket()?;
    let request = started(aws, bucket, request).await?;
    Ok(StartedRegions::new(request, now))
}

/// A Region that does not exist is a typing error. One that is not enabled stops a person's run at once; in a scheduled
/// run it costs its own part only.
async fn check_regions(aws: &Aws, request: &CleanupRequest) -> Result<(), StepError> {
    let regions = aws.regions().await.map_err(|f| f.into_step_error("list the Regions"))?;
    for (index, wanted) in request.regions.iter().enumerate() {
        let path = format!("regions[{index}]");
        match regions.iter().find(|region| region.name == *wanted) {
            None => return Err(StepError::input(&path, format!("there is no Region {wanted}"))),
            Some(region) if !region.enabled && !request.scheduled => {
                return Err(StepError::input(&path, format!("{wanted} is not enabled for this account")));
            }
            Some(_) => {}
        }
    }
    Ok(())
}

/// The request as the first start of this run wrote it down, or as this start has just done.
async fn started(aws: &Aws, bucket: &BucketName, request: CleanupRequest) -> Result<CleanupRequest, StepError> {
    let key = started_key(&request.run);
    let name = format!("s3://{bucket}/{key}");
    let started = StartedCleanup { request: request.clone() };
    let text = serde_json::to_string(&started)
        .map_err(|error| StepError::new(ErrorName::Defect, format!("write {name}"), error.to_string()))?;
    let first =
        aws.write_text_once(bucket, &key, text).await.map_err(|f| f.into_step_error(format!("write {name}")))?;
    if first {
        return Ok(request);
    }
    let text = aws.read_text(aws.home(), bucket, &key).await.map_err(|f| f.into_step_error(format!("read {name}")))?;
    let gone = || StepError::new(ErrorName::Transient, format!("read {name}"), "it is there and gone");
    document::<StartedCleanup>(&text.ok_or_else(gone)?, &name)?.resumed_by(&request)
}
