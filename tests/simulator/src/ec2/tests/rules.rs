//! Dry runs, permissions, request rates, and what is not visible yet.

use serde_json::json;

use super::*;

#[tokio::test]
async fn a_dry_run_is_an_error_that_changes_nothing() {
    let bench = Bench::new();
    let before = bench.world.counts();
    let create = [("InstanceId", INSTANCE), ("Name", "web"), ("DryRun", "true")];
    let reply = bench.call("CreateImage", &create).await;
    assert_eq!((reply.outcome.as_str(), reply.status), ("DryRunOperation", 412));
    assert_eq!(reply.one("Message"), "Request would have succeeded, but DryRun flag is set.");
    let store = [("ImageId", GOLDEN), ("Bucket", BACKUPS), ("DryRun", "true")];
    assert_eq!(bench.call("CreateStoreImageTask", &store).await.outcome, "DryRunOperation");
    assert_eq!(
        bench.call("DeregisterImage", &[("ImageId", GOLDEN), ("DryRun", "true")]).await.outcome,
        "DryRunOperation"
    );
    assert_eq!(bench.world.counts(), before);
    bench.permissions.set("create-image", Vec::new());
    let caller = Caller { function: Some("create-image".into()), ..bench.caller.clone() };
    let denied = bench.call_as(&caller, "CreateImage", &create).await;
    assert_eq!((denied.outcome.as_str(), denied.status), ("UnauthorizedOperation", 403));
}

#[tokio::test]
async fn a_new_image_is_invisible_for_the_delay() {
    let bench = Bench::with(|settings| settings.consistency_delay_ms = 5_000);
    let id = bench.create_image("web").await.ok().one("imageId");
    let by_id = [("ImageId.1", id.as_str())];
    assert_eq!(bench.call("DescribeImages", &by_id).await.outcome, "InvalidAMIID.NotFound");
    let by_filter = [("Filter.1.Name", "image-id"), ("Filter.1.Value.1", id.as_str())];
    assert!(bench.call("DescribeImages", &by_filter).await.ok().all("imageId").is_empty());
    assert_eq!(bench.create_image("web").await.outcome, "InvalidAMIName.Duplicate");
    assert_eq!(bench.after(5_000).call("DescribeImages", &by_id).await.ok().all("imageId"), [id]);
}

#[tokio::test]
async fn an_api_bucket_runs_empty_and_fills_again() {
    let bench = Bench::with(|settings| settings.api_buckets = true);
    for _ in 0..50 {
        assert_ne!(bench.store("ami-0a1b2c3d4e5f6ffff", BACKUPS).await.outcome, "RequestLimitExceeded");
    }
    let refused = bench.store(GOLDEN, BACKUPS).await;
    assert_eq!((refused.outcome.as_str(), refused.status), ("RequestLimitExceeded", 503));
    assert_eq!(bench.after(9_000).store(GOLDEN, BACKUPS).await.outcome, "RequestLimitExceeded");
    bench.after(1_000).store(GOLDEN, BACKUPS).await.ok();
}

#[tokio::test]
async fn tags_in_a_creating_call_need_create_tags() {
    let bench = Bench::new();
    let caller = Caller { function: Some("copy-region".into()), region: "eu-west-1".into(), ..bench.caller.clone() };
    let copy = [
        ("SourceImageId", GOLDEN),
        ("SourceRegion", HOME),
        ("Name", "copy"),
        ("TagSpecification.1.ResourceType", "image"),
        ("TagSpecification.1.Tag.1.Key", "k"),
    ];
    let only = json!({"Effect": "Allow", "Action": "ec2:CopyImage", "Resource": "*"});
    bench.permissions.set_json("copy-region", &only).unwrap();
    assert_eq!(bench.call_as(&caller, "CopyImage", &copy).await.outcome, "UnauthorizedOperation");
    let both = json!([only, {"Effect": "Allow", "Action": "ec2:CreateTags", "Resource": "arn:aws:ec2:*::image/*",
        "Condition": {"StringEquals": {"ec2:CreateAction": "CopyImage"}}}]);
    bench.permissions.set_json("copy-region", &both).unwrap();
    bench.call_as(&caller, "CopyImage", &copy).await.ok();
    let implied: Vec<_> = bench.calls.all().into_iter().filter(|call| call.action == "CreateTags").collect();
    assert_eq!(implied[0].outcome, "AccessDenied");
    assert_eq!(implied[1].outcome, "ok");
    assert_eq!(implied[1].implied_by.as_deref(), Some("CopyImage"));
    assert_eq!(implied[1].function.as_deref(), Some("copy-region"));
}

