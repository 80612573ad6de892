//! Owns what an error code of AWS means to us.
//!
//! EC2's errors are not modelled: all there is are a code and a message. The tables follow the error
//! code page of the EC2 API reference; where AWS documents no code (a store over quota, say) the
//! message is read as well.

use std::fmt;

use crate::{
    error::{ErrorName, StepError},
    text::within,
};

/// How a call to AWS failed, as facts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AwsFailure {
    /// The API action, such as `ec2:CopyImage`.
    pub action: &'static str,
    /// Region of the endpoint that was called.
    pub region: String,
    /// Error code, where AWS answered at all.
    pub code: Option<String>,
    /// Message, or what the connection said.
    pub message: String,
    /// Request id, for a support case.
    pub request_id: Option<String>,
    /// HTTP status, where there was an answer.
    pub status: Option<u16>,
}

/// What a failure means for the step that met it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FailureClass {
    /// The API's token bucket is empty.
    Throttled,
    /// It passes, and it may have taken effect.
    Transient,
    /// Too much is in progress already: not now, but later.
    Quota,
    /// The thing is not there (or not visible yet).
    NotFound,
    /// The name is taken.
    NameTaken,
    /// The token was used with other parameters.
    TokenReused,
    /// A permission is missing.
    Denied,
    /// The request is one that AWS will never accept.
    Refused,
    /// A response without a field that it must have, or a request that could not be made.
    Malformed,
    /// A document that is none of ours: it is no text, or longer than any.
    Unreadable,
}

/// Code of a failure that we found: a response lacks a field that it must have.
pub const MALFORMED_RESPONSE: &str = "MalformedResponse";
/// Code of a failure that we found: a request could not be made of what was given.
pub const MALFORMED_REQUEST: &str = "MalformedRequest";
/// Code of a failure that we found: a document is no text, or longer than any of ours.
pub const UNREADABLE_DOCUMENT: &str = "UnreadableDocument";

/// Characters of a message of AWS that are written. What decodes a refusal needs all of it, and is shorter.
const LONGEST_MESSAGE: usize = 4_000;

const THROTTLED: &[&str] = &[
    "RequestLimitExceeded",
    "Throttling",
    "ThrottlingException",
    "ThrottledException",
    "RequestThrottled",
    "RequestThrottledException",
    "TooManyRequestsException",
    "BandwidthLimitExceeded",
    "SlowDown",
    "EC2ThrottledException",
    "PriorRequestNotComplete",
];
const TRANSIENT: &[&str] = &[
    "InternalError",
    "InternalFailure",
    "ServerInternal",
    "ServiceUnavailable",
    "Unavailable",
    "RetryableError",
    "RequestTimeout",
    "RequestTimeoutException",
    "OperationAborted",
    "ConditionalRequestConflict",
    "ConcurrentTagAccess",
    "InvalidNextToken",
    "InvalidPaginationToken",
];
const QUOTA: &[&str] = &[
    "ResourceLimitExceeded",
    "SnapshotLimitExceeded",
    "PendingSnapshotLimitExceeded",
    "ConcurrentSnapshotLimitExceeded",
    "ConcurrentCreateImageNoRebootLimitExceeded",
    "SnapshotCreationPerVolumeRateExceeded",
    "ImageLimitExceeded",
];
const DENIED: &[&str] = &[
    "UnauthorizedOperation",
    "AuthFailure",
    "AccessDenied",
    "AccessDeniedException",
    "OptInRequired",
    "Blocked",
    "PendingVerification",
    "InvalidAccessKeyId",
    "SignatureDoesNotMatch",
    "ExpiredToken",
    "ExpiredTokenException",
    "AuthorizationError",
    "Forbidden",
    "SsmAccessDenied",
];
const NOT_FOUND: &[&str] = &[
    "InvalidAMIID.NotFound",
    "InvalidAMIID.Unavailable",
    "InvalidSnapshot.NotFound",
    "InvalidInstanceID.NotFound",
    "InvalidExportTaskID.NotFound",
    "InvalidLaunchTemplateId.NotFound",
    "InvalidLaunchTemplateId.VersionNotFound",
    "ResourceNotFoundException",
    "NoSuchKey",
    "NoSuchBucket",
    "NotFound",
    "NoSuchTagSet",
];

/// Whether a code that we do not know says that too much is there or in progress already. Those of tags
/// and filters are limits of the request: waiting changes nothing.
fn is_a_limit_in_progress(code: &str) -> bool {
    code.ends_with("LimitExceeded") && !matches!(code, "TagLimitExceeded" | "FilterLimitExceeded")
}

impl AwsFailure {
    /// Whether AWS answered with this code.
    pub fn is(&self, code: &str) -> bool {
        self.code.as_deref() == Some(code)
    }

