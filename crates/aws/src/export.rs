//! Owns exporting images as VM files.

use ami_backup_core::{
    export::ExportTask,
    failure::{AwsFailure, FailureClass},
    id::{BucketName, ImageId, Region},
    policy::DiskFormat,
    tags::Tags,
};
use aws_sdk_ec2::types::{
    DiskImageFormat, ExportImageTask, ExportTaskS3Location, ExportTaskS3LocationRequest, ResourceType,
};

use crate::{
    Aws,
    failure::Call,
    snapshots::percent,
    tags::{read, specification},
};

/// DescribeExportImageTasks documents 1 to 500 per page.
const PAGE: i32 = 500;

/// A VM file that is to be made of an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewExport {
    /// The image.
    pub image_id: ImageId,
    /// Format of the file.
    pub format: DiskFormat,
    /// Bucket of the same account and Region.
    pub bucket: BucketName,
    /// Prefix of the key, ending with a slash: EC2 puts nothing between it and the task's id.
    pub prefix: String,
    /// Role that VM Import/Export assumes to write the file.
    pub role_name: String,
    /// Description of the task.
    pub description: String,
    /// With the same token EC2 hands back the first task instead of starting a second.
    pub client_token: String,
    /// Tags of the task.
    pub tags: Tags,
}

impl Aws {
    /// ExportImage in the home Region.
    ///
    /// # Errors
    /// What EC2 refused.
    pub async fn export_image(&self, new: &NewExport) -> Result<ExportTask, AwsFailure> {
        let call = Call::new("ec2:ExportImage", self.home());
        let location = ExportTaskS3LocationRequest::builder().s3_bucket(new.bucket.as_str()).s3_prefix(&new.prefix);
        let tags = specification(ResourceType::ExportImageTask, &new.tags);
        let answer = self
            .ec2(self.home())
            .export_image()
            .image_id(new.image_id.as_str())
            .disk_image_format(DiskImageFormat::from(new.format.as_str()))
            .s3_export_location(location.build())
            .role_name(&new.role_name)
            .description(&new.description)
            .client_token(&new.client_token)
            .set_tag_specifications(tags.map(|tags| vec![tags]))
            .send()
            .await
            .map_err(|error| call.failed(error))?;
        // Told as it was asked for, where the answer leaves something out.
        Ok(ExportTask {
            task_id: call.required(answer.export_image_task_id, "ExportImageTaskId")?,
            image_id: Some(new.image_id.clone()),
            status: call.required(answer.status, "Status")?,
            status_message: answer.status_message,
            progress_percent: answer.progress.as_deref().and_then(percent),
            bucket: Some(new.bucket.to_string()),
            prefix: Some(new.prefix.clone()),
            tags: new.tags.clone(),
        })
    }

    /// Every export task that a Region still knows.
    ///
    /// # Errors
    /// What EC2 refused.
    pub async fn export_tasks(&self, region: &Region) -> Result<Vec<ExportTask>, AwsFailure> {
        let call = Call::new("ec2:DescribeExportImageTasks", region);
        let request = self.ec2(region).describe_export_image_tasks().max_results(PAGE);
        let mut pages = request.into_paginator().send();
        let mut found = Vec::new();
        while let Some(page) = pages.next().await {
            let page = page.map_err(|error| call.failed(error))?;
            found.extend(page.export_image_tasks().iter().filter_map(facts));
        }
        Ok(found)
    }

    /// An export task of the home Region, or `None` if EC2 does not know it.
    ///
    /// # Errors
    /// What EC2 refused.
    pub async fn export_task(&self, id: &str) -> Result<Option<ExportTask>, AwsFailure> {
        let call = Call::new("ec2:DescribeExportImageTasks", self.home());
        let request = self.ec2(self.home()).describe_export_image_tasks().export_image_task_ids(id);
        match request.send().await.map_err(|error| call.failed(error)) {
            Ok(answer) => Ok(answer.export_image_tasks().first().and_then(facts)),
            Err(failure) if failure.class() == FailureClass::NotFound => Ok(None),
            Err(failure) => Err(failure),
        }
    }
}

/// Nothing of a task that cannot be told apart from others.
fn facts(task: &ExportImageTask) -> Option<ExportTask> {
    let location = task.s3_export_location();
    Some(ExportTask {
        task_id: task.export_image_task_id()?.to_owned(),
        image_id: task.image_id().and_then(|id| id.parse().ok()),
        status: task.status().unwrap_or_default().to_owned(),
        status_message: task.status_message().map(str::to_owned),
        progress_percent: task.progress().and_then(percent),
        bucket: location.and_then(ExportTaskS3Location::s3_bucket).map(str::to_owned),
        prefix: location.and_then(ExportTaskS3Location::s3_prefix).map(str::to_owned),
        tags: read(task.tags()),
    })
}
