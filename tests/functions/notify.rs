//! Owns what notify-operator does.

use crate::support::*;

#[tokio::test]
async fn an_execution_that_ended_badly_is_told_with_its_cause() {
    let stage = Stage::demo();
    for status in ["FAILED", "TIMED_OUT", "ABORTED"] {
        let event = json!({
            "version": "0", "id": "315c1398-40ff-a850-213b-158f73e60175",
            "detail-type": "Step Functions Execution Status Change", "source": "aws.states",
            "account": ACCOUNT, "time": "2026-11-23T02:00:00Z", "region": HOME,
            "resources": ["arn:aws:states:us-east-1:000000000000:execution:Backup:e"],
            "detail": {
                "executionArn": "arn:aws:states:us-east-1:000000000000:execution:Backup:e",
                "stateMachineArn": "arn:aws:states:us-east-1:000000000000:stateMachine:Backup",
                "name": "e", "status": status, "startDate": 1_551_225_271_984_i64, "stopDate": null,
                "input": "{}", "output": null, "cause": "one leg failed", "error": "BackupPartial",
            },
        });
        let output = good(&stage, "notify-operator", event).await;
        assert_eq!(output["subject"], format!("ami-backup: {status} of Backup"));
        let notice = stage.simulator.notices().pop().unwrap();
        assert_eq!(notice.subject.as_deref(), output["subject"].as_str());
        assert!(notice.message.contains("one leg failed") && notice.message.contains("execution:Backup:e"));
        assert_eq!(notice.topic, format!("arn:aws:sns:us-east-1:{ACCOUNT}:notices"));
    }
}

/// Case 36.
#[tokio::test]
async fn a_run_that_found_nothing_is_told_with_the_place_of_its_report() {
    let stage = Stage::demo();
    let run = crate::driver::backup(&stage, json!({"tags": {"Backup": ["never"]}, "run": "r"})).await;
    assert_eq!(run.verdict(), "WARNING");
    good(&stage, "notify-operator", run.report.clone()).await;
    let notice = stage.simulator.notices().pop().unwrap();
    assert_eq!(notice.subject.as_deref(), Some("ami-backup: WARNING in run r"));
    assert!(notice.message.contains(run.report["report"]["key"].as_str().unwrap()), "{}", notice.message);
}

#[tokio::test]
async fn anything_else_is_refused_and_nothing_is_published() {
    let stage = Stage::demo();
    refused(&stage, "notify-operator", json!({}), &["detail-type", "verdict"]).await;
    refused(&stage, "notify-operator", json!({"detail-type": 1}), &["detail-type"]).await;
    assert!(stage.simulator.notices().is_empty());
}

#[tokio::test]
async fn a_deployment_without_a_topic_says_so() {
    let stage = Stage::demo();
    let aws = stage.aws_with("notify-operator", |name| (name == "NOTIFICATION_TOPIC_ARN").then(String::new));
    let answer = call_with(&aws, stage.now(), "notify-operator", json!({"verdict": "WARNING"})).await;
    assert_eq!(error_name(&answer), Some("Defect"));
    assert!(answer.unwrap_err().to_string().contains("NOTIFICATION_TOPIC_ARN"));
}
