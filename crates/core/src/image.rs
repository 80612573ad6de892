//! Owns what EC2 knows of an image and its snapshots, and what can be done with it.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde::{Deserialize, Deserializer, Serialize, de};

use crate::{
    id::{ImageId, Region, SnapshotId},
    tags::Tags,
    text::shown,
};

/// The state of an image, of those that EC2 has today and any that it may invent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub enum ImageState {
    /// Being made.
    Pending,
    /// Ready.
    Available,
    /// Hidden and not launchable; it can be enabled again.
    Disabled,
    /// `failed`, `error`, `invalid`, `deregistered`: from here it never becomes available.
    Terminal(String),
    /// `transient`, or a state that was not known when this was written.
    Other(String),
}

impl From<String> for ImageState {
    fn from(text: String) -> Self {
        match text.as_str() {
            "pending" => Self::Pending,
            "available" => Self::Available,
            "disabled" => Self::Disabled,
            "failed" | "error" | "invalid" | "deregistered" => Self::Terminal(text),
            _ => Self::Other(text),
        }
    }
}

impl From<ImageState> for String {
    fn from(state: ImageState) -> Self {
        state.as_str().to_owned()
    }
}

impl ImageState {
    /// As EC2 spells it.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Pending => "pending",
            Self::Available => "available",
            Self::Disabled => "disabled",
            Self::Terminal(text) | Self::Other(text) => text,
        }
    }

    /// Whether it will never become available.
    pub fn is_terminal(&self) -> bool {
        matches!(self, Self::Terminal(_))
    }
}

/// The EBS half of a device mapping.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
#[derive(Default)]
pub struct EbsMapping {
    /// The snapshot; missing while the image is pending.
    pub snapshot_id: Option<SnapshotId>,
    /// Size of the volume in GiB.
    pub volume_size_gib: Option<u64>,
    /// `gp3`, `io2`, ….
    pub volume_type: Option<String>,
    /// Provisioned operations per second.
    pub iops: Option<i32>,
    /// Provisioned throughput in MiB per second.
    pub throughput: Option<i32>,
    /// Whether the volume goes with the instance.
    pub delete_on_termination: Option<bool>,
    /// Whether the snapshot is encrypted.
    pub encrypted: Option<bool>,
}

/// One entry of an image's block device mapping.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DeviceMapping {
    /// `/dev/xvda`, ….
    pub device_name: String,
    /// The EBS volume behind it.
    #[serde(default)]
    pub ebs: Option<EbsMapping>,
    /// `ephemeral0`, …: an instance-store volume, of which no backup exists.
    #[serde(default)]
    pub virtual_name: Option<String>,
}

/// What DescribeImages says of an image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ImageFacts {
    /// The image.
    pub image_id: ImageId,
    /// Where it is.
    pub region: Region,
    /// Account that owns it.
    pub owner_id: String,
    /// Its name.
    pub name: String,
    /// Its description.
    #[serde(default)]
    pub description: String,
    /// Its state.
    pub state: ImageState,
    /// Why it is in that state, where EC2 says so.
    #[serde(default)]
    pub state_reason: Option<String>,
    /// When it was made, as EC2 writes it.
    #[serde(default)]
    pub creation_date: Option<String>,
    /// Everything that a copy or a restore should not change, by the name of the API's field.
    pub attributes: BTreeMap<String, String>,
    /// `ebs` or `instance-store`.
    pub root_device_type: String,
    /// When it is deprecated, as EC2 writes it.
    #[serde(default)]
    pub deprecation_time: Option<String>,
    /// When an instance was last launched from it, as EC2 writes it, a day late; to its owner only.
    #[serde(default)]
    pub last_launched_time: Option<String>,
    /// The instance that it was made of, where EC2 knows.
    #[serde(default)]
    pub source_instance_id: Option<String>,
    /// `disabled`, or how it is protected.
    #[serde(default)]
    pub deregistration_protection: Option<String>,
    /// Whether everybody may launch it.
    #[serde(default)]
    pub public: bool,
    /// `amazon`, `aws-marketplace`, `aws-backup-vault`, ….
    #[serde(default)]
    pub owner_alias: Option<String>,
    /// Product codes of the Marketplace.
    #[serde(default)]
    pub product_codes: Vec<String>,
    /// Its tags.
    #[serde(default)]
    pub tags: Tags,
    /// Its block device mapping.
    pub mappings: Vec<DeviceMapping>,
}

