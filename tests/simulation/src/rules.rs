//! Owns what must hold, whatever happens: one function per rule of `docs/SEMANTICS.md`. Each returns
//! what breaks it, in words.

use std::collections::{BTreeMap, BTreeSet};

use ami_backup_core::{ErrorName, SignedDuration, Timestamp, naming};
use ami_backup_engine::{Ended, Event, History, Machine, Status};
use ami_backup_simulator::{
    Simulator,
    calls::Call,
    objects::{LocalObjects, ObjectStore},
};
use ami_backup_tests::things::{Thing, Things};
use serde_json::Value;

use crate::{
    deployment::Begun,
    faults::{CallFault, Fault, TaskFault},
    papers::Plan,
    trial::Finished,
    wire::Made,
};

/// Ids of what people changed.
type Touched = BTreeSet<String>;

/// What the project writes beside what it makes: records, and what a run leaves for its report.
const PAPERS: &[&str] = &naming::PAPERS;
/// A step that began in time has ended after this.
const LONGEST_STEP: SignedDuration = SignedDuration::from_mins(17);
/// Tag of everything that is made.
const MANAGED: &str = "ami-backup:managed";
/// Tag with the run.
const RUN: &str = "ami-backup:run";
/// Tag with when it may go.
const EXPIRES: &str = "ami-backup:expires";
/// Tag with what it was made from.
const SOURCE: &str = "ami-backup:source";
/// Between the look at an image and its removal lies no more than one batch.
const LONGEST_BATCH: SignedDuration = SignedDuration::from_mins(2);
/// Tag by which what a call made is found again.
const TOKEN: &str = "ami-backup:token";
/// Calls that make what costs money, each of them once.
const CREATING: &[&str] = &[
    "CopyImage",
    "CopySnapshot",
    "CreateImage",
    "CreateRestoreImageTask",
    "CreateSnapshot",
    "CreateStoreImageTask",
    "ExportImage",
    "RegisterImage",
];
/// Refusals of a call for lack of a right.
const DENIALS: &[&str] = &["AccessDenied", "AuthorizationError", "Forbidden", "UnauthorizedOperation"];
/// Refusals of a call for quota.
pub const QUOTA: &[&str] = &["RequestLimitExceeded", "ResourceLimitExceeded", "SlowDown", "Throttling"];

/// Whether a key is that of a paper: below one of the folders, or the record beside a stored object.
fn is_paper(id: &str) -> bool {
    let key = id.split_once('/').map_or(id, |(_, key)| key);
    PAPERS.iter().any(|folder| key.starts_with(folder)) || key.ends_with(".bin.json")
}

/// What an execution says: its output or its error, and every document that it wrote.
#[derive(Debug, Default)]
pub struct Documents {
    /// Claims of its output, its cause and its report.
    pub claims: Vec<Value>,
    /// Everything, as text.
    pub text: String,
}

impl Documents {
    /// Reads what an execution says, and whatever papers there are now.
    pub async fn read(ended: &Ended, things: &Things, before: &Things, objects: &LocalObjects) -> Self {
        let said = match &ended.status {
            Status::Succeeded(output) => output.clone(),
            Status::Failed(failure) => {
                serde_json::from_str(&failure.cause).unwrap_or_else(|_| Value::String(failure.cause.clone()))
            }
            Status::TimedOut => Value::Null,
        };
        let mut documents = Self { claims: Vec::new(), text: said.to_string() };
        collect_claims(&said, &mut documents.claims);
        let report = report_of(&said);
        for paper in things.beyond(before).filter(|thing| thing.kind == "object" && is_paper(&thing.id)) {
            let Some((bucket, key)) = paper.id.split_once('/') else { continue };
            let Ok(object) = objects.get(bucket, key).await else { continue };
            let text = String::from_utf8_lossy(&object.body).into_owned();
            if report.as_deref() == Some(&paper.id) {
                let lines = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
                lines.for_each(|line| collect_claims(&line, &mut documents.claims));
            }
            documents.text.push_str(&text);
        }
        documents
    }
}

