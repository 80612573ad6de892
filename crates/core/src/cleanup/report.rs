//! Owns what a clean-up says in the end: one line for each Region and each item of its plan, and a verdict.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{
    apply::{ItemOutcome, ItemResult},
    batch::Outcomes,
    judge::Action,
    plan::Line,
    reason::WrittenReason,
    run::{CleanupStart, PlanPointer},
};
use crate::{
    error::StepError,
    id::Region,
    report::{CaughtError, Claim, LegResult, ReportedError, Verdict, fitting_cause},
};

/// So many notes on the listings of a Region are told: a sentence about all Regions is sent by mail.
const MOST_NOTES: usize = 3;

/// How a child execution ended, as the machine tells it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RegionEnd {
    /// The Region.
    pub region: Region,
    /// Whether it ended well; skipped: a person did not agree to its plan.
    pub result: LegResult,
    /// Why it ended badly, if it did.
    #[serde(default)]
    pub failure: Option<CaughtError>,
}

/// What is known of a Region when the run ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RegionFacts {
    /// The Region.
    pub region: Region,
    /// How its execution ended; `None`: it did not say.
    pub end: Option<RegionEnd>,
    /// Its plan, if there is one.
    pub plan: Option<PlanPointer>,
    /// The lines of the plan that go.
    pub going: Vec<Line>,
    /// How they ended so far.
    pub outcomes: Outcomes,
    /// Since when what the plan removed is being brought back.
    pub undone: Option<Timestamp>,
    /// Why the plan cannot be read, if it cannot.
    pub unreadable: Option<StepError>,
}

/// One line of the report.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "kind")]
pub enum ReportLine {
    /// A Region.
    #[serde(rename_all = "camelCase")]
    Region(RegionLine),
    /// An item of its plan.
    #[serde(rename_all = "camelCase")]
    Item(ItemLine),
}

/// How a Region ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RegionLine {
    /// The Region.
    pub region: Region,
    /// How it ended.
    pub verdict: Verdict,
    /// Prefix of its plan in the bucket.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan: Option<String>,
    /// Items that its plan does something with.
    pub planned: u64,
    /// Of these, what was done or was so already.
    pub done: u64,
    /// Of these, what stays because the plan no longer held.
    pub kept: u64,
    /// Why it ended badly.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<ReportedError>,
    /// What people should know.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

/// How an item ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ItemLine {
    /// Where it is.
    pub region: Region,
    /// The image or the snapshot.
    pub id: String,
    /// What the plan says.
    pub action: Action,
    /// How it ended; missing: it was not tried.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result: Option<ItemResult>,
    /// Why it goes, or why it stays.
    pub reasons: Vec<WrittenReason>,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// What is so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub claim: Option<Claim>,
}

/// The lines of a Region, its own first.
pub fn lines(start: &CleanupStart, facts: &RegionFacts) -> Vec<ReportLine> {
    // What was undone is back, or on its way: how it once ended says nothing of what is so.
    let told = start.apply && facts.undone.is_none();
    let items: Vec<ItemLine> =
        if told { facts.going.iter().map(|line| item(facts, line)).collect() } else { Vec::new() };
    let count = |wanted: &[ItemResult]| {
        let found = items.iter().filter(|item| item.result.is_some_and(|result| wanted.contains(&result))).count();
        u64::try_from(found).unwrap_or(u64::MAX)
    };
    let (done, kept) = (count(&[ItemResult::Done, ItemResult::Gone]), count(&[ItemResult::Kept]));
    let planned = u64::try_from(facts.going.len()).unwrap_or(u64::MAX);
    let error = problem(facts);
    let region = RegionLine {
        region: facts.region.clone(),
        verdict: verdict_of(start, facts, error.is_some(), planned, done, kept),
        plan: facts.plan.as_ref().map(|plan| plan.prefix.clone()),
        planned,
        done,
        kept,
        error,
        notes: notes(facts),
    };
    std::iter::once(ReportLine::Region(region)).chain(items.into_iter().map(ReportLine::Item)).collect()
}

fn problem(facts: &RegionFacts) -> Option<ReportedError> {
    let unsaid = |what: &str| ReportedError { name: "Unreported".into(), message: what.to_owned() };
    match (&facts.end, &facts.plan) {
        (Some(RegionEnd { failure: Some(failure), .. }), _) => Some(failure.reported()),
        (Some(RegionEnd { result: LegResult::Skipped, .. }), _) => {
            let message = "a person read the plan and did not agree to it; nothing was removed";
            Some(ReportedError { name: "NotApproved".into(), message: message.into() })
        }
        (Some(RegionEnd { result: LegResult::Failed, .. }), _) => {
            Some(unsaid("the execution says that this Region failed, and not why"))
        }
        (None, _) => Some(unsaid("the execution ended without saying what became of this Region")),
        (Some(_), _) if facts.unreadable.is_some() => facts
            .unreadable
            .as_ref()
            .map(|error| ReportedError { name: error.name.as_str().into(), message: error.to_string() }),
        (Some(_), None) => Some(unsaid("there is no plan of this Region")),
        (Some(_), Some(_)) => None,
    }
}

