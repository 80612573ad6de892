//! Owns the list of the functions, each callable as Lambda calls it: JSON in, JSON or a named error out.

use std::{future::Future, pin::Pin};

use ami_backup_aws::Aws;
use ami_backup_core::{ErrorName, StepError, Timestamp};
use serde_json::Value;

/// What a function answers.
pub type Answer = Result<Value, StepError>;

/// A function at work, in this thread.
pub type Working = Pin<Box<dyn Future<Output = Answer>>>;

/// A function.
#[derive(Debug, Clone, Copy)]
pub struct Function {
    /// Its name: that of its folder.
    pub name: &'static str,
    /// The names of the errors that it says it has.
    pub errors: &'static [ErrorName],
    /// Calls it in the frame that it is deployed in.
    pub handle: fn(Aws, Timestamp, Value) -> Working,
}

macro_rules! functions {
    ($($name:literal => $function:ident),* $(,)?) => {
        /// Every function there is, by name.
        pub const ALL: &[Function] = &[$(Function {
            name: $name,
            errors: $function::ERRORS,
            handle: |aws, now, input| {
                Box::pin(async move {
                    let handler = async |now, input| $function::handle(&aws, now, input).await;
                    ami_backup_runtime::answer(input, now, handler).await
                })
            },
        }),*];
    };
}

include!(concat!(env!("OUT_DIR"), "/functions.rs"));

/// The function of this name.
///
/// # Panics
/// If there is none.
pub fn named(name: &str) -> &'static Function {
    ALL.iter().find(|function| function.name == name).unwrap_or_else(|| panic!("there is no function {name}"))
}
