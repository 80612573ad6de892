//! Owns what each S3 operation does to the objects in this process.
//!
//! Bucket, owner, Region and the operation's own permission have been checked before these run.

use std::sync::Arc;

use http::StatusCode;
use http_body_util::BodyExt;
use hyper::body::Bytes;
use jiff::{SignedDuration, Timestamp};
use s3s::dto::*;
use s3s::{S3, S3Error, S3ErrorCode, S3Request, S3Response, S3Result};

use super::exchange::Exchange;
use super::objects::{self, Digests, no_such_bucket, no_such_key};
use super::versions;
use crate::objects::{BucketFacts, Kept, LocalObjects, StoredObject, Thaw, is_archive_class};

/// Keys per page at most (API reference, ListObjectsV2).
const PAGE: i32 = 1_000;

/// The operations over one store.
pub(super) struct Operations {
    pub(super) objects: LocalObjects,
}

impl Operations {
    /// Reads a kept object. S3 tells a caller that may not list the bucket that it is forbidden, not
    /// that the key is missing.
    fn kept(&self, exchange: &Exchange, bucket: &str, key: &str) -> S3Result<Kept> {
        let found = self.objects.buckets().get(bucket).and_then(|bucket| bucket.objects.get(key)).cloned();
        match found {
            Some(kept) => Ok(kept),
            None if exchange.may_also("s3:ListBucket", bucket, None) => Err(no_such_key()),
            None => exchange.require("s3:ListBucket", Some(bucket), None).and(Err(no_such_key())),
        }
    }

    /// Reads a version of an object, where one is named.
    fn kept_version(&self, exchange: &Exchange, bucket: &str, key: &str, version: Option<&str>) -> S3Result<Kept> {
        let Some(version) = version else { return self.kept(exchange, bucket, key) };
        let found = self.objects.buckets().get(bucket).and_then(|bucket| bucket.version(key, version)).cloned();
        found.ok_or_else(|| S3Error::with_message(S3ErrorCode::NoSuchVersion, "The specified version does not exist."))
    }

    /// Changes a kept object in place.
    fn change<T>(
        &self,
        exchange: &Exchange,
        bucket: &str,
        key: &str,
        change: impl FnOnce(&mut Kept) -> T,
    ) -> S3Result<T> {
        self.kept(exchange, bucket, key)?;
        self.objects
            .buckets()
            .get_mut(bucket)
            .and_then(|bucket| bucket.objects.get_mut(key))
            .map(change)
            .ok_or_else(no_such_key)
    }

    pub(super) fn encryption(&self, bucket: &str) -> ServerSideEncryption {
        let kms = self.objects.facts(bucket).is_some_and(|facts| facts.kms);
        ServerSideEncryption::from_static(if kms { "aws:kms" } else { "AES256" })
    }

    /// Reads the source of a copy, as S3 allows it to this caller.
    pub(super) fn copy_source(&self, exchange: &Exchange, source: &CopySource) -> S3Result<(String, String, Kept)> {
        let CopySource::Bucket { bucket, key, .. } = source else {
            return Err(S3ErrorCode::NotImplemented.into());
        };
        exchange.require_also("s3:GetObject", bucket, Some(key))?;
        let facts = self.objects.facts(bucket).ok_or_else(no_such_bucket)?;
        if facts.owner != exchange.caller().account {
            return Err(S3Error::with_message(S3ErrorCode::AccessDenied, "Access Denied"));
        }
        let kept = self.kept(exchange, bucket, key)?;
        if kept.at(self.objects.now()).is_frozen() {
            return Err(objects::frozen());
        }
        Ok((bucket.to_string(), key.to_string(), kept))
    }

    /// Refuses a write whose `If-Match` or `If-None-Match` does not hold.
    pub(super) fn check_conditions(
        &self,
        bucket: &str,
        key: &str,
        if_match: Option<&ETagCondition>,
        if_none_match: Option<&ETagCondition>,
    ) -> S3Result<()> {
        let buckets = self.objects.buckets();
        let found = buckets.get(bucket).and_then(|bucket| bucket.objects.get(key));
        let refused = || {
            S3Error::with_message(
                S3ErrorCode::PreconditionFailed,
                "At least one of the pre-conditions you specified did not hold",
            )
        };
        match (if_none_match, found) {
            (Some(condition), Some(_)) if condition.is_any() => return Err(refused()),
            (Some(condition), _) if !condition.is_any() => return Err(S3ErrorCode::NotImplemented.into()),
            _ => {}
        }
        match (if_match.and_then(ETagCondition::as_etag), found) {
            (Some(_), None) => Err(no_such_key()),
            (Some(wanted), Some(kept)) if wanted.value() != kept.e_tag => Err(refused()),
            _ => Ok(()),
        }
    }

