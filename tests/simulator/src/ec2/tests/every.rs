//! What holds for every call about use and keeping: dry runs, rights, and the codes that are chosen.

use serde_json::json;

use super::*;

const WEB: &str = "lt-0a1b2c3d4e5f60001";
const LOCKED: &str = "snap-0a1b2c3d4e5f60050";
const FREE: &str = "snap-0a1b2c3d4e5f60051";
const BINNED: &str = "ami-0a1b2c3d4e5f60012";
const BINNED_SNAPSHOT: &str = "snap-0a1b2c3d4e5f60012";

type Call = (&'static str, &'static [(&'static str, &'static str)]);

/// Calls that succeed in the world of [`bench`], by themselves.
const CALLS: &[Call] = &[
    ("RunInstances", &[("ImageId", GOLDEN), ("MinCount", "1"), ("MaxCount", "1")]),
    ("TerminateInstances", &[("InstanceId.1", INSTANCE)]),
    ("DescribeLaunchTemplates", &[]),
    ("CreateLaunchTemplate", &[("LaunchTemplateName", "new"), ("LaunchTemplateData.ImageId", GOLDEN)]),
    ("ModifyLaunchTemplate", &[("LaunchTemplateId", WEB), ("SetDefaultVersion", "1")]),
    ("DeleteLaunchTemplate", &[("LaunchTemplateId", WEB)]),
    ("DescribeLaunchTemplateVersions", &[("LaunchTemplateId", WEB)]),
    ("CreateLaunchTemplateVersion", &[("LaunchTemplateId", WEB), ("LaunchTemplateData.ImageId", GOLDEN)]),
    ("DescribeFleets", &[]),
    ("DescribeSpotFleetRequests", &[]),
    ("DescribeImageReferences", &[("ImageId.1", GOLDEN), ("IncludeAllResourceTypes", "true")]),
    ("CreateImageUsageReport", &[("ImageId", GOLDEN), ("ResourceType.1.ResourceType", "ec2:Instance")]),
    ("DescribeImageUsageReports", &[]),
    ("DescribeImageUsageReportEntries", &[]),
    ("LockSnapshot", &[("SnapshotId", FREE), ("LockMode", "governance"), ("LockDuration", "1")]),
    ("UnlockSnapshot", &[("SnapshotId", LOCKED)]),
    ("DescribeLockedSnapshots", &[]),
    ("DescribeSnapshotTierStatus", &[]),
    ("ListImagesInRecycleBin", &[]),
    ("ListSnapshotsInRecycleBin", &[]),
    ("RestoreSnapshotFromRecycleBin", &[("SnapshotId", BINNED_SNAPSHOT)]),
    ("RestoreImageFromRecycleBin", &[("ImageId", "ami-0a1b2c3d4e5f60014")]),
];

/// A world with something for every call, and things in the bin.
async fn bench(change: impl FnOnce(&mut Settings)) -> Bench {
    let bench = Bench::of(|file| {
        change(&mut file.settings);
        hold(
            file,
            0,
            json!({
            "launchTemplates": [{"region": HOME, "id": WEB, "name": "web", "versions": [{"number": 1}]}],
            "snapshots": [
                {"region": HOME, "id": LOCKED, "sizeGib": 8, "lock": {"mode": "governance"}},
                {"region": HOME, "id": FREE, "sizeGib": 8}],
            "recycleBinRules": [
                {"region": HOME, "resourceType": "EC2_IMAGE", "retentionDays": 7},
                {"region": HOME, "resourceType": "EBS_SNAPSHOT", "retentionDays": 7}]}),
        );
    });
    let whole = [("ImageId", BINNED), ("DeleteAssociatedSnapshots", "true")];
    bench.call("DeregisterImage", &whole).await.ok();
    bench.call("DeregisterImage", &[("ImageId", "ami-0a1b2c3d4e5f60014")]).await.ok();
    bench
}

#[tokio::test]
async fn a_dry_run_of_each_succeeds_and_changes_nothing() {
    let bench = bench(|_| {}).await;
    let before = bench.world.state_json();
    for (action, parameters) in CALLS {
        let dry = [parameters, &[("DryRun", "true")][..]].concat();
        assert_eq!(bench.call(action, &dry).await.outcome, "DryRunOperation", "{action}");
    }
    assert_eq!(bench.world.state_json(), before);
}

