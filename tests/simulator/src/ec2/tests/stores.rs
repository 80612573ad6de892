//! Store and restore.

use super::*;
use crate::account::{DescribedBucket, SecondStore, StoredBytes};

const KEY: &str = "ami-0a1b2c3d4e5f60001.bin";

async fn stored() -> Bench {
    let bench = Bench::new();
    assert_eq!(bench.store(GOLDEN, BACKUPS).await.ok().one("objectKey"), KEY);
    bench.after(60_000).world.settle(bench.objects.as_ref()).await;
    bench
}

#[tokio::test]
async fn the_object_is_invisible_until_the_task_is_complete() {
    let bench = Bench::new();
    let tags = [("ImageId", GOLDEN), ("Bucket", BACKUPS), ("S3ObjectTag.1.Key", "run"), ("S3ObjectTag.1.Value", "r1")];
    bench.call("CreateStoreImageTask", &tags).await.ok();
    let running = bench.after(1_000).call("DescribeStoreImageTasks", &[]).await.ok();
    assert_eq!(running.one("storeTaskState"), "InProgress");
    assert_eq!(running.one("progressPercentage"), "50");
    assert!(!bench.objects.exists(BACKUPS, KEY).await.unwrap());
    let done = bench.after(1_500).call("DescribeStoreImageTasks", &[("ImageId.1", GOLDEN)]).await.ok();
    assert_eq!(done.one("storeTaskState"), "Completed");
    assert_eq!(done.one("s3objectKey"), KEY);
    assert_eq!(done.one("bucket"), BACKUPS);
    let object = bench.objects.get(BACKUPS, KEY).await.unwrap();
    assert_eq!(object.tags.get("run").unwrap(), "r1");
}

#[tokio::test]
async fn a_path_in_the_bucket_goes_into_the_key() {
    let bench = Bench::with(|settings| settings.choices.described_bucket = DescribedBucket::Path);
    let place = format!("{BACKUPS}/team/a");
    assert_eq!(bench.store(GOLDEN, &place).await.ok().one("objectKey"), format!("team/a/{KEY}"));
    let task = bench.call("DescribeStoreImageTasks", &[]).await.ok();
    assert_eq!(task.one("bucket"), place);
}

#[tokio::test]
async fn what_cannot_be_stored_is_refused() {
    let bench = Bench::new();
    for (image, code) in [
        ("ami-0a1b2c3d4e5f60010", "InvalidRequest"),
        ("ami-0a1b2c3d4e5f60011", "InvalidAMIID.NotFound"),
        ("ami-0a1b2c3d4e5f60012", "InvalidRequest"),
        ("ami-0a1b2c3d4e5f60013", "InvalidAMIID.Unavailable"),
        ("ami-0a1b2c3d4e5f60015", "InvalidRequest"),
    ] {
        assert_eq!(bench.store(image, BACKUPS).await.outcome, code, "{image}");
    }
    assert_eq!(bench.store(GOLDEN, "ami-backup-demo-elsewhere").await.outcome, "InvalidParameterValue");
    assert_eq!(bench.store(GOLDEN, "no-such-bucket").await.outcome, "NoSuchBucket");
    bench.store("ami-0a1b2c3d4e5f60014", BACKUPS).await.ok();
    bench.store("ami-0a1b2c3d4e5f60016", BACKUPS).await.ok();
}

#[tokio::test]
async fn a_merely_public_image_cannot_be_stored() {
    let bench = Bench::new();
    bench.world.change_image("ami-0a1b2c3d4e5f60011", |image| {
        image.launch_permissions.insert("all".into());
    });
    assert_eq!(bench.store("ami-0a1b2c3d4e5f60011", BACKUPS).await.outcome, "InvalidRequest");
}

