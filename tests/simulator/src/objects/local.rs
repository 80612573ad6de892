//! Owns the objects that live in this process: buckets of several accounts and Regions.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use jiff::{SignedDuration, Timestamp};
use s3s::crypto::{Checksum as _, Md5};

use super::{BucketFacts, ObjectError, ObjectStore, StoredObject};
use crate::clock::Clock;

/// When a thawed object can be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Thaw {
    /// From when on the bytes can be read.
    pub ready_at: Timestamp,
    /// Until when.
    pub expires_at: Timestamp,
}

/// An object as the store keeps it.
#[derive(Debug, Clone)]
pub struct Kept {
    /// The bytes, class, metadata and tags. `thawed` is not looked at here: see `thaw`.
    pub object: StoredObject,
    /// `Content-Type` that it was put with.
    pub content_type: Option<String>,
    /// Entity tag without quotes: MD5 of the bytes, or `<md5>-<parts>`.
    pub e_tag: String,
    /// When it was put.
    pub last_modified: Timestamp,
    /// The last thaw that was asked for.
    pub thaw: Option<Thaw>,
    /// Id of this version, where the bucket keeps versions.
    pub version_id: Option<String>,
}

impl Kept {
    /// The object at `now`, with `thawed` as the clock has it.
    pub fn at(&self, now: Timestamp) -> StoredObject {
        let thawed = self.thaw.is_some_and(|thaw| thaw.ready_at <= now && now < thaw.expires_at);
        StoredObject { thawed, ..self.object.clone() }
    }

    /// Whether this is the version of this id. What was put before versions were kept is `null`.
    fn is_version(&self, version_id: &str) -> bool {
        self.version_id.as_deref().unwrap_or("null") == version_id
    }
}

/// A part of an unfinished upload.
#[derive(Debug, Clone)]
pub struct Part {
    /// The bytes.
    pub body: Vec<u8>,
    /// Entity tag without quotes.
    pub e_tag: String,
    /// When it was put.
    pub last_modified: Timestamp,
}

/// A multipart upload that has not been completed.
#[derive(Debug, Clone)]
pub struct Upload {
    /// Key that the object will have.
    pub key: String,
    /// Class, metadata and tags that the object will have; the body is empty.
    pub object: StoredObject,
    /// `Content-Type` that the object will have.
    pub content_type: Option<String>,
    /// When it was begun.
    pub initiated: Timestamp,
    /// Parts by number.
    pub parts: BTreeMap<i32, Part>,
}

/// A version that is not what a plain GET reads.
#[derive(Debug, Clone)]
pub(crate) struct Old {
    pub(crate) version_id: String,
    pub(crate) at: Timestamp,
    /// What it holds; `None`: it is a delete marker.
    pub(crate) kept: Option<Kept>,
}

/// A bucket with what is in it.
#[derive(Debug, Clone)]
pub(crate) struct Bucket {
    pub(crate) facts: BucketFacts,
    /// KMS key of the default encryption, if one was named.
    pub(crate) kms_key: Option<String>,
    pub(crate) created: Timestamp,
    /// What a plain GET reads.
    pub(crate) objects: BTreeMap<String, Kept>,
    /// Whether what is replaced or deleted stays as an old version.
    pub(crate) versioned: bool,
    /// Older versions and delete markers by key, the newest last.
    pub(crate) old: BTreeMap<String, Vec<Old>>,
    versions: u64,
    pub(crate) uploads: BTreeMap<String, Upload>,
}

impl Bucket {
    fn next_version(&mut self) -> String {
        self.versions += 1;
        format!("version.{:08}", self.versions)
    }

    /// Puts an object, and gives the id of its version.
    pub(crate) fn put(&mut self, key: &str, mut kept: Kept) -> Option<String> {
        if self.versioned {
            kept.version_id = Some(self.next_version());
        }
        let version = kept.version_id.clone();
        self.supersede(key);
        self.objects.insert(key.to_owned(), kept);
        version
    }

    /// Takes the newest version away; where versions are kept, it becomes an older one.
    fn supersede(&mut self, key: &str) {
        let Some(kept) = self.objects.remove(key).filter(|_| self.versioned) else { return };
        let (version_id, at) = (kept.version_id.clone().unwrap_or_else(|| "null".into()), kept.last_modified);
        self.old.entry(key.to_owned()).or_default().push(Old { version_id, at, kept: Some(kept) });
    }

    /// Deletes an object: where versions are kept, a delete marker hides it, whose id is given.
    pub(crate) fn delete(&mut self, key: &str, now: Timestamp) -> Option<String> {
        self.supersede(key);
        if !self.versioned {
            return None;
        }
        let version_id = self.next_version();
        self.old.entry(key.to_owned()).or_default().push(Old { version_id: version_id.clone(), at: now, kept: None });
        Some(version_id)
    }

    /// Deletes one version for ever; the newest of the others takes its place.
    pub(crate) fn delete_version(&mut self, key: &str, version_id: &str) {
        if self.objects.get(key).is_some_and(|kept| kept.is_version(version_id)) {
            self.objects.remove(key);
        } else if let Some(old) = self.old.get_mut(key) {
            old.retain(|one| one.version_id != version_id);
        }
        if self.objects.contains_key(key) {
            return;
        }
        let Some(old) = self.old.get_mut(key) else { return };
        if old.last().is_some_and(|newest| newest.kept.is_some())
            && let Some(kept) = old.pop().and_then(|newest| newest.kept)
        {
            self.objects.insert(key.to_owned(), kept);
        }
    }

