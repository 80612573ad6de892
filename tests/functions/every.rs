//! Owns the rules that hold for every function: each call that it makes is made to fail in every way,
//! and whichever call it was, the error has one name, and trying again ends where it would have ended.

use std::collections::BTreeSet;

use ami_backup_simulator::faults::Effect;
use ami_backup_tests::functions;

use crate::{driver, support::*};

/// A function and a situation in which it has something to do.
pub const SITUATIONS: &[(&str, &str)] = &[
    ("select-images", "by id and tag"),
    ("create-image", "new"),
    ("check-image", "pending"),
    ("record-backup", "open"),
    ("record-backup", "complete"),
    ("record-backup", "failed"),
    ("start-store", "new"),
    ("check-store", "in progress"),
    ("check-store", "completed"),
    ("copy-region", "new"),
    ("finish-copy", "available"),
    ("start-export", "new"),
    ("check-export", "active"),
    ("check-export", "completed"),
    ("report-backup", "all there"),
    ("find-backup", "by image"),
    ("find-backup", "by object"),
    ("find-backup", "from snapshots"),
    ("start-restore", "new"),
    ("register-image", "new"),
    ("finish-restore", "available"),
    ("notify-operator", "report"),
    ("select-regions", "new"),
    ("plan-cleanup", "new"),
    ("plan-cleanup", "made"),
    ("ask-approval", "asks"),
    ("cleanup-snapshots", "new"),
    ("report-cleanup", "applied"),
    ("undo-cleanup", "all back"),
];

/// What a clean-up of the demo's account is asked for.
fn cleanup() -> Value {
    json!({"input": {"run": "c", "retention": {"newest": 2}, "apply": true, "usageReports": false}})
}

/// Calls about one image or one snapshot, which stays if they are refused for good.
fn keeps_one_thing(function: &str, action: &str) -> bool {
    let looks = ["DescribeImageReferences", "DescribeImageAttribute"];
    let changes = ["CreateTags", "DeregisterImage", "DeleteSnapshot", "DescribeSnapshotAttribute"];
    match function {
        "plan-cleanup" => looks.contains(&action),
        "cleanup-snapshots" => looks.contains(&action) || changes.contains(&action),
        _ => false,
    }
}

/// A world in which the function has something to do, and its input.
pub async fn prepared(function: &str, situation: &str) -> (Stage, Value) {
    prepared_on(furnished(), function, situation).await
}

async fn prepared_on(stage: Stage, function: &str, situation: &str) -> (Stage, Value) {
    let image = json!({"imageIds": [IMAGE], "copyTo": ["eu-west-1"], "export": {"format": "VMDK"}, "run": "r"});
    let instance = json!({"instanceIds": [INSTANCE], "run": "r"});
    let input = match (function, situation) {
        ("select-images", _) => json!({"executionName": "e", "input": {
            "imageIds": [IMAGE], "tags": {"Backup": ["nightly"]}, "copyTo": ["eu-west-1"],
        }}),
        ("create-image", _) => json!({"subject": items(&stage, instance).await[0]}),
        ("check-image", _) => {
            let item = items(&stage, instance).await[0].clone();
            good(&stage, "create-image", json!({"subject": item})).await
        }
        ("record-backup", "open") => json!({"phase": "OPEN", "subject": items(&stage, image).await[0]}),
        ("record-backup", "failed") => json!({
            "phase": "FAILED", "subject": items(&stage, image).await[0], "failure": {"Error": "ResourceFailed"},
        }),
        ("record-backup", _) => {
            let item = items(&stage, json!({"imageIds": [IMAGE], "run": "r"})).await[0].clone();
            let opened = good(&stage, "record-backup", json!({"phase": "OPEN", "subject": item})).await;
            let turn = done(&stage, "start-store", "check-store", opened["legs"]["store"].clone()).await;
            let outcomes = json!([{"leg": "store", "result": "OK", "turn": turn}]);
            json!({"phase": "COMPLETE", "subject": item, "outcomes": outcomes})
        }
        ("start-store", _) => legs(&stage, image).await["store"].clone(),
        ("check-store", situation) => {
            let turn = good(&stage, "start-store", legs(&stage, image).await["store"].clone()).await;
            stage.pass(if situation == "completed" { 60 } else { 0 });
            turn
        }
        ("copy-region", _) => legs(&stage, image).await["copies"][0].clone(),
        ("finish-copy", _) => {
            done(&stage, "copy-region", "check-image", legs(&stage, image).await["copies"][0].clone()).await
        }
        ("start-export", _) => legs(&stage, image).await["export"].clone(),
        ("select-regions", _) => cleanup(),
        ("plan-cleanup" | "ask-approval" | "cleanup-snapshots" | "report-cleanup" | "undo-cleanup", situation) => {
            in_a_cleanup(&stage, function, situation).await
        }
        ("check-export", situation) => {
            let turn = good(&stage, "start-export", legs(&stage, image).await["export"].clone()).await;
            stage.pass(if situation == "completed" { 60 } else { 0 });
            turn
        }
        (function, _) => return after_a_backup(stage, function, situation).await,
    };
    (stage, input)
}

