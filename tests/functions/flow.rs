//! Owns whole runs: what a person who starts a backup gets in the end, with and without faults.

use ami_backup_simulator::faults::Effect;

use crate::{
    driver::{Run, backup, restore},
    support::*,
};

/// Everything there is, in one run.
fn all() -> Value {
    json!({
        "imageIds": [IMAGE], "instanceIds": [INSTANCE], "copyTo": ["eu-west-1", "eu-central-1"],
        "export": {"format": "VMDK"}, "run": "r",
    })
}

fn with(mut input: Value, field: &str, value: Value) -> Value {
    input[field] = value;
    input
}

fn error_of(run: &Run) -> (&str, String) {
    (run.report["error"].as_str().unwrap_or_default(), run.report["cause"].as_str().unwrap_or_default().to_owned())
}

#[tokio::test]
async fn a_run_backs_up_an_instance_and_an_image_in_all_three_ways() {
    let stage = furnished();
    let run = backup(&stage, all()).await;
    assert_eq!(run.verdict(), "OK", "{run:?}");
    assert_eq!(error_of(&run), ("", String::new()));
    assert_eq!(run.report["counts"], json!({"lines": 9, "done": 9, "failed": 0}));
    assert_eq!((run.of("image").len(), run.of("store").len()), (1, 2));
    assert_eq!((run.of("copy").len(), run.of("export").len()), (4, 2));
    // Each claim can be checked.
    let world = stage.simulator.world();
    for line in &run.lines {
        let claim = &line["claim"];
        let (id, region) = (claim["id"].as_str().unwrap(), claim["region"].as_str().unwrap());
        match line["leg"].as_str().unwrap() {
            "image" | "copy" => {
                let image = world.image(id).unwrap();
                assert_eq!((image.region.as_str(), image.state.as_str()), (region, "available"));
            }
            _ => {
                let object = text_of(&stage, claim).await;
                assert_eq!(claim["sizeBytes"].as_u64(), u64::try_from(object.len()).ok());
            }
        }
    }
}

async fn text_of(stage: &Stage, claim: &Value) -> String {
    text(stage, claim["bucket"].as_str().unwrap(), claim["id"].as_str().unwrap()).await
}

#[tokio::test]
async fn the_same_run_again_creates_nothing() {
    let stage = furnished();
    backup(&stage, all()).await;
    let (made, things) = (asked_to_create(&stage), Things::now(&stage).await);
    let again = backup(&stage, all()).await;
    assert_eq!(again.verdict(), "OK", "{again:?}");
    assert_eq!(asked_to_create(&stage), made);
    Things::now(&stage).await.expect(&things, "the same run again");
    assert!(again.of("copy").iter().all(|line| line["adopted"] == true), "{again:?}");

    stage.pass(60 * 24 * 90);
    let later = backup(&stage, all()).await;
    assert_eq!(later.verdict(), "OK", "{later:?}");
    assert_eq!(asked_to_create(&stage), made, "a quarter of a year later");
}

#[tokio::test]
async fn a_new_run_makes_a_new_image_of_an_instance_and_no_second_object_of_an_image() {
    let stage = furnished();
    backup(&stage, all()).await;
    let before = Things::now(&stage).await;
    let run = backup(&stage, with(all(), "run", json!("s"))).await;
    assert_eq!(run.verdict(), "OK", "{run:?}");
    let after = Things::now(&stage).await;
    assert_eq!(after.count("store") - before.count("store"), 1, "that of the new image");
    assert_eq!(after.count("export") - before.count("export"), 2);
    assert_eq!(after.count("image") - before.count("image"), 5);
}

/// 'Done when' 7: one bad image among several.
#[tokio::test]
async fn one_bad_image_does_not_stop_the_others() {
    let stage = furnished();
    let failed = "ami-0a1b2c3d4e5f60013";
    let run = backup(&stage, with(all(), "imageIds", json!([IMAGE, failed]))).await;
    assert_eq!(run.verdict(), "PARTIAL");
    let (error, cause) = error_of(&run);
    assert_eq!(error, "BackupPartial");
    assert!(cause.contains(failed) && cause.contains("Client error on launch"), "{cause}");
    assert!(cause.contains("\\\"run\\\": \\\"r\\\""), "{cause}");
    let bad = run.failed();
    assert_eq!((bad.len(), bad[0]["source"].as_str()), (1, Some(failed)));
    assert_eq!(run.lines.len(), 10);
}