/// Where the report is: a place in the output, an address in the cause.
fn report_of(said: &Value) -> Option<String> {
    let report = &said["report"];
    if let Some(address) = report.as_str() {
        return address.strip_prefix("s3://").map(str::to_owned);
    }
    Some(format!("{}/{}", report["bucket"].as_str()?, report["key"].as_str()?))
}

/// Everything that is called `claim`, at any depth.
fn collect_claims(value: &Value, claims: &mut Vec<Value>) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                if name == "claim" && value.is_object() {
                    claims.push(value.clone());
                } else {
                    collect_claims(value, claims);
                }
            }
        }
        Value::Array(values) => values.iter().for_each(|value| collect_claims(value, claims)),
        _ => {}
    }
}

/// Every execution ends before its deadline, and a bad end has one of the names that people know.
pub fn it_ends_as_it_should(ended: &Ended, machine: &Machine) -> Vec<String> {
    let took = ended.ended.duration_since(ended.began);
    let limit = machine.timeout_seconds.and_then(|seconds| i64::try_from(seconds).ok());
    let mut complaints = Vec::new();
    if limit.is_none_or(|limit| took >= SignedDuration::from_secs(limit)) {
        complaints.push(format!("the execution took {took:#}, its limit or more"));
    }
    match &ended.status {
        Status::TimedOut => complaints.push("the execution timed out".into()),
        Status::Failed(failure) if failure.error.starts_with("States.") && failure.error != "States.Timeout" => {
            complaints.push(format!("the execution fails with {}: {}", failure.error, failure.cause));
        }
        Status::Failed(failure) if failure.cause.is_empty() => {
            complaints.push(format!("the execution fails with {} and no cause", failure.error));
        }
        Status::Failed(_) | Status::Succeeded(_) => {}
    }
    complaints
}

/// A wait ends at its deadline: no step says after it that there is more to wait for.
pub fn no_wait_outlasts_its_deadline(histories: &[(String, History)]) -> Vec<String> {
    let late = |event: &&Event| {
        let turn = &event.detail["output"]["Payload"];
        let goes_on = turn["status"] == "IN_PROGRESS" || turn["status"] == "DEFERRED";
        let deadline = turn["deadline"].as_str().and_then(|text| text.parse::<Timestamp>().ok());
        goes_on && deadline.is_some_and(|deadline| event.at.duration_since(deadline) > LONGEST_STEP)
    };
    let mut complaints = Vec::new();
    for (name, history) in histories {
        let events = history.events();
        let late = events.iter().filter(|event| event.kind == "TaskSucceeded").filter(late);
        complaints.extend(late.map(|event| format!("{name} goes on waiting in {} after its deadline", event.place)));
    }
    complaints
}

/// A run that says success did all it says.
pub fn success_is_whole(finished: &Finished<'_>) -> Vec<String> {
    let Status::Succeeded(output) = &finished.ended.status else { return Vec::new() };
    let bad = ["PARTIAL", "FAILED"].into_iter().filter(|verdict| output["verdict"] == *verdict);
    let unfinished = finished.documents.claims.iter().filter(|claim| claim["state"] == "unfinished");
    let bad = bad.map(|verdict| format!("the execution succeeds with the verdict {verdict}"));
    bad.chain(unfinished.map(|claim| format!("the execution succeeds and claims {claim}"))).collect()
}

