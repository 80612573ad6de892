//! Owns what the template means on the stage: its parameters by their defaults, its resources by the
//! names that they have in the demo account.

use std::{collections::BTreeMap, sync::OnceLock};

use ami_backup_core::SignedDuration;
use ami_backup_simulator::Simulator;
use serde_json::{Value, json};

use crate::{ACCOUNT, BUCKET, EXPORTS, project};

/// Conditions of the template that hold with every parameter at its default.
const TRUE_CONDITIONS: &[&str] = &["CreatesExportRole"];

fn template() -> &'static Value {
    static TEMPLATE: OnceLock<Value> = OnceLock::new();
    TEMPLATE.get_or_init(project::template)
}

/// The default of a parameter.
///
/// # Panics
/// If there is no such parameter.
pub fn parameter(name: &str) -> String {
    match &template()["Parameters"][name]["Default"] {
        Value::String(text) => text.clone(),
        Value::Null => panic!("{name} is no parameter with a default"),
        other => other.to_string(),
    }
}

/// What `${…}`, `!Ref` and `!GetAtt` mean.
fn meaning(name: &str) -> String {
    match name {
        "AWS::Partition" => "aws".into(),
        "AWS::Region" => "us-east-1".into(),
        "AWS::AccountId" => ACCOUNT.into(),
        "BackupBucket" => BUCKET.into(),
        "BackupBucket.Arn" => format!("arn:aws:s3:::{BUCKET}"),
        "ExportBucket" => EXPORTS.into(),
        "ExportBucket.Arn" => format!("arn:aws:s3:::{EXPORTS}"),
        "ExportRole" => "ami-backup-export".into(),
        "ExportRole.Arn" => format!("arn:aws:iam::{ACCOUNT}:role/ami-backup-export"),
        "NotificationTopic" => format!("arn:aws:sns:us-east-1:{ACCOUNT}:notices"),
        name => match (name.strip_suffix("Function.Version"), name.strip_suffix("FunctionRole.Arn")) {
            (Some(function), _) => project::kebab(function),
            (_, Some(function)) => format!("arn:aws:iam::{ACCOUNT}:role/{}", project::kebab(function)),
            _ => parameter(name),
        },
    }
}

/// A value of the template without intrinsic functions; `None` is `AWS::NoValue`.
fn resolved(value: &Value) -> Option<Value> {
    if let Some(name) = value["Ref"].as_str() {
        return (name != "AWS::NoValue").then(|| meaning(name).into());
    }
    if let Some(path) = value["Fn::GetAtt"].as_array() {
        let path: Vec<&str> = path.iter().filter_map(Value::as_str).collect();
        return Some(meaning(&path.join(".")).into());
    }
    if let Some(text) = value["Fn::Sub"].as_str() {
        let mut parts = text.split("${");
        let mut whole = parts.next().unwrap_or_default().to_owned();
        for part in parts {
            let (name, rest) = part.split_once('}').expect("a closing brace");
            whole = whole + &meaning(name) + rest;
        }
        return Some(whole.into());
    }
    if let Some(branches) = value["Fn::If"].as_array() {
        let holds = branches[0].as_str().is_some_and(|name| TRUE_CONDITIONS.contains(&name));
        return resolved(&branches[if holds { 1 } else { 2 }]);
    }
    Some(match value {
        Value::Array(values) => values.iter().filter_map(resolved).collect(),
        Value::Object(fields) => {
            Value::Object(fields.iter().filter_map(|(name, value)| Some((name.clone(), resolved(value)?))).collect())
        }
        other => other.clone(),
    })
}

fn properties(resource: &str) -> &'static Value {
    let properties = &template()["Resources"][resource]["Properties"];
    assert!(properties.is_object(), "{resource} is no resource of the template");
    properties
}

/// The policy of a function's role: all its statements.
pub fn role(function: &str) -> Value {
    let properties = properties(&format!("{}Function", project::pascal(function)));
    let policies = resolved(&properties["Policies"]).unwrap_or_default();
    let statements: Vec<&Value> =
        project::list(&policies).into_iter().flat_map(|policy| project::list(&policy["Statement"])).collect();
    json!({ "Statement": statements })
}

