//! Owns the inventory of a simulated world: everything that anybody would miss or pay for.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Debug,
};

use ami_backup_core::Timestamp;
use ami_backup_simulator::{
    Simulator,
    objects::{LocalObjects, ObjectStore, StoredObject},
    world::{ExportTask, Image, Snapshot, StoreTask},
};

/// Folders of what runs write down.
const PAPERS: &[&str] = &["runs/", "cleanups/"];

/// One thing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Thing {
    /// `image`, `snapshot`, `store`, `export` or `object`.
    pub kind: &'static str,
    /// Its id; of a store task and an object `bucket/key`.
    pub id: String,
    /// Region it is in; empty for objects.
    pub region: String,
    /// Its state; of an object `present`.
    pub state: String,
    /// Its tags; empty for store tasks and objects.
    pub tags: BTreeMap<String, String>,
    /// What it is, in words without the ids that EC2 makes up.
    pub text: String,
    /// All of it.
    pub detail: String,
    /// When it was made, of images.
    pub created: Option<Timestamp>,
    /// The snapshots that an image is on.
    pub parts: Vec<String>,
}

impl Thing {
    /// Whether it is of use to somebody.
    pub fn is_good(&self) -> bool {
        ["available", "completed", "Completed", "present"].contains(&self.state.as_str())
    }

    /// Whether it failed or was given up.
    pub fn is_bad(&self) -> bool {
        ["failed", "error", "Failed", "deleted", "cancelled", "invalid"].contains(&self.state.as_str())
    }
}

/// The inventory of a world, in the order of its texts.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Things(Vec<Thing>);

impl Things {
    /// What is there now.
    pub async fn of(simulator: &Simulator, objects: &LocalObjects) -> Self {
        simulator.settle().await;
        let world = simulator.world();
        let mut all = Vec::new();
        for account in &simulator.file().accounts {
            for region in &account.regions {
                all.extend(world.images(&account.id, region).iter().map(image));
                all.extend(world.snapshots(&account.id, region).iter().map(snapshot));
            }
        }
        all.extend(world.store_tasks().iter().map(store));
        all.extend(world.export_tasks().iter().map(export));
        for (bucket, keys) in objects.contents() {
            for key in keys {
                // A key that was listed a moment ago is there.
                let found = objects.get(&bucket, &key).await.unwrap_or_default();
                all.push(object(&bucket, &key, &found));
            }
        }
        all.sort_by(|a, b| (&a.text, &a.id).cmp(&(&b.text, &b.id)));
        Self(all)
    }

    /// Each of them.
    pub fn iter(&self) -> impl Iterator<Item = &Thing> {
        self.0.iter()
    }

    /// The thing of a kind and id.
    pub fn find(&self, kind: &str, id: &str) -> Option<&Thing> {
        self.0.iter().find(|thing| thing.kind == kind && thing.id == id)
    }

    /// Those that another inventory does not have.
    pub fn beyond<'a>(&'a self, other: &Self) -> impl Iterator<Item = &'a Thing> + use<'a> {
        let known: BTreeSet<(&'static str, String)> =
            other.0.iter().map(|thing| (thing.kind, thing.id.clone())).collect();
        self.0.iter().filter(move |thing| !known.contains(&(thing.kind, thing.id.clone())))
    }

    /// How many there are whose text begins like this: `image`, `object my-bucket`.
    pub fn count(&self, beginning: &str) -> usize {
        self.0.iter().filter(|thing| thing.text.starts_with(beginning)).count()
    }

    /// What of `wanted` is missing here, and what is here beyond it: texts, each as often as it is
    /// missing or too many. Two starts of a run leave two lists of items, which differ in their time
    /// only: papers of runs count once. Claims on storing an image are nothing that anybody would miss.
    pub fn difference<'a>(&'a self, wanted: &'a Self) -> (Vec<&'a str>, Vec<&'a str>) {
        (only_in(&wanted.0, &self.0), only_in(&self.0, &wanted.0))
    }
}

