//! Owns what start-store and check-store do.

use ami_backup_simulator::{
    account::{DescribedBucket, SecondStore},
    faults::Effect,
};

use crate::support::*;

async fn leg(stage: &Stage, image: &str, more: Value) -> Value {
    let mut input = json!({"imageIds": [image], "run": format!("run of {image}")});
    input.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    legs(stage, input).await["store"].clone()
}

async fn stored(stage: &Stage, turn: Value) -> Value {
    done(stage, "start-store", "check-store", turn).await
}

/// A subject that nobody has checked before, as `sam local invoke` gives it.
fn unchecked(image: &str, bucket: &str) -> Value {
    json!({"subject": {
        "run": {
            "run": "r", "startedAt": "2026-11-23T02:00:00Z", "policy": "p", "expires": "by-policy", "region": HOME, "attempt": "runs/r/1/",
        },
        "imageId": image, "sizeGib": 8, "bucket": bucket,
    }})
}

fn key(turn: &Value) -> &str {
    turn["subject"]["key"].as_str().expect("a key")
}

#[tokio::test]
async fn an_image_is_stored_and_done_means_that_the_object_is_there() {
    let stage = Stage::demo();
    let turn = stored(&stage, leg(&stage, IMAGE, json!({})).await).await;
    assert_eq!(key(&turn), format!("{IMAGE}.bin"));
    assert_eq!((turn["lastSeen"].as_str(), turn["subject"]["adopted"].as_bool()), (Some("present"), Some(false)));
    assert!(turn["subject"]["object"]["sizeBytes"].as_u64() > Some(0));
    assert_eq!(Things::now(&stage).await.count("store"), 1);
}

#[tokio::test]
async fn the_object_carries_whose_it_is() {
    let stage = Stage::demo();
    let turn = leg(&stage, IMAGE, json!({"policy": "nightly", "keepDays": 7})).await;
    stored(&stage, turn).await;
    let object = ami_backup_simulator::objects::ObjectStore::get(&stage.objects, BUCKET, &format!("{IMAGE}.bin")).await;
    let tags = object.unwrap().tags;
    for (key, value) in [
        ("ami-backup:managed", "true"),
        ("ami-backup:policy", "nightly"),
        ("ami-backup:source", IMAGE),
        ("ami-backup:expires", "2026-11-30T02:00:00Z"),
    ] {
        assert_eq!(tags.get(key).map(String::as_str), Some(value), "{key}");
    }
    assert!(tags.contains_key("ami-backup:run") && tags.contains_key("ami-backup:token"));
}

#[tokio::test]
async fn a_path_in_the_bucket_is_part_of_the_key_however_ec2_describes_it() {
    for described in [DescribedBucket::Name, DescribedBucket::Path] {
        let stage = furnished_with(|settings| settings.choices.described_bucket = described);
        let turn = leg(&stage, IMAGE, json!({"storePrefix": "a/b"})).await;
        let begun = good(&stage, "start-store", turn.clone()).await;
        assert_eq!(key(&begun), format!("a/b/{IMAGE}.bin"));
        let joined = good(&stage, "start-store", turn).await;
        assert_eq!(joined["subject"]["adopted"], true, "{described:?}");
        assert_eq!(key(&stored(&stage, joined).await), format!("a/b/{IMAGE}.bin"));
        assert_eq!(created(&stage), 1, "{described:?}");
    }
}

/// Case 60.
#[tokio::test]
async fn a_task_that_somebody_else_started_is_joined() {
    let stage = Stage::demo();
    let somebody = leg(&stage, IMAGE, json!({"run": "another"})).await;
    good(&stage, "start-store", somebody).await;
    let turn = stored(&stage, leg(&stage, IMAGE, json!({})).await).await;
    assert_eq!(turn["subject"]["adopted"], true);
    assert_eq!(created(&stage), 1);
}

