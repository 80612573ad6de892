//! Owns the versions of objects, and the policies of buckets.

use s3s::dto::*;
use s3s::{S3Error, S3ErrorCode, S3Request, S3Response, S3Result};
use serde_json::Value;

use super::objects::{self, no_such_bucket};
use super::operations::{Operations, exchange, length};

/// Versions of a listing at most. Simulated buckets are small: more are refused, and not cut off.
const PAGE: usize = 1_000;

impl Operations {
    /// Deletes an object, or one version of it for ever.
    pub(super) fn delete(&self, bucket: &str, key: &str, version: Option<String>) -> S3Result<DeleteObjectOutput> {
        let now = self.objects.now();
        let mut buckets = self.objects.buckets();
        let bucket = buckets.get_mut(bucket).ok_or_else(no_such_bucket)?;
        let (version_id, marker) = match version {
            Some(version) => {
                bucket.delete_version(key, &version);
                (Some(version), false)
            }
            None => (bucket.delete(key, now), true),
        };
        let delete_marker = (marker && version_id.is_some()).then_some(true);
        Ok(DeleteObjectOutput { delete_marker, version_id, ..DeleteObjectOutput::default() })
    }

    pub(super) fn versioning(&self, bucket: &str) -> S3Result<S3Response<GetBucketVersioningOutput>> {
        let buckets = self.objects.buckets();
        let versioned = buckets.get(bucket).ok_or_else(no_such_bucket)?.versioned;
        let status = versioned.then(|| BucketVersioningStatus::from_static(BucketVersioningStatus::ENABLED));
        Ok(S3Response::new(GetBucketVersioningOutput { mfa_delete: None, status }))
    }

    pub(super) fn set_versioning(
        &self,
        input: PutBucketVersioningInput,
    ) -> S3Result<S3Response<PutBucketVersioningOutput>> {
        let enabled = input.versioning_configuration.status.is_some_and(|status| status.as_str() == "Enabled");
        if !enabled {
            return Err(S3Error::with_message(S3ErrorCode::NotImplemented, "versioning can only be enabled here"));
        }
        match self.objects.keep_versions(&input.bucket) {
            true => Ok(S3Response::new(PutBucketVersioningOutput::default())),
            false => Err(no_such_bucket()),
        }
    }

    pub(super) fn versions(&self, input: ListObjectVersionsInput) -> S3Result<S3Response<ListObjectVersionsOutput>> {
        let buckets = self.objects.buckets();
        let bucket = buckets.get(&input.bucket).ok_or_else(no_such_bucket)?;
        let prefix = input.prefix.clone().unwrap_or_default();
        let (mut versions, mut markers) = (Vec::new(), Vec::new());
        let version = |key: &str, kept: &crate::objects::Kept, latest: bool| ObjectVersion {
            e_tag: Some(objects::e_tag(&kept.e_tag)),
            is_latest: Some(latest),
            key: Some(key.to_owned()),
            last_modified: Some(objects::time(kept.last_modified)),
            size: Some(length(kept.object.body.len())),
            version_id: Some(kept.version_id.clone().unwrap_or_else(|| "null".to_owned())),
            ..ObjectVersion::default()
        };
        let keys: std::collections::BTreeSet<&String> = bucket.objects.keys().chain(bucket.old.keys()).collect();
        for key in keys.into_iter().filter(|key| key.starts_with(&prefix)) {
            let newest = bucket.objects.get(key);
            versions.extend(newest.map(|kept| version(key, kept, true)));
            for (at, old) in bucket.old.get(key).into_iter().flatten().rev().enumerate() {
                match &old.kept {
                    Some(kept) => versions.push(version(key, kept, false)),
                    None => markers.push(DeleteMarkerEntry {
                        is_latest: Some(newest.is_none() && at == 0),
                        key: Some(key.clone()),
                        last_modified: Some(objects::time(old.at)),
                        owner: None,
                        version_id: Some(old.version_id.clone()),
                    }),
                }
            }
        }
        if versions.len() + markers.len() > PAGE {
            return Err(S3ErrorCode::NotImplemented.into());
        }
        Ok(S3Response::new(ListObjectVersionsOutput {
            name: Some(input.bucket),
            prefix: input.prefix,
            is_truncated: Some(false),
            versions: Some(versions),
            delete_markers: Some(markers),
            ..ListObjectVersionsOutput::default()
        }))
    }
}

pub(super) fn get_policy(request: &S3Request<GetBucketPolicyInput>) -> S3Result<S3Response<GetBucketPolicyOutput>> {
    let policy = exchange(request)?.permissions().bucket(&request.input.bucket);
    let missing = || S3Error::with_message(S3ErrorCode::NoSuchBucketPolicy, "The bucket policy does not exist");
    Ok(S3Response::new(GetBucketPolicyOutput { policy: Some(policy.ok_or_else(missing)?.to_string()) }))
}

pub(super) fn put_policy(request: &S3Request<PutBucketPolicyInput>) -> S3Result<S3Response<PutBucketPolicyOutput>> {
    let malformed = |why: String| S3Error::with_message(S3ErrorCode::MalformedPolicy, why);
    let policy: Value = serde_json::from_str(&request.input.policy).map_err(|error| malformed(error.to_string()))?;
    exchange(request)?.permissions().set_bucket(&request.input.bucket, &policy).map_err(malformed)?;
    let mut response = S3Response::new(PutBucketPolicyOutput::default());
    response.status = Some(http::StatusCode::NO_CONTENT);
    Ok(response)
}

pub(super) fn delete_policy(
    request: &S3Request<DeleteBucketPolicyInput>,
) -> S3Result<S3Response<DeleteBucketPolicyOutput>> {
    exchange(request)?.permissions().remove_bucket(&request.input.bucket);
    Ok(S3Response::new(DeleteBucketPolicyOutput::default()))
}
