//! The acceptance cases of the clean-up, each in an account of its own, through the machine.

mod listings;

use std::{collections::BTreeMap, rc::Rc};

use ami_backup_core::{SignedDuration, Timestamp};
use ami_backup_engine::Status;
use ami_backup_simulation::{
    deployment::Product,
    faults::{Deed, Fault},
    trial::{self, Outcome, START, Trial},
};
use ami_backup_simulator::account::AccountFile;
use ami_backup_tests::{ACCOUNT, BUCKET};
use serde_json::{Value, json};

const OTHER: &str = "111122223333";

fn days_ago(days: i64) -> Timestamp {
    START - SignedDuration::from_hours(24 * days)
}

fn ours(source: &str) -> Value {
    json!({
        "ami-backup:managed": "true", "ami-backup:run": "earlier", "ami-backup:policy": "nightly",
        "ami-backup:source": source, "ami-backup:expires": "by-policy",
    })
}

fn ami(number: u32) -> String {
    format!("ami-{number:017x}")
}

fn snap(number: u32) -> String {
    format!("snap-{number:017x}")
}

/// An image of ours, so many days old, of one instance, with one snapshot of the same number.
fn image(number: u32, age_days: i64) -> Value {
    json!({
        "region": "us-east-1", "id": ami(number), "name": format!("web-{number}"), "tags": ours("i-1"),
        "creationDate": days_ago(age_days).to_string(),
        "volumes": [{"device": "/dev/xvda", "sizeGib": 8, "snapshotId": snap(number), "snapshotTags": ours("i-1")}],
    })
}

fn with(mut value: Value, field: &str, what: Value) -> Value {
    value[field] = what;
    value
}

/// An account with these images, and whatever else `more` says of it.
fn account(images: Vec<Value>, more: Value) -> AccountFile {
    let mut own = json!({
        "id": ACCOUNT, "regions": ["us-east-1", "eu-west-1"], "images": images,
        "buckets": [{"name": BUCKET, "region": "us-east-1", "encryption": "AES256"}],
    });
    for (field, value) in more.as_object().expect("fields") {
        own[field] = value.clone();
    }
    let other = own.as_object_mut().expect("an account").remove("other").unwrap_or_else(|| json!({}));
    let mut second = json!({"id": OTHER, "regions": ["us-east-1"]});
    for (field, value) in other.as_object().expect("fields") {
        second[field] = value.clone();
    }
    let file = json!({
        "home": "us-east-1", "settings": {"seed": 1, "consistencyDelayMs": 200, "apiBuckets": true},
        "accounts": [own, second],
    });
    serde_json::from_value(file).expect("an account file")
}

/// A clean-up in which nothing goes wrong and nobody is asked.
fn clean_up(file: AccountFile, input: Value) -> Trial {
    Trial {
        machine: "cleanup".into(),
        input,
        before: Vec::new(),
        file,
        approval: None,
        faults: Vec::new(),
        seed: 7,
        told: false,
        once: true,
    }
}

/// A clean-up with what goes wrong.
fn tried(product: Product, file: AccountFile, input: Value, faults: Vec<Fault>, approval: Option<Value>) -> Outcome {
    let once = !faults.iter().any(|fault| matches!(fault, Fault::Stop { .. }));
    let trial = Trial { approval, faults, once, ..clean_up(file, input) };
    let outcome = trial::run(&Rc::new(product), &trial, None);
    assert_eq!(outcome.complaints, Vec::<String>::new());
    outcome
}

fn cleaned(file: AccountFile, input: Value) -> Outcome {
    tried(Product::of_the_project(), file, input, Vec::new(), None)
}

/// The demo's policy: the newest of each family stays, whatever share of it that leaves.
fn newest(more: Value) -> Value {
    let mut input = json!({"retention": {"newest": 1}, "apply": true, "limits": {"sharePercent": 100}});
    for (field, value) in more.as_object().expect("fields") {
        input[field] = value.clone();
    }
    input
}

/// The plan's lines, by id.
fn plan(outcome: &Outcome) -> BTreeMap<String, Value> {
    let parts = outcome.things.iter().filter(|thing| thing.kind == "object" && thing.id.contains("/plan-"));
    let lines = parts.flat_map(|part| {
        let detail = part.detail();
        let body = detail.find("{\"kind\"").map(|at| detail[at..].to_owned()).unwrap_or_default();
        body.lines().map(|line| serde_json::from_str::<Value>(line).expect("a line")).collect::<Vec<_>>()
    });
    let id = |line: &Value| line["imageId"].as_str().or(line["snapshotId"].as_str()).unwrap_or_default().to_owned();
    lines.map(|line| (id(&line), line)).collect()
}

/// What the plan says of an image or a snapshot: its action and the texts of its reasons.
fn said(outcome: &Outcome, id: &str) -> String {
    let plan = plan(outcome);
    let line = plan.get(id).expect("the plan says something of it");
    let reasons = line["reasons"].as_array().expect("reasons").iter();
    let reasons: Vec<String> = reasons.map(|one| format!("{} ({})", one["code"], one["text"])).collect();
    format!("{} {}", line["action"].as_str().unwrap_or_default(), reasons.join(", ")).replace('"', "")
}

fn is_there(outcome: &Outcome, id: &str) -> bool {
    ["image", "snapshot"].iter().any(|kind| outcome.things.find(kind, id).is_some())
}

