//! The program of `make simulate`: faults one by one, then random trials, and what they found.
#![expect(clippy::print_stdout, reason = "it is a program, and this is its output")]

use std::{
    process::ExitCode,
    rc::Rc,
    sync::{
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    thread,
};

use ami_backup_simulation::{
    deployment::Product,
    faults::Fault,
    scenarios, systematic,
    trial::{self},
};
use clap::Parser;

/// Runs the machines on a virtual clock, under every fault.
#[derive(Debug, Parser)]
struct Arguments {
    /// Only scenarios whose name contains this.
    #[arg(long, default_value = "")]
    only: String,
    /// Stop after so many failures.
    #[arg(long, default_value_t = 10)]
    failures: usize,
    /// Show what happened.
    #[arg(long)]
    history: bool,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let product = Rc::new(Product::of_the_project());
    let mut failed = 0;
    for scenario in scenarios::all().into_iter().filter(|one| one.name.contains(&arguments.only)) {
        let began = std::time::Instant::now();
        let reference = systematic::reference(&product, &scenario);
        println!("{}: {} tasks {} calls {} states {} faults {:?}", scenario.name, reference.outcome.begun.len(), reference.outcome.made.len(), reference.outcome.entered, reference.faults.len(), began.elapsed());
        if !reference.outcome.complaints.is_empty() {
            failed += 1;
            println!("  {}", reference.outcome.complaints.join("\n  "));
            if arguments.history { println!("{}", reference.outcome.history.join("\n")); }
            continue;
        }
        let cases: Vec<Fault> = reference.faults.clone();
        let next = AtomicUsize::new(0);
        let (send, receive) = mpsc::channel();
        let began = std::time::Instant::now();
        let (cases, next, base, things) = (&cases, &next, &reference.trial, &reference.things);
        thread::scope(|scope| {
            for _ in 0..2 {
                let send = send.clone();
                scope.spawn(move || {
                    let product = Rc::new(Product::of_the_project());
                    loop {
                        let at = next.fetch_add(1, Ordering::Relaxed);
                        let Some(fault) = cases.get(at) else { break };
                        let mut trial = base.clone();
                        trial.faults = vec![fault.clone()];
                        let expected = systematic::is_comparable(&trial.faults).then_some(things);
                        let outcome = trial::run(&product, &trial, expected);
                        if send.send((at, outcome.complaints, outcome.history, outcome.begun)).is_err() { break }
                    }
                });
            }
            drop(send);
            for (at, complaints, history, _) in receive {
                if complaints.is_empty() { continue }
                failed += 1;
                if failed <= arguments.failures {
                    println!("{} {}:\n  {}", scenario.name, cases[at], complaints.join("\n  "));
                    if arguments.history { println!("{}", history.join("\n")); }
                }
            }
        });
        println!("{} {:?} failed so far {failed}", scenario.name, began.elapsed());
    }
    println!("{failed} failed");
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
