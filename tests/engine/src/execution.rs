//! Owns running a machine: states one after the other, side by side where it says so, errors to whoever
//! retries or catches them, and the limits that end an execution.

use std::{cell::RefCell, collections::BTreeMap, rc::Rc};

use futures_util::{
    StreamExt,
    future::{Either, LocalBoxFuture, select},
    stream,
};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use crate::{
    definition::{Call, Catcher, Flow, Items, Kind, Machine, Mapping, Next, State},
    expression::{QueryError, Scope, Template},
    history::{Event, History, MOST_EVENTS, MOST_PAYLOAD_BYTES},
    host::{Failure, Host, Invocation},
    retry::{Attempts, matches},
    timeline::Timeline,
};

/// Runs executions on one timeline and against one host.
#[derive(Clone)]
pub struct Engine {
    timeline: Timeline,
    host: Rc<dyn Host>,
    histories: Rc<RefCell<Vec<(String, History)>>>,
    /// How many tokens there have been, by execution and place.
    tokens: Rc<RefCell<BTreeMap<String, u64>>>,
}

/// How an execution ended.
#[derive(Debug, Clone, PartialEq)]
pub enum Status {
    /// With this output.
    Succeeded(Value),
    /// With this error.
    Failed(Failure),
    /// Its `TimeoutSeconds` passed.
    TimedOut,
}

/// An execution that ended.
#[derive(Debug, Clone, PartialEq)]
pub struct Ended {
    /// How.
    pub status: Status,
    /// When it began.
    pub began: Timestamp,
    /// When it ended.
    pub ended: Timestamp,
}

/// What all states of one execution share.
struct Run {
    engine: Engine,
    name: String,
    history: History,
    context: Value,
}

/// Variables that states see.
type Variables = BTreeMap<String, Value>;

/// What a state hands to the next.
struct Passed {
    output: Value,
    next: Next,
}

impl Engine {
    /// An engine without executions.
    pub fn new(timeline: Timeline, host: Rc<dyn Host>) -> Self {
        Self { timeline, host, histories: Rc::default(), tokens: Rc::default() }
    }

    /// The history of every execution so far, children of Maps included, in the order in which they began.
    pub fn histories(&self) -> Vec<(String, History)> {
        self.histories.borrow().clone()
    }

    /// Runs a machine to its end. Dropping the future stops the execution where it is.
    pub async fn execute(&self, machine: Rc<Machine>, name: String, input: Value) -> Ended {
        let began = self.timeline.now();
        let (run, states) = (Rc::new(self.begin(name, &input)), Rc::clone(&machine));
        let flowing = {
            let run = Rc::clone(&run);
            async move { run.flow(&states.states, "", input, Variables::new()).await }
        };
        let status = match machine.timeout_seconds {
            None => settled(flowing.await),
            Some(seconds) => match select(Box::pin(flowing), self.timeline.sleep(in_seconds(seconds))).await {
                Either::Left((result, _)) => settled(result),
                Either::Right(_) => Status::TimedOut,
            },
        };
        run.close(&status);
        Ended { status, began, ended: self.timeline.now() }
    }

    /// A token that there has not been yet, and the same one in the same run: it says which execution
    /// waits, where, and for which try. Iterations of a Map and further visits count as tries.
    fn token(&self, execution: &str, place: &str) -> String {
        let waits = format!("{execution} / {place}");
        let mut tokens = self.tokens.borrow_mut();
        let nth = tokens.entry(waits.clone()).or_insert(0);
        *nth += 1;
        format!("{waits} / {nth}")
    }

    fn begin(&self, name: String, input: &Value) -> Run {
        let history = History::default();
        self.histories.borrow_mut().push((name.clone(), history.clone()));
        let context = json!({
            "Execution": {"Id": name, "Name": name, "Input": input, "StartTime": self.timeline.now().to_string()},
        });
        let run = Run { engine: self.clone(), name, history, context };
        // The first event of a history is always room enough for itself.
        let _first = run.note("ExecutionStarted", "", json!({ "input": input }));
        run
    }
}