#[tokio::test]
async fn a_second_store_is_refused_or_overwrites_as_chosen() {
    let bench = Bench::new();
    bench.store(GOLDEN, BACKUPS).await.ok();
    assert_eq!(bench.store(GOLDEN, BACKUPS).await.outcome, "InvalidRequest");
    assert_eq!(bench.after(60_000).store(GOLDEN, BACKUPS).await.outcome, "InvalidRequest");
    bench.store(GOLDEN, &format!("{BACKUPS}/elsewhere")).await.ok();
    let bench = Bench::with(|settings| settings.choices.second_store = SecondStore::Overwrites);
    bench.store(GOLDEN, BACKUPS).await.ok();
    bench.store(GOLDEN, BACKUPS).await.ok();
    assert_eq!(bench.world.counts().store_tasks, 2);
    let per_bucket = Bench::with(|settings| settings.choices.second_store_per_key = false);
    per_bucket.store(GOLDEN, BACKUPS).await.ok();
    let other_path = per_bucket.store(GOLDEN, &format!("{BACKUPS}/elsewhere")).await;
    assert_eq!(other_path.outcome, "InvalidRequest");
}

#[tokio::test]
async fn a_store_is_accepted_while_less_than_the_quota_is_in_progress() {
    let bench = Bench::with(|settings| {
        settings.quotas.store_in_progress_gb = 8;
        settings.choices.gigabytes_count = StoredBytes::Volume;
        settings.choices.store_over_quota_code = "OverQuota".into();
    });
    bench.store(GOLDEN, BACKUPS).await.ok();
    assert_eq!(bench.store("ami-0a1b2c3d4e5f60014", BACKUPS).await.outcome, "OverQuota");
    bench.after(60_000).store("ami-0a1b2c3d4e5f60014", BACKUPS).await.ok();
}

#[tokio::test]
async fn a_restore_over_the_quota_is_refused() {
    let bench = Bench::with(|settings| settings.quotas.restore_in_progress_gb = 3);
    bench.restore("ami-0a1b2c3d4e5f60020.bin", "one").await.ok();
    assert_eq!(bench.restore("ami-0a1b2c3d4e5f60020.bin", "two").await.outcome, "ResourceLimitExceeded");
}

#[tokio::test]
async fn a_restore_keeps_tags_and_the_machine_and_loses_what_belongs_to_the_old_image() {
    let bench = stored().await;
    bench.call("EnableImageDeprecation", &[("ImageId", GOLDEN), ("DeprecateAt", "2027-01-01T00:00:00Z")]).await.ok();
    let id = bench.restore(KEY, "restored").await.ok().one("imageId");
    assert_eq!(bench.state_of(HOME, &id).await, "pending");
    bench.after(60_000);
    assert_eq!(bench.state_of(HOME, &id).await, "available");
    let (old, new) = (bench.world.image(GOLDEN).unwrap(), bench.world.image(&id).unwrap());
    assert_eq!((&new.tags, &new.machine, &new.description), (&old.tags, &old.machine, &old.description));
    assert!(new.launch_permissions.is_empty());
    assert_eq!(new.deprecate_at, None);
    assert_eq!(new.source_image, Some((GOLDEN.to_owned(), HOME.to_owned())));
    assert_eq!(bench.world.snapshots_of(&id)[0].tags, bench.world.snapshots_of(GOLDEN)[0].tags);
    assert_ne!(new.devices[0].snapshot_id, old.devices[0].snapshot_id);
}

#[tokio::test]
async fn a_damaged_or_truncated_object_ends_in_a_failed_image_with_the_reason() {
    let bench = stored().await;
    bench.objects.damage(BACKUPS, KEY, |body| {
        let last = body.len() - 10;
        body[last] ^= 1;
    });
    let damaged = bench.restore(KEY, "damaged").await.ok().one("imageId");
    bench.objects.damage(BACKUPS, KEY, |body| body.truncate(90));
    let truncated = bench.restore(KEY, "truncated").await.ok().one("imageId");
    bench.after(60_000);
    for id in [damaged, truncated] {
        let shown = bench.call("DescribeImages", &[("ImageId.1", &id)]).await.ok();
        assert_eq!(shown.one("imageState"), "failed");
        assert!(shown.one("message").contains("checksum"), "{}", shown.body);
    }
}

