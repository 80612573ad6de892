//! Owns what find-backup, start-restore and finish-restore do.

use ami_backup_simulator::{faults::Effect, world::state::Protection};

use crate::{
    driver::{backup, restore},
    support::*,
};

async fn find(stage: &Stage, input: Value) -> Answer {
    call(stage, "find-backup", json!({"input": input, "executionName": "restore-by-hand"})).await
}

/// A world in which the demo's image has been stored and deregistered, its snapshots with it.
async fn only_the_object_is_left(stage: &Stage) {
    let run = backup(stage, json!({"imageIds": [IMAGE], "run": "r"})).await;
    assert_eq!(run.verdict(), "OK", "{run:?}");
    let world = stage.simulator.world();
    let snapshots = world.snapshots_of(IMAGE);
    world.deregister(IMAGE);
    snapshots.iter().for_each(|snapshot| assert!(world.remove_snapshot(&snapshot.id)));
}

fn id(value: &Value) -> String {
    value["imageId"].as_str().or(value["subject"]["awaited"]["imageId"].as_str()).expect("an image").to_owned()
}

#[tokio::test]
async fn an_image_comes_back_from_its_object_as_it_was() {
    for keeps_deprecation in [true, false] {
        let stage = furnished_with(|settings| settings.choices.restore_keeps_deprecation = keeps_deprecation);
        let original = stage.simulator.world().image(IMAGE).unwrap();
        only_the_object_is_left(&stage).await;
        let report = restore(&stage, json!({"imageId": IMAGE})).await.unwrap();
        assert_eq!(report["verdict"], "OK", "{report}");
        assert_eq!((report["originalId"].as_str(), report["region"].as_str()), (Some(IMAGE), Some(HOME)));
        assert_eq!(report["differences"], json!([]));
        let world = stage.simulator.world();
        let image = world.image(&id(&report)).unwrap();
        assert_eq!(image.launch_permissions, original.launch_permissions);
        assert_eq!(image.deprecate_at, original.deprecate_at);
        assert_eq!(image.protection, Protection::On);
        assert_eq!(image.machine, original.machine);
        assert!(image.name.starts_with("golden-2026-11-restored-"), "{}", image.name);
        for (key, value) in &original.tags {
            assert_eq!(image.tags.get(key), Some(value), "{key}");
        }
        assert_eq!(world.snapshots_of(&image.id)[0].tags.get("Volume").map(String::as_str), Some("root"));
    }
}

#[tokio::test]
async fn the_restored_image_and_its_snapshots_are_tagged_in_the_creating_call() {
    let stage = furnished();
    only_the_object_is_left(&stage).await;
    let turn = find(&stage, json!({"imageId": IMAGE})).await.unwrap()["turn"].clone();
    let turn = good(&stage, "start-restore", turn).await;
    assert_eq!(stage.calls("CreateTags"), 0);
    let world = stage.simulator.world();
    let image = world.image(&id(&turn)).unwrap();
    for tags in world.snapshots_of(&image.id).iter().map(|snapshot| &snapshot.tags).chain([&image.tags]) {
        for (key, value) in
            [("ami-backup:managed", "true"), ("ami-backup:source", IMAGE), ("ami-backup:expires", "never")]
        {
            assert_eq!(tags.get(key).map(String::as_str), Some(value), "{key}");
        }
    }
}

#[tokio::test]
async fn the_same_restore_again_makes_nothing() {
    let stage = furnished();
    only_the_object_is_left(&stage).await;
    let first = restore(&stage, json!({"imageId": IMAGE, "run": "back"})).await.unwrap();
    let expected = Things::now(&stage).await;
    let second = restore(&stage, json!({"imageId": IMAGE, "run": "back"})).await.unwrap();
    assert_eq!(id(&first), id(&second));
    Things::now(&stage).await.expect(&expected, "the same run again");
    let other = restore(&stage, json!({"imageId": IMAGE, "run": "another"})).await.unwrap();
    assert_ne!(id(&first), id(&other), "another run is another image");
}

/// A restore of an object without a record works, and says what could not be put back.
#[tokio::test]
async fn a_restore_without_a_record_works_and_warns() {
    let stage = Stage::demo();
    let input = json!({"bucket": BUCKET, "key": "ami-0a1b2c3d4e5f60020.bin"});
    let report = restore(&stage, input).await.unwrap();
    assert_eq!(report["verdict"], "WARNING");
    assert_eq!(report["originalId"], "ami-0a1b2c3d4e5f60020");
    let warnings = report["warnings"].to_string();
    for part in ["launch permissions", "deprecation", "protection", "no record"] {
        assert!(warnings.contains(part), "{part} is missing from {warnings}");
    }
    assert_eq!(stage.simulator.world().image(&id(&report)).unwrap().state, "available");
}

