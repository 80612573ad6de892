//! Owns what select-images does.

use ami_backup_simulator::faults::Effect;

use crate::support::*;

async fn select(stage: &Stage, input: Value) -> Answer {
    call(stage, "select-images", json!({"input": input, "executionName": "by-hand"})).await
}

fn sources(items: &[Value]) -> Vec<&str> {
    let id = |item: &'_ Value| item["source"]["instanceId"].is_string();
    items
        .iter()
        .map(|item| if id(item) { &item["source"]["instanceId"] } else { &item["source"]["imageId"] })
        .filter_map(Value::as_str)
        .collect()
}

#[tokio::test]
async fn what_is_selected_by_id_is_one_complete_item_each() {
    let stage = Stage::demo();
    let input = json!({"imageIds": [IMAGE], "instanceIds": [INSTANCE], "copyTo": ["eu-west-1"], "keepDays": 30});
    let selection = select(&stage, input).await.unwrap();
    assert_eq!((selection["status"].as_str(), selection["run"].as_str()), (Some("FOUND"), Some("by-hand")));
    assert_eq!(selection["count"], 2);
    let items = items_of(&stage, &selection).await;
    assert_eq!(sources(&items), [INSTANCE, IMAGE]);
    for (number, item) in items.iter().enumerate() {
        assert_eq!(item["item"], number);
        assert_eq!(item["run"]["expires"], "2026-12-23T02:00:00Z");
        assert_eq!(item["policy"]["copies"][0]["region"], "eu-west-1");
        assert_eq!(item["policy"]["reboot"], false);
    }
}

#[tokio::test]
async fn tags_select_instances_and_images_of_the_account() {
    let stage = Stage::with(|file| {
        file.accounts[0].instances[0].tags.insert("Team".into(), "platform".into());
        let mut gone = file.accounts[0].instances[0].clone();
        (gone.id, gone.state) = ("i-0a1b2c3d4e5f60099".into(), "terminated".into());
        gone.volumes.clear();
        file.accounts[0].instances.push(gone);
    });
    let both = items(&stage, json!({"tags": {"Backup": ["nightly", "weekly"]}, "run": "1"})).await;
    assert_eq!(sources(&both), [INSTANCE, IMAGE]);
    let every_tag = items(&stage, json!({"tags": {"Backup": ["nightly"], "Team": ["platform"]}, "run": "2"})).await;
    assert_eq!(sources(&every_tag), [INSTANCE, IMAGE]);
}

#[tokio::test]
async fn all_pages_are_read() {
    let stage = Stage::with(|file| {
        for number in 0..1_203 {
            let mut image = image_in(file, IMAGE).clone();
            image.id = format!("ami-{number:017x}");
            image.name = format!("one-of-many-{number}");
            image.volumes.clear();
            file.accounts[0].images.push(image);
            let mut instance = file.accounts[0].instances[0].clone();
            instance.id = format!("i-{number:017x}");
            instance.volumes.clear();
            file.accounts[0].instances.push(instance);
        }
    });
    let selection = select(&stage, json!({"tags": {"Backup": ["nightly"]}})).await.unwrap();
    assert_eq!(selection["count"], 2 * 1_204);
}

#[tokio::test]
async fn what_this_product_made_is_not_selected_by_tag() {
    let stage = Stage::with(|file| {
        image_in(file, IMAGE).tags.insert("ami-backup:managed".into(), "true".into());
    });
    assert_eq!(sources(&items(&stage, json!({"tags": {"Backup": ["nightly"]}, "run": "1"})).await), [INSTANCE]);
    let by_id = items(&stage, json!({"imageIds": [IMAGE], "run": "2"})).await;
    assert_eq!(sources(&by_id), [IMAGE], "a person may still ask for it");
}

/// Case 36.
#[tokio::test]
async fn nothing_that_matches_is_said_and_leaves_nothing_behind() {
    let stage = Stage::demo();
    let before = Things::now(&stage).await;
    let selection = select(&stage, json!({"tags": {"Backup": ["never"]}})).await.unwrap();
    assert_eq!((selection["status"].as_str(), selection["count"].as_u64()), (Some("NOTHING"), Some(0)));
    assert!(selection["items"].is_null());
    Things::now(&stage).await.expect(&before, "nothing selected");
}

