//! Owns what functions do with listings that are odd, empty or not there, and with reports that came to nothing.

use ami_backup_simulator::faults::Effect;

use crate::support::*;

/// The plan's turn in a new start of a run.
async fn started(stage: &Stage) -> Value {
    stage.pass(1);
    let input = json!({"run": "c", "retention": {"newest": 2}});
    good(stage, "select-regions", json!({"input": input})).await["regions"][0].clone()
}

/// What a start of a run comes to once no report is being made any more: whether the plan is partial.
async fn is_partial(stage: &Stage) -> bool {
    let mut turn = started(stage).await;
    while turn["status"] != "DONE" {
        turn = good(stage, "plan-cleanup", turn).await;
        stage.pass(2);
    }
    let prefix = turn["subject"]["plan"]["prefix"].as_str().expect("the place of the plan").to_owned();
    text(stage, BUCKET, &format!("{prefix}plan.txt")).await.contains("PARTIAL")
}

/// 69. A report on the usage of an image that is neither available nor pending is asked for again by the next start of
///     the run.
#[tokio::test]
async fn a_usage_report_that_came_to_nothing_is_asked_for_again() {
    let stage = furnished();
    let fails = Effect::FailTask { reason: "no luck".into() };
    always(&stage, "plan-cleanup", "CreateImageUsageReport", fails);
    assert!(is_partial(&stage).await);
    let asked = stage.calls("CreateImageUsageReport");
    stage.simulator.faults().clear();
    assert!(asked > 0 && !is_partial(&stage).await);
    assert_eq!(stage.calls("CreateImageUsageReport"), 2 * asked);
    // What is available is used again.
    let more = json!({"run": "d", "retention": {"newest": 2}});
    let turn = good(&stage, "select-regions", json!({"input": more})).await["regions"][0].clone();
    assert_eq!(good(&stage, "plan-cleanup", turn).await["status"], "DONE");
    assert_eq!(stage.calls("CreateImageUsageReport"), 2 * asked);
}

/// 69. A row of a listing that is odd never fails the listing: what it could concern stays, and it is noted.
///
/// A kernel that carries the tag by which images are selected is not backed up, and stops no backup of the others.
#[tokio::test]
async fn a_kernel_with_the_tag_stops_no_backup() {
    let stage = Stage::with(|file| {
        let mut kernel = image_in(file, IMAGE).clone();
        kernel.id = "aki-0a1b2c3d".into();
        kernel.volumes.clear();
        file.accounts[0].images.push(kernel);
    });
    let found = items(&stage, json!({"tags": {"Backup": ["nightly"], "Team": ["platform"]}})).await;
    let images: Vec<_> = found.iter().filter_map(|item| item["source"]["imageId"].as_str()).collect();
    assert_eq!(images, [IMAGE]);
}

/// 69. A page that is empty and has a token is no end of a listing. What EC2 does not find is not there, and no failure.
#[tokio::test]
async fn an_image_that_was_never_stored_has_no_tasks_whatever_ec2_answers() {
    let stage = Stage::with(|file| {
        file.settings.choices.empty_first_page = true;
        file.settings.choices.never_stored_code = Some("InvalidAMIID.NotFound".into());
    });
    let store = legs(&stage, json!({"imageIds": [IMAGE]})).await["store"].clone();
    let turn = done(&stage, "start-store", "check-store", store).await;
    assert_eq!(turn["lastSeen"], "present");
}
