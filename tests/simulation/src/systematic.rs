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
        faults: Vec::new(),
        seed: 1,
        told: false,
        once: false,
    }
}

/// Runs a scenario without faults and lists the faults to try.
pub fn reference(product: &Rc<Product>, scenario: &Scenario) -> Reference {
    let trial = trial_of(scenario);
    let mut outcome = trial::run(product, &trial, None);
    if outcome.succeeded() != scenario.succeeds {
        let ends = (&outcome.first, &outcome.again);
        outcome.complaints.push(format!("it ends otherwise than its example says: {ends:?}"));
    }
    let mut faults = task_faults(product, &outcome);
    faults.extend(call_faults(&outcome));
    faults.extend((1..=outcome.entered).map(|nth| Fault::Stop { nth }));
    faults.extend(BESIDE_MS.iter().map(|after_ms| Fault::Beside { after_ms: *after_ms }));
    Reference { things: outcome.things.clone(), trial, faults, outcome }
}

/// The first and the last visit of each Task.
fn task_faults(product: &Rc<Product>, outcome: &Outcome) -> Vec<Fault> {
    let visits = outcome.begun.iter().map(|task| (task.execution.clone(), task.place.clone()));
    first_and_last(visits)
        .into_iter()
        .flat_map(|nth| {
            let at = usize::try_from(nth).unwrap_or(usize::MAX) - 1;
            let function = outcome.begun.get(at).and_then(|task| product.functions.get(task.function.as_str()));
            let all = function.map(|function| TaskFault::all(function.errors)).unwrap_or_default();
            all.into_iter().map(move |what| Fault::Task { nth, what })
        })
        .collect()
}

/// The first and the last time that a Task makes a call.
fn call_faults(outcome: &Outcome) -> Vec<Fault> {
    let mut ordinals = BTreeMap::<(u32, &str), u32>::new();
    let calls = outcome.made.iter().map(|call| {
        let ordinal = ordinals.entry((call.task, &call.action)).or_default();
        *ordinal += 1;
        let at = usize::try_from(call.task).unwrap_or(usize::MAX).wrapping_sub(1);
        let task = outcome.begun.get(at).map(|task| (task.execution.clone(), task.place.clone()));
        (task, call.action.clone(), *ordinal)
    });
    let calls: Vec<_> = calls.collect();
    first_and_last(calls.into_iter())
        .into_iter()
        .flat_map(|nth| {
            let once = CallFault::ALL.iter().map(move |what| Fault::Call { nth, what: *what, times: 1 });
            // Once is what the SDK makes good by itself; three times is what reaches the function.
            let thrice = [CallFault::Throttled, CallFault::Unavailable, CallFault::Cut, CallFault::ReplyLost];
            let thrice = thrice.into_iter().map(move |what| Fault::Call { nth, what, times: 3 });
            once.chain(thrice).chain([Fault::Doomed { nth }])
        })
        .collect()
}

/// Numbers, from 1, of the first and the last of each kind.
fn first_and_last<K: Ord>(kinds: impl Iterator<Item = K>) -> BTreeSet<u32> {
    let mut numbers = BTreeMap::<K, (u32, u32)>::new();
    for (nth, kind) in (1..).zip(kinds) {
        numbers.entry(kind).or_insert((nth, nth)).1 = nth;
    }
    numbers.into_values().flat_map(|(first, last)| [first, last]).collect()
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
