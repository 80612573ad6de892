//! Owns what each function may do: IAM statements, and whether they allow an action.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use serde_json::Value;

/// One `Allow` statement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Statement {
    /// Actions, e.g. `ec2:Describe*`. Matched without regard to case.
    pub actions: Vec<String>,
    /// Resource ARNs, with `*` and `?`.
    pub resources: Vec<String>,
    /// All of these must hold.
    pub conditions: Vec<Condition>,
}

/// One key of one condition operator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Condition {
    /// How the values are compared.
    pub operator: Operator,
    /// Whether a key that the request does not have is enough (`…IfExists`).
    pub if_exists: bool,
    /// Condition key, e.g. `aws:ResourceTag/Team`.
    pub key: String,
    /// One of these must match (none of them, for the negative operators).
    pub values: Vec<String>,
}

/// Condition operators that are understood.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operator {
    /// `StringEquals`, `ArnEquals` without wildcards, and `Bool`.
    Equals,
    /// `StringLike` and `ArnLike`.
    Like,
    /// `StringNotEquals`.
    NotEquals,
    /// `StringNotLike`.
    NotLike,
}

/// What a call asks to be allowed.
#[derive(Debug, Clone, Default)]
pub struct Request {
    /// Action with its service, e.g. `ec2:CopyImage`.
    pub action: String,
    /// ARN of the resource, or `*`.
    pub resource: String,
    /// Condition keys with their values, e.g. `aws:ResourceTag/Team`.
    pub context: BTreeMap<String, String>,
}

impl Request {
    /// Asks for `action` on `resource`.
    pub fn new(action: impl Into<String>, resource: impl Into<String>) -> Self {
        Self { action: action.into(), resource: resource.into(), context: BTreeMap::new() }
    }

    /// Adds the tags that the resource has.
    #[must_use]
    pub fn resource_tags(mut self, tags: &BTreeMap<String, String>) -> Self {
        self.add_tags("aws:ResourceTag/", tags);
        self.add_tags("ec2:ResourceTag/", tags);
        self
    }

    /// Adds the tags that the request writes.
    #[must_use]
    pub fn request_tags(mut self, tags: &BTreeMap<String, String>) -> Self {
        self.add_tags("aws:RequestTag/", tags);
        self
    }

    /// Adds any other condition key.
    #[must_use]
    pub fn with(mut self, key: &str, value: impl Into<String>) -> Self {
        self.context.insert(key.into(), value.into());
        self
    }

    fn add_tags(&mut self, prefix: &str, tags: &BTreeMap<String, String>) {
        for (key, value) in tags {
            self.context.insert(format!("{prefix}{key}"), value.clone());
        }
    }
}

/// What each function may do. A function without an entry, and a caller that is no function, may do
/// everything.
#[derive(Debug, Default)]
pub struct Permissions(Mutex<BTreeMap<String, Vec<Statement>>>);

impl Permissions {
    /// Replaces what `function` may do.
    pub fn set(&self, function: impl Into<String>, statements: Vec<Statement>) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.insert(function.into(), statements);
    }

    /// Replaces what `function` may do by the statements of an IAM policy: one statement, a list of
    /// them, or a document with `Statement`. Everything must have been resolved to text before.
    ///
    /// # Errors
    /// Says what is not understood: a `Deny`, an operator, a value that is not text.
    pub fn set_json(&self, function: impl Into<String>, policy: &Value) -> Result<(), String> {
        self.set(function, parse_statements(policy)?);
        Ok(())
    }

    /// Lets everybody do everything again.
    pub fn clear(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// The functions that have an entry.
    pub fn functions(&self) -> Vec<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).keys().cloned().collect()
    }

    /// Whether `function` may do `action` (with its service) on `resource`, no condition key being known.
    pub fn allows(&self, function: Option<&str>, action: &str, resource: &str) -> bool {
        self.grants(function, &Request::new(action, resource))
    }

    /// Whether `function` may do what is asked.
    pub fn grants(&self, function: Option<&str>, request: &Request) -> bool {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match function.and_then(|function| all.get(function)) {
            None => true,
            Some(statements) => statements.iter().any(|statement| statement.allows(request)),
        }
    }
}

