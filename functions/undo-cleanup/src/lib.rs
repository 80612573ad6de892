//! Owns bringing back what a clean-up removed, as far as the Recycle Bin holds it: some of it in each turn.

mod look;

use ami_backup_aws::Aws;
use ami_backup_core::{
    ErrorName, StepError, Timestamp,
    cleanup::{
        run::{StartedCleanup, UndoMark, started_key, undo_key, undo_report_key},
        undo::{Back, Lost, UndoInput, UndoStep, Undone, undo, undo_request, undone},
    },
    failure::{AwsFailure, FailureClass},
    id::Region,
    naming::{NEVER, TAG_EXPIRES},
    report::{Claim, json_lines},
    selection::ObjectPlace,
    turn::{LEAST_BUDGET, Look, Turn},
};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// What the wait is over.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Subject {
    /// The execution's input.
    pub input: Value,
    /// How it ended, once it has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub undone: Option<Undone>,
}

/// Brings some of it back. It answers `IN_PROGRESS` until there is nothing more to do.
///
/// # Errors
/// `InvalidInput` if there is no such run.
pub async fn handle(aws: &Aws, now: Timestamp, turn: Turn<Subject>) -> Result<Turn<Subject>, StepError> {
    let request = undo_request(turn.subject.input.clone())?;
    let turn = turn.begun(now, LEAST_BUDGET);
    let doing = format!("bring back what clean-up {} removed", request.run);
    let home = aws.home().clone();
    let look = Look::new(aws.settings(), &doing, &home, now);
    let (mut back, mut lost, mut open) = (Vec::new(), Vec::new(), 0_usize);
    for region in regions(aws, &request).await? {
        mark(aws, &request, &region, now).await?;
        let lines = look::removed(aws, &request, &region).await?;
        let seen = look::seen(aws, &region, &lines).await?;
        let decided = undo(&lines, &seen);
        for step in &decided.steps {
            act(aws, &region, step).await?;
        }
        open += decided.steps.len() + usize::from(decided.waits);
        back.extend(decided.back.into_iter().map(|(id, state)| Back {
            claim: Claim { id, region: region.clone(), bucket: None, state, size_bytes: None },
        }));
        lost.extend(decided.lost.into_iter().map(|(id, why)| Lost { region: region.clone(), id, why }));
    }
    if open > 0 {
        return turn.in_progress(&format!("{} are back, {open} steps in this turn", back.len()), None, &look);
    }
    let bucket = aws.settings().backup_bucket()?.clone();
    let key = undo_report_key(&request.run, turn.first_tried_at.unwrap_or(now));
    let text = json_lines(&back)? + &json_lines(&lost)?;
    let name = format!("write s3://{bucket}/{key}");
    aws.write_text(&bucket, &key, text).await.map_err(|f| f.into_step_error(name))?;
    let seen = format!("{} are back, {} are lost", back.len(), lost.len());
    let undone = Some(undone(&request.run, ObjectPlace { bucket, key }, back.len(), &lost));
    Ok(Turn { subject: Subject { undone, ..turn.subject.clone() }, ..turn }.done(seen))
}

/// The Regions of the run, or those of them that were asked for.
async fn regions(aws: &Aws, request: &UndoInput) -> Result<Vec<Region>, StepError> {
    let started: Option<StartedCleanup> = aws.read_json(&started_key(&request.run)).await?;
    let Some(started) = started else {
        return Err(StepError::input("run", format!("there is no clean-up {}", request.run)));
    };
    let all = started.request.regions;
    let Some(wanted) = &request.regions else { return Ok(all) };
    if let Some(index) = wanted.iter().position(|region| !all.contains(region)) {
        return Err(StepError::input(&format!("regions[{index}]"), "the clean-up was not there"));
    }
    Ok(wanted.clone())
}

/// From here on the plan is not applied any more.
async fn mark(aws: &Aws, request: &UndoInput, region: &Region, now: Timestamp) -> Result<(), StepError> {
    let bucket = aws.settings().backup_bucket()?;
    let key = undo_key(&request.run, region);
    let name = format!("write s3://{bucket}/{key}");
    let text = serde_json::to_string(&UndoMark { at: now })
        .map_err(|error| StepError::new(ErrorName::Defect, name.clone(), error.to_string()))?;
    aws.write_text_once(bucket, &key, text).await.map(|_| ()).map_err(|f| f.into_step_error(name))
}

async fn act(aws: &Aws, region: &Region, step: &UndoStep) -> Result<(), StepError> {
    let (doing, done) = match step {
        UndoStep::RestoreSnapshot(id) => (format!("restore {id}"), aws.restore_snapshot(region, id).await),
        UndoStep::RestoreImage(id) => (format!("restore {id}"), aws.restore_image(region, id).await),
        UndoStep::Enable(id) => (format!("enable {id}"), aws.enable(region, id).await),
        UndoStep::Undeprecate(id) => (format!("undeprecate {id}"), aws.undeprecate(region, id).await),
        UndoStep::Keep(id) => (format!("tag {id}"), keep(aws, region, id).await),
    };
    match done {
        // By an earlier try, whose reply was lost, or by somebody else: the next look shows it.
        Err(failure) if matches!(failure.class(), FailureClass::NotFound) => Ok(()),
        done => done.map_err(|failure| failure.into_step_error(doing)),
    }
}

async fn keep(aws: &Aws, region: &Region, id: &str) -> Result<(), AwsFailure> {
    aws.create_tags(region, &[id.to_owned()], &[(TAG_EXPIRES.to_owned(), NEVER.to_owned())].into()).await
}