/// A row of a listing of images that shows no machine image: a kernel, a ramdisk, or what EC2 may invent.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OddImage {
    /// What it has for an id.
    pub id: String,
    /// The snapshots that its device mapping names.
    pub snapshots: Vec<String>,
}

/// The attributes that are compared and recorded, as DescribeImages names them.
pub const ATTRIBUTES: &[&str] = &[
    "Architecture",
    "BootMode",
    "EnaSupport",
    "ImdsSupport",
    "PlatformDetails",
    "RootDeviceName",
    "SriovNetSupport",
    "TpmSupport",
    "UsageOperation",
    "VirtualizationType",
];

impl ImageFacts {
    /// An attribute by its API name; absent and empty are the same.
    pub fn attribute(&self, name: &str) -> Option<&str> {
        self.attributes.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// The snapshots behind the image, in the order of the mapping.
    pub fn snapshot_ids(&self) -> Vec<SnapshotId> {
        self.mappings.iter().filter_map(|mapping| mapping.ebs.as_ref()?.snapshot_id.clone()).collect()
    }

    /// Sum of the volume sizes in GiB: what a restore makes, and the pessimistic size of everything.
    pub fn size_gib(&self) -> u64 {
        self.mappings.iter().filter_map(|mapping| mapping.ebs.as_ref()?.volume_size_gib).fold(0, u64::saturating_add)
    }

    /// Devices on instance store, which no image holds.
    pub fn ephemeral_devices(&self) -> Vec<&str> {
        self.mappings.iter().filter(|m| m.virtual_name.is_some()).map(|m| m.device_name.as_str()).collect()
    }

    fn has_encrypted_snapshot(&self) -> bool {
        self.mappings.iter().any(|mapping| mapping.ebs.as_ref().and_then(|ebs| ebs.encrypted) == Some(true))
    }

    /// Whether deregistration is protected in any form.
    pub fn is_protected(&self) -> bool {
        self.deregistration_protection.as_deref().is_some_and(|text| text.starts_with("enabled"))
    }
}

/// What DescribeSnapshots says of a snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SnapshotFacts {
    /// The snapshot.
    pub snapshot_id: SnapshotId,
    /// `pending`, `completed`, `error`, ….
    pub state: String,
    /// Progress in percent.
    #[serde(default)]
    pub progress_percent: Option<u8>,
    /// Size of the volume in GiB.
    pub volume_size_gib: u64,
    /// Bytes of a full copy of its data, where EC2 says so.
    #[serde(default)]
    pub full_size_bytes: Option<u64>,
    /// Whether it is encrypted.
    #[serde(default)]
    pub encrypted: bool,
    /// Its key.
    #[serde(default)]
    pub kms_key_id: Option<String>,
    /// Account that owns it.
    #[serde(default)]
    pub owner_id: String,
    /// Its description: EC2 and other services write into it what they made it for.
    #[serde(default)]
    pub description: String,
    /// When it was begun, where that was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_time: Option<Timestamp>,
    /// Its tags.
    #[serde(default)]
    pub tags: Tags,
}

/// Who may launch an image.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct LaunchPermissions {
    /// Accounts by id.
    #[serde(deserialize_with = "principals")]
    pub accounts: BTreeSet<String>,
    /// Groups; `all` makes it public.
    #[serde(deserialize_with = "principals")]
    pub groups: BTreeSet<String>,
    /// ARNs of organizations.
    #[serde(deserialize_with = "principals")]
    pub organizations: BTreeSet<String>,
    /// ARNs of organizational units.
    #[serde(deserialize_with = "principals")]
    pub organizational_units: BTreeSet<String>,
}

