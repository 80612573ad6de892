//! Owns the nouns of the world: what an image, a snapshot, an instance and a task are.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};

use super::bin::Binned;
use super::lock::Lock;
use super::templates::LaunchTemplate;
use super::timed::Timed;
use super::usage::UsageReport;
use super::uses::{Owned, Uses};
use crate::account::{Account, Machine, RecycleBinRule, Settings, StorageTier};
use crate::objects::StoredObject;

/// Bytes of one GiB.
pub const GIB: u64 = 1 << 30;

/// Bytes of one GB, the unit of the quotas on work in progress.
pub const GB: u64 = 1_000_000_000;

/// How late the owner of an image is told that it was launched.
const LAUNCH_IS_TOLD_AFTER: SignedDuration = SignedDuration::from_hours(24);

/// Description of a snapshot that AWS Backup made.
const BACKUP_DESCRIPTION: &str = "This snapshot is created by the AWS Backup service.";

/// Tags of a resource.
pub type Tags = BTreeMap<String, String>;

/// Work that takes time, and how it will end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Work {
    /// What is going on.
    pub kind: WorkKind,
    /// When it began.
    pub started: Timestamp,
    /// When it ends.
    pub ends: Timestamp,
    /// Bytes that count against a quota while it runs.
    pub quota_bytes: u64,
    /// Why it will fail; `None`: it will succeed.
    pub fail: Option<String>,
}

/// What makes an image or a snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WorkKind {
    /// CreateImage or CreateSnapshot.
    Create,
    /// CopyImage.
    Copy,
    /// CreateRestoreImageTask.
    Restore,
}

/// How far `now` is on the way from `started` to `ends`: 0 to 99 while it runs.
pub fn progress(started: Timestamp, ends: Timestamp, now: Timestamp) -> i128 {
    let whole = ends.duration_since(started).as_millis().max(1);
    let done = now.duration_since(started).as_millis().max(0);
    (done * 100 / whole).min(99)
}

/// How long `bytes` take at `mib_per_second`, and never less than the settings' minimum.
pub fn duration(settings: &Settings, bytes: u64, mib_per_second: u64) -> SignedDuration {
    let per_second = u128::from(mib_per_second.max(1)) << 20;
    let milliseconds = u128::from(bytes) * 1_000 / per_second;
    let milliseconds = milliseconds.max(u128::from(settings.minimum_task_ms));
    SignedDuration::from_millis(i64::try_from(milliseconds).unwrap_or(i64::MAX / 2))
}

/// `at` plus `by`, at the end of time if there is no such moment.
pub fn later(at: Timestamp, by: SignedDuration) -> Timestamp {
    at.checked_add(by).unwrap_or(Timestamp::MAX)
}

/// A device of an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Device {
    /// Device name.
    pub name: String,
    /// Snapshot behind it.
    pub snapshot_id: String,
    /// Size in GiB of the volume made from it.
    pub size_gib: u64,
    /// `gp3`, …
    pub volume_type: String,
    /// Provisioned operations per second.
    pub iops: Option<u32>,
    /// Provisioned MiB/s.
    pub throughput: Option<u32>,
    /// Whether the volume goes with its instance.
    pub delete_on_termination: bool,
    /// Whether it is encrypted.
    pub encrypted: bool,
}

/// Deregistration protection of an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protection {
    /// Off.
    Off,
    /// On.
    On,
    /// On, and in force for 24 hours after it is switched off.
    OnWithCooldown,
    /// Switched off, and in force until then.
    Until(Timestamp),
}

impl Protection {
    /// As DescribeImages shows it.
    pub fn text(self, now: Timestamp) -> String {
        match self {
            Self::On => "enabled-without-cooldown".into(),
            Self::OnWithCooldown => "enabled-with-cooldown".into(),
            Self::Until(end) if now < end => format!("disabled-after {end}"),
            Self::Off | Self::Until(_) => "disabled".into(),
        }
    }

    /// Whether it keeps the image from being deregistered.
    pub fn in_force(self, now: Timestamp) -> bool {
        match self {
            Self::On | Self::OnWithCooldown => true,
            Self::Until(end) => now < end,
            Self::Off => false,
        }
    }
}

