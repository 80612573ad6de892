//! Owns what a deployment decides: buckets, keys, the topic, limits. Read once, at start.
//!
//! Everything about one run is in its input; only infrastructure comes from the environment. What does not fit there,
//! the keys of copies in each Region, comes from the state machine.

use crate::{
    error::{ErrorName, StepError},
    id::BucketName,
};

/// The environment variables that the template sets; a contract test compares them with it.
pub const VARIABLES: &[&str] = &[
    "ACCOUNT_ID",
    "BACKUP_BUCKET",
    "EXPORT_BUCKET",
    "EXPORT_ROLE_NAME",
    "FURTHER_BUCKET_OWNER",
    "MINIMUM_WAIT_SECONDS",
    "NOTIFICATION_TOPIC_ARN",
    "STORE_LIMIT_GB",
];

/// AWS stores AMIs of up to 5,000 GB, measured before compression (EC2 user guide, 2026-04; it was
/// 1 TB in 2021, so it is a setting).
pub const DEFAULT_STORE_LIMIT_GB: u64 = 5_000;

/// Fifteen seconds between looks keeps a hundred waits below the API's refill rates.
pub const DEFAULT_MINIMUM_WAIT_SECONDS: u32 = 15;

/// What a deployment decided.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    account_id: Option<String>,
    further_bucket_owner: Option<String>,
    backup_bucket: Option<BucketName>,
    export_bucket: Option<BucketName>,
    export_role_name: Option<String>,
    notification_topic_arn: Option<String>,
    /// Smallest wait between two looks, in seconds.
    pub minimum_wait_seconds: u32,
    /// Largest AMI that AWS stores, in GB before compression.
    pub store_limit_gb: u64,
}

impl Settings {
    /// Reads the settings from variables; an unset or empty one has its default.
    ///
    /// # Errors
    /// [`ErrorName::Defect`], with the name of the variable, if one does not parse.
    pub fn read(variable: impl Fn(&str) -> Option<String>) -> Result<Self, StepError> {
        let get = |name: &str| variable(name).filter(|value| !value.is_empty());
        let bucket = |name: &str| -> Result<Option<BucketName>, StepError> {
            get(name).map(BucketName::try_from).transpose().map_err(|error| wrong(name, &error))
        };
        let account = |name: &str| -> Result<Option<String>, StepError> {
            let is_id = |text: &String| text.len() == 12 && text.bytes().all(|byte| byte.is_ascii_digit());
            let id = get(name);
            if id.as_ref().is_none_or(is_id) { Ok(id) } else { Err(wrong(name, &"an account has twelve digits")) }
        };
        let wait = get("MINIMUM_WAIT_SECONDS").map(|n| n.parse::<u32>()).transpose();
        let limit = get("STORE_LIMIT_GB").map(|n| n.parse::<u64>()).transpose();
        Ok(Self {
            account_id: account("ACCOUNT_ID")?,
            further_bucket_owner: account("FURTHER_BUCKET_OWNER")?,
            backup_bucket: bucket("BACKUP_BUCKET")?,
            export_bucket: bucket("EXPORT_BUCKET")?,
            export_role_name: get("EXPORT_ROLE_NAME"),
            notification_topic_arn: get("NOTIFICATION_TOPIC_ARN"),
            minimum_wait_seconds: wait
                .map_err(|error| wrong("MINIMUM_WAIT_SECONDS", &error))?
                .unwrap_or(DEFAULT_MINIMUM_WAIT_SECONDS)
                .max(1),
            store_limit_gb: limit.map_err(|error| wrong("STORE_LIMIT_GB", &error))?.unwrap_or(DEFAULT_STORE_LIMIT_GB),
        })
    }

    /// Bucket of stored images, records and reports.
    ///
    /// # Errors
    /// [`ErrorName::Defect`] if the deployment does not say.
    pub fn backup_bucket(&self) -> Result<&BucketName, StepError> {
        self.backup_bucket.as_ref().ok_or_else(|| unset("BACKUP_BUCKET"))
    }

    /// The account that has to own a bucket: this one, and of further buckets the one that the deployment says. `None`: the
    /// deployment does not say.
    pub fn owner_of(&self, bucket: &BucketName) -> Option<&str> {
        let own = [&self.backup_bucket, &self.export_bucket].into_iter().flatten().any(|one| one == bucket);
        let further = self.further_bucket_owner.as_deref().filter(|_| !own);
        further.or(self.account_id.as_deref())
    }

