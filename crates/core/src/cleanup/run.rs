//! Owns what goes through the machine of a clean-up, and where it writes: one run, and in it one piece of work for each
//! Region.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::{
    account::Source,
    binding::Binding,
    intent::OpenIntents,
    judge::Action,
    plan::Line,
    policy::{CleanupPolicy, CleanupRequest},
    summary::Summary,
};
use crate::{
    error::{ErrorName, StepError},
    id::{ImageId, Region, SnapshotId},
    naming::run_digest,
    turn::{LEAST_BUDGET, Turn},
};

/// What the first start of a run wrote down. A later start of the same run works from it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct StartedCleanup {
    /// What was asked for.
    pub request: CleanupRequest,
}

impl StartedCleanup {
    /// The run as `request` goes on with it: a person may apply the plan that a dry run of the same name made, and go on
    /// with what a schedule began.
    ///
    /// # Errors
    /// `Conflict` if it asks for something else under the same name.
    pub fn resumed_by(mut self, request: &CleanupRequest) -> Result<CleanupRequest, StepError> {
        self.request.scheduled = request.scheduled;
        self.request.apply = request.apply;
        if self.request == *request {
            return Ok(self.request);
        }
        Err(StepError::new(
            ErrorName::Conflict,
            format!("go on with clean-up {}", request.run),
            "this run was started with other input; start it with the same input, or choose another `run`",
        ))
    }
}

/// The work of one child execution: one Region.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RegionWork {
    /// Identity of the run.
    pub run: String,
    /// When this start of the run began.
    pub started_at: Timestamp,
    /// Whether the plan is applied; a dry run otherwise.
    pub apply: bool,
    /// The Region.
    pub region: Region,
    /// What to do.
    pub policy: CleanupPolicy,
}

impl RegionWork {
    /// The request as it concerns this Region, for the summary.
    pub fn request(&self) -> CleanupRequest {
        CleanupRequest {
            run: self.run.clone(),
            scheduled: false,
            regions: vec![self.region.clone()],
            apply: self.apply,
            policy: self.policy.clone(),
        }
    }
}

/// What the machine does with a plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Next {
    /// Nothing: it is a dry run, or there is nothing to do.
    End,
    /// It asks a person first.
    Ask,
    /// It is applied.
    Apply,
}

/// What earlier starts of a run have come to with its plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// Nothing.
    New,
    /// Somebody has agreed to it, and it is not finished.
    Approved,
    /// Every item was done or kept.
    Finished,
}

/// A plan that was made, as far as the steps after it need it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct MadePlan {
    /// What is done with it.
    pub next: Next,
    /// Prefix of its files in the bucket, with its end slash.
    pub prefix: String,
    /// Which plan it is: nothing else is applied.
    pub binding: Binding,
    /// When the account was read.
    pub made_at: Timestamp,
    /// Until when it may be applied.
    pub fresh_until: Timestamp,
    /// Images and snapshots that it does something with.
    pub going: u64,
    /// Why a person has to agree first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub asks: Option<String>,
}

impl MadePlan {
    /// The plan that `pointer` names, and what is done with it in this start of the run: `progress` is what earlier starts
    /// have come to.
    pub fn new(pointer: &PlanPointer, work: &RegionWork, progress: Progress) -> Self {
        let summary = &pointer.summary;
        let going = summary.planned();
        let asks = summary.asks.is_some() || work.policy.approval;
        let next =
            match (work.apply && going > 0 && progress != Progress::Finished, asks && progress != Progress::Approved) {
                (false, _) => Next::End,
                (true, true) => Next::Ask,
                (true, false) => Next::Apply,
            };
        Self {
            next,
            prefix: pointer.prefix.clone(),
            binding: pointer.binding.clone(),
            made_at: summary.made_at,
            fresh_until: summary.fresh_until,
            going,
            asks: summary.asks.clone(),
        }
    }
}

