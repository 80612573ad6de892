//! Owns the account file: what the simulated world holds when it starts, and how it behaves.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

mod choices;
mod references;
mod retention;
mod scaling;
mod templates;
pub use choices::{Choices, DescribedBucket, RoleNeeds, SecondStore, StoredBytes};
pub use references::{Recipe, SsmParameter};
pub use retention::{BinnedType, LockMode, RecycleBinRule, SnapshotLock, StorageTier};
pub use scaling::{
    AutoScalingGroup, Fleet, LaunchConfiguration, SpotFleet, SpotLaunch, TemplateOverride, TemplateSpecification,
    TemplateWithOverrides,
};
pub use templates::{LaunchTemplate, LaunchTemplateVersion};

/// The whole account file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AccountFile {
    /// Region that the demo and the events call home.
    pub home: String,
    /// How fast things go, and what undocumented behaviour is chosen.
    #[serde(default)]
    pub settings: Settings,
    /// The accounts; the first is the one of callers with an unknown access key.
    pub accounts: Vec<Account>,
}

/// How the world behaves.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Settings {
    /// Where the row of new ids starts: the same seed and the same calls give the same ids.
    pub seed: u64,
    /// Written MiB that CreateImage and CreateSnapshot finish per second.
    pub image_mib_per_second: u64,
    /// Written MiB that a store task moves per second.
    pub store_mib_per_second: u64,
    /// Written MiB that a restore moves per second.
    pub restore_mib_per_second: u64,
    /// Written MiB that a copy moves per second.
    pub copy_mib_per_second: u64,
    /// Written MiB that an export converts per second.
    pub export_mib_per_second: u64,
    /// No task is shorter than this, in milliseconds.
    pub minimum_task_ms: u64,
    /// How long a new thing stays invisible, in milliseconds.
    pub consistency_delay_ms: u64,
    /// Whether calls beyond EC2's request rates are refused.
    pub api_buckets: bool,
    /// How long each answer takes, in milliseconds.
    pub latency_ms: u64,
    /// How long RestoreObject of an archived object takes, in milliseconds. Absent: the hours that
    /// AWS documents.
    pub thaw_ms: Option<u64>,
    /// How long an instance is `pending` or `shutting-down`, in milliseconds.
    pub instance_change_ms: u64,
    /// How long a terminated instance is still listed, in milliseconds.
    pub terminated_stays_ms: u64,
    /// How long a report on the usage of an image is `pending`, in milliseconds.
    pub usage_report_ms: u64,
    /// How old an instance or a version of a launch template must be to be in such a report, in
    /// milliseconds.
    pub usage_lag_ms: u64,
    /// Limits on work in progress and on sizes.
    pub quotas: Quotas,
    /// What happens where AWS documents nothing.
    pub choices: Choices,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            seed: 1,
            image_mib_per_second: 200,
            store_mib_per_second: 200,
            restore_mib_per_second: 200,
            copy_mib_per_second: 200,
            export_mib_per_second: 50,
            minimum_task_ms: 1_000,
            consistency_delay_ms: 0,
            api_buckets: true,
            latency_ms: 0,
            thaw_ms: None,
            instance_change_ms: 30_000,
            terminated_stays_ms: 3_600_000,
            usage_report_ms: 60_000,
            usage_lag_ms: 86_400_000,
            quotas: Quotas::default(),
            choices: Choices::default(),
        }
    }
}

/// Limits, with AWS's defaults (they changed before: the file may set others).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Quotas {
    /// A store is refused while this many gigabytes are being stored.
    pub store_in_progress_gb: u64,
    /// A restore is refused while this many gigabytes are being restored.
    pub restore_in_progress_gb: u64,
    /// Copies of images in progress per destination Region.
    pub concurrent_image_copies: usize,
    /// Exports in progress per Region.
    pub concurrent_exports: usize,
    /// Largest image that can be stored, in gigabytes.
    pub largest_stored_image_gb: u64,
    /// Largest volume that can be exported, in GiB.
    pub largest_exported_volume_gib: u64,
    /// Tags per resource.
    pub tags_per_resource: usize,
    /// How many days a store task can be described.
    pub store_task_history_days: i64,
    /// Reports on the usage of images that are being made, per account and Region.
    pub pending_usage_reports: usize,
}

