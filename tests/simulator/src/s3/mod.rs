//! Owns S3's wire protocol over the objects in this process.
//!
//! Parsing and writing S3's messages is the work of the crate `s3s`; this module says what the
//! messages mean. Signatures are taken off before `s3s` sees a request: any secret will do, and the
//! time in a signature is the caller's, which may be a virtual one.

mod chunked;
mod exchange;
mod multipart;
mod objects;
mod operations;
mod versions;

use std::sync::Arc;

use http::{HeaderName, HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::BodyExt;
use hyper::body::Bytes;
use s3s::access::{S3Access, S3AccessContext};
use s3s::auth::{S3Auth, SecretKey};
use s3s::host::{S3Host, VirtualHost};
use s3s::path::S3Path;
use s3s::service::{S3Service, S3ServiceBuilder};
use s3s::{S3Error, S3ErrorCode, S3Result};

pub(crate) use exchange::Exchange;

use crate::objects::LocalObjects;

/// Header by which S3 tells where a bucket is.
const BUCKET_REGION: HeaderName = HeaderName::from_static("x-amz-bucket-region");

/// S3 as the wire sees it.
#[derive(Debug, Clone)]
pub struct S3 {
    service: S3Service,
}

impl S3 {
    /// S3 over `objects`.
    pub fn new(objects: LocalObjects) -> Self {
        let mut builder = S3ServiceBuilder::new(operations::Operations { objects: objects.clone() });
        // `s3s` asks about access only where it could have asked for a secret.
        builder.set_auth(NoSecrets);
        builder.set_access(Access { objects });
        builder.set_host(AnyHost);
        Self { service: builder.build() }
    }

    /// Answers one request; what was found out on the way is left in `exchange`.
    pub(crate) async fn call(&self, request: Request<Bytes>, exchange: &Arc<Exchange>) -> Response<Bytes> {
        let is_head = request.method() == Method::HEAD;
        let mut request = match chunked::unwrap(without_signature(request)) {
            Ok(request) => request,
            Err(error) => return from_error(error),
        };
        request.extensions_mut().insert(Arc::clone(exchange));
        let answer = match self.service.call(request.map(s3s::Body::from)).await {
            Ok(answer) => answer,
            Err(error) => return from_error(S3Error::with_message(S3ErrorCode::InternalError, format!("{error:?}"))),
        };
        let (mut parts, body) = answer.into_parts();
        if let Some(status) = exchange.status() {
            parts.status = status;
        }
        let body = match body.collect().await {
            Ok(collected) if !is_head => collected.to_bytes(),
            _ => Bytes::new(),
        };
        if !is_head {
            parts.headers.insert(header::CONTENT_LENGTH, HeaderValue::from(body.len()));
        }
        Response::from_parts(parts, body)
    }
}

/// The HTTP form of an S3 error.
pub(crate) fn from_error(error: S3Error) -> Response<Bytes> {
    let status = error.status_code().unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    error_document(status, error.code().as_str(), error.message().unwrap_or_default())
}

/// S3's error document.
pub(crate) fn error_document(status: StatusCode, code: &str, message: &str) -> Response<Bytes> {
    let text = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>{}</Code><Message>{}</Message></Error>",
        crate::edge::escape(code),
        crate::edge::escape(message)
    );
    crate::edge::xml(status, text)
}

/// Takes signature and date off headers and query, so that nothing is verified.
fn without_signature(request: Request<Bytes>) -> Request<Bytes> {
    let (mut parts, body) = request.into_parts();
    for name in ["authorization", "x-amz-date", "x-amz-security-token", "x-amz-region-set"] {
        parts.headers.remove(name);
    }
    let query = parts.uri.query().map(|query| {
        query
            .split('&')
            .filter(|pair| {
                let name = pair.split('=').next().unwrap_or_default().to_ascii_lowercase();
                !matches!(
                    name.as_str(),
                    "x-amz-algorithm"
                        | "x-amz-credential"
                        | "x-amz-date"
                        | "x-amz-expires"
                        | "x-amz-signedheaders"
                        | "x-amz-signature"
                        | "x-amz-security-token"
                )
            })
            .collect::<Vec<_>>()
            .join("&")
    });
    let path = match query.as_deref() {
        None | Some("") => parts.uri.path().to_owned(),
        Some(query) => format!("{}?{query}", parts.uri.path()),
    };
    if !parts.headers.contains_key(header::HOST)
        && let Some(authority) = parts.uri.authority()
        && let Ok(host) = HeaderValue::from_str(authority.as_str())
    {
        parts.headers.insert(header::HOST, host);
    }
    if let Ok(uri) = path.parse() {
        parts.uri = uri;
    }
    Request::from_parts(parts, body)
}

