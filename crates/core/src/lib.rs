//! The decisions of ami-backup, and nothing else: no SDK, no environment, no clock.
//!
//! A function of this workspace reads facts from AWS, asks this crate what to do, and does it. Time
//! is always an argument, and so everything here can be tested in milliseconds.
//!
//! The story of one image: [`policy`] turns what a person or a schedule asked for into a plan,
//! [`image`] says what EC2 knows of the image and whether it can be backed up that way, [`adopt`],
//! [`store`] and [`export`] look before anything is created, [`turn`] carries a wait from one look to
//! the next, [`record`] keeps what a restore will need, and [`report`] says in the end what is so.

pub mod adopt;
pub mod cleanup;
pub mod copy;
pub mod error;
pub mod export;
pub mod failure;
pub mod id;
pub mod image;
pub mod input;
pub mod instance;
pub mod item;
pub mod naming;
pub mod notice;
pub mod policy;
pub mod raised;
pub mod record;
pub mod repair;
pub mod report;
pub mod restore;
pub mod selection;
pub mod settings;
pub mod store;
pub mod tags;
pub mod text;
pub mod turn;

pub use error::{ErrorName, StepError};
pub use jiff::{SignedDuration, Timestamp};
