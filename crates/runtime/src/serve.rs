//! Owns running a handler in Lambda.

use std::future::Future;

use ami_backup_core::{
    StepError, Timestamp,
    input::{self, Payload},
};
use lambda_runtime::{Diagnostic, LambdaEvent, service_fn};
use serde::{Serialize, de::DeserializeOwned};

use crate::{answer::logged, log};

/// Serves invocations until Lambda ends the process. `world` is what the handler works on: it is made
/// once, and if it cannot be made, every invocation is answered with the reason. (An exit would reach
/// the machine as `Runtime.ExitError`, without one, and be tried again for nothing.)
///
/// # Errors
/// What the runtime's API refused.
pub async fn serve<W, I, O>(
    world: impl Future<Output = Result<W, StepError>>,
    handler: impl AsyncFn(&W, Timestamp, I) -> Result<O, StepError>,
) -> Result<(), lambda_runtime::Error>
where
    I: DeserializeOwned,
    O: Serialize,
{
    log::init();
    let world = world.await;
    let (world, handler) = (&world, &handler);
    lambda_runtime::run(service_fn(|event: LambdaEvent<Payload>| async move {
        #[expect(clippy::disallowed_methods, reason = "the one place that reads the clock, once per invocation")]
        let now = Timestamp::now();
        // Nobody reads the nanoseconds that would stand in every table.
        let now = Timestamp::from_millisecond(now.as_millisecond()).unwrap_or(now);
        let Payload(read) = event.payload;
        // The world comes first: without it nothing is worth saying about the input.
        let answered = logged(async {
            let world = world.as_ref().map_err(Clone::clone)?;
            handler(world, now, input::parse(read?)?).await
        });
        answered.await.map_err(Failed)
    }))
    .await
}

/// A step's error, as the runtime reports it: `errorType` is the name that machines match.
#[derive(Debug)]
struct Failed(StepError);

impl From<Failed> for Diagnostic {
    fn from(Failed(error): Failed) -> Self {
        Self { error_type: error.name.as_str().to_owned(), error_message: error.to_string() }
    }
}

#[cfg(test)]
mod tests {
    use ami_backup_core::ErrorName;

    use super::*;

    #[test]
    fn the_name_is_the_error_type_and_the_message_tells_all() {
        let error = StepError::new(ErrorName::Conflict, "copy image ami-1", "the name is taken").in_region("eu-west-1");
        let diagnostic = Diagnostic::from(Failed(error));
        assert_eq!(diagnostic.error_type, "Conflict");
        for part in ["ami-1", "the name is taken", "eu-west-1"] {
            assert!(diagnostic.error_message.contains(part), "{part}");
        }
    }
}