/// The object was carried to another Region, with the record that lies beside it.
#[tokio::test]
async fn an_object_in_another_region_is_restored_there_with_the_record_beside_it() {
    let stage = furnished();
    only_the_object_is_left(&stage).await;
    let elsewhere = "ami-backup-demo-elsewhere";
    for name in [format!("{IMAGE}.bin"), format!("{IMAGE}.bin.json")] {
        let object = ami_backup_simulator::objects::ObjectStore::get(&stage.objects, BUCKET, &name).await.unwrap();
        stage.objects.insert(elsewhere, &format!("far/{name}"), object).unwrap();
    }
    let key = format!("far/{IMAGE}.bin");
    let input = json!({"bucket": elsewhere, "key": key, "region": "eu-west-1"});
    let report = restore(&stage, input).await.unwrap();
    assert_eq!((report["verdict"].as_str(), report["region"].as_str()), (Some("OK"), Some("eu-west-1")), "{report}");
    let image = stage.simulator.world().image(&id(&report)).unwrap();
    assert!(image.launch_permissions.contains(OTHER_ACCOUNT));

    let wrong = find(&stage, json!({"bucket": elsewhere, "key": key})).await.unwrap_err();
    assert_eq!(wrong.name.as_str(), "InvalidInput");
    assert!(wrong.to_string().contains("\"region\": \"eu-west-1\""), "{wrong}");
}

/// An object that was damaged does not become an image.
#[tokio::test]
async fn a_damaged_object_fails_the_restore_with_ec2s_reason() {
    for cut in [true, false] {
        let stage = furnished();
        only_the_object_is_left(&stage).await;
        let damaged = stage.objects.damage(BUCKET, &format!("{IMAGE}.bin"), |bytes| {
            let middle = bytes.len() / 2;
            if cut { bytes.truncate(middle) } else { bytes[middle] ^= 1 }
        });
        assert!(damaged);
        let error = restore(&stage, json!({"imageId": IMAGE})).await.unwrap_err();
        assert_eq!(error.name.as_str(), "ResourceFailed", "{error}");
        assert!(error.to_string().contains("checksum"), "{error}");
    }
}

/// 'Done when' 6, and case 66.
#[tokio::test]
async fn what_cannot_be_restored_is_refused_with_its_path_and_nothing_is_changed() {
    let stage = Stage::demo();
    let cases = [
        (json!({}), vec!["imageId", "bucket"]),
        (json!({"imageId": "ami-1"}), vec!["imageId", "ami-1"]),
        (json!({"imageID": IMAGE}), vec!["imageID"]),
        (json!({"imageId": "ami-0a1b2c3d4e5f60014"}), vec!["imageId", "no record"]),
        (json!({"imageId": IMAGE, "bucket": BUCKET}), vec!["imageId"]),
        (json!({"bucket": BUCKET, "key": "nothing.bin"}), vec!["key", "nothing.bin", "no object"]),
        (json!({"bucket": "no-such-bucket-anywhere", "key": "k"}), vec!["bucket", "no-such-bucket-anywhere"]),
        (json!({"bucket": "ami-backup-demo-elsewhere", "key": "k"}), vec!["bucket", "eu-west-1"]),
        (
            json!({"bucket": BUCKET, "key": "ami-0a1b2c3d4e5f60021.bin"}),
            vec!["key", "ami-0a1b2c3d4e5f60021.bin", "archived", "DEEP_ARCHIVE"],
        ),
        (json!({"bucket": BUCKET, "key": "ami-0a1b2c3d4e5f60020.bin", "name": "ab"}), vec!["name", "3"]),
        (json!({"bucket": BUCKET, "key": "ami-0a1b2c3d4e5f60020.bin", "name": "n".repeat(129)}), vec!["name", "129"]),
        (json!({"bucket": BUCKET, "key": "ami-0a1b2c3d4e5f60020.bin", "name": "golden-2026-11"}), vec!["name", IMAGE]),
        (json!({"bucket": BUCKET, "key": "k", "fromSnapshots": true}), vec!["fromSnapshots"]),
        (json!({"bucket": BUCKET, "key": "k", "region": "Ireland"}), vec!["region", "Ireland"]),
    ];
    for (input, parts) in cases {
        refused(&stage, "find-backup", json!({"input": input, "executionName": "e"}), &parts).await;
    }
}