/// Error of the execution, or its verdict.
fn ended(outcome: &Outcome) -> String {
    let last = outcome.again.last().or(outcome.first.as_ref()).expect("it ended");
    match &last.status {
        Status::Succeeded(output) => output["verdict"].as_str().unwrap_or_default().to_owned(),
        Status::Failed(failure) => format!("{}: {}", failure.error, failure.cause),
        Status::TimedOut => "timed out".into(),
    }
}

fn removals(outcome: &Outcome) -> usize {
    let removing = ["DeregisterImage", "DeleteSnapshot", "DisableImage"];
    outcome.calls.iter().filter(|call| removing.contains(&call.action.as_str())).count()
}

/// Image 3 is kept by what `more` says, for a reason that says so; image 2 goes.
fn keeps_the_third(more: Value, reason: &str) {
    let outcome = cleaned(account(vec![image(1, 1), image(2, 2), image(3, 3)], more), newest(json!({})));
    let text = said(&outcome, &ami(3));
    assert!(text.starts_with("KEEP") && text.contains(reason), "{text}");
    assert!(is_there(&outcome, &ami(3)) && is_there(&outcome, &snap(3)));
    assert!(!is_there(&outcome, &ami(2)) && !is_there(&outcome, &snap(2)));
    assert_eq!(ended(&outcome), "OK");
}

fn template(versions: &[(u32, String)], default: u32) -> Value {
    let versions: Vec<Value> =
        versions.iter().map(|(number, image)| json!({"number": number, "imageId": image})).collect();
    json!({
        "region": "us-east-1", "id": "lt-0a1b2c3d4e5f60001", "name": "web", "defaultVersion": default,
        "versions": versions,
    })
}

/// Case 1: a launch template that no group uses names the image; no instance runs.
#[test]
fn case_1_a_launch_template_keeps_its_image() {
    let templates = json!({"launchTemplates": [template(&[(1, ami(3))], 1)]});
    keeps_the_third(templates, "launch template lt-0a1b2c3d4e5f60001 version 1");
}

/// 52. What could not be looked at stays. A run in which something could not be looked at is `PARTIAL`.
///
/// Case 2: an image that another account uses, through a launch permission that it has or had.
#[test]
fn case_2_an_image_that_another_account_uses_stays() {
    let shared = with(image(3, 3), "launchPermissions", json!([OTHER]));
    let outcome = cleaned(account(vec![image(1, 1), image(2, 2), shared], json!({})), newest(json!({})));
    assert!(said(&outcome, &ami(3)).contains("shared"), "{}", said(&outcome, &ami(3)));
    let kept = outcome.things.find("image", &ami(3)).expect("it stays");
    assert!(kept.detail().contains(OTHER), "its permission stays too");
    let instance = json!({
        "region": "us-east-1", "id": "i-0a1b2c3d4e5f60009", "state": "running", "imageId": ami(3),
        "launchTime": days_ago(9).to_string(), "volumes": [],
    });
    keeps_the_third(json!({"other": {"instances": [instance]}}), &format!("account {OTHER}"));
    // Where the report cannot be had, nobody can tell.
    let mut file = account(vec![image(1, 1), image(2, 2), image(3, 3)], json!({}));
    file.settings.quotas.pending_usage_reports = 0;
    let outcome = cleaned(file, newest(json!({})));
    assert!(said(&outcome, &ami(3)).contains("cannot-tell"), "{}", said(&outcome, &ami(3)));
    assert!(ended(&outcome).starts_with("CleanupPartial"), "{}", ended(&outcome));
    assert_eq!(removals(&outcome), 0);
}

/// What a report holds makes room for the next, which is looked at too: the run is whole, and the limit is used.
#[test]
fn an_image_that_a_report_holds_makes_room_for_the_next() {
    let instance = json!({
        "region": "us-east-1", "id": "i-0a1b2c3d4e5f60009", "state": "running", "imageId": ami(3),
        "launchTime": days_ago(9).to_string(), "volumes": [],
    });
    let file = account(vec![image(1, 1), image(2, 2), image(3, 3)], json!({"other": {"instances": [instance]}}));
    let outcome = cleaned(file, newest(json!({"limits": {"images": 1, "sharePercent": 100}})));
    assert_eq!(ended(&outcome), "OK");
    assert!(is_there(&outcome, &ami(3)) && !is_there(&outcome, &ami(2)));
}

/// Case 4: the only reference is a launch template with `resolve:ssm:`.
#[test]
fn case_4_an_alias_keeps_the_image_that_it_stands_for() {
    let more = json!({
        "launchTemplates": [template(&[(1, "resolve:ssm:/golden".into())], 1)],
        "ssmParameters": [{"region": "us-east-1", "name": "/golden", "value": ami(3)}],
    });
    keeps_the_third(more, "launch template");
}

