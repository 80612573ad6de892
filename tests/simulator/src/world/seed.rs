//! Owns the beginning: makes the world of the account file.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};

use super::lock::Lock;
use super::state::{Device, ExportTask, GIB, Image, Instance, Owner, Protection, Snapshot, State, Volume, hex, later};
use super::templates::{LaunchTemplate, TemplateVersion};
use super::uses::{Uses, owned};
use crate::account::{self, AccountFile, ObjectKind};
use crate::ec2::envelope;
use crate::objects::StoredObject;

/// The state that the file describes, at `now`.
pub(super) fn state(file: &AccountFile, now: Timestamp) -> State {
    let mut state = State {
        accounts: file.accounts.iter().map(Owner::of).collect(),
        bin_rules: owned(file, |account| &account.recycle_bin_rules),
        uses: Uses::of(file),
        seed: file.settings.seed,
        ..State::default()
    };
    for (number, rule) in state.bin_rules.iter_mut().enumerate() {
        let made_up = || hex(format!("{}/{number}", rule.account).as_bytes())[..11].to_owned();
        let id = rule.it.id.take().unwrap_or_else(made_up);
        rule.it.id = Some(id);
    }
    for account in &file.accounts {
        for described in &account.instances {
            state.instances.insert(described.id.clone(), instance(&account.id, described, now));
        }
        for described in &account.images {
            let (image, snapshots) = image(&account.id, described, now);
            state.images.insert(image.id.clone(), image);
            for snapshot in snapshots {
                // The first image that names a snapshot describes it.
                state.snapshots.entry(snapshot.id.clone()).or_insert(snapshot);
            }
        }
        for described in &account.launch_templates {
            state.templates.insert(described.id.clone(), launch_template(&account.id, described, now));
        }
        for described in &account.snapshots {
            state.snapshots.insert(described.id.clone(), snapshot(&account.id, described, now));
        }
        for described in &account.export_tasks {
            state.exports.insert(described.id.clone(), export_task(&account.id, described, now));
        }
    }
    state
}

fn launch_template(account: &str, described: &account::LaunchTemplate, now: Timestamp) -> LaunchTemplate {
    let version = |version: &account::LaunchTemplateVersion| {
        let devices = ('b'..='z').map(|letter| format!("/dev/xvd{letter}")).zip(version.snapshot_ids.iter().cloned());
        let made = TemplateVersion {
            image_id: version.image_id.clone(),
            instance_type: None,
            devices: devices.collect(),
            description: String::new(),
            created: version.create_time.unwrap_or_else(|| yesterday(now)),
            visible_at: Timestamp::MIN,
        };
        (version.number, made)
    };
    let versions: BTreeMap<u64, TemplateVersion> = described.versions.iter().map(version).collect();
    let lowest = versions.keys().next().copied().unwrap_or_default();
    LaunchTemplate {
        id: described.id.clone(),
        account: account.to_owned(),
        region: described.region.clone(),
        name: described.name.clone(),
        created: versions.values().map(|version| version.created).min().unwrap_or(now),
        default_version: described.default_version.unwrap_or(lowest),
        versions,
        tags: described.tags.clone(),
        visible_at: Timestamp::MIN,
    }
}

fn lock(described: &account::SnapshotLock, now: Timestamp) -> Lock {
    let created = described.created_at.unwrap_or_else(|| yesterday(now));
    let days = match (described.duration_days, described.expires_at) {
        (None, Some(end)) => end.duration_since(created).as_hours() / 24,
        (days, _) => i64::from(days.unwrap_or(365)),
    };
    Lock {
        mode: described.mode,
        created,
        days,
        expires: described.expires_at.unwrap_or_else(|| later(created, SignedDuration::from_hours(24 * days))),
        cool_off_hours: described.cool_off_hours.map(i64::from),
    }
}

fn export_task(account: &str, described: &account::ExportTask, now: Timestamp) -> ExportTask {
    ExportTask {
        id: described.id.clone(),
        account: account.to_owned(),
        region: described.region.clone(),
        image_id: described.image_id.clone(),
        description: String::new(),
        format: described.format.clone(),
        bucket: described.bucket.clone(),
        prefix: described.prefix.clone(),
        key: format!("{}{}.{}", described.prefix, described.id, described.format.to_ascii_lowercase()),
        role: "vmimport".into(),
        tags: BTreeMap::new(),
        started: now,
        ends: now,
        visible_at: now,
        status: described.status.clone(),
        message: None,
        fail: None,
    }
}

