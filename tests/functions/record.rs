//! Owns what record-backup does.

use crate::support::*;

async fn item(stage: &Stage, input: Value) -> Value {
    items(stage, input).await[0].clone()
}

fn record_key(image: &str) -> String {
    format!("records/{image}.json")
}

#[tokio::test]
async fn the_record_is_there_before_the_first_leg_with_everything_that_a_restore_needs() {
    let stage = furnished();
    let item = item(&stage, json!({"imageIds": [IMAGE], "run": "r"})).await;
    good(&stage, "record-backup", json!({"phase": "OPEN", "subject": item})).await;
    assert_eq!(asked_to_create(&stage), 0);
    let record = document(&stage, &record_key(IMAGE)).await;
    let survey = &record["survey"];
    assert_eq!(record["schema"], 1);
    assert_eq!(survey["image"]["name"], "golden-2026-11");
    assert_eq!(survey["image"]["attributes"]["BootMode"], "uefi");
    assert_eq!(survey["image"]["attributes"]["TpmSupport"], "v2.0");
    assert_eq!(survey["image"]["attributes"]["ImdsSupport"], "v2.0");
    assert_eq!(survey["image"]["tags"]["Team"], "platform");
    assert_eq!(survey["image"]["mappings"][0]["ebs"]["snapshotId"], "snap-0a1b2c3d4e5f60001");
    assert_eq!(survey["launchPermissions"]["accounts"], json!([OTHER_ACCOUNT]));
    assert_eq!(survey["uefiData"], "QU1aTlVFRkk=");
    assert_eq!(survey["snapshots"][0]["tags"]["Volume"], "root");
    assert!(survey["image"]["deprecationTime"].as_str().is_some_and(|time| time.starts_with("2027-06-01")));
    assert_eq!(survey["image"]["deregistrationProtection"], "enabled-without-cooldown");
}

#[tokio::test]
async fn each_leg_that_the_policy_asks_for_begins_and_the_others_are_null() {
    let stage = Stage::demo();
    let all = json!({
        "imageIds": [IMAGE], "run": "all", "storePrefix": "a", "copyTo": ["eu-west-1", "eu-central-1"],
        "export": {"format": "RAW"}, "deadlineMinutes": 90,
    });
    let legs_of_all = legs(&stage, all).await;
    assert_eq!(legs_of_all["store"]["subject"]["prefix"], "a/");
    assert_eq!(legs_of_all["copies"][1]["subject"]["region"], "eu-central-1");
    assert_eq!(legs_of_all["export"]["subject"]["format"], "RAW");
    for leg in [&legs_of_all["store"], &legs_of_all["copies"][0], &legs_of_all["export"]] {
        assert_eq!(leg["subject"]["sizeGib"], 8);
        assert_eq!(leg["subject"]["deadlineMinutes"], 90);
    }
    let copies = legs(&stage, json!({"imageIds": [IMAGE], "run": "c", "store": false, "copyTo": ["eu-west-1"]})).await;
    assert!(copies["store"].is_null() && copies["export"].is_null());
}

/// 'Done when' 6.
#[tokio::test]
async fn an_image_with_which_nothing_can_be_done_is_refused_before_anything_is_written() {
    let stage = Stage::demo();
    for (image, parts) in [
        ("ami-0a1b2c3d4e5f60010", vec!["instance-store"]),
        ("ami-0a1b2c3d4e5f60011", vec!["not shared"]),
        ("ami-0a1b2c3d4e5f60012", vec!["6000 GiB", "5000 GB"]),
        ("ami-0a1b2c3d4e5f60013", vec!["failed", "Client error on launch"]),
        ("ami-0a1b2c3d4e5f60015", vec!["paravirtual"]),
        ("ami-0a1b2c3d4e5f69999", vec!["no such image"]),
    ] {
        let item = item(&stage, json!({"imageIds": [image], "run": image})).await;
        let parts: Vec<&str> = parts.into_iter().chain([image, HOME]).collect();
        refused(&stage, "record-backup", json!({"phase": "OPEN", "subject": item}), &parts).await;
    }
}

/// A leg that cannot be done is that leg's failure.
#[tokio::test]
async fn an_image_with_which_something_can_be_done_is_begun() {
    let stage = Stage::demo();
    let large = "ami-0a1b2c3d4e5f60012";
    let legs = legs(&stage, json!({"imageIds": [large], "copyTo": ["eu-west-1"]})).await;
    assert!(legs["store"].is_object() && legs["copies"][0].is_object());
}

#[tokio::test]
async fn the_size_limit_is_a_setting() {
    let stage = Stage::demo();
    let item = item(&stage, json!({"imageIds": [IMAGE]})).await;
    let aws = stage.aws_with("record-backup", |name| (name == "STORE_LIMIT_GB").then(|| "8".to_owned()));
    let answer = call_with(&aws, stage.now(), "record-backup", json!({"phase": "OPEN", "subject": item})).await;
    assert_eq!(error_name(&answer), Some("InvalidInput"), "8 GiB are 8.6 GB");
}

