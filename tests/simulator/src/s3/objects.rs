//! Owns how objects, tags, metadata and checksums look in S3's messages, and what S3 refuses in them.

use std::collections::{BTreeMap, HashMap};

use http::StatusCode;
use jiff::Timestamp;
use s3s::checksum::ChecksumHasher;
use s3s::crypto::{Checksum as _, Crc32, Crc32c, Crc64Nvme, Md5, Sha1, Sha256};
use s3s::dto;
use s3s::{S3Error, S3ErrorCode, S3Result};

use crate::objects::{Kept, StoredObject, is_archive_class};

/// Storage classes that a general purpose bucket takes.
const STORAGE_CLASSES: [&str; 8] = [
    "STANDARD",
    "REDUCED_REDUNDANCY",
    "STANDARD_IA",
    "ONEZONE_IA",
    "INTELLIGENT_TIERING",
    "GLACIER",
    "DEEP_ARCHIVE",
    "GLACIER_IR",
];

/// Most bytes of names and values of user metadata (S3 user guide, "Working with object metadata").
const METADATA_BYTES: usize = 2_048;

/// Most tags of an object, and the most characters of a key and of a value (S3 user guide, "Categorizing
/// your objects using tags").
const TAGS: usize = 10;
const TAG_KEY_CHARACTERS: usize = 128;
const TAG_VALUE_CHARACTERS: usize = 256;

pub(super) fn no_such_key() -> S3Error {
    S3Error::with_message(S3ErrorCode::NoSuchKey, "The specified key does not exist.")
}

pub(super) fn no_such_bucket() -> S3Error {
    S3Error::with_message(S3ErrorCode::NoSuchBucket, "The specified bucket does not exist")
}

/// What S3 says to a GET or a copy of an object that is archived and not thawed.
pub(super) fn frozen() -> S3Error {
    S3Error::with_message(S3ErrorCode::InvalidObjectState, "The operation is not valid for the object's storage class")
}

pub(super) fn storage_class(asked: Option<&dto::StorageClass>) -> S3Result<String> {
    let class = asked.map_or("STANDARD", dto::StorageClass::as_str);
    if STORAGE_CLASSES.contains(&class) {
        return Ok(class.to_owned());
    }
    Err(S3Error::with_message(S3ErrorCode::InvalidStorageClass, "The storage class you specified is not valid"))
}

/// The class as replies carry it: S3 leaves it out for `STANDARD`.
pub(super) fn shown_class(object: &StoredObject) -> Option<dto::StorageClass> {
    (object.storage_class != "STANDARD").then(|| dto::StorageClass::from(object.storage_class.clone()))
}

pub(super) fn metadata(given: Option<HashMap<String, String>>) -> S3Result<BTreeMap<String, String>> {
    let metadata: BTreeMap<_, _> = given.into_iter().flatten().collect();
    let bytes: usize = metadata.iter().map(|(name, value)| name.len() + value.len()).sum();
    if bytes > METADATA_BYTES {
        return Err(S3Error::with_message(
            S3ErrorCode::MetadataTooLarge,
            "Your metadata headers exceed the maximum allowed metadata size",
        ));
    }
    Ok(metadata)
}

/// Tags of the `x-amz-tagging` header, which is a query string.
pub(super) fn tags_of_header(header: Option<&str>) -> S3Result<BTreeMap<String, String>> {
    let pairs = form_urlencoded::parse(header.unwrap_or_default().as_bytes());
    checked_tags(pairs.map(|(key, value)| (key.into_owned(), value.into_owned())))
}

/// Tags of a `Tagging` document.
pub(super) fn tags_of_set(set: Vec<dto::Tag>) -> S3Result<BTreeMap<String, String>> {
    checked_tags(set.into_iter().map(|tag| (tag.key.unwrap_or_default(), tag.value.unwrap_or_default())))
}

fn checked_tags(pairs: impl Iterator<Item = (String, String)>) -> S3Result<BTreeMap<String, String>> {
    let invalid = |message: &'static str| S3Error::with_message(S3ErrorCode::InvalidTag, message);
    let mut tags = BTreeMap::new();
    for (key, value) in pairs {
        if key.is_empty() || key.chars().count() > TAG_KEY_CHARACTERS {
            return Err(invalid("The TagKey you have provided is invalid"));
        }
        if value.chars().count() > TAG_VALUE_CHARACTERS {
            return Err(invalid("The TagValue you have provided is invalid"));
        }
        if tags.insert(key, value).is_some() {
            return Err(invalid("Cannot provide multiple Tags with the same key"));
        }
    }
    if tags.len() > TAGS {
        let mut error =
            S3Error::with_message(S3ErrorCode::Custom("BadRequest".into()), "Object tags cannot be greater than 10");
        error.set_status_code(StatusCode::BAD_REQUEST);
        return Err(error);
    }
    Ok(tags)
}

