//! Owns what the first step of a run finds out: which sources, under which policy, since when.

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::{
    error::{ErrorName, StepError},
    id::{BucketName, Region},
    item::{Item, RunContext, Source},
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

    /// Whether `request` may go on with this run.
    ///
    /// # Errors
    /// `Conflict` if it asks for something else under the same name.
    pub fn resumed_by(&self, request: &RunRequest) -> Result<(), StepError> {
        if self.request == *request {
            return Ok(());
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
            region: home.clone(),
            attempt: attempt_prefix(&self.request.run, started_at),
        };
        (0..)
            .zip(&self.sources)
            .map(|(item, source)| Item {
                item,
                run: run.clone(),
                policy: self.request.policy.clone(),
                source: source.clone(),
                awaited: None,
            })
            .collect()
    }
}