/// There are no secrets: requests arrive without signatures.
struct NoSecrets;

#[async_trait::async_trait]
impl S3Auth for NoSecrets {
    async fn get_secret_key(&self, _access_key: &str) -> S3Result<SecretKey> {
        Err(S3ErrorCode::InvalidAccessKeyId.into())
    }
}

/// Bucket in the host name, when the host is `<bucket>.s3.<region>.amazonaws.com`,
/// `<bucket>.s3.amazonaws.com` or `<bucket>.localhost`; path style otherwise.
struct AnyHost;

impl S3Host for AnyHost {
    fn parse_host_header<'a>(&'a self, host: &'a str) -> S3Result<VirtualHost<'a>> {
        let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
        Ok(match bucket_of_host(name) {
            Some(bucket) => VirtualHost::new(name).with_bucket(bucket),
            None => VirtualHost::new(name),
        })
    }
}

fn bucket_of_host(name: &str) -> Option<&str> {
    if let Some(bucket) = name.strip_suffix(".localhost") {
        return Some(bucket);
    }
    let rest = name.strip_suffix(".amazonaws.com").or_else(|| name.strip_suffix(".amazonaws.com.cn"))?;
    // A bucket's name may itself contain dots, so the last `.s3` with at most a Region behind counts.
    let (bucket, region) = match rest.strip_suffix(".s3") {
        Some(bucket) => (bucket, ""),
        None => rest.rsplit_once(".s3.").unwrap_or(("", "")),
    };
    (!bucket.is_empty() && !region.contains(".s3")).then_some(bucket)
}

/// Asked by `s3s` for each call as soon as the operation is known.
struct Access {
    objects: LocalObjects,
}

#[async_trait::async_trait]
impl S3Access for Access {
    async fn check(&self, context: &mut S3AccessContext<'_>) -> S3Result<()> {
        let operation = context.s3_op().name().to_owned();
        let (bucket, key) = match context.s3_path() {
            S3Path::Root => (None, None),
            S3Path::Bucket { bucket } => (Some(bucket.to_string()), None),
            S3Path::Object { bucket, key } => (Some(bucket.to_string()), Some(key.to_string())),
        };
        let expected_owner = context
            .headers()
            .get("x-amz-expected-bucket-owner")
            .and_then(|value| value.to_str().ok())
            .map(str::to_owned);
        let query = context.uri().query().unwrap_or_default().as_bytes();
        let names_version = form_urlencoded::parse(query).any(|(name, _)| name == "versionId");
        let Some(exchange) = context.extensions_mut().get::<Arc<Exchange>>().cloned() else {
            return Err(S3ErrorCode::InternalError.into());
        };
        let there = bucket.as_deref().filter(|_| operation != "CreateBucket");
        let owner = there.and_then(|bucket| self.objects.facts(bucket)).map(|facts| facts.owner);
        exchange.begin(&operation, bucket.as_deref(), key.as_deref(), owner);
        exchange.apply_fault(&operation)?;
        if let Some(action) = own_action(&operation, names_version) {
            exchange.require(action, bucket.as_deref(), key.as_deref())?;
        }
        match bucket {
            Some(bucket) if operation != "CreateBucket" => {
                self.check_bucket(&exchange, &operation, &bucket, expected_owner.as_deref())
            }
            _ => Ok(()),
        }
    }
}

