use std::sync::Arc;

use aws_credential_types::Credentials;
use aws_sdk_s3::Client;
use aws_sdk_s3::config::{
    AppName, BehaviorVersion, Builder, Region, StalledStreamProtectionConfig, retry::RetryConfig,
};
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{
    ChecksumAlgorithm, CompletedMultipartUpload, CompletedPart, Delete, GlacierJobParameters, MetadataDirective,
    ObjectIdentifier, RestoreRequest, ServerSideEncryption, ServerSideEncryptionByDefault,
    ServerSideEncryptionConfiguration, ServerSideEncryptionRule, StorageClass, Tag, Tagging, Tier,
};
use serde_json::json;

use super::*;
use crate::clock::ManualClock;
use crate::faults::Rule;
use crate::objects::StoredObject;

mod services;

const BUCKET: &str = "backups";
const ELSEWHERE: &str = "elsewhere";

fn world() -> (Simulator, ManualClock) {
    let file = json!({
        "home": "us-east-1",
        "accounts": [
            {"id": "000000000000", "accessKeys": ["test"], "regions": ["us-east-1", "eu-west-1"],
             "buckets": [{"name": BUCKET, "region": "us-east-1"}, {"name": ELSEWHERE, "region": "eu-west-1"}]},
            {"id": "111122223333", "regions": ["us-east-1"],
             "buckets": [{"name": "strangers", "region": "us-east-1"}]}]
    });
    let clock = ManualClock::new("2026-11-20T12:00:00Z".parse().unwrap());
    (Simulator::in_memory(serde_json::from_value(file).unwrap(), Arc::new(clock.clone())), clock)
}

/// An S3 client as a function of the product builds it, without retries.
fn s3(simulator: &Simulator, function: &str) -> Client {
    let config = Builder::new()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new("us-east-1"))
        .credentials_provider(Credentials::new("test", "any secret", None, None, "test"))
        .app_name(AppName::new(function.to_owned()).unwrap())
        .retry_config(RetryConfig::disabled())
        .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
        .http_client(simulator.http_client())
        .build();
    Client::from_conf(config)
}

fn code<T: std::fmt::Debug, E: ProvideErrorMetadata>(result: Result<T, SdkError<E>>) -> String {
    match result {
        Ok(answer) => panic!("expected an error, got {answer:?}"),
        Err(SdkError::ServiceError(error)) => {
            let status = error.raw().status().as_u16();
            format!("{status} {}", error.err().code().unwrap_or("-"))
        }
        Err(SdkError::DispatchFailure(failure)) if failure.is_timeout() => "timeout".to_owned(),
        Err(SdkError::DispatchFailure(failure)) if failure.is_io() => "io".to_owned(),
        Err(other) => format!("other: {}", other.code().unwrap_or("-")),
    }
}

async fn put(client: &Client, key: &str, body: &'static str) {
    client.put_object().bucket(BUCKET).key(key).body(ByteStream::from_static(body.as_bytes())).send().await.unwrap();
}

fn archived(simulator: &Simulator, key: &str) {
    let object =
        StoredObject { body: b"frozen".to_vec(), storage_class: "DEEP_ARCHIVE".to_owned(), ..StoredObject::default() };
    simulator.objects().local().unwrap().insert(BUCKET, key, object).unwrap();
}

