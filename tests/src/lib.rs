//! Owns the stage of the suites: the functions' own handlers on a simulated AWS, in process, on a
//! clock that moves only when it is told to.
#![expect(clippy::expect_used, clippy::panic, reason = "a test whose stage cannot be set up may stop there")]

pub mod deployed;
pub mod things;

pub use ami_backup_contract as project;
pub use ami_backup_functions as functions;

use std::{
    sync::Arc,
    time::{Duration, UNIX_EPOCH},
};

use ami_backup_aws::Aws;
use ami_backup_core::{SignedDuration, StepError, Timestamp, settings::Settings};
use ami_backup_simulator::{
    Simulator,
    account::AccountFile,
    clock::{Clock, ManualClock},
    faults::{Effect, Rule},
    objects::LocalObjects,
};
use aws_config::{AppName, BehaviorVersion, Region, SdkConfig};
use aws_credential_types::{Credentials, provider::SharedCredentialsProvider};
use aws_smithy_async::{
    rt::sleep::{AsyncSleep, SharedAsyncSleep, Sleep},
    time::{SharedTimeSource, TimeSource},
};

/// Instance of the demo account that carries `Backup=nightly`.
pub const INSTANCE: &str = "i-0a1b2c3d4e5f60001";
/// Image of the demo account that carries `Backup=nightly` and is shared with another account.
pub const IMAGE: &str = "ami-0a1b2c3d4e5f60001";
/// Bucket of the demo account that holds backups.
pub const BUCKET: &str = "ami-backup-demo-backups";
/// Bucket of the demo account that holds VM files.
pub const EXPORTS: &str = "ami-backup-demo-exports";
/// The demo account.
pub const ACCOUNT: &str = "000000000000";

/// A simulated AWS, its clock, and its objects.
pub struct Stage {
    /// The simulator.
    pub simulator: Simulator,
    /// Its clock, and the SDK's.
    pub clock: ManualClock,
    /// Its objects.
    pub objects: LocalObjects,
}

impl Stage {
    /// The demo account, with everything visible at once and without API rates.
    pub fn demo() -> Self {
        Self::with(|_| {})
    }

    /// The demo account after `change`.
    pub fn with(change: impl FnOnce(&mut AccountFile)) -> Self {
        let mut file = demo_account();
        file.settings.consistency_delay_ms = 0;
        file.settings.api_buckets = false;
        change(&mut file);
        let start: Timestamp = "2026-11-23T02:00:00Z".parse().expect("a valid time");
        let clock = ManualClock::new(start);
        let objects = LocalObjects::new(Arc::new(clock.clone()));
        let simulator = Simulator::new(file, Arc::new(clock.clone()), Arc::new(objects.clone()));
        Self { simulator, clock, objects }
    }

    /// The present of this world.
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Lets time pass.
    pub fn pass(&self, minutes: i64) {
        self.clock.advance(SignedDuration::from_mins(minutes));
    }

    /// What `function` talks to, with the settings of the demo.
    pub fn aws(&self, function: &str) -> Aws {
        self.aws_with(function, |_| None)
    }

    /// The same with other variables; `None` is the demo's.
    pub fn aws_with(&self, function: &str, variable: impl Fn(&str) -> Option<String>) -> Aws {
        let settings = Settings::read(|name| {
            variable(name).or_else(|| match name {
                "ACCOUNT_ID" => Some(ACCOUNT.into()),
                "BACKUP_BUCKET" => Some(BUCKET.into()),
                "EXPORT_BUCKET" => Some(EXPORTS.into()),
                "EXPORT_ROLE_NAME" => Some("ami-backup-export".into()),
                "NOTIFICATION_TOPIC_ARN" => Some(format!("arn:aws:sns:us-east-1:{ACCOUNT}:notices")),
                "MINIMUM_WAIT_SECONDS" => Some("1".into()),
                _ => None,
            })
        });
        Aws::new(self.config(function), settings.expect("valid settings")).expect("a complete configuration")
    }

    /// An SDK configuration whose HTTP, time and sleep are this world's.
    pub fn config(&self, function: &str) -> SdkConfig {
        let credentials = Credentials::new(ACCOUNT, "any secret", None, None, "demo");
        SdkConfig::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new("us-east-1"))
            .credentials_provider(SharedCredentialsProvider::new(credentials))
            .http_client(self.simulator.http_client())
            .time_source(SharedTimeSource::new(WorldTime(self.clock.clone())))
            .sleep_impl(SharedAsyncSleep::new(WorldSleep(self.clock.clone())))
            .app_name(AppName::new(function.to_owned()).expect("a valid name"))
            .build()
    }

    /// From now on, `effect` on the next call of `action` by any function.
    pub fn fault(&self, action: &str, effect: Effect) {
        self.fault_from(None, action, 1, effect);
    }

    /// `effect` on the `nth` call of `action` from now on, by `function` or by any.
    pub fn fault_from(&self, function: Option<&str>, action: &str, nth: u32, effect: Effect) {
        let mut rules = self.simulator.faults().rules();
        rules.push(Rule {
            service: None,
            action: action.into(),
            function: function.map(str::to_owned),
            region: None,
            nth: Some(nth),
            times: Some(1),
            effect,
        });
        self.simulator.faults().set(rules);
    }

    /// `code` on the next call of `action`.
    pub fn refuse(&self, action: &str, code: &str) {
        self.fault(action, Effect::Refuse { code: code.into(), message: None, status: None });
    }

    /// How often AWS was asked for `action` since the beginning, refused calls included.
    pub fn calls(&self, action: &str) -> usize {
        self.simulator.calls().all().iter().filter(|call| call.action == action && call.implied_by.is_none()).count()
    }
}

/// The demo account, as the file has it.
pub fn demo_account() -> AccountFile {
    serde_json::from_str(include_str!("../simulator/accounts/demo.json")).expect("the demo account is valid")
}

/// Puts everything on the demo's image that copying or restoring can lose.
pub fn furnish(file: &mut AccountFile) {
    let images = file.accounts.iter_mut().flat_map(|account| &mut account.images);
    for image in images.filter(|image| image.id == IMAGE) {
        image.deprecate_at = "2027-06-01T00:00:00Z".parse().ok();
        image.deregistration_protection = true;
        image.machine.uefi_data = Some("QU1aTlVFRkk=".into());
    }
}

/// The name of the error that a step ended with.
pub fn error_name<T>(result: &Result<T, StepError>) -> Option<&'static str> {
    result.as_ref().err().map(|error| error.name.as_str())
}

#[derive(Debug)]
struct WorldTime(ManualClock);

impl TimeSource for WorldTime {
    fn now(&self) -> std::time::SystemTime {
        UNIX_EPOCH + Duration::from_millis(u64::try_from(self.0.now().as_millisecond()).expect("a time after 1970"))
    }
}

/// Sleeping moves the clock: the SDK's back-off takes simulated time and no other. Only sleep that is
/// waited for does: the SDK lays one beside whatever may take too long, and drops most of them.
#[derive(Debug)]
struct WorldSleep(ManualClock);

impl AsyncSleep for WorldSleep {
    fn sleep(&self, duration: Duration) -> Sleep {
        let clock = self.0.clone();
        Sleep::new(async move { clock.advance(SignedDuration::try_from(duration).unwrap_or(SignedDuration::MAX)) })
    }
}