#[tokio::test]
async fn a_store_whose_caller_may_not_write_the_object_fails_later_with_the_reason() {
    let bench = Bench::new();
    let policy = json!({"Effect": "Allow", "Action": ["ec2:*", "ebs:*", "s3:Get*", "s3:List*"], "Resource": "*"});
    bench.permissions.set_json("start-store", &policy).unwrap();
    let caller = Caller { function: Some("start-store".into()), ..bench.caller.clone() };
    let store = [("ImageId", GOLDEN), ("Bucket", BACKUPS)];
    bench.call_as(&caller, "CreateStoreImageTask", &store).await.ok();
    let task = bench.after(60_000).call("DescribeStoreImageTasks", &[]).await.ok();
    assert_eq!(task.one("storeTaskState"), "Failed");
    assert!(task.one("storeTaskFailureReason").contains("s3:PutObject"), "{}", task.body);
    assert!(bench.calls.count("ListSnapshotBlocks") > 0);
}

#[tokio::test]
async fn an_export_needs_the_right_to_pass_its_role() {
    let bench = Bench::new();
    let policy = json!({"Effect": "Allow", "Action": ["ec2:*", "s3:*"], "Resource": "*"});
    bench.permissions.set_json("start-export", &policy).unwrap();
    let caller = Caller { function: Some("start-export".into()), ..bench.caller.clone() };
    let export = [
        ("ImageId", GOLDEN),
        ("DiskImageFormat", "VMDK"),
        ("S3ExportLocation.S3Bucket", "ami-backup-demo-exports"),
        ("RoleName", "exporter"),
    ];
    let refused = bench.call_as(&caller, "ExportImage", &export).await;
    assert_eq!(refused.outcome, "UnauthorizedOperation");
    assert!(refused.one("Message").contains("iam:PassRole"));
}

#[tokio::test]
async fn the_same_calls_give_the_same_ids_and_another_seed_gives_others() {
    let id = |bench: Bench| async move { bench.create_image("web").await.ok().one("imageId") };
    let first = id(Bench::new()).await;
    assert_eq!(first, id(Bench::new()).await);
    assert_eq!(first.len(), "ami-".len() + 17);
    assert_ne!(first, id(Bench::with(|settings| settings.seed = 2)).await);
}

#[tokio::test]
async fn a_reset_brings_the_beginning_back() {
    let bench = Bench::new();
    let before = bench.world.state_json();
    bench.create_image("web").await.ok();
    bench.call("DeregisterImage", &[("ImageId", GOLDEN)]).await.ok();
    assert_ne!(bench.world.state_json(), before);
    bench.world.reset();
    assert_eq!(bench.world.state_json(), before);
}

#[test]
fn an_unknown_field_of_the_account_file_is_refused() {
    let file = include_str!("../../../accounts/demo.json");
    let wrong = file.replacen("\"deleteOnTermination\"", "\"deleteOnTermintion\"", 1);
    assert!(serde_json::from_str::<AccountFile>(&wrong).is_err());
    let wrong = file.replacen("\"bootMode\"", "\"bootMod\"", 1);
    assert!(serde_json::from_str::<AccountFile>(&wrong).is_err());
}
