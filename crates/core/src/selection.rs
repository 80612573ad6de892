//! Owns what the first step of a run finds out: which sources, under which policy, since when.

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::{
    error::{ErrorName, StepError},
    id::{BucketName, Region},
    input::unreadable,
    item::{Expires, Item, RunContext, Source},
    naming::attempt_prefix,
    policy::{BackupPolicy, KeepDays, RunRequest, label},
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
    #[serde(deserialize_with = "label")]
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
    #[serde(default, deserialize_with = "Expires::or_null")]
    pub expires: Expires,
    /// What was selected.
    pub sources: Vec<Source>,
}

impl StartedRun {
    /// A run that begins now.
    ///
    /// # Errors
    /// `InvalidInput` if no date is so far ahead as `keepDays`.
    pub fn new(request: RunRequest, sources: Vec<Source>, now: Timestamp) -> Result<Self, StepError> {
        let expires = expires(request.policy.keep_days, now)?;
        Ok(Self { request, expires, sources })
    }

    /// What was read back at `now` from `place`: it is held to what could have been written.
    ///
    /// # Errors
    /// `Conflict` if what it makes would go at another time than its policy says.
    pub fn checked(self, now: Timestamp, place: &str) -> Result<Self, StepError> {
        let fits = match (expires(self.request.policy.keep_days, now), self.expires) {
            (Ok(Expires::At(latest)), Expires::At(at)) => at <= latest,
            (latest, expires) => latest == Ok(expires),
        };
        let expires = self.expires;
        let wrong = || unreadable(place, &format!("expires: {expires} is not what its `keepDays` come to"));
        if fits { Ok(self) } else { Err(wrong()) }
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
            expires: self.expires,
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

/// When what a run makes may go, if it begins now.
///
/// # Errors
/// `InvalidInput` if no date is so far ahead.
pub fn expires(keep_days: Option<KeepDays>, now: Timestamp) -> Result<Expires, StepError> {
    match keep_days {
        None => Ok(Expires::ByPolicy),
        Some(KeepDays::Never) => Ok(Expires::Never),
        Some(KeepDays::Days(days)) => {
            let at = now.checked_add(SignedDuration::from_hours(24 * i64::from(days)));
            let beyond = |_| StepError::input("keepDays", format!("no date is {days} days ahead: use `never`"));
            at.map(Expires::At).map_err(beyond)
        }
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
        let started = StartedRun::new(scheduled(), vec![source("ami-12345678")], Timestamp::UNIX_EPOCH)?;
        let by_hand = request(json!({
            "tags": {"Backup": ["nightly"]}, "run": "2026-11-23T02:00:00Z", "keepDays": 7, "deadlineMinutes": 600,
        }));
        let resumed = started.clone().resumed_by(&by_hand)?;
        assert_eq!(resumed.request.policy.deadline_minutes, Some(600));
        assert_eq!((resumed.expires, resumed.sources), (started.expires, started.sources));
        Ok(())
    }

    #[test]
    fn other_input_under_the_same_name_is_a_conflict() -> Result<(), StepError> {
        let started = StartedRun::new(scheduled(), Vec::new(), Timestamp::UNIX_EPOCH)?;
        let other = request(json!({"tags": {"Backup": ["weekly"]}, "run": "2026-11-23T02:00:00Z", "keepDays": 7}));
        assert_eq!(started.resumed_by(&other).err().map(|e| e.name), Some(ErrorName::Conflict));
        Ok(())
    }

    /// 70. A value that cannot be represented is refused with its path, and never becomes another.
    #[test]
    fn days_that_end_beyond_all_dates_are_refused() {
        let asked =
            |keep: serde_json::Value| request(json!({"imageIds": ["ami-12345678"], "run": "r", "keepDays": keep}));
        let now = Timestamp::constant(1_796_004_000, 0);
        let refused = StartedRun::new(asked(json!(9_999_999)), Vec::new(), now).err();
        assert_eq!(refused.as_ref().map(|e| e.name), Some(ErrorName::InvalidInput));
        assert!(refused.is_some_and(|e| e.reason.contains("keepDays") && e.reason.contains("never")));
        for (keep, expires) in [
            (json!("never"), Expires::Never),
            (json!(null), Expires::ByPolicy),
            (json!(1), Expires::At(now + SignedDuration::from_hours(24))),
        ] {
            assert_eq!(
                StartedRun::new(asked(keep.clone()), Vec::new(), now).map(|run| run.expires),
                Ok(expires),
                "{keep}"
            );
        }
    }

    /// 71. What is read back is held to what came in.
    #[test]
    fn a_run_that_was_written_down_expires_as_its_policy_says() -> Result<(), StepError> {
        let now = Timestamp::constant(1_796_004_000, 0);
        let text = |run: &StartedRun| serde_json::to_string(run).unwrap_or_default();
        let started = StartedRun::new(scheduled(), vec![source("ami-12345678")], now)?;
        let read = |text: &str| crate::input::document::<StartedRun>(text, "s3://b/k")?.checked(now, "s3://b/k");
        assert_eq!(read(&text(&started))?, started);
        let day = SignedDuration::from_hours(24);
        for (expires, right) in [
            (Expires::At(now), true),
            (Expires::At(now + day * 7), true),
            (Expires::At(now + day * 8), false),
            (Expires::ByPolicy, false),
            (Expires::Never, false),
        ] {
            let read = read(&text(&StartedRun { expires, ..started.clone() }));
            assert_eq!(read.err().map(|e| e.name), (!right).then_some(ErrorName::Conflict), "{expires}");
        }
        // As it was written before there was `never`.
        let without = StartedRun::new(request(json!({"imageIds": ["ami-12345678"], "run": "r"})), Vec::new(), now)?;
        let before = text(&without).replace(r#""expires":"by-policy""#, r#""expires":null"#);
        assert!(before.contains("null"), "{before}");
        assert_eq!(read(&before)?, without);
        for source in ["{}", r#"{"imageId":"ami-12345678","instanceId":"i-12345678"}"#] {
            let text = text(&started).replace(r#"{"imageId":"ami-12345678"}"#, source);
            assert_eq!(read(&text).err().map(|e| e.name), Some(ErrorName::Conflict), "{text}");
        }
        Ok(())
    }

    #[test]
    fn items_are_numbered_and_expire_together() -> Result<(), StepError> {
        let started =
            StartedRun::new(scheduled(), vec![source("ami-12345678"), source("ami-87654321")], Timestamp::UNIX_EPOCH)?;
        let home = "us-east-1".parse().unwrap_or_else(|_| unreachable!());
        let items = started.items(Timestamp::UNIX_EPOCH + SignedDuration::from_hours(5), &home);
        assert_eq!(items.iter().map(|item| item.item).collect::<Vec<_>>(), [0, 1]);
        let week = Timestamp::UNIX_EPOCH + SignedDuration::from_hours(7 * 24);
        let origins: Vec<_> = items.iter().filter_map(|item| item.run.origin.as_deref()).collect();
        assert_eq!(origins, ["ami-12345678", "ami-87654321"]);
        assert!(items.iter().all(|item| item.run.expires == Expires::At(week)));
        Ok(())
    }
}
