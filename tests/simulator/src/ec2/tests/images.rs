//! CreateImage, RegisterImage, DeregisterImage, snapshots and attributes.

use super::*;

#[tokio::test]
async fn an_image_of_an_instance_is_pending_until_its_snapshots_are_complete() {
    let bench = Bench::new();
    let tags = [
        ("TagSpecification.1.ResourceType", "image"),
        ("TagSpecification.1.Tag.1.Key", "k"),
        ("TagSpecification.1.Tag.1.Value", "<v&>"),
        ("TagSpecification.2.ResourceType", "snapshot"),
        ("TagSpecification.2.Tag.1.Key", "s"),
        ("TagSpecification.2.Tag.1.Value", "t"),
    ];
    let mut parameters = vec![("InstanceId", INSTANCE), ("Name", "web"), ("NoReboot", "true")];
    parameters.extend(tags);
    let id = bench.call("CreateImage", &parameters).await.ok().one("imageId");
    assert_eq!(bench.state_of(HOME, &id).await, "pending");
    let described = bench.after(500).call("DescribeImages", &[("ImageId.1", &id)]).await.ok();
    assert!(described.body.contains("<value>&lt;v&amp;&gt;</value>"), "{}", described.body);
    let snapshots = described.all("snapshotId");
    assert_eq!(snapshots.len(), 2);
    let shown = bench.call("DescribeSnapshots", &[("SnapshotId.1", &snapshots[0])]).await.ok();
    assert_eq!(shown.one("status"), "pending");
    assert_eq!(shown.one("progress"), "20%");
    assert_eq!(shown.one("description"), format!("Created by CreateImage({INSTANCE}) for {id}"));
    assert_eq!(shown.one("key"), "s");
    bench.after(2_000);
    assert_eq!(bench.state_of(HOME, &id).await, "available");
    let shown = bench.call("DescribeSnapshots", &[("SnapshotId.1", &snapshots[0])]).await.ok();
    assert_eq!(shown.one("progress"), "100%");
    assert_eq!(shown.one("fullSnapshotSizeInBytes"), (3_u64 << 30).to_string());
}

#[tokio::test]
async fn an_instance_is_rebooted_unless_told_otherwise() {
    let bench = Bench::new();
    bench.create_image("first").await.ok();
    assert_eq!(bench.world.reboots(INSTANCE), 0);
    bench.call("CreateImage", &[("InstanceId", INSTANCE), ("Name", "second")]).await.ok();
    assert_eq!(bench.world.reboots(INSTANCE), 1);
}

#[tokio::test]
async fn a_name_that_is_taken_or_malformed_is_refused() {
    let bench = Bench::new();
    assert_eq!(bench.create_image("golden-2026-11").await.outcome, "InvalidAMIName.Duplicate");
    assert_eq!(bench.create_image("ab").await.outcome, "InvalidAMIName.Malformed");
    assert_eq!(bench.create_image("what?").await.outcome, "InvalidAMIName.Malformed");
    assert_eq!(bench.create_image(&"n".repeat(129)).await.outcome, "InvalidAMIName.Malformed");
    bench.create_image("a/b (c) [d] 'e' @_.-").await.ok();
}

#[tokio::test]
async fn a_name_can_stay_taken_for_a_while_after_its_image_is_gone() {
    let bench = Bench::with(|settings| settings.choices.name_stays_taken_ms = 60_000);
    bench.call("DeregisterImage", &[("ImageId", GOLDEN)]).await.ok();
    assert_eq!(bench.create_image("golden-2026-11").await.outcome, "InvalidAMIName.Duplicate");
    bench.after(60_000).create_image("golden-2026-11").await.ok();
}

#[tokio::test]
async fn an_image_that_fails_takes_its_snapshots_with_it_and_says_why() {
    let bench = Bench::new();
    let id = bench.create_image("web").await.ok().one("imageId");
    assert!(bench.world.fail_when_done(&id, "the volume went away"));
    let shown = bench.after(60_000).call("DescribeImages", &[("ImageId.1", &id)]).await.ok();
    assert_eq!((shown.one("imageState"), shown.one("message")), ("failed".into(), "the volume went away".into()));
    assert!(bench.world.snapshots_of(&id).iter().all(|snapshot| snapshot.state == "error"));
}

