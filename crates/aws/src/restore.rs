//! Owns making images again: of objects and of snapshots.

use std::collections::BTreeMap;

use ami_backup_core::{
    failure::AwsFailure,
    id::{BucketName, ImageId, Region},
    image::{DeviceMapping, EbsMapping},
    tags::Tags,
};
use aws_sdk_ec2::types::{
    ArchitectureValues, BlockDeviceMapping, BootModeValues, EbsBlockDevice, ImdsSupportValues, ResourceType,
    TpmSupportValues, VolumeType,
};

use crate::{Aws, failure::Call, instances::image_and_snapshot_tags, tags::specification};

/// An image that is to be made of an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewRestore {
    /// Bucket of the object, in the Region of the restore.
    pub bucket: BucketName,
    /// Its key, with the path.
    pub key: String,
    /// Name of the image, unique in the account and Region.
    pub name: String,
    /// Tags of the image and of its snapshots.
    pub tags: Tags,
}

/// An image that is to be made of snapshots.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewRegistration {
    /// Name of the image, unique in the account and Region.
    pub name: String,
    /// Its description.
    pub description: String,
    /// Its attributes, by the names of `ami_backup_core::image::ATTRIBUTES`. Those that EC2 derives
    /// from the snapshots (`PlatformDetails`, `UsageOperation`) are not sent.
    pub attributes: BTreeMap<String, String>,
    /// UEFI variables, base64.
    pub uefi_data: Option<String>,
    /// Its block device mapping, with the snapshots.
    pub mappings: Vec<DeviceMapping>,
    /// Tags of the image.
    pub tags: Tags,
}

impl Aws {
    /// CreateRestoreImageTask. It takes no client token: one attempt, and the name is what keeps it
    /// single.
    ///
    /// # Errors
    /// What EC2 refused.
    pub async fn create_restore_task(&self, region: &Region, new: &NewRestore) -> Result<ImageId, AwsFailure> {
        let call = Call::new("ec2:CreateRestoreImageTask", region);
        let answer = self
            .ec2(region)
            .create_restore_image_task()
            .bucket(new.bucket.as_str())
            .object_key(&new.key)
            .name(&new.name)
            .set_tag_specifications(Some(image_and_snapshot_tags(&new.tags, &new.tags)))
            .customize()
            .config_override(Self::once())
            .send()
            .await
            .map_err(|error| call.failed(error))?;
        call.parsed(answer.image_id(), "ImageId")
    }

    /// RegisterImage. It takes no client token: one attempt, and the name is what keeps it single.
    ///
    /// # Errors
    /// What EC2 refused; `MissingParameter` where an attribute is not known for which EC2 would fall
    /// back to a default of long ago (i386, paravirtual).
    pub async fn register_image(&self, region: &Region, new: &NewRegistration) -> Result<ImageId, AwsFailure> {
        let call = Call::new("ec2:RegisterImage", region);
        let known = |name: &str| new.attributes.get(name).filter(|value| !value.is_empty()).cloned();
        let needed = |name: &str| {
            known(name).ok_or_else(|| call.refused("MissingParameter", format!("the image's {name} is not known")))
        };
        let mappings = new.mappings.iter().map(|m| mapping(&call, m)).collect::<Result<_, _>>()?;
        let answer = self
            .ec2(region)
            .register_image()
            .name(&new.name)
            .description(&new.description)
            .architecture(ArchitectureValues::from(needed("Architecture")?.as_str()))
            .virtualization_type(needed("VirtualizationType")?)
            .root_device_name(needed("RootDeviceName")?)
            .set_ena_support(known("EnaSupport").map(|supported| supported == "true"))
            .set_sriov_net_support(known("SriovNetSupport"))
            .set_boot_mode(known("BootMode").map(|mode| BootModeValues::from(mode.as_str())))
            .set_tpm_support(known("TpmSupport").map(|version| TpmSupportValues::from(version.as_str())))
            .set_imds_support(known("ImdsSupport").map(|version| ImdsSupportValues::from(version.as_str())))
            .set_uefi_data(new.uefi_data.clone())
            .set_block_device_mappings(Some(mappings))
            .set_tag_specifications(specification(ResourceType::Image, &new.tags).map(|tags| vec![tags]))
            .customize()
            .config_override(Self::once())
            .send()
            .await
            .map_err(|error| call.failed(error))?;
        call.parsed(answer.image_id(), "ImageId")
    }
}

fn mapping(call: &Call<'_>, mapping: &DeviceMapping) -> Result<BlockDeviceMapping, AwsFailure> {
    let ebs = mapping.ebs.as_ref().map(|ebs| volume(call, &mapping.device_name, ebs)).transpose()?;
    Ok(BlockDeviceMapping::builder()
        .device_name(&mapping.device_name)
        .set_virtual_name(mapping.virtual_name.clone())
        .set_ebs(ebs)
        .build())
}

fn volume(call: &Call<'_>, device: &str, ebs: &EbsMapping) -> Result<EbsBlockDevice, AwsFailure> {
    let too_large = |gib: u64| call.refused("InvalidParameterValue", format!("{device} cannot have {gib} GiB"));
    let size = ebs.volume_size_gib.map(|gib| i32::try_from(gib).map_err(|_| too_large(gib))).transpose()?;
    let kind = ebs.volume_type.as_deref();
    Ok(EbsBlockDevice::builder()
        .set_snapshot_id(ebs.snapshot_id.as_ref().map(ToString::to_string))
        .set_volume_size(size)
        .set_volume_type(kind.map(VolumeType::from))
        // EC2 tells both of other types too, and refuses to be told them.
        .set_iops(ebs.iops.filter(|_| matches!(kind, Some("gp3" | "io1" | "io2"))))
        .set_throughput(ebs.throughput.filter(|_| kind == Some("gp3")))
        .set_delete_on_termination(ebs.delete_on_termination)
        // A volume of a snapshot is encrypted as the snapshot is, and EC2 refuses to be told so.
        .set_encrypted(ebs.encrypted.filter(|encrypted| *encrypted && ebs.snapshot_id.is_none()))
        .build())
}

#[cfg(test)]
mod tests {
    use super::*;

    type Failed = Box<dyn std::error::Error>;

    fn made(ebs: EbsMapping) -> Result<EbsBlockDevice, Failed> {
        let region: Region = "us-east-1".parse()?;
        Ok(volume(&Call::new("ec2:RegisterImage", &region), "/dev/xvda", &ebs)?)
    }

    #[test]
    fn encryption_is_never_sent_for_a_snapshot() -> Result<(), Failed> {
        let snapshot_id = Some("snap-12345678".parse()?);
        let sent = made(EbsMapping { snapshot_id, encrypted: Some(true), ..EbsMapping::default() })?;
        assert_eq!(sent.encrypted(), None);
        let blank = made(EbsMapping { encrypted: Some(true), ..EbsMapping::default() })?;
        assert_eq!(blank.encrypted(), Some(true));
        Ok(())
    }

    #[test]
    fn speed_is_sent_only_for_types_that_take_it() -> Result<(), Failed> {
        let speed = |volume_type: &str| {
            made(EbsMapping {
                volume_type: Some(volume_type.to_owned()),
                iops: Some(3000),
                throughput: Some(125),
                ..EbsMapping::default()
            })
        };
        assert_eq!((speed("gp3")?.iops(), speed("gp3")?.throughput()), (Some(3000), Some(125)));
        assert_eq!((speed("io2")?.iops(), speed("io2")?.throughput()), (Some(3000), None));
        assert_eq!((speed("gp2")?.iops(), speed("gp2")?.throughput()), (None, None));
        Ok(())
    }
}
