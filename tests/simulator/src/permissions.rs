//! Owns who may do what: IAM statements of roles, of boundaries, of the organization and of buckets, and whether together
//! they allow an action.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde_json::Value;

use crate::edge::Caller;

/// Whether a statement allows or denies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// What it says is allowed, unless something denies it.
    Allow,
    /// What it says is denied, whatever allows it.
    Deny,
}

/// One statement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Statement {
    /// Whether it allows or denies.
    pub effect: Effect,
    /// Of a bucket policy: accounts and ARNs that it is about, or `*`. Of another policy, nothing.
    pub principals: Vec<String>,
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
    /// Which of the values of the request must match.
    pub quantifier: Quantifier,
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
    /// `StringEquals` and `Bool`.
    Equals,
    /// `StringLike`, `ArnLike` and `ArnEquals`.
    Like,
    /// `StringNotEquals`.
    NotEquals,
    /// `StringNotLike`, `ArnNotLike` and `ArnNotEquals`.
    NotLike,
    /// `Null`: whether the request does not have the key.
    Null,
}

/// Of a key with several values: which of them must match.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Quantifier {
    /// The key has one value.
    One,
    /// `ForAnyValue:` one of them; a key that is missing has none.
    AnyValue,
    /// `ForAllValues:` each of them; a key that is missing has none that does not.
    AllValues,
}

/// What a call asks to be allowed.
#[derive(Debug, Clone, Default)]
pub struct Request {
    /// Action with its service, e.g. `ec2:CopyImage`.
    pub action: String,
    /// ARN of the resource, or `*`.
    pub resource: String,
    /// Condition keys with their values, e.g. `aws:ResourceTag/Team`.
    pub context: BTreeMap<String, Vec<String>>,
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
        self.tag_keys(tags.keys().cloned())
    }

    /// Adds the keys of the tags that the request writes or removes.
    #[must_use]
    pub fn tag_keys(mut self, keys: impl IntoIterator<Item = String>) -> Self {
        let keys: Vec<String> = keys.into_iter().collect();
        if !keys.is_empty() {
            self.context.insert("aws:TagKeys".into(), keys);
        }
        self
    }

    /// Adds any other condition key.
    #[must_use]
    pub fn with(mut self, key: &str, value: impl Into<String>) -> Self {
        self.context.insert(key.into(), vec![value.into()]);
        self
    }

    fn add_tags(&mut self, prefix: &str, tags: &BTreeMap<String, String>) {
        for (key, value) in tags {
            self.context.insert(format!("{prefix}{key}"), vec![value.clone()]);
        }
    }
}

/// Who may do what. A function without a policy of its own, and a caller that is no function, may do everything that
/// nothing denies.
#[derive(Debug, Default)]
pub struct Permissions(Mutex<Policies>);

#[derive(Debug, Default)]
struct Policies {
    roles: BTreeMap<String, Vec<Statement>>,
    boundaries: BTreeMap<String, Vec<Statement>>,
    organization: Vec<Statement>,
    buckets: BTreeMap<String, (Value, Vec<Statement>)>,
}

impl Permissions {
    /// Replaces what `function` may do.
    pub fn set(&self, function: impl Into<String>, statements: Vec<Statement>) {
        self.policies().roles.insert(function.into(), statements);
    }

    /// Replaces what `function` may do by the statements of an IAM policy: one statement, a list of
    /// them, or a document with `Statement`. Everything must have been resolved to text before.
    ///
    /// # Errors
    /// Says what is not understood: an operator, a value that is not text.
    pub fn set_json(&self, function: impl Into<String>, policy: &Value) -> Result<(), String> {
        self.set(function, parse_statements(policy)?);
        Ok(())
    }

    /// Replaces the boundary of `function`: besides its own policy, this has to allow what it does.
    ///
    /// # Errors
    /// Says what is not understood.
    pub fn set_boundary(&self, function: impl Into<String>, policy: &Value) -> Result<(), String> {
        self.policies().boundaries.insert(function.into(), parse_statements(policy)?);
        Ok(())
    }