    /// A version of an object; `None`: there is none of this id, or it is a delete marker.
    pub(crate) fn version(&self, key: &str, version_id: &str) -> Option<&Kept> {
        let newest = self.objects.get(key).filter(|kept| kept.is_version(version_id));
        let old = || self.old.get(key)?.iter().find(|one| one.version_id == version_id)?.kept.as_ref();
        newest.or_else(old)
    }
}

/// Objects in memory. Clones share the same buckets.
#[derive(Debug, Clone)]
pub struct LocalObjects {
    clock: Arc<dyn Clock>,
    buckets: Arc<Mutex<BTreeMap<String, Bucket>>>,
    thaw_time: Option<SignedDuration>,
}

impl LocalObjects {
    /// An empty store whose times come from `clock`.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock, buckets: Arc::default(), thaw_time: None }
    }

    /// Every thaw of an archived object takes `time`, instead of the hours that AWS documents.
    #[must_use]
    pub fn with_thaw_time(self, time: SignedDuration) -> Self {
        Self { thaw_time: Some(time), ..self }
    }

    pub(crate) fn thaw_time(&self) -> Option<SignedDuration> {
        self.thaw_time
    }

    /// Adds a bucket, or replaces the facts of the one with this name.
    pub fn add_bucket(&self, facts: BucketFacts) {
        let created = self.clock.now();
        let mut buckets = self.buckets();
        match buckets.get_mut(&facts.name) {
            Some(bucket) => bucket.facts = facts,
            None => {
                let bucket = Bucket {
                    facts: facts.clone(),
                    kms_key: None,
                    created,
                    objects: BTreeMap::new(),
                    versioned: false,
                    old: BTreeMap::new(),
                    versions: 0,
                    uploads: BTreeMap::new(),
                };
                buckets.insert(facts.name, bucket);
            }
        }
    }

    /// Puts an object without any network in between: for setting up a world.
    ///
    /// # Errors
    /// `NoSuchBucket` when the bucket has not been added.
    pub fn insert(&self, bucket: &str, key: &str, object: StoredObject) -> Result<(), ObjectError> {
        let kept = self.keep(object, None);
        self.buckets().get_mut(bucket).ok_or(ObjectError::NoSuchBucket)?.put(key, kept);
        Ok(())
    }

    /// From now on the bucket keeps what is replaced or deleted as old versions. `false` when there is no such bucket.
    pub fn keep_versions(&self, bucket: &str) -> bool {
        self.buckets().get_mut(bucket).map(|bucket| bucket.versioned = true).is_some()
    }

    /// Changes the bytes of an object in place, as a fault of the medium would: tags, metadata and
    /// times stay. `false` when there is no such object.
    pub fn damage(&self, bucket: &str, key: &str, change: impl FnOnce(&mut Vec<u8>)) -> bool {
        self.buckets()
            .get_mut(bucket)
            .and_then(|bucket| bucket.objects.get_mut(key))
            .map(|kept| change(&mut kept.object.body))
            .is_some()
    }

    /// Removes an object, as a DELETE does. `false` when there was none.
    pub fn remove(&self, bucket: &str, key: &str) -> bool {
        let now = self.clock.now();
        let mut buckets = self.buckets();
        let Some(bucket) = buckets.get_mut(bucket) else { return false };
        let was_there = bucket.objects.contains_key(key);
        bucket.delete(key, now);
        was_there
    }

    /// Removes every bucket with what is in it.
    pub fn clear(&self) {
        self.buckets().clear();
    }

    /// Names of all buckets, with their keys.
    pub fn contents(&self) -> BTreeMap<String, Vec<String>> {
        self.buckets().iter().map(|(name, bucket)| (name.clone(), bucket.objects.keys().cloned().collect())).collect()
    }

    /// Facts of a bucket, without waiting.
    pub fn facts(&self, bucket: &str) -> Option<BucketFacts> {
        self.buckets().get(bucket).map(|bucket| bucket.facts.clone())
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    pub(crate) fn buckets(&self) -> MutexGuard<'_, BTreeMap<String, Bucket>> {
        self.buckets.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes ready for keeping: entity tag and time are those of a plain PUT now.
    pub(crate) fn keep(&self, mut object: StoredObject, content_type: Option<String>) -> Kept {
        if object.storage_class.is_empty() {
            object.storage_class = "STANDARD".to_owned();
        }
        Kept {
            e_tag: md5_hex(&object.body),
            object,
            content_type,
            last_modified: self.clock.now(),
            thaw: None,
            version_id: None,
        }
    }
}

/// MD5 in lower-case hex: the entity tag of an object that was put in one piece.
pub(crate) fn md5_hex(bytes: &[u8]) -> String {
    Md5::checksum(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[async_trait]
impl ObjectStore for LocalObjects {
    async fn bucket(&self, name: &str) -> Result<BucketFacts, ObjectError> {
        self.facts(name).ok_or(ObjectError::NoSuchBucket)
    }

    async fn get(&self, bucket: &str, key: &str) -> Result<StoredObject, ObjectError> {
        let now = self.clock.now();
        self.buckets()
            .get(bucket)
            .ok_or(ObjectError::NoSuchBucket)?
            .objects
            .get(key)
            .map(|kept| kept.at(now))
            .ok_or(ObjectError::NoSuchKey)
    }

    async fn put(&self, bucket: &str, key: &str, object: StoredObject) -> Result<(), ObjectError> {
        self.insert(bucket, key, object)
    }

    fn local(&self) -> Option<&LocalObjects> {
        Some(self)
    }
}