#[tokio::test]
async fn an_archived_or_missing_object_is_refused() {
    let bench = Bench::new();
    assert_eq!(bench.restore("ami-0a1b2c3d4e5f60021.bin", "cold").await.outcome, "InvalidObjectState");
    assert_eq!(bench.restore("nothing.bin", "nothing").await.outcome, "NoSuchKey");
    let elsewhere = [("Bucket", BACKUPS), ("ObjectKey", KEY), ("Name", "far")];
    let refused = bench.call_in("eu-west-1", "CreateRestoreImageTask", &elsewhere).await;
    assert_eq!(refused.outcome, "InvalidParameterValue");
}

#[tokio::test]
async fn restored_snapshots_follow_encryption_by_default() {
    let bench = stored().await;
    bench.world.set_encryption_by_default(US, HOME, true);
    let id = bench.restore(KEY, "encrypted").await.ok().one("imageId");
    assert!(bench.world.snapshots_of(&id)[0].encrypted);
}

#[tokio::test]
async fn a_store_fails_when_a_snapshot_goes_away_or_a_fault_says_so() {
    let bench = Bench::new();
    bench.store(GOLDEN, BACKUPS).await.ok();
    bench.world.remove_snapshot(GOLDEN_SNAPSHOT);
    let caller = Caller { fail_task: Some("the disk is on fire".into()), ..bench.caller.clone() };
    let encrypted = [("ImageId", "ami-0a1b2c3d4e5f60014"), ("Bucket", BACKUPS)];
    bench.call_as(&caller, "CreateStoreImageTask", &encrypted).await.ok();
    let shown = bench.after(60_000).call("DescribeStoreImageTasks", &[]).await.ok();
    assert_eq!(shown.all("storeTaskState"), ["Failed", "Failed"]);
    let reasons = shown.all("storeTaskFailureReason");
    assert_eq!(reasons[0], "the disk is on fire");
    assert!(reasons[1].contains(GOLDEN_SNAPSHOT));
}

#[tokio::test]
async fn tasks_are_listed_newest_first_for_31_days_and_ids_pass_over_filters() {
    let bench = stored().await;
    bench.store("ami-0a1b2c3d4e5f60014", BACKUPS).await.ok();
    let all = bench.call("DescribeStoreImageTasks", &[]).await.ok().all("amiId");
    assert_eq!(all, ["ami-0a1b2c3d4e5f60014", GOLDEN]);
    let running = [("Filter.1.Name", "task-state"), ("Filter.1.Value.1", "InProgress")];
    let found = bench.call("DescribeStoreImageTasks", &running).await.ok().all("amiId");
    assert_eq!(found, ["ami-0a1b2c3d4e5f60014"]);
    let with_id = [&running[..], &[("ImageId.1", GOLDEN)]].concat();
    assert_eq!(bench.call("DescribeStoreImageTasks", &with_id).await.ok().all("amiId"), [GOLDEN]);
    let sized = [("ImageId.1", GOLDEN), ("MaxResults", "1")];
    assert_eq!(bench.call("DescribeStoreImageTasks", &sized).await.outcome, "InvalidParameterCombination");
    let page = bench.call("DescribeStoreImageTasks", &[("MaxResults", "1")]).await.ok();
    let rest = [("MaxResults", "1"), ("NextToken", &page.one("nextToken"))];
    assert_eq!(bench.call("DescribeStoreImageTasks", &rest).await.ok().all("amiId"), [GOLDEN]);
    bench.after(32 * 24 * 3_600_000);
    assert!(bench.call("DescribeStoreImageTasks", &[]).await.ok().all("amiId").is_empty());
}
