//! Owns one trial: an account, an input, faults; the execution, and the same run again without faults;
//! and what came of it.

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
    rc::Rc,
};

use ami_backup_core::{SignedDuration, Timestamp};
use ami_backup_engine::{Ended, Machine, Status, Timeline};
use ami_backup_simulator::{
    Simulator,
    account::{AccountFile, LaunchConfiguration},
    calls::Call,
    world::{Image, Owned, World},
};
use ami_backup_tests::{ACCOUNT, things::Things};
use futures_executor::LocalSpawner;
use futures_util::{
    future::{Either, join, select},
    task::LocalSpawnExt,
};
use serde::Serialize;
use serde_json::{Value, json};

use crate::{
    deployment::{Begun, Deployment, Product},
    faults::{Deed, Fault},
    history, papers,
    rules::{self, Documents},
    wire::{Made, Planned},
};

/// When every trial begins.
pub const START: Timestamp = Timestamp::constant(1_795_485_600, 0);
/// Nothing that the project does takes longer than this.
const HORIZON: SignedDuration = SignedDuration::from_hours(24 * 120);
/// After this, every function that a stopped execution left behind has ended: the longest may run for a quarter of an
/// hour.
const QUIET: SignedDuration = SignedDuration::from_mins(20);
/// Everything that somebody waited for has ended after this. Where the world is slow beyond all waiting,
/// what goes on does so in both worlds that are compared.
const SETTLED: SignedDuration = SignedDuration::from_hours(24 * 3);
/// After this the Recycle Bin of the examples holds nothing any more.
const BIN_IS_EMPTY: SignedDuration = SignedDuration::from_hours(24 * 31);
/// How often what comes before is started, at most.
const MOST_BEFORE: usize = 6;
/// How often the same run is started again, at most.
const MOST_AGAIN: usize = 4;

/// What is tried.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Trial {
    /// Machine.
    pub machine: String,
    /// Input of the execution.
    pub input: Value,
    /// Executions that come before, without faults: machine and input.
    pub before: Vec<(String, Value)>,
    /// The world.
    #[serde(skip)]
    pub file: AccountFile,
    /// What a person answers when the machine asks.
    #[serde(skip)]
    pub approval: Option<Value>,
    /// What goes wrong.
    pub faults: Vec<Fault>,
    /// What chance decides: how long calls take, jitter.
    pub seed: u64,
    /// Whether its history is wanted even if it breaks no rule.
    #[serde(skip)]
    pub told: bool,
    /// Whether the same run is not started again.
    #[serde(skip)]
    pub once: bool,
}

/// What came of a trial.
pub struct Outcome {
    /// Rules that were broken, in words.
    pub complaints: Vec<String>,
    /// How the execution ended; `None`: it was stopped.
    pub first: Option<Ended>,
    /// How the same run ended when it was started again.
    pub again: Vec<Ended>,
    /// What is there in the end.
    pub things: Things,
    /// The Tasks of the execution.
    pub begun: Vec<Begun>,
    /// The calls of the execution.
    pub made: Vec<Made>,
    /// How many states were entered.
    pub entered: u32,
    /// Every call, implied ones included.
    pub calls: Vec<Call>,
    /// Everything that happened, in order, for people.
    pub history: Vec<String>,
}

impl Outcome {
    /// Whether everything that was promised is there, at last.
    pub fn succeeded(&self) -> bool {
        let last = self.again.last().or(self.first.as_ref());
        last.is_some_and(|ended| matches!(ended.status, Status::Succeeded(_)))
    }
}

/// What the rules are told of an execution that ended.
pub struct Finished<'a> {
    /// It.
    pub ended: &'a Ended,
    /// What is there at its end.
    pub things: Things,
    /// What it wrote.
    pub documents: Documents,
    /// Everything that functions have answered so far.
    pub answers: String,
}