/// Case 60.
#[tokio::test]
async fn an_object_that_is_there_is_adopted_without_a_task() {
    let stage = Stage::demo();
    stored(&stage, leg(&stage, IMAGE, json!({"run": "last week"})).await).await;
    stage.pass(60 * 24 * 40);
    let turn = leg(&stage, IMAGE, json!({})).await;
    let turn = good(&stage, "start-store", turn).await;
    assert_eq!((turn["status"].as_str(), turn["subject"]["adopted"].as_bool()), (Some("DONE"), Some(true)));
    assert!(turn["subject"]["object"]["sizeBytes"].as_u64() > Some(0));
    assert_eq!(created(&stage), 1);
}

/// Case 60: what cannot be the image does not count as one.
#[tokio::test]
async fn something_else_under_the_key_is_a_conflict() {
    let stage = Stage::demo();
    let turn = leg(&stage, IMAGE, json!({})).await;
    stage.objects.insert(BUCKET, &format!("{IMAGE}.bin"), Default::default()).unwrap();
    let error = call(&stage, "start-store", turn).await.unwrap_err();
    assert_eq!(error.name.as_str(), "Conflict");
    assert!(error.to_string().contains(&format!("{IMAGE}.bin")), "{error}");
    assert_eq!(asked_to_create(&stage), 0);
}

/// Case 59: at once, and not after hours.
#[tokio::test]
async fn a_task_that_fails_ends_the_leg_with_ec2s_reason() {
    let stage = Stage::demo();
    let turn = leg(&stage, IMAGE, json!({})).await;
    stage.fault("CreateStoreImageTask", Effect::FailTask { reason: "the snapshot went away".into() });
    let begun = good(&stage, "start-store", turn.clone()).await;
    stage.pass(5);
    let error = call(&stage, "check-store", begun).await.unwrap_err();
    assert_eq!(error.name.as_str(), "ResourceFailed");
    let text = error.to_string();
    assert!(["the snapshot went away", IMAGE, BUCKET, HOME].iter().all(|part| text.contains(part)), "{text}");

    // The same start of the run does not try for ever; a later one does, and so does another run.
    let again = call(&stage, "start-store", turn).await;
    assert_eq!(error_name(&again), Some("ResourceFailed"));
    assert!(again.unwrap_err().to_string().contains("the snapshot went away"));
    stage.pass(1);
    stored(&stage, leg(&stage, IMAGE, json!({})).await).await;
    assert_eq!(created(&stage), 2);
}

#[tokio::test]
async fn a_failure_of_another_time_does_not_hide_the_task_that_runs() {
    let stage = Stage::demo();
    stage.fault("CreateStoreImageTask", Effect::FailTask { reason: "once".into() });
    let first = leg(&stage, IMAGE, json!({"run": "first"})).await;
    assert!(until_done(&stage, "start-store", "check-store", first).await.is_err());
    stage.pass(60);
    stored(&stage, leg(&stage, IMAGE, json!({"run": "second"})).await).await;
}

/// Case 60: success only after a look at the object.
#[tokio::test]
async fn a_completed_task_without_its_object_is_not_done() {
    let stage = Stage::demo();
    let turn = good(&stage, "start-store", leg(&stage, IMAGE, json!({})).await).await;
    stage.pass(60);
    stage.simulator.settle().await;
    stage.objects.remove(BUCKET, &format!("{IMAGE}.bin"));
    assert_eq!(error_name(&call(&stage, "check-store", turn.clone()).await), Some("NotYetVisible"));
    stage.objects.insert(BUCKET, &format!("{IMAGE}.bin"), Default::default()).unwrap();
    let error = call(&stage, "check-store", turn).await.unwrap_err();
    assert_eq!(error.name.as_str(), "ResourceFailed");
    assert!(error.to_string().contains("0 bytes"), "{error}");
}

#[tokio::test]
async fn after_31_days_the_object_and_the_record_decide() {
    let stage = Stage::demo();
    let input = json!({"imageIds": [IMAGE], "run": "r"});
    crate::driver::backup(&stage, input).await;
    let mut turn = leg(&stage, IMAGE, json!({"deadlineMinutes": 60 * 24 * 50})).await;
    turn["firstTriedAt"] = json!(stage.now().to_string());
    stage.pass(60 * 24 * 32);
    let adopted = good(&stage, "check-store", turn.clone()).await;
    assert_eq!(adopted["status"], "DONE");

    assert!(stage.objects.damage(BUCKET, &format!("{IMAGE}.bin"), |bytes| bytes.truncate(100)));
    let error = call(&stage, "check-store", turn.clone()).await.unwrap_err();
    assert_eq!(error.name.as_str(), "ResourceFailed");
    assert!(error.to_string().contains("100 bytes"), "{error}");

    stage.objects.remove(BUCKET, &format!("{IMAGE}.bin"));
    let error = call(&stage, "check-store", turn).await.unwrap_err();
    assert_eq!(error.name.as_str(), "ResourceFailed");
}

