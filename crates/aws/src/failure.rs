//! Owns how a failed or unusable answer of the SDK becomes an [`AwsFailure`].
//!
//! `SdkError` prints as "service error"; what matters is in its code, its message and its request id.

use std::{error::Error, str::FromStr};

use ami_backup_core::{
    failure::{AwsFailure, MALFORMED_REQUEST, MALFORMED_RESPONSE},
    id::Region,
};
use aws_smithy_runtime_api::client::{orchestrator::HttpResponse, result::SdkError};
use aws_smithy_types::error::metadata::ProvideErrorMetadata;
use aws_types::request_id::RequestId;

/// One call: what is called where, for its failures to say.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Call<'a> {
    action: &'static str,
    region: &'a Region,
}

impl<'a> Call<'a> {
    /// A call of `action` (such as `ec2:CopyImage`) in a Region.
    pub(crate) fn new(action: &'static str, region: &'a Region) -> Self {
        Self { action, region }
    }

    /// What the SDK's error says. Without an answer there is no code, and the message is the whole
    /// chain of causes; of a refusal without a word (S3's to a HEAD) it is the HTTP status.
    pub(crate) fn failed<E>(&self, error: SdkError<E, HttpResponse>) -> AwsFailure
    where
        E: ProvideErrorMetadata + Error + 'static,
    {
        let metadata = error.as_service_error().map(ProvideErrorMetadata::meta);
        let code = match &error {
            // Nothing was sent: the request itself is wrong, and sending it again will not help.
            SdkError::ConstructionFailure(_) => Some(MALFORMED_REQUEST),
            _ => metadata.and_then(|metadata| metadata.code()),
        };
        let status = error.raw_response().map(|response| response.status().as_u16());
        let message = match (metadata, metadata.and_then(|metadata| metadata.message()), status) {
            (_, Some(message), _) => message.to_owned(),
            (Some(_), None, Some(status)) => format!("HTTP {status}"),
            _ => chain(&error),
        };
        AwsFailure {
            code: code.map(str::to_owned),
            message,
            request_id: error.request_id().map(str::to_owned),
            status,
            ..self.failure()
        }
    }

    /// The answer broke off while it was read.
    pub(crate) fn broken_off(&self, error: &(dyn Error + 'static)) -> AwsFailure {
        AwsFailure { message: chain(error), ..self.failure() }
    }

    /// A field that the answer must have.
    pub(crate) fn required<T>(&self, value: Option<T>, field: &str) -> Result<T, AwsFailure> {
        value.ok_or_else(|| self.malformed(format!("the answer has no {field}")))
    }

    /// A field that the answer must have, as the type that it must be.
    pub(crate) fn parsed<T>(&self, text: Option<&str>, field: &str) -> Result<T, AwsFailure>
    where
        T: FromStr<Err: std::fmt::Display>,
    {
        let text = self.required(text, field)?;
        text.parse().map_err(|error: T::Err| self.malformed(format!("the answer's {field}: {error}")))
    }

    /// An answer that cannot be used, and why.
    pub(crate) fn malformed(&self, message: String) -> AwsFailure {
        AwsFailure { code: Some(MALFORMED_RESPONSE.to_owned()), message, ..self.failure() }
    }

    /// A request that cannot be made of what is known, by the code that AWS would answer with.
    pub(crate) fn refused(&self, code: &str, message: String) -> AwsFailure {
        AwsFailure { code: Some(code.to_owned()), message, ..self.failure() }
    }

    fn failure(&self) -> AwsFailure {
        AwsFailure {
            action: self.action,
            region: self.region.to_string(),
            code: None,
            message: String::new(),
            request_id: None,
            status: None,
        }
    }
}

/// An error and its causes, each once.
fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        // Some wrappers print what they wrap.
        if !text.ends_with(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use ami_backup_core::failure::FailureClass;
    use aws_smithy_runtime_api::{client::result::ConnectorError, http::StatusCode};
    use aws_smithy_types::{body::SdkBody, error::ErrorMetadata};

    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("unhandled error")]
    struct Refusal(ErrorMetadata);

    impl ProvideErrorMetadata for Refusal {
        fn meta(&self) -> &ErrorMetadata {
            &self.0
        }
    }

    fn response(status: u16) -> HttpResponse {
        let status = StatusCode::try_from(status).unwrap_or_else(|_| unreachable!());
        let mut response = HttpResponse::new(status, SdkBody::empty());
        response.headers_mut().insert("x-amzn-requestid", "r-1");
        response
    }

    fn here() -> Region {
        "us-east-1".parse().unwrap_or_else(|_| unreachable!())
    }

    #[test]
    fn a_refusal_keeps_code_message_request_id_and_status() {
        let region = here();
        let meta = ErrorMetadata::builder().code("InvalidAMIID.NotFound").message("no ami-1").build();
        let failure = Call::new("ec2:CopyImage", &region).failed(SdkError::service_error(Refusal(meta), response(400)));
        assert_eq!(failure.code.as_deref(), Some("InvalidAMIID.NotFound"));
        assert_eq!(failure.message, "no ami-1");
        assert_eq!(failure.request_id.as_deref(), Some("r-1"));
        assert_eq!(failure.status, Some(400));
    }

    #[test]
    fn no_answer_has_no_code_and_says_why() {
        let region = here();
        let call = Call::new("ec2:CopyImage", &region);
        let lost = call.failed(SdkError::<Refusal, _>::dispatch_failure(ConnectorError::io("connection reset".into())));
        assert_eq!((lost.code.as_deref(), lost.class()), (None, FailureClass::Transient));
        assert!(lost.message.contains("connection reset"), "{}", lost.message);
        let late = call.failed(SdkError::<Refusal, _>::timeout_error("20 s have passed"));
        assert_eq!((late.code.as_deref(), late.class()), (None, FailureClass::Transient));
    }

    #[test]
    fn an_answer_that_cannot_be_read_may_have_taken_effect() {
        let region = here();
        let call = Call::new("ec2:CreateImage", &region);
        let failure = call.failed(SdkError::<Refusal, _>::response_error("not XML", response(200)));
        assert_eq!(failure.class(), FailureClass::Transient);
        assert!(failure.message.contains("not XML"), "{}", failure.message);
    }

    #[test]
    fn a_request_that_could_not_be_built_is_not_repeated() {
        let region = here();
        let call = Call::new("s3:PutObject", &region);
        let failure = call.failed(SdkError::<Refusal, _>::construction_failure("no bucket"));
        assert_eq!(failure.class(), FailureClass::Malformed);
    }

    #[test]
    fn a_missing_field_is_named() {
        let region = here();
        let call = Call::new("ec2:CreateImage", &region);
        let failure = call.required(None::<&str>, "ImageId").err();
        assert!(failure.is_some_and(|f| f.is(MALFORMED_RESPONSE) && f.message.contains("ImageId")));
    }
}
