//! Owns uploads in parts.

use std::collections::BTreeMap;

use s3s::dto::*;
use s3s::{S3Error, S3ErrorCode, S3Request, S3Response, S3Result};

use super::objects::{self, Digests, no_such_bucket};
use super::operations::{Operations, exchange, length, read};
use crate::objects::{Part as KeptPart, StoredObject, Upload, md5_hex};

/// Smallest part except the last (S3 user guide, "Amazon S3 multipart upload limits").
const SMALLEST_PART: usize = 5 * 1024 * 1024;

fn no_such_upload() -> S3Error {
    S3Error::with_message(
        S3ErrorCode::NoSuchUpload,
        "The specified upload does not exist. The upload ID may be invalid, or the upload may have been aborted or completed.",
    )
}

impl Operations {
    pub(super) fn begin_upload(
        &self,
        request: S3Request<CreateMultipartUploadInput>,
    ) -> S3Result<S3Response<CreateMultipartUploadOutput>> {
        let exchange = exchange(&request)?;
        let input = request.input;
        let tags = objects::tags_of_header(input.tagging.as_deref())?;
        if !tags.is_empty() {
            exchange.require_also("s3:PutObjectTagging", &input.bucket, Some(&input.key))?;
        }
        let object = StoredObject {
            body: Vec::new(),
            storage_class: objects::storage_class(input.storage_class.as_ref())?,
            metadata: objects::metadata(input.metadata)?,
            tags,
            thawed: false,
        };
        let initiated = self.objects.now();
        let mut buckets = self.objects.buckets();
        let bucket = buckets.get_mut(&input.bucket).ok_or_else(no_such_bucket)?;
        let id = md5_hex(format!("{}/{}/{initiated}/{}", input.bucket, input.key, bucket.uploads.len()).as_bytes());
        let upload = Upload {
            key: input.key.clone(),
            object,
            content_type: input.content_type,
            initiated,
            parts: BTreeMap::new(),
        };
        bucket.uploads.insert(id.clone(), upload);
        Ok(S3Response::new(CreateMultipartUploadOutput {
            bucket: Some(input.bucket),
            key: Some(input.key),
            upload_id: Some(id),
            checksum_algorithm: input.checksum_algorithm,
            checksum_type: input.checksum_type,
            ..CreateMultipartUploadOutput::default()
        }))
    }

    pub(super) async fn put_part(&self, request: S3Request<UploadPartInput>) -> S3Result<S3Response<UploadPartOutput>> {
        let input = request.input;
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
        let e_tag = self.keep_part(&input.bucket, &input.key, &input.upload_id, input.part_number, body)?;
        Ok(S3Response::new(UploadPartOutput {
            e_tag: Some(objects::e_tag(&e_tag)),
            checksum_crc32: checksum.checksum_crc32,
            checksum_crc32c: checksum.checksum_crc32c,
            checksum_crc64nvme: checksum.checksum_crc64nvme,
            checksum_sha1: checksum.checksum_sha1,
            checksum_sha256: checksum.checksum_sha256,
            ..UploadPartOutput::default()
        }))
    }

    pub(super) fn copy_part(
        &self,
        request: S3Request<UploadPartCopyInput>,
    ) -> S3Result<S3Response<UploadPartCopyOutput>> {
        let exchange = exchange(&request)?;
        let input = request.input;
        let (_, _, source) = self.copy_source(&exchange, &input.copy_source)?;
        let body = match input.copy_source_range.as_deref() {
            None => source.object.body,
            Some(range) => {
                let invalid = || {
                    S3Error::with_message(
                        S3ErrorCode::InvalidArgument,
                        "The x-amz-copy-source-range value is not valid",
                    )
                };
                let full = u64::try_from(source.object.body.len()).map_err(|_| invalid())?;
                let range = Range::parse(range).map_err(|_| invalid())?.check(full).map_err(|_| invalid())?;
                let first = usize::try_from(range.start).map_err(|_| invalid())?;
                let end = usize::try_from(range.end).map_err(|_| invalid())?;
                source.object.body.get(first..end).ok_or_else(invalid)?.to_vec()
            }
        };
        let e_tag = self.keep_part(&input.bucket, &input.key, &input.upload_id, input.part_number, body)?;
        Ok(S3Response::new(UploadPartCopyOutput {
            copy_part_result: Some(CopyPartResult {
                e_tag: Some(objects::e_tag(&e_tag)),
                last_modified: Some(objects::time(self.objects.now())),
                ..CopyPartResult::default()
            }),
            ..UploadPartCopyOutput::default()
        }))
    }

    fn keep_part(&self, bucket: &str, key: &str, upload: &str, number: i32, body: Vec<u8>) -> S3Result<String> {
        let part = KeptPart { e_tag: md5_hex(&body), body, last_modified: self.objects.now() };
        let e_tag = part.e_tag.clone();
        let mut buckets = self.objects.buckets();
        let bucket = buckets.get_mut(bucket).ok_or_else(no_such_bucket)?;
        let upload = bucket.uploads.get_mut(upload).filter(|upload| upload.key == key).ok_or_else(no_such_upload)?;
        upload.parts.insert(number, part);
        Ok(e_tag)
    }

