//! Owns the way in to the Recycle Bin's own service, which sends JSON.

use std::collections::BTreeMap;

use http::{Request, Response, StatusCode};
use hyper::body::Bytes;
use serde_json::{Value, json};

use super::{Answered, Caller, Reply, Simulator, delivered, refusal_status};
use crate::faults::Effect;
use crate::rbin;

impl Simulator {
    pub(super) fn recycle_bin(&self, caller: &Caller, request: &Request<Bytes>) -> Answered {
        let inner = &self.0;
        let (action, rule) = rbin::action(request.method(), request.uri().path());
        let body: Value = serde_json::from_slice(request.body()).unwrap_or_default();
        let effect = inner.faults.decide(&caller.service, action, caller.function.as_deref(), &caller.region);
        let (outcome, reply) = match effect {
            Some(Effect::Cut) => ("Cut".to_owned(), Reply::NoReply),
            Some(Effect::Refuse { code, message, status }) => {
                let message = message.unwrap_or_else(|| format!("refused by a fault rule on {action}"));
                let status = refusal_status(&caller.service, &code, status);
                let response = refused(status, &code, &message);
                (code, Reply::Response(response))
            }
            other => {
                let answer = rbin::call(caller, (action, rule), &body, &inner.permissions, &inner.world);
                let (outcome, response) = match answer {
                    Ok(answer) => ("ok".to_owned(), rbin::response(StatusCode::OK, None, &answer)),
                    Err(refusal) => {
                        let response = refused(refusal.status, &refusal.code, &refusal.message);
                        (refusal.code, response)
                    }
                };
                (outcome, delivered(other.as_ref(), response))
            }
        };
        Answered { action: action.to_owned(), outcome, parameters: parameters(rule, &body), reply }
    }
}

fn refused(status: StatusCode, code: &str, message: &str) -> Response<Bytes> {
    rbin::response(status, Some(code), &json!({ "Message": message }))
}

/// What was sent, for the call log: texts as they are, all else as JSON.
fn parameters(rule: &str, body: &Value) -> BTreeMap<String, String> {
    let mut parameters = BTreeMap::new();
    if !rule.is_empty() {
        parameters.insert("Identifier".to_owned(), rule.to_owned());
    }
    for (name, value) in body.as_object().into_iter().flatten() {
        let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        parameters.insert(name.clone(), text);
    }
    parameters
}
