//! Owns bringing an image back: what may be asked for, and what identifies the restored image.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    cleanup::account::made_for,
    error::StepError,
    id::{BucketName, ImageId, LONGEST_KEY, Region, SnapshotId, is_key},
    image::SnapshotFacts,
    input,
    item::{Awaited, Expires, RunContext},
    naming::{Identity, LONGEST_IMAGE_NAME, Purpose, SHORTEST_IMAGE_NAME},
    policy::{deadline_minutes, valid_label},
    record::Record,
    text::shown,
};

/// From what an image is made again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Method {
    /// From its object in S3.
    Object,
    /// From its snapshots, which outlive it.
    Snapshots,
}

/// What may be asked for.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct RestoreInput {
    /// The image that is to come back, as it was called; looked up in the record.
    pub image_id: Option<ImageId>,
    /// Bucket of a stored object.
    pub bucket: Option<BucketName>,
    /// Key of a stored object.
    pub key: Option<String>,
    /// Region to restore into; its bucket must hold the object. The home Region if not given.
    pub region: Option<Region>,
    /// Name of the restored image.
    pub name: Option<String>,
    /// Identity of the run.
    pub run: Option<String>,
    /// Make it of its snapshots instead of the object.
    pub from_snapshots: bool,
    /// Snapshots that are taken although they are not as the record has them.
    pub trust_snapshots: Vec<SnapshotId>,
    /// Whether the record beside an object is taken as the stack's own, launch permissions and all.
    pub trust_record: bool,
    /// Minutes that the wait may last, in place of the budget by size.
    pub deadline_minutes: Option<u32>,
}

/// What is to come back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wanted {
    /// An image by its id.
    Image(ImageId),
    /// An object by its place.
    Object(BucketName, String),
}

/// What a restore was asked to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RestoreRequest {
    /// What is to come back.
    pub wanted: Wanted,
    /// Where.
    pub region: Region,
    /// Under which name, if not one made from the original's.
    pub name: Option<String>,
    /// Identity of the run.
    pub run: String,
    /// From what.
    pub method: Method,
    /// Snapshots that are taken although they are not as the record has them.
    pub trust_snapshots: Vec<SnapshotId>,
    /// Whether the record beside the object is taken as the stack's own.
    pub trust_record: bool,
    /// Minutes that the wait may last.
    pub deadline_minutes: Option<u32>,
}

/// Reads what a restore was asked to do.
///
/// # Errors
/// `InvalidInput` with the path of the field.
pub fn restore_request(value: Value, execution_name: Option<&str>, home: &Region) -> Result<RestoreRequest, StepError> {
    let asked: RestoreInput = input::parse(value)?;
    let wanted = match (asked.image_id, asked.bucket, asked.key) {
        (Some(image_id), None, None) => Wanted::Image(image_id),
        (None, Some(bucket), Some(key)) => Wanted::Object(bucket, valid_key(key)?),
        (Some(_), _, _) => return Err(StepError::input("imageId", "give either `imageId` or `bucket` and `key`")),
        (None, Some(_), _) => return Err(StepError::input("key", "give the key of the object in `bucket`")),
        (None, None, Some(_)) => return Err(StepError::input("bucket", "give the bucket of `key`")),
        (None, None, None) => return Err(StepError::input("", "give `imageId`, or `bucket` and `key`")),
    };
    let region = asked.region.unwrap_or_else(|| home.clone());
    if asked.from_snapshots {
        if matches!(wanted, Wanted::Object(..)) {
            return Err(StepError::input("fromSnapshots", "needs `imageId`: an object has no snapshots"));
        }
        if region != *home {
            return Err(StepError::input("region", format!("the snapshots are in {home}: restore there, then copy")));
        }
    }
    if !asked.from_snapshots && !asked.trust_snapshots.is_empty() {
        return Err(StepError::input("trustSnapshots", "means nothing without `fromSnapshots`"));
    }
    if asked.trust_record && matches!(wanted, Wanted::Image(_)) {
        return Err(StepError::input("trustRecord", "means nothing with `imageId`: that record is the stack's own"));
    }
    let deadline_minutes = deadline_minutes(asked.deadline_minutes)?;
    let name = asked.name.map(valid_name).transpose()?;
    let run = match (asked.run, execution_name) {
        (Some(run), _) => valid_label("run", &run, 128)?,
        (None, Some(name)) => valid_label("executionName", name, 128)?,
        (None, None) => return Err(StepError::input("run", "give the run a name")),
    };
    let method = if asked.from_snapshots { Method::Snapshots } else { Method::Object };
    let (trust_snapshots, trust_record) = (asked.trust_snapshots, asked.trust_record);
    Ok(RestoreRequest { wanted, region, name, run, method, trust_snapshots, trust_record, deadline_minutes })
}

