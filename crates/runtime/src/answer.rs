//! Owns what happens between an input and an answer, without Lambda, so that it can be tested.

use std::{
    any::Any,
    future::{Future, poll_fn},
    panic::{AssertUnwindSafe, catch_unwind},
    pin::pin,
};

use ami_backup_core::{ErrorName, StepError, Timestamp, input};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;
use tracing::{error, info};

/// Reads `value` as the input of `handler`, calls it, and writes one line to the log, whatever comes
/// of it.
///
/// # Errors
/// `InvalidInput` with the path of a field that does not fit, what the handler says, and `Defect` if
/// it panics or its answer cannot be written as JSON.
pub async fn answer<I, O>(
    value: Value,
    now: Timestamp,
    handler: impl AsyncFnOnce(Timestamp, I) -> Result<O, StepError>,
) -> Result<Value, StepError>
where
    I: DeserializeOwned,
    O: Serialize,
{
    logged(async { handler(now, input::parse(value)?).await }).await
}

/// Comes to the end of an answer, and writes one line to the log, whatever comes of it.
pub(crate) async fn logged<O: Serialize>(
    answer: impl Future<Output = Result<O, StepError>>,
) -> Result<Value, StepError> {
    let result = caught(answer).await.and_then(written);
    match &result {
        Ok(output) => info!(
            status = text(output, "status"),
            verdict = text(output, "verdict"),
            last_seen = text(output, "lastSeen"),
            "done"
        ),
        Err(failed) => error!(
            name = failed.name.as_str(),
            doing = failed.doing,
            region = failed.region,
            reason = failed.reason,
            left_behind = failed.left_behind,
            "failed"
        ),
    }
    result
}

/// A field that an answer may have, as text.
fn text<'a>(output: &'a Value, field: &str) -> Option<&'a str> {
    output.get(field).and_then(Value::as_str)
}

fn written(output: impl Serialize) -> Result<Value, StepError> {
    serde_json::to_value(output)
        .map_err(|error| StepError::new(ErrorName::Defect, "write the answer", error.to_string()))
}

/// Polls `future` so that a panic in it becomes an error with a name: the runtime would catch it too,
/// and call it after a type of the standard library, which no machine knows.
async fn caught<O>(future: impl Future<Output = Result<O, StepError>>) -> Result<O, StepError> {
    let mut future = pin!(future);
    // A future that has panicked is not polled again, and what it saw is dropped with it.
    let polled = poll_fn(|context| match catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(context))) {
        Ok(poll) => poll.map(Ok),
        Err(panic) => std::task::Poll::Ready(Err(panic)),
    });
    polled.await.unwrap_or_else(|panic| {
        let reason = format!("it panicked: {}", message(panic.as_ref()));
        Err(StepError::new(ErrorName::Defect, "finish the step", reason))
    })
}

fn message(panic: &(dyn Any + Send)) -> &str {
    let literal = panic.downcast_ref::<&str>().copied();
    literal.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("without a message")
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;
    use serde_json::json;

    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Input {
        ids: Vec<u8>,
    }

    async fn run(
        value: Value,
        handler: impl AsyncFnOnce(Timestamp, Input) -> Result<usize, StepError>,
    ) -> Result<Value, StepError> {
        answer(value, Timestamp::UNIX_EPOCH, handler).await
    }

    #[tokio::test]
    async fn the_answer_is_the_handlers() {
        let answered = run(json!({"ids": [1, 2]}), async |now, input| {
            assert_eq!(now, Timestamp::UNIX_EPOCH);
            Ok(input.ids.len())
        });
        assert_eq!(answered.await, Ok(json!(2)));
    }

    #[tokio::test]
    async fn a_bad_field_is_named_and_the_handler_not_called() {
        let refused = run(json!({"ids": [1, "x"]}), async |_, _| panic!("called")).await.err();
        assert!(refused.is_some_and(|e| e.name == ErrorName::InvalidInput && e.reason.contains("ids[1]")));
    }

    #[tokio::test]
    async fn an_error_keeps_its_name() {
        let failed = StepError::new(ErrorName::Throttled, "look", "slow down");
        let answered = run(json!({"ids": []}), async |_, _| Err(failed.clone())).await;
        assert_eq!(answered, Err(failed));
    }

    #[tokio::test]
    async fn a_panic_has_a_name_and_says_what_happened() {
        let failed = run(json!({"ids": []}), async |_, _| panic!("disk on fire")).await.err();
        assert!(failed.is_some_and(|e| e.name == ErrorName::Defect && e.reason.contains("disk on fire")));
        let later = run(json!({"ids": []}), async |_, _| {
            tokio::task::yield_now().await;
            panic!("after {} polls", 1)
        });
        assert!(later.await.is_err_and(|e| e.reason.contains("after 1 polls")));
    }
}
