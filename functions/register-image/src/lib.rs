//! Owns making an image again from its snapshots, which outlive a deregistered image: it adopts the
//! one that this run has registered already, or registers it from the record.

use ami_backup_aws::{Aws, NewRegistration};
use ami_backup_core::{
    ErrorName, StepError, Timestamp,
    adopt::{ImageStart, adopted, image_start},
    failure::FailureClass,
    item::Awaited,
    naming::image_name,
    restore::RestoreSubject,
    tags::{identity_tags, planned_tags},
    turn::{Look, Turn, budget},
};

/// Registers an image from the snapshots that its record names.
///
/// # Errors
/// `InvalidInput` if there is no record, or a snapshot is gone.
pub async fn handle(aws: &Aws, now: Timestamp, turn: Turn<RestoreSubject>) -> Result<Turn<RestoreSubject>, StepError> {
    let allowed = budget(turn.subject.size_gib, turn.subject.deadline_minutes);
    let mut turn = turn.begun(now, allowed);
    let subject = &turn.subject;
    let region = subject.region.clone();
    let (source, parameters) = (subject.source(), subject.parameters());
    let doing = format!("register {source} again from its snapshots");
    let look = Look::new(aws.settings(), &doing, &region, now);
    let found = aws
        .images_of_run(&region, &subject.run.run, &source)
        .await
        .map_err(|f| f.into_step_error(format!("look for the image made again of {source}")))?;
    match image_start(&subject.identity(&source, &parameters), &found)? {
        ImageStart::Adopt(image) => {
            turn.subject.awaited = Some(Awaited { image_id: image.image_id.clone(), region: region.clone() });
            turn.subject.adopted = true;
            adopted(turn, &image, &look)
        }
        ImageStart::Create { token } => {
            turn.may_create(&look)?;
            let new = registration(aws, subject, &source, &token).await?;
            match aws.register_image(&region, &new).await {
                Ok(image_id) => {
                    turn.subject.awaited = Some(Awaited { image_id, region: region.clone() });
                    turn.in_progress("pending", Some(0), &look)
                }
                Err(failure) if failure.class() == FailureClass::Quota => turn.deferred(&failure.to_string(), &look),
                Err(failure) => Err(aws.name_refused(&region, &new.name, failure, doing.clone()).await),
            }
        }
    }
}

async fn registration(
    aws: &Aws,
    subject: &RestoreSubject,
    source: &str,
    token: &str,
) -> Result<NewRegistration, StepError> {
    let Some(place) = &subject.record else {
        return Err(StepError::input("subject.record", "is missing: it names the snapshots"));
    };
    if subject.original_id.as_ref().map(|image_id| aws.record_place(image_id)).transpose()?.as_ref() != Some(place) {
        return Err(StepError::input("subject.record", "is not the stack's own record of `originalId`"));
    }
    let record = aws.record(place).await?;
    let missing = || StepError::input("subject.record", format!("s3://{}/{} is not there", place.bucket, place.key));
    let survey = record.ok_or_else(missing)?.survey;
    let image = survey.image;
    if image.snapshot_ids() != subject.snapshots {
        let reason = "the record names other snapshots than those that were found to be its own";
        return Err(StepError::new(ErrorName::Conflict, format!("register {source} again"), reason));
    }
    Ok(NewRegistration {
        name: subject.name.clone().unwrap_or_else(|| image_name(&format!("{}-registered", image.name), token)),
        description: image.description,
        attributes: image.attributes,
        uefi_data: survey.uefi_data,
        mappings: image.mappings,
        tags: planned_tags(&image.tags, identity_tags(&subject.run, source, token)).tags,
    })
}