/// The policy of each bucket, by the name that the bucket has on the stage.
pub fn bucket_policies() -> BTreeMap<String, Value> {
    let all = project::resources("AWS::S3::BucketPolicy").into_values();
    let named = |name: &Value| resolved(name).and_then(|name| name.as_str().map(str::to_owned)).unwrap_or_default();
    all.filter_map(|one| Some((named(&one["Properties"]["Bucket"]), resolved(&one["Properties"]["PolicyDocument"])?)))
        .collect()
}

/// Gives the simulator what the template deploys: a role for each of these functions, the policies of the buckets, and
/// versions of their objects.
///
/// # Panics
/// If a policy has something that the simulator does not know.
pub fn deploy<'a>(
    simulator: &Simulator,
    roles: impl IntoIterator<Item = (&'a str, &'a Value)>,
    buckets: &BTreeMap<String, Value>,
) {
    let permissions = simulator.permissions();
    for (function, policy) in roles {
        permissions.set_json(function, policy).unwrap_or_else(|error| panic!("the role of {function}: {error}"));
    }
    for (bucket, policy) in buckets {
        permissions.set_bucket(bucket, policy).unwrap_or_else(|error| panic!("the policy of {bucket}: {error}"));
        if let Some(objects) = simulator.objects().local() {
            objects.keep_versions(bucket);
        }
    }
}

/// A policy that `SECURITY.md` offers, filled in with the roles that write tags (`make policies` does that for a stack).
///
/// # Panics
/// If it is no JSON.
pub fn offered_policy(name: &str) -> Value {
    let text = project::text(&format!("policies/{name}.json"));
    let policy: Value = serde_json::from_str(&text).expect("a policy is JSON");
    let functions = project::functions().into_iter().filter(|function| {
        let role = role(function);
        let actions = project::list(&role["Statement"]).into_iter().filter(|one| one["Effect"] == "Allow");
        let mut actions = actions.flat_map(|one| project::strings(&one["Action"]));
        actions.any(|action| ["ec2:CreateTags", "ec2:DeleteTags"].contains(&action))
    });
    let arns: Value = functions.map(|function| format!("arn:aws:iam::{ACCOUNT}:role/{function}")).collect();
    filled(&policy, &arns)
}

fn filled(policy: &Value, arns: &Value) -> Value {
    match policy {
        Value::Array(one) if one[..] == [json!("${StackRoleArns}")] => arns.clone(),
        Value::Array(values) => values.iter().map(|value| filled(value, arns)).collect(),
        Value::Object(fields) => {
            Value::Object(fields.iter().map(|(name, value)| (name.clone(), filled(value, arns))).collect())
        }
        other => other.clone(),
    }
}

/// The environment variables of a function.
pub fn variables(function: &str) -> BTreeMap<String, String> {
    let own = properties(&format!("{}Function", project::pascal(function)));
    let common = &template()["Globals"]["Function"]["Environment"]["Variables"];
    [common, &own["Environment"]["Variables"]]
        .into_iter()
        .filter_map(Value::as_object)
        .flatten()
        .filter_map(|(name, value)| match resolved(value)? {
            Value::String(text) => Some((name.clone(), text)),
            other => Some((name.clone(), other.to_string())),
        })
        .collect()
}

/// Longest invocation of a function.
///
/// # Panics
/// If it is no number of seconds.
pub fn timeout(function: &str) -> SignedDuration {
    let own = &properties(&format!("{}Function", project::pascal(function)))["Timeout"];
    let timeout = if own.is_null() { &template()["Globals"]["Function"]["Timeout"] } else { own };
    let seconds = resolved(timeout).and_then(|seconds| seconds.as_str().and_then(|text| text.parse().ok()));
    SignedDuration::from_secs(seconds.expect("a number of seconds"))
}

/// What a placeholder of a machine's definition is filled in with; functions go by their names.
pub fn substitution(machine: &str, placeholder: &str) -> Option<String> {
    let substitutions = &properties(&format!("{}Machine", project::pascal(machine)))["DefinitionSubstitutions"];
    match resolved(substitutions.get(placeholder)?)? {
        Value::String(text) => Some(text),
        other => Some(other.to_string()),
    }
}