fn valid_key(key: String) -> Result<String, StepError> {
    if is_key(&key) {
        Ok(key)
    } else {
        Err(StepError::input("key", format!("has {} bytes and must have 1 to {LONGEST_KEY}", key.len())))
    }
}

fn valid_name(name: String) -> Result<String, StepError> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "()[] ./-'@_".contains(c);
    if !(SHORTEST_IMAGE_NAME..=LONGEST_IMAGE_NAME).contains(&name.len()) {
        return Err(StepError::input(
            "name",
            format!("is {} characters long and must be {SHORTEST_IMAGE_NAME} to {LONGEST_IMAGE_NAME}", name.len()),
        ));
    }
    if !name.chars().all(allowed) {
        return Err(StepError::input(
            "name",
            format!("`{}` must be letters, digits or any of ( ) [ ] space . / - ' @ _", shown(&name)),
        ));
    }
    Ok(name)
}

/// What is restored from where: the subject of the wait for a restored image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RestoreSubject {
    /// The run; its Region is the home Region, where the record is.
    pub run: RunContext,
    /// From what.
    pub method: Method,
    /// Where the image comes back.
    pub region: Region,
    /// The image as it was called, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub original_id: Option<ImageId>,
    /// Bucket of the object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bucket: Option<BucketName>,
    /// Key of the object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// Where the record was found, as bucket and key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub record: Option<RecordPlace>,
    /// Whether a record that is not the stack's own is taken as if it were.
    #[serde(default)]
    pub trust_record: bool,
    /// The snapshots that were found to be the record's, of which the image is made again.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub snapshots: Vec<SnapshotId>,
    /// Name that was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Name of the original, where a record knew it when the restore began. The record may go in the
    /// meantime, and the name of the restored image must not change with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub original_name: Option<String>,
    /// Sum of the volumes in GiB; 0 if there is no record to say so.
    #[serde(default)]
    pub size_gib: u64,
    /// Minutes that the wait may last, in place of the budget by size.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline_minutes: Option<u32>,
    /// The restored image, once there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub awaited: Option<Awaited>,
    /// Whether it was there before this step looked.
    #[serde(default)]
    pub adopted: bool,
}

/// Where a record is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RecordPlace {
    /// Region of the bucket.
    pub region: Region,
    /// Bucket.
    pub bucket: BucketName,
    /// Key.
    pub key: String,
}

impl RestoreSubject {
    /// What the restored image is made from: its original id, or the place of the object.
    pub fn source(&self) -> String {
        match &self.original_id {
            Some(id) => id.to_string(),
            None => self.parameters(),
        }
    }

    /// The parameters of its identity.
    pub fn parameters(&self) -> String {
        match (&self.bucket, &self.key) {
            (Some(bucket), Some(key)) => format!("{bucket}/{key}"),
            _ => "snapshots".into(),
        }
    }

    /// What tells this restored image from others.
    pub fn identity<'a>(&'a self, source: &'a str, parameters: &'a str) -> Identity<'a> {
        let purpose = match self.method {
            Method::Object => Purpose::Restore,
            Method::Snapshots => Purpose::Register,
        };
        Identity { purpose, run: &self.run.run, source, region: &self.region, parameters }
    }
}

