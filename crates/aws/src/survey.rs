//! Owns looking at an image with all that belongs to it, and putting back what it lost.
//!
//! The only module here that makes several calls in a row: three functions need the same ones in the
//! same order.

use ami_backup_core::{
    ErrorName, StepError,
    failure::{AwsFailure, FailureClass},
    id::{ImageId, Region},
    repair::{Repairs, Survey},
};

use crate::Aws;

impl Aws {
    /// Everything that is known of an image, or `None` if it is not visible.
    ///
    /// Launch permissions and UEFI data are told to the owner alone; of another account's image they
    /// stay empty.
    ///
    /// # Errors
    /// The failure of any of the calls.
    pub async fn survey(&self, region: &Region, image_id: &ImageId) -> Result<Option<Survey>, AwsFailure> {
        let Some(image) = self.image(region, image_id).await? else {
            return Ok(None);
        };
        let snapshots = self.snapshots(region, &image.snapshot_ids()).await?;
        let owned = image.owner_id == self.account().await?;
        let (launch_permissions, uefi_data) = if owned {
            let uefi = image.attribute("BootMode").is_some_and(|mode| mode.starts_with("uefi"));
            let uefi_data = if uefi { self.uefi_data(region, image_id).await? } else { None };
            (self.launch_permissions(region, image_id).await?, uefi_data)
        } else {
            Default::default()
        };
        Ok(Some(Survey { image, launch_permissions, uefi_data, snapshots }))
    }

    /// What it means that an image could not be made because its name is taken: by ours, which is not
    /// visible yet, unless an image shows under the name. Other failures mean what they mean.
    pub async fn name_refused(&self, region: &Region, name: &str, failure: AwsFailure, doing: String) -> StepError {
        if failure.class() != FailureClass::NameTaken {
            return failure.into_step_error(doing);
        }
        match self.images_named(region, name).await {
            Err(failure) => failure.into_step_error(format!("look for images called {name}")),
            Ok(images) if images.is_empty() => StepError::new(ErrorName::NotYetVisible, doing, failure.to_string())
                .in_region(region)
                .leaving("the image that has the name"),
            Ok(_) => StepError::new(ErrorName::Conflict, doing, failure.to_string()).in_region(region),
        }
    }

    /// Makes the repairs: tags first, so that whoever gets to see the image sees them, and who may
    /// launch it last.
    ///
    /// # Errors
    /// The failure of any of the calls; what was done before it stays, and all of it can be repeated.
    pub async fn repair(&self, region: &Region, image_id: &ImageId, repairs: &Repairs) -> Result<(), AwsFailure> {
        for (snapshot_id, tags) in &repairs.snapshot_tags {
            self.create_tags(region, &[snapshot_id.to_string()], tags).await?;
        }
        if !repairs.image_tags.is_empty() {
            self.create_tags(region, &[image_id.to_string()], &repairs.image_tags).await?;
        }
        if let Some(at) = repairs.deprecate_at {
            self.deprecate(region, image_id, at).await?;
        }
        if repairs.imds_v2 {
            self.require_imds_v2(region, image_id).await?;
        }
        if repairs.protect {
            self.protect(region, image_id).await?;
        }
        if !repairs.launch_permissions.is_empty() {
            self.add_launch_permissions(region, image_id, &repairs.launch_permissions).await?;
        }
        Ok(())
    }
}
