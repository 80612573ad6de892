//! Tests of what goes over the wire, against answers made up here: the protocols themselves are
//! tested on the simulator, and this only what no well-behaved service would show.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use ami_backup_core::{StepError, failure::FailureClass, id::BucketName, settings::Settings, tags::Tags};
use aws_config::{BehaviorVersion, SdkConfig};
use aws_credential_types::{Credentials, provider::SharedCredentialsProvider};
use aws_smithy_async::rt::sleep::{AsyncSleep, Sleep};
use aws_smithy_runtime_api::{
    client::{
        http::{HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpConnector},
        orchestrator::{HttpRequest, HttpResponse},
        runtime_components::RuntimeComponents,
    },
    http::StatusCode,
};
use aws_smithy_types::{body::SdkBody, retry::RetryConfig};

use crate::{Aws, NewImage, NewRegistration, NewRestore};

type Failed = Box<dyn std::error::Error>;

/// Answers every request in the same way, and remembers them.
#[derive(Debug, Clone, Default)]
struct Echo {
    status: u16,
    headers: Vec<(&'static str, &'static str)>,
    body: &'static str,
    seen: Arc<Mutex<Vec<String>>>,
}

impl Echo {
    fn new(status: u16, body: &'static str) -> Self {
        Self { status, body, ..Self::default() }
    }

    /// Method, address and body of what was asked, each request one text.
    fn seen(&self) -> Vec<String> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl HttpConnector for Echo {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let body = request.body().bytes().map(String::from_utf8_lossy).unwrap_or_default();
        let text = format!("{} {} {body}", request.method(), request.uri());
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).push(text);
        let status = StatusCode::try_from(self.status).expect("a status");
        let mut response = HttpResponse::new(status, SdkBody::from(self.body));
        for (name, value) in &self.headers {
            response.headers_mut().insert(*name, *value);
        }
        HttpConnectorFuture::ready(Ok(response))
    }
}

impl HttpClient for Echo {
    fn http_connector(&self, _: &HttpConnectorSettings, _: &RuntimeComponents) -> SharedHttpConnector {
        SharedHttpConnector::new(self.clone())
    }
}

/// Waits between attempts are over at once.
#[derive(Debug)]
struct NoSleep;

impl AsyncSleep for NoSleep {
    fn sleep(&self, _: Duration) -> Sleep {
        Sleep::new(std::future::ready(()))
    }
}

fn aws(echo: &Echo, endpoint: Option<&str>) -> Result<Aws, StepError> {
    let mut config = SdkConfig::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(aws_config::Region::new("us-east-1"))
        .credentials_provider(SharedCredentialsProvider::new(Credentials::for_tests()))
        .retry_config(RetryConfig::standard().with_max_attempts(3))
        .http_client(echo.clone())
        .sleep_impl(aws_smithy_async::rt::sleep::SharedAsyncSleep::new(NoSleep));
    config.set_endpoint_url(endpoint.map(str::to_owned));
    Aws::new(config.build(), Settings::read(|_| None)?)
}

fn bucket() -> BucketName {
    "some-bucket".parse().expect("a bucket name")
}

const UNAVAILABLE: &str = "<Response><Errors><Error><Code>Unavailable</Code><Message>later</Message></Error></Errors>\
                           <RequestID>r-1</RequestID></Response>";

#[tokio::test]
async fn a_creating_call_without_a_client_token_is_sent_once() -> Result<(), Failed> {
    let echo = Echo::new(503, UNAVAILABLE);
    let aws = aws(&echo, None)?;
    let image = NewImage {
        instance_id: "i-12345678".parse()?,
        name: "name".into(),
        description: String::new(),
        reboot: false,
        tags: Tags::new(),
    };
    let restore = NewRestore { bucket: bucket(), key: "key".into(), name: "name".into(), tags: Tags::new() };
    let attributes = [("Architecture", "x86_64"), ("VirtualizationType", "hvm"), ("RootDeviceName", "/dev/xvda")];
    let registration = NewRegistration {
        name: "name".into(),
        description: String::new(),
        attributes: attributes.map(|(name, value)| (name.to_owned(), value.to_owned())).into(),
        uefi_data: None,
        mappings: Vec::new(),
        tags: Tags::new(),
    };
    assert!(aws.create_image(&image).await.is_err_and(|f| f.class() == FailureClass::Transient));
    assert!(aws.create_store_task(&"ami-12345678".parse()?, "some-bucket", &Tags::new()).await.is_err());
    assert!(aws.create_restore_task(aws.home(), &restore).await.is_err());
    assert!(aws.register_image(aws.home(), &registration).await.is_err());
    assert_eq!(echo.seen().len(), 4, "{:#?}", echo.seen());
    Ok(())
}

