//! Owns the record of an image: everything that a restore needs and that the object does not keep.
//!
//! Written to `records/<image-id>.json` before the first leg, completed after the last, and copied
//! beside the stored object. It is JSON that a person can read without this product.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{
    error::{ErrorName, StepError},
    id::{BucketName, ImageId, Region},
    repair::Survey,
    report::Leg,
};

/// Version of the schema that is written. A reader refuses a newer one instead of guessing.
pub const SCHEMA: u32 = 1;

/// A place where the image can come back from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
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
#[serde(rename_all = "camelCase")]
pub struct Record {
    /// Version of this schema.
    pub schema: u32,
    /// When the survey was taken.
    pub surveyed_at: Timestamp,
    /// The image as it was.
    pub survey: Survey,
    /// Where it can come back from.
    #[serde(default)]
    pub backups: Vec<RecordedBackup>,
}

impl Record {
    /// A record of `survey`, with the backups that an earlier one of the same image knew.
    pub fn opened(existing: Option<Self>, survey: Survey, now: Timestamp) -> Self {
        let backups = existing.map(|record| record.backups).unwrap_or_default();
        Self { schema: SCHEMA, surveyed_at: now, survey, backups }
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
        let broken = |reason: String| StepError::new(ErrorName::Conflict, format!("read the record {place}"), reason);
        let value: serde_json::Value = serde_json::from_str(text).map_err(|error| broken(error.to_string()))?;
        let schema = value.get("schema").and_then(serde_json::Value::as_u64);
        if schema != Some(u64::from(SCHEMA)) {
            return Err(broken(format!("its schema is {schema:?} and this version reads {SCHEMA}")));
        }
        serde_json::from_value(value).map_err(|error| broken(error.to_string()))
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
        let mut record = Record::opened(None, survey("ami-12345678", "snap-12345678"), now);
        record.add(backup("a", 1));
        record.add(backup("b", 2));
        record.add(backup("a", 3));
        let again = Record::from_text(&record.to_text()?, "here")?;
        assert_eq!(again, record);
        let opened = Record::opened(Some(again), survey("ami-12345678", "snap-12345678"), now);
        assert_eq!(opened.backups.len(), 2);
        assert_eq!(opened.stored_object(&backup("a", 1).region).map(|b| b.id.as_str()), Some("a"));
        Ok(())
    }

    #[test]
    fn only_an_object_in_the_region_is_the_stored_object_of_the_region() {
        let home = backup("a", 1).region;
        let there: Region = "eu-west-1".parse().unwrap_or_else(|_| unreachable!());
        let mut record = Record::opened(None, survey("ami-12345678", "snap-12345678"), Timestamp::UNIX_EPOCH);
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
}