/// 'Done when' 7 and case 48: one bad Region, and the same run again does only that one.
#[tokio::test]
async fn one_bad_region_costs_its_own_copies_and_the_same_run_again_does_only_them() {
    let stage = furnished();
    always_in(&stage, "eu-central-1", "CopyImage", refusal("UnauthorizedOperation"));
    let run = backup(&stage, all()).await;
    assert_eq!(run.verdict(), "PARTIAL");
    let bad = run.failed();
    assert_eq!(bad.len(), 2);
    for line in bad {
        assert_eq!((line["leg"].as_str(), line["region"].as_str()), (Some("copy"), Some("eu-central-1")));
        assert_eq!(line["error"]["name"], "AccessDenied");
        assert!(line["error"]["message"].as_str().unwrap().contains("eu-central-1"), "{line}");
    }
    stage.simulator.faults().clear();
    stage.simulator.calls().clear();
    let again = backup(&stage, all()).await;
    assert_eq!(again.verdict(), "OK", "{again:?}");
    let made: Vec<(String, String)> = own_calls(&stage)
        .filter(|call| CREATING.contains(&call.action.as_str()))
        .map(|call| (call.action, call.region))
        .collect();
    assert_eq!(made, vec![("CopyImage".to_owned(), "eu-central-1".to_owned()); 2]);
}

/// Case 48: a Region that somebody disabled, in a scheduled run.
#[tokio::test]
async fn a_disabled_region_of_a_schedule_is_reported_and_the_rest_is_done() {
    let stage = furnished();
    let input = json!({
        "tags": {"Backup": ["nightly"]}, "copyTo": ["ap-east-1", "eu-west-1"], "scheduledTime": "2026-11-23T02:00:00Z",
    });
    let run = backup(&stage, input).await;
    assert_eq!(run.verdict(), "PARTIAL");
    assert_eq!(run.failed().len(), 2);
    assert!(run.failed().iter().all(|line| line["region"] == "ap-east-1" && line["error"]["name"] == "InvalidInput"));
}

/// 'Done when' 7 and case 59: one store task that fails with a reason.
#[tokio::test]
async fn a_store_task_that_fails_is_reported_with_its_reason_and_made_again_by_the_same_run() {
    let stage = furnished();
    stage.fault("CreateStoreImageTask", Effect::FailTask { reason: "the blocks are bad".into() });
    let run = backup(&stage, all()).await;
    assert_eq!(run.verdict(), "PARTIAL");
    let bad = run.failed();
    assert_eq!((bad.len(), bad[0]["leg"].as_str()), (1, Some("store")));
    assert!(bad[0]["error"]["message"].as_str().unwrap().contains("the blocks are bad"), "{run:?}");
    assert!(error_of(&run).1.contains("the blocks are bad"));

    stage.simulator.calls().clear();
    let again = backup(&stage, all()).await;
    assert_eq!(again.verdict(), "OK", "{again:?}");
    let made: Vec<String> =
        own_calls(&stage).filter(|call| CREATING.contains(&call.action.as_str())).map(|call| call.action).collect();
    assert_eq!(made, ["CreateStoreImageTask"]);
}

#[tokio::test]
async fn an_instance_whose_image_fails_is_reported_and_made_again_by_the_same_run() {
    let stage = furnished();
    stage.fault("CreateImage", Effect::FailTask { reason: "the volume is gone".into() });
    let run = backup(&stage, all()).await;
    assert_eq!(run.verdict(), "PARTIAL");
    let bad = run.failed();
    assert_eq!((bad.len(), bad[0]["leg"].as_str(), bad[0]["source"].as_str()), (1, Some("image"), Some(INSTANCE)));
    assert_eq!(bad[0]["claim"]["state"], "unfinished", "what was left behind is named");
    let again = backup(&stage, all()).await;
    assert_eq!(again.verdict(), "OK", "{again:?}");
}

#[tokio::test]
async fn a_run_in_which_nothing_was_done_has_failed() {
    let stage = furnished();
    let run = backup(&stage, json!({"imageIds": ["ami-0a1b2c3d4e5f60010", "ami-0a1b2c3d4e5f69999"]})).await;
    assert_eq!((run.verdict(), error_of(&run).0), ("FAILED", "BackupFailed"));
    assert_eq!(asked_to_create(&stage), 0);
}

/// Case 36.
#[tokio::test]
async fn a_run_that_matches_nothing_is_a_warning_with_a_report() {
    let stage = furnished();
    let run = backup(&stage, json!({"tags": {"Backup": ["never"]}})).await;
    assert_eq!(run.verdict(), "WARNING");
    assert!(run.lines.is_empty());
    assert!(run.report["summary"].as_str().unwrap().contains("nothing was selected"));
}

/// What a run makes itself is not backed up by the next one.
#[tokio::test]
async fn a_schedule_does_not_back_up_its_own_backups() {
    let stage = furnished();
    let input = |time: &str| json!({"tags": {"Backup": ["nightly"]}, "copyTo": ["eu-west-1"], "scheduledTime": time});
    let first = backup(&stage, input("2026-11-23T02:00:00Z")).await;
    let second = backup(&stage, input("2026-11-24T02:00:00Z")).await;
    assert_eq!((first.verdict(), second.verdict()), ("OK", "OK"));
    assert_eq!(first.lines.len(), second.lines.len());
}

