//! Owns what create-image does.

use ami_backup_simulator::faults::Effect;

use crate::support::*;

async fn turn(stage: &Stage, policy: Value) -> Value {
    let mut input = json!({"instanceIds": [INSTANCE], "run": "r"});
    input.as_object_mut().unwrap().extend(policy.as_object().unwrap().clone());
    json!({"subject": items(stage, input).await[0]})
}

fn image_of(turn: &Value) -> String {
    turn["subject"]["awaited"]["imageId"].as_str().expect("an image").to_owned()
}

/// Cases 40 and 42.
#[tokio::test]
async fn an_image_is_made_without_a_reboot_and_tagged_in_the_same_call() {
    let stage = Stage::demo();
    let turn = turn(&stage, json!({"keepDays": 7, "name": "web", "policy": "nightly"})).await;
    let made = done(&stage, "create-image", "check-image", turn).await;
    let (world, id) = (stage.simulator.world(), image_of(&made));
    let image = world.image(&id).unwrap();
    assert_eq!(image.state, "available");
    assert!(image.name.starts_with(&format!("web-{INSTANCE}-")), "{}", image.name);
    assert_eq!(world.reboots(INSTANCE), 0);
    assert_eq!(stage.calls("CreateTags"), 0, "an organisation may require tags in the creating call");
    let snapshots = world.snapshots_of(&id);
    assert_eq!(snapshots.len(), 2);
    for tags in snapshots.iter().map(|snapshot| &snapshot.tags).chain([&image.tags]) {
        for (key, value) in [
            ("ami-backup:managed", "true"),
            ("ami-backup:run", "r"),
            ("ami-backup:policy", "nightly"),
            ("ami-backup:source", INSTANCE),
            ("ami-backup:expires", "2026-11-30T02:00:00Z"),
            ("Name", "web-1"),
        ] {
            assert_eq!(tags.get(key).map(String::as_str), Some(value), "{key}");
        }
        assert_eq!(tags.get("ami-backup:token").map(String::len), Some(64));
    }
}

/// Case 42.
#[tokio::test]
async fn an_instance_is_rebooted_only_when_the_policy_says_so() {
    let stage = Stage::demo();
    let turn = turn(&stage, json!({"reboot": true})).await;
    done(&stage, "create-image", "check-image", turn).await;
    assert_eq!(stage.simulator.world().reboots(INSTANCE), 1);
}

/// Case 39.
#[tokio::test]
async fn an_image_whose_reply_was_lost_is_adopted_without_asking_again() {
    let stage = Stage::demo();
    let turn = turn(&stage, json!({})).await;
    stage.fault("CreateImage", Effect::HoldReply);
    let lost = call(&stage, "create-image", turn.clone()).await;
    assert_eq!(error_name(&lost), Some("Transient"));
    let adopted = good(&stage, "create-image", turn).await;
    assert_eq!(adopted["status"], "IN_PROGRESS");
    assert_eq!(stage.calls("CreateImage"), 1, "the SDK must not try again below the look");
    let world = stage.simulator.world();
    assert_eq!(world.image(&image_of(&adopted)).unwrap().source_instance_id.as_deref(), Some(INSTANCE));
}

#[tokio::test]
async fn an_image_that_failed_is_followed_by_another() {
    let stage = Stage::demo();
    let turn = turn(&stage, json!({})).await;
    stage.fault("CreateImage", Effect::FailTask { reason: "the volume is gone".into() });
    let (_, error) = until_done(&stage, "create-image", "check-image", turn.clone()).await.unwrap_err();
    assert_eq!(error.name.as_str(), "ResourceFailed");
    assert!(error.to_string().contains("the volume is gone"), "{error}");
    done(&stage, "create-image", "check-image", turn).await;
    assert_eq!(stage.calls("CreateImage"), 2);
}

#[tokio::test]
async fn a_new_run_of_an_instance_makes_a_new_image() {
    let stage = Stage::demo();
    let first = turn(&stage, json!({})).await;
    let second = turn(&stage, json!({"run": "s"})).await;
    let first = done(&stage, "create-image", "check-image", first).await;
    let second = done(&stage, "create-image", "check-image", second).await;
    assert_ne!(image_of(&first), image_of(&second));
}

/// The name holds our token: whoever has it is ours.
#[tokio::test]
async fn a_name_that_is_taken_is_ours_and_not_visible_yet() {
    let stage = Stage::demo();
    let turn = turn(&stage, json!({})).await;
    stage.refuse("CreateImage", "InvalidAMIName.Duplicate");
    assert_eq!(error_name(&call(&stage, "create-image", turn).await), Some("NotYetVisible"));
}

#[tokio::test]
async fn an_instance_that_cannot_be_imaged_is_refused() {
    for (change, part) in
        [("terminated", "terminated"), ("instance-store", "instance-store"), ("gone", "no such instance")]
    {
        let stage = Stage::with(|file| {
            let instance = &mut file.accounts[0].instances[0];
            match change {
                "terminated" => instance.state = change.into(),
                "gone" => instance.id = "i-0a1b2c3d4e5f60077".into(),
                _ => instance.machine.root_device_type = change.into(),
            }
        });
        let turn = turn(&stage, json!({})).await;
        refused(&stage, "create-image", turn, &[INSTANCE, part, HOME]).await;
    }
}

#[tokio::test]
async fn a_source_that_is_an_image_is_refused() {
    let stage = Stage::demo();
    let item = items(&stage, json!({"imageIds": [IMAGE]})).await[0].clone();
    refused(&stage, "create-image", json!({"subject": item}), &["subject.source.instanceId"]).await;
}

/// Codes that only CreateImage has.
#[tokio::test]
async fn limits_of_snapshots_defer_an_image() {
    for code in [
        "ConcurrentCreateImageNoRebootLimitExceeded",
        "ConcurrentSnapshotLimitExceeded",
        "SnapshotCreationPerVolumeRateExceeded",
        "ImageLimitExceeded",
    ] {
        let stage = Stage::demo();
        let turn = turn(&stage, json!({})).await;
        stage.refuse("CreateImage", code);
        let deferred = good(&stage, "create-image", turn).await;
        assert_eq!(deferred["status"], "DEFERRED", "{code}");
        done(&stage, "create-image", "check-image", deferred).await;
        assert_eq!(created(&stage), 1, "{code}");
    }
}