    /// Puts an object; gives the id of its version, where versions are kept.
    pub(super) fn insert(&self, bucket: &str, key: &str, kept: Kept) -> S3Result<Option<String>> {
        let mut buckets = self.objects.buckets();
        Ok(buckets.get_mut(bucket).ok_or_else(no_such_bucket)?.put(key, kept))
    }
}

/// The exchange that the request belongs to.
pub(super) fn exchange<T>(request: &S3Request<T>) -> S3Result<Arc<Exchange>> {
    request.extensions.get::<Arc<Exchange>>().cloned().ok_or_else(|| S3ErrorCode::InternalError.into())
}

pub(super) async fn read(body: Option<StreamingBlob>) -> S3Result<Vec<u8>> {
    let Some(body) = body else { return Ok(Vec::new()) };
    let collected = s3s::Body::from(body)
        .collect()
        .await
        .map_err(|error| S3Error::with_message(S3ErrorCode::IncompleteBody, error.to_string()))?;
    Ok(collected.to_bytes().to_vec())
}

pub(super) fn length(bytes: usize) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

/// Reading conditions: 412 when `If-Match` fails, 304 when `If-None-Match` hits.
fn check_read(kept: &Kept, if_match: Option<&ETagCondition>, if_none_match: Option<&ETagCondition>) -> S3Result<()> {
    let hits = |condition: &ETagCondition| {
        condition.is_any() || condition.as_etag().is_some_and(|wanted| wanted.value() == kept.e_tag)
    };
    if if_match.is_some_and(|condition| !hits(condition)) {
        return Err(S3Error::with_message(
            S3ErrorCode::PreconditionFailed,
            "At least one of the pre-conditions you specified did not hold",
        ));
    }
    if if_none_match.is_some_and(hits) {
        return Err(S3ErrorCode::NotModified.into());
    }
    Ok(())
}

/// How long a thaw takes (facts of the S3 user guide, "Archive retrieval options": the upper end).
fn thaw_time(class: &str, tier: &str) -> Option<SignedDuration> {
    match (class, tier) {
        ("GLACIER", "Expedited") => Some(SignedDuration::from_mins(5)),
        ("GLACIER", "Standard") => Some(SignedDuration::from_hours(5)),
        ("GLACIER", "Bulk") | ("DEEP_ARCHIVE", "Standard") => Some(SignedDuration::from_hours(12)),
        ("DEEP_ARCHIVE", "Bulk") => Some(SignedDuration::from_hours(48)),
        _ => None,
    }
}

/// A listing, before it becomes version 1 or 2.
struct Page {
    contents: Vec<Object>,
    prefixes: Vec<CommonPrefix>,
    /// The last key or prefix on the page, when there is more.
    next: Option<String>,
}

/// What to list.
struct Wanted<'a> {
    bucket: &'a str,
    prefix: &'a str,
    delimiter: &'a str,
    after: &'a str,
    limit: usize,
    encode: bool,
}

/// Percent-encodes a key for `encoding-type=url`; `/` stays.
fn url_encoded(text: &str) -> String {
    text.split('/')
        .map(|part| form_urlencoded::byte_serialize(part.as_bytes()).collect::<String>().replace('+', "%20"))
        .collect::<Vec<_>>()
        .join("/")
}

impl Operations {
    fn page(&self, wanted: &Wanted<'_>) -> S3Result<Page> {
        let shown = |text: &str| if wanted.encode { url_encoded(text) } else { text.to_owned() };
        let buckets = self.objects.buckets();
        let bucket = buckets.get(wanted.bucket).ok_or_else(no_such_bucket)?;
        let mut page = Page { contents: Vec::new(), prefixes: Vec::new(), next: None };
        let mut last = String::new();
        for (key, kept) in &bucket.objects {
            let Some(rest) = key.strip_prefix(wanted.prefix) else { continue };
            let folder = (!wanted.delimiter.is_empty())
                .then(|| rest.find(wanted.delimiter))
                .flatten()
                .map(|at| format!("{}{}{}", wanted.prefix, &rest[..at], wanted.delimiter));
            let entry = folder.as_ref().unwrap_or(key);
            // A folder that the last page ended with holds keys that sort behind its name.
            if entry.as_str() <= wanted.after || *entry == last {
                continue;
            }
            if page.contents.len() + page.prefixes.len() >= wanted.limit {
                page.next = Some(last);
                break;
            }
            last.clone_from(entry);
            match folder {
                Some(folder) => page.prefixes.push(CommonPrefix { prefix: Some(shown(&folder)) }),
                None => page.contents.push(Object {
                    key: Some(shown(key)),
                    e_tag: Some(objects::e_tag(&kept.e_tag)),
                    last_modified: Some(objects::time(kept.last_modified)),
                    size: Some(length(kept.object.body.len())),
                    storage_class: Some(ObjectStorageClass::from(kept.object.storage_class.clone())),
                    ..Object::default()
                }),
            }
        }
        Ok(page)
    }
}

