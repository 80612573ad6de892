//! Owns the rules that every state machine keeps.

use std::collections::{BTreeMap, BTreeSet};

use ami_backup_core::error::ErrorName;
use serde_json::Value;

use crate::project::{Machine, Owner, Scope, assert_none, invoked, list, machines, strings, targets};

/// Complaints about every machine, state by state.
fn about_states(kind: &str, complain: impl Fn(&Value) -> Option<String>) -> Vec<String> {
    let machines = machines();
    assert!(!machines.is_empty());
    let states = machines.iter().flat_map(|machine| machine.of_type(kind));
    states.filter_map(|(place, state)| complain(state).map(|text| format!("{place}: {text}"))).collect()
}

/// Complaints about every scope of every machine.
fn about_scopes(complain: impl Fn(&Scope<'_>) -> Vec<String>) -> Vec<String> {
    let machines = machines();
    machines.iter().flat_map(Machine::scopes).flat_map(|scope| complain(&scope)).collect()
}

fn ours() -> BTreeSet<&'static str> {
    ErrorName::ALL.iter().map(|name| name.as_str()).collect()
}

/// The names that the entries of a `Retry` or a `Catch` match, entry by entry.
fn matched(entries: &Value) -> Vec<Vec<&str>> {
    list(entries).into_iter().map(|entry| strings(&entry["ErrorEquals"])).collect()
}

fn catches_all(state: &Value) -> bool {
    matched(&state["Catch"]).last().is_some_and(|last| *last == ["States.ALL"])
}

#[test]
fn every_task_retries_ours_then_foreign_and_catches_named_then_all() {
    assert_none(about_states("Task", |task| {
        let (retry, catch) = (matched(&task["Retry"]), matched(&task["Catch"]));
        let expected_retry: Vec<Vec<&str>> =
            vec![vec!["Throttled"], vec!["Transient"], vec!["NotYetVisible"], ErrorName::FOREIGN.to_vec()];
        if retry != expected_retry {
            return Some(format!("Retry is {retry:?} and not {expected_retry:?}"));
        }
        let retried: BTreeSet<&str> = retry.iter().flatten().copied().collect();
        let rest: Vec<&str> =
            ErrorName::ALL.iter().map(|name| name.as_str()).filter(|n| !retried.contains(n)).collect();
        let expected_catch = vec![rest, vec!["States.ALL"]];
        (catch != expected_catch).then(|| format!("Catch is {catch:?} and not {expected_catch:?}"))
    }));
}

#[test]
fn every_retrier_is_bounded() {
    assert_none(about_states("Task", |task| {
        let bounded = |one: &&Value| one["MaxAttempts"].as_u64().is_some() && one["MaxDelaySeconds"].as_u64().is_some();
        let unbounded = list(&task["Retry"]).into_iter().find(|one| !bounded(one))?;
        Some(format!("{} has no MaxAttempts or no MaxDelaySeconds", unbounded["ErrorEquals"]))
    }));
}

#[test]
fn every_task_invokes_a_function_and_has_a_timeout() {
    assert_none(about_states("Task", |task| {
        let waits = match task["Resource"].as_str() {
            Some("arn:${Partition}:states:::lambda:invoke") => false,
            Some("arn:${Partition}:states:::lambda:invoke.waitForTaskToken") => true,
            _ => return Some("does not invoke a function".into()),
        };
        if invoked(task).is_none() {
            return Some("does not invoke one of our functions".into());
        }
        if waits != (task["Arguments"]["Payload"]["token"] == "{% $states.context.Task.Token %}") {
            return Some("waits for a token without handing it over, or the other way round".into());
        }
        task["TimeoutSeconds"].as_u64().is_none().then(|| "has no TimeoutSeconds".into())
    }));
    for machine in machines() {
        assert!(machine.definition["TimeoutSeconds"].is_u64(), "{} has no TimeoutSeconds", machine.name);
    }
}

#[test]
fn every_matched_error_is_one_that_can_be_raised() {
    let known: BTreeSet<&str> = ours().into_iter().chain(ErrorName::FOREIGN.iter().copied()).collect();
    let machines = machines();
    assert_none(machines.iter().flat_map(Machine::states).flat_map(|(place, state)| {
        let all: Vec<&str> =
            matched(&state["Retry"]).concat().into_iter().chain(matched(&state["Catch"]).concat()).collect();
        let unknown = all.into_iter().filter(|name| *name != "States.ALL" && !known.contains(name));
        unknown.map(|name| format!("{place}: nothing raises {name}")).collect::<Vec<_>>()
    }));
}

#[test]
fn every_error_name_is_matched_in_every_machine() {
    assert_none(machines().iter().flat_map(|machine| {
        let states = machine.states();
        let entries = states.iter().flat_map(|(_, state)| [matched(&state["Retry"]), matched(&state["Catch"])]);
        let names: BTreeSet<&str> = entries.flatten().flatten().collect();
        ours().difference(&names).map(|name| format!("{}: {name} is not matched", machine.name)).collect::<Vec<_>>()
    }));
}

