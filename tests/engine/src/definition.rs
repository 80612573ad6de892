//! Owns reading a machine: every field has a meaning here, or the machine is refused.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use crate::{
    expression::{Expression, Template},
    retry::Retrier,
};

/// A machine that this engine cannot run, and why.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{place}: {reason}")]
pub struct Unsupported {
    /// Where in the machine.
    pub place: String,
    /// What is not known or not right.
    pub reason: String,
}

/// A machine.
#[derive(Debug)]
pub struct Machine {
    /// Time that an execution may take.
    pub timeout_seconds: Option<u64>,
    /// Its states.
    pub states: Flow,
}

/// States that start and end together.
#[derive(Debug)]
pub struct Flow {
    /// The first one.
    pub start_at: String,
    /// By name.
    pub states: BTreeMap<String, State>,
}

/// What happens after a state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    /// That state.
    State(String),
    /// The flow ends well.
    End,
}

/// A state.
#[derive(Debug)]
pub struct State {
    /// What it does.
    pub kind: Kind,
    /// What it hands on; absent: what the kind makes.
    pub output: Option<Template>,
    /// Variables that it sets.
    pub assign: Vec<(String, Template)>,
    /// Errors after which it is tried again.
    pub retry: Vec<Retrier>,
    /// Errors after which another state goes on.
    pub catch: Vec<Catcher>,
}

/// One entry of a `Catch`.
#[derive(Debug)]
pub struct Catcher {
    /// Names that it matches.
    pub errors: Vec<String>,
    /// What it hands on; absent: the error.
    pub output: Option<Template>,
    /// Variables that it sets.
    pub assign: Vec<(String, Template)>,
    /// The state that goes on.
    pub next: String,
}

/// The kinds of states.
#[derive(Debug)]
pub enum Kind {
    /// Calls a Lambda function.
    Task {
        /// How.
        call: Call,
        /// What follows.
        next: Next,
    },
    /// Makes its output.
    Pass {
        /// What follows.
        next: Next,
    },
    /// Waits.
    Wait {
        /// A whole number of seconds.
        seconds: Template,
        /// What follows.
        next: Next,
    },
    /// Chooses what follows.
    Choice {
        /// The first that holds is taken.
        rules: Vec<(Expression, String)>,
        /// If none holds.
        default: Option<String>,
    },
    /// Runs flows side by side.
    Parallel {
        /// The flows.
        branches: Vec<Flow>,
        /// What follows.
        next: Next,
    },
    /// Runs a flow for each item.
    Map(Box<Mapping>),
    /// Ends the flow well.
    Succeed,
    /// Ends the execution badly.
    Fail {
        /// Its error.
        error: Template,
        /// Its cause.
        cause: Template,
    },
}

/// How a Task calls its function.
#[derive(Debug)]
pub struct Call {
    /// `FunctionName` and `Payload`.
    pub arguments: Template,
    /// Whether the Task waits for its token to be answered, once the function has.
    pub waits_for_token: bool,
    /// Time that a try may take, that wait included.
    pub timeout_seconds: Option<u64>,
}

/// A Map.
#[derive(Debug)]
pub struct Mapping {
    /// Where the items come from.
    pub items: Items,
    /// Whether each item has an execution of its own.
    pub distributed: bool,
    /// How many at a time; 0: no limit of its own.
    pub max_concurrency: usize,
    /// Percentage of failed items up to which the Map succeeds.
    pub tolerated_failure_percentage: Option<f64>,
    /// Number of failed items up to which the Map succeeds.
    pub tolerated_failure_count: Option<usize>,
    /// The flow of one item.
    pub flow: Flow,
    /// What follows.
    pub next: Next,
}

/// Where the items of a Map come from.
#[derive(Debug)]
pub enum Items {
    /// An expression.
    Here(Template),
    /// A JSON array in S3.
    Object {
        /// Bucket.
        bucket: Template,
        /// Key.
        key: Template,
    },
}

/// Fills in what stands between `${` and `}`, as `DefinitionSubstitutions` does when a machine is
/// deployed.
///
/// # Errors
/// The name that has no meaning.
pub fn substitute(text: &str, meaning: impl Fn(&str) -> Option<String>) -> Result<String, Unsupported> {
    let mut parts = text.split("${");
    let mut whole = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let wrong = |reason: String| Unsupported { place: "the machine".into(), reason };
        let (name, rest) = part.split_once('}').ok_or_else(|| wrong("`${` is never closed".into()))?;
        whole.push_str(&meaning(name).ok_or_else(|| wrong(format!("${{{name}}} has no meaning")))?);
        whole.push_str(rest);
    }
    Ok(whole)
}