/// 51. A listing of the account that cannot be trusted removes nothing and fails the run.
///
/// 67. Where what an alias stands for may not be read, nothing is removed and the run fails.
///
/// Case 5: where parameters may not be read, nothing is removed and the run fails. (That an alias stands for nothing:
/// `listings`.)
#[test]
fn case_5_a_reference_that_cannot_be_followed_removes_nothing() {
    let mut more = json!({"launchTemplates": [template(&[(1, "resolve:ssm:/golden".into())], 1)]});
    let three = || vec![image(1, 1), image(2, 2), image(3, 3)];
    more["ssmParameters"] = json!([{"region": "us-east-1", "name": "/golden", "value": ami(3)}]);
    let mut product = Product::of_the_project();
    let statements = product.roles.get_mut("plan-cleanup").and_then(|role| role["Statement"].as_array_mut());
    statements.expect("statements").retain(|one| !one.to_string().contains("ssm:GetParameters"));
    let trial = clean_up(account(three(), more), newest(json!({})));
    let outcome = trial::run(&Rc::new(product), &trial, None);
    let text = ended(&outcome);
    assert!(text.starts_with("CleanupFailed") && text.contains("AccessDenied"), "{text}");
    assert!(text.contains("resolve:ssm:/golden in lt-0a1b2c3d4e5f60001 version 1"), "{text}");
    assert_eq!(removals(&outcome), 0);
}

/// 51. A listing of the account that cannot be trusted removes nothing and fails the run.
///
/// Case 7: a listing that is strangely small stops everything.
#[test]
fn case_7_a_listing_below_its_floor_removes_nothing() {
    let outcome = tried_with_conflict(
        account(vec![image(1, 1), image(2, 2)], json!({})),
        newest(json!({"floors": {"instances": 1}})),
    );
    assert!(outcome.contains("a healthy account has at least 1"), "{outcome}");
}

/// The end of a run that must fail by a conflict and remove nothing.
fn tried_with_conflict(file: AccountFile, input: Value) -> String {
    let trial = clean_up(file, input);
    let outcome = trial::run(&Rc::new(Product::of_the_project()), &trial, None);
    assert_eq!(outcome.complaints, ["Clean Up Regions / Plan Cleanup ended with Conflict"]);
    assert_eq!(removals(&outcome), 0);
    ended(&outcome)
}

/// Cases 8 and 32: old versions of a template keep their images until the operator says otherwise; what `$Default` points
/// at, after a roll-back, stays even then.
#[test]
fn cases_8_and_32_the_operator_says_which_versions_count() {
    let file = || {
        let versions = [(1, ami(2)), (2, ami(3)), (3, ami(4))];
        let more = json!({"launchTemplates": [template(&versions, 1)]});
        account(vec![image(1, 1), image(2, 2), image(3, 3), image(4, 4)], more)
    };
    let all = cleaned(file(), newest(json!({})));
    assert_eq!([2, 3, 4].map(|number| is_there(&all, &ami(number))), [true; 3]);
    let trial = clean_up(file(), newest(json!({"launchTemplateVersions": "defaultAndLatest"})));
    let some = trial::run(&Rc::new(Product::of_the_project()), &trial, None);
    // The harness holds every version for a use; the operator has said otherwise.
    assert_eq!(some.complaints, [format!("image {} was removed, and it was in use", ami(3))]);
    assert_eq!([2, 3, 4].map(|number| is_there(&some, &ami(number))), [true, false, true]);
}

/// 45. Nothing in use goes, whichever kind of use it is.
///
/// Case 10: what a group, a launch configuration or a fleet would launch, though nothing runs; and keep tags.
#[test]
fn case_10_what_would_be_launched_stays() {
    let override_of = json!({"overrides": [{"instanceType": "t3.micro", "imageId": ami(3)}]});
    let mut mixed = override_of;
    mixed["launchTemplate"] = json!({"launchTemplateName": "web", "version": "$Latest"});
    let group = json!({"region": "us-east-1", "name": "nodes", "mixedInstancesPolicy": mixed, "desiredCapacity": 0});
    let templates = json!([template(&[(1, ami(1))], 1)]);
    keeps_the_third(json!({"autoScalingGroups": [group], "launchTemplates": templates}), "Auto Scaling group nodes");
    let configuration = json!({"region": "us-east-1", "name": "old", "imageId": ami(3)});
    keeps_the_third(json!({"launchConfigurations": [configuration]}), "launch configuration old");
    let spot = json!({
        "region": "us-east-1", "id": "sfr-1", "state": "active", "launchSpecifications": [{"imageId": ami(3)}],
    });
    keeps_the_third(json!({"spotFleets": [spot]}), "Spot Fleet sfr-1");
    let recipe = json!({"region": "us-east-1", "arn": "arn:aws:imagebuilder:us-east-1:1:image-recipe/r/1.0.0", "imageId": ami(3)});
    keeps_the_third(json!({"imageRecipes": [recipe]}), "image recipe");
    let parameter = json!({"region": "us-east-1", "name": "/golden", "value": ami(3)});
    keeps_the_third(json!({"ssmParameters": [parameter]}), "SSM parameter");

    let mut kept = image(3, 3);
    kept["tags"]["Keep"] = json!("until the audit");
    let outcome =
        cleaned(account(vec![image(1, 1), image(2, 2), kept], json!({})), newest(json!({"keepTags": ["Keep"]})));
    assert!(said(&outcome, &ami(3)).contains("keep-tag") && is_there(&outcome, &ami(3)));
    assert!(!is_there(&outcome, &ami(2)));
}