#[test]
fn what_matches_everything_stands_alone_and_last() {
    let machines = machines();
    assert_none(machines.iter().flat_map(Machine::states).flat_map(|(place, state)| {
        let entries = [matched(&state["Retry"]), matched(&state["Catch"])];
        let wrong = entries.into_iter().filter(|entries| {
            let with_all = entries.iter().position(|names| names.contains(&"States.ALL"));
            with_all.is_some_and(|at| at + 1 != entries.len() || entries[at].len() != 1)
        });
        wrong.map(|entries| format!("{place}: {entries:?}")).collect::<Vec<_>>()
    }));
}

#[test]
fn every_target_exists_and_every_state_is_reached() {
    assert_none(about_scopes(|scope| {
        let mut complaints = Vec::new();
        let (mut reached, mut next) = (BTreeSet::new(), vec![scope.start_at]);
        while let Some(name) = next.pop() {
            match scope.states.get(name) {
                Some(state) if reached.insert(name) => next.extend(targets(state)),
                Some(_) => {}
                None => complaints.push(format!("{}: there is no state `{name}`", scope.place)),
            }
        }
        let unreached = scope.states.keys().filter(|name| !reached.contains(name.as_str()));
        complaints.extend(unreached.map(|name| format!("{}: nothing leads to it", scope.at(name))));
        complaints
    }));
}

#[test]
fn every_state_goes_on_or_ends() {
    let machines = machines();
    assert_none(machines.iter().flat_map(Machine::states).filter_map(|(place, state)| {
        let kind = state["Type"].as_str().unwrap_or_default();
        let ends =
            [state["End"] == true, matches!(kind, "Succeed" | "Fail"), kind == "Choice", state["Next"].is_string()];
        (ends.iter().filter(|one| **one).count() != 1).then(|| format!("{place}: has not exactly one way on"))
    }));
}

#[test]
fn names_of_states_are_unique_in_a_machine_and_say_what_they_are() {
    for machine in machines() {
        let mut seen = BTreeSet::new();
        for (place, state) in machine.states() {
            let name = place.rsplit(" / ").next().unwrap_or_default().to_owned();
            assert!(seen.insert(name.clone()), "{place}: the name is there twice");
            let title = name.split(' ').all(|word| word.starts_with(|c: char| c.is_ascii_uppercase()));
            assert!(title, "{place}: not Title Case");
            assert_eq!(
                state["Type"] == "Choice",
                name.ends_with('?'),
                "{place}: a Choice is a question, nothing else is"
            );
            assert_eq!(state["Type"] == "Wait", name.starts_with("Wait For "), "{place}: a Wait is called Wait For …");
        }
    }
}

/// Whether a state is a failure, or passes straight on to one.
fn fails(scope: &Scope<'_>, name: &str) -> bool {
    fn says_failed(value: &Value) -> bool {
        match value {
            Value::String(text) => text == "FAILED",
            Value::Array(values) => values.iter().any(says_failed),
            Value::Object(fields) => fields.values().any(says_failed),
            _ => false,
        }
    }
    let state = &scope.states[name];
    match state["Type"].as_str() {
        Some("Fail") => true,
        Some("Task") => says_failed(&state["Arguments"]),
        Some("Pass") => says_failed(&state["Output"]) || state["Next"].as_str().is_some_and(|next| fails(scope, next)),
        _ => false,
    }
}

#[test]
fn what_no_choice_foresaw_is_a_failure() {
    assert_none(about_scopes(|scope| {
        let choices = scope.states.iter().filter(|(_, state)| state["Type"] == "Choice");
        let wrong = choices.filter(|(_, choice)| !choice["Default"].as_str().is_some_and(|name| fails(scope, name)));
        wrong.map(|(name, _)| format!("{}: its Default is no failure", scope.at(name))).collect()
    }));
}

/// A cycle among the states that are left when `without` are taken out.
fn cycle(scope: &Scope<'_>, without: impl Fn(&Value) -> bool) -> Option<String> {
    let mut graph: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for (name, state) in scope.states.iter().filter(|(_, state)| !without(state)) {
        let left = targets(state).into_iter().filter(|target| !without(&scope.states[*target]));
        graph.insert(name, left.collect());
    }
    // What has nowhere left to go is in no cycle.
    while let Some(end) = graph.iter().find(|(_, to)| to.is_empty()).map(|(name, _)| *name) {
        graph.remove(end);
        graph.values_mut().for_each(|to| {
            to.remove(end);
        });
    }
    graph.keys().next().map(|name| scope.at(name))
}

/// Whether a Task returns an envelope: the Choice after it looks at its status. Its deadline bounds it.
pub fn is_a_turn(scope: &Scope<'_>, state: &Value) -> bool {
    let after = state["Next"].as_str().map_or(&Value::Null, |next| &scope.states[next]);
    let looks_at_status = |choice: &Value| {
        choice["Condition"].as_str().is_some_and(|condition| condition.starts_with("{% $states.input.status = '"))
    };
    state["Type"] == "Task"
        && state["Arguments"]["Payload"] == "{% $states.input %}"
        && state["Output"] == "{% $states.result.Payload %}"
        && after["Type"] == "Choice"
        && list(&after["Choices"]).into_iter().all(looks_at_status)
}

