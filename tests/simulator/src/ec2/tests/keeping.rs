//! What keeps snapshots and images: locks, tiers, the Recycle Bin, AWS Backup, other images.

use serde_json::json;

use super::*;

const ORPHAN: &str = "snap-0a1b2c3d4e5f60050";

fn orphan(more: Value) -> Value {
    let mut snapshot = json!({"region": HOME, "id": ORPHAN, "sizeGib": 8, "description": "left over"});
    snapshot.as_object_mut().unwrap().append(&mut more.as_object().unwrap().clone());
    json!({"snapshots": [snapshot]})
}

#[tokio::test]
async fn a_locked_snapshot_stays_until_its_lock_is_over() {
    let lock = json!({"lock": {"mode": "compliance", "createdAt": "2026-11-20T20:00:00Z", "durationDays": 5}});
    let bench = Bench::holding(orphan(lock));
    let locked = bench.call("DescribeLockedSnapshots", &[]).await.ok();
    assert_eq!((locked.one("snapshotId"), locked.one("lockState")), (ORPHAN.into(), "compliance".into()));
    assert_eq!(locked.one("lockExpiresOn"), "2026-11-25T20:00:00.000Z");
    let id = [("SnapshotId", ORPHAN)];
    assert_eq!(bench.call("DeleteSnapshot", &id).await.outcome, "OperationNotPermitted");
    assert_eq!(bench.call("UnlockSnapshot", &id).await.outcome, "OperationNotPermitted");
    bench.after(2 * DAY);
    let expired = [("Filter.1.Name", "lock-state"), ("Filter.1.Value.1", "expired")];
    assert_eq!(bench.call("DescribeLockedSnapshots", &expired).await.ok().all("snapshotId"), [ORPHAN]);
    bench.call("DeleteSnapshot", &id).await.ok();
}

#[tokio::test]
async fn locks_are_put_on_changed_and_taken_off_as_their_mode_allows() {
    let bench = Bench::holding(orphan(json!({})));
    let lock = |more: &[(&'static str, &'static str)]| [&[("SnapshotId", ORPHAN)][..], more].concat();
    let governance = lock(&[("LockMode", "governance"), ("LockDuration", "10")]);
    assert_eq!(bench.call("LockSnapshot", &governance).await.ok().one("lockState"), "governance");
    bench.call("UnlockSnapshot", &[("SnapshotId", ORPHAN)]).await.ok();
    assert_eq!(bench.call("UnlockSnapshot", &[("SnapshotId", ORPHAN)]).await.outcome, "IncorrectState");
    let cooling = lock(&[("LockMode", "compliance"), ("LockDuration", "10"), ("CoolOffPeriod", "2")]);
    assert_eq!(bench.call("LockSnapshot", &cooling).await.ok().one("lockState"), "compliance-cooloff");
    bench.after(HOUR).call("LockSnapshot", &governance).await.ok();
    bench.call("LockSnapshot", &cooling).await.ok();
    bench.after(2 * HOUR);
    assert_eq!(bench.call("LockSnapshot", &governance).await.outcome, "OperationNotPermitted");
    let shorter = lock(&[("LockMode", "compliance"), ("LockDuration", "9")]);
    assert_eq!(bench.call("LockSnapshot", &shorter).await.outcome, "OperationNotPermitted");
    let longer = lock(&[("LockMode", "compliance"), ("LockDuration", "11")]);
    assert_eq!(bench.call("LockSnapshot", &longer).await.ok().one("lockState"), "compliance");
    for wrong in [
        lock(&[("LockMode", "governance")]),
        lock(&[("LockMode", "governance"), ("LockDuration", "1"), ("ExpirationDate", "2027-01-01T00:00:00Z")]),
        lock(&[("LockMode", "governance"), ("LockDuration", "1"), ("CoolOffPeriod", "1")]),
    ] {
        assert_eq!(bench.call("LockSnapshot", &wrong).await.outcome, "InvalidParameterCombination");
    }
}

#[tokio::test]
async fn an_image_goes_and_its_locked_snapshot_stays() {
    let bench = Bench::new();
    let lock = [("SnapshotId", GOLDEN_SNAPSHOT), ("LockMode", "governance"), ("LockDuration", "1")];
    bench.call("LockSnapshot", &lock).await.ok();
    let both = [("ImageId", GOLDEN), ("DeleteAssociatedSnapshots", "true")];
    assert_eq!(bench.call("DeregisterImage", &both).await.ok().one("returnCode"), "client-error");
    assert!(bench.world.image(GOLDEN).is_none());
    assert!(bench.world.snapshot(GOLDEN_SNAPSHOT).is_some());
}