impl Default for Quotas {
    fn default() -> Self {
        Self {
            store_in_progress_gb: 1_200,
            restore_in_progress_gb: 600,
            concurrent_image_copies: 300,
            concurrent_exports: 5,
            largest_stored_image_gb: 5_000,
            largest_exported_volume_gib: 1_024,
            tags_per_resource: 50,
            store_task_history_days: 31,
            pending_usage_reports: 2_000,
        }
    }
}

/// One account.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Account {
    /// Twelve digits.
    pub id: String,
    /// Access keys that mean this account.
    #[serde(default)]
    pub access_keys: Vec<String>,
    /// Regions that are enabled.
    pub regions: Vec<String>,
    /// Regions that exist and are not enabled.
    #[serde(default)]
    pub disabled_regions: Vec<String>,
    /// Regions in which EBS encryption by default is on.
    #[serde(default)]
    pub encryption_by_default: Vec<String>,
    /// KMS keys that are usable, as ids, aliases or ARNs. Absent: every key is.
    #[serde(default)]
    pub kms_keys: Option<Vec<String>>,
    /// Names of the roles that exist. Absent: every role does.
    #[serde(default)]
    pub roles: Option<Vec<String>>,
    /// Instances.
    #[serde(default)]
    pub instances: Vec<Instance>,
    /// Images, each with its snapshots.
    #[serde(default)]
    pub images: Vec<Image>,
    /// Snapshots that no image uses.
    #[serde(default)]
    pub snapshots: Vec<Snapshot>,
    /// Buckets.
    #[serde(default)]
    pub buckets: Vec<Bucket>,
    /// Export tasks that are over.
    #[serde(default)]
    pub export_tasks: Vec<ExportTask>,
    /// Launch templates.
    #[serde(default)]
    pub launch_templates: Vec<LaunchTemplate>,
    /// Auto Scaling groups.
    #[serde(default)]
    pub auto_scaling_groups: Vec<AutoScalingGroup>,
    /// Launch configurations.
    #[serde(default)]
    pub launch_configurations: Vec<LaunchConfiguration>,
    /// EC2 Fleets.
    #[serde(default)]
    pub fleets: Vec<Fleet>,
    /// Spot Fleet requests.
    #[serde(default)]
    pub spot_fleets: Vec<SpotFleet>,
    /// Parameters of Systems Manager.
    #[serde(default)]
    pub ssm_parameters: Vec<SsmParameter>,
    /// Image recipes of Image Builder.
    #[serde(default)]
    pub image_recipes: Vec<Recipe>,
    /// Container recipes of Image Builder.
    #[serde(default)]
    pub container_recipes: Vec<Recipe>,
    /// Retention rules of the Recycle Bin.
    #[serde(default)]
    pub recycle_bin_rules: Vec<RecycleBinRule>,
}

/// An export task that is over when the world starts. Its file is an object of its bucket, or is not.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ExportTask {
    /// Region it ran in.
    pub region: String,
    /// `export-ami-…`.
    pub id: String,
    /// Image that was exported.
    pub image_id: String,
    /// `VMDK`, `VHD` or `RAW`.
    pub format: String,
    /// Bucket.
    pub bucket: String,
    /// Prefix of the key.
    pub prefix: String,
    /// `completed` or `deleted`.
    pub status: String,
}

/// An instance with its volumes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Instance {
    /// Region it is in.
    pub region: String,
    /// `i-…`.
    pub id: String,
    /// State, e.g. `running`.
    #[serde(default = "running")]
    pub state: String,
    /// Tags.
    #[serde(default)]
    pub tags: BTreeMap<String, String>,
    /// Image that it was launched from.
    #[serde(default)]
    pub image_id: Option<String>,
    /// Type, e.g. `t3.micro`.
    #[serde(default = "small_instance")]
    pub instance_type: String,
    /// When it was launched; absent: when the world started.
    #[serde(default)]
    pub launch_time: Option<Timestamp>,
    /// What the machine is.
    #[serde(flatten)]
    pub machine: Machine,
    /// Volumes attached to it, the root volume first.
    #[serde(default)]
    pub volumes: Vec<Volume>,
}

