//! Owns what a run says in the end: one line per image and leg, and a verdict.
//!
//! What was planned is reconciled with what came back, so that no image vanishes from the report.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    copy::CopySubject,
    error::{ErrorName, StepError},
    export::ExportSubject,
    id::{BucketName, ImageId, Region},
    item::{Awaited, Item},
    store::StoreSubject,
    text::{shown, visible, visible_json},
    turn::Turn,
};

/// A cause is at most 32,768 characters long; the list of failures is cut before that.
const LONGEST_CAUSE: usize = 30_000;

/// A way of backing up, and the making of the image that precedes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Leg {
    /// The image itself: made of an instance, looked at, recorded.
    Image,
    /// An object in S3.
    Store,
    /// A copy in another Region.
    Copy,
    /// A VM file.
    Export,
}

/// How a leg ended, as the machine tells it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum LegResult {
    /// Done.
    Ok,
    /// Not done.
    Failed,
    /// Not asked for.
    Skipped,
}

/// An error as Step Functions catches it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct CaughtError {
    /// Its name.
    pub error: String,
    /// Its cause: for a function of ours, JSON with `errorMessage`.
    #[serde(default)]
    pub cause: Option<String>,
}

/// What a branch of the machine returns.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LegOutcome {
    /// Which leg.
    pub leg: Leg,
    /// How it ended.
    pub result: LegResult,
    /// Its last envelope.
    #[serde(default)]
    pub turn: Value,
    /// Why it failed.
    #[serde(default)]
    pub error: Option<CaughtError>,
}

/// What the report says to be so, for anybody to check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Claim {
    /// Id of the image, or key of the object or file.
    pub id: String,
    /// Where it is.
    pub region: Region,
    /// Bucket, for an object and a file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bucket: Option<BucketName>,
    /// `available` for an image, `present` for an object or file, `unfinished` for what a failed leg
    /// left behind.
    pub state: String,
    /// Size in bytes of the object or file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size_bytes: Option<u64>,
}

/// A failure as it is reported.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ReportedError {
    /// Its name.
    pub name: String,
    /// What was being done, why it failed, who can mend it.
    pub message: String,
}

/// One line of the report.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ReportLine {
    /// The instance or image that was to be backed up.
    pub source: String,
    /// The image, once there was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image_id: Option<ImageId>,
    /// Which leg.
    pub leg: Leg,
    /// Where it goes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region: Option<Region>,
    /// `OK` or `FAILED`.
    pub result: LegResult,
    /// What is so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub claim: Option<Claim>,
    /// Why not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<ReportedError>,
    /// Whether it was there before this start of the run.
    #[serde(default)]
    pub adopted: bool,
    /// What people should know.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

/// What one child execution leaves for the report.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Outcome {
    /// Number of the item.
    pub item: u32,
    /// Its lines.
    pub lines: Vec<ReportLine>,
}

/// The verdict on a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Verdict {
    /// Everything was done.
    Ok,
    /// Something was done and something was not.
    Partial,
    /// Nothing was done.
    Failed,
    /// Nothing was selected.
    Warning,
}

impl Verdict {
    /// As it is written.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "OK",
            Self::Partial => "PARTIAL",
            Self::Failed => "FAILED",
            Self::Warning => "WARNING",
        }
    }
}

impl CaughtError {
    /// As it is reported: the message of a function of ours instead of the JSON around it.
    pub fn reported(&self) -> ReportedError {
        let cause = self.cause.clone().unwrap_or_default();
        let message = serde_json::from_str::<Value>(&cause)
            .ok()
            .and_then(|value| value.get("errorMessage").and_then(Value::as_str).map(str::to_owned))
            .unwrap_or(cause);
        ReportedError { name: shown(&self.error), message: visible(&message) }
    }
}

/// The outcomes in what the branches returned, however deep the lists are nested. What is none is
/// skipped here and missed by [`lines`].
pub fn leg_outcomes(value: &Value) -> Vec<LegOutcome> {
    match value {
        Value::Array(values) => values.iter().flat_map(leg_outcomes).collect(),
        Value::Object(_) => serde_json::from_value(value.clone()).into_iter().collect(),
        _ => Vec::new(),
    }
}

