//! Owns what copy-region and finish-copy do.

use ami_backup_simulator::{faults::Effect, world::state::Protection};

use crate::support::*;

const REGION: &str = "eu-west-1";

async fn leg(stage: &Stage, image: &str, more: Value) -> Value {
    let mut input = json!({"imageIds": [image], "copyTo": [REGION], "run": format!("run of {image}")});
    input.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    legs(stage, input).await["copies"][0].clone()
}

async fn copied(stage: &Stage, turn: Value) -> Value {
    let turn = done(stage, "copy-region", "check-image", turn).await;
    persist(stage, "finish-copy", turn).await.unwrap_or_else(|error| panic!("{error}"))
}

fn id(turn: &Value) -> String {
    turn["subject"]["awaited"]["imageId"].as_str().expect("a copy").to_owned()
}

/// Case 53: everything is equal on the copy.
#[tokio::test]
async fn a_copy_equals_its_source_in_everything_that_a_person_would_miss() {
    let stage = furnished();
    let turn = copied(&stage, leg(&stage, IMAGE, json!({})).await).await;
    assert_eq!((turn["status"].as_str(), turn["subject"]["adopted"].as_bool()), (Some("DONE"), Some(false)));
    let world = stage.simulator.world();
    let (source, copy) = (world.image(IMAGE).unwrap(), world.image(&id(&turn)).unwrap());
    assert_eq!(copy.region, REGION);
    assert_eq!(copy.machine, source.machine);
    assert_eq!(copy.description, source.description);
    assert_eq!(copy.launch_permissions, source.launch_permissions);
    assert_eq!(copy.deprecate_at, source.deprecate_at);
    assert_eq!(copy.protection, Protection::On);
    for (key, value) in &source.tags {
        assert_eq!(copy.tags.get(key), Some(value), "{key}");
    }
    for (original, snapshot) in world.snapshots_of(IMAGE).iter().zip(world.snapshots_of(&copy.id)) {
        for (key, value) in &original.tags {
            assert_eq!(snapshot.tags.get(key), Some(value), "{key}");
        }
        assert_eq!(snapshot.tags.get("ami-backup:source").map(String::as_str), Some(IMAGE));
    }
}

#[tokio::test]
async fn tags_are_in_the_creating_call_and_those_that_only_some_snapshots_have_come_after() {
    let stage = Stage::with(|file| {
        let image = image_in(file, IMAGE);
        let mut data = image.volumes[0].clone();
        data.device = "/dev/sdf".into();
        data.snapshot_id = None;
        data.snapshot_tags =
            [("Volume".to_owned(), "data".to_owned()), ("Team".to_owned(), "platform".to_owned())].into();
        image.volumes.push(data);
    });
    let turn = done(&stage, "copy-region", "check-image", leg(&stage, IMAGE, json!({})).await).await;
    let world = stage.simulator.world();
    let tags = |key: &str| -> Vec<Option<String>> {
        world.snapshots_of(&id(&turn)).iter().map(|snapshot| snapshot.tags.get(key).cloned()).collect()
    };
    assert_eq!(stage.calls("CreateTags"), 0);
    assert_eq!(tags("Team"), [Some("platform".into()), Some("platform".into())]);
    assert_eq!(tags("Volume"), [None, None]);
    good(&stage, "finish-copy", turn.clone()).await;
    assert_eq!(tags("Volume"), [Some("root".into()), Some("data".into())]);
}

/// Case 52: CopyImageTags does not carry tags across accounts, and another account's are not shown.
#[tokio::test]
async fn a_copy_of_an_image_of_another_account_is_tagged_as_ours() {
    let stage = Stage::demo();
    let turn = copied(&stage, leg(&stage, SHARED, json!({})).await).await;
    let world = stage.simulator.world();
    let copy = world.image(&id(&turn)).unwrap();
    assert_eq!(copy.account, ACCOUNT);
    for tags in world.snapshots_of(&copy.id).iter().map(|snapshot| &snapshot.tags).chain([&copy.tags]) {
        assert_eq!(tags.get("ami-backup:source").map(String::as_str), Some(SHARED));
        assert!(tags.contains_key("ami-backup:expires") && !tags.contains_key("Secret"));
    }
    assert!(copy.launch_permissions.is_empty());
}

#[tokio::test]
async fn a_policy_decides_what_is_carried_over() {
    let stage = furnished();
    let turn = copied(&stage, leg(&stage, IMAGE, json!({"carryOver": ["deprecation"]})).await).await;
    let copy = stage.simulator.world().image(&id(&turn)).unwrap();
    assert!(copy.launch_permissions.is_empty() && copy.protection == Protection::Off);
    assert!(copy.deprecate_at.is_some());
}

