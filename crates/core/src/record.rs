//! Owns the record of an image: everything that a restore needs and that the object does not keep.
//!
//! Written to `records/<image-id>.json` before the first leg, completed after the last, and copied
//! beside the stored object. It is JSON that a person can read without this product.

use jiff::Timestamp;
use serde::{Deserialize, Deserializer, Serialize, de};

use crate::{
    error::{ErrorName, StepError},
    id::{BucketName, ImageId, Region},
    input::{document_json, document_value, unreadable},
    repair::Survey,
    report::Leg,
    restore::image_of_key,
    text::shown,
};

/// Version of the schema that is written. A reader refuses a newer one instead of guessing.
pub const SCHEMA: u32 = 1;

/// A place where the image can come back from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RecordedBackup {
    /// Which way it was backed up.
    pub leg: Leg,
    /// Where it is.
    pub region: Region,
    /// Bucket, for an object and a file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bucket: Option<BucketName>,
    /// Key of the object or file, or id of the copy.
    pub id: String,
    /// Size in bytes of the object or file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size_bytes: Option<u64>,
    /// The run that made it.
    pub run: String,
    /// When the record was completed with it.
    pub recorded_at: Timestamp,
}

/// The record of an image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Record {
    /// Version of this schema.
    pub schema: u32,
    /// The account that took the survey. Records of before this was written have none.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "account")]
    pub account_id: Option<String>,
    /// When the survey was taken.
    pub surveyed_at: Timestamp,
    /// The image as it was.
    pub survey: Survey,
    /// Where it can come back from.
    #[serde(default)]
    pub backups: Vec<RecordedBackup>,
}

impl Record {
    /// A record of `survey` by an account, with the backups that an earlier one of the same image knew.
    pub fn opened(existing: Option<Self>, survey: Survey, account: &str, now: Timestamp) -> Self {
        let backups = existing.map(|record| record.backups).unwrap_or_default();
        Self { schema: SCHEMA, account_id: Some(account.to_owned()), surveyed_at: now, survey, backups }
    }

    /// The image that it is of.
    pub fn image_id(&self) -> &ImageId {
        &self.survey.image.image_id
    }

    /// Adds a backup, or renews what is known of it.
    pub fn add(&mut self, backup: RecordedBackup) {
        let same = |known: &RecordedBackup| {
            known.leg == backup.leg
                && known.region == backup.region
                && known.bucket == backup.bucket
                && known.id == backup.id
        };
        self.backups.retain(|known| !same(known));
        self.backups.push(backup);
    }

    /// The newest stored object in a Region.
    pub fn stored_object(&self, region: &Region) -> Option<&RecordedBackup> {
        self.backups
            .iter()
            .filter(|backup| backup.leg == Leg::Store && &backup.region == region)
            .max_by_key(|backup| backup.recorded_at)
    }

    /// As text, for people too.
    ///
    /// # Errors
    /// `Defect` if it cannot be written, which cannot be.
    pub fn to_text(&self) -> Result<String, StepError> {
        serde_json::to_string_pretty(self)
            .map_err(|error| StepError::new(ErrorName::Defect, "write a record", error.to_string()))
    }

    /// Reads a record from `place`.
    ///
    /// # Errors
    /// `Conflict` if it is none, or one of a newer version of this product.
    pub fn from_text(text: &str, place: &str) -> Result<Self, StepError> {
        let place = format!("the record {place}");
        let value = document_json(text, &place)?;
        let schema = value.get("schema").and_then(serde_json::Value::as_u64);
        if schema != Some(u64::from(SCHEMA)) {
            return Err(unreadable(&place, &format!("its schema is {schema:?} and this version reads {SCHEMA}")));
        }
        document_value(value, &place)
    }

    /// Refuses a record that lies under a `key` of another image than its own.
    ///
    /// # Errors
    /// `Conflict`.
    pub fn check_key(&self, key: &str, place: &str) -> Result<(), StepError> {
        let name = key.strip_suffix(".json").unwrap_or(key);
        let named = name.strip_prefix("records/").and_then(|id| id.parse().ok()).or_else(|| image_of_key(name));
        match named.filter(|named| named != self.image_id()) {
            Some(named) => {
                let reason = format!("it is of {}, and its key is that of {named}", self.image_id());
                Err(unreadable(&format!("the record {place}"), &reason))
            }
            None => Ok(()),
        }
    }

    /// Refuses a record that says that another account than `account` wrote it.
    ///
    /// # Errors
    /// `Conflict`.
    pub fn check_account(&self, account: &str, place: &str) -> Result<(), StepError> {
        match self.account_id.as_deref().filter(|writer| *writer != account) {
            Some(writer) => {
                let reason = format!("account {writer} wrote it, and this is account {account}");
                Err(unreadable(&format!("the record {place}"), &reason))
            }
            None => Ok(()),
        }
    }
}