impl Machine {
    /// Reads the text of a machine, with everything substituted.
    ///
    /// # Errors
    /// [`Unsupported`] with the place of what is not known.
    pub fn parse(text: &str) -> Result<Self, Unsupported> {
        let value: Value = serde_json::from_str(text)
            .map_err(|error| Unsupported { place: "the machine".into(), reason: error.to_string() })?;
        let mut fields = Fields::of(&value, "the machine")?;
        fields.skip_comment();
        let language = fields.take("QueryLanguage").and_then(Value::as_str);
        if language != Some("JSONata") {
            return Err(fields.wrong("QueryLanguage is not JSONata"));
        }
        let timeout_seconds = fields.number("TimeoutSeconds")?;
        let states = Flow::read(&mut fields, "")?;
        fields.end()?;
        Ok(Self { timeout_seconds, states })
    }
}

impl Flow {
    fn read(fields: &mut Fields<'_>, place: &str) -> Result<Self, Unsupported> {
        let start_at = fields.text("StartAt")?;
        let states = fields.take("States").and_then(Value::as_object).ok_or_else(|| fields.wrong("has no States"))?;
        let mut flow = Self { start_at, states: BTreeMap::new() };
        for (name, value) in states {
            let place = if place.is_empty() { name.clone() } else { format!("{place} / {name}") };
            flow.states.insert(name.clone(), State::read(value, &place)?);
        }
        flow.check(fields)?;
        Ok(flow)
    }

    /// Every state that is named is there.
    fn check(&self, fields: &Fields<'_>) -> Result<(), Unsupported> {
        let named = self.states.values().flat_map(State::named).chain([self.start_at.as_str()]);
        match named.into_iter().find(|name| !self.states.contains_key(*name)) {
            Some(name) => Err(fields.wrong(format!("there is no state {name}"))),
            None => Ok(()),
        }
    }
}

impl State {
    fn read(value: &Value, place: &str) -> Result<Self, Unsupported> {
        let mut fields = Fields::of(value, place)?;
        fields.skip_comment();
        if fields.take("QueryLanguage").is_some_and(|language| language != "JSONata") {
            return Err(fields.wrong("QueryLanguage is not JSONata"));
        }
        let kind = fields.text("Type")?;
        let kind = match kind.as_str() {
            "Task" => task(&mut fields)?,
            "Pass" => Kind::Pass { next: fields.next()? },
            "Wait" => Kind::Wait { seconds: fields.needed("Seconds")?, next: fields.next()? },
            "Choice" => choice(&mut fields)?,
            "Parallel" => parallel(&mut fields, place)?,
            "Map" => Kind::Map(Box::new(Mapping::read(&mut fields, place)?)),
            "Succeed" => Kind::Succeed,
            "Fail" => Kind::Fail { error: fields.needed("Error")?, cause: fields.needed("Cause")? },
            other => return Err(fields.wrong(format!("the type {other} is not known"))),
        };
        let mut state = Self { kind, output: None, assign: Vec::new(), retry: Vec::new(), catch: Vec::new() };
        if !matches!(state.kind, Kind::Fail { .. } | Kind::Choice { .. }) {
            state.output = fields.template("Output")?;
        }
        if !matches!(state.kind, Kind::Fail { .. } | Kind::Choice { .. } | Kind::Succeed) {
            state.assign = fields.assign()?;
        }
        if matches!(state.kind, Kind::Task { .. } | Kind::Parallel { .. } | Kind::Map(_)) {
            state.retry = fields.entries("Retry", retrier)?;
            state.catch = fields.entries("Catch", catcher)?;
        }
        fields.end()?;
        Ok(state)
    }

    /// The states that may follow.
    fn named(&self) -> Vec<&str> {
        let mut named: Vec<&str> = self.catch.iter().map(|catcher| catcher.next.as_str()).collect();
        match &self.kind {
            Kind::Choice { rules, default } => {
                named.extend(rules.iter().map(|(_, next)| next.as_str()).chain(default.as_deref()));
            }
            Kind::Task { next, .. } | Kind::Pass { next } | Kind::Wait { next, .. } | Kind::Parallel { next, .. } => {
                named.extend(next.state());
            }
            Kind::Map(mapping) => named.extend(mapping.next.state()),
            Kind::Succeed | Kind::Fail { .. } => {}
        }
        named
    }
}

