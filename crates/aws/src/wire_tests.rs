//! Tests of what goes over the wire, against answers made up here: the protocols themselves are
//! tested on the simulator, and this only what no well-behaved service would show.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use ami_backup_core::{
    StepError,
    failure::{AwsFailure, FailureClass, MALFORMED_RESPONSE},
    id::BucketName,
    image::{OddImage, SnapshotFacts},
    settings::Settings,
    tags::Tags,
};
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

/// Answers every request in the same way, or all but the first, and remembers them.
#[derive(Debug, Clone, Default)]
struct Echo {
    status: u16,
    headers: Vec<(&'static str, &'static str)>,
    body: &'static str,
    /// What it answers from the second request on, if that is another body.
    then: Option<&'static str>,
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
        let first = self.seen().is_empty();
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).push(text);
        let status = StatusCode::try_from(self.status).expect("a status");
        let body = self.then.filter(|_| !first).unwrap_or(self.body);
        let mut response = HttpResponse::new(status, SdkBody::from(body));
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

/// Whatever an answer may hold: an escaped text, an empty one, what is not read, and what nobody knows yet.
const SNAPSHOTS: &str = r#"<?xml version="1.0" encoding="UTF-8"?>
<!-- by hand -->
<DescribeSnapshotsResponse xmlns="http://ec2.amazonaws.com/doc/2016-11-15/">
  <requestId>r-1</requestId>
  <snapshotSet>
    <item>
      <snapshotId>snap-12345678</snapshotId><volumeId>vol-1</volumeId><status>completed</status>
      <startTime>2026-11-01T00:00:00.000Z</startTime><progress>100%</progress><ownerId>111122223333</ownerId>
      <volumeSize>8</volumeSize><fullSnapshotSizeInBytes>10737418240</fullSnapshotSizeInBytes>
      <description>R&amp;D &lt;daily&gt; &#39;a&#x62;&quot; &apos;</description><encrypted>true</encrypted><kmsKeyId>key</kmsKeyId>
      <tagSet>
        <item><key>Name</key><value> one  two </value></item>
        <item><key>empty</key><value/></item>
        <item><key>none</key></item>
        <item><value>turned</value><key>round</key></item>
      </tagSet>
      <new><snapshotId>snap-87654321</snapshotId><item><key>no tag</key></item></new>
    </item>
    <item>
      <snapshotId>snap-23456789</snapshotId><status>error</status><progress/><volumeSize>1</volumeSize>
      <description></description><tagSet/><encrypted>false</encrypted>
    </item>
    <item><snapshotId>snap-34567890</snapshotId><status>of a kind to come</status><volumeSize>16384</volumeSize></item>
  </snapshotSet>
</DescribeSnapshotsResponse>
"#;