impl Statement {
    /// Whether this statement alone allows what is asked.
    pub fn allows(&self, request: &Request) -> bool {
        let action = request.action.to_lowercase();
        self.actions.iter().any(|allowed| matches(&allowed.to_lowercase(), &action))
            && self.resources.iter().any(|allowed| matches(allowed, &request.resource))
            && self.conditions.iter().all(|condition| condition.holds(&request.context))
    }
}

impl Condition {
    fn holds(&self, context: &BTreeMap<String, String>) -> bool {
        let negative = matches!(self.operator, Operator::NotEquals | Operator::NotLike);
        let found = context.iter().find(|(key, _)| key.eq_ignore_ascii_case(&self.key));
        let Some((_, found)) = found else { return self.if_exists || negative };
        let any = self.values.iter().any(|value| match self.operator {
            Operator::Equals | Operator::NotEquals => value == found,
            Operator::Like | Operator::NotLike => matches(value, found),
        });
        any != negative
    }
}

/// Whether `text` matches `pattern`, in which `*` is any text and `?` is any one character.
pub fn matches(pattern: &str, text: &str) -> bool {
    let pattern: Vec<char> = pattern.chars().collect();
    let text: Vec<char> = text.chars().collect();
    let (mut p, mut t) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while t < text.len() {
        if pattern.get(p) == Some(&'*') {
            star = Some((p, t));
            p += 1;
        } else if pattern.get(p).is_some_and(|one| *one == '?' || Some(one) == text.get(t)) {
            p += 1;
            t += 1;
        } else if let Some((star_p, star_t)) = star {
            star = Some((star_p, star_t + 1));
            p = star_p + 1;
            t = star_t + 1;
        } else {
            return false;
        }
    }
    pattern.iter().skip(p).all(|one| *one == '*')
}

/// Reads the `Allow` statements of an IAM policy.
///
/// # Errors
/// Says what is not understood.
pub fn parse_statements(policy: &Value) -> Result<Vec<Statement>, String> {
    let statements = policy.get("Statement").unwrap_or(policy);
    match statements {
        Value::Array(list) => list.iter().map(parse_statement).collect(),
        one => Ok(vec![parse_statement(one)?]),
    }
}

fn parse_statement(statement: &Value) -> Result<Statement, String> {
    let Value::Object(fields) = statement else {
        return Err(format!("an IAM statement must be an object, found: {statement}"));
    };
    if fields.get("Effect").is_some_and(|effect| effect != "Allow") {
        return Err("only statements with Effect Allow are understood".into());
    }
    for field in fields.keys() {
        if !["Sid", "Effect", "Action", "Resource", "Condition"].contains(&field.as_str()) {
            return Err(format!("`{field}` of an IAM statement is not understood"));
        }
    }
    Ok(Statement {
        actions: texts(fields.get("Action"), "Action")?,
        resources: texts(fields.get("Resource"), "Resource")?,
        conditions: parse_conditions(fields.get("Condition"))?,
    })
}

fn parse_conditions(conditions: Option<&Value>) -> Result<Vec<Condition>, String> {
    let Some(conditions) = conditions else { return Ok(Vec::new()) };
    let Value::Object(operators) = conditions else {
        return Err(format!("Condition must be an object, found: {conditions}"));
    };
    let mut parsed = Vec::new();
    for (name, keys) in operators {
        // A key has one value here, so any of its values is that one.
        let name = name.strip_prefix("ForAnyValue:").unwrap_or(name);
        let (bare, if_exists) = match name.strip_suffix("IfExists") {
            Some(bare) => (bare, true),
            None => (name, false),
        };
        let operator = match bare {
            "StringEquals" | "Bool" => Operator::Equals,
            "StringLike" | "ArnLike" | "ArnEquals" => Operator::Like,
            "StringNotEquals" => Operator::NotEquals,
            "StringNotLike" | "ArnNotLike" => Operator::NotLike,
            _ => return Err(format!("condition operator `{name}` is not understood")),
        };
        let Value::Object(keys) = keys else {
            return Err(format!("`{name}` must hold an object, found: {keys}"));
        };
        for (key, values) in keys {
            let values = texts(Some(values), key)?;
            parsed.push(Condition { operator, if_exists, key: key.clone(), values });
        }
    }
    Ok(parsed)
}

