//! Owns what a person reads of a plan: how many of what, each deletion with its reason, and what was kept and why.

use std::{collections::BTreeMap, fmt::Write as _};

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::{account::Source, binding::Binding, judge::Action, note::Note, plan::Line, policy::CleanupRequest};
use crate::{
    id::Region,
    text::{shown, visible},
};

/// Version of the schema that is written.
pub const SCHEMA: u32 = 1;

/// So many families with too old a backup are named: a report of hundreds is read by nobody.
pub const MOST_TOO_OLD: usize = 20;

/// So many notes are shown. All of them are beside the plan.
pub const MOST_NOTES: usize = 20;

/// How many there are, by what is done with them and by what keeps them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Counted {
    /// All.
    pub total: u64,
    /// By action.
    pub by_action: BTreeMap<Action, u64>,
    /// What is kept, by the code of each of its reasons: one thing can have several.
    pub kept_by: BTreeMap<String, u64>,
}

/// What the snapshots that go hold.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Sizes {
    /// Sum of their volume sizes in GiB: what was provisioned, not what is freed.
    pub provisioned_gib: u64,
    /// Snapshots of which EC2 says how many bytes their blocks have.
    pub known: u64,
    /// The sum of those bytes: their deletion frees at most these, and less where snapshots share blocks.
    pub full_bytes: u64,
    /// Snapshots of which EC2 does not say it.
    pub unknown: u64,
}

/// What counts in the limits of a run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Removed {
    /// Images that were deprecated, disabled or deregistered.
    pub images: u32,
    /// Snapshots that were deleted by themselves: orphans and leftovers.
    pub snapshots: u32,
}

impl Removed {
    fn is_none(&self) -> bool {
        *self == Self::default()
    }
}

/// A plan in short.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Summary {
    /// Version of this schema.
    pub schema: u32,
    /// The run.
    pub run: String,
    /// Name of its policy.
    pub policy: String,
    /// The account.
    pub account_id: String,
    /// The Region.
    pub region: Region,
    /// When the account was read.
    pub made_at: Timestamp,
    /// Until when the plan may be applied.
    pub fresh_until: Timestamp,
    /// Whether it is to be applied; a dry run otherwise.
    pub apply: bool,
    /// Why a person has to agree first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub asks: Option<String>,
    /// Whether something stays only because it could not be told whether it is in use.
    pub partial: bool,
    /// The images.
    pub images: Counted,
    /// The snapshots.
    pub snapshots: Counted,
    /// What the snapshots that go hold.
    pub going: Sizes,
    /// Images whose snapshots the Recycle Bin would not keep for as long as the images.
    pub bin_keeps_snapshots_shorter: u64,
    /// What the run has removed by earlier plans of this Region.
    #[serde(default, skip_serializing_if = "Removed::is_none")]
    pub removed_before: Removed,
    /// Families whose last good backup is older than all that retention keeps, or than the date on it: backups have
    /// failed for long. At most [`MOST_TOO_OLD`] of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub too_old: Vec<String>,
    /// How many notes there are: what the listings show and the plan cannot use.
    #[serde(default)]
    pub noted: u64,
    /// The first of them, at most [`MOST_NOTES`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<Note>,
    /// Whether the policy keeps by age.
    #[serde(skip)]
    ages: bool,
    /// How many each listing held: what the next plan compares its own with.
    pub readings: BTreeMap<Source, u64>,
}

impl Summary {
    /// The summary of a plan without a line yet.
    pub fn new(
        request: &CleanupRequest,
        account_id: &str,
        region: &Region,
        readings: BTreeMap<Source, u64>,
        made_at: Timestamp,
    ) -> Self {
        let fresh = SignedDuration::from_mins(i64::from(request.policy.fresh_minutes));
        Self {
            schema: SCHEMA,
            run: request.run.clone(),
            policy: request.policy.name.clone(),
            account_id: account_id.to_owned(),
            region: region.clone(),
            made_at,
            fresh_until: made_at.checked_add(fresh).unwrap_or(Timestamp::MAX),
            apply: request.apply,
            asks: None,
            partial: false,
            images: Counted::default(),
            snapshots: Counted::default(),
            going: Sizes::default(),
            bin_keeps_snapshots_shorter: 0,
            removed_before: Removed::default(),
            too_old: Vec::new(),
            noted: 0,
            notes: Vec::new(),
            ages: request.policy.retention.as_ref().is_some_and(|retention| retention.days > 0),
            readings,
        }
    }