/// The group of everybody.
const ALL: &str = "all";

/// Reads ids, groups or ARNs. People are told them in a command, so that nothing else may stand in their place.
fn principals<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BTreeSet<String>, D::Error> {
    let read: BTreeSet<String> = BTreeSet::deserialize(deserializer)?;
    let allowed = |c: char| c.is_ascii_alphanumeric() || ":/-_.".contains(c);
    match read.iter().find(|text| text.is_empty() || text.len() > 256 || !text.chars().all(allowed)) {
        Some(text) => Err(de::Error::custom(format!("`{}` is no account, group or ARN", shown(text)))),
        None => Ok(read),
    }
}

impl LaunchPermissions {
    /// What is in `self` and not in `other`.
    #[must_use]
    pub fn without(&self, other: &Self) -> Self {
        let less = |a: &BTreeSet<String>, b: &BTreeSet<String>| a.difference(b).cloned().collect();
        Self {
            accounts: less(&self.accounts, &other.accounts),
            groups: less(&self.groups, &other.groups),
            organizations: less(&self.organizations, &other.organizations),
            organizational_units: less(&self.organizational_units, &other.organizational_units),
        }
    }

    /// Whether nobody but the owner may launch.
    pub fn is_empty(&self) -> bool {
        self == &Self::default()
    }

    /// Takes out what no step gives by itself: the right of everybody.
    #[must_use]
    pub fn split_off_all(&mut self) -> Self {
        let groups = self.groups.take(ALL).into_iter().collect();
        Self { groups, ..Self::default() }
    }

    /// The command by which a person gives these permissions to an image.
    pub fn command(&self, region: &Region, image_id: &ImageId) -> String {
        let kinds = [
            ("UserId", &self.accounts),
            ("Group", &self.groups),
            ("OrganizationArn", &self.organizations),
            ("OrganizationalUnitArn", &self.organizational_units),
        ];
        let each = kinds.iter().flat_map(|(kind, texts)| texts.iter().map(move |text| format!("{{{kind}={text}}}")));
        let each: Vec<String> = each.collect();
        format!(
            "aws ec2 modify-image-attribute --region {region} --image-id {image_id} --launch-permission 'Add=[{}]'",
            each.join(",")
        )
    }
}

/// Progress of an image that is being made, from its snapshots: the sum of what is done, by size.
pub fn snapshot_progress(snapshots: &[SnapshotFacts]) -> Option<u8> {
    let whole: u64 = snapshots.iter().map(|snapshot| snapshot.volume_size_gib.max(1)).sum();
    let done: u64 = snapshots
        .iter()
        .map(|snapshot| {
            let percent = if snapshot.state == "completed" { 100 } else { snapshot.progress_percent.unwrap_or(0) };
            snapshot.volume_size_gib.max(1).saturating_mul(u64::from(percent))
        })
        .fold(0, u64::saturating_add);
    let percent = done.checked_div(whole)?;
    u8::try_from(percent.min(100)).ok()
}

/// Why an image cannot be stored as an object, or `None` if it can.
///
/// The rules are those of the EC2 user guide; `account` is the caller's, `permissions` who it is
/// shared with where the caller may know.
pub fn cannot_be_stored(image: &ImageFacts, account: &str, limit_gb: u64) -> Option<String> {
    if let Some(reason) = cannot_be_used(image) {
        return Some(reason);
    }
    if image.attribute("VirtualizationType") == Some("paravirtual") {
        return Some("it is paravirtual, and EC2 stores HVM images only".into());
    }
    if image.owner_id != account && image.public {
        return Some("it is public and owned by another account; EC2 stores only what is shared explicitly".into());
    }
    let bytes = u128::from(image.size_gib()) << 30;
    if bytes > u128::from(limit_gb) * 1_000_000_000 {
        return Some(format!("its volumes are {} GiB, and EC2 stores at most {limit_gb} GB", image.size_gib()));
    }
    None
}