/// Runs a trial. `expected` is what a trial without faults ends with.
///
/// # Panics
/// If its world cannot be set up.
pub fn run(product: &Rc<Product>, trial: &Trial, expected: Option<&Things>) -> Outcome {
    // The SDK draws its jitter from this thread's generator.
    fastrand::seed(trial.seed);
    let timeline = Timeline::new(START);
    let horizon = START.checked_add(HORIZON).expect("a time in this century");
    let (product, trial, expected) = (Rc::clone(product), trial.clone(), expected.cloned());
    let clock = timeline.clone();
    let ran = timeline.run(horizon, move |spawner| async move {
        let deployment = Deployment::new(&product, trial.file.clone(), &clock, spawner.clone());
        deployment.lambda.set_approval(trial.approval.clone());
        Running {
            product,
            trial,
            deployment,
            spawner,
            touched: Rc::default(),
            used: Rc::default(),
            launched: Rc::default(),
            complaints: Vec::new(),
            said_by_both: String::new(),
            beside_a_stopped_one: false,
        }
        .run(expected.as_ref())
        .await
    });
    ran.unwrap_or_else(|stalled| Outcome {
        complaints: vec![format!("the trial never ends: {stalled}")],
        first: None,
        again: Vec::new(),
        things: Things::default(),
        begun: Vec::new(),
        made: Vec::new(),
        entered: 0,
        calls: Vec::new(),
        history: Vec::new(),
    })
}

struct Running {
    product: Rc<Product>,
    trial: Trial,
    deployment: Deployment,
    spawner: LocalSpawner,
    /// Ids of what people changed, by hand.
    touched: Rc<RefCell<BTreeSet<String>>>,
    /// Since when each image is in use.
    used: Rc<RefCell<BTreeMap<String, Timestamp>>>,
    /// Images of which somebody launched an instance.
    launched: Rc<RefCell<BTreeSet<String>>>,
    complaints: Vec<String>,
    /// What the first execution and the one beside it said in the end, if there were two.
    said_by_both: String,
    /// Whether the execution that is judged ran beside one that was stopped.
    beside_a_stopped_one: bool,
}

impl Running {
    async fn run(mut self, expected: Option<&Things>) -> Outcome {
        self.prepare().await;
        let before = self.things().await;
        self.used.borrow_mut().extend(rules::in_use(&self.deployment.simulator).into_iter().map(|id| (id, START)));
        let calls_before = self.deployment.simulator.calls().all().len();
        let (first, beside) = self.first().await;
        if beside.is_some() {
            self.said_by_both = format!("{first:?} {beside:?}");
        }
        self.beside_a_stopped_one = first.is_none() && beside.is_some();
        for ended in first.iter().chain(&beside) {
            self.judge(ended, &before, &before).await;
        }
        self.beside_a_stopped_one = false;
        // What was left behind when the execution was stopped or failed goes on for a moment.
        self.deployment.timeline.sleep(QUIET).await;
        let (begun, made) = (self.deployment.lambda.begun(), self.deployment.wire.made());
        let entered = self.deployment.lambda.entered_states();
        self.deployment.wire.calm();
        self.deployment.lambda.calm();
        let between = self.things().await;
        let again = if self.trial.once { Vec::new() } else { self.again(&before, &between).await };
        self.deployment.timeline.sleep(SETTLED).await;
        let things = self.things().await;
        let calls: Vec<Call> = self.deployment.simulator.calls().all().split_off(calls_before);
        self.follow(&before, calls_before).await;
        let mut touched = self.touched.borrow().clone();
        // What is the work of a clean-up has rules of its own.
        let removed = rules::retired(&self.product.roles, &before, &calls);
        touched.extend(removed.into_iter().chain(rules::restored(&calls)));
        for (earlier, later) in [(&before, &between), (&between, &things)] {
            self.complaints.extend(rules::nothing_good_is_removed(earlier, later, &touched));
        }
        // EC2 writes on an image that somebody launched it.
        touched.extend(self.launched.borrow().iter().cloned());
        self.complaints.extend(rules::nothing_of_others_is_changed(&before, &things, &touched));
        self.complaints.extend(rules::nothing_is_made_twice(&before, &things, &touched));
        self.complaints.extend(rules::everything_is_tagged(&before, &things, &calls, &touched));
        self.complaints.extend(rules::errors_are_what_was_planned(&begun, &self.trial.faults));
        self.complaints.extend(rules::no_right_is_missing(&calls, &made));
        self.complaints.extend(rules::quotas_are_respected(&calls, &made));
        self.complaints.extend(rules::no_wait_outlasts_its_deadline(&self.deployment.engine.histories()));
        if let Some(expected) = expected {
            self.complaints.extend(rules::the_promise_is_kept(&before, expected, &things));
        }
        let mut outcome = Outcome {
            complaints: self.complaints,
            first,
            again,
            things,
            begun,
            made,
            entered,
            calls,
            history: Vec::new(),
        };
        if self.trial.told || !outcome.complaints.is_empty() {
            outcome.history = history::readable(&self.deployment.engine.histories(), &outcome.calls);
        }
        outcome
    }