impl Next {
    fn state(&self) -> Option<&str> {
        match self {
            Self::State(name) => Some(name),
            Self::End => None,
        }
    }
}

fn task(fields: &mut Fields<'_>) -> Result<Kind, Unsupported> {
    let resource = fields.text("Resource")?;
    let waits_for_token = match resource.split_once(":states:::") {
        Some((_, "lambda:invoke")) => false,
        Some((_, "lambda:invoke.waitForTaskToken")) => true,
        _ => return Err(fields.wrong(format!("the resource {resource} is not known"))),
    };
    let arguments = fields.take("Arguments").ok_or_else(|| fields.wrong("has no Arguments"))?;
    let mut inner = Fields::of(arguments, &fields.place)?;
    inner.take("FunctionName").ok_or_else(|| fields.wrong("has no FunctionName"))?;
    inner.take("Payload");
    inner.end()?;
    let arguments = Template::parse(arguments).map_err(|reason| fields.wrong(reason))?;
    let call = Call { arguments, waits_for_token, timeout_seconds: fields.number("TimeoutSeconds")? };
    Ok(Kind::Task { call, next: fields.next()? })
}

fn choice(fields: &mut Fields<'_>) -> Result<Kind, Unsupported> {
    let rules = fields.entries("Choices", |rule| {
        rule.skip_comment();
        match rule.needed("Condition")? {
            Template::Expression(condition) => Ok((condition, rule.text("Next")?)),
            _ => Err(rule.wrong("Condition is no expression")),
        }
    })?;
    let default = fields.take("Default").and_then(Value::as_str).map(str::to_owned);
    if rules.is_empty() { Err(fields.wrong("has no Choices")) } else { Ok(Kind::Choice { rules, default }) }
}

fn parallel(fields: &mut Fields<'_>, place: &str) -> Result<Kind, Unsupported> {
    let branches = fields.entries("Branches", |branch| {
        branch.skip_comment();
        Flow::read(branch, place)
    })?;
    if branches.is_empty() {
        return Err(fields.wrong("has no Branches"));
    }
    Ok(Kind::Parallel { branches, next: fields.next()? })
}

impl Mapping {
    fn read(fields: &mut Fields<'_>, place: &str) -> Result<Self, Unsupported> {
        let processor = fields.take("ItemProcessor").ok_or_else(|| fields.wrong("has no ItemProcessor"))?;
        let mut processor = Fields::of(processor, place)?;
        processor.skip_comment();
        let distributed = mode(&mut processor)?;
        let flow = Flow::read(&mut processor, place)?;
        processor.end()?;
        let items = match (fields.template("Items")?, fields.take("ItemReader")) {
            (Some(items), None) => Items::Here(items),
            (None, Some(reader)) if distributed => reader_of(reader, place)?,
            _ => return Err(fields.wrong("has neither Items nor, where it is distributed, an ItemReader")),
        };
        let percentage = fields.percentage("ToleratedFailurePercentage")?;
        let count = fields.number("ToleratedFailureCount")?;
        if !distributed && (percentage.is_some() || count.is_some()) {
            return Err(fields.wrong("tolerates failures and is not distributed"));
        }
        let whole = |number: u64| usize::try_from(number).unwrap_or(usize::MAX);
        Ok(Self {
            items,
            distributed,
            max_concurrency: fields.number("MaxConcurrency")?.map_or(0, whole),
            tolerated_failure_percentage: percentage,
            tolerated_failure_count: count.map(whole),
            flow,
            next: fields.next()?,
        })
    }
}

/// Whether the items have executions of their own.
fn mode(processor: &mut Fields<'_>) -> Result<bool, Unsupported> {
    let Some(config) = processor.take("ProcessorConfig") else { return Ok(false) };
    let mut config = Fields::of(config, &processor.place)?;
    let mode = config.text("Mode")?;
    let execution = config.take("ExecutionType").and_then(Value::as_str);
    config.end()?;
    match (mode.as_str(), execution) {
        ("INLINE", None) => Ok(false),
        ("DISTRIBUTED", Some("STANDARD")) => Ok(true),
        other => Err(config.wrong(format!("the processor {other:?} is not known"))),
    }
}

