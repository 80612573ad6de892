//! Owns the listings of a whole account in one Region, page by page: nothing here holds more than a page.

use std::collections::BTreeMap;

use ami_backup_core::{
    cleanup::account::BinRule,
    failure::{AwsFailure, FailureClass},
    id::{BucketName, ImageId, Region, SnapshotId},
    image::{ImageFacts, OddImage, SnapshotFacts},
    restore::image_of_key,
};
use aws_sdk_ec2::types::{LockState, LockedSnapshotsInfo};
use aws_sdk_rbin::types::{ResourceTag, ResourceType};
use futures_util::future::join;

use crate::{Aws, failure::Call, images, pages, snapshots, tags::filter};

/// A thousand is what EC2's listings take at most, or document no bound for.
const PAGE: i32 = 1000;

/// The images in the Recycle Bin.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BinnedImages {
    /// Their ids.
    pub images: Vec<ImageId>,
    /// What stands where an id belongs and is none.
    pub odd: Vec<String>,
}

impl Aws {
    /// Every row of the listing of the account's images, disabled ones too. Returns how many there are.
    ///
    /// # Errors
    /// What EC2 refused.
    pub async fn each_own_image(
        &self,
        region: &Region,
        mut each: impl FnMut(Result<ImageFacts, OddImage>),
    ) -> Result<u64, AwsFailure> {
        let call = Call::new("ec2:DescribeImages", region);
        let request = self.ec2(region).describe_images().owners("self").include_disabled(true);
        let request = request.include_deprecated(true).max_results(PAGE);
        let ask = async |token| {
            let request = request.clone().set_next_token(token).customize().interceptor(pages::IMAGES);
            let page = request.send().await.map_err(|error| call.failed(error))?;
            Ok((page.images.unwrap_or_default(), page.next_token))
        };
        each_page(&call, ask, |image| each(images::facts(region, image))).await
    }

    /// Every row of the listing of the account's snapshots; of one whose id is none, that. Returns how many there are.
    ///
    /// # Errors
    /// What EC2 refused.
    pub async fn each_own_snapshot(
        &self,
        region: &Region,
        mut each: impl FnMut(Result<SnapshotFacts, String>),
    ) -> Result<u64, AwsFailure> {
        let call = Call::new("ec2:DescribeSnapshots", region);
        let request = self.ec2(region).describe_snapshots().owner_ids("self").max_results(PAGE);
        let ask = async |token| {
            let request = request.clone().set_next_token(token).customize().interceptor(pages::SNAPSHOTS);
            let page = request.send().await.map_err(|error| call.failed(error))?;
            Ok((page.snapshots.unwrap_or_default(), page.next_token))
        };
        each_page(&call, ask, |snapshot| each(snapshots::facts(snapshot))).await
    }

    /// How each locked snapshot of the account is locked, as EC2 spells it. A lock that is over is none.
    ///
    /// # Errors
    /// What EC2 refused.
    pub async fn locked_snapshots(&self, region: &Region) -> Result<BTreeMap<SnapshotId, String>, AwsFailure> {
        let call = Call::new("ec2:DescribeLockedSnapshots", region);
        let request = self.ec2(region).describe_locked_snapshots().max_results(PAGE);
        // The SDK has no paginator for it.
        let ask = async |token| {
            let page = request.clone().set_next_token(token).send().await.map_err(|error| call.failed(error))?;
            Ok((page.snapshots.unwrap_or_default(), page.next_token))
        };
        let mut locked = BTreeMap::new();
        each_page(&call, ask, |snapshot| locked.extend(lock(&snapshot))).await?;
        Ok(locked)
    }

    /// The images in the Recycle Bin.
    ///
    /// # Errors
    /// What EC2 refused.
    pub async fn binned_images(&self, region: &Region) -> Result<BinnedImages, AwsFailure> {
        let call = Call::new("ec2:ListImagesInRecycleBin", region);
        let mut pages = self.ec2(region).list_images_in_recycle_bin().max_results(PAGE).into_paginator().send();
        let mut binned = BinnedImages::default();
        while let Some(page) = pages.next().await {
            let page = page.map_err(|error| call.failed(error))?;
            for image in page.images() {
                let id = image.image_id().unwrap_or_default();
                match id.parse() {
                    Ok(id) => binned.images.push(id),
                    Err(_) => binned.odd.push(id.to_owned()),
                }
            }
        }
        Ok(binned)
    }

    /// The snapshots in the Recycle Bin.
    ///
    /// # Errors
    /// What EC2 refused.
    pub async fn binned_snapshots(&self, region: &Region) -> Result<Vec<SnapshotId>, AwsFailure> {
        let call = Call::new("ec2:ListSnapshotsInRecycleBin", region);
        let mut pages = self.ec2(region).list_snapshots_in_recycle_bin().max_results(PAGE).into_paginator().send();
        let mut binned = Vec::new();
        while let Some(page) = pages.next().await {
            let page = page.map_err(|error| call.failed(error))?;
            binned.extend(page.snapshots().iter().filter_map(|snapshot| snapshot.snapshot_id()?.parse().ok()));
        }
        Ok(binned)
    }