/// Why an image cannot be copied, or `None` if it can.
pub fn cannot_be_copied(image: &ImageFacts) -> Option<String> {
    cannot_be_used(image)
}

/// Why an image cannot be exported as a VM file, or `None` if it can.
pub fn cannot_be_exported(image: &ImageFacts, account: &str) -> Option<String> {
    if let Some(reason) = cannot_be_used(image) {
        return Some(reason);
    }
    if image.owner_id != account {
        return Some(format!("it is owned by {}, and EC2 exports only images of the own account", image.owner_id));
    }
    if image.has_encrypted_snapshot() {
        return Some("it has encrypted snapshots, which EC2 does not export".into());
    }
    if !image.product_codes.is_empty() || image.owner_alias.as_deref() == Some("aws-marketplace") {
        return Some("it comes from the Marketplace, and EC2 does not export third-party software".into());
    }
    if image
        .attribute("PlatformDetails")
        .is_some_and(|platform| platform.contains("Windows") || platform.contains("SQL"))
    {
        return Some("it holds Windows or SQL Server provided by AWS, which EC2 does not export".into());
    }
    let too_large = |m: &&DeviceMapping| m.ebs.as_ref().and_then(|e| e.volume_size_gib).is_some_and(|gib| gib > 1024);
    if let Some(mapping) = image.mappings.iter().find(too_large) {
        return Some(format!("volume {} is larger than 1 TiB, the most that EC2 exports", mapping.device_name));
    }
    None
}

fn cannot_be_used(image: &ImageFacts) -> Option<String> {
    if image.root_device_type != "ebs" {
        return Some(format!(
            "its root device is `{}`, and only EBS-backed images can be backed up",
            image.root_device_type
        ));
    }
    match &image.state {
        ImageState::Available => None,
        state => {
            let reason = image.state_reason.as_deref().map(|reason| format!(" ({reason})")).unwrap_or_default();
            Some(format!("it is `{}`{reason} and must be available", state.as_str()))
        }
    }
}

/// A place where two images differ that should be the same.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Difference {
    /// What differs: an attribute, `Tags.Team`, `/dev/xvda.VolumeSize`.
    pub what: String,
    /// How it is in the source.
    pub expected: String,
    /// How it is in the other.
    pub found: String,
}

impl std::fmt::Display for Difference {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} should be {} and is {}", self.what, self.expected, self.found)
    }
}

/// A difference as it is reported: values and keys of tags are texts of others.
pub fn difference(what: impl AsRef<str>, expected: impl AsRef<str>, found: impl AsRef<str>) -> Difference {
    Difference { what: shown(what.as_ref()), expected: shown(expected.as_ref()), found: shown(found.as_ref()) }
}

/// Everything in which `made` differs from the `source` it should equal: attributes, tags that people
/// wrote, and the mapping. Names, ids, owners and dates are meant to differ.
pub fn differences(source: &ImageFacts, made: &ImageFacts) -> Vec<Difference> {
    let mut found = Vec::new();
    for name in ATTRIBUTES {
        let (expected, actual) = (source.attribute(name), made.attribute(name));
        if expected != actual {
            found.push(difference(*name, expected.unwrap_or("-"), actual.unwrap_or("-")));
        }
    }
    if source.product_codes != made.product_codes {
        found.push(difference("ProductCodes", source.product_codes.join(" "), made.product_codes.join(" ")));
    }
    found.extend(tag_differences("Tags", &source.tags, &made.tags));
    found.extend(mapping_differences(&source.mappings, &made.mappings));
    found
}

/// Tags of people that are missing or different, each as `<prefix>.<key>`.
pub fn tag_differences(prefix: &str, source: &Tags, made: &Tags) -> Vec<Difference> {
    crate::tags::user_tags(source)
        .into_iter()
        .filter(|(key, value)| made.get(key) != Some(value))
        .map(|(key, value)| {
            let actual = made.get(&key).cloned().unwrap_or_else(|| "-".into());
            difference(format!("{prefix}.{key}"), value, actual)
        })
        .collect()
}

