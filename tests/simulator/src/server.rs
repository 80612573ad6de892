//! Owns the port: reads HTTP, asks the simulator, and answers, cuts or holds.

use std::time::Duration;

use ami_backup_simulator::faults::Rule;
use ami_backup_simulator::{Reply, Simulator};
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use serde_json::{Value, json};
use tokio::net::TcpListener;

/// Where the endpoints for whoever runs the simulation are.
const ADMIN: &str = "/_simulator/";

/// How long a held reply holds its connection: a Lambda function cannot wait longer.
const HOLD: Duration = Duration::from_secs(15 * 60);

/// How long to wait after an error of `accept` (out of file descriptors, mostly).
const PAUSE: Duration = Duration::from_millis(50);

/// The connection ends here without an answer.
#[derive(Debug, thiserror::Error)]
#[error("a fault rule says that no answer is sent")]
struct NoAnswer;

/// Serves until it is dropped.
pub(crate) async fn serve(listener: TcpListener, simulator: Simulator) {
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            pause(PAUSE).await;
            continue;
        };
        // Requests are small and answered one by one: waiting for full packets would cost 40 ms each.
        stream.set_nodelay(true).ok();
        let simulator = simulator.clone();
        let service = service_fn(move |request| answer(simulator.clone(), request));
        tokio::spawn(async move {
            // An error here is a client that left, or a reply that a rule cuts.
            http1::Builder::new().timer(TokioTimer::new()).serve_connection(TokioIo::new(stream), service).await.ok();
        });
    }
}

#[expect(clippy::disallowed_methods, reason = "this program is AWS: time is real, and its replies may be late")]
async fn pause(duration: Duration) {
    tokio::time::sleep(duration).await;
}

/// Answers one request. An error makes hyper close the connection without a word.
async fn answer(simulator: Simulator, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, NoAnswer> {
    let (parts, body) = request.into_parts();
    let body = body.collect().await.map_err(|_| NoAnswer)?.to_bytes();
    let request = Request::from_parts(parts, body);
    if request.uri().path().starts_with(ADMIN) {
        return Ok(admin(&simulator, &request));
    }
    let latency = simulator.file().settings.latency_ms;
    // In a task of its own, so that a client that leaves does not stop what it asked for half-way.
    let work = tokio::spawn(async move { simulator.handle(request).await });
    let reply = work.await.map_err(|_| NoAnswer)?;
    if latency > 0 {
        pause(Duration::from_millis(latency)).await;
    }
    match reply {
        Reply::Response(response) => Ok(response.map(Full::new)),
        Reply::NoReply => Err(NoAnswer),
        Reply::Held => {
            // hyper drops this when the client closes its end.
            pause(HOLD).await;
            Err(NoAnswer)
        }
    }
}

/// The endpoints under `/_simulator/`.
fn admin(simulator: &Simulator, request: &Request<Bytes>) -> Response<Full<Bytes>> {
    let name = request.uri().path().strip_prefix(ADMIN).unwrap_or_default();
    match (request.method(), name) {
        (&Method::GET, "health") => reply(StatusCode::OK, &json!({ "status": "ok" })),
        (&Method::GET, "calls") => reply(StatusCode::OK, &json!(simulator.calls().all())),
        (&Method::GET, "state") => reply(StatusCode::OK, &state(simulator)),
        (&Method::GET, "faults") => reply(StatusCode::OK, &json!(simulator.faults().rules())),
        (&Method::POST, "faults") => match serde_json::from_slice::<Vec<Rule>>(request.body()) {
            Ok(rules) => {
                simulator.faults().set(rules);
                reply(StatusCode::OK, &json!(simulator.faults().rules()))
            }
            Err(error) => {
                let problem = format!("the body must be a JSON list of fault rules: {error}");
                reply(StatusCode::BAD_REQUEST, &json!({ "error": problem }))
            }
        },
        (&Method::DELETE, "faults") => {
            simulator.faults().clear();
            reply(StatusCode::OK, &json!([]))
        }
        (&Method::POST, "reset") => {
            simulator.reset();
            reply(StatusCode::OK, &json!({ "status": "reset" }))
        }
        (&Method::PUT, "permissions") => permissions(simulator, request.body()),
        _ => {
            let problem = format!("there is no {} {}", request.method(), request.uri().path());
            reply(StatusCode::NOT_FOUND, &json!({ "error": problem }))
        }
    }
}

/// `{"<function>": <IAM policy>}`: replaces what each function named may do.
fn permissions(simulator: &Simulator, body: &[u8]) -> Response<Full<Bytes>> {
    let refuse = |problem: String| reply(StatusCode::BAD_REQUEST, &json!({ "error": problem }));
    let policies = match serde_json::from_slice::<serde_json::Map<String, Value>>(body) {
        Ok(policies) => policies,
        Err(error) => return refuse(format!("the body must be a JSON object of policies by function: {error}")),
    };
    for (function, policy) in policies {
        if let Err(problem) = simulator.permissions().set_json(function.clone(), &policy) {
            return refuse(format!("policy of {function}: {problem}"));
        }
    }
    reply(StatusCode::OK, &json!(simulator.permissions().functions()))
}

/// What the world holds, with the keys of the buckets in memory and what was published.
fn state(simulator: &Simulator) -> Value {
    let mut state = simulator.world().state_json();
    if let Value::Object(fields) = &mut state {
        fields.insert("buckets".to_owned(), json!(simulator.objects().local().map(|local| local.contents())));
        fields.insert("notices".to_owned(), json!(simulator.notices()));
    }
    state
}

fn reply(status: StatusCode, value: &Value) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(format!("{value}\n"))));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}