#[test]
fn every_loop_waits_as_long_as_its_envelope_says_and_has_its_deadline() {
    let mut complaints = about_scopes(|scope| {
        let waits = cycle(scope, |state| state["Type"] == "Wait").map(|at| format!("{at}: a loop without a Wait"));
        let turns = cycle(scope, |state| is_a_turn(scope, state)).map(|at| format!("{at}: a loop without a deadline"));
        waits.into_iter().chain(turns).collect()
    });
    complaints.extend(about_states("Wait", |wait| {
        (wait["Seconds"] != "{% $states.input.waitSeconds %}").then(|| "does not wait for waitSeconds".into())
    }));
    assert_none(complaints);
}

#[test]
fn no_branch_lets_an_error_out() {
    assert_none(about_scopes(|scope| {
        if !scope.in_parallel {
            return Vec::new();
        }
        let escapes = |state: &Value| match state["Type"].as_str() {
            Some("Fail") => true,
            Some("Task" | "Map" | "Parallel") => !catches_all(state),
            _ => false,
        };
        let wrong = scope.states.iter().filter(|(_, state)| escapes(state));
        wrong.map(|(name, _)| format!("{}: an error here stops the other branches", scope.at(name))).collect()
    }));
}

#[test]
fn every_map_and_parallel_is_caught() {
    assert_none(["Map", "Parallel"].into_iter().flat_map(|kind| {
        about_states(kind, |state| (!catches_all(state)).then(|| "has no Catch for States.ALL".into()))
    }));
}

/// Of a machine's own states only: a child of a Distributed Map leaves its failure in its outcome, and
/// the machine that reads the outcomes fails.
#[test]
fn what_was_caught_ends_in_a_fail_state() {
    assert_none(about_scopes(|scope| {
        if scope.owner != Owner::Machine {
            return Vec::new();
        }
        let mut complaints = Vec::new();
        let caught =
            scope.states.values().flat_map(|state| list(&state["Catch"])).filter_map(|one| one["Next"].as_str());
        let (mut seen, mut next) = (BTreeSet::new(), caught.collect::<Vec<_>>());
        while let Some(name) = next.pop() {
            if !seen.insert(name) {
                continue;
            }
            let state = &scope.states[name];
            if state["Type"] == "Succeed" || state["End"] == true {
                complaints.push(format!("{}: a failure ends well here", scope.at(name)));
            }
            next.extend(targets(state));
        }
        let ends = scope.states.iter().filter(|(_, state)| state["End"] == true);
        complaints.extend(ends.map(|(name, _)| format!("{}: ends in neither Succeed nor Fail", scope.at(name))));
        complaints
    }));
}

/// What fails is in the outcome. A child that fails outright may stand in the Map's result whole, with input and cause, and
/// a few hundred of them fill its 256 KiB: the run would end without a report.
#[test]
fn a_child_of_a_distributed_map_never_fails_outright() {
    assert_none(about_scopes(|scope| {
        let fails = |state: &Value| scope.owner == Owner::Child && state["Type"] == "Fail";
        let wrong = scope.states.iter().filter(|(_, state)| fails(state));
        wrong.map(|(name, _)| format!("{}: is a Fail", scope.at(name))).collect()
    }));
}

/// Every expression in a value, with its path.
fn expressions<'a>(value: &'a Value, found: &mut Vec<&'a str>) {
    match value {
        Value::String(text) if text.starts_with("{%") => found.push(text),
        Value::Array(values) => values.iter().for_each(|one| expressions(one, found)),
        Value::Object(fields) => fields.values().for_each(|one| expressions(one, found)),
        _ => {}
    }
}

/// Lists and decisions are Rust's: a machine moves fields about and compares one with a literal.
#[test]
fn expressions_are_small() {
    for machine in machines() {
        assert_eq!(machine.definition["QueryLanguage"], "JSONata", "{}", machine.name);
        let mut found = Vec::new();
        expressions(&machine.definition, &mut found);
        for expression in found {
            let called: Vec<&str> = expression
                .match_indices('(')
                .map(|(at, _)| {
                    expression[..at].rsplit(|c: char| !c.is_ascii_alphanumeric() && c != '$').next().unwrap_or_default()
                })
                .collect();
            assert!(called.iter().all(|name| *name == "$exists"), "{}: {expression} calls {called:?}", machine.name);
            assert!(expression.len() <= 100, "{}: {expression} is long", machine.name);
            assert!(!expression.contains(['[', '?', '~', '*', '^']), "{}: {expression} is clever", machine.name);
            assert!(expression.ends_with(" %}") && expression.starts_with("{% "), "{}: {expression}", machine.name);
        }
    }
}