/// The same for the steps of a clean-up.
async fn in_a_cleanup(stage: &Stage, function: &str, situation: &str) -> Value {
    let started = good(stage, "select-regions", cleanup()).await;
    let turn = started["regions"][0].clone();
    if (function, situation) == ("plan-cleanup", "new") {
        return turn;
    }
    let planned = good(stage, "plan-cleanup", turn.clone()).await;
    match function {
        "plan-cleanup" => turn,
        "ask-approval" => json!({"token": "t", "turn": planned}),
        "cleanup-snapshots" => planned,
        "undo-cleanup" => {
            good(stage, "cleanup-snapshots", planned).await;
            let mut turn = json!({"subject": {"input": {"run": "c"}}});
            // Each turn does what the one before has made possible, so that none is like another but the last: the
            // machine is tried in all of them.
            while turn["status"] != "DONE" {
                turn = good(stage, "undo-cleanup", turn).await;
            }
            turn
        }
        _ => {
            good(stage, "cleanup-snapshots", planned).await;
            json!({"started": started["started"], "ended": [{"region": HOME, "result": "OK"}]})
        }
    }
}

/// The same for what comes after a backup.
async fn after_a_backup(stage: Stage, function: &str, situation: &str) -> (Stage, Value) {
    let backed_up = json!({"imageIds": [IMAGE], "run": "r"});
    driver::backup(&stage, backed_up.clone()).await;
    let input = match (function, situation) {
        ("report-backup", _) => {
            let selection = good(&stage, "select-images", json!({"input": backed_up})).await;
            return (stage, selection);
        }
        ("notify-operator", _) => return (stage, json!({"verdict": "WARNING", "run": "r", "summary": "nothing"})),
        ("find-backup", "by object") => {
            json!({"bucket": BUCKET, "key": format!("{IMAGE}.bin"), "name": "given", "run": "back"})
        }
        ("find-backup", "from snapshots") | ("register-image", _) => {
            json!({"imageId": IMAGE, "fromSnapshots": true, "run": "back"})
        }
        _ => json!({"imageId": IMAGE, "run": "back"}),
    };
    let asked = json!({"input": input, "executionName": "e"});
    if function == "find-backup" {
        return (stage, asked);
    }
    let turn = good(&stage, "find-backup", asked).await["turn"].clone();
    match function {
        "finish-restore" => {
            let turn = done(&stage, "start-restore", "check-image", turn).await;
            (stage, turn)
        }
        _ => (stage, turn),
    }
}

/// The calls that the function makes in a situation: service and action, each once.
async fn calls_of(function: &str, situation: &str) -> BTreeSet<(String, String)> {
    let (stage, input) = prepared(function, situation).await;
    stage.simulator.calls().clear();
    good(&stage, function, input).await;
    let made: BTreeSet<_> = own_calls(&stage).map(|call| (call.service, call.action)).collect();
    assert!(!made.is_empty(), "{function} {situation} calls nobody");
    made
}

/// Error codes that any call of a service may meet, and what the step is called that meets them.
fn codes(service: &str, action: &str) -> Vec<(&'static str, &'static str)> {
    match service {
        // An answer to HEAD has no body to hold a code: only the status is left, and 503 is either.
        "s3" if action.starts_with("Head") => {
            vec![("SlowDown", "Transient"), ("InternalError", "Transient"), ("AccessDenied", "AccessDenied")]
        }
        "s3" => vec![
            ("SlowDown", "Throttled"),
            ("InternalError", "Transient"),
            ("ServiceUnavailable", "Transient"),
            ("AccessDenied", "AccessDenied"),
        ],
        "sns" => {
            vec![("Throttling", "Throttled"), ("InternalError", "Transient"), ("AuthorizationError", "AccessDenied")]
        }
        _ => vec![
            ("RequestLimitExceeded", "Throttled"),
            ("InternalError", "Transient"),
            ("Unavailable", "Transient"),
            ("UnauthorizedOperation", "AccessDenied"),
            ("AuthFailure", "AccessDenied"),
        ],
    }
}

