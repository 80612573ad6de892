//! Owns applying a plan, a batch at a time: it looks again at each image and each snapshot just before it goes, and
//! writes how each of them ended beside the plan.

mod images;
mod outcomes;
mod snapshots;

use ami_backup_aws::Aws;
use ami_backup_core::{
    StepError, Timestamp,
    cleanup::{
        apply::{ItemOutcome, ItemResult},
        batch::{Batch, Outcomes, pending},
        judge::Action,
        reason::Reason,
        run::{CleanupSubject, RegionWork, apply_budget},
    },
    failure::{AwsFailure, FailureClass},
    turn::{Look, Turn},
};

/// Between two batches the machine waits only where EC2 needs a moment.
const SECONDS_BETWEEN_BATCHES: u32 = 1;

/// Applies one batch of a plan.
///
/// # Errors
/// `Conflict` if the plan may not be applied: it is not fresh, nobody agreed, or it is being undone.
pub async fn handle(aws: &Aws, now: Timestamp, turn: Turn<CleanupSubject>) -> Result<Turn<CleanupSubject>, StepError> {
    let plan = turn.subject.applicable(now)?.clone();
    let turn = turn.begun(now, apply_budget(plan.going));
    // The look outlives the turn, which moves on.
    let work = &turn.subject.work.clone();
    let doing = format!("apply the plan of clean-up {}", work.run);
    let look = Look::new(aws.settings(), &doing, &work.region, now);
    outcomes::refuse_if_undone(aws, work).await?;
    let going = aws.plan_going(&plan.prefix).await?;
    let mut outcomes = aws.plan_outcomes(&plan.prefix).await?;
    let batches = pending(&going, &outcomes, work.started_at);
    let Some(batch) = batches.first() else {
        return Ok(turn.done(format!("all {} are done or looked at", going.len())));
    };
    turn.may_create(&look)?;
    if let (None, Some(approval)) = (turn.status, &turn.subject.approval) {
        outcomes::keep_approval(aws, &plan.prefix, approval).await?;
    }
    let mut ended = Vec::new();
    let applied = apply(aws, work, batch, &outcomes, now, &mut ended).await;
    // Whatever went is written down, also when the rest could not be tried.
    outcomes.extend(ended.iter().map(|outcome| (outcome.id.clone(), outcome.clone())));
    outcomes::write(aws, &plan.prefix, &going, batch.number, &outcomes).await?;
    applied?;
    let left = pending(&going, &outcomes, work.started_at).len();
    if left == 0 {
        return Ok(turn.done(format!("all {} are done or looked at", going.len())));
    }
    // A snapshot that EC2 holds to be in use is let alone for a while.
    let held = ended.iter().any(|outcome| outcome.result == ItemResult::InUse);
    let mut turn = turn.in_progress(&format!("{left} batches are left"), None, &look)?;
    if !held {
        turn.wait_seconds = Some(SECONDS_BETWEEN_BATCHES);
    }
    Ok(turn)
}

/// Images first, then the snapshots: never side by side.
async fn apply(
    aws: &Aws,
    work: &RegionWork,
    batch: &Batch<'_>,
    outcomes: &Outcomes,
    now: Timestamp,
    ended: &mut Vec<ItemOutcome>,
) -> Result<(), StepError> {
    if !batch.images.is_empty() {
        images::apply(aws, work, batch, now, ended).await?;
    }
    if !batch.snapshots.is_empty() {
        snapshots::apply(aws, work, batch, outcomes, ended).await?;
    }
    Ok(())
}

/// How an item of this start of the run ended.
fn ended(work: &RegionWork, id: &str, action: Action, result: ItemResult, reasons: &[Reason]) -> ItemOutcome {
    ItemOutcome {
        id: id.to_owned(),
        action,
        result,
        started_at: work.started_at,
        tries: 1,
        reasons: reasons.iter().map(Into::into).collect(),
        error: None,
    }
}

/// How an item ended that EC2 refused to change; an error if the refusal passes.
fn refused(work: &RegionWork, id: &str, action: Action, failure: AwsFailure) -> Result<ItemOutcome, StepError> {
    let doing = format!("{} {id}", action.as_str());
    match failure.class() {
        FailureClass::Throttled | FailureClass::Transient => Err(failure.into_step_error(doing)),
        FailureClass::NotFound => Ok(ended(work, id, action, ItemResult::Gone, &[])),
        _ => {
            let error = Some(failure.into_step_error(doing).to_string());
            Ok(ItemOutcome { error, ..ended(work, id, action, ItemResult::Failed, &[]) })
        }
    }
}
