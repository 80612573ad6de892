//! Owns the rule that nothing hostile goes far: events and documents that no step of ours has written end under one of our
//! names, panic nowhere, and change nothing where the step says so.

mod garbage;

use std::collections::BTreeSet;

use ami_backup_core::{
    StepError,
    id::LONGEST_KEY,
    input::Payload,
    naming::{attempt_prefix, outcome_key, store_claim_key, store_claims_prefix},
    text::visible,
};
use ami_backup_simulator::objects::{ObjectStore, StoredObject};
use ami_backup_tests::project;
use serde::Deserialize;

use crate::{
    every::{SITUATIONS, prepared},
    hostile::garbage::Garbage,
    support::*,
};

/// Events of each function, and contents of each document: a few thousand inputs in all, in less than a minute.
const EVENTS: usize = 160;
const CONTENTS: usize = 160;

/// Calls that read.
fn only_reads(action: &str) -> bool {
    ["Describe", "Get", "List", "Head"].iter().any(|verb| action.starts_with(verb))
}

/// What a function changed since the calls were forgotten.
fn changes(stage: &Stage) -> Vec<String> {
    own_calls(stage).filter(|call| !only_reads(&call.action) && call.outcome == "ok").map(|call| call.action).collect()
}

/// Calls a function with an event as Lambda hands it over: text, and not yet JSON.
async fn invoked(stage: &Stage, function: &str, event: &str) -> Answer {
    let read = Payload::deserialize(&mut serde_json::Deserializer::from_str(event));
    match read.unwrap_or_else(|error| panic!("{error} would reach the runtime: {event}")) {
        Payload(Ok(event)) => call(stage, function, event).await,
        Payload(Err(error)) => Err(error),
    }
}

/// What every answer is held to. Returns whether the world is as it was.
#[track_caller]
fn held(stage: &Stage, answer: &Answer, case: &str) -> bool {
    let changed = changes(stage);
    if let Err(error) = answer {
        let text = error.to_string();
        assert!(!text.contains("panicked"), "{case}: {text}");
        assert_eq!(visible(&text), text, "{case}");
        assert!(text.chars().count() < 20_000, "{case}: {} characters", text.chars().count());
        assert!(error_name(answer) != Some("InvalidInput") || changed.is_empty(), "{case}: {changed:?}, and {text}");
    }
    changed.is_empty()
}