pub(super) fn tag_set(tags: &BTreeMap<String, String>) -> Vec<dto::Tag> {
    tags.iter().map(|(key, value)| dto::Tag { key: Some(key.clone()), value: Some(value.clone()) }).collect()
}

/// The `x-amz-restore` header.
pub(super) fn restore_header(kept: &Kept, now: Timestamp) -> Option<String> {
    let thaw = kept.thaw.filter(|thaw| now < thaw.expires_at && is_archive_class(&kept.object.storage_class))?;
    if now < thaw.ready_at {
        return Some("ongoing-request=\"true\"".to_owned());
    }
    let until = thaw.expires_at.strftime("%a, %d %b %Y %H:%M:%S GMT");
    Some(format!("ongoing-request=\"false\", expiry-date=\"{until}\""))
}

pub(super) fn time(at: Timestamp) -> dto::Timestamp {
    let at = std::time::SystemTime::try_from(at).unwrap_or(std::time::SystemTime::UNIX_EPOCH);
    dto::Timestamp::from(at)
}

/// The entity tag of a kept object.
pub(super) fn e_tag(value: &str) -> dto::ETag {
    dto::ETag::Strong(value.to_owned())
}

/// What the request said about its body: `Content-MD5` and `x-amz-checksum-…`.
#[derive(Debug, Default)]
pub(super) struct Digests {
    pub(super) md5: Option<String>,
    pub(super) crc32: Option<String>,
    pub(super) crc32c: Option<String>,
    pub(super) crc64nvme: Option<String>,
    pub(super) sha1: Option<String>,
    pub(super) sha256: Option<String>,
}

impl Digests {
    /// Compares what was said with the bytes that came. The checksums that were given are returned
    /// for the reply; without any it is CRC64NVME, which S3 computes by itself.
    pub(super) fn check(&self, body: &[u8]) -> S3Result<dto::Checksum> {
        let none =
            [&self.crc32, &self.crc32c, &self.crc64nvme, &self.sha1, &self.sha256].iter().all(|one| one.is_none());
        let mut hasher = ChecksumHasher {
            crc32: self.crc32.as_ref().map(|_| Crc32::new()),
            crc32c: self.crc32c.as_ref().map(|_| Crc32c::new()),
            crc64nvme: (none || self.crc64nvme.is_some()).then(Crc64Nvme::new),
            sha1: self.sha1.as_ref().map(|_| Sha1::new()),
            sha256: self.sha256.as_ref().map(|_| Sha256::new()),
        };
        hasher.update(body);
        let found = hasher.finalize();
        let differs = |said: &Option<String>, found: &Option<String>| said.is_some() && said != found;
        if differs(&self.crc32, &found.checksum_crc32)
            || differs(&self.crc32c, &found.checksum_crc32c)
            || differs(&self.crc64nvme, &found.checksum_crc64nvme)
            || differs(&self.sha1, &found.checksum_sha1)
            || differs(&self.sha256, &found.checksum_sha256)
        {
            return Err(S3Error::with_message(
                S3ErrorCode::BadDigest,
                "The checksum you specified did not match the calculated checksum.",
            ));
        }
        if let Some(said) = &self.md5
            && *said != base64(&Md5::checksum(body))
        {
            return Err(S3Error::with_message(
                S3ErrorCode::BadDigest,
                "The Content-MD5 you specified did not match what we received.",
            ));
        }
        Ok(found)
    }
}

/// Standard base64 with padding.
fn base64(bytes: &[u8]) -> String {
    aws_smithy_types::base64::encode(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_checksum_is_a_bad_digest_and_a_right_one_comes_back() {
        let right = Digests { crc32: Some("NhCmhg==".to_owned()), ..Digests::default() };
        assert_eq!(right.check(b"hello").unwrap().checksum_crc32.as_deref(), Some("NhCmhg=="));
        let error = right.check(b"hullo").unwrap_err();
        assert_eq!(error.code(), &S3ErrorCode::BadDigest);
        let md5 = Digests { md5: Some("XUFAKrxLKna5cZ2REBfFkg==".to_owned()), ..Digests::default() };
        assert!(md5.check(b"hello").unwrap().checksum_crc64nvme.is_some());
        assert_eq!(md5.check(b"").unwrap_err().code(), &S3ErrorCode::BadDigest);
    }

    #[test]
    fn eleven_tags_and_a_repeated_key_are_refused() {
        let header = (0..11).map(|n| format!("k{n}=v")).collect::<Vec<_>>().join("&");
        assert!(tags_of_header(Some(&header)).is_err());
        assert!(tags_of_header(Some("a=1&a=2")).is_err());
        assert_eq!(tags_of_header(Some("a%20b=c%3Ad")).unwrap()["a b"], "c:d");
    }
}
