//! Owns making an image of an instance: it adopts the one that this run has made already, or starts
//! it, without rebooting unless the policy says so.

use ami_backup_aws::{Aws, NewImage};
use ami_backup_core::{
    ErrorName, StepError, Timestamp,
    adopt::{ImageStart, adopted, image_start},
    failure::{AwsFailure, FailureClass},
    id::{ImageId, InstanceId},
    item::{Awaited, Item},
    naming::{Identity, Purpose, image_name},
    tags::{identity_tags, planned_tags},
    turn::{CREATE_BUDGET, Look, Turn, budget},
};

/// Starts the image of an instance.
///
/// # Errors
/// `InvalidInput` if no image can be made of the instance; `NotYetVisible` if EC2 says that ours
/// exists and does not show it.
pub async fn handle(aws: &Aws, now: Timestamp, turn: Turn<Item>) -> Result<Turn<Item>, StepError> {
    let item = &turn.subject;
    let allowed = item.policy.deadline_minutes.map_or(CREATE_BUDGET, |minutes| budget(0, Some(minutes)));
    let Some(instance_id) = item.source.instance_id.clone() else {
        return Err(StepError::input("subject.source.instanceId", "is missing"));
    };
    let mut turn = turn.begun(now, allowed);
    let run = turn.subject.run.clone();
    let doing = format!("make an image of {instance_id}");
    let look = Look::new(aws.settings(), &doing, aws.home(), now);
    let found = aws
        .images_of_run(aws.home(), &run.run, instance_id.as_str())
        .await
        .map_err(|f| f.into_step_error(format!("look for the image of {instance_id}")))?;
    let identity = Identity {
        purpose: Purpose::Create,
        run: &run.run,
        source: instance_id.as_str(),
        region: aws.home(),
        parameters: "",
    };
    match image_start(&identity, &found)? {
        ImageStart::Adopt(image) => {
            turn.subject.awaited = Some(awaited(aws, image.image_id.clone()));
            adopted(turn, &image, &look)
        }
        ImageStart::Create { token } => {
            turn.may_create(&look)?;
            let new = new_image(aws, &turn.subject, &instance_id, &token).await?;
            match aws.create_image(&new).await {
                Ok(image_id) => {
                    turn.subject.awaited = Some(awaited(aws, image_id));
                    turn.in_progress("pending", None, &look)
                }
                Err(failure) => refused(failure, turn, &look),
            }
        }
    }
}

async fn new_image(aws: &Aws, item: &Item, instance_id: &InstanceId, token: &str) -> Result<NewImage, StepError> {
    let doing = format!("make an image of {instance_id}");
    let instance = aws.instance(instance_id).await.map_err(|f| f.into_step_error(format!("look at {instance_id}")))?;
    let refuse = |reason: String| StepError::new(ErrorName::InvalidInput, &doing, reason).in_region(aws.home());
    let instance = instance.ok_or_else(|| refuse("there is no such instance".into()))?;
    if let Some(reason) = instance.cannot_be_imaged() {
        return Err(refuse(reason));
    }
    Ok(NewImage {
        instance_id: instance_id.clone(),
        name: image_name(&format!("{}-{instance_id}", item.policy.image_name), token),
        description: format!("Backup of {instance_id} in run {}", item.run.run),
        reboot: item.policy.reboot,
        tags: planned_tags(&instance.tags, identity_tags(&item.run, instance_id.as_str(), token)).tags,
    })
}

fn refused(failure: AwsFailure, turn: Turn<Item>, look: &Look<'_>) -> Result<Turn<Item>, StepError> {
    match failure.class() {
        FailureClass::Quota => turn.deferred(&failure.to_string(), look),
        // The name holds our token: whoever has it is ours, made by a call whose reply was lost.
        FailureClass::NameTaken => Err(StepError::new(ErrorName::NotYetVisible, look.doing, failure.to_string())
            .in_region(&failure.region)
            .leaving("the image that has the name")),
        _ => Err(failure.into_settling_error(look.doing)),
    }
}

fn awaited(aws: &Aws, image_id: ImageId) -> Awaited {
    Awaited { image_id, region: aws.home().clone() }
}