    /// What comes before, without faults.
    async fn prepare(&mut self) {
        for (at, (machine, input)) in self.trial.before.clone().into_iter().enumerate() {
            // In a slow world it may take more than one start to get it done.
            for attempt in 0..MOST_BEFORE {
                let input = named(&input, "before");
                let ended = self.execute(&machine, format!("before-{at}-{attempt}"), input).await;
                self.deployment.timeline.sleep(SignedDuration::from_hours(6)).await;
                if matches!(ended.status, Status::Succeeded(_)) {
                    break;
                }
            }
        }
        self.deployment.timeline.sleep(SETTLED).await;
    }

    /// The execution with everything that goes wrong, `None` if it was stopped; and the one beside it.
    async fn first(&mut self) -> (Option<Ended>, Option<Ended>) {
        let plan = Plan::of(&self.trial);
        let mut chance = fastrand::Rng::with_seed(self.trial.seed);
        self.deployment.wire.plan(plan.calls, chance.fork());
        let stop = self.deployment.lambda.plan(plan.tasks, plan.stop, chance.fork());
        for (after, deed, to) in plan.people {
            self.person(after, deed, to);
        }
        let first = self.execute(&self.trial.machine, "trial".into(), self.trial.input.clone());
        let first = async {
            match stop {
                None => Some(first.await),
                Some(stop) => match select(Box::pin(first), stop).await {
                    Either::Left((ended, _)) => Some(ended),
                    // Its future is dropped here, and what Lambda does for it goes on.
                    Either::Right(_) => None,
                },
            }
        };
        let Some(after) = plan.beside else { return (first.await, None) };
        let beside = async {
            self.deployment.timeline.sleep(after).await;
            // Started twice by the same person or the same schedule: with the same name of the run.
            self.execute(&self.trial.machine, "beside".into(), named(&self.trial.input, "trial")).await
        };
        let (first, beside) = join(first, beside).await;
        (first, Some(beside))
    }

    /// The same run, until it succeeds or has been started often enough; the first start finds what is there `between`.
    async fn again(&mut self, before: &Things, between: &Things) -> Vec<Ended> {
        let input = named(&self.trial.input, "trial");
        let mut ends: Vec<Ended> = Vec::new();
        for attempt in 0..MOST_AGAIN {
            let at_start = if attempt == 0 { between.clone() } else { self.things().await };
            let ended = self.execute(&self.trial.machine, format!("again-{attempt}"), input.clone()).await;
            self.judge(&ended, before, &at_start).await;
            let succeeded = matches!(ended.status, Status::Succeeded(_));
            ends.push(ended);
            if succeeded {
                break;
            }
            self.deployment.timeline.sleep(SignedDuration::from_hours(3)).await;
        }
        ends
    }

    /// After a cleanup that is applied comes another one of another name: it finishes what was left, and removes nothing
    /// else. All that was removed since `calls_before` was in a plan that somebody could read.
    async fn follow(&mut self, before: &Things, calls_before: usize) {
        let (roles, input) = (&self.product.roles, &self.trial.input);
        let begun = self.deployment.lambda.begun();
        let mut done = false;
        if !self.trial.once && begun.iter().any(|task| rules::removes(roles, &task.function)) {
            self.deployment.timeline.sleep(BIN_IS_EMPTY).await;
            let agreed = || json!({"approved": true});
            self.deployment.lambda.set_approval(Some(self.trial.approval.clone().unwrap_or_else(agreed)));
            let mut input = input.clone();
            if let Some(fields) = input.as_object_mut() {
                fields.remove("scheduledTime");
                fields.insert("run".into(), json!("another"));
            }
            let ended = self.execute(&self.trial.machine, "another".into(), input).await;
            done = matches!(ended.status, Status::Succeeded(_));
        }
        let later = self.things().await;
        let calls: Vec<Call> = self.deployment.simulator.calls().all().split_off(calls_before);
        let plans = papers::plans(&self.deployment.objects).await;
        let agreed = self.deployment.lambda.agreed();
        let touched = self.touched.borrow().clone();
        let mut complaints = rules::what_goes_was_read(roles, input, &plans, &agreed, &calls);
        complaints.extend(rules::no_snapshot_goes_by_itself(roles, input, before, &calls));
        complaints.extend(rules::what_goes_may_go(before, &later, &calls, &self.used.borrow(), &touched));
        if done {
            complaints.extend(rules::nothing_of_a_removed_image_is_left(roles, before, &later, &calls, &touched));
        }
        self.complaints.extend(complaints);
    }

