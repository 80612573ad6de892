//! Owns what removes images and snapshots, and what brings them back from the Recycle Bin.

use ami_backup_core::{
    failure::AwsFailure,
    id::{ImageId, Region, SnapshotId},
};
use aws_sdk_ec2::types::SnapshotAttributeName;

use crate::{Aws, failure::Call};

impl Aws {
    /// Deregisters an image. Its snapshots stay: each is looked at before it goes.
    ///
    /// # Errors
    /// What EC2 refused.
    pub async fn deregister(&self, region: &Region, id: &ImageId) -> Result<(), AwsFailure> {
        let call = Call::new("ec2:DeregisterImage", region);
        let request = self.ec2(region).deregister_image().image_id(id.as_str());
        request.send().await.map(|_| ()).map_err(|error| call.failed(error))
    }

    /// Disables an image: nobody can launch it, and it loses its launch permissions.
    ///
    /// # Errors
    /// What EC2 refused.
    pub async fn disable(&self, region: &Region, id: &ImageId) -> Result<(), AwsFailure> {
        let call = Call::new("ec2:DisableImage", region);
        let request = self.ec2(region).disable_image().image_id(id.as_str());
        request.send().await.map(|_| ()).map_err(|error| call.failed(error))
    }

    /// Enables an image that was disabled.
    ///
    /// # Errors
    /// What EC2 refused.
    pub async fn enable(&self, region: &Region, id: &ImageId) -> Result<(), AwsFailure> {
        let call = Call::new("ec2:EnableImage", region);
        let request = self.ec2(region).enable_image().image_id(id.as_str());
        request.send().await.map(|_| ()).map_err(|error| call.failed(error))
    }

    /// Takes an image's deprecation back.
    ///
    /// # Errors
    /// What EC2 refused.
    pub async fn undeprecate(&self, region: &Region, id: &ImageId) -> Result<(), AwsFailure> {
        let call = Call::new("ec2:DisableImageDeprecation", region);
        let request = self.ec2(region).disable_image_deprecation().image_id(id.as_str());
        request.send().await.map(|_| ()).map_err(|error| call.failed(error))
    }

    /// Deletes a snapshot.
    ///
    /// # Errors
    /// What EC2 refused.
    pub async fn delete_snapshot(&self, region: &Region, id: &SnapshotId) -> Result<(), AwsFailure> {
        let call = Call::new("ec2:DeleteSnapshot", region);
        let request = self.ec2(region).delete_snapshot().snapshot_id(id.as_str());
        request.send().await.map(|_| ()).map_err(|error| call.failed(error))
    }

    /// Who may make volumes of a snapshot: accounts by id, and `all` for everybody.
    ///
    /// # Errors
    /// What EC2 refused.
    pub async fn snapshot_shared_with(&self, region: &Region, id: &SnapshotId) -> Result<Vec<String>, AwsFailure> {
        let call = Call::new("ec2:DescribeSnapshotAttribute", region);
        let request = self.ec2(region).describe_snapshot_attribute().snapshot_id(id.as_str());
        let answer = request.attribute(SnapshotAttributeName::CreateVolumePermission).send().await;
        let answer = answer.map_err(|error| call.failed(error))?;
        let who = |one: &aws_sdk_ec2::types::CreateVolumePermission| {
            one.user_id().or(one.group().map(|group| group.as_str())).map(str::to_owned)
        };
        Ok(answer.create_volume_permissions().iter().filter_map(who).collect())
    }

    /// Brings a snapshot back from the Recycle Bin.
    ///
    /// # Errors
    /// What EC2 refused.
    pub async fn restore_snapshot(&self, region: &Region, id: &SnapshotId) -> Result<(), AwsFailure> {
        let call = Call::new("ec2:RestoreSnapshotFromRecycleBin", region);
        let request = self.ec2(region).restore_snapshot_from_recycle_bin().snapshot_id(id.as_str());
        request.send().await.map(|_| ()).map_err(|error| call.failed(error))
    }

    /// Brings an image back from the Recycle Bin. Its snapshots must be there.
    ///
    /// # Errors
    /// What EC2 refused.
    pub async fn restore_image(&self, region: &Region, id: &ImageId) -> Result<(), AwsFailure> {
        let call = Call::new("ec2:RestoreImageFromRecycleBin", region);
        let request = self.ec2(region).restore_image_from_recycle_bin().image_id(id.as_str());
        request.send().await.map(|_| ()).map_err(|error| call.failed(error))
    }
}