/// Case 63 and 'Done when' 6.
#[tokio::test]
async fn what_cannot_be_stored_is_refused_with_the_rule() {
    let stage = Stage::demo();
    for (image, part) in [
        ("ami-0a1b2c3d4e5f60010", "instance-store"),
        ("ami-0a1b2c3d4e5f60011", "not shared"),
        ("ami-0a1b2c3d4e5f60012", "5000 GB"),
        ("ami-0a1b2c3d4e5f60013", "Client error on launch"),
        ("ami-0a1b2c3d4e5f60015", "HVM"),
    ] {
        refused(&stage, "start-store", unchecked(image, BUCKET), &[image, part]).await;
    }
    let elsewhere = unchecked(IMAGE, "ami-backup-demo-elsewhere");
    refused(&stage, "start-store", elsewhere, &["subject.bucket", "eu-west-1", HOME]).await;
    let nowhere = unchecked(IMAGE, "no-such-bucket-anywhere");
    refused(&stage, "start-store", nowhere, &["subject.bucket", "no-such-bucket-anywhere"]).await;
    refused(&stage, "start-store", unchecked("ami-1", BUCKET), &["subject.imageId", "ami-1"]).await;
    let mut unknown = unchecked(IMAGE, BUCKET);
    unknown["subject"]["prefixx"] = json!("a/");
    refused(&stage, "start-store", unknown, &["prefixx"]).await;
}

/// Case 63: somebody else's image, which the account may launch because everybody may.
#[tokio::test]
async fn a_public_image_of_another_account_is_refused() {
    let stage = Stage::with(|file| image_in(file, SHARED).launch_permissions = vec!["all".into()]);
    refused(&stage, "start-store", unchecked(SHARED, BUCKET), &[SHARED, "public"]).await;
}

#[tokio::test]
async fn an_image_that_is_shared_explicitly_is_stored() {
    let stage = Stage::demo();
    stored(&stage, unchecked(SHARED, BUCKET)).await;
}

#[tokio::test]
async fn an_encrypted_image_is_stored() {
    let stage = Stage::demo();
    stored(&stage, unchecked("ami-0a1b2c3d4e5f60014", BUCKET)).await;
}

/// Case 62: 1,400 GB in one night, whatever code EC2 refuses with.
#[tokio::test]
async fn more_gigabytes_than_ec2_takes_at_once_are_stored_one_after_the_other() {
    for code in ["ResourceLimitExceeded", "InvalidRequest", "OperationNotPermitted"] {
        let ids: Vec<String> = (0..7).map(|number| format!("ami-{number:017x}")).collect();
        let stage = Stage::with(|file| {
            file.settings.quotas.store_in_progress_gb = 600;
            file.settings.choices.store_over_quota_code = code.into();
            ids.iter().for_each(|id| add_image(file, id, 300, 200));
        });
        let mut waiting = Vec::new();
        for id in &ids {
            waiting.push(("start-store", leg(&stage, id, json!({})).await));
        }
        let (mut deferred, mut rounds) = (0, 0);
        while !waiting.is_empty() {
            let mut next = Vec::new();
            for (step, turn) in waiting {
                let turn = persist(&stage, step, turn).await.unwrap_or_else(|error| panic!("{code}: {error}"));
                match turn["status"].as_str().unwrap() {
                    "DONE" => {}
                    "DEFERRED" => {
                        deferred += 1;
                        next.push(("start-store", turn));
                    }
                    _ => next.push(("check-store", turn)),
                }
            }
            waiting = next;
            stage.clock.advance(ami_backup_core::SignedDuration::from_secs(20));
            rounds += 1;
            assert!(rounds < 1_000, "{code}");
        }
        assert!(deferred > 0, "{code}");
        let mut stored: Vec<String> =
            stage.simulator.world().store_tasks().into_iter().map(|task| task.image_id).collect();
        stored.sort();
        assert_eq!(stored, ids, "{code}: each of them once");
    }
}

