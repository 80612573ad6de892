//! Runs the project's machines as they are deployed, on a virtual clock, under every fault.
#![expect(clippy::expect_used, clippy::panic, reason = "a trial whose world cannot be set up may stop there")]

pub mod deployment;
pub mod faults;
pub mod history;
pub mod papers;
pub mod rights;
pub mod rules;
pub mod runner;
pub mod scenarios;
pub mod seeds;
pub mod systematic;
pub mod trial;
pub mod wire;
