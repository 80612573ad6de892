//! Owns the configuration of the SDK and the clients, one per service and Region.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, OnceLock, PoisonError},
    time::Duration,
};

use ami_backup_core::{ErrorName, StepError, id::Region, settings::Settings};
use aws_config::{AppName, BehaviorVersion, SdkConfig};
use aws_sdk_ec2::config::retry::RetryPartition;
use aws_smithy_http_client::{
    Builder as HttpClientBuilder,
    tls::{Provider, rustls_provider::CryptoMode},
};
use aws_smithy_types::{retry::RetryConfig, timeout::TimeoutConfig};
use aws_types::service_config::ServiceConfigKey;

/// A connection within a Region stands in milliseconds; after five seconds there is none.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// The slowest calls here are pages of listings, of a few seconds. Less than a third of the
/// functions' timeout of 60 s, so that a second attempt fits.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(20);
/// All attempts of one call: below the functions' timeout of 60 s, so that a step which waits in vain
/// still says what it was waiting for.
const OPERATION_TIMEOUT: Duration = Duration::from_secs(45);
/// The SDK's default, written down because `AWS_MAX_ATTEMPTS` could change it from outside.
const ATTEMPTS: u32 = 3;

/// How long a function waits for AWS.
pub fn timeouts() -> TimeoutConfig {
    TimeoutConfig::builder()
        .connect_timeout(CONNECT_TIMEOUT)
        .operation_attempt_timeout(ATTEMPT_TIMEOUT)
        .operation_timeout(OPERATION_TIMEOUT)
        .build()
}

/// How often a function asks AWS again by itself, where that cannot make anything twice.
pub fn retries() -> RetryConfig {
    RetryConfig::standard().with_max_attempts(ATTEMPTS)
}

/// AWS as seen from one account and one home Region. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Aws(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    config: SdkConfig,
    home: Region,
    settings: Settings,
    /// Who shares the budget of retries; `None`: the SDK's default, everything in this process.
    partition: Option<RetryPartition>,
    ec2: Mutex<BTreeMap<Region, aws_sdk_ec2::Client>>,
    s3: Mutex<BTreeMap<Region, aws_sdk_s3::Client>>,
    auto_scaling: Mutex<BTreeMap<Region, aws_sdk_autoscaling::Client>>,
    rbin: Mutex<BTreeMap<Region, aws_sdk_rbin::Client>>,
    sns: OnceLock<aws_sdk_sns::Client>,
    sts: OnceLock<aws_sdk_sts::Client>,
}

impl Aws {
    /// AWS by a configuration that is used as it is; its Region is the home Region.
    ///
    /// # Errors
    /// `Defect` if the configuration names no Region.
    pub fn new(config: SdkConfig, settings: Settings) -> Result<Self, StepError> {
        let wrong = |reason: String| StepError::new(ErrorName::Defect, "configure the AWS SDK", reason);
        let region = config.region().ok_or_else(|| wrong("AWS_REGION is not set".into()))?;
        let home: Region = region.as_ref().parse().map_err(|error| wrong(format!("AWS_REGION: {error}")))?;
        Ok(Self::with(config, home, settings, None))
    }

    fn with(config: SdkConfig, home: Region, settings: Settings, partition: Option<RetryPartition>) -> Self {
        Self(Arc::new(Inner {
            // Made when first used, like the others: most functions never do.
            sns: OnceLock::new(),
            sts: OnceLock::new(),
            ec2: Mutex::default(),
            s3: Mutex::default(),
            auto_scaling: Mutex::default(),
            rbin: Mutex::default(),
            config,
            home,
            settings,
            partition,
        }))
    }

    /// The same AWS with a budget of retries that it shares with nobody else in this process: many
    /// worlds live in one process only where they are simulated.
    #[must_use]
    pub fn with_retry_partition(self, partition: RetryPartition) -> Self {
        let Inner { config, home, settings, .. } = self.0.as_ref();
        Self::with(config.clone(), home.clone(), settings.clone(), Some(partition))
    }

    /// AWS by what the environment says, for the function of this name.
    ///
    /// The name goes into the User-Agent of each call as `app/<name>`, where CloudTrail shows it.
    ///
    /// # Errors
    /// `Defect` if the environment names no Region.
    pub async fn load(function: &'static str, settings: Settings) -> Result<Self, StepError> {
        let app = AppName::new(function)
            .map_err(|error| StepError::new(ErrorName::Defect, "configure the AWS SDK", error.to_string()))?;
        #[expect(clippy::disallowed_methods, reason = "the one place that reads the SDK's environment")]
        let loader = aws_config::defaults(BehaviorVersion::latest());
        let config = loader
            .app_name(app)
            .http_client(HttpClientBuilder::new().tls_provider(Provider::Rustls(CryptoMode::Ring)).build_https())
            .timeout_config(timeouts())
            .retry_config(retries())
            .load()
            .await;
        Self::new(config, settings)
    }