/// What passes by itself does not fail a run.
pub fn what_passes_is_made_good(faults: &[Fault], first: Option<&Ended>) -> Vec<String> {
    let passing = faults.iter().all(|fault| match fault {
        Fault::Task { what: TaskFault::Raises(error), .. } => {
            let ours = [ErrorName::Throttled, ErrorName::Transient, ErrorName::NotYetVisible];
            ours.iter().any(|name| name.as_str() == error) || ErrorName::FOREIGN.contains(&error.as_str())
        }
        Fault::Task { .. } | Fault::Beside { .. } => true,
        Fault::Call { what, .. } => !matches!(what, CallFault::Denied | CallFault::NotFound),
        Fault::Doomed { .. } | Fault::Stop { .. } | Fault::Person { .. } => false,
    });
    match first.map(|ended| &ended.status) {
        Some(Status::Succeeded(_)) => Vec::new(),
        other if passing => vec![format!("what passes by itself fails the run: {other:?}")],
        _ => Vec::new(),
    }
}

/// What a report claims is so when the execution ends.
pub fn what_is_claimed_is_so(finished: &Finished<'_>, touched: &Touched) -> Vec<String> {
    let mut complaints = Vec::new();
    for claim in &finished.documents.claims {
        let text = |name: &str| claim[name].as_str().unwrap_or_default();
        let (id, state) = (text("id"), text("state"));
        let (kind, full) = match claim["bucket"].as_str() {
            Some(bucket) if !id.starts_with("export-ami-") => ("object", format!("{bucket}/{id}")),
            Some(_) => ("export", id.to_owned()),
            None if id.starts_with("snap-") => ("snapshot", id.to_owned()),
            None => ("image", id.to_owned()),
        };
        if touched.contains(&full) {
            continue;
        }
        let found = finished.things.find(kind, &full);
        let so = match (state, found) {
            ("unfinished", _) => true,
            ("gone", found) => found.is_none(),
            (_, Some(thing)) => thing.state == state && (thing.region.is_empty() || thing.region == text("region")),
            (_, None) => false,
        };
        if !so {
            let found =
                found.map_or("it is not there".to_owned(), |thing| format!("{} in {}", thing.state, thing.region));
            complaints.push(format!("the report claims {claim}, and {found}"));
        }
    }
    complaints
}

/// Whatever the run made and left is named in what it says: by its id, if any function has answered
/// with it or a report could look for it, and else by the run, whose tag it carries.
pub fn nothing_is_left_out(finished: &Finished<'_>, before: &Things, touched: &Touched) -> Vec<String> {
    let made = finished.things.beyond(before).filter(|thing| match thing.kind {
        "image" | "export" => !thing.is_bad() && thing.tags.contains_key(MANAGED),
        "store" => !thing.is_bad(),
        "object" => !is_paper(&thing.id),
        _ => false,
    });
    let text = &finished.documents.text;
    let told = |thing: &Thing| {
        let key = match thing.kind {
            // A file is named by the task that wrote it.
            "object" => thing.id.rsplit('/').next().and_then(|file| file.split('.').next()).unwrap_or_default(),
            _ => thing.id.split_once('/').map_or(thing.id.as_str(), |(_, key)| key),
        };
        let known = finished.answers.contains(key);
        let run = thing.tags.get(RUN).is_some_and(|run| text.contains(run.as_str()));
        text.contains(key) || (run && (!known || text.contains("was not looked for")))
    };
    made.filter(|thing| !touched.contains(&thing.id) && !told(thing))
        .map(|thing| format!("{} {} is left behind, {}, and nothing says so", thing.kind, thing.id, thing.state))
        .collect()
}

/// Nothing good is removed because something else failed.
pub fn nothing_good_is_removed(earlier: &Things, later: &Things, touched: &Touched) -> Vec<String> {
    earlier
        .iter()
        .filter(|thing| thing.is_good() && !touched.contains(&thing.id))
        // Store tasks are forgotten by EC2 after a month.
        .filter(|thing| thing.kind != "store" && later.find(thing.kind, &thing.id).is_none())
        .map(|thing| format!("{} {} was {} and is gone", thing.kind, thing.id, thing.state))
        .collect()
}

/// The image that a person may have meant: blanks at the ends and the case of letters are easily wrong.
fn meant(typed: &str) -> String {
    typed.trim().to_ascii_lowercase()
}

