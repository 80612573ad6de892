//! Owns what start-export and check-export do.

use ami_backup_simulator::faults::Effect;

use crate::support::*;

async fn leg(stage: &Stage, image: &str, more: Value) -> Value {
    let mut input = json!({"imageIds": [image], "export": {"format": "VMDK"}, "run": format!("run of {image}")});
    input.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    legs(stage, input).await["export"].clone()
}

async fn exported(stage: &Stage, turn: Value) -> Value {
    done(stage, "start-export", "check-export", turn).await
}

#[tokio::test]
async fn a_file_is_written_under_the_key_that_ec2_makes_of_its_task() {
    for (format, extension) in [("VMDK", "vmdk"), ("VHD", "vhd"), ("RAW", "raw")] {
        let stage = Stage::demo();
        let turn = leg(&stage, IMAGE, json!({"export": {"format": format, "prefix": "vm"}})).await;
        let turn = exported(&stage, turn).await;
        let task = turn["subject"]["taskId"].as_str().unwrap();
        assert_eq!(turn["subject"]["object"]["key"], format!("vm/{task}.{extension}"));
        assert_eq!(turn["subject"]["object"]["bucket"], EXPORTS);
        assert_eq!(created(&stage), 1);
        let mut tasks = stage.simulator.world().export_tasks();
        tasks.retain(|one| one.id == task);
        assert_eq!(tasks[0].role, "ami-backup-export");
        assert_eq!(tasks[0].tags.get("ami-backup:source").map(String::as_str), Some(IMAGE));
        assert_eq!(tasks[0].tags.get("ami-backup:expires").map(String::as_str), Some("by-policy"));
    }
}

#[tokio::test]
async fn the_default_prefix_ends_with_a_slash() {
    let stage = Stage::demo();
    let turn = exported(&stage, leg(&stage, IMAGE, json!({})).await).await;
    assert!(turn["subject"]["object"]["key"].as_str().unwrap().starts_with("exports/export-ami-"), "{turn}");
    let mut without = leg(&stage, IMAGE, json!({"run": "s"})).await;
    without["subject"]["prefix"] = json!("exports");
    refused(&stage, "start-export", without, &["subject.prefix", "slash"]).await;
}

/// There is no state called failed.
#[tokio::test]
async fn a_task_that_was_deleted_has_failed_with_its_message_and_is_followed_by_another() {
    let stage = Stage::demo();
    let turn = leg(&stage, IMAGE, json!({})).await;
    stage.fault("ExportImage", Effect::FailTask { reason: "ClientError: GRUB".into() });
    let (_, error) = until_done(&stage, "start-export", "check-export", turn.clone()).await.unwrap_err();
    assert_eq!(error.name.as_str(), "ResourceFailed");
    let text = error.to_string();
    assert!(["ClientError: GRUB", IMAGE, "export-ami-", HOME].iter().all(|part| text.contains(part)), "{text}");
    exported(&stage, turn).await;
    assert_eq!(stage.calls("ExportImage"), 2);
}

#[tokio::test]
async fn the_same_run_is_exported_once_and_each_format_for_itself() {
    let stage = Stage::demo();
    let turn = leg(&stage, IMAGE, json!({})).await;
    exported(&stage, turn.clone()).await;
    let again = exported(&stage, turn).await;
    assert_eq!(again["subject"]["adopted"], true);
    assert_eq!(created(&stage), 1);
    exported(&stage, leg(&stage, IMAGE, json!({"run": "s", "export": {"format": "RAW"}})).await).await;
    assert_eq!(created(&stage), 2);
}

/// EC2 exports an image once at a time: another run's export is waited for, then ours begins.
#[tokio::test]
async fn an_image_that_another_run_is_exporting_waits_for_its_turn() {
    for code in ["NotExportable", "ResourceLimitExceeded", "InvalidRequest"] {
        let stage = furnished_with(|settings| settings.choices.export_busy_image_code = code.into());
        good(&stage, "start-export", leg(&stage, IMAGE, json!({"run": "other"})).await).await;
        let turn = good(&stage, "start-export", leg(&stage, IMAGE, json!({})).await).await;
        assert_eq!(turn["status"], "DEFERRED", "{code}");
        exported(&stage, turn).await;
        assert_eq!(created(&stage), 2, "{code}");
    }
}