#[tokio::test]
async fn what_is_put_comes_back_with_metadata_and_tags() {
    let (simulator, _) = world();
    let client = s3(&simulator, "start-store");
    client
        .put_object()
        .bucket(BUCKET)
        .key("a folder/ümlaut + plus.json")
        .body(ByteStream::from_static(b"{\"a\":1}"))
        .content_type("application/json")
        .metadata("name", "golden")
        .tagging("ami-backup%3Amanaged=true&Team=a%20b")
        .storage_class(StorageClass::StandardIa)
        .send()
        .await
        .unwrap();
    let got = client.get_object().bucket(BUCKET).key("a folder/ümlaut + plus.json").send().await.unwrap();
    assert_eq!(got.content_type(), Some("application/json"));
    assert_eq!(got.metadata().unwrap()["name"], "golden");
    assert_eq!(got.storage_class(), Some(&StorageClass::StandardIa));
    assert_eq!(got.tag_count(), Some(2));
    assert_eq!(got.last_modified().unwrap().to_string(), "2026-11-20T12:00:00Z");
    assert_eq!(got.body.collect().await.unwrap().to_vec(), b"{\"a\":1}");
    let tags = client.get_object_tagging().bucket(BUCKET).key("a folder/ümlaut + plus.json").send().await.unwrap();
    let tags: Vec<_> = tags.tag_set().iter().map(|tag| (tag.key(), tag.value())).collect();
    assert_eq!(tags, [("Team", "a b"), ("ami-backup:managed", "true")]);
}

#[tokio::test]
async fn a_streamed_body_with_a_trailing_checksum_is_decoded_and_checked() {
    let (simulator, _) = world();
    let client = s3(&simulator, "start-store");
    let body = "x".repeat(200_000);
    let put = client
        .put_object()
        .bucket(BUCKET)
        .key("large")
        .checksum_algorithm(ChecksumAlgorithm::Crc32)
        .body(ByteStream::from(body.clone().into_bytes()))
        .send()
        .await
        .unwrap();
    assert!(put.checksum_crc32().is_some());
    let head = client.head_object().bucket(BUCKET).key("large").send().await.unwrap();
    assert_eq!(head.content_length(), Some(200_000));
    let got = client.get_object().bucket(BUCKET).key("large").range("bytes=5-9").send().await.unwrap();
    assert_eq!(got.content_range(), Some("bytes 5-9/200000"));
    assert_eq!(got.body.collect().await.unwrap().to_vec(), b"xxxxx");
    let beyond = client.get_object().bucket(BUCKET).key("large").range("bytes=200000-").send().await;
    assert_eq!(code(beyond), "416 InvalidRange");
}

#[tokio::test]
async fn a_conditional_put_does_not_replace_what_is_there() {
    let (simulator, _) = world();
    let client = s3(&simulator, "record-backup");
    put(&client, "record.json", "first").await;
    let again = client.put_object().bucket(BUCKET).key("record.json").if_none_match("*").send().await;
    assert_eq!(code(again), "412 PreconditionFailed");
    let head = client.head_object().bucket(BUCKET).key("record.json").send().await.unwrap();
    let tag = head.e_tag().unwrap();
    client.put_object().bucket(BUCKET).key("record.json").if_match(tag).send().await.unwrap();
    let stale = client.put_object().bucket(BUCKET).key("record.json").if_match(tag).send().await;
    assert_eq!(code(stale), "412 PreconditionFailed");
}

#[tokio::test]
async fn listing_pages_through_prefixes_and_folders() {
    let (simulator, _) = world();
    let client = s3(&simulator, "select-images");
    for key in ["a", "runs/1/x", "runs/1/y", "runs/2/x", "runs/3", "z"] {
        put(&client, key, "").await;
    }
    let mut keys = Vec::new();
    let mut folders = Vec::new();
    let mut pages = 0;
    let mut token = None;
    loop {
        let page = client
            .list_objects_v2()
            .bucket(BUCKET)
            .prefix("runs/")
            .delimiter("/")
            .max_keys(1)
            .set_continuation_token(token)
            .send()
            .await
            .unwrap();
        pages += 1;
        assert_eq!(page.key_count(), Some(1));
        keys.extend(page.contents().iter().map(|object| object.key().unwrap().to_owned()));
        folders.extend(page.common_prefixes().iter().map(|folder| folder.prefix().unwrap().to_owned()));
        token = page.next_continuation_token().map(str::to_owned);
        if page.is_truncated() != Some(true) {
            break;
        }
    }
    assert_eq!(
        (pages, keys.as_slice(), folders.as_slice()),
        (3, ["runs/3".to_owned()].as_slice(), ["runs/1/".to_owned(), "runs/2/".to_owned()].as_slice())
    );
    let whole = client.list_objects_v2().bucket(BUCKET).prefix("runs/").delimiter("/").send().await.unwrap();
    assert_eq!((whole.key_count(), whole.common_prefixes().len()), (Some(3), 2));
    let after = client.list_objects_v2().bucket(BUCKET).start_after("runs/2/x").send().await.unwrap();
    let after: Vec<_> = after.contents().iter().map(|object| object.key().unwrap()).collect();
    assert_eq!(after, ["runs/3", "z"]);
}

