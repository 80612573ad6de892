//! Owns buckets and objects.

use ami_backup_core::{
    failure::{AwsFailure, FailureClass},
    id::{BucketName, Region},
    store::ObjectFacts,
};
use aws_sdk_s3::{operation::put_object::builders::PutObjectFluentBuilder, primitives::ByteStream};
use futures_util::{StreamExt, TryStreamExt, stream};

use crate::{Aws, failure::Call};

/// Header in which S3 says where a bucket is, in refusals too.
const BUCKET_REGION: &str = "x-amz-bucket-region";

/// Objects that are read at once. A read takes some 20 ms: four thousand, a day's largest run, are
/// read in three seconds, on connections far fewer than a function's 1,024 file descriptors.
const READS_AT_ONCE: usize = 32;

impl Aws {
    /// The Region of a bucket, or `None` if there is no bucket of that name.
    ///
    /// # Errors
    /// What S3 refused: a bucket of the home Region that may not be looked at, say.
    pub async fn bucket_region(&self, bucket: &BucketName) -> Result<Option<Region>, AwsFailure> {
        let call = Call::new("s3:HeadBucket", self.home());
        match self
            .s3(self.home())
            .head_bucket()
            .bucket(bucket.as_str())
            .set_expected_bucket_owner(self.bucket_owner(bucket))
            .send()
            .await
        {
            Ok(answer) => match answer.bucket_region() {
                Some(region) => call.parsed(Some(region), BUCKET_REGION).map(Some),
                // Other S3s leave the header out; what answers without a redirect is here.
                None => Ok(Some(self.home().clone())),
            },
            Err(error) => {
                let told = error.raw_response().and_then(|response| response.headers().get(BUCKET_REGION));
                let elsewhere = told.and_then(|region| region.parse().ok()).filter(|region| region != self.home());
                let failure = call.failed(error);
                match elsewhere {
                    _ if failure.class() == FailureClass::NotFound => Ok(None),
                    Some(region) => Ok(Some(region)),
                    None => Err(failure),
                }
            }
        }
    }

    /// What S3 knows of an object, or `None` if it is not there.
    ///
    /// # Errors
    /// What S3 refused. Without `s3:ListBucket` a missing object looks like a forbidden one.
    pub async fn object(
        &self,
        region: &Region,
        bucket: &BucketName,
        key: &str,
    ) -> Result<Option<ObjectFacts>, AwsFailure> {
        let call = Call::new("s3:HeadObject", region);
        let request = self.s3(region).head_object().bucket(bucket.as_str()).key(key);
        let answer = request.set_expected_bucket_owner(self.bucket_owner(bucket)).send().await;
        let answer = match answer.map_err(|error| call.failed(error)) {
            Ok(answer) => answer,
            Err(failure) if failure.class() == FailureClass::NotFound => return Ok(None),
            Err(failure) => return Err(failure),
        };
        let size = call.required(answer.content_length(), "Content-Length")?;
        Ok(Some(ObjectFacts {
            bucket: bucket.clone(),
            key: key.to_owned(),
            size_bytes: u64::try_from(size)
                .map_err(|_| call.malformed(format!("the answer's Content-Length is {size}")))?,
            storage_class: answer.storage_class().map(|class| class.as_str().to_owned()),
            restore: answer.restore().map(str::to_owned),
        }))
    }

    /// The text of an object, or `None` if it is not there. For records and the like: all of it is
    /// held in memory.
    ///
    /// # Errors
    /// What S3 refused. Without `s3:ListBucket` a missing object looks like a forbidden one.
    pub async fn read_text(
        &self,
        region: &Region,
        bucket: &BucketName,
        key: &str,
    ) -> Result<Option<String>, AwsFailure> {
        let call = Call::new("s3:GetObject", region);
        let request = self.s3(region).get_object().bucket(bucket.as_str()).key(key);
        let answer = request.set_expected_bucket_owner(self.bucket_owner(bucket)).send().await;
        let answer = match answer.map_err(|error| call.failed(error)) {
            Ok(answer) => answer,
            Err(failure) if failure.is("NoSuchKey") => return Ok(None),
            Err(failure) => return Err(failure),
        };
        let bytes = answer.body.collect().await.map_err(|error| call.broken_off(&error))?.to_vec();
        let not_text = |error| call.malformed(format!("{key} is not text: {error}"));
        String::from_utf8(bytes).map(Some).map_err(not_text)
    }

