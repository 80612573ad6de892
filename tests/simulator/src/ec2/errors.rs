//! Owns EC2's errors: code, message and HTTP status, and the document that carries them.

use http::{HeaderValue, Response, StatusCode, header};
use hyper::body::Bytes;

use super::Outcome;
use super::xml::Xml;

/// An error as EC2 answers it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Ec2Error {
    pub(crate) code: String,
    pub(crate) message: String,
}

/// What a call gives.
pub(crate) type Answer<T> = Result<T, Ec2Error>;

impl Ec2Error {
    pub(crate) fn new(code: impl Into<String>, message: impl Into<String>) -> Self {
        Self { code: code.into(), message: message.into() }
    }

    pub(crate) fn invalid(message: impl Into<String>) -> Self {
        Self::new("InvalidParameterValue", message)
    }

    pub(crate) fn missing(parameter: &str) -> Self {
        Self::new("MissingParameter", format!("The request must contain the parameter {parameter}"))
    }

    pub(crate) fn combination(message: impl Into<String>) -> Self {
        Self::new("InvalidParameterCombination", message)
    }

    pub(crate) fn no_image(ids: &[&str]) -> Self {
        Self::new("InvalidAMIID.NotFound", not_there("image id", ids))
    }

    pub(crate) fn no_snapshot(ids: &[&str]) -> Self {
        let message = match ids {
            [one] => format!("The snapshot '{one}' does not exist."),
            many => format!("The snapshots '{}' do not exist.", many.join(", ")),
        };
        Self::new("InvalidSnapshot.NotFound", message)
    }

    pub(crate) fn no_instance(ids: &[&str]) -> Self {
        Self::new("InvalidInstanceID.NotFound", not_there("instance ID", ids))
    }

    pub(crate) fn unauthorised(action: &str, resource: &str) -> Self {
        Self::new(
            "UnauthorizedOperation",
            format!(
                "You are not authorized to perform this operation. User is not authorized to perform: {action} on \
                 resource: {resource} because no identity-based policy allows the {action} action"
            ),
        )
    }
}

fn not_there(what: &str, ids: &[&str]) -> String {
    match ids {
        [one] => format!("The {what} '[{one}]' does not exist"),
        many => format!("The {what}s '[{}]' do not exist", many.join(", ")),
    }
}

/// The HTTP status that goes with a code.
fn status_of(code: &str) -> u16 {
    match code {
        "AuthFailure" | "OptInRequired" => 401,
        "UnauthorizedOperation" => 403,
        "DryRunOperation" => 412,
        "InternalError" | "InternalFailure" | "ServerInternal" => 500,
        "RequestLimitExceeded" | "ServiceUnavailable" | "Unavailable" => 503,
        _ => 400,
    }
}

/// The error document of EC2, for calls that never reach the world (faults). `status` replaces the one
/// that goes with the code.
pub fn refusal(code: &str, message: &str, status: Option<u16>) -> Response<Bytes> {
    document(code, message, "00000000-0000-4000-8000-000000000000", status)
}

/// The error document of EC2.
pub(super) fn document(code: &str, message: &str, request_id: &str, status: Option<u16>) -> Response<Bytes> {
    let mut xml = Xml::document("Response");
    xml.group("Errors", |xml| {
        xml.group("Error", |xml| {
            xml.text("Code", code);
            xml.text("Message", message);
        });
    });
    xml.text("RequestID", request_id);
    let status = status.unwrap_or_else(|| status_of(code));
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_REQUEST);
    response(status, request_id, xml.finish("Response"), Outcome(code.into()))
}

/// A response with EC2's headers.
pub(super) fn response(status: StatusCode, request_id: &str, body: String, outcome: Outcome) -> Response<Bytes> {
    let mut response = Response::new(Bytes::from(body));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/xml;charset=UTF-8"));
    headers.insert(header::SERVER, HeaderValue::from_static("AmazonEC2"));
    if let Ok(id) = HeaderValue::from_str(request_id) {
        headers.insert("x-amzn-requestid", id);
    }
    response.extensions_mut().insert(outcome);
    response
}
