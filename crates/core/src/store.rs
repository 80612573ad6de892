//! Owns storing an image as one object: whether it is there already, is being written, or has to be
//! asked for; and when it counts as done.

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::{
    id::{BucketName, ImageId},
    item::RunContext,
};

/// DescribeStoreImageTasks shows tasks of the last 31 days.
pub const TASK_HISTORY: SignedDuration = SignedDuration::from_hours(31 * 24);

/// How long a new task may stay invisible before its absence means something. AWS advises backing off
/// to about five minutes after a create.
const SETTLING: SignedDuration = SignedDuration::from_mins(10);

/// State of a store task, of those that EC2 has today and any that it may invent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StoreTaskState {
    /// Being written.
    InProgress,
    /// Written.
    Completed,
    /// Ended without an object.
    Failed,
    /// Not known when this was written.
    Other(String),
}

impl From<&str> for StoreTaskState {
    fn from(text: &str) -> Self {
        match text {
            "InProgress" => Self::InProgress,
            "Completed" => Self::Completed,
            "Failed" => Self::Failed,
            other => Self::Other(other.to_owned()),
        }
    }
}

/// What DescribeStoreImageTasks says of a task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreTask {
    /// The image.
    pub image_id: ImageId,
    /// The bucket as EC2 tells it. With a path or without: that is not documented.
    pub bucket: String,
    /// Key of the object.
    pub key: String,
    /// When it began.
    pub started_at: Timestamp,
    /// EC2's estimate.
    pub progress_percent: Option<u8>,
    /// Its state.
    pub state: StoreTaskState,
    /// Why it failed.
    pub failure_reason: Option<String>,
}

impl StoreTask {
    /// Whether it writes into this bucket, however EC2 tells it.
    fn is_in(&self, bucket: &BucketName) -> bool {
        self.bucket.split('/').next() == Some(bucket.as_str())
    }
}

/// What HeadObject says of an object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ObjectFacts {
    /// Bucket.
    pub bucket: BucketName,
    /// Key.
    pub key: String,
    /// Size in bytes.
    pub size_bytes: u64,
    /// Storage class; absent is `STANDARD`.
    #[serde(default)]
    pub storage_class: Option<String>,
    /// Header `x-amz-restore`, for archived objects.
    #[serde(default)]
    pub restore: Option<String>,
}

impl ObjectFacts {
    /// Whether the object is archived and no thawed copy of it can be read.
    pub fn is_archived(&self) -> bool {
        let archived = matches!(self.storage_class.as_deref(), Some("GLACIER" | "DEEP_ARCHIVE"));
        let thawed = self.restore.as_deref().is_some_and(|restore| restore.contains("ongoing-request=\"false\""));
        archived && !thawed
    }

    /// Whether this can be an image of `size_gib`: larger than nothing, not larger than its volumes,
    /// since what is stored is compressed.
    pub fn is_plausible(&self, size_gib: u64) -> bool {
        self.size_bytes > 0 && u128::from(self.size_bytes) <= u128::from(size_gib) << 30
    }
}

/// What is stored where: the subject of the wait for a store task.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct StoreSubject {
    /// The run.
    pub run: RunContext,
    /// The image.
    pub image_id: ImageId,
    /// Sum of its volumes in GiB.
    pub size_gib: u64,
    /// The bucket.
    pub bucket: BucketName,
    /// Path in the bucket: empty, or ending with a slash.
    #[serde(default, deserialize_with = "crate::policy::path_in_bucket")]
    pub prefix: String,
    /// Minutes that the wait may last, in place of the budget by size.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline_minutes: Option<u32>,
    /// Key of the object, as EC2 returned it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// The object, once it was seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub object: Option<ObjectFacts>,
    /// Whether the object or its task was there before this run looked.
    #[serde(default)]
    pub adopted: bool,
}

