//! Owns the rule that every function and every machine has an example, with what it comes to.

use std::collections::BTreeSet;

use ami_backup_core::error::ErrorName;
use serde_json::Value;

use crate::project::{functions, machines, names_in, pascal, text};

/// Names of the examples in `events/`, without `.json` and `.expected.json`.
fn examples() -> (BTreeSet<String>, BTreeSet<String>) {
    let (mut given, mut expected) = (BTreeSet::new(), BTreeSet::new());
    for file in names_in("events") {
        if let Some(name) = file.strip_suffix(".expected.json") {
            expected.insert(name.to_owned());
        } else if let Some(name) = file.strip_suffix(".json") {
            given.insert(name.to_owned());
        } else {
            assert!(file.ends_with(".md"), "events/{file} is no example");
        }
    }
    (given, expected)
}

fn read(name: &str) -> Value {
    serde_json::from_str(&text(&format!("events/{name}.json")))
        .unwrap_or_else(|error| panic!("events/{name}.json: {error}"))
}

#[test]
fn every_example_has_what_it_comes_to_beside_it() {
    let (given, expected) = examples();
    assert_eq!(given, expected);
    for name in given {
        read(&name);
        read(&format!("{name}.expected"));
    }
}

#[test]
fn every_function_and_every_machine_has_an_example() {
    let (given, _) = examples();
    let owners: BTreeSet<String> =
        given.iter().map(|name| name.split('.').next().unwrap_or_default().to_owned()).collect();
    let mut all = functions();
    all.extend(machines().into_iter().map(|machine| machine.name));
    assert_eq!(owners, all);
    for function in functions() {
        assert!(given.contains(&function), "events/{function}.json is missing");
    }
}

#[test]
fn an_example_of_a_machine_says_how_the_execution_ends() {
    let (given, _) = examples();
    for machine in machines() {
        for name in given.iter().filter(|name| name.starts_with(&format!("{}.", machine.name))) {
            let expected = read(&format!("{name}.expected"));
            match expected["status"].as_str() {
                Some("SUCCEEDED") => assert!(expected["error"].is_null(), "{name}"),
                Some("FAILED") => {
                    let error = expected["error"].as_str().unwrap_or_else(|| panic!("{name}: with which error?"));
                    let of_a_function = ErrorName::ALL.iter().any(|one| one.as_str() == error);
                    let of_a_verdict = error.starts_with(&pascal(&machine.name));
                    assert!(of_a_function || of_a_verdict, "{name}: {error}");
                }
                other => panic!("{name}: an execution does not end as {other:?}"),
            }
            for before in expected["after"].as_array().into_iter().flatten() {
                assert!(given.contains(before.as_str().unwrap_or_default()), "{name}: after {before}");
            }
        }
    }
}

/// Words of a text that are ids of images, instances or snapshots.
fn ids(text: &str) -> BTreeSet<&str> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '-');
    let is_id = |word: &&str| {
        let hexadecimal = ["ami-", "i-", "snap-"].iter().find_map(|prefix| word.strip_prefix(prefix));
        hexadecimal.is_some_and(|rest| rest.len() == 17 && rest.chars().all(|c| c.is_ascii_hexdigit()))
    };
    words.filter(is_id).collect()
}

/// So that an example can be tried as it is, alone.
#[test]
fn the_demo_account_holds_every_id_that_an_example_names() {
    let account = text("tests/simulator/accounts/demo.json");
    let held = ids(&account);
    for name in examples().0 {
        let example = read(&name).to_string();
        let unknown: Vec<&str> = ids(&example).difference(&held).copied().collect();
        assert!(unknown.is_empty(), "events/{name}.json names {unknown:?}");
    }
}