/// 57. Just before something goes it is looked at again, and what came into use since stays.
///
/// Case 11: what comes into use between the plan and its application stays.
#[test]
fn case_11_what_comes_into_use_meanwhile_stays() {
    let file = account(vec![image(1, 1), image(2, 2), image(3, 3)], json!({}));
    // While a person reads the plan, somebody launches the third image.
    let launch = Fault::Person { after_s: 90, deed: Deed::Launch, to: 2 };
    let approval = Some(json!({"approved": true, "by": "operator"}));
    let outcome = tried(Product::of_the_project(), file, newest(json!({"approval": true})), vec![launch], approval);
    assert!(said(&outcome, &ami(3)).starts_with("DEREGISTER"), "{}", said(&outcome, &ami(3)));
    assert!(is_there(&outcome, &ami(3)) && is_there(&outcome, &snap(3)));
    assert!(!is_there(&outcome, &ami(2)) && !is_there(&outcome, &snap(2)));
    assert_eq!(ended(&outcome), "OK");
}

/// 57. What was protected or changed since stays too.
///
/// Somebody shares an image between the plan and its application: it stays.
#[test]
fn what_somebody_shares_meanwhile_stays() {
    let file = account(vec![image(1, 1), image(2, 2), image(3, 3)], json!({}));
    let share = Fault::Person { after_s: 90, deed: Deed::Share, to: 2 };
    let approval = Some(json!({"approved": true, "by": "operator"}));
    let outcome = tried(Product::of_the_project(), file, newest(json!({"approval": true})), vec![share], approval);
    assert!(said(&outcome, &ami(3)).starts_with("DEREGISTER"), "{}", said(&outcome, &ami(3)));
    assert!(is_there(&outcome, &ami(3)) && is_there(&outcome, &snap(3)) && !is_there(&outcome, &ami(2)));
    assert_eq!(ended(&outcome), "OK");
}

/// 57. What was protected or changed since stays too.
///
/// A snapshot that another account may use is not deleted, though its image goes.
#[test]
fn a_snapshot_that_another_account_may_use_stays() {
    let mut shared = image(3, 3);
    shared["volumes"][0]["snapshotPermissions"] = json!([OTHER]);
    let outcome = cleaned(account(vec![image(1, 1), image(2, 2), shared], json!({})), newest(json!({})));
    assert!(is_there(&outcome, &snap(3)) && !is_there(&outcome, &ami(3)) && !is_there(&outcome, &snap(2)));
    assert_eq!(ended(&outcome), "OK");
}

/// 74. No tag says so.
///
/// With one common right, `ec2:CreateTags`, a stranger marks 150 foreign snapshots as if a cleanup had left them: none
/// goes.
#[test]
fn a_stranger_who_may_write_tags_lets_no_snapshot_go() {
    let marked = |number: u32| {
        json!({
            "region": "us-east-1", "id": snap(1_000 + number), "description": "for the auditors",
            "volumeId": format!("vol-{number:017x}"), "sizeGib": 8,
            "tags": {"ami-backup:managed": "true", "ami-backup:retires-with": ami(900)},
        })
    };
    let snapshots: Vec<Value> = (1..=150).map(marked).collect();
    let file = account(vec![image(1, 1), image(2, 2)], json!({"snapshots": snapshots}));
    let outcome = cleaned(file, newest(json!({"limits": {"orphanSnapshots": 1, "images": 1, "sharePercent": 100}})));
    assert_eq!((ended(&outcome).as_str(), removals(&outcome)), ("OK", 2));
    assert!(!is_there(&outcome, &ami(2)) && !is_there(&outcome, &snap(2)));
    assert_eq!(outcome.things.count("snapshot"), 151);
}

/// 75. What is applied is what was read, and anything else is a `Conflict` with the place and both digests.
///
/// While a person reads the plan, somebody else lets it remove more.
#[test]
fn a_plan_that_somebody_swaps_meanwhile_is_not_applied() {
    let file = account((1..=4).map(|number| image(number, number.into())).collect(), json!({}));
    let swap = Fault::Person { after_s: 90, deed: Deed::SwapPlan, to: 0 };
    let approval = Some(json!({"approved": true, "by": "operator"}));
    let input = newest(json!({"approval": true, "retention": {"newest": 2}}));
    let outcome = tried(Product::of_the_project(), file, input, vec![swap], approval);
    let text = ended(&outcome);
    assert!(text.starts_with("CleanupFailed") && text.contains("going.jsonl") && text.contains("digest"), "{text}");
    assert_eq!(removals(&outcome), 0);
}

/// 60. Without `apply` nothing is changed.
///
/// Case 12: a first run on an account with many old images: a dry run by default, and the cap holds in each Region.
#[test]
fn case_12_the_cap_holds_in_each_region_and_a_run_is_dry_by_default() {
    let file = || {
        let here = (1..=60).map(|number| image(number, number.into()));
        let there = (101..=160).map(|number| {
            let image = with(image(number, number.into()), "region", json!("eu-west-1"));
            with(image, "tags", ours("i-2"))
        });
        account(here.chain(there).collect(), json!({}))
    };
    let regions = json!(["us-east-1", "eu-west-1"]);
    let limits = json!({"images": 5, "sharePercent": 100});
    let dry = cleaned(file(), json!({"retention": {"newest": 1}, "regions": regions, "limits": limits}));
    assert_eq!((ended(&dry).as_str(), removals(&dry)), ("OK", 0));
    let applied = cleaned(file(), newest(json!({"regions": regions, "limits": limits})));
    let left =
        |region: &str| applied.things.iter().filter(|thing| thing.kind == "image" && thing.region == region).count();
    assert_eq!((left("us-east-1"), left("eu-west-1")), (55, 55));
    assert!(said(&applied, &ami(2)).contains("over-limit"), "{}", said(&applied, &ami(2)));
}