fn settled(result: Result<Value, Failure>) -> Status {
    match result {
        Ok(output) => Status::Succeeded(output),
        Err(failure) => Status::Failed(failure),
    }
}

fn in_seconds(seconds: u64) -> SignedDuration {
    SignedDuration::from_secs(i64::try_from(seconds).unwrap_or(i64::MAX))
}

fn undefined(error: QueryError) -> Failure {
    Failure::new("States.QueryEvaluationError", error.to_string())
}

/// A payload that is small enough to be handed on.
fn within_limit(value: Value, what: &str) -> Result<Value, Failure> {
    let bytes = json_bytes(&value);
    if bytes <= MOST_PAYLOAD_BYTES {
        return Ok(value);
    }
    Err(Failure::new("States.DataLimitExceeded", format!("{what} has {bytes} bytes, more than {MOST_PAYLOAD_BYTES}")))
}

/// How long a value is as JSON. Counted as it is written, into nothing: every state asks twice.
fn json_bytes(value: &Value) -> usize {
    struct Counted(usize);
    impl std::io::Write for Counted {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0 += bytes.len();
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let mut counted = Counted(0);
    // Nothing in a value, and nothing that only counts, refuses.
    serde_json::to_writer(&mut counted, value).map_or(usize::MAX, |()| counted.0)
}

fn below(place: &str, name: &str) -> String {
    if place.is_empty() { name.to_owned() } else { format!("{place} / {name}") }
}

impl Run {
    /// Runs a flow from its first state to its end.
    fn flow<'a>(
        &'a self,
        flow: &'a Flow,
        place: &'a str,
        input: Value,
        mut variables: Variables,
    ) -> LocalBoxFuture<'a, Result<Value, Failure>> {
        Box::pin(async move {
            let (mut name, mut input) = (flow.start_at.as_str(), input);
            loop {
                let missing = || Failure::new("States.Runtime", format!("there is no state {name}"));
                let state = flow.states.get(name).ok_or_else(missing)?;
                let place = below(place, name);
                self.note(entered(&state.kind), &place, json!({ "input": input }))?;
                self.engine.host.entered(&self.name, &place);
                let passed = self.visit(state, &place, input, &mut variables).await?;
                self.note(exited(&state.kind), &place, json!({ "output": passed.output }))?;
                input = passed.output;
                match passed.next {
                    Next::End => return Ok(input),
                    Next::State(next) => name = flow.states.get_key_value(&next).ok_or_else(missing)?.0,
                }
            }
        })
    }

    /// One state, with everything that its `Retry` and `Catch` make of its errors.
    async fn visit(
        &self,
        state: &State,
        place: &str,
        input: Value,
        variables: &mut Variables,
    ) -> Result<Passed, Failure> {
        let mut attempts = Attempts::default();
        loop {
            let tried = self.once(state, place, &input, variables, attempts.total()).await;
            let failure = match tried {
                Ok((passed, assigned)) => {
                    variables.extend(assigned);
                    return Ok(passed);
                }
                Err(failure) => failure,
            };
            let chance = || self.engine.host.chance();
            if let Some(wait) = attempts.next(&state.retry, &failure.error, chance) {
                self.engine.timeline.sleep(wait).await;
                continue;
            }
            let catcher = state.catch.iter().find(|catcher| matches(&catcher.errors, &failure.error));
            let Some(catcher) = catcher else { return Err(failure) };
            let error = json!({"Error": failure.error, "Cause": failure.cause});
            let scope = self.scope(&input, [("errorOutput", error.clone())], variables, place, attempts.total());
            return caught(catcher, error, &scope, variables);
        }
    }

    /// One try of a state: what it hands on, and the variables that it sets.
    async fn once(
        &self,
        state: &State,
        place: &str,
        input: &Value,
        variables: &Variables,
        retries: u32,
    ) -> Result<(Passed, Variables), Failure> {
        let scope = self.scope(input, [], variables, place, retries);
        let (result, next) = match &state.kind {
            Kind::Task { call, next } => (Some(self.task(call, place, input, variables, retries).await?), next.clone()),
            Kind::Pass { next } => (None, next.clone()),
            Kind::Wait { seconds, next } => {
                self.wait(seconds, &scope).await?;
                (None, next.clone())
            }
            Kind::Choice { rules, default } => (None, Next::State(chosen(rules, default.as_deref(), &scope)?)),
            Kind::Parallel { branches, next } => {
                (Some(self.parallel(branches, place, input, variables).await?), next.clone())
            }
            Kind::Map(mapping) => (Some(self.map(mapping, place, &scope, variables).await?), mapping.next.clone()),
            Kind::Succeed => (None, Next::End),
            Kind::Fail { error, cause } => return Err(failed(error, cause, &scope)),
        };
        let scope = match &result {
            Some(result) => self.scope(input, [("result", result.clone())], variables, place, retries),
            None => scope,
        };
        let output = match &state.output {
            Some(template) => template.value(&scope).map_err(undefined)?,
            None => result.unwrap_or_else(|| input.clone()),
        };
        let set = assigned(&state.assign, &scope)?;
        Ok((Passed { output: within_limit(output, "the output")?, next }, set))
    }

    fn scope<const N: usize>(
        &self,
        input: &Value,
        further: [(&'static str, Value); N],
        variables: &Variables,
        place: &str,
        retries: u32,
    ) -> Scope {
        let states = [("input", input.clone()), ("context", self.context(place, retries))].into_iter().chain(further);
        Scope::new(states, variables)
    }

    fn context(&self, place: &str, retries: u32) -> Value {
        let mut context = self.context.clone();
        context["State"] = json!({"Name": place.rsplit(" / ").next(), "RetryCount": retries});
        context
    }

    async fn task(
        &self,
        call: &Call,
        place: &str,
        input: &Value,
        variables: &Variables,
        retries: u32,
    ) -> Result<Value, Failure> {
        let token = call.waits_for_token.then(|| self.engine.token(&self.name, place));
        let mut context = self.context(place, retries);
        if let Some(token) = &token {
            context["Task"] = json!({ "Token": token });
        }
        let scope = Scope::new([("input", input.clone()), ("context", context)], variables);
        let arguments = within_limit(call.arguments.value(&scope).map_err(undefined)?, "the arguments of a task")?;
        self.note("TaskScheduled", place, json!({ "parameters": arguments }))?;
        self.note("TaskStarted", place, Value::Null)?;
        let invocation = Invocation {
            execution: self.name.clone(),
            place: place.to_owned(),
            function: arguments["FunctionName"].as_str().map(str::to_owned).unwrap_or_default(),
            payload: arguments.get("Payload").cloned().unwrap_or_else(|| json!({})),
            retries,
        };
        let result = Box::pin(self.result(invocation, token));
        let result = match call.timeout_seconds {
            None => result.await,
            Some(seconds) => match select(result, self.engine.timeline.sleep(in_seconds(seconds))).await {
                Either::Left((result, _)) => result,
                Either::Right(_) => Err(Failure::new("States.Timeout", format!("no answer within {seconds} s"))),
            },
        };
        match &result {
            Ok(result) => self.note("TaskSucceeded", place, json!({ "output": result }))?,
            Err(failure) => {
                let kind = if failure.error == "States.Timeout" { "TaskTimedOut" } else { "TaskFailed" };
                self.note(kind, place, json!({"error": failure.error, "cause": failure.cause}))?;
            }
        }
        result
    }

    /// What comes of a try of a Task: its function's answer or, if it has a token, what the token is
    /// answered with.
    async fn result(&self, invocation: Invocation, token: Option<String>) -> Result<Value, Failure> {
        let place = invocation.place.clone();
        let answer = self.engine.host.invoke(invocation);
        let answered = |answer: Result<Value, Failure>| {
            let payload = within_limit(answer?, "the result of a task")?;
            Ok(json!({"ExecutedVersion": "$LATEST", "Payload": payload, "StatusCode": 200}))
        };
        let Some(token) = token else { return answered(answer.await) };
        // Whichever comes first: a token may be answered before the function has said that it is handed on.
        let result = match select(self.engine.host.token_answer(&token), answer).await {
            Either::Left((result, _)) => result,
            Either::Right((answer, waiting)) => {
                self.note("TaskSubmitted", &place, json!({"output": answered(answer)?, "token": token}))?;
                waiting.await
            }
        };
        result.and_then(|output| within_limit(output, "the result of a task"))
    }

    async fn wait(&self, seconds: &Template, scope: &Scope) -> Result<(), Failure> {
        let seconds = seconds.value(scope).map_err(undefined)?;
        // The Amazon States Language, "Wait State": a whole number from 0 to 99,999,999.
        let whole = seconds.as_u64().filter(|seconds| *seconds <= 99_999_999);
        let wrong = || Failure::new("States.QueryEvaluationError", format!("Seconds is {seconds} and no whole number"));
        self.engine.timeline.sleep(in_seconds(whole.ok_or_else(wrong)?)).await;
        Ok(())
    }

    async fn parallel(
        &self,
        branches: &[Flow],
        place: &str,
        input: &Value,
        variables: &Variables,
    ) -> Result<Value, Failure> {
        self.note("ParallelStateStarted", place, Value::Null)?;
        let flows = branches
            .iter()
            .enumerate()
            .map(|(at, branch)| async move { (at, self.flow(branch, place, input.clone(), variables.clone()).await) });
        let ended = all(flows, branches.len()).await;
        let kind = if ended.is_ok() { "ParallelStateSucceeded" } else { "ParallelStateFailed" };
        self.note(kind, place, Value::Null)?;
        within_limit(Value::Array(ended?), "the result of a Parallel")
    }

    async fn map(
        &self,
        mapping: &Mapping,
        place: &str,
        scope: &Scope,
        variables: &Variables,
    ) -> Result<Value, Failure> {
        let items = self.items(&mapping.items, scope).await?;
        self.note("MapStateStarted", place, json!({ "length": items.len() }))?;
        let ended = if mapping.distributed {
            self.note("MapRunStarted", place, Value::Null)?;
            let ended = self.children(mapping, place, items).await;
            self.note(if ended.is_ok() { "MapRunSucceeded" } else { "MapRunFailed" }, place, Value::Null)?;
            ended
        } else {
            self.iterations(mapping, place, items, variables).await
        };
        self.note(if ended.is_ok() { "MapStateSucceeded" } else { "MapStateFailed" }, place, Value::Null)?;
        within_limit(Value::Array(ended?), "the result of a Map")
    }

    async fn items(&self, items: &Items, scope: &Scope) -> Result<Vec<Value>, Failure> {
        let no_list = |other: &Value| format!("{other} is no list of items");
        match items {
            Items::Here(template) => match template.value(scope).map_err(undefined)? {
                Value::Array(items) => Ok(items),
                other => Err(Failure::new("States.QueryEvaluationError", no_list(&other))),
            },
            Items::Object { bucket, key } => {
                let unread = |reason: String| Failure::new("States.ItemReaderFailed", reason);
                let text = |template: &Template| match template.value(scope).map_err(undefined)? {
                    Value::String(text) => Ok(text),
                    other => Err(unread(format!("{other} is no text"))),
                };
                let read = self.engine.host.read_object(&text(bucket)?, &text(key)?).await.map_err(unread)?;
                match serde_json::from_slice(&read).map_err(|error| unread(error.to_string()))? {
                    Value::Array(items) => Ok(items),
                    other => Err(unread(no_list(&other))),
                }
            }
        }
    }

    /// Iterations in this execution: the first that fails stops the others.
    async fn iterations(
        &self,
        mapping: &Mapping,
        place: &str,
        items: Vec<Value>,
        variables: &Variables,
    ) -> Result<Vec<Value>, Failure> {
        // The user guide, "Inline mode": at most 40 iterations at a time.
        let at_once = if mapping.max_concurrency == 0 { 40 } else { mapping.max_concurrency.min(40) };
        let flows = items.into_iter().enumerate().map(|(at, item)| async move {
            let iteration = async {
                self.note("MapIterationStarted", place, json!({ "index": at }))?;
                let ended = self.flow(&mapping.flow, place, item, variables.clone()).await;
                let kind = if ended.is_ok() { "MapIterationSucceeded" } else { "MapIterationFailed" };
                self.note(kind, place, json!({ "index": at }))?;
                ended
            };
            (at, iteration.await)
        });
        all(flows, at_once).await
    }

    /// Child executions: they fail one by one, until more have failed than is tolerated.
    async fn children(&self, mapping: &Mapping, place: &str, items: Vec<Value>) -> Result<Vec<Value>, Failure> {
        // The user guide, "Distributed mode": 10,000 child executions at a time.
        let at_once = if mapping.max_concurrency == 0 { 10_000 } else { mapping.max_concurrency };
        let (count, mut failed) = (items.len(), 0);
        let children = items.into_iter().enumerate().map(|(at, item)| async move {
            let child = self.engine.begin(format!("{}:{at}", self.name), &item);
            // A child has a timeline of its own and no variables of its parent.
            let ended = child.flow(&mapping.flow, place, item.clone(), Variables::new()).await;
            child.close(&settled(ended.clone()));
            (at, item, ended)
        });
        let mut running = stream::iter(children).buffer_unordered(at_once);
        let mut outputs = BTreeMap::new();
        while let Some((at, item, ended)) = running.next().await {
            let result = ended.unwrap_or_else(|failure| {
                failed += 1;
                json!({"Status": "FAILED", "Input": item, "Error": failure.error, "Cause": failure.cause})
            });
            outputs.insert(at, result);
            if !tolerated(mapping, failed, count) {
                let cause = format!("{failed} of {count} items failed, more than is tolerated");
                return Err(Failure::new("States.ExceedToleratedFailureThreshold", cause));
            }
        }
        // Whether those that failed are in the list is not documented: here they are, whole, which is the worst for the limit.
        Ok(outputs.into_values().collect())
    }

    /// Writes an event down.
    ///
    /// # Errors
    /// `States.Runtime` if the history is full, which ends the execution whatever it catches.
    fn note(&self, kind: &'static str, place: &str, detail: Value) -> Result<(), Failure> {
        // One is kept for the last event, which every history has.
        if self.history.len() + 1 >= MOST_EVENTS {
            let cause = format!("the execution reached the maximum number of history events ({MOST_EVENTS})");
            return Err(Failure::new("States.Runtime", cause));
        }
        self.history.push(Event { at: self.engine.timeline.now(), kind, place: place.to_owned(), detail });
        Ok(())
    }

    fn close(&self, status: &Status) {
        let (kind, detail) = match status {
            Status::Succeeded(output) => ("ExecutionSucceeded", json!({ "output": output })),
            Status::Failed(failure) => ("ExecutionFailed", json!({"error": failure.error, "cause": failure.cause})),
            Status::TimedOut => ("ExecutionTimedOut", Value::Null),
        };
        // `note` has left room for it.
        self.history.push(Event { at: self.engine.timeline.now(), kind, place: String::new(), detail });
    }
}

/// Runs futures side by side, a number of them at a time; their results in their own order, or the
/// first error, which stops the others.
async fn all<F>(flows: impl Iterator<Item = F>, at_once: usize) -> Result<Vec<Value>, Failure>
where
    F: Future<Output = (usize, Result<Value, Failure>)>,
{
    let mut running = stream::iter(flows).buffer_unordered(at_once.max(1));
    let mut outputs = BTreeMap::new();
    while let Some((at, ended)) = running.next().await {
        outputs.insert(at, ended?);
    }
    Ok(outputs.into_values().collect())
}

/// Both thresholds hold, where there are both (the user guide, "Tolerated failure thresholds": a Map
/// fails when either is exceeded); where there is none, nothing may fail.
fn tolerated(mapping: &Mapping, failed: usize, count: usize) -> bool {
    let float = |number: usize| u32::try_from(number).map_or(f64::INFINITY, f64::from);
    let (number, percentage) = (mapping.tolerated_failure_count, mapping.tolerated_failure_percentage);
    let most = if percentage.is_none() { number.or(Some(0)) } else { number };
    most.is_none_or(|most| failed <= most)
        && percentage.is_none_or(|percentage| float(failed) * 100.0 <= percentage * float(count))
}

fn chosen(
    rules: &[(crate::expression::Expression, String)],
    default: Option<&str>,
    scope: &Scope,
) -> Result<String, Failure> {
    for (condition, next) in rules {
        match condition.value(scope).map_err(undefined)? {
            Value::Bool(true) => return Ok(next.clone()),
            Value::Bool(false) => {}
            other => {
                return Err(Failure::new(
                    "States.QueryEvaluationError",
                    format!("a Condition is {other} and no truth"),
                ));
            }
        }
    }
    default
        .map(str::to_owned)
        .ok_or_else(|| Failure::new("States.NoChoiceMatched", "no Choice holds and there is no Default"))
}

fn caught(catcher: &Catcher, error: Value, scope: &Scope, variables: &mut Variables) -> Result<Passed, Failure> {
    let output = match &catcher.output {
        Some(template) => template.value(scope).map_err(undefined)?,
        None => error,
    };
    variables.extend(assigned(&catcher.assign, scope)?);
    Ok(Passed { output: within_limit(output, "the output of a Catch")?, next: Next::State(catcher.next.clone()) })
}

fn failed(error: &Template, cause: &Template, scope: &Scope) -> Failure {
    let text = |template: &Template| match template.value(scope).map_err(undefined)? {
        Value::String(text) => Ok(text),
        other => Err(Failure::new("States.QueryEvaluationError", format!("{other} is no text"))),
    };
    match (text(error), text(cause)) {
        (Ok(error), Ok(cause)) => Failure { error, cause },
        (Err(failure), _) | (_, Err(failure)) => failure,
    }
}

fn assigned(variables: &[(String, Template)], scope: &Scope) -> Result<Variables, Failure> {
    variables.iter().map(|(name, template)| Ok((name.clone(), template.value(scope).map_err(undefined)?))).collect()
}

fn entered(kind: &Kind) -> &'static str {
    match kind {
        Kind::Task { .. } => "TaskStateEntered",
        Kind::Pass { .. } => "PassStateEntered",
        Kind::Wait { .. } => "WaitStateEntered",
        Kind::Choice { .. } => "ChoiceStateEntered",
        Kind::Parallel { .. } => "ParallelStateEntered",
        Kind::Map(_) => "MapStateEntered",
        Kind::Succeed => "SucceedStateEntered",
        Kind::Fail { .. } => "FailStateEntered",
    }
}

fn exited(kind: &Kind) -> &'static str {
    match kind {
        Kind::Task { .. } => "TaskStateExited",
        Kind::Pass { .. } => "PassStateExited",
        Kind::Wait { .. } => "WaitStateExited",
        Kind::Choice { .. } => "ChoiceStateExited",
        Kind::Parallel { .. } => "ParallelStateExited",
        Kind::Map(_) => "MapStateExited",
        Kind::Succeed => "SucceedStateExited",
        // Nothing comes after a Fail.
        Kind::Fail { .. } => "FailStateExited",
    }
}