#[test]
fn every_function_has_a_situation() {
    let with_one: BTreeSet<&str> = SITUATIONS.iter().map(|(function, _)| *function).collect();
    assert_eq!(with_one, functions::ALL.iter().map(|function| function.name).collect());
}

#[tokio::test]
async fn every_refusal_of_every_call_has_one_name() {
    for (function, situation) in SITUATIONS {
        for (service, action) in calls_of(function, situation).await {
            // A report is written even if it may not look for what was left: see report.rs.
            if *function == "report-backup" && (service == "ec2" || action == "HeadObject") {
                continue;
            }
            for (code, name) in codes(&service, &action) {
                if name == "AccessDenied" && keeps_one_thing(function, &action) {
                    continue;
                }
                let (stage, input) = prepared(function, situation).await;
                let asked = created(&stage);
                always(&stage, function, &action, refusal(code));
                let answer = call(&stage, function, input).await;
                assert_eq!(error_name(&answer), Some(name), "{function} {situation}: {action} {code}: {answer:?}");
                let text = answer.err().map(|error| error.to_string()).unwrap_or_default();
                assert!(text.contains(&action), "{function} {situation}: {action} is missing from {text}");
                assert_eq!(created(&stage), asked, "{function} {situation}: {action} {code}");
            }
        }
    }
}

/// Codes that only a creating call meets.
#[tokio::test]
async fn a_refusal_to_create_has_one_name_and_leaves_nothing() {
    const CODES: &[(&str, &str)] = &[
        ("InvalidParameterValue", "InvalidInput"),
        ("TagPolicyViolation", "InvalidInput"),
        ("OptInRequired", "AccessDenied"),
        ("Blocked", "AccessDenied"),
        ("PendingVerification", "AccessDenied"),
        ("BandwidthLimitExceeded", "Throttled"),
        ("ServerInternal", "Transient"),
        ("RetryableError", "Transient"),
    ];
    for (function, situation) in SITUATIONS {
        let creating = calls_of(function, situation).await.into_iter().find(|(_, a)| CREATING.contains(&a.as_str()));
        let Some((_, action)) = creating else { continue };
        for (code, name) in CODES {
            let (stage, input) = prepared(function, situation).await;
            let before = Things::now(&stage).await;
            always(&stage, function, &action, refusal(code));
            let answer = call(&stage, function, input).await;
            assert_eq!(error_name(&answer), Some(*name), "{function}: {code}");
            assert!(answer.unwrap_err().to_string().contains(code), "{function}: {code}");
            Things::now(&stage).await.expect(&before, &format!("{function}: {code}"));
        }
    }
}

/// Not every part of EC2 knows at once what another part shows.
#[tokio::test]
async fn what_was_seen_a_moment_ago_and_is_not_found_is_tried_again() {
    for (function, situation, action, code) in [
        ("create-image", "new", "CreateImage", "InvalidInstanceID.NotFound"),
        ("start-store", "new", "CreateStoreImageTask", "InvalidAMIID.NotFound"),
        ("copy-region", "new", "CopyImage", "InvalidAMIID.NotFound"),
        ("start-export", "new", "ExportImage", "InvalidAMIID.Unavailable"),
        ("record-backup", "open", "DescribeImageAttribute", "InvalidAMIID.NotFound"),
        ("finish-copy", "available", "DescribeImageAttribute", "InvalidAMIID.NotFound"),
        ("finish-copy", "available", "ModifyImageAttribute", "InvalidAMIID.NotFound"),
        ("finish-copy", "available", "EnableImageDeprecation", "InvalidAMIID.NotFound"),
        ("finish-restore", "available", "DescribeImageAttribute", "InvalidAMIID.NotFound"),
        ("finish-restore", "available", "ModifyImageAttribute", "InvalidAMIID.NotFound"),
    ] {
        let (stage, input) = prepared(function, situation).await;
        always(&stage, function, action, refusal(code));
        let answer = call(&stage, function, input.clone()).await;
        assert_eq!(error_name(&answer), Some("NotYetVisible"), "{function}: {action} {answer:?}");
        stage.simulator.faults().clear();
        good(&stage, function, input).await;
    }
}