fn image(image: &Image) -> Thing {
    Thing {
        kind: "image",
        id: image.id.clone(),
        region: image.region.clone(),
        state: image.state.clone(),
        tags: image.tags.clone(),
        text: format!(
            "image {} {} {:?} {} {:?} {:?} {:?} {:?} {:?}",
            image.account,
            image.region,
            image.name,
            image.state,
            without_expiry(&image.tags),
            image.launch_permissions,
            image.deprecate_at,
            image.protection,
            image.machine,
        ),
        detail: all_of(image),
        created: Some(image.created),
        parts: image.devices.iter().map(|device| device.snapshot_id.clone()).collect(),
    }
}

fn snapshot(snapshot: &Snapshot) -> Thing {
    let (account, region, size) = (&snapshot.account, &snapshot.region, snapshot.size_gib);
    let tags = without_expiry(&snapshot.tags);
    Thing {
        kind: "snapshot",
        id: snapshot.id.clone(),
        region: region.clone(),
        state: snapshot.state.clone(),
        tags: snapshot.tags.clone(),
        text: format!("snapshot {account} {region} {size} {} {:?} {tags:?}", snapshot.state, snapshot.kms_key_id),
        detail: all_of(snapshot),
        created: None,
        parts: Vec::new(),
    }
}

fn store(task: &StoreTask) -> Thing {
    Thing {
        kind: "store",
        id: format!("{}/{}", task.bucket, task.key),
        region: task.region.clone(),
        state: task.state.clone(),
        tags: BTreeMap::new(),
        text: format!("store {} {}/{} {}", task.image_id, task.bucket, task.key, task.state),
        detail: all_of(task),
        created: None,
        parts: Vec::new(),
    }
}

fn export(task: &ExportTask) -> Thing {
    Thing {
        kind: "export",
        id: task.id.clone(),
        region: task.region.clone(),
        state: task.status.clone(),
        tags: task.tags.clone(),
        text: format!("export {} {} {} {:?}", task.image_id, task.format, task.status, without_expiry(&task.tags)),
        detail: all_of(task),
        created: None,
        parts: Vec::new(),
    }
}

fn object(bucket: &str, key: &str, object: &StoredObject) -> Thing {
    let body = String::from_utf8_lossy(&object.body);
    Thing {
        kind: "object",
        id: format!("{bucket}/{key}"),
        region: String::new(),
        state: "present".into(),
        tags: BTreeMap::new(),
        text: format!("object {bucket} {}", without_times(key)),
        detail: format!("{} {:?} {:?} {body}", object.storage_class, object.metadata, object.tags),
        created: None,
        parts: Vec::new(),
    }
}

fn only_in<'a>(some: &'a [Thing], others: &[Thing]) -> Vec<&'a str> {
    let mut rest = counted_texts(others);
    let mut only = counted_texts(some);
    only.retain(|text| match rest.iter().position(|other| other == text) {
        Some(at) => {
            rest.swap_remove(at);
            false
        }
        None => true,
    });
    only
}

/// The texts, in order, those of papers of runs once.
fn counted_texts(things: &[Thing]) -> Vec<&str> {
    let texts = things.iter().map(|thing| thing.text.as_str());
    let mut texts: Vec<&str> = texts.filter(|text| !text.contains(" runs/stores/")).collect();
    texts.dedup_by(|a, b| a == b && PAPERS.iter().any(|folder| a.contains(folder)));
    texts
}

fn all_of(thing: &impl Debug) -> String {
    format!("{thing:?}")
}

/// An expiry is counted from the moment at which a run began.
fn without_expiry(tags: &BTreeMap<String, String>) -> BTreeMap<&str, &str> {
    let dated = |key: &str, value: &str| key == "ami-backup:expires" && value != "never" && value != "by-policy";
    tags.iter().map(|(key, value)| (key.as_str(), if dated(key, value) { "(a time)" } else { value })).collect()
}

/// Keys of a run hold the time of their start.
fn without_times(key: &str) -> String {
    if !PAPERS.iter().any(|folder| key.starts_with(folder)) {
        return key.to_owned();
    }
    let time = |part: &&str| part.len() > 10 && part.bytes().all(|byte| byte.is_ascii_digit());
    key.split('/').map(|part| if time(&part) { "(time)" } else { part }).collect::<Vec<_>>().join("/")
}