    /// The retention rules of the Recycle Bin for images and for snapshots.
    ///
    /// # Errors
    /// What the Recycle Bin refused.
    pub async fn bin_rules(&self, region: &Region) -> Result<Vec<BinRule>, AwsFailure> {
        let mut rules = Vec::new();
        for (images, kind) in [(true, ResourceType::Ec2Image), (false, ResourceType::EbsSnapshot)] {
            for id in self.bin_rule_ids(region, kind).await? {
                rules.extend(self.bin_rule(region, &id, images).await?);
            }
        }
        Ok(rules)
    }

    async fn bin_rule_ids(&self, region: &Region, kind: ResourceType) -> Result<Vec<String>, AwsFailure> {
        let call = Call::new("rbin:ListRules", region);
        let mut pages = self.rbin(region).list_rules().resource_type(kind).into_paginator().send();
        let mut ids = Vec::new();
        while let Some(page) = pages.next().await {
            let page = page.map_err(|error| call.failed(error))?;
            ids.extend(page.rules().iter().filter_map(|rule| rule.identifier()).map(str::to_owned));
        }
        Ok(ids)
    }

    /// A rule in full, since the list leaves out its tags: `None` if it is gone meanwhile.
    async fn bin_rule(&self, region: &Region, id: &str, images: bool) -> Result<Option<BinRule>, AwsFailure> {
        let call = Call::new("rbin:GetRule", region);
        let rule = match self.rbin(region).get_rule().identifier(id).send().await.map_err(|error| call.failed(error)) {
            Ok(rule) => rule,
            Err(failure) if failure.class() == FailureClass::NotFound => return Ok(None),
            Err(failure) => return Err(failure),
        };
        let days = rule.retention_period().map(|period| period.retention_period_value()).unwrap_or_default();
        let tag = |tag: &ResourceTag| (tag.resource_tag_key().to_owned(), tag.resource_tag_value().map(str::to_owned));
        Ok(Some(BinRule {
            images,
            days: u32::try_from(days).unwrap_or_default(),
            tags: rule.resource_tags().iter().map(tag).collect(),
            excluded: rule.exclude_resource_tags().iter().map(tag).collect(),
        }))
    }

    /// What a store task of the last 31 days that is storing at the moment has for an image.
    ///
    /// # Errors
    /// What EC2 refused.
    pub async fn images_being_stored(&self, region: &Region) -> Result<Vec<String>, AwsFailure> {
        let call = Call::new("ec2:DescribeStoreImageTasks", region);
        let running = filter("task-state", ["InProgress"]);
        // Pages of up to 200.
        let request = self.ec2(region).describe_store_image_tasks().filters(running).max_results(200);
        let mut pages = request.into_paginator().send();
        let mut found = Vec::new();
        while let Some(page) = pages.next().await {
            let page = page.map_err(|error| call.failed(error))?;
            found.extend(page.store_image_task_results().iter().filter_map(|task| task.ami_id()).map(str::to_owned));
        }
        Ok(found)
    }

    /// Size in bytes of the stored object of each image that has one in a bucket of the home Region, whatever the path.
    ///
    /// # Errors
    /// What S3 refused.
    pub async fn stored_images(&self, bucket: &BucketName) -> Result<BTreeMap<ImageId, u64>, AwsFailure> {
        let call = Call::new("s3:ListObjectsV2", self.home());
        let request = self.s3(self.home()).list_objects_v2().bucket(bucket.as_str());
        let mut pages = request.set_expected_bucket_owner(self.bucket_owner(bucket)).into_paginator().send();
        let mut stored = BTreeMap::new();
        while let Some(page) = pages.next().await {
            let page = page.map_err(|error| call.failed(error))?;
            for object in page.contents() {
                let size = object.size().and_then(|size| u64::try_from(size).ok());
                if let (Some(image), Some(size)) = (object.key().and_then(image_of_key), size) {
                    stored.insert(image, size);
                }
            }
        }
        Ok(stored)
    }
}

/// Takes every page of a listing, each while the next one is on its way. Returns how many things they held. A listing that
/// gives the same token twice would never end, and fails, as in the SDK's paginators.
async fn each_page<T>(
    call: &Call<'_>,
    ask: impl AsyncFn(Option<String>) -> Result<(Vec<T>, Option<String>), AwsFailure>,
    mut take: impl FnMut(T),
) -> Result<u64, AwsFailure> {
    let (mut page, mut token) = ask(None).await?;
    let mut count = 0;
    loop {
        count += u64::try_from(page.len()).unwrap_or(u64::MAX);
        let Some(asked) = token.filter(|token| !token.is_empty()) else {
            page.into_iter().for_each(take);
            return Ok(count);
        };
        let taken = async {
            // Lets the request for the next page leave first.
            tokio::task::yield_now().await;
            page.into_iter().for_each(&mut take);
        };
        let (next, ()) = join(ask(Some(asked.clone())), taken).await;
        (page, token) = next?;
        if token.as_ref() == Some(&asked) {
            return Err(call.malformed("the answer's NextToken is the one that was asked with".into()));
        }
    }
}

/// How a snapshot is locked, if it is: so it is too if EC2 does not say how.
fn lock(snapshot: &LockedSnapshotsInfo) -> Option<(SnapshotId, String)> {
    let state = snapshot.lock_state().map_or("locked", LockState::as_str);
    let id = snapshot.snapshot_id()?.parse().ok()?;
    (state != "expired").then(|| (id, state.to_owned()))
}