#[tokio::test]
async fn the_same_run_again_does_the_same_work_whatever_the_tags_say_now() {
    let stage = Stage::demo();
    let input = json!({"tags": {"Backup": ["nightly"]}, "run": "r", "keepDays": 7});
    let first = items(&stage, input.clone()).await;
    stage.simulator.world().change_image(IMAGE, |image| image.tags.clear());
    stage.pass(60 * 24);
    let second = items(&stage, input).await;
    assert_eq!(sources(&second), [INSTANCE, IMAGE]);
    assert_eq!(second[0]["run"]["expires"], first[0]["run"]["expires"], "it expires when the rest of the run does");
    assert_ne!(second[0]["run"]["attempt"], first[0]["run"]["attempt"], "each start has its own report");
}

#[tokio::test]
async fn a_run_is_not_gone_on_with_under_other_input() {
    let stage = Stage::demo();
    items(&stage, json!({"imageIds": [IMAGE], "run": "r"})).await;
    let other = select(&stage, json!({"imageIds": [IMAGE], "run": "r", "copyTo": ["eu-west-1"]})).await;
    assert_eq!(error_name(&other), Some("Conflict"));
    assert!(other.unwrap_err().to_string().contains("choose another `run`"));
}

#[tokio::test]
async fn of_two_starts_at_once_the_first_one_selects() {
    let stage = Stage::demo();
    let input = json!({"tags": {"Backup": ["nightly"]}, "run": "r"});
    // The first start writes the run down between the other's look and its write.
    items(&stage, input.clone()).await;
    stage.fault_from(Some("select-images"), "GetObject", 1, refusal("NoSuchKey"));
    stage.simulator.world().change_image(IMAGE, |image| image.tags.clear());
    assert_eq!(sources(&items(&stage, input).await), [INSTANCE, IMAGE]);
}

/// 'Done when' 6.
#[tokio::test]
async fn bad_input_is_refused_with_its_path_and_nothing_is_changed() {
    let stage = Stage::demo();
    let image = json!([IMAGE]);
    let cases = [
        (json!({}), vec!["imageIds", "instanceIds", "tags"]),
        (json!({"imageIds": ["ami-12"]}), vec!["imageIds[0]", "ami-12", "hexadecimal"]),
        (json!({"imageIds": [IMAGE, INSTANCE]}), vec!["imageIds[1]", INSTANCE]),
        (json!({"instanceIds": [IMAGE]}), vec!["instanceIds[0]"]),
        (json!({"imageIds": image, "copyTO": ["eu-west-1"]}), vec!["copyTO", "copyTo"]),
        (json!({"imageIds": image, "copyTo": ["eu-west-1", "ap-east-1"]}), vec!["copyTo[1]", "ap-east-1", "enabled"]),
        (json!({"imageIds": image, "copyTo": ["xx-north-1"]}), vec!["copyTo[0]", "xx-north-1"]),
        (json!({"imageIds": image, "copyTo": [HOME]}), vec!["copyTo[0]", HOME]),
        (json!({"imageIds": image, "bucket": "ami-backup-demo-elsewhere"}), vec!["bucket", "eu-west-1", HOME]),
        (json!({"imageIds": image, "bucket": "no-such-bucket-anywhere"}), vec!["bucket", "no-such-bucket-anywhere"]),
        (json!({"imageIds": image, "name": "n".repeat(110)}), vec!["name", "110"]),
        (json!({"imageIds": image, "name": "n#1"}), vec!["name", "n#1"]),
        (json!({"imageIds": image, "run": ""}), vec!["run"]),
        (json!({"imageIds": image, "storePrefix": "runs/"}), vec!["storePrefix", "runs/"]),
        (json!({"imageIds": image, "export": {"format": "OVA"}}), vec!["export.format", "OVA"]),
        (json!({"imageIds": image, "store": "yes"}), vec!["store"]),
        (json!({"tags": {"Backup": "nightly"}}), vec!["tags.Backup"]),
        (json!([null, null, {"Backup": ["nightly"]}]), vec!["the input", "must be an object"]),
        (json!({"imageIds": image, "export": ["VMDK"]}), vec!["export", "must be an object"]),
        (json!({"imageIds": image, "keepDays": 9_999_999}), vec!["keepDays", "9999999", "never"]),
        (json!({"imageIds": image, "keepDays": "for ever"}), vec!["keepDays", "for ever", "`never`"]),
        (json!({"imageIds": image, "keepDays": 0}), vec!["keepDays", "at least 1"]),
        (json!({"imageIds": image, "bucket": "192.168.5.4"}), vec!["bucket", "192.168.5.4", "IP address"]),
        (json!({"imageIds": image, "deadlineMinutes": u32::MAX}), vec!["deadlineMinutes", "525600"]),
        (
            json!({"tags": {"Backup": ["nightly"]}, "scheduledTime": "<aws.scheduler.scheduled-time>"}),
            vec!["scheduledTime", "<aws.scheduler.scheduled-time>"],
        ),
    ];
    for (input, parts) in cases {
        refused(&stage, "select-images", json!({"input": input, "executionName": "e"}), &parts).await;
    }
    refused(&stage, "select-images", json!({"input": {"imageIds": [IMAGE]}, "exeName": "e"}), &["exeName"]).await;
    refused(&stage, "select-images", json!({"input": {"imageIds": [IMAGE]}}), &["run"]).await;
}

