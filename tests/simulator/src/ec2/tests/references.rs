//! DescribeImageReferences, fleets.

use serde_json::json;

use super::*;

const WEB: &str = "lt-0a1b2c3d4e5f60001";
const ASK: (&str, &str) = ("ImageId.1", GOLDEN);

fn things() -> Value {
    let versions: Vec<Value> = (1..=12)
        .map(|number| json!({"number": number, "imageId": if number == 2 { GOLDEN } else { "ami-0a1b2c3d4e5f60012" }}))
        .collect();
    json!({
        "instances": [{"region": HOME, "id": "i-0a1b2c3d4e5f60009", "imageId": GOLDEN, "state": "terminated"}],
        "launchTemplates": [{"region": HOME, "id": WEB, "name": "web", "versions": versions}],
        "ssmParameters": [{"region": HOME, "name": "/golden", "value": GOLDEN}],
        "imageRecipes": [{"region": HOME, "arn": "arn:aws:imagebuilder:us-east-1:000000000000:image-recipe/r/1.0.0",
                          "imageId": GOLDEN}],
        "containerRecipes": [{"region": HOME, "imageId": GOLDEN,
                              "arn": "arn:aws:imagebuilder:us-east-1:000000000000:container-recipe/c/1.0.0"}],
        "fleets": [
            {"region": HOME, "id": "fleet-0a1b2c3d-4e5f-6000-1000-000000000001", "launchTemplateConfigs": [
                {"launchTemplate": {"launchTemplateName": "web", "version": "2"},
                 "overrides": [{"imageId": GOLDEN}]}]},
            {"region": HOME, "id": "fleet-0a1b2c3d-4e5f-6000-1000-000000000002", "type": "instant"}],
        "spotFleets": [{"region": HOME, "id": "sfr-0a1b2c3d-4e5f-6000-1000-000000000001",
            "launchSpecifications": [{"imageId": GOLDEN}],
            "launchTemplateConfigs": [{"launchTemplate": {"launchTemplateId": WEB}}]}]
    })
}

#[tokio::test]
async fn every_type_is_looked_at_and_templates_as_deep_as_asked() {
    let bench = Bench::holding(things());
    let everything = [ASK, ("IncludeAllResourceTypes", "true")];
    let found = bench.call("DescribeImageReferences", &everything).await.ok();
    let kinds =
        ["ec2:Instance", "ec2:Instance", "imagebuilder:ContainerRecipe", "imagebuilder:ImageRecipe", "ssm:Parameter"];
    assert_eq!(found.all("resourceType"), kinds);
    assert_eq!(found.all("arn").last().unwrap(), "arn:aws:ssm:us-east-1:000000000000:parameter/golden");
    let deep = [
        &everything[..],
        &[
            ("ResourceType.1.ResourceType", "ec2:LaunchTemplate"),
            ("ResourceType.1.ResourceTypeOption.1.OptionName", "version-depth"),
            ("ResourceType.1.ResourceTypeOption.1.OptionValue.1", "11"),
        ],
    ]
    .concat();
    let found = bench.call("DescribeImageReferences", &deep).await.ok();
    assert_eq!(found.all("arn").len(), kinds.len() + 1);
    let running = [
        ASK,
        ("ResourceType.1.ResourceType", "ec2:Instance"),
        ("ResourceType.1.ResourceTypeOption.1.OptionName", "state-name"),
        ("ResourceType.1.ResourceTypeOption.1.OptionValue.1", "running"),
    ];
    let found = bench.call("DescribeImageReferences", &running).await.ok();
    assert_eq!(found.all("arn"), [format!("arn:aws:ec2:us-east-1:{US}:instance/{INSTANCE}")]);
    let sized = [&everything[..], &[("MaxResults", "5")]].concat();
    assert!(bench.call("DescribeImageReferences", &sized).await.ok().all("nextToken").is_empty());
    assert_eq!(bench.call("DescribeImageReferences", &[ASK]).await.outcome, "MissingParameter");
    let few = [&everything[..], &[("MaxResults", "4")]].concat();
    assert_eq!(bench.call("DescribeImageReferences", &few).await.outcome, "InvalidParameterValue");
}

#[tokio::test]
async fn references_need_the_right_to_find_each_type() {
    let bench = Bench::holding(things());
    let policy = json!({"Effect": "Allow", "Action": "ec2:*", "Resource": "*"});
    bench.permissions.set_json("clean", &policy).unwrap();
    let caller = Caller { function: Some("clean".into()), ..bench.caller.clone() };
    let instances = [ASK, ("ResourceType.1.ResourceType", "ec2:Instance")];
    bench.call_as(&caller, "DescribeImageReferences", &instances).await.ok();
    let parameters = [ASK, ("ResourceType.1.ResourceType", "ssm:Parameter")];
    let denied = bench.call_as(&caller, "DescribeImageReferences", &parameters).await;
    assert_eq!(denied.outcome, "UnauthorizedOperation");
    assert!(denied.one("Message").contains("ssm:DescribeParameters"), "{}", denied.body);
}

#[tokio::test]
async fn fleets_show_what_they_launch() {
    let bench = Bench::holding(things());
    let found = bench.call("DescribeFleets", &[]).await.ok();
    assert_eq!(found.all("fleetId").len(), 1);
    assert_eq!((found.one("launchTemplateId"), found.one("version")), (WEB.into(), "2".into()));
    assert_eq!(found.one("imageId"), GOLDEN);
    let instant = [("FleetId.1", "fleet-0a1b2c3d-4e5f-6000-1000-000000000002")];
    assert_eq!(bench.call("DescribeFleets", &instant).await.ok().one("type"), "instant");
    let spot = bench.call("DescribeSpotFleetRequests", &[]).await.ok();
    assert_eq!((spot.one("imageId"), spot.one("launchTemplateName")), (GOLDEN.into(), "web".into()));
    let unknown = [("SpotFleetRequestId.1", "sfr-0a1b2c3d-4e5f-6000-1000-00000000ffff")];
    let refused = bench.call("DescribeSpotFleetRequests", &unknown).await;
    assert_eq!(refused.outcome, "InvalidSpotFleetRequestId.NotFound");
}