#[tokio::test]
async fn a_copy_is_encrypted_with_the_key_of_its_region() {
    let stage = Stage::demo();
    let key = "arn:aws:kms:eu-west-1:000000000000:key/0a1b2c3d-4e5f-4000-8000-000000000001";
    let turn = copied(&stage, leg(&stage, IMAGE, json!({"kmsKeys": {REGION: key}})).await).await;
    let snapshots = stage.simulator.world().snapshots_of(&id(&turn));
    assert!(snapshots.iter().all(|snapshot| snapshot.kms_key_id.as_deref() == Some(key)), "{snapshots:?}");
}

/// Trouble with a key comes late: the call succeeds and the copy fails.
#[tokio::test]
async fn a_key_that_is_not_there_fails_the_copy_with_ec2s_reason() {
    let stage = Stage::with(|file| file.accounts[0].kms_keys = Some(Vec::new()));
    let key = "arn:aws:kms:eu-west-1:000000000000:key/0a1b2c3d-4e5f-4000-8000-000000000001";
    let turn = leg(&stage, IMAGE, json!({"kmsKeys": {REGION: key}})).await;
    let (_, error) = until_done(&stage, "copy-region", "check-image", turn).await.unwrap_err();
    assert_eq!(error.name.as_str(), "ResourceFailed");
    assert!(error.to_string().contains("Given key ID is not accessible"), "{error}");
}

/// Case 46, and a failed copy is not handed back for ever.
#[tokio::test]
async fn a_copy_that_fails_says_why_and_is_followed_by_another() {
    let stage = Stage::demo();
    let turn = leg(&stage, IMAGE, json!({})).await;
    stage.fault("CopyImage", Effect::FailTask { reason: "the disks are full".into() });
    let (failed, error) = until_done(&stage, "copy-region", "check-image", turn.clone()).await.unwrap_err();
    assert_eq!(error.name.as_str(), "ResourceFailed");
    let text = error.to_string();
    assert!(["the disks are full", REGION, &id(&failed)].iter().all(|part| text.contains(part)), "{text}");
    let second = copied(&stage, turn.clone()).await;
    assert_ne!(id(&second), id(&failed));
    assert_eq!(id(&copied(&stage, turn).await), id(&second));
    assert_eq!(stage.calls("CopyImage"), 2);
}

/// Case 45: 300 GiB in nine and a half hours.
#[tokio::test]
async fn a_copy_of_many_hours_is_followed_to_its_end() {
    let id = "ami-0a1b2c3d4e5f6aaaa";
    let stage = Stage::with(|file| {
        add_image(file, id, 300, 300);
        file.settings.copy_mib_per_second = 9;
    });
    let start = stage.now();
    let begun = good(&stage, "copy-region", leg(&stage, id, json!({})).await).await;
    stage.pass(60 * 5);
    let half = good(&stage, "check-image", begun).await;
    assert_eq!(half["status"], "IN_PROGRESS");
    assert!(half["lastSeen"].as_str().unwrap().contains("5"), "{half}");
    let turn = done(&stage, "check-image", "check-image", half).await;
    assert!(stage.now().duration_since(start).as_hours() >= 9);
    assert!(turn["polls"].as_u64() < Some(200), "{turn}");
}

/// Case 47.
#[tokio::test]
async fn a_copy_beyond_the_number_of_copies_waits_for_its_turn() {
    for code in ["ResourceLimitExceeded", "InvalidRequest"] {
        let other = "ami-0a1b2c3d4e5f6bbbb";
        let stage = Stage::with(|file| {
            add_image(file, other, 8, 3);
            file.settings.quotas.concurrent_image_copies = 1;
            file.settings.choices.copy_over_limit_code = code.into();
        });
        let first = good(&stage, "copy-region", leg(&stage, IMAGE, json!({})).await).await;
        let second = good(&stage, "copy-region", leg(&stage, other, json!({})).await).await;
        assert_eq!(
            (first["status"].as_str(), second["status"].as_str()),
            (Some("IN_PROGRESS"), Some("DEFERRED")),
            "{code}"
        );
        copied(&stage, second).await;
        assert_eq!(created(&stage), 2, "{code}");
    }
}

