//! Owns the way in: finds out who calls which service, applies faults, checks permissions outside EC2,
//! and writes the call down.

mod caller;
mod in_process;
mod recycle_bin;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use aws_smithy_runtime_api::client::http::SharedHttpClient;
use http::{HeaderValue, Request, Response, StatusCode, header};
use hyper::body::Bytes;
use jiff::{SignedDuration, Timestamp};

pub use caller::Caller;

use crate::account::AccountFile;
use crate::calls::{Call, CallLog};
use crate::clock::Clock;
use crate::ec2::{self, Ec2, Outcome};
use crate::faults::{Effect, Faults};
use crate::objects::{BucketFacts, LocalObjects, ObjectStore};
use crate::permissions::Permissions;
use crate::s3::{Exchange, S3};
use crate::sns::Notice;
use crate::world::{self, World};
use crate::{autoscaling, s3, sns, sts};

/// What a caller gets.
#[derive(Debug)]
pub enum Reply {
    /// An answer.
    Response(Response<Bytes>),
    /// The connection is cut: nothing was done.
    NoReply,
    /// What was asked has been done, and no answer ever comes.
    Held,
}

/// The simulated AWS. Clones share one world.
#[derive(Debug, Clone)]
pub struct Simulator(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    file: AccountFile,
    clock: Arc<dyn Clock>,
    objects: Arc<dyn ObjectStore>,
    world: Arc<World>,
    ec2: Ec2,
    s3: Option<S3>,
    faults: Arc<Faults>,
    permissions: Arc<Permissions>,
    calls: Arc<CallLog>,
    notices: Mutex<Vec<Notice>>,
    requests: AtomicU64,
}

/// What one call was, for the call log.
struct Answered {
    action: String,
    outcome: String,
    parameters: BTreeMap<String, String>,
    reply: Reply,
}

impl Simulator {
    /// The world of an account file, whose objects live in `objects`. Where that is a store in this
    /// process, the file's buckets and objects are put there.
    pub fn new(file: AccountFile, clock: Arc<dyn Clock>, objects: Arc<dyn ObjectStore>) -> Self {
        let world = Arc::new(World::new(&file, Arc::clone(&clock)));
        let permissions = Arc::<Permissions>::default();
        let calls = Arc::<CallLog>::default();
        let ec2 = Ec2::new(Arc::clone(&world), Arc::clone(&objects), Arc::clone(&permissions), Arc::clone(&calls));
        if let Some(local) = objects.local() {
            fill(local, &file, clock.now());
        }
        Self(Arc::new(Inner {
            s3: objects.local().cloned().map(S3::new),
            file,
            clock,
            objects,
            world,
            ec2,
            faults: Arc::default(),
            permissions,
            calls,
            notices: Mutex::default(),
            requests: AtomicU64::new(0),
        }))
    }

    /// The world of an account file, with its objects in memory.
    pub fn in_memory(file: AccountFile, clock: Arc<dyn Clock>) -> Self {
        let objects = LocalObjects::new(Arc::clone(&clock));
        let objects = match file.settings.thaw_ms.and_then(|ms| i64::try_from(ms).ok()) {
            Some(ms) => objects.with_thaw_time(SignedDuration::from_millis(ms)),
            None => objects,
        };
        Self::new(file, clock, Arc::new(objects))
    }

    /// Answers one request, on the wire or in process. Waits for nothing but the objects.
    pub async fn handle(&self, request: Request<Bytes>) -> Reply {
        self.settle().await;
        let inner = &self.0;
        let mut caller = Caller::of(request.headers(), request.uri(), request.body(), &inner.file);
        let at = inner.clock.now();
        let id = format!("{:032x}", inner.requests.fetch_add(1, Ordering::Relaxed).saturating_add(1));
        let mut answered = match caller.service.as_str() {
            "s3" => self.s3(&caller, request).await,
            "rbin" => self.recycle_bin(&caller, &request),
            _ => self.form(&mut caller, request, &id).await,
        };
        if let Reply::Response(response) = &mut answered.reply {
            let name = if caller.service == "s3" { "x-amz-request-id" } else { "x-amzn-requestid" };
            if let (false, Ok(id)) = (response.headers().contains_key(name), HeaderValue::from_str(&id)) {
                response.headers_mut().insert(name, id);
            }
        }
        inner.calls.push(Call {
            at,
            service: caller.service,
            action: answered.action,
            region: caller.region,
            account: caller.account,
            function: caller.function,
            implied_by: None,
            outcome: answered.outcome,
            parameters: answered.parameters,
        });
        answered.reply
    }