fn limit(max_keys: Option<i32>) -> S3Result<(i32, usize)> {
    let max_keys = max_keys.unwrap_or(PAGE);
    let invalid = || S3Error::with_message(S3ErrorCode::InvalidArgument, "max-keys must not be negative");
    let limit = usize::try_from(max_keys.min(PAGE)).map_err(|_| invalid())?;
    Ok((max_keys.min(PAGE), limit))
}

/// Continuation tokens are opaque: hex of the last entry.
fn token(entry: &str) -> String {
    entry.bytes().map(|byte| format!("{byte:02x}")).collect()
}

fn entry_of_token(token: &str) -> S3Result<String> {
    let invalid =
        || S3Error::with_message(S3ErrorCode::InvalidArgument, "The continuation token provided is incorrect");
    let bytes: Option<Vec<u8>> = (0..token.len())
        .step_by(2)
        .map(|at| token.get(at..at + 2).and_then(|pair| u8::from_str_radix(pair, 16).ok()))
        .collect();
    String::from_utf8(bytes.ok_or_else(invalid)?).map_err(|_| invalid())
}

#[async_trait::async_trait]
impl S3 for Operations {
    async fn create_bucket(&self, request: S3Request<CreateBucketInput>) -> S3Result<S3Response<CreateBucketOutput>> {
        let exchange = exchange(&request)?;
        let caller = exchange.caller();
        let name = request.input.bucket;
        let asked = request
            .input
            .create_bucket_configuration
            .and_then(|configuration| configuration.location_constraint)
            .map(|place| place.as_str().to_owned())
            .unwrap_or_else(|| "us-east-1".to_owned());
        if asked != caller.region {
            return Err(S3Error::with_message(
                S3ErrorCode::IllegalLocationConstraintException,
                format!(
                    "The {asked} location constraint is incompatible for the region specific endpoint this request was sent to."
                ),
            ));
        }
        match self.objects.facts(&name) {
            Some(facts) if facts.owner != caller.account => {
                return Err(S3Error::with_message(
                    S3ErrorCode::BucketAlreadyExists,
                    "The requested bucket name is not available.",
                ));
            }
            // us-east-1 alone answers 200 to its owner (API reference, CreateBucket).
            Some(_) if caller.region != "us-east-1" => {
                return Err(S3Error::with_message(
                    S3ErrorCode::BucketAlreadyOwnedByYou,
                    "Your previous request to create the named bucket succeeded and you already own it.",
                ));
            }
            Some(_) => {}
            None => self.objects.add_bucket(BucketFacts {
                name: name.clone(),
                region: asked,
                owner: caller.account.clone(),
                kms: false,
            }),
        }
        Ok(S3Response::new(CreateBucketOutput { location: Some(format!("/{name}")) }))
    }

    async fn delete_bucket(&self, request: S3Request<DeleteBucketInput>) -> S3Result<S3Response<DeleteBucketOutput>> {
        let mut buckets = self.objects.buckets();
        let bucket = buckets.get(&request.input.bucket).ok_or_else(no_such_bucket)?;
        if !bucket.objects.is_empty() || bucket.old.values().any(|versions| !versions.is_empty()) {
            return Err(S3Error::with_message(
                S3ErrorCode::BucketNotEmpty,
                "The bucket you tried to delete is not empty",
            ));
        }
        buckets.remove(&request.input.bucket);
        exchange(&request)?.permissions().remove_bucket(&request.input.bucket);
        Ok(S3Response::new(DeleteBucketOutput::default()))
    }

    async fn head_bucket(&self, request: S3Request<HeadBucketInput>) -> S3Result<S3Response<HeadBucketOutput>> {
        let facts = self.objects.facts(&request.input.bucket).ok_or_else(no_such_bucket)?;
        Ok(S3Response::new(HeadBucketOutput { bucket_region: Some(facts.region), ..HeadBucketOutput::default() }))
    }