/// The images that something uses, or may be meant to: instances that are not terminated, and whatever names images.
pub fn in_use(simulator: &Simulator) -> BTreeSet<String> {
    let world = simulator.world();
    let mut used = BTreeSet::new();
    for account in &simulator.file().accounts {
        for region in &account.regions {
            let instances = world.instances(&account.id, region).into_iter();
            used.extend(instances.filter(|one| one.state != "terminated").map(|one| one.image_id));
        }
        for template in &account.launch_templates {
            used.extend(template.versions.iter().filter_map(|version| version.image_id.as_deref().map(meant)));
        }
    }
    let uses = world.uses();
    used.extend(uses.launch_configurations.iter().map(|one| meant(&one.it.image_id)));
    used.extend(uses.ssm_parameters.iter().map(|one| meant(&one.it.value)));
    let recipes = uses.image_recipes.iter().chain(&uses.container_recipes);
    used.extend(recipes.map(|one| meant(&one.it.image_id)));
    let mixed = uses.auto_scaling_groups.iter().filter_map(|one| one.it.mixed_instances_policy.as_ref());
    let fleets = uses.fleets.iter().flat_map(|one| &one.it.launch_template_configs);
    let overrides = mixed.chain(fleets).flat_map(|one| &one.overrides);
    used.extend(overrides.filter_map(|one| one.image_id.as_deref().map(meant)));
    let spot = uses.spot_fleets.iter().flat_map(|one| &one.it.launch_specifications);
    used.extend(spot.map(|one| meant(&one.image_id)));
    used
}

/// The functions that may remove images and snapshots, or bring them back: those of a clean-up.
fn retiring(roles: &BTreeMap<&'static str, Value>) -> BTreeSet<&'static str> {
    let retires = |role: &Value| {
        let role = role.to_string();
        ["ec2:DeleteSnapshot", "ec2:RestoreImageFromRecycleBin"].iter().any(|right| role.contains(right))
    };
    roles.iter().filter(|(_, role)| retires(role)).map(|(function, _)| *function).collect()
}

/// Whether a function may delete snapshots: only a cleanup's may.
pub fn removes(roles: &BTreeMap<&'static str, Value>, function: &str) -> bool {
    roles.get(function).is_some_and(|role| role.to_string().contains("ec2:DeleteSnapshot"))
}

/// The things of ours that a clean-up changed or removed: what it may do to them is [`what_goes_may_go`].
pub fn retired(roles: &BTreeMap<&'static str, Value>, before: &Things, calls: &[Call]) -> Touched {
    let retiring = retiring(roles);
    let by_them = calls.iter().filter(|call| call.function.as_deref().is_some_and(|one| retiring.contains(one)));
    let ids: BTreeSet<&String> = by_them.flat_map(|call| call.parameters.values()).collect();
    let ours = before.iter().filter(|thing| thing.tags.get(MANAGED).is_some_and(|value| value == "true"));
    ours.filter(|thing| ids.contains(&thing.id)).map(|thing| thing.id.clone()).collect()
}

/// What came back from the Recycle Bin, with the tags that it had.
pub fn restored(calls: &[Call]) -> Touched {
    let restores = ["RestoreImageFromRecycleBin", "RestoreSnapshotFromRecycleBin"];
    let calls = calls.iter().filter(|call| restores.contains(&call.action.as_str()));
    calls
        .flat_map(|call| ["ImageId", "SnapshotId"].into_iter().filter_map(|name| call.parameters.get(name).cloned()))
        .collect()
}

/// The calls by which a cleanup removed or changed something: the call, and the action and the id as a plan says them.
fn removing<'a>(
    roles: &BTreeMap<&'static str, Value>,
    calls: &'a [Call],
) -> impl Iterator<Item = (&'a Call, &'static str, &'a str)> {
    let retiring = retiring(roles);
    let by_them = move |call: &&Call| call.function.as_deref().is_some_and(|one| retiring.contains(one));
    calls.iter().filter(by_them).filter(|call| call.outcome == "ok").filter_map(|call| {
        let (action, parameter) = match call.action.as_str() {
            "DeregisterImage" => ("DEREGISTER", "ImageId"),
            "DisableImage" => ("DISABLE", "ImageId"),
            "EnableImageDeprecation" => ("DEPRECATE", "ImageId"),
            "DeleteSnapshot" => ("DELETE_SNAPSHOT", "SnapshotId"),
            _ => return None,
        };
        Some((call, action, call.parameters.get(parameter)?.as_str()))
    })
}

