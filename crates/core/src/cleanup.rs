//! Owns what a clean-up may remove, and why everything else stays.
//!
//! Deregistering an image deletes only metadata: its snapshots stay and cost money, and from them it could be made again.
//! So both are decided together. [`policy`] is what a person asked for, [`account`] what was read of an account in a
//! Region, [`judge`] what of it is due by retention and in nobody's use, [`plan`] what goes in this run: what is due, as
//! far as nobody holds it and the limits allow, [`summary`] what a person reads of that. [`run`] is what goes through the
//! machine, [`batch`] in which pieces a plan is applied, [`binding`] that it is the plan that was read, [`apply`] whether it
//! still holds just before something goes, [`intent`] what is written down just before, and [`report`] what is said in the
//! end. Nothing here deletes anything, and whatever is not known keeps.

pub mod account;
pub mod apply;
pub mod batch;
pub mod binding;
pub mod family;
pub mod intent;
pub mod judge;
pub mod note;
pub mod plan;
pub mod policy;
#[cfg(test)]
mod properties;
pub mod protection;
pub mod reason;
pub mod report;
pub mod retention;
pub mod run;
pub mod summary;
pub mod undo;
pub mod usage;