#[tokio::test]
async fn start_restore_looks_at_the_object_itself() {
    let stage = furnished();
    only_the_object_is_left(&stage).await;
    let turn = find(&stage, json!({"imageId": IMAGE})).await.unwrap()["turn"].clone();
    let with = |key: &str| {
        let mut turn = turn.clone();
        turn["subject"]["key"] = json!(key);
        turn
    };
    refused(&stage, "start-restore", with("nothing.bin"), &["nothing.bin", "not there"]).await;
    refused(&stage, "start-restore", with("ami-0a1b2c3d4e5f60021.bin"), &["archived"]).await;
    let mut without = turn.clone();
    without["subject"].as_object_mut().unwrap().remove("key");
    refused(&stage, "start-restore", without, &["subject", "key"]).await;
}

/// Case 66: thawed objects are restored.
#[tokio::test]
async fn an_object_that_was_thawed_is_restored() {
    let stage = Stage::demo();
    let s3 = aws_sdk_s3::Client::new(&stage.config("somebody"));
    let restore_request = aws_sdk_s3::types::RestoreRequest::builder().days(7).build();
    let key = "ami-0a1b2c3d4e5f60021.bin";
    s3.restore_object().bucket(BUCKET).key(key).restore_request(restore_request).send().await.unwrap();
    let input = json!({"bucket": BUCKET, "key": key});
    assert_eq!(error_name(&find(&stage, input.clone()).await), Some("InvalidInput"), "not thawed yet");
    stage.pass(60 * 49);
    let report = restore(&stage, input).await.unwrap();
    assert_eq!(report["verdict"], "WARNING");
}

#[tokio::test]
async fn a_name_that_somebody_else_takes_meanwhile_is_a_conflict() {
    let stage = furnished();
    only_the_object_is_left(&stage).await;
    let input = json!({"imageId": IMAGE, "name": "given"});
    let turn = find(&stage, input).await.unwrap()["turn"].clone();
    stage.simulator.world().change_image("ami-0a1b2c3d4e5f60014", |image| image.name = "given".into());
    let error = call(&stage, "start-restore", turn).await.unwrap_err();
    assert_eq!(error.name.as_str(), "Conflict");
    assert!(error.to_string().contains("given"), "{error}");
}

#[tokio::test]
async fn a_restore_under_a_given_name_whose_reply_was_lost_is_adopted() {
    for delay in [0, 40_000] {
        let stage = furnished_with(|settings| settings.consistency_delay_ms = delay);
        only_the_object_is_left(&stage).await;
        let turn = find(&stage, json!({"imageId": IMAGE, "name": "given"})).await.unwrap()["turn"].clone();
        stage.fault("CreateRestoreImageTask", Effect::HoldReply);
        assert_eq!(error_name(&call(&stage, "start-restore", turn.clone()).await), Some("Transient"));
        let turn = done(&stage, "start-restore", "check-image", turn).await;
        assert_eq!(stage.simulator.world().image(&id(&turn)).unwrap().name, "given", "{delay}");
        assert_eq!(Things::now(&stage).await.count(&format!("image {ACCOUNT} {HOME} \"given\"")), 1, "{delay}");
    }
}

#[tokio::test]
async fn a_restore_that_failed_is_followed_by_another_in_the_same_run() {
    let stage = furnished();
    only_the_object_is_left(&stage).await;
    stage.fault("CreateRestoreImageTask", Effect::FailTask { reason: "no room".into() });
    let input = json!({"imageId": IMAGE, "run": "back"});
    let error = restore(&stage, input.clone()).await.unwrap_err();
    assert!(error.name.as_str() == "ResourceFailed" && error.to_string().contains("no room"), "{error}");
    assert_eq!(restore(&stage, input).await.unwrap()["verdict"], "OK");
}

/// Whatever code EC2 refuses with.
#[tokio::test]
async fn a_restore_beyond_the_gigabytes_in_progress_waits_for_its_turn() {
    for code in ["ResourceLimitExceeded", "InvalidRequest", "OperationNotPermitted"] {
        let stage = furnished_with(|settings| {
            settings.quotas.restore_in_progress_gb = 1;
            settings.choices.restore_over_quota_code = code.into();
        });
        only_the_object_is_left(&stage).await;
        let turn = |found: Value| found["turn"].clone();
        let first = turn(find(&stage, json!({"imageId": IMAGE, "run": "1"})).await.unwrap());
        let second = turn(find(&stage, json!({"imageId": IMAGE, "run": "2"})).await.unwrap());
        assert_eq!(good(&stage, "start-restore", first).await["status"], "IN_PROGRESS", "{code}");
        let second = good(&stage, "start-restore", second).await;
        assert_eq!(second["status"], "DEFERRED", "{code}");
        done(&stage, "start-restore", "check-image", second).await;
    }
}

