//! Owns buckets and objects.

use ami_backup_core::{
    failure::{AwsFailure, FailureClass, UNREADABLE_DOCUMENT},
    id::{BucketName, LONGEST_KEY, Region, is_key},
    store::ObjectFacts,
    text::shown,
};
use aws_sdk_s3::{operation::put_object::builders::PutObjectFluentBuilder, primitives::ByteStream};
use futures_util::{StreamExt, TryStreamExt, stream};

use crate::{Aws, failure::Call};

/// Header in which S3 says where a bucket is, in refusals too.
const BUCKET_REGION: &str = "x-amz-bucket-region";

/// Objects that are read at once. A read takes some 20 ms: four thousand, a day's largest run, are
/// read in three seconds, on connections far fewer than a function's 1,024 file descriptors.
const READS_AT_ONCE: usize = 32;

/// The longest document that is read: the list of the items of a large run has some megabytes, and a function has 256.
const LONGEST_DOCUMENT: usize = 32 << 20;

/// Refuses what cannot be a key, which the SDK would make a request of that cannot be sent.
fn check_key(call: &Call<'_>, key: &str) -> Result<(), AwsFailure> {
    if is_key(key) {
        return Ok(());
    }
    // S3's own code for it.
    Err(call.refused("KeyTooLongError", format!("a key has 1 to {LONGEST_KEY} bytes, and this one {}", key.len())))
}

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
        check_key(&call, key)?;
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
    /// [`FailureClass::Unreadable`] if it is no text, or longer than any document of ours: then it is not read.
    pub async fn read_text(
        &self,
        region: &Region,
        bucket: &BucketName,
        key: &str,
    ) -> Result<Option<String>, AwsFailure> {
        let call = Call::new("s3:GetObject", region);
        check_key(&call, key)?;
        let unreadable = |why: String| call.refused(UNREADABLE_DOCUMENT, format!("s3://{bucket}/{} {why}", shown(key)));
        let too_long = |bytes: u64| unreadable(format!("has {bytes} bytes, and no document of ours has so many"));
        let request = self.s3(region).get_object().bucket(bucket.as_str()).key(key);
        let answer = request.set_expected_bucket_owner(self.bucket_owner(bucket)).send().await;
        let answer = match answer.map_err(|error| call.failed(error)) {
            Ok(answer) => answer,
            Err(failure) if failure.is("NoSuchKey") => return Ok(None),
            Err(failure) => return Err(failure),
        };
        let length = answer.content_length().and_then(|length| u64::try_from(length).ok());
        if let Some(length) = length.filter(|length| usize::try_from(*length).is_ok_and(|n| n > LONGEST_DOCUMENT)) {
            return Err(too_long(length));
        }
        let (mut bytes, mut body) = (Vec::new(), answer.body);
        while let Some(some) = body.try_next().await.map_err(|error| call.broken_off(&error))? {
            bytes.extend_from_slice(&some);
            // What S3 says of its length is no more than a word.
            if bytes.len() > LONGEST_DOCUMENT {
                return Err(too_long(u64::try_from(bytes.len()).unwrap_or(u64::MAX)));
            }
        }
        String::from_utf8(bytes).map(Some).map_err(|error| unreadable(format!("is no text: {}", error.utf8_error())))
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

    /// The same without those that are no text or too long, for what counts as missing if it cannot be read.
    ///
    /// # Errors
    /// The first refusal of S3.
    pub async fn read_readable_texts(&self, bucket: &BucketName, keys: &[String]) -> Result<Vec<String>, AwsFailure> {
        let reads = stream::iter(keys).map(|key| async move {
            match self.read_text(self.home(), bucket, key).await {
                Err(failure) if failure.class() == FailureClass::Unreadable => Ok(None),
                read => read,
            }
        });
        let texts: Vec<Option<String>> = reads.buffered(READS_AT_ONCE).try_collect().await?;
        Ok(texts.into_iter().flatten().collect())
    }

    /// The texts of objects of the home Region with their keys, without those that are not there.
    ///
    /// # Errors
    /// The first refusal of S3.
    pub async fn read_texts_by_key(
        &self,
        bucket: &BucketName,
        keys: &[String],
    ) -> Result<Vec<(String, String)>, AwsFailure> {
        let reads = stream::iter(keys).map(|key| async move {
            let text = self.read_text(self.home(), bucket, key).await?;
            Ok::<_, AwsFailure>(text.map(|text| (key.clone(), text)))
        });
        let texts: Vec<Option<_>> = reads.buffered(READS_AT_ONCE).try_collect().await?;
        Ok(texts.into_iter().flatten().collect())
    }

    /// Writes an object of the home Region, over what may be there.
    ///
    /// # Errors
    /// What S3 refused.
    pub async fn write_text(&self, bucket: &BucketName, key: &str, text: String) -> Result<(), AwsFailure> {
        let call = Call::new("s3:PutObject", self.home());
        check_key(&call, key)?;
        let request = self.put(bucket, key, text);
        request.send().await.map(|_| ()).map_err(|error| call.failed(error))
    }

    /// Writes an object of the home Region, over what may be there. Returns its version, where the bucket keeps versions.
    ///
    /// # Errors
    /// What S3 refused.
    pub async fn write_version(
        &self,
        bucket: &BucketName,
        key: &str,
        text: String,
    ) -> Result<Option<String>, AwsFailure> {
        let call = Call::new("s3:PutObject", self.home());
        let written = self.put(bucket, key, text).send().await.map_err(|error| call.failed(error))?;
        Ok(written.version_id().map(str::to_owned))
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
        check_key(&call, key)?;
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
        self.keys_after(bucket, prefix, None).await
    }

    /// The keys under a prefix that sort after another key, in order.
    ///
    /// # Errors
    /// What S3 refused.
    pub async fn keys_after(
        &self,
        bucket: &BucketName,
        prefix: &str,
        after: Option<&str>,
    ) -> Result<Vec<String>, AwsFailure> {
        let call = Call::new("s3:ListObjectsV2", self.home());
        check_key(&call, prefix)?;
        // Pages of 1,000, S3's default and largest.
        let request = self.s3(self.home()).list_objects_v2().bucket(bucket.as_str()).prefix(prefix);
        let request = request.set_start_after(after.map(str::to_owned));
        let mut pages = request.set_expected_bucket_owner(self.bucket_owner(bucket)).into_paginator().send();
        let mut keys = Vec::new();
        while let Some(page) = pages.next().await {
            let page = page.map_err(|error| call.failed(error))?;
            keys.extend(page.contents().iter().filter_map(|object| object.key()).map(str::to_owned));
        }
        Ok(keys)
    }
}
