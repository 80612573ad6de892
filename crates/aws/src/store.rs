//! Owns storing images as objects.

use ami_backup_core::{
    Timestamp,
    failure::AwsFailure,
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

    /// Every store task of an image in the home Region in the last 31 days, into whatever bucket.
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
            let page = page.map_err(|error| call.failed(error))?;
            for task in page.store_image_task_results() {
                found.push(facts(&call, task)?);
            }
        }
        Ok(found)
    }
}

fn facts(call: &Call<'_>, task: &StoreImageTaskResult) -> Result<StoreTask, AwsFailure> {
    let state = call.required(task.store_task_state(), "StoreTaskState")?;
    let started = call.required(task.task_start_time(), "TaskStartTime")?;
    let started_at = i32::try_from(started.subsec_nanos())
        .ok()
        .and_then(|nanos| Timestamp::new(started.secs(), nanos).ok())
        .ok_or_else(|| call.malformed(format!("the answer's TaskStartTime is {started:?}")))?;
    Ok(StoreTask {
        image_id: call.parsed(task.ami_id(), "AmiId")?,
        bucket: call.required(task.bucket(), "Bucket")?.to_owned(),
        key: call.required(task.s3object_key(), "S3objectKey")?.to_owned(),
        started_at,
        progress_percent: task.progress_percentage().and_then(|percent| u8::try_from(percent).ok()),
        state: StoreTaskState::from(state),
        failure_reason: task.store_task_failure_reason().filter(|reason| !reason.is_empty()).map(str::to_owned),
    })
}

#[cfg(test)]
mod tests {
    use ami_backup_core::id::Region;
    use aws_smithy_types::DateTime;

    use super::*;

    #[test]
    fn the_start_of_a_task_keeps_its_milliseconds() -> Result<(), Box<dyn std::error::Error>> {
        let region: Region = "us-east-1".parse()?;
        let task = StoreImageTaskResult::builder()
            .ami_id("ami-12345678")
            .bucket("bucket")
            .s3object_key("ami-12345678.bin")
            .task_start_time(DateTime::from_millis(1_700_000_000_123))
            .store_task_state("Completed")
            .store_task_failure_reason("")
            .build();
        let task = facts(&Call::new("ec2:DescribeStoreImageTasks", &region), &task)?;
        assert_eq!(task.started_at.as_millisecond(), 1_700_000_000_123);
        assert_eq!(task.failure_reason, None);
        Ok(())
    }
}