/// What to do about an object that should exist once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StoreStart {
    /// A task is writing it: wait for that one.
    Join(StoreTask),
    /// It is there.
    Stored(ObjectFacts),
    /// Something that is not this image is under its key.
    InTheWay(ObjectFacts),
    /// A task of this run has failed.
    Failed(StoreTask),
    /// It is not there: ask for it.
    Create,
}

/// Decides what to do before CreateStoreImageTask, from the tasks of the image and the object under
/// the predicted key.
///
/// Any task in progress for the bucket is adopted. A failed one counts only if it is newer than
/// `started_at`, the start of this run: what failed last week is no reason not to try today.
pub fn store_start(
    subject: &StoreSubject,
    tasks: &[StoreTask],
    object: Option<ObjectFacts>,
    started_at: Timestamp,
) -> StoreStart {
    let mine: Vec<&StoreTask> = newest_first(subject, tasks);
    if let Some(task) = mine.iter().find(|task| is_running(task)) {
        return StoreStart::Join((*task).clone());
    }
    if let Some(object) = object {
        return if object.is_plausible(subject.size_gib) {
            StoreStart::Stored(object)
        } else {
            StoreStart::InTheWay(object)
        };
    }
    match mine.first() {
        Some(task) if task.state == StoreTaskState::Failed && task.started_at >= started_at => {
            StoreStart::Failed((*task).clone())
        }
        _ => StoreStart::Create,
    }
}

/// A claim on storing an image in a bucket: whoever has it asks EC2.
///
/// CreateStoreImageTask takes no token, and a task shows only some time after it was asked for: two
/// starts side by side would both look, find nothing, and store the image twice.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct StoreClaim {
    /// Run that asks.
    pub run: String,
    /// When it was claimed.
    pub at: Timestamp,
    /// Whether EC2 has refused, so that nothing comes of it.
    #[serde(default)]
    pub released: bool,
}

/// Longer than a function may run (the template allows 110 seconds), and long enough for a task to
/// show: whoever had the claim has asked by then, or never will.
const CLAIM_HOLDS: SignedDuration = SignedDuration::from_secs(150);

impl StoreClaim {
    /// Whether the run has asked for the store lately, and EC2 has not refused: a task may be on its way that does not
    /// show yet.
    pub fn may_show_later(&self, run: &str, now: Timestamp) -> bool {
        self.run == run && !self.released && now.duration_since(self.at) < CLAIM_HOLDS
    }
}

/// The number of the claim to take, after the last one that there is; `None`: somebody has it.
pub fn next_claim(last: Option<(u32, &StoreClaim)>, now: Timestamp) -> Option<u32> {
    match last {
        None => Some(1),
        Some((number, claim)) if claim.released || now.duration_since(claim.at) >= CLAIM_HOLDS => {
            Some(number.saturating_add(1))
        }
        Some(_) => None,
    }
}

/// The key under which an image is in a bucket, or on its way there: that of its newest task that did
/// not fail.
pub fn key_in_bucket<'a>(bucket: &BucketName, tasks: &'a [StoreTask]) -> Option<&'a str> {
    let here = tasks.iter().filter(|task| task.is_in(bucket) && task.state != StoreTaskState::Failed);
    here.max_by_key(|task| task.started_at).map(|task| task.key.as_str())
}

/// Where the image may be, when EC2 refuses to store it because it is there: the key of the newest
/// completed task for the bucket. "One copy of an AMI per bucket" may mean whatever the path.
pub fn stored_elsewhere<'a>(subject: &StoreSubject, tasks: &'a [StoreTask]) -> Option<&'a str> {
    let mut mine = newest_first(subject, tasks).into_iter();
    mine.find(|task| task.state == StoreTaskState::Completed).map(|task| task.key.as_str())
}

/// What a look at a running store shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StoreCheck {
    /// The task is `Completed` and the object is there.
    Done(ObjectFacts),
    /// Not yet: what was seen, and how far it is.
    InProgress(String, Option<u8>),
    /// It will not be: why.
    Failed(String),
    /// EC2 says it is there and S3 does not (yet).
    ObjectMissing,
}