/// In what a snapshot, as it is `seen` now, contradicts what the record says of it: it is another one, or the record
/// was changed. `account` is the caller's.
pub fn contradiction(record: &Record, seen: &SnapshotFacts, account: &str) -> Option<String> {
    let recorded = record.survey.snapshots.iter().find(|recorded| recorded.snapshot_id == seen.snapshot_id);
    let Some(recorded) = recorded else {
        return Some("the record says nothing of it".into());
    };
    let owner = if recorded.owner_id.is_empty() { account } else { &recorded.owner_id };
    if seen.owner_id != owner {
        return Some(format!("account {} owns it, and not {}", shown(&seen.owner_id), shown(owner)));
    }
    // A record of before this was written may lack a description too.
    if recorded.start_time.is_none() && recorded.description.is_empty() {
        if let Some(other) = made_for(&seen.description).filter(|image| image != record.image_id()) {
            return Some(format!("it was made for {other}"));
        }
    } else if seen.description != recorded.description {
        let (is, was) = (shown(&seen.description), shown(&recorded.description));
        return Some(format!("its description is `{is}` and was `{was}`"));
    }
    match (seen.start_time, recorded.start_time) {
        (Some(at), Some(recorded)) if at != recorded => Some(format!("it was begun at {at}, and not at {recorded}")),
        (None, Some(recorded)) => Some(format!("nothing says that it was begun at {recorded}")),
        (Some(at), None) if at > record.surveyed_at => {
            Some(format!("it was begun at {at}, after the record was written at {}", record.surveyed_at))
        }
        _ => None,
    }
}

/// The context of a restore, which has neither policy nor expiry.
pub fn restore_run(run: String, now: Timestamp, home: Region) -> RunContext {
    let attempt = crate::naming::attempt_prefix(&run, now);
    RunContext {
        run,
        started_at: now,
        policy: "restore".into(),
        expires: Expires::Never,
        origin: None,
        region: home,
        attempt,
    }
}

