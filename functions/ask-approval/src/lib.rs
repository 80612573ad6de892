//! Owns asking a person whether a plan may be applied.

use ami_backup_aws::Aws;
use ami_backup_core::{ErrorName, StepError, Timestamp, cleanup::run::CleanupSubject, notice::Notice, turn::Turn};
use serde::{Deserialize, Serialize};

/// What the machine hands over.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Input {
    /// With what the answer is given: whoever has it can answer.
    pub token: String,
    /// The plan.
    pub turn: Turn<CleanupSubject>,
}

/// What the step returns. The machine waits for the person's answer, and not for this.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Output {
    /// The subject that was published.
    pub subject: String,
}

/// Publishes what the plan would do and how to answer. The machine asks again, by another token, for as long as the
/// plan is fresh.
///
/// # Errors
/// `DeadlineExceeded` once the plan may not be applied any more, `InvalidInput` if there is none.
pub async fn handle(aws: &Aws, now: Timestamp, input: Input) -> Result<Output, StepError> {
    let subject = &input.turn.subject;
    let plan = subject.plan.as_ref().ok_or_else(|| StepError::input("turn.subject.plan", "is missing"))?;
    let run = &subject.work.run;
    let doing = format!("ask whether the plan of clean-up {run} may be applied");
    if now >= plan.fresh_until {
        let reason = format!("nobody answered until {}, when the plan was no longer fresh", plan.fresh_until);
        return Err(StepError::new(ErrorName::DeadlineExceeded, doing, reason)
            .in_region(&subject.work.region)
            .leaving("nothing was removed"));
    }
    let bucket = aws.settings().backup_bucket()?;
    let notice = Notice::of_plan(&subject.work, plan, bucket, &input.token);
    let topic = aws.settings().notification_topic_arn()?;
    aws.publish(topic, &notice.subject, &notice.message).await.map_err(|f| f.into_step_error(doing))?;
    Ok(Output { subject: notice.subject })
}