/// Decides what a look at the tasks and at the object means, `age` after the task was asked for.
pub fn store_check(
    subject: &StoreSubject,
    tasks: &[StoreTask],
    object: Option<ObjectFacts>,
    age: SignedDuration,
) -> StoreCheck {
    let mine = newest_first(subject, tasks);
    let running = mine.iter().find(|task| is_running(task));
    // A failure before this run began is another run's, and the object under the key decides.
    let own = mine.first().filter(|task| !is_stale_failure(task, subject.run.started_at));
    match (running.or(own), object) {
        (Some(task), _) if is_running(task) => {
            let state = match &task.state {
                StoreTaskState::Other(state) => state.clone(),
                _ => "stored".to_owned(),
            };
            StoreCheck::InProgress(state, task.progress_percent)
        }
        (Some(task), _) if task.state == StoreTaskState::Failed => {
            StoreCheck::Failed(task.failure_reason.clone().unwrap_or_else(|| "EC2 gives no reason".into()))
        }
        (_, Some(object)) if object.is_plausible(subject.size_gib) => StoreCheck::Done(object),
        (_, Some(object)) => StoreCheck::Failed(format!(
            "the object has {} bytes, which cannot be an image of {} GiB",
            object.size_bytes, subject.size_gib
        )),
        (Some(_), None) => StoreCheck::ObjectMissing,
        (None, None) if age < SETTLING => StoreCheck::InProgress("not visible yet".into(), None),
        (None, None) if age >= TASK_HISTORY => {
            StoreCheck::Failed("EC2 no longer shows a task this old, and the object is not there".into())
        }
        (None, None) => StoreCheck::Failed("EC2 shows no task for it, and the object is not there".into()),
    }
}

fn is_stale_failure(task: &StoreTask, started_at: Timestamp) -> bool {
    task.state == StoreTaskState::Failed && task.started_at < started_at
}

fn is_running(task: &StoreTask) -> bool {
    matches!(task.state, StoreTaskState::InProgress | StoreTaskState::Other(_))
}