/// 55. A plan that would take more than the share asks a person.
///
/// 61. A plan that asks is applied only if a person agreed to it. Who does not answer is asked again from time to time.
///     Without an answer, or with a no, nothing is removed and the run fails.
///
/// Case 16: a policy that would take nearly everything asks a person, and without an answer nothing goes.
#[test]
fn case_16_mass_removal_asks_and_without_an_answer_nothing_goes() {
    let file = || account((1..=9).map(|number| image(number, number.into())).collect(), json!({}));
    let input = || json!({"retention": {"newest": 1}, "apply": true});
    let nobody = cleaned(file(), input());
    let text = ended(&nobody);
    assert!(text.starts_with("CleanupFailed") && text.contains("8 of the 9 images"), "{text}");
    assert_eq!(removals(&nobody), 0);
    assert!(nobody.calls.iter().filter(|call| call.action == "Publish").count() > 1, "people are told, and told again");
    let agreed = Some(json!({"approved": true, "by": "operator"}));
    let agreed = tried(Product::of_the_project(), file(), input(), Vec::new(), agreed);
    assert_eq!((ended(&agreed).as_str(), agreed.things.count("image")), ("OK", 1));
    let refused = Some(json!({"approved": false, "by": "operator"}));
    let refused = tried(Product::of_the_project(), file(), input(), Vec::new(), refused);
    assert!(ended(&refused).contains("did not agree") && removals(&refused) == 0, "{}", ended(&refused));
}

/// Case 17: the plan says when the bin would keep an image for longer than its snapshots. (That it comes back: undo.)
#[test]
fn case_17_a_bin_that_keeps_snapshots_shorter_is_a_warning() {
    let rule =
        |kind: &str, days: u32| json!({"region": "us-east-1", "id": kind, "resourceType": kind, "retentionDays": days});
    let rules = json!({"recycleBinRules": [rule("EC2_IMAGE", 14), rule("EBS_SNAPSHOT", 7)]});
    let outcome = cleaned(account(vec![image(1, 1), image(2, 2)], rules), newest(json!({})));
    assert!(said(&outcome, &ami(2)).contains("bin-keeps-snapshot-shorter"), "{}", said(&outcome, &ami(2)));
}

/// 65. What a clean-up removed comes back while the Recycle Bin holds it, under its ids. What is back never expires.
///
/// Case 17: what a clean-up removed comes back while the bin holds it, under its old ids, and the next clean-up leaves it.
#[test]
fn case_17_what_was_removed_comes_back() {
    let rule = |kind: &str| json!({"region": "us-east-1", "id": kind, "resourceType": kind, "retentionDays": 14});
    let file = || {
        let mut shared_once = image(2, 2);
        shared_once["tags"]["Team"] = json!("web");
        let rules = json!({"recycleBinRules": [rule("EC2_IMAGE"), rule("EBS_SNAPSHOT")]});
        account(vec![image(1, 1), shared_once, image(3, 3)], rules)
    };
    let trial = |machine: &str, input: Value, before: &[(&str, Value)]| Trial {
        machine: machine.into(),
        input,
        before: before.iter().map(|(machine, input)| ((*machine).to_owned(), input.clone())).collect(),
        file: file(),
        approval: None,
        faults: Vec::new(),
        seed: 7,
        told: false,
        once: true,
    };
    let run = |trial: Trial| {
        let outcome = trial::run(&Rc::new(Product::of_the_project()), &trial, None);
        assert_eq!(outcome.complaints, Vec::<String>::new());
        outcome
    };
    let cleanup = newest(json!({"run": "c"}));
    let undone = run(trial("undo", json!({"run": "c"}), &[("cleanup", cleanup.clone())]));
    assert_eq!(ended(&undone), "OK");
    for number in [2, 3] {
        let image = undone.things.find("image", &ami(number)).expect("the image is back");
        assert_eq!((image.state.as_str(), image.tags["ami-backup:expires"].as_str()), ("available", "never"));
        let snapshot = undone.things.find("snapshot", &snap(number)).expect("its snapshot is back");
        assert_eq!(snapshot.state, "completed");
    }
    assert_eq!(undone.things.find("image", &ami(2)).map(|image| image.tags["Team"].as_str()), Some("web"));
    let before = [("cleanup", cleanup.clone()), ("undo", json!({"run": "c"}))];
    let next = run(trial("cleanup", newest(json!({"run": "next"})), &before));
    assert_eq!((ended(&next).as_str(), next.things.count("image"), removals(&next)), ("OK", 3, 0));
}

/// 60. What a dry run has planned is applied by the same run with `apply`, as it was read.
#[test]
fn what_was_read_is_what_goes() {
    let input = json!({
        "run": "c", "retention": {"days": 30}, "limits": {"sharePercent": 100}, "freshMinutes": 7 * 24 * 60,
    });
    let file = account(vec![image(1, 1), image(2, 29), image(3, 100)], json!({}));
    let dry = cleaned(file.clone(), input.clone());
    assert_eq!([1, 2, 3].map(|number| is_there(&dry, &ami(number))), [true; 3]);
    let before = vec![("cleanup".into(), input.clone())];
    let trial = Trial { before, ..clean_up(file, with(input, "apply", json!(true))) };
    let outcome = trial::run(&Rc::new(Product::of_the_project()), &trial, None);
    assert_eq!(outcome.complaints, Vec::<String>::new());
    // Days later the second is due too, and was not when a person read the plan.
    assert_eq!([1, 2, 3].map(|number| is_there(&outcome, &ami(number))), [true, true, false]);
}