    /// The Region that the functions run in.
    pub fn home(&self) -> &Region {
        &self.0.home
    }

    /// What the deployment decided.
    pub fn settings(&self) -> &Settings {
        &self.0.settings
    }

    /// EC2 in a Region.
    pub(crate) fn ec2(&self, region: &Region) -> aws_sdk_ec2::Client {
        cached(&self.0.ec2, region, || {
            let mut config = aws_sdk_ec2::config::Builder::from(&self.0.config).region(sdk_region(region));
            config.set_retry_partition(self.0.partition.clone());
            aws_sdk_ec2::Client::from_conf(config.build())
        })
    }

    /// S3 in a Region.
    pub(crate) fn s3(&self, region: &Region) -> aws_sdk_s3::Client {
        cached(&self.0.s3, region, || {
            let mut config = aws_sdk_s3::config::Builder::from(&self.0.config)
                .region(sdk_region(region))
                // A bucket as a host name needs a DNS that knows it, which localhost does not have.
                .force_path_style(has_own_s3_endpoint(&self.0.config));
            config.set_retry_partition(self.0.partition.clone());
            aws_sdk_s3::Client::from_conf(config.build())
        })
    }

    /// Auto Scaling in a Region.
    pub(crate) fn auto_scaling(&self, region: &Region) -> aws_sdk_autoscaling::Client {
        cached(&self.0.auto_scaling, region, || {
            let mut config = aws_sdk_autoscaling::config::Builder::from(&self.0.config).region(sdk_region(region));
            config.set_retry_partition(self.0.partition.clone());
            aws_sdk_autoscaling::Client::from_conf(config.build())
        })
    }

    /// The Recycle Bin's own service in a Region.
    pub(crate) fn rbin(&self, region: &Region) -> aws_sdk_rbin::Client {
        cached(&self.0.rbin, region, || {
            let mut config = aws_sdk_rbin::config::Builder::from(&self.0.config).region(sdk_region(region));
            config.set_retry_partition(self.0.partition.clone());
            aws_sdk_rbin::Client::from_conf(config.build())
        })
    }

    /// SNS in the home Region.
    pub(crate) fn sns(&self) -> &aws_sdk_sns::Client {
        self.0.sns.get_or_init(|| {
            let mut config = aws_sdk_sns::config::Builder::from(&self.0.config);
            config.set_retry_partition(self.0.partition.clone());
            aws_sdk_sns::Client::from_conf(config.build())
        })
    }

    /// STS in the home Region.
    pub(crate) fn sts(&self) -> &aws_sdk_sts::Client {
        self.0.sts.get_or_init(|| {
            let mut config = aws_sdk_sts::config::Builder::from(&self.0.config);
            config.set_retry_partition(self.0.partition.clone());
            aws_sdk_sts::Client::from_conf(config.build())
        })
    }

    /// One attempt instead of three, for creating calls that take no client token: when a reply is
    /// lost, the SDK's own second attempt would make a second thing. The machine repeats the whole
    /// step instead, which looks for the first one before it creates.
    pub(crate) fn once() -> aws_sdk_ec2::config::Builder {
        aws_sdk_ec2::Config::builder().retry_config(RetryConfig::disabled())
    }
}

fn cached<C: Clone>(clients: &Mutex<BTreeMap<Region, C>>, region: &Region, make: impl FnOnce() -> C) -> C {
    // A panic elsewhere leaves the map whole: nothing is done under the lock but look and insert.
    let mut clients = clients.lock().unwrap_or_else(PoisonError::into_inner);
    clients.entry(region.clone()).or_insert_with(make).clone()
}

fn sdk_region(region: &Region) -> aws_config::Region {
    aws_config::Region::new(region.as_str().to_owned())
}

fn has_own_s3_endpoint(config: &SdkConfig) -> bool {
    let key = ServiceConfigKey::builder().service_id("S3").env("AWS_ENDPOINT_URL").profile("endpoint_url").build();
    let of_s3 = config.service_config().zip(key.ok()).and_then(|(services, key)| services.load_config(key));
    config.endpoint_url().is_some() || of_s3.is_some()
}