#[tokio::test]
async fn a_bucket_in_another_region_is_a_redirect_that_names_the_region() {
    let (simulator, _) = world();
    let client = s3(&simulator, "find-backup");
    match client.head_bucket().bucket(ELSEWHERE).send().await {
        Err(SdkError::ServiceError(error)) => {
            assert_eq!(error.raw().status().as_u16(), 301);
            assert_eq!(error.raw().headers().get("x-amz-bucket-region"), Some("eu-west-1"));
        }
        other => panic!("expected a redirect, got {other:?}"),
    }
    let get = client.get_object().bucket(ELSEWHERE).key("k").send().await;
    assert_eq!(code(get), "301 PermanentRedirect");
    let place = client.get_bucket_location().bucket(ELSEWHERE).send().await.unwrap();
    assert_eq!(place.location_constraint().unwrap().as_str(), "eu-west-1");
    let home = client.head_bucket().bucket(BUCKET).send().await.unwrap();
    assert_eq!(home.bucket_region(), Some("us-east-1"));
}

#[tokio::test]
async fn buckets_of_another_account_are_forbidden_and_missing_ones_are_not_found() {
    let (simulator, _) = world();
    let client = s3(&simulator, "find-backup");
    assert_eq!(code(client.get_object().bucket("strangers").key("k").send().await), "403 AccessDenied");
    assert_eq!(code(client.get_object().bucket("nowhere").key("k").send().await), "404 NoSuchBucket");
    assert_eq!(code(client.head_bucket().bucket("nowhere").send().await), "404 NotFound");
    let wrong = client.get_object().bucket(BUCKET).key("k").expected_bucket_owner("999999999999").send().await;
    assert_eq!(code(wrong), "403 AccessDenied");
    let names = client.list_buckets().send().await.unwrap();
    let names: Vec<_> = names.buckets().iter().map(|bucket| bucket.name().unwrap()).collect();
    assert_eq!(names, [BUCKET, ELSEWHERE]);
}

#[tokio::test]
async fn an_archived_object_cannot_be_read_or_copied_until_it_is_thawed() {
    let (simulator, clock) = world();
    let client = s3(&simulator, "start-restore");
    archived(&simulator, "old.bin");
    let get = || client.get_object().bucket(BUCKET).key("old.bin").send();
    assert_eq!(code(get().await), "403 InvalidObjectState");
    let copy = client.copy_object().bucket(BUCKET).key("new.bin").copy_source("backups/old.bin").send().await;
    assert_eq!(code(copy), "403 InvalidObjectState");
    let thaw = || {
        let job = GlacierJobParameters::builder().tier(Tier::Standard).build().unwrap();
        let request = RestoreRequest::builder().days(2).glacier_job_parameters(job).build();
        client.restore_object().bucket(BUCKET).key("old.bin").restore_request(request).send()
    };
    thaw().await.unwrap();
    assert_eq!(code(thaw().await), "409 RestoreAlreadyInProgress");
    let head = || async { client.head_object().bucket(BUCKET).key("old.bin").send().await.unwrap() };
    assert_eq!(head().await.restore(), Some("ongoing-request=\"true\""));
    clock.advance(SignedDuration::from_hours(12));
    assert!(head().await.restore().unwrap().starts_with("ongoing-request=\"false\", expiry-date=\"Mon, 23 Nov 2026"));
    assert_eq!(get().await.unwrap().body.collect().await.unwrap().to_vec(), b"frozen");
    clock.advance(SignedDuration::from_hours(49));
    assert_eq!(code(get().await), "403 InvalidObjectState");
}