/// A person's answer to a plan that asks. Whatever else it says is left alone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Approval {
    /// Whether it may be applied.
    pub approved: bool,
    /// Who says so.
    #[serde(default = "somebody")]
    pub by: String,
    /// The digest of the plan that it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan: Option<String>,
    /// The version of that plan, where the bucket keeps versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
}

fn somebody() -> String {
    "somebody".into()
}

/// What a wait of a clean-up is over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CleanupSubject {
    /// The work.
    pub work: RegionWork,
    /// Its plan, once there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan: Option<MadePlan>,
    /// What a person said of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approval: Option<Approval>,
}

impl CleanupSubject {
    /// The plan, if it may be applied: a person has agreed where one has to, and it is fresh.
    ///
    /// # Errors
    /// `InvalidInput` if there is no plan; `Conflict` if it may not be applied.
    pub fn applicable(&self, now: Timestamp) -> Result<&MadePlan, StepError> {
        let plan = self.plan.as_ref().ok_or_else(|| StepError::input("subject.plan", "is missing"))?;
        let refuse = |reason: String| {
            Err(StepError::new(ErrorName::Conflict, "apply the plan", reason)
                .in_region(&self.work.region)
                .leaving("what is not in the outcomes beside the plan is as it was"))
        };
        if !self.work.apply {
            return refuse("the run is a dry run".into());
        }
        match &self.approval {
            Some(Approval { approved: false, by, .. }) => return refuse(format!("{by} did not agree to it")),
            Some(Approval { by, plan: agreed, .. }) if agreed.as_ref() != Some(&plan.binding.digest) => {
                let agreed = agreed.as_ref().map_or("no plan".to_owned(), |digest| format!("the plan {digest}"));
                return refuse(format!(
                    "{by} agreed to {agreed}, and this is the plan {}: give its digest as `plan` in the answer",
                    plan.binding.digest
                ));
            }
            None if plan.asks.is_some() || self.work.policy.approval => {
                return refuse("a person has to agree first, and nobody has".into());
            }
            _ => {}
        }
        if now >= plan.fresh_until {
            return refuse(format!(
                "it was made at {} and could be applied until {}: start another run, which makes a new one",
                plan.made_at, plan.fresh_until
            ));
        }
        Ok(plan)
    }
}

/// How long the application of a plan may take: EC2 deletes some five snapshots in a second, and looks cost calls too.
pub fn apply_budget(going: u64) -> SignedDuration {
    let seconds = i64::try_from(going).unwrap_or(i64::MAX).min(7 * 24 * 3_600);
    LEAST_BUDGET.saturating_add(SignedDuration::from_secs(seconds))
}

/// What `select-regions` returns.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct StartedRegions {
    /// The run.
    pub started: CleanupStart,
    /// What each child execution is given.
    pub regions: Vec<Turn<CleanupSubject>>,
}

/// A start of a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CleanupStart {
    /// Identity of the run.
    pub run: String,
    /// Name of its policy.
    pub policy: String,
    /// When this start began.
    pub started_at: Timestamp,
    /// Whether plans are applied.
    pub apply: bool,
    /// Where.
    pub regions: Vec<Region>,
}

impl StartedRegions {
    /// The work of a start of a run.
    pub fn new(request: CleanupRequest, started_at: Timestamp) -> Self {
        let work = |region: &Region| RegionWork {
            run: request.run.clone(),
            started_at,
            apply: request.apply,
            region: region.clone(),
            policy: request.policy.clone(),
        };
        let turn = |region: &Region| Turn::new(CleanupSubject { work: work(region), plan: None, approval: None });
        let regions = request.regions.iter().map(turn).collect();
        let started = CleanupStart {
            run: request.run,
            policy: request.policy.name,
            started_at,
            apply: request.apply,
            regions: request.regions,
        };
        Self { started, regions }
    }
}

/// The plan that a run has made in a Region. It is written last, and whoever finds it finds the whole plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PlanPointer {
    /// Prefix of the plan's files.
    pub prefix: String,
    /// Which plan it is.
    #[serde(default)]
    pub binding: Binding,
    /// The plan in short.
    pub summary: Summary,
}