    async fn get_bucket_location(
        &self,
        request: S3Request<GetBucketLocationInput>,
    ) -> S3Result<S3Response<GetBucketLocationOutput>> {
        let facts = self.objects.facts(&request.input.bucket).ok_or_else(no_such_bucket)?;
        // us-east-1 has no location constraint.
        let place = (facts.region != "us-east-1").then(|| BucketLocationConstraint::from(facts.region));
        Ok(S3Response::new(GetBucketLocationOutput { location_constraint: place }))
    }

    async fn list_buckets(&self, request: S3Request<ListBucketsInput>) -> S3Result<S3Response<ListBucketsOutput>> {
        let exchange = exchange(&request)?;
        let account = &exchange.caller().account;
        let prefix = request.input.prefix.unwrap_or_default();
        let buckets = self.objects.buckets();
        let owned = buckets
            .values()
            .filter(|bucket| bucket.facts.owner == *account && bucket.facts.name.starts_with(&prefix))
            .filter(|bucket| request.input.bucket_region.as_ref().is_none_or(|region| *region == bucket.facts.region))
            .map(|bucket| Bucket {
                bucket_region: Some(bucket.facts.region.clone()),
                creation_date: Some(objects::time(bucket.created)),
                name: Some(bucket.facts.name.clone()),
            })
            .collect();
        Ok(S3Response::new(ListBucketsOutput {
            buckets: Some(owned),
            owner: Some(Owner { display_name: None, id: Some(account.clone()) }),
            ..ListBucketsOutput::default()
        }))
    }

    async fn get_bucket_encryption(
        &self,
        request: S3Request<GetBucketEncryptionInput>,
    ) -> S3Result<S3Response<GetBucketEncryptionOutput>> {
        let bucket = &request.input.bucket;
        let kms_master_key_id = self.objects.buckets().get(bucket).and_then(|bucket| bucket.kms_key.clone());
        let rule = ServerSideEncryptionRule {
            apply_server_side_encryption_by_default: Some(ServerSideEncryptionByDefault {
                kms_master_key_id,
                sse_algorithm: self.encryption(bucket),
            }),
            bucket_key_enabled: Some(false),
        };
        Ok(S3Response::new(GetBucketEncryptionOutput {
            server_side_encryption_configuration: Some(ServerSideEncryptionConfiguration { rules: vec![rule] }),
        }))
    }

    async fn put_bucket_encryption(
        &self,
        request: S3Request<PutBucketEncryptionInput>,
    ) -> S3Result<S3Response<PutBucketEncryptionOutput>> {
        let rules = request.input.server_side_encryption_configuration.rules;
        let default = rules.into_iter().find_map(|rule| rule.apply_server_side_encryption_by_default);
        let default = default.ok_or_else(|| S3Error::new(S3ErrorCode::MalformedXML))?;
        let kms = match default.sse_algorithm.as_str() {
            "AES256" => false,
            "aws:kms" | "aws:kms:dsse" => true,
            _ => return Err(S3ErrorCode::MalformedXML.into()),
        };
        let mut buckets = self.objects.buckets();
        let bucket = buckets.get_mut(&request.input.bucket).ok_or_else(no_such_bucket)?;
        bucket.facts.kms = kms;
        bucket.kms_key = default.kms_master_key_id.filter(|_| kms);
        Ok(S3Response::new(PutBucketEncryptionOutput::default()))
    }

    async fn get_bucket_policy(
        &self,
        request: S3Request<GetBucketPolicyInput>,
    ) -> S3Result<S3Response<GetBucketPolicyOutput>> {
        versions::get_policy(&request)
    }

    async fn put_bucket_policy(
        &self,
        request: S3Request<PutBucketPolicyInput>,
    ) -> S3Result<S3Response<PutBucketPolicyOutput>> {
        versions::put_policy(&request)
    }

    async fn delete_bucket_policy(
        &self,
        request: S3Request<DeleteBucketPolicyInput>,
    ) -> S3Result<S3Response<DeleteBucketPolicyOutput>> {
        versions::delete_policy(&request)
    }

    async fn get_bucket_versioning(
        &self,
        request: S3Request<GetBucketVersioningInput>,
    ) -> S3Result<S3Response<GetBucketVersioningOutput>> {
        self.versioning(&request.input.bucket)
    }

    async fn put_bucket_versioning(
        &self,
        request: S3Request<PutBucketVersioningInput>,
    ) -> S3Result<S3Response<PutBucketVersioningOutput>> {
        self.set_versioning(request.input)
    }