const IMAGES: &str = r#"<?xml version="1.0" encoding="UTF-8"?>
<DescribeImagesResponse xmlns="http://ec2.amazonaws.com/doc/2016-11-15/"><requestId>r-1</requestId><imagesSet>
  <item>
    <imageId>ami-12345678</imageId><imageLocation>111122223333/a</imageLocation><imageState>failed</imageState>
    <imageOwnerId>111122223333</imageOwnerId><creationDate>2026-11-01T00:00:00.000Z</creationDate><isPublic>true</isPublic>
    <productCodes><item><productCode>code</productCode><type>marketplace</type></item><item/></productCodes>
    <architecture>arm64</architecture><imageType>machine</imageType><kernelId>aki-1</kernelId><platform>windows</platform>
    <platformDetails>Windows</platformDetails><usageOperation>RunInstances:0002</usageOperation>
    <stateReason><code>Client.InternalError</code><message>no &quot;key&quot;</message><more/></stateReason>
    <imageOwnerAlias>self</imageOwnerAlias><name>a &amp; b</name><description>of a</description>
    <rootDeviceType>ebs</rootDeviceType><rootDeviceName>/dev/xvda</rootDeviceName><bootMode>uefi</bootMode>
    <tpmSupport>v2.0</tpmSupport><imdsSupport>v2.0</imdsSupport><sriovNetSupport>simple</sriovNetSupport>
    <enaSupport>true</enaSupport><virtualizationType>hvm</virtualizationType><hypervisor>xen</hypervisor>
    <deprecationTime>2027-11-01T00:00:00.000Z</deprecationTime><lastLaunchedTime>2026-11-02T00:00:00Z</lastLaunchedTime>
    <sourceInstanceId>i-12345678</sourceInstanceId><deregistrationProtection>enabled-with-cooldown</deregistrationProtection>
    <blockDeviceMapping>
      <item><deviceName>/dev/xvda</deviceName><ebs>
        <deleteOnTermination>true</deleteOnTermination><iops>3000</iops><snapshotId>snap-12345678</snapshotId>
        <volumeSize>20</volumeSize><volumeType>gp3</volumeType><kmsKeyId>key</kmsKeyId><throughput>125</throughput>
        <encrypted>true</encrypted></ebs></item>
      <item><deviceName>/dev/sdb</deviceName><virtualName>ephemeral0</virtualName></item>
      <item><deviceName>/dev/sdc</deviceName><noDevice/></item>
      <item><deviceName>/dev/sdd</deviceName><ebs><snapshotId/></ebs></item>
    </blockDeviceMapping>
    <tagSet><item><key>Name</key><value>a</value></item></tagSet>
  </item>
  <item>
    <imageId>ami-23456789</imageId><imageState>disabled</imageState><imageOwnerId>111122223333</imageOwnerId>
    <isPublic>false</isPublic><rootDeviceType>instance-store</rootDeviceType>
  </item>
</imagesSet></DescribeImagesResponse>"#;

#[tokio::test]
async fn a_page_is_read_as_the_sdk_reads_it() -> Result<(), Failed> {
    let aws_with = |body| aws(&Echo::new(200, body), None);
    let (aws, mut seen) = (aws_with(SNAPSHOTS)?, Vec::new());
    assert_eq!(aws.each_own_snapshot(aws.home(), |snapshot| seen.extend(snapshot)).await, Ok(3));
    assert_eq!(Ok(seen), aws.snapshots(aws.home(), &["snap-12345678".parse()?]).await);
    let (aws, mut seen) = (aws_with(IMAGES)?, Vec::new());
    assert_eq!(aws.each_own_image(aws.home(), |image| seen.extend(image)).await, Ok(2));
    assert_eq!(Ok(seen), aws.own_images(aws.home(), &["ami-12345678".parse()?]).await);
    for empty in
        ["<DescribeSnapshotsResponse/>", "<DescribeSnapshotsResponse><snapshotSet/></DescribeSnapshotsResponse>"]
    {
        let aws = aws_with(empty)?;
        assert_eq!(aws.each_own_snapshot(aws.home(), |_| {}).await, Ok(0), "{empty}");
    }
    Ok(())
}

#[tokio::test]
async fn a_listing_is_read_to_its_last_page() -> Result<(), Failed> {
    let first = "<DescribeSnapshotsResponse><nextToken>a&amp;b</nextToken><snapshotSet><item>\
                 <snapshotId>snap-87654321</snapshotId><status>completed</status><volumeSize>8</volumeSize>\
                 </item></snapshotSet></DescribeSnapshotsResponse>";
    let echo = Echo { then: Some(SNAPSHOTS), ..Echo::new(200, first) };
    let aws_here = aws(&echo, None)?;
    let mut seen = Vec::new();
    let each = |snapshot: Result<SnapshotFacts, _>| seen.extend(snapshot.map(|one| one.snapshot_id.to_string()));
    assert_eq!(aws_here.each_own_snapshot(aws_here.home(), each).await, Ok(4));
    assert_eq!(seen, ["snap-87654321", "snap-12345678", "snap-23456789", "snap-34567890"]);
    assert!(echo.seen().get(1).is_some_and(|request| request.contains("NextToken=a%26b")), "{:#?}", echo.seen());
    let first = "<DescribeImagesResponse><nextToken>n</nextToken></DescribeImagesResponse>";
    let echo = Echo { then: Some(IMAGES), ..Echo::new(200, first) };
    let aws_here = aws(&echo, None)?;
    assert_eq!(aws_here.each_own_image(aws_here.home(), |_| {}).await, Ok(2));
    assert!(echo.seen().get(1).is_some_and(|request| request.contains("NextToken=n")), "{:#?}", echo.seen());
    Ok(())
}

