//! Owns what a stored image is made of: a line with a name, a line with a checksum, and JSON.
//!
//! AWS's own format is opaque; all that matters here is that an object which was damaged or cut short
//! does not restore.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::account::Machine;
use crate::objects::StoredObject;
use crate::world::state::hex;
use crate::world::{Image, Snapshot, Tags};

const NAME: &str = "simulated stored image 1";

/// An image as it is stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct StoredImage {
    /// The image that was stored.
    pub image_id: String,
    /// Its Region.
    pub region: String,
    /// Its owner.
    pub account: String,
    /// Its name.
    pub name: String,
    /// Its description.
    pub description: String,
    /// Its tags, as far as the storing account saw them.
    pub tags: Tags,
    /// When it becomes deprecated.
    pub deprecate_at: Option<Timestamp>,
    /// What the machine is.
    pub machine: Machine,
    /// Its devices, the root device first.
    pub devices: Vec<StoredDevice>,
}

/// A device of a stored image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct StoredDevice {
    /// Device name.
    pub name: String,
    /// Size in GiB of volumes made from it.
    pub size_gib: u64,
    /// Size in GiB of the snapshot.
    pub snapshot_size_gib: u64,
    /// Bytes that have been written.
    pub used_bytes: u64,
    /// `gp3`, …
    pub volume_type: String,
    /// Provisioned operations per second.
    pub iops: Option<u32>,
    /// Provisioned MiB/s.
    pub throughput: Option<u32>,
    /// Whether the volume goes with its instance.
    pub delete_on_termination: bool,
    /// Whether the snapshot was encrypted.
    pub encrypted: bool,
    /// Key of the snapshot.
    pub kms_key_id: Option<String>,
    /// Tags of the snapshot, as far as the storing account saw them.
    pub tags: Tags,
}

/// The object that storing `image` writes, for `account`, which stores it at `now`.
pub fn stored_object(
    image: &Image,
    snapshots: &BTreeMap<String, Snapshot>,
    account: &str,
    now: Timestamp,
) -> StoredObject {
    let stored = stored_image(image, snapshots, account);
    let metadata = [
        ("ami-name", image.name.clone()),
        ("ami-description", image.description.clone()),
        ("ami-owner-account", image.account.clone()),
        ("ami-registration-date", image.created.to_string()),
        ("ami-store-date", now.to_string()),
    ];
    StoredObject {
        body: encode(&stored),
        storage_class: "STANDARD".into(),
        metadata: metadata.into_iter().map(|(name, value)| (name.to_owned(), ascii(&value))).collect(),
        tags: BTreeMap::new(),
        thawed: false,
    }
}

fn stored_image(image: &Image, snapshots: &BTreeMap<String, Snapshot>, account: &str) -> StoredImage {
    let seen = |owner: &str, tags: &Tags| if owner == account { tags.clone() } else { Tags::new() };
    let mut devices = Vec::new();
    for device in &image.devices {
        let Some(snapshot) = snapshots.get(&device.snapshot_id) else { continue };
        devices.push(StoredDevice {
            name: device.name.clone(),
            size_gib: device.size_gib,
            snapshot_size_gib: snapshot.size_gib,
            used_bytes: snapshot.used_bytes,
            volume_type: device.volume_type.clone(),
            iops: device.iops,
            throughput: device.throughput,
            delete_on_termination: device.delete_on_termination,
            encrypted: snapshot.encrypted,
            kms_key_id: snapshot.kms_key_id.clone(),
            tags: seen(&snapshot.account, &snapshot.tags),
        });
    }
    StoredImage {
        image_id: image.id.clone(),
        region: image.region.clone(),
        account: image.account.clone(),
        name: image.name.clone(),
        description: image.description.clone(),
        tags: seen(&image.account, &image.tags),
        deprecate_at: image.deprecate_at,
        machine: image.machine.clone(),
        devices,
    }
}

/// Header values hold no other characters.
fn ascii(text: &str) -> String {
    text.chars().map(|one| if one.is_ascii_graphic() || one == ' ' { one } else { '?' }).collect()
}

fn encode(stored: &StoredImage) -> Vec<u8> {
    // A structure of texts and numbers always has a JSON form.
    let json = serde_json::to_string(stored).unwrap_or_default();
    format!("{NAME}\n{}\n{json}", hex(json.as_bytes())).into_bytes()
}

/// Reads a stored image back.
///
/// # Errors
/// Says what is wrong with the object.
pub fn decode(body: &[u8]) -> Result<StoredImage, String> {
    let text = std::str::from_utf8(body).map_err(|_| "the object is not a stored image".to_owned())?;
    let mut parts = text.splitn(3, '\n');
    let (name, checksum, json) = (parts.next(), parts.next(), parts.next());
    let (Some(NAME), Some(checksum), Some(json)) = (name, checksum, json) else {
        return Err("the object is not a stored image, or it is incomplete".into());
    };
    if hex(json.as_bytes()) != checksum {
        return Err("the checksum of the object does not match its content".into());
    }
    serde_json::from_str(json).map_err(|error| format!("the object cannot be read: {error}"))
}