/// Case 48: nobody is there at night to correct the input, and a disabled Region costs its own copies.
#[tokio::test]
async fn a_disabled_region_stops_a_person_and_not_a_schedule() {
    let stage = Stage::demo();
    let input = json!({
        "imageIds": [IMAGE], "copyTo": ["eu-west-1", "ap-east-1"], "scheduledTime": "2026-11-23T02:00:00Z",
    });
    let selection = select(&stage, input).await.unwrap();
    assert_eq!(selection["run"], "2026-11-23T02:00:00Z");
    assert_eq!(selection["policy"]["copies"].as_array().map(Vec::len), Some(2));
}

/// A listing that failed half-way must not look like a small account.
#[tokio::test]
async fn a_listing_that_fails_selects_nothing() {
    let stage = Stage::demo();
    let before = Things::now(&stage).await;
    for action in ["DescribeImages", "DescribeInstances"] {
        always(&stage, "select-images", action, Effect::Cut);
        let answer = select(&stage, json!({"tags": {"Backup": ["nightly"]}})).await;
        assert_eq!(error_name(&answer), Some("Transient"), "{action}");
        Things::now(&stage).await.expect(&before, action);
    }
}

/// What a person wants to keep for ever no clean-up removes.
#[tokio::test]
async fn a_run_that_is_kept_for_ever_says_never_on_all_it_makes() {
    let stage = Stage::demo();
    let input = json!({"imageIds": [IMAGE], "run": "r", "keepDays": "never"});
    for _ in 0..2 {
        assert_eq!(items(&stage, input.clone()).await[0]["run"]["expires"], "never");
    }
}

/// 71. What is read back is held to what came in.
#[tokio::test]
async fn a_run_that_was_written_down_and_changed_is_a_conflict() {
    let digest = ami_backup_core::naming::run_digest("r");
    let key = format!("runs/{digest}/run.json");
    let input = json!({"imageIds": [IMAGE], "run": "r", "keepDays": 7});
    type Change = fn(&mut Value);
    let changes: [(Change, &str); 5] = [
        (|run| run["expires"] = json!("2999-01-01T00:00:00Z"), "expires"),
        (|run| run["expires"] = json!("by-policy"), "expires"),
        (|run| run["sources"] = json!([{}]), "sources[0]"),
        (|run| run["sources"] = json!([["i-0a1b2c3d4e5f60001"]]), "sources[0]"),
        (|run| run["more"] = json!(1), "more"),
    ];
    for (change, part) in changes {
        let stage = Stage::demo();
        items(&stage, input.clone()).await;
        let mut run = document(&stage, &key).await;
        change(&mut run);
        assert!(stage.objects.damage(BUCKET, &key, |bytes| *bytes = run.to_string().into_bytes()));
        let error = select(&stage, input.clone()).await.unwrap_err();
        assert_eq!(error.name.as_str(), "Conflict", "{error}");
        assert!(error.to_string().contains(&key) && error.to_string().contains(part), "{error}");
    }
}
