//! Owns reading the project's files into one shape, JSON, and walking the machines' states.
#![expect(clippy::expect_used, clippy::panic, reason = "a test may stop at a file that it cannot read")]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use serde_json::{Map, Value, json};
use serde_yaml_ng as yaml;

/// The root of the project.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// The text of a file of the project.
pub fn text(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The names in a folder of the project.
pub fn names_in(folder: &str) -> BTreeSet<String> {
    let entries = fs::read_dir(root().join(folder)).unwrap_or_else(|error| panic!("{folder}: {error}"));
    entries.map(|entry| entry.expect("an entry").file_name().into_string().expect("a name in UTF-8")).collect()
}

/// The functions: every folder of `functions/`.
pub fn functions() -> BTreeSet<String> {
    names_in("functions")
}

/// `start-store` → `StartStore`.
pub fn pascal(kebab: &str) -> String {
    let capital = |word: &str| word[..1].to_uppercase() + &word[1..];
    kebab.split('-').map(capital).collect()
}

/// `StartStore` → `start-store`.
pub fn kebab(pascal: &str) -> String {
    let mut kebab = String::new();
    for letter in pascal.chars() {
        if letter.is_uppercase() && !kebab.is_empty() {
            kebab.push('-');
        }
        kebab.extend(letter.to_lowercase());
    }
    kebab
}

/// The template, with `!Ref X` as `{"Ref": "X"}` and `!GetAtt A.B` as `{"Fn::GetAtt": ["A", "B"]}`.
pub fn template() -> Value {
    plain(yaml::from_str(&text("template.yaml")).expect("template.yaml is YAML"))
}

/// The resources of the template that have a type.
pub fn resources(of_type: &str) -> BTreeMap<String, Value> {
    let template = template();
    let all = template["Resources"].as_object().expect("Resources");
    all.iter().filter(|(_, one)| one["Type"] == of_type).map(|(id, one)| (id.clone(), one.clone())).collect()
}

fn plain(value: yaml::Value) -> Value {
    match value {
        yaml::Value::Tagged(tagged) => {
            let name = tagged.tag.to_string();
            let value = plain(tagged.value);
            match (name.as_str(), &value) {
                ("!Ref", _) => json!({ "Ref": value }),
                ("!GetAtt", Value::String(path)) => json!({ "Fn::GetAtt": path.split('.').collect::<Vec<_>>() }),
                (name, _) => json!({ format!("Fn::{}", &name[1..]): value }),
            }
        }
        yaml::Value::Sequence(values) => values.into_iter().map(plain).collect(),
        yaml::Value::Mapping(pairs) => {
            let key = |key: yaml::Value| key.as_str().expect("keys are strings").to_owned();
            Value::Object(pairs.into_iter().map(|(name, value)| (key(name), plain(value))).collect())
        }
        other => serde_json::to_value(other).expect("a scalar"),
    }
}

/// A list, whether it is written as one or as its only element.
pub fn list(value: &Value) -> Vec<&Value> {
    match value {
        Value::Null => Vec::new(),
        Value::Array(values) => values.iter().collect(),
        one => vec![one],
    }
}

/// The strings of a list.
pub fn strings(value: &Value) -> Vec<&str> {
    list(value).into_iter().map(|one| one.as_str().unwrap_or_else(|| panic!("{one} is no string"))).collect()
}

/// One state machine.
pub struct Machine {
    /// `backup` of `backup.asl.json`.
    pub name: String,
    /// The file as it is written.
    pub text: String,
    /// The definition; placeholders in strings are left as they are.
    pub definition: Value,
}

/// What runs a list of states.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Owner {
    /// The machine itself.
    Machine,
    /// A child execution of a Distributed Map.
    Child,
    /// An iteration of an inline Map.
    Iteration,
    /// A branch of a Parallel.
    Branch,
}

/// A list of states that start and end together.
pub struct Scope<'a> {
    /// Where it is, for people.
    pub place: String,
    /// What runs it.
    pub owner: Owner,
    /// Whether a Parallel is around it, at any distance within the same execution.
    pub in_parallel: bool,
    /// The first state.
    pub start_at: &'a str,
    /// The states.
    pub states: &'a Map<String, Value>,
}