    /// Bucket that VM files are exported to.
    ///
    /// # Errors
    /// [`ErrorName::Defect`] if the deployment does not say.
    pub fn export_bucket(&self) -> Result<&BucketName, StepError> {
        self.export_bucket.as_ref().ok_or_else(|| unset("EXPORT_BUCKET"))
    }

    /// Role that VM Import/Export assumes to write the file.
    ///
    /// # Errors
    /// [`ErrorName::Defect`] if the deployment does not say.
    pub fn export_role_name(&self) -> Result<&str, StepError> {
        self.export_role_name.as_deref().ok_or_else(|| unset("EXPORT_ROLE_NAME"))
    }

    /// Topic that people are told through.
    ///
    /// # Errors
    /// [`ErrorName::Defect`] if the deployment does not say.
    pub fn notification_topic_arn(&self) -> Result<&str, StepError> {
        self.notification_topic_arn.as_deref().ok_or_else(|| unset("NOTIFICATION_TOPIC_ARN"))
    }
}

fn unset(name: &str) -> StepError {
    StepError::new(ErrorName::Defect, "read the settings", format!("the environment variable {name} is not set"))
}

fn wrong(name: &str, error: &dyn std::fmt::Display) -> StepError {
    StepError::new(ErrorName::Defect, "read the settings", format!("the environment variable {name} is wrong: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_environment_has_defaults_and_says_what_is_missing() -> Result<(), StepError> {
        let settings = Settings::read(|_| None)?;
        assert_eq!(settings.minimum_wait_seconds, DEFAULT_MINIMUM_WAIT_SECONDS);
        let error = settings.backup_bucket().err().map(|e| e.to_string()).unwrap_or_default();
        assert!(error.contains("BACKUP_BUCKET"), "{error}");
        Ok(())
    }

    #[test]
    fn each_setting_is_read_from_its_own_variable_and_missed_by_its_name() -> Result<(), StepError> {
        type Get = fn(&Settings) -> Result<String, StepError>;
        let get: [(&str, Get); 4] = [
            ("BACKUP_BUCKET", |settings| settings.backup_bucket().map(ToString::to_string)),
            ("EXPORT_BUCKET", |settings| settings.export_bucket().map(ToString::to_string)),
            ("EXPORT_ROLE_NAME", |settings| settings.export_role_name().map(str::to_owned)),
            ("NOTIFICATION_TOPIC_ARN", |settings| settings.notification_topic_arn().map(str::to_owned)),
        ];
        let value = |name: &str| name.to_ascii_lowercase().replace('_', "-");
        let all = Settings::read(|name| get.iter().any(|(known, _)| *known == name).then(|| value(name)))?;
        for (name, get) in get {
            assert_eq!(get(&all)?, value(name));
            for nothing in [None, Some(String::new())] {
                let without = Settings::read(|_| nothing.clone())?;
                let error = get(&without).err();
                assert_eq!(error.as_ref().map(|e| e.name), Some(ErrorName::Defect), "{name}");
                assert!(error.is_some_and(|e| e.reason.contains(name)), "{name}");
            }
        }
        Ok(())
    }

    #[test]
    fn another_account_owns_further_buckets_only_where_the_deployment_says_so() -> Result<(), StepError> {
        let read = |further: &str| {
            Settings::read(|name| match name {
                "ACCOUNT_ID" => Some("111122223333".into()),
                "FURTHER_BUCKET_OWNER" => Some(further.into()),
                "BACKUP_BUCKET" => Some("backups".into()),
                "EXPORT_BUCKET" => Some("exports".into()),
                _ => None,
            })
        };
        for (further, bucket, owner) in [
            ("", "elsewhere", "111122223333"),
            ("444455556666", "elsewhere", "444455556666"),
            ("444455556666", "backups", "111122223333"),
            ("444455556666", "exports", "111122223333"),
        ] {
            let bucket: BucketName = bucket.parse().map_err(|error| wrong("a bucket", &error))?;
            assert_eq!(read(further)?.owner_of(&bucket), Some(owner), "{bucket}");
        }
        Ok(())
    }

    #[test]
    fn a_wrong_variable_is_named() {
        for name in ["ACCOUNT_ID", "BACKUP_BUCKET", "FURTHER_BUCKET_OWNER", "MINIMUM_WAIT_SECONDS", "STORE_LIMIT_GB"] {
            let error = Settings::read(|asked| (asked == name).then(|| "!".to_owned())).err().map(|e| e.to_string());
            assert!(error.is_some_and(|text| text.contains(name)), "{name}");
        }
    }
}
