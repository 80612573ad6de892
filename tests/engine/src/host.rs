//! Owns what is outside a machine: functions, objects and chance.

use std::{future::Future, pin::Pin};

use serde_json::Value;

/// A future of this thread.
pub type Local<T> = Pin<Box<dyn Future<Output = T>>>;

/// One call of a function by a Task.
#[derive(Debug, Clone, PartialEq)]
pub struct Invocation {
    /// Execution that calls.
    pub execution: String,
    /// The Task, with the names of the states around it: `Back Up Images / Create Image`.
    pub place: String,
    /// `FunctionName` of the Task's arguments.
    pub function: String,
    /// `Payload` of the Task's arguments.
    pub payload: Value,
    /// How often this visit of the Task has been retried.
    pub retries: u32,
}

/// An error as Step Functions knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// Name, which `Retry` and `Catch` match.
    pub error: String,
    /// Cause, for people; of a Lambda function JSON with `errorType` and `errorMessage`.
    pub cause: String,
}

impl Failure {
    /// An error and its cause.
    pub fn new(error: impl Into<String>, cause: impl Into<String>) -> Self {
        Self { error: error.into(), cause: cause.into() }
    }
}

/// What a machine reaches.
pub trait Host {
    /// Calls a Lambda function. When the machine no longer waits for the answer, the future is dropped;
    /// a function that runs on all the same is the host's to keep.
    fn invoke(&self, invocation: Invocation) -> Local<Result<Value, Failure>>;

    /// Waits until somebody answers the token of a Task that waits for that: with the output that was
    /// given to `SendTaskSuccess`, or the error and the cause that were given to `SendTaskFailure`.
    ///
    /// It is asked once for every token, right after the function that is to hand the token on has been
    /// called; when the Task no longer waits, the future is dropped. By default nobody ever answers.
    fn token_answer(&self, _token: &str) -> Local<Result<Value, Failure>> {
        Box::pin(std::future::pending())
    }

    /// Reads an object of S3, for the `ItemReader` of a Map.
    fn read_object(&self, bucket: &str, key: &str) -> Local<Result<Vec<u8>, String>>;

    /// A number from 0 to less than 1, for jitter.
    fn chance(&self) -> f64;

    /// Is told of every state that is entered.
    fn entered(&self, _execution: &str, _place: &str) {}
}
