//! Owns applying a plan, a batch at a time: it looks again at each image and each snapshot just before it goes, and
//! writes how each of them ended beside the plan.

mod images;
mod leftovers;
mod outcomes;
mod snapshots;

use ami_backup_aws::Aws;
use ami_backup_core::{
    StepError, Timestamp,
    cleanup::{
        apply::{ItemOutcome, ItemResult},
        batch::{Batch, Outcomes, pending, removed_so_far, room},
        judge::Action,
        reason::Reason,
        run::{CleanupSubject, MadePlan, RegionWork, apply_budget, not_undone},
        summary::Removed,
    },
    failure::{AwsFailure, FailureClass},
    turn::{Look, Turn},
};

/// Between two batches the machine waits only where EC2 needs a moment.
const SECONDS_BETWEEN_BATCHES: u32 = 1;

/// Applies one batch of a plan.
///
/// # Errors
/// `Conflict` if the plan may not be applied: it is not fresh, nobody agreed to it, it was undone, or it is not what was read.
pub async fn handle(aws: &Aws, now: Timestamp, turn: Turn<CleanupSubject>) -> Result<Turn<CleanupSubject>, StepError> {
    let plan = turn.subject.applicable(now)?.clone();
    let turn = turn.begun(now, apply_budget(plan.going));
    // The look outlives the turn, which moves on.
    let work = &turn.subject.work.clone();
    let doing = format!("apply the plan of clean-up {}", work.run);
    let look = Look::new(aws.settings(), &doing, &work.region, now);
    not_undone(aws.undo_mark(&work.run, &work.region).await?, work)?;
    let going = aws.plan_going(&plan.prefix, |place, text| plan.binding.read(place, text)).await?;
    let mut outcomes = aws.plan_outcomes(&plan.prefix, &plan.binding.digest).await?;
    let batches = pending(&going.lines, &outcomes, work.started_at);
    let Some(batch) = batches.first() else {
        return Ok(turn.done(format!("all {} are done or looked at", going.lines.len())));
    };
    turn.may_create(&look)?;
    if let (None, Some(approval)) = (turn.status, &turn.subject.approval) {
        outcomes::keep_approval(aws, &plan, approval).await?;
    }
    let before = going.summary.as_ref().map_or_else(Removed::default, |summary| summary.removed_before);
    let room = room(&work.policy.limits, removed_so_far(&going.lines, &outcomes, before));
    let job = Job { work, plan: &plan, batch, outcomes: &outcomes, room };
    let mut ended = Vec::new();
    let applied = apply(aws, &job, now, &mut ended).await;
    // Whatever went is written down, also when the rest could not be tried.
    let number = batch.number;
    outcomes.extend(ended.iter().map(|outcome| (outcome.id.clone(), outcome.clone())));
    outcomes::write(aws, &plan.prefix, &going.lines, number, &outcomes).await?;
    applied?;
    let left = pending(&going.lines, &outcomes, work.started_at).len();
    if left == 0 {
        return Ok(turn.done(format!("all {} are done or looked at", going.lines.len())));
    }
    // A snapshot that EC2 holds to be in use is let alone for a while.
    let held = ended.iter().any(|outcome| outcome.result == ItemResult::InUse);
    let mut turn = turn.in_progress(&format!("{left} batches are left"), None, &look)?;
    if !held {
        turn.wait_seconds = Some(SECONDS_BETWEEN_BATCHES);
    }
    Ok(turn)
}

/// What is done in one invocation.
struct Job<'a> {
    work: &'a RegionWork,
    plan: &'a MadePlan,
    batch: &'a Batch<'a>,
    /// How the items of the plan ended before.
    outcomes: &'a Outcomes,
    /// What the limits of the run still have room for.
    room: Removed,
}

/// Images first, then the snapshots: never side by side.
async fn apply(aws: &Aws, job: &Job<'_>, now: Timestamp, ended: &mut Vec<ItemOutcome>) -> Result<(), StepError> {
    if !job.batch.images.is_empty() {
        images::apply(aws, job, now, ended).await?;
    }
    if !job.batch.snapshots.is_empty() {
        snapshots::apply(aws, job, ended).await?;
    }
    Ok(())
}

impl Job<'_> {
    /// How an item of this start of the run ended.
    fn ended(&self, id: &str, action: Action, result: ItemResult, reasons: &[Reason]) -> ItemOutcome {
        ItemOutcome {
            id: id.to_owned(),
            action,
            result,
            by_others: false,
            plan: Some(self.plan.binding.digest.clone()),
            started_at: self.work.started_at,
            tries: 1,
            reasons: reasons.iter().map(Into::into).collect(),
            error: None,
        }
    }

    /// How an item ended that EC2 refused to change; an error if the refusal passes.
    fn refused(&self, id: &str, action: Action, failure: AwsFailure) -> Result<ItemOutcome, StepError> {
        let doing = format!("{} {id}", action.as_str());
        match failure.class() {
            FailureClass::Throttled | FailureClass::Transient => Err(failure.into_step_error(doing)),
            FailureClass::NotFound => Ok(self.ended(id, action, ItemResult::Gone, &[])),
            _ => {
                let error = Some(failure.into_step_error(doing).to_string());
                Ok(ItemOutcome { error, ..self.ended(id, action, ItemResult::Failed, &[]) })
            }
        }
    }
}
