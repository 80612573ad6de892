//! Owns what must agree between files that no compiler reads together: the packages, the template, the
//! state machines, the events and the names of the errors.
//!
//! Every rule is about all functions or all machines that are there. A new one is held against it without a line here.
#![expect(clippy::expect_used, clippy::panic, reason = "a test may stop at the first surprise")]

mod errors;
mod events;
mod machines;
mod permissions;
mod semantics;
mod template;
mod wiring;

use ami_backup_contract as project;
