//! A simulated EC2 and S3 that speak the wire protocols: the only fake there is.
//!
//! The world ([`world`]) holds accounts, images, snapshots and tasks, and moves only when its clock
//! does. [`ec2`] answers EC2's query protocol from it; [`s3`] and [`objects`] hold the stored objects;
//! [`edge`] takes an HTTP request, finds out who calls which service, applies faults, limits and
//! permissions, and writes the call down.

pub mod account;
mod autoscaling;
pub mod calls;
pub mod clock;
pub mod ec2;
pub mod edge;
pub mod faults;
pub mod objects;
pub mod permissions;
mod rbin;
pub mod s3;
pub mod sns;
pub mod sts;
pub mod world;

pub use edge::{Reply, Simulator};