/// The id of the image whose object is called `key`, by the name that EC2 gives objects.
pub fn image_of_key(key: &str) -> Option<ImageId> {
    key.rsplit('/').next()?.strip_suffix(".bin")?.parse().ok()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::error::ErrorName;

    fn request(value: Value) -> Result<RestoreRequest, StepError> {
        restore_request(value, Some("e"), &"us-east-1".parse().unwrap_or_else(|_| unreachable!()))
    }

    #[track_caller]
    fn refused(value: Value, path: &str) {
        let error = request(value.clone()).err();
        assert_eq!(error.as_ref().map(|e| e.name), Some(ErrorName::InvalidInput), "{value}");
        let text = error.map(|e| e.to_string()).unwrap_or_default();
        assert!(text.contains(path), "{path} is missing from {text}");
    }

    #[test]
    fn bad_input_is_refused_with_its_path() {
        let image = "ami-12345678";
        refused(json!({}), "imageId");
        refused(json!({"imageId": "ami-1"}), "imageId");
        refused(json!({"imageId": image, "key": "k"}), "imageId");
        refused(json!({"bucket": "backups"}), "key");
        refused(json!({"bucket": "backups", "key": ""}), "key: has 0 bytes");
        refused(json!({"bucket": "backups", "key": "k".repeat(66_000)}), "key: has 66000 bytes");
        refused(json!({"imageId": image, "trustSnapshots": ["snap-12345678"]}), "trustSnapshots");
        refused(json!({"imageId": image, "fromSnapshots": true, "trustSnapshots": ["snap-1"]}), "trustSnapshots[0]");
        refused(json!({"imageId": image, "trustRecord": true}), "trustRecord");
        refused(json!({"key": "k"}), "bucket");
        for name in ["", "ab", "a*b", "a#bc", &"x".repeat(129)] {
            refused(json!({"imageId": image, "name": name}), "name");
        }
        refused(json!({"imageId": image, "fromsnapshots": true}), "fromsnapshots");
        refused(json!({"bucket": "backups", "key": "k", "fromSnapshots": true}), "fromSnapshots");
        refused(json!({"imageId": image, "fromSnapshots": true, "region": "eu-west-1"}), "region");
        refused(json!({"imageId": image, "region": "there"}), "region");
        refused(json!({"imageId": image, "deadlineMinutes": 0}), "deadlineMinutes");
    }

    #[test]
    fn one_line_is_enough_by_hand() -> Result<(), StepError> {
        let asked = request(json!({"imageId": "ami-12345678"}))?;
        assert_eq!((asked.run.as_str(), asked.method), ("e", Method::Object));
        let asked = request(json!({"bucket": "backups", "key": "a/ami-12345678.bin", "run": "r"}))?;
        assert_eq!(asked.run, "r");
        Ok(())
    }

    #[test]
    fn a_name_is_any_that_ec2_takes() -> Result<(), StepError> {
        for name in ["web", "Web (2026) [old] ./-'@_", &"x".repeat(128)] {
            assert_eq!(request(json!({"imageId": "ami-12345678", "name": name}))?.name.as_deref(), Some(name));
        }
        Ok(())
    }

    fn subject(original_id: Option<&str>, object: Option<(&str, &str)>) -> RestoreSubject {
        RestoreSubject {
            run: crate::item::test_run(),
            method: if object.is_some() { Method::Object } else { Method::Snapshots },
            region: "us-east-1".parse().unwrap_or_else(|_| unreachable!()),
            original_id: original_id.and_then(|id| id.parse().ok()),
            bucket: object.and_then(|(bucket, _)| bucket.parse().ok()),
            key: object.map(|(_, key)| key.to_owned()),
            record: None,
            trust_record: false,
            snapshots: Vec::new(),
            name: None,
            original_name: None,
            size_gib: 0,
            deadline_minutes: None,
            awaited: None,
            adopted: false,
        }
    }

    #[test]
    fn a_restored_image_says_what_it_was_or_else_where_its_object_is() {
        let object = Some(("backups", "a/x.bin"));
        assert_eq!(subject(Some("ami-12345678"), object).source(), "ami-12345678");
        assert_eq!(subject(Some("ami-12345678"), None).source(), "ami-12345678");
        assert_eq!(subject(None, object).source(), "backups/a/x.bin");
    }

    #[test]
    fn restores_of_another_image_object_or_kind_make_another_image() {
        let restores = [
            subject(Some("ami-12345678"), None),
            subject(Some("ami-87654321"), None),
            subject(Some("ami-12345678"), Some(("backups", "a"))),
            subject(Some("ami-12345678"), Some(("backups", "b"))),
            subject(Some("ami-12345678"), Some(("archive", "a"))),
            subject(None, Some(("backups", "a"))),
            subject(None, Some(("backups", "b"))),
        ];
        let tokens: std::collections::BTreeSet<String> = restores
            .iter()
            .map(|subject| crate::naming::token(&subject.identity(&subject.source(), &subject.parameters()), 0))
            .collect();
        assert_eq!(tokens.len(), restores.len());
    }

    #[test]
    fn the_original_is_read_off_the_key() {
        assert!(image_of_key("a/b/ami-12345678.bin").is_some());
        assert!(image_of_key("a/b/other.bin").is_none());
    }

    /// 71. A snapshot of which owner, description or time of creation contradict the record is not taken, unless the input
    ///     names it.
    #[test]
    fn a_snapshot_is_the_one_of_the_record_or_contradicts_it() {
        use crate::repair::tests::survey;
        let (account, now) = ("111122223333", Timestamp::constant(1_796_004_000, 0));
        let mut record = Record::opened(None, survey("ami-12345678", "snap-12345678"), account, now);
        record.survey.snapshots[0].description = "Created by CreateImage(i-12345678) for ami-12345678".into();
        record.survey.snapshots[0].start_time = Some(now);
        let good = record.survey.snapshots[0].clone();
        let says = |record: &Record, seen: &SnapshotFacts| contradiction(record, seen, account).unwrap_or_default();
        assert_eq!(says(&record, &good), "");
        let second = jiff::SignedDuration::from_secs(1);
        for (other, word) in [
            (SnapshotFacts { owner_id: "999999999999".into(), ..good.clone() }, "999999999999"),
            (SnapshotFacts { description: "another's".into(), ..good.clone() }, "another's"),
            (SnapshotFacts { start_time: Some(now + second), ..good.clone() }, "begun"),
            (SnapshotFacts { start_time: None, ..good.clone() }, "begun"),
            (
                SnapshotFacts {
                    snapshot_id: "snap-87654321".parse().unwrap_or_else(|_| unreachable!()),
                    ..good.clone()
                },
                "nothing",
            ),
        ] {
            assert!(says(&record, &other).contains(word), "{}", says(&record, &other));
        }
        // A record of before owner, description and time were written down.
        let facts = &mut record.survey.snapshots[0];
        (facts.owner_id, facts.description, facts.start_time) = (String::new(), String::new(), None);
        assert_eq!(says(&record, &good), "");
        for (other, word) in [
            (SnapshotFacts { owner_id: "999999999999".into(), ..good.clone() }, "999999999999"),
            (SnapshotFacts { start_time: Some(now + second), ..good.clone() }, "after the record"),
            (
                SnapshotFacts { description: "Created by CreateImage(i-1) for ami-87654321".into(), ..good.clone() },
                "ami-87654321",
            ),
        ] {
            assert!(says(&record, &other).contains(word), "{}", says(&record, &other));
        }
    }
}
