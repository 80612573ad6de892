//! Owns the passing of time: ends the work that is due.

use jiff::{SignedDuration, Timestamp};

use super::World;
use super::state::{InstanceChange, State, StoreTask, later};
use crate::account::Settings;
use crate::objects::{ObjectError, ObjectStore, StoredObject};

impl World {
    /// Brings everything up to the present: images become available or fail, and a task's object is
    /// written before the task says that it is complete.
    pub async fn settle(&self, objects: &dyn ObjectStore) {
        // One at a time: two at once would write an object twice, the second time over whatever
        // somebody did with it since.
        let _alone = self.settling.lock().await;
        let now = self.now();
        self.with(|state| {
            end_images(state, now);
            move_instances(state, self.settings(), now);
            state.purge_bin(now);
            state.finish_reports(self.settings(), now);
        });
        for task in self.with(|state| due_stores(state, now)) {
            let failure = match store_failure(&task, &self.with(|state| missing_snapshots(state, &task))) {
                Some(failure) => Some(failure),
                None => objects.put(&task.bucket, &task.key, task.object.clone()).await.err().map(words),
            };
            self.with(|state| end_store(state, task.number, failure.as_deref()));
        }
        for (id, bucket, key, object) in self.with(|state| due_exports(state, now)) {
            let failure = objects.put(&bucket, &key, object).await.err().map(words);
            self.with(|state| end_export(state, &id, failure.as_deref()));
        }
    }
}

fn words(error: ObjectError) -> String {
    match error {
        ObjectError::NoSuchBucket => "The specified bucket does not exist".into(),
        ObjectError::NoSuchKey => "The specified key does not exist".into(),
        ObjectError::Other(text) => text,
    }
}

fn end_images(state: &mut State, now: Timestamp) {
    state.snapshots.pass(now, |snapshot| {
        let Some(work) = snapshot.work.take_if(|work| work.ends <= now) else {
            return snapshot.work.as_ref().map(|work| work.ends);
        };
        match work.fail {
            None => {
                snapshot.state = "completed".into();
                snapshot.completed = Some(work.ends);
            }
            Some(reason) => {
                snapshot.state = "error".into();
                snapshot.state_message = Some(reason);
            }
        }
        None
    });
    state.images.pass(now, |image| {
        let Some(work) = image.work.take_if(|work| work.ends <= now) else {
            return image.work.as_ref().map(|work| work.ends);
        };
        match work.fail {
            None => image.state = "available".into(),
            Some(reason) => {
                image.state = "failed".into();
                image.state_reason = Some(("Client.InternalError".into(), reason));
            }
        }
        None
    });
}

/// Gives instances the states that are due. A terminated one stays for a while and is then forgotten.
fn move_instances(state: &mut State, settings: &Settings, now: Timestamp) {
    let stays = SignedDuration::from_millis(i64::try_from(settings.terminated_stays_ms).unwrap_or(i64::MAX / 2));
    let mut gone = Vec::new();
    state.instances.pass(now, |instance| {
        while let Some(change) = instance.change.take_if(|change| change.at <= now) {
            let Some(to) = change.to else {
                gone.push(instance.id.clone());
                break;
            };
            if to == "terminated" {
                instance.volumes.clear();
                instance.change = Some(InstanceChange { at: later(change.at, stays), to: None });
            }
            instance.state = to;
        }
        instance.change.as_ref().map(|change| change.at)
    });
    for id in gone {
        state.instances.remove(&id);
    }
}

fn due_stores(state: &State, now: Timestamp) -> Vec<StoreTask> {
    let due = |task: &&StoreTask| task.state == "InProgress" && task.ends <= now;
    state.store_tasks.iter().filter(due).cloned().collect()
}

fn missing_snapshots(state: &State, task: &StoreTask) -> Vec<String> {
    task.snapshots.iter().filter(|id| !state.snapshots.contains_key(*id)).cloned().collect()
}

fn store_failure(task: &StoreTask, missing: &[String]) -> Option<String> {
    let gone = || missing.first().map(|id| format!("The snapshot {id} does not exist"));
    task.fail.clone().or_else(gone)
}

fn end_store(state: &mut State, number: u64, failure: Option<&str>) {
    let Some(task) = state.store_tasks.iter_mut().find(|task| task.number == number) else { return };
    task.state = if failure.is_some() { "Failed".into() } else { "Completed".into() };
    task.failure = failure.map(Into::into);
}

fn due_exports(state: &mut State, now: Timestamp) -> Vec<(String, String, String, StoredObject)> {
    let mut due = Vec::new();
    for task in state.exports.values_mut().filter(|task| task.ends <= now) {
        if task.status == "deleting" {
            task.status = "deleted".into();
        }
        if task.status != "active" {
            continue;
        }
        if let Some(reason) = &task.fail {
            task.message = Some(reason.clone());
            task.status = "deleted".into();
            continue;
        }
        let text = format!("A simulated {} file of {}\n", task.format, task.image_id);
        let object =
            StoredObject { body: text.into_bytes(), storage_class: "STANDARD".into(), ..StoredObject::default() };
        due.push((task.id.clone(), task.bucket.clone(), task.key.clone(), object));
    }
    due
}

fn end_export(state: &mut State, id: &str, failure: Option<&str>) {
    let Some(task) = state.exports.get_mut(id) else { return };
    // Somebody may have cancelled it while its file was being written.
    if task.status == "active" {
        task.status = if failure.is_some() { "deleted".into() } else { "completed".into() };
        task.message = failure.map(Into::into);
    }
}