#[tokio::test]
async fn a_thaw_that_starts_is_202_and_one_that_lasts_longer_is_200() {
    let (simulator, clock) = world();
    archived(&simulator, "old.bin");
    let thaw = || {
        let body = "<RestoreRequest xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><Days>1</Days></RestoreRequest>";
        let request = Request::post("http://127.0.0.1/backups/old.bin?restore").header("host", "127.0.0.1:1");
        simulator.handle(request.body(Bytes::from(body)).unwrap())
    };
    let status = |reply: Reply| match reply {
        Reply::Response(response) => response.status().as_u16(),
        other => panic!("expected a response, got {other:?}"),
    };
    assert_eq!(status(thaw().await), 202);
    clock.advance(SignedDuration::from_hours(13));
    assert_eq!(status(thaw().await), 200);
}

#[tokio::test]
async fn copies_keep_tags_and_metadata_unless_told_otherwise() {
    let (simulator, _) = world();
    let client = s3(&simulator, "start-store");
    client.put_object().bucket(BUCKET).key("a").metadata("m", "1").tagging("t=1").send().await.unwrap();
    let copy = || client.copy_object().bucket(BUCKET).key("b").copy_source("backups/a");
    copy().storage_class(StorageClass::DeepArchive).send().await.unwrap();
    let head = client.head_object().bucket(BUCKET).key("b").send().await.unwrap();
    assert_eq!(head.storage_class(), Some(&StorageClass::DeepArchive));
    assert_eq!(head.metadata().unwrap()["m"], "1");
    copy().metadata_directive(MetadataDirective::Replace).metadata("m", "2").send().await.unwrap();
    let head = client.head_object().bucket(BUCKET).key("b").send().await.unwrap();
    assert_eq!(head.metadata().unwrap()["m"], "2");
    let itself = client.copy_object().bucket(BUCKET).key("a").copy_source("backups/a").send().await;
    assert_eq!(code(itself), "400 InvalidRequest");
}

#[tokio::test]
async fn tags_are_replaced_and_objects_deleted_one_or_many_at_a_time() {
    let (simulator, _) = world();
    let client = s3(&simulator, "start-store");
    for key in ["a", "b", "c"] {
        put(&client, key, "").await;
    }
    let tagging = Tagging::builder().tag_set(Tag::builder().key("k").value("v").build().unwrap()).build().unwrap();
    client.put_object_tagging().bucket(BUCKET).key("a").tagging(tagging).send().await.unwrap();
    let tags = client.get_object_tagging().bucket(BUCKET).key("a").send().await.unwrap();
    assert_eq!(tags.tag_set().len(), 1);
    client.delete_object().bucket(BUCKET).key("a").send().await.unwrap();
    let two = ["b", "c"].map(|key| ObjectIdentifier::builder().key(key).build().unwrap());
    let delete = Delete::builder().set_objects(Some(two.to_vec())).build().unwrap();
    let gone = client.delete_objects().bucket(BUCKET).delete(delete).send().await.unwrap();
    assert_eq!(gone.deleted().len(), 2);
    assert_eq!(code(client.head_object().bucket(BUCKET).key("a").send().await), "404 NotFound");
    assert_eq!(code(client.get_object().bucket(BUCKET).key("a").send().await), "404 NoSuchKey");
    assert!(simulator.objects().local().unwrap().contents()[BUCKET].is_empty());
}

