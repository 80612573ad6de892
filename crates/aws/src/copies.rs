//! Owns copying images to other Regions.

use ami_backup_core::{
    failure::AwsFailure,
    id::{ImageId, Region},
    tags::Tags,
};

use crate::{Aws, failure::Call, instances::image_and_snapshot_tags};

/// A copy that is to be made of an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewCopy {
    /// The source.
    pub source_image_id: ImageId,
    /// Where the source is.
    pub source_region: Region,
    /// Name of the copy, unique in the account and the destination Region.
    pub name: String,
    /// Its description.
    pub description: String,
    /// Key of the destination Region with which its snapshots are encrypted; without one they stay as
    /// the destination's defaults say.
    pub kms_key_id: Option<String>,
    /// With the same token EC2 hands back the first copy instead of making a second; at most 64
    /// characters.
    pub client_token: String,
    /// Tags of the image.
    pub image_tags: Tags,
    /// Tags of its snapshots.
    pub snapshot_tags: Tags,
}

impl Aws {
    /// CopyImage, called in the destination Region.
    ///
    /// # Errors
    /// What EC2 refused.
    pub async fn copy_image(&self, region: &Region, new: &NewCopy) -> Result<ImageId, AwsFailure> {
        let call = Call::new("ec2:CopyImage", region);
        let answer = self
            .ec2(region)
            .copy_image()
            .source_image_id(new.source_image_id.as_str())
            .source_region(new.source_region.as_str())
            .name(&new.name)
            .description(&new.description)
            // Sent with a key alone: a key needs it, and alone it would choose the default key.
            .set_encrypted(new.kms_key_id.as_ref().map(|_| true))
            .set_kms_key_id(new.kms_key_id.clone())
            .client_token(&new.client_token)
            // The source's tags are among ours already; EC2 would copy our identity of the source.
            .copy_image_tags(false)
            .set_tag_specifications(Some(image_and_snapshot_tags(&new.image_tags, &new.snapshot_tags)))
            .send()
            .await
            .map_err(|error| call.failed(error))?;
        call.parsed(answer.image_id(), "ImageId")
    }
}