#[tokio::test]
async fn the_lock_and_the_tier_of_a_device_are_those_of_its_snapshot() {
    let bench = Bench::holding(json!({"images": [{
        "region": HOME, "id": "ami-0a1b2c3d4e5f60030", "name": "cold", "state": "disabled",
        "volumes": [{"device": "/dev/xvda", "sizeGib": 8, "snapshotId": ORPHAN, "snapshotStorageTier": "archive",
                     "snapshotLock": {"mode": "governance"}}]}]}));
    assert_eq!(bench.call("DescribeLockedSnapshots", &[]).await.ok().all("snapshotId"), [ORPHAN]);
    let archived = [("Filter.1.Name", "storage-tier"), ("Filter.1.Value.1", "archive")];
    assert_eq!(bench.call("DescribeSnapshots", &archived).await.ok().all("snapshotId"), [ORPHAN]);
    let status = [("Filter.1.Name", "last-tiering-operation"), ("Filter.1.Value.1", "archival-completed")];
    let status = bench.call("DescribeSnapshotTierStatus", &status).await.ok();
    assert_eq!((status.one("snapshotId"), status.one("storageTier")), (ORPHAN.into(), "archive".into()));
    assert_eq!(bench.call("EnableImage", &[("ImageId", "ami-0a1b2c3d4e5f60030")]).await.outcome, "IncorrectState");
}

#[tokio::test]
async fn a_snapshot_of_two_images_goes_with_the_second() {
    let twin = "ami-0a1b2c3d4e5f60030";
    let bench = Bench::holding(json!({"images": [{"region": HOME, "id": twin, "name": "twin",
        "volumes": [{"device": "/dev/xvda", "sizeGib": 8, "snapshotId": GOLDEN_SNAPSHOT}]}]}));
    assert_eq!(bench.world.tags(GOLDEN_SNAPSHOT)["Team"], "platform");
    let both = |id: &'static str| [("ImageId", id), ("DeleteAssociatedSnapshots", "true")];
    assert_eq!(bench.call("DeregisterImage", &both(GOLDEN)).await.ok().one("returnCode"), "skipped");
    let refused = bench.call("DeleteSnapshot", &[("SnapshotId", GOLDEN_SNAPSHOT)]).await;
    assert_eq!(refused.outcome, "InvalidSnapshot.InUse");
    assert!(refused.one("Message").ends_with(twin));
    assert_eq!(bench.call("DeregisterImage", &both(twin)).await.ok().one("returnCode"), "success");
    assert!(bench.world.snapshot(GOLDEN_SNAPSHOT).is_none());
}

fn bin() -> Value {
    json!({"recycleBinRules": [
        {"region": HOME, "resourceType": "EC2_IMAGE", "retentionDays": 7},
        {"region": HOME, "resourceType": "EBS_SNAPSHOT", "retentionDays": 14, "resourceTags": {"Team": "platform"}}]})
}

#[tokio::test]
async fn what_a_rule_keeps_comes_back_from_the_bin_snapshots_first() {
    let bench = Bench::holding(bin());
    let both = [("ImageId", GOLDEN), ("DeleteAssociatedSnapshots", "true")];
    assert_eq!(bench.call("DeregisterImage", &both).await.ok().one("returnCode"), "success");
    assert_eq!(bench.call("DescribeImages", &[("ImageId.1", GOLDEN)]).await.outcome, "InvalidAMIID.NotFound");
    let images = bench.call("ListImagesInRecycleBin", &[]).await.ok();
    assert_eq!((images.one("imageId"), images.one("name")), (GOLDEN.into(), "golden-2026-11".into()));
    assert_eq!(images.one("recycleBinExitTime"), "2026-11-30T20:00:00.000Z");
    let snapshots = bench.call("ListSnapshotsInRecycleBin", &[]).await.ok();
    assert_eq!(snapshots.all("snapshotId"), [GOLDEN_SNAPSHOT]);
    let binned = bench.world.binned_image(GOLDEN).unwrap();
    assert_eq!(binned.it.tags["aws:recycle-bin:resource-in-bin"], "true");
    let image = [("ImageId", GOLDEN)];
    assert_eq!(bench.call("RestoreImageFromRecycleBin", &image).await.outcome, "InvalidSnapshot.NotFound");
    bench.call("RestoreSnapshotFromRecycleBin", &[("SnapshotId", GOLDEN_SNAPSHOT)]).await.ok();
    let dry = [("ImageId", GOLDEN), ("DryRun", "true")];
    assert_eq!(bench.call("RestoreImageFromRecycleBin", &dry).await.outcome, "DryRunOperation");
    bench.call("RestoreImageFromRecycleBin", &image).await.ok();
    assert_eq!(bench.state_of(HOME, GOLDEN).await, "available");
    assert!(bench.world.launch_permissions(GOLDEN).contains(THEM));
    assert!(!bench.world.tags(GOLDEN).contains_key("aws:recycle-bin:resource-in-bin"));
    assert!(bench.world.snapshot(GOLDEN_SNAPSHOT).unwrap().volume_permissions.contains(THEM));
    assert_eq!(bench.call("RestoreImageFromRecycleBin", &image).await.outcome, "InvalidAMIID.NotFound");
}