#[tokio::test]
async fn a_listing_that_gives_one_token_twice_is_not_read_for_ever() -> Result<(), Failed> {
    let fails = |failure: Option<AwsFailure>, echo: &Echo| {
        assert!(failure.is_some_and(|f| f.is(MALFORMED_RESPONSE) && f.message.contains("NextToken")));
        assert_eq!(echo.seen().len(), 2, "{:#?}", echo.seen());
    };
    let echo = Echo::new(200, "<DescribeSnapshotsResponse><nextToken>n</nextToken></DescribeSnapshotsResponse>");
    let here = aws(&echo, None)?;
    fails(here.each_own_snapshot(here.home(), |_| {}).await.err(), &echo);
    let echo =
        Echo::new(200, "<DescribeLockedSnapshotsResponse><nextToken>n</nextToken></DescribeLockedSnapshotsResponse>");
    let here = aws(&echo, None)?;
    fails(here.locked_snapshots(here.home()).await.err(), &echo);
    Ok(())
}

#[tokio::test]
async fn a_page_that_cannot_be_read_is_no_short_page() -> Result<(), Failed> {
    let item = "<DescribeSnapshotsResponse><snapshotSet><item><snapshotId>snap-12345678</snapshotId>\
                <status>completed</status><volumeSize>8</volumeSize>";
    let rest = "</item></snapshotSet></DescribeSnapshotsResponse>";
    let whole = Echo::new(200, format!("{item}{rest}").leak());
    assert_eq!(aws(&whole, None)?.each_own_snapshot(&"us-east-1".parse()?, |_| {}).await, Ok(1));
    let broken = ["", "</item>", "</item></snapshotSet>", "</snapshotSet></item></DescribeSnapshotsResponse>"];
    let wrong = ["<encrypted>perhaps</encrypted>", "<ownerId>&who;</ownerId>", "<ownerId><id/></ownerId>"];
    let bodies = broken.map(|end| format!("{item}{end}")).into_iter();
    let bodies = bodies.chain(wrong.map(|field| format!("{item}{field}{rest}")));
    for body in bodies.chain(["", "later", "<html>later</html>", "<DescribeImagesResponse/>"].map(str::to_owned)) {
        let aws = aws(&Echo::new(200, body.clone().leak()), None)?;
        let failure = aws.each_own_snapshot(aws.home(), |_| {}).await.err();
        assert!(failure.is_some_and(|f| f.class() == FailureClass::Transient), "{body}");
    }
    Ok(())
}

/// Two rows of each field, of which the first is odd and the second is not.
fn page(action: &str, set: &str, rows: [&str; 2]) -> Echo {
    let [odd, even] = rows;
    let body = format!("<{action}Response><{set}><item>{odd}</item><item>{even}</item></{set}></{action}Response>");
    Echo::new(200, body.leak())
}