/// 57. A plan that is no longer fresh is refused.
///
/// 60. Without `apply` nothing is changed.
///
/// 61. A plan that asks is applied only if a person agreed to it.
///
/// 75. What is applied is what was read, and anything else is a `Conflict` with the place and both digests.
///
/// What goes is in a plan as a person could read it, at a moment at which that plan was fresh, and after a person agreed to
/// that very plan where it asks; and no plan takes more than the limits allow.
pub fn what_goes_was_read(
    roles: &BTreeMap<&'static str, Value>,
    input: &Value,
    plans: &[Plan],
    agreed: &[(Timestamp, String)],
    calls: &[Call],
) -> Vec<String> {
    let mut complaints = Vec::new();
    for (call, action, id) in removing(roles, calls) {
        if input["apply"] != true {
            complaints.push(format!("{action} of {id} without `apply`"));
        }
        let fresh = |plan: &&Plan| plan.made_at <= call.at && call.at < plan.fresh_until + LONGEST_BATCH;
        let named = |plan: &&Plan| plan.region == call.region && plan.going.get(id).is_some_and(|one| one == action);
        let may = |plan: &&Plan| {
            let asks = plan.asks || input["approval"] == true;
            !asks || agreed.iter().any(|(at, digest)| *at <= call.at && *digest == plan.digest)
        };
        if !plans.iter().filter(fresh).filter(named).any(|plan| may(&plan)) {
            complaints.push(format!("{action} of {id}, which is in no plan that was fresh then and agreed to"));
        }
    }
    let limit = |name: &str, default: u64| input["limits"][name].as_u64().unwrap_or(default);
    let (most, most_alone) = (limit("images", 25), limit("orphanSnapshots", 100));
    for plan in plans {
        let images = plan.going.values().filter(|action| *action != "DELETE_SNAPSHOT").count();
        let over = |count: usize, most: u64| u64::try_from(count).is_ok_and(|count| count > most);
        if over(images, most) || over(plan.alone, most_alone) {
            complaints.push(format!("{} lets go {images} images and {} snapshots", plan.prefix, plan.alone));
        }
    }
    complaints
}

/// 74. What somebody else deregistered keeps its snapshots.
///
/// A cleanup deletes the snapshots of images that it has deregistered itself, and, where the policy says so, orphans.
pub fn no_snapshot_goes_by_itself(
    roles: &BTreeMap<&'static str, Value>,
    input: &Value,
    before: &Things,
    calls: &[Call],
) -> Vec<String> {
    let went: BTreeSet<&str> =
        removing(roles, calls).filter(|(_, action, _)| *action == "DEREGISTER").map(|(_, _, id)| id).collect();
    let of = |snapshot: &str| -> Vec<&str> {
        let images = before.iter().filter(|thing| thing.kind == "image");
        images.filter(|image| image.parts.iter().any(|part| part == snapshot)).map(|image| image.id.as_str()).collect()
    };
    let deleted = removing(roles, calls).filter(|(_, action, _)| *action == "DELETE_SNAPSHOT");
    deleted
        .filter(|(_, _, id)| !of(id).iter().any(|image| went.contains(image)) && input["orphans"].is_null())
        .map(|(_, _, id)| format!("snapshot {id} was removed, and the cleanup had removed no image that was on it"))
        .collect()
}