#[tokio::test]
async fn an_upload_in_parts_becomes_one_object() {
    let (simulator, _) = world();
    let client = s3(&simulator, "start-store");
    let begun = client.create_multipart_upload().bucket(BUCKET).key("big").send().await.unwrap();
    let id = begun.upload_id().unwrap();
    let mut parts = Vec::new();
    for (number, body) in [(1, vec![b'a'; 5 * 1024 * 1024]), (2, b"end".to_vec())] {
        let part = client.upload_part().bucket(BUCKET).key("big").upload_id(id).part_number(number);
        let part = part.body(ByteStream::from(body)).send().await.unwrap();
        parts.push(CompletedPart::builder().part_number(number).set_e_tag(part.e_tag).build());
    }
    let complete = |parts: Vec<CompletedPart>| {
        let list = CompletedMultipartUpload::builder().set_parts(Some(parts)).build();
        client.complete_multipart_upload().bucket(BUCKET).key("big").upload_id(id).multipart_upload(list).send()
    };
    assert_eq!(code(complete(parts.iter().rev().cloned().collect()).await), "400 InvalidPartOrder");
    let done = complete(parts).await.unwrap();
    assert!(done.e_tag().unwrap().ends_with("-2\""));
    let head = client.head_object().bucket(BUCKET).key("big").send().await.unwrap();
    assert_eq!(head.content_length(), Some(5 * 1024 * 1024 + 3));
    let again = client.abort_multipart_upload().bucket(BUCKET).key("big").upload_id(id).send().await;
    assert_eq!(code(again), "404 NoSuchUpload");
}

#[tokio::test]
async fn a_bucket_is_created_once_in_the_region_that_was_asked_and_remembers_its_encryption() {
    let (simulator, _) = world();
    let client = s3(&simulator, "test");
    client.create_bucket().bucket("fresh").send().await.unwrap();
    assert_eq!(code(client.create_bucket().bucket("strangers").send().await), "409 BucketAlreadyExists");
    let default = ServerSideEncryptionByDefault::builder()
        .sse_algorithm(ServerSideEncryption::AwsKms)
        .kms_master_key_id("key")
        .build()
        .unwrap();
    let rule = ServerSideEncryptionRule::builder().apply_server_side_encryption_by_default(default).build();
    let rules = ServerSideEncryptionConfiguration::builder().rules(rule).build().unwrap();
    let put = client.put_bucket_encryption().bucket("fresh").server_side_encryption_configuration(rules);
    put.send().await.unwrap();
    assert!(simulator.objects().bucket("fresh").await.unwrap().kms);
    let read = client.get_bucket_encryption().bucket("fresh").send().await.unwrap();
    let rule = &read.server_side_encryption_configuration().unwrap().rules()[0];
    let default = rule.apply_server_side_encryption_by_default().unwrap();
    assert_eq!(default.sse_algorithm(), &ServerSideEncryption::AwsKms);
    assert_eq!(default.kms_master_key_id(), Some("key"));
}

#[tokio::test]
async fn a_missing_key_is_forbidden_and_not_missing_to_who_may_not_list_the_bucket() {
    let (simulator, _) = world();
    let client = s3(&simulator, "check-store");
    put(&client, "here", "").await;
    let allow = |actions: serde_json::Value| {
        let policy = json!([
            {"Effect": "Allow", "Action": actions, "Resource": "arn:aws:s3:::backups/*"}]);
        simulator.permissions().set_json("check-store", &policy).unwrap();
    };
    allow(json!(["s3:GetObject"]));
    let head = |key: &'static str| client.head_object().bucket(BUCKET).key(key).send();
    head("here").await.unwrap();
    assert_eq!(code(head("gone").await), "403 -");
    let policy = json!([{"Effect": "Allow", "Action": ["s3:GetObject", "s3:ListBucket"], "Resource": "*"}]);
    simulator.permissions().set_json("check-store", &policy).unwrap();
    assert_eq!(code(head("gone").await), "404 NotFound");
    let put = client.put_object().bucket(BUCKET).key("k").send().await;
    assert_eq!(code(put), "403 AccessDenied");
    assert!(s3(&simulator, "other").head_object().bucket(BUCKET).key("here").send().await.is_ok());
}