/// 69. A row of a listing that is odd never fails the listing: what it could concern stays, and it is noted.
///
/// What EC2 lists of images and snapshots: kernels, ramdisks, and rows that lack what every other row has.
#[tokio::test]
async fn an_odd_image_or_snapshot_never_fails_its_listing() -> Result<(), Failed> {
    let kernel = "<imageId>aki-12345678</imageId><imageState>available</imageState><imageType>kernel</imageType>\
                  <blockDeviceMapping><item><ebs><snapshotId>snap-12345678</snapshotId></ebs></item></blockDeviceMapping>";
    let bare = "<imageId>ami-12345678</imageId><blockDeviceMapping><item><ebs><snapshotId>SNAP-12345678 </snapshotId>\
                </ebs></item><item><ebs><snapshotId>none</snapshotId></ebs></item></blockDeviceMapping>";
    let echo = page("DescribeImages", "imagesSet", [kernel, bare]);
    let (aws_here, mut images, mut odd) = (aws(&echo, None)?, Vec::new(), Vec::new());
    let each = |row| match row {
        Ok(image) => images.push(image),
        Err(row) => odd.push(row),
    };
    assert_eq!(aws_here.each_own_image(aws_here.home(), each).await, Ok(2));
    assert_eq!(odd, [OddImage { id: "aki-12345678".into(), snapshots: vec!["snap-12345678".into()] }]);
    assert_eq!(Ok(images), aws_here.own_images(aws_here.home(), &["ami-12345678".parse()?]).await);
    let image = aws_here.image(aws_here.home(), &"ami-12345678".parse()?).await?.ok_or("no image")?;
    let unknown = (image.name.as_str(), image.root_device_type.as_str(), image.state.as_str(), &image.creation_date);
    assert_eq!(unknown, ("", "", "", &None));
    assert_eq!(image.snapshot_ids(), ["snap-12345678".parse()?]);

    let bare = "<snapshotId>snap-12345678</snapshotId>";
    let echo =
        page("DescribeSnapshots", "snapshotSet", ["<snapshotId>snap-1</snapshotId><status>error</status>", bare]);
    let (aws_here, mut snapshots, mut odd) = (aws(&echo, None)?, Vec::new(), Vec::new());
    let each = |row| match row {
        Ok(snapshot) => snapshots.push(snapshot),
        Err(row) => odd.push(row),
    };
    assert_eq!(aws_here.each_own_snapshot(aws_here.home(), each).await, Ok(2));
    assert_eq!((odd, snapshots.len()), (vec!["snap-1".to_owned()], 1));
    assert_eq!(Ok(snapshots), aws_here.snapshots(aws_here.home(), &["snap-12345678".parse()?]).await);
    Ok(())
}

