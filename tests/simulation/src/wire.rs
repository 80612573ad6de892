//! Owns the way from a function to the simulated AWS: an HTTP client for the SDK on the trial's
//! timeline, where calls take time, are counted, and go wrong as planned.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, UNIX_EPOCH},
};

use ami_backup_core::{SignedDuration, Timestamp};
use ami_backup_engine::Timeline;
use ami_backup_simulator::{
    Reply, Simulator,
    clock::Clock,
    faults::{Effect, Rule},
};
use aws_smithy_async::{
    rt::sleep::{AsyncSleep, Sleep},
    time::TimeSource,
};
use aws_smithy_runtime_api::{
    client::{
        http::{
            HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpClient, SharedHttpConnector,
            http_client_fn,
        },
        orchestrator::{HttpRequest, HttpResponse},
        result::ConnectorError,
        runtime_components::RuntimeComponents,
    },
    shared::IntoShared,
};
use aws_smithy_types::body::SdkBody;
use http_body_util::BodyExt;

use crate::faults::CallFault;

/// The timeline as the simulator's clock and as the SDK's clock and sleep.
#[derive(Debug, Clone)]
pub struct Now(pub Timeline);

impl Clock for Now {
    fn now(&self) -> Timestamp {
        self.0.now()
    }
}

impl TimeSource for Now {
    fn now(&self) -> std::time::SystemTime {
        let since = self.0.now().duration_since(Timestamp::UNIX_EPOCH);
        UNIX_EPOCH + Duration::try_from(since).unwrap_or_default()
    }
}

impl AsyncSleep for Now {
    fn sleep(&self, duration: Duration) -> Sleep {
        Sleep::new(self.0.sleep(SignedDuration::try_from(duration).unwrap_or(SignedDuration::MAX)))
    }
}

/// What a planned fault does to a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Planned {
    /// Goes wrong, for this many attempts of the same call by the same invocation.
    Wrong(CallFault, u32),
    /// Starts something that ends failed.
    Doomed,
}

/// One call that was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Made {
    /// Which Task's function made it, counted from 1; 0 before and after the trial.
    pub task: u32,
    /// Service.
    pub service: String,
    /// Action.
    pub action: String,
    /// What went wrong with it.
    pub fault: Option<CallFault>,
}

/// The wire.
#[derive(Debug)]
pub struct Wire {
    simulator: Simulator,
    timeline: Timeline,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    chance: Option<fastrand::Rng>,
    planned: BTreeMap<u32, Planned>,
    /// Attempts that still go wrong: by Task and action.
    again: BTreeMap<(u32, String), (CallFault, u32)>,
    made: Vec<Made>,
}

impl Wire {
    /// A wire without faults, on which every call takes the same time.
    pub fn new(simulator: Simulator, timeline: Timeline) -> Arc<Self> {
        Arc::new(Self { simulator, timeline, state: Mutex::default() })
    }

    /// From now on calls are counted from 1, go wrong as planned, and take a time that `chance` draws.
    pub fn plan(&self, planned: BTreeMap<u32, Planned>, chance: fastrand::Rng) {
        *self.state() = State { chance: Some(chance), planned, ..State::default() };
    }

    /// From now on nothing goes wrong.
    pub fn calm(&self) {
        let mut state = self.state();
        state.planned.clear();
        state.again.clear();
    }

    /// The calls since the plan was made.
    pub fn made(&self) -> Vec<Made> {
        self.state().made.clone()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A time that one way takes: mostly milliseconds, now and then seconds.
    fn way(&self) -> SignedDuration {
        let mut state = self.state();
        let Some(chance) = &mut state.chance else { return SignedDuration::from_millis(5) };
        let slow = chance.u32(..200) == 0;
        SignedDuration::from_micros(if slow { chance.i64(500_000..3_000_000) } else { chance.i64(500..25_000) })
    }

    /// Counts a call and says what goes wrong with it.
    fn begun(&self, task: u32, service: &str, action: &str) -> Option<Planned> {
        let mut state = self.state();
        let nth = u32::try_from(state.made.len()).unwrap_or(u32::MAX).saturating_add(1);
        let key = (task, action.to_owned());
        let planned = match state.planned.get(&nth).copied() {
            Some(Planned::Wrong(fault, times)) => {
                state.again.insert(key, (fault, times.saturating_sub(1)));
                Some(Planned::Wrong(fault, times))
            }
            Some(Planned::Doomed) => Some(Planned::Doomed),
            None => match state.again.get_mut(&key) {
                Some((fault, left)) if *left > 0 => {
                    *left -= 1;
                    Some(Planned::Wrong(*fault, 1))
                }
                _ => None,
            },
        };
        let fault = match planned {
            Some(Planned::Wrong(fault, _)) => Some(fault),
            _ => None,
        };
        state.made.push(Made { task, service: service.to_owned(), action: action.to_owned(), fault });
        planned
    }
}

/// One process of a function, from its start to its end.
#[derive(Debug, Clone)]
pub struct Process {
    wire: Arc<Wire>,
    /// The Task that it works for.
    task: Arc<AtomicU32>,
    /// Set once it has ended in the middle of its work.
    dead: Arc<AtomicU32>,
}

impl Process {
    /// A process that works for nobody yet.
    pub fn new(wire: Arc<Wire>) -> Self {
        Self { wire, task: Arc::default(), dead: Arc::default() }
    }