    async fn list_object_versions(
        &self,
        request: S3Request<ListObjectVersionsInput>,
    ) -> S3Result<S3Response<ListObjectVersionsOutput>> {
        self.versions(request.input)
    }

    async fn list_objects_v2(
        &self,
        request: S3Request<ListObjectsV2Input>,
    ) -> S3Result<S3Response<ListObjectsV2Output>> {
        let input = request.input;
        let (max_keys, limit) = limit(input.max_keys)?;
        let encode = input.encoding_type.is_some();
        let shown = |text: Option<String>| text.map(|text| if encode { url_encoded(&text) } else { text });
        let after = match &input.continuation_token {
            Some(token) => entry_of_token(token)?,
            None => input.start_after.clone().unwrap_or_default(),
        };
        let page = self.page(&Wanted {
            bucket: &input.bucket,
            prefix: input.prefix.as_deref().unwrap_or_default(),
            delimiter: input.delimiter.as_deref().unwrap_or_default(),
            after: &after,
            limit,
            encode,
        })?;
        let count = page.contents.len() + page.prefixes.len();
        Ok(S3Response::new(ListObjectsV2Output {
            name: Some(input.bucket),
            prefix: Some(shown(input.prefix).unwrap_or_default()),
            delimiter: shown(input.delimiter),
            start_after: shown(input.start_after),
            encoding_type: input.encoding_type,
            max_keys: Some(max_keys),
            key_count: Some(i32::try_from(count).unwrap_or(i32::MAX)),
            continuation_token: input.continuation_token,
            is_truncated: Some(page.next.is_some()),
            next_continuation_token: page.next.as_deref().map(token),
            contents: Some(page.contents),
            common_prefixes: Some(page.prefixes),
            ..ListObjectsV2Output::default()
        }))
    }

    async fn list_objects(&self, request: S3Request<ListObjectsInput>) -> S3Result<S3Response<ListObjectsOutput>> {
        let input = request.input;
        let (max_keys, limit) = limit(input.max_keys)?;
        let encode = input.encoding_type.is_some();
        let shown = |text: Option<String>| text.map(|text| if encode { url_encoded(&text) } else { text });
        let page = self.page(&Wanted {
            bucket: &input.bucket,
            prefix: input.prefix.as_deref().unwrap_or_default(),
            delimiter: input.delimiter.as_deref().unwrap_or_default(),
            after: input.marker.as_deref().unwrap_or_default(),
            limit,
            encode,
        })?;
        Ok(S3Response::new(ListObjectsOutput {
            name: Some(input.bucket),
            prefix: Some(shown(input.prefix).unwrap_or_default()),
            marker: Some(shown(input.marker).unwrap_or_default()),
            delimiter: shown(input.delimiter),
            encoding_type: input.encoding_type,
            max_keys: Some(max_keys),
            is_truncated: Some(page.next.is_some()),
            next_marker: shown(page.next),
            contents: Some(page.contents),
            common_prefixes: Some(page.prefixes),
            ..ListObjectsOutput::default()
        }))
    }

    async fn put_object(&self, request: S3Request<PutObjectInput>) -> S3Result<S3Response<PutObjectOutput>> {
        let exchange = exchange(&request)?;
        let input = request.input;
        let tags = objects::tags_of_header(input.tagging.as_deref())?;
        if !tags.is_empty() {
            exchange.require_also("s3:PutObjectTagging", &input.bucket, Some(&input.key))?;
        }
        let storage_class = objects::storage_class(input.storage_class.as_ref())?;
        let metadata = objects::metadata(input.metadata)?;
        let body = read(input.body).await?;
        let digests = Digests {
            md5: input.content_md5,
            crc32: input.checksum_crc32,
            crc32c: input.checksum_crc32c,
            crc64nvme: input.checksum_crc64nvme,
            sha1: input.checksum_sha1,
            sha256: input.checksum_sha256,
        };
        let checksum = digests.check(&body)?;
        self.check_conditions(&input.bucket, &input.key, input.if_match.as_ref(), input.if_none_match.as_ref())?;
        let object = StoredObject { body, storage_class, metadata, tags, thawed: false };
        let kept = self.objects.keep(object, input.content_type);
        let e_tag = objects::e_tag(&kept.e_tag);
        let version_id = self.insert(&input.bucket, &input.key, kept)?;
        Ok(S3Response::new(PutObjectOutput {
            e_tag: Some(e_tag),
            version_id,
            server_side_encryption: Some(self.encryption(&input.bucket)),
            checksum_crc32: checksum.checksum_crc32,
            checksum_crc32c: checksum.checksum_crc32c,
            checksum_crc64nvme: checksum.checksum_crc64nvme,
            checksum_sha1: checksum.checksum_sha1,
            checksum_sha256: checksum.checksum_sha256,
            checksum_type: Some(ChecksumType::from_static("FULL_OBJECT")),
            ..PutObjectOutput::default()
        }))
    }

