//! Owns what the modules of this suite share: calling a function as a state machine does, waiting as
//! one does, and comparing worlds.

use std::collections::{BTreeMap, BTreeSet};

use ami_backup_aws::Aws;
use ami_backup_core::{ErrorName, SignedDuration, StepError, Timestamp};
use ami_backup_simulator::{
    account::{AccountFile, Image, Settings},
    calls::Call,
    faults::{Effect, Rule},
    objects::ObjectStore,
};
pub use ami_backup_tests::{ACCOUNT, BUCKET, EXPORTS, IMAGE, INSTANCE, Stage, error_name, functions::Answer};
use ami_backup_tests::{functions, furnish, things};
pub use serde_json::{Value, json};

/// Account that the demo's image is shared with, and that owns some images itself.
pub const OTHER_ACCOUNT: &str = "111122223333";
/// Image that the other account shares with the demo's.
pub const SHARED: &str = "ami-0a1b2c3d4e5f60016";
/// Home of the demo.
pub const HOME: &str = "us-east-1";

/// The calls that make something that costs money, each of them once.
pub const CREATING: [&str; 6] =
    ["CreateImage", "CopyImage", "CreateStoreImageTask", "CreateRestoreImageTask", "RegisterImage", "ExportImage"];

/// Calls a function as a state machine does: JSON in, JSON out, and of errors only those that the
/// function says it has.
pub async fn call_with(aws: &Aws, now: Timestamp, function: &str, input: Value) -> Answer {
    let function = functions::named(function).unwrap_or_else(|| panic!("there is no function {function}"));
    // A task that never waits for anything outside must not be made to pause.
    let answer = tokio::task::unconstrained((function.handle)(aws.clone(), now, input)).await;
    if let Err(error) = &answer {
        let name = function.name;
        assert!(function.errors().contains(&error.name), "{name} ends with {}, which `core::raised` lacks", error.name);
        assert!(!error.doing.is_empty() && !error.reason.is_empty(), "{name}: {error}");
    }
    answer
}

/// Calls a function of the demo's deployment once.
pub async fn call(stage: &Stage, function: &str, input: Value) -> Answer {
    call_with(&stage.aws(function), stage.now(), function, input).await
}

/// Calls a function that must not fail.
pub async fn good(stage: &Stage, function: &str, input: Value) -> Value {
    call(stage, function, input).await.unwrap_or_else(|error| panic!("{function}: {error}"))
}

/// Calls a function until it no longer asks for another try, with the waits of the machines' `Retry`.
pub async fn persist(stage: &Stage, function: &str, input: Value) -> Answer {
    let mut tries = BTreeMap::<ErrorName, i32>::new();
    loop {
        let error = match call(stage, function, input.clone()).await {
            Ok(output) => return Ok(output),
            Err(error) => error,
        };
        let (interval, rate, most, longest) = match error.name {
            ErrorName::Throttled => (5.0, 2.0, 8, 300.0),
            ErrorName::Transient => (2.0, 2.0, 6, 60.0),
            ErrorName::NotYetVisible => (5.0, 1.5_f64, 8, 60.0),
            _ => return Err(error),
        };
        let tried = tries.entry(error.name).or_default();
        if *tried == most {
            return Err(error);
        }
        let wait = f64::min(interval * rate.powi(*tried), longest);
        *tried += 1;
        stage.clock.advance(SignedDuration::from_secs_f64(wait));
    }
}

/// Waits as a machine does: starts (again, while it is deferred), then checks until it is done. An
/// error comes with the input of the step that met it.
pub async fn until_done(stage: &Stage, start: &str, check: &str, turn: Value) -> Result<Value, (Value, StepError)> {
    let (mut turn, mut step) = (turn, start);
    for _ in 0..3_000 {
        turn = persist(stage, step, turn.clone()).await.map_err(|error| (turn, error))?;
        match turn["status"].as_str() {
            Some("DONE") => return Ok(turn),
            Some("IN_PROGRESS") => step = check,
            Some("DEFERRED") if step == start => {}
            other => panic!("{step} answered {other:?}"),
        }
        stage.clock.advance(SignedDuration::from_secs(turn["waitSeconds"].as_i64().expect("a whole number")));
    }
    panic!("{check} never ends: {turn}");
}

/// The same for what must end well.
pub async fn done(stage: &Stage, start: &str, check: &str, turn: Value) -> Value {
    until_done(stage, start, check, turn).await.unwrap_or_else(|(turn, error)| panic!("{error}\nafter {turn}"))
}

/// The items of a run, as the map reads them.
pub async fn items(stage: &Stage, input: Value) -> Vec<Value> {
    let selection = good(stage, "select-images", json!({"input": input, "executionName": "by-hand"})).await;
    items_of(stage, &selection).await
}

/// The items of a selection.
pub async fn items_of(stage: &Stage, selection: &Value) -> Vec<Value> {
    let text = text(stage, BUCKET, selection["items"]["key"].as_str().expect("a list of items")).await;
    serde_json::from_str(&text).expect("a JSON array")
}

/// The text of an object that must be there.
pub async fn text(stage: &Stage, bucket: &str, key: &str) -> String {
    let object = stage.objects.get(bucket, key).await.unwrap_or_else(|error| panic!("s3://{bucket}/{key}: {error:?}"));
    String::from_utf8(object.body).expect("text")
}