/// An image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// `ami-…`.
    pub id: String,
    /// Account that owns it.
    pub account: String,
    /// Region it is in.
    pub region: String,
    /// Name.
    pub name: String,
    /// Description.
    pub description: String,
    /// Tags of the owner.
    pub tags: Tags,
    /// `pending`, `available`, `failed`, `disabled`…
    pub state: String,
    /// Code and message of a failure.
    pub state_reason: Option<(String, String)>,
    /// Accounts that may launch it, or `all`.
    pub launch_permissions: BTreeSet<String>,
    /// When it was made; the beginning of time: nothing says it.
    pub created: Timestamp,
    /// When it becomes deprecated.
    pub deprecate_at: Option<Timestamp>,
    /// Deregistration protection.
    pub protection: Protection,
    /// When it was last launched, as far as its owner is told at once.
    pub last_launched: Option<Timestamp>,
    /// When it was launched since, which its owner is told a day later.
    pub launches: Vec<Timestamp>,
    /// Product codes.
    pub product_codes: Vec<String>,
    /// `aws-backup-vault` or another name of its owner.
    pub owner_alias: Option<String>,
    /// Instance it was made from.
    pub source_instance_id: Option<String>,
    /// Image it was copied or restored from, and that image's Region.
    pub source_image: Option<(String, String)>,
    /// What the machine is.
    pub machine: Machine,
    /// Devices, the root device first.
    pub devices: Vec<Device>,
    /// Nobody sees it before.
    pub visible_at: Timestamp,
    /// What is making it.
    pub work: Option<Work>,
}

impl Image {
    /// Whether `account` sees it at `now`: it owns it, may launch it, or everybody may.
    pub fn visible_to(&self, account: &str, now: Timestamp) -> bool {
        now >= self.visible_at && (self.account == account || self.shared_with(account) || self.is_public())
    }

    /// Whether it is shared with `account` by name.
    pub fn shared_with(&self, account: &str) -> bool {
        self.launch_permissions.contains(account)
    }

    /// `machine`, `kernel` or `ramdisk`.
    pub fn kind(&self) -> &'static str {
        match self.id.split_once('-') {
            Some(("aki", _)) => "kernel",
            Some(("ari", _)) => "ramdisk",
            _ => "machine",
        }
    }

    /// Whether everybody may launch it.
    pub fn is_public(&self) -> bool {
        self.launch_permissions.contains("all")
    }

    /// When it was last launched, as far as its owner is told at `now`.
    pub fn last_launch_told(&self, now: Timestamp) -> Option<Timestamp> {
        let told = |launch: &&Timestamp| later(**launch, LAUNCH_IS_TOLD_AFTER) <= now;
        self.launches.iter().filter(told).copied().chain(self.last_launched).max()
    }

    /// Whether AWS Backup manages it.
    pub fn is_of_aws_backup(&self) -> bool {
        self.owner_alias.as_deref() == Some("aws-backup-vault") || has_backup_tag(&self.tags)
    }
}

fn has_backup_tag(tags: &Tags) -> bool {
    tags.keys().any(|key| key.starts_with("aws:backup:"))
}

/// A snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// `snap-…`.
    pub id: String,
    /// Account that owns it.
    pub account: String,
    /// Region it is in.
    pub region: String,
    /// Description.
    pub description: String,
    /// Tags of the owner.
    pub tags: Tags,
    /// Volume it was made from (`vol-ffffffff` of a copy).
    pub volume_id: String,
    /// Size of that volume in GiB.
    pub size_gib: u64,
    /// Bytes that have been written.
    pub used_bytes: u64,
    /// Whether it is encrypted.
    pub encrypted: bool,
    /// ARN of its key.
    pub kms_key_id: Option<String>,
    /// When it was started.
    pub started: Timestamp,
    /// When it was complete.
    pub completed: Option<Timestamp>,
    /// `pending`, `completed` or `error`.
    pub state: String,
    /// Why it failed.
    pub state_message: Option<String>,
    /// Accounts that may make volumes of it, or `all`.
    pub volume_permissions: BTreeSet<String>,
    /// Lock, in force or not.
    pub lock: Option<Lock>,
    /// Where its blocks are.
    pub tier: StorageTier,
    /// Nobody sees it before.
    pub visible_at: Timestamp,
    /// What is making it.
    pub work: Option<Work>,
}

impl Snapshot {
    /// Whether `account` sees it at `now`.
    pub fn visible_to(&self, account: &str, now: Timestamp) -> bool {
        now >= self.visible_at && (self.usable_by(account) || self.volume_permissions.contains("all"))
    }

    /// Whether `account` owns it or it is shared with it by name.
    pub fn usable_by(&self, account: &str) -> bool {
        self.account == account || self.volume_permissions.contains(account)
    }