fn mapping_differences(source: &[DeviceMapping], made: &[DeviceMapping]) -> Vec<Difference> {
    let mut found = Vec::new();
    for expected in source.iter().filter(|mapping| mapping.ebs.is_some()) {
        let device = &expected.device_name;
        let Some(actual) = made.iter().find(|mapping| &mapping.device_name == device) else {
            found.push(difference(device, "mapped", "-"));
            continue;
        };
        let (expected, actual) = (expected.ebs.clone().unwrap_or_default(), actual.ebs.clone().unwrap_or_default());
        let text = |value: Option<String>| value.unwrap_or_else(|| "-".into());
        let pairs = [
            (
                "VolumeSize",
                expected.volume_size_gib.map(|n| n.to_string()),
                actual.volume_size_gib.map(|n| n.to_string()),
            ),
            ("VolumeType", expected.volume_type, actual.volume_type),
            ("Iops", expected.iops.map(|n| n.to_string()), actual.iops.map(|n| n.to_string())),
            ("Throughput", expected.throughput.map(|n| n.to_string()), actual.throughput.map(|n| n.to_string())),
            (
                "DeleteOnTermination",
                expected.delete_on_termination.map(|b| b.to_string()),
                actual.delete_on_termination.map(|b| b.to_string()),
            ),
        ];
        // What is encrypted may not come back in the clear; the other way round is what a key is for.
        if expected.encrypted == Some(true) && actual.encrypted != Some(true) {
            found.push(difference(format!("{device}.Encrypted"), "true", "false"));
        }
        for (what, expected, actual) in pairs {
            if expected != actual {
                found.push(difference(format!("{device}.{what}"), text(expected), text(actual)));
            }
        }
    }
    found
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn image(id: &str) -> ImageFacts {
        let ebs = EbsMapping {
            snapshot_id: "snap-12345678".parse().ok(),
            volume_size_gib: Some(8),
            volume_type: Some("gp3".into()),
            delete_on_termination: Some(true),
            encrypted: Some(false),
            ..EbsMapping::default()
        };
        ImageFacts {
            image_id: id.parse().unwrap_or_else(|_| unreachable!()),
            region: "us-east-1".parse().unwrap_or_else(|_| unreachable!()),
            owner_id: "111122223333".into(),
            name: "golden".into(),
            description: String::new(),
            state: ImageState::Available,
            state_reason: None,
            creation_date: None,
            attributes: [("Architecture".to_owned(), "x86_64".to_owned())].into(),
            root_device_type: "ebs".into(),
            deprecation_time: None,
            last_launched_time: None,
            source_instance_id: None,
            deregistration_protection: None,
            public: false,
            owner_alias: None,
            product_codes: Vec::new(),
            tags: Tags::new(),
            mappings: vec![DeviceMapping { device_name: "/dev/xvda".into(), ebs: Some(ebs), virtual_name: None }],
        }
    }

    pub(crate) fn snapshot(id: &str) -> SnapshotFacts {
        SnapshotFacts {
            snapshot_id: id.parse().unwrap_or_else(|_| unreachable!()),
            state: "completed".into(),
            progress_percent: Some(100),
            volume_size_gib: 8,
            full_size_bytes: None,
            encrypted: false,
            kms_key_id: None,
            owner_id: "111122223333".into(),
            description: String::new(),
            start_time: None,
            tags: Tags::new(),
        }
    }

    #[test]
    fn a_state_keeps_its_spelling_and_only_four_are_terminal() {
        for (text, state) in [
            ("pending", ImageState::Pending),
            ("available", ImageState::Available),
            ("disabled", ImageState::Disabled),
            ("failed", ImageState::Terminal("failed".into())),
            ("error", ImageState::Terminal("error".into())),
            ("invalid", ImageState::Terminal("invalid".into())),
            ("deregistered", ImageState::Terminal("deregistered".into())),
            ("transient", ImageState::Other("transient".into())),
            ("brand-new", ImageState::Other("brand-new".into())),
        ] {
            assert_eq!(ImageState::from(text.to_owned()), state);
            assert_eq!((state.as_str(), String::from(state.clone())), (text, text.to_owned()));
            assert_eq!(state.is_terminal(), matches!(text, "failed" | "error" | "invalid" | "deregistered"), "{text}");
        }
    }

    #[test]
    fn only_devices_with_a_volume_have_snapshots_and_size() {
        let mut image = image("ami-12345678");
        let ebs = |id: &str, gib| EbsMapping {
            snapshot_id: id.parse().ok(),
            volume_size_gib: Some(gib),
            ..EbsMapping::default()
        };
        let device = |name: &str, ebs, virtual_name: Option<&str>| DeviceMapping {
            device_name: name.into(),
            ebs,
            virtual_name: virtual_name.map(str::to_owned),
        };
        image.mappings = vec![
            device("/dev/xvdb", Some(ebs("snap-22222222", 30)), None),
            device("/dev/xvdc", None, Some("ephemeral0")),
            device("/dev/xvda", Some(ebs("snap-11111111", 8)), None),
        ];
        let snapshots: Vec<String> = image.snapshot_ids().iter().map(ToString::to_string).collect();
        assert_eq!(snapshots, ["snap-22222222", "snap-11111111"]);
        assert_eq!(image.size_gib(), 38);
        assert_eq!(image.ephemeral_devices(), ["/dev/xvdc"]);
    }

    #[test]
    fn what_ec2_refuses_is_refused_before_it_is_asked() {
        let good = image("ami-12345678");
        assert_eq!(cannot_be_stored(&good, "111122223333", 5_000), None);
        assert_eq!(cannot_be_exported(&good, "111122223333"), None);

        let mut instance_store = good.clone();
        instance_store.root_device_type = "instance-store".into();
        let mut failed = good.clone();
        failed.state = ImageState::from("failed".to_owned());
        let mut paravirtual = good.clone();
        paravirtual.attributes.insert("VirtualizationType".into(), "paravirtual".into());
        let mut large = good.clone();
        large.mappings[0].ebs.as_mut().unwrap_or_else(|| unreachable!()).volume_size_gib = Some(4_657);
        for (case, image) in
            [("instance store", instance_store), ("failed", failed), ("paravirtual", paravirtual), ("large", large)]
        {
            assert!(cannot_be_stored(&image, "111122223333", 5_000).is_some(), "{case}");
        }
    }

    #[test]
    fn an_image_of_exactly_the_limit_is_stored() {
        let mut image = image("ami-12345678");
        // 4,656 GiB are 4,999.3 GB, and 4,657 GiB are 5,000.4 GB.
        image.mappings[0].ebs.as_mut().unwrap_or_else(|| unreachable!()).volume_size_gib = Some(4_656);
        assert_eq!(cannot_be_stored(&image, "111122223333", 5_000), None);
        // The smallest size that is whole in both units: 5^9 GiB and 2^21 GB.
        image.mappings[0].ebs.as_mut().unwrap_or_else(|| unreachable!()).volume_size_gib = Some(5_u64.pow(9));
        assert_eq!(cannot_be_stored(&image, "111122223333", 1 << 21), None);
        assert!(cannot_be_stored(&image, "111122223333", (1 << 21) - 1).is_some());
    }

    #[test]
    fn only_what_is_public_and_another_account_s_is_not_stored_for_its_owner() {
        for (owner, public, stored) in [
            ("111122223333", false, true),
            ("111122223333", true, true),
            ("999999999999", false, true),
            ("999999999999", true, false),
        ] {
            let image = ImageFacts { owner_id: owner.into(), public, ..image("ami-12345678") };
            assert_eq!(cannot_be_stored(&image, "111122223333", 5_000).is_none(), stored, "{owner} {public}");
        }
    }

    #[test]
    fn what_cannot_be_used_is_backed_up_in_no_way_and_the_reason_says_why() {
        let good = image("ami-12345678");
        assert_eq!(cannot_be_copied(&good), None);
        let mut failed = good.clone();
        failed.state = ImageState::from("failed".to_owned());
        failed.state_reason = Some("disk on fire".into());
        let instance_store = ImageFacts { root_device_type: "instance-store".into(), ..good };
        for (image, part) in [(failed, "`failed` (disk on fire)"), (instance_store, "`instance-store`")] {
            for reason in [
                cannot_be_stored(&image, "111122223333", 5_000),
                cannot_be_copied(&image),
                cannot_be_exported(&image, "111122223333"),
            ] {
                assert!(reason.as_ref().is_some_and(|reason| reason.contains(part)), "{part}: {reason:?}");
            }
        }
    }

    #[test]
    fn a_volume_of_exactly_one_tib_is_exported() {
        let mut image = image("ami-12345678");
        image.mappings[0].ebs.as_mut().unwrap_or_else(|| unreachable!()).volume_size_gib = Some(1_024);
        assert_eq!(cannot_be_exported(&image, "111122223333"), None);
    }

    #[test]
    fn a_difference_reads_as_it_is_shown_to_people() {
        let lost = difference("ImdsSupport", "v2.0", "-");
        assert_eq!(lost.to_string(), "ImdsSupport should be v2.0 and is -");
    }

    #[test]
    fn an_export_of_what_cannot_be_exported_is_refused() {
        let good = image("ami-12345678");
        assert!(cannot_be_exported(&good, "999999999999").is_some());
        let mut encrypted = good.clone();
        encrypted.mappings[0].ebs.as_mut().unwrap_or_else(|| unreachable!()).encrypted = Some(true);
        let mut windows = good.clone();
        windows.attributes.insert("PlatformDetails".into(), "Windows".into());
        let mut market = good.clone();
        market.product_codes.push("abc".into());
        let mut large = good;
        large.mappings[0].ebs.as_mut().unwrap_or_else(|| unreachable!()).volume_size_gib = Some(1_025);
        for image in [encrypted, windows, market, large] {
            assert!(cannot_be_exported(&image, "111122223333").is_some());
        }
    }

    #[test]
    fn every_kind_of_difference_is_named() {
        let source = {
            let mut source = image("ami-12345678");
            source.attributes.insert("ImdsSupport".into(), "v2.0".into());
            source.tags.insert("Team".into(), "platform".into());
            source
        };
        let mut made = image("ami-87654321");
        made.mappings[0].ebs.as_mut().unwrap_or_else(|| unreachable!()).volume_type = Some("gp2".into());
        let what: Vec<String> = differences(&source, &made).into_iter().map(|d| d.what).collect();
        assert_eq!(what, ["ImdsSupport", "Tags.Team", "/dev/xvda.VolumeType"]);
        assert!(differences(&source, &source).is_empty());
    }

    #[test]
    fn encryption_that_was_lost_is_a_difference_and_encryption_that_was_added_is_none() {
        let open = image("ami-12345678");
        let mut encrypted = open.clone();
        encrypted.mappings[0].ebs.as_mut().unwrap_or_else(|| unreachable!()).encrypted = Some(true);
        assert_eq!(differences(&encrypted, &open).len(), 1);
        assert!(differences(&open, &encrypted).is_empty());
    }

    #[test]
    fn progress_counts_by_size() {
        let snapshot = |state: &str, progress_percent, volume_size_gib| SnapshotFacts {
            state: state.into(),
            progress_percent,
            volume_size_gib,
            ..snapshot("snap-12345678")
        };
        assert_eq!(snapshot_progress(&[snapshot("completed", None, 10), snapshot("pending", Some(0), 90)]), Some(10));
        assert_eq!(snapshot_progress(&[]), None);
    }
}
