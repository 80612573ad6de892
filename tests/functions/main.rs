//! Owns what each function does to the simulated AWS: one module per function or leg, one for the rules
//! that hold for all of them, and one for whole runs.
#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may stop at the first surprise")]

mod check_image;
mod cleanup;
mod copy;
mod create;
mod driver;
mod every;
mod export;
mod flow;
mod hostile;
mod listings;
mod notify;
mod record;
mod register;
mod report;
mod restore;
mod roles;
mod security;
mod select;
mod store;
mod support;
