//! Owns the policy: what a person or a schedule may ask for, and what that means in full.
//!
//! The first step of a run reads it; from there on every field is known to be good. Policy is data, so
//! one deployment serves many policies.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{self, Visitor},
};
use serde_json::Value;

use crate::{
    error::StepError,
    id::{BucketName, ImageId, InstanceId, Region},
    input,
    naming::{LONGEST_IMAGE_NAME, NEVER, PAPERS, TAG_MANAGED, allowed_in_image_name},
    settings::Settings,
    text::shown,
};

/// EventBridge Scheduler replaces this in its input. Unreplaced, every run would be the same run.
const UNREPLACED_TIME: &str = "<aws.scheduler.scheduled-time>";

/// Room for the hyphen and the digits that [`crate::naming::image_name`] adds.
const NAME_SUFFIX: usize = 13;

/// The longest run, so that it fits a tag value with room to spare.
pub(crate) const LONGEST_RUN: usize = 128;

/// The format of a VM file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum DiskFormat {
    /// Stream-optimised VMDK, for ESX and vSphere.
    Vmdk,
    /// VHD, for Xen and Hyper-V.
    Vhd,
    /// The bare bytes.
    Raw,
}

impl DiskFormat {
    /// As the API spells it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Vmdk => "VMDK",
            Self::Vhd => "VHD",
            Self::Raw => "RAW",
        }
    }

    /// The extension that ExportImage gives the file.
    pub const fn extension(self) -> &'static str {
        match self {
            Self::Vmdk => "vmdk",
            Self::Vhd => "vhd",
            Self::Raw => "raw",
        }
    }
}

/// What a copy loses and the policy wants back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum CarryOver {
    /// Who may launch it.
    LaunchPermissions,
    /// When it is deprecated.
    Deprecation,
    /// Whether it may be deregistered.
    DeregistrationProtection,
}

/// How long what a run makes is kept, where its policy says so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeepDays {
    /// So many days from the first start of the run.
    Days(u32),
    /// For ever.
    Never,
}

impl Serialize for KeepDays {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Days(days) => serializer.serialize_u32(*days),
            Self::Never => serializer.serialize_str(NEVER),
        }
    }
}

impl<'de> Deserialize<'de> for KeepDays {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Read;
        impl Visitor<'_> for Read {
            type Value = KeepDays;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a whole number of days, at least 1, or `never`")
            }

            fn visit_u64<E: de::Error>(self, days: u64) -> Result<KeepDays, E> {
                match u32::try_from(days) {
                    Ok(0) | Err(_) => Err(E::invalid_value(de::Unexpected::Unsigned(days), &self)),
                    Ok(days) => Ok(KeepDays::Days(days)),
                }
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<KeepDays, E> {
                if text == NEVER {
                    Ok(KeepDays::Never)
                } else {
                    Err(E::invalid_value(de::Unexpected::Str(text), &self))
                }
            }
        }
        deserializer.deserialize_any(Read)
    }
}

/// What may be asked for, as it comes in.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct BackupInput {
    image_ids: Vec<ImageId>,
    instance_ids: Vec<InstanceId>,
    tags: BTreeMap<String, Vec<String>>,
    run: Option<String>,
    scheduled_time: Option<String>,
    policy: Option<String>,
    store: Option<bool>,
    bucket: Option<BucketName>,
    store_prefix: Option<String>,
    copy_to: Vec<Region>,
    kms_keys: BTreeMap<Region, String>,
    export: Option<ExportInput>,
    reboot: bool,
    name: Option<String>,
    keep_days: Option<KeepDays>,
    carry_over: Option<BTreeSet<CarryOver>>,
    deadline_minutes: Option<u32>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct ExportInput {
    format: DiskFormat,
    prefix: Option<String>,
}

/// Which instances and images a run is about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Selector {
    /// Images by id.
    pub image_ids: BTreeSet<ImageId>,
    /// Instances by id.
    pub instance_ids: BTreeSet<InstanceId>,
    /// Instances and images of the account that carry, for every key, one of its values.
    pub tags: BTreeMap<String, Vec<String>>,
}

/// Store each image as one object in S3.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct StorePolicy {
    /// The bucket, in the home Region.
    pub bucket: BucketName,
    /// Path in the bucket: empty, or ending with a slash.
    #[serde(deserialize_with = "path_in_bucket")]
    pub prefix: String,
}

/// Copy each image to a Region.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CopyPolicy {
    /// The Region.
    pub region: Region,
    /// Key of that Region with which the copy is encrypted; `None` leaves encryption as EC2 does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kms_key_id: Option<String>,
}