impl PlanPointer {
    /// Whether a start of the run makes a plan of its own: this one is an earlier start's, it kept images of which it could
    /// not tell whether they are in use, and nothing else of it is to be done.
    pub fn is_to_be_made_again(&self, work: &RegionWork, finished: bool) -> bool {
        self.summary.partial && self.summary.made_at < work.started_at && (finished || !work.apply)
    }
}

/// What the plans of a Region have seen so far, for the next one.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Known {
    /// How many each listing held, less what was about to go.
    pub readings: BTreeMap<Source, u64>,
    /// Since when each orphan is one.
    pub orphans_since: BTreeMap<SnapshotId, Timestamp>,
    /// The snapshots of images that are in the Recycle Bin or about to go there.
    pub binned: BTreeMap<ImageId, BTreeSet<SnapshotId>>,
    /// Which papers of removals the next plan looks at.
    pub intents: OpenIntents,
}

impl Known {
    /// What is known after a plan of which these lines go. Listings that were not made stay as they were known.
    #[must_use]
    pub fn after(
        mut self,
        readings: &BTreeMap<Source, u64>,
        orphans_since: BTreeMap<SnapshotId, Timestamp>,
        still_binned: &BTreeMap<ImageId, BTreeSet<SnapshotId>>,
        going: &[Line],
        apply: bool,
    ) -> Self {
        self.readings.extend(readings);
        self.orphans_since = orphans_since;
        self.binned = still_binned.clone();
        for line in going {
            let source = match line {
                Line::Image(image) if image.action == Action::Deregister => {
                    self.binned.insert(image.image_id.clone(), image.snapshots.iter().cloned().collect());
                    Source::Images
                }
                Line::Image(_) => continue,
                Line::Snapshot(_) => Source::Snapshots,
            };
            if let (true, Some(count)) = (apply, self.readings.get_mut(&source)) {
                *count = count.saturating_sub(1);
            }
        }
        self
    }
}

/// Prefix of everything that a run writes, with its end slash.
pub fn run_prefix(run: &str) -> String {
    format!("cleanups/{}/", run_digest(run))
}

/// Key of what the first start wrote down.
pub fn started_key(run: &str) -> String {
    format!("{}run.json", run_prefix(run))
}

/// Prefix of what a run writes about a Region, with its end slash.
pub fn region_prefix(run: &str, region: &Region) -> String {
    format!("{}{region}/", run_prefix(run))
}

/// Key of the pointer to a Region's plan.
pub fn plan_key(run: &str, region: &Region) -> String {
    format!("{}plan.json", region_prefix(run, region))
}

/// Prefix of the outcomes of a plan, with its end slash.
pub fn outcomes_prefix(plan: &str) -> String {
    format!("{plan}outcomes/")
}

/// Key of the outcomes of a batch of a plan; they sort by its number.
pub fn outcomes_key(plan: &str, batch: usize) -> String {
    format!("{}{batch:05}.jsonl", outcomes_prefix(plan))
}

/// Key of a person's answer to a plan: it is asked for once.
pub fn approval_key(plan: &str) -> String {
    format!("{plan}approval.json")
}

/// The mark that a plan is being undone. While it is there, the plan is not applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct UndoMark {
    /// Since when.
    pub at: Timestamp,
}

/// Key of the mark that a plan is being undone.
pub fn undo_key(run: &str, region: &Region) -> String {
    format!("{}undo.json", region_prefix(run, region))
}

/// Refuses to apply what was undone, or is being undone.
///
/// # Errors
/// `Conflict` with the time of the undo.
pub fn not_undone(mark: Option<UndoMark>, work: &RegionWork) -> Result<(), StepError> {
    let Some(UndoMark { at }) = mark.filter(|_| work.apply) else { return Ok(()) };
    let reason = format!("it was undone at {at}: start another run, which makes a new plan");
    Err(StepError::new(ErrorName::Conflict, format!("apply the plan of cleanup {}", work.run), reason)
        .in_region(&work.region))
}

