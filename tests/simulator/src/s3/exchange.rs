//! Owns what is known of one S3 request while it is being answered.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use http::{Response, StatusCode};
use hyper::body::Bytes;
use jiff::Timestamp;
use s3s::{S3Error, S3ErrorCode, S3Result};

use crate::calls::{Call, CallLog};
use crate::edge::{Caller, refusal_status};
use crate::faults::{Effect, Faults};
use crate::permissions::{Permissions, Request};

/// One S3 request: who asks, under which rules, and what came out so far.
#[derive(Debug)]
pub(crate) struct Exchange {
    caller: Caller,
    at: Timestamp,
    faults: Arc<Faults>,
    permissions: Arc<Permissions>,
    calls: Arc<CallLog>,
    seen: Mutex<Seen>,
}

#[derive(Debug, Default)]
struct Seen {
    operation: Option<String>,
    bucket: Option<String>,
    key: Option<String>,
    owner: Option<String>,
    status: Option<StatusCode>,
    effect: Option<Effect>,
}

impl Exchange {
    pub(crate) fn new(
        caller: Caller,
        at: Timestamp,
        faults: Arc<Faults>,
        permissions: Arc<Permissions>,
        calls: Arc<CallLog>,
    ) -> Self {
        Self { caller, at, faults, permissions, calls, seen: Mutex::default() }
    }

    pub(crate) fn caller(&self) -> &Caller {
        &self.caller
    }

    /// Name of the operation, once `s3s` has found it out.
    pub(crate) fn operation(&self) -> Option<String> {
        self.seen().operation.clone()
    }

    /// Bucket and key, for the call log.
    pub(crate) fn parameters(&self) -> BTreeMap<String, String> {
        let seen = self.seen();
        let mut parameters = BTreeMap::new();
        if let Some(bucket) = &seen.bucket {
            parameters.insert("Bucket".to_owned(), bucket.clone());
        }
        if let Some(key) = &seen.key {
            parameters.insert("Key".to_owned(), key.clone());
        }
        parameters
    }

    /// The fault that a rule asked for.
    pub(crate) fn effect(&self) -> Option<Effect> {
        self.seen().effect.clone()
    }

    /// `ok`, or the error code that the answer carries (the status where there is no body).
    pub(crate) fn outcome(&self, response: &Response<Bytes>) -> String {
        if response.status().is_success() {
            return "ok".to_owned();
        }
        let body = String::from_utf8_lossy(response.body());
        let code = body.split_once("<Code>").and_then(|(_, rest)| rest.split_once("</Code>"));
        code.map_or_else(|| response.status().as_u16().to_string(), |(code, _)| code.to_owned())
    }

    /// A status that `s3s` has no field for.
    pub(crate) fn status(&self) -> Option<StatusCode> {
        self.seen().status
    }

    pub(crate) fn set_status(&self, status: StatusCode) {
        self.seen().status = Some(status);
    }

    pub(crate) fn begin(&self, operation: &str, bucket: Option<&str>, key: Option<&str>, owner: Option<String>) {
        let mut seen = self.seen();
        seen.operation = Some(operation.to_owned());
        seen.bucket = bucket.map(str::to_owned);
        seen.key = key.map(str::to_owned);
        seen.owner = owner;
    }

    /// The policies of callers and buckets.
    pub(crate) fn permissions(&self) -> &Permissions {
        &self.permissions
    }

    /// Asks the fault rules, once, and refuses where nothing may happen.
    pub(crate) fn apply_fault(&self, operation: &str) -> S3Result<()> {
        let effect = self.faults.decide("s3", operation, self.caller.function.as_deref(), &self.caller.region);
        self.seen().effect = effect.clone();
        match effect {
            Some(Effect::Refuse { code, message, status }) => {
                let status = refusal_status("s3", &code, status);
                let message = message.unwrap_or_else(|| format!("refused by a fault rule on {operation}"));
                let mut error = S3Error::with_message(S3ErrorCode::Custom(code.into()), message);
                error.set_status_code(status);
                Err(error)
            }
            // The connection is cut whatever the answer is; only nothing may happen before.
            Some(Effect::Cut) => Err(S3ErrorCode::InternalError.into()),
            Some(Effect::HoldReply | Effect::FailTask { .. }) | None => Ok(()),
        }
    }

    /// Whether the caller may do `action` (`s3:…`).
    pub(crate) fn may(&self, action: &str, bucket: Option<&str>, key: Option<&str>) -> bool {
        let request = Request::new(action, arn(bucket, key));
        let seen = self.seen();
        let request = match &seen.owner {
            Some(owner) if seen.bucket.as_deref() == bucket => request.with("aws:ResourceAccount", owner),
            _ => request,
        };
        self.permissions.grants(&self.caller, &request)
    }

    /// Refuses as S3 does when the caller may not do `action`.
    pub(crate) fn require(&self, action: &str, bucket: Option<&str>, key: Option<&str>) -> S3Result<()> {
        if self.may(action, bucket, key) {
            return Ok(());
        }
        let who = self.caller.arn();
        let resource = arn(bucket, key);
        Err(S3Error::with_message(
            S3ErrorCode::AccessDenied,
            format!(
                "User: {who} is not authorized to perform: {action} on resource: \"{resource}\" because no identity-based policy allows the {action} action"
            ),
        ))
    }

    /// Like [`Exchange::may`] for an action that the operation needs besides its own; written down in
    /// the call log.
    pub(crate) fn may_also(&self, action: &str, bucket: &str, key: Option<&str>) -> bool {
        let allowed = self.may(action, Some(bucket), key);
        self.calls.push(Call {
            at: self.at,
            service: "s3".to_owned(),
            action: action.trim_start_matches("s3:").to_owned(),
            region: self.caller.region.clone(),
            account: self.caller.account.clone(),
            function: self.caller.function.clone(),
            implied_by: self.operation(),
            outcome: if allowed { "ok" } else { "AccessDenied" }.to_owned(),
            parameters: BTreeMap::from([("resource".to_owned(), arn(Some(bucket), key))]),
        });
        allowed
    }

    /// Refuses when the caller may not do an implied action.
    pub(crate) fn require_also(&self, action: &str, bucket: &str, key: Option<&str>) -> S3Result<()> {
        match self.may_also(action, bucket, key) {
            true => Ok(()),
            false => self.require(action, Some(bucket), key),
        }
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// ARN of a bucket, of an object, or of everything.
fn arn(bucket: Option<&str>, key: Option<&str>) -> String {
    match (bucket, key) {
        (Some(bucket), Some(key)) => format!("arn:aws:s3:::{bucket}/{key}"),
        (Some(bucket), None) => format!("arn:aws:s3:::{bucket}"),
        _ => "*".to_owned(),
    }
}
