//! Owns what check-image does: one look at an image in any Region.

use crate::support::*;

fn waiting(id: &str, region: &str) -> Value {
    json!({"subject": {"awaited": {"imageId": id, "region": region}, "anything": {"else": 1}}})
}

#[tokio::test]
async fn an_available_image_is_done_and_what_else_the_subject_carries_goes_through() {
    let stage = Stage::demo();
    let turn = good(&stage, "check-image", waiting(IMAGE, HOME)).await;
    assert_eq!((turn["status"].as_str(), turn["lastSeen"].as_str()), (Some("DONE"), Some("available")));
    assert_eq!(turn["subject"]["anything"]["else"], 1);
}

#[tokio::test]
async fn a_pending_image_is_waited_for_with_its_progress() {
    let stage = furnished_with(|settings| settings.image_mib_per_second = 1);
    let item = items(&stage, json!({"instanceIds": [INSTANCE]})).await[0].clone();
    let started = good(&stage, "create-image", json!({"subject": item})).await;
    stage.pass(30);
    let turn = good(&stage, "check-image", started).await;
    assert_eq!(turn["status"], "IN_PROGRESS");
    assert_eq!(turn["polls"], 2);
    let seen = turn["lastSeen"].as_str().unwrap();
    assert!(seen.starts_with("pending ") && seen.ends_with(" %"), "{seen}");
}

#[tokio::test]
async fn a_state_from_which_there_is_no_way_back_is_a_failure_with_its_reason() {
    for state in ["failed", "error", "invalid", "deregistered", "disabled"] {
        let stage = Stage::demo();
        stage.simulator.world().change_image(IMAGE, |image| {
            image.state = state.into();
            image.state_reason = Some(("Client.InternalError".into(), "the snapshot broke".into()));
        });
        let error = call(&stage, "check-image", waiting(IMAGE, HOME)).await.unwrap_err();
        assert_eq!(error.name.as_str(), "ResourceFailed", "{state}");
        let text = error.to_string();
        let reason = if state == "disabled" { "disabled" } else { "the snapshot broke" };
        assert!([IMAGE, HOME, reason].iter().all(|part| text.contains(part)), "{text}");
        assert!(text.contains("left behind"), "{text}");
    }
}

#[tokio::test]
async fn an_image_that_is_not_shown_is_awaited_for_a_while_and_then_given_up() {
    let stage = Stage::demo();
    let unknown = waiting("ami-0a1b2c3d4e5f6abcd", "eu-west-1");
    let answer = call(&stage, "check-image", unknown.clone()).await;
    assert_eq!(error_name(&answer), Some("NotYetVisible"));
    let mut begun = unknown;
    begun["firstTriedAt"] = json!(stage.now().to_string());
    stage.pass(11);
    let error = call(&stage, "check-image", begun).await.unwrap_err();
    assert_eq!(error.name.as_str(), "ResourceFailed");
    assert!(error.to_string().contains("eu-west-1"), "{error}");
}

/// Case 45: every wait is bounded, and the error says how far it came.
#[tokio::test]
async fn a_wait_ends_at_its_deadline_with_the_last_thing_seen() {
    let stage = furnished_with(|settings| settings.image_mib_per_second = 1);
    let item = items(&stage, json!({"instanceIds": [INSTANCE], "deadlineMinutes": 20})).await[0].clone();
    let (turn, error) = until_done(&stage, "create-image", "check-image", json!({"subject": item})).await.unwrap_err();
    assert_eq!(error.name.as_str(), "DeadlineExceeded");
    assert!(error.to_string().contains(turn["lastSeen"].as_str().unwrap()), "{error}");
    assert!(error.to_string().contains('%') && error.to_string().contains("deadlineMinutes"), "{error}");
    let id = turn["subject"]["awaited"]["imageId"].as_str().unwrap();
    assert!(error.to_string().contains(id), "{error} does not name {id}");
    assert!(error.to_string().contains(HOME), "{error}");
}

#[tokio::test]
async fn a_subject_without_an_image_is_refused() {
    let stage = Stage::demo();
    refused(&stage, "check-image", json!({"subject": {}}), &["awaited"]).await;
    refused(&stage, "check-image", waiting("ami-1", HOME), &["subject", "ami-1"]).await;
    let mut misspelt = waiting(IMAGE, HOME);
    misspelt["statuss"] = json!("DONE");
    refused(&stage, "check-image", misspelt, &["statuss"]).await;
}
