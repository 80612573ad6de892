//! Owns storing images as objects.

use ami_backup_core::{
    Timestamp,
    failure::{AwsFailure, FailureClass},
    id::ImageId,
    store::{StoreTask, StoreTaskState},
    tags::Tags,
};
use aws_sdk_ec2::types::{S3ObjectTag, StoreImageTaskResult};

use crate::{Aws, failure::Call};

impl Aws {
    /// CreateStoreImageTask in the home Region, into a bucket of that Region, or `<bucket>/<path>`.
    /// Returns the key of the object that will be. It takes no client token: one attempt.
    ///
    /// # Errors
    /// What EC2 refused.
    pub async fn create_store_task(
        &self,
        image: &ImageId,
        bucket_and_path: &str,
        tags: &Tags,
    ) -> Result<String, AwsFailure> {
        let call = Call::new("ec2:CreateStoreImageTask", self.home());
        let tags = tags.iter().map(|(key, value)| S3ObjectTag::builder().key(key).value(value).build());
        let answer = self
            .ec2(self.home())
            .create_store_image_task()
            .image_id(image.as_str())
            .bucket(bucket_and_path)
            .set_s3_object_tags(Some(tags.collect()))
            .customize()
            .config_override(Self::once())
            .send()
            .await
            .map_err(|error| call.failed(error))?;
        call.required(answer.object_key, "ObjectKey")
    }

    /// Every store task of an image in the home Region in the last 31 days, into whatever bucket: none of an image that EC2
    /// does not find.
    ///
    /// # Errors
    /// What EC2 refused.
    pub async fn store_tasks(&self, image: &ImageId) -> Result<Vec<StoreTask>, AwsFailure> {
        let call = Call::new("ec2:DescribeStoreImageTasks", self.home());
        // Without MaxResults, which may not be combined with ImageIds.
        let request = self.ec2(self.home()).describe_store_image_tasks().image_ids(image.as_str());
        let mut pages = request.into_paginator().send();
        let mut found = Vec::new();
        while let Some(page) = pages.next().await {
            match page.map_err(|error| call.failed(error)) {
                Ok(page) => found.extend(page.store_image_task_results().iter().filter_map(facts)),
                Err(failure) if failure.class() == FailureClass::NotFound => break,
                Err(failure) => return Err(failure),
            }
        }
        Ok(found)
    }
}

/// Nothing of a task whose image cannot be told. One of which EC2 leaves out when it began is as old as can be.
fn facts(task: &StoreImageTaskResult) -> Option<StoreTask> {
    let text = |field: Option<&str>| field.unwrap_or_default().to_owned();
    let started_at = task.task_start_time().and_then(|started| {
        let nanoseconds = i32::try_from(started.subsec_nanos()).ok()?;
        Timestamp::new(started.secs(), nanoseconds).ok()
    });
    Some(StoreTask {
        image_id: task.ami_id()?.parse().ok()?,
        bucket: text(task.bucket()),
        key: text(task.s3object_key()),
        started_at: started_at.unwrap_or(Timestamp::UNIX_EPOCH),
        progress_percent: task.progress_percentage().and_then(|percent| u8::try_from(percent).ok()),
        state: StoreTaskState::from(task.store_task_state().unwrap_or_default()),
        failure_reason: task.store_task_failure_reason().filter(|reason| !reason.is_empty()).map(str::to_owned),
    })
}

#[cfg(test)]
mod tests {
    use aws_smithy_types::DateTime;

    use super::*;

    #[test]
    fn the_start_of_a_task_keeps_its_milliseconds() {
        let task = StoreImageTaskResult::builder()
            .ami_id("ami-12345678")
            .bucket("bucket")
            .s3object_key("ami-12345678.bin")
            .task_start_time(DateTime::from_millis(1_700_000_000_123))
            .store_task_state("Completed")
            .store_task_failure_reason("")
            .build();
        let task = facts(&task);
        assert_eq!(task.as_ref().map(|task| task.started_at.as_millisecond()), Some(1_700_000_000_123));
        assert_eq!(task.and_then(|task| task.failure_reason), None);
    }
}