    /// Counts a line.
    pub fn add(&mut self, line: &Line) {
        let counted = match line {
            Line::Image(_) => &mut self.images,
            Line::Snapshot(_) => &mut self.snapshots,
        };
        counted.total += 1;
        *counted.by_action.entry(line.action()).or_default() += 1;
        if line.action() == Action::Keep {
            let codes: std::collections::BTreeSet<&str> = line.reasons().iter().map(|reason| &*reason.code).collect();
            for code in codes {
                *counted.kept_by.entry(code.to_owned()).or_default() += 1;
            }
            self.notice_old(line);
            return;
        }
        match line {
            Line::Image(_) => {
                let shorter = line.reasons().iter().any(|reason| reason.code == "bin-keeps-snapshot-shorter");
                self.bin_keeps_snapshots_shorter += u64::from(shorter);
            }
            Line::Snapshot(snapshot) => {
                let going = &mut self.going;
                going.provisioned_gib = going.provisioned_gib.saturating_add(snapshot.provisioned_gib);
                going.full_bytes = going.full_bytes.saturating_add(snapshot.full_bytes.unwrap_or_default());
                going.known += u64::from(snapshot.full_bytes.is_some());
                going.unknown += u64::from(snapshot.full_bytes.is_none());
            }
        }
    }

    /// The last good backup of a family is too old if nothing but that it is the last keeps it; under a policy that keeps by
    /// age, if it is older than that, and only its place among others keeps it.
    fn notice_old(&mut self, line: &Line) {
        let Line::Image(image) = line else { return };
        let places = ["last-good", "among-newest", "newest-of-period"];
        let by_place = line.reasons().iter().all(|reason| places.contains(&&*reason.code));
        let last_good = line.reasons().iter().any(|reason| reason.code == "last-good");
        let alone = line.reasons().len() == 1;
        if last_good && (alone || (self.ages && by_place)) && self.too_old.len() < MOST_TOO_OLD {
            self.too_old.extend(image.family.clone());
        }
    }