/// AWS does not say which attributes a restore keeps; what it does not is named.
#[tokio::test]
async fn an_attribute_that_the_restore_lost_fails_it_and_is_named() {
    let stage = furnished_with(|settings| {
        settings.choices.restore_keeps_boot_mode = false;
        settings.choices.restore_keeps_tpm_support = false;
    });
    only_the_object_is_left(&stage).await;
    let report = restore(&stage, json!({"imageId": IMAGE})).await.unwrap();
    assert_eq!(
        (report["verdict"].as_str(), report["error"].as_str()),
        (Some("FAILED"), Some("RestoredWithDifferences"))
    );
    let what: Vec<&str> =
        report["differences"].as_array().unwrap().iter().filter_map(|one| one["what"].as_str()).collect();
    // UEFI data is asked for only where an image boots by UEFI.
    assert_eq!(what, ["BootMode", "TpmSupport", "UefiData"]);
    let cause = report["cause"].as_str().unwrap();
    assert!(cause.contains("BootMode should be uefi and is -") && cause.contains(&id(&report)), "{cause}");
    assert!(stage.simulator.world().launch_permissions(&id(&report)).contains(OTHER_ACCOUNT), "the rest is put back");
}

/// Whether instances must use IMDSv2 can be put back, and is.
#[tokio::test]
async fn imds_support_that_the_restore_lost_is_put_back() {
    let stage = furnished_with(|settings| settings.choices.restore_keeps_imds_support = false);
    only_the_object_is_left(&stage).await;
    let report = restore(&stage, json!({"imageId": IMAGE})).await.unwrap();
    assert_eq!(report["verdict"], "OK", "{report}");
    assert_eq!(stage.simulator.world().image(&id(&report)).unwrap().machine.imds_support.as_deref(), Some("v2.0"));
}

#[tokio::test]
async fn uefi_data_that_the_restore_lost_is_named() {
    let stage = furnished_with(|settings| settings.choices.restore_keeps_uefi_data = false);
    only_the_object_is_left(&stage).await;
    let report = restore(&stage, json!({"imageId": IMAGE})).await.unwrap();
    assert_eq!(report["verdict"], "FAILED", "{report}");
    assert_eq!(report["differences"][0]["what"], "UefiData");
}

#[tokio::test]
async fn a_restored_image_that_has_gone_cannot_be_finished() {
    let stage = furnished();
    only_the_object_is_left(&stage).await;
    let turn = find(&stage, json!({"imageId": IMAGE})).await.unwrap()["turn"].clone();
    refused(&stage, "finish-restore", turn.clone(), &["subject.awaited"]).await;
    let turn = done(&stage, "start-restore", "check-image", turn).await;
    stage.simulator.world().deregister(&id(&turn));
    assert_eq!(error_name(&call(&stage, "finish-restore", turn).await), Some("ResourceFailed"));
}

/// Changes a document of a bucket.
async fn change(stage: &Stage, bucket: &str, key: &str, change: impl FnOnce(&mut Value)) {
    let mut value = serde_json::from_str(&text(stage, bucket, key).await).expect("JSON");
    change(&mut value);
    let changed = |bytes: &mut Vec<u8>| *bytes = value.to_string().into_bytes();
    assert!(stage.objects.damage(bucket, key, changed));
}

/// Carries the object and the record beside it to another bucket, as a person would, and loses the stack's own record.
async fn carried_elsewhere(stage: &Stage) -> Value {
    only_the_object_is_left(stage).await;
    let elsewhere = "ami-backup-demo-elsewhere";
    for name in [format!("{IMAGE}.bin"), format!("{IMAGE}.bin.json")] {
        let object = ami_backup_simulator::objects::ObjectStore::get(&stage.objects, BUCKET, &name).await.unwrap();
        stage.objects.insert(elsewhere, &format!("far/{name}"), object).unwrap();
    }
    assert!(stage.objects.remove(BUCKET, &format!("records/{IMAGE}.json")));
    json!({"bucket": elsewhere, "key": format!("far/{IMAGE}.bin"), "region": "eu-west-1"})
}