    /// What it means.
    pub fn class(&self) -> FailureClass {
        let Some(code) = self.code.as_deref() else {
            return match self.status {
                Some(404) => FailureClass::NotFound,
                Some(403) => FailureClass::Denied,
                Some(429) => FailureClass::Throttled,
                Some(status) if (400..500).contains(&status) => FailureClass::Refused,
                _ => FailureClass::Transient,
            };
        };
        let among = |codes: &[&str]| codes.contains(&code);
        match code {
            "InvalidAMIName.Duplicate" => FailureClass::NameTaken,
            "IdempotentParameterMismatch" => FailureClass::TokenReused,
            // Codes of our own: no answer of AWS carries them.
            MALFORMED_RESPONSE | MALFORMED_REQUEST => FailureClass::Malformed,
            UNREADABLE_DOCUMENT => FailureClass::Unreadable,
            _ if among(THROTTLED) => FailureClass::Throttled,
            _ if among(TRANSIENT) => FailureClass::Transient,
            _ if among(QUOTA) || is_a_limit_in_progress(code) || self.speaks_of_a_limit() => FailureClass::Quota,
            _ if among(DENIED) => FailureClass::Denied,
            _ if among(NOT_FOUND) => FailureClass::NotFound,
            _ if self.status.is_some_and(|status| status >= 500) => FailureClass::Transient,
            _ => FailureClass::Refused,
        }
    }

    /// AWS does not document the code of a store or restore task that is refused because too many
    /// gigabytes are in progress; these two are the candidates, told apart by their message.
    fn speaks_of_a_limit(&self) -> bool {
        let generic = self.is("InvalidRequest") || self.is("OperationNotPermitted");
        let message = self.message.to_ascii_lowercase();
        generic && ["limit", "quota", "in progress", "in-progress"].iter().any(|word| message.contains(word))
    }

    /// Whether AWS refuses because what is asked for is there already. No code is documented for a
    /// second store of an image; any code will do, if the message says so.
    pub fn says_it_is_there(&self) -> bool {
        let message = self.message.to_ascii_lowercase();
        self.class() == FailureClass::Refused && ["already", "exists"].iter().any(|word| message.contains(word))
    }

    /// The error of a step that was `doing` something and cannot go on after this failure.
    ///
    /// A quota refusal gets [`ErrorName::QuotaExceeded`]: a start that may still wait answers
    /// `DEFERRED` instead and does not come here.
    pub fn into_step_error(self, doing: impl Into<String>) -> StepError {
        let name = match self.class() {
            FailureClass::Throttled => ErrorName::Throttled,
            FailureClass::Transient => ErrorName::Transient,
            FailureClass::Quota => ErrorName::QuotaExceeded,
            FailureClass::NotFound | FailureClass::Refused => ErrorName::InvalidInput,
            FailureClass::NameTaken | FailureClass::TokenReused | FailureClass::Unreadable => ErrorName::Conflict,
            FailureClass::Denied => ErrorName::AccessDenied,
            FailureClass::Malformed => ErrorName::Defect,
        };
        StepError::new(name, doing, self.to_string()).in_region(&self.region)
    }

    /// The same where what is not found was seen a moment ago: not every part of AWS knows it yet, or
    /// it has just gone, and then the next look says so.
    pub fn into_settling_error(self, doing: impl Into<String>) -> StepError {
        let unknown = self.class() == FailureClass::NotFound;
        let error = self.into_step_error(doing);
        if unknown { StepError { name: ErrorName::NotYetVisible, ..error } } else { error }
    }
}

impl fmt::Display for AwsFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} answered {}", self.action, self.code.as_deref().unwrap_or("nothing usable"))?;
        if !self.message.is_empty() {
            write!(f, " ({})", within(&self.message, LONGEST_MESSAGE))?;
        }
        if let Some(request_id) = &self.request_id {
            write!(f, ", request {request_id}")?;
        }
        Ok(())
    }
}

impl std::error::Error for AwsFailure {}

#[cfg(test)]
mod tests {
    use super::*;

    fn failure(code: Option<&str>, message: &str, status: Option<u16>) -> AwsFailure {
        AwsFailure {
            action: "ec2:CreateStoreImageTask",
            region: "us-east-1".into(),
            code: code.map(str::to_owned),
            message: message.into(),
            request_id: None,
            status,
        }
    }

    #[test]
    fn a_refusal_that_speaks_of_a_limit_is_a_quota() {
        let over = failure(Some("InvalidRequest"), "Maximum size of store tasks in progress reached", Some(400));
        assert_eq!(over.class(), FailureClass::Quota);
        let wrong = failure(Some("InvalidRequest"), "The image is paravirtual", Some(400));
        assert_eq!(wrong.class(), FailureClass::Refused);
    }

    #[test]
    fn a_refusal_that_says_that_it_is_there_is_known_by_its_message() {
        for message in ["The image is already stored in bucket b", "An object with this key exists"] {
            assert!(failure(Some("InvalidRequest"), message, Some(400)).says_it_is_there(), "{message}");
        }
        assert!(!failure(Some("InvalidRequest"), "The image is paravirtual", Some(400)).says_it_is_there());
        assert!(!failure(Some("ResourceLimitExceeded"), "already at the limit", Some(400)).says_it_is_there());
    }