/// Export each image as a VM file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ExportPolicy {
    /// Format of the file.
    pub format: DiskFormat,
    /// Prefix of its key, ending with a slash: ExportImage inserts none.
    #[serde(deserialize_with = "path_in_bucket")]
    pub prefix: String,
}

/// A policy in full: nothing is left to default.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct BackupPolicy {
    /// Name of the policy.
    #[serde(deserialize_with = "label")]
    pub name: String,
    /// Whether and where images are stored.
    pub store: Option<StorePolicy>,
    /// Where copies go.
    pub copies: Vec<CopyPolicy>,
    /// Whether and how images are exported.
    pub export: Option<ExportPolicy>,
    /// Whether an instance is rebooted for a consistent image.
    pub reboot: bool,
    /// What names of made images begin with.
    pub image_name: String,
    /// How long what the run makes is kept; `None` leaves it to the retention of a clean-up.
    pub keep_days: Option<KeepDays>,
    /// What is put back on a copy.
    pub carry_over: BTreeSet<CarryOver>,
    /// Minutes that each wait may last, in place of the budget by size.
    pub deadline_minutes: Option<u32>,
}

impl BackupPolicy {
    /// Whether there is anything to do with an image that exists.
    pub fn has_legs(&self) -> bool {
        self.store.is_some() || !self.copies.is_empty() || self.export.is_some()
    }
}

/// What a run was asked to do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RunRequest {
    /// Identity of the run.
    #[serde(deserialize_with = "label")]
    pub run: String,
    /// Whether a schedule asked. Nobody is there then to correct the input, and a Region that has been
    /// disabled costs its own copies only.
    pub scheduled: bool,
    /// What it is about.
    pub selector: Selector,
    /// What to do.
    pub policy: BackupPolicy,
}

/// Reads what a run was asked to do. `keys` are the stack's, with which copies in a Region are encrypted.
///
/// # Errors
/// `InvalidInput` with the path of the field.
pub fn run_request(
    value: Value,
    execution_name: Option<&str>,
    settings: &Settings,
    keys: &BTreeMap<Region, String>,
    home: &Region,
) -> Result<RunRequest, StepError> {
    let asked: BackupInput = input::parse(value)?;
    let scheduled = asked.scheduled_time.is_some();
    let run = run_identity(asked.run.as_deref(), asked.scheduled_time.as_deref(), execution_name)?;
    let selector = selector(&asked)?;
    let policy = BackupPolicy {
        name: policy_name(asked.policy.as_deref())?,
        store: store_policy(&asked, settings)?,
        copies: copies(&asked, keys, home)?,
        export: asked.export.as_ref().map(export_policy).transpose()?,
        reboot: asked.reboot,
        image_name: image_stem(asked.name.as_deref())?,
        keep_days: asked.keep_days,
        carry_over: asked.carry_over.unwrap_or_else(|| {
            [CarryOver::LaunchPermissions, CarryOver::Deprecation, CarryOver::DeregistrationProtection].into()
        }),
        deadline_minutes: deadline_minutes(asked.deadline_minutes)?,
    };
    if !policy.has_legs() && !selector.image_ids.is_empty() {
        return Err(StepError::input("store", "with `store` false, an image needs `copyTo` or `export`"));
    }
    Ok(RunRequest { run, scheduled, selector, policy })
}

/// The identity of a run: what the input says, else the scheduled time, else the execution's name.
pub(crate) fn run_identity(
    run: Option<&str>,
    scheduled_time: Option<&str>,
    execution_name: Option<&str>,
) -> Result<String, StepError> {
    if scheduled_time == Some(UNREPLACED_TIME) {
        return Err(StepError::input(
            "scheduledTime",
            format!("`{UNREPLACED_TIME}` was not replaced by the scheduler, so every run would be the same run"),
        ));
    }
    let (path, run) = match (run, scheduled_time, execution_name) {
        (Some(run), _, _) => ("run", run),
        (None, Some(time), _) => ("scheduledTime", time),
        (None, None, Some(name)) => ("executionName", name),
        (None, None, None) => return Err(StepError::input("run", "give the run a name")),
    };
    valid_label(path, run, LONGEST_RUN)
}

/// A text that is used as a tag value on EC2 and on S3, whose alphabet is the narrower one.
pub(crate) fn valid_label(path: &str, text: &str, longest: usize) -> Result<String, StepError> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || " +-=._:/@".contains(c);
    if text.is_empty() || text.len() > longest || !text.chars().all(allowed) {
        return Err(StepError::input(path, not_a_label(text, longest)));
    }
    Ok(text.to_owned())
}