    /// Replaces what the organization denies to everybody in its accounts, by a service control policy beside the one that
    /// allows all.
    ///
    /// # Errors
    /// Says what is not understood.
    pub fn set_organization(&self, policy: &Value) -> Result<(), String> {
        self.policies().organization = parse_statements(policy)?;
        Ok(())
    }

    /// Replaces the policy of a bucket.
    ///
    /// # Errors
    /// Says what is not understood.
    pub fn set_bucket(&self, bucket: impl Into<String>, policy: &Value) -> Result<(), String> {
        let statements = parse_statements(policy)?;
        if statements.iter().any(|statement| statement.principals.is_empty()) {
            return Err("a statement of a bucket policy needs a Principal".into());
        }
        self.policies().buckets.insert(bucket.into(), (policy.clone(), statements));
        Ok(())
    }

    /// The policy of a bucket, as it was set.
    pub fn bucket(&self, bucket: &str) -> Option<Value> {
        self.policies().buckets.get(bucket).map(|(policy, _)| policy.clone())
    }

    /// Takes the policy of a bucket away.
    pub fn remove_bucket(&self, bucket: &str) {
        self.policies().buckets.remove(bucket);
    }

    /// Lets everybody do everything again.
    pub fn clear(&self) {
        *self.policies() = Policies::default();
    }

    /// The functions that have a policy of their own.
    pub fn functions(&self) -> Vec<String> {
        self.policies().roles.keys().cloned().collect()
    }

    /// Whether `caller` may do `action` (with its service) on `resource`, no other condition key being known.
    pub fn allows(&self, caller: &Caller, action: &str, resource: &str) -> bool {
        self.grants(caller, &Request::new(action, resource))
    }

    /// Whether `caller` may do what is asked: nothing denies it, and every policy that has to allow it does.
    pub fn grants(&self, caller: &Caller, request: &Request) -> bool {
        let request = known(caller, request);
        let policies = self.policies();
        let function = caller.function.as_deref().unwrap_or_default();
        let of_caller = [policies.roles.get(function), policies.boundaries.get(function)];
        let bucket = bucket_of(&request.resource).and_then(|name| policies.buckets.get(name));
        let on_bucket = bucket.into_iter().flat_map(|(_, statements)| statements).filter(|one| one.concerns(caller));
        let everywhere = of_caller.iter().copied().flatten().flatten().chain(&policies.organization);
        if everywhere.chain(on_bucket).any(|one| one.effect == Effect::Deny && one.matches(&request)) {
            return false;
        }
        let owner = request.context.get("aws:ResourceAccount").and_then(|values| values.first());
        if owner.is_some_and(|owner| *owner != caller.account) && !shares(&policies, caller, &request) {
            return false;
        }
        of_caller.into_iter().flatten().all(|statements| statements.iter().any(|one| one.allows(&request)))
    }

    fn policies(&self) -> MutexGuard<'_, Policies> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether the policy of a bucket allows what is asked: whose bucket is another account's needs that too.
fn shares(policies: &Policies, caller: &Caller, request: &Request) -> bool {
    let bucket = bucket_of(&request.resource).and_then(|name| policies.buckets.get(name));
    bucket.is_some_and(|(_, statements)| statements.iter().any(|one| one.concerns(caller) && one.allows(request)))
}

/// A request with what AWS knows of who asks.
fn known(caller: &Caller, request: &Request) -> Request {
    let request = request.clone();
    request.with("aws:PrincipalArn", caller.principal()).with("aws:PrincipalAccount", &caller.account)
}

/// The bucket in the ARN of a bucket or of an object.
fn bucket_of(resource: &str) -> Option<&str> {
    resource.strip_prefix("arn:aws:s3:::")?.split('/').next()
}

impl Statement {
    /// Whether this statement alone allows what is asked.
    pub fn allows(&self, request: &Request) -> bool {
        self.effect == Effect::Allow && self.matches(request)
    }