#[tokio::test]
async fn writing_tags_needs_a_permission_of_its_own_and_is_recorded_as_implied() {
    let (simulator, _) = world();
    let client = s3(&simulator, "record-backup");
    let policy = json!({"Effect": "Allow", "Action": "s3:PutObject", "Resource": "*"});
    simulator.permissions().set_json("record-backup", &policy).unwrap();
    client.put_object().bucket(BUCKET).key("k").send().await.unwrap();
    assert_eq!(code(client.put_object().bucket(BUCKET).key("k").tagging("a=b").send().await), "403 AccessDenied");
    let calls = simulator.calls().all();
    let implied: Vec<_> = calls.iter().filter(|call| call.implied_by.is_some()).collect();
    assert_eq!(implied.len(), 1);
    assert_eq!(implied[0].action, "PutObjectTagging");
    assert_eq!(implied[0].implied_by.as_deref(), Some("PutObject"));
    assert_eq!(implied[0].outcome, "AccessDenied");
}

#[tokio::test]
async fn each_call_is_written_down_with_who_called_what_and_what_came_of_it() {
    let (simulator, _) = world();
    let client = s3(&simulator, "check-store");
    put(&client, "k", "").await;
    let _ = client.get_object().bucket(BUCKET).key("gone").send().await;
    let calls: Vec<_> = simulator.calls().all().into_iter().filter(|call| call.implied_by.is_none()).collect();
    let seen: Vec<_> = calls.iter().map(|call| (call.action.as_str(), call.outcome.as_str())).collect();
    assert_eq!(seen, [("PutObject", "ok"), ("GetObject", "NoSuchKey")]);
    assert_eq!(calls[0].function.as_deref(), Some("check-store"));
    assert_eq!(calls[0].account, "000000000000");
    assert_eq!(calls[0].service, "s3");
    assert_eq!(calls[0].parameters["Key"], "k");
}

fn rule(action: &str, effect: Effect) -> Rule {
    Rule { service: None, action: action.to_owned(), function: None, region: None, nth: Some(1), times: None, effect }
}

#[tokio::test]
async fn a_refused_call_and_a_cut_one_have_no_effect_and_a_held_reply_has() {
    let (simulator, _) = world();
    let client = s3(&simulator, "record-backup");
    let put = |key: &'static str| client.put_object().bucket(BUCKET).key(key).send();
    let there = || simulator.objects().local().unwrap().contents()[BUCKET].clone();
    let slow = Effect::Refuse { code: "SlowDown".to_owned(), message: None, status: None };
    simulator.faults().set(vec![rule("PutObject", slow)]);
    assert_eq!(code(put("a").await), "503 SlowDown");
    simulator.faults().set(vec![rule("PutObject", Effect::Cut)]);
    assert_eq!(code(put("b").await), "io");
    assert!(there().is_empty());
    simulator.faults().set(vec![rule("*", Effect::HoldReply)]);
    assert_eq!(code(put("c").await), "timeout");
    assert_eq!(there(), ["c"]);
    put("d").await.unwrap();
    let outcomes: Vec<_> = simulator.calls().all().into_iter().map(|call| call.outcome).collect();
    assert_eq!(outcomes, ["SlowDown", "Cut", "ok", "ok"]);
}

async fn form(simulator: &Simulator, service: &str, key: &str, agent: &str, body: &'static str) -> (u16, String) {
    let scope = format!(
        "AWS4-HMAC-SHA256 Credential={key}/20261120/eu-west-1/{service}/aws4_request, SignedHeaders=host, Signature=0"
    );
    let request = Request::post("/").header("authorization", scope).header("user-agent", agent);
    match simulator.handle(request.body(Bytes::from(body)).unwrap()).await {
        Reply::Response(response) => (response.status().as_u16(), String::from_utf8(response.body().to_vec()).unwrap()),
        other => panic!("expected a response, got {other:?}"),
    }
}

#[tokio::test]
async fn the_account_is_that_of_the_access_key_and_the_function_is_named_by_the_user_agent() {
    let (simulator, _) = world();
    let who = "Action=GetCallerIdentity&Version=2011-06-15";
    let (_, listed) = form(&simulator, "sts", "test", "aws-sdk-rust/1", who).await;
    assert!(listed.contains("<Account>000000000000</Account>"), "{listed}");
    let (_, digits) = form(&simulator, "sts", "222233334444", "x", who).await;
    assert!(digits.contains("<Account>222233334444</Account>"), "{digits}");
    let (_, unknown) = form(&simulator, "sts", "AKIAUNKNOWN", "aws-sdk-rust/1 app/start-store m/E", who).await;
    assert!(unknown.contains("<Account>000000000000</Account>"), "{unknown}");
    assert!(unknown.contains("assumed-role/start-store/"), "{unknown}");
    assert_eq!(simulator.calls().all()[0].region, "eu-west-1");
}

