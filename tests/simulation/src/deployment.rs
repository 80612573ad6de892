//! Owns the product as it is deployed, on a simulated AWS and a timeline: Lambda with its processes,
//! the machines on the engine, and the roles of the template.

use std::{
    cell::RefCell,
    collections::BTreeMap,
    future::{Future, poll_fn},
    rc::Rc,
    sync::Arc,
    task::Poll,
};

use ami_backup_aws::{Aws, RetryPartition};
use ami_backup_core::{SignedDuration, Timestamp, settings::Settings};
use ami_backup_engine::{Engine, Failure, Host, Invocation, Machine, Timeline, definition::substitute, host::Local};
use ami_backup_simulator::{
    Simulator,
    account::AccountFile,
    objects::{LocalObjects, ObjectStore},
};
use ami_backup_tests::{ACCOUNT, deployed, functions::Function, project};
use aws_config::{AppName, BehaviorVersion, Region, SdkConfig};
use aws_credential_types::{Credentials, provider::SharedCredentialsProvider};
use aws_smithy_async::{rt::sleep::SharedAsyncSleep, time::SharedTimeSource};
use futures_channel::oneshot;
use futures_executor::LocalSpawner;
use futures_util::{
    future::{Either, join, select},
    task::LocalSpawnExt,
};
use serde_json::{Value, json};

use crate::{
    faults::TaskFault,
    wire::{Now, Process, Wire},
};

/// A person answers within this, now and then only after having been asked again.
const MOST_MINUTES_TO_ANSWER: i64 = 300;

/// The machines and functions of a deployment, read once and used by many worlds of one thread.
pub struct Product {
    /// Machines by name.
    pub machines: BTreeMap<String, Rc<Machine>>,
    /// Functions by name.
    pub functions: BTreeMap<&'static str, &'static Function>,
    /// The variables of each function.
    variables: BTreeMap<&'static str, BTreeMap<String, String>>,
    /// The policy of each function's role.
    pub roles: BTreeMap<&'static str, Value>,
    /// The policy of each bucket.
    pub buckets: BTreeMap<String, Value>,
    /// Policies beside these: what the organization denies to all, and a boundary of each role.
    pub guards: Option<[Value; 2]>,
    /// Longest invocation of each function.
    timeouts: BTreeMap<&'static str, SignedDuration>,
}

/// A product in a world of its own.
pub struct Deployment {
    /// What time it is.
    pub timeline: Timeline,
    /// The simulated AWS.
    pub simulator: Simulator,
    /// Its objects.
    pub objects: LocalObjects,
    /// The way there.
    pub wire: Arc<Wire>,
    /// Its functions.
    pub lambda: Rc<Lambda>,
    /// Its executions.
    pub engine: Engine,
}

/// Lambda: runs functions in processes, one invocation in each at a time.
pub struct Lambda {
    product: Rc<Product>,
    timeline: Timeline,
    spawner: LocalSpawner,
    objects: LocalObjects,
    wire: Arc<Wire>,
    state: RefCell<State>,
    this: std::rc::Weak<Lambda>,
}

#[derive(Default)]
struct State {
    approval: Option<Value>,
    /// Digest of the plan that each token asks about.
    asked: BTreeMap<String, String>,
    /// When a person agreed to something, and to which plan.
    agreed: Vec<(Timestamp, String)>,
    chance: Option<fastrand::Rng>,
    planned: BTreeMap<u32, TaskFault>,
    idle: BTreeMap<&'static str, Vec<(Process, Aws)>>,
    begun: Vec<Begun>,
    entered: u32,
    stop: Option<(u32, oneshot::Sender<()>)>,
}

/// A Task that was begun.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Begun {
    /// When.
    pub at: Timestamp,
    /// Execution and place of the Task.
    pub execution: String,
    /// The Task, with the states around it.
    pub place: String,
    /// Its function.
    pub function: String,
    /// Error that its invocation ended with.
    pub error: Option<String>,
    /// What was planned to go wrong.
    pub fault: Option<TaskFault>,
}

