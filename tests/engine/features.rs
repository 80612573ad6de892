//! Owns holding the engine against what is documented: every file of `features/` is a small machine,
//! what its functions answer, and how it must end.
#![expect(clippy::expect_used, clippy::panic, reason = "a test may stop at the first surprise")]

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    rc::Rc,
};

use ami_backup_engine::{
    Ended, Engine, Failure, Host, Invocation, Machine, Status, Timeline, definition::substitute, host::Local,
};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

/// Name of the bucket that a machine's `${bucket}` stands for.
const BUCKET: &str = "features";

/// Pages that may say what is documented.
const SOURCES: &[&str] =
    &["docs.aws.amazon.com/step-functions/latest/dg/", "states-language.net/spec.html", "docs.jsonata.org/"];

/// The draws with which every machine is run: what does not jitter must end alike.
const CHANCES: &[f64] = &[0.0, 0.5, 0.999];

/// What a function, or whoever has its token, answers.
type Answer = Result<Value, Failure>;

/// One file of `features/`.
struct Feature {
    name: String,
    file: Value,
}

/// What a machine of a feature reaches: functions that answer as the file says, and the file's objects.
struct Scripted {
    timeline: Timeline,
    functions: Value,
    objects: Value,
    chance: f64,
    calls: RefCell<BTreeMap<String, usize>>,
    /// When each token is answered, and with what.
    tokens: RefCell<BTreeMap<String, (Timestamp, Answer)>>,
}

/// How a feature ended.
struct Outcome {
    ended: Ended,
    calls: BTreeMap<String, usize>,
    entered: Vec<String>,
    events: usize,
    executions: usize,
}

impl Host for Scripted {
    fn invoke(&self, invocation: Invocation) -> Local<Answer> {
        let (timeline, answers) = (self.timeline.clone(), list(&self.functions[&invocation.function]).to_vec());
        let mut calls = self.calls.borrow_mut();
        let call = calls.entry(invocation.function).or_insert(0);
        *call += 1;
        let answer = answers.get(*call - 1).or(answers.last()).expect("a function that answers").clone();
        if let Some(given) = answer.get("token") {
            self.plan(given, &invocation.payload);
        }
        Box::pin(async move {
            if answer["hang"] == true {
                std::future::pending::<()>().await;
            }
            timeline.sleep(after(&answer)).await;
            if let Some(error) = answer["error"].as_str() {
                let cause = json!({"errorMessage": answer["message"], "errorType": error});
                return Err(Failure::new(error, cause.to_string()));
            }
            Ok(match answer["bytes"].as_u64() {
                // With its two quotes.
                Some(bytes) => "x".repeat(usize::try_from(bytes).expect("a length") - 2).into(),
                None if answer["echo"] == true => invocation.payload,
                None => answer["return"].clone(),
            })
        })
    }

    fn token_answer(&self, token: &str) -> Local<Answer> {
        let (timeline, planned) = (self.timeline.clone(), self.tokens.borrow().get(token).cloned());
        Box::pin(async move {
            let Some((at, result)) = planned else { return std::future::pending().await };
            timeline.sleep(at.duration_since(timeline.now())).await;
            result
        })
    }

    fn read_object(&self, bucket: &str, key: &str) -> Local<Result<Vec<u8>, String>> {
        let found = self.objects.get(key).filter(|_| bucket == BUCKET).map(|value| value.to_string().into_bytes());
        Box::pin(std::future::ready(found.ok_or_else(|| format!("there is no s3://{bucket}/{key}"))))
    }

    fn chance(&self) -> f64 {
        self.chance
    }
}

impl Scripted {
    /// Answers the token of a payload, as the file says: that a token is answered once is enough.
    fn plan(&self, given: &Value, payload: &Value) {
        let token = payload["token"].as_str().expect("a token in the payload").to_owned();
        let result = match given["error"].as_str() {
            Some(error) => Err(Failure::new(error, given["message"].as_str().expect("a `message`"))),
            None if given["echo"] == true => Ok(payload.clone()),
            None => Ok(given["return"].clone()),
        };
        self.tokens.borrow_mut().entry(token).or_insert((self.timeline.now() + after(given), result));
    }
}

