//! Answers the Recycle Bin's own service: which retention rules there are.

use http::{HeaderValue, Method, Response, StatusCode, header};
use hyper::body::Bytes;
use serde_json::{Map, Value, json};

use crate::account::RecycleBinRule;
use crate::edge::{Caller, Refusal};
use crate::permissions::{Permissions, Request};
use crate::world::{Owned, World};

/// How many rules a page has without `MaxResults`, and the most.
const DEFAULT_RESULTS: usize = 1_000;

/// The action of a request, and the id in its path.
pub(crate) fn action<'a>(method: &Method, path: &'a str) -> (&'static str, &'a str) {
    match (method, path.strip_prefix("/rules/")) {
        (&Method::GET, Some(id)) => ("GetRule", id),
        (&Method::POST, None) if path == "/list-rules" => ("ListRules", ""),
        _ => ("Unknown", ""),
    }
}

/// Answers one call from the world.
pub(crate) fn call(
    caller: &Caller,
    (action, id): (&str, &str),
    body: &Value,
    permissions: &Permissions,
    world: &World,
) -> Result<Value, Refusal> {
    let resource = rule_arn(caller, if id.is_empty() { "*" } else { id });
    if action == "Unknown" {
        return Err(refusal(StatusCode::NOT_FOUND, "UnknownOperationException", "The simulated rbin has no such call"));
    }
    if !permissions.grants(caller, &Request::new(format!("rbin:{action}"), resource.as_str())) {
        let message = format!(
            "User: {} is not authorized to perform: rbin:{action} on resource: {resource} because no identity-based \
             policy allows the rbin:{action} action",
            caller.arn()
        );
        return Err(refusal(StatusCode::FORBIDDEN, "AccessDeniedException", message));
    }
    let ours = |one: &Owned<RecycleBinRule>| one.account == caller.account && one.it.region == caller.region;
    let mut rules: Vec<RecycleBinRule> =
        world.with(|state| state.bin_rules.iter().filter(|one| ours(one)).map(|one| one.it.clone()).collect());
    rules.sort_by_key(|rule| rule.id.clone());
    if action == "ListRules" {
        return list(caller, &rules, body);
    }
    let found = rules.iter().find(|rule| rule.id.as_deref() == Some(id));
    let found = found.ok_or_else(|| refusal(StatusCode::NOT_FOUND, "ResourceNotFoundException", "Rule not found"))?;
    let mut whole = summary(caller, found);
    whole.insert("ResourceType".into(), found.resource_type.text().into());
    whole.insert("Status".into(), "available".into());
    whole.insert("ResourceTags".into(), tags(&found.resource_tags));
    whole.insert("ExcludeResourceTags".into(), tags(&found.exclude_resource_tags));
    Ok(Value::Object(whole))
}

fn refusal(status: StatusCode, code: &str, message: impl Into<String>) -> Refusal {
    Refusal { code: code.into(), message: message.into(), status }
}

fn rule_arn(caller: &Caller, id: &str) -> String {
    format!("arn:aws:rbin:{}:{}:rule/{id}", caller.region, caller.account)
}

fn list(caller: &Caller, rules: &[RecycleBinRule], body: &Value) -> Result<Value, Refusal> {
    let invalid = |message: String| refusal(StatusCode::BAD_REQUEST, "ValidationException", message);
    let kind = body.get("ResourceType").and_then(Value::as_str).unwrap_or_default();
    if !["EBS_SNAPSHOT", "EC2_IMAGE", "EBS_VOLUME"].contains(&kind) {
        return Err(invalid(format!("Invalid ResourceType '{kind}'")));
    }
    let size = match body.get("MaxResults").map(Value::as_u64) {
        None => DEFAULT_RESULTS,
        Some(Some(size @ 1..=1_000)) => usize::try_from(size).unwrap_or(DEFAULT_RESULTS),
        Some(_) => return Err(invalid("MaxResults must be between 1 and 1000".into())),
    };
    let after = body.get("NextToken").and_then(Value::as_str).unwrap_or_default();
    if !after.is_empty() && !rules.iter().any(|rule| rule.id.as_deref() == Some(after)) {
        return Err(invalid("The token is invalid".into()));
    }
    let asked = |name: &str| body.get(name).cloned().unwrap_or(Value::Array(Vec::new()));
    let (included, excluded) = (asked("ResourceTags"), asked("ExcludeResourceTags"));
    let chosen = |rule: &&RecycleBinRule| {
        rule.resource_type.text() == kind
            && rule.id.as_deref() > Some(after)
            && holds_all(&tags(&rule.resource_tags), &included)
            && holds_all(&tags(&rule.exclude_resource_tags), &excluded)
    };
    let mut rest = rules.iter().filter(chosen);
    let page: Vec<&RecycleBinRule> = rest.by_ref().take(size).collect();
    let more = rest.next().is_some();
    let mut answer = Map::new();
    let shown = page.iter().map(|rule| Value::Object(summary(caller, rule))).collect();
    answer.insert("Rules".into(), Value::Array(shown));
    if let Some(last) = page.last().filter(|_| more) {
        answer.insert("NextToken".into(), json!(last.id));
    }
    Ok(Value::Object(answer))
}

/// Whether a rule has all the tags that were asked for.
fn holds_all(tags: &Value, wanted: &Value) -> bool {
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let tags = list(tags);
    list(wanted).iter().all(|one| tags.contains(one))
}

/// What a list says of a rule.
fn summary(caller: &Caller, rule: &RecycleBinRule) -> Map<String, Value> {
    let id = rule.id.clone().unwrap_or_default();
    let mut fields = Map::new();
    fields.insert("RuleArn".into(), rule_arn(caller, &id).into());
    fields.insert("Identifier".into(), id.into());
    fields.insert("Description".into(), rule.description.clone().into());
    let period = json!({"RetentionPeriodValue": rule.retention_days, "RetentionPeriodUnit": "DAYS"});
    fields.insert("RetentionPeriod".into(), period);
    fields
}

fn tags(tags: &std::collections::BTreeMap<String, Option<String>>) -> Value {
    let tag = |(key, value): (&String, &Option<String>)| match value {
        Some(value) => json!({"ResourceTagKey": key, "ResourceTagValue": value}),
        None => json!({"ResourceTagKey": key}),
    };
    Value::Array(tags.iter().map(tag).collect())
}

/// A JSON answer; of an error with its code in a header, as REST-JSON has it.
pub(crate) fn response(status: StatusCode, code: Option<&str>, body: &Value) -> Response<Bytes> {
    let mut response = Response::new(Bytes::from(body.to_string()));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    if let Some(code) = code.and_then(|code| HeaderValue::from_str(code).ok()) {
        headers.insert("x-amzn-errortype", code);
    }
    response
}
