//! Owns planning a clean-up: it reads an account in one Region, decides what would go and why, and writes the plan.

mod files;
mod leftovers;
mod listing;
mod reports;

use ami_backup_aws::Aws;
use ami_backup_core::{
    StepError, Timestamp,
    cleanup::{
        account::Account,
        batch::{is_finished, removed_so_far},
        judge::{Judgement, judge},
        plan::{Checks, Plan, next_to_check},
        run::{Approval, CleanupSubject, Known, MadePlan, PlanPointer, Progress, RegionWork, approval_key, not_undone},
        summary::Removed,
    },
    turn::{LEAST_BUDGET, Look, Turn},
};

/// Plans the clean-up of a Region, or finds the plan that this run has made of it already. While reports on the usage of
/// images are being made, it answers `IN_PROGRESS`.
///
/// # Errors
/// The refusal of any listing, and `Conflict` if one cannot be trusted: nothing is planned then. `Conflict` too if the plan
/// was undone, or is not what was read.
pub async fn handle(aws: &Aws, now: Timestamp, turn: Turn<CleanupSubject>) -> Result<Turn<CleanupSubject>, StepError> {
    let turn = turn.begun(now, LEAST_BUDGET);
    // The look outlives the turn, which moves on.
    let work = &turn.subject.work.clone();
    not_undone(aws.undo_mark(&work.run, &work.region).await?, work)?;
    let earlier = files::read_pointer(aws, work).await?;
    let mut removed_before = Removed::default();
    if let Some(pointer) = &earlier {
        let going = aws.plan_going(&pointer.prefix, |place, text| pointer.read(place, text)).await?;
        let outcomes = aws.plan_outcomes(&pointer.prefix, &pointer.binding.digest).await?;
        let finished = is_finished(&going.lines, &outcomes);
        if !pointer.is_to_be_made_again(work, finished) {
            return resumed(aws, turn, pointer, finished).await;
        }
        removed_before = removed_so_far(&going.lines, &outcomes, pointer.summary.removed_before);
    }
    let doing = format!("plan the clean-up {}", work.run);
    let look = Look::new(aws.settings(), &doing, &work.region, now);
    let known = files::read_known(aws, work).await?;
    let mut account = Account { removed_before, ..listing::read(aws, work, &known).await? };
    let intents = leftovers::read(aws, work, &mut account, &known, now).await?;
    let known = Known { intents, ..known };
    let judged = judge(&account, &work.policy, now)?;
    let mut checks = Checks::new();
    // What a report holds makes room for others, which have to be looked at in their turn.
    while check(aws, work, &account, &judged, &mut checks).await? && work.policy.usage_reports {
        let late = is_late(&turn, now);
        let (reported, pending) = reports::add(aws, work, &account.account_id, checks, now, late).await?;
        checks = reported;
        if pending > 0 {
            return turn.in_progress(&format!("{pending} reports on the usage of images are being made"), None, &look);
        }
    }
    let plan = Plan::new(&account, judged, &checks, &work.policy, now);
    let pointer = files::write(aws, work, &account, &plan, known, now, earlier.is_some()).await?;
    Ok(planned(turn, &pointer, Progress::New, None))
}

/// The plan that an earlier start of the run has made, with what became of it.
async fn resumed(
    aws: &Aws,
    turn: Turn<CleanupSubject>,
    pointer: &PlanPointer,
    finished: bool,
) -> Result<Turn<CleanupSubject>, StepError> {
    let key = approval_key(&pointer.prefix);
    let place = format!("s3://{}/{key}", aws.settings().backup_bucket()?);
    let approval: Option<Approval> = aws.read_json(&key).await?;
    let agrees = approval.as_ref().map(|approval| approval.agrees_to(&pointer.binding, &place)).transpose()?;
    let progress = match agrees {
        _ if finished => Progress::Finished,
        Some(true) => Progress::Approved,
        _ => Progress::New,
    };
    // What is no yes to this very plan is no answer: a person is asked.
    Ok(planned(turn, pointer, progress, approval.filter(|_| agrees == Some(true))))
}

/// Whether what is not known by now will not be known in time.
fn is_late(turn: &Turn<CleanupSubject>, now: Timestamp) -> bool {
    turn.deadline.is_some_and(|deadline| deadline.duration_since(now) <= LEAST_BUDGET / 2)
}

/// The wait is over, and the next one begins anew.
fn planned(
    turn: Turn<CleanupSubject>,
    pointer: &PlanPointer,
    progress: Progress,
    approval: Option<Approval>,
) -> Turn<CleanupSubject> {
    let plan = MadePlan::new(pointer, &turn.subject.work, progress);
    let seen = format!("{} of {} images and snapshots would go", plan.going, {
        pointer.summary.images.total + pointer.summary.snapshots.total
    });
    Turn::new(CleanupSubject { plan: Some(plan), approval, ..turn.subject }).done(seen)
}

/// Looks at what would otherwise go, until as much is free to go as the limit has room for. Returns whether there was
/// anything to look at.
async fn check(
    aws: &Aws,
    work: &RegionWork,
    account: &Account,
    judged: &[Judgement],
    checks: &mut Checks,
) -> Result<bool, StepError> {
    let before = checks.len();
    loop {
        let next: Vec<_> = next_to_check(account, judged, checks, &work.policy).into_iter().cloned().collect();
        if next.is_empty() {
            return Ok(checks.len() > before);
        }
        checks.extend(aws.check_images(&work.region, &work.policy, &next).await?);
    }
}