/// 53. What a run that was cut off has left of its images goes without a word of the policy and without grace.
///
/// After another run nothing is left of an image that a cleanup has deregistered, unless somebody else had a hand in it.
pub fn nothing_of_a_removed_image_is_left(
    roles: &BTreeMap<&'static str, Value>,
    before: &Things,
    later: &Things,
    calls: &[Call],
    touched: &Touched,
) -> Vec<String> {
    if touched.iter().any(|id| id.contains("/cleanups/")) {
        return Vec::new();
    }
    let images = || later.iter().filter(|thing| thing.kind == "image");
    let left = |id: &&String| {
        let there =
            later.find("snapshot", id).is_some_and(|one| one.tags.get(MANAGED).is_some_and(|ours| ours == "true"));
        there && !touched.contains(*id) && !images().any(|image| image.parts.contains(id))
    };
    let went = removing(roles, calls).filter(|(_, action, _)| *action == "DEREGISTER").map(|(_, _, id)| id);
    let went: BTreeSet<&str> = went.filter(|id| !touched.contains(*id)).collect();
    let things = went.into_iter().filter_map(|id| before.find("image", id));
    things
        .flat_map(|image| image.parts.iter().filter(left).map(|part| (&image.id, part)).collect::<Vec<_>>())
        .map(|(image, part)| format!("snapshot {part} of {image}, which a cleanup removed, is left by another run"))
        .collect()
}

/// 44. The snapshot of an image that stays, in whatever state that image is, stays.
///
/// What a clean-up removes is ours, expires, is in nobody's use, and is not the newest good backup of its source; and no
/// image that stays loses a snapshot. What comes into use while it is being removed may still go.
pub fn what_goes_may_go(
    before: &Things,
    after: &Things,
    calls: &[Call],
    used: &BTreeMap<String, Timestamp>,
    touched: &Touched,
) -> Vec<String> {
    let mut complaints = Vec::new();
    let text = |thing: &Thing, tag: &str| thing.tags.get(tag).cloned().unwrap_or_default();
    let removing = calls.iter().filter(|call| call.function.is_some() && call.outcome == "ok");
    for call in removing {
        let (kind, parameter) = match call.action.as_str() {
            "DeregisterImage" => ("image", "ImageId"),
            "DeleteSnapshot" => ("snapshot", "SnapshotId"),
            _ => continue,
        };
        let id = call.parameters.get(parameter).map(String::as_str).unwrap_or_default();
        let mut complain = |why: &str| complaints.push(format!("{kind} {id} was removed, and {why}"));
        let Some(thing) = before.find(kind, id) else {
            complain("it was not there before");
            continue;
        };
        if text(thing, MANAGED) != "true" {
            complain("it is not ours");
        }
        if text(thing, EXPIRES) == "never" {
            complain("it never expires");
        }
        if used.get(id).is_some_and(|since| call.at.duration_since(*since) > LONGEST_BATCH) {
            complain("it was in use");
        }
        if kind == "image" {
            let source = text(thing, SOURCE);
            let family = before.iter().filter(|one| {
                one.kind == "image" && one.is_good() && one.region == thing.region && text(one, SOURCE) == source
            });
            let newest = family.max_by_key(|one| (one.created, &one.id));
            if newest.is_some_and(|newest| newest.id == id) {
                complain("it was the newest good backup of its source");
            }
        }
        let on = |image: &&Thing| image.parts.iter().any(|part| part == id) && !touched.contains(&image.id);
        if let Some(image) = after.iter().filter(|one| one.kind == "image").find(on) {
            complain(&format!("{} is on it", image.id));
        }
    }
    complaints
}

/// Nothing that the run did not make is changed or deleted.
pub fn nothing_of_others_is_changed(before: &Things, after: &Things, touched: &Touched) -> Vec<String> {
    before
        .iter()
        .filter(|thing| !touched.contains(&thing.id) && !is_paper(&thing.id))
        // What is on its way changes by itself.
        .filter(|thing| thing.is_good())
        .filter_map(|thing| match after.find(thing.kind, &thing.id) {
            Some(now) if now.is_as(thing) => None,
            Some(now) => {
                Some(format!("{} {} was changed: {} became {}", thing.kind, thing.id, thing.detail(), now.detail()))
            }
            None => Some(format!("{} {} is gone", thing.kind, thing.id)),
        })
        .collect()
}