    /// What must hold when an execution has ended that found `at_start` when it began.
    async fn judge(&mut self, ended: &Ended, before: &Things, at_start: &Things) {
        let machine = Rc::clone(self.machine(&self.trial.machine));
        self.complaints.extend(rules::it_ends_as_it_should(ended, &machine));
        let things = self.things().await;
        let mut documents = Documents::read(ended, &things, before, &self.deployment.objects).await;
        // What two starts side by side made, one of them has named.
        documents.text.push_str(&self.said_by_both);
        let mut touched = self.touched.borrow().clone();
        // What came back from the bin is what was there before, and not left behind.
        touched.extend(rules::restored(&self.deployment.simulator.calls().all()));
        let answers = history::answers(&self.deployment.engine.histories());
        let finished = Finished { ended, things, documents, answers };
        self.complaints.extend(rules::success_is_whole(&finished));
        self.complaints.extend(rules::no_machine_is_at_a_loss(&finished, &self.deployment.lambda.begun()));
        self.complaints.extend(rules::what_is_claimed_is_so(&finished, &touched));
        // An execution that was stopped reports nothing, and one beside it cannot report what it goes on to make: the next
        // start of the run does.
        if !self.beside_a_stopped_one {
            self.complaints.extend(rules::nothing_is_left_out(&finished, at_start, &touched));
        }
    }

    fn machine(&self, name: &str) -> &Rc<Machine> {
        self.product.machines.get(name).unwrap_or_else(|| panic!("there is no machine {name}"))
    }

    async fn execute(&self, machine: &str, name: String, input: Value) -> Ended {
        self.deployment.engine.execute(Rc::clone(self.machine(machine)), name, input).await
    }

    async fn things(&self) -> Things {
        Things::of(&self.deployment.simulator, &self.deployment.objects).await
    }

    /// Somebody does something to the account after a while.
    fn person(&self, after: SignedDuration, deed: Deed, to: u32) {
        let (timeline, touched) = (self.deployment.timeline.clone(), Rc::clone(&self.touched));
        let (simulator, objects) = (self.deployment.simulator.clone(), self.deployment.objects.clone());
        let (used, launched) = (Rc::clone(&self.used), Rc::clone(&self.launched));
        let doing = async move {
            timeline.sleep(after).await;
            simulator.settle().await;
            if matches!(deed, Deed::SwapPlan | Deed::ForgeApproval) {
                let changed = papers::change(&objects, deed, to).await;
                touched.borrow_mut().extend(changed);
                return;
            }
            let world = simulator.world();
            let pick = |count: usize| usize::try_from(to).ok().and_then(|to| to.checked_rem(count));
            if deed == Deed::DeleteObject {
                let all: Vec<(String, String)> = objects
                    .contents()
                    .into_iter()
                    .flat_map(|(bucket, keys)| keys.into_iter().map(move |key| (bucket.clone(), key)))
                    .filter(|(_, key)| !key.starts_with("runs/") && !key.starts_with("leases/"))
                    .collect();
                if let Some((bucket, key)) = pick(all.len()).and_then(|at| all.get(at)) {
                    objects.remove(bucket, key);
                    touched.borrow_mut().insert(format!("{bucket}/{key}"));
                }
                return;
            }
            let regions = simulator.file().accounts.iter().filter(|account| account.id == ACCOUNT);
            let images: Vec<_> = regions
                .flat_map(|account| account.regions.iter())
                .flat_map(|region| world.images(ACCOUNT, region))
                .collect();
            if deed == Deed::MarkSnapshot {
                mark_snapshot(&simulator, pick, &touched);
                return;
            }
            let Some(image) = pick(images.len()).and_then(|at| images.get(at)) else { return };
            let now = timeline.now();
            match deed {
                Deed::Launch if image.state == "available" => {
                    launched.borrow_mut().insert(image.id.clone());
                    world.launch(&image.id, &format!("i-0b{:015x}", now.as_millisecond()), now);
                    used.borrow_mut().entry(image.id.clone()).or_insert(now);
                    return;
                }
                Deed::Configure if image.state == "available" => {
                    world.change_uses(|uses| uses.launch_configurations.push(configuration(image)));
                    used.borrow_mut().entry(image.id.clone()).or_insert(now);
                    return;
                }
                Deed::Launch | Deed::Configure => return,
                _ => {}
            }
            touched.borrow_mut().insert(image.id.clone());
            touched.borrow_mut().extend(image.devices.iter().map(|device| device.snapshot_id.clone()));
            change(world, image, deed);
        };
        // A pool takes what it is given.
        let _spawned = self.spawner.spawn_local(doing);
    }
}