/// 69. A row of a listing that is odd never fails the listing: what it could concern stays, and it is noted.
///
/// Every other listing, each with a row that lacks or garbles what all rows have.
#[tokio::test]
async fn an_odd_row_never_fails_any_other_listing() -> Result<(), Failed> {
    let image = "ami-12345678".parse()?;
    let here = "us-east-1".parse()?;
    let at = |echo: &Echo| aws(echo, None);

    let lock = "<snapshotId>snap-12345678</snapshotId>";
    let locked = at(&page("DescribeLockedSnapshots", "snapshotSet", ["<lockState>compliance</lockState>", lock]))?;
    assert_eq!(locked.locked_snapshots(&here).await?.into_values().collect::<Vec<_>>(), ["locked"]);
    let rows = ["<imageId>ami-of-a-kind-to-come</imageId>", "<imageId>ami-12345678</imageId>"];
    let binned = at(&page("ListImagesInRecycleBin", "imageSet", rows))?.binned_images(&here).await?;
    assert_eq!((binned.images, binned.odd), (vec!["ami-12345678".parse()?], vec!["ami-of-a-kind-to-come".to_owned()]));
    let rows = ["<snapshotId>snap-1</snapshotId>", "<snapshotId>snap-12345678</snapshotId>"];
    let binned = at(&page("ListSnapshotsInRecycleBin", "snapshotSet", rows))?.binned_snapshots(&here).await?;
    assert_eq!(binned, ["snap-12345678".parse()?]);

    let instances =
        "<instancesSet><item/><item><instanceId>i-12345678</instanceId><imageId> ami-1</imageId></item></instancesSet>";
    let (aws_here, mut seen) = (at(&page("DescribeInstances", "reservationSet", ["", instances]))?, Vec::new());
    let each = |image: Option<&str>, id: &str, state: &str| seen.push(format!("{image:?} {id} {state}"));
    assert_eq!(aws_here.each_instance(&here, None, each).await, Ok(2));
    assert_eq!(seen, ["None without a name ", "Some(\" ami-1\") i-12345678 "]);
    assert_eq!(aws_here.instances_tagged(&[("a".to_owned(), vec!["b".to_owned()])].into()).await?.len(), 1);

    let rows = ["<storeTaskState>InProgress</storeTaskState>", "<amiId>ami-12345678</amiId>"];
    let stored = at(&page("DescribeStoreImageTasks", "storeImageTaskResultSet", rows))?;
    assert_eq!(stored.images_being_stored(&here).await?, ["ami-12345678"]);
    assert_eq!(stored.store_tasks(&image).await?.len(), 1);
    let rows =
        ["<imageId>ami-12345678</imageId>", "<exportImageTaskId>export-ami-1</exportImageTaskId><imageId>?</imageId>"];
    assert_eq!(at(&page("DescribeExportImageTasks", "exportImageTaskSet", rows))?.export_tasks(&here).await?.len(), 1);

    let rows = ["<resourceType>ssm:Parameter</resourceType>", "<imageId>ami-12345678</imageId><arn>a</arn>"];
    let references = at(&page("DescribeImageReferences", "imageReferenceSet", rows))?;
    let references = references.image_references(&here, std::slice::from_ref(&image), false).await?;
    let references: Vec<_> = references.iter().map(|one| (one.id.as_str(), one.image.as_deref())).collect();
    assert_eq!(references, [("without a name", None), ("a", Some("ami-12345678"))]);
    let rows = ["<state>available</state>", "<reportId>amiur-1</reportId><imageId>ami-12345678</imageId>"];
    let reports = at(&page("DescribeImageUsageReports", "imageUsageReportSet", rows))?;
    let reports = reports.usage_reports(&here, std::slice::from_ref(&image)).await?;
    assert_eq!(
        reports.iter().map(|report| (&*report.report_id, &*report.state)).collect::<Vec<_>>(),
        [("amiur-1", "")]
    );
    let rows = ["<usageCount>1</usageCount>", "<accountId>111122223333</accountId>"];
    let accounts = at(&page("DescribeImageUsageReportEntries", "imageUsageReportEntrySet", rows))?;
    let accounts = accounts.usage_report_accounts(&here, "amiur-1").await?;
    assert_eq!(accounts.into_iter().collect::<Vec<_>>(), ["111122223333", "without a name"]);
    let rows = ["<regionName>here</regionName>", "<regionName>eu-west-1</regionName>"];
    assert_eq!(at(&page("DescribeRegions", "regionInfo", rows))?.regions().await?.len(), 1);
    Ok(())
}