#[tokio::test]
async fn a_notice_is_kept_and_one_to_another_region_is_refused() {
    let (simulator, _) = world();
    let publish = "Action=Publish&TopicArn=arn%3Aaws%3Asns%3Aeu-west-1%3A000000000000%3Aalerts&Message=hello&Subject=s";
    let (status, body) = form(&simulator, "sns", "test", "app/notify-operator", publish).await;
    assert_eq!(status, 200, "{body}");
    assert_eq!(simulator.notices()[0].message, "hello");
    assert_eq!(simulator.notices()[0].function.as_deref(), Some("notify-operator"));
    let elsewhere = "Action=Publish&TopicArn=arn%3Aaws%3Asns%3Aus-east-1%3A000000000000%3Aalerts&Message=hello";
    let (status, body) = form(&simulator, "sns", "test", "x", elsewhere).await;
    assert_eq!(status, 400);
    assert!(body.contains("<Code>InvalidParameter</Code>"), "{body}");
    simulator.permissions().set("notify-operator", Vec::new());
    let (status, body) = form(&simulator, "sns", "test", "app/notify-operator", publish).await;
    assert_eq!(status, 403);
    assert!(body.contains("<Code>AuthorizationError</Code>"), "{body}");
    assert_eq!(simulator.notices().len(), 1);
}

#[tokio::test]
async fn without_a_signature_host_and_form_say_the_service() {
    let (simulator, _) = world();
    for (host, body) in [
        ("ec2.eu-west-1.amazonaws.com", ""),
        ("127.0.0.1:1", "Action=DescribeImages"),
        ("sts.amazonaws.com", "Action=GetCallerIdentity"),
        ("127.0.0.1:1", ""),
    ] {
        let request = Request::post("/").header("host", host).body(Bytes::from(body)).unwrap();
        let _ = simulator.handle(request).await;
    }
    let calls = simulator.calls().all();
    let services: Vec<_> = calls.iter().map(|call| call.service.as_str()).collect();
    assert_eq!(services, ["ec2", "ec2", "sts", "s3"]);
    assert_eq!(calls[0].region, "eu-west-1");
}

#[tokio::test]
async fn reset_puts_everything_back() {
    let (simulator, _) = world();
    let client = s3(&simulator, "test");
    put(&client, "k", "").await;
    client.create_bucket().bucket("fresh").send().await.unwrap();
    simulator.faults().set(vec![rule("*", Effect::Cut)]);
    simulator.reset();
    let contents = simulator.objects().local().unwrap().contents();
    assert_eq!(contents.keys().collect::<Vec<_>>(), [BUCKET, ELSEWHERE, "strangers"]);
    assert!(contents.values().all(Vec::is_empty));
    assert!(simulator.faults().rules().is_empty());
    assert!(simulator.calls().all().is_empty());
}

#[test]
fn answering_needs_neither_a_timer_nor_real_input_and_output() {
    // A runtime without drivers panics where anything waits for time or a socket.
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let (simulator, _) = world();
    let put = Request::put("http://127.0.0.1/backups/k").body(Bytes::from_static(b"x")).unwrap();
    let get = Request::get("http://127.0.0.1/backups/k").body(Bytes::new()).unwrap();
    for (request, body) in [(put, ""), (get, "x")] {
        match runtime.block_on(simulator.handle(request)) {
            Reply::Response(response) => {
                assert_eq!(response.status(), StatusCode::OK);
                assert_eq!(response.body(), body);
            }
            other => panic!("expected a response, got {other:?}"),
        }
    }
}