#[tokio::test]
async fn an_instance_must_exist_and_be_in_a_state_to_be_imaged() {
    let bench = Bench::new();
    let image = |id: &'static str| [("InstanceId", id), ("Name", "web")];
    let unknown = bench.call("CreateImage", &image("i-0a1b2c3d4e5f6ffff")).await;
    assert_eq!(unknown.outcome, "InvalidInstanceID.NotFound");
    assert_eq!(bench.call("CreateImage", &image("web-1")).await.outcome, "InvalidInstanceID.Malformed");
    bench.world.change_instance(INSTANCE, |instance| instance.state = "terminated".into());
    assert_eq!(bench.call("CreateImage", &image(INSTANCE)).await.outcome, "IncorrectInstanceState");
}

#[tokio::test]
async fn a_snapshot_in_use_cannot_be_deleted_and_the_message_names_the_image() {
    let bench = Bench::new();
    let refused = bench.call("DeleteSnapshot", &[("SnapshotId", GOLDEN_SNAPSHOT)]).await;
    assert_eq!((refused.outcome.as_str(), refused.status), ("InvalidSnapshot.InUse", 400));
    let message = format!("The snapshot {GOLDEN_SNAPSHOT} is currently in use by {GOLDEN}");
    assert_eq!(refused.one("Message"), message);
    bench.call("DeregisterImage", &[("ImageId", GOLDEN)]).await.ok();
    bench.call("DeleteSnapshot", &[("SnapshotId", GOLDEN_SNAPSHOT)]).await.ok();
    let again = bench.call("DeleteSnapshot", &[("SnapshotId", GOLDEN_SNAPSHOT)]).await;
    assert_eq!(again.outcome, "InvalidSnapshot.NotFound");
}

#[tokio::test]
async fn deregistering_with_snapshots_skips_those_that_another_image_uses() {
    let bench = Bench::new();
    let register = [
        ("Name", "twin"),
        ("RootDeviceName", "/dev/xvda"),
        ("BlockDeviceMapping.1.DeviceName", "/dev/xvda"),
        ("BlockDeviceMapping.1.Ebs.SnapshotId", GOLDEN_SNAPSHOT),
    ];
    let twin = bench.call("RegisterImage", &register).await.ok().one("imageId");
    let both = |id: &str| [("ImageId".to_owned(), id.to_owned()), ("DeleteAssociatedSnapshots".into(), "true".into())];
    let first = both(GOLDEN);
    let first: Vec<(&str, &str)> = first.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    assert_eq!(bench.call("DeregisterImage", &first).await.ok().one("returnCode"), "skipped");
    let second = both(&twin);
    let second: Vec<(&str, &str)> = second.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    assert_eq!(bench.call("DeregisterImage", &second).await.ok().one("returnCode"), "success");
    assert_eq!(bench.world.snapshot(GOLDEN_SNAPSHOT), None);
    assert_eq!(bench.call("DeregisterImage", &[("ImageId", &twin)]).await.outcome, "InvalidAMIID.NotFound");
}

#[tokio::test]
async fn a_registered_image_has_the_historic_defaults_unless_told_otherwise() {
    let bench = Bench::new();
    let mapping = [
        ("RootDeviceName", "/dev/xvda"),
        ("BlockDeviceMapping.1.DeviceName", "/dev/xvda"),
        ("BlockDeviceMapping.1.Ebs.SnapshotId", GOLDEN_SNAPSHOT),
    ];
    let with = |more: &[(&'static str, &'static str)]| [&mapping[..], more].concat();
    let id = bench.call("RegisterImage", &with(&[("Name", "plain")])).await.ok().one("imageId");
    let plain = bench.call("DescribeImages", &[("ImageId.1", &id)]).await.ok();
    assert_eq!(plain.one("architecture"), "i386");
    assert_eq!(plain.one("virtualizationType"), "paravirtual");
    let encrypted = with(&[("Name", "encrypted"), ("BlockDeviceMapping.1.Ebs.Encrypted", "false")]);
    assert_eq!(bench.call("RegisterImage", &encrypted).await.outcome, "InvalidBlockDeviceMapping");
    let small = with(&[("Name", "small"), ("BlockDeviceMapping.1.Ebs.VolumeSize", "7")]);
    assert_eq!(bench.call("RegisterImage", &small).await.outcome, "InvalidBlockDeviceMapping");
}