/// The lines of one image: one for the image, one for each leg that the policy asks for, whether or
/// not an outcome came back for it.
pub fn lines(item: &Item, failure: Option<&CaughtError>, outcomes: &[LegOutcome]) -> Vec<ReportLine> {
    if let Some(failure) = failure {
        return vec![failed_image(item, failure.reported())];
    }
    let mut lines = Vec::new();
    if let (Some(_), Some(awaited)) = (&item.source.instance_id, &item.awaited) {
        let mut line = blank(item, Leg::Image, Some(awaited.region.clone()));
        line.claim = Some(Claim {
            id: awaited.image_id.to_string(),
            region: awaited.region.clone(),
            bucket: None,
            state: "available".into(),
            size_bytes: None,
        });
        lines.push(line);
    }
    for (leg, region) in planned_legs(item) {
        let of_leg = || outcomes.iter().filter(|outcome| outcome.leg == leg && outcome.result != LegResult::Skipped);
        let own = of_leg().find(|outcome| outcome_region(outcome) == region);
        // What stopped all legs of a kind at once names no Region.
        let common =
            || of_leg().find(|outcome| outcome.result == LegResult::Failed && outcome_region(outcome).is_none());
        let outcome = own.or_else(common);
        lines.push(match outcome {
            Some(outcome) => leg_line(item, outcome, region),
            None => ReportLine {
                result: LegResult::Failed,
                error: Some(unreported("the execution ended without saying what became of this leg")),
                ..blank(item, leg, region)
            },
        });
    }
    lines
}

/// The legs that a policy asks for, each with the Region that tells it from others of its kind.
fn planned_legs(item: &Item) -> Vec<LegPlace> {
    let home = || Some(item.run.region.clone());
    let mut legs = Vec::new();
    legs.extend(item.policy.store.as_ref().map(|_| (Leg::Store, home())));
    legs.extend(item.policy.copies.iter().map(|copy| (Leg::Copy, Some(copy.region.clone()))));
    legs.extend(item.policy.export.as_ref().map(|_| (Leg::Export, home())));
    legs
}

fn outcome_region(outcome: &LegOutcome) -> Option<Region> {
    let subject = outcome.turn.get("subject")?;
    let region = match outcome.leg {
        Leg::Copy => subject.get("region"),
        _ => subject.get("run")?.get("region"),
    };
    serde_json::from_value(region?.clone()).ok()
}

fn blank(item: &Item, leg: Leg, region: Option<Region>) -> ReportLine {
    ReportLine {
        source: item.source.as_str().to_owned(),
        image_id: item.image_id().cloned(),
        leg,
        region,
        result: LegResult::Ok,
        claim: None,
        error: None,
        adopted: false,
        notes: Vec::new(),
    }
}

fn failed_image(item: &Item, error: ReportedError) -> ReportLine {
    let region = Some(item.run.region.clone());
    let claim = item.awaited.as_ref().map(|awaited| Claim {
        id: awaited.image_id.to_string(),
        region: awaited.region.clone(),
        bucket: None,
        state: "unfinished".into(),
        size_bytes: None,
    });
    ReportLine { result: LegResult::Failed, error: Some(error), claim, ..blank(item, Leg::Image, region) }
}

fn unreported(message: &str) -> ReportedError {
    ReportedError { name: "Unreported".into(), message: format!("{message}; start the same run again to go on") }
}

fn leg_line(item: &Item, outcome: &LegOutcome, region: Option<Region>) -> ReportLine {
    let mut line = blank(item, outcome.leg, region);
    line.result = outcome.result;
    line.error = outcome.error.as_ref().map(CaughtError::reported);
    let finished = outcome.result == LegResult::Ok;
    let (claim, adopted, notes) = leg_claim(outcome, finished);
    (line.claim, line.adopted, line.notes) = (claim, adopted, notes);
    if finished && line.claim.is_none() {
        line.result = LegResult::Failed;
        line.error = Some(unreported("the leg says that it is done and not what it made"));
    }
    line
}