#[tokio::test]
async fn a_completed_record_says_where_the_image_can_come_back_from() {
    let stage = Stage::demo();
    let input = json!({"imageIds": [IMAGE], "run": "r", "copyTo": ["eu-west-1"], "export": {"format": "VMDK"}});
    crate::driver::backup(&stage, input).await;
    let record = document(&stage, &record_key(IMAGE)).await;
    let backups: Vec<(&str, &str)> = record["backups"]
        .as_array()
        .unwrap()
        .iter()
        .map(|backup| (backup["leg"].as_str().unwrap(), backup["region"].as_str().unwrap()))
        .collect();
    assert_eq!(backups, [("store", HOME), ("copy", "eu-west-1"), ("export", HOME)]);
    assert!(record["backups"][0]["sizeBytes"].as_u64() > Some(0));
    let beside = document(&stage, &format!("{IMAGE}.bin.json")).await;
    assert_eq!(beside, record, "the object can be restored with what lies beside it");
}

#[tokio::test]
async fn a_second_run_adds_to_the_record_and_forgets_nothing() {
    let stage = Stage::demo();
    crate::driver::backup(&stage, json!({"imageIds": [IMAGE], "run": "1", "copyTo": ["eu-west-1"]})).await;
    crate::driver::backup(&stage, json!({"imageIds": [IMAGE], "run": "2", "copyTo": ["eu-west-1"]})).await;
    let record = document(&stage, &record_key(IMAGE)).await;
    let runs: Vec<&str> = record["backups"].as_array().unwrap().iter().map(|b| b["run"].as_str().unwrap()).collect();
    assert_eq!(runs, ["1", "2", "2"], "the object is one and known anew, the copies are two");
}

#[tokio::test]
async fn a_record_of_a_newer_version_is_not_overwritten() {
    let stage = Stage::demo();
    let item = item(&stage, json!({"imageIds": [IMAGE], "run": "r"})).await;
    let newer =
        ami_backup_simulator::objects::StoredObject { body: br#"{"schema": 2}"#.to_vec(), ..Default::default() };
    stage.objects.insert(BUCKET, &record_key(IMAGE), newer).unwrap();
    let answer = call(&stage, "record-backup", json!({"phase": "OPEN", "subject": item})).await;
    assert_eq!(error_name(&answer), Some("Conflict"));
    assert!(answer.unwrap_err().to_string().contains(&record_key(IMAGE)));
}

#[tokio::test]
async fn an_image_that_fails_before_its_legs_leaves_an_outcome_with_the_reason() {
    let stage = Stage::demo();
    let item = item(&stage, json!({"instanceIds": [INSTANCE], "run": "r"})).await;
    let cause = json!({"errorType": "ResourceFailed", "errorMessage": "could not make an image"}).to_string();
    let input = json!({
        "phase": "FAILED", "subject": item, "outcomes": [], "failure": {"Error": "ResourceFailed", "Cause": cause},
    });
    assert_eq!(good(&stage, "record-backup", input).await, json!({"result": "FAILED"}));
    let outcome = document(&stage, &format!("{}outcomes/0.json", item["run"]["attempt"].as_str().unwrap())).await;
    assert_eq!(outcome["lines"][0]["error"]["message"], "could not make an image");
    assert_eq!(outcome["lines"][0]["source"], INSTANCE);
}

/// Nothing of what the legs said may be lost because the image went away meanwhile.
#[tokio::test]
async fn a_record_is_completed_even_if_the_image_has_gone() {
    let stage = Stage::demo();
    let item = item(&stage, json!({"imageIds": [IMAGE], "run": "r"})).await;
    let opened = good(&stage, "record-backup", json!({"phase": "OPEN", "subject": item})).await;
    let turn = done(&stage, "start-store", "check-store", opened["legs"]["store"].clone()).await;
    stage.simulator.world().deregister(IMAGE);
    let outcomes = json!([{"leg": "store", "result": "OK", "turn": turn}]);
    let complete = json!({"phase": "COMPLETE", "subject": item, "outcomes": outcomes});
    assert_eq!(good(&stage, "record-backup", complete.clone()).await["result"], "OK");

    // Even without the record there is an outcome for the report.
    stage.objects.remove(BUCKET, &record_key(IMAGE));
    let answer = call(&stage, "record-backup", complete).await;
    assert_eq!(error_name(&answer), Some("Conflict"));
}

/// Case 43.
#[tokio::test]
async fn instance_store_devices_are_no_obstacle_and_stated_in_the_report() {
    let stage = Stage::with(|file| file.accounts[0].instances[0].machine.ephemeral_devices = vec!["/dev/sdb".into()]);
    let run = crate::driver::backup(&stage, json!({"instanceIds": [INSTANCE], "copyTo": ["eu-west-1"]})).await;
    assert_eq!(run.verdict(), "OK", "{run:?}");
    let notes = run.lines[0]["notes"].to_string();
    assert!(notes.contains("/dev/sdb") && notes.contains("instance store"), "{notes}");
}

#[tokio::test]
async fn bad_input_is_refused() {
    let stage = Stage::demo();
    let item = item(&stage, json!({"imageIds": [IMAGE]})).await;
    refused(&stage, "record-backup", json!({"phase": "CLOSE", "subject": item}), &["phase", "CLOSE"]).await;
    refused(&stage, "record-backup", json!({"phase": "OPEN"}), &["subject"]).await;
    let mut without = item;
    without["source"] = json!({"instanceId": INSTANCE});
    refused(&stage, "record-backup", json!({"phase": "OPEN", "subject": without}), &["subject"]).await;
}