/// Tries the function once under a fault on each of its calls, then again without, and compares the
/// world with one in which nothing went wrong.
async fn ends_where_it_would_have(effect: Effect) {
    for (function, situation) in SITUATIONS {
        let (stage, input) = prepared(function, situation).await;
        persist(&stage, function, input).await.unwrap_or_else(|error| panic!("{function} {situation}: {error}"));
        let made = created(&stage);
        let expected = Things::at_the_end_of(&stage).await;
        for (_, action) in calls_of(function, situation).await {
            let case = format!("{function} {situation}: {effect:?} of {action}");
            let (stage, input) = prepared(function, situation).await;
            always(&stage, function, &action, effect.clone());
            let answer = call(&stage, function, input.clone()).await;
            assert_eq!(error_name(&answer), Some("Transient"), "{case}: {answer:?}");
            stage.simulator.faults().clear();
            persist(&stage, function, input).await.unwrap_or_else(|error| panic!("{case}: {error}"));
            Things::at_the_end_of(&stage).await.expect(&expected, &case);
            assert_eq!(created(&stage), made, "{case}");
        }
    }
}

#[tokio::test]
async fn a_connection_that_is_cut_before_the_effect_changes_nothing_in_the_end() {
    ends_where_it_would_have(Effect::Cut).await;
}

/// Case 39.
#[tokio::test]
async fn a_reply_that_is_lost_after_the_effect_changes_nothing_in_the_end() {
    ends_where_it_would_have(Effect::HoldReply).await;
}

#[tokio::test]
async fn a_function_that_is_called_twice_makes_nothing_twice() {
    for (function, situation) in SITUATIONS {
        let (stage, input) = prepared(function, situation).await;
        good(&stage, function, input).await;
        let made = created(&stage);
        let expected = Things::at_the_end_of(&stage).await;

        let (stage, input) = prepared(function, situation).await;
        good(&stage, function, input.clone()).await;
        good(&stage, function, input.clone()).await;
        assert_eq!(created(&stage), made, "{function} {situation}");
        stage.pass(60);
        good(&stage, function, input).await;
        assert_eq!(created(&stage), made, "{function} {situation}, an hour later");
        Things::at_the_end_of(&stage).await.expect(&expected, &format!("{function} {situation}"));
    }
}

/// EC2 may not show for a while what it has just made.
#[tokio::test]
async fn a_lost_reply_makes_nothing_twice_while_ec2_does_not_show_what_it_made() {
    for (function, situation) in SITUATIONS {
        let creating = calls_of(function, situation).await.into_iter().find(|(_, a)| CREATING.contains(&a.as_str()));
        let Some((_, action)) = creating else { continue };
        let slow = furnished_with(|settings| settings.consistency_delay_ms = 40_000);
        let (stage, input) = prepared_on(slow, function, situation).await;
        let made = created(&stage);
        always(&stage, function, &action, Effect::HoldReply);
        let answer = call(&stage, function, input.clone()).await;
        assert_eq!(error_name(&answer), Some("Transient"), "{function}: {answer:?}");
        stage.simulator.faults().clear();
        persist(&stage, function, input).await.unwrap_or_else(|error| panic!("{function}: {error}"));
        assert_eq!(created(&stage), made + 1, "{function}");
    }
}

/// Case 47: refused for quota means later, and an error only once the deadline has passed.
#[tokio::test]
async fn a_start_that_is_refused_for_quota_is_deferred_until_its_deadline() {
    const QUOTA: &[&str] = &["ResourceLimitExceeded", "SnapshotLimitExceeded", "PendingSnapshotLimitExceeded"];
    for (function, situation) in SITUATIONS {
        let creating = calls_of(function, situation).await.into_iter().find(|(_, a)| CREATING.contains(&a.as_str()));
        let Some((_, action)) = creating else { continue };
        for code in QUOTA {
            let (stage, input) = prepared(function, situation).await;
            let made = created(&stage);
            always(&stage, function, &action, refusal(code));
            let deferred = good(&stage, function, input).await;
            assert_eq!(deferred["status"], "DEFERRED", "{function} {code}");
            assert!(deferred["waitSeconds"].as_u64() > Some(0), "{function} {code}");
            assert!(deferred["lastSeen"].as_str().is_some_and(|text| text.contains(code)), "{function} {code}");
            assert_eq!(created(&stage), made, "{function} {code}");

            stage.pass(60 * 25);
            let late = call(&stage, function, deferred.clone()).await;
            assert_eq!(error_name(&late), Some("QuotaExceeded"), "{function} {code}");

            // Nobody would wait for what is made after the deadline.
            stage.simulator.faults().clear();
            let late = call(&stage, function, deferred).await;
            assert_eq!(error_name(&late), Some("QuotaExceeded"), "{function} {code}");
            assert_eq!(created(&stage), made, "{function} {code}");
        }
    }
}