/// 65. What is lost is named.
///
/// What the bin does not hold is lost, and the run says so.
#[test]
fn what_is_not_in_the_bin_is_said_to_be_lost() {
    let trial = Trial {
        machine: "undo".into(),
        input: json!({"run": "c"}),
        before: vec![("cleanup".into(), newest(json!({"run": "c"})))],
        file: account(vec![image(1, 1), image(2, 2)], json!({})),
        approval: None,
        faults: Vec::new(),
        seed: 7,
        told: false,
        once: true,
    };
    let outcome = trial::run(&Rc::new(Product::of_the_project()), &trial, None);
    let text = ended(&outcome);
    assert!(text.starts_with("UndoFailed") && text.contains(&ami(2)) && text.contains(&snap(2)), "{text}");
}

/// 65. What is lost is named.
///
/// What comes back in part is no success.
#[test]
fn an_undo_that_brings_back_only_some_fails() {
    let rule = |kind: &str, excluded: Value| {
        json!({
            "region": "us-east-1", "id": kind, "resourceType": kind, "retentionDays": 14,
            "excludeResourceTags": excluded,
        })
    };
    let mut lost = image(3, 3);
    lost["volumes"][0]["snapshotTags"]["Fleeting"] = json!("yes");
    let rules = [rule("EC2_IMAGE", json!({})), rule("EBS_SNAPSHOT", json!({"Fleeting": null}))];
    let file = account(vec![image(1, 1), image(2, 2), lost], json!({"recycleBinRules": rules}));
    let before = vec![("cleanup".into(), newest(json!({"run": "c"})))];
    let trial = Trial { machine: "undo".into(), before, ..clean_up(file, json!({"run": "c"})) };
    let outcome = trial::run(&Rc::new(Product::of_the_project()), &trial, None);
    let text = ended(&outcome);
    assert!(text.starts_with("UndoPartial") && text.contains(&ami(3)) && text.contains(&snap(3)), "{text}");
    assert!(is_there(&outcome, &ami(2)) && is_there(&outcome, &snap(2)));
}

/// 77. After an undo the same run with `apply` is refused with the time of the undo.
#[test]
fn what_was_undone_is_not_applied_again() {
    let rule = |kind: &str| json!({"region": "us-east-1", "id": kind, "resourceType": kind, "retentionDays": 14});
    let rules = json!({"recycleBinRules": [rule("EC2_IMAGE"), rule("EBS_SNAPSHOT")]});
    let file = account(vec![image(1, 1), image(2, 2)], rules);
    let cleanup = newest(json!({"run": "c"}));
    let before = vec![("cleanup".into(), cleanup.clone()), ("undo".into(), json!({"run": "c"}))];
    let trial = Trial { before, ..clean_up(file, cleanup) };
    let outcome = trial::run(&Rc::new(Product::of_the_project()), &trial, None);
    let text = ended(&outcome);
    assert!(text.starts_with("CleanupFailed") && text.contains("it was undone at "), "{text}");
    assert!(is_there(&outcome, &ami(2)) && removals(&outcome) == 0);
}

/// 44. A snapshot that several images are on goes with the last of them.
///
/// Case 19: a snapshot that two images are on goes with the last of them, and the run is not stopped by it.
#[test]
fn case_19_a_shared_snapshot_goes_with_the_last_image() {
    let shared = |number: u32, age: i64| {
        let volumes =
            json!([{"device": "/dev/xvda", "sizeGib": 8, "snapshotId": snap(9), "snapshotTags": ours("i-1")}]);
        with(image(number, age), "volumes", volumes)
    };
    let outcome = cleaned(account(vec![shared(1, 1), shared(2, 2)], json!({})), newest(json!({})));
    assert!(!is_there(&outcome, &ami(2)) && is_there(&outcome, &snap(9)));
    let outcome = cleaned(account(vec![image(1, 1), shared(2, 2), shared(3, 3)], json!({})), newest(json!({})));
    assert!(!is_there(&outcome, &ami(2)) && !is_there(&outcome, &ami(3)) && !is_there(&outcome, &snap(9)));
    assert_eq!(ended(&outcome), "OK");
}

/// Cases 21 and 22: what AWS Backup looks after is left alone, and an image on its snapshot is reported as its blocker.
#[test]
fn cases_21_and_22_what_aws_backup_looks_after_is_left_alone() {
    let mut backup = image(3, 3);
    backup["tags"]["aws:backup:source-resource"] = json!("i-1");
    let mut on_recovery_point = image(4, 4);
    on_recovery_point["volumes"][0]["snapshotTags"] = json!({"aws:backup:source-resource": "vol-1"});
    let file = account(vec![image(1, 1), image(2, 2), backup, on_recovery_point], json!({}));
    let outcome = cleaned(file, newest(json!({})));
    assert!(said(&outcome, &ami(3)).contains("AWS Backup") && is_there(&outcome, &ami(3)));
    let text = said(&outcome, &snap(4));
    assert!(text.starts_with("KEEP") && text.contains("blocks-a-recovery-point"), "{text}");
    assert!(is_there(&outcome, &snap(4)) && !is_there(&outcome, &ami(2)));
}