    #[test]
    fn what_was_seen_and_is_not_found_is_looked_for_again() {
        let name = |code: &str| failure(Some(code), "", Some(400)).into_settling_error("store ami-1").name;
        assert_eq!(name("InvalidAMIID.NotFound"), ErrorName::NotYetVisible);
        assert_eq!(name("InvalidParameterValue"), ErrorName::InvalidInput);
    }

    #[test]
    fn no_answer_may_have_taken_effect() {
        assert_eq!(failure(None, "connection reset", None).class(), FailureClass::Transient);
        assert_eq!(failure(Some("SomethingNew"), "", Some(503)).class(), FailureClass::Transient);
    }

    #[test]
    fn throttling_with_a_server_status_is_still_throttling() {
        assert_eq!(failure(Some("RequestLimitExceeded"), "", Some(503)).class(), FailureClass::Throttled);
    }

    #[test]
    fn what_cannot_be_is_a_defect() {
        for code in [MALFORMED_RESPONSE, MALFORMED_REQUEST] {
            let error = failure(Some(code), "no ImageId", Some(200)).into_step_error("copy ami-1");
            assert_eq!(error.name, ErrorName::Defect, "{code}");
        }
    }

    #[test]
    fn a_head_without_a_body_is_classified_by_its_status() {
        for (status, class) in [
            (400, FailureClass::Refused),
            (403, FailureClass::Denied),
            (404, FailureClass::NotFound),
            (405, FailureClass::Refused),
            (429, FailureClass::Throttled),
            (499, FailureClass::Refused),
            (500, FailureClass::Transient),
            (503, FailureClass::Transient),
        ] {
            assert_eq!(failure(None, "", Some(status)).class(), class, "{status}");
        }
    }

    #[test]
    fn a_code_that_aws_documents_has_its_meaning_whatever_the_message() {
        for (code, class, name) in [
            ("RequestLimitExceeded", FailureClass::Throttled, ErrorName::Throttled),
            ("SlowDown", FailureClass::Throttled, ErrorName::Throttled),
            ("InternalError", FailureClass::Transient, ErrorName::Transient),
            ("RequestTimeout", FailureClass::Transient, ErrorName::Transient),
            ("ResourceLimitExceeded", FailureClass::Quota, ErrorName::QuotaExceeded),
            ("ConcurrentSnapshotLimitExceeded", FailureClass::Quota, ErrorName::QuotaExceeded),
            ("ResourceCountLimitExceeded", FailureClass::Quota, ErrorName::QuotaExceeded),
            ("TagLimitExceeded", FailureClass::Refused, ErrorName::InvalidInput),
            ("FilterLimitExceeded", FailureClass::Refused, ErrorName::InvalidInput),
            ("UnauthorizedOperation", FailureClass::Denied, ErrorName::AccessDenied),
            ("AccessDenied", FailureClass::Denied, ErrorName::AccessDenied),
            ("SsmAccessDenied", FailureClass::Denied, ErrorName::AccessDenied),
            ("SsmInvalidParameter", FailureClass::Refused, ErrorName::InvalidInput),
            ("InvalidAMIID.NotFound", FailureClass::NotFound, ErrorName::InvalidInput),
            ("InvalidLaunchTemplateId.NotFound", FailureClass::NotFound, ErrorName::InvalidInput),
            ("InvalidLaunchTemplateId.VersionNotFound", FailureClass::NotFound, ErrorName::InvalidInput),
            ("NoSuchKey", FailureClass::NotFound, ErrorName::InvalidInput),
            ("InvalidAMIName.Duplicate", FailureClass::NameTaken, ErrorName::Conflict),
            ("IdempotentParameterMismatch", FailureClass::TokenReused, ErrorName::Conflict),
            ("InvalidParameterValue", FailureClass::Refused, ErrorName::InvalidInput),
        ] {
            let failure = failure(Some(code), "see the limit", Some(400));
            assert_eq!(failure.class(), class, "{code}");
            assert_eq!(failure.into_step_error("store ami-1").name, name, "{code}");
        }
    }

    #[test]
    fn a_failure_has_the_code_that_aws_answered_and_no_other() {
        assert!(failure(Some("NoSuchKey"), "", Some(404)).is("NoSuchKey"));
        assert!(!failure(Some("NoSuchBucket"), "", Some(404)).is("NoSuchKey"));
        assert!(!failure(None, "NoSuchKey", Some(404)).is("NoSuchKey"));
    }

    #[test]
    fn a_failure_says_which_call_was_answered_what_and_has_the_request_for_a_support_case() {
        let action = "ec2:CreateStoreImageTask answered";
        let plain = failure(Some("AccessDenied"), "", Some(403));
        assert_eq!(plain.to_string(), format!("{action} AccessDenied"));
        let full = AwsFailure { request_id: Some("7a62".into()), ..failure(Some("Blocked"), "Ask us.", Some(403)) };
        assert_eq!(full.to_string(), format!("{action} Blocked (Ask us.), request 7a62"));
        let silent = failure(None, "connection reset", None);
        assert_eq!(silent.to_string(), format!("{action} nothing usable (connection reset)"));
    }
}
