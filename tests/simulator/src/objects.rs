//! Owns where objects live: in memory, or in another S3 that the simulator reads and writes.

mod local;
mod remote;

use std::collections::BTreeMap;

use async_trait::async_trait;

pub(crate) use local::md5_hex;
pub use local::{Kept, LocalObjects, Part, Thaw, Upload};
pub use remote::{RemoteCredentials, RemoteObjects};

/// What is known of a bucket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BucketFacts {
    /// Name of the bucket.
    pub name: String,
    /// Region it is in.
    pub region: String,
    /// Account that owns it.
    pub owner: String,
    /// Whether its default encryption is SSE-KMS (ExportImage then refuses it).
    pub kms: bool,
}

/// An object with everything that store, restore and export need of it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct StoredObject {
    /// The bytes.
    pub body: Vec<u8>,
    /// S3 storage class, e.g. `STANDARD`, `GLACIER`, `DEEP_ARCHIVE`. Empty counts as `STANDARD`.
    pub storage_class: String,
    /// User metadata (names without the `x-amz-meta-` prefix).
    pub metadata: BTreeMap<String, String>,
    /// Object tags.
    pub tags: BTreeMap<String, String>,
    /// Whether an archived object has been thawed.
    pub thawed: bool,
}

impl StoredObject {
    /// Whether the bytes cannot be read now: an archive class, and not thawed.
    pub fn is_frozen(&self) -> bool {
        is_archive_class(&self.storage_class) && !self.thawed
    }
}

/// Whether a storage class needs `RestoreObject` before a GET (the AWS guide on archived objects
/// names these two; `GLACIER_IR` is read at once).
pub fn is_archive_class(storage_class: &str) -> bool {
    matches!(storage_class, "GLACIER" | "DEEP_ARCHIVE")
}

/// Why an object could not be read or written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ObjectError {
    /// The bucket does not exist.
    NoSuchBucket,
    /// The key does not exist.
    NoSuchKey,
    /// Anything else, in words.
    Other(String),
}

/// Where objects live.
#[async_trait]
pub trait ObjectStore: Send + Sync + std::fmt::Debug {
    /// Facts of a bucket.
    async fn bucket(&self, name: &str) -> Result<BucketFacts, ObjectError>;
    /// Reads an object whole: simulated objects are small. The body of an object that is archived
    /// and not thawed may be missing.
    async fn get(&self, bucket: &str, key: &str) -> Result<StoredObject, ObjectError>;
    /// Writes an object, replacing what was there.
    async fn put(&self, bucket: &str, key: &str, object: StoredObject) -> Result<(), ObjectError>;
    /// Whether the key exists.
    async fn exists(&self, bucket: &str, key: &str) -> Result<bool, ObjectError> {
        match self.get(bucket, key).await {
            Ok(_) => Ok(true),
            Err(ObjectError::NoSuchKey) => Ok(false),
            Err(other) => Err(other),
        }
    }
    /// The store in this process, when that is where the objects are: only then does the simulator
    /// answer S3 itself.
    fn local(&self) -> Option<&LocalObjects> {
        None
    }
}