/// An account with one image, and a snapshot of another that is gone.
fn orphaned(more: Value) -> AccountFile {
    let snapshot = json!({
        "region": "us-east-1", "id": snap(7), "description": format!("Created by CreateImage(i-1) for {}", ami(7)),
        "tags": ours("i-1"), "volumeId": "vol-0a1b2c3d4e5f60007", "sizeGib": 8,
    });
    let stale = json!({
        "region": "us-east-1", "id": snap(8), "description": "for the auditors", "tags": ours("i-1"),
        "volumeId": "vol-0a1b2c3d4e5f60008", "sizeGib": 8, "startTime": "2019-01-01T00:00:00Z",
    });
    let mut fields = json!({"snapshots": [snapshot, stale]});
    for (field, value) in more.as_object().expect("fields") {
        fields[field] = value.clone();
    }
    account(vec![image(1, 1)], fields)
}

/// 53. An orphan goes only if the policy says so and after it was seen as one for the grace time. What was not made for
///     an image is no orphan.
///
/// Cases 23 and 82: orphans are found by what EC2 wrote into them, shown, and deleted only on opt-in after a grace time;
/// what is old and was not made for an image is none.
#[test]
fn case_23_orphans_are_shown_first_and_go_on_opt_in_after_a_grace_time() {
    let shown = cleaned(orphaned(json!({})), newest(json!({})));
    assert!(said(&shown, &snap(7)).contains("orphan-left-alone"), "{}", said(&shown, &snap(7)));
    assert!(said(&shown, &snap(8)).contains("not-of-an-image"), "{}", said(&shown, &snap(8)));
    let opt_in = newest(json!({"orphans": {"graceDays": 1}}));
    let young = cleaned(orphaned(json!({})), opt_in.clone());
    assert!(said(&young, &snap(7)).contains("orphan-in-grace") && is_there(&young, &snap(7)));
    // What comes before takes six hours and three days.
    let before = vec![("cleanup".into(), opt_in.clone())];
    let trial = Trial { before, ..clean_up(orphaned(json!({})), with(opt_in, "run", json!("later"))) };
    let later = trial::run(&Rc::new(Product::of_the_project()), &trial, None);
    assert_eq!(later.complaints, Vec::<String>::new());
    assert!(!is_there(&later, &snap(7)) && is_there(&later, &snap(8)));
}

/// Case 24: the snapshot of an image that exists is never a candidate, whatever its description says.
#[test]
fn case_24_a_snapshot_of_an_image_is_never_an_orphan() {
    for state in ["available", "disabled"] {
        let mut kept = with(image(2, 400), "state", json!(state));
        kept["volumes"][0]["snapshotId"] = json!(snap(7));
        kept["tags"]["ami-backup:expires"] = json!("never");
        let mut file = orphaned(json!({}));
        file.accounts[0].images.push(serde_json::from_value(kept).expect("an image"));
        let outcome = cleaned(file, newest(json!({"orphans": {"graceDays": 1}})));
        assert!(said(&outcome, &snap(7)).contains("backs-an-image"), "{state}: {}", said(&outcome, &snap(7)));
        assert!(is_there(&outcome, &snap(7)), "{state}");
    }
}

/// 46. Each family keeps its last good backup.
///
/// Case 27: a new backup that failed or is still being made lets no old one go.
#[test]
fn case_27_old_ones_stay_until_a_newer_one_is_good() {
    for state in ["failed", "pending"] {
        let broken = with(image(1, 0), "state", json!(state));
        let outcome = cleaned(account(vec![broken, image(2, 100)], json!({})), newest(json!({})));
        assert!(is_there(&outcome, &ami(2)), "{state}");
        assert!(said(&outcome, &ami(2)).contains("last-good"), "{}", said(&outcome, &ami(2)));
    }
}

/// 46. Each family keeps its last good backup.
///
/// 66. A last good backup that is older than the policy keeps is said to be too old. The run that says so ends with a
///     `WARNING` and a notice.
///
/// Case 28: all backups are older than the retention: the last good one stays, and people are told.
#[test]
fn case_28_the_last_good_one_stays_and_is_said_to_be_too_old() {
    let file = account(vec![image(1, 300), image(2, 400)], json!({}));
    let input = json!({"retention": {"days": 30}, "apply": true, "limits": {"sharePercent": 100}});
    let outcome = cleaned(file, input);
    assert!(is_there(&outcome, &ami(1)) && !is_there(&outcome, &ami(2)));
    assert_eq!(ended(&outcome), "WARNING");
    assert!(outcome.calls.iter().any(|call| call.action == "Publish"), "people are told");
}

