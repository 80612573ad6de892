//! Owns the rules of the harness itself: it repeats itself, it takes machines that it has never heard
//! of, and it notices what is wrong with them.
#![expect(clippy::expect_used, reason = "a test may stop at the first surprise")]

mod cleanup;

use std::{collections::BTreeMap, rc::Rc};

use ami_backup_engine::{Machine, Status};
use ami_backup_simulation::{
    deployment::Product,
    faults::{Fault, TaskFault},
    scenarios::{self, Scenario},
    seeds, systematic,
    trial::Trial,
};
use ami_backup_tests::{IMAGE, deployed, functions};
use serde_json::{Value, json};

/// The retries that the project's machines have, for a machine that has nothing else in common with them.
fn retry() -> Value {
    let passing = ["Throttled", "Transient", "NotYetVisible"].map(str::to_owned).into_iter();
    let foreign = ami_backup_core::ErrorName::FOREIGN.iter().map(|name| (*name).to_owned());
    let errors: Vec<String> = passing.chain(foreign).collect();
    json!([{"ErrorEquals": errors, "IntervalSeconds": 2, "MaxAttempts": 6}])
}

/// A machine of one Task, which looks at an image, under a name that the project does not know.
fn probe(retry: Value, after_a_failure: Value) -> (Product, Scenario) {
    let machine = json!({
        "QueryLanguage": "JSONata",
        "TimeoutSeconds": 3600,
        "StartAt": "Look",
        "States": {
            "Look": {
                "Type": "Task",
                "Resource": "arn:aws:states:::lambda:invoke",
                "Arguments": {"FunctionName": "check-image", "Payload": {"subject": {"awaited": "{% $states.input.image %}"}}},
                "TimeoutSeconds": 120,
                "Output": "{% $states.result.Payload %}",
                "Retry": retry,
                "Catch": [{"ErrorEquals": ["States.ALL"], "Output": "{% $states.errorOutput %}", "Next": "Not Seen"}],
                "Next": "Seen",
            },
            "Seen": {"Type": "Succeed"},
            "Not Seen": after_a_failure,
        },
    });
    let machine = Machine::parse(&machine.to_string()).expect("a machine");
    let product = Product::new(BTreeMap::from([("probe".to_owned(), Rc::new(machine))]), functions::ALL);
    let scenario = Scenario {
        name: "probe.by-image".into(),
        machine: "probe".into(),
        input: json!({"image": {"imageId": IMAGE, "region": "us-east-1"}}),
        before: Vec::new(),
        succeeds: true,
        approval: None,
    };
    (product, scenario)
}

fn fail() -> Value {
    json!({"Type": "Fail", "Error": "{% $states.input.Error %}", "Cause": "{% $states.input.Cause %}"})
}

/// Everything that is wrong with a machine, under every fault.
fn complaints((product, scenario): (Product, Scenario)) -> Vec<String> {
    let product = Rc::new(product);
    let reference = systematic::reference(&product, &scenario, &mut systematic::Tried::new());
    assert_eq!(reference.outcome.complaints, Vec::<String>::new());
    assert!(reference.faults.len() > 40, "{:?}", reference.faults);
    let run = |fault| systematic::run(&product, &reference, vec![fault]).complaints;
    reference.faults.clone().into_iter().flat_map(run).collect()
}

#[test]
fn a_machine_is_tried_without_a_line_of_its_own() {
    assert_eq!(complaints(probe(retry(), fail())), Vec::<String>::new());
}

#[test]
fn a_machine_that_gives_up_too_early_is_noticed() {
    let found = complaints(probe(json!([]), fail()));
    assert!(found.iter().any(|text| text.contains("what passes by itself fails the run")), "{found:?}");
}

#[test]
fn a_machine_that_passes_an_error_off_as_success_is_noticed() {
    let found = complaints(probe(retry(), json!({"Type": "Succeed", "Output": {"verdict": "FAILED"}})));
    assert!(found.iter().any(|text| text.contains("succeeds with the verdict FAILED")), "{found:?}");
}

