//! Owns what happens to a copy once it is available: what copying loses is put back, and the copy is
//! compared with its source.

use ami_backup_aws::Aws;
use ami_backup_core::{
    ErrorName, StepError, Timestamp,
    copy::CopySubject,
    id::{ImageId, Region},
    image::{Difference, difference},
    item::Awaited,
    repair::{Survey, remaining_differences, repairs},
    turn::{LEAST_BUDGET, Turn},
};

/// Finishes a copy.
///
/// # Errors
/// `ResourceFailed` with every difference between the copy and its source; the copy stays.
pub async fn handle(aws: &Aws, now: Timestamp, turn: Turn<CopySubject>) -> Result<Turn<CopySubject>, StepError> {
    let mut turn = turn.begun(now, LEAST_BUDGET);
    let Some(Awaited { image_id, region }) = turn.subject.awaited.clone() else {
        return Err(StepError::input("subject.awaited", "is missing"));
    };
    let source = source(aws, &turn.subject).await?;
    let made = made(aws, &turn.subject, &image_id, &region).await?;
    let carry_over = turn.subject.carry_over.clone();
    let doing = format!("put back on {image_id} what copying {} lost", turn.subject.image_id);
    let wanted = repairs(&source, &made, &carry_over, now);
    aws.repair(&region, &image_id, &wanted).await.map_err(|f| f.into_settling_error(&doing))?;
    let after =
        if wanted.changes_anything() { self::made(aws, &turn.subject, &image_id, &region).await? } else { made };
    let mut differences = remaining_differences(&source, &after, &carry_over, now);
    differences.extend(unencrypted(&turn.subject, &after));
    if differences.is_empty() {
        turn.subject.notes.extend(wanted.notes);
        if !wanted.not_restored.is_empty() {
            let command = wanted.not_restored.command(&region, &image_id);
            turn.subject.notes.push(format!("nothing becomes public by itself; to make it so: {command}"));
        }
        return Ok(turn.done("available"));
    }
    // What could be put back and is not seen yet has to settle; the rest stays different.
    let settling = repairs(&source, &after, &carry_over, now).changes_anything();
    let name = if settling { ErrorName::NotYetVisible } else { ErrorName::ResourceFailed };
    let list: Vec<String> = differences.iter().map(ToString::to_string).collect();
    Err(StepError::new(name, doing, format!("it differs from its source: {}", list.join(", ")))
        .in_region(&region)
        .leaving(format!("{image_id}, available")))
}

/// The source as it is, or, if it has been deregistered meanwhile, as it was recorded.
async fn source(aws: &Aws, subject: &CopySubject) -> Result<Survey, StepError> {
    let image_id = &subject.image_id;
    let survey =
        aws.survey(aws.home(), image_id).await.map_err(|f| f.into_settling_error(format!("look at {image_id}")))?;
    if let Some(survey) = survey {
        return Ok(survey);
    }
    match aws.record(&aws.record_place(image_id)?).await? {
        Some(record) => Ok(record.survey),
        None => Err(StepError::new(
            ErrorName::InvalidInput,
            format!("compare a copy with {image_id}"),
            "neither the source nor a record of it is there",
        )
        .in_region(aws.home())),
    }
}

async fn made(aws: &Aws, subject: &CopySubject, image_id: &ImageId, region: &Region) -> Result<Survey, StepError> {
    let survey =
        aws.survey(region, image_id).await.map_err(|f| f.into_settling_error(format!("look at {image_id}")))?;
    survey.ok_or_else(|| {
        let doing = format!("look at the copy {image_id} of {}", subject.image_id);
        StepError::new(ErrorName::ResourceFailed, doing, "it is gone: somebody deregistered it").in_region(region)
    })
}

fn unencrypted(subject: &CopySubject, made: &Survey) -> Vec<Difference> {
    let Some(key) = &subject.kms_key_id else {
        return Vec::new();
    };
    let open = made.snapshots.iter().filter(|snapshot| !snapshot.encrypted);
    open.map(|snapshot| {
        difference(format!("{}.Encrypted", snapshot.snapshot_id), format!("with {key}"), "not encrypted")
    })
    .collect()
}