fn not_a_label(text: &str, longest: usize) -> String {
    format!("`{}` must be 1 to {longest} letters, digits, spaces or any of + - = . _ : / @", shown(text))
}

fn selector(asked: &BackupInput) -> Result<Selector, StepError> {
    if asked.image_ids.is_empty() && asked.instance_ids.is_empty() && asked.tags.is_empty() {
        return Err(StepError::input("", "nothing is selected: give `imageIds`, `instanceIds` or `tags`"));
    }
    for (key, values) in &asked.tags {
        let path = format!("tags.{key}");
        if key.is_empty() || values.is_empty() {
            return Err(StepError::input(&path, "a tag needs a key and at least one value"));
        }
        if key == TAG_MANAGED {
            return Err(StepError::input(&path, "what ami-backup made is never selected by tag"));
        }
    }
    Ok(Selector {
        image_ids: asked.image_ids.iter().cloned().collect(),
        instance_ids: asked.instance_ids.iter().cloned().collect(),
        tags: asked.tags.clone(),
    })
}

fn policy_name(name: Option<&str>) -> Result<String, StepError> {
    valid_label("policy", name.unwrap_or("manual"), LONGEST_RUN)
}

fn store_policy(asked: &BackupInput, settings: &Settings) -> Result<Option<StorePolicy>, StepError> {
    if asked.store == Some(false) {
        for (path, given) in [("bucket", asked.bucket.is_some()), ("storePrefix", asked.store_prefix.is_some())] {
            if given {
                return Err(StepError::input(path, "means nothing when `store` is false"));
            }
        }
        return Ok(None);
    }
    let bucket = match &asked.bucket {
        Some(bucket) => bucket.clone(),
        None => settings.backup_bucket()?.clone(),
    };
    let prefix = prefix("storePrefix", asked.store_prefix.as_deref().unwrap_or_default())?;
    for ours in PAPERS {
        if prefix.starts_with(ours) {
            return Err(StepError::input("storePrefix", format!("`{ours}` is where records and reports are kept")));
        }
    }
    Ok(Some(StorePolicy { bucket, prefix }))
}

fn copies(asked: &BackupInput, keys: &BTreeMap<Region, String>, home: &Region) -> Result<Vec<CopyPolicy>, StepError> {
    for region in asked.kms_keys.keys() {
        if !asked.copy_to.contains(region) {
            return Err(StepError::input(&format!("kmsKeys.{region}"), "is not a Region of `copyTo`"));
        }
    }
    let mut seen = BTreeSet::new();
    let mut copies = Vec::new();
    for (index, region) in asked.copy_to.iter().enumerate() {
        let path = format!("copyTo[{index}]");
        if region == home {
            return Err(StepError::input(&path, format!("{region} is where the images are already")));
        }
        if !seen.insert(region) {
            return Err(StepError::input(&path, format!("{region} is there twice")));
        }
        let kms_key_id = asked.kms_keys.get(region).or_else(|| keys.get(region)).cloned();
        copies.push(CopyPolicy { region: region.clone(), kms_key_id });
    }
    Ok(copies)
}

fn export_policy(asked: &ExportInput) -> Result<ExportPolicy, StepError> {
    let prefix = prefix("export.prefix", asked.prefix.as_deref().unwrap_or("exports/"))?;
    if prefix.is_empty() {
        return Err(StepError::input("export.prefix", "must not be empty"));
    }
    Ok(ExportPolicy { format: asked.format, prefix })
}

/// A path in a bucket: empty, or without a slash in front and with one behind.
fn prefix(path: &str, text: &str) -> Result<String, StepError> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "-_./".contains(c);
    if text.starts_with('/') || text.contains("//") || text.len() > 512 || !text.chars().all(allowed) {
        return Err(StepError::input(path, not_a_path(text)));
    }
    let end = if text.is_empty() || text.ends_with('/') { "" } else { "/" };
    Ok(format!("{text}{end}"))
}

fn not_a_path(text: &str) -> String {
    format!(
        "`{}` must be a path of up to 512 letters, digits, hyphens, underscores and dots, without a slash in front",
        shown(text)
    )
}

