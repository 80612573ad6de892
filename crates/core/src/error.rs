//! Owns the names of the errors that a step can end with, and what an error says.
//!
//! The name is an API: state machines match it, exactly, in `Retry` and `Catch`. A contract test
//! compares [`ErrorName::ALL`] with every machine, both ways.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::text::{shown, visible, within};

/// What a failed step is called in a state machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum ErrorName {
    /// AWS asked us to slow down. Nothing was done. The machine retries with long, random waits.
    Throttled,
    /// A fault that passes: 5xx, a timeout, a lost connection. It may have taken effect, and the next
    /// try adopts what it finds.
    Transient,
    /// An id that was made moments ago is not known everywhere yet. The machine retries.
    NotYetVisible,
    /// Still refused for quota when the deadline passed.
    QuotaExceeded,
    /// An image, a snapshot or a task reached a state from which it will not recover.
    ResourceFailed,
    /// The time that was given for this wait has passed.
    DeadlineExceeded,
    /// A name or a token belongs to something else, or two things match where one must.
    Conflict,
    /// A permission is missing.
    AccessDenied,
    /// The input is wrong. Nothing was changed.
    InvalidInput,
    /// Something that cannot be has happened: a response without a field that it must have, say.
    Defect,
}

impl ErrorName {
    /// Every name there is.
    pub const ALL: &'static [ErrorName] = &[
        Self::Throttled,
        Self::Transient,
        Self::NotYetVisible,
        Self::QuotaExceeded,
        Self::ResourceFailed,
        Self::DeadlineExceeded,
        Self::Conflict,
        Self::AccessDenied,
        Self::InvalidInput,
        Self::Defect,
    ];

    /// Names that Lambda and Step Functions raise of themselves, spelled out because matching is
    /// exact. The machines retry them like [`ErrorName::Transient`].
    pub const FOREIGN: &'static [&'static str] = &[
        "Lambda.ServiceException",
        "Lambda.AWSLambdaException",
        "Lambda.SdkClientException",
        "Lambda.ClientExecutionTimeoutException",
        "Lambda.TooManyRequestsException",
        "Lambda.Unknown",
        "Sandbox.Timedout",
        "Runtime.ExitError",
        "States.Timeout",
    ];

    /// The name on the wire: Lambda's `errorType`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Throttled => "Throttled",
            Self::Transient => "Transient",
            Self::NotYetVisible => "NotYetVisible",
            Self::QuotaExceeded => "QuotaExceeded",
            Self::ResourceFailed => "ResourceFailed",
            Self::DeadlineExceeded => "DeadlineExceeded",
            Self::Conflict => "Conflict",
            Self::AccessDenied => "AccessDenied",
            Self::InvalidInput => "InvalidInput",
            Self::Defect => "Defect",
        }
    }

    /// The way out, in words for the person who reads the report.
    pub const fn way_out(self) -> &'static str {
        match self {
            Self::Throttled | Self::Transient | Self::NotYetVisible => "start the same run again to go on",
            Self::QuotaExceeded => {
                "an operator can ask for a higher quota, or start the same run again when less is in progress"
            }
            Self::ResourceFailed => "look at the reason, then start the same run again: it makes a new attempt",
            Self::DeadlineExceeded => {
                "start the same run again to go on waiting, or allow more time where the input has a `deadlineMinutes`"
            }
            Self::Conflict => "a person has to decide which one is right",
            Self::AccessDenied => "an operator has to grant the permission to the function's role",
            Self::InvalidInput => "the caller has to correct the input; nothing was changed",
            Self::Defect => {
                "something that must hold does not: correct the deployment if the reason names a setting, \
                 else please report it"
            }
        }
    }
}

impl fmt::Display for ErrorName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// How a step ended badly: what was being done, to what, where, why, and what it left behind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StepError {
    /// The name that state machines match.
    pub name: ErrorName,
    /// What was being done and to which id, as a fragment: `store image ami-…`.
    pub doing: String,
    /// The Region it was done in, where there is one.
    pub region: Option<String>,
    /// Why it did not work.
    pub reason: String,
    /// What exists now that did not exist before, where that is known.
    pub left_behind: Option<String>,
}