/// What instances and images have in common.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Machine {
    /// `x86_64`, `arm64`, `i386`…
    pub architecture: String,
    /// `hvm` or `paravirtual`.
    pub virtualization_type: String,
    /// Device name of the root volume; empty: an image has none.
    pub root_device_name: String,
    /// `ebs` or `instance-store`; empty: an image has none.
    pub root_device_type: String,
    /// Whether enhanced networking with ENA is on.
    pub ena_support: bool,
    /// `simple`, or absent.
    pub sriov_net_support: Option<String>,
    /// `legacy-bios`, `uefi`, `uefi-preferred`, or absent.
    pub boot_mode: Option<String>,
    /// `v2.0`, or absent.
    pub tpm_support: Option<String>,
    /// `v2.0`, or absent.
    pub imds_support: Option<String>,
    /// Base64 of the UEFI variables, or absent.
    pub uefi_data: Option<String>,
    /// Device names of instance-store volumes, mapped as `ephemeral0` and so on.
    pub ephemeral_devices: Vec<String>,
    /// E.g. `Linux/UNIX`.
    pub platform_details: String,
    /// E.g. `RunInstances`.
    pub usage_operation: String,
}

impl Default for Machine {
    fn default() -> Self {
        Self {
            architecture: "x86_64".into(),
            virtualization_type: "hvm".into(),
            root_device_name: "/dev/xvda".into(),
            root_device_type: "ebs".into(),
            ena_support: true,
            sriov_net_support: None,
            boot_mode: None,
            tpm_support: None,
            imds_support: None,
            uefi_data: None,
            ephemeral_devices: Vec::new(),
            platform_details: "Linux/UNIX".into(),
            usage_operation: "RunInstances".into(),
        }
    }
}

/// A volume of an instance, or a device of an image with its snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Volume {
    /// Device name, e.g. `/dev/xvda`.
    pub device: String,
    /// `vol-…`: the volume, or the volume that the snapshot was made from. Absent: made up.
    #[serde(default)]
    pub id: Option<String>,
    /// Size in GiB.
    pub size_gib: u64,
    /// GiB that have been written; absent: half of the size.
    #[serde(default)]
    pub used_gib: Option<u64>,
    /// Whether it is encrypted.
    #[serde(default)]
    pub encrypted: bool,
    /// ARN of the key, of an encrypted one.
    #[serde(default)]
    pub kms_key_id: Option<String>,
    /// `gp3`, `io2`…
    #[serde(default = "general_purpose")]
    pub volume_type: String,
    /// Provisioned operations per second.
    #[serde(default)]
    pub iops: Option<u32>,
    /// Provisioned MiB/s.
    #[serde(default)]
    pub throughput: Option<u32>,
    /// Whether the volume goes with its instance.
    #[serde(default = "yes")]
    pub delete_on_termination: bool,
    /// `snap-…` of an image's device. Absent: made up.
    #[serde(default)]
    pub snapshot_id: Option<String>,
    /// Tags of the snapshot of an image's device.
    #[serde(default)]
    pub snapshot_tags: BTreeMap<String, String>,
    /// Accounts that the snapshot of an image's device is shared with.
    #[serde(default)]
    pub snapshot_permissions: Vec<String>,
    /// Lock on the snapshot of an image's device.
    #[serde(default)]
    pub snapshot_lock: Option<SnapshotLock>,
    /// Tier of the snapshot of an image's device.
    #[serde(default)]
    pub snapshot_storage_tier: StorageTier,
}

