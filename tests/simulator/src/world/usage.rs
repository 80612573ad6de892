//! Owns reports on the usage of images: what they count, and when they are there.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};

use super::Tags;
use super::state::{State, later};
use crate::account::Settings;

/// How long a report is kept, in days.
const DAYS_KEPT: i64 = 30;

/// What a report looks at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UsageType {
    /// Instances.
    Instance,
    /// Launch templates, and so many of their newest versions.
    LaunchTemplate(usize),
}

impl UsageType {
    /// As EC2 writes it.
    pub fn text(self) -> &'static str {
        match self {
            Self::Instance => "ec2:Instance",
            Self::LaunchTemplate(_) => "ec2:LaunchTemplate",
        }
    }
}

/// A report on the usage of an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UsageReport {
    /// `amiur-…`.
    pub id: String,
    /// Account that asked for it.
    pub account: String,
    /// Region it is in.
    pub region: String,
    /// Image.
    pub image_id: String,
    /// What it looks at.
    pub types: Vec<UsageType>,
    /// Accounts that it looks at; empty: all.
    pub accounts: Vec<String>,
    /// Tags.
    pub tags: Tags,
    /// When it was asked for.
    pub created: Timestamp,
    /// When it is there.
    pub ready: Timestamp,
    /// `pending`, `available` or `error`.
    pub state: String,
    /// Why it failed, or will fail.
    pub fail: Option<String>,
    /// How many of what which account has.
    pub entries: Vec<UsageEntry>,
    /// Nobody sees it before.
    pub visible_at: Timestamp,
}

/// One line of a report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UsageEntry {
    /// Account that uses the image.
    pub account: String,
    /// Type of what uses it, as EC2 writes it.
    pub kind: &'static str,
    /// How many.
    pub count: u64,
}

impl UsageReport {
    /// When it is forgotten.
    pub fn expires(&self) -> Timestamp {
        later(self.created, SignedDuration::from_hours(24 * DAYS_KEPT))
    }
}

impl State {
    /// Ends the reports that are due, and forgets those that are too old.
    pub(super) fn finish_reports(&mut self, settings: &Settings, now: Timestamp) {
        self.usage_reports.retain(|_, report| now < report.expires());
        let due = |report: &&UsageReport| report.state == "pending" && report.ready <= now;
        let due: Vec<UsageReport> = self.usage_reports.values().filter(due).cloned().collect();
        for report in due {
            let ended = match &report.fail {
                Some(_) => UsageReport { state: "error".into(), ..report },
                None => {
                    let entries = self.usage(settings, &report);
                    UsageReport { state: "available".into(), entries, ..report }
                }
            };
            self.usage_reports.insert(ended.id.clone(), ended);
        }
    }

    /// What the report counts, at the moment when it is ready.
    fn usage(&self, settings: &Settings, report: &UsageReport) -> Vec<UsageEntry> {
        let lag = i64::try_from(settings.usage_lag_ms).unwrap_or(i64::MAX / 2);
        let old = |since: Timestamp| later(since, SignedDuration::from_millis(lag)) <= report.ready;
        let asked = |account: &str| {
            (report.accounts.is_empty() || report.accounts.iter().any(|one| one == account))
                && (settings.choices.usage_report_counts_owner || account != report.account)
        };
        let image = Some(&report.image_id);
        let mut entries = Vec::new();
        for kind in &report.types {
            let mut counts: BTreeMap<&str, u64> = BTreeMap::new();
            match kind {
                UsageType::Instance => {
                    for instance in self.instances.values() {
                        let uses = Some(&instance.image_id) == image && instance.state != "terminated";
                        if uses && asked(&instance.account) && old(instance.launched) {
                            *counts.entry(&instance.account).or_default() += 1;
                        }
                    }
                }
                UsageType::LaunchTemplate(depth) => {
                    for template in self.templates.values() {
                        let mut newest = template.newest(*depth, report.ready);
                        let uses = newest.any(|(_, one)| one.image_id.as_ref() == image && old(one.created));
                        if uses && asked(&template.account) {
                            *counts.entry(&template.account).or_default() += 1;
                        }
                    }
                }
            }
            let lines = counts.into_iter();
            entries.extend(lines.map(|(account, count)| UsageEntry {
                account: account.into(),
                kind: kind.text(),
                count,
            }));
        }
        entries
    }
}