/// Every object of the account file, ready to be put: bucket, key, object.
pub fn objects_of(file: &AccountFile, now: Timestamp) -> Vec<(String, String, StoredObject)> {
    let mut all = Vec::new();
    for account in &file.accounts {
        for bucket in &account.buckets {
            for described in &bucket.objects {
                let object = object(account, bucket, described, now);
                all.push((bucket.name.clone(), described.key.clone(), object));
            }
        }
    }
    all
}

fn object(
    account: &account::Account,
    bucket: &account::Bucket,
    described: &account::Object,
    now: Timestamp,
) -> StoredObject {
    let mut object = match described.kind {
        ObjectKind::Text => {
            let body = described.text.clone().unwrap_or_default().into_bytes();
            StoredObject { body, ..StoredObject::default() }
        }
        ObjectKind::StoredImage => {
            let id = described.image_id.clone().unwrap_or_else(|| "ami-0000000000000dead".into());
            let found = described.image.as_ref().or_else(|| account.images.iter().find(|image| image.id == id));
            let gone;
            let found = match found {
                Some(image) => image,
                None => {
                    gone = gone_image(&id, &bucket.region);
                    &gone
                }
            };
            let (image, snapshots) = image(&account.id, found, now);
            let snapshots: BTreeMap<_, _> = snapshots.into_iter().map(|one| (one.id.clone(), one)).collect();
            envelope::stored_object(&image, &snapshots, &account.id, now)
        }
    };
    object.storage_class.clone_from(&described.storage_class);
    object.tags.clone_from(&described.tags);
    object
}

fn gone_image(id: &str, region: &str) -> account::Image {
    account::Image {
        region: region.into(),
        id: id.into(),
        name: format!("stored-{id}"),
        description: String::new(),
        tags: BTreeMap::new(),
        state: "available".into(),
        state_reason: None,
        launch_permissions: Vec::new(),
        creation_date: None,
        undated: false,
        deprecate_at: None,
        deregistration_protection: false,
        deregistration_cooldown: false,
        last_launched_time: None,
        product_codes: Vec::new(),
        image_owner_alias: None,
        source_instance_id: None,
        source_image_id: None,
        source_image_region: None,
        machine: account::Machine::default(),
        volumes: vec![account::Volume {
            device: "/dev/xvda".into(),
            id: None,
            size_gib: 8,
            used_gib: Some(2),
            encrypted: false,
            kms_key_id: None,
            volume_type: "gp3".into(),
            iops: None,
            throughput: None,
            delete_on_termination: true,
            snapshot_id: None,
            snapshot_tags: BTreeMap::new(),
            snapshot_permissions: Vec::new(),
            snapshot_lock: None,
            snapshot_storage_tier: account::StorageTier::Standard,
        }],
    }
}

fn yesterday(now: Timestamp) -> Timestamp {
    later(now, SignedDuration::from_hours(-24))
}

fn made_up(prefix: &str, of: &str) -> String {
    format!("{prefix}-{}", &hex(of.as_bytes())[..17])
}

fn used_bytes(size_gib: u64, used_gib: Option<u64>) -> u64 {
    used_gib.map_or(size_gib * GIB / 2, |used| used * GIB)
}

fn instance(account: &str, described: &account::Instance, now: Timestamp) -> Instance {
    let volume = |volume: &account::Volume| Volume {
        id: volume.id.clone().unwrap_or_else(|| made_up("vol", &format!("{}{}", described.id, volume.device))),
        device: volume.device.clone(),
        size_gib: volume.size_gib,
        used_bytes: used_bytes(volume.size_gib, volume.used_gib),
        encrypted: volume.encrypted,
        kms_key_id: key(account, &described.region, volume.encrypted, volume.kms_key_id.as_ref()),
        volume_type: volume.volume_type.clone(),
        iops: volume.iops,
        throughput: volume.throughput,
        delete_on_termination: volume.delete_on_termination,
        tags: BTreeMap::new(),
    };
    Instance {
        id: described.id.clone(),
        account: account.into(),
        region: described.region.clone(),
        state: described.state.clone(),
        tags: described.tags.clone(),
        image_id: described.image_id.clone().unwrap_or_else(|| made_up("ami", &described.id)),
        instance_type: described.instance_type.clone(),
        launched: described.launch_time.unwrap_or(now),
        machine: described.machine.clone(),
        volumes: described.volumes.iter().map(volume).collect(),
        reboots: 0,
        change: None,
        visible_at: Timestamp::MIN,
    }
}