/// An image with the snapshots behind it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Image {
    /// Region it is in. Of an image inside a stored object: the Region it was stored in.
    pub region: String,
    /// `ami-…`; `aki-…` and `ari-…` are a kernel and a ramdisk.
    pub id: String,
    /// Name; empty: it has none.
    pub name: String,
    /// Description.
    #[serde(default)]
    pub description: String,
    /// Tags.
    #[serde(default)]
    pub tags: BTreeMap<String, String>,
    /// `available`, `pending` (for ever), `failed`, `disabled`…
    #[serde(default = "available")]
    pub state: String,
    /// Why it failed.
    #[serde(default)]
    pub state_reason: Option<String>,
    /// Accounts that may launch it, or `all`.
    #[serde(default)]
    pub launch_permissions: Vec<String>,
    /// When it was made; absent: a day before the world started.
    #[serde(default)]
    pub creation_date: Option<Timestamp>,
    /// Whether it has no creation date.
    #[serde(default)]
    pub undated: bool,
    /// When it becomes deprecated.
    #[serde(default)]
    pub deprecate_at: Option<Timestamp>,
    /// Whether deregistration protection is on.
    #[serde(default)]
    pub deregistration_protection: bool,
    /// Whether that protection holds for 24 hours after it is switched off.
    #[serde(default)]
    pub deregistration_cooldown: bool,
    /// When it was last launched, as its owner is told at once; absent: never.
    #[serde(default)]
    pub last_launched_time: Option<Timestamp>,
    /// Product codes.
    #[serde(default)]
    pub product_codes: Vec<String>,
    /// `amazon`, `aws-marketplace` or `aws-backup-vault`, or absent.
    #[serde(default)]
    pub image_owner_alias: Option<String>,
    /// Instance it was made from.
    #[serde(default)]
    pub source_instance_id: Option<String>,
    /// Image it was copied or restored from.
    #[serde(default)]
    pub source_image_id: Option<String>,
    /// Region of that image; absent: the Region of this one.
    #[serde(default)]
    pub source_image_region: Option<String>,
    /// What the machine is.
    #[serde(flatten)]
    pub machine: Machine,
    /// Devices, the root device first.
    #[serde(default)]
    pub volumes: Vec<Volume>,
}

/// A snapshot that no image uses.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Snapshot {
    /// Region it is in.
    pub region: String,
    /// `snap-…`.
    pub id: String,
    /// Description.
    #[serde(default)]
    pub description: String,
    /// Tags.
    #[serde(default)]
    pub tags: BTreeMap<String, String>,
    /// Volume it was made from; absent: made up.
    #[serde(default)]
    pub volume_id: Option<String>,
    /// Size of that volume in GiB.
    pub size_gib: u64,
    /// GiB that have been written; absent: half of the size.
    #[serde(default)]
    pub used_gib: Option<u64>,
    /// Whether it is encrypted.
    #[serde(default)]
    pub encrypted: bool,
    /// ARN of the key, of an encrypted one.
    #[serde(default)]
    pub kms_key_id: Option<String>,
    /// When it was started; absent: a day before the world started.
    #[serde(default)]
    pub start_time: Option<Timestamp>,
    /// Accounts that it is shared with, or `all`.
    #[serde(default)]
    pub permissions: Vec<String>,
    /// Lock.
    #[serde(default)]
    pub lock: Option<SnapshotLock>,
    /// Tier.
    #[serde(default)]
    pub storage_tier: StorageTier,
}

/// A bucket with what is in it at the start.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Bucket {
    /// Name.
    pub name: String,
    /// Region it is in.
    pub region: String,
    /// Default encryption: `AES256` or `aws:kms`.
    #[serde(default = "sse_s3")]
    pub encryption: String,
    /// Objects.
    #[serde(default)]
    pub objects: Vec<Object>,
}

/// An object that is there at the start.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Object {
    /// Key.
    pub key: String,
    /// What it is made of.
    #[serde(default)]
    pub kind: ObjectKind,
    /// Of a stored image: the image, one of this account in the file, or one that is gone.
    #[serde(default)]
    pub image_id: Option<String>,
    /// Of a stored image that is gone: what it was. Absent: an image of 8 GiB named after its id.
    #[serde(default)]
    pub image: Option<Image>,
    /// Of text: the text.
    #[serde(default)]
    pub text: Option<String>,
    /// Storage class, e.g. `STANDARD` or `DEEP_ARCHIVE`.
    #[serde(default = "standard")]
    pub storage_class: String,
    /// Object tags.
    #[serde(default)]
    pub tags: BTreeMap<String, String>,
}

/// What an object is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ObjectKind {
    /// What CreateStoreImageTask writes.
    #[default]
    StoredImage,
    /// Any text.
    Text,
}

fn running() -> String {
    "running".into()
}

fn small_instance() -> String {
    "t3.micro".into()
}

fn general_purpose() -> String {
    "gp3".into()
}

fn available() -> String {
    "available".into()
}

fn sse_s3() -> String {
    "AES256".into()
}

fn standard() -> String {
    "STANDARD".into()
}

fn yes() -> bool {
    true
}
