//! Owns telling people: that an execution ended badly (from EventBridge), or that a run found nothing
//! to back up (from the machine).

use ami_backup_aws::Aws;
use ami_backup_core::{StepError, Timestamp, input, notice::Notice};
use aws_lambda_events::eventbridge::EventBridgeEvent;
use serde::Serialize;
use serde_json::Value;

/// What the step returns.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Output {
    /// The subject that was published.
    pub subject: String,
}

/// Publishes what `input` says: an event of EventBridge if it has a `detail-type`, else what
/// `report-backup` returned.
///
/// # Errors
/// `InvalidInput` if it is neither.
pub async fn handle(aws: &Aws, _now: Timestamp, input: Value) -> Result<Output, StepError> {
    let notice = if input.get("detail-type").is_some() {
        let event: EventBridgeEvent<Value> = input::parse(input)?;
        Notice::of_execution(&event.detail)
    } else if input.get("verdict").is_some() {
        Notice::of_run(&input)
    } else {
        return Err(StepError::input("", "is neither an event with `detail-type` nor a report with `verdict`"));
    };
    let topic = aws.settings().notification_topic_arn()?;
    aws.publish(topic, &notice.subject, &notice.message)
        .await
        .map_err(|f| f.into_step_error(format!("publish to {topic}")))?;
    Ok(Output { subject: notice.subject })
}