fn image_stem(name: Option<&str>) -> Result<String, StepError> {
    let name = name.unwrap_or("backup");
    let longest = LONGEST_IMAGE_NAME - NAME_SUFFIX - "-i-0123456789abcdef0".len();
    if name.len() > longest {
        return Err(StepError::input(
            "name",
            format!("is {} characters long; {longest} leave room for what makes it unique", name.len()),
        ));
    }
    if name.is_empty() || !name.chars().all(allowed_in_image_name) {
        return Err(StepError::input(
            "name",
            format!("`{}` must be letters, digits or any of - _ . / ( )", shown(name)),
        ));
    }
    Ok(name.to_owned())
}

/// A year: no execution lives longer.
const MOST_DEADLINE_MINUTES: u32 = 365 * 24 * 60;

/// How long a wait may last, as it was asked for.
pub(crate) fn deadline_minutes(asked: Option<u32>) -> Result<Option<u32>, StepError> {
    match asked {
        Some(minutes) if !(1..=MOST_DEADLINE_MINUTES).contains(&minutes) => {
            Err(StepError::input("deadlineMinutes", format!("must be 1 to {MOST_DEADLINE_MINUTES}")))
        }
        other => Ok(other),
    }
}

/// Reads a text as [`valid_label`] has it: what is read back is held to what came in.
pub(crate) fn label<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let text = String::deserialize(deserializer)?;
    valid_label("", &text, LONGEST_RUN).map_err(|_| de::Error::custom(not_a_label(&text, LONGEST_RUN)))
}

