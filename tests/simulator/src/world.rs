//! Owns the simulated world: accounts, instances, images, snapshots and tasks, and the passing of time.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use crate::account::{AccountFile, Settings};
use crate::clock::Clock;

mod bin;
mod lock;
mod seed;
mod settle;
pub mod state;
mod templates;
mod timed;
mod usage;
mod uses;

pub use bin::Binned;
pub use lock::Lock;
pub use seed::objects_of;
pub use state::{Device, ExportTask, Image, Instance, InstanceChange, Snapshot, StoreTask, Tags};
pub use templates::{LaunchTemplate, TemplateVersion};
pub use usage::{UsageEntry, UsageReport, UsageType};
pub use uses::{Owned, Uses};

use state::State;

/// The world. Its getters return copies of what there is at the moment of the last
/// [`settle`](World::settle); ids that callers do not see yet are included.
#[derive(Debug)]
pub struct World {
    file: AccountFile,
    clock: Arc<dyn Clock>,
    state: Mutex<State>,
    settling: tokio::sync::Mutex<()>,
}

/// How many things there are, in all accounts and Regions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counts {
    /// Images, failed ones included, deregistered ones not.
    pub images: usize,
    /// Snapshots.
    pub snapshots: usize,
    /// Export tasks, ended ones included.
    pub export_tasks: usize,
    /// Store tasks, ended ones included.
    pub store_tasks: usize,
}

impl World {
    /// The world as the account file describes it. Its objects are not its own: put [`objects_of`]
    /// into the object store.
    pub fn new(file: &AccountFile, clock: Arc<dyn Clock>) -> Self {
        let state = Mutex::new(seed::state(file, clock.now()));
        Self { file: file.clone(), clock, state, settling: tokio::sync::Mutex::new(()) }
    }

    /// How the world behaves.
    pub fn settings(&self) -> &Settings {
        &self.file.settings
    }

    /// What time it is.
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Puts everything back to what the account file describes.
    pub fn reset(&self) {
        let fresh = seed::state(&self.file, self.now());
        self.with(|state| *state = fresh);
    }

    /// The account of an access key, if the account file lists it.
    pub fn account_of_key(&self, access_key: &str) -> Option<String> {
        let lists = |account: &&crate::account::Account| account.access_keys.iter().any(|key| key == access_key);
        self.file.accounts.iter().find(lists).map(|account| account.id.clone())
    }

    /// The first account of the file.
    pub fn first_account(&self) -> String {
        self.file.accounts.first().map(|account| account.id.clone()).unwrap_or_default()
    }

    /// How many things there are.
    pub fn counts(&self) -> Counts {
        self.with(|state| Counts {
            images: state.images.len(),
            snapshots: state.snapshots.len(),
            export_tasks: state.exports.len(),
            store_tasks: state.store_tasks.len(),
        })
    }

    /// The images that `account` owns in `region`, by id.
    pub fn images(&self, account: &str, region: &str) -> Vec<Image> {
        let ours = |image: &&Image| image.account == account && image.region == region;
        self.with(|state| state.images.values().filter(ours).cloned().collect())
    }

    /// One image, wherever it is.
    pub fn image(&self, id: &str) -> Option<Image> {
        self.with(|state| state.images.get(id).cloned())
    }

    /// The snapshots that `account` owns in `region`, by id.
    pub fn snapshots(&self, account: &str, region: &str) -> Vec<Snapshot> {
        let ours = |snapshot: &&Snapshot| snapshot.account == account && snapshot.region == region;
        self.with(|state| state.snapshots.values().filter(ours).cloned().collect())
    }

    /// One snapshot, wherever it is.
    pub fn snapshot(&self, id: &str) -> Option<Snapshot> {
        self.with(|state| state.snapshots.get(id).cloned())
    }

    /// The snapshots behind an image, in the order of its devices.
    pub fn snapshots_of(&self, image: &str) -> Vec<Snapshot> {
        self.with(|state| {
            let devices = state.images.get(image).map(|image| image.devices.as_slice()).unwrap_or_default();
            devices.iter().filter_map(|device| state.snapshots.get(&device.snapshot_id).cloned()).collect()
        })
    }

    /// Tags of an image, a snapshot, an instance, a volume, a launch template, a report or an export task; empty if there is no such thing.
    pub fn tags(&self, id: &str) -> Tags {
        self.with(|state| state.tags_mut(id).cloned()).unwrap_or_default()
    }

    /// Accounts that may launch an image, or `all`.
    pub fn launch_permissions(&self, image: &str) -> BTreeSet<String> {
        self.with(|state| state.images.get(image).map(|image| image.launch_permissions.clone())).unwrap_or_default()
    }

    /// One instance.
    pub fn instance(&self, id: &str) -> Option<Instance> {
        self.with(|state| state.instances.get(id).cloned())
    }