fn reader_of(reader: &Value, place: &str) -> Result<Items, Unsupported> {
    let mut fields = Fields::of(reader, place)?;
    let resource = fields.text("Resource")?;
    let config = fields.take("ReaderConfig").ok_or_else(|| fields.wrong("has no ReaderConfig"))?;
    let mut config = Fields::of(config, place)?;
    let kind = config.text("InputType")?;
    config.end()?;
    if !resource.ends_with(":states:::s3:getObject") || kind != "JSON" {
        return Err(fields.wrong(format!("the reader {resource} of {kind} is not known")));
    }
    let arguments = fields.take("Arguments").ok_or_else(|| fields.wrong("has no Arguments"))?;
    let mut arguments = Fields::of(arguments, place)?;
    let (bucket, key) = (arguments.needed("Bucket")?, arguments.needed("Key")?);
    arguments.end()?;
    fields.end()?;
    Ok(Items::Object { bucket, key })
}

fn retrier(fields: &mut Fields<'_>) -> Result<Retrier, Unsupported> {
    let jitter = fields.take("JitterStrategy").and_then(Value::as_str).unwrap_or("NONE");
    if !["NONE", "FULL"].contains(&jitter) {
        return Err(fields.wrong(format!("the jitter {jitter} is not known")));
    }
    let backoff_rate = fields.take("BackoffRate").map_or(Some(2.0), Value::as_f64).filter(|rate| *rate >= 1.0);
    let attempts = fields.number("MaxAttempts")?.unwrap_or(3);
    Ok(Retrier {
        errors: fields.names("ErrorEquals")?,
        interval_seconds: fields.number("IntervalSeconds")?.unwrap_or(1),
        max_attempts: u32::try_from(attempts).map_err(|_| fields.wrong("MaxAttempts is too large"))?,
        backoff_rate: backoff_rate.ok_or_else(|| fields.wrong("BackoffRate is no number of at least 1"))?,
        max_delay_seconds: fields.number("MaxDelaySeconds")?,
        full_jitter: jitter == "FULL",
    })
}

fn catcher(fields: &mut Fields<'_>) -> Result<Catcher, Unsupported> {
    Ok(Catcher {
        errors: fields.names("ErrorEquals")?,
        output: fields.template("Output")?,
        assign: fields.assign()?,
        next: fields.text("Next")?,
    })
}

/// The fields of an object that have not been read yet.
struct Fields<'a> {
    place: String,
    rest: Map<String, Value>,
    all: &'a Map<String, Value>,
}

impl<'a> Fields<'a> {
    fn of(value: &'a Value, place: &str) -> Result<Self, Unsupported> {
        let wrong = || Unsupported { place: place.to_owned(), reason: format!("{value} is no object") };
        let all = value.as_object().ok_or_else(wrong)?;
        Ok(Self { place: place.to_owned(), rest: all.clone(), all })
    }

    fn wrong(&self, reason: impl Into<String>) -> Unsupported {
        Unsupported { place: self.place.clone(), reason: reason.into() }
    }