/// Nothing is created twice: one token, one thing that did not fail; one place, one store.
pub fn nothing_is_made_twice(before: &Things, after: &Things, touched: &Touched) -> Vec<String> {
    let mut by_identity = BTreeMap::<(&str, &str, &str), Vec<&str>>::new();
    for thing in after.beyond(before).filter(|thing| !thing.is_bad() && !touched.contains(&thing.id)) {
        let identity = match thing.kind {
            "image" | "export" => thing.tags.get(TOKEN).map(String::as_str),
            _ => None,
        };
        let Some(identity) = identity else { continue };
        by_identity.entry((thing.kind, &thing.region, identity)).or_default().push(&thing.id);
    }
    // Tasks have no ids: two stores to one place are two entries of the same name.
    let stores = after.iter().filter(|thing| thing.kind == "store" && !thing.is_bad() && !touched.contains(&thing.id));
    let mut places = BTreeMap::<&str, usize>::new();
    stores.for_each(|thing| *places.entry(&thing.id).or_default() += 1);
    let twice = by_identity.iter().filter(|(_, ids)| ids.len() > 1);
    let twice =
        twice.map(|((kind, region, _), ids)| format!("{kind} in {region} was made {} times: {ids:?}", ids.len()));
    let stored = places.iter().filter(|(_, count)| **count > 1);
    twice.chain(stored.map(|(place, count)| format!("{place} was stored {count} times"))).collect()
}

/// Everything that is created carries its tags from its first moment, and is found again by them.
pub fn everything_is_tagged(before: &Things, after: &Things, calls: &[Call], touched: &Touched) -> Vec<String> {
    let mut complaints = Vec::new();
    for call in calls.iter().filter(|call| call.function.is_some() && call.implied_by.is_none()) {
        let carries = |key: &str| call.parameters.values().any(|value| value == key);
        if CREATING.contains(&call.action.as_str()) && !(carries(MANAGED) && carries(RUN)) {
            complaints.push(format!("{} was called without our tags", call.action));
        }
    }
    for thing in after.beyond(before).filter(|thing| !touched.contains(&thing.id)) {
        let wanted: &[&str] = match thing.kind {
            "image" | "export" => &[MANAGED, RUN, TOKEN],
            "snapshot" => &[MANAGED, RUN],
            _ => &[],
        };
        for tag in wanted.iter().filter(|tag| !thing.tags.contains_key(**tag)) {
            complaints.push(format!("{} {} has no tag {tag}", thing.kind, thing.id));
        }
    }
    complaints
}

/// A function ends in an error because something went wrong, and not of itself: nothing is ever a
/// defect, and where nothing goes wrong nothing is gone, has failed or is in the way.
pub fn errors_are_what_was_planned(begun: &[Begun], faults: &[Fault]) -> Vec<String> {
    let raised = |error: &str| {
        begun.iter().any(|task| matches!(&task.fault, Some(TaskFault::Raises(planned)) if planned == error))
    };
    let never: &[ErrorName] = if faults.is_empty() {
        &[ErrorName::Defect, ErrorName::ResourceFailed, ErrorName::Conflict]
    } else {
        &[ErrorName::Defect]
    };
    let unplanned = |error: &str| never.iter().any(|name| name.as_str() == error) && !raised(error);
    let ended = begun.iter().filter_map(|task| Some((&task.place, task.error.as_deref()?)));
    ended.filter(|(_, error)| unplanned(error)).map(|(place, error)| format!("{place} ended with {error}")).collect()
}

