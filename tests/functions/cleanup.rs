//! Owns what the steps of a clean-up do where EC2 answers in a way that no account brings about by itself.

use std::collections::BTreeMap;

use ami_backup_core::cleanup::batch::MOST_TRIES;
use ami_backup_simulator::{faults::Effect, objects::StoredObject};
use ami_backup_tests::furnish;

use crate::support::*;

/// The oldest backup of the demo, which goes under every policy here, and its snapshots.
const OLDEST: &str = "ami-0a1b2c3d4e5f60035";
const ITS_SNAPSHOTS: [&str; 2] = ["snap-0a1b2c3d4e5f60035", "snap-0a1b2c3d4e5f60036"];
/// A snapshot of the demo whose image is gone.
const ORPHAN: &str = "snap-0a1b2c3d4e5f60037";

/// A start of a run.
async fn started(stage: &Stage, run: &str, more: Value) -> Value {
    let mut input = json!({"run": run, "retention": {"newest": 2}, "apply": true, "usageReports": false});
    for (field, value) in more.as_object().expect("fields") {
        input[field] = value.clone();
    }
    good(stage, "select-regions", json!({"input": input})).await
}

async fn planned_as(stage: &Stage, run: &str, more: Value) -> Value {
    let started = started(stage, run, more).await;
    good(stage, "plan-cleanup", started["regions"][0].clone()).await
}

async fn planned(stage: &Stage) -> Value {
    planned_as(stage, "c", json!({})).await
}

/// Applies a plan to its end.
async fn applied(stage: &Stage, mut turn: Value) -> Value {
    loop {
        turn = good(stage, "cleanup-snapshots", turn).await;
        if turn["status"] == "DONE" {
            return turn;
        }
    }
}

fn prefix(turn: &Value) -> &str {
    turn["subject"]["plan"]["prefix"].as_str().expect("a plan")
}

/// The lines of a document of a plan by id: action or result, and the codes of the reasons.
async fn lines(stage: &Stage, key: &str) -> BTreeMap<String, String> {
    let text = text(stage, BUCKET, key).await;
    let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).expect("a line"));
    let told = |line: Value| {
        let id = ["imageId", "snapshotId", "id"].iter().find_map(|field| line[field].as_str()).unwrap_or_default();
        let codes = line["reasons"].as_array().into_iter().flatten().filter_map(|reason| reason["code"].as_str());
        let what = line["result"].as_str().or(line["action"].as_str()).unwrap_or_default();
        (id.to_owned(), std::iter::once(what).chain(codes).collect::<Vec<_>>().join(" "))
    };
    lines.map(told).collect()
}

/// What a plan says of something.
async fn said(stage: &Stage, turn: &Value, id: &str) -> String {
    lines(stage, &format!("{}plan-00000.jsonl", prefix(turn))).await.remove(id).expect("a line")
}

/// How something ended that a plan let go.
async fn ended(stage: &Stage, turn: &Value, id: &str) -> String {
    lines(stage, &format!("{}outcomes/00000.jsonl", prefix(turn))).await.remove(id).expect("an outcome")
}

fn put(stage: &Stage, key: &str, text: String) {
    let object = StoredObject { body: text.into_bytes(), ..StoredObject::default() };
    stage.objects.insert(BUCKET, key, object).expect("the bucket is there");
}

/// The demo without a Recycle Bin.
fn without_a_bin() -> Stage {
    Stage::with(|file| {
        furnish(file);
        file.accounts[0].recycle_bin_rules.clear();
    })
}