#[tokio::test]
async fn an_export_beyond_the_number_of_exports_waits_for_its_turn() {
    let other = "ami-0a1b2c3d4e5f6bbbb";
    let stage = Stage::with(|file| {
        add_image(file, other, 8, 3);
        file.settings.quotas.concurrent_exports = 1;
    });
    good(&stage, "start-export", leg(&stage, IMAGE, json!({})).await).await;
    let turn = good(&stage, "start-export", leg(&stage, other, json!({})).await).await;
    assert_eq!(turn["status"], "DEFERRED");
    exported(&stage, turn).await;
}

/// Case 69.
#[tokio::test]
async fn what_cannot_be_exported_is_refused_with_the_rule() {
    let windows = "ami-0a1b2c3d4e5f6cccc";
    let large = "ami-0a1b2c3d4e5f6dddd";
    let stage = Stage::with(|file| {
        add_image(file, windows, 30, 10);
        image_in(file, windows).machine.platform_details = "Windows with SQL Server Standard".into();
        add_image(file, large, 1_025, 10);
    });
    let good = leg(&stage, IMAGE, json!({})).await;
    for (image, part) in [
        ("ami-0a1b2c3d4e5f60010", "instance-store"),
        ("ami-0a1b2c3d4e5f60011", "no such image"),
        ("ami-0a1b2c3d4e5f60013", "failed"),
        ("ami-0a1b2c3d4e5f60014", "encrypted"),
        (SHARED, OTHER_ACCOUNT),
        (windows, "Windows"),
        (large, "1 TiB"),
    ] {
        let mut turn = good.clone();
        turn["subject"]["imageId"] = json!(image);
        refused(&stage, "start-export", turn, &[image, part]).await;
    }
}

/// Case 69: what only EC2 knows is refused as well, in its words.
#[tokio::test]
async fn a_refusal_of_ec2_says_why() {
    let stage = Stage::demo();
    let turn = leg(&stage, IMAGE, json!({})).await;
    let message = Some("The image contains third-party software".to_owned());
    stage.fault("ExportImage", Effect::Refuse { code: "NotExportable".into(), message, status: None });
    let error = call(&stage, "start-export", turn).await.unwrap_err();
    assert_eq!(error.name.as_str(), "InvalidInput");
    assert!(error.to_string().contains("third-party software") && error.to_string().contains(IMAGE), "{error}");
}

#[tokio::test]
async fn a_bucket_that_cannot_be_exported_to_is_refused() {
    let stage = Stage::demo();
    let turn = leg(&stage, IMAGE, json!({})).await;
    for (bucket, part) in [("ami-backup-demo-elsewhere", "eu-west-1"), ("no-such-bucket-anywhere", "no bucket")] {
        let aws = stage.aws_with("start-export", |name| (name == "EXPORT_BUCKET").then(|| bucket.to_owned()));
        let error = call_with(&aws, stage.now(), "start-export", turn.clone()).await.unwrap_err();
        assert_eq!(error.name.as_str(), "InvalidInput", "{bucket}");
        assert!(error.to_string().contains(bucket) && error.to_string().contains(part), "{error}");
    }
    assert_eq!(asked_to_create(&stage), 0);
}

#[tokio::test]
async fn a_completed_task_without_its_file_is_not_done() {
    let stage = Stage::demo();
    let turn = good(&stage, "start-export", leg(&stage, IMAGE, json!({})).await).await;
    stage.pass(60);
    stage.simulator.settle().await;
    let key = format!("exports/{}.vmdk", turn["subject"]["taskId"].as_str().unwrap());
    stage.objects.remove(EXPORTS, &key);
    assert_eq!(error_name(&call(&stage, "check-export", turn.clone()).await), Some("NotYetVisible"));
    stage.objects.insert(EXPORTS, &key, Default::default()).unwrap();
    assert_eq!(error_name(&call(&stage, "check-export", turn).await), Some("ResourceFailed"));
}

#[tokio::test]
async fn a_task_that_is_not_shown_is_awaited_for_a_while_and_then_given_up() {
    let stage = Stage::demo();
    let mut turn = good(&stage, "start-export", leg(&stage, IMAGE, json!({})).await).await;
    turn["subject"]["taskId"] = json!("export-ami-0a1b2c3d4e5f6eeee");
    assert_eq!(error_name(&call(&stage, "check-export", turn.clone()).await), Some("NotYetVisible"));
    stage.pass(11);
    assert_eq!(error_name(&call(&stage, "check-export", turn.clone()).await), Some("ResourceFailed"));
    turn["subject"].as_object_mut().unwrap().remove("taskId");
    refused(&stage, "check-export", turn, &["subject.taskId"]).await;
}