    /// The instances that `account` has in `region`, by id.
    pub fn instances(&self, account: &str, region: &str) -> Vec<Instance> {
        let ours = |instance: &&Instance| instance.account == account && instance.region == region;
        self.with(|state| state.instances.values().filter(ours).cloned().collect())
    }

    /// One launch template.
    pub fn launch_template(&self, id: &str) -> Option<LaunchTemplate> {
        self.with(|state| state.templates.get(id).cloned())
    }

    /// An image in the Recycle Bin.
    pub fn binned_image(&self, id: &str) -> Option<Binned<Image>> {
        self.with(|state| state.binned_images.get(id).cloned())
    }

    /// A snapshot in the Recycle Bin.
    pub fn binned_snapshot(&self, id: &str) -> Option<Binned<Snapshot>> {
        self.with(|state| state.binned_snapshots.get(id).cloned())
    }

    /// What names images beside instances and launch templates.
    pub fn uses(&self) -> Uses {
        self.with(|state| state.uses.clone())
    }

    /// Changes it in any way.
    pub fn change_uses(&self, change: impl FnOnce(&mut Uses)) {
        self.with(|state| change(&mut state.uses));
    }

    /// How often an instance has been rebooted by CreateImage.
    pub fn reboots(&self, instance: &str) -> u32 {
        self.instance(instance).map_or(0, |instance| instance.reboots)
    }

    /// All store tasks, oldest first.
    pub fn store_tasks(&self) -> Vec<StoreTask> {
        self.with(|state| state.store_tasks.clone())
    }

    /// All export tasks, by id.
    pub fn export_tasks(&self) -> Vec<ExportTask> {
        self.with(|state| state.exports.values().cloned().collect())
    }

    /// Has somebody launch an instance of an image, which is running at once; false if there is no such image.
    pub fn launch(&self, image: &str, id: &str, now: Timestamp) -> bool {
        self.with(|state| {
            let Some(image) = state.images.get_mut(image) else { return false };
            image.launches.push(now);
            let instance = Instance {
                id: id.into(),
                account: image.account.clone(),
                region: image.region.clone(),
                state: "running".into(),
                tags: Tags::default(),
                image_id: image.id.clone(),
                instance_type: "t3.micro".into(),
                launched: now,
                machine: image.machine.clone(),
                volumes: Vec::new(),
                reboots: 0,
                change: None,
                visible_at: now,
            };
            state.instances.insert(instance.id.clone(), instance);
            true
        })
    }

    /// Changes an image in any way; false if there is none.
    pub fn change_image(&self, id: &str, change: impl FnOnce(&mut Image)) -> bool {
        self.with(|state| state.images.get_mut(id).map(change).is_some())
    }

    /// Changes a snapshot in any way; false if there is none.
    pub fn change_snapshot(&self, id: &str, change: impl FnOnce(&mut Snapshot)) -> bool {
        self.with(|state| state.snapshots.get_mut(id).map(change).is_some())
    }

    /// Changes a launch template in any way; false if there is none.
    pub fn change_launch_template(&self, id: &str, change: impl FnOnce(&mut LaunchTemplate)) -> bool {
        self.with(|state| state.templates.get_mut(id).map(change).is_some())
    }

    /// Changes an instance in any way; false if there is none.
    pub fn change_instance(&self, id: &str, change: impl FnOnce(&mut Instance)) -> bool {
        self.with(|state| state.instances.get_mut(id).map(change).is_some())
    }

    /// Makes an image fail now, for `reason`; false if there is none.
    pub fn fail_image(&self, id: &str, reason: &str) -> bool {
        self.change_image(id, |image| {
            image.work = None;
            image.state = "failed".into();
            image.state_reason = Some(("Client.InternalError".into(), reason.into()));
        })
    }

    /// Makes the work that a pending image waits for, or the running store or export of an image, fail
    /// for `reason` when it ends; false if nothing runs.
    pub fn fail_when_done(&self, image: &str, reason: &str) -> bool {
        self.with(|state| {
            let mut found = false;
            let devices = state.images.get(image).map(|image| image.devices.clone()).unwrap_or_default();
            if let Some(work) = state.images.get_mut(image).and_then(|image| image.work.as_mut()) {
                work.fail = Some(reason.into());
                found = true;
            }
            for device in devices {
                let snapshot = state.snapshots.get_mut(&device.snapshot_id);
                if let Some(work) = snapshot.and_then(|snapshot| snapshot.work.as_mut()) {
                    work.fail = Some(reason.into());
                }
            }
            let stores = state.store_tasks.iter_mut();
            for task in stores.filter(|task| task.image_id == image && task.state == "InProgress") {
                task.fail = Some(reason.into());
                found = true;
            }
            let exports = state.exports.values_mut();
            for task in exports.filter(|task| task.image_id == image && task.status == "active") {
                task.fail = Some(reason.into());
                found = true;
            }
            found
        })
    }

