//! Owns the list of the functions, each callable by its name: for the suites, and for the one program that the local
//! stack runs in place of a program for each.

// The future of an SDK call in a call in a call is deep.
#![recursion_limit = "256"]

use std::{future::Future, pin::Pin};

use ami_backup_aws::Aws;
use ami_backup_core::{ErrorName, StepError, Timestamp, raised::raised_by};
use ami_backup_runtime::Error;
use serde_json::Value;

/// What a function answers.
pub type Answer = Result<Value, StepError>;

/// Work in this thread that ends with a `T`.
pub type Working<T> = Pin<Box<dyn Future<Output = T>>>;

/// A function.
#[derive(Debug, Clone, Copy)]
pub struct Function {
    /// Its name: that of its folder.
    pub name: &'static str,
    /// Calls it in the frame that it is deployed in: JSON in, JSON or a named error out.
    pub handle: fn(Aws, Timestamp, Value) -> Working<Answer>,
    /// Serves invocations as the function's own program does, until the process is ended.
    pub serve: fn() -> Working<Result<(), Error>>,
}

impl Function {
    /// The names of the errors that it says it has.
    pub fn errors(&self) -> Vec<ErrorName> {
        raised_by(self.name).unwrap_or_default()
    }
}

macro_rules! functions {
    ($($name:literal => $function:ident),* $(,)?) => {
        /// Every function there is, by name.
        pub const ALL: &[Function] = &[$(Function {
            name: $name,
            handle: |aws, now, input| {
                Box::pin(async move {
                    let handler = async |now, input| $function::handle(&aws, now, input).await;
                    ami_backup_runtime::answer(input, now, handler).await
                })
            },
            serve: || {
                let world = async { Aws::load($name, ami_backup_runtime::settings()?).await };
                Box::pin(ami_backup_runtime::serve(world, $function::handle))
            },
        }),*];
    };
}

include!(concat!(env!("OUT_DIR"), "/functions.rs"));

/// The function of this name, if there is one.
pub fn named(name: &str) -> Option<&'static Function> {
    ALL.iter().find(|function| function.name == name)
}
