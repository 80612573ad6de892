//! Owns copying an image to another Region: it adopts the copy that this run has made already, or
//! starts it under a deterministic token, with the source's tags and ours in the same call.

use ami_backup_aws::{Aws, NewCopy};
use ami_backup_core::{
    ErrorName, StepError, Timestamp,
    adopt::{ImageStart, adopted, image_start},
    copy::CopySubject,
    failure::{AwsFailure, FailureClass},
    image::cannot_be_copied,
    item::Awaited,
    naming::image_name,
    repair::Survey,
    tags::{common_tags, identity_tags, planned_tags},
    turn::{Look, Turn, budget},
};

/// Starts the copy of an image.
///
/// # Errors
/// `InvalidInput` if the Region is not enabled or the image cannot be copied.
pub async fn handle(aws: &Aws, now: Timestamp, turn: Turn<CopySubject>) -> Result<Turn<CopySubject>, StepError> {
    let allowed = budget(turn.subject.size_gib, turn.subject.deadline_minutes);
    let mut turn = turn.begun(now, allowed);
    let subject = &turn.subject;
    let (image_id, region) = (subject.image_id.clone(), subject.region.clone());
    let doing = format!("copy {image_id} from {}", aws.home());
    let look = Look::new(aws.settings(), &doing, &region, now);
    check_region(aws, subject).await?;
    let found = aws
        .images_of_run(&region, &subject.run.run, image_id.as_str())
        .await
        .map_err(|f| f.into_step_error(format!("look for the copy of {image_id}")))?;
    match image_start(&subject.identity(), &found)? {
        ImageStart::Adopt(image) => {
            turn.subject.awaited = Some(Awaited { image_id: image.image_id.clone(), region: region.clone() });
            turn.subject.adopted = true;
            adopted(turn, &image, &look)
        }
        ImageStart::Create { token } => {
            turn.may_create(&look)?;
            let new = new_copy(aws, &turn.subject, &token, &doing).await?;
            match aws.copy_image(&region, &new).await {
                Ok(image_id) => {
                    turn.subject.awaited = Some(Awaited { image_id, region: region.clone() });
                    turn.in_progress("pending", Some(0), &look)
                }
                Err(failure) => refused(failure, turn, &look),
            }
        }
    }
}

async fn check_region(aws: &Aws, subject: &CopySubject) -> Result<(), StepError> {
    let region = &subject.region;
    if region == aws.home() {
        return Err(StepError::input("subject.region", format!("{region} is where the image is already")));
    }
    let regions = aws.regions().await.map_err(|f| f.into_step_error("list the Regions"))?;
    match regions.iter().find(|known| &known.name == region) {
        Some(known) if known.enabled => Ok(()),
        Some(_) => Err(StepError::input("subject.region", format!("{region} is not enabled for this account"))),
        None => Err(StepError::input("subject.region", format!("there is no Region {region}"))),
    }
}

async fn new_copy(aws: &Aws, subject: &CopySubject, token: &str, doing: &str) -> Result<NewCopy, StepError> {
    let image_id = subject.image_id.clone();
    let refuse = |reason: String| StepError::new(ErrorName::InvalidInput, doing, reason).in_region(&subject.region);
    let Survey { image, snapshots, .. } = aws
        .survey(aws.home(), &image_id)
        .await
        .map_err(|f| f.into_step_error(format!("look at {image_id}")))?
        .ok_or_else(|| refuse(format!("there is no such image in {}", aws.home())))?;
    if let Some(reason) = cannot_be_copied(&image) {
        return Err(refuse(reason));
    }
    let identity = identity_tags(&subject.run, image_id.as_str(), token);
    let image_tags = planned_tags(&image.tags, identity.clone());
    let snapshot_tags = planned_tags(&common_tags(snapshots.iter().map(|snapshot| &snapshot.tags)), identity);
    let description = if image.description.is_empty() {
        format!("Copy of {image_id} from {}", aws.home())
    } else {
        image.description.clone()
    };
    Ok(NewCopy {
        source_image_id: image_id,
        source_region: aws.home().clone(),
        name: image_name(&image.name, token),
        description,
        kms_key_id: subject.kms_key_id.clone(),
        client_token: token.to_owned(),
        image_tags: image_tags.tags,
        snapshot_tags: snapshot_tags.tags,
    })
}

fn refused(failure: AwsFailure, turn: Turn<CopySubject>, look: &Look<'_>) -> Result<Turn<CopySubject>, StepError> {
    match failure.class() {
        FailureClass::Quota => turn.deferred(&failure.to_string(), look),
        // Name and token are ours alone: a call whose reply was lost has made the copy, possibly from
        // tags that somebody has changed since.
        FailureClass::NameTaken | FailureClass::TokenReused => {
            Err(StepError::new(ErrorName::NotYetVisible, look.doing, failure.to_string())
                .in_region(&failure.region)
                .leaving("the copy that an earlier call made"))
        }
        _ => Err(failure.into_settling_error(look.doing)),
    }
}