#[tokio::test]
async fn deregistration_protection_holds_and_a_cooldown_holds_a_day_longer() {
    let bench = Bench::new();
    let image = [("ImageId", GOLDEN)];
    let on = [("ImageId", GOLDEN), ("WithCooldown", "true")];
    bench.call("EnableImageDeregistrationProtection", &on).await.ok();
    assert_eq!(bench.call("DeregisterImage", &image).await.outcome, "OperationNotPermitted");
    bench.call("DisableImageDeregistrationProtection", &image).await.ok();
    assert_eq!(bench.after(23 * 3_600_000).call("DeregisterImage", &image).await.outcome, "OperationNotPermitted");
    bench.after(2 * 3_600_000).call("DeregisterImage", &image).await.ok();
}

#[tokio::test]
async fn launch_permissions_change_in_both_wire_forms() {
    let bench = Bench::new();
    let add = [("ImageId", GOLDEN), ("LaunchPermission.Add.1.UserId", "444455556666")];
    bench.call("ModifyImageAttribute", &add).await.ok();
    let remove =
        [("ImageId", GOLDEN), ("Attribute", "launchPermission"), ("OperationType", "remove"), ("UserId.1", THEM)];
    bench.call("ModifyImageAttribute", &remove).await.ok();
    let ask = [("ImageId", GOLDEN), ("Attribute", "launchPermission")];
    assert_eq!(bench.call("DescribeImageAttribute", &ask).await.ok().all("userId"), ["444455556666"]);
}

#[tokio::test]
async fn a_disabled_image_is_hidden_loses_its_permissions_and_keeps_its_snapshots() {
    let bench = Bench::new();
    bench.call("DisableImage", &[("ImageId", GOLDEN)]).await.ok();
    assert!(bench.world.launch_permissions(GOLDEN).is_empty());
    let own = [("Owner.1", "self"), ("Filter.1.Name", "name"), ("Filter.1.Value.1", "golden-*")];
    assert!(bench.call("DescribeImages", &own).await.ok().all("imageId").is_empty());
    let hidden = [&own[..], &[("IncludeDisabled", "true")]].concat();
    assert_eq!(bench.call("DescribeImages", &hidden).await.ok().all("imageId"), [GOLDEN]);
    let refused = bench.call("DeleteSnapshot", &[("SnapshotId", GOLDEN_SNAPSHOT)]).await;
    assert_eq!(refused.outcome, "InvalidSnapshot.InUse");
    bench.call("EnableImage", &[("ImageId", GOLDEN)]).await.ok();
    assert_eq!(bench.state_of(HOME, GOLDEN).await, "available");
}

#[tokio::test]
async fn a_deprecation_is_rounded_to_the_minute_and_never_in_the_past() {
    let bench = Bench::new();
    let at = |text: &'static str| [("ImageId", GOLDEN), ("DeprecateAt", text)];
    bench.call("EnableImageDeprecation", &at("2027-01-01T00:00:40Z")).await.ok();
    let shown = bench.call("DescribeImages", &[("ImageId.1", GOLDEN)]).await.ok();
    assert_eq!(shown.one("deprecationTime"), "2027-01-01T00:01:00.000Z");
    assert_eq!(
        bench.call("EnableImageDeprecation", &at("2026-01-01T00:00:00Z")).await.outcome,
        "InvalidParameterValue"
    );
}
