//! Owns the simulated world: accounts, instances, images, snapshots and tasks, and the passing of time.

use std::sync::Arc;

use serde_json::Value;

use crate::account::{AccountFile, Settings};
use crate::clock::Clock;
use crate::objects::{ObjectStore, StoredObject};

/// The world.
#[derive(Debug)]
pub struct World {
    settings: Settings,
    clock: Arc<dyn Clock>,
}

impl World {
    /// The world as the account file describes it.
    pub fn new(file: &AccountFile, clock: Arc<dyn Clock>) -> Self {
        Self { settings: file.settings.clone(), clock }
    }

    /// How the world behaves.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// What time it is.
    pub fn now(&self) -> jiff::Timestamp {
        self.clock.now()
    }

    /// Puts everything back to what the account file describes.
    pub fn reset(&self) {}

    /// Brings everything up to the present: tasks end, objects are written before a task says so.
    pub async fn settle(&self, _objects: &dyn ObjectStore) {}

    /// The account of an access key, if the account file lists it.
    pub fn account_of_key(&self, _access_key: &str) -> Option<String> {
        None
    }

    /// The first account of the file.
    pub fn first_account(&self) -> String {
        String::new()
    }

    /// Counts and ids, for `GET /_simulator/state`.
    pub fn state_json(&self) -> Value {
        Value::Null
    }
}

/// Every object of the account file, ready to be put: bucket, key, object.
pub fn objects_of(_file: &AccountFile) -> Vec<(String, String, StoredObject)> {
    Vec::new()
}