    fn matches(&self, request: &Request) -> bool {
        let action = request.action.to_lowercase();
        self.actions.iter().any(|named| matches(&named.to_lowercase(), &action))
            && self.resources.iter().any(|named| matches(named, &request.resource))
            && self.conditions.iter().all(|condition| condition.holds(&request.context))
    }

    /// Whether a statement of a bucket policy is about this caller: a role counts also for its sessions, an account for
    /// everybody in it.
    fn concerns(&self, caller: &Caller) -> bool {
        let root = format!("arn:aws:iam::{}:root", caller.account);
        let names = ["*".to_owned(), caller.account.clone(), root, caller.principal(), caller.arn()];
        self.principals.iter().any(|principal| names.contains(principal))
    }
}

impl Condition {
    fn holds(&self, context: &BTreeMap<String, Vec<String>>) -> bool {
        let found = context.iter().find(|(key, _)| key.eq_ignore_ascii_case(&self.key)).map(|(_, values)| values);
        if self.operator == Operator::Null {
            return self.values.iter().any(|value| (value == "true") == found.is_none());
        }
        let negative = matches!(self.operator, Operator::NotEquals | Operator::NotLike);
        let Some(found) = found else {
            return match self.quantifier {
                Quantifier::One => self.if_exists || negative,
                Quantifier::AnyValue => self.if_exists,
                Quantifier::AllValues => true,
            };
        };
        let hit = |found: &String| {
            let any = self.values.iter().any(|value| match self.operator {
                Operator::Like | Operator::NotLike => matches(value, found),
                Operator::Equals | Operator::NotEquals | Operator::Null => value == found,
            });
            any != negative
        };
        match self.quantifier {
            Quantifier::One | Quantifier::AnyValue => found.iter().any(hit),
            Quantifier::AllValues => found.iter().all(hit),
        }
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

/// Reads the statements of an IAM policy.
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
    let effect = match fields.get("Effect").and_then(Value::as_str) {
        Some("Allow") => Effect::Allow,
        Some("Deny") => Effect::Deny,
        other => return Err(format!("Effect must be Allow or Deny, found: {other:?}")),
    };
    for field in fields.keys() {
        if !["Sid", "Effect", "Principal", "Action", "Resource", "Condition"].contains(&field.as_str()) {
            return Err(format!("`{field}` of an IAM statement is not understood"));
        }
    }
    Ok(Statement {
        effect,
        principals: parse_principals(fields.get("Principal"))?,
        actions: texts(fields.get("Action"), "Action")?,
        resources: texts(fields.get("Resource"), "Resource")?,
        conditions: parse_conditions(fields.get("Condition"))?,
    })
}

fn parse_principals(principal: Option<&Value>) -> Result<Vec<String>, String> {
    match principal {
        None => Ok(Vec::new()),
        Some(Value::Object(kinds)) if kinds.keys().any(|kind| kind != "AWS") => {
            Err("only principals of the kind AWS are understood".into())
        }
        Some(Value::Object(kinds)) => texts(kinds.get("AWS"), "Principal"),
        Some(everybody) => texts(Some(everybody), "Principal"),
    }
}

fn parse_conditions(conditions: Option<&Value>) -> Result<Vec<Condition>, String> {
    let Some(conditions) = conditions else { return Ok(Vec::new()) };
    let Value::Object(operators) = conditions else {
        return Err(format!("Condition must be an object, found: {conditions}"));
    };
    let mut parsed = Vec::new();
    for (name, keys) in operators {
        let (quantifier, bare) = match name.split_once(':') {
            Some(("ForAnyValue", bare)) => (Quantifier::AnyValue, bare),
            Some(("ForAllValues", bare)) => (Quantifier::AllValues, bare),
            _ => (Quantifier::One, name.as_str()),
        };
        let (bare, if_exists) = match bare.strip_suffix("IfExists") {
            Some(bare) => (bare, true),
            None => (bare, false),
        };
        let operator = match bare {
            "StringEquals" | "Bool" => Operator::Equals,
            "StringLike" | "ArnLike" | "ArnEquals" => Operator::Like,
            "StringNotEquals" => Operator::NotEquals,
            "StringNotLike" | "ArnNotLike" | "ArnNotEquals" => Operator::NotLike,
            "Null" => Operator::Null,
            _ => return Err(format!("condition operator `{name}` is not understood")),
        };
        let Value::Object(keys) = keys else {
            return Err(format!("`{name}` must hold an object, found: {keys}"));
        };
        for (key, values) in keys {
            let values = texts(Some(values), key)?;
            parsed.push(Condition { operator, quantifier, if_exists, key: key.clone(), values });
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

    const OWNER: &str = "111122223333";

    fn caller(function: Option<&str>) -> Caller {
        Caller::of_account(OWNER, function)
    }

    fn allows(policy: &Value, request: &Request) -> bool {
        let permissions = Permissions::default();
        permissions.set_json("store", policy).unwrap();
        permissions.grants(&caller(Some("store")), request)
    }

    fn allow(action: &str, condition: Value) -> Value {
        json!({"Effect": "Allow", "Action": action, "Resource": "*", "Condition": condition})
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
    fn a_function_without_a_policy_may_do_everything() {
        let permissions = Permissions::default();
        let may = |function| permissions.allows(&caller(function), "ec2:CopyImage", "*");
        assert!(may(Some("store")));
        permissions.set("store", Vec::new());
        assert!(!may(Some("store")));
        assert!(may(Some("other")));
        assert!(may(None));
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
        let policy =
            allow("ec2:DeregisterImage", json!({"StringEquals": {"aws:ResourceTag/ami-backup:managed": "true"}}));
        let ask = || Request::new("ec2:DeregisterImage", "arn:aws:ec2:r::image/ami-1");
        let ours = BTreeMap::from([("ami-backup:managed".to_owned(), "true".to_owned())]);
        assert!(!allows(&policy, &ask()));
        assert!(allows(&policy, &ask().resource_tags(&ours)));
    }

    #[test]
    fn of_several_values_any_or_all_have_to_match() {
        let any = allow("ec2:CreateTags", json!({"ForAnyValue:StringLike": {"aws:TagKeys": "ours:*"}}));
        let all = allow("ec2:CreateTags", json!({"ForAllValues:StringLike": {"aws:TagKeys": "ours:*"}}));
        for (keys, for_any, for_all) in [
            (vec!["ours:a", "ours:b"], true, true),
            (vec!["theirs", "ours:b"], true, false),
            (vec!["theirs"], false, false),
            (vec![], false, true),
        ] {
            let ask = Request::new("ec2:CreateTags", "*").tag_keys(keys.iter().map(|key| (*key).to_owned()));
            assert_eq!((allows(&any, &ask), allows(&all, &ask)), (for_any, for_all), "{keys:?}");
        }
    }

    #[test]
    fn a_missing_key_is_null_and_is_not_equal() {
        let ask = || Request::new("ec2:DeleteTags", "*");
        let here = ask().tag_keys(["a".to_owned()]);
        let null = |value: &str| allow("ec2:DeleteTags", json!({"Null": {"aws:TagKeys": value}}));
        assert!(allows(&null("true"), &ask()) && !allows(&null("true"), &here));
        assert!(!allows(&null("false"), &ask()) && allows(&null("false"), &here));
        let unlike = allow("ec2:DeleteTags", json!({"StringNotEquals": {"ec2:CreateAction": "CopyImage"}}));
        assert!(allows(&unlike, &ask()));
        assert!(!allows(&unlike, &ask().with("ec2:CreateAction", "CopyImage")));
    }

    #[test]
    fn what_is_denied_is_not_allowed_by_anything() {
        let deny = json!({"Effect": "Deny", "Action": "ec2:*", "Resource": "*",
            "Condition": {"ArnNotLike": {"aws:PrincipalArn": "arn:aws:iam::111122223333:role/ours"}}});
        let permissions = Permissions::default();
        let may = |function: &str| permissions.allows(&caller(Some(function)), "ec2:CopyImage", "*");
        permissions.set_organization(&deny).unwrap();
        assert!(may("ours") && !may("other"));
        assert!(!permissions.allows(&caller(None), "ec2:CopyImage", "*"));
        permissions.clear();
        permissions.set_json("other", &json!([{"Effect": "Allow", "Action": "*", "Resource": "*"}, deny])).unwrap();
        assert!(may("ours") && !may("other"));
    }

    #[test]
    fn a_boundary_has_to_allow_what_a_policy_allows() {
        let permissions = Permissions::default();
        let may = |action: &str| permissions.allows(&caller(Some("store")), action, "*");
        permissions.set_boundary("store", &allow("ec2:*", json!({}))).unwrap();
        assert!(may("ec2:CopyImage") && !may("s3:GetObject"));
        permissions.set_json("store", &allow("s3:*", json!({}))).unwrap();
        assert!(!may("ec2:CopyImage") && !may("s3:GetObject"));
    }

    #[test]
    fn the_policy_of_a_bucket_denies_to_everybody_in_it_and_shares_with_other_accounts() {
        let permissions = Permissions::default();
        let papers = "arn:aws:s3:::backups/records/*";
        let policy = json!({"Version": "2012-10-17", "Statement": [
            {"Effect": "Deny", "Principal": "*", "Action": "s3:PutObject", "Resource": papers,
                "Condition": {"ArnNotLike": {"aws:PrincipalArn": "arn:aws:iam::111122223333:role/ours"}}},
            {"Effect": "Allow", "Principal": {"AWS": "444455556666"}, "Action": "s3:GetObject", "Resource": papers},
        ]});
        permissions.set_bucket("backups", &policy).unwrap();
        let put = |function, bucket: &str| {
            permissions.allows(&caller(function), "s3:PutObject", &format!("arn:aws:s3:::{bucket}/records/a"))
        };
        assert!(put(Some("ours"), "backups") && !put(Some("other"), "backups") && !put(None, "backups"));
        assert!(put(None, "elsewhere"));
        let stranger = Caller::of_account("444455556666", None);
        let owned = |action| Request::new(action, "arn:aws:s3:::backups/records/a").with("aws:ResourceAccount", OWNER);
        assert!(permissions.grants(&stranger, &owned("s3:GetObject")));
        assert!(!permissions.grants(&stranger, &owned("s3:DeleteObject")));
        assert!(permissions.grants(&caller(None), &owned("s3:DeleteObject")));
        assert_eq!(permissions.bucket("backups"), Some(policy));
        permissions.remove_bucket("backups");
        assert!(put(None, "backups"));
    }

    #[test]
    fn what_is_not_understood_is_refused_and_not_passed_over() {
        assert!(parse_statements(&allow("a:b", json!({"NumericLessThan": {"k": "1"}}))).is_err());
        for bad in [
            json!({"Action": "*", "Resource": "*"}),
            json!({"Effect": "Perhaps", "Action": "*", "Resource": "*"}),
            json!({"Effect": "Allow", "NotAction": "*", "Resource": "*"}),
            json!({"Effect": "Allow", "Action": "*", "Resource": {"Fn::Sub": "x"}}),
            json!({"Effect": "Allow", "Principal": {"Service": "x"}, "Action": "*", "Resource": "*"}),
        ] {
            assert!(parse_statements(&bad).is_err(), "{bad}");
        }
        let nobody = json!({"Effect": "Allow", "Action": "*", "Resource": "*"});
        assert!(Permissions::default().set_bucket("b", &nobody).is_err());
    }
}
