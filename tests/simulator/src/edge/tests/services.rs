//! Auto Scaling and the Recycle Bin's own service.

use serde_json::Value;

use super::*;

const HOME: &str = "eu-west-1";
const WEB: &str = "lt-0a1b2c3d4e5f60001";

fn simulator() -> Simulator {
    let file = json!({
        "home": HOME,
        "accounts": [{
            "id": "000000000000", "accessKeys": ["test"], "regions": [HOME],
            "launchTemplates": [{"region": HOME, "id": WEB, "name": "web", "versions": [{"number": 1}]}],
            "launchConfigurations": [
                {"region": HOME, "name": "old", "imageId": "ami-1", "snapshotIds": ["snap-1"]},
                {"region": HOME, "name": "older", "imageId": "ami-2"},
                {"region": "us-east-1", "name": "elsewhere", "imageId": "ami-3"}],
            "autoScalingGroups": [
                {"region": HOME, "name": "a", "launchConfigurationName": "old", "tags": {"Team": "x"}},
                {"region": HOME, "name": "b", "launchTemplate": {"launchTemplateName": "web"}},
                {"region": HOME, "name": "c", "mixedInstancesPolicy": {
                    "launchTemplate": {"launchTemplateId": WEB, "version": "$Latest"},
                    "overrides": [{"launchTemplate": {"launchTemplateId": "lt-gone", "version": "7"}},
                                  {"imageId": "ami-9"}]}}],
            "recycleBinRules": [
                {"region": HOME, "id": "AAAAAAAAAAA", "resourceType": "EC2_IMAGE", "retentionDays": 7,
                 "resourceTags": {"Team": "x"}},
                {"region": HOME, "id": "BBBBBBBBBBB", "resourceType": "EC2_IMAGE", "retentionDays": 9},
                {"region": HOME, "id": "CCCCCCCCCCC", "resourceType": "EBS_SNAPSHOT", "retentionDays": 30}]}]
    });
    let clock = ManualClock::new("2026-11-20T12:00:00Z".parse().unwrap());
    Simulator::in_memory(serde_json::from_value(file).unwrap(), Arc::new(clock))
}

async fn scaling(simulator: &Simulator, body: &'static str) -> (u16, String) {
    form(simulator, "autoscaling", "test", "app/clean", body).await
}

fn all(body: &str, name: &str) -> Vec<String> {
    let (open, close) = (format!("<{name}>"), format!("</{name}>"));
    let parts = body.split(&open).skip(1);
    parts.filter_map(|part| Some(part.split_once(&close)?.0.to_owned())).collect()
}

#[tokio::test]
async fn groups_say_what_they_launch_with_ids_and_names_of_templates() {
    let simulator = simulator();
    let (status, body) = scaling(&simulator, "Action=DescribeAutoScalingGroups").await;
    assert_eq!(status, 200, "{body}");
    assert_eq!(all(&body, "AutoScalingGroupName"), ["a", "b", "c"]);
    assert_eq!(all(&body, "LaunchConfigurationName"), ["old"]);
    assert_eq!(all(&body, "LaunchTemplateId"), [WEB, WEB, "lt-gone"]);
    assert_eq!(all(&body, "LaunchTemplateName"), ["web", "web"]);
    assert_eq!(all(&body, "Version"), ["$Default", "$Latest", "7"]);
    assert_eq!(all(&body, "ImageId"), ["ami-9"]);
    let tagged = "Action=DescribeAutoScalingGroups&Filters.member.1.Name=tag:Team&Filters.member.1.Values.member.1=x";
    assert_eq!(all(&scaling(&simulator, tagged).await.1, "AutoScalingGroupName"), ["a"]);
    let named = "Action=DescribeAutoScalingGroups&AutoScalingGroupNames.member.1=b&AutoScalingGroupNames.member.2=no";
    assert_eq!(all(&scaling(&simulator, named).await.1, "AutoScalingGroupName"), ["b"]);
}

#[tokio::test]
async fn launch_configurations_are_paged_and_a_token_belongs_to_its_request() {
    let simulator = simulator();
    let (_, first) = scaling(&simulator, "Action=DescribeLaunchConfigurations&MaxRecords=1").await;
    assert_eq!((all(&first, "ImageId"), all(&first, "SnapshotId")), (vec!["ami-1".into()], vec!["snap-1".into()]));
    let token = all(&first, "NextToken").pop().unwrap();
    let next = format!("Action=DescribeLaunchConfigurations&MaxRecords=1&NextToken={token}");
    let (_, second) = scaling(&simulator, next.leak()).await;
    assert_eq!((all(&second, "ImageId"), all(&second, "NextToken")), (vec!["ami-2".into()], vec![]));
    let other = format!("Action=DescribeAutoScalingGroups&NextToken={token}");
    let (status, refused) = scaling(&simulator, other.leak()).await;
    assert_eq!((status, all(&refused, "Code")), (400, vec!["InvalidNextToken".into()]));
}