fn leg_claim(outcome: &LegOutcome, finished: bool) -> (Option<Claim>, bool, Vec<String>) {
    let state = |done: &str| if finished { done.to_owned() } else { "unfinished".to_owned() };
    match outcome.leg {
        Leg::Copy => subject::<CopySubject>(&outcome.turn).map(|copy| {
            let claim = copy.awaited.map(|awaited| Claim {
                id: awaited.image_id.to_string(),
                region: awaited.region,
                bucket: None,
                state: state("available"),
                size_bytes: None,
            });
            (claim, copy.adopted, copy.notes)
        }),
        Leg::Store => subject::<StoreSubject>(&outcome.turn).map(|store| {
            let size_bytes = store.object.as_ref().map(|object| object.size_bytes);
            let claim = store.key.filter(|_| size_bytes.is_some() || !finished).map(|id| Claim {
                id,
                region: store.run.region,
                bucket: Some(store.bucket),
                state: state("present"),
                size_bytes,
            });
            (claim, store.adopted, Vec::new())
        }),
        Leg::Export => subject::<ExportSubject>(&outcome.turn).map(|export| {
            let file = export.object.map(|object| (object.key, Some(object.bucket), Some(object.size_bytes)));
            let task = export.task_id.map(|task| (task, export.bucket, None)).filter(|_| !finished);
            let claim = file.or(task).map(|(id, bucket, size_bytes)| Claim {
                id,
                region: export.run.region,
                bucket,
                state: state("present"),
                size_bytes,
            });
            (claim, export.adopted, Vec::new())
        }),
        Leg::Image => None,
    }
    .unwrap_or_default()
}

fn subject<S: serde::de::DeserializeOwned>(turn: &Value) -> Option<S> {
    serde_json::from_value::<Turn<S>>(turn.clone()).ok().map(|turn| turn.subject)
}

/// What a run left of an image, as far as it is found by its tags.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Remains {
    /// Image that was made of an instance.
    pub image_id: Option<ImageId>,
    /// Copies, by Region.
    pub copies: BTreeMap<Region, ImageId>,
    /// Key of the object, there or on its way.
    pub object_key: Option<String>,
    /// Id of the export task.
    pub export_task_id: Option<String>,
    /// Why not everything could be looked for.
    pub not_looked_for: Option<String>,
}

impl Remains {
    fn claim(&self, item: &Item, leg: Leg, region: Option<&Region>) -> Option<Claim> {
        let (id, bucket) = match leg {
            Leg::Image => (self.image_id.as_ref().map(ToString::to_string), None),
            Leg::Copy => (region.and_then(|region| self.copies.get(region)).map(ToString::to_string), None),
            Leg::Store => (self.object_key.clone(), item.policy.store.as_ref().map(|store| store.bucket.clone())),
            Leg::Export => (self.export_task_id.clone(), None),
        };
        let region = region.unwrap_or(&item.run.region).clone();
        id.map(|id| Claim { id, region, bucket, state: "unfinished".into(), size_bytes: None })
    }
}

/// A leg, and the Region that tells it from others of its kind.
pub type LegPlace = (Leg, Option<Region>);

/// What has to be looked for: of each item the legs of which nothing says what they left, for want of an outcome or
/// because they failed without a claim. A step that fails may have made something in an earlier try, or in an earlier
/// start of the run.
pub fn unclaimed<'a>(items: &'a [Item], outcomes: &[Outcome]) -> Vec<(&'a Item, Vec<LegPlace>)> {
    let legs = |item: &Item| match outcomes.iter().find(|outcome| outcome.item == item.item) {
        None => std::iter::once((Leg::Image, Some(item.run.region.clone()))).chain(planned_legs(item)).collect(),
        Some(outcome) => {
            let failed = outcome.lines.iter().filter(|line| says_nothing(line));
            failed.map(|line| (line.leg, line.region.clone())).collect::<Vec<_>>()
        }
    };
    items.iter().map(|item| (item, legs(item))).filter(|(_, legs)| !legs.is_empty()).collect()
}

fn says_nothing(line: &ReportLine) -> bool {
    line.result == LegResult::Failed && line.claim.is_none()
}

/// All lines of a run: those of the outcomes, and for each item that left none what remains of it, by the number of the
/// item. Whatever was found is claimed as unfinished.
pub fn reconcile(items: &[Item], outcomes: Vec<Outcome>, remains: &BTreeMap<u32, Remains>) -> Vec<ReportLine> {
    let mut by_item: BTreeMap<u32, Vec<ReportLine>> =
        outcomes.into_iter().map(|outcome| (outcome.item, outcome.lines)).collect();
    let nothing = Remains::default();
    let lines = |item: &Item| {
        let remains = remains.get(&item.item).unwrap_or(&nothing);
        match by_item.remove(&item.item) {
            Some(lines) => lines.into_iter().map(|line| with_remains(item, line, remains)).collect(),
            None => remaining_lines(item, remains),
        }
    };
    items.iter().flat_map(lines).collect()
}