/// 69. A row of a listing that is odd never fails the listing: what it could concern stays, and it is noted.
///
/// What people typed into templates, launch configurations, groups and fleets is handed on as it stands.
#[tokio::test]
async fn what_people_typed_never_fails_a_listing() -> Result<(), Failed> {
    let here = "us-east-1".parse()?;
    let member = |action: &str, set: &str, rows: [&str; 2]| {
        let [odd, even] = rows;
        let rows = format!("<{set}><member>{odd}</member><member>{even}</member></{set}>");
        Echo::new(200, format!("<{action}Response><{action}Result>{rows}</{action}Result></{action}Response>").leak())
    };
    let rows = ["<ImageId>ami-12345678 </ImageId>", "<ImageId>ami-placeholder</ImageId>"];
    let echo = member("DescribeLaunchConfigurations", "LaunchConfigurations", rows);
    let seen = aws(&echo, None)?.launch_configurations(&here).await?;
    let seen: Vec<_> = seen.iter().filter_map(|one| one.image.as_deref()).collect();
    assert_eq!(seen, ["ami-12345678 ", "ami-placeholder"]);
    let template =
        "<LaunchTemplate><LaunchTemplateId>lt-1</LaunchTemplateId><Version>newest</Version></LaunchTemplate>";
    let echo = member("DescribeAutoScalingGroups", "AutoScalingGroups", ["", template]);
    let groups = aws(&echo, None)?.auto_scaling_groups(&here).await?;
    assert_eq!((groups.count, groups.pins.len()), (2, 1));

    let odd = "<launchTemplateData><imageId>AMI-1</imageId></launchTemplateData>";
    let even = "<launchTemplateId>lt-1</launchTemplateId><versionNumber>1</versionNumber>";
    let versions = page("DescribeLaunchTemplateVersions", "launchTemplateVersionSet", [odd, even]);
    let echo = Echo { then: Some(versions.body), ..Echo::new(200, "<DescribeLaunchTemplatesResponse/>") };
    let templates = aws(&echo, None)?.launch_templates(&here, &[], false).await?;
    let seen: Vec<_> = templates.versions.iter().map(|one| (one.template_id.as_str(), one.image.as_deref())).collect();
    assert_eq!(seen, [("without a name", Some("AMI-1")), ("lt-1", None)]);
    Ok(())
}

/// 67. Versions of launch templates are listed without their aliases resolved.
///
/// EC2 refuses a listing that asks for it.
#[tokio::test]
async fn versions_are_listed_without_resolving_aliases() -> Result<(), Failed> {
    let names = "<DescribeLaunchTemplatesResponse><launchTemplates><item><launchTemplateId>lt-1</launchTemplateId>\
                 <latestVersionNumber>3</latestVersionNumber></item></launchTemplates></DescribeLaunchTemplatesResponse>";
    let echo = Echo { then: Some("<DescribeLaunchTemplateVersionsResponse/>"), ..Echo::new(200, names) };
    let here = aws(&echo, None)?;
    here.launch_templates(here.home(), &[], true).await?;
    assert_eq!(echo.seen().len(), 3);
    assert!(echo.seen().iter().all(|request| !request.contains("ResolveAlias")), "{:#?}", echo.seen());
    Ok(())
}

/// 69. A page that is empty and has a token is no end of a listing. What EC2 does not find is not there, and no failure.
#[tokio::test]
async fn an_empty_page_is_no_end_and_not_found_is_nothing() -> Result<(), Failed> {
    let first = "<DescribeSnapshotsResponse><snapshotSet/><nextToken>n</nextToken></DescribeSnapshotsResponse>";
    let echo = Echo { then: Some(SNAPSHOTS), ..Echo::new(200, first) };
    let here = aws(&echo, None)?;
    assert_eq!(here.snapshots(here.home(), &["snap-12345678".parse()?]).await?.len(), 3);
    assert_eq!(echo.seen().len(), 2);
    let body =
        "<Response><Errors><Error><Code>InvalidAMIID.NotFound</Code><Message>no</Message></Error></Errors></Response>";
    let here = aws(&Echo::new(400, body), None)?;
    assert_eq!(here.store_tasks(&"ami-12345678".parse()?).await, Ok(Vec::new()));
    Ok(())
}

#[tokio::test]
async fn what_a_listing_is_refused_with_has_its_name() -> Result<(), Failed> {
    let echo = Echo::new(503, UNAVAILABLE);
    let aws = aws(&echo, None)?;
    let failure = aws.each_own_snapshot(aws.home(), |_| {}).await.err();
    assert!(failure.is_some_and(|f| f.is("Unavailable") && f.message == "later"));
    assert_eq!(echo.seen().len(), 3);
    Ok(())
}
