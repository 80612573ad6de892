//! Owns the rule that a machine handles every error that its functions can raise.

use std::collections::{BTreeMap, BTreeSet};

use ami_backup_core::{error::ErrorName, raised};

use crate::{
    machines::is_a_turn,
    project::{self, Machine, invoked, list, machines, strings},
};

/// What each function can raise, by the table.
fn raised() -> BTreeMap<&'static str, Vec<ErrorName>> {
    raised::functions().filter_map(|function| Some((function, raised::raised_by(function)?))).collect()
}

#[test]
fn the_table_of_errors_names_every_function_and_no_other() {
    let named: BTreeSet<String> = raised::functions().map(str::to_owned).collect();
    assert_eq!(named, project::functions());
}

#[test]
fn every_function_says_what_it_can_raise() {
    for (function, errors) in raised() {
        let once: BTreeSet<&ErrorName> = errors.iter().collect();
        assert_eq!(once.len(), errors.len(), "{function} lists a name twice");
        for least in [ErrorName::InvalidInput, ErrorName::Defect] {
            assert!(errors.contains(&least), "{function}: everything that reads an input can raise {least}");
        }
    }
}

#[test]
fn a_task_handles_every_error_that_its_function_can_raise() {
    let raised = raised();
    let machines = machines();
    for (place, task) in machines.iter().flat_map(|machine: &Machine| machine.of_type("Task")) {
        let entries = list(&task["Retry"]).into_iter().chain(list(&task["Catch"]));
        let handled: BTreeSet<&str> = entries.flat_map(|entry| strings(&entry["ErrorEquals"])).collect();
        let function = invoked(task).unwrap_or_else(|| panic!("{place} invokes no function"));
        for error in &raised[function.as_str()] {
            assert!(handled.contains(error.as_str()), "{place}: {function} can raise {error}");
        }
    }
}

/// A name that nothing raises is a branch that nobody has ever seen taken.
#[test]
fn every_error_name_is_raised_by_a_function() {
    let raised = raised();
    for error in ErrorName::ALL {
        assert!(raised.values().any(|errors| errors.contains(error)), "nothing raises {error}");
    }
}

/// What a loop goes round through ends it once the deadline in its envelope has passed.
#[test]
fn what_a_loop_goes_through_can_say_that_its_deadline_has_passed() {
    let raised = raised();
    let machines = machines();
    for scope in machines.iter().flat_map(Machine::scopes) {
        for (name, task) in scope.states.iter().filter(|(_, state)| is_a_turn(&scope, state)) {
            let function = invoked(task).unwrap_or_else(|| panic!("{} invokes no function", scope.at(name)));
            let errors = &raised[function.as_str()];
            assert!(errors.contains(&ErrorName::DeadlineExceeded), "{}: {function} waits for ever", scope.at(name));
        }
    }
}