fn key(account: &str, region: &str, encrypted: bool, given: Option<&String>) -> Option<String> {
    encrypted.then(|| given.cloned().unwrap_or_else(|| State::default_key(account, region)))
}

fn image(account: &str, described: &account::Image, now: Timestamp) -> (Image, Vec<Snapshot>) {
    let created = match described.undated {
        true => Timestamp::MIN,
        false => described.creation_date.unwrap_or_else(|| yesterday(now)),
    };
    let mut snapshots = Vec::new();
    let mut devices = Vec::new();
    for volume in &described.volumes {
        let of = format!("{}{}", described.id, volume.device);
        let snapshot_id = volume.snapshot_id.clone().unwrap_or_else(|| made_up("snap", &of));
        devices.push(Device {
            name: volume.device.clone(),
            snapshot_id: snapshot_id.clone(),
            size_gib: volume.size_gib,
            volume_type: volume.volume_type.clone(),
            iops: volume.iops,
            throughput: volume.throughput,
            delete_on_termination: volume.delete_on_termination,
            encrypted: volume.encrypted,
        });
        let description = match &described.source_instance_id {
            Some(instance) => format!("Created by CreateImage({instance}) for {}", described.id),
            None => String::new(),
        };
        snapshots.push(Snapshot {
            description,
            tags: volume.snapshot_tags.clone(),
            ..snapshot(account, &as_snapshot(described, volume, snapshot_id, &of), now)
        });
    }
    let image = Image {
        id: described.id.clone(),
        account: account.into(),
        region: described.region.clone(),
        name: described.name.clone(),
        description: described.description.clone(),
        tags: described.tags.clone(),
        state: described.state.clone(),
        state_reason: described.state_reason.clone().map(|reason| ("Client.InternalError".into(), reason)),
        launch_permissions: described.launch_permissions.iter().cloned().collect(),
        created,
        deprecate_at: described.deprecate_at,
        protection: protection(described),
        last_launched: described.last_launched_time,
        launches: Vec::new(),
        product_codes: described.product_codes.clone(),
        owner_alias: described.image_owner_alias.clone(),
        source_instance_id: described.source_instance_id.clone(),
        source_image: described.source_image_id.clone().map(|id| {
            let region = described.source_image_region.as_ref().unwrap_or(&described.region);
            (id, region.clone())
        }),
        machine: described.machine.clone(),
        devices,
        visible_at: Timestamp::MIN,
        work: None,
    };
    (image, snapshots)
}

fn protection(described: &account::Image) -> Protection {
    match (described.deregistration_protection, described.deregistration_cooldown) {
        (false, _) => Protection::Off,
        (true, false) => Protection::On,
        (true, true) => Protection::OnWithCooldown,
    }
}

/// The snapshot of an image's device, as if the file described it by itself.
fn as_snapshot(image: &account::Image, volume: &account::Volume, id: String, of: &str) -> account::Snapshot {
    account::Snapshot {
        region: image.region.clone(),
        id,
        description: String::new(),
        tags: BTreeMap::new(),
        volume_id: Some(volume.id.clone().unwrap_or_else(|| made_up("vol", of))),
        size_gib: volume.size_gib,
        used_gib: volume.used_gib,
        encrypted: volume.encrypted,
        kms_key_id: volume.kms_key_id.clone(),
        start_time: image.creation_date,
        permissions: volume.snapshot_permissions.clone(),
        lock: volume.snapshot_lock.clone(),
        storage_tier: volume.snapshot_storage_tier,
    }
}

fn snapshot(account: &str, described: &account::Snapshot, now: Timestamp) -> Snapshot {
    let started = described.start_time.unwrap_or_else(|| yesterday(now));
    Snapshot {
        id: described.id.clone(),
        account: account.into(),
        region: described.region.clone(),
        description: described.description.clone(),
        tags: described.tags.clone(),
        volume_id: described.volume_id.clone().unwrap_or_else(|| made_up("vol", &described.id)),
        size_gib: described.size_gib,
        used_bytes: used_bytes(described.size_gib, described.used_gib),
        encrypted: described.encrypted,
        kms_key_id: key(account, &described.region, described.encrypted, described.kms_key_id.as_ref()),
        started,
        completed: Some(started),
        state: "completed".into(),
        state_message: None,
        volume_permissions: described.permissions.iter().cloned().collect(),
        lock: described.lock.as_ref().map(|described| lock(described, now)),
        tier: described.storage_tier,
        visible_at: Timestamp::MIN,
        work: None,
    }
}