/// The events that a function is meant to get: those of its situations, and the examples.
async fn meant_for(function: &str) -> Vec<(&'static str, String)> {
    let mut meant = Vec::new();
    let example = |name: &str| project::text(&format!("events/{name}"));
    for (_, situation) in SITUATIONS.iter().filter(|(of, _)| *of == function) {
        meant.push((*situation, prepared(function, situation).await.1.to_string()));
        meant.push((*situation, example(&format!("{function}.json"))));
        let machine = match function {
            "select-images" => "backup.",
            "find-backup" => "restore.",
            "select-regions" => "cleanup.",
            "undo-cleanup" => "undo.",
            _ => continue,
        };
        let named = project::names_in("events");
        for name in named.iter().filter(|name| name.starts_with(machine) && !name.contains("expected")) {
            let input = example(name);
            let event = match function {
                "undo-cleanup" => format!(r#"{{"subject": {{"input": {input}}}}}"#),
                _ => format!(r#"{{"input": {input}, "executionName": "e"}}"#),
            };
            meant.push((*situation, event));
        }
    }
    meant
}

async fn hostile_events(function: &str) {
    let meant = meant_for(function).await;
    let (mut garbage, mut seen) = (Garbage::new(function), BTreeSet::new());
    let mut stage: Option<(&str, Stage)> = None;
    while seen.len() < EVENTS {
        let (situation, event) = &meant[garbage.below(meant.len())];
        let event = garbage.event(event);
        if !seen.insert(event.clone()) {
            continue;
        }
        let (_, world) = match stage.take().filter(|(of, _)| of == situation) {
            Some(same) => same,
            None => (*situation, prepared(function, situation).await.0),
        };
        world.simulator.calls().clear();
        let answer = invoked(&world, function, &event).await;
        let case: String = format!("{function} {situation}: {event}").chars().take(4_000).collect();
        if held(&world, &answer, &case) {
            stage = Some((situation, world));
        }
    }
}

/// A world in which a function has something to do, and such a document is read.
async fn arranged(document: &str, function: &str, situation: &str) -> (Stage, Value) {
    let (stage, input) = prepared(function, situation).await;
    let insert = |key: &str, body: Vec<u8>| {
        stage.objects.insert(BUCKET, key, StoredObject { body, ..StoredObject::default() }).unwrap();
    };
    match document {
        // Where the stack has one of its own, nobody reads another.
        "record beside" => drop(stage.objects.remove(BUCKET, &format!("records/{IMAGE}.json"))),
        "claim" => {
            let prefix = store_claims_prefix(&BUCKET.parse().unwrap(), &IMAGE.parse().unwrap());
            insert(
                &store_claim_key(&prefix, 1),
                br#"{"run": "r", "at": "2026-11-22T02:00:00Z", "released": false}"#.into(),
            );
        }
        "outcome" => {
            let earlier = stage.objects.contents().remove(BUCKET).into_iter().flatten();
            let earlier = earlier.filter(|key| key.contains("/outcomes/")).max();
            if let (Some(earlier), Some(start)) = (earlier, input["startedAt"].as_str()) {
                let attempt = attempt_prefix("r", start.parse().unwrap());
                insert(&outcome_key(&attempt, 0), text(&stage, BUCKET, &earlier).await.into_bytes());
            }
        }
        _ => {}
    }
    (stage, input)
}

/// The documents of the bucket that a function reads in a situation, as its calls say, whether or not they are there.
async fn read_by(document: &str, function: &str, situation: &str) -> BTreeSet<String> {
    let (stage, input) = arranged(document, function, situation).await;
    stage.simulator.calls().clear();
    let _whatever = call(&stage, function, input).await;
    let reads = own_calls(&stage).filter(|call| call.action == "GetObject");
    reads.filter_map(|call| call.parameters.get("Key").cloned()).collect()
}

/// Of each function that reads such a document: hostile contents in its place.
async fn hostile_contents(document: &str, is_one: fn(&str) -> bool, otherwise: &str) {
    let (mut garbage, mut seen) = (Garbage::new(document), BTreeSet::new());
    let mut readers = Vec::new();
    for (function, situation) in SITUATIONS {
        let keys = read_by(document, function, situation).await;
        readers.extend(keys.into_iter().filter(|key| is_one(key)).map(|key| (*function, *situation, key)));
    }
    assert!(!readers.is_empty(), "nobody reads {document}");
    let mut worlds: Vec<Option<(Stage, Value)>> = readers.iter().map(|_| None).collect();
    for turn in 0.. {
        let place = turn % readers.len();
        let (function, situation, key) = &readers[place];
        let (stage, input) = match worlds[place].take() {
            Some(world) => world,
            None => arranged(document, function, situation).await,
        };
        let meant = stage.objects.get(BUCKET, key).await.ok();
        let good = meant.clone().map_or_else(|| otherwise.to_owned(), |object| String::from_utf8(object.body).unwrap());
        let content = garbage.content(&good);
        seen.insert((place, content.clone()));
        stage.objects.insert(BUCKET, key, StoredObject { body: content.clone(), ..StoredObject::default() }).unwrap();
        stage.simulator.calls().clear();
        let answer = call(&stage, function, input.clone()).await;
        let content = String::from_utf8_lossy(&content);
        let case: String = format!("{function} {situation}: {key}: {content}").chars().take(4_000).collect();
        assert_ne!(error_name(&answer), Some("Defect"), "{case}: {answer:?}");
        if held(&stage, &answer, &case) {
            match meant {
                Some(meant) => stage.objects.insert(BUCKET, key, meant).unwrap(),
                None => drop(stage.objects.remove(BUCKET, key)),
            }
            worlds[place] = Some((stage, input));
        }
        if seen.len() >= CONTENTS {
            break;
        }
    }
}

macro_rules! events_of {
    ($($test:ident: $function:literal;)*) => {
        $(
            /// 73. Whatever event a function gets, it ends without a panic, under one of the ten names, and it changes nothing
            /// if that name is `InvalidInput`.
            #[tokio::test]
            async fn $test() {
                hostile_events($function).await;
            }
        )*

        #[test]
        fn every_function_gets_hostile_events() {
            let named: BTreeSet<String> = [$($function.to_owned()),*].into();
            assert_eq!(named, project::functions());
        }

        /// How many functions get hostile events.
        const FUNCTIONS: usize = [$($function),*].len();
    };
}

events_of! {
    ask_approval: "ask-approval";
    check_export: "check-export";
    check_image: "check-image";
    check_store: "check-store";
    cleanup_snapshots: "cleanup-snapshots";
    copy_region: "copy-region";
    create_image: "create-image";
    find_backup: "find-backup";
    finish_copy: "finish-copy";
    finish_restore: "finish-restore";
    notify_operator: "notify-operator";
    plan_cleanup: "plan-cleanup";
    record_backup: "record-backup";
    register_image: "register-image";
    report_backup: "report-backup";
    report_cleanup: "report-cleanup";
    select_images: "select-images";
    select_regions: "select-regions";
    start_export: "start-export";
    start_restore: "start-restore";
    start_store: "start-store";
    undo_cleanup: "undo-cleanup";
}

macro_rules! contents_of {
    ($($test:ident: $document:literal, $is_one:expr, $otherwise:literal;)*) => {
        $(
            /// 73. Whatever lies in the place of a document, the function that reads it ends in the same way.
            #[tokio::test]
            async fn $test() {
                hostile_contents($document, $is_one, $otherwise).await;
            }
        )*

        /// Each document that any function reads is one of those above.
        #[tokio::test]
        async fn every_document_gets_hostile_contents() {
            let known: &[fn(&str) -> bool] = &[$($is_one),*];
            for (function, situation) in SITUATIONS {
                for key in read_by("any", function, situation).await {
                    assert!(known.iter().any(|is_one| is_one(&key)), "{function} {situation}: {key}");
                }
            }
        }

        /// How many documents get hostile contents.
        const DOCUMENTS: usize = [$($document),*].len();
    };
}

contents_of! {
    the_record: "record", |key| key.starts_with("records/"), "{}";
    the_record_beside: "record beside", |key| key.ends_with(".bin.json"), "{}";
    what_a_backup_asked: "run", |key| key.starts_with("runs/") && key.ends_with("/run.json"), "{}";
    the_items: "items", |key| key.starts_with("runs/") && key.ends_with("/items.json"), "[]";
    the_outcomes_of_a_backup: "outcome", |key| key.starts_with("runs/") && key.contains("/outcomes/"), "{}";
    the_claims: "claim", |key| key.contains("/stores/") || key.starts_with("leases/"), "{}";
    what_a_cleanup_asked: "clean-up", |key| key.starts_with("cleanups/") && key.ends_with("/run.json"), "{}";
    what_was_seen: "known", |key| key.starts_with("cleanups/known/"), "{}";
    the_pointer_to_a_plan: "plan", |key| key.ends_with("/plan.json"), "{}";
    what_goes: "going", |key| key.ends_with("/going.jsonl"), "{}";
    the_outcomes_of_a_plan: "outcomes", |key| key.starts_with("cleanups/") && key.contains("/outcomes/"), "{}";
    the_mark_of_an_undo: "undo", |key| key.ends_with("/undo.json"), r#"{"at": "2026-11-23T02:00:00Z"}"#;
    an_approval: "approval", |key| key.ends_with("/approval.json"), r#"{"approved": true, "by": "somebody"}"#;
}

#[test]
fn thousands_of_inputs_are_tried() {
    const { assert!(FUNCTIONS * EVENTS + DOCUMENTS * CONTENTS >= 5_000) };
}

/// 70. A key has 1 to 1,024 bytes.
#[tokio::test]
async fn a_key_that_is_too_long_is_refused_wherever_it_comes_in() {
    let key = "k".repeat(66_000);
    let stage = furnished();
    let asked = json!({"input": {"bucket": BUCKET, "key": key}, "executionName": "e"});
    refused(&stage, "find-backup", asked, &["key: has 66000 bytes", "1024"]).await;
    // A step further on, nobody has read it before.
    let (stage, mut turn) = prepared("start-restore", "new").await;
    turn["subject"]["key"] = json!(key);
    refused(&stage, "start-restore", turn, &["KeyTooLongError", &LONGEST_KEY.to_string()]).await;
}

/// 71. What is longer than any document of ours is not read.
#[tokio::test]
async fn a_document_that_is_too_long_is_not_read() {
    let (stage, input) = prepared("finish-restore", "available").await;
    let key = format!("records/{IMAGE}.json");
    let body = vec![b' '; (32 << 20) + 1];
    stage.objects.insert(BUCKET, &key, StoredObject { body, ..StoredObject::default() }).unwrap();
    let error = call(&stage, "finish-restore", input).await.unwrap_err();
    assert_eq!(error.name.as_str(), "Conflict", "{error}");
    assert!(error.to_string().contains(&key) && error.to_string().contains("33554433"), "{error}");
}

/// 71. What is no text is a `Conflict` with its place.
#[tokio::test]
async fn a_document_that_is_no_text_is_a_conflict_with_its_place() {
    let (stage, input) = prepared("finish-restore", "available").await;
    let key = format!("records/{IMAGE}.json");
    stage.objects.insert(BUCKET, &key, StoredObject { body: vec![0xff, 0xfe], ..StoredObject::default() }).unwrap();
    let error: StepError = call(&stage, "finish-restore", input).await.unwrap_err();
    assert_eq!(error.name.as_str(), "Conflict", "{error}");
    assert!(error.to_string().contains(&key), "{error}");
}