/// Case 30: an expiry is written by the call that creates, on the image and on its snapshots.
#[test]
fn case_30_nothing_is_made_without_its_expiry() {
    let mut file = ami_backup_tests::demo_account();
    file.settings.consistency_delay_ms = 0;
    let trial = Trial {
        machine: "backup".into(),
        input: json!({"instanceIds": [ami_backup_tests::INSTANCE], "store": false, "keepDays": 30}),
        before: Vec::new(),
        file,
        approval: None,
        faults: Vec::new(),
        seed: 7,
        told: false,
        once: true,
    };
    let outcome = trial::run(&Rc::new(Product::of_the_project()), &trial, None);
    let created: Vec<_> = outcome.calls.iter().filter(|call| call.action == "CreateImage").collect();
    assert_eq!(created.len(), 1);
    let expires = created[0].parameters.values().filter(|value| *value == "ami-backup:expires").count();
    assert_eq!(expires, 2, "image and snapshots: {:?}", created[0].parameters);
}

/// Case 31: with the policy gone, images still go by what is written on them, and the others are listed.
#[test]
fn case_31_what_is_written_on_an_image_outlives_its_policy() {
    let dated = |number: u32, age: i64, date: Timestamp| {
        let mut image = image(number, age);
        image["tags"]["ami-backup:expires"] = json!(date.to_string());
        image["tags"]["ami-backup:policy"] = json!("renamed-since");
        image
    };
    let images = vec![
        dated(1, 1, days_ago(-30)),
        dated(2, 40, days_ago(10)),
        dated(3, 20, days_ago(-10)),
        with(image(4, 300), "tags", ours("i-4")),
        with(image(5, 200), "tags", ours("i-4")),
    ];
    let outcome = cleaned(account(images, json!({})), json!({"apply": true}));
    assert_eq!([1, 2, 3, 4].map(|number| is_there(&outcome, &ami(number))), [true, false, true, true]);
    assert!(said(&outcome, &ami(4)).contains("no-expiry"), "{}", said(&outcome, &ami(4)));
}

/// Case 33: the name has a new version, and old ones are still of the family.
#[test]
fn case_33_a_new_version_in_the_name_is_the_same_family() {
    let named = |number: u32, age: i64, name: &str| {
        let mut image = with(image(number, age), "name", json!(name));
        image["tags"]["ami-backup:source"] = json!(format!("i-{number}"));
        image
    };
    let images = vec![named(1, 1, "web-2.0"), named(2, 2, "web-1.9"), named(3, 3, "web-1.8")];
    let input = newest(json!({"families": [{"name": "web-*"}]}));
    // That each is the newest of its own source is what the harness would miss, and the operator's rule is another.
    let trial = clean_up(account(images, json!({})), input);
    let outcome = trial::run(&Rc::new(Product::of_the_project()), &trial, None);
    assert_eq!([1, 2, 3].map(|number| is_there(&outcome, &ami(number))), [true, false, false]);
}

/// 58. The same run, started again while the plan is fresh, does the rest and nothing else.
///
/// Case 35: more than one invocation can do goes on in the next, and a run that was cut off is no success until the rest
/// is done.
#[test]
fn case_35_a_long_plan_goes_on_step_by_step_and_after_a_stop() {
    let file = || account((1..=60).map(|number| image(number, number.into())).collect(), json!({}));
    let input = || newest(json!({"limits": {"images": 1000, "sharePercent": 100}}));
    let whole = cleaned(file(), input());
    assert_eq!((ended(&whole).as_str(), whole.things.count("image"), whole.things.count("snapshot")), ("OK", 1, 1));
    let batches = whole.begun.iter().filter(|task| task.function == "cleanup-snapshots").count();
    assert_eq!(batches, 6);
    let stopped = tried(Product::of_the_project(), file(), input(), vec![Fault::Stop { nth: 14 }], None);
    assert!(stopped.first.is_none());
    assert_eq!(
        (ended(&stopped).as_str(), stopped.things.count("image"), stopped.things.count("snapshot")),
        ("OK", 1, 1)
    );
}

/// 64. `cleanup-snapshots` has no right to remove what does not carry our tag, unless the operator widens its role.
///
/// What does not carry our tag is not removed, whatever a policy says, unless the operator has widened the role: the
/// removal is refused, and that is no success.
#[test]
fn the_role_removes_only_what_is_ours_unless_the_operator_widens_it() {
    let foreign = |number: u32, age: i64| {
        let mut image = with(image(number, age), "tags", json!({"Role": "web"}));
        image["volumes"][0]["snapshotTags"] = json!({});
        image
    };
    let file = || account(vec![foreign(1, 1), foreign(2, 2)], json!({}));
    let input = newest(json!({"families": [{"tag": "Role"}]}));
    let left_alone = cleaned(file(), input.clone());
    assert!(said(&left_alone, &ami(2)).contains("not-ours") && is_there(&left_alone, &ami(2)));

    let trial = |product: Product| {
        let trial = clean_up(file(), with(input.clone(), "includeUnmanaged", json!(true)));
        trial::run(&Rc::new(product), &trial, None)
    };
    let refused = trial(Product::of_the_project());
    assert!(is_there(&refused, &ami(2)) && ended(&refused).starts_with("Cleanup"), "{}", ended(&refused));
    assert!(ended(&refused).contains("AccessDenied") || ended(&refused).contains("UnauthorizedOperation"));

    let mut widened = Product::of_the_project();
    let role = widened.roles.get_mut("cleanup-snapshots").and_then(|role| role["Statement"].as_array_mut());
    for statement in role.expect("statements") {
        if statement["Condition"].to_string().contains("ami-backup:managed") {
            statement.as_object_mut().expect("a statement").remove("Condition");
        }
    }
    assert!(!is_there(&trial(widened), &ami(2)));
}