/// Reads a path in a bucket: empty, or with a slash behind it.
pub(crate) fn path_in_bucket<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let text = String::deserialize(deserializer)?;
    match prefix("", text.strip_suffix('/').unwrap_or(&text)) {
        Ok(path) if path == text => Ok(text),
        _ => Err(de::Error::custom(not_a_path(&text))),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::error::ErrorName;

    fn request(value: Value) -> Result<RunRequest, StepError> {
        let settings = Settings::read(|name| match name {
            "BACKUP_BUCKET" => Some("backups".into()),
            _ => None,
        })?;
        let region = |name: &str| -> Region { name.parse().unwrap_or_else(|_| unreachable!()) };
        let keys = [(region("eu-west-1"), "alias/eu".to_owned())].into();
        run_request(value, Some("execution-1"), &settings, &keys, &region("us-east-1"))
    }

    #[track_caller]
    fn refused(value: Value, path: &str) {
        let error = request(value.clone()).err();
        assert_eq!(error.as_ref().map(|e| e.name), Some(ErrorName::InvalidInput), "{value}");
        let text = error.map(|e| e.to_string()).unwrap_or_default();
        assert!(text.contains(path), "{path} is missing from {text}");
    }

    #[test]
    fn one_line_is_enough_by_hand() -> Result<(), StepError> {
        let asked = request(json!({"imageIds": ["ami-12345678"]}))?;
        assert_eq!(asked.run, "execution-1");
        assert!(!asked.scheduled && !asked.policy.reboot);
        assert_eq!(asked.policy.store.map(|s| s.bucket.to_string()), Some("backups".into()));
        Ok(())
    }

    #[test]
    fn a_copy_is_encrypted_with_the_key_of_its_region() -> Result<(), StepError> {
        let asked = request(json!({"instanceIds": ["i-12345678"], "copyTo": ["eu-west-1", "eu-west-2"]}))?;
        let keys: Vec<_> = asked.policy.copies.iter().map(|copy| copy.kms_key_id.as_deref()).collect();
        assert_eq!(keys, [Some("alias/eu"), None]);
        Ok(())
    }

    #[test]
    fn a_schedule_gives_the_run_its_time() -> Result<(), StepError> {
        let asked = request(json!({"tags": {"Backup": ["nightly"]}, "scheduledTime": "2026-11-23T02:00:00Z"}))?;
        assert_eq!(asked.run, "2026-11-23T02:00:00Z");
        assert!(asked.scheduled);
        Ok(())
    }

    #[test]
    fn prefixes_end_with_a_slash() -> Result<(), StepError> {
        let asked = request(json!({
            "imageIds": ["ami-12345678"], "storePrefix": "a/b", "export": {"format": "VMDK", "prefix": "vm"},
        }))?;
        assert_eq!(asked.policy.store.map(|s| s.prefix), Some("a/b/".into()));
        assert_eq!(asked.policy.export.map(|e| e.prefix), Some("vm/".into()));
        Ok(())
    }

    #[test]
    fn a_format_is_spelled_as_the_api_spells_it_and_its_extension_small() {
        for (format, spelled) in [(DiskFormat::Vmdk, "VMDK"), (DiskFormat::Vhd, "VHD"), (DiskFormat::Raw, "RAW")] {
            assert_eq!((format.as_str(), format.extension()), (spelled, &*spelled.to_ascii_lowercase()));
            assert_eq!(serde_json::to_value(format).ok(), Some(spelled.into()));
        }
    }

    #[test]
    fn one_way_of_backing_up_is_enough_for_an_image() -> Result<(), StepError> {
        for way in [
            json!({"imageIds": ["ami-12345678"], "store": true}),
            json!({"imageIds": ["ami-12345678"], "store": false, "copyTo": ["eu-west-1"]}),
            json!({"imageIds": ["ami-12345678"], "store": false, "export": {"format": "RAW"}}),
        ] {
            assert!(request(way)?.policy.has_legs());
        }
        assert!(!request(json!({"instanceIds": ["i-12345678"], "store": false}))?.policy.has_legs());
        Ok(())
    }

    #[test]
    fn a_policy_is_called_manual_unless_it_has_a_name() -> Result<(), StepError> {
        assert_eq!(request(json!({"imageIds": ["ami-12345678"]}))?.policy.name, "manual");
        assert_eq!(request(json!({"imageIds": ["ami-12345678"], "policy": "nightly"}))?.policy.name, "nightly");
        Ok(())
    }

    #[test]
    fn a_text_may_be_as_long_as_is_said_and_no_longer() -> Result<(), StepError> {
        for (field, longest) in [("run", 128), ("policy", 128), ("storePrefix", 512), ("name", 95)] {
            let with = |length| json!({"imageIds": ["ami-12345678"], field: "x".repeat(length)});
            request(with(1))?;
            request(with(longest))?;
            refused(with(longest + 1), field);
        }
        Ok(())
    }

    #[test]
    fn the_longest_name_leaves_room_for_the_instance_and_the_token() -> Result<(), StepError> {
        let asked = request(json!({"instanceIds": ["i-0123456789abcdef0"], "name": "x".repeat(95)}))?;
        let name =
            crate::naming::image_name(&format!("{}-i-0123456789abcdef0", asked.policy.image_name), &"0".repeat(64));
        assert!(name.len() == LONGEST_IMAGE_NAME && name.contains("-i-0123456789abcdef0-"), "{name}");
        Ok(())
    }

    #[test]
    fn bad_input_is_refused_with_its_path() {
        let image = json!(["ami-12345678"]);
        refused(json!({}), "imageIds");
        refused(json!({"imageIds": ["ami-123"]}), "imageIds[0]");
        refused(json!({"imageIds": image, "copyto": []}), "copyto");
        refused(json!({"imageIds": image, "copyTo": ["us-east-1"]}), "copyTo[0]");
        refused(json!({"imageIds": image, "copyTo": ["eu-west-1", "eu-west-1"]}), "copyTo[1]");
        refused(json!({"imageIds": image, "copyTo": ["mars"]}), "copyTo[0]");
        refused(json!({"imageIds": image, "kmsKeys": {"eu-west-1": "k"}}), "kmsKeys.eu-west-1");
        refused(json!({"imageIds": image, "name": "x".repeat(129)}), "name");
        refused(json!({"imageIds": image, "name": "a#b"}), "name");
        refused(json!({"imageIds": image, "keepDays": 0}), "keepDays");
        refused(json!({"imageIds": image, "deadlineMinutes": 0}), "deadlineMinutes");
        refused(json!({"imageIds": image, "storePrefix": "records/x"}), "storePrefix");
        for prefix in ["/x", "a//b", "a b", "a\\b"] {
            refused(json!({"imageIds": image, "storePrefix": prefix}), "storePrefix");
        }
        refused(json!({"imageIds": image, "export": {"format": "ISO"}}), "export.format");
        refused(json!({"imageIds": image, "export": {"format": "RAW", "prefix": ""}}), "export.prefix");
        refused(json!({"imageIds": image, "store": false}), "store");
        refused(
            json!({"instanceIds": ["i-12345678"], "store": false, "bucket": "my-archive"}),
            "bucket: means nothing",
        );
        refused(
            json!({"instanceIds": ["i-12345678"], "store": false, "storePrefix": "a"}),
            "storePrefix: means nothing",
        );
        for run in ["", "a\nb", "a;b"] {
            refused(json!({"imageIds": image, "run": run}), "run");
        }
        refused(json!({"tags": {"Backup": []}}), "tags.Backup");
        refused(json!({"tags": {"ami-backup:managed": ["true"]}}), "ami-backup:managed");
        refused(json!({"imageIds": image, "scheduledTime": "<aws.scheduler.scheduled-time>"}), "scheduledTime");
    }
}