/// A line with what was found of a leg that failed without a claim.
fn with_remains(item: &Item, mut line: ReportLine, remains: &Remains) -> ReportLine {
    if says_nothing(&line) {
        line.claim = remains.claim(item, line.leg, line.region.as_ref());
        line.notes.extend(remains.not_looked_for.clone());
    }
    line
}

/// The lines of an image that left no outcome: nothing of it counts as done.
fn remaining_lines(item: &Item, remains: &Remains) -> Vec<ReportLine> {
    let mut item = item.clone();
    let home = item.run.region.clone();
    item.awaited = remains.image_id.clone().map(|image_id| Awaited { image_id, region: home });
    let error = || unreported("the execution of this image ended without an outcome");
    let mut image = failed_image(&item, error());
    image.notes.extend(remains.not_looked_for.clone());
    let legs = planned_legs(&item).into_iter().map(|(leg, region)| {
        let claim = remains.claim(&item, leg, region.as_ref());
        ReportLine { result: LegResult::Failed, error: Some(error()), claim, ..blank(&item, leg, region) }
    });
    std::iter::once(image).chain(legs).collect()
}

/// The verdict on the lines of a run.
pub fn verdict(lines: &[ReportLine]) -> Verdict {
    let good = lines.iter().filter(|line| line.result == LegResult::Ok).count();
    match (lines.len(), good) {
        (0, _) => Verdict::Warning,
        (all, good) if all == good => Verdict::Ok,
        (_, 0) => Verdict::Failed,
        _ => Verdict::Partial,
    }
}

/// One sentence for people.
pub fn summary(run: &str, lines: &[ReportLine]) -> String {
    let good = lines.iter().filter(|line| line.result == LegResult::Ok).count();
    match lines.len() {
        0 => format!("run {run}: nothing was selected, so nothing was backed up"),
        all => format!("run {run}: {good} of {all} done, {} failed", all - good),
    }
}

/// The cause of a failed execution, as JSON text of at most 32 KiB: which leg, why, where the report
/// is, and the run to start again with.
pub fn cause(run: &str, verdict: Verdict, report: &str, lines: &[ReportLine]) -> String {
    let failed: Vec<&ReportLine> = lines.iter().filter(|line| line.result == LegResult::Failed).collect();
    let go_on = format!("start the same run again (`\"run\": \"{run}\"`) to do what is missing");
    fitting_cause(run, verdict, report, &go_on, &failed)
}

/// A cause that names as many of the failures as fit into it.
pub fn fitting_cause(run: &str, verdict: Verdict, report: &str, go_on: &str, failed: &[impl Serialize]) -> String {
    let mut shown = failed;
    loop {
        let text = serde_json::json!({
            "verdict": verdict,
            "run": run,
            "report": report,
            "goOn": go_on,
            "failed": shown,
            "notShown": failed.len() - shown.len(),
        });
        let text = visible_json(text.to_string());
        match shown.split_last() {
            Some((_, fewer)) if text.len() > LONGEST_CAUSE => shown = &fewer[..fewer.len() / 2],
            _ => return text,
        }
    }
}