fn is_there(stage: &Stage, snapshot: &str) -> bool {
    stage.simulator.world().snapshot(snapshot).is_some()
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

/// Cuts off a run between the call that deregisters an image and its outcome. Returns a snapshot of that image.
async fn cut_off(stage: &Stage, run: &str) -> String {
    let turn = planned_as(stage, run, json!({})).await;
    let world = stage.simulator.world();
    let of: BTreeMap<String, String> = world
        .images(ACCOUNT, HOME)
        .into_iter()
        .filter_map(|image| Some((image.id.clone(), image.devices.first()?.snapshot_id.clone())))
        .collect();
    always(stage, "cleanup-snapshots", "DeregisterImage", Effect::HoldReply);
    assert_eq!(error_name(&call(stage, "cleanup-snapshots", turn).await), Some("Transient"));
    stage.simulator.faults().clear();
    let gone = of.into_iter().find(|(image, _)| world.image(image).is_none());
    gone.expect("an image went").1
}

/// 74. A leftover goes only if an applied plan of this stack names it under its image. Either the plan's outcome says
///     that the image went, or EC2 no longer has it and no outcome says that EC2 refused.
#[tokio::test]
async fn what_a_run_was_cut_off_from_goes_with_the_next_run() {
    let stage = without_a_bin();
    let left = cut_off(&stage, "c").await;
    stage.pass(60 * 24);
    let turn = planned_as(&stage, "d", json!({"limits": {"orphanSnapshots": 0}})).await;
    assert_eq!(said(&stage, &turn, &left).await, "KEEP over-limit");
    let turn = planned_as(&stage, "e", json!({})).await;
    assert_eq!(said(&stage, &turn, &left).await, "DELETE_SNAPSHOT left-over");
    applied(&stage, turn).await;
    assert!(!is_there(&stage, &left));
}

/// 74. A leftover goes only if an applied plan of this stack names it under its image.
///
/// Weeks later the paper is older than all that are looked at again, and what is left by it is still known.
#[tokio::test]
async fn what_is_left_is_known_for_as_long_as_it_is_there() {
    let stage = without_a_bin();
    let left = cut_off(&stage, "c").await;
    for (days, run) in [(1, "d"), (9, "e"), (40, "f")] {
        stage.pass(60 * 24 * days);
        let turn = planned_as(&stage, run, json!({"limits": {"orphanSnapshots": 0}})).await;
        assert_eq!(said(&stage, &turn, &left).await, "KEEP over-limit", "{days}");
    }
    let known = document(&stage, "cleanups/known/us-east-1.json").await;
    assert_eq!(known["intents"]["open"].as_array().map(Vec::len), Some(1), "{known}");
    let turn = planned_as(&stage, "g", json!({})).await;
    applied(&stage, turn).await;
    assert!(!is_there(&stage, &left));
    planned_as(&stage, "h", json!({})).await;
    let known = document(&stage, "cleanups/known/us-east-1.json").await;
    assert_eq!(known["intents"]["open"], json!([]), "{known}");
}

/// 74. A leftover goes only if an applied plan of this stack names it under its image.
#[tokio::test]
async fn what_was_undone_leaves_nothing_over() {
    let stage = without_a_bin();
    let left = cut_off(&stage, "c").await;
    let turn = planned_as(&stage, "d", json!({})).await;
    assert_eq!(said(&stage, &turn, &left).await, "DELETE_SNAPSHOT left-over");
    good(&stage, "undo-cleanup", json!({"subject": {"input": {"run": "c"}}})).await;
    applied(&stage, turn.clone()).await;
    assert!(is_there(&stage, &left), "it was undone between the plan and its application");
    let turn = planned_as(&stage, "e", json!({})).await;
    assert_eq!(said(&stage, &turn, &left).await, "KEEP orphan-left-alone");
}

/// 74. No tag says so.
///
/// Whoever may write tags marks snapshots as those that an earlier version left: none of them goes.
#[tokio::test]
async fn a_tag_lets_no_snapshot_go() {
    let stage = without_a_bin();
    for snapshot in stage.simulator.world().snapshots(ACCOUNT, HOME) {
        stage.simulator.world().change_snapshot(&snapshot.id, |snapshot| {
            snapshot.tags.insert("ami-backup:managed".into(), "true".into());
            snapshot.tags.insert("ami-backup:retires-with".into(), "ami-0deadbeef0deadbee".into());
        });
    }
    let turn = planned_as(&stage, "c", json!({"limits": {"orphanSnapshots": 1, "images": 1}})).await;
    assert_eq!(said(&stage, &turn, ORPHAN).await, "KEEP orphan-left-alone");
    applied(&stage, turn).await;
    let deleted: Vec<String> = own_calls(&stage)
        .filter(|call| call.action == "DeleteSnapshot")
        .filter_map(|call| call.parameters.get("SnapshotId").cloned())
        .collect();
    assert_eq!(deleted, ITS_SNAPSHOTS, "those of the oldest image, and no other");
    assert_eq!(stage.calls("CreateTags"), 0, "and it is written no more");
}

/// 74. Either the plan's outcome says that the image went, or EC2 no longer has it and no outcome says that EC2 refused.
///     What somebody else deregistered keeps its snapshots.
///
/// A mark does not outlive its reason: EC2 refused, and months later a person deregisters the image and keeps the
/// snapshots.
#[tokio::test]
async fn what_ec2_refused_and_somebody_deregistered_later_keeps_its_snapshots() {
    let stage = without_a_bin();
    let turn = planned(&stage).await;
    stage.refuse("DeregisterImage", "OperationNotPermitted");
    let turn = applied(&stage, turn).await;
    let world = stage.simulator.world();
    let refused: Vec<String> = lines(&stage, &format!("{}outcomes/00000.jsonl", prefix(&turn)))
        .await
        .into_iter()
        .filter_map(|(id, result)| (result == "FAILED").then_some(id))
        .collect();
    let image = world.image(&refused[0]).expect("it stays");
    let kept: Vec<String> = image.devices.iter().map(|device| device.snapshot_id.clone()).collect();
    world.deregister(&image.id);
    // The same run, started again, and another one months later.
    stage.pass(1);
    let turn = planned(&stage).await;
    let turn = applied(&stage, turn).await;
    assert_eq!(ended(&stage, &turn, &kept[0]).await, "KEPT image-not-removed");
    stage.pass(60 * 24 * 90);
    let turn = planned_as(&stage, "d", json!({})).await;
    assert_eq!(said(&stage, &turn, &kept[0]).await, "KEEP orphan-left-alone");
    applied(&stage, turn).await;
    assert!(kept.iter().all(|snapshot| is_there(&stage, snapshot)));
}

/// 74. What somebody else deregistered keeps its snapshots.
#[tokio::test]
async fn what_somebody_deregistered_between_plan_and_application_keeps_its_snapshots() {
    let stage = without_a_bin();
    let turn = planned(&stage).await;
    assert_eq!(said(&stage, &turn, OLDEST).await, "DEREGISTER past-retention");
    stage.simulator.world().deregister(OLDEST);
    let turn = applied(&stage, turn).await;
    assert_eq!(ended(&stage, &turn, OLDEST).await, "GONE");
    for snapshot in ITS_SNAPSHOTS {
        assert_eq!(ended(&stage, &turn, snapshot).await, "KEPT image-not-removed");
        assert!(is_there(&stage, snapshot));
    }
    // An undo brings back what the run removed, and not what somebody else did.
    let undone = good(&stage, "undo-cleanup", json!({"subject": {"input": {"run": "c"}}})).await;
    assert!(!undone.to_string().contains(OLDEST), "{undone}");
}

/// Adds to a plan's lines that go one that the plan keeps.
async fn swap(stage: &Stage, turn: &Value) -> (String, String) {
    let key = format!("{}going.jsonl", prefix(turn));
    let more = text(stage, BUCKET, &format!("{}plan-00000.jsonl", prefix(turn))).await;
    let kept = more.lines().find(|line| line.contains(ORPHAN)).expect("a line").replace("KEEP", "DELETE_SNAPSHOT");
    let swapped = text(stage, BUCKET, &key).await + &kept + "\n";
    put(stage, &key, swapped.clone());
    (key, ami_backup_core::cleanup::binding::digest(&swapped))
}

/// 75. What is applied is what was read, and anything else is a `Conflict` with the place and both digests.
#[tokio::test]
async fn a_plan_that_was_swapped_is_not_applied() {
    let stage = furnished();
    let turn = planned(&stage).await;
    let digest = turn["subject"]["plan"]["binding"]["digest"].as_str().expect("a digest").to_owned();
    let table = text(&stage, BUCKET, &format!("{}plan.txt", prefix(&turn))).await;
    assert!(table.contains(&format!("SHA-256 of going.jsonl: {digest}")), "{table}");
    let (key, found) = swap(&stage, &turn).await;
    let before = Things::now(&stage).await;
    let again = started(&stage, "c", json!({})).await["regions"][0].clone();
    for (function, input) in [("cleanup-snapshots", turn.clone()), ("plan-cleanup", again)] {
        let refused = call(&stage, function, input).await;
        assert_eq!(error_name(&refused), Some("Conflict"), "{function}");
        let text = refused.err().map(|error| error.to_string()).unwrap_or_default();
        for part in [&key, &digest, &found, "nothing was changed"] {
            assert!(text.contains(part), "{function}: {part} is missing from {text}");
        }
    }
    Things::now(&stage).await.expect(&before, "a swapped plan");
    // The Region fails, and the report says why.
    let started = started(&stage, "c", json!({})).await["started"].clone();
    let ended = json!([{"region": HOME, "result": "OK"}]);
    let report = good(&stage, "report-cleanup", json!({"started": started, "ended": ended})).await;
    assert!(report["verdict"] == "FAILED" && report["cause"].to_string().contains(&found), "{report}");
}

/// 75. What is applied is what was read, and anything else is a `Conflict` with the place and both digests.
///
/// Nor is a plan applied whose pointer says otherwise of it, as that nobody has to agree, or of which an outcome tells
/// that is one of another plan.
#[tokio::test]
async fn papers_beside_a_plan_are_of_that_plan() {
    let stage = furnished();
    let turn = planned_as(&stage, "c", json!({"limits": {"sharePercent": 1}})).await;
    assert_eq!(turn["subject"]["plan"]["next"], "ASK");
    let started = started(&stage, "c", json!({"limits": {"sharePercent": 1}})).await["regions"][0].clone();
    let key = prefix(&turn).rsplitn(3, '/').nth(2).expect("a prefix").to_owned() + "/plan.json";
    let pointer = text(&stage, BUCKET, &key).await;
    let mut other: Value = serde_json::from_str(&pointer).expect("a pointer");
    other["summary"].as_object_mut().expect("a summary").remove("asks");
    put(&stage, &key, other.to_string());
    assert_eq!(error_name(&call(&stage, "plan-cleanup", started.clone()).await), Some("Conflict"));
    put(&stage, &key, pointer);
    good(&stage, "plan-cleanup", started.clone()).await;
    let outcome = json!({
        "id": OLDEST, "action": "DEREGISTER", "result": "DONE", "plan": "d2", "startedAt": "2026-11-23T02:00:00Z",
    });
    put(&stage, &format!("{}outcomes/00000.jsonl", prefix(&turn)), outcome.to_string());
    assert_eq!(error_name(&call(&stage, "plan-cleanup", started).await), Some("Conflict"));
}

/// 76. An approval names the digest of the plan, and one that names another plan is a `Conflict`. An answer without `by`
///     is an answer, and a yes that names no plan is none.
#[tokio::test]
async fn a_paper_that_names_no_plan_is_no_agreement() {
    let stage = furnished();
    let ask = json!({"approval": true});
    let turn = planned_as(&stage, "c", ask.clone()).await;
    let key = format!("{}approval.json", prefix(&turn));
    put(&stage, &key, json!({"approved": true, "by": "somebody else"}).to_string());
    let again = planned_as(&stage, "c", ask.clone()).await;
    assert_eq!(again["subject"]["plan"]["next"], "ASK");
    assert!(again["subject"]["approval"].is_null());
    put(&stage, &key, json!({"approved": true, "plan": "d2"}).to_string());
    let started = started(&stage, "c", ask.clone()).await["regions"][0].clone();
    assert_eq!(error_name(&call(&stage, "plan-cleanup", started).await), Some("Conflict"));
    // What a person answers counts, with or without a name.
    let digest = &turn["subject"]["plan"]["binding"]["digest"];
    let answered = |approval: Value| {
        let mut turn = turn.clone();
        turn["subject"]["approval"] = approval;
        json!({"subject": turn["subject"]})
    };
    for unbound in [json!({"approved": true, "by": "me"}), json!({"approved": true, "plan": "d2"})] {
        assert_eq!(error_name(&call(&stage, "cleanup-snapshots", answered(unbound)).await), Some("Conflict"));
    }
    assert_eq!(stage.calls("DeregisterImage"), 0);
    good(&stage, "cleanup-snapshots", answered(json!({"approved": true, "plan": digest}))).await;
    assert!(stage.calls("DeregisterImage") > 0);
    let kept = document(&stage, &key).await;
    assert_eq!((&kept["plan"], kept["by"].as_str()), (digest, Some("somebody")));
}

/// 61. An agreement is to that very plan, beside which it lies.
///
/// 76. An approval names the digest of the plan, and one that names another plan is a `Conflict`.
///
/// A plan that could not tell of some images is made again by a later start: that one asks again.
#[tokio::test]
async fn a_plan_that_is_made_again_asks_again() {
    let stage = furnished();
    let ask = json!({"approval": true});
    let attribute = Effect::Refuse { code: "UnauthorizedOperation".into(), message: None, status: None };
    always(&stage, "plan-cleanup", "DescribeImageReferences", attribute);
    let partial = planned_as(&stage, "c", ask.clone()).await;
    stage.simulator.faults().clear();
    let mut answered = partial.clone();
    answered["subject"]["approval"] = json!({
        "approved": true, "plan": partial["subject"]["plan"]["binding"]["digest"],
    });
    put(&stage, &format!("{}approval.json", prefix(&partial)), answered["subject"]["approval"].to_string());
    stage.pass(1);
    let again = planned_as(&stage, "c", ask).await;
    assert_ne!(prefix(&again), prefix(&partial));
    assert_eq!(again["subject"]["plan"]["next"], "ASK");
    assert!(again["subject"]["approval"].is_null());
    // The later start finds its own plan, and not what somebody said of the earlier one.
    let found = planned_as(&stage, "c", json!({"approval": true})).await;
    assert_eq!((prefix(&found), &found["subject"]["plan"]["next"]), (prefix(&again), &json!("ASK")));
}

/// 77. After an undo the same run with `apply` is refused with the time of the undo. What was undone is not reported as
///     gone.
#[tokio::test]
async fn after_an_undo_the_same_run_is_refused_with_the_time() {
    let stage = furnished();
    let turn = planned(&stage).await;
    applied(&stage, turn).await;
    stage.pass(60);
    let at = stage.now().to_string();
    let mut turn = json!({"subject": {"input": {"run": "c"}}});
    while turn["status"] != "DONE" {
        turn = good(&stage, "undo-cleanup", turn).await;
    }
    assert_eq!(turn["subject"]["undone"]["verdict"], "OK");
    stage.pass(60);
    let start = started(&stage, "c", json!({})).await;
    let refused = call(&stage, "plan-cleanup", start["regions"][0].clone()).await;
    assert_eq!(error_name(&refused), Some("Conflict"));
    let cause = refused.err().map(|error| error.to_string()).unwrap_or_default();
    assert!(cause.contains(&at), "{at} is missing from {cause}");
    let failure = json!({"Error": "Conflict", "Cause": json!({"errorMessage": cause}).to_string()});
    let ended = json!([{"region": HOME, "result": "FAILED", "failure": failure}]);
    let report = good(&stage, "report-cleanup", json!({"started": start["started"], "ended": ended})).await;
    assert_eq!(report["verdict"], "FAILED");
    let written = text(&stage, BUCKET, report["report"]["key"].as_str().expect("a report")).await;
    assert!(!written.contains("\"gone\"") && written.contains(&at), "{written}");
    // A dry run of that name changes nothing and is not refused.
    let dry = started(&stage, "c", json!({"apply": false})).await["regions"][0].clone();
    assert_eq!(good(&stage, "plan-cleanup", dry).await["subject"]["plan"]["next"], "END");
}

/// Lets the orphan of the demo be known as one for long.
fn known_for_long(stage: &Stage) {
    let known = json!({"orphansSince": {ORPHAN: "2026-01-01T00:00:00Z"}});
    put(stage, "cleanups/known/us-east-1.json", known.to_string());
}

/// 57. Just before something goes it is looked at again, and what came into use since stays.
///
/// An orphan whose image has come back between plan and application stays.
#[tokio::test]
async fn an_orphan_whose_image_came_back_meanwhile_stays() {
    let orphans = json!({"orphans": {"graceDays": 30}, "limits": {"sharePercent": 100}});
    for back in [true, false] {
        let stage = furnished();
        known_for_long(&stage);
        let turn = planned_as(&stage, "c", orphans.clone()).await;
        assert_eq!(said(&stage, &turn, ORPHAN).await, "DELETE_SNAPSHOT orphan");
        if back {
            // Its image is there: as if it had come back under its id.
            stage.simulator.world().change_snapshot(ORPHAN, |snapshot| {
                snapshot.description = "Created by CreateImage(i-0a1b2c3d4e5f60003) for ami-0a1b2c3d4e5f60031".into();
            });
        }
        applied(&stage, turn).await;
        assert_eq!(is_there(&stage, ORPHAN), back);
    }
}

/// 57. What was protected or changed since stays too.
///
/// A snapshot that another account may use by then stays, with its image or by itself.
#[tokio::test]
async fn a_snapshot_that_was_shared_meanwhile_stays() {
    let stage = furnished();
    known_for_long(&stage);
    let orphans = json!({"orphans": {"graceDays": 30}, "limits": {"sharePercent": 100}});
    let turn = planned_as(&stage, "c", orphans).await;
    for snapshot in [ITS_SNAPSHOTS[0], ORPHAN] {
        assert!(said(&stage, &turn, snapshot).await.starts_with("DELETE_SNAPSHOT"));
        stage.simulator.world().change_snapshot(snapshot, |snapshot| {
            snapshot.volume_permissions.insert(OTHER_ACCOUNT.into());
        });
    }
    let turn = applied(&stage, turn).await;
    assert_eq!(ended(&stage, &turn, ITS_SNAPSHOTS[0]).await, "KEPT shared");
    assert!(is_there(&stage, ITS_SNAPSHOTS[0]) && is_there(&stage, ORPHAN) && !is_there(&stage, ITS_SNAPSHOTS[1]));
}

/// 75. The look just before a removal holds limits and retention too.
#[tokio::test]
async fn an_image_that_retention_wants_by_then_stays() {
    let stage = furnished();
    let turn = planned(&stage).await;
    // Of the two newest, one is removed by hand: the next oldest takes its place.
    stage.simulator.world().deregister("ami-0a1b2c3d4e5f60032");
    let turn = applied(&stage, turn).await;
    let outcomes = lines(&stage, &format!("{}outcomes/00000.jsonl", prefix(&turn))).await;
    assert_eq!(outcomes["ami-0a1b2c3d4e5f60033"], "KEPT among-newest", "{outcomes:?}");
    assert_eq!(outcomes[OLDEST], "DONE");
}