impl Product {
    /// The project's own machines and functions.
    ///
    /// # Panics
    /// If a machine has a field that the engine does not know.
    pub fn of_the_project() -> Self {
        let machines = project::machines().into_iter().map(|machine| {
            let read = substitute(&machine.text, |name| deployed::substitution(&machine.name, name))
                .and_then(|text| Machine::parse(&text));
            let read = read.unwrap_or_else(|error| panic!("{}: {error}", machine.name));
            (machine.name, Rc::new(read))
        });
        Self::new(machines.collect(), ami_backup_tests::functions::ALL)
    }

    /// These machines, of these functions.
    pub fn new(machines: BTreeMap<String, Rc<Machine>>, functions: &'static [Function]) -> Self {
        Self {
            machines,
            functions: functions.iter().map(|function| (function.name, function)).collect(),
            variables: functions.iter().map(|one| (one.name, deployed::variables(one.name))).collect(),
            roles: functions.iter().map(|one| (one.name, deployed::role(one.name))).collect(),
            buckets: deployed::bucket_policies(),
            guards: None,
            timeouts: functions.iter().map(|one| (one.name, deployed::timeout(one.name))).collect(),
        }
    }
}

impl Deployment {
    /// A world of an account file, in which every function has the rights of its role and the buckets have their policies.
    ///
    /// # Panics
    /// If a policy has a statement that the simulator does not know.
    pub fn new(product: &Rc<Product>, file: AccountFile, timeline: &Timeline, spawner: LocalSpawner) -> Self {
        let clock = Arc::new(Now(timeline.clone()));
        let objects = LocalObjects::new(clock.clone());
        let simulator = Simulator::new(file, clock, Arc::new(objects.clone()));
        deployed::deploy(&simulator, product.roles.iter().map(|(name, role)| (*name, role)), &product.buckets);
        if let Some([organization, boundary]) = &product.guards {
            let permissions = simulator.permissions();
            let boundaries = product.roles.keys().map(|function| permissions.set_boundary(*function, boundary));
            let all: Result<(), String> = boundaries.chain([permissions.set_organization(organization)]).collect();
            all.unwrap_or_else(|error| panic!("a policy beside the roles: {error}"));
        }
        let wire = Wire::new(simulator.clone(), timeline.clone());
        let lambda = Rc::new_cyclic(|this| Lambda {
            product: Rc::clone(product),
            timeline: timeline.clone(),
            spawner,
            objects: objects.clone(),
            wire: Arc::clone(&wire),
            state: RefCell::default(),
            this: this.clone(),
        });
        let engine = Engine::new(timeline.clone(), lambda.clone());
        Self { timeline: timeline.clone(), simulator, objects, wire, lambda, engine }
    }
}

impl Lambda {
    /// From now on Tasks and states are counted from 1, and go wrong as planned. What is returned is
    /// told when the state of that number is entered.
    pub fn plan(
        &self,
        planned: BTreeMap<u32, TaskFault>,
        stop_at: Option<u32>,
        chance: fastrand::Rng,
    ) -> Option<oneshot::Receiver<()>> {
        let mut state = self.state.borrow_mut();
        let (sender, receiver) = oneshot::channel();
        state.stop = stop_at.map(|nth| (nth, sender));
        state.planned = planned;
        state.chance = Some(chance);
        state.begun.clear();
        state.entered = 0;
        stop_at.map(|_| receiver)
    }

    /// What a person answers, after a while, when a machine asks; `None`: nobody ever answers.
    pub fn set_approval(&self, approval: Option<Value>) {
        self.state.borrow_mut().approval = approval;
    }

    /// When a person agreed, and to the plan of which digest.
    pub fn agreed(&self) -> Vec<(Timestamp, String)> {
        self.state.borrow().agreed.clone()
    }

    /// What a person answers to what a token asks: an agreement names the plan, as the notice does, unless the answer
    /// names one already.
    fn answer(&self, mut approval: Value, token: &str) -> Value {
        let mut state = self.state.borrow_mut();
        let Some(plan) = state.asked.get(token).cloned() else { return approval };
        if let (true, Some(fields)) = (approval["approved"] == true, approval.as_object_mut()) {
            let named = fields.entry("plan").or_insert_with(|| plan.into()).as_str().unwrap_or_default().to_owned();
            state.agreed.push((self.timeline.now(), named));
        }
        approval
    }