/// No machine is at a loss: a defect that it reports was raised by a Task.
pub fn no_machine_is_at_a_loss(finished: &Finished<'_>, begun: &[Begun]) -> Vec<String> {
    let defect = ErrorName::Defect.as_str();
    let raised = begun.iter().any(|task| task.error.as_deref() == Some(defect));
    let ended = matches!(&finished.ended.status, Status::Failed(failure) if failure.error == defect);
    let named = [format!("\"name\":\"{defect}\""), format!("\"Error\":\"{defect}\"")];
    if raised || !(ended || named.iter().any(|name| finished.documents.text.contains(name))) {
        return Vec::new();
    }
    vec!["the execution reports a defect, and no Task had one".into()]
}

/// No function needs a right that its role lacks.
pub fn no_right_is_missing(calls: &[Call], made: &[Made]) -> Vec<String> {
    if made.iter().any(|call| call.fault == Some(CallFault::Denied)) {
        return Vec::new();
    }
    calls
        .iter()
        .filter(|call| DENIALS.contains(&call.outcome.as_str()))
        .map(|call| {
            let function = call.function.as_deref().unwrap_or("somebody");
            format!("{function} may not {}:{}", call.service, call.action)
        })
        .collect()
}

/// Calls that were refused for quota, without those that were planned.
pub fn refused_for_quota(calls: &[Call], made: &[Made]) -> usize {
    let refused = calls.iter().filter(|call| QUOTA.contains(&call.outcome.as_str())).count();
    refused.saturating_sub(made.iter().filter(|call| call.fault == Some(CallFault::Throttled)).count())
}

/// The number of calls that EC2 refuses for quota stays small: no more than one in four.
pub fn quotas_are_respected(calls: &[Call], made: &[Made]) -> Vec<String> {
    let (refused, all) = (refused_for_quota(calls, made), calls.len());
    if refused > 20 && refused * 4 > all {
        vec![format!("{refused} of {all} calls were refused for quota")]
    } else {
        Vec::new()
    }
}

/// In the end there is what there would be without faults, and nothing else.
pub fn the_promise_is_kept(before: &Things, expected: &Things, things: &Things) -> Vec<String> {
    let details: Vec<String> = before.iter().map(Thing::detail).collect();
    let known: BTreeSet<&str> = details.iter().flat_map(|detail| hexadecimal(detail)).collect();
    let (wanted, found) = (texts(expected, &known), texts(things, &known));
    let missing = less(&wanted, &found).into_iter().map(|text| format!("missing in the end: {text}"));
    missing.chain(less(&found, &wanted).into_iter().map(|text| format!("too much in the end: {text}"))).collect()
}

/// How often each text is there, but for papers of runs. Ids that were not there before, and what is
/// made of them, are left out: in another order of events the same things have other ids.
fn texts(things: &Things, known: &BTreeSet<&str>) -> BTreeMap<String, usize> {
    let mut texts = BTreeMap::new();
    let is_paper = |text: &String| ["leases/", "runs/", "cleanups/"].iter().any(|one| text.contains(one));
    for text in things.iter().map(Thing::text).filter(|text| !is_paper(text)) {
        let mut made: Vec<&str> = hexadecimal(&text).filter(|digits| !known.contains(digits)).collect();
        // Digits of a token are in a name too: the whole token first.
        made.sort_by_key(|digits| std::cmp::Reverse(digits.len()));
        let text = made.into_iter().fold(text.clone(), |text, digits| text.replace(digits, "#"));
        *texts.entry(text).or_default() += 1;
    }
    texts
}

fn less<'a>(some: &'a BTreeMap<String, usize>, others: &BTreeMap<String, usize>) -> Vec<&'a str> {
    some.iter().filter(|(text, count)| others.get(*text) < Some(count)).map(|(text, _)| text.as_str()).collect()
}

/// Runs of twelve or more hexadecimal digits: ids, tokens, and the digits that names end with.
fn hexadecimal(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !matches!(c, '0'..='9' | 'a'..='f')).filter(|digits| digits.len() >= 12)
}