impl Machine {
    /// Every scope, the machine's own first.
    pub fn scopes(&self) -> Vec<Scope<'_>> {
        let mut scopes = Vec::new();
        collect(&self.definition, self.name.clone(), Owner::Machine, false, &mut scopes);
        scopes
    }

    /// Every state of every scope: where it is, and the state.
    pub fn states(&self) -> Vec<(String, &Value)> {
        let scopes = self.scopes();
        let states = scopes.iter().flat_map(|scope| scope.states.iter().map(|(name, state)| (scope.at(name), state)));
        states.collect()
    }

    /// The states of a type.
    pub fn of_type(&self, kind: &str) -> Vec<(String, &Value)> {
        self.states().into_iter().filter(|(_, state)| state["Type"] == kind).collect()
    }

    /// The placeholders, `Name` of `${Name}`.
    pub fn placeholders(&self) -> BTreeSet<String> {
        placeholders(&self.text)
    }
}

impl Scope<'_> {
    /// The name of a state with its place.
    pub fn at(&self, state: &str) -> String {
        format!("{} / {state}", self.place)
    }
}

fn collect<'a>(value: &'a Value, place: String, owner: Owner, in_parallel: bool, scopes: &mut Vec<Scope<'a>>) {
    let start_at = value["StartAt"].as_str().unwrap_or_else(|| panic!("{place} has no StartAt"));
    let states = value["States"].as_object().unwrap_or_else(|| panic!("{place} has no States"));
    scopes.push(Scope { place: place.clone(), owner, in_parallel, start_at, states });
    for (name, state) in states {
        let place = format!("{place} / {name}");
        for branch in list(&state["Branches"]) {
            collect(branch, place.clone(), Owner::Branch, true, scopes);
        }
        let processor = &state["ItemProcessor"];
        if processor["ProcessorConfig"]["Mode"] == "DISTRIBUTED" {
            collect(processor, place, Owner::Child, false, scopes);
        } else if processor.is_object() {
            collect(processor, place, Owner::Iteration, in_parallel, scopes);
        }
    }
}

fn placeholders(text: &str) -> BTreeSet<String> {
    text.split("${").skip(1).filter_map(|rest| rest.split_once('}')).map(|(name, _)| name.to_owned()).collect()
}

/// Every state machine of the project.
pub fn machines() -> Vec<Machine> {
    let files = names_in("state-machines");
    let machines = files.iter().map(|file| {
        let name = file.strip_suffix(".asl.json").unwrap_or_else(|| panic!("state-machines/{file}: not *.asl.json"));
        let text = text(&format!("state-machines/{file}"));
        // Numbers and objects are filled in without quotes, so that the text is JSON only afterwards.
        let mut filled = text.replace("${KmsKeys}", "{}");
        for number in placeholders(&text).iter().filter(|name| name.ends_with("Seconds")) {
            filled = filled.replace(&format!("${{{number}}}"), "3600");
        }
        let definition = serde_json::from_str(&filled).unwrap_or_else(|error| panic!("state-machines/{file}: {error}"));
        Machine { name: name.to_owned(), text, definition }
    });
    machines.collect()
}

/// The function that a Task invokes.
pub fn invoked(task: &Value) -> Option<String> {
    let name = task["Arguments"]["FunctionName"].as_str()?;
    Some(kebab(name.strip_prefix("${")?.strip_suffix("Arn}")?))
}

/// Where a state may go next, in its own scope.
pub fn targets(state: &Value) -> Vec<&str> {
    let choices = list(&state["Choices"]).into_iter().chain(list(&state["Catch"])).map(|one| &one["Next"]);
    choices.chain([&state["Next"], &state["Default"]]).filter_map(Value::as_str).collect()
}

/// Fails with every complaint, one a line.
pub fn assert_none(complaints: impl IntoIterator<Item = String>) {
    let complaints: Vec<String> = complaints.into_iter().collect();
    assert!(complaints.is_empty(), "\n  {}\n", complaints.join("\n  "));
}
