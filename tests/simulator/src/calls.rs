//! Owns the log of calls: who called what, where, and what came of it.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use jiff::Timestamp;
use serde::Serialize;

/// One call, or one action that a call implies under the rights of its caller.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Call {
    /// When the call arrived, on the clock of the world.
    pub at: Timestamp,
    /// `ec2`, `s3`, `sts`, `sns`, `autoscaling` or `rbin`; of an implied action whatever its prefix
    /// is (`ebs`, `kms`, `iam`).
    pub service: String,
    /// Name of the action without the service, e.g. `CopyImage` or `PutObject`.
    pub action: String,
    /// Region of the credential scope.
    pub region: String,
    /// Account of the caller.
    pub account: String,
    /// Function that called, if it said so in its user agent.
    pub function: Option<String>,
    /// The call that implied this one; `None` of a call that arrived by itself.
    pub implied_by: Option<String>,
    /// `ok`, or the error code.
    pub outcome: String,
    /// The parameters as sent; of an implied action the `resource` that it was checked on.
    pub parameters: BTreeMap<String, String>,
}

/// Every call since the start, oldest first.
#[derive(Debug, Default)]
pub struct CallLog(Mutex<Vec<Call>>);

impl CallLog {
    /// Adds one call at the end.
    pub fn push(&self, call: Call) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(call);
    }

    /// Everything so far, oldest first.
    pub fn all(&self) -> Vec<Call> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// How many calls of `action` there were, implied ones included.
    pub fn count(&self, action: &str) -> usize {
        let calls = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        calls.iter().filter(|call| call.action == action).count()
    }

    /// Forgets everything.
    pub fn clear(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}