/// A JSON object of the backup bucket.
pub async fn document(stage: &Stage, key: &str) -> Value {
    serde_json::from_str(&text(stage, BUCKET, key).await).expect("JSON")
}

/// What the legs of the only image of `input` begin with.
pub async fn legs(stage: &Stage, input: Value) -> Value {
    let items = items(stage, input).await;
    assert_eq!(items.len(), 1);
    let opened = good(stage, "record-backup", json!({"phase": "OPEN", "subject": items[0]})).await;
    opened["legs"].clone()
}

/// Everything that anybody would miss or pay for, on a stage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Things(things::Things);

impl Things {
    /// What is in the world when everything that runs has ended.
    pub async fn at_the_end_of(stage: &Stage) -> Self {
        stage.pass(60 * 24 * 20);
        Self::now(stage).await
    }

    /// What is in the world now.
    pub async fn now(stage: &Stage) -> Self {
        Self(things::Things::of(&stage.simulator, &stage.objects).await)
    }

    /// How many of a kind there are: `image`, `snapshot`, `store`, `export`, `object`.
    pub fn count(&self, kind: &str) -> usize {
        self.0.count(kind)
    }

    /// Fails with what is missing and what is too much.
    #[track_caller]
    pub fn expect(&self, expected: &Self, case: &str) {
        let (missing, too_much) = self.0.difference(&expected.0);
        assert!(
            missing.is_empty() && too_much.is_empty(),
            "{case}\nmissing:\n  {}\ntoo much:\n  {}",
            missing.join("\n  "),
            too_much.join("\n  ")
        );
    }
}

/// How many things were created so far. A call that is repeated with its client token creates one.
pub fn created(stage: &Stage) -> usize {
    let mut tokens = BTreeSet::new();
    own_calls(stage)
        .filter(|call| CREATING.contains(&call.action.as_str()) && call.outcome == "ok")
        .filter(|call| call.parameters.get("ClientToken").is_none_or(|token| tokens.insert(token.clone())))
        .count()
}

/// How often AWS was asked to create anything so far.
pub fn asked_to_create(stage: &Stage) -> usize {
    own_calls(stage).filter(|call| CREATING.contains(&call.action.as_str())).count()
}

/// Every call that a function made, without what it implied.
pub fn own_calls(stage: &Stage) -> impl Iterator<Item = Call> + use<> {
    stage.simulator.calls().all().into_iter().filter(|call| call.implied_by.is_none())
}

/// From now on, `effect` on every call of `action` by `function`, until the faults are cleared.
pub fn always(stage: &Stage, function: &str, action: &str, effect: Effect) {
    let function = Some(function.to_owned());
    let rule = Rule { service: None, action: action.into(), function, region: None, nth: None, times: None, effect };
    stage.simulator.faults().set(vec![rule]);
}

/// From now on, `effect` on every call of `action` in one Region.
pub fn always_in(stage: &Stage, region: &str, action: &str, effect: Effect) {
    let region = Some(region.to_owned());
    let rule = Rule { service: None, action: action.into(), function: None, region, nth: None, times: None, effect };
    stage.simulator.faults().set(vec![rule]);
}

/// A refusal.
pub fn refusal(code: &str) -> Effect {
    Effect::Refuse { code: code.into(), message: None, status: None }
}

/// The function must refuse the input as wrong, say each of `parts`, and leave everything as it was.
pub async fn refused(stage: &Stage, function: &str, input: Value, parts: &[&str]) {
    let (before, asked) = (Things::now(stage).await, asked_to_create(stage));
    let answer = call(stage, function, input.clone()).await;
    assert_eq!(error_name(&answer), Some("InvalidInput"), "{function} {input}: {answer:?}");
    let text = answer.err().map(|error| error.to_string()).unwrap_or_default();
    for part in parts {
        assert!(text.contains(part), "{part:?} is missing from {text:?}");
    }
    assert!(text.contains("nothing was changed"), "{text}");
    Things::now(stage).await.expect(&before, &format!("{function} {input}"));
    assert_eq!(asked_to_create(stage), asked, "{function} {input}");
}

/// The demo, with everything on its image that copying or restoring can lose.
pub fn furnished() -> Stage {
    furnished_with(|_| {})
}

/// The same after a change of the settings.
pub fn furnished_with(change: impl FnOnce(&mut Settings)) -> Stage {
    Stage::with(|file| {
        furnish(file);
        change(&mut file.settings);
    })
}

/// An image of an account file.
pub fn image_in<'a>(file: &'a mut AccountFile, id: &str) -> &'a mut Image {
    let mut images = file.accounts.iter_mut().flat_map(|account| &mut account.images);
    images.find(|image| image.id == id).expect("an image of the file")
}

/// A further image of the first account: one volume of `gib`, of which `used` is written.
pub fn add_image(file: &mut AccountFile, id: &str, gib: u64, used: u64) {
    let mut image = image_in(file, IMAGE).clone();
    image.name = format!("further-{id}");
    image.id = id.into();
    image.tags.clear();
    let volume = &mut image.volumes[0];
    volume.id = None;
    volume.snapshot_id = None;
    volume.size_gib = gib;
    volume.used_gib = Some(used);
    file.accounts[0].images.push(image);
}