#[tokio::test]
async fn an_image_of_a_run_is_restored_with_its_tags_and_launch_permissions() {
    let stage = furnished();
    let run = backup(&stage, all()).await;
    assert_eq!(run.verdict(), "OK", "{run:?}");
    for id in [IMAGE, run.of("image")[0]["claim"]["id"].as_str().unwrap()] {
        let original = stage.simulator.world().image(id).unwrap();
        stage.simulator.world().deregister(id);
        let report = restore(&stage, json!({"imageId": id, "run": format!("back {id}")})).await.unwrap();
        assert_eq!(report["verdict"], "OK", "{report}");
        let image = stage.simulator.world().image(report["imageId"].as_str().unwrap()).unwrap();
        assert_eq!(image.launch_permissions, original.launch_permissions);
        for (key, value) in original.tags.iter().filter(|(key, _)| !key.starts_with("ami-backup:")) {
            assert_eq!(image.tags.get(key), Some(value), "{key}");
        }
    }
}

/// 'Done when' 4, in process: every reply that a whole run waits for is lost once.
#[tokio::test]
async fn a_run_in_which_replies_are_lost_ends_as_one_in_which_none_is() {
    let stage = furnished();
    backup(&stage, all()).await;
    let (made, actions) = (created(&stage), own_calls(&stage).map(|call| call.action));
    let actions: std::collections::BTreeSet<String> = actions.collect();
    let expected = Things::at_the_end_of(&stage).await;
    for action in actions {
        for effect in [Effect::HoldReply, Effect::Cut, refusal("RequestLimitExceeded"), refusal("InternalError")] {
            let stage = furnished();
            stage.fault(&action, effect.clone());
            let run = backup(&stage, all()).await;
            assert_eq!(run.verdict(), "OK", "{action} {effect:?}: {run:?}");
            assert_eq!(created(&stage), made, "{action} {effect:?}");
            Things::at_the_end_of(&stage).await.expect(&expected, &format!("{action} {effect:?}"));
        }
    }
}

/// The behaviours that AWS does not document change nothing about the end of a run.
#[tokio::test]
async fn a_run_ends_well_under_every_choice_of_the_simulator() {
    use ami_backup_simulator::account::{Choices, DescribedBucket, RoleNeeds, SecondStore, StoredBytes};
    type Change = fn(&mut Choices);
    let choices: &[(&str, Change)] = &[
        ("gigabytes count volumes", |c| c.gigabytes_count = StoredBytes::Volume),
        ("quotas over the account", |c| c.quotas_per_region = false),
        ("a second store overwrites", |c| c.second_store = SecondStore::Overwrites),
        ("one store per bucket", |c| c.second_store_per_key = false),
        ("the bucket is described with its path", |c| c.described_bucket = DescribedBucket::Path),
        ("copies may not share a name", |c| c.copy_may_share_name = false),
        ("deregistered images are unavailable", |c| c.deregistered_image_code = "InvalidAMIID.Unavailable".into()),
        ("a restore keeps the deprecation", |c| c.restore_keeps_deprecation = true),
        ("a restore keeps the encryption", |c| c.restore_keeps_encryption = true),
        ("a role needs its half", |c| c.store_and_restore_need = RoleNeeds::ItsHalf),
        ("restored snapshots are described", |c| c.restored_snapshot_description = "made for {image}".into()),
    ];
    for (case, change) in choices {
        let stage = furnished_with(|settings| {
            change(&mut settings.choices);
            settings.consistency_delay_ms = 200;
        });
        let input = with(all(), "storePrefix", json!("a/b"));
        let run = backup(&stage, input.clone()).await;
        assert_eq!(run.verdict(), "OK", "{case}: {run:?}");
        let made = asked_to_create(&stage);
        assert_eq!(backup(&stage, input).await.verdict(), "OK", "{case}");
        assert_eq!(asked_to_create(&stage), made, "{case}");
        stage.simulator.world().deregister(IMAGE);
        let report = restore(&stage, json!({"imageId": IMAGE})).await.unwrap();
        assert_eq!(report["verdict"], "OK", "{case}: {report}");
    }
}

/// With the rates of EC2's API in force, a run is slower and not worse.
#[tokio::test]
async fn a_run_ends_well_under_ec2s_request_rates() {
    let stage = furnished_with(|settings| {
        settings.api_buckets = true;
        settings.consistency_delay_ms = 5_000;
    });
    let run = backup(&stage, all()).await;
    assert_eq!(run.verdict(), "OK", "{run:?}");
}
