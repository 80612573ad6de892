//! Owns the inventory of a simulated world: everything that anybody would miss or pay for.

use std::collections::{BTreeMap, BTreeSet};

use ami_backup_core::Timestamp;
use ami_backup_simulator::{
    Simulator,
    objects::{LocalObjects, ObjectStore, StoredObject},
    world::{ExportTask, Image, Snapshot, StoreTask},
};

/// Folders of what runs write down.
const PAPERS: &[&str] = &["leases/", "runs/", "cleanups/"];

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
    /// When it was made, of images.
    pub created: Option<Timestamp>,
    /// The snapshots that an image is on.
    pub parts: Vec<String>,
    /// All of it. It is compared as it is: words for it would take longer to make than most trials ask for them.
    whole: Whole,
}

/// What the simulator knows of a thing.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Whole {
    Image(Box<Image>),
    Snapshot(Box<Snapshot>),
    Store(Box<StoreTask>),
    Export(Box<ExportTask>),
    Object { bucket: String, key: String, object: Box<StoredObject> },
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

    /// What it is, in words without the ids that EC2 makes up.
    pub fn text(&self) -> String {
        match &self.whole {
            Whole::Image(image) => format!(
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
            Whole::Snapshot(snapshot) => {
                let Snapshot { account, region, size_gib, state, kms_key_id, tags, .. } = snapshot.as_ref();
                format!("snapshot {account} {region} {size_gib} {state} {kms_key_id:?} {:?}", without_expiry(tags))
            }
            Whole::Store(task) => format!("store {} {}/{} {}", task.image_id, task.bucket, task.key, task.state),
            Whole::Export(task) => {
                let ExportTask { image_id, format, status, tags, .. } = task.as_ref();
                format!("export {image_id} {format} {status} {:?}", without_expiry(tags))
            }
            Whole::Object { bucket, key, .. } => format!("object {bucket} {}", without_times(key)),
        }
    }

    /// All of it, in words.
    pub fn detail(&self) -> String {
        match &self.whole {
            Whole::Image(image) => format!("{image:?}"),
            Whole::Snapshot(snapshot) => format!("{snapshot:?}"),
            Whole::Store(task) => format!("{task:?}"),
            Whole::Export(task) => format!("{task:?}"),
            Whole::Object { object, .. } => {
                let body = String::from_utf8_lossy(&object.body);
                format!("{} {:?} {:?} {body}", object.storage_class, object.metadata, object.tags)
            }
        }
    }

    /// Whether nothing of it differs from another.
    pub fn is_as(&self, other: &Self) -> bool {
        self.whole == other.whole
    }
}

/// The inventory of a world, by kind and id.
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
                all.extend(world.images(&account.id, region).into_iter().map(image));
                all.extend(world.snapshots(&account.id, region).into_iter().map(snapshot));
            }
        }
        all.extend(world.store_tasks().into_iter().map(store));
        all.extend(world.export_tasks().into_iter().map(export));
        for (bucket, keys) in objects.contents() {
            for key in keys {
                // A key that was listed a moment ago is there.
                let found = objects.get(&bucket, &key).await.unwrap_or_default();
                all.push(object(&bucket, &key, found));
            }
        }
        all.sort_by(|a, b| (a.kind, &a.id).cmp(&(b.kind, &b.id)));
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
        self.0.iter().filter(|thing| thing.text().starts_with(beginning)).count()
    }

    /// What of `wanted` is missing here, and what is here beyond it: texts, each as often as it is
    /// missing or too many. Two starts of a run leave two lists of items, which differ in their time
    /// only: papers of runs count once. Claims on storing an image are nothing that anybody would miss.
    pub fn difference(&self, wanted: &Self) -> (Vec<String>, Vec<String>) {
        (only_in(&wanted.0, &self.0), only_in(&self.0, &wanted.0))
    }
}

fn image(image: Image) -> Thing {
    Thing {
        kind: "image",
        id: image.id.clone(),
        region: image.region.clone(),
        state: image.state.clone(),
        tags: image.tags.clone(),
        created: Some(image.created),
        parts: image.devices.iter().map(|device| device.snapshot_id.clone()).collect(),
        whole: Whole::Image(Box::new(image)),
    }
}

/// What is no image.
fn thing(
    kind: &'static str,
    id: String,
    region: &str,
    state: &str,
    tags: BTreeMap<String, String>,
    whole: Whole,
) -> Thing {
    Thing { kind, id, region: region.into(), state: state.into(), tags, created: None, parts: Vec::new(), whole }
}

fn snapshot(snapshot: Snapshot) -> Thing {
    let (id, region, state) = (snapshot.id.clone(), snapshot.region.clone(), snapshot.state.clone());
    let tags = snapshot.tags.clone();
    thing("snapshot", id, &region, &state, tags, Whole::Snapshot(Box::new(snapshot)))
}

fn store(task: StoreTask) -> Thing {
    let (id, region, state) = (format!("{}/{}", task.bucket, task.key), task.region.clone(), task.state.clone());
    thing("store", id, &region, &state, BTreeMap::new(), Whole::Store(Box::new(task)))
}

fn export(task: ExportTask) -> Thing {
    let (id, region, state) = (task.id.clone(), task.region.clone(), task.status.clone());
    let tags = task.tags.clone();
    thing("export", id, &region, &state, tags, Whole::Export(Box::new(task)))
}

fn object(bucket: &str, key: &str, object: StoredObject) -> Thing {
    let whole = Whole::Object { bucket: bucket.into(), key: key.into(), object: Box::new(object) };
    thing("object", format!("{bucket}/{key}"), "", "present", BTreeMap::new(), whole)
}

fn only_in(some: &[Thing], others: &[Thing]) -> Vec<String> {
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
fn counted_texts(things: &[Thing]) -> Vec<String> {
    let mut texts: Vec<String> = things.iter().map(Thing::text).collect();
    texts.retain(|text| !text.contains(" leases/"));
    texts.sort();
    texts.dedup_by(|a, b| a == b && PAPERS.iter().any(|folder| a.contains(folder)));
    texts
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