    /// Whether a lock keeps it from being deleted.
    pub fn is_locked(&self, now: Timestamp) -> bool {
        self.lock.as_ref().is_some_and(|lock| lock.in_force(now))
    }

    /// Whether AWS Backup manages it.
    pub fn is_of_aws_backup(&self) -> bool {
        self.description == BACKUP_DESCRIPTION || has_backup_tag(&self.tags)
    }
}

/// A volume.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Volume {
    /// `vol-…`.
    pub id: String,
    /// Device name at its instance.
    pub device: String,
    /// Size in GiB.
    pub size_gib: u64,
    /// Bytes that have been written.
    pub used_bytes: u64,
    /// Whether it is encrypted.
    pub encrypted: bool,
    /// ARN of its key.
    pub kms_key_id: Option<String>,
    /// `gp3`, …
    pub volume_type: String,
    /// Provisioned operations per second.
    pub iops: Option<u32>,
    /// Provisioned MiB/s.
    pub throughput: Option<u32>,
    /// Whether it goes with its instance.
    pub delete_on_termination: bool,
    /// Tags.
    pub tags: Tags,
}

/// An instance with its volumes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Instance {
    /// `i-…`.
    pub id: String,
    /// Account that owns it.
    pub account: String,
    /// Region it is in.
    pub region: String,
    /// `running`, `stopped`…
    pub state: String,
    /// Tags.
    pub tags: Tags,
    /// Image it was launched from.
    pub image_id: String,
    /// Type, e.g. `t3.micro`.
    pub instance_type: String,
    /// When it was launched.
    pub launched: Timestamp,
    /// What the machine is.
    pub machine: Machine,
    /// Volumes, the root volume first.
    pub volumes: Vec<Volume>,
    /// How often CreateImage has rebooted it.
    pub reboots: u32,
    /// What becomes of it, and when.
    pub change: Option<InstanceChange>,
    /// Nobody sees it before.
    pub visible_at: Timestamp,
}

/// What becomes of an instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InstanceChange {
    /// When.
    pub at: Timestamp,
    /// State that it gets; `None`: it is forgotten.
    pub to: Option<String>,
}

/// A store task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreTask {
    /// Number of the task, in the order of their start.
    pub number: u64,
    /// Account that started it.
    pub account: String,
    /// Region it runs in.
    pub region: String,
    /// Image that is stored.
    pub image_id: String,
    /// Plain name of the bucket.
    pub bucket: String,
    /// The bucket as the call gave it: maybe with a path.
    pub bucket_as_given: String,
    /// Whole key.
    pub key: String,
    /// When it began.
    pub started: Timestamp,
    /// When it ends.
    pub ends: Timestamp,
    /// Nobody sees it before.
    pub visible_at: Timestamp,
    /// Bytes that count against the quota while it runs.
    pub quota_bytes: u64,
    /// Snapshots that must be there until the end.
    pub snapshots: Vec<String>,
    /// `InProgress`, `Completed` or `Failed`.
    pub state: String,
    /// Why it failed.
    pub failure: Option<String>,
    /// Why it will fail.
    pub fail: Option<String>,
    /// What will be written.
    pub object: StoredObject,
}

/// An export task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExportTask {
    /// `export-ami-…`.
    pub id: String,
    /// Account that started it.
    pub account: String,
    /// Region it runs in.
    pub region: String,
    /// Image that is exported.
    pub image_id: String,
    /// Description.
    pub description: String,
    /// `VMDK`, `VHD` or `RAW`.
    pub format: String,
    /// Bucket.
    pub bucket: String,
    /// Prefix as the call gave it.
    pub prefix: String,
    /// Key that the file will have.
    pub key: String,
    /// Role.
    pub role: String,
    /// Tags.
    pub tags: Tags,
    /// When it began.
    pub started: Timestamp,
    /// When it ends.
    pub ends: Timestamp,
    /// Nobody sees it before.
    pub visible_at: Timestamp,
    /// `active`, `completed`, `deleting` or `deleted`.
    pub status: String,
    /// Message beside the status.
    pub message: Option<String>,
    /// Why it will fail.
    pub fail: Option<String>,
}

/// An account without its things.
#[derive(Debug, Clone)]
pub(crate) struct Owner {
    pub(crate) id: String,
    pub(crate) regions: Vec<String>,
    pub(crate) disabled_regions: Vec<String>,
    pub(crate) encryption_by_default: BTreeSet<String>,
    pub(crate) kms_keys: Option<Vec<String>>,
    pub(crate) roles: Option<Vec<String>>,
}