/// Lines of JSON, as reports and plans are written.
///
/// # Errors
/// `Defect` if one cannot be written as JSON.
pub fn json_lines(lines: impl IntoIterator<Item = impl Serialize>) -> Result<String, StepError> {
    let mut text = String::new();
    for line in lines {
        let json = serde_json::to_string(&line)
            .map_err(|error| StepError::new(ErrorName::Defect, "write lines of JSON", error.to_string()))?;
        text.push_str(&visible_json(json));
        text.push('\n');
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{
        item::{Awaited, Source, test_run},
        policy::{BackupPolicy, CopyPolicy, DiskFormat, ExportPolicy, StorePolicy},
    };

    fn region(name: &str) -> Region {
        name.parse().unwrap_or_else(|_| unreachable!())
    }

    fn item(number: u32) -> Item {
        Item {
            item: number,
            run: test_run(),
            policy: BackupPolicy {
                name: "p".into(),
                store: Some(StorePolicy {
                    bucket: "backups".parse().unwrap_or_else(|_| unreachable!()),
                    prefix: String::new(),
                }),
                copies: vec![CopyPolicy { region: region("eu-west-1"), kms_key_id: None }],
                export: None,
                reboot: false,
                image_name: "backup".into(),
                keep_days: None,
                carry_over: [].into(),
                deadline_minutes: None,
            },
            source: Source { instance_id: None, image_id: "ami-12345678".parse().ok() },
            awaited: None,
        }
    }

    fn stored() -> Value {
        json!({"leg": "store", "result": "OK", "turn": {"status": "DONE", "subject": {
            "run": test_run(), "imageId": "ami-12345678", "sizeGib": 8, "bucket": "backups", "key": "ami-12345678.bin",
            "object": {"bucket": "backups", "key": "ami-12345678.bin", "sizeBytes": 7},
        }}})
    }

    fn copy_failed() -> Value {
        json!({"leg": "copy", "result": "FAILED", "error": {"Error": "ResourceFailed",
            "Cause": "{\"errorType\":\"ResourceFailed\",\"errorMessage\":\"could not copy\"}"},
            "turn": {"subject": {"run": test_run(), "imageId": "ami-12345678", "sizeGib": 8, "region": "eu-west-1",
                "awaited": {"imageId": "ami-87654321", "region": "eu-west-1"}}}})
    }

    #[test]
    fn each_planned_leg_has_a_line_with_what_is_so() {
        let outcomes = leg_outcomes(&json!([stored(), [copy_failed()], {"leg": "export", "result": "SKIPPED"}]));
        let lines = lines(&item(0), None, &outcomes);
        assert_eq!(lines.len(), 2);
        assert_eq!(lines[0].claim.as_ref().map(|c| (c.state.as_str(), c.size_bytes)), Some(("present", Some(7))));
        assert_eq!(lines[1].error.as_ref().map(|e| e.message.as_str()), Some("could not copy"));
        assert_eq!(lines[1].claim.as_ref().map(|c| c.state.as_str()), Some("unfinished"));
        assert_eq!(verdict(&lines), Verdict::Partial);
    }

    #[test]
    fn a_leg_of_which_nothing_came_back_has_failed() {
        let lines = lines(&item(0), None, &leg_outcomes(&json!([stored()])));
        assert_eq!(lines[1].result, LegResult::Failed);
        assert_eq!(lines[1].region, Some(region("eu-west-1")));
    }

    #[test]
    fn what_stopped_all_copies_at_once_is_in_each_line() {
        let all = json!({"leg": "copy", "result": "FAILED", "turn": {"legs": {}},
            "error": {"Error": "States.DataLimitExceeded", "Cause": "too much"}});
        let lines = lines(&item(0), None, &leg_outcomes(&json!([stored(), all])));
        assert_eq!(lines[1].error.as_ref().map(|e| e.name.as_str()), Some("States.DataLimitExceeded"));
        assert_eq!(lines[1].region, Some(region("eu-west-1")));
    }

    #[test]
    fn a_leg_that_is_done_must_say_what_it_made() {
        let mut empty = stored();
        empty["turn"]["subject"]["object"] = Value::Null;
        let lines = lines(&item(0), None, &leg_outcomes(&json!([empty])));
        assert_eq!(lines[0].result, LegResult::Failed);
    }

    #[test]
    fn a_verdict_is_written_as_it_is_shown() {
        for verdict in [Verdict::Ok, Verdict::Partial, Verdict::Failed, Verdict::Warning] {
            assert_eq!(serde_json::to_value(verdict).ok(), Some(verdict.as_str().into()));
            assert_eq!(verdict.as_str(), format!("{verdict:?}").to_ascii_uppercase());
        }
    }

    #[test]
    fn no_leg_answers_for_another() {
        let mut item = item(0);
        item.policy.copies.push(CopyPolicy { region: region("eu-west-2"), kms_key_id: None });
        item.policy.export = Some(vmdk());
        let skipped = json!({"leg": "export", "result": "SKIPPED"});
        let lines = lines(&item, None, &leg_outcomes(&json!([stored(), copy_failed(), skipped])));
        let became: Vec<(Leg, Option<&str>, Option<&str>)> = lines
            .iter()
            .map(|line| {
                (line.leg, line.region.as_ref().map(Region::as_str), line.error.as_ref().map(|e| e.name.as_str()))
            })
            .collect();
        assert_eq!(
            became,
            [
                (Leg::Store, Some("us-east-1"), None),
                (Leg::Copy, Some("eu-west-1"), Some("ResourceFailed")),
                (Leg::Copy, Some("eu-west-2"), Some("Unreported")),
                (Leg::Export, Some("us-east-1"), Some("Unreported")),
            ]
        );
    }

    fn vmdk() -> ExportPolicy {
        ExportPolicy { format: DiskFormat::Vmdk, prefix: "exports/".into() }
    }

    fn exported(result: &str, made: &Value) -> Vec<ReportLine> {
        let mut item = item(0);
        item.policy = BackupPolicy { store: None, copies: Vec::new(), export: Some(vmdk()), ..item.policy };
        let mut subject = json!({"run": test_run(), "imageId": "ami-12345678", "sizeGib": 8, "format": "VMDK",
            "prefix": "exports/"});
        if let (Some(subject), Some(made)) = (subject.as_object_mut(), made.as_object()) {
            subject.extend(made.clone());
        }
        let leg = json!({"leg": "export", "result": result, "turn": {"subject": subject}});
        lines(&item, None, &leg_outcomes(&leg))
    }

    #[test]
    fn of_an_export_the_file_is_claimed_and_the_task_only_if_it_is_unfinished() {
        let task = json!({"taskId": "export-ami-1", "bucket": "files"});
        let file = json!({"taskId": "export-ami-1", "bucket": "files",
            "object": {"bucket": "files", "key": "exports/export-ami-1.vmdk", "sizeBytes": 9}});
        let key = "exports/export-ami-1.vmdk";
        for (said, made, is, claim) in [
            ("OK", &file, LegResult::Ok, Some((key, "present", Some(9)))),
            ("OK", &task, LegResult::Failed, None),
            ("FAILED", &task, LegResult::Failed, Some(("export-ami-1", "unfinished", None))),
            ("FAILED", &file, LegResult::Failed, Some((key, "unfinished", Some(9)))),
            ("FAILED", &json!({}), LegResult::Failed, None),
        ] {
            let lines = exported(said, made);
            let found = lines[0].claim.as_ref().map(|c| (c.id.as_str(), c.state.as_str(), c.size_bytes));
            assert_eq!((lines[0].result, found), (is, claim), "{said} {made}");
        }
    }

    #[test]
    fn an_envelope_that_cannot_be_read_claims_nothing() {
        let leg = json!({"leg": "store", "result": "OK", "turn": {"subject": {"run": test_run()}}});
        let line = &lines(&item(0), None, &leg_outcomes(&leg))[0];
        assert_eq!((line.result, &line.claim, line.adopted), (LegResult::Failed, &None, false));
        assert!(line.notes.is_empty());
    }

    #[test]
    fn a_failed_image_says_what_it_left_unfinished() {
        let error = CaughtError { error: "DeadlineExceeded".into(), cause: None };
        let mut item = item(0);
        assert_eq!(lines(&item, Some(&error), &[])[0].claim, None);
        item.awaited = Some(Awaited {
            image_id: "ami-87654321".parse().unwrap_or_else(|_| unreachable!()),
            region: region("us-east-1"),
        });
        let claim = lines(&item, Some(&error), &[])[0].claim.clone();
        assert_eq!(claim.map(|c| (c.id, c.state)), Some(("ami-87654321".into(), "unfinished".into())));
    }

    #[test]
    fn an_image_without_an_outcome_is_in_the_report() {
        let outcome =
            Outcome { item: 0, lines: lines(&item(0), None, &leg_outcomes(&json!([stored(), copy_failed()]))) };
        let all = reconcile(&[item(0), item(1)], vec![outcome], &BTreeMap::new());
        let unreported = |line: &ReportLine| line.error.as_ref().is_some_and(|error| error.name == "Unreported");
        assert_eq!(all.iter().map(unreported).collect::<Vec<_>>(), [false, false, true, true, true]);
        assert_eq!(all[2..].iter().map(|line| line.leg).collect::<Vec<_>>(), [Leg::Image, Leg::Store, Leg::Copy]);
        assert!(all[2..].iter().all(|line| line.result == LegResult::Failed && line.claim.is_none()));
    }

    #[test]
    fn what_is_looked_for_is_what_no_outcome_tells() {
        let items = [item(0), item(1), item(2)];
        let (home, away) = (Some(region("us-east-1")), Some(region("eu-west-1")));
        let of = |item: u32, lines: Vec<ReportLine>| Outcome { item, lines };
        let failed = |leg, region: &Option<Region>| ReportLine {
            result: LegResult::Failed,
            ..blank(&items[0], leg, region.clone())
        };
        let claimed = ReportLine {
            claim: Remains { object_key: Some("k".into()), ..Remains::default() }.claim(&items[0], Leg::Store, None),
            ..failed(Leg::Store, &home)
        };
        let done = blank(&items[0], Leg::Copy, away.clone());
        let outcomes = [
            of(2, vec![failed(Leg::Copy, &away), claimed.clone(), done.clone()]),
            of(0, vec![claimed, done]),
            of(7, vec![failed(Leg::Image, &home)]),
        ];
        let all = vec![(Leg::Image, home.clone()), (Leg::Store, home), (Leg::Copy, away.clone())];
        assert_eq!(unclaimed(&items, &outcomes), [(&items[1], all), (&items[2], vec![(Leg::Copy, away)])]);
    }

    #[test]
    fn a_leg_that_failed_without_a_claim_claims_what_is_found_of_it() {
        let failed = ReportLine { result: LegResult::Failed, ..blank(&item(0), Leg::Store, Some(region("us-east-1"))) };
        let own = Remains { object_key: Some("own".into()), ..Remains::default() }.claim(&item(0), Leg::Store, None);
        let lines = vec![
            failed.clone(),
            ReportLine { leg: Leg::Copy, region: Some(region("eu-west-1")), ..failed.clone() },
            ReportLine { leg: Leg::Copy, region: Some(region("eu-west-2")), ..failed.clone() },
            ReportLine { claim: own, ..failed.clone() },
            ReportLine { result: LegResult::Ok, ..failed },
        ];
        let remains = Remains {
            object_key: Some("ami-12345678.bin".into()),
            copies: [(region("eu-west-1"), "ami-00000002".parse().unwrap_or_else(|_| unreachable!()))].into(),
            not_looked_for: Some("not everything was looked for".into()),
            ..Remains::default()
        };
        let all = reconcile(&[item(0)], vec![Outcome { item: 0, lines }], &[(0, remains)].into());
        let told: Vec<_> =
            all.iter().map(|line| (line.claim.as_ref().map(|claim| claim.id.as_str()), line.notes.len())).collect();
        assert_eq!(
            told,
            [(Some("ami-12345678.bin"), 1), (Some("ami-00000002"), 1), (None, 1), (Some("own"), 0), (None, 0)]
        );
        let place = all[1].claim.as_ref().map(|claim| (claim.region.as_str(), claim.state.as_str()));
        assert_eq!(place, Some(("eu-west-1", "unfinished")));
        assert!(
            all[0].claim.as_ref().is_some_and(|claim| claim.bucket.is_some() && claim.region == region("us-east-1"))
        );
    }

    #[test]
    fn an_export_of_an_image_without_an_outcome_is_claimed_by_its_task() {
        let mut of_image = item(7);
        of_image.policy.export = Some(vmdk());
        let remains = Remains { export_task_id: Some("export-ami-1".into()), ..Remains::default() };
        let all = reconcile(&[of_image], Vec::new(), &[(7, remains)].into());
        let claims: Vec<_> =
            all.iter().map(|line| (line.leg, line.claim.as_ref().map(|claim| claim.id.as_str()))).collect();
        assert_eq!(
            claims,
            [(Leg::Image, None), (Leg::Store, None), (Leg::Copy, None), (Leg::Export, Some("export-ami-1"))]
        );
    }

    #[test]
    fn what_is_found_of_an_image_without_an_outcome_is_claimed_as_unfinished() {
        let id = |id: &str| id.parse::<ImageId>().unwrap_or_else(|_| unreachable!());
        let remains = Remains {
            copies: [(region("eu-west-1"), id("ami-00000002"))].into(),
            object_key: Some("ami-00000001.bin".into()),
            not_looked_for: Some("it was not looked for".into()),
            ..Remains::default()
        };
        let all = reconcile(&[item(7)], Vec::new(), &[(7, remains)].into());
        let claims: Vec<_> = all.iter().map(|line| line.claim.as_ref().map(|c| (c.id.as_str(), &*c.state))).collect();
        assert_eq!(claims, [None, Some(("ami-00000001.bin", "unfinished")), Some(("ami-00000002", "unfinished"))]);
        assert_eq!(all[0].notes, ["it was not looked for"]);

        let of_instance = Item { source: Source { instance_id: "i-12345678".parse().ok(), image_id: None }, ..item(7) };
        let remains = Remains { image_id: Some(id("ami-00000003")), ..Remains::default() };
        let all = reconcile(&[of_instance], Vec::new(), &[(7, remains)].into());
        assert_eq!(all[0].claim.as_ref().map(|claim| claim.id.as_str()), Some("ami-00000003"));
    }

    #[test]
    fn nothing_selected_is_a_warning_and_nothing_done_a_failure() {
        assert_eq!(verdict(&[]), Verdict::Warning);
        let error = CaughtError { error: ErrorName::InvalidInput.to_string(), cause: Some("plain".into()) };
        let lines = lines(&item(0), Some(&error), &[]);
        assert_eq!(verdict(&lines), Verdict::Failed);
        assert_eq!(lines[0].error.as_ref().map(|e| e.message.as_str()), Some("plain"));
    }

    #[test]
    fn verdict_and_summary_count_what_was_done() {
        let line = |result| ReportLine { result, ..blank(&item(0), Leg::Store, None) };
        let (ok, failed) = (line(LegResult::Ok), line(LegResult::Failed));
        for (lines, is, says) in [
            (vec![], Verdict::Warning, "run r: nothing was selected"),
            (vec![ok.clone(), ok.clone()], Verdict::Ok, "run r: 2 of 2 done, 0 failed"),
            (vec![ok.clone(), failed.clone(), ok], Verdict::Partial, "run r: 2 of 3 done, 1 failed"),
            (vec![failed], Verdict::Failed, "run r: 0 of 1 done, 1 failed"),
        ] {
            assert_eq!(verdict(&lines), is, "{says}");
            assert!(summary("r", &lines).starts_with(says), "{}", summary("r", &lines));
        }
    }

    #[test]
    fn a_cause_that_just_fits_is_not_cut() {
        let text = |length: usize| {
            let error = CaughtError { error: "ResourceFailed".into(), cause: Some("x".repeat(length)) };
            cause("r", Verdict::Failed, "s3://b/k", &lines(&item(0), Some(&error), &[]))
        };
        let room = LONGEST_CAUSE - text(0).len();
        let shown = |length: usize| serde_json::from_str::<Value>(&text(length)).unwrap_or_default()["notShown"] == 0;
        assert!(text(room).len() == LONGEST_CAUSE && shown(room));
        assert!(!shown(room + 1));
    }

    /// 72. A report shows what it repeats.
    #[test]
    fn a_report_hides_nothing() -> Result<(), StepError> {
        let hostile = "a\u{202e}b\u{1b}[2J\nc";
        let caught = CaughtError { error: hostile.into(), cause: Some(hostile.into()) }.reported();
        assert_eq!((caught.name.as_str(), &caught.name), ("a\\u{202e}b\\u{1b}[2J\\u{a}c", &caught.message));
        let line = json!({"id": hostile});
        let text = json_lines([&line])?;
        assert!(text.trim_end().chars().all(|c| c.is_ascii_graphic()), "{text}");
        assert_eq!(serde_json::from_str::<Value>(&text).ok(), Some(line));
        let cause = fitting_cause("r", Verdict::Failed, "s3://b/k", "again", &[json!(hostile)]);
        assert!(cause.chars().all(|c| c.is_ascii_graphic() || c == ' '), "{cause}");
        Ok(())
    }

    #[test]
    fn a_cause_fits_however_many_legs_failed_and_shows_a_good_part_of_them() {
        let error = CaughtError { error: "ResourceFailed".into(), cause: Some("x".repeat(500)) };
        let lines: Vec<ReportLine> = (0..4_000).flat_map(|n| lines(&item(n), Some(&error), &[])).collect();
        let text = cause("r", Verdict::Failed, "s3://b/k", &lines);
        assert!((LONGEST_CAUSE / 3..=32_768).contains(&text.len()), "{}", text.len());
        let value: Value = serde_json::from_str(&text).unwrap_or_default();
        let shown = value["failed"].as_array().map_or(0, Vec::len);
        assert!(shown > 0);
        assert_eq!(value["notShown"].as_u64(), u64::try_from(4_000 - shown).ok());
    }
}