impl Feature {
    /// Runs the machine; names that the definition leaves open are its functions and its bucket.
    ///
    /// # Errors
    /// Why there is no end.
    fn run(&self, chance: f64) -> Result<Outcome, String> {
        let filled = |part: &str| {
            let meaning = |name: &str| Some(if name == "bucket" { BUCKET } else { name }.to_owned());
            substitute(&self.file[part].to_string(), meaning).map_err(|error| error.to_string())
        };
        let machine = Machine::parse(&filled("definition")?).map_err(|error| error.to_string())?;
        let input = serde_json::from_str(&filled("input")?).map_err(|error| error.to_string())?;
        let timeline = Timeline::new(Timestamp::UNIX_EPOCH);
        let host = Rc::new(Scripted {
            timeline: timeline.clone(),
            functions: self.file["functions"].clone(),
            objects: self.file["objects"].clone(),
            chance,
            calls: RefCell::default(),
            tokens: RefCell::default(),
        });
        let engine = Engine::new(timeline.clone(), Rc::<Scripted>::clone(&host));
        let (running, name) = (engine.clone(), self.name.clone());
        let horizon = Timestamp::UNIX_EPOCH + SignedDuration::from_hours(24);
        let ended = timeline.run(horizon, |_| async move { running.execute(Rc::new(machine), name, input).await });
        let histories = engine.histories();
        let (_, history) = histories.first().ok_or("there is no history")?;
        Ok(Outcome {
            ended: ended.map_err(|stalled| stalled.to_string())?,
            calls: host.calls.borrow().clone(),
            entered: history.entered(),
            events: history.len(),
            executions: histories.len(),
        })
    }

    /// What is not as the file expects it.
    fn complaints(&self, chance: f64) -> Vec<String> {
        let outcome = match self.run(chance) {
            Ok(outcome) => outcome,
            Err(reason) => return vec![format!("{} (chance {chance}): {reason}", self.name)],
        };
        let expected = self.file["expect"].as_object().expect("an `expect`");
        let wrong = expected.iter().filter_map(|(what, expected)| {
            let found = outcome.found(what, expected);
            let right = match (expected.get("atLeast"), expected.get("atMost")) {
                (None, None) => same(&found, expected),
                (least, most) => {
                    let number = found.as_f64().expect("a number");
                    let bound = |bound: Option<&Value>, or: f64| bound.and_then(Value::as_f64).unwrap_or(or);
                    (bound(least, f64::MIN)..=bound(most, f64::MAX)).contains(&number)
                }
            };
            (!right).then(|| format!("{} (chance {chance}): {what} is {found} and not {expected}", self.name))
        });
        wrong.collect()
    }
}

impl Outcome {
    /// What became of a field of `expect`.
    fn found(&self, what: &str, expected: &Value) -> Value {
        let failure = |part: fn(&Failure) -> &String| match &self.ended.status {
            Status::Failed(failure) => part(failure).as_str().into(),
            _ => Value::Null,
        };
        match what {
            "status" => match self.ended.status {
                Status::Succeeded(_) => "SUCCEEDED".into(),
                Status::Failed(_) => "FAILED".into(),
                Status::TimedOut => "TIMED_OUT".into(),
            },
            "output" => match &self.ended.status {
                Status::Succeeded(output) => output.clone(),
                _ => Value::Null,
            },
            "error" => failure(|failure| &failure.error),
            "cause" => failure(|failure| &failure.cause),
            // Functions that are not expected to be called have no entry.
            "calls" => {
                let named = expected.as_object().expect("functions").keys();
                named.map(|name| (name.clone(), json!(self.calls.get(name).copied().unwrap_or(0)))).collect()
            }
            "seconds" => json!(self.ended.ended.duration_since(self.ended.began).as_secs_f64()),
            "entered" => json!(self.entered),
            "events" => json!(self.events),
            "executions" => json!(self.executions),
            other => panic!("`expect` has {other}"),
        }
    }
}