#[tokio::test]
async fn a_call_that_can_be_repeated_is() -> Result<(), Failed> {
    let echo = Echo::new(503, UNAVAILABLE);
    let failure = aws(&echo, None)?.regions().await.err();
    assert!(failure.is_some_and(|f| f.is("Unavailable") && f.message == "later"));
    assert_eq!(echo.seen().len(), 3);
    Ok(())
}

#[tokio::test]
async fn an_answer_without_the_id_is_malformed() -> Result<(), Failed> {
    let echo = Echo::new(200, "<CreateStoreImageTaskResponse></CreateStoreImageTaskResponse>");
    let made = aws(&echo, None)?.create_store_task(&"ami-12345678".parse()?, "some-bucket", &Tags::new()).await;
    assert!(made.is_err_and(|f| f.is("MalformedResponse") && f.message.contains("ObjectKey")));
    Ok(())
}

#[tokio::test]
async fn the_name_of_a_run_is_no_pattern() -> Result<(), Failed> {
    let echo = Echo::new(200, "<DescribeImagesResponse><imagesSet/></DescribeImagesResponse>");
    let aws = aws(&echo, None)?;
    assert_eq!(aws.images_of_run(aws.home(), "nightly*", "i-12345678").await, Ok(Vec::new()));
    let seen = echo.seen();
    assert!(seen.iter().any(|request| request.contains("nightly%5C%2A")), "{seen:#?}");
    Ok(())
}

#[tokio::test]
async fn without_tags_nothing_is_selected_and_nothing_asked() -> Result<(), Failed> {
    let echo = Echo::new(500, "");
    let aws = aws(&echo, None)?;
    assert_eq!(aws.images_tagged(&BTreeMap::new()).await, Ok(Vec::new()));
    assert_eq!(aws.instances_tagged(&BTreeMap::new()).await, Ok(Vec::new()));
    assert_eq!(aws.snapshots(aws.home(), &[]).await, Ok(Vec::new()));
    assert!(echo.seen().is_empty());
    Ok(())
}

#[tokio::test]
async fn a_refusal_that_names_another_region_says_where_the_bucket_is() -> Result<(), Failed> {
    for status in [301, 400, 403] {
        let echo = Echo { headers: vec![("x-amz-bucket-region", "eu-west-1")], ..Echo::new(status, "") };
        assert_eq!(aws(&echo, None)?.bucket_region(&bucket()).await, Ok(Some("eu-west-1".parse()?)), "{status}");
    }
    Ok(())
}

#[tokio::test]
async fn a_bucket_that_is_here_and_forbidden_is_not_taken_for_missing() -> Result<(), Failed> {
    let echo = Echo { headers: vec![("x-amz-bucket-region", "us-east-1")], ..Echo::new(403, "") };
    let refused = aws(&echo, None)?.bucket_region(&bucket()).await;
    assert!(refused.is_err_and(|f| f.class() == FailureClass::Denied && f.message == "HTTP 403"));
    assert_eq!(aws(&Echo::new(404, ""), None)?.bucket_region(&bucket()).await, Ok(None));
    Ok(())
}

#[tokio::test]
async fn what_is_there_already_is_not_written_over() -> Result<(), Failed> {
    let there = Echo::new(412, "<Error><Code>PreconditionFailed</Code><Message>there</Message></Error>");
    assert_eq!(aws(&there, None)?.write_text_once(&bucket(), "a.json", "{}".into()).await, Ok(false));
    let racing = Echo::new(409, "<Error><Code>ConditionalRequestConflict</Code><Message>race</Message></Error>");
    let lost = aws(&racing, None)?.write_text_once(&bucket(), "a.json", "{}".into()).await;
    assert!(lost.is_err_and(|f| f.class() == FailureClass::Transient));
    Ok(())
}

#[tokio::test]
async fn a_missing_bucket_is_not_a_missing_object() -> Result<(), Failed> {
    let no_key = Echo::new(404, "<Error><Code>NoSuchKey</Code><Message>no</Message></Error>");
    let here = "us-east-1".parse()?;
    assert_eq!(aws(&no_key, None)?.read_text(&here, &bucket(), "key").await, Ok(None));
    let no_bucket = Echo::new(404, "<Error><Code>NoSuchBucket</Code><Message>no</Message></Error>");
    assert!(aws(&no_bucket, None)?.read_text(&here, &bucket(), "key").await.is_err());
    Ok(())
}

#[tokio::test]
async fn the_bucket_is_in_the_path_only_at_an_endpoint_of_ones_own() -> Result<(), Failed> {
    for (endpoint, expected) in [(None, "https://some-bucket.s3."), (Some("http://localhost:1"), "/some-bucket")] {
        let echo = Echo::new(200, "");
        aws(&echo, endpoint)?.bucket_region(&bucket()).await?;
        let seen = echo.seen();
        assert!(seen.iter().all(|request| request.contains(expected)), "{seen:#?}");
    }
    Ok(())
}
