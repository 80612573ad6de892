//! Owns what the steps of a clean-up do where EC2 answers in a way that no account brings about by itself.

use ami_backup_core::cleanup::batch::MOST_TRIES;

use crate::support::*;

async fn planned(stage: &Stage) -> Value {
    let input = json!({"run": "c", "retention": {"newest": 2}, "apply": true, "usageReports": false});
    let started = good(stage, "select-regions", json!({"input": input})).await;
    good(stage, "plan-cleanup", started["regions"][0].clone()).await
}

/// 63. An image goes before its snapshots. A snapshot that EC2 holds to be in use for a moment is tried again, a number
///     of times.
///
/// Case 18: right after its image has gone EC2 may hold a snapshot to be in use: it is tried again after a while, a number
/// of times, and never before its image.
#[tokio::test]
async fn a_snapshot_that_is_said_to_be_in_use_is_tried_again() {
    let stage = furnished();
    let turn = planned(&stage).await;
    always(&stage, "cleanup-snapshots", "DeleteSnapshot", refusal("InvalidSnapshot.InUse"));
    let mut turn = good(&stage, "cleanup-snapshots", turn).await;
    assert_eq!(turn["status"], "IN_PROGRESS");
    let gone = stage.calls("DeregisterImage");
    assert!(gone > 0 && stage.calls("DeleteSnapshot") > 0);
    let calls: Vec<String> = own_calls(&stage).map(|call| call.action).collect();
    let last_image = calls.iter().rposition(|action| action == "DeregisterImage");
    assert!(last_image < calls.iter().position(|action| action == "DeleteSnapshot"), "{calls:?}");
    stage.simulator.faults().clear();
    turn = good(&stage, "cleanup-snapshots", turn).await;
    assert_eq!((turn["status"].as_str(), stage.calls("DeregisterImage")), (Some("DONE"), gone));

    // For ever is too long: what is still in use is reported, and the run ends.
    let stage = furnished();
    let mut turn = planned(&stage).await;
    let started = good(
        &stage,
        "select-regions",
        json!({"input": {
            "run": "c", "retention": {"newest": 2}, "apply": true, "usageReports": false,
        }}),
    )
    .await["started"]
        .clone();
    always(&stage, "cleanup-snapshots", "DeleteSnapshot", refusal("InvalidSnapshot.InUse"));
    for _ in 0..MOST_TRIES {
        turn = good(&stage, "cleanup-snapshots", turn).await;
    }
    assert_eq!(turn["status"], "DONE");
    let ended = json!([{"region": HOME, "result": "OK"}]);
    let report = good(&stage, "report-cleanup", json!({"started": started, "ended": ended})).await;
    assert_eq!(report["verdict"], "PARTIAL");
    assert!(report["cause"].as_str().is_some_and(|cause| cause.contains("IN_USE")), "{report}");
}

/// 63. What EC2 refuses of one stops no other.
///
/// A refusal of one image keeps that image, and the others go.
#[tokio::test]
async fn one_image_that_is_refused_stops_no_other() {
    let stage = furnished();
    let turn = planned(&stage).await;
    stage.refuse("DeregisterImage", "OperationNotPermitted");
    let turn = good(&stage, "cleanup-snapshots", turn).await;
    assert_eq!((turn["status"].as_str(), stage.calls("DeregisterImage")), (Some("DONE"), 2));
}

/// 62. A plan that is being undone is not applied.
///
/// A plan that is being undone is not applied.
#[tokio::test]
async fn a_plan_that_is_undone_is_not_applied_again() {
    let stage = furnished();
    let turn = planned(&stage).await;
    good(&stage, "undo-cleanup", json!({"subject": {"input": {"run": "c"}}})).await;
    let refused = call(&stage, "cleanup-snapshots", turn).await;
    assert_eq!(error_name(&refused), Some("Conflict"));
    assert_eq!(stage.calls("DeregisterImage"), 0);
}

/// 65. Deprecating and disabling are taken back.
///
/// With stages an image goes step by step, and each step is taken back.
#[tokio::test]
async fn an_image_is_deprecated_or_disabled_and_that_is_taken_back() {
    let oldest = "ami-0a1b2c3d4e5f60035";
    for (run, stages) in [("d", json!({"deprecateDays": 100})), ("s", json!({"disableDays": 100}))] {
        let stage = furnished();
        let input = json!({
            "run": run, "retention": {"newest": 2}, "stages": stages, "apply": true, "usageReports": false,
        });
        let started = good(&stage, "select-regions", json!({"input": input})).await;
        let turn = good(&stage, "plan-cleanup", started["regions"][0].clone()).await;
        good(&stage, "cleanup-snapshots", turn).await;
        let seen = |stage: &Stage| {
            let image = stage.simulator.world().image(oldest).expect("it is there");
            (image.state, image.deprecate_at.is_some())
        };
        assert_eq!(seen(&stage), if run == "d" { ("available".into(), true) } else { ("disabled".into(), false) });
        assert_eq!(stage.calls("DeregisterImage"), 0);
        let mut turn = json!({"subject": {"input": {"run": run}}});
        while turn["status"] != "DONE" {
            turn = good(&stage, "undo-cleanup", turn).await;
        }
        assert_eq!(seen(&stage), ("available".into(), false));
        assert_eq!(turn["subject"]["undone"]["verdict"], "OK");
    }
}