impl Owner {
    pub(crate) fn of(account: &Account) -> Self {
        Self {
            id: account.id.clone(),
            regions: account.regions.clone(),
            disabled_regions: account.disabled_regions.clone(),
            encryption_by_default: account.encryption_by_default.iter().cloned().collect(),
            kms_keys: account.kms_keys.clone(),
            roles: account.roles.clone(),
        }
    }
}

/// What a client token was used for.
#[derive(Debug, Clone)]
pub(crate) struct Token {
    pub(crate) parameters: String,
    pub(crate) result: String,
}

/// What is remembered of a deregistered image.
#[derive(Debug, Clone)]
pub(crate) struct GoneImage {
    pub(crate) account: String,
    pub(crate) region: String,
    pub(crate) name: String,
    pub(crate) at: Timestamp,
}

/// Everything that changes.
#[derive(Debug, Default)]
pub(crate) struct State {
    pub(crate) accounts: Vec<Owner>,
    pub(crate) instances: Timed<Instance>,
    pub(crate) images: Timed<Image>,
    /// Deregistered images.
    pub(crate) gone_images: BTreeMap<String, GoneImage>,
    pub(crate) snapshots: Timed<Snapshot>,
    pub(crate) bin_rules: Vec<Owned<RecycleBinRule>>,
    pub(crate) binned_images: BTreeMap<String, Binned<Image>>,
    pub(crate) binned_snapshots: BTreeMap<String, Binned<Snapshot>>,
    pub(crate) templates: BTreeMap<String, LaunchTemplate>,
    pub(crate) usage_reports: BTreeMap<String, UsageReport>,
    pub(crate) uses: Uses,
    pub(crate) store_tasks: Vec<StoreTask>,
    pub(crate) exports: BTreeMap<String, ExportTask>,
    /// By account, Region, action and token.
    pub(crate) tokens: BTreeMap<[String; 4], Token>,
    /// API buckets by account, Region and action: thousandths of a token, and when that was so.
    pub(crate) buckets: BTreeMap<[String; 3], (i128, Timestamp)>,
    /// Ids given so far.
    pub(crate) counter: u64,
    /// Requests answered so far.
    pub(crate) requests: u64,
    pub(crate) seed: u64,
}

impl State {
    /// A new id with `prefix`, 17 hexadecimal digits long.
    pub(crate) fn new_id(&mut self, prefix: &str) -> String {
        self.counter += 1;
        format!("{prefix}-{}", &self.digits("id", self.counter)[..17])
    }

    /// A new request id.
    pub(crate) fn request_id(&mut self) -> String {
        self.requests += 1;
        let digits = self.digits("request", self.requests);
        format!("{}-{}-4{}-8{}-{}", &digits[..8], &digits[8..12], &digits[12..15], &digits[15..18], &digits[18..30])
    }

    fn digits(&self, of: &str, number: u64) -> String {
        hex(format!("{}/{of}/{number}", self.seed).as_bytes())
    }

    /// The account; an account that the file does not list is like the first one, without its things.
    pub(crate) fn owner(&self, account: &str) -> Option<&Owner> {
        self.accounts.iter().find(|owner| owner.id == account).or(self.accounts.first())
    }

    /// Images that use the snapshot.
    pub(crate) fn users_of(&self, snapshot: &str) -> Vec<&Image> {
        let uses = |image: &&Image| image.devices.iter().any(|device| device.snapshot_id == snapshot);
        self.images.values().filter(uses).collect()
    }

    /// Bytes written on all snapshots of the image.
    pub(crate) fn used_bytes(&self, image: &Image) -> u64 {
        let snapshots = image.devices.iter().filter_map(|device| self.snapshots.get(&device.snapshot_id));
        snapshots.map(|snapshot| snapshot.used_bytes).sum()
    }

    /// ARN of the key that `account` uses in `region` when it names none.
    pub(crate) fn default_key(account: &str, region: &str) -> String {
        let digits = hex(format!("{account}/{region}").as_bytes());
        format!("arn:aws:kms:{region}:{account}:key/00000000-0000-4000-8000-{}", &digits[..12])
    }
}

/// SHA-256 of `bytes`, in 64 hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    use sha2::{Digest, Sha256};
    use std::fmt::Write;
    let mut text = String::new();
    for byte in Sha256::digest(bytes) {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}