#[tokio::test]
async fn two_runs_make_two_copies_whether_or_not_copies_may_share_a_name() {
    for may_share in [true, false] {
        let stage = furnished_with(|settings| settings.choices.copy_may_share_name = may_share);
        let first = copied(&stage, leg(&stage, IMAGE, json!({"run": "1"})).await).await;
        let second = copied(&stage, leg(&stage, IMAGE, json!({"run": "2"})).await).await;
        assert_ne!(id(&first), id(&second));
        let again = good(&stage, "copy-region", leg(&stage, IMAGE, json!({"run": "2"})).await).await;
        assert_eq!((id(&again), again["subject"]["adopted"].as_bool()), (id(&second), Some(true)));
    }
}

/// Somebody changes the source's tags between the lost reply and the next try, while the copy does not
/// show yet: the token then meets other parameters, and it is still our copy.
#[tokio::test]
async fn a_copy_whose_reply_was_lost_is_adopted_even_if_the_source_has_changed() {
    let stage = furnished_with(|settings| settings.consistency_delay_ms = 30_000);
    let turn = leg(&stage, IMAGE, json!({})).await;
    let copies = stage.simulator.world().images(ACCOUNT, REGION).len();
    always(&stage, "copy-region", "CopyImage", Effect::HoldReply);
    assert_eq!(error_name(&call(&stage, "copy-region", turn.clone()).await), Some("Transient"));
    stage.simulator.faults().clear();
    stage.simulator.world().change_image(IMAGE, |image| drop(image.tags.insert("Team".into(), "other".into())));
    assert_eq!(error_name(&call(&stage, "copy-region", turn.clone()).await), Some("NotYetVisible"));
    copied(&stage, turn).await;
    assert_eq!(created(&stage), 1);
    assert_eq!(stage.simulator.world().images(ACCOUNT, REGION).len(), copies + 1);
}

/// 'Done when' 6, and case 48: a Region that is not enabled.
#[tokio::test]
async fn what_cannot_be_copied_is_refused_with_the_rule() {
    let stage = Stage::demo();
    let good = leg(&stage, IMAGE, json!({})).await;
    let with = |field: &str, value: &str| {
        let mut turn = good.clone();
        turn["subject"][field] = json!(value);
        turn
    };
    refused(&stage, "copy-region", with("region", "ap-east-1"), &["subject.region", "ap-east-1", "enabled"]).await;
    refused(&stage, "copy-region", with("region", "xx-north-1"), &["subject.region", "xx-north-1"]).await;
    refused(&stage, "copy-region", with("region", HOME), &["subject.region", HOME]).await;
    refused(&stage, "copy-region", with("region", "Ireland"), &["subject.region", "Ireland"]).await;
    for (image, part) in [
        ("ami-0a1b2c3d4e5f60010", "instance-store"),
        ("ami-0a1b2c3d4e5f60011", "no such image"),
        ("ami-0a1b2c3d4e5f60013", "failed"),
    ] {
        refused(&stage, "copy-region", with("imageId", image), &[image, part]).await;
    }
}

/// Case 53: a difference is a failure, with everything that differs.
#[tokio::test]
async fn a_copy_that_differs_from_its_source_fails_with_what_differs_and_stays() {
    let stage = furnished();
    let turn = done(&stage, "copy-region", "check-image", leg(&stage, IMAGE, json!({})).await).await;
    stage.simulator.world().change_image(&id(&turn), |copy| {
        copy.machine.tpm_support = None;
        copy.machine.boot_mode = Some("legacy-bios".into());
    });
    let error = call(&stage, "finish-copy", turn.clone()).await.unwrap_err();
    assert_eq!(error.name.as_str(), "ResourceFailed");
    let text = error.to_string();
    for part in ["TpmSupport should be v2.0 and is -", "BootMode should be uefi and is legacy-bios", &id(&turn), REGION]
    {
        assert!(text.contains(part), "{part} is missing from {text}");
    }
    assert!(stage.simulator.world().image(&id(&turn)).is_some());
}

#[tokio::test]
async fn a_copy_that_should_be_encrypted_and_is_not_fails() {
    let stage = Stage::demo();
    let mut turn = done(&stage, "copy-region", "check-image", leg(&stage, IMAGE, json!({})).await).await;
    turn["subject"]["kmsKeyId"] = json!("alias/eu");
    let error = call(&stage, "finish-copy", turn).await.unwrap_err();
    assert_eq!(error.name.as_str(), "ResourceFailed");
    assert!(error.to_string().contains("Encrypted"), "{error}");
}

