//! RunInstances, TerminateInstances, and what an image shows of its use.

use super::*;
use serde_json::json;

const NEW: [(&str, &str); 3] = [("ImageId", GOLDEN), ("MinCount", "1"), ("MaxCount", "2")];

#[tokio::test]
async fn instances_are_pending_running_shutting_down_terminated_and_gone() {
    let bench = Bench::new();
    let ids = bench.call("RunInstances", &NEW).await.ok().all("instanceId");
    assert_eq!(ids.len(), 2);
    let state = || async { bench.call("DescribeInstances", &[("InstanceId.1", &ids[0])]).await.one("name") };
    assert_eq!(state().await, "pending");
    bench.after(30_000);
    assert_eq!(state().await, "running");
    let ended = bench.call("TerminateInstances", &[("InstanceId.1", &ids[0])]).await.ok();
    assert_eq!(ended.all("name"), ["shutting-down", "running"]);
    bench.after(30_000);
    let using = [("Filter.1.Name", "image-id"), ("Filter.1.Value.1", GOLDEN)];
    let terminated = [("Filter.2.Name", "instance-state-name"), ("Filter.2.Value.1", "terminated")];
    let found = bench.call("DescribeInstances", &[&using[..], &terminated].concat()).await.ok();
    assert_eq!(found.all("instanceId"), [ids[0].clone()]);
    assert!(found.all("volumeId").is_empty());
    assert_eq!(bench.call("DescribeInstances", &using).await.ok().all("instanceId").len(), 3);
    assert_eq!(bench.after(HOUR).call("DescribeInstances", &using).await.ok().all("instanceId").len(), 2);
    let again = bench.call("TerminateInstances", &[("InstanceId.1", &ids[0])]).await;
    assert_eq!(again.outcome, "InvalidInstanceID.NotFound");
}

#[tokio::test]
async fn the_same_token_launches_once() {
    let bench = Bench::new();
    let with = |token: &'static str| [&NEW[..], &[("ClientToken", token)]].concat();
    let first = bench.call("RunInstances", &with("a")).await.ok().all("instanceId");
    assert_eq!(bench.call("RunInstances", &with("a")).await.ok().all("instanceId"), first);
    assert_ne!(bench.call("RunInstances", &with("b")).await.ok().all("instanceId"), first);
    let other = [&with("a")[..], &[("InstanceType", "t3.large")]].concat();
    assert_eq!(bench.call("RunInstances", &other).await.outcome, "IdempotentParameterMismatch");
}

#[tokio::test]
async fn only_an_available_image_is_launched() {
    let bench = Bench::new();
    let launch = || bench.call("RunInstances", &NEW);
    bench.call("DisableImage", &[("ImageId", GOLDEN)]).await.ok();
    assert_eq!(launch().await.outcome, "InvalidAMIID.Unavailable");
    bench.call("EnableImage", &[("ImageId", GOLDEN)]).await.ok();
    launch().await.ok();
    bench.call("DeregisterImage", &[("ImageId", GOLDEN)]).await.ok();
    assert_eq!(launch().await.outcome, "InvalidAMIID.NotFound");
    let pending = bench.create_image("web").await.ok().one("imageId");
    let pending = [("ImageId", pending.as_str()), ("MinCount", "1"), ("MaxCount", "1")];
    assert_eq!(bench.call("RunInstances", &pending).await.outcome, "InvalidAMIID.Unavailable");
}

#[tokio::test]
async fn tags_and_rights_of_a_launch_are_those_of_its_instances() {
    let bench = Bench::new();
    let tags = [
        ("TagSpecification.1.ResourceType", "instance"),
        ("TagSpecification.1.Tag.1.Key", "Name"),
        ("TagSpecification.1.Tag.1.Value", "web"),
    ];
    let launch = [&NEW[..], &tags].concat();
    let id = bench.call("RunInstances", &launch).await.ok().one("instanceId");
    assert_eq!(bench.world.tags(&id)["Name"], "web");
    let dry = [&launch[..], &[("DryRun", "true")]].concat();
    assert_eq!(bench.call("RunInstances", &dry).await.outcome, "DryRunOperation");
    let caller = Caller { function: Some("people".into()), ..bench.caller.clone() };
    let policy = json!({"Effect": "Allow", "Action": "ec2:RunInstances", "Resource": "*"});
    bench.permissions.set_json("people", &policy).unwrap();
    assert_eq!(bench.call_as(&caller, "RunInstances", &launch).await.outcome, "UnauthorizedOperation");
    bench.call_as(&caller, "RunInstances", &NEW).await.ok();
}

#[tokio::test]
async fn the_owner_is_told_of_a_launch_a_day_later_and_nobody_else_is() {
    let bench = Bench::new();
    let told = || async { bench.call("DescribeImages", &[("ImageId.1", GOLDEN)]).await.ok().all("lastLaunchedTime") };
    bench.call_by(THEM, "RunInstances", &NEW).await.ok();
    assert!(bench.after(23 * HOUR).call("DescribeImages", &[("ImageId.1", GOLDEN)]).await.ok().body.contains(GOLDEN));
    assert!(told().await.is_empty());
    bench.after(HOUR);
    assert_eq!(told().await, ["2026-11-23T20:00:00.000Z"]);
    let ask = [("ImageId", GOLDEN), ("Attribute", "lastLaunchedTime")];
    assert_eq!(bench.call("DescribeImageAttribute", &ask).await.ok().one("value"), "2026-11-23T20:00:00.000Z");
    let theirs = bench.call_by(THEM, "DescribeImages", &[("ImageId.1", GOLDEN)]).await.ok();
    assert!(theirs.all("lastLaunchedTime").is_empty());
}

#[tokio::test]
async fn an_image_shows_its_last_launch_product_codes_and_alias_as_the_file_says() {
    let bench = Bench::holding(json!({"images": [{
        "region": HOME, "id": "ami-0a1b2c3d4e5f60030", "name": "bought", "productCodes": ["abc"],
        "imageOwnerAlias": "aws-marketplace", "lastLaunchedTime": "2026-11-01T10:00:00Z"}]}));
    let code = [("Filter.1.Name", "product-code"), ("Filter.1.Value.1", "abc")];
    let shown = bench.call("DescribeImages", &code).await.ok();
    assert_eq!(shown.all("imageId"), ["ami-0a1b2c3d4e5f60030"]);
    assert_eq!(shown.one("productCode"), "abc");
    assert_eq!(shown.one("lastLaunchedTime"), "2026-11-01T10:00:00.000Z");
    let alias = [("Owner.1", "aws-marketplace")];
    assert_eq!(bench.call("DescribeImages", &alias).await.ok().all("imageId"), ["ami-0a1b2c3d4e5f60030"]);
}

#[tokio::test]
async fn the_bucket_of_launches_is_small() {
    let bench = Bench::with(|settings| settings.api_buckets = true);
    for _ in 0..5 {
        bench.call("RunInstances", &NEW).await.ok();
    }
    assert_eq!(bench.call("RunInstances", &NEW).await.outcome, "RequestLimitExceeded");
    bench.after(500).call("RunInstances", &NEW).await.ok();
}