    /// Adds what the listings show and the plan cannot use.
    pub fn note<'a>(&mut self, notes: impl ExactSizeIterator<Item = &'a Note>) {
        self.noted = u64::try_from(notes.len()).unwrap_or(u64::MAX);
        self.notes = notes.take(MOST_NOTES).cloned().collect();
    }

    /// How many items the plan does something with.
    pub fn planned(&self) -> u64 {
        let all = self.images.by_action.iter().chain(&self.snapshots.by_action);
        all.filter(|(action, _)| **action != Action::Keep).map(|(_, count)| count).sum()
    }

    /// The plan as a person reads it: which it is, totals, then each of `going`, the lines of what goes, with its reasons,
    /// then what was kept and why.
    pub fn table(&self, going: &[Line], binding: &Binding) -> String {
        let mut text = String::new();
        // Writing to a text cannot fail.
        let _written = self.write(&mut text, going, binding);
        text
    }

    fn write(&self, text: &mut String, going: &[Line], binding: &Binding) -> std::fmt::Result {
        let kind = if self.apply { "to be applied" } else { "made by a dry run, which changes nothing" };
        writeln!(
            text,
            "Clean-up of account {} in {}, run {}, policy {}",
            self.account_id, self.region, self.run, self.policy
        )?;
        writeln!(text, "made {}, fresh until {}, {kind}", self.made_at, self.fresh_until)?;
        writeln!(text, "SHA-256 of going.jsonl: {}\n", binding.digest)?;
        for (name, counted) in [("images", &self.images), ("snapshots", &self.snapshots)] {
            let by_action = counted.by_action.iter().map(|(action, count)| format!("{count} {}", action.as_str()));
            let by_action: Vec<String> = by_action.collect();
            let by_action = if by_action.is_empty() { "none".to_owned() } else { by_action.join(", ") };
            writeln!(text, "{name:<10} {:>7}   {by_action}", counted.total)?;
        }
        self.write_sizes(text)?;
        if let Some(asks) = &self.asks {
            writeln!(text, "\nA person has to agree first: {asks}.")?;
        }
        if self.partial {
            writeln!(text, "\nPARTIAL: of some images it could not be told whether they are in use. They stay.")?;
        }
        if self.bin_keeps_snapshots_shorter > 0 {
            writeln!(
                text,
                "\nWarning: the Recycle Bin would keep {} of these images for longer than their snapshots.",
                self.bin_keeps_snapshots_shorter
            )?;
        }
        for family in &self.too_old {
            writeln!(
                text,
                "\nWarning: the newest good backup of {} is too old: only that it is the last keeps it.",
                shown(family)
            )?;
        }
        self.write_notes(text)?;
        writeln!(text, "\nWhat goes")?;
        if going.is_empty() {
            writeln!(text, "  nothing")?;
        }
        for line in going {
            let name = match line {
                Line::Image(image) => format!(" {}", shown(&image.name)),
                Line::Snapshot(_) => String::new(),
            };
            let reasons: Vec<String> = line.reasons().iter().map(|reason| visible(&reason.text)).collect();
            writeln!(text, "  {:<15} {}{name}: {}", line.action().as_str(), line.id(), reasons.join("; "))?;
        }
        writeln!(text, "\nWhat stays, by reason (one thing can have several)")?;
        for (name, counted) in [("images", &self.images), ("snapshots", &self.snapshots)] {
            for (code, count) in &counted.kept_by {
                writeln!(text, "  {name:<10} {count:>7}   {code}")?;
            }
        }
        Ok(())
    }

    fn write_notes(&self, text: &mut String) -> std::fmt::Result {
        if self.noted > 0 {
            writeln!(text, "\nNoted in the listings: {} entries that the plan cannot use", self.noted)?;
        }
        for note in &self.notes {
            writeln!(text, "  {note}")?;
        }
        if self.noted > u64::try_from(self.notes.len()).unwrap_or(u64::MAX) {
            writeln!(text, "  and more, all in notes.jsonl")?;
        }
        Ok(())
    }

    fn write_sizes(&self, text: &mut String) -> std::fmt::Result {
        let Sizes { provisioned_gib, known, full_bytes, unknown } = &self.going;
        if known + unknown == 0 {
            return Ok(());
        }
        writeln!(
            text,
            "\nThe volumes of the snapshots that go have {provisioned_gib} GiB. That is not what is freed:"
        )?;
        if *known > 0 {
            let gib = full_bytes.div_ceil(1 << 30);
            writeln!(
                text,
                "{known} of them hold {gib} GiB. At most that is freed, and less where snapshots share blocks."
            )?;
        }
        if *unknown > 0 {
            writeln!(text, "Of {unknown} of them EC2 does not say what they hold.")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::cleanup::{
        account::{Account, tests::region},
        judge::{
            judge,
            tests::{account, image, now},
        },
        plan::{
            Plan,
            tests::{all_free, snapshot},
        },
        policy::cleanup_request,
        reason::Reason,
    };

    fn summed(account: &Account, more: serde_json::Value) -> (Summary, Vec<Line>) {
        let mut asked =
            json!({"run": "r", "policy": "weekly", "retention": {"newest": 1}, "limits": {"sharePercent": 100}});
        if let (Some(asked), serde_json::Value::Object(more)) = (asked.as_object_mut(), more) {
            asked.extend(more);
        }
        let request = cleanup_request(asked, None, &region()).unwrap_or_else(|error| unreachable!("{error}"));
        let judged = judge(account, &request.policy, now()).unwrap_or_default();
        let plan = Plan::new(account, judged, &all_free(account), &request.policy, now());
        let mut summary = Summary::new(&request, "111122223333", &region(), BTreeMap::new(), now());
        plan.lines().for_each(|line| summary.add(&line));
        (summary, plan.lines().filter(|line| line.action() != Action::Keep).collect())
    }

    fn three() -> Account {
        let mut account = account(vec![image(1, 1), image(2, 2), image(3, 3)]);
        account.snapshots = (1..=3).map(snapshot).collect();
        account
    }

    #[test]
    fn a_summary_counts_by_action_and_by_reason() {
        let mut account = three();
        account.images[2].protections = vec![Reason::KeepTag("A".into()), Reason::KeepTag("B".into()), Reason::Public];
        let (summary, going) = summed(&account, json!({}));
        assert_eq!((summary.images.total, summary.snapshots.total, summary.planned()), (3, 3, 2));
        assert_eq!(summary.images.by_action, [(Action::Keep, 2), (Action::Deregister, 1)].into());
        let by = |counted: &Counted| counted.kept_by.iter().map(|(code, n)| format!("{code} {n}")).collect::<Vec<_>>();
        assert_eq!(by(&summary.images), ["among-newest 1", "keep-tag 1", "last-good 1", "public 1"]);
        assert_eq!(by(&summary.snapshots), ["backs-an-image 2"]);
        assert_eq!(going.len(), 2);
    }

    /// 72. A plan shows what it repeats.
    #[test]
    fn a_plan_hides_nothing() {
        let hostile = format!("\u{1b}[2J\u{202e}{}\n  nothing", "x".repeat(1_000));
        let mut account = three();
        account.images.iter_mut().for_each(|image| image.name = hostile.clone());
        let (mut summary, going) = summed(&account, json!({}));
        summary.too_old.push(hostile.clone());
        let table = summary.table(&going, &Binding::default());
        assert!(table.chars().all(|c| c == '\n' || c == '…' || c == ' ' || c.is_ascii_graphic()), "{table}");
        assert!(table.contains("\\u{1b}[2J\\u{202e}x") && !table.contains("\n  nothing"), "{table}");
        assert!(table.lines().all(|line| line.chars().count() < 500), "{table}");
        let tag = || hostile.clone();
        for reason in [
            Reason::KeepTag(tag()),
            Reason::SharedWith(tag()),
            Reason::UnreadableExpiry(tag()),
            Reason::ManagedBy(crate::cleanup::protection::Tool::Service(tag())),
            Reason::State(tag()),
            Reason::Broken(tag()),
        ] {
            let text = reason.to_string();
            assert!(text.chars().all(|c| c == '…' || c == ' ' || c.is_ascii_graphic()), "{text}");
            assert!(text.chars().count() < 300, "{text}");
        }
    }

    /// 66. A last good backup that is older than the policy keeps is said to be too old.
    ///
    /// Case 28: that all backups are older than the policy keeps is said, also where their number keeps some.
    #[test]
    fn a_last_good_backup_that_only_its_place_keeps_is_too_old() {
        let old = |more: serde_json::Value| summed(&account(vec![image(1, 300), image(2, 400)]), more).0.too_old;
        let family = vec!["source i-12345678, x86_64".to_owned()];
        assert_eq!(old(json!({"retention": {"days": 30}})), family);
        assert_eq!(old(json!({"retention": {"newest": 2, "days": 30, "monthly": 1}})), family);
        assert_eq!(old(json!({"retention": {"days": 301}})), Vec::<String>::new());
        assert_eq!(old(json!({"retention": {"newest": 2}})), Vec::<String>::new(), "a number says nothing of age");
    }

    #[test]
    fn so_many_families_of_which_the_last_is_too_old_are_named_and_no_more() {
        let family = |number: u32| {
            let mut image = image(number, 400);
            image.family = Some(format!("source i-{number}"));
            image
        };
        let old = |families: u32| {
            let account = account((1..=families).map(family).collect());
            summed(&account, json!({"retention": {"days": 30}})).0.too_old.len()
        };
        assert_eq!([19, 20, 21, 50].map(old), [19, 20, 20, 20]);
    }

    /// 59. What was provisioned is never called freed: the two are two numbers. What EC2 says that snapshots hold is the
    ///     most that can be freed, and where it does not say, the plan says so.
    ///
    /// Case 80: what was provisioned is never sold as what is freed.
    #[test]
    fn provisioned_and_freed_are_two_numbers() {
        let mut account = three();
        account.snapshots[1].full_bytes = Some((5 << 30) + 1);
        let (summary, going) = summed(&account, json!({}));
        let expected = Sizes { provisioned_gib: 16, known: 1, full_bytes: (5 << 30) + 1, unknown: 1 };
        assert_eq!(summary.going, expected);
        let table = summary.table(&going, &Binding::default());
        for part in ["have 16 GiB", "not what is freed", "1 of them hold 6 GiB. At most", "Of 1 of them EC2 does not"] {
            assert!(table.contains(part), "{part} is missing from\n{table}");
        }
        account.snapshots[1].full_bytes = None;
        let (summary, going) = summed(&account, json!({}));
        assert!(!summary.table(&going, &Binding::default()).contains("of them hold"));
        account.snapshots.iter_mut().for_each(|snapshot| snapshot.full_bytes = Some(1 << 30));
        let (summary, going) = summed(&account, json!({}));
        let table = summary.table(&going, &Binding::default());
        assert!(table.contains("2 of them hold 2 GiB") && !table.contains("does not say"), "{table}");
        account.snapshots.clear();
        let (summary, going) = summed(&account, json!({}));
        assert!(!summary.table(&going, &Binding::default()).contains("GiB. That is not what is freed"));
    }

    #[test]
    fn a_table_has_totals_then_each_deletion_then_what_stays() {
        let (mut summary, going) = summed(&three(), json!({}));
        let table = summary.table(&going, &Binding::default());
        let place = |part: &str| table.find(part).unwrap_or_else(|| panic!("{part} is missing from\n{table}"));
        let parts = [
            "account 111122223333 in us-east-1, run r, policy weekly",
            "made by a dry run, which changes nothing",
            "images           3   1 KEEP, 2 DEREGISTER",
            "snapshots        3   1 KEEP, 2 DELETE_SNAPSHOT",
            "What goes",
            "DEREGISTER      ami-00000002 backup-2: retention keeps newer ones",
            "DELETE_SNAPSHOT snap-00000002: ami-00000002 is on it and goes",
            "What stays",
            "images           1   last-good",
        ];
        assert!(parts.map(place).is_sorted(), "{table}");
        for absent in ["has to agree", "PARTIAL", "Warning"] {
            assert!(!table.contains(absent), "{table}");
        }
        summary.asks = Some("too much".into());
        summary.partial = true;
        summary.apply = true;
        summary.bin_keeps_snapshots_shorter = 2;
        let table = summary.table(&[], &Binding { digest: "d1".into(), version: None });
        for part in [
            "SHA-256 of going.jsonl: d1",
            "to be applied",
            "agree first: too much.",
            "PARTIAL",
            "keep 2 of these images",
            "  nothing",
        ] {
            assert!(table.contains(part), "{part} is missing from\n{table}");
        }
    }

    /// 68. What people typed where an id belongs and is none refers to nothing, and is noted with its place.
    #[test]
    fn what_the_listings_note_is_told_and_so_many_of_it_shown() {
        let (mut summary, going) = summed(&three(), json!({}));
        assert!(!summary.table(&going, &Binding::default()).contains("Noted"));
        let notes: Vec<Note> =
            (1..=21).map(|number| Note { place: format!("group {number}"), text: "odd".into() }).collect();
        summary.note(notes[..20].iter());
        let table = summary.table(&going, &Binding::default());
        assert!(table.contains("Noted in the listings: 20 entries") && table.contains("  group 20: odd"), "{table}");
        assert!(!table.contains("notes.jsonl"), "{table}");
        summary.note(notes.iter());
        let table = summary.table(&going, &Binding::default());
        assert!(
            table.contains("21 entries") && !table.contains("group 21") && table.contains("notes.jsonl"),
            "{table}"
        );
    }

    #[test]
    fn images_that_the_bin_keeps_for_longer_than_their_snapshots_are_counted() {
        let mut account = three();
        account.images[1].bin_days = Some(7);
        account.images[2].bin_days = Some(7);
        account.snapshots[2].bin_days = Some(7);
        assert_eq!(summed(&account, json!({})).0.bin_keeps_snapshots_shorter, 1);
    }

    #[test]
    fn a_summary_says_until_when_it_is_fresh_and_is_read_again() {
        let (summary, _) = summed(&three(), json!({"freshMinutes": 60, "apply": true}));
        assert_eq!(summary.fresh_until, now() + SignedDuration::from_hours(1));
        assert!(summary.apply);
        let text = serde_json::to_string(&summary).unwrap_or_default();
        assert_eq!(serde_json::from_str::<Summary>(&text).ok(), Some(summary));
    }

    #[test]
    fn an_empty_account_is_a_plan_of_nothing() {
        let (summary, going) = summed(&account(Vec::new()), json!({}));
        assert_eq!(summary.planned(), 0);
        let table = summary.table(&going, &Binding::default());
        assert!(table.contains("images           0   none") && table.contains("  nothing"), "{table}");
    }
}