/// Reads the id of an account.
fn account<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    let text: Option<String> = Option::deserialize(deserializer)?;
    match &text {
        Some(id) if id.len() != 12 || !id.bytes().all(|b| b.is_ascii_digit()) => {
            Err(de::Error::custom(format!("`{}` is no account", shown(id))))
        }
        _ => Ok(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::repair::tests::survey;

    fn backup(id: &str, hours: i64) -> RecordedBackup {
        RecordedBackup {
            leg: Leg::Store,
            region: "us-east-1".parse().unwrap_or_else(|_| unreachable!()),
            bucket: "backups".parse().ok(),
            id: id.into(),
            size_bytes: Some(1),
            run: "r".into(),
            recorded_at: Timestamp::UNIX_EPOCH + jiff::SignedDuration::from_hours(hours),
        }
    }

    #[test]
    fn a_record_survives_being_written_and_opened_again() -> Result<(), StepError> {
        let now = Timestamp::UNIX_EPOCH;
        let mut record = Record::opened(None, survey("ami-12345678", "snap-12345678"), "111122223333", now);
        record.add(backup("a", 1));
        record.add(backup("b", 2));
        record.add(backup("a", 3));
        let again = Record::from_text(&record.to_text()?, "here")?;
        assert_eq!(again, record);
        let opened = Record::opened(Some(again), survey("ami-12345678", "snap-12345678"), "111122223333", now);
        assert_eq!(opened.backups.len(), 2);
        assert_eq!(opened.stored_object(&backup("a", 1).region).map(|b| b.id.as_str()), Some("a"));
        Ok(())
    }

    #[test]
    fn only_an_object_in_the_region_is_the_stored_object_of_the_region() {
        let home = backup("a", 1).region;
        let there: Region = "eu-west-1".parse().unwrap_or_else(|_| unreachable!());
        let mut record =
            Record::opened(None, survey("ami-12345678", "snap-12345678"), "111122223333", Timestamp::UNIX_EPOCH);
        record.add(RecordedBackup { leg: Leg::Export, ..backup("exports/x.raw", 3) });
        assert_eq!(record.stored_object(&home), None);
        record.add(backup("a", 1));
        record.add(RecordedBackup { region: there.clone(), ..backup("b", 2) });
        assert_eq!(record.stored_object(&home).map(|b| b.id.as_str()), Some("a"));
        assert_eq!(record.stored_object(&there).map(|b| b.id.as_str()), Some("b"));
    }

    #[test]
    fn a_record_of_a_newer_version_is_refused_with_its_place() {
        let error = Record::from_text(r#"{"schema": 2}"#, "s3://b/k").err().map(|e| e.to_string()).unwrap_or_default();
        assert!(error.contains("s3://b/k") && error.contains('2'), "{error}");
    }

    /// 71. A record with a field that nobody knows is refused.
    #[test]
    fn a_record_with_an_unknown_field_is_refused_wherever_the_field_is() -> Result<(), StepError> {
        let mut record =
            Record::opened(None, survey("ami-12345678", "snap-12345678"), "111122223333", Timestamp::UNIX_EPOCH);
        record.add(backup("a", 1));
        let good: serde_json::Value = serde_json::from_str(&record.to_text()?).unwrap_or_default();
        let places = [
            "",
            "/survey",
            "/survey/image",
            "/survey/image/mappings/0",
            "/survey/image/mappings/0/ebs",
            "/survey/launchPermissions",
            "/survey/snapshots/0",
            "/backups/0",
        ];
        for place in places {
            let mut value = good.clone();
            let object = value.pointer_mut(place).and_then(serde_json::Value::as_object_mut);
            object.unwrap_or_else(|| unreachable!("{place}")).insert("more".into(), true.into());
            let error = Record::from_text(&value.to_string(), "s3://b/k").err();
            assert!(error.is_some_and(|e| e.name == ErrorName::Conflict && e.to_string().contains("more")), "{place}");
        }
        Ok(())
    }

    /// 71. What an earlier version wrote is read for ever.
    #[test]
    fn a_record_of_before_accounts_and_start_times_is_read() -> Result<(), StepError> {
        let record = Record::from_text(include_str!("record/before.json"), "s3://b/k")?;
        assert_eq!((record.account_id.as_deref(), record.backups.len()), (None, 2));
        record.check_key("records/ami-0a1b2c3d4e5f60001.json", "s3://b/k")?;
        record.check_account("000000000000", "s3://b/k")
    }

    /// 71. A record counts only for the image that its key names, and for the account that wrote it.
    #[test]
    fn a_record_is_of_its_key_and_its_account() {
        let record =
            Record::opened(None, survey("ami-12345678", "snap-12345678"), "111122223333", Timestamp::UNIX_EPOCH);
        for (key, right) in [
            ("records/ami-12345678.json", true),
            ("records/ami-87654321.json", false),
            ("far/ami-12345678.bin.json", true),
            ("far/ami-87654321.bin.json", false),
            ("far/anything.json", true),
        ] {
            let checked = record.check_key(key, "s3://b/k");
            assert_eq!(checked.err().map(|e| e.name), (!right).then_some(ErrorName::Conflict), "{key}");
        }
        for (account, right) in [("111122223333", true), ("999999999999", false)] {
            let checked = record.check_account(account, "s3://b/k");
            assert_eq!(checked.err().map(|e| e.name), (!right).then_some(ErrorName::Conflict), "{account}");
        }
    }

    /// 71. Whom launch permissions name is an account, a group or an ARN.
    #[test]
    fn nothing_else_stands_where_an_account_does() -> Result<(), StepError> {
        let mut survey = survey("ami-12345678", "snap-12345678");
        for (text, right) in [("999999999999", true), ("1'; rm -rf /", false), ("\u{202e}", false), ("", false)] {
            survey.launch_permissions.accounts = [text.to_owned()].into();
            let record = Record::opened(None, survey.clone(), "111122223333", Timestamp::UNIX_EPOCH);
            assert_eq!(Record::from_text(&record.to_text()?, "s3://b/k").is_ok(), right, "{text}");
        }
        Ok(())
    }
}
