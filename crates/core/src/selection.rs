//! Owns what the first step of a run finds out: which sources, under which policy, since when.

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::{
    error::{ErrorName, StepError},
    id::{BucketName, Region},
    item::{Expires, Item, RunContext, Source},
    naming::attempt_prefix,
    policy::{BackupPolicy, RunRequest},
};

/// Whether anything was selected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Found {
    /// There is work.
    Found,
    /// There is none.
    Nothing,
}

/// Where a list of items is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ObjectPlace {
    /// Bucket.
    pub bucket: BucketName,
    /// Key.
    pub key: String,
}

/// What goes through the machine beside the items, which go through the bucket: four thousand of them
/// would exceed what a state may hand on (256 KiB).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Selection {
    /// Whether there is work.
    pub status: Found,
    /// Identity of the run.
    pub run: String,
    /// When this start of the run began.
    pub started_at: Timestamp,
    /// Home Region.
    pub region: Region,
    /// Number of items.
    pub count: u32,
    /// The items, as a JSON array; absent if there are none.
    #[serde(default)]
    pub items: Option<ObjectPlace>,
    /// The policy in full.
    pub policy: BackupPolicy,
}

/// What the first start of a run wrote down. A later start of the same run works from it, so that it
/// does the same work and everything that it makes expires when the rest does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct StartedRun {
    /// What was asked for.
    pub request: RunRequest,
    /// When what it makes may go.
    pub expires: Option<Timestamp>,
    /// What was selected.
    pub sources: Vec<Source>,
}

impl StartedRun {
    /// A run that begins now.
    pub fn new(request: RunRequest, sources: Vec<Source>, now: Timestamp) -> Self {
        let expires = request
            .policy
            .keep_days
            .and_then(|days| now.checked_add(SignedDuration::from_hours(24 * i64::from(days))).ok());
        Self { request, expires, sources }
    }

    /// The run as `request` goes on with it: how long to wait may be new, and a person may go on with
    /// what a schedule began.
    ///
    /// # Errors
    /// `Conflict` if it asks for something else under the same name.
    pub fn resumed_by(mut self, request: &RunRequest) -> Result<Self, StepError> {
        self.request.scheduled = request.scheduled;
        self.request.policy.deadline_minutes = request.policy.deadline_minutes;
        if self.request == *request {
            return Ok(self);
        }
        Err(StepError::new(
            ErrorName::Conflict,
            format!("go on with run {}", request.run),
            "this run was started with other input; start it with the same input, or choose another `run`",
        ))
    }

    /// The items of one start of the run.
    pub fn items(&self, started_at: Timestamp, home: &Region) -> Vec<Item> {
        let run = RunContext {
            run: self.request.run.clone(),
            started_at,
            policy: self.request.policy.name.clone(),
            expires: self.expires.map_or(Expires::ByPolicy, Expires::At),
            origin: None,
            region: home.clone(),
            attempt: attempt_prefix(&self.request.run, started_at),
        };
        (0..)
            .zip(&self.sources)
            .map(|(item, source)| Item {
                item,
                run: RunContext { origin: Some(source.as_str().to_owned()), ..run.clone() },
                policy: self.request.policy.clone(),
                source: source.clone(),
                awaited: None,
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{policy::run_request, settings::Settings};

    fn request(input: serde_json::Value) -> RunRequest {
        let settings = Settings::read(|name| (name == "BACKUP_BUCKET").then(|| "backups".into()));
        let home = "us-east-1".parse().unwrap_or_else(|_| unreachable!());
        settings
            .and_then(|settings| run_request(input, None, &settings, &Default::default(), &home))
            .unwrap_or_else(|e| unreachable!("{e}"))
    }

    fn scheduled() -> RunRequest {
        request(json!({"tags": {"Backup": ["nightly"]}, "scheduledTime": "2026-11-23T02:00:00Z", "keepDays": 7}))
    }

    fn source(id: &str) -> Source {
        Source { instance_id: None, image_id: id.parse().ok() }
    }

    #[test]
    fn a_person_goes_on_with_what_a_schedule_began_and_may_allow_more_time() -> Result<(), StepError> {
        let started = StartedRun::new(scheduled(), vec![source("ami-12345678")], Timestamp::UNIX_EPOCH);
        let by_hand = request(json!({
            "tags": {"Backup": ["nightly"]}, "run": "2026-11-23T02:00:00Z", "keepDays": 7, "deadlineMinutes": 600,
        }));
        let resumed = started.clone().resumed_by(&by_hand)?;
        assert_eq!(resumed.request.policy.deadline_minutes, Some(600));
        assert_eq!((resumed.expires, resumed.sources), (started.expires, started.sources));
        Ok(())
    }

    #[test]
    fn other_input_under_the_same_name_is_a_conflict() {
        let started = StartedRun::new(scheduled(), Vec::new(), Timestamp::UNIX_EPOCH);
        let other = request(json!({"tags": {"Backup": ["weekly"]}, "run": "2026-11-23T02:00:00Z", "keepDays": 7}));
        assert_eq!(started.resumed_by(&other).err().map(|e| e.name), Some(ErrorName::Conflict));
    }

    #[test]
    fn items_are_numbered_and_expire_together() {
        let started =
            StartedRun::new(scheduled(), vec![source("ami-12345678"), source("ami-87654321")], Timestamp::UNIX_EPOCH);
        let home = "us-east-1".parse().unwrap_or_else(|_| unreachable!());
        let items = started.items(Timestamp::UNIX_EPOCH + SignedDuration::from_hours(5), &home);
        assert_eq!(items.iter().map(|item| item.item).collect::<Vec<_>>(), [0, 1]);
        let week = Timestamp::UNIX_EPOCH + SignedDuration::from_hours(7 * 24);
        let origins: Vec<_> = items.iter().filter_map(|item| item.run.origin.as_deref()).collect();
        assert_eq!(origins, ["ami-12345678", "ami-87654321"]);
        assert!(items.iter().all(|item| item.run.expires == Expires::At(week)));
    }
}
