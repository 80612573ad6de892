//! Owns images: what EC2 knows of them, and what is put on them.

use std::collections::BTreeMap;

use ami_backup_core::{
    Timestamp,
    failure::AwsFailure,
    id::{ImageId, Region, SnapshotId, Typed},
    image::{DeviceMapping, EbsMapping, ImageFacts, ImageState, LaunchPermissions, OddImage},
    naming::{TAG_RUN, TAG_SOURCE},
};
use aws_sdk_ec2::types::{
    AttributeValue, BlockDeviceMapping, Filter, Image, ImageAttributeName, LaunchPermission,
    LaunchPermissionModifications, PermissionGroup, StateReason,
};
use aws_smithy_types::DateTime;

use crate::{
    Aws,
    failure::Call,
    tags::{filter, moved, tag_filters},
};

/// The model gives DescribeImages no bound; a thousand is what its siblings take at most.
const PAGE: i32 = 1000;

/// Which images a listing shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shown {
    /// Whoever owns them, disabled and deprecated ones too.
    Everybodys,
    /// Those of the own account, disabled ones too.
    Own,
    /// Those of the own account that are not disabled.
    OwnInUse,
}

impl Aws {
    /// An image, whoever owns it and in whatever state, or `None` if it is not visible.
    ///
    /// # Errors
    /// What EC2 refused.
    pub async fn image(&self, region: &Region, id: &ImageId) -> Result<Option<ImageFacts>, AwsFailure> {
        // By filter: for an unknown id the parameter ImageIds fails where a filter finds nothing.
        let found = self.images(region, vec![filter("image-id", [id.as_str()])], Shown::Everybodys).await?;
        Ok(found.into_iter().next())
    }

    /// The account's images that a run made from a source, in whatever state.
    ///
    /// # Errors
    /// What EC2 refused.
    pub async fn images_of_run(&self, region: &Region, run: &str, source: &str) -> Result<Vec<ImageFacts>, AwsFailure> {
        let filters = vec![filter(format!("tag:{TAG_RUN}"), [run]), filter(format!("tag:{TAG_SOURCE}"), [source])];
        self.images(region, filters, Shown::Own).await
    }

    /// The account's images of this name, in whatever state: one, or a moment after a deregistration
    /// more.
    ///
    /// # Errors
    /// What EC2 refused.
    pub async fn images_named(&self, region: &Region, name: &str) -> Result<Vec<ImageFacts>, AwsFailure> {
        self.images(region, vec![filter("name", [name])], Shown::Own).await
    }

    /// The account's images in the home Region that carry all of the tags, each with one of its
    /// values. None without tags, and no disabled ones: those were taken out of use on purpose.
    ///
    /// # Errors
    /// What EC2 refused.
    pub async fn images_tagged(&self, tags: &BTreeMap<String, Vec<String>>) -> Result<Vec<ImageFacts>, AwsFailure> {
        match tag_filters(tags) {
            Some(filters) => self.images(self.home(), filters, Shown::OwnInUse).await,
            None => Ok(Vec::new()),
        }
    }

    /// The account's own of these images, of which a filter takes up to 200, in whatever state.
    ///
    /// # Errors
    /// What EC2 refused.
    pub async fn own_images(&self, region: &Region, ids: &[ImageId]) -> Result<Vec<ImageFacts>, AwsFailure> {
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        self.images(region, vec![filter("image-id", ids.iter().map(ImageId::as_str))], Shown::Own).await
    }

    /// The account's images that are on any of these snapshots, of which a filter takes up to 200, in whatever state.
    ///
    /// # Errors
    /// What EC2 refused.
    pub async fn images_on(&self, region: &Region, snapshots: &[SnapshotId]) -> Result<Vec<ImageFacts>, AwsFailure> {
        if snapshots.is_empty() {
            return Ok(Vec::new());
        }
        let on = filter("block-device-mapping.snapshot-id", snapshots.iter().map(SnapshotId::as_str));
        self.images(region, vec![on], Shown::Own).await
    }

    async fn images(&self, region: &Region, filters: Vec<Filter>, shown: Shown) -> Result<Vec<ImageFacts>, AwsFailure> {
        let call = Call::new("ec2:DescribeImages", region);
        let owners = (shown != Shown::Everybodys).then(|| vec!["self".to_owned()]);
        let request = self
            .ec2(region)
            .describe_images()
            .set_owners(owners)
            .set_filters(Some(filters))
            .include_disabled(shown != Shown::OwnInUse)
            // Owners see their deprecated images anyway; others only with this.
            .include_deprecated(true)
            .max_results(PAGE);
        let mut pages = request.into_paginator().send();
        let mut found = Vec::new();
        while let Some(page) = pages.next().await {
            let page = page.map_err(|error| call.failed(error))?;
            // What is no machine image is none that anything is to be done with.
            found.extend(page.images.into_iter().flatten().filter_map(|image| facts(region, image).ok()));
        }
        Ok(found)
    }

