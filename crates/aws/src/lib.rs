//! Everything that this product says to AWS, and the only crate that names `aws_sdk_*`.
//!
//! One SDK call, or one paginator, per method; domain types go in and come out. Nothing is decided
//! here and nothing waits: a refusal comes back as an [`AwsFailure`], and the machine retries.
//!
//! Creating calls that take no client token run with one attempt (see `Aws::once`): a repeat below
//! the look-up that precedes every create would create twice.
//!
//! [`AwsFailure`]: ami_backup_core::failure::AwsFailure

mod account;
mod checks;
mod clients;
mod copies;
mod export;
mod failure;
mod images;
mod instances;
mod inventory;
mod objects;
mod pages;
mod plans;
mod records;
mod removal;
mod restore;
mod snapshots;
mod store;
mod survey;
mod tags;
mod topic;
mod usage;
#[cfg(test)]
mod wire_tests;

pub use account::RegionFacts;
pub use aws_config::SdkConfig;
pub use aws_sdk_ec2::config::retry::RetryPartition;
pub use clients::{Aws, retries, timeouts};
pub use copies::NewCopy;
pub use export::NewExport;
pub use instances::NewImage;
pub use inventory::BinnedImages;
pub use restore::{NewRegistration, NewRestore};
pub use usage::{Launchers, UsageReport};