    fn take(&mut self, name: &str) -> Option<&'a Value> {
        self.rest.remove(name);
        self.all.get(name)
    }

    fn skip_comment(&mut self) {
        self.take("Comment");
    }

    fn text(&mut self, name: &str) -> Result<String, Unsupported> {
        let text = self.take(name).and_then(Value::as_str).map(str::to_owned);
        text.ok_or_else(|| self.wrong(format!("{name} is no text")))
    }

    fn number(&mut self, name: &str) -> Result<Option<u64>, Unsupported> {
        let Some(value) = self.take(name) else { return Ok(None) };
        value.as_u64().map(Some).ok_or_else(|| self.wrong(format!("{name} is no whole number")))
    }

    fn percentage(&mut self, name: &str) -> Result<Option<f64>, Unsupported> {
        let Some(value) = self.take(name) else { return Ok(None) };
        let percentage = value.as_f64().filter(|percentage| (0.0..=100.0).contains(percentage));
        percentage.map(Some).ok_or_else(|| self.wrong(format!("{name} is no number from 0 to 100")))
    }

    fn names(&mut self, name: &str) -> Result<Vec<String>, Unsupported> {
        let names = self.take(name).and_then(Value::as_array).filter(|names| !names.is_empty());
        let names = names.and_then(|names| names.iter().map(|one| one.as_str().map(str::to_owned)).collect());
        names.ok_or_else(|| self.wrong(format!("{name} is no list of names")))
    }

    fn template(&mut self, name: &str) -> Result<Option<Template>, Unsupported> {
        let template = self.take(name).map(Template::parse).transpose();
        template.map_err(|reason| self.wrong(format!("{name}: {reason}")))
    }

    fn needed(&mut self, name: &str) -> Result<Template, Unsupported> {
        self.template(name)?.ok_or_else(|| self.wrong(format!("has no {name}")))
    }

    fn assign(&mut self) -> Result<Vec<(String, Template)>, Unsupported> {
        match self.template("Assign")? {
            None => Ok(Vec::new()),
            Some(Template::Object(variables)) => Ok(variables),
            Some(_) => Err(self.wrong("Assign is no object")),
        }
    }

    fn next(&mut self) -> Result<Next, Unsupported> {
        match (self.take("Next").and_then(Value::as_str), self.take("End").and_then(Value::as_bool)) {
            (Some(name), None) => Ok(Next::State(name.to_owned())),
            (None, Some(true)) => Ok(Next::End),
            _ => Err(self.wrong("has neither Next nor End")),
        }
    }

    fn entries<T>(
        &mut self,
        name: &str,
        read: impl Fn(&mut Fields<'_>) -> Result<T, Unsupported>,
    ) -> Result<Vec<T>, Unsupported> {
        let Some(value) = self.take(name) else { return Ok(Vec::new()) };
        let entries = value.as_array().ok_or_else(|| self.wrong(format!("{name} is no list")))?;
        let entry = |(at, entry): (usize, &Value)| {
            let mut fields = Fields::of(entry, &format!("{} / {name}[{at}]", self.place))?;
            let read = read(&mut fields)?;
            fields.end()?;
            Ok(read)
        };
        entries.iter().enumerate().map(entry).collect()
    }

    /// Fails if a field is left over.
    fn end(&self) -> Result<(), Unsupported> {
        match self.rest.keys().next() {
            Some(name) => Err(self.wrong(format!("the field {name} is not known"))),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn machine(states: Value) -> Result<Machine, Unsupported> {
        Machine::parse(&json!({"QueryLanguage": "JSONata", "StartAt": "A", "States": states}).to_string())
    }

    #[test]
    fn an_unknown_field_is_refused_with_its_place() {
        for (state, field) in [
            (json!({"Type": "Pass", "Result": 1, "End": true}), "Result"),
            (json!({"Type": "Succeed", "Next": "A"}), "Next"),
            (json!({"Type": "Wait", "SecondsPath": "$.x", "End": true}), "Seconds"),
            (
                json!({"Type": "Task", "Resource": "arn:aws:states:::lambda:invoke", "HeartbeatSeconds": 5,
                "Arguments": {"FunctionName": "f"}, "End": true}),
                "HeartbeatSeconds",
            ),
            (
                json!({"Type": "Task", "Resource": "arn:aws:states:::lambda:invoke.waitForTaskToken",
                "HeartbeatSeconds": 5, "Arguments": {"FunctionName": "f"}, "End": true}),
                "HeartbeatSeconds",
            ),
            (
                json!({"Type": "Task", "Resource": "arn:aws:states:::sqs:sendMessage.waitForTaskToken",
                "Arguments": {"FunctionName": "f"}, "End": true}),
                "sqs",
            ),
            (json!({"Type": "Pass", "End": true, "Retry": []}), "Retry"),
        ] {
            let refused = machine(json!({"A": state})).expect_err("refused");
            assert!(refused.place == "A" && refused.reason.contains(field), "{refused}");
        }
    }

    #[test]
    fn what_is_unknown_deep_inside_is_refused_too() {
        let branch = json!({"StartAt": "B", "States": {"B": {"Type": "Pass", "End": true, "ResultPath": "$"}}});
        let refused =
            machine(json!({"A": {"Type": "Parallel", "Branches": [branch], "End": true}})).expect_err("refused");
        assert_eq!(refused.place, "A / B");
    }

    #[test]
    fn a_state_that_is_not_there_is_found_before_it_is_needed() {
        let refused = machine(json!({"A": {"Type": "Pass", "Next": "Z"}})).expect_err("refused");
        assert!(refused.reason.contains("no state Z"));
    }

    #[test]
    fn placeholders_are_filled_in_and_none_is_left() {
        let meaning = |name: &str| (name == "X").then(|| "1".to_owned());
        assert_eq!(substitute("a ${X} b ${X}", meaning), Ok("a 1 b 1".into()));
        assert!(substitute("${Y}", meaning).is_err_and(|error| error.reason.contains("${Y}")));
    }
}