    /// From now on it works for this Task.
    pub fn serve(&self, task: u32) {
        self.task.store(task, Ordering::Relaxed);
    }

    /// Whether it has ended in the middle of its work.
    pub fn is_dead(&self) -> bool {
        self.dead.load(Ordering::Relaxed) != 0
    }

    /// The HTTP client of its SDK.
    pub fn http_client(&self) -> SharedHttpClient {
        let connector: SharedHttpConnector = self.clone().into_shared();
        http_client_fn(move |_: &HttpConnectorSettings, _: &RuntimeComponents| connector.clone())
    }

    async fn answer(self, request: HttpRequest) -> Result<HttpResponse, ConnectorError> {
        let request = request.try_into_http1x().map_err(|error| ConnectorError::user(Box::new(error)))?;
        let (parts, body) = request.into_parts();
        let body = body.collect().await.map_err(ConnectorError::user)?.to_bytes();
        let (service, action) = (service(&parts), action(&parts, &body));
        let wire = &self.wire;
        if self.is_dead() {
            return std::future::pending().await;
        }
        let planned = wire.begun(self.task.load(Ordering::Relaxed), &service, &action);
        wire.timeline.sleep(wire.way()).await;
        let rule = match planned {
            Some(Planned::Wrong(CallFault::Cut, _)) => {
                return Err(ConnectorError::io("the connection was cut before an answer came".into()));
            }
            Some(Planned::Wrong(CallFault::DiesBefore, _)) => return self.die().await,
            Some(Planned::Wrong(fault, _)) => refusal(fault, &service, &action),
            Some(Planned::Doomed) => Some(Effect::FailTask { reason: "it was planned to fail".into() }),
            None => None,
        };
        // The simulator answers without waiting, so that no other call meets this rule.
        wire.simulator.faults().set(rule.map(once).into_iter().collect());
        let reply = wire.simulator.handle(http::Request::from_parts(parts, body)).await;
        wire.simulator.faults().clear();
        match planned {
            Some(Planned::Wrong(CallFault::DiesAfter, _)) => return self.die().await,
            Some(Planned::Wrong(CallFault::ReplyLost, _)) => return std::future::pending().await,
            _ => {}
        }
        wire.timeline.sleep(wire.way()).await;
        match reply {
            Reply::Response(response) => HttpResponse::try_from(response.map(SdkBody::from))
                .map_err(|error| ConnectorError::other(Box::new(error), None)),
            Reply::NoReply => Err(ConnectorError::io("the connection was cut".into())),
            Reply::Held => std::future::pending().await,
        }
    }

    /// Ends the process: nothing of it ever goes on.
    async fn die<T>(self) -> T {
        self.dead.store(1, Ordering::Relaxed);
        std::future::pending().await
    }
}

impl HttpConnector for Process {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        HttpConnectorFuture::new(self.clone().answer(request))
    }
}

fn once(effect: Effect) -> Rule {
    Rule { service: None, action: "*".into(), function: None, region: None, nth: None, times: None, effect }
}

/// The refusal of a fault in the words of a service; nothing where the service has none.
fn refusal(fault: CallFault, service: &str, action: &str) -> Option<Effect> {
    let (code, status) = match (fault, service) {
        (CallFault::Throttled, "s3") => ("SlowDown", 503),
        (CallFault::Throttled, "ec2") => ("RequestLimitExceeded", 503),
        (CallFault::Throttled, _) => ("Throttling", 400),
        (CallFault::Unavailable, _) => ("InternalError", 500),
        (CallFault::Denied, "s3") => ("AccessDenied", 403),
        (CallFault::Denied, "ec2") => ("UnauthorizedOperation", 403),
        (CallFault::Denied, _) => ("AuthorizationError", 403),
        (CallFault::NotFound, "ec2") if about_images(action) => ("InvalidAMIID.NotFound", 400),
        _ => return None,
    };
    Some(Effect::Refuse { code: code.into(), message: None, status: Some(status) })
}

/// Whether a call names an image that was made a moment ago. A list by filter finds nothing instead,
/// and S3 shows at once what was written.
fn about_images(action: &str) -> bool {
    [
        "DescribeImages",
        "DescribeImageAttribute",
        "ModifyImageAttribute",
        "EnableImageDeprecation",
        "CreateStoreImageTask",
        "CopyImage",
        "ExportImage",
    ]
    .contains(&action)
}

/// The service of a call: its place in the signature's scope.
fn service(parts: &http::request::Parts) -> String {
    let signature = parts.headers.get("authorization").and_then(|value| value.to_str().ok()).unwrap_or_default();
    let scope = signature.split_once("Credential=").map_or("", |(_, rest)| rest);
    scope.split([',', ' ']).next().unwrap_or_default().split('/').nth(3).unwrap_or_default().to_owned()
}

/// The action of a call: what a form says, or the method and what of a bucket it is about.
fn action(parts: &http::request::Parts, body: &[u8]) -> String {
    let form = form_urlencoded::parse(body).find(|(name, _)| name == "Action").map(|(_, value)| value.into_owned());
    form.unwrap_or_else(|| {
        let query = parts.uri.query().unwrap_or_default();
        let list = if query.contains("list-type") { " list" } else { "" };
        let segments = parts.uri.path().split('/').filter(|part| !part.is_empty()).count();
        format!("{}{list} {}", parts.method, if segments > 1 { "object" } else { "bucket" })
    })
}