/// Prefix of the files of a plan that is made now, with its end slash.
pub fn files_prefix(run: &str, region: &Region, now: Timestamp) -> String {
    format!("{}{}/", region_prefix(run, region), now.as_millisecond())
}

/// Key of a part of a plan: all its lines, in parts that sort by their number.
pub fn part_key(prefix: &str, part: usize) -> String {
    format!("{prefix}plan-{part:05}.jsonl")
}

/// Key of the lines of a plan that go.
pub fn going_key(prefix: &str) -> String {
    format!("{prefix}going.jsonl")
}

/// Key of a plan as a person reads it.
pub fn table_key(prefix: &str) -> String {
    format!("{prefix}plan.txt")
}

/// Key of what the listings show and a plan cannot use.
pub fn notes_key(prefix: &str) -> String {
    format!("{prefix}notes.jsonl")
}

/// Key of what the plans of a Region have seen so far.
pub fn known_key(region: &Region) -> String {
    format!("cleanups/known/{region}.json")
}

/// Key of the report of a start of a run.
pub fn report_key(run: &str, started_at: Timestamp) -> String {
    format!("{}{}/report.jsonl", run_prefix(run), started_at.as_millisecond())
}

/// Key of the report of bringing back what a run removed.
pub fn undo_report_key(run: &str, first_tried_at: Timestamp) -> String {
    format!("{}undo/{}/report.jsonl", run_prefix(run), first_tried_at.as_millisecond())
}