/// The choices that AWS does not document.
#[tokio::test]
async fn a_second_store_makes_no_second_object_whatever_ec2_does_about_it() {
    for second_store in [SecondStore::Refused, SecondStore::Overwrites] {
        for per_key in [true, false] {
            for code in ["InvalidRequest", "OperationNotPermitted", "InvalidParameterValue"] {
                let case = format!("{second_store:?}, per key {per_key}, {code}");
                let stage = furnished_with(|settings| {
                    settings.choices.second_store = second_store;
                    settings.choices.second_store_per_key = per_key;
                    settings.choices.second_store_code = code.into();
                    settings.consistency_delay_ms = 40_000;
                });
                let turn = leg(&stage, IMAGE, json!({})).await;
                stage.fault("CreateStoreImageTask", Effect::HoldReply);
                assert_eq!(error_name(&call(&stage, "start-store", turn.clone()).await), Some("Transient"), "{case}");
                stored(&stage, turn).await;
                let things = Things::at_the_end_of(&stage).await;
                assert_eq!(things.count(&format!("object {BUCKET} {IMAGE}")), 1, "{case}");
            }
        }
    }
}

/// "One copy of an AMI per bucket" may mean per key, or not.
#[tokio::test]
async fn another_path_means_another_object_unless_ec2_keeps_one_per_bucket() {
    for per_key in [true, false] {
        let stage = furnished_with(|settings| settings.choices.second_store_per_key = per_key);
        stored(&stage, leg(&stage, IMAGE, json!({"run": "first"})).await).await;
        let turn = leg(&stage, IMAGE, json!({"run": "second", "storePrefix": "other"})).await;
        let turn = stored(&stage, turn).await;
        let expected = if per_key { format!("other/{IMAGE}.bin") } else { format!("{IMAGE}.bin") };
        assert_eq!(key(&turn), expected, "per key: {per_key}");
        assert_eq!(turn["subject"]["adopted"], !per_key);
    }
}

/// A task shows some minutes after it was asked for, and that may be hours after the first try.
#[tokio::test]
async fn what_was_refused_for_hours_and_then_accepted_is_not_missed_at_once() {
    let stage = Stage::demo();
    let mut turn = unchecked(IMAGE, BUCKET);
    turn["firstTriedAt"] = json!(stage.now().to_string());
    turn["deadline"] = json!("2027-01-01T00:00:00Z");
    turn["status"] = json!("DEFERRED");
    stage.pass(90);
    let accepted = good(&stage, "start-store", turn).await;
    assert_eq!(accepted["status"], "IN_PROGRESS");
    let unseen = Stage::demo();
    unseen.pass(95);
    assert_eq!(good(&unseen, "check-store", accepted.clone()).await["status"], "IN_PROGRESS");
    unseen.pass(10);
    let error = call(&unseen, "check-store", accepted).await.unwrap_err();
    assert_eq!(error.name.as_str(), "ResourceFailed");
}

/// Claims lay elsewhere before, and what was claimed there holds for its time.
#[tokio::test]
async fn a_claim_of_an_earlier_version_is_honoured() {
    let stage = Stage::demo();
    let turn = leg(&stage, IMAGE, json!({})).await;
    let body = json!({"run": "another", "at": stage.now()}).to_string().into_bytes();
    let claim = ami_backup_simulator::objects::StoredObject { body, ..Default::default() };
    stage.objects.insert(BUCKET, &format!("runs/stores/{BUCKET}/{IMAGE}/00000001.json"), claim).unwrap();
    assert_eq!(error_name(&call(&stage, "start-store", turn.clone()).await), Some("NotYetVisible"));
    stage.pass(3);
    assert_eq!(good(&stage, "start-store", turn).await["status"], "IN_PROGRESS");
    let keys = &stage.objects.contents()[BUCKET];
    assert!(keys.contains(&format!("leases/{BUCKET}/{IMAGE}/00000001.json")), "{keys:?}");
}
