//! Answers SNS: keeps what is published, so that a test can read it.

use http::StatusCode;
use jiff::Timestamp;
use serde::Serialize;

use crate::edge::{Caller, Refusal, escape};

/// Most bytes of a message (API reference, Publish: 256 KiB).
const MESSAGE_BYTES: usize = 262_144;

/// Most characters of a subject (API reference, Publish: under 100).
const SUBJECT_CHARACTERS: usize = 100;

/// One message that was published.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Notice {
    /// When.
    pub at: Timestamp,
    /// Function that published it.
    pub function: Option<String>,
    /// ARN of the topic.
    pub topic: String,
    /// Subject, if there is one.
    pub subject: Option<String>,
    /// The message.
    pub message: String,
}

/// Reads a `Publish` call. Every topic with a well-formed ARN in the caller's Region exists.
pub(crate) fn notice(
    caller: &Caller,
    action: &str,
    parameters: &[(String, String)],
    at: Timestamp,
    id: &str,
) -> Result<Notice, Refusal> {
    let refused =
        |code: &str, message: String| Refusal { code: code.to_owned(), message, status: StatusCode::BAD_REQUEST };
    if action != "Publish" {
        return Err(refused("InvalidAction", format!("the simulated SNS has no operation {action} (request {id})")));
    }
    let value = |name: &str| parameters.iter().find(|(key, _)| key == name).map(|(_, value)| value.clone());
    let topic = value("TopicArn").or_else(|| value("TargetArn")).unwrap_or_default();
    let parts: Vec<&str> = topic.split(':').collect();
    match parts.as_slice() {
        ["arn", _, "sns", region, _, name] if *region == caller.region && !name.is_empty() => {}
        _ => return Err(refused("InvalidParameter", "Invalid parameter: TopicArn".to_owned())),
    }
    let message = value("Message").unwrap_or_default();
    if message.is_empty() {
        return Err(refused("InvalidParameter", "Invalid parameter: Empty message".to_owned()));
    }
    if message.len() > MESSAGE_BYTES {
        return Err(refused("InvalidParameter", "Invalid parameter: Message too long".to_owned()));
    }
    let subject = value("Subject");
    let bad_subject = |subject: &String| {
        subject.is_empty() || subject.chars().count() > SUBJECT_CHARACTERS || subject.chars().any(char::is_control)
    };
    if subject.as_ref().is_some_and(bad_subject) {
        return Err(refused("InvalidParameter", "Invalid parameter: Subject".to_owned()));
    }
    Ok(Notice { at, function: caller.function.clone(), topic, subject, message })
}

/// The answer to a `Publish` that was taken.
pub(crate) fn published(notice: &Notice, id: &str) -> String {
    let message_id = crate::objects::md5_hex(format!("{id}{}", notice.message).as_bytes());
    format!(
        "<PublishResponse xmlns=\"http://sns.amazonaws.com/doc/2010-03-31/\"><PublishResult><MessageId>{}</MessageId>\
         </PublishResult><ResponseMetadata><RequestId>{id}</RequestId></ResponseMetadata></PublishResponse>",
        escape(&message_id)
    )
}