#[cfg(test)]
pub(crate) mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::cleanup::{account::tests::region, policy::cleanup_request};

    fn request(value: Value) -> CleanupRequest {
        cleanup_request(value, Some("run-1"), &region()).unwrap_or_else(|error| unreachable!("{error}"))
    }

    pub(crate) fn work(value: Value) -> RegionWork {
        let mut all = StartedRegions::new(request(value), Timestamp::UNIX_EPOCH).regions;
        all.pop().map(|turn| turn.subject.work).unwrap_or_else(|| unreachable!())
    }

    fn summary(work: &RegionWork, asks: Option<&str>) -> Summary {
        let mut summary =
            Summary::new(&work.request(), "111122223333", &work.region, BTreeMap::new(), Timestamp::UNIX_EPOCH);
        summary.asks = asks.map(str::to_owned);
        summary
    }

    fn made(value: Value, going: u64, asks: Option<&str>) -> CleanupSubject {
        let work = work(value);
        let mut summary = summary(&work, asks);
        summary.images.by_action.insert(Action::Deregister, going);
        let plan = MadePlan::new(&pointer(summary), &work, Progress::New);
        CleanupSubject { work, plan: Some(plan), approval: None }
    }

    fn pointer(summary: Summary) -> PlanPointer {
        PlanPointer { prefix: "p/".into(), binding: Binding { digest: "d1".into(), version: None }, summary }
    }

    /// 61. What somebody agreed to is not asked about again.
    ///
    /// 62. A plan that was applied to its end is not applied again.
    #[test]
    fn what_is_finished_is_not_applied_again_and_what_was_agreed_to_not_asked_again() {
        let work = work(json!({"apply": true, "approval": true}));
        let mut summary = summary(&work, Some("all go"));
        summary.images.by_action.insert(Action::Deregister, 3);
        let pointer = pointer(summary);
        let next = |progress| MadePlan::new(&pointer, &work, progress).next;
        assert_eq!(
            [Progress::New, Progress::Approved, Progress::Finished].map(next),
            [Next::Ask, Next::Apply, Next::End]
        );
    }

    fn next(value: Value, going: u64, asks: Option<&str>) -> Option<Next> {
        made(value, going, asks).plan.map(|plan| plan.next)
    }

    #[test]
    fn an_answer_without_a_name_is_somebodys() {
        let answer: Approval =
            serde_json::from_value(json!({"approved": false, "ticket": 7})).unwrap_or_else(|_| unreachable!());
        assert_eq!(answer, Approval { approved: false, by: "somebody".into(), plan: None, version: None });
    }

    /// 60. Without `apply` nothing is changed.
    #[test]
    fn a_plan_is_applied_only_if_asked_for_and_asks_where_a_person_has_to_agree() {
        assert_eq!(next(json!({}), 3, None), Some(Next::End));
        assert_eq!(next(json!({"approval": true}), 3, Some("all go")), Some(Next::End));
        assert_eq!(next(json!({"apply": true}), 0, Some("all go")), Some(Next::End));
        assert_eq!(next(json!({"apply": true}), 3, None), Some(Next::Apply));
        assert_eq!(next(json!({"apply": true}), 3, Some("all go")), Some(Next::Ask));
        assert_eq!(next(json!({"apply": true, "approval": true}), 3, None), Some(Next::Ask));
    }

    /// 52. A later start of such a run makes a new plan, once nothing else of the old one is to be done.
    #[test]
    fn a_plan_that_could_not_tell_is_made_again_by_a_later_start() {
        let later = |apply: bool| RegionWork { started_at: Timestamp::constant(1, 0), ..work(json!({"apply": apply})) };
        let pointer = |partial| {
            let mut summary = summary(&work(json!({})), None);
            summary.partial = partial;
            pointer(summary)
        };
        let again = |partial, work: &RegionWork, finished| pointer(partial).is_to_be_made_again(work, finished);
        assert!(again(true, &later(true), true) && again(true, &later(false), false));
        assert!(!again(true, &later(true), false), "what it lets go goes first");
        assert!(!again(false, &later(true), true) && !again(false, &later(false), false));
        assert!(!again(true, &work(json!({"apply": true})), true), "a retry of the start that made it finds it");
    }

    /// 60. What a dry run has planned is applied by the same run with `apply`, as it was read.
    #[test]
    fn what_a_dry_run_has_planned_is_applied_as_it_was_read() {
        let dry = work(json!({}));
        let mut summary = summary(&dry, None);
        summary.images.by_action.insert(Action::Deregister, 3);
        let read = pointer(summary);
        let later = RegionWork { started_at: Timestamp::constant(1, 0), ..work(json!({"apply": true})) };
        assert!(!read.is_to_be_made_again(&later, false));
        let of = |work: &RegionWork| MadePlan::new(&read, work, Progress::New);
        assert_eq!(of(&dry).next, Next::End);
        assert_eq!(of(&later), MadePlan { next: Next::Apply, ..of(&dry) });
    }

    /// 61. An agreement is to that very plan, beside which it lies.
    #[test]
    fn an_agreement_lies_beside_the_plan_that_it_is_about() {
        let [one, another] = [1, 2].map(|second| files_prefix("nightly", &region(), Timestamp::constant(second, 0)));
        assert!(approval_key(&one).starts_with(&one) && approval_key(&another).starts_with(&another));
        assert_ne!(approval_key(&one), approval_key(&another));
    }

    fn refused(subject: &CleanupSubject, now: Timestamp) -> String {
        match subject.applicable(now) {
            Ok(_) => String::new(),
            Err(error) => format!("{} {error}", error.name),
        }
    }

    /// 61. A plan that asks is applied only if a person agreed to it.
    #[test]
    fn nothing_is_applied_without_whom_it_needs() {
        let now = Timestamp::UNIX_EPOCH;
        let dry = made(json!({}), 3, None);
        assert!(refused(&dry, now).starts_with("Conflict") && refused(&dry, now).contains("dry run"));
        assert_eq!(refused(&made(json!({"apply": true}), 3, None), now), "");
        for mut subject in
            [made(json!({"apply": true}), 3, Some("all go")), made(json!({"apply": true, "approval": true}), 3, None)]
        {
            assert!(refused(&subject, now).contains("nobody has"));
            subject.approval = answer(false, None);
            assert!(refused(&subject, now).contains("Ada did not agree"));
            subject.approval = answer(true, Some("d1"));
            assert_eq!(refused(&subject, now), "");
        }
        let mut refusal = made(json!({"apply": true}), 3, None);
        refusal.approval = answer(false, Some("d1"));
        assert!(refused(&refusal, now).contains("Ada did not agree"), "a plan that does not ask can be refused too");
        let without = CleanupSubject { plan: None, ..dry };
        assert!(refused(&without, now).starts_with("InvalidInput"));
    }

    fn answer(approved: bool, plan: Option<&str>) -> Option<Approval> {
        Some(Approval { approved, by: "Ada".into(), plan: plan.map(str::to_owned), version: None })
    }

    /// 76. An answer without `by` is an answer, and a yes that names no plan is none.
    #[test]
    fn a_yes_is_one_to_the_plan_that_it_names() {
        let mut subject = made(json!({"apply": true}), 3, Some("all go"));
        for (plan, said) in [(None, "no plan"), (Some("d2"), "the plan d2")] {
            subject.approval = answer(true, plan);
            let text = refused(&subject, Timestamp::UNIX_EPOCH);
            assert!(text.starts_with("Conflict") && text.contains(said) && text.contains("d1"), "{text}");
        }
        let unnamed: Approval =
            serde_json::from_value(json!({"approved": true, "plan": "d1"})).unwrap_or_else(|_| unreachable!());
        subject.approval = Some(unnamed);
        assert_eq!(refused(&subject, Timestamp::UNIX_EPOCH), "");
    }

    /// 77. After an undo the same run with `apply` is refused with the time of the undo.
    #[test]
    fn what_was_undone_is_not_applied_and_the_refusal_says_since_when() {
        let mark = Some(UndoMark { at: Timestamp::UNIX_EPOCH });
        let error = not_undone(mark, &work(json!({"apply": true}))).err();
        let error = error.unwrap_or_else(|| unreachable!("it was undone"));
        assert!(error.name == ErrorName::Conflict && error.to_string().contains("undone at 1970-01-01T00:00:00Z"));
        assert_eq!(not_undone(mark, &work(json!({}))), Ok(()), "a dry run changes nothing");
        assert_eq!(not_undone(None, &work(json!({"apply": true}))), Ok(()));
    }

    /// 57. A plan that is no longer fresh is refused.
    #[test]
    fn a_plan_is_applied_while_it_is_fresh() {
        let subject = made(json!({"apply": true, "freshMinutes": 60}), 3, None);
        let at = |minutes| Timestamp::UNIX_EPOCH + SignedDuration::from_mins(minutes);
        assert_eq!(refused(&subject, at(59)), "");
        assert!(refused(&subject, at(60)).contains("start another run"));
    }

    #[test]
    fn a_dry_run_can_be_applied_under_its_name_and_nothing_else_can() -> Result<(), StepError> {
        let asked = json!({"run": "r", "retention": {"newest": 3}});
        let started = StartedCleanup { request: request(asked) };
        let apply = request(json!({"run": "r", "retention": {"newest": 3}, "apply": true}));
        assert!(started.clone().resumed_by(&apply)?.apply);
        let scheduled = json!({"scheduledTime": "2026-11-24T02:00:00Z", "retention": {"newest": 3}});
        let started_by_schedule = StartedCleanup { request: request(scheduled) };
        let by_hand = request(json!({"run": "2026-11-24T02:00:00Z", "retention": {"newest": 3}}));
        assert!(!started_by_schedule.resumed_by(&by_hand)?.scheduled);
        for other in [
            json!({"run": "r", "retention": {"newest": 2}}),
            json!({"run": "r", "retention": {"newest": 3}, "regions": ["eu-west-1"]}),
            json!({"run": "r", "retention": {"newest": 3}, "limits": {"images": 1000}}),
        ] {
            let error = started.clone().resumed_by(&request(other)).err();
            assert_eq!(error.map(|error| error.name), Some(ErrorName::Conflict));
        }
        Ok(())
    }

    #[test]
    fn every_region_has_its_own_work() {
        let asked = request(json!({"regions": ["us-east-1", "eu-west-1"], "policy": "nightly"}));
        let started = StartedRegions::new(asked, Timestamp::UNIX_EPOCH);
        let regions: Vec<&str> = started.regions.iter().map(|turn| turn.subject.work.region.as_str()).collect();
        assert_eq!(regions, ["us-east-1", "eu-west-1"]);
        assert_eq!((started.started.policy.as_str(), started.started.regions.len()), ("nightly", 2));
    }

    #[test]
    fn what_is_known_is_what_will_be_there_after_the_plan() {
        let before = Known {
            readings: [(Source::Images, 9), (Source::Objects, 4)].into(),
            binned: [("ami-00000009".parse().unwrap_or_else(|_| unreachable!()), BTreeSet::new())].into(),
            ..Known::default()
        };
        let line = |value: Value| serde_json::from_value::<Line>(value).unwrap_or_else(|error| unreachable!("{error}"));
        let image = |id: &str, action: &str| {
            line(json!({"kind": "image", "imageId": id, "name": "n", "state": "available", "action": action,
                "reasons": [], "provisionedGib": 8, "snapshots": ["snap-00000001"]}))
        };
        let snapshot = line(json!({"kind": "snapshot", "snapshotId": "snap-00000001", "action": "DELETE_SNAPSHOT",
            "reasons": [], "images": [], "provisionedGib": 8}));
        let going = [image("ami-00000001", "DEREGISTER"), image("ami-00000002", "DISABLE"), snapshot];
        let readings = [(Source::Images, 5), (Source::Snapshots, 7)].into();
        for (apply, images, snapshots) in [(false, 5, 7), (true, 4, 6)] {
            let after = before.clone().after(&readings, BTreeMap::new(), &BTreeMap::new(), &going, apply);
            let counts =
                [Source::Images, Source::Snapshots, Source::Objects].map(|source| after.readings.get(&source).copied());
            assert_eq!(counts, [Some(images), Some(snapshots), Some(4)]);
            let binned: Vec<&str> = after.binned.keys().map(ImageId::as_str).collect();
            assert_eq!(binned, ["ami-00000001"], "what left the bin is forgotten");
        }
    }

    #[test]
    fn a_long_plan_has_longer() {
        assert_eq!(apply_budget(0), LEAST_BUDGET);
        assert_eq!(apply_budget(600), LEAST_BUDGET + SignedDuration::from_mins(10));
        assert_eq!(apply_budget(u64::MAX), LEAST_BUDGET + SignedDuration::from_hours(7 * 24));
    }

    #[test]
    fn everything_lies_where_the_documentation_says() {
        let (run, region) = ("nightly", region());
        let digits = run_digest(run);
        assert_eq!(started_key(run), format!("cleanups/{digits}/run.json"));
        assert_eq!(plan_key(run, &region), format!("cleanups/{digits}/us-east-1/plan.json"));
        assert_eq!(undo_key(run, &region), format!("cleanups/{digits}/us-east-1/undo.json"));
        let prefix = files_prefix(run, &region, Timestamp::constant(1_700_000_000, 123_000_000));
        assert_eq!(prefix, format!("cleanups/{digits}/us-east-1/1700000000123/"));
        assert_eq!(outcomes_key(&prefix, 7), format!("{prefix}outcomes/00007.jsonl"));
        assert_eq!(approval_key(&prefix), format!("{prefix}approval.json"));
        assert_eq!(part_key(&prefix, 3), format!("{prefix}plan-00003.jsonl"));
        assert_eq!(going_key(&prefix), format!("{prefix}going.jsonl"));
        assert_eq!(table_key(&prefix), format!("{prefix}plan.txt"));
        assert_eq!(known_key(&region), "cleanups/known/us-east-1.json");
        let at = Timestamp::constant(1_700_000_000, 0);
        assert_eq!(undo_report_key(run, at), format!("cleanups/{digits}/undo/1700000000000/report.jsonl"));
        assert_eq!(report_key(run, at), format!("cleanups/{digits}/1700000000000/report.jsonl"));
    }
}