/// Whether two values are equal, a whole number being the same with and without a point.
fn same(one: &Value, other: &Value) -> bool {
    one == other || (one.is_number() && one.as_f64() == other.as_f64())
}

/// How long an answer of a file takes, from the call on.
fn after(answer: &Value) -> SignedDuration {
    SignedDuration::from_secs(answer["afterSeconds"].as_i64().unwrap_or(0))
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn here(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn text(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn value(path: &Path) -> Value {
    serde_json::from_str(&text(path)).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Files of a folder whose name ends so, without that end, in order.
fn files(folder: &str, end: &str) -> BTreeMap<String, PathBuf> {
    let entries = fs::read_dir(here(folder)).unwrap_or_else(|error| panic!("{folder}: {error}"));
    let paths = entries.map(|entry| entry.expect("an entry").path());
    let named =
        paths.filter_map(|path| Some((path.file_name()?.to_str()?.strip_suffix(end)?.to_owned(), path.clone())));
    named.collect()
}

fn features() -> Vec<Feature> {
    let mut files = files("features", ".json");
    files.remove("ministack");
    assert!(!files.is_empty());
    files.into_iter().map(|(name, path)| Feature { name, file: value(&path) }).collect()
}

/// What MiniStack does otherwise, by feature.
fn differences() -> BTreeMap<String, Value> {
    let file = value(&here("features/ministack.json"));
    file.as_object().expect("features").iter().map(|(name, entry)| (name.clone(), entry.clone())).collect()
}

/// The project's own machines; what is filled in when they are deployed stands for itself, or is a number or an empty object.
fn machines() -> BTreeMap<String, Value> {
    let machines = files("../../state-machines", ".asl.json");
    assert!(!machines.is_empty());
    let read = |(name, path): (String, PathBuf)| {
        let meaning = |name: &str| match name {
            "KmsKeys" => Some("{}".to_owned()),
            number if number.ends_with("Seconds") => Some("1".to_owned()),
            name => Some(format!("<{name}>")),
        };
        let filled = substitute(&text(&path), meaning).unwrap_or_else(|error| panic!("{name}: {error}"));
        (name, serde_json::from_str(&filled).expect("a machine"))
    };
    machines.into_iter().map(read).collect()
}

fn assert_none(complaints: impl IntoIterator<Item = String>) {
    let complaints: Vec<String> = complaints.into_iter().collect();
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
}

#[test]
fn every_feature_ends_as_it_is_documented() {
    let features = features();
    assert_none(features.iter().flat_map(|feature| CHANCES.iter().flat_map(|chance| feature.complaints(*chance))));
}

#[test]
fn full_jitter_draws_between_nothing_and_the_whole_wait() {
    let features = features();
    let jittery = features.iter().find(|feature| feature.name == "retry-jitter-full").expect("the feature");
    let seconds = |chance: f64| jittery.run(chance).expect("an end").found("seconds", &Value::Null);
    assert_eq!((seconds(0.0), seconds(0.5)), (json!(0.0), json!(7.0)));
}

#[test]
fn every_feature_says_what_is_documented_and_where() {
    let known = ["feature", "documented", "page", "definition", "input", "functions", "objects", "expect"];
    assert_none(features().iter().flat_map(|Feature { name, file }| {
        let mut complaints = Vec::new();
        let undocumented = file["documented"].as_str().expect("`documented`").starts_with("not documented; ");
        let page = file["page"].as_str();
        if page.is_none() != undocumented || page.is_some_and(|page| !SOURCES.iter().any(|one| page.starts_with(one))) {
            complaints.push(format!("{name}: the page is {page:?}"));
        }
        if file["feature"] != name.as_str() {
            complaints.push(format!("{name}: it calls itself {}", file["feature"]));
        }
        let unknown = file.as_object().expect("fields").keys().filter(|key| !known.contains(&key.as_str()));
        complaints.extend(unknown.map(|key| format!("{name}: {key} is not known")));
        complaints
    }));
}

/// The names that a source text compares with: texts of one word that begin with a capital.
fn words(source: &str) -> BTreeSet<String> {
    let odd = source.split('"').skip(1).step_by(2);
    let word = |text: &&str| {
        text.starts_with(|first: char| first.is_ascii_uppercase())
            && text.chars().all(|one| one.is_ascii_alphanumeric())
    };
    odd.filter(word).map(str::to_owned).collect()
}

/// Every key and every text of a value.
fn mentioned(value: &Value, into: &mut BTreeSet<String>) {
    match value {
        Value::String(text) => drop(into.insert(text.clone())),
        Value::Array(values) => values.iter().for_each(|one| mentioned(one, into)),
        Value::Object(fields) => fields.iter().for_each(|(name, one)| {
            into.insert(name.clone());
            mentioned(one, into);
        }),
        _ => {}
    }
}

#[test]
fn everything_that_the_engine_reads_occurs_in_a_feature() {
    let source = text(&here("src/definition.rs"));
    let (read, _) = source.split_once("#[cfg(test)]").expect("tests at its end");
    let known = words(read);
    assert!(["Condition", "JitterStrategy", "DISTRIBUTED", "Succeed"].iter().all(|word| known.contains(*word)));
    let mut found = BTreeSet::new();
    features().iter().for_each(|feature| mentioned(&feature.file["definition"], &mut found));
    assert_none(known.difference(&found).map(|word| format!("{word} is in no feature")));
}

/// Every field with the type of its state and the fields around it, `Task.Retry.MaxAttempts`, and
/// what chooses a mode or what is called. What is handed to functions and states is not looked into.
fn shapes(value: &Value, place: &str, into: &mut BTreeSet<String>) {
    const OPAQUE: &[&str] = &["Assign", "Items", "Output", "Payload"];
    match value {
        Value::Array(values) => values.iter().for_each(|one| shapes(one, place, into)),
        Value::Object(fields) => {
            let place = value["Type"].as_str().unwrap_or(place);
            for (name, one) in fields {
                let inner = format!("{place}.{name}");
                match (name.as_str(), one.as_object()) {
                    ("States", Some(states)) => states.values().for_each(|state| shapes(state, "", into)),
                    ("Mode" | "InputType" | "ExecutionType", _) => drop(into.insert(format!("{inner} {one}"))),
                    ("Resource", _) => {
                        let resource = one.as_str().and_then(|arn| arn.rsplit(":::").next());
                        into.insert(format!("{inner} {}", resource.unwrap_or_default()));
                    }
                    (name, _) if OPAQUE.contains(&name) => {}
                    _ => shapes(one, &inner, into),
                }
                into.insert(inner);
            }
        }
        _ => {}
    }
}

#[test]
fn every_field_of_our_machines_occurs_in_a_feature() {
    let mut found = BTreeSet::new();
    features().iter().for_each(|feature| shapes(&feature.file["definition"], "machine", &mut found));
    assert_none(machines().iter().flat_map(|(name, machine)| {
        let mut ours = BTreeSet::new();
        shapes(machine, "machine", &mut ours);
        assert!(ours.contains("Task.Retry.JitterStrategy"), "{ours:?}");
        assert!(ours.contains("Task.Resource lambda:invoke"), "{ours:?}");
        ours.difference(&found).map(|shape| format!("{name}: {shape} is in no feature")).collect::<Vec<_>>()
    }));
}

/// What kind of expression a text is: without the names of fields and of variables, texts being empty.
fn kind(expression: &str) -> String {
    let mut kind = String::new();
    for (at, part) in expression.split('\'').enumerate() {
        if at % 2 == 1 {
            kind.push_str("''");
            continue;
        }
        let word = |word: &str| {
            let (function, path) = word.rsplit_once('(').map_or(("", word), |(name, rest)| (name, rest));
            let close = if path.ends_with(')') { ")" } else { "" };
            let path = path.trim_end_matches(')');
            let path = match path.split('.').collect::<Vec<_>>().as_slice() {
                ["$states", "context", ..] => path.to_owned(),
                ["$states", part, ..] => format!("$states.{part}"),
                [variable] if variable.starts_with('$') => "$variable".to_owned(),
                _ => path.to_owned(),
            };
            if function.is_empty() { path + close } else { format!("{function}({path}{close}") }
        };
        kind.push_str(&part.split(' ').map(word).collect::<Vec<_>>().join(" "));
    }
    kind
}

fn kinds(value: &Value) -> BTreeSet<String> {
    let mut texts = BTreeSet::new();
    mentioned(value, &mut texts);
    let expressions = texts.iter().filter_map(|text| text.strip_prefix("{% ")?.strip_suffix(" %}"));
    expressions.map(kind).collect()
}

#[test]
fn every_kind_of_expression_of_our_machines_occurs_in_a_feature() {
    assert_eq!(kind("$exists($states.input.legs.store.subject)"), "$exists($states.input)");
    assert_eq!(kind("$states.input.a = 'a.b' or $method = 'c'"), "$states.input = '' or $variable = ''");
    let found: BTreeSet<String> = features().iter().flat_map(|feature| kinds(&feature.file["definition"])).collect();
    assert_none(machines().iter().flat_map(|(name, machine)| {
        let ours = kinds(machine);
        assert!(ours.contains("$states.errorOutput"), "{ours:?}");
        ours.difference(&found).map(|kind| format!("{name}: {kind} is in no feature")).collect::<Vec<_>>()
    }));
}

#[test]
fn every_difference_of_ministack_belongs_to_a_feature_and_has_a_reason() {
    let known: BTreeSet<String> = features().into_iter().map(|feature| feature.name).collect();
    assert_none(differences().iter().filter_map(|(name, entry)| {
        let explained = entry["did"].is_object() && entry["because"].as_str().is_some_and(|reason| !reason.is_empty());
        (!explained || !known.contains(name)).then(|| format!("{name}: {entry}"))
    }));
}

#[test]
fn the_readme_has_a_row_for_every_feature() {
    let (features, differences) = (features(), differences());
    let rows = features.iter().map(|feature| row(feature, differences.get(&feature.name)));
    let pages: BTreeSet<String> =
        features.iter().filter_map(page).map(|(name, url)| format!("[{name}]: {url}")).collect();
    let expected: Vec<String> = rows.chain(pages).collect();
    let readme = text(&here("README.md"));
    let found: Vec<&str> = readme.lines().filter(|line| line.starts_with("| `") || line.starts_with('[')).collect();
    assert!(found == expected, "the table of README.md and its links should be:\n{}", expected.join("\n"));
}

/// What the page of a feature is called in a table, and where it is.
fn page(feature: &Feature) -> Option<(String, String)> {
    let page = feature.file["page"].as_str()?;
    let name = page.rsplit('/').next().unwrap_or(page).replace(".html", "");
    Some((name, format!("https://{page}")))
}

fn row(feature: &Feature, difference: Option<&Value>) -> String {
    let documented = feature.file["documented"].as_str().unwrap_or_default();
    let page = page(feature).map(|(name, _)| format!(" [{name}]")).unwrap_or_default();
    let ministack = difference.and_then(|entry| entry["because"].as_str()).unwrap_or("same");
    format!("| `{}` | {documented}{page} | {ministack} |", feature.name)
}
