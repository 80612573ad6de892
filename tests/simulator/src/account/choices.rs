//! Owns the choices: what the simulator does where AWS documents nothing.

use serde::{Deserialize, Serialize};

/// One field per behaviour that AWS does not document. Random runs draw these, and the product's
/// rules must hold under all of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Choices {
    /// Code of a store above the gigabytes in progress.
    pub store_over_quota_code: String,
    /// Code of a restore above the gigabytes in progress.
    pub restore_over_quota_code: String,
    /// What "GB of snapshot data" counts.
    pub gigabytes_count: StoredBytes,
    /// Whether the gigabytes in progress are counted per Region (else over the whole account).
    pub quotas_per_region: bool,
    /// A second store of the same image to the same place.
    pub second_store: SecondStore,
    /// Code of a second store that is refused.
    pub second_store_code: String,
    /// Whether "one copy per bucket" means one per key (else a path changes nothing).
    pub second_store_per_key: bool,
    /// How the bucket of a store with a path is described.
    pub described_bucket: DescribedBucket,
    /// Code of a store or restore whose bucket does not exist.
    pub missing_bucket_code: String,
    /// Code of a store or restore whose bucket is in another Region.
    pub bucket_elsewhere_code: String,
    /// Code of a restore whose object does not exist.
    pub missing_object_code: String,
    /// Code of a restore from an object that is archived and not thawed.
    pub archived_object_code: String,
    /// Code of a store of an image that cannot be stored (instance store, paravirtual, too large,
    /// merely public).
    pub unstorable_image_code: String,
    /// Code of a store, copy or export of an image that is not `available`.
    pub image_not_available_code: String,
    /// Code of an image that was deregistered: `InvalidAMIID.NotFound` or `InvalidAMIID.Unavailable`.
    pub deregistered_image_code: String,
    /// Code of DeregisterImage while protection is on.
    pub protected_image_code: String,
    /// How long the name of a deregistered image stays taken, in milliseconds.
    pub name_stays_taken_ms: u64,
    /// Whether CopyImage accepts a name that is taken.
    pub copy_may_share_name: bool,
    /// Whether a copy made without a description gets that of its source (else it has none).
    pub copy_keeps_description: bool,
    /// Code of a copy above the number of concurrent copies.
    pub copy_over_limit_code: String,
    /// Code of an export above the number of concurrent exports.
    pub export_over_limit_code: String,
    /// Code of a second export of the same image while the first runs.
    pub export_busy_image_code: String,
    /// Whether a restored image keeps its boot mode.
    pub restore_keeps_boot_mode: bool,
    /// Whether a restored image keeps its TPM support.
    pub restore_keeps_tpm_support: bool,
    /// Whether a restored image keeps its IMDS support.
    pub restore_keeps_imds_support: bool,
    /// Whether a restored image keeps its UEFI data.
    pub restore_keeps_uefi_data: bool,
    /// Whether a restored image keeps its deprecation date.
    pub restore_keeps_deprecation: bool,
    /// Whether snapshots restored from an encrypted image are encrypted although encryption by
    /// default is off.
    pub restore_keeps_encryption: bool,
    /// Description of restored snapshots; `{image}` stands for the new image.
    pub restored_snapshot_description: String,
    /// Which of the 18 actions of store and restore the caller of one of them needs.
    pub store_and_restore_need: RoleNeeds,
    /// Code of a call that resolves an alias whose parameter the caller may not read.
    pub alias_denied_code: String,
    /// Code of a call that resolves an alias whose parameter does not exist.
    pub alias_missing_code: String,
    /// Whether the filter `image-id` of DescribeLaunchTemplateVersions sees what `ResolveAlias` shows
    /// (else the alias).
    pub alias_filter_resolves: bool,
    /// Code of DescribeStoreImageTasks by the id of an image that was never stored; `None`: no tasks.
    pub never_stored_code: Option<String>,
    /// Whether a listing of snapshots by a filter, without an owner, begins with a page that is empty.
    pub empty_first_page: bool,
    /// Code of DeleteSnapshot on a locked snapshot, and of a change of its lock that is not allowed.
    pub locked_snapshot_code: String,
    /// Code of the deletion by EC2 of what AWS Backup manages.
    pub backup_managed_code: String,
    /// Code of RestoreImageFromRecycleBin while a snapshot of the image is not there.
    pub restore_without_snapshots_code: String,
    /// Code of a second report on the usage of an image while the first is being made.
    pub second_usage_report_code: String,
    /// Whether such a report counts what the owner of the image has (else only other accounts).
    pub usage_report_counts_owner: bool,
}

impl Default for Choices {
    fn default() -> Self {
        Self {
            store_over_quota_code: "ResourceLimitExceeded".into(),
            restore_over_quota_code: "ResourceLimitExceeded".into(),
            gigabytes_count: StoredBytes::Written,
            quotas_per_region: true,
            second_store: SecondStore::Refused,
            second_store_code: "InvalidRequest".into(),
            second_store_per_key: true,
            described_bucket: DescribedBucket::Name,
            missing_bucket_code: "NoSuchBucket".into(),
            bucket_elsewhere_code: "InvalidParameterValue".into(),
            missing_object_code: "NoSuchKey".into(),
            archived_object_code: "InvalidObjectState".into(),
            unstorable_image_code: "InvalidRequest".into(),
            image_not_available_code: "InvalidAMIID.Unavailable".into(),
            deregistered_image_code: "InvalidAMIID.NotFound".into(),
            protected_image_code: "OperationNotPermitted".into(),
            name_stays_taken_ms: 0,
            copy_may_share_name: true,
            copy_keeps_description: true,
            copy_over_limit_code: "ResourceLimitExceeded".into(),
            export_over_limit_code: "ResourceLimitExceeded".into(),
            export_busy_image_code: "NotExportable".into(),
            restore_keeps_boot_mode: true,
            restore_keeps_tpm_support: true,
            restore_keeps_imds_support: true,
            restore_keeps_uefi_data: true,
            restore_keeps_deprecation: false,
            restore_keeps_encryption: false,
            restored_snapshot_description: String::new(),
            store_and_restore_need: RoleNeeds::Everything,
            alias_denied_code: "SsmAccessDenied".into(),
            alias_missing_code: "SsmInvalidParameter".into(),
            alias_filter_resolves: false,
            never_stored_code: None,
            empty_first_page: false,
            locked_snapshot_code: "OperationNotPermitted".into(),
            backup_managed_code: "InvalidParameterValue".into(),
            restore_without_snapshots_code: "InvalidSnapshot.NotFound".into(),
            second_usage_report_code: "ResourceLimitExceeded".into(),
            usage_report_counts_owner: true,
        }
    }
}

/// What "GB of snapshot data" counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum StoredBytes {
    /// The blocks that have been written.
    Written,
    /// The size of the volumes.
    Volume,
}

/// A second store of the same image to the same place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum SecondStore {
    /// The call is refused while an object or a running task is there.
    Refused,
    /// A second task runs and overwrites the object.
    Overwrites,
}

/// How the bucket of a store with a path is described.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum DescribedBucket {
    /// `bucket`, with the path in the key.
    Name,
    /// `bucket/path`, and the path in the key as well.
    Path,
}

/// Which actions the caller of a store or a restore needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum RoleNeeds {
    /// All that AWS's example policy lists, for both.
    Everything,
    /// Only those that the work in question can have a use for.
    ItsHalf,
}
