//! Owns the faults that are tried one by one: each Task, each call, each state of a scenario, in every
//! way in which it can go wrong.

use std::{
    collections::{BTreeMap, BTreeSet},
    rc::Rc,
};

use ami_backup_tests::things::Things;

use crate::{
    deployment::Product,
    faults::{CallFault, Fault, TaskFault},
    rules,
    scenarios::{self, Scenario},
    trial::{self, Outcome, Trial},
};

/// Moments at which the same execution is started beside the first, in milliseconds: at once, within
/// one call, within one Task, within one wait, and later.
const BESIDE_MS: &[u32] = &[0, 1, 10, 40, 100, 250, 500, 1_000, 2_000, 5_000, 15_000, 40_000];

/// A scenario without faults: what it makes, and what it consists of.
pub struct Reference {
    /// The trial.
    pub trial: Trial,
    /// What is there in the end.
    pub things: Things,
    /// The faults to try.
    pub faults: Vec<Fault>,
    /// What came of it.
    pub outcome: Outcome,
}

/// The trial of a scenario without faults.
pub fn trial_of(scenario: &Scenario) -> Trial {
    Trial {
        machine: scenario.machine.clone(),
        input: scenario.input.clone(),
        before: scenario.before.clone(),
        file: scenarios::account(),
        approval: scenario.approval.clone(),
        faults: Vec::new(),
        seed: 1,
        told: false,
        once: false,
    }
}

/// What has been tried of each machine: a Task, a call, the first time or the last, and how it went
/// wrong. Another scenario of the same machine need not try it again.
pub type Tried = BTreeSet<String>;

/// Runs a scenario without faults and lists the faults to try that `tried` does not have yet.
pub fn reference(product: &Rc<Product>, scenario: &Scenario, tried: &mut Tried) -> Reference {
    let trial = trial_of(scenario);
    let mut outcome = trial::run(product, &trial, None);
    if outcome.succeeded() != scenario.succeeds {
        let ends = (&outcome.first, &outcome.again);
        outcome.complaints.push(format!("it ends otherwise than its example says: {ends:?}"));
    }
    let mut faults = Vec::new();
    for (nth, visit) in visits(outcome.begun.iter().map(|task| (task.execution.clone(), task.place.clone()))) {
        let function = at(&outcome.begun, nth).and_then(|task| product.functions.get(task.function.as_str()));
        for what in function.map(|function| TaskFault::all(&function.errors())).unwrap_or_default() {
            if tried.insert(format!("{} {visit} {what}", scenario.machine)) {
                faults.push(Fault::Task { nth, what });
            }
        }
    }
    for (nth, visit) in visits(calls(&outcome).into_iter()) {
        for fault in call_faults(nth) {
            if tried.insert(format!("{} {visit} {}", scenario.machine, fault.kind())) {
                faults.push(fault);
            }
        }
    }
    faults.extend((1..=outcome.entered).map(|nth| Fault::Stop { nth }));
    faults.extend(BESIDE_MS.iter().map(|after_ms| Fault::Beside { after_ms: *after_ms }));
    faults.sort();
    faults.dedup();
    Reference { things: outcome.things.clone(), trial, faults, outcome }
}

fn at<T>(list: &[T], nth: u32) -> Option<&T> {
    list.get(usize::try_from(nth).ok()?.checked_sub(1)?)
}

/// The calls of a scenario: execution, and the Task with the action and how often the Task has made it.
fn calls(outcome: &Outcome) -> Vec<(String, String)> {
    let mut ordinals = BTreeMap::<(u32, &str), u32>::new();
    let calls = outcome.made.iter().map(|call| {
        let ordinal = ordinals.entry((call.task, &call.action)).or_default();
        *ordinal += 1;
        let task = at(&outcome.begun, call.task).map(|task| (task.execution.clone(), task.place.clone()));
        let (execution, place) = task.unwrap_or_default();
        (execution, format!("{place} {} {ordinal}", call.action))
    });
    calls.collect()
}

/// Everything that can go wrong with a call.
fn call_faults(nth: u32) -> impl Iterator<Item = Fault> {
    let once = CallFault::ALL.iter().map(move |what| Fault::Call { nth, what: *what, times: 1 });
    // Once is what the SDK makes good by itself; three times is what reaches the function.
    let thrice = [CallFault::Throttled, CallFault::Unavailable, CallFault::Cut, CallFault::ReplyLost];
    let thrice = thrice.into_iter().map(move |what| Fault::Call { nth, what, times: 3 });
    once.chain(thrice).chain([Fault::Doomed { nth }])
}

/// The first and the last of each kind within each execution: number from 1, and the kind with which of
/// the two it is.
fn visits(all: impl Iterator<Item = (String, String)>) -> Vec<(u32, String)> {
    let mut numbers = BTreeMap::<(String, String), (u32, u32)>::new();
    for (nth, kind) in (1..).zip(all) {
        numbers.entry(kind).or_insert((nth, nth)).1 = nth;
    }
    let both = numbers
        .into_iter()
        .flat_map(|((_, kind), (first, last))| [(first, format!("{kind} first")), (last, format!("{kind} last"))]);
    both.collect()
}

/// Runs a scenario under faults, and compares it with the reference.
pub fn run(product: &Rc<Product>, reference: &Reference, faults: Vec<Fault>) -> Outcome {
    let trial = Trial { faults, ..reference.trial.clone() };
    let expected = is_comparable(&trial.faults).then_some(&reference.things);
    let mut outcome = trial::run(product, &trial, expected);
    if reference.outcome.succeeded() {
        outcome.complaints.extend(rules::what_passes_is_made_good(&trial.faults, outcome.first.as_ref()));
        if !outcome.succeeded() {
            outcome.complaints.push("the same run, started again without faults, does not succeed".into());
        }
    }
    outcome
}

/// Whether what a trial ends with can be compared with the reference: what was doomed leaves its
/// remains, and what people do changes what is there.
pub fn is_comparable(faults: &[Fault]) -> bool {
    !faults.iter().any(|fault| matches!(fault, Fault::Doomed { .. } | Fault::Person { .. }))
}