fn texts(value: Option<&Value>, what: &str) -> Result<Vec<String>, String> {
    let one = |value: &Value| match value {
        Value::String(text) => Ok(text.clone()),
        Value::Bool(truth) => Ok(truth.to_string()),
        Value::Number(number) => Ok(number.to_string()),
        other => Err(format!("`{what}` must be text, found: {other}")),
    };
    match value {
        None => Err(format!("`{what}` is missing")),
        Some(Value::Array(list)) => list.iter().map(one).collect(),
        Some(value) => Ok(vec![one(value)?]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn allows(policy: &Value, request: &Request) -> bool {
        let permissions = Permissions::default();
        permissions.set_json("store", policy).unwrap();
        permissions.grants(Some("store"), request)
    }

    #[test]
    fn wildcards_match_any_text_and_one_character() {
        assert!(matches("ami-*", "ami-1"));
        assert!(matches("*-nightly-*", "a-nightly-b-nightly-c"));
        assert!(matches("a?c", "abc"));
        assert!(!matches("a?c", "ac"));
        assert!(!matches("abc", "abcd"));
        assert!(matches("*", ""));
    }

    #[test]
    fn a_function_without_an_entry_may_do_everything() {
        let permissions = Permissions::default();
        assert!(permissions.allows(Some("store"), "ec2:CopyImage", "*"));
        permissions.set("store", Vec::new());
        assert!(!permissions.allows(Some("store"), "ec2:CopyImage", "*"));
        assert!(permissions.allows(Some("other"), "ec2:CopyImage", "*"));
        assert!(permissions.allows(None, "ec2:CopyImage", "*"));
    }

    #[test]
    fn actions_and_resources_are_matched_with_wildcards() {
        let policy = json!({"Effect": "Allow", "Action": ["ec2:Describe*"],
            "Resource": "arn:aws:ec2:*::image/*"});
        let image = "arn:aws:ec2:us-east-1::image/ami-1";
        assert!(allows(&policy, &Request::new("ec2:DescribeImages", image)));
        assert!(!allows(&policy, &Request::new("ec2:CopyImage", image)));
        assert!(!allows(&policy, &Request::new("ec2:DescribeImages", "*")));
    }

    #[test]
    fn a_condition_on_a_tag_must_hold() {
        let policy = json!({"Action": "ec2:DeregisterImage", "Resource": "*",
            "Condition": {"StringEquals": {"aws:ResourceTag/ami-backup:managed": "true"}}});
        let ask = || Request::new("ec2:DeregisterImage", "arn:aws:ec2:r::image/ami-1");
        let ours = BTreeMap::from([("ami-backup:managed".to_owned(), "true".to_owned())]);
        assert!(!allows(&policy, &ask()));
        assert!(allows(&policy, &ask().resource_tags(&ours)));
    }

    #[test]
    fn any_value_of_a_key_is_its_one_value() {
        let policy = json!({"Action": "ec2:DescribeInstances", "Resource": "*",
            "Condition": {"ForAnyValue:StringEquals": {"aws:CalledVia": ["ec2-images.amazonaws.com"]}}});
        let ask = || Request::new("ec2:DescribeInstances", "*");
        assert!(!allows(&policy, &ask()));
        assert!(allows(&policy, &ask().with("aws:CalledVia", "ec2-images.amazonaws.com")));
    }

    #[test]
    fn what_is_not_understood_is_refused_and_not_passed_over() {
        let bad = json!({"Action": "a:b", "Resource": "*", "Condition": {"NumericLessThan": {"k": "1"}}});
        assert!(parse_statements(&bad).is_err());
        assert!(parse_statements(&json!({"Effect": "Deny", "Action": "*", "Resource": "*"})).is_err());
        assert!(parse_statements(&json!({"Action": "*", "Resource": {"Fn::Sub": "x"}})).is_err());
    }
}