#[tokio::test]
async fn the_bin_is_emptied_by_the_clock_and_keeps_only_what_was_whole() {
    let bench = Bench::holding(bin());
    bench.call("DeregisterImage", &[("ImageId", GOLDEN)]).await.ok();
    bench.call("DeregisterImage", &[("ImageId", "ami-0a1b2c3d4e5f60013")]).await.ok();
    bench.call("DeregisterImage", &[("ImageId", "ami-0a1b2c3d4e5f60010")]).await.ok();
    // An image in the bin does not keep its snapshots.
    bench.call("DeleteSnapshot", &[("SnapshotId", GOLDEN_SNAPSHOT)]).await.ok();
    bench.call("DeleteSnapshot", &[("SnapshotId", "snap-0a1b2c3d4e5f60013")]).await.ok();
    let images = |reply: Reply| reply.ok().all("imageId");
    assert_eq!(images(bench.after(6 * DAY).call("ListImagesInRecycleBin", &[]).await), [GOLDEN]);
    assert!(images(bench.after(DAY).call("ListImagesInRecycleBin", &[]).await).is_empty());
    let unknown = bench.call("ListImagesInRecycleBin", &[("ImageId.1", GOLDEN)]).await;
    assert_eq!(unknown.outcome, "InvalidAMIID.NotFound");
    let snapshots = |reply: Reply| reply.ok().all("snapshotId");
    assert_eq!(snapshots(bench.call("ListSnapshotsInRecycleBin", &[]).await), [GOLDEN_SNAPSHOT]);
    assert!(snapshots(bench.after(7 * DAY).call("ListSnapshotsInRecycleBin", &[]).await).is_empty());
}

#[tokio::test]
async fn what_aws_backup_manages_is_not_for_ec2_to_delete() {
    let tag = json!({"aws:backup:source-resource": "arn:aws:ec2:us-east-1:000000000000:instance/i-1"});
    let mut things = orphan(json!({"tags": tag}));
    things["images"] = json!([
        {"region": HOME, "id": "ami-0a1b2c3d4e5f60030", "name": "tagged", "tags": tag},
        {"region": HOME, "id": "ami-0a1b2c3d4e5f60031", "name": "vaulted", "imageOwnerAlias": "aws-backup-vault"}]);
    let bench = Bench::holding(things);
    for image in ["ami-0a1b2c3d4e5f60030", "ami-0a1b2c3d4e5f60031"] {
        assert_eq!(bench.call("DeregisterImage", &[("ImageId", image)]).await.outcome, "InvalidParameterValue");
    }
    assert_eq!(bench.call("DeleteSnapshot", &[("SnapshotId", ORPHAN)]).await.outcome, "InvalidParameterValue");
    // What AWS wrote nobody removes.
    bench.call("DeleteTags", &[("ResourceId.1", "ami-0a1b2c3d4e5f60030")]).await.ok();
    assert_eq!(bench.world.tags("ami-0a1b2c3d4e5f60030").len(), 1);
}

#[tokio::test]
async fn protection_with_a_cooldown_can_be_on_from_the_start() {
    let bench = Bench::of(|file| {
        file.accounts[0].images[0].deregistration_protection = true;
        file.accounts[0].images[0].deregistration_cooldown = true;
    });
    let image = [("ImageId", GOLDEN)];
    let shown = bench.call("DescribeImages", &[("ImageId.1", GOLDEN)]).await.ok();
    assert_eq!(shown.one("deregistrationProtection"), "enabled-with-cooldown");
    bench.call("DisableImageDeregistrationProtection", &image).await.ok();
    assert_eq!(bench.call("DeregisterImage", &image).await.outcome, "OperationNotPermitted");
    bench.after(DAY).call("DeregisterImage", &image).await.ok();
}

#[tokio::test]
async fn snapshots_are_found_by_who_can_restore_them() {
    let bench = Bench::holding(orphan(json!({"permissions": ["all"]})));
    let by = |who: &'static str| [("RestorableBy.1", who)];
    let them = bench.call("DescribeSnapshots", &by(THEM)).await.ok().all("snapshotId");
    // Their own that is shared with us, and ours that are shared with them.
    assert_eq!(them, [GOLDEN_SNAPSHOT, "snap-0a1b2c3d4e5f60016"]);
    assert_eq!(bench.call("DescribeSnapshots", &by("all")).await.ok().all("snapshotId"), [ORPHAN]);
    let own = bench.call("DescribeSnapshots", &by("self")).await.ok().all("snapshotId");
    assert!(own.contains(&ORPHAN.to_owned()) && own.contains(&"snap-0a1b2c3d4e5f60016".to_owned()), "{own:?}");
}