#[test]
fn every_machine_and_every_function_of_the_project_takes_part() {
    let product = Product::of_the_project();
    let scenarios = scenarios::all();
    for machine in product.machines.keys() {
        assert!(scenarios.iter().any(|one| &one.machine == machine && one.succeeds), "{machine} has no example");
    }
    let product = Rc::new(product);
    let mut tried = systematic::Tried::new();
    let references =
        scenarios.iter().map(|scenario| systematic::reference(&product, scenario, &mut tried).outcome.begun);
    let called: Vec<String> = references.flatten().map(|task| task.function).collect();
    for function in product.functions.keys() {
        assert!(called.iter().any(|one| one == function), "no scenario calls {function}");
    }
}

/// A failed child may stand in the Map's result whole, and a few hundred would fill it.
#[test]
fn four_hundred_children_that_cannot_report_end_in_a_report() {
    let mut product = Product::of_the_project();
    let role = product.roles.get_mut("record-backup").expect("a role");
    let statements = role["Statement"].as_array_mut().expect("statements");
    statements.retain(|statement| statement["Action"] != "s3:PutObject");
    let images: Vec<String> = (0..400).map(|number| format!("ami-{number:017x}")).collect();
    let scenario = Scenario {
        name: "backup.four-hundred".into(),
        machine: "backup".into(),
        input: json!({"imageIds": images, "run": "many"}),
        before: Vec::new(),
        succeeds: false,
        approval: None,
    };
    let outcome = systematic::reference(&Rc::new(product), &scenario, &mut systematic::Tried::new()).outcome;
    let failure = match outcome.first.as_ref().map(|ended| &ended.status) {
        Some(Status::Failed(failure)) => failure,
        other => unreachable!("{other:?}"),
    };
    assert_eq!(failure.error, "BackupFailed", "{}", failure.cause);
    assert!(failure.cause.contains("report"), "{}", failure.cause);
}

/// 88. Under them, each state machine does what it does without them.
#[test]
fn every_machine_goes_on_under_the_offered_policies() {
    let mut product = Product::of_the_project();
    product.guards = Some(["service-control-policy", "permission-boundary"].map(deployed::offered_policy));
    let product = Rc::new(product);
    let mut tried = systematic::Tried::new();
    for scenario in scenarios::all() {
        let outcome = systematic::reference(&product, &scenario, &mut tried).outcome;
        assert_eq!(outcome.complaints, Vec::<String>::new(), "{}", scenario.name);
    }
}

/// What a run has made is found by the run's tag, so a run that could not report says which run it was.
#[test]
fn a_run_that_cannot_report_names_itself() {
    let product = Rc::new(Product::of_the_project());
    for name in ["backup.by-image", "cleanup.apply"] {
        let scenario = scenarios::all().into_iter().find(|one| one.name == name).expect("an example");
        let reference = systematic::reference(&product, &scenario, &mut systematic::Tried::new());
        let report = reference.outcome.begun.iter().position(|task| task.function.starts_with("report-"));
        let nth = report.and_then(|place| u32::try_from(place + 1).ok()).expect("a report");
        let fault = Fault::Task { nth, what: TaskFault::Raises("AccessDenied".into()) };
        let run = scenario.input["run"].as_str().unwrap_or("trial");
        let status = systematic::run(&product, &reference, vec![fault]).first.map(|ended| ended.status);
        let named =
            matches!(&status, Some(Status::Failed(failure)) if failure.cause.ends_with(&format!("; run {run}")));
        assert!(named, "{name}: {status:?}");
    }
}

#[test]
fn a_seed_is_one_history() {
    let product = Rc::new(Product::of_the_project());
    let scenarios = scenarios::all();
    for seed in 0..12 {
        let trial = Trial { told: true, ..seeds::trial_of(&product, &scenarios, seed) };
        let (first, second) = (seeds::run(&product, &trial), seeds::run(&product, &trial));
        assert!(!first.history.is_empty());
        assert_eq!(first.history, second.history, "seed {seed}");
    }
    let histories = [1, 2].map(|seed| seeds::run(&product, &seeds::trial_of(&product, &scenarios, seed)).made);
    assert_ne!(histories[0], histories[1]);
}

#[test]
fn faults_that_a_failure_does_not_need_are_left_out() {
    let product = Product::of_the_project();
    let scenarios = scenarios::all();
    let trial = (0..).map(|seed| seeds::trial_of(&product, &scenarios, seed)).find(|trial| trial.faults.len() > 4);
    let trial = trial.expect("a trial with many faults");
    let needed = trial.faults[2].clone();
    let smallest = seeds::shrunk(&trial, |fewer| fewer.faults.contains(&needed));
    assert_eq!(smallest.faults, [needed]);
}
