//! Runs Amazon States Language on a virtual clock, in process.
//!
//! [`definition`] reads a machine and refuses every field that it does not know; [`execution`] runs it
//! on a [`timeline::Timeline`], where hours of waiting take no time; what is outside the machine
//! (functions, objects, chance) is a [`host::Host`]. Only what the project's own machines use is here:
//! JSONata, Lambda tasks and their callbacks, `Retry`, `Catch`, time-outs, Choice, Wait, Pass, Parallel, both kinds of Map,
//! the limits on payloads and histories. `README.md` says how it is held against AWS's documentation.

pub mod definition;
pub mod execution;
pub mod expression;
pub mod history;
pub mod host;
pub mod retry;
pub mod timeline;

pub use definition::{Machine, Unsupported};
pub use execution::{Ended, Engine, Status};
pub use history::{Event, History};
pub use host::{Failure, Host, Invocation};
pub use timeline::{Stalled, Timeline};