    /// From now on nothing goes wrong.
    pub fn calm(&self) {
        let mut state = self.state.borrow_mut();
        state.planned.clear();
        state.stop = None;
    }

    /// The Tasks that were begun since the plan was made.
    pub fn begun(&self) -> Vec<Begun> {
        self.state.borrow().begun.clone()
    }

    /// How many states were entered since the plan was made.
    pub fn entered_states(&self) -> u32 {
        self.state.borrow().entered
    }

    /// Carries a Task out; `None`: no answer ever comes.
    async fn carry_out(
        &self,
        nth: u32,
        invocation: &Invocation,
        fault: Option<TaskFault>,
    ) -> Option<Result<Value, Failure>> {
        let once = || self.call(nth, &invocation.function, invocation.payload.clone());
        let crashed = || Some(Err(Failure::new("Runtime.ExitError", "the process ended after its work")));
        match fault {
            None => Some(once().await),
            Some(TaskFault::Raises(error)) => {
                let cause = json!({"errorType": error, "errorMessage": "it was planned to fail"});
                Some(Err(Failure::new(error, cause.to_string())))
            }
            Some(TaskFault::HangsBefore) => None,
            Some(TaskFault::CrashesAfter) => {
                let _unheard = once().await;
                crashed()
            }
            Some(TaskFault::HangsAfter) => {
                let _unheard = once().await;
                None
            }
            Some(TaskFault::RunsTwice) => {
                let _first = once().await;
                Some(once().await)
            }
            Some(TaskFault::RunsTwiceAtOnce) => {
                let (first, _second) = join(once(), once()).await;
                Some(first)
            }
        }
    }

    /// One invocation of a function.
    async fn call(&self, nth: u32, function: &str, payload: Value) -> Result<Value, Failure> {
        let Some(known) = self.product.functions.get(function).copied() else {
            return Err(Failure::new("Lambda.ResourceNotFoundException", format!("there is no function {function}")));
        };
        let (process, aws) = self.process(known);
        process.serve(nth);
        let start = self.state.borrow_mut().chance.as_mut().map_or(20, |chance| chance.i64(2..300));
        self.timeline.sleep(SignedDuration::from_millis(start)).await;
        let work = until_it_dies(process.clone(), (known.handle)(aws.clone(), self.timeline.now(), payload));
        match select(Box::pin(work), self.timeline.sleep(self.product.timeouts[known.name])).await {
            Either::Left((Some(answer), _)) => {
                self.state.borrow_mut().idle.entry(known.name).or_default().push((process, aws));
                answer.map_err(|error| {
                    let cause = json!({"errorType": error.name.as_str(), "errorMessage": error.to_string()});
                    Failure::new(error.name.as_str(), cause.to_string())
                })
            }
            Either::Left((None, _)) => Err(Failure::new("Runtime.ExitError", "the process ended in the middle")),
            Either::Right(_) => Err(Failure::new("Sandbox.Timedout", "the function's time is over")),
        }
    }

    /// A process that is idle, or a new one.
    fn process(&self, function: &'static Function) -> (Process, Aws) {
        if let Some(idle) = self.state.borrow_mut().idle.get_mut(function.name).and_then(Vec::pop) {
            return idle;
        }
        let process = Process::new(Arc::clone(&self.wire));
        let variables = &self.product.variables[function.name];
        let settings = Settings::read(|name| variables.get(name).cloned()).expect("the template's variables are valid");
        // A partition of its own: the SDK's default one is shared by everything in this program.
        let aws = Aws::new(self.config(function.name, &process), settings).expect("a complete configuration");
        (process, aws.with_retry_partition(RetryPartition::custom(function.name).build()))
    }

    /// The SDK as it is deployed, but for its clock, its sleep and its HTTP client.
    fn config(&self, function: &'static str, process: &Process) -> SdkConfig {
        let credentials = Credentials::new(ACCOUNT, "any secret", None, None, "simulation");
        let now = Now(self.timeline.clone());
        SdkConfig::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new("us-east-1"))
            .credentials_provider(SharedCredentialsProvider::new(credentials))
            .http_client(process.http_client())
            .time_source(SharedTimeSource::new(now.clone()))
            .sleep_impl(SharedAsyncSleep::new(now))
            .timeout_config(ami_backup_aws::timeouts())
            .retry_config(ami_backup_aws::retries())
            .app_name(AppName::new(function).expect("a valid name"))
            .build()
    }
}

