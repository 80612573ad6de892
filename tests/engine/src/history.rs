//! Owns the history of an execution: its events, in the names and numbers of Step Functions.

use std::{cell::RefCell, rc::Rc};

use jiff::Timestamp;
use serde_json::Value;

/// Events that an execution may have (AWS's quotas page, "Maximum execution history size").
pub const MOST_EVENTS: usize = 25_000;

/// Bytes that the input or output of a state or an execution may have (the same page: 256 KiB of
/// UTF-8).
pub const MOST_PAYLOAD_BYTES: usize = 262_144;

/// One event.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// When.
    pub at: Timestamp,
    /// What, as Step Functions calls it: `TaskStateEntered`.
    pub kind: &'static str,
    /// The state with those around it; empty for what concerns the execution.
    pub place: String,
    /// What else is known: input, output, error.
    pub detail: Value,
}

/// The events of one execution, oldest first. Clones share them.
#[derive(Debug, Clone, Default)]
pub struct History(Rc<RefCell<Vec<Event>>>);

impl History {
    /// Adds an event.
    pub(crate) fn push(&self, event: Event) {
        self.0.borrow_mut().push(event);
    }

    /// How many events there are.
    pub fn len(&self) -> usize {
        self.0.borrow().len()
    }

    /// Whether nothing has happened.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Every event so far.
    pub fn events(&self) -> std::cell::Ref<'_, [Event]> {
        std::cell::Ref::map(self.0.borrow(), Vec::as_slice)
    }

    /// Names of the states that were entered, in order.
    pub fn entered(&self) -> Vec<String> {
        let events = self.0.borrow();
        events.iter().filter(|event| event.kind.ends_with("StateEntered")).map(|event| event.place.clone()).collect()
    }
}