    async fn get_object(&self, request: S3Request<GetObjectInput>) -> S3Result<S3Response<GetObjectOutput>> {
        let exchange = exchange(&request)?;
        let input = request.input;
        let now = self.objects.now();
        let kept = self.kept_version(&exchange, &input.bucket, &input.key, input.version_id.as_deref())?;
        check_read(&kept, input.if_match.as_ref(), input.if_none_match.as_ref())?;
        if kept.at(now).is_frozen() {
            return Err(objects::frozen());
        }
        let full = kept.object.body.len();
        let (body, content_range) = match input.range {
            None => (kept.object.body.clone(), None),
            Some(range) => {
                let invalid =
                    || S3Error::with_message(S3ErrorCode::InvalidRange, "The requested range is not satisfiable");
                let range = range.check(u64::try_from(full).unwrap_or(u64::MAX)).map_err(|_| invalid())?;
                let first = usize::try_from(range.start).map_err(|_| invalid())?;
                let end = usize::try_from(range.end).map_err(|_| invalid())?;
                let part = kept.object.body.get(first..end).ok_or_else(invalid)?;
                (part.to_vec(), Some(format!("bytes {first}-{}/{full}", end.saturating_sub(1))))
            }
        };
        let whole = content_range.is_none();
        let checksum = match input.checksum_mode.filter(|_| whole) {
            Some(_) => Digests::default().check(&body)?.checksum_crc64nvme,
            None => None,
        };
        if !whole {
            exchange.set_status(StatusCode::PARTIAL_CONTENT);
        }
        Ok(S3Response::new(GetObjectOutput {
            accept_ranges: Some("bytes".to_owned()),
            content_length: Some(length(body.len())),
            body: Some(StreamingBlob::from(s3s::Body::from(Bytes::from(body)))),
            content_range,
            content_type: Some(kept.content_type.clone().unwrap_or_else(|| "binary/octet-stream".to_owned())),
            e_tag: Some(objects::e_tag(&kept.e_tag)),
            last_modified: Some(objects::time(kept.last_modified)),
            version_id: kept.version_id.clone(),
            metadata: Some(kept.object.metadata.clone().into_iter().collect()),
            restore: objects::restore_header(&kept, now),
            server_side_encryption: Some(self.encryption(&input.bucket)),
            storage_class: objects::shown_class(&kept.object),
            tag_count: i32::try_from(kept.object.tags.len()).ok().filter(|count| *count > 0),
            checksum_type: checksum.as_ref().map(|_| ChecksumType::from_static("FULL_OBJECT")),
            checksum_crc64nvme: checksum,
            ..GetObjectOutput::default()
        }))
    }

    async fn head_object(&self, request: S3Request<HeadObjectInput>) -> S3Result<S3Response<HeadObjectOutput>> {
        let exchange = exchange(&request)?;
        let input = request.input;
        let now = self.objects.now();
        let kept = self.kept_version(&exchange, &input.bucket, &input.key, input.version_id.as_deref())?;
        check_read(&kept, input.if_match.as_ref(), input.if_none_match.as_ref())?;
        let checksum = match input.checksum_mode {
            Some(_) => Digests::default().check(&kept.object.body)?.checksum_crc64nvme,
            None => None,
        };
        Ok(S3Response::new(HeadObjectOutput {
            accept_ranges: Some("bytes".to_owned()),
            content_length: Some(length(kept.object.body.len())),
            content_type: Some(kept.content_type.clone().unwrap_or_else(|| "binary/octet-stream".to_owned())),
            e_tag: Some(objects::e_tag(&kept.e_tag)),
            last_modified: Some(objects::time(kept.last_modified)),
            version_id: kept.version_id.clone(),
            metadata: Some(kept.object.metadata.clone().into_iter().collect()),
            restore: objects::restore_header(&kept, now),
            server_side_encryption: Some(self.encryption(&input.bucket)),
            storage_class: objects::shown_class(&kept.object),
            checksum_type: checksum.as_ref().map(|_| ChecksumType::from_static("FULL_OBJECT")),
            checksum_crc64nvme: checksum,
            ..HeadObjectOutput::default()
        }))
    }