    /// The texts of objects of the home Region, in the order of their keys, without those that are
    /// not there.
    ///
    /// # Errors
    /// The first refusal of S3.
    pub async fn read_texts(&self, bucket: &BucketName, keys: &[String]) -> Result<Vec<String>, AwsFailure> {
        let reads = stream::iter(keys).map(|key| self.read_text(self.home(), bucket, key));
        let texts: Vec<Option<String>> = reads.buffered(READS_AT_ONCE).try_collect().await?;
        Ok(texts.into_iter().flatten().collect())
    }

    /// Writes an object of the home Region, over what may be there.
    ///
    /// # Errors
    /// What S3 refused.
    pub async fn write_text(&self, bucket: &BucketName, key: &str, text: String) -> Result<(), AwsFailure> {
        let call = Call::new("s3:PutObject", self.home());
        let request = self.put(bucket, key, text);
        request.send().await.map(|_| ()).map_err(|error| call.failed(error))
    }

    /// Writes an object of the home Region unless one is there; `false` if so.
    ///
    /// After a lost reply the SDK tries again and meets the object of its own first attempt: `false`
    /// means that some text is there, not that it is somebody else's.
    ///
    /// # Errors
    /// What S3 refused; `ConditionalRequestConflict` if somebody else was writing it just now.
    pub async fn write_text_once(&self, bucket: &BucketName, key: &str, text: String) -> Result<bool, AwsFailure> {
        let call = Call::new("s3:PutObject", self.home());
        let request = self.put(bucket, key, text).if_none_match("*");
        match request.send().await.map_err(|error| call.failed(error)) {
            Ok(_) => Ok(true),
            Err(failure) if failure.is("PreconditionFailed") || failure.status == Some(412) => Ok(false),
            Err(failure) => Err(failure),
        }
    }

    /// The account that every call on a bucket expects to own it: S3 refuses one on another's, which has a bucket of a name
    /// that was given up, or never was ours.
    pub(crate) fn bucket_owner(&self, bucket: &BucketName) -> Option<String> {
        self.settings().owner_of(bucket).map(str::to_owned)
    }

    fn put(&self, bucket: &BucketName, key: &str, text: String) -> PutObjectFluentBuilder {
        let kind = if key.ends_with(".json") { "application/json" } else { "text/plain; charset=utf-8" };
        let request = self.s3(self.home()).put_object().bucket(bucket.as_str()).key(key);
        request
            .set_expected_bucket_owner(self.bucket_owner(bucket))
            .content_type(kind)
            .body(ByteStream::from(text.into_bytes()))
    }

    /// The keys under a prefix in a bucket of the home Region, in order.
    ///
    /// # Errors
    /// What S3 refused.
    pub async fn keys(&self, bucket: &BucketName, prefix: &str) -> Result<Vec<String>, AwsFailure> {
        let call = Call::new("s3:ListObjectsV2", self.home());
        // Pages of 1,000, S3's default and largest.
        let request = self.s3(self.home()).list_objects_v2().bucket(bucket.as_str()).prefix(prefix);
        let mut pages = request.set_expected_bucket_owner(self.bucket_owner(bucket)).into_paginator().send();
        let mut keys = Vec::new();
        while let Some(page) = pages.next().await {
            let page = page.map_err(|error| call.failed(error))?;
            for object in page.contents() {
                keys.push(call.required(object.key(), "Key")?.to_owned());
            }
        }
        Ok(keys)
    }
}
