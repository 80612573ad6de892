//! Owns what a lock on a snapshot is.

use jiff::{SignedDuration, Timestamp};

use super::state::later;
use crate::account::LockMode;

/// A lock on a snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lock {
    /// How it can be taken off.
    pub mode: LockMode,
    /// When it was put on.
    pub created: Timestamp,
    /// Days that it lasts.
    pub days: i64,
    /// When it ends.
    pub expires: Timestamp,
    /// Hours in which a compliance lock can still be taken off.
    pub cool_off_hours: Option<i64>,
}

impl Lock {
    /// When a compliance lock can no longer be taken off, if that took time.
    pub fn cool_off_ends(&self) -> Option<Timestamp> {
        self.cool_off_hours.map(|hours| later(self.created, SignedDuration::from_hours(hours)))
    }

    /// As EC2 shows it: `governance`, `compliance`, `compliance-cooloff` or `expired`.
    pub fn state(&self, now: Timestamp) -> &'static str {
        if now >= self.expires {
            return "expired";
        }
        match self.mode {
            LockMode::Governance => "governance",
            LockMode::Compliance if self.cool_off_ends().is_some_and(|end| now < end) => "compliance-cooloff",
            LockMode::Compliance => "compliance",
        }
    }

    /// Whether it keeps the snapshot from being deleted.
    pub fn in_force(&self, now: Timestamp) -> bool {
        now < self.expires
    }

    /// Whether nobody can take it off or shorten it.
    pub fn is_final(&self, now: Timestamp) -> bool {
        self.state(now) == "compliance"
    }
}