    async fn delete_object(&self, request: S3Request<DeleteObjectInput>) -> S3Result<S3Response<DeleteObjectOutput>> {
        let input = request.input;
        Ok(S3Response::new(self.delete(&input.bucket, &input.key, input.version_id)?))
    }

    async fn delete_objects(
        &self,
        request: S3Request<DeleteObjectsInput>,
    ) -> S3Result<S3Response<DeleteObjectsOutput>> {
        let exchange = exchange(&request)?;
        let input = request.input;
        let mut deleted = Vec::new();
        let mut errors = Vec::new();
        for object in input.delete.objects {
            let action = if object.version_id.is_some() { "s3:DeleteObjectVersion" } else { "s3:DeleteObject" };
            match exchange.require_also(action, &input.bucket, Some(&object.key)) {
                Ok(()) => {
                    self.delete(&input.bucket, &object.key, object.version_id)?;
                    deleted.push(DeletedObject { key: Some(object.key), ..DeletedObject::default() });
                }
                Err(error) => errors.push(Error {
                    code: Some(error.code().as_str().to_owned()),
                    key: Some(object.key),
                    message: error.message().map(str::to_owned),
                    version_id: None,
                }),
            }
        }
        let quiet = input.delete.quiet == Some(true);
        Ok(S3Response::new(DeleteObjectsOutput {
            deleted: (!quiet).then_some(deleted),
            errors: Some(errors),
            request_charged: None,
        }))
    }

    async fn copy_object(&self, request: S3Request<CopyObjectInput>) -> S3Result<S3Response<CopyObjectOutput>> {
        let exchange = exchange(&request)?;
        let input = request.input;
        let (from_bucket, from_key, source) = self.copy_source(&exchange, &input.copy_source)?;
        check_read(&source, input.copy_source_if_match.as_ref(), input.copy_source_if_none_match.as_ref())?;
        let replace_metadata =
            input.metadata_directive.as_ref().is_some_and(|directive| directive.as_str() == "REPLACE");
        let replace_tags = input.tagging_directive.as_ref().is_some_and(|directive| directive.as_str() == "REPLACE");
        let storage_class = objects::storage_class(input.storage_class.as_ref())?;
        let same_place = from_bucket == input.bucket && from_key == input.key;
        if same_place && !replace_metadata && !replace_tags && storage_class == source.object.storage_class {
            return Err(S3Error::with_message(
                S3ErrorCode::InvalidRequest,
                "This copy request is illegal because it is trying to copy an object to itself without changing the object's metadata, storage class, website redirect location or encryption attributes.",
            ));
        }
        let tags = match replace_tags {
            true => objects::tags_of_header(input.tagging.as_deref())?,
            false => source.object.tags.clone(),
        };
        if !tags.is_empty() {
            if !replace_tags {
                exchange.require_also("s3:GetObjectTagging", &from_bucket, Some(&from_key))?;
            }
            exchange.require_also("s3:PutObjectTagging", &input.bucket, Some(&input.key))?;
        }
        let (metadata, content_type) = match replace_metadata {
            true => (objects::metadata(input.metadata)?, input.content_type),
            false => (source.object.metadata.clone(), source.content_type.clone()),
        };
        let object = StoredObject { body: source.object.body.clone(), storage_class, metadata, tags, thawed: false };
        let kept = self.objects.keep(object, content_type);
        let result = CopyObjectResult {
            e_tag: Some(objects::e_tag(&kept.e_tag)),
            last_modified: Some(objects::time(kept.last_modified)),
            ..CopyObjectResult::default()
        };
        self.insert(&input.bucket, &input.key, kept)?;
        Ok(S3Response::new(CopyObjectOutput {
            copy_object_result: Some(result),
            server_side_encryption: Some(self.encryption(&input.bucket)),
            ..CopyObjectOutput::default()
        }))
    }

    async fn get_object_tagging(
        &self,
        request: S3Request<GetObjectTaggingInput>,
    ) -> S3Result<S3Response<GetObjectTaggingOutput>> {
        let exchange = exchange(&request)?;
        let kept = self.kept(&exchange, &request.input.bucket, &request.input.key)?;
        Ok(S3Response::new(GetObjectTaggingOutput { tag_set: objects::tag_set(&kept.object.tags), version_id: None }))
    }

