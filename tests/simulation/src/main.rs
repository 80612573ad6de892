//! The program of `make simulate`: faults one by one, then random trials, and what they found.
#![expect(
    clippy::print_stdout,
    clippy::expect_used,
    reason = "a program of the tests: it prints, and may stop at what is not so"
)]

use std::{collections::BTreeMap, ops::Range, process::ExitCode, rc::Rc, time::Instant};

use ami_backup_simulation::{
    deployment::Product,
    faults::Fault,
    rights, rules, runner,
    scenarios::{self, Scenario},
    seeds, systematic,
    trial::{Outcome, Trial},
};
use ami_backup_tests::project;
use clap::Parser;
use serde_json::Value;

/// A trial makes and drops millions of small texts, on which the C library's allocator spends an eighth of the time.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Runs the machines on a virtual clock, under every fault.
#[derive(Debug, Parser)]
struct Arguments {
    /// How many random trials.
    #[arg(long, default_value_t = 10_000)]
    seeds: u64,
    /// The first of them.
    #[arg(long, default_value_t = 0)]
    from: u64,
    /// Replays one random trial, and makes its faults fewer.
    #[arg(long)]
    seed: Option<u64>,
    /// Replays this scenario, with `--faults`.
    #[arg(long)]
    scenario: Option<String>,
    /// Faults of the replayed scenario, as JSON.
    #[arg(long, default_value = "[]")]
    faults: String,
    /// Only scenarios whose name contains this.
    #[arg(long, default_value = "")]
    only: String,
    /// Without the faults that are tried one by one.
    #[arg(long)]
    random_only: bool,
    /// Stop after so many failures.
    #[arg(long, default_value_t = 10)]
    failures: usize,
    /// How many trials at a time.
    #[arg(long, default_value_t = 2)]
    threads: usize,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let failed = match (&arguments.seed, &arguments.scenario) {
        (Some(seed), _) => replay_seed(*seed),
        (None, Some(name)) => replay_scenario(name, &arguments.faults),
        (None, None) => everything(&arguments),
    };
    if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

/// What all trials together came to.
#[derive(Debug, Default)]
struct Tally {
    trials: usize,
    failed: usize,
    calls: usize,
    refused: usize,
    used: rights::Used,
    codes: BTreeMap<String, usize>,
}

impl Tally {
    fn add(&mut self, outcome: &Outcome) {
        self.trials += 1;
        self.failed += usize::from(!outcome.complaints.is_empty());
        self.calls += outcome.calls.len();
        self.refused += rules::refused_for_quota(&outcome.calls, &outcome.made);
        self.used.extend(rights::used(&outcome.calls));
        for call in outcome.calls.iter().filter(|call| rules::QUOTA.contains(&call.outcome.as_str())) {
            *self.codes.entry(call.action.clone()).or_default() += 1;
        }
    }
}

/// Everything; whether anything failed.
fn everything(arguments: &Arguments) -> bool {
    let mut tally = Tally::default();
    if !arguments.random_only {
        one_by_one(arguments, &mut tally);
    }
    let enough = |tally: &Tally| tally.failed >= arguments.failures;
    if !enough(&tally) {
        at_random(arguments, &mut tally);
    }
    // Only if everything was tried is a right that was not used one that is not needed.
    if arguments.only.is_empty() && !arguments.random_only && tally.failed == 0 {
        let product = Product::of_the_project();
        let reasons: Value =
            serde_json::from_str(&project::text("tests/simulation/unused-rights.json")).expect("reasons are JSON");
        for complaint in rights::complaints(&product.roles, &tally.used, &reasons) {
            tally.failed += 1;
            println!("rights: {complaint}");
        }
    }
    let share = tally.refused * 1_000 / tally.calls.max(1);
    println!("{} calls of AWS, {} of them refused for quota ({share} in 1,000)", tally.calls, tally.refused);
    let by_action: Vec<String> = tally.codes.iter().map(|(action, count)| format!("{action} {count}")).collect();
    println!("  refusals by action, planned ones included: {}", by_action.join(", "));
    println!("{} passed, {} failed", tally.trials.saturating_sub(tally.failed), tally.failed);
    tally.failed > 0
}

/// Every fault of every scenario.
fn one_by_one(arguments: &Arguments, tally: &mut Tally) {
    let product = Rc::new(Product::of_the_project());
    let mut tried = systematic::Tried::new();
    for scenario in scenarios::all().into_iter().filter(|one| one.name.contains(&arguments.only)) {
        let began = now();
        let reference = systematic::reference(&product, &scenario, &mut tried);
        tally.add(&reference.outcome);
        if reference.outcome.complaints.is_empty() {
            let work = |product: &Rc<Product>, fault: &Fault| systematic::run(product, &reference, vec![fault.clone()]);
            runner::each(&reference.faults, arguments.threads, work, |fault, outcome| {
                tally.add(&outcome);
                if !outcome.complaints.is_empty() {
                    print_scenario(&scenario, std::slice::from_ref(fault), &outcome);
                }
                tally.failed < arguments.failures
            });
        } else {
            print_scenario(&scenario, &[], &reference.outcome);
        }
        let (name, count, seconds) = (&scenario.name, reference.faults.len(), began.elapsed().as_secs_f32());
        println!("{name}: {count} faults one by one, {seconds:.1} s");
        if tally.failed >= arguments.failures {
            return;
        }
    }
}

fn print_scenario(scenario: &Scenario, faults: &[Fault], outcome: &Outcome) {
    let texts: Vec<String> = faults.iter().map(ToString::to_string).collect();
    println!("{} with {}:\n  {}", scenario.name, texts.join("; "), outcome.complaints.join("\n  "));
    let json = serde_json::to_string(faults).expect("faults are JSON");
    println!("  to see it: make simulate SCENARIO={} FAULTS='{json}'", scenario.name);
}

/// Random trials.
fn at_random(arguments: &Arguments, tally: &mut Tally) {
    let began = now();
    let range: Range<u64> = arguments.from..arguments.from + arguments.seeds;
    let scenarios: Vec<Scenario> =
        scenarios::all().into_iter().filter(|one| one.name.contains(&arguments.only)).collect();
    let numbers: Vec<u64> = range.collect();
    let work = |product: &Rc<Product>, seed: &u64| seeds::run(product, &seeds::trial_of(product, &scenarios, *seed));
    let mut count = 0_usize;
    runner::each(&numbers, arguments.threads, work, |seed, outcome| {
        tally.add(&outcome);
        count += 1;
        if count.is_multiple_of(1_000) {
            println!("{count} seeds, {:.0} s", began.elapsed().as_secs_f32());
        }
        if !outcome.complaints.is_empty() {
            println!("seed {seed}:\n  {}", outcome.complaints.join("\n  "));
            println!("  to see it: make simulate SEED={seed}");
        }
        tally.failed < arguments.failures
    });
    println!("{count} seeds at random, {:.1} s", began.elapsed().as_secs_f32());
}

/// One random trial, twice, and with as few faults as it needs; whether it fails.
fn replay_seed(seed: u64) -> bool {
    let product = Rc::new(Product::of_the_project());
    let trial = Trial { told: true, ..seeds::trial_of(&product, &scenarios::all(), seed) };
    let (first, second) = (seeds::run(&product, &trial), seeds::run(&product, &trial));
    let same = first.history == second.history && first.complaints == second.complaints;
    let trial = if first.complaints.is_empty() {
        trial
    } else {
        seeds::shrunk(&trial, |fewer| !seeds::run(&product, fewer).complaints.is_empty())
    };
    let outcome = seeds::run(&product, &trial);
    show(&trial, &outcome);
    println!("twice with the same history: {}", if same { "yes" } else { "NO" });
    !outcome.complaints.is_empty() || !same
}

/// One scenario with given faults; whether it fails.
fn replay_scenario(name: &str, faults: &str) -> bool {
    let product = Rc::new(Product::of_the_project());
    let faults: Vec<Fault> = serde_json::from_str(faults).expect("--faults is a list of faults as JSON");
    let scenario = scenarios::all().into_iter().find(|one| one.name == name).expect("--scenario is in events/");
    let mut reference = systematic::reference(&product, &scenario, &mut systematic::Tried::new());
    reference.trial.told = true;
    let outcome = systematic::run(&product, &reference, faults.clone());
    show(&Trial { faults, ..reference.trial }, &outcome);
    !outcome.complaints.is_empty()
}

fn show(trial: &Trial, outcome: &Outcome) {
    println!("{}", outcome.history.join("\n"));
    println!("\n{} {}", trial.machine, trial.input);
    println!("settings {}", serde_json::to_string(&trial.file.settings).expect("settings are JSON"));
    let faults: Vec<String> = trial.faults.iter().map(|fault| format!("  {fault}")).collect();
    println!("faults that it needs:\n{}", faults.join("\n"));
    println!("first: {:?}", outcome.first.as_ref().map(|ended| &ended.status));
    for ended in &outcome.again {
        println!("again: {:?}", ended.status);
    }
    println!("rules that are broken:\n  {}", outcome.complaints.join("\n  "));
}

#[expect(clippy::disallowed_methods, reason = "how long the program takes is told to people, and decides nothing")]
fn now() -> Instant {
    Instant::now()
}