    /// Who may launch an image. Its owner alone may ask.
    ///
    /// # Errors
    /// What EC2 refused.
    pub async fn launch_permissions(&self, region: &Region, id: &ImageId) -> Result<LaunchPermissions, AwsFailure> {
        let call = Call::new("ec2:DescribeImageAttribute", region);
        let request = self.ec2(region).describe_image_attribute().image_id(id.as_str());
        let answer = request.attribute(ImageAttributeName::LaunchPermission).send().await;
        let answer = answer.map_err(|error| call.failed(error))?;
        let mut permissions = LaunchPermissions::default();
        for granted in answer.launch_permissions() {
            permissions.accounts.extend(granted.user_id().map(str::to_owned));
            permissions.groups.extend(granted.group().map(|group| group.as_str().to_owned()));
            permissions.organizations.extend(granted.organization_arn().map(str::to_owned));
            permissions.organizational_units.extend(granted.organizational_unit_arn().map(str::to_owned));
        }
        Ok(permissions)
    }

    /// The UEFI variables of an image, base64, if it has any. Its owner alone may ask.
    ///
    /// # Errors
    /// What EC2 refused.
    pub async fn uefi_data(&self, region: &Region, id: &ImageId) -> Result<Option<String>, AwsFailure> {
        let call = Call::new("ec2:DescribeImageAttribute", region);
        let request = self.ec2(region).describe_image_attribute().image_id(id.as_str());
        let answer = request.attribute(ImageAttributeName::UefiData).send().await;
        let answer = answer.map_err(|error| call.failed(error))?;
        let data = answer.uefi_data().and_then(|data| data.value());
        Ok(data.filter(|data| !data.is_empty()).map(str::to_owned))
    }

    /// Lets others launch an image; who may already still may.
    ///
    /// # Errors
    /// What EC2 refused.
    pub async fn add_launch_permissions(
        &self,
        region: &Region,
        id: &ImageId,
        permissions: &LaunchPermissions,
    ) -> Result<(), AwsFailure> {
        let call = Call::new("ec2:ModifyImageAttribute", region);
        let added = LaunchPermissionModifications::builder().set_add(Some(granted(permissions))).build();
        let request = self.ec2(region).modify_image_attribute().image_id(id.as_str()).launch_permission(added);
        request.send().await.map(|_| ()).map_err(|error| call.failed(error))
    }

    /// Deprecates an image from a time on. EC2 rounds it to the minute and refuses one in the past.
    ///
    /// # Errors
    /// What EC2 refused.
    pub async fn deprecate(&self, region: &Region, id: &ImageId, at: Timestamp) -> Result<(), AwsFailure> {
        let call = Call::new("ec2:EnableImageDeprecation", region);
        let request = self.ec2(region).enable_image_deprecation().image_id(id.as_str());
        let request = request.deprecate_at(DateTime::from_secs(at.as_second()));
        request.send().await.map(|_| ()).map_err(|error| call.failed(error))
    }

    /// Protects an image from deregistration, without a cool-down: who may switch it off may do so at
    /// once.
    ///
    /// # Errors
    /// What EC2 refused.
    pub async fn protect(&self, region: &Region, id: &ImageId) -> Result<(), AwsFailure> {
        let call = Call::new("ec2:EnableImageDeregistrationProtection", region);
        let request = self.ec2(region).enable_image_deregistration_protection().image_id(id.as_str());
        request.send().await.map(|_| ()).map_err(|error| call.failed(error))
    }

    /// Makes instances of an image use IMDSv2. EC2 knows no way back.
    ///
    /// # Errors
    /// What EC2 refused.
    pub async fn require_imds_v2(&self, region: &Region, id: &ImageId) -> Result<(), AwsFailure> {
        let call = Call::new("ec2:ModifyImageAttribute", region);
        let version = AttributeValue::builder().value("v2.0").build();
        let request = self.ec2(region).modify_image_attribute().image_id(id.as_str()).imds_support(version);
        request.send().await.map(|_| ()).map_err(|error| call.failed(error))
    }
}

fn granted(permissions: &LaunchPermissions) -> Vec<LaunchPermission> {
    let permission = LaunchPermission::builder;
    let accounts = permissions.accounts.iter().map(|id| permission().user_id(id).build());
    let groups = permissions.groups.iter().map(|name| permission().group(PermissionGroup::from(name.as_str())).build());
    let organizations = permissions.organizations.iter().map(|arn| permission().organization_arn(arn).build());
    let units = permissions.organizational_units.iter();
    let units = units.map(|arn| permission().organizational_unit_arn(arn).build());
    accounts.chain(groups).chain(organizations).chain(units).collect()
}