/// 71. Launch permissions come back only from the stack's own record, or if the input says so.
#[tokio::test]
async fn launch_permissions_of_a_record_beside_an_object_wait_for_a_person() {
    for trusted in [false, true] {
        let stage = furnished();
        let mut input = carried_elsewhere(&stage).await;
        input["trustRecord"] = json!(trusted);
        let report = restore(&stage, input).await.unwrap();
        let image = stage.simulator.world().image(&id(&report)).unwrap();
        assert_eq!(image.launch_permissions.contains(OTHER_ACCOUNT), trusted, "{report}");
        assert_eq!(report["verdict"], if trusted { "OK" } else { "WARNING" }, "{report}");
        assert_eq!(report["differences"], json!([]));
        assert_eq!(report["notRestored"].is_null(), trusted, "{report}");
        if !trusted {
            let said = report["notRestored"][0].to_string();
            for part in
                ["launch permissions", "trustRecord", &image.id, "eu-west-1", &format!("{{UserId={OTHER_ACCOUNT}}}")]
            {
                assert!(said.contains(part), "{part} is missing from {said}");
            }
        }
        assert_eq!(image.protection, Protection::On, "the rest is put back");
    }
}

/// 71. A record beside an object is never preferred to the stack's own.
#[tokio::test]
async fn a_forged_record_beside_an_object_counts_for_nothing_beside_our_own() {
    let stage = furnished();
    only_the_object_is_left(&stage).await;
    let beside = format!("{IMAGE}.bin.json");
    change(&stage, BUCKET, &beside, |record| {
        record["survey"]["launchPermissions"] = json!({"accounts": ["999999999999"], "groups": ["all"]});
        record["survey"]["image"]["tags"]["Forged"] = json!("yes");
    })
    .await;
    let report = restore(&stage, json!({"bucket": BUCKET, "key": format!("{IMAGE}.bin")})).await.unwrap();
    assert_eq!(report["verdict"], "OK", "{report}");
    let image = stage.simulator.world().image(&id(&report)).unwrap();
    assert_eq!(image.launch_permissions, [OTHER_ACCOUNT.to_owned()].into());
    assert_eq!(image.tags.get("Forged"), None);
}

/// 71. Nothing becomes public by itself.
#[tokio::test]
async fn an_image_that_was_public_comes_back_private_and_says_so() {
    let stage = furnished();
    only_the_object_is_left(&stage).await;
    let own = format!("records/{IMAGE}.json");
    change(&stage, BUCKET, &own, |record| record["survey"]["launchPermissions"]["groups"] = json!(["all"])).await;
    let report = restore(&stage, json!({"imageId": IMAGE})).await.unwrap();
    let image = stage.simulator.world().image(&id(&report)).unwrap();
    assert_eq!(image.launch_permissions, [OTHER_ACCOUNT.to_owned()].into());
    assert_eq!((report["verdict"].as_str(), &report["differences"]), (Some("WARNING"), &json!([])), "{report}");
    let command = report["notRestored"][0]["command"].as_str().unwrap();
    assert!(command.contains(&image.id) && command.contains("{Group=all}"), "{command}");
}

/// 71. A record counts only for the image that its key names, and for the account that wrote it.
#[tokio::test]
async fn a_record_of_something_else_is_a_conflict() {
    let own = format!("records/{IMAGE}.json");
    type Change = fn(&mut Value);
    let changes: [(Change, &str); 4] = [
        (|record| record["survey"]["image"]["imageId"] = json!("ami-0a1b2c3d4e5f60014"), "ami-0a1b2c3d4e5f60014"),
        (|record| record["accountId"] = json!("999999999999"), "999999999999"),
        (|record| record["survey"]["image"]["groups"] = json!(["all"]), "survey.image.groups"),
        (|record| record["schema"] = json!(2), "schema"),
    ];
    for (forge, part) in changes {
        let stage = furnished();
        only_the_object_is_left(&stage).await;
        change(&stage, BUCKET, &own, forge).await;
        let error = find(&stage, json!({"imageId": IMAGE})).await.unwrap_err();
        assert_eq!(error.name.as_str(), "Conflict", "{error}");
        assert!(error.to_string().contains(&own) && error.to_string().contains(part), "{error}");
    }
    // Of another account, the input may say to believe it.
    let stage = furnished();
    let input = carried_elsewhere(&stage).await;
    change(&stage, "ami-backup-demo-elsewhere", &format!("far/{IMAGE}.bin.json"), changes[1].0).await;
    assert_eq!(error_name(&find(&stage, input.clone()).await), Some("Conflict"));
    let mut trusting = input;
    trusting["trustRecord"] = json!(true);
    assert_eq!(restore(&stage, trusting).await.unwrap()["verdict"], "OK");
}