#[tokio::test]
async fn each_needs_its_right_and_is_done_with_it() {
    for (action, parameters) in CALLS {
        let bench = bench(|_| {}).await;
        let caller = Caller { function: Some("clean".into()), ..bench.caller.clone() };
        bench.permissions.set("clean", Vec::new());
        assert_eq!(bench.call_as(&caller, action, parameters).await.outcome, "UnauthorizedOperation", "{action}");
        let policy = json!([
            {"Effect": "Allow", "Action": format!("ec2:{action}"), "Resource": "*"},
            {"Effect": "Allow", "Action": ["ec2:Describe*", "ssm:*", "imagebuilder:*"], "Resource": "*",
             "Condition": {"ForAnyValue:StringEquals": {"aws:CalledVia": "ec2-images.amazonaws.com"}}}]);
        bench.permissions.set_json("clean", &policy).unwrap();
        bench.call_as(&caller, action, parameters).await.ok();
    }
}

#[tokio::test]
async fn another_account_changes_nothing_of_ours() {
    let bench = bench(|_| {}).await;
    for (action, parameters) in CALLS.iter().filter(|(action, parameters)| {
        // What makes something new makes it for whoever calls.
        !parameters.is_empty() && !["RunInstances", "CreateLaunchTemplate", "DescribeImageReferences"].contains(action)
    }) {
        let outcome = bench.call_by(THEM, action, parameters).await.outcome;
        assert!(outcome.ends_with("NotFound") || outcome == "AuthFailure", "{action}: {outcome}");
    }
}

#[tokio::test]
async fn refusals_that_aws_does_not_document_have_the_codes_that_are_chosen() {
    let bench = bench(|settings| {
        let choices = &mut settings.choices;
        choices.locked_snapshot_code = "Locked".into();
        choices.backup_managed_code = "Managed".into();
        choices.restore_without_snapshots_code = "Incomplete".into();
        choices.second_usage_report_code = "Busy".into();
        choices.alias_missing_code = "Missing".into();
        choices.alias_denied_code = "Denied".into();
    })
    .await;
    let outcome = async |action: &str, parameters: &[(&str, &str)]| bench.call(action, parameters).await.outcome;
    assert_eq!(outcome("DeleteSnapshot", &[("SnapshotId", LOCKED)]).await, "Locked");
    assert_eq!(outcome("RestoreImageFromRecycleBin", &[("ImageId", BINNED)]).await, "Incomplete");
    let report = [("ImageId", GOLDEN), ("ResourceType.1.ResourceType", "ec2:Instance")];
    assert_eq!(outcome("CreateImageUsageReport", &report).await, "ok");
    assert_eq!(outcome("CreateImageUsageReport", &report).await, "Busy");
    let alias = [("ImageId", "resolve:ssm:/golden"), ("MinCount", "1"), ("MaxCount", "1")];
    assert_eq!(outcome("RunInstances", &alias).await, "Missing");
    bench.world.change_image(GOLDEN, |image| image.owner_alias = Some("aws-backup-vault".into()));
    assert_eq!(outcome("DeregisterImage", &[("ImageId", GOLDEN)]).await, "Managed");
    let policy = json!({"Effect": "Allow", "Action": "ec2:*", "Resource": "*"});
    bench.permissions.set_json("clean", &policy).unwrap();
    let caller = Caller { function: Some("clean".into()), ..bench.caller.clone() };
    assert_eq!(bench.call_as(&caller, "RunInstances", &alias).await.outcome, "Denied");
}

#[tokio::test]
async fn new_instances_templates_and_reports_are_invisible_for_the_delay() {
    let bench = bench(|settings| settings.consistency_delay_ms = 5_000).await;
    let launch = [("ImageId", GOLDEN), ("MinCount", "1"), ("MaxCount", "1")];
    let instance = bench.call("RunInstances", &launch).await.ok().one("instanceId");
    let end = [("InstanceId.1", instance.as_str())];
    assert_eq!(bench.call("TerminateInstances", &end).await.outcome, "InvalidInstanceID.NotFound");
    let new = [("LaunchTemplateName", "new"), ("LaunchTemplateData.ImageId", GOLDEN)];
    let template = bench.call("CreateLaunchTemplate", &new).await.ok().one("launchTemplateId");
    let by_id = [("LaunchTemplateId.1", template.as_str())];
    let refused = bench.call("DescribeLaunchTemplates", &by_id).await;
    assert_eq!(refused.outcome, "InvalidLaunchTemplateId.NotFound");
    let report = [("ImageId", GOLDEN), ("ResourceType.1.ResourceType", "ec2:Instance")];
    bench.call("CreateImageUsageReport", &report).await.ok();
    assert!(bench.call("DescribeImageUsageReports", &[]).await.ok().all("reportId").is_empty());
    bench.after(5_000);
    bench.call("TerminateInstances", &end).await.ok();
    bench.call("DescribeLaunchTemplates", &by_id).await.ok();
    assert_eq!(bench.call("DescribeImageUsageReports", &[]).await.ok().all("reportId").len(), 1);
}