impl Access {
    /// The bucket must exist, belong to the caller's account, and be in the Region that was asked.
    fn check_bucket(
        &self,
        exchange: &Exchange,
        operation: &str,
        bucket: &str,
        expected_owner: Option<&str>,
    ) -> S3Result<()> {
        let Some(facts) = self.objects.facts(bucket) else {
            return Err(S3Error::with_message(S3ErrorCode::NoSuchBucket, "The specified bucket does not exist"));
        };
        // Whether the caller may do it in a bucket of another account, its policy has said by now.
        let strange = facts.owner != exchange.caller().account && own_action(operation, false).is_none();
        if strange || expected_owner.is_some_and(|owner| owner != facts.owner) {
            return Err(S3Error::with_message(S3ErrorCode::AccessDenied, "Access Denied"));
        }
        // GetBucketLocation is how one asks where a bucket is.
        if facts.region != exchange.caller().region && operation != "GetBucketLocation" {
            let mut error = S3Error::with_message(
                S3ErrorCode::PermanentRedirect,
                "The bucket you are attempting to access must be addressed using the specified endpoint. Please send all future requests to this endpoint.",
            );
            if let Ok(region) = HeaderValue::from_str(&facts.region) {
                error.set_headers(std::iter::once((BUCKET_REGION, region)).collect());
            }
            return Err(error);
        }
        Ok(())
    }
}

/// The IAM action that stands for an operation (Service Authorization Reference, Amazon S3).
/// DeleteObjects is checked per key by the operation itself. What names a version needs another right.
fn own_action(operation: &str, names_version: bool) -> Option<&'static str> {
    Some(match operation {
        "GetObject" | "HeadObject" if names_version => "s3:GetObjectVersion",
        "DeleteObject" if names_version => "s3:DeleteObjectVersion",
        "ListObjectVersions" => "s3:ListBucketVersions",
        "GetBucketPolicy" => "s3:GetBucketPolicy",
        "PutBucketPolicy" => "s3:PutBucketPolicy",
        "DeleteBucketPolicy" => "s3:DeleteBucketPolicy",
        "GetBucketVersioning" => "s3:GetBucketVersioning",
        "PutBucketVersioning" => "s3:PutBucketVersioning",
        "CreateBucket" => "s3:CreateBucket",
        "DeleteBucket" => "s3:DeleteBucket",
        "HeadBucket" | "ListObjects" | "ListObjectsV2" => "s3:ListBucket",
        "GetBucketLocation" => "s3:GetBucketLocation",
        "ListBuckets" => "s3:ListAllMyBuckets",
        "GetBucketEncryption" => "s3:GetEncryptionConfiguration",
        "PutBucketEncryption" => "s3:PutEncryptionConfiguration",
        "GetObject" | "HeadObject" => "s3:GetObject",
        "PutObject"
        | "CopyObject"
        | "CreateMultipartUpload"
        | "UploadPart"
        | "UploadPartCopy"
        | "CompleteMultipartUpload" => "s3:PutObject",
        "AbortMultipartUpload" => "s3:AbortMultipartUpload",
        "ListParts" => "s3:ListMultipartUploadParts",
        "DeleteObject" => "s3:DeleteObject",
        "GetObjectTagging" => "s3:GetObjectTagging",
        "PutObjectTagging" => "s3:PutObjectTagging",
        "DeleteObjectTagging" => "s3:DeleteObjectTagging",
        "RestoreObject" => "s3:RestoreObject",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_in_the_host_name_is_found_and_a_plain_endpoint_is_not_one() {
        assert_eq!(bucket_of_host("backups.s3.eu-west-1.amazonaws.com"), Some("backups"));
        assert_eq!(bucket_of_host("a.b.s3.us-east-1.amazonaws.com"), Some("a.b"));
        assert_eq!(bucket_of_host("backups.s3.amazonaws.com"), Some("backups"));
        assert_eq!(bucket_of_host("backups.localhost"), Some("backups"));
        assert_eq!(bucket_of_host("s3.eu-west-1.amazonaws.com"), None);
        assert_eq!(bucket_of_host("s3.amazonaws.com"), None);
        assert_eq!(bucket_of_host("localhost"), None);
    }
}