/// What EC2 says of an image: what it leaves out is not known. By value: of thousands of images nothing is copied that can
/// be moved.
///
/// # Errors
/// What it has for an id, if that is none of a machine image.
pub(crate) fn facts(region: &Region, image: Image) -> Result<ImageFacts, OddImage> {
    let Some(image_id) = image.image_id().and_then(|id| id.parse().ok()) else {
        let snapshots = image.block_device_mappings().iter().filter_map(|mapping| mapping.ebs()?.snapshot_id());
        let snapshots = snapshots.map(str::to_owned).collect();
        return Err(OddImage { id: image.image_id.unwrap_or_default(), snapshots });
    };
    Ok(ImageFacts {
        image_id,
        region: region.clone(),
        state: ImageState::from(image.state().map(|state| state.as_str().to_owned()).unwrap_or_default()),
        state_reason: image.state_reason().and_then(reason),
        attributes: attributes(&image),
        root_device_type: image.root_device_type().map(|kind| kind.as_str().to_owned()).unwrap_or_default(),
        public: image.public() == Some(true),
        mappings: image.block_device_mappings().iter().map(mapping).collect(),
        owner_id: image.owner_id.unwrap_or_default(),
        // The oldest images have a location and no name.
        name: image.name.unwrap_or_default(),
        description: image.description.unwrap_or_default(),
        creation_date: image.creation_date,
        deprecation_time: image.deprecation_time,
        last_launched_time: image.last_launched_time,
        source_instance_id: image.source_instance_id,
        deregistration_protection: image.deregistration_protection,
        owner_alias: image.image_owner_alias,
        product_codes: image.product_codes.into_iter().flatten().filter_map(|code| code.product_code_id).collect(),
        tags: moved(image.tags),
    })
}

/// The code and the message, or the message alone where it begins with the code, as it mostly does.
fn reason(reason: &StateReason) -> Option<String> {
    match (reason.code(), reason.message()) {
        (Some(code), Some(message)) if !message.starts_with(code) => Some(format!("{code}: {message}")),
        (code, message) => message.or(code).map(str::to_owned),
    }
}

fn attributes(image: &Image) -> BTreeMap<String, String> {
    let ena = image.ena_support().map(|supported| if supported { "true" } else { "false" });
    let named = [
        ("Architecture", image.architecture().map(|value| value.as_str())),
        ("BootMode", image.boot_mode().map(|value| value.as_str())),
        ("EnaSupport", ena),
        ("ImdsSupport", image.imds_support().map(|value| value.as_str())),
        ("PlatformDetails", image.platform_details()),
        ("RootDeviceName", image.root_device_name()),
        ("SriovNetSupport", image.sriov_net_support()),
        ("TpmSupport", image.tpm_support().map(|value| value.as_str())),
        ("UsageOperation", image.usage_operation()),
        ("VirtualizationType", image.virtualization_type().map(|value| value.as_str())),
    ];
    named.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?.to_owned()))).collect()
}

fn mapping(mapping: &BlockDeviceMapping) -> DeviceMapping {
    let ebs = mapping.ebs().map(|ebs| EbsMapping {
        // A pending image may have its mapping without the snapshots.
        snapshot_id: ebs.snapshot_id().and_then(|id| Typed::read(id).id()),
        volume_size_gib: ebs.volume_size().and_then(|gib| u64::try_from(gib).ok()),
        volume_type: ebs.volume_type().map(|kind| kind.as_str().to_owned()),
        iops: ebs.iops(),
        throughput: ebs.throughput(),
        delete_on_termination: ebs.delete_on_termination(),
        encrypted: ebs.encrypted(),
    });
    DeviceMapping {
        device_name: mapping.device_name().unwrap_or_default().to_owned(),
        ebs,
        virtual_name: mapping.virtual_name().map(str::to_owned),
    }
}

#[cfg(test)]
mod tests {
    use ami_backup_core::image::ATTRIBUTES;
    use aws_sdk_ec2::types::{
        ArchitectureValues, BootModeValues, ImdsSupportValues, TpmSupportValues, VirtualizationType,
    };

    use super::*;

    #[test]
    fn every_attribute_that_is_compared_is_read() {
        let image = Image::builder()
            .architecture(ArchitectureValues::X8664)
            .boot_mode(BootModeValues::UefiPreferred)
            .ena_support(true)
            .imds_support(ImdsSupportValues::V20)
            .platform_details("Linux/UNIX")
            .root_device_name("/dev/xvda")
            .sriov_net_support("simple")
            .tpm_support(TpmSupportValues::V20)
            .usage_operation("RunInstances")
            .virtualization_type(VirtualizationType::Hvm)
            .build();
        let read = attributes(&image);
        assert!(read.keys().map(String::as_str).eq(ATTRIBUTES.iter().copied()), "{read:?}");
        assert_eq!(read.get("EnaSupport").map(String::as_str), Some("true"));
        assert_eq!(read.get("BootMode").map(String::as_str), Some("uefi-preferred"));
    }

    #[test]
    fn a_reason_is_said_once() {
        let told = |code: &str, message: &str| reason(&StateReason::builder().code(code).message(message).build());
        let whole = "Client.InternalError: Client error on launch";
        assert_eq!(told("Client.InternalError", whole).as_deref(), Some(whole));
        assert_eq!(told("Client.InternalError", "no key").as_deref(), Some("Client.InternalError: no key"));
    }
}