/// What somebody does to an image.
fn change(world: &World, image: &Image, deed: Deed) {
    match deed {
        Deed::Deregister => drop(world.deregister(&image.id)),
        Deed::Share => drop(world.change_image(&image.id, |image| {
            image.launch_permissions.insert("444455556666".into());
        })),
        Deed::Tag => drop(world.change_image(&image.id, |image| {
            image.tags.insert("Owner".into(), "somebody".into());
        })),
        Deed::Untag => drop(world.change_image(&image.id, |image| {
            let own = image.tags.keys().find(|key| !key.starts_with("ami-backup:")).cloned();
            own.map(|key| image.tags.remove(&key));
        })),
        Deed::DeleteObject
        | Deed::Launch
        | Deed::Configure
        | Deed::SwapPlan
        | Deed::ForgeApproval
        | Deed::MarkSnapshot => {}
    }
}

/// Somebody writes on a snapshot that it is ours, and that it was to go with an image which is gone.
fn mark_snapshot(simulator: &Simulator, pick: impl Fn(usize) -> Option<usize>, touched: &RefCell<BTreeSet<String>>) {
    let world = simulator.world();
    let accounts = simulator.file().accounts.iter().filter(|account| account.id == ACCOUNT);
    let regions = accounts.flat_map(|account| account.regions.iter());
    let snapshots: Vec<_> = regions.flat_map(|region| world.snapshots(ACCOUNT, region)).collect();
    let Some(snapshot) = pick(snapshots.len()).and_then(|at| snapshots.get(at)) else { return };
    world.change_snapshot(&snapshot.id, |snapshot| {
        snapshot.tags.insert("ami-backup:managed".into(), "true".into());
        snapshot.tags.insert("ami-backup:retires-with".into(), "ami-0deadbeef0deadbee".into());
    });
    touched.borrow_mut().insert(snapshot.id.clone());
}

/// A launch configuration that somebody makes of an image.
fn configuration(image: &Image) -> Owned<LaunchConfiguration> {
    let it = LaunchConfiguration {
        region: image.region.clone(),
        name: format!("of-{}", image.id),
        image_id: image.id.clone(),
        instance_type: "t3.micro".into(),
        snapshot_ids: Vec::new(),
    };
    Owned { account: image.account.clone(), it }
}

/// The input of a later start of the run that was first started under a name: runs that a schedule
/// starts have their name in the input already.
fn named(input: &Value, run: &str) -> Value {
    let mut input = input.clone();
    if let Some(fields) = input.as_object_mut()
        && !fields.contains_key("scheduledTime")
        && !fields.contains_key("run")
    {
        fields.insert("run".into(), json!(run));
    }
    input
}

/// The faults of a trial, sorted by who is told of them.
struct Plan {
    tasks: BTreeMap<u32, crate::faults::TaskFault>,
    calls: BTreeMap<u32, Planned>,
    stop: Option<u32>,
    beside: Option<SignedDuration>,
    people: Vec<(SignedDuration, Deed, u32)>,
}

impl Plan {
    fn of(trial: &Trial) -> Self {
        let mut plan =
            Self { tasks: BTreeMap::new(), calls: BTreeMap::new(), stop: None, beside: None, people: Vec::new() };
        for fault in trial.faults.clone() {
            match fault {
                Fault::Task { nth, what } => drop(plan.tasks.insert(nth, what)),
                Fault::Call { nth, what, times } => drop(plan.calls.insert(nth, Planned::Wrong(what, times))),
                Fault::Doomed { nth } => drop(plan.calls.insert(nth, Planned::Doomed)),
                Fault::Stop { nth } => plan.stop = Some(nth),
                Fault::Beside { after_ms } => plan.beside = Some(SignedDuration::from_millis(after_ms.into())),
                Fault::Person { after_s, deed, to } => {
                    plan.people.push((SignedDuration::from_secs(after_s.into()), deed, to));
                }
            }
        }
        plan
    }
}