/// Characters of what was being done: a few ids and a key.
const LONGEST_DOING: usize = 500;
/// Characters of a reason, which may be a list. A cause has at most 32,768, and JSON escapes some of them.
const LONGEST_REASON: usize = 15_000;

impl StepError {
    /// An error called `name`, met while `doing` something, for `reason`. Nothing in it is invisible, and it fits into the
    /// cause of an execution.
    pub fn new(name: ErrorName, doing: impl Into<String>, reason: impl Into<String>) -> Self {
        let (doing, reason) = (within(&doing.into(), LONGEST_DOING), within(&reason.into(), LONGEST_REASON));
        Self { name, doing, region: None, reason, left_behind: None }
    }

    /// The input is wrong at `path` (such as `copyTo[1]`), for `reason`.
    pub fn input(path: &str, reason: impl fmt::Display) -> Self {
        let place = if path.is_empty() || path == "." { "the input".to_owned() } else { shown(path) };
        Self::new(ErrorName::InvalidInput, "read the input", format!("{place}: {reason}"))
    }

    /// Says in which Region it happened.
    #[must_use]
    pub fn in_region(mut self, region: impl fmt::Display) -> Self {
        self.region = Some(region.to_string());
        self
    }

    /// Says what was left behind.
    #[must_use]
    pub fn leaving(mut self, left_behind: impl Into<String>) -> Self {
        self.left_behind = Some(visible(&left_behind.into()));
        self
    }
}

impl fmt::Display for StepError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "could not {}", self.doing)?;
        if let Some(region) = &self.region {
            write!(f, " in {region}")?;
        }
        write!(f, ": {}; {}", self.reason, self.name.way_out())?;
        if let Some(left_behind) = &self.left_behind {
            write!(f, "; left behind: {left_behind}")?;
        }
        Ok(())
    }
}

impl std::error::Error for StepError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_says_what_where_why_and_what_is_left() {
        let error = StepError::new(ErrorName::ResourceFailed, "store image ami-1", "the task failed: disk on fire")
            .in_region("eu-west-1")
            .leaving("nothing");
        let text = error.to_string();
        for part in ["store image ami-1", "eu-west-1", "disk on fire", "start the same run again", "nothing"] {
            assert!(text.contains(part), "{part:?} is missing from {text:?}");
        }
    }

    /// 72. An error shows what it repeats.
    #[test]
    fn an_error_hides_nothing() {
        let error = StepError::new(ErrorName::Conflict, "copy \u{1b}[2J", "the name `a\u{202e}b`\n").leaving("\u{7}");
        assert!(error.to_string().chars().all(|c| c.is_ascii_graphic() || c == ' '), "{error}");
        let long = StepError::input(&"k".repeat(70_000), "is wrong");
        assert!(long.reason.chars().count() < 250, "{long}");
    }

    #[test]
    fn a_name_is_written_everywhere_as_it_is_called() {
        for name in ErrorName::ALL {
            let called = format!("{name:?}");
            assert_eq!((name.as_str(), name.to_string()), (called.as_str(), called.clone()));
            assert_eq!(serde_json::to_value(name).ok(), Some(called.into()));
        }
    }

    #[test]
    fn input_that_is_wrong_as_a_whole_is_called_the_input() {
        for (path, place) in [("", "the input"), (".", "the input"), ("copyTo[1]", "copyTo[1]")] {
            assert_eq!(StepError::input(path, "is wrong").reason, format!("{place}: is wrong"));
        }
    }

    #[test]
    fn no_name_collides_with_the_names_of_aws() {
        for name in ErrorName::ALL {
            assert!(!name.as_str().contains('.') && !name.as_str().contains(':'));
        }
    }
}
