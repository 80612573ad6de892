//! Owns what can go wrong in a trial, as data: what is drawn from a seed, printed for people, left out
//! one by one while a failure is shrunk, and replayed.

use std::fmt;

use ami_backup_core::ErrorName;
use serde::{Deserialize, Serialize};

/// One thing that goes wrong, or that somebody does meanwhile.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Fault {
    /// What goes wrong with a Task.
    Task {
        /// Which of the Tasks that are begun, from 1.
        nth: u32,
        /// What.
        what: TaskFault,
    },
    /// What goes wrong with a call of AWS.
    Call {
        /// Which of the calls that are made, from 1.
        nth: u32,
        /// What.
        what: CallFault,
        /// How many attempts of the same call by the same invocation it hits.
        times: u32,
    },
    /// The task or the image that a call starts ends failed.
    Doomed {
        /// Which of the calls that are made, from 1; nothing if that one starts nothing.
        nth: u32,
    },
    /// The execution is stopped when a state is entered.
    Stop {
        /// Which of the states that are entered, from 1.
        nth: u32,
    },
    /// The same execution is started once more, beside the first.
    Beside {
        /// How long after it.
        after_ms: u32,
    },
    /// Somebody changes the account.
    Person {
        /// How long after the start.
        after_s: u32,
        /// What.
        deed: Deed,
        /// Which of the things that it can be done to, counted round and round.
        to: u32,
    },
}

/// What goes wrong with a Task.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum TaskFault {
    /// It ends with this error, and the function was never called.
    Raises(String),
    /// The function is called and never answers, having done nothing.
    HangsBefore,
    /// The function does its work, and its process ends before it answers.
    CrashesAfter,
    /// The function does its work and never answers.
    HangsAfter,
    /// The function is called twice, one call after the other.
    RunsTwice,
    /// The function is called twice at the same moment.
    RunsTwiceAtOnce,
}

/// What goes wrong with a call of AWS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum CallFault {
    /// Refused: too many requests.
    Throttled,
    /// Refused: a fault of AWS.
    Unavailable,
    /// The connection is cut before anything happened.
    Cut,
    /// Refused: a permission is missing.
    Denied,
    /// Refused: what was made a moment ago is not known here yet.
    NotFound,
    /// It has its effect, and the reply never comes.
    ReplyLost,
    /// The process that calls ends before the call arrives.
    DiesBefore,
    /// The process that calls ends when the call has had its effect.
    DiesAfter,
}

impl CallFault {
    /// All of them.
    pub const ALL: &'static [Self] = &[
        Self::Throttled,
        Self::Unavailable,
        Self::Cut,
        Self::Denied,
        Self::NotFound,
        Self::ReplyLost,
        Self::DiesBefore,
        Self::DiesAfter,
    ];
}

/// What somebody does in the account.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Deed {
    /// Deregisters an image.
    Deregister,
    /// Shares an image with another account.
    Share,
    /// Tags an image.
    Tag,
    /// Takes a tag of their own from an image.
    Untag,
    /// Deletes an object.
    DeleteObject,
    /// Launches an instance of an image.
    Launch,
    /// Makes a launch configuration of an image.
    Configure,
    /// Lets more go by the lines of a plan than the plan that was made.
    SwapPlan,
    /// Writes beside a plan that a person agreed to it.
    ForgeApproval,
    /// Tags a snapshot as earlier versions tagged those that were to go with an image.
    MarkSnapshot,
}

impl Deed {
    /// All of them.
    pub const ALL: &'static [Self] = &[
        Self::Deregister,
        Self::Share,
        Self::Tag,
        Self::Untag,
        Self::DeleteObject,
        Self::Launch,
        Self::Configure,
        Self::SwapPlan,
        Self::ForgeApproval,
        Self::MarkSnapshot,
    ];
}

impl Fault {
    /// What it is, wherever it strikes.
    pub fn kind(&self) -> String {
        match self {
            Self::Task { what, .. } => what.to_string(),
            Self::Call { what, times, .. } => format!("{what:?} {times}"),
            Self::Doomed { .. } => "doomed".into(),
            Self::Stop { .. } => "stop".into(),
            Self::Beside { .. } => "beside".into(),
            Self::Person { deed, .. } => format!("{deed:?}"),
        }
    }
}

impl TaskFault {
    /// Everything that can go wrong with a Task whose function can raise `errors`.
    pub fn all(errors: &[ErrorName]) -> Vec<Self> {
        // A Task that times out without having had an effect is `HangsBefore`.
        let foreign = ErrorName::FOREIGN.iter().copied().filter(|name| *name != "States.Timeout");
        let raised = errors.iter().map(|name| name.as_str()).chain(foreign);
        let raised = raised.map(|name| Self::Raises(name.to_owned()));
        let rest = [Self::HangsBefore, Self::CrashesAfter, Self::HangsAfter, Self::RunsTwice, Self::RunsTwiceAtOnce];
        raised.chain(rest).collect()
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Task { nth, what } => write!(f, "task {nth} {what}"),
            Self::Call { nth, what, times } => write!(f, "call {nth} {what:?}, {times} attempts"),
            Self::Doomed { nth } => write!(f, "what call {nth} starts ends failed"),
            Self::Stop { nth } => write!(f, "the execution is stopped at state {nth}"),
            Self::Beside { after_ms } => write!(f, "the same execution once more, {after_ms} ms later"),
            Self::Person { after_s, deed, to } => write!(f, "after {after_s} s somebody does {deed:?} to thing {to}"),
        }
    }
}

impl fmt::Display for TaskFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Raises(error) => write!(f, "raises {error}"),
            other => write!(f, "{other:?}"),
        }
    }
}
