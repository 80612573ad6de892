//! Owns instances: what EC2 knows of them, and making images of them.

use std::collections::BTreeMap;

use ami_backup_core::{
    failure::AwsFailure,
    id::{ImageId, InstanceId},
    instance::InstanceFacts,
    tags::Tags,
};
use aws_sdk_ec2::types::{Filter, Instance, ResourceType};

use crate::{
    Aws,
    failure::Call,
    tags::{filter, read, specification, tag_filters},
};

/// DescribeInstances documents 5 to 1,000 per page.
const PAGE: i32 = 1000;

/// What an instance can be in and still have volumes to image; `shutting-down` and `terminated`
/// instances stay listed for about an hour.
const ALIVE: [&str; 4] = ["pending", "running", "stopping", "stopped"];

/// An image that is to be made of an instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewImage {
    /// The instance.
    pub instance_id: InstanceId,
    /// Name of the image, unique in the account and Region.
    pub name: String,
    /// Its description.
    pub description: String,
    /// Whether EC2 may reboot the instance, for a file system at rest.
    pub reboot: bool,
    /// Tags of the image and of its snapshots.
    pub tags: Tags,
}

impl Aws {
    /// An instance of the home Region, or `None` if it is not visible.
    ///
    /// # Errors
    /// What EC2 refused.
    pub async fn instance(&self, id: &InstanceId) -> Result<Option<InstanceFacts>, AwsFailure> {
        // By filter: for an unknown id the parameter InstanceIds fails where a filter finds nothing.
        let found = self.instances(vec![filter("instance-id", [id.as_str()])]).await?;
        Ok(found.into_iter().next())
    }

    /// The instances of the home Region that carry all of the tags, each with one of its values, and
    /// are not terminated. None without tags.
    ///
    /// # Errors
    /// What EC2 refused.
    pub async fn instances_tagged(
        &self,
        tags: &BTreeMap<String, Vec<String>>,
    ) -> Result<Vec<InstanceFacts>, AwsFailure> {
        let Some(mut filters) = tag_filters(tags) else {
            return Ok(Vec::new());
        };
        filters.push(filter("instance-state-name", ALIVE));
        self.instances(filters).await
    }

    async fn instances(&self, filters: Vec<Filter>) -> Result<Vec<InstanceFacts>, AwsFailure> {
        let call = Call::new("ec2:DescribeInstances", self.home());
        let request = self.ec2(self.home()).describe_instances().set_filters(Some(filters)).max_results(PAGE);
        let mut pages = request.into_paginator().send();
        let mut found = Vec::new();
        while let Some(page) = pages.next().await {
            let page = page.map_err(|error| call.failed(error))?;
            let instances = page.reservations().iter().flat_map(|reservation| reservation.instances());
            found.extend(instances.filter_map(facts));
        }
        Ok(found)
    }

    /// CreateImage. It takes no client token: one attempt, and the name is what keeps it single.
    ///
    /// # Errors
    /// What EC2 refused.
    pub async fn create_image(&self, new: &NewImage) -> Result<ImageId, AwsFailure> {
        let call = Call::new("ec2:CreateImage", self.home());
        let answer = self
            .ec2(self.home())
            .create_image()
            .instance_id(new.instance_id.as_str())
            .name(&new.name)
            .description(&new.description)
            // EC2's default is to reboot.
            .no_reboot(!new.reboot)
            .set_tag_specifications(Some(image_and_snapshot_tags(&new.tags, &new.tags)))
            .customize()
            .config_override(Self::once())
            .send()
            .await
            .map_err(|error| call.failed(error))?;
        call.parsed(answer.image_id(), "ImageId")
    }
}

/// Tags for calls that make an image and its snapshots.
pub(crate) fn image_and_snapshot_tags(image: &Tags, snapshots: &Tags) -> Vec<aws_sdk_ec2::types::TagSpecification> {
    let image = specification(ResourceType::Image, image);
    let snapshots = specification(ResourceType::Snapshot, snapshots);
    image.into_iter().chain(snapshots).collect()
}

/// Nothing of an instance that cannot be told apart from others.
fn facts(instance: &Instance) -> Option<InstanceFacts> {
    let state = instance.state().and_then(|state| state.name());
    Some(InstanceFacts {
        instance_id: instance.instance_id()?.parse().ok()?,
        state: state.map(|state| state.as_str().to_owned()).unwrap_or_default(),
        root_device_type: instance.root_device_type().map(|kind| kind.as_str().to_owned()).unwrap_or_default(),
        tags: read(instance.tags()),
    })
}