#[tokio::test]
async fn auto_scaling_needs_its_own_rights_and_knows_two_actions() {
    let simulator = simulator();
    let (status, unknown) = scaling(&simulator, "Action=CreateAutoScalingGroup").await;
    assert_eq!((status, all(&unknown, "Code")), (400, vec!["InvalidAction".into()]));
    let policy = json!({"Effect": "Allow", "Action": "ec2:*", "Resource": "*"});
    simulator.permissions().set_json("clean", &policy).unwrap();
    let (status, denied) = scaling(&simulator, "Action=DescribeLaunchConfigurations").await;
    assert_eq!((status, all(&denied, "Code")), (403, vec!["AccessDenied".into()]));
    assert_eq!(simulator.calls().all().last().unwrap().outcome, "AccessDenied");
}

async fn rules(simulator: &Simulator, method: &str, path: &str, body: Value) -> (u16, Value) {
    let scope =
        "AWS4-HMAC-SHA256 Credential=test/20261120/eu-west-1/rbin/aws4_request, SignedHeaders=host, Signature=0";
    let request = Request::builder().method(method).uri(path);
    let request = request.header("authorization", scope).header("user-agent", "app/clean");
    let body = if body.is_null() { Bytes::new() } else { Bytes::from(body.to_string()) };
    match simulator.handle(request.body(body).unwrap()).await {
        Reply::Response(response) => {
            (response.status().as_u16(), serde_json::from_slice(response.body()).unwrap_or_default())
        }
        other => panic!("expected a response, got {other:?}"),
    }
}

#[tokio::test]
async fn rules_of_the_recycle_bin_are_listed_by_type_and_shown_by_id() {
    let simulator = simulator();
    let list = |body: Value| rules(&simulator, "POST", "/list-rules", body);
    let (status, images) = list(json!({"ResourceType": "EC2_IMAGE"})).await;
    assert_eq!((status, images["Rules"].as_array().unwrap().len()), (200, 2));
    assert_eq!(
        images["Rules"][0]["RetentionPeriod"],
        json!({"RetentionPeriodValue": 7, "RetentionPeriodUnit": "DAYS"})
    );
    let (_, first) = list(json!({"ResourceType": "EC2_IMAGE", "MaxResults": 1})).await;
    let (_, second) = list(json!({"ResourceType": "EC2_IMAGE", "NextToken": first["NextToken"]})).await;
    assert_eq!(second["Rules"][0]["Identifier"], "BBBBBBBBBBB");
    assert_eq!(list(json!({})).await.0, 400);
    let tag = json!([{"ResourceTagKey": "Team", "ResourceTagValue": "x"}]);
    let (_, tagged) = list(json!({"ResourceType": "EC2_IMAGE", "ResourceTags": tag})).await;
    assert_eq!(tagged["Rules"].as_array().unwrap().len(), 1);
    let (_, one) = rules(&simulator, "GET", "/rules/AAAAAAAAAAA", Value::Null).await;
    assert_eq!((&one["ResourceType"], &one["ResourceTags"]), (&json!("EC2_IMAGE"), &tag));
    assert_eq!(rules(&simulator, "GET", "/rules/DDDDDDDDDDD", Value::Null).await.0, 404);
    let call = simulator.calls().all().pop().unwrap();
    assert_eq!((call.service.as_str(), call.action.as_str()), ("rbin", "GetRule"));
    assert_eq!(call.outcome, "ResourceNotFoundException");
}

#[tokio::test]
async fn rules_need_rights_and_obey_faults() {
    let simulator = simulator();
    let list = || rules(&simulator, "POST", "/list-rules", json!({"ResourceType": "EC2_IMAGE"}));
    let slow = Effect::Refuse { code: "ThrottlingException".to_owned(), message: None, status: Some(429) };
    simulator.faults().set(vec![rule("ListRules", slow)]);
    assert_eq!(list().await.0, 429);
    simulator.permissions().set("clean", Vec::new());
    assert_eq!(list().await.0, 403);
}
