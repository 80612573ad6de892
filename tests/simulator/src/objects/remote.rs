//! Owns the way to another S3 that holds the objects: on the laptop stack the bucket belongs to the
//! engine that deployed the template.

use std::collections::BTreeMap;

use async_trait::async_trait;
use aws_credential_types::Credentials;
use aws_sdk_s3::Client;
use aws_sdk_s3::config::{BehaviorVersion, Builder, Region, RequestChecksumCalculation, ResponseChecksumValidation};
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{ServerSideEncryption, StorageClass};

use super::{BucketFacts, ObjectError, ObjectStore, StoredObject};

/// With which credentials the other S3 is called.
#[derive(Debug, Clone)]
pub struct RemoteCredentials {
    /// Access key id.
    pub access_key: String,
    /// Secret access key.
    pub secret_key: String,
}

/// Objects in another S3.
#[derive(Debug, Clone)]
pub struct RemoteObjects {
    client: Client,
    owner: String,
}

impl RemoteObjects {
    /// Objects behind `endpoint` (plain `http://`, path style). Every bucket there counts as owned by
    /// `owner`, because S3 does not tell.
    pub fn new(endpoint: &str, credentials: &RemoteCredentials, owner: &str) -> Self {
        let config = Builder::new()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new("us-east-1"))
            .endpoint_url(endpoint)
            .force_path_style(true)
            .credentials_provider(Credentials::new(
                &credentials.access_key,
                &credentials.secret_key,
                None,
                None,
                "simulated-aws",
            ))
            // Engines that others wrote do not all read checksums that trail the body.
            .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
            .response_checksum_validation(ResponseChecksumValidation::WhenRequired)
            .http_client(aws_smithy_http_client::Builder::new().build_http())
            .build();
        Self { client: Client::from_conf(config), owner: owner.to_owned() }
    }

    /// Adds the tags, which another call than GET answers.
    async fn tags(&self, bucket: &str, key: &str) -> Result<BTreeMap<String, String>, ObjectError> {
        let answer = self
            .client
            .get_object_tagging()
            .bucket(bucket)
            .key(key)
            .send()
            .await
            .map_err(|error| describe("read the tags of", bucket, key, &error))?;
        Ok(answer.tag_set().iter().map(|tag| (tag.key().to_owned(), tag.value().to_owned())).collect())
    }
}

/// Names what was being done in the error, and the two cases that callers tell apart.
fn describe<E, R>(doing: &str, bucket: &str, key: &str, error: &SdkError<E, R>) -> ObjectError
where
    E: ProvideErrorMetadata + std::fmt::Debug,
    R: std::fmt::Debug,
{
    let status_says_missing = error.as_service_error().and_then(ProvideErrorMetadata::code).map(str::to_owned);
    match status_says_missing.as_deref() {
        Some("NoSuchBucket") => ObjectError::NoSuchBucket,
        Some("NoSuchKey" | "NotFound" | "404") if key.is_empty() => ObjectError::NoSuchBucket,
        Some("NoSuchKey" | "NotFound" | "404") => ObjectError::NoSuchKey,
        _ => ObjectError::Other(format!("could not {doing} s3://{bucket}/{key}: {error:?}")),
    }
}

/// Whether the `x-amz-restore` header says that a thawed copy can be read.
fn is_thawed(restore: Option<&str>) -> bool {
    restore.is_some_and(|text| text.contains("ongoing-request=\"false\""))
}

#[async_trait]
impl ObjectStore for RemoteObjects {
    async fn bucket(&self, name: &str) -> Result<BucketFacts, ObjectError> {
        let location = self
            .client
            .get_bucket_location()
            .bucket(name)
            .send()
            .await
            .map_err(|error| describe("find the Region of", name, "", &error))?;
        let region = match location.location_constraint().map(|place| place.as_str()) {
            None | Some("") => "us-east-1",
            Some("EU") => "eu-west-1",
            Some(region) => region,
        };
        let encryption = self.client.get_bucket_encryption().bucket(name).send().await.ok();
        let kms = encryption.as_ref().and_then(|answer| answer.server_side_encryption_configuration()).is_some_and(
            |configuration| {
                configuration.rules().iter().filter_map(|rule| rule.apply_server_side_encryption_by_default()).any(
                    |default| {
                        matches!(
                            default.sse_algorithm(),
                            ServerSideEncryption::AwsKms | ServerSideEncryption::AwsKmsDsse
                        )
                    },
                )
            },
        );
        Ok(BucketFacts { name: name.to_owned(), region: region.to_owned(), owner: self.owner.clone(), kms })
    }

    async fn get(&self, bucket: &str, key: &str) -> Result<StoredObject, ObjectError> {
        let head = self
            .client
            .head_object()
            .bucket(bucket)
            .key(key)
            .send()
            .await
            .map_err(|error| describe("look at", bucket, key, &error))?;
        let mut object = StoredObject {
            body: Vec::new(),
            storage_class: head.storage_class().map_or("STANDARD", StorageClass::as_str).to_owned(),
            metadata: head
                .metadata()
                .into_iter()
                .flatten()
                .map(|(name, value)| (name.clone(), value.clone()))
                .collect(),
            tags: BTreeMap::new(),
            thawed: is_thawed(head.restore()),
        };
        if object.is_frozen() {
            return Ok(object);
        }
        let answer = self
            .client
            .get_object()
            .bucket(bucket)
            .key(key)
            .send()
            .await
            .map_err(|error| describe("read", bucket, key, &error))?;
        object.body = answer
            .body
            .collect()
            .await
            .map_err(|error| ObjectError::Other(format!("could not read s3://{bucket}/{key}: {error}")))?
            .to_vec();
        object.tags = self.tags(bucket, key).await?;
        Ok(object)
    }

    async fn put(&self, bucket: &str, key: &str, object: StoredObject) -> Result<(), ObjectError> {
        let tagging = form_urlencoded::Serializer::new(String::new()).extend_pairs(&object.tags).finish();
        let class = (!matches!(object.storage_class.as_str(), "" | "STANDARD"))
            .then(|| StorageClass::from(object.storage_class.as_str()));
        self.client
            .put_object()
            .bucket(bucket)
            .key(key)
            .set_storage_class(class)
            .set_metadata(Some(object.metadata.into_iter().collect()))
            .set_tagging((!tagging.is_empty()).then_some(tagging))
            .body(ByteStream::from(object.body))
            .send()
            .await
            .map_err(|error| describe("write", bucket, key, &error))?;
        Ok(())
    }

    async fn exists(&self, bucket: &str, key: &str) -> Result<bool, ObjectError> {
        match self.client.head_object().bucket(bucket).key(key).send().await {
            Ok(_) => Ok(true),
            Err(error) => match describe("look at", bucket, key, &error) {
                ObjectError::NoSuchKey => Ok(false),
                other => Err(other),
            },
        }
    }
}
