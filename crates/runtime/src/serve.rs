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

/// The longest message of an error. A state machine's cause holds 32,768 characters, in which the message stands as JSON:
/// a character of it may become six there, and the machine adds the name of the run.
const LONGEST_MESSAGE: usize = 4_000;

fn cut(message: &str) -> String {
    match message.char_indices().nth(LONGEST_MESSAGE) {
        None => message.to_owned(),
        Some((end, _)) => format!("{}…", message.get(..end).unwrap_or_default()),
    }
}

/// A step's error, as the runtime reports it: `errorType` is the name that machines match.
#[derive(Debug)]
struct Failed(StepError);

impl From<Failed> for Diagnostic {
    fn from(Failed(error): Failed) -> Self {
        Self { error_type: error.name.as_str().to_owned(), error_message: cut(&error.to_string()) }
    }
}

#[cfg(test)]
mod tests {
    use ami_backup_core::ErrorName;

    use super::*;

    #[test]
    fn a_message_fits_into_the_cause_of_an_execution() {
        for one in ["x", "é", "\u{1}"] {
            let error = StepError::new(ErrorName::Conflict, "copy", one.repeat(100_000));
            let message = Diagnostic::from(Failed(error)).error_message;
            assert_eq!(message.chars().count(), LONGEST_MESSAGE + 1);
            assert!(serde_json::to_string(&message).is_ok_and(|text| text.len() < 30_000) && message.ends_with('…'));
        }
        let short = StepError::new(ErrorName::Conflict, "copy", "é");
        assert_eq!(cut(&short.to_string()), short.to_string());
    }

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