    pub(super) fn complete_upload(
        &self,
        request: S3Request<CompleteMultipartUploadInput>,
    ) -> S3Result<S3Response<CompleteMultipartUploadOutput>> {
        let input = request.input;
        self.check_conditions(&input.bucket, &input.key, input.if_match.as_ref(), input.if_none_match.as_ref())?;
        let upload = self
            .objects
            .buckets()
            .get(&input.bucket)
            .and_then(|bucket| bucket.uploads.get(&input.upload_id))
            .filter(|upload| upload.key == input.key)
            .cloned()
            .ok_or_else(no_such_upload)?;
        let parts = chosen(&upload, input.multipart_upload.and_then(|list| list.parts).unwrap_or_default())?;
        let count = parts.len();
        let digests: Vec<u8> = parts
            .iter()
            .flat_map(|part| (0..32).step_by(2).filter_map(|at| part.e_tag.get(at..at + 2)))
            .filter_map(|pair| u8::from_str_radix(pair, 16).ok())
            .collect();
        let body = parts.into_iter().flat_map(|part| part.body.iter().copied()).collect();
        let mut kept = self.objects.keep(StoredObject { body, ..upload.object.clone() }, upload.content_type.clone());
        kept.e_tag = format!("{}-{count}", md5_hex(&digests));
        let e_tag = objects::e_tag(&kept.e_tag);
        self.insert(&input.bucket, &input.key, kept)?;
        if let Some(bucket) = self.objects.buckets().get_mut(&input.bucket) {
            bucket.uploads.remove(&input.upload_id);
        }
        Ok(S3Response::new(CompleteMultipartUploadOutput {
            location: Some(format!("/{}/{}", input.bucket, input.key)),
            server_side_encryption: Some(self.encryption(&input.bucket)),
            bucket: Some(input.bucket),
            key: Some(input.key),
            e_tag: Some(e_tag),
            ..CompleteMultipartUploadOutput::default()
        }))
    }

    pub(super) fn abort_upload(
        &self,
        request: S3Request<AbortMultipartUploadInput>,
    ) -> S3Result<S3Response<AbortMultipartUploadOutput>> {
        let mut buckets = self.objects.buckets();
        let bucket = buckets.get_mut(&request.input.bucket).ok_or_else(no_such_bucket)?;
        bucket.uploads.remove(&request.input.upload_id).ok_or_else(no_such_upload)?;
        Ok(S3Response::new(AbortMultipartUploadOutput::default()))
    }

    pub(super) fn parts(&self, request: S3Request<ListPartsInput>) -> S3Result<S3Response<ListPartsOutput>> {
        let input = request.input;
        let buckets = self.objects.buckets();
        let bucket = buckets.get(&input.bucket).ok_or_else(no_such_bucket)?;
        let upload = bucket.uploads.get(&input.upload_id).ok_or_else(no_such_upload)?;
        let parts = upload
            .parts
            .iter()
            .map(|(number, part)| Part {
                part_number: Some(*number),
                e_tag: Some(objects::e_tag(&part.e_tag)),
                last_modified: Some(objects::time(part.last_modified)),
                size: Some(length(part.body.len())),
                ..Part::default()
            })
            .collect();
        Ok(S3Response::new(ListPartsOutput {
            bucket: Some(input.bucket),
            key: Some(input.key),
            upload_id: Some(input.upload_id),
            is_truncated: Some(false),
            storage_class: Some(StorageClass::from(upload.object.storage_class.clone())),
            parts: Some(parts),
            ..ListPartsOutput::default()
        }))
    }
}

/// The parts that the caller names, in order, each there, unchanged and large enough.
fn chosen(upload: &Upload, named: Vec<CompletedPart>) -> S3Result<Vec<&KeptPart>> {
    if named.is_empty() {
        return Err(S3ErrorCode::MalformedXML.into());
    }
    if named.windows(2).any(|pair| matches!(pair, [one, next] if one.part_number >= next.part_number)) {
        return Err(S3Error::with_message(
            S3ErrorCode::InvalidPartOrder,
            "The list of parts was not in ascending order. Parts must be ordered by part number.",
        ));
    }
    let last = named.len() - 1;
    let mut parts = Vec::with_capacity(named.len());
    for (at, part) in named.into_iter().enumerate() {
        let number = part.part_number.unwrap_or_default();
        let kept = upload
            .parts
            .get(&number)
            .filter(|kept| part.e_tag.as_ref().is_none_or(|tag| tag.value() == kept.e_tag))
            .ok_or_else(|| {
                S3Error::with_message(
                    S3ErrorCode::InvalidPart,
                    "One or more of the specified parts could not be found. The part may not have been uploaded, or the specified entity tag may not match the part's entity tag.",
                )
            })?;
        if at != last && kept.body.len() < SMALLEST_PART {
            return Err(S3Error::with_message(
                S3ErrorCode::EntityTooSmall,
                "Your proposed upload is smaller than the minimum allowed size",
            ));
        }
        parts.push(kept);
    }
    Ok(parts)
}
