//! Owns exporting an image as a VM file: which task is ours, and when it counts as done.

use serde::{Deserialize, Serialize};

use crate::{
    error::StepError,
    id::{BucketName, ImageId},
    item::RunContext,
    naming::{Identity, TAG_TOKEN, token},
    policy::DiskFormat,
    store::ObjectFacts,
    tags::Tags,
};

/// What DescribeExportImageTasks says of a task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExportTask {
    /// `export-ami-…`.
    pub task_id: String,
    /// The image; EC2 does not always say.
    pub image_id: Option<ImageId>,
    /// `active`, `completed`, `deleting`, `deleted`.
    pub status: String,
    /// What EC2 says of it: `validating`, `converting`, or why it ended.
    pub status_message: Option<String>,
    /// Progress in percent; EC2 does not always say.
    pub progress_percent: Option<u8>,
    /// Bucket that it writes to.
    pub bucket: Option<String>,
    /// Prefix of the key.
    pub prefix: Option<String>,
    /// Its tags.
    pub tags: Tags,
}

impl ExportTask {
    /// There is no state called failed: a task that ends without a file is deleted, with the reason in
    /// its message. We cancel none, so whatever is deleted has failed.
    pub fn has_failed(&self) -> bool {
        matches!(self.status.as_str(), "deleting" | "deleted")
    }

    /// Key of the file: the prefix, the task's id and the extension, with nothing in between.
    pub fn key(&self, format: DiskFormat) -> String {
        format!("{}{}.{}", self.prefix.as_deref().unwrap_or_default(), self.task_id, format.extension())
    }
}

/// What is exported where: the subject of the wait for an export task.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ExportSubject {
    /// The run.
    pub run: RunContext,
    /// The image.
    pub image_id: ImageId,
    /// Sum of its volumes in GiB.
    pub size_gib: u64,
    /// Format of the file.
    pub format: DiskFormat,
    /// Prefix of its key, ending with a slash.
    #[serde(deserialize_with = "crate::policy::path_in_bucket")]
    pub prefix: String,
    /// Minutes that the wait may last, in place of the budget by size.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline_minutes: Option<u32>,
    /// The task, once there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task_id: Option<String>,
    /// Bucket of the file, once there is a task.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bucket: Option<BucketName>,
    /// The file, once it was seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub object: Option<ObjectFacts>,
    /// Whether the task was there before this step looked.
    #[serde(default)]
    pub adopted: bool,
}

impl ExportSubject {
    /// What tells this export from others of the same run.
    pub fn identity<'a>(&'a self, parameters: &'a str) -> Identity<'a> {
        Identity {
            purpose: crate::naming::Purpose::Export,
            run: &self.run.run,
            source: self.image_id.as_str(),
            region: &self.run.region,
            parameters,
        }
    }

    /// The parameters of its identity.
    pub fn parameters(&self, bucket: &BucketName) -> String {
        format!("{} {bucket} {}", self.format.as_str(), self.prefix)
    }
}

/// What to do about a file that should exist once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ExportStart {
    /// A task of this run is writing it, or has.
    Adopt(ExportTask),
    /// A task of another run is exporting the image, and EC2 exports an image once at a time.
    Busy(ExportTask),
    /// Ask for it under this token.
    Create {
        /// Token of the attempt; also the client token of the call.
        token: String,
    },
}

/// Decides from the export tasks that the account has.
///
/// # Errors
/// `Defect` if attempts cannot be numbered, which cannot be.
pub fn export_start(identity: &Identity<'_>, tasks: &[ExportTask]) -> Result<ExportStart, StepError> {
    for failed in 0..=tasks.len() {
        let token = token(identity, failed);
        match tasks.iter().find(|task| task.tags.get(TAG_TOKEN) == Some(&token)) {
            None => {
                let of_image =
                    |task: &&ExportTask| task.image_id.as_ref().is_some_and(|id| id.as_str() == identity.source);
                let busy = tasks.iter().filter(of_image).find(|task| task.status == "active");
                return Ok(busy.map_or(ExportStart::Create { token }, |task| ExportStart::Busy(task.clone())));
            }
            Some(task) if task.has_failed() => {}
            Some(task) => return Ok(ExportStart::Adopt(task.clone())),
        }
    }
    Err(StepError::new(crate::ErrorName::Defect, "number the attempts", "there are more attempts than tasks"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::naming::Purpose;

    fn task(status: &str, token: &str) -> ExportTask {
        ExportTask {
            task_id: "export-ami-1".into(),
            image_id: None,
            status: status.into(),
            status_message: None,
            progress_percent: None,
            bucket: None,
            prefix: Some("exports/".into()),
            tags: [(TAG_TOKEN.to_owned(), token.to_owned())].into(),
        }
    }

    #[test]
    fn a_deleted_task_has_failed_and_is_followed_by_another() -> Result<(), StepError> {
        let region = "us-east-1".parse().unwrap_or_else(|_| unreachable!());
        let identity =
            Identity { purpose: Purpose::Export, run: "r", source: "ami-12345678", region: &region, parameters: "" };
        let first = token(&identity, 0);
        let second = token(&identity, 1);
        assert_eq!(export_start(&identity, &[])?, ExportStart::Create { token: first.clone() });
        assert_eq!(export_start(&identity, &[task("deleted", &first)])?, ExportStart::Create { token: second });
        for status in ["active", "completed"] {
            assert!(matches!(export_start(&identity, &[task(status, &first)])?, ExportStart::Adopt(_)));
        }
        Ok(())
    }

    #[test]
    fn an_image_is_exported_once_at_a_time() -> Result<(), StepError> {
        let region = "us-east-1".parse().unwrap_or_else(|_| unreachable!());
        let identity =
            Identity { purpose: Purpose::Export, run: "r", source: "ami-12345678", region: &region, parameters: "" };
        let of = |id: &str, status: &str| ExportTask { image_id: id.parse().ok(), ..task(status, "another's") };
        let busy = of("ami-12345678", "active");
        assert_eq!(export_start(&identity, std::slice::from_ref(&busy))?, ExportStart::Busy(busy));
        for other in [of("ami-12345678", "completed"), of("ami-87654321", "active"), task("active", "another's")] {
            assert!(matches!(export_start(&identity, &[other])?, ExportStart::Create { .. }));
        }
        Ok(())
    }

    #[test]
    fn a_file_of_another_format_bucket_or_prefix_is_another_file() {
        let bucket = |name: &str| name.parse::<BucketName>().unwrap_or_else(|_| unreachable!());
        let subject = |format, prefix: &str| ExportSubject {
            run: crate::item::test_run(),
            image_id: "ami-12345678".parse().unwrap_or_else(|_| unreachable!()),
            size_gib: 8,
            format,
            prefix: prefix.into(),
            deadline_minutes: None,
            task_id: None,
            bucket: None,
            object: None,
            adopted: false,
        };
        let files = [
            (subject(DiskFormat::Vmdk, "exports/"), bucket("backups")),
            (subject(DiskFormat::Raw, "exports/"), bucket("backups")),
            (subject(DiskFormat::Vmdk, "vm/"), bucket("backups")),
            (subject(DiskFormat::Vmdk, "exports/"), bucket("backups-2")),
        ];
        let tokens: std::collections::BTreeSet<String> =
            files.iter().map(|(subject, bucket)| token(&subject.identity(&subject.parameters(bucket)), 0)).collect();
        assert_eq!(tokens.len(), files.len());
    }

    #[test]
    fn the_key_has_nothing_between_prefix_and_task() {
        assert_eq!(task("completed", "t").key(DiskFormat::Vmdk), "exports/export-ami-1.vmdk");
    }
}