    /// An HTTP client for the AWS SDK that never leaves the process. Any endpoint will do: the service
    /// is read from the signature.
    pub fn http_client(&self) -> SharedHttpClient {
        in_process::client(self.clone())
    }

    /// Brings everything up to the present.
    pub async fn settle(&self) {
        self.0.world.settle(self.0.objects.as_ref()).await;
    }

    /// Puts everything back to what the account file describes; faults, permissions, calls and notices
    /// are forgotten.
    pub fn reset(&self) {
        let inner = &self.0;
        inner.world.reset();
        if let Some(local) = inner.objects.local() {
            local.clear();
            fill(local, &inner.file, inner.clock.now());
        }
        inner.faults.clear();
        inner.permissions.clear();
        inner.calls.clear();
        inner.notices.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// Every call so far.
    pub fn calls(&self) -> &CallLog {
        &self.0.calls
    }

    /// The fault rules.
    pub fn faults(&self) -> &Faults {
        &self.0.faults
    }

    /// What functions may do.
    pub fn permissions(&self) -> &Permissions {
        &self.0.permissions
    }

    /// The world behind EC2.
    pub fn world(&self) -> &World {
        &self.0.world
    }

    /// Where objects live.
    pub fn objects(&self) -> &dyn ObjectStore {
        self.0.objects.as_ref()
    }

    /// The account file that the world was made from.
    pub fn file(&self) -> &AccountFile {
        &self.0.file
    }

    /// What was published to topics, oldest first.
    pub fn notices(&self) -> Vec<Notice> {
        self.0.notices.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    async fn s3(&self, caller: &Caller, request: Request<Bytes>) -> Answered {
        let inner = &self.0;
        let Some(s3) = &inner.s3 else {
            let message = "The objects live in another S3: call that one.";
            let response = s3::error_document(StatusCode::NOT_IMPLEMENTED, "NotImplemented", message);
            return Answered {
                action: "Unknown".to_owned(),
                outcome: "NotImplemented".to_owned(),
                parameters: BTreeMap::new(),
                reply: Reply::Response(response),
            };
        };
        let exchange = Arc::new(Exchange::new(
            caller.clone(),
            inner.clock.now(),
            Arc::clone(&inner.faults),
            Arc::clone(&inner.permissions),
            Arc::clone(&inner.calls),
        ));
        let response = s3.call(request, &exchange).await;
        let outcome = exchange.outcome(&response);
        Answered {
            action: exchange.operation().unwrap_or_else(|| "Unknown".to_owned()),
            parameters: exchange.parameters(),
            outcome: if matches!(exchange.effect(), Some(Effect::Cut)) { "Cut".to_owned() } else { outcome },
            reply: delivered(exchange.effect().as_ref(), response),
        }
    }

    /// EC2, Auto Scaling, STS and SNS, which all send a form.
    async fn form(&self, caller: &mut Caller, request: Request<Bytes>, id: &str) -> Answered {
        let inner = &self.0;
        let parameters = caller::form(request.uri(), request.body());
        let value = |name: &str| parameters.iter().find(|(key, _)| key == name).map(|(_, value)| value.clone());
        let action = value("Action").unwrap_or_else(|| "Unknown".to_owned());
        let effect = inner.faults.decide(&caller.service, &action, caller.function.as_deref(), &caller.region);
        let (outcome, reply) = match effect {
            Some(Effect::Cut) => ("Cut".to_owned(), Reply::NoReply),
            Some(Effect::Refuse { code, message, status }) => {
                let message = message.unwrap_or_else(|| format!("refused by a fault rule on {action}"));
                (code.clone(), Reply::Response(self.refuse(caller, &code, &message, status, id)))
            }
            other => {
                if let Some(Effect::FailTask { reason }) = &other {
                    caller.fail_task = Some(reason.clone());
                }
                let (outcome, response) = self.dispatch(caller, &action, &parameters, id).await;
                (outcome, delivered(other.as_ref(), response))
            }
        };
        let parameters = parameters.into_iter().filter(|(name, _)| name != "Action" && name != "Version").collect();
        Answered { action, outcome, parameters, reply }
    }

    async fn dispatch(
        &self,
        caller: &Caller,
        action: &str,
        parameters: &[(String, String)],
        id: &str,
    ) -> (String, Response<Bytes>) {
        if caller.service == "ec2" {
            let response = self.0.ec2.call(caller, parameters).await;
            let outcome = response.extensions().get::<Outcome>().map_or_else(String::new, |outcome| outcome.0.clone());
            return (outcome, response);
        }
        let result = match caller.service.as_str() {
            "autoscaling" => autoscaling::call(caller, action, parameters, &self.0.permissions, (&self.0.world, id)),
            "sts" => sts::call(caller, action, id),
            "sns" => self.publish(caller, action, parameters, id),
            other => Err(Refusal {
                code: "InvalidAction".to_owned(),
                message: format!("the simulator has no service {other}"),
                status: StatusCode::BAD_REQUEST,
            }),
        };
        match result {
            Ok(document) => ("ok".to_owned(), xml(StatusCode::OK, document)),
            Err(refusal) => {
                let status = Some(refusal.status.as_u16());
                let response = self.refuse(caller, &refusal.code, &refusal.message, status, id);
                (refusal.code, response)
            }
        }
    }

    fn publish(
        &self,
        caller: &Caller,
        action: &str,
        parameters: &[(String, String)],
        id: &str,
    ) -> Result<String, Refusal> {
        let notice = sns::notice(caller, action, parameters, self.0.clock.now(), id)?;
        if !self.0.permissions.allows(caller, "sns:Publish", &notice.topic) {
            return Err(Refusal {
                code: "AuthorizationError".to_owned(),
                message: format!(
                    "User: {} is not authorized to perform: SNS:Publish on resource: {} because no identity-based policy allows the SNS:Publish action",
                    caller.arn(),
                    notice.topic
                ),
                status: StatusCode::FORBIDDEN,
            });
        }
        let document = sns::published(&notice, id);
        self.0.notices.lock().unwrap_or_else(PoisonError::into_inner).push(notice);
        Ok(document)
    }

    /// The error document of the service that was called.
    fn refuse(&self, caller: &Caller, code: &str, message: &str, status: Option<u16>, id: &str) -> Response<Bytes> {
        if caller.service == "ec2" {
            return ec2::refusal(code, message, status);
        }
        let status = refusal_status(&caller.service, code, status);
        let fault = if status.is_server_error() { "Receiver" } else { "Sender" };
        let text = format!(
            "<ErrorResponse><Error><Type>{fault}</Type><Code>{}</Code><Message>{}</Message></Error><RequestId>{id}</RequestId></ErrorResponse>",
            escape(code),
            escape(message)
        );
        xml(status, text)
    }
}

/// Why a service other than EC2 and S3 refuses a call.
#[derive(Debug)]
pub(crate) struct Refusal {
    pub(crate) code: String,
    pub(crate) message: String,
    pub(crate) status: StatusCode,
}

/// Puts the file's buckets and objects into an empty store.
fn fill(local: &LocalObjects, file: &AccountFile, now: Timestamp) {
    for account in &file.accounts {
        for bucket in &account.buckets {
            local.add_bucket(BucketFacts {
                name: bucket.name.clone(),
                region: bucket.region.clone(),
                owner: account.id.clone(),
                kms: bucket.encryption.starts_with("aws:kms"),
            });
        }
    }
    for (bucket, key, object) in world::objects_of(file, now) {
        // The buckets of the file have just been added, so there is none missing.
        local.insert(&bucket, &key, object).ok();
    }
}

/// What a fault leaves of an answer.
fn delivered(effect: Option<&Effect>, response: Response<Bytes>) -> Reply {
    match effect {
        Some(Effect::Cut) => Reply::NoReply,
        Some(Effect::HoldReply) => Reply::Held,
        _ => Reply::Response(response),
    }
}

/// The HTTP status of a refusal: the one that the rule names, else the one that goes with the code.
pub(crate) fn refusal_status(service: &str, code: &str, named: Option<u16>) -> StatusCode {
    if let Some(status) = named.and_then(|status| StatusCode::from_u16(status).ok()) {
        return status;
    }
    if service == "s3"
        && let Some(status) = s3s::S3ErrorCode::from_bytes(code.as_bytes()).and_then(|known| known.status_code())
    {
        return status;
    }
    match code {
        "InternalError" | "InternalFailure" | "ServerInternal" => StatusCode::INTERNAL_SERVER_ERROR,
        "RequestLimitExceeded" | "ServiceUnavailable" | "Unavailable" | "SlowDown" => StatusCode::SERVICE_UNAVAILABLE,
        "AccessDenied" | "AuthorizationError" | "UnauthorizedOperation" | "AuthFailure" => StatusCode::FORBIDDEN,
        _ => StatusCode::BAD_REQUEST,
    }
}

/// An XML answer.
pub(crate) fn xml(status: StatusCode, text: String) -> Response<Bytes> {
    let mut response = Response::new(Bytes::from(text));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/xml"));
    response
}

/// Text as XML holds it.
pub(crate) fn escape(text: &str) -> String {
    quick_xml::escape::escape(text).into_owned()
}

#[cfg(test)]
mod tests;