/// Case 58.
#[tokio::test]
async fn when_only_the_permissions_failed_only_they_are_made_again() {
    let stage = furnished();
    let turn = done(&stage, "copy-region", "check-image", leg(&stage, IMAGE, json!({})).await).await;
    always(&stage, "finish-copy", "ModifyImageAttribute", refusal("UnauthorizedOperation"));
    assert_eq!(error_name(&call(&stage, "finish-copy", turn).await), Some("AccessDenied"));
    stage.simulator.faults().clear();

    stage.simulator.calls().clear();
    copied(&stage, leg(&stage, IMAGE, json!({})).await).await;
    let changes: Vec<String> = own_calls(&stage)
        .filter(|call| call.service == "ec2" && !call.action.starts_with("Describe"))
        .map(|call| call.action)
        .collect();
    assert_eq!(changes, ["ModifyImageAttribute"]);
}

#[tokio::test]
async fn a_repair_that_failed_is_made_again() {
    let stage = furnished();
    let turn = done(&stage, "copy-region", "check-image", leg(&stage, IMAGE, json!({})).await).await;
    always(&stage, "finish-copy", "EnableImageDeprecation", refusal("InternalError"));
    assert_eq!(error_name(&call(&stage, "finish-copy", turn.clone()).await), Some("Transient"));
    stage.simulator.faults().clear();
    good(&stage, "finish-copy", turn).await;
}

/// The source was deregistered while it was copied: the record says what it was.
#[tokio::test]
async fn a_copy_of_a_source_that_has_gone_is_compared_with_the_record() {
    for code in ["InvalidAMIID.NotFound", "InvalidAMIID.Unavailable"] {
        let stage = furnished_with(|settings| settings.choices.deregistered_image_code = code.into());
        let turn = done(&stage, "copy-region", "check-image", leg(&stage, IMAGE, json!({})).await).await;
        stage.simulator.world().deregister(IMAGE);
        let finished = good(&stage, "finish-copy", turn.clone()).await;
        let copy = stage.simulator.world().image(&id(&finished)).unwrap();
        assert!(copy.launch_permissions.contains(OTHER_ACCOUNT), "{code}");

        stage.simulator.world().deregister(&id(&turn));
        let error = call(&stage, "finish-copy", turn).await.unwrap_err();
        assert_eq!(error.name.as_str(), "ResourceFailed", "{code}");
    }
}

#[tokio::test]
async fn a_deprecation_that_is_past_is_noted_and_does_not_fail_the_copy() {
    let stage = Stage::with(|file| image_in(file, IMAGE).deprecate_at = "2026-11-01T00:00:00Z".parse().ok());
    let turn = copied(&stage, leg(&stage, IMAGE, json!({})).await).await;
    assert!(turn["subject"]["notes"][0].as_str().is_some_and(|note| note.contains("deprecation")), "{turn}");
}

/// Fifty tags are the most: ours are never among those that are dropped.
#[tokio::test]
async fn tags_for_which_there_is_no_room_are_noted() {
    let stage = Stage::with(|file| {
        image_in(file, IMAGE).tags = (0..50).map(|number| (format!("tag-{number:02}"), "x".into())).collect();
    });
    let turn = copied(&stage, leg(&stage, IMAGE, json!({})).await).await;
    let copy = stage.simulator.world().image(&id(&turn)).unwrap();
    assert_eq!(copy.tags.len(), 50);
    assert!(copy.tags.contains_key("ami-backup:token"));
    let notes: Vec<&str> = turn["subject"]["notes"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
    assert_eq!(notes.iter().filter(|note| note.contains("tag-49")).count(), 1, "{notes:?}");
}

/// 71. Nothing becomes public by itself.
#[tokio::test]
async fn the_copy_of_a_public_image_is_private_and_says_so() {
    let stage = furnished();
    stage.simulator.world().change_image(IMAGE, |image| {
        image.launch_permissions.insert("all".into());
    });
    let leg = legs(&stage, json!({"imageIds": [IMAGE], "copyTo": ["eu-west-1"]})).await["copies"][0].clone();
    let turn = done(&stage, "copy-region", "check-image", leg).await;
    let turn = good(&stage, "finish-copy", turn).await;
    let id = turn["subject"]["awaited"]["imageId"].as_str().unwrap();
    let copy = stage.simulator.world().image(id).unwrap();
    assert_eq!(copy.launch_permissions, [OTHER_ACCOUNT.to_owned()].into());
    let notes = turn["subject"]["notes"].to_string();
    assert!(notes.contains(id) && notes.contains("{Group=all}"), "{notes}");
}