fn notes(facts: &RegionFacts) -> Vec<String> {
    let Some(PlanPointer { summary, .. }) = &facts.plan else { return Vec::new() };
    let mut notes = Vec::new();
    if let Some(at) = facts.undone {
        notes
            .push(format!("what the plan removed has been brought back since {at}, as far as the Recycle Bin held it"));
    }
    if let Some(asks) = &summary.asks {
        notes.push(format!("the plan asks a person: {asks}"));
    }
    if summary.partial {
        notes.push("of some images it could not be told whether they are in use; they stay".into());
    }
    if summary.bin_keeps_snapshots_shorter > 0 {
        let images = summary.bin_keeps_snapshots_shorter;
        notes.push(format!("the Recycle Bin keeps {images} of these images for longer than their snapshots"));
    }
    let old =
        |family: &String| format!("the newest good backup of {family} is too old: only that it is the last keeps it");
    notes.extend(summary.too_old.iter().map(old));
    notes.extend(summary.notes.iter().take(MOST_NOTES).map(ToString::to_string));
    if summary.noted > u64::try_from(MOST_NOTES).unwrap_or(u64::MAX) {
        notes.push(format!("{} entries of the listings could not be used, all named beside the plan", summary.noted));
    }
    notes
}

/// `WARNING` where all was done and people should know that backups have failed for long.
fn verdict_of(start: &CleanupStart, facts: &RegionFacts, failed: bool, planned: u64, done: u64, kept: u64) -> Verdict {
    let summary = facts.plan.as_ref().map(|plan| &plan.summary);
    let whole = !start.apply || done + kept >= planned;
    let partial = summary.is_some_and(|summary| summary.partial);
    match (failed, whole) {
        (true, _) if done > 0 => Verdict::Partial,
        (true, _) => Verdict::Failed,
        (false, false) if done + kept > 0 => Verdict::Partial,
        (false, false) => Verdict::Failed,
        (false, true) if partial => Verdict::Partial,
        (false, true) if summary.is_some_and(|summary| !summary.too_old.is_empty()) => Verdict::Warning,
        (false, true) => Verdict::Ok,
    }
}

fn item(facts: &RegionFacts, line: &Line) -> ItemLine {
    let outcome = facts.outcomes.get(line.id());
    let result = outcome.map(|outcome| outcome.result);
    let goes = matches!(result, Some(ItemResult::Done | ItemResult::Gone));
    let state = match line.action() {
        Action::Deregister | Action::DeleteSnapshot => Some("gone"),
        Action::Disable => Some("disabled"),
        Action::Deprecate | Action::Keep => None,
    };
    let kept = |outcome: &ItemOutcome| (!outcome.reasons.is_empty()).then(|| outcome.reasons.clone());
    ItemLine {
        region: facts.region.clone(),
        id: line.id().to_owned(),
        action: line.action(),
        result,
        reasons: outcome.and_then(kept).unwrap_or_else(|| line.reasons().to_vec()),
        error: outcome.and_then(|outcome| outcome.error.clone()),
        claim: state.filter(|_| goes).map(|state| Claim {
            id: line.id().to_owned(),
            region: facts.region.clone(),
            bucket: None,
            state: state.into(),
            size_bytes: None,
        }),
    }
}

/// The verdict on a run, by its Regions.
pub fn verdict(lines: &[ReportLine]) -> Verdict {
    let regions = || {
        lines.iter().filter_map(|line| match line {
            ReportLine::Region(region) => Some(region.verdict),
            ReportLine::Item(_) => None,
        })
    };
    let any = |wanted: Verdict| regions().any(|verdict| verdict == wanted);
    if regions().all(|verdict| verdict == Verdict::Failed) {
        Verdict::Failed
    } else if any(Verdict::Failed) || any(Verdict::Partial) {
        Verdict::Partial
    } else if any(Verdict::Warning) {
        Verdict::Warning
    } else {
        Verdict::Ok
    }
}