/// The tasks for the subject's image and bucket, newest first. With a path, also for its key: two
/// paths of a bucket may hold the same image.
fn newest_first<'a>(subject: &StoreSubject, tasks: &'a [StoreTask]) -> Vec<&'a StoreTask> {
    let mut mine: Vec<&StoreTask> = tasks
        .iter()
        .filter(|task| task.image_id == subject.image_id)
        .filter(|task| task.is_in(&subject.bucket))
        .filter(|task| subject.key.as_ref().is_none_or(|key| *key == task.key))
        .collect();
    mine.sort_by_key(|task| std::cmp::Reverse(task.started_at));
    mine
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::item::test_run;

    #[test]
    fn a_claim_is_one_callers_until_it_is_released_or_too_old_to_come_to_anything() {
        let claim = |released| StoreClaim { run: "r".into(), at: at(0), released };
        let after = |seconds| at(0) + SignedDuration::from_secs(seconds);
        assert!(claim(false).may_show_later("r", after(149)) && !claim(false).may_show_later("r", after(150)));
        assert!(!claim(true).may_show_later("r", after(0)) && !claim(false).may_show_later("other", after(0)));
        assert_eq!(next_claim(None, at(0)), Some(1));
        assert_eq!(next_claim(Some((1, &claim(false))), after(149)), None);
        assert_eq!(next_claim(Some((1, &claim(false))), after(150)), Some(2));
        assert_eq!(next_claim(Some((7, &claim(true))), after(0)), Some(8));
    }

    fn at(hours: i64) -> Timestamp {
        Timestamp::UNIX_EPOCH + SignedDuration::from_hours(hours)
    }

    fn subject() -> StoreSubject {
        StoreSubject {
            run: RunContext { started_at: at(100), ..test_run() },
            image_id: "ami-12345678".parse().unwrap_or_else(|_| unreachable!()),
            size_gib: 8,
            bucket: "backups".parse().unwrap_or_else(|_| unreachable!()),
            prefix: String::new(),
            deadline_minutes: None,
            key: None,
            object: None,
            adopted: false,
        }
    }

    fn task(state: &str, hours: i64) -> StoreTask {
        StoreTask {
            image_id: subject().image_id,
            bucket: "backups".into(),
            key: "ami-12345678.bin".into(),
            started_at: at(hours),
            progress_percent: Some(40),
            state: StoreTaskState::from(state),
            failure_reason: (state == "Failed").then(|| "no".into()),
        }
    }

    fn object(size_bytes: u64) -> ObjectFacts {
        ObjectFacts {
            bucket: subject().bucket,
            key: "ami-12345678.bin".into(),
            size_bytes,
            storage_class: None,
            restore: None,
        }
    }

    #[test]
    fn a_task_in_progress_is_joined_whoever_started_it() {
        let start = store_start(&subject(), &[task("Failed", 101), task("InProgress", 1)], None, at(100));
        assert_eq!(start, StoreStart::Join(task("InProgress", 1)));
    }

    #[test]
    fn a_failure_counts_only_if_it_is_newer_than_the_run() {
        assert_eq!(store_start(&subject(), &[task("Failed", 99)], None, at(100)), StoreStart::Create);
        assert!(matches!(store_start(&subject(), &[task("Failed", 101)], None, at(100)), StoreStart::Failed(_)));
    }

    #[test]
    fn an_object_that_is_there_is_adopted_and_one_that_cannot_be_an_image_is_not() {
        assert_eq!(store_start(&subject(), &[], Some(object(1)), at(100)), StoreStart::Stored(object(1)));
        assert_eq!(store_start(&subject(), &[], Some(object(0)), at(100)), StoreStart::InTheWay(object(0)));
        let larger = (8 << 30) + 1;
        assert_eq!(store_start(&subject(), &[], Some(object(larger)), at(100)), StoreStart::InTheWay(object(larger)));
    }

    #[test]
    fn tasks_of_other_buckets_are_not_ours() {
        let elsewhere = StoreTask { bucket: "backups-2".into(), ..task("InProgress", 101) };
        assert_eq!(store_start(&subject(), &[elsewhere], None, at(100)), StoreStart::Create);
        let with_path = StoreTask { bucket: "backups/a/b".into(), ..task("InProgress", 101) };
        assert!(matches!(store_start(&subject(), &[with_path], None, at(100)), StoreStart::Join(_)));
    }

    #[test]
    fn an_image_that_ec2_says_is_there_may_be_under_another_path() {
        let elsewhere = StoreTask { key: "a/ami-12345678.bin".into(), ..task("Completed", 101) };
        let tasks = [task("Failed", 102), elsewhere, task("Completed", 99)];
        assert_eq!(stored_elsewhere(&subject(), &tasks), Some("a/ami-12345678.bin"));
        assert_eq!(stored_elsewhere(&subject(), &[task("Failed", 102)]), None);
    }

    #[test]
    fn the_key_in_a_bucket_is_that_of_the_newest_task_that_did_not_fail() {
        let bucket = subject().bucket;
        let under = |key: &str, task: StoreTask| StoreTask { key: key.into(), ..task };
        let failed = under("failed", task("Failed", 103));
        let old = under("old", task("Completed", 99));
        let running = under("running", task("InProgress", 101));
        let elsewhere = StoreTask { bucket: "backups-2".into(), ..under("elsewhere", task("Completed", 102)) };
        let with_path = StoreTask { bucket: "backups/a".into(), ..under("with-path", task("Completed", 102)) };
        for (tasks, key) in [
            (vec![failed.clone(), old.clone(), elsewhere.clone(), running.clone()], Some("running")),
            (vec![old, running, with_path], Some("with-path")),
            (vec![failed, elsewhere], None),
        ] {
            assert_eq!(key_in_bucket(&bucket, &tasks), key);
        }
    }

    #[test]
    fn done_needs_both_the_task_and_the_object() {
        let check = |tasks: &[StoreTask], object| store_check(&subject(), tasks, object, SignedDuration::from_hours(1));
        assert_eq!(check(&[task("Completed", 100)], Some(object(7))), StoreCheck::Done(object(7)));
        assert_eq!(check(&[task("Completed", 100)], None), StoreCheck::ObjectMissing);
        assert!(matches!(check(&[task("Completed", 100)], Some(object(0))), StoreCheck::Failed(_)));
        assert!(matches!(check(&[task("InProgress", 100)], Some(object(7))), StoreCheck::InProgress(..)));
        assert_eq!(check(&[task("Failed", 100)], None), StoreCheck::Failed("no".into()));
        assert!(matches!(check(&[], None), StoreCheck::Failed(_)));
    }

    #[test]
    fn after_31_days_the_object_decides() {
        let late = TASK_HISTORY;
        assert_eq!(store_check(&subject(), &[], Some(object(7)), late), StoreCheck::Done(object(7)));
        assert!(matches!(store_check(&subject(), &[], None, late), StoreCheck::Failed(_)));
    }

    #[test]
    fn the_failure_of_an_earlier_run_is_not_the_failure_of_this_one() {
        let check = |task: StoreTask, object| store_check(&subject(), &[task], object, SignedDuration::from_hours(1));
        assert_eq!(check(task("Failed", 99), Some(object(7))), StoreCheck::Done(object(7)));
        for hours in [100, 101] {
            assert_eq!(check(task("Failed", hours), Some(object(7))), StoreCheck::Failed("no".into()), "{hours}");
        }
        assert_eq!(check(task("Completed", 99), None), StoreCheck::ObjectMissing);
    }

    #[test]
    fn a_state_that_nobody_knows_is_waited_out_and_said() {
        let look = |state| store_check(&subject(), &[task(state, 100)], None, SignedDuration::from_hours(1));
        assert_eq!(look("Queued"), StoreCheck::InProgress("Queued".into(), Some(40)));
        assert_eq!(look("InProgress"), StoreCheck::InProgress("stored".into(), Some(40)));
    }

    #[test]
    fn a_task_for_another_path_of_the_bucket_is_not_ours_once_the_key_is_known() {
        let subject = StoreSubject { key: Some("a/ami-12345678.bin".into()), ..subject() };
        let tasks = [task("Failed", 102), StoreTask { key: "a/ami-12345678.bin".into(), ..task("Completed", 101) }];
        assert_eq!(
            store_check(&subject, &tasks, Some(object(7)), SignedDuration::from_hours(3)),
            StoreCheck::Done(object(7))
        );
        assert_eq!(store_start(&subject, &tasks[..1], None, at(100)), StoreStart::Create);
    }

    #[test]
    fn a_task_that_is_not_shown_is_too_old_only_after_31_days() {
        let reason = |hours: i64| match store_check(&subject(), &[], None, SignedDuration::from_hours(hours)) {
            StoreCheck::Failed(reason) => reason,
            other => format!("{other:?}"),
        };
        for (hours, part) in [(1, "shows no task"), (31 * 24 - 1, "shows no task"), (31 * 24, "no longer shows")] {
            assert!(reason(hours).contains(part), "{hours}: {}", reason(hours));
        }
    }

    #[test]
    fn a_new_task_may_be_invisible_for_a_while() {
        let check = |seconds| store_check(&subject(), &[], None, SignedDuration::from_secs(seconds));
        for soon in [0, 30, 599] {
            assert!(matches!(check(soon), StoreCheck::InProgress(..)), "{soon}");
        }
        assert!(matches!(check(600), StoreCheck::Failed(_)));
    }

    #[test]
    fn a_thawed_object_is_not_archived() {
        let mut archived = object(1);
        archived.storage_class = Some("DEEP_ARCHIVE".into());
        assert!(archived.is_archived());
        archived.restore = Some(r#"ongoing-request="true""#.into());
        assert!(archived.is_archived());
        archived.restore = Some(r#"ongoing-request="false", expiry-date="x""#.into());
        assert!(!archived.is_archived());
    }
}