    /// Deregisters an image behind everybody's back, as DeregisterImage does: its snapshots stay, and a rule
    /// of the Recycle Bin may keep it. False if there is none.
    pub fn deregister(&self, id: &str) -> bool {
        let now = self.now();
        self.with(|state| state.deregister(id, now))
    }

    /// Removes a snapshot behind everybody's back, in use or not; false if there is none.
    pub fn remove_snapshot(&self, id: &str) -> bool {
        self.with(|state| state.snapshots.remove(id).is_some())
    }

    /// Switches EBS encryption by default on or off.
    pub fn set_encryption_by_default(&self, account: &str, region: &str, on: bool) {
        self.with(|state| {
            for owner in state.accounts.iter_mut().filter(|owner| owner.id == account) {
                if on {
                    owner.encryption_by_default.insert(region.into());
                } else {
                    owner.encryption_by_default.remove(region);
                }
            }
        });
    }

    /// Counts and ids, for `GET /_simulator/state`: ids by account and Region, and counts over all.
    pub fn state_json(&self) -> Value {
        let counts = self.counts();
        json!({
            "accounts": self.with(|state| accounts_json(state)),
            "counts": {
                "images": counts.images,
                "snapshots": counts.snapshots,
                "exportTasks": counts.export_tasks,
                "storeTasks": counts.store_tasks,
            },
        })
    }

    pub(crate) fn with<T>(&self, work: impl FnOnce(&mut State) -> T) -> T {
        work(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

fn accounts_json(state: &State) -> Value {
    let mut accounts = Map::new();
    for owner in &state.accounts {
        let mut regions = Map::new();
        for region in &owner.regions {
            regions.insert(region.clone(), region_json(state, &owner.id, region));
        }
        accounts.insert(owner.id.clone(), json!({ "regions": regions }));
    }
    Value::Object(accounts)
}

fn region_json(state: &State, account: &str, region: &str) -> Value {
    let here = |its_account: &str, its_region: &str| its_account == account && its_region == region;
    let images = state.images.values().filter(|image| here(&image.account, &image.region));
    let snapshots = state.snapshots.values().filter(|snapshot| here(&snapshot.account, &snapshot.region));
    let exports = state.exports.values().filter(|task| here(&task.account, &task.region));
    let stores = state.store_tasks.iter().filter(|task| here(&task.account, &task.region));
    let instances = state.instances.values().filter(|instance| here(&instance.account, &instance.region));
    let templates = state.templates.values().filter(|template| here(&template.account, &template.region));
    let binned_images = state.binned_images.values().filter(|one| here(&one.it.account, &one.it.region));
    let binned_snapshots = state.binned_snapshots.values().filter(|one| here(&one.it.account, &one.it.region));
    json!({
        "instances": instances.map(|instance| instance.id.as_str()).collect::<Vec<_>>(),
        "launchTemplates": templates.map(|template| template.id.as_str()).collect::<Vec<_>>(),
        "binnedImages": binned_images.map(|one| one.it.id.as_str()).collect::<Vec<_>>(),
        "binnedSnapshots": binned_snapshots.map(|one| one.it.id.as_str()).collect::<Vec<_>>(),
        "images": images.map(|image| image.id.as_str()).collect::<Vec<_>>(),
        "snapshots": snapshots.map(|snapshot| snapshot.id.as_str()).collect::<Vec<_>>(),
        "exportTasks": exports.map(|task| task.id.as_str()).collect::<Vec<_>>(),
        "storeTasks": stores.map(|task| format!("{}/{}", task.bucket, task.key)).collect::<Vec<_>>(),
    })
}

impl State {
    /// The tags of whatever has the id.
    pub(crate) fn tags_mut(&mut self, id: &str) -> Option<&mut Tags> {
        if let Some(image) = self.images.get_mut(id) {
            return Some(&mut image.tags);
        }
        if let Some(snapshot) = self.snapshots.get_mut(id) {
            return Some(&mut snapshot.tags);
        }
        if let Some(task) = self.exports.get_mut(id) {
            return Some(&mut task.tags);
        }
        if let Some(template) = self.templates.get_mut(id) {
            return Some(&mut template.tags);
        }
        if let Some(report) = self.usage_reports.get_mut(id) {
            return Some(&mut report.tags);
        }
        if self.instances.contains_key(id) {
            return self.instances.get_mut(id).map(|instance| &mut instance.tags);
        }
        let mut volumes = self.instances.values_mut().flat_map(|instance| instance.volumes.iter_mut());
        volumes.find(|volume| volume.id == id).map(|volume| &mut volume.tags)
    }
}