impl Host for Lambda {
    fn invoke(&self, invocation: Invocation) -> Local<Result<Value, Failure>> {
        let this = self.this.upgrade().expect("whoever calls holds it");
        let (nth, fault) = {
            let mut state = self.state.borrow_mut();
            let nth = u32::try_from(state.begun.len()).unwrap_or(u32::MAX).saturating_add(1);
            let fault = state.planned.get(&nth).cloned();
            let asked = |path: &str| invocation.payload.pointer(path).and_then(Value::as_str).map(str::to_owned);
            if let (Some(token), Some(plan)) = (asked("/token"), asked("/turn/subject/plan/binding/digest")) {
                state.asked.insert(token, plan);
            }
            state.begun.push(Begun {
                at: self.timeline.now(),
                execution: invocation.execution.clone(),
                place: invocation.place.clone(),
                function: invocation.function.clone(),
                error: None,
                fault: fault.clone(),
            });
            (nth, fault)
        };
        let (sender, receiver) = oneshot::channel();
        // A function goes on when nobody waits for it any more, as it does in Lambda.
        let spawned = self.spawner.spawn_local(async move {
            let Some(result) = this.carry_out(nth, &invocation, fault).await else {
                return std::future::pending().await;
            };
            let index = usize::try_from(nth).unwrap_or(usize::MAX) - 1;
            if let (Some(begun), Err(failure)) = (this.state.borrow_mut().begun.get_mut(index), &result) {
                begun.error = Some(failure.error.clone());
            }
            // Nobody may wait for it any more.
            let _unheard = sender.send(result);
        });
        Box::pin(async move {
            match (spawned, receiver.await) {
                (Ok(()), Ok(result)) => result,
                _ => std::future::pending().await,
            }
        })
    }

    fn token_answer(&self, token: &str) -> Local<Result<Value, Failure>> {
        let (this, token) = (self.this.upgrade().expect("whoever calls holds it"), token.to_owned());
        Box::pin(async move {
            let (approval, minutes) = {
                let mut state = this.state.borrow_mut();
                let minutes = state.chance.as_mut().map_or(10, |chance| chance.i64(1..MOST_MINUTES_TO_ANSWER));
                (state.approval.clone(), minutes)
            };
            this.timeline.sleep(SignedDuration::from_mins(minutes)).await;
            match approval {
                Some(approval) => Ok(this.answer(approval, &token)),
                None => std::future::pending().await,
            }
        })
    }

    fn read_object(&self, bucket: &str, key: &str) -> Local<Result<Vec<u8>, String>> {
        let (objects, bucket, key) = (self.objects.clone(), bucket.to_owned(), key.to_owned());
        Box::pin(async move {
            let object = objects.get(&bucket, &key).await;
            object.map(|object| object.body).map_err(|error| format!("s3://{bucket}/{key}: {error:?}"))
        })
    }

    fn chance(&self) -> f64 {
        self.state.borrow_mut().chance.as_mut().map_or(0.5, fastrand::Rng::f64)
    }

    fn entered(&self, _execution: &str, _place: &str) {
        let mut state = self.state.borrow_mut();
        state.entered += 1;
        if state.stop.as_ref().is_some_and(|(nth, _)| *nth == state.entered)
            && let Some((_, stop)) = state.stop.take()
        {
            // Nobody may wait for it any more.
            let _unheard = stop.send(());
        }
    }
}

/// What `work` returns, or `None` as soon as its process has ended.
async fn until_it_dies<T>(process: Process, work: impl Future<Output = T>) -> Option<T> {
    let mut work = std::pin::pin!(work);
    poll_fn(|context| match work.as_mut().poll(context) {
        Poll::Ready(answer) => Poll::Ready(Some(answer)),
        Poll::Pending if process.is_dead() => Poll::Ready(None),
        Poll::Pending => Poll::Pending,
    })
    .await
}
