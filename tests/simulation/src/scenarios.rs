//! Owns finding what there is to try: every machine of the project with its examples in `events/`, and
//! the world that they are written for.

use std::collections::BTreeMap;

use ami_backup_simulator::account::AccountFile;
use ami_backup_tests::{demo_account, furnish, project};
use serde_json::Value;

/// An example of a machine.
#[derive(Debug, Clone, PartialEq)]
pub struct Scenario {
    /// `backup.by-image` of `events/backup.by-image.json`.
    pub name: String,
    /// Its machine.
    pub machine: String,
    /// The input.
    pub input: Value,
    /// Examples that come before: machine and input.
    pub before: Vec<(String, Value)>,
    /// Whether the execution succeeds.
    pub succeeds: bool,
    /// What a person answers when the machine asks.
    pub approval: Option<Value>,
}

/// Every example of every machine, by name.
pub fn all() -> Vec<Scenario> {
    let machines: Vec<String> = project::machines().into_iter().map(|machine| machine.name).collect();
    let files = project::names_in("events").into_iter();
    let names = files.filter_map(|file| file.strip_suffix(".json").map(str::to_owned));
    let names: Vec<String> = names.filter(|name| !name.ends_with(".expected")).collect();
    let of_machines = names.iter().filter_map(|name| {
        let machine = name.split_once('.')?.0;
        machines.iter().any(|known| known == machine).then(|| read(name, machine))
    });
    of_machines.collect()
}

fn read(name: &str, machine: &str) -> Scenario {
    let expected = json(&format!("{name}.expected"));
    let before = project::strings(&expected["after"]).into_iter().map(|earlier| {
        let machine = earlier.split('.').next().unwrap_or_default();
        (machine.to_owned(), json(earlier))
    });
    Scenario {
        name: name.to_owned(),
        machine: machine.to_owned(),
        input: json(name),
        before: before.collect(),
        succeeds: expected["status"] == "SUCCEEDED",
        approval: expected.get("approval").cloned(),
    }
}

fn json(name: &str) -> Value {
    serde_json::from_str(&project::text(&format!("events/{name}.json"))).expect("an example is JSON")
}

/// The demo account, with everything on its image that copying or restoring can lose.
pub fn account() -> AccountFile {
    let mut file = demo_account();
    furnish(&mut file);
    file
}

/// The inputs of each machine.
pub fn inputs(scenarios: &[Scenario]) -> BTreeMap<&str, Vec<&Scenario>> {
    let mut inputs = BTreeMap::<&str, Vec<&Scenario>>::new();
    for scenario in scenarios {
        inputs.entry(&scenario.machine).or_default().push(scenario);
    }
    inputs
}