    async fn put_object_tagging(
        &self,
        request: S3Request<PutObjectTaggingInput>,
    ) -> S3Result<S3Response<PutObjectTaggingOutput>> {
        let exchange = exchange(&request)?;
        let input = request.input;
        let tags = objects::tags_of_set(input.tagging.tag_set)?;
        self.change(&exchange, &input.bucket, &input.key, |kept| kept.object.tags = tags)?;
        Ok(S3Response::new(PutObjectTaggingOutput::default()))
    }

    async fn delete_object_tagging(
        &self,
        request: S3Request<DeleteObjectTaggingInput>,
    ) -> S3Result<S3Response<DeleteObjectTaggingOutput>> {
        let exchange = exchange(&request)?;
        let input = request.input;
        self.change(&exchange, &input.bucket, &input.key, |kept| kept.object.tags.clear())?;
        Ok(S3Response::new(DeleteObjectTaggingOutput::default()))
    }

    async fn restore_object(
        &self,
        request: S3Request<RestoreObjectInput>,
    ) -> S3Result<S3Response<RestoreObjectOutput>> {
        let exchange = exchange(&request)?;
        let input = request.input;
        let asked = input.restore_request.unwrap_or_default();
        let days = asked.days.ok_or_else(|| S3Error::new(S3ErrorCode::MalformedXML))?;
        let tier = asked
            .glacier_job_parameters
            .map(|job| job.tier)
            .or(asked.tier)
            .map_or_else(|| "Standard".to_owned(), |tier| tier.as_str().to_owned());
        let now = self.objects.now();
        let fixed = self.objects.thaw_time();
        let status =
            self.change(&exchange, &input.bucket, &input.key, |kept| thaw(kept, now, &tier, i64::from(days), fixed))??;
        exchange.set_status(status);
        Ok(S3Response::new(RestoreObjectOutput::default()))
    }

    async fn create_multipart_upload(
        &self,
        request: S3Request<CreateMultipartUploadInput>,
    ) -> S3Result<S3Response<CreateMultipartUploadOutput>> {
        self.begin_upload(request)
    }

    async fn upload_part(&self, request: S3Request<UploadPartInput>) -> S3Result<S3Response<UploadPartOutput>> {
        self.put_part(request).await
    }

    async fn upload_part_copy(
        &self,
        request: S3Request<UploadPartCopyInput>,
    ) -> S3Result<S3Response<UploadPartCopyOutput>> {
        self.copy_part(request)
    }

    async fn complete_multipart_upload(
        &self,
        request: S3Request<CompleteMultipartUploadInput>,
    ) -> S3Result<S3Response<CompleteMultipartUploadOutput>> {
        self.complete_upload(request)
    }

    async fn abort_multipart_upload(
        &self,
        request: S3Request<AbortMultipartUploadInput>,
    ) -> S3Result<S3Response<AbortMultipartUploadOutput>> {
        self.abort_upload(request)
    }

    async fn list_parts(&self, request: S3Request<ListPartsInput>) -> S3Result<S3Response<ListPartsOutput>> {
        self.parts(request)
    }
}

/// Starts a thaw (202), or makes one that is ready last longer (200).
fn thaw(kept: &mut Kept, now: Timestamp, tier: &str, days: i64, fixed: Option<SignedDuration>) -> S3Result<StatusCode> {
    if !is_archive_class(&kept.object.storage_class) {
        return Err(S3Error::with_message(
            S3ErrorCode::InvalidObjectState,
            "Restore is not allowed for the object's current storage class",
        ));
    }
    let Some(documented) = thaw_time(&kept.object.storage_class, tier) else {
        return Err(S3Error::with_message(
            S3ErrorCode::InvalidArgument,
            format!("the tier {tier} is not offered for {}", kept.object.storage_class),
        ));
    };
    let stay = SignedDuration::from_hours(24_i64.saturating_mul(days));
    let until = |from: Timestamp| from.saturating_add(stay).unwrap_or(Timestamp::MAX);
    match kept.thaw {
        Some(thaw) if now < thaw.ready_at => {
            Err(S3Error::with_message(S3ErrorCode::RestoreAlreadyInProgress, "Object restore is already in progress"))
        }
        Some(thaw) if now < thaw.expires_at => {
            kept.thaw = Some(Thaw { expires_at: until(now), ..thaw });
            Ok(StatusCode::OK)
        }
        _ => {
            let ready_at = now.saturating_add(fixed.unwrap_or(documented)).unwrap_or(now);
            kept.thaw = Some(Thaw { ready_at, expires_at: until(ready_at) });
            Ok(StatusCode::ACCEPTED)
        }
    }
}