/// One sentence for people.
pub fn summary(start: &CleanupStart, lines: &[ReportLine]) -> String {
    let (mut planned, mut done, mut kept, mut notes) = (0_u64, 0_u64, 0_u64, Vec::new());
    for line in lines {
        if let ReportLine::Region(region) = line {
            planned = planned.saturating_add(region.planned);
            done = done.saturating_add(region.done);
            kept = kept.saturating_add(region.kept);
            notes.extend(region.notes.iter().map(|note| format!("{}: {note}", region.region)));
        }
    }
    let run = &start.run;
    let mut text = if start.apply {
        let open = planned.saturating_sub(done).saturating_sub(kept);
        format!("clean-up {run}: of {planned} planned, {done} done, {kept} kept after all, {open} not done")
    } else {
        format!("clean-up {run}: a dry run, {planned} would go")
    };
    for note in notes {
        text.push_str("; ");
        text.push_str(&note);
    }
    text
}

/// The cause of an execution that fails: the verdict, where the report is, what is not done, how to go on.
pub fn cause(start: &CleanupStart, verdict: Verdict, report: &str, lines: &[ReportLine]) -> String {
    let bad = |line: &&ReportLine| match line {
        ReportLine::Region(region) => !matches!(region.verdict, Verdict::Ok | Verdict::Warning),
        ReportLine::Item(item) => !matches!(item.result, Some(ItemResult::Done | ItemResult::Gone | ItemResult::Kept)),
    };
    let failed: Vec<&ReportLine> = lines.iter().filter(bad).collect();
    let run = &start.run;
    let go_on =
        format!("start the same run again (`\"run\": \"{run}\"`) while its plan is fresh, or another run later");
    fitting_cause(run, verdict, report, &go_on, &failed)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use jiff::Timestamp;
    use serde_json::json;

    use super::*;
    use crate::{
        cleanup::{account::tests::region, binding::Binding, note::Note, run::tests::work, summary::Summary},
        error::ErrorName,
    };

    fn start(apply: bool) -> CleanupStart {
        CleanupStart {
            run: "run-1".into(),
            policy: "nightly".into(),
            started_at: Timestamp::UNIX_EPOCH,
            apply,
            regions: vec![region()],
        }
    }

    fn going(count: usize) -> Vec<Line> {
        let line = |number: usize| {
            let value = json!({"kind": "image", "imageId": format!("ami-{number:08x}"), "name": "n",
                "state": "available", "action": "DEREGISTER", "reasons": [{"code": "expired", "text": "over"}],
                "provisionedGib": 8, "snapshots": []});
            serde_json::from_value(value).unwrap_or_else(|error| unreachable!("{error}"))
        };
        (1..=count).map(line).collect()
    }

    fn facts(results: &[Option<ItemResult>]) -> RegionFacts {
        let work = work(json!({"apply": true}));
        let summary = Summary::new(&work.request(), "111122223333", &region(), BTreeMap::new(), Timestamp::UNIX_EPOCH);
        let going = going(results.len());
        let outcome = |(line, result): (&Line, &Option<ItemResult>)| {
            let id = line.id().to_owned();
            let outcome = ItemOutcome {
                id: id.clone(),
                action: line.action(),
                result: (*result)?,
                by_others: false,
                plan: None,
                started_at: Timestamp::UNIX_EPOCH,
                tries: 1,
                reasons: Vec::new(),
                error: None,
            };
            Some((id, outcome))
        };
        RegionFacts {
            region: region(),
            end: Some(RegionEnd { region: region(), result: LegResult::Ok, failure: None }),
            plan: Some(PlanPointer { prefix: "p/".into(), binding: Binding::default(), summary }),
            undone: None,
            unreadable: None,
            outcomes: going.iter().zip(results).filter_map(outcome).collect(),
            going,
        }
    }

    fn of(start: &CleanupStart, facts: &RegionFacts) -> (Verdict, Vec<ReportLine>) {
        let lines = lines(start, facts);
        (verdict(&lines), lines)
    }

    /// 58. A run that did not get to the end of its plan is no success.
    ///
    /// Case 35: a run that did not get to the end of its plan is no success.
    #[test]
    fn only_a_whole_run_is_a_success() {
        use ItemResult::{Done, Failed, Gone, InUse, Kept};
        let ends = |results: &[Option<ItemResult>]| of(&start(true), &facts(results)).0;
        assert_eq!(ends(&[]), Verdict::Ok);
        assert_eq!(ends(&[Some(Done), Some(Gone), Some(Kept)]), Verdict::Ok);
        for open in [None, Some(Failed), Some(InUse)] {
            assert_eq!(ends(&[Some(Done), open]), Verdict::Partial, "{open:?}");
            assert_eq!(ends(&[Some(Kept), open]), Verdict::Partial, "{open:?}");
            assert_eq!(ends(&[open]), Verdict::Failed, "{open:?}");
        }
        assert_eq!(of(&start(false), &facts(&[None])).0, Verdict::Ok, "a dry run does nothing");
    }

    #[test]
    fn what_ended_badly_is_no_success_and_says_why() {
        let failure =
            CaughtError { error: "AccessDenied".into(), cause: Some("{\"errorMessage\": \"no right\"}".into()) };
        for (results, expected) in [(vec![Some(ItemResult::Done)], Verdict::Partial), (vec![None], Verdict::Failed)] {
            let mut failed = facts(&results);
            failed.end =
                Some(RegionEnd { region: region(), result: LegResult::Failed, failure: Some(failure.clone()) });
            let (verdict, lines) = of(&start(true), &failed);
            assert_eq!(verdict, expected);
            let cause = cause(&start(true), verdict, "s3://b/report", &lines);
            assert!(
                cause.contains("no right") && cause.contains("s3://b/report") && cause.contains("run-1"),
                "{cause}"
            );
        }
        let mut refused = facts(&[None]);
        refused.end.iter_mut().for_each(|end| end.result = LegResult::Skipped);
        let (verdict, lines) = of(&start(true), &refused);
        assert!(
            verdict == Verdict::Failed
                && cause(&start(true), verdict, "s3://b/report", &lines).contains("did not agree")
        );
        let mut mute = facts(&[]);
        mute.end.iter_mut().for_each(|end| end.result = LegResult::Failed);
        assert_eq!(of(&start(true), &mute).0, Verdict::Failed);
        let unsaid = RegionFacts { end: None, ..facts(&[]) };
        assert_eq!(of(&start(true), &unsaid).0, Verdict::Failed);
        let planless = RegionFacts { plan: None, ..facts(&[]) };
        assert_eq!(of(&start(false), &planless).0, Verdict::Failed);
    }

    /// 77. What was undone is not reported as gone.
    #[test]
    fn what_was_undone_is_not_reported_as_gone() {
        let mut undone = facts(&[Some(ItemResult::Done), Some(ItemResult::Gone)]);
        undone.undone = Some(Timestamp::UNIX_EPOCH);
        let (verdict, lines) = of(&start(true), &undone);
        let ReportLine::Region(region) = &lines[0] else { unreachable!("a Region's line comes first") };
        assert_eq!((verdict, lines.len(), region.done), (Verdict::Failed, 1, 0));
        assert!(summary(&start(true), &lines).contains("1970-01-01T00:00:00Z"), "{lines:?}");
    }

    #[test]
    fn a_plan_that_is_not_what_was_read_fails_its_region_and_says_so() {
        let mut swapped = facts(&[]);
        swapped.unreadable = Some(StepError::new(ErrorName::Conflict, "read s3://b/going.jsonl", "it is another"));
        let (verdict, lines) = of(&start(true), &swapped);
        assert_eq!(verdict, Verdict::Failed);
        assert!(cause(&start(true), verdict, "s3://b/report", &lines).contains("s3://b/going.jsonl"));
    }

    /// 52. A run in which something could not be looked at is `PARTIAL`.
    ///
    /// Case 5: what could not be told makes the run partial, dry or not.
    #[test]
    fn a_plan_that_could_not_tell_is_partial() {
        let mut partial = facts(&[Some(ItemResult::Done)]);
        partial.plan.iter_mut().for_each(|plan| plan.summary.partial = true);
        for apply in [true, false] {
            assert_eq!(of(&start(apply), &partial).0, Verdict::Partial);
        }
    }

    /// Case 28: that the last good backup is too old is a warning.
    #[test]
    fn a_backup_that_is_too_old_is_a_warning() {
        let mut old = facts(&[]);
        old.plan.iter_mut().for_each(|plan| plan.summary.too_old.push("source i-1".into()));
        let (verdict, lines) = of(&start(false), &old);
        assert_eq!(verdict, Verdict::Warning);
        let text = summary(&start(false), &lines);
        assert!(text.contains("source i-1") && text.contains("too old") && text.contains("us-east-1"), "{text}");
    }

    #[test]
    fn what_people_should_know_of_a_plan_is_said() {
        let said = |of_the_plan: fn(&mut Summary)| {
            let mut facts = facts(&[]);
            facts.plan.iter_mut().for_each(|plan| of_the_plan(&mut plan.summary));
            summary(&start(false), &of(&start(false), &facts).1)
        };
        assert!(!said(|_| {}).contains("us-east-1"));
        assert!(said(|plan| plan.asks = Some("all go".into())).contains("asks a person: all go"));
        assert!(said(|plan| plan.partial = true).contains("could not be told"));
        assert!(said(|plan| plan.bin_keeps_snapshots_shorter = 1).contains("keeps 1 of these images for longer"));
    }

    /// 68. What people typed where an id belongs and is none refers to nothing, and is noted with its place.
    #[test]
    fn what_the_listings_note_is_said_and_changes_no_verdict() {
        let note = |number: u32| Note { place: format!("group {number}"), text: "it launches nothing".into() };
        let said = |notes: &[Note]| {
            let mut facts = facts(&[]);
            facts.plan.iter_mut().for_each(|plan| plan.summary.note(notes.iter()));
            let (verdict, lines) = of(&start(false), &facts);
            assert_eq!(verdict, Verdict::Ok);
            summary(&start(false), &lines)
        };
        let some = said(&[1, 2, 3].map(note));
        assert!(some.contains("us-east-1: group 3: it launches nothing") && !some.contains("entries"), "{some}");
        let many = said(&[1, 2, 3, 4].map(note));
        assert!(many.contains("4 entries of the listings") && !many.contains("group 4"), "{many}");
    }

    #[test]
    fn an_item_says_why_it_was_kept_after_all_and_else_why_it_goes() {
        let mut kept = facts(&[Some(ItemResult::Kept), Some(ItemResult::Done), None]);
        let reason = WrittenReason { code: "in-use".into(), text: "i-1 runs it".into() };
        kept.outcomes.values_mut().take(1).for_each(|outcome| outcome.reasons = vec![reason.clone()]);
        let reasons = of(&start(true), &kept).1.into_iter().filter_map(|line| match line {
            ReportLine::Item(item) => Some(item.reasons.iter().map(|reason| reason.code.clone()).collect()),
            ReportLine::Region(_) => None,
        });
        let reasons: Vec<Vec<String>> = reasons.collect();
        assert_eq!(reasons, [["in-use"], ["expired"], ["expired"]]);
    }

    #[test]
    fn one_bad_region_makes_a_run_partial_and_only_bad_ones_a_failure() {
        let (good, bad) = (facts(&[]), RegionFacts { end: None, ..facts(&[]) });
        let both = |all: [&RegionFacts; 2]| {
            let lines: Vec<ReportLine> = all.into_iter().flat_map(|facts| lines(&start(true), facts)).collect();
            verdict(&lines)
        };
        assert_eq!(both([&good, &good]), Verdict::Ok);
        assert_eq!(both([&good, &bad]), Verdict::Partial);
        assert_eq!(both([&bad, &bad]), Verdict::Failed);
    }

    #[test]
    fn what_went_is_claimed_to_be_gone_and_nothing_else() {
        use ItemResult::{Done, Failed, Gone, InUse, Kept};
        let (_, lines) =
            of(&start(true), &facts(&[Some(Done), Some(Gone), Some(Kept), Some(Failed), Some(InUse), None]));
        let claims: Vec<Option<String>> = lines
            .iter()
            .filter_map(|line| match line {
                ReportLine::Item(item) => {
                    Some(item.claim.as_ref().map(|claim| format!("{} {}", claim.id, claim.state)))
                }
                ReportLine::Region(_) => None,
            })
            .collect();
        let gone = |id: &str| Some(format!("{id} gone"));
        assert_eq!(claims, [gone("ami-00000001"), gone("ami-00000002"), None, None, None, None]);
        let (_, lines) = of(&start(false), &facts(&[None]));
        assert_eq!(lines.len(), 1, "a dry run has nothing to say of items");
    }

    #[test]
    fn a_summary_counts_what_was_done_kept_and_left() {
        use ItemResult::{Done, Failed, Kept};
        let (_, lines) = of(&start(true), &facts(&[Some(Done), Some(Done), Some(Kept), Some(Failed)]));
        assert_eq!(summary(&start(true), &lines), "clean-up run-1: of 4 planned, 2 done, 1 kept after all, 1 not done");
        let (_, lines) = of(&start(false), &facts(&[None, None]));
        assert_eq!(summary(&start(false), &lines), "clean-up run-1: a dry run, 2 would go");
    }

    #[test]
    fn a_cause_fits_however_much_is_not_done() {
        let (verdict, lines) = of(&start(true), &facts(&[None; 400]));
        let text = cause(&start(true), verdict, "s3://b/report", &lines);
        assert!(text.len() <= 30_000 && text.contains("ami-00000001"), "{}", text.len());
        let read: serde_json::Value = serde_json::from_str(&text).unwrap_or_default();
        assert!(read["notShown"].as_u64() > Some(0));
        assert_eq!(read["failed"][0]["kind"], "region");
    }
}
