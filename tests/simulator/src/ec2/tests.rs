//! Tests of the rules that matter, through `Ec2::call`, on a clock that tests move.

use std::sync::Arc;

use jiff::SignedDuration;
use serde_json::Value;

use super::{Ec2, Outcome};
use crate::account::{AccountFile, Settings};
use crate::calls::CallLog;
use crate::clock::{Clock, ManualClock};
use crate::edge::Caller;
use crate::objects::{BucketFacts, LocalObjects, ObjectStore};
use crate::permissions::Permissions;
use crate::world::{World, objects_of};

mod copies;
mod every;
mod exports;
mod images;
mod instances;
mod keeping;
mod listings;
mod references;
mod rules;
mod stores;
mod templates;
mod usage;

const GOLDEN: &str = "ami-0a1b2c3d4e5f60001";
const GOLDEN_SNAPSHOT: &str = "snap-0a1b2c3d4e5f60001";
const INSTANCE: &str = "i-0a1b2c3d4e5f60001";
const BACKUPS: &str = "ami-backup-demo-backups";
const HOME: &str = "us-east-1";
const US: &str = "000000000000";
const THEM: &str = "111122223333";

/// Milliseconds of an hour and of a day.
const HOUR: i64 = 3_600_000;
const DAY: i64 = 24 * HOUR;

/// Puts things into an account of the file: lists are made longer.
fn hold(file: &mut AccountFile, account: usize, things: Value) {
    let mut whole = serde_json::to_value(&*file).unwrap();
    let Value::Object(things) = things else { panic!("expected fields of an account, got {things}") };
    for (name, mut value) in things {
        let there = whole["accounts"][account][&name].as_array_mut().unwrap();
        there.append(value.as_array_mut().unwrap());
    }
    *file = serde_json::from_value(whole).unwrap();
}

/// The demo's world with a clock to turn.
struct Bench {
    clock: ManualClock,
    world: Arc<World>,
    objects: Arc<LocalObjects>,
    permissions: Arc<Permissions>,
    calls: Arc<CallLog>,
    ec2: Ec2,
    caller: Caller,
}

/// An answer, taken apart.
#[derive(Debug)]
struct Reply {
    status: u16,
    outcome: String,
    body: String,
}

impl Reply {
    /// The texts of all elements with this name.
    fn all(&self, name: &str) -> Vec<String> {
        let (open, close) = (format!("<{name}>"), format!("</{name}>"));
        let parts = self.body.split(&open).skip(1);
        parts.filter_map(|part| Some(part.split_once(&close)?.0.to_owned())).collect()
    }

    /// The text of the first element with this name.
    fn one(&self, name: &str) -> String {
        self.all(name).into_iter().next().unwrap_or_else(|| format!("no {name} in {}", self.body))
    }

    fn ok(self) -> Self {
        assert_eq!(self.outcome, "ok", "{}", self.body);
        assert_eq!(self.status, 200);
        self
    }
}

impl Bench {
    /// The demo's account, without the delay and the buckets, which have their own tests.
    fn new() -> Self {
        Self::with(|_| {})
    }

    fn with(change: impl FnOnce(&mut Settings)) -> Self {
        Self::of(|file| change(&mut file.settings))
    }

    /// The demo's account with these things in it as well: fields of the first account.
    fn holding(things: Value) -> Self {
        Self::of(|file| hold(file, 0, things))
    }

    fn of(change: impl FnOnce(&mut AccountFile)) -> Self {
        let mut file: AccountFile = serde_json::from_str(include_str!("../../accounts/demo.json")).unwrap();
        file.settings.consistency_delay_ms = 0;
        file.settings.api_buckets = false;
        change(&mut file);
        let clock = ManualClock::new("2026-11-23T20:00:00Z".parse().unwrap());
        let objects = Arc::new(LocalObjects::new(Arc::new(clock.clone())));
        for account in &file.accounts {
            for bucket in &account.buckets {
                objects.add_bucket(BucketFacts {
                    name: bucket.name.clone(),
                    region: bucket.region.clone(),
                    owner: account.id.clone(),
                    kms: bucket.encryption == "aws:kms",
                });
            }
        }
        for (bucket, key, object) in objects_of(&file, clock.now()) {
            objects.insert(&bucket, &key, object).unwrap();
        }
        let world = Arc::new(World::new(&file, Arc::new(clock.clone())));
        let permissions = Arc::new(Permissions::default());
        let calls = Arc::new(CallLog::default());
        let store: Arc<dyn ObjectStore> = objects.clone();
        let ec2 = Ec2::new(Arc::clone(&world), store, Arc::clone(&permissions), Arc::clone(&calls));
        let caller = Caller {
            account: US.into(),
            access_key: "test".into(),
            function: None,
            region: HOME.into(),
            service: "ec2".into(),
            fail_task: None,
        };
        Self { clock, world, objects, permissions, calls, ec2, caller }
    }

    fn after(&self, milliseconds: i64) -> &Self {
        self.clock.advance(SignedDuration::from_millis(milliseconds));
        self
    }

    async fn call(&self, action: &str, parameters: &[(&str, &str)]) -> Reply {
        self.call_as(&self.caller, action, parameters).await
    }

    async fn call_in(&self, region: &str, action: &str, parameters: &[(&str, &str)]) -> Reply {
        self.call_as(&Caller { region: region.into(), ..self.caller.clone() }, action, parameters).await
    }

    async fn call_by(&self, account: &str, action: &str, parameters: &[(&str, &str)]) -> Reply {
        self.call_as(&Caller { account: account.into(), ..self.caller.clone() }, action, parameters).await
    }

    async fn call_as(&self, caller: &Caller, action: &str, parameters: &[(&str, &str)]) -> Reply {
        let mut pairs = vec![("Action".to_owned(), action.to_owned())];
        pairs.extend(parameters.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        let response = self.ec2.call(caller, &pairs).await;
        Reply {
            status: response.status().as_u16(),
            outcome: response.extensions().get::<Outcome>().unwrap().0.clone(),
            body: String::from_utf8(response.body().to_vec()).unwrap(),
        }
    }

    /// The state of an image as DescribeImages shows it.
    async fn state_of(&self, region: &str, image: &str) -> String {
        self.call_in(region, "DescribeImages", &[("ImageId.1", image)]).await.one("imageState")
    }

    async fn store(&self, image: &str, bucket: &str) -> Reply {
        self.call("CreateStoreImageTask", &[("ImageId", image), ("Bucket", bucket)]).await
    }

    async fn restore(&self, key: &str, name: &str) -> Reply {
        let parameters = [("Bucket", BACKUPS), ("ObjectKey", key), ("Name", name)];
        self.call("CreateRestoreImageTask", &parameters).await
    }

    async fn create_image(&self, name: &str) -> Reply {
        self.call("CreateImage", &[("InstanceId", INSTANCE), ("Name", name), ("NoReboot", "true")]).await
    }
}
