//! Launch templates and their versions.

use serde_json::json;

use super::*;

const WEB: &str = "lt-0a1b2c3d4e5f60001";
const JOBS: &str = "lt-0a1b2c3d4e5f60002";
const OTHER: &str = "ami-0a1b2c3d4e5f60012";

fn templates() -> Value {
    json!({
        "launchTemplates": [
            {"region": HOME, "id": WEB, "name": "web", "defaultVersion": 2, "tags": {"Team": "a"}, "versions": [
                {"number": 1, "imageId": OTHER, "snapshotIds": ["snap-0a1b2c3d4e5f60012"]},
                {"number": 2, "imageId": GOLDEN}, {"number": 3, "imageId": "ami-0a1b2c3d4e5f60014"}]},
            {"region": HOME, "id": JOBS, "name": "jobs", "versions": [
                {"number": 1, "imageId": "resolve:ssm:/golden/latest"},
                {"number": 2, "imageId": "resolve:ssm:/golden/latest:1"}]}],
        "ssmParameters": [
            {"region": HOME, "name": "/golden/latest", "value": OTHER, "version": 1},
            {"region": HOME, "name": "/golden/latest", "value": GOLDEN, "version": 2}]
    })
}

/// Parameters that ask for the latest and the default versions of all templates.
const BOTH: [(&str, &str); 2] = [("LaunchTemplateVersion.1", "$Latest"), ("LaunchTemplateVersion.2", "$Default")];

#[tokio::test]
async fn templates_are_found_by_id_name_and_filter_and_paged() {
    let bench = Bench::holding(templates());
    let all = bench.call("DescribeLaunchTemplates", &[]).await.ok();
    assert_eq!(all.all("launchTemplateId"), [WEB, JOBS]);
    assert_eq!(
        (all.all("defaultVersionNumber"), all.all("latestVersionNumber")),
        (vec!["2".to_owned(), "1".to_owned()], vec!["3".to_owned(), "2".to_owned()])
    );
    let named = bench.call("DescribeLaunchTemplates", &[("LaunchTemplateName.1", "jobs")]).await.ok();
    assert_eq!(named.all("launchTemplateId"), [JOBS]);
    let tagged = [("Filter.1.Name", "tag:Team"), ("Filter.1.Value.1", "a")];
    assert_eq!(bench.call("DescribeLaunchTemplates", &tagged).await.ok().all("launchTemplateId"), [WEB]);
    let page = bench.call("DescribeLaunchTemplates", &[("MaxResults", "1")]).await.ok();
    assert_eq!(page.all("launchTemplateId"), [WEB]);
    let next = [("MaxResults", "1"), ("NextToken", &page.one("nextToken"))];
    assert_eq!(bench.call("DescribeLaunchTemplates", &next).await.ok().all("launchTemplateId"), [JOBS]);
    for (name, value, code) in [
        ("LaunchTemplateId.1", "web", "InvalidLaunchTemplateId.Malformed"),
        ("LaunchTemplateId.1", "lt-0a1b2c3d4e5f6ffff", "InvalidLaunchTemplateId.NotFound"),
        ("LaunchTemplateName.1", "nobody", "InvalidLaunchTemplateName.NotFoundException"),
    ] {
        assert_eq!(bench.call("DescribeLaunchTemplates", &[(name, value)]).await.outcome, code);
    }
    assert!(bench.call_by(THEM, "DescribeLaunchTemplates", &[]).await.ok().all("launchTemplateId").is_empty());
}

#[tokio::test]
async fn without_a_template_only_latest_and_default_versions_of_all_are_described() {
    let bench = Bench::holding(templates());
    let found = bench.call("DescribeLaunchTemplateVersions", &BOTH).await.ok();
    assert_eq!(found.all("versionNumber"), ["3", "2", "2", "1"]);
    assert_eq!(found.all("defaultVersion"), ["false", "true", "false", "true"]);
    let using = [&BOTH[..], &[("Filter.1.Name", "image-id"), ("Filter.1.Value.1", GOLDEN)]].concat();
    let using = bench.call("DescribeLaunchTemplateVersions", &using).await.ok();
    assert_eq!((using.all("launchTemplateId"), using.one("imageId")), (vec![WEB.to_owned()], GOLDEN.to_owned()));
    let number = [("LaunchTemplateVersion.1", "1")];
    assert_eq!(bench.call("DescribeLaunchTemplateVersions", &number).await.outcome, "InvalidParameterValue");
    assert_eq!(bench.call("DescribeLaunchTemplateVersions", &[]).await.outcome, "MissingParameter");
}

#[tokio::test]
async fn versions_of_one_template_are_listed_ranged_and_paged_from_the_newest() {
    let bench = Bench::holding(templates());
    let ask = |more: &[(&'static str, &'static str)]| [&[("LaunchTemplateId", WEB)][..], more].concat();
    let numbers = |reply: Reply| reply.ok().all("versionNumber");
    let describe = |parameters: Vec<(&'static str, &'static str)>| {
        let bench = &bench;
        async move { bench.call("DescribeLaunchTemplateVersions", &parameters).await }
    };
    assert_eq!(numbers(describe(ask(&[])).await), ["3", "2", "1"]);
    assert_eq!(numbers(describe(ask(&[("MinVersion", "2")])).await), ["3", "2"]);
    assert_eq!(numbers(describe(ask(&[("MaxVersion", "1")])).await), ["1"]);
    let listed = [("LaunchTemplateVersion.1", "1"), ("LaunchTemplateVersion.2", "$Latest")];
    assert_eq!(numbers(describe(ask(&listed)).await), ["3", "1"]);
    let first = describe(ask(&[("LaunchTemplateVersion.1", "1")])).await.ok();
    assert_eq!(first.one("snapshotId"), "snap-0a1b2c3d4e5f60012");
    let unknown = describe(ask(&[("LaunchTemplateVersion.1", "9")])).await;
    assert_eq!(unknown.outcome, "InvalidLaunchTemplateId.VersionNotFound");
    let page = describe(ask(&[("MaxResults", "2")])).await.ok();
    assert_eq!(page.all("versionNumber"), ["3", "2"]);
    let next = [("LaunchTemplateId", WEB), ("MaxResults", "2"), ("NextToken", &page.one("nextToken"))];
    assert_eq!(bench.call("DescribeLaunchTemplateVersions", &next).await.ok().all("versionNumber"), ["1"]);
    let two = describe(ask(&[("LaunchTemplateName", "web")])).await;
    assert_eq!(two.outcome, "InvalidParameterCombination");
}

#[tokio::test]
async fn aliases_are_resolved_when_asked_and_only_for_who_may_read_the_parameter() {
    let bench = Bench::holding(templates());
    let of = |version| [("LaunchTemplateId", JOBS), ("ResolveAlias", "true"), ("LaunchTemplateVersion.1", version)];
    let resolved = of("1");
    let plain = bench.call("DescribeLaunchTemplateVersions", &resolved[..1]).await.ok();
    assert_eq!(plain.all("imageId"), ["resolve:ssm:/golden/latest:1", "resolve:ssm:/golden/latest"]);
    let shown = bench.call("DescribeLaunchTemplateVersions", &resolved).await.ok();
    assert_eq!(shown.all("imageId"), [GOLDEN]);
    let shown = bench.call("DescribeLaunchTemplateVersions", &of("2")).await.ok();
    assert_eq!(shown.all("imageId"), [OTHER]);
    let caller = Caller { function: Some("clean".into()), ..bench.caller.clone() };
    let policy = json!({"Effect": "Allow", "Action": "ec2:*", "Resource": "*"});
    bench.permissions.set_json("clean", &policy).unwrap();
    let denied = bench.call_as(&caller, "DescribeLaunchTemplateVersions", &resolved).await;
    assert_eq!(denied.outcome, "SsmAccessDenied");
    let implied = bench.calls.all().pop().unwrap();
    assert_eq!((implied.action.as_str(), implied.outcome.as_str()), ("GetParameters", "AccessDenied"));
    assert!(implied.parameters["resource"].ends_with(":parameter/golden/latest"));
    bench.world.change_uses(|uses| uses.ssm_parameters.clear());
    let missing = bench.call("DescribeLaunchTemplateVersions", &resolved).await;
    assert_eq!(missing.outcome, "SsmInvalidParameter");
}

/// Reported: one version of one template at a time (README, "Evidence").
#[tokio::test]
async fn aliases_are_resolved_where_one_version_of_one_template_is_asked_for_and_nowhere_else() {
    let bench = Bench::holding(templates());
    let resolve = [("ResolveAlias", "true")];
    let web = [("LaunchTemplateId", WEB)];
    let [one, two] = [("LaunchTemplateVersion.1", "1"), ("LaunchTemplateVersion.2", "2")];
    for several in [
        [&BOTH[..], &resolve].concat(),
        [&BOTH[..1], &resolve].concat(),
        [&web[..], &resolve].concat(),
        [&web[..], &[one, two], &resolve].concat(),
    ] {
        let refused = bench.call("DescribeLaunchTemplateVersions", &several).await;
        assert_eq!(refused.outcome, "InvalidParameterCombination", "{several:?}");
        assert!(refused.body.contains("only supported when doing single version describe"), "{}", refused.body);
    }
    // It is no matter whether there is an alias in it.
    let single = [&web[..], &[one], &resolve].concat();
    assert_eq!(bench.call("DescribeLaunchTemplateVersions", &single).await.ok().all("imageId"), [OTHER]);
}

#[tokio::test]
async fn what_the_filter_sees_of_an_alias_is_a_choice() {
    let ask = [
        ("LaunchTemplateId", JOBS),
        ("LaunchTemplateVersion.1", "1"),
        ("ResolveAlias", "true"),
        ("Filter.1.Name", "image-id"),
        ("Filter.1.Value.1", GOLDEN),
    ];
    for (resolves, found) in [(false, vec![]), (true, vec!["1"])] {
        let bench = Bench::of(|file| {
            hold(file, 0, templates());
            file.settings.choices.alias_filter_resolves = resolves;
        });
        let shown = bench.call("DescribeLaunchTemplateVersions", &ask).await.ok();
        assert_eq!(shown.all("versionNumber"), found);
    }
}

#[tokio::test]
async fn a_new_version_brings_an_image_into_use_and_can_become_the_default() {
    let bench = Bench::holding(templates());
    let new = [
        ("LaunchTemplateId", WEB),
        ("SourceVersion", "1"),
        ("LaunchTemplateData.InstanceType", "t3.large"),
        ("VersionDescription", "larger"),
    ];
    let made = bench.call("CreateLaunchTemplateVersion", &new).await.ok();
    assert_eq!((made.one("versionNumber"), made.one("imageId")), ("4".into(), OTHER.into()));
    // Snapshots are not inherited.
    assert!(made.all("snapshotId").is_empty());
    let default = [("LaunchTemplateName", "web"), ("SetDefaultVersion", "4")];
    assert_eq!(bench.call("ModifyLaunchTemplate", &default).await.ok().one("defaultVersionNumber"), "4");
    let shown = bench.call("DescribeLaunchTemplateVersions", &BOTH).await.ok();
    assert_eq!(shown.all("versionNumber"), ["4", "2", "1"]);
    let unknown = [("LaunchTemplateName", "web"), ("SetDefaultVersion", "9")];
    let refused = bench.call("ModifyLaunchTemplate", &unknown).await;
    assert_eq!(refused.outcome, "InvalidLaunchTemplateId.VersionNotFound");
}

#[tokio::test]
async fn a_template_is_made_once_launched_from_and_deleted() {
    let bench = Bench::holding(templates());
    let new = [
        ("LaunchTemplateName", "fresh"),
        ("LaunchTemplateData.ImageId", GOLDEN),
        ("LaunchTemplateData.InstanceType", "t3.large"),
        ("TagSpecification.1.ResourceType", "launch-template"),
        ("TagSpecification.1.Tag.1.Key", "k"),
    ];
    let id = bench.call("CreateLaunchTemplate", &new).await.ok().one("launchTemplateId");
    let again = bench.call("CreateLaunchTemplate", &new).await;
    assert_eq!(again.outcome, "InvalidLaunchTemplateName.AlreadyExistsException");
    assert_eq!(bench.world.tags(&id).len(), 1);
    let launch = [("LaunchTemplate.LaunchTemplateId", id.as_str()), ("MinCount", "1"), ("MaxCount", "1")];
    let launched = bench.call("RunInstances", &launch).await.ok();
    assert_eq!((launched.one("imageId"), launched.one("instanceType")), (GOLDEN.into(), "t3.large".into()));
    let aliased = [("LaunchTemplate.LaunchTemplateName", "jobs"), ("MinCount", "1"), ("MaxCount", "1")];
    assert_eq!(bench.call("RunInstances", &aliased).await.ok().one("imageId"), GOLDEN);
    bench.call("DeleteLaunchTemplate", &[("LaunchTemplateId", &id)]).await.ok();
    let gone = bench.call("RunInstances", &launch).await;
    assert_eq!(gone.outcome, "InvalidLaunchTemplateId.NotFound");
}

#[tokio::test]
async fn a_new_version_is_invisible_for_the_delay() {
    let bench = Bench::of(|file| {
        hold(file, 0, templates());
        file.settings.consistency_delay_ms = 5_000;
    });
    let new = [("LaunchTemplateId", WEB), ("LaunchTemplateData.ImageId", OTHER)];
    bench.call("CreateLaunchTemplateVersion", &new).await.ok();
    let latest = [("LaunchTemplateVersion.1", "$Latest"), ("LaunchTemplateId", WEB)];
    assert_eq!(bench.call("DescribeLaunchTemplateVersions", &latest).await.ok().one("versionNumber"), "3");
    let shown = bench.after(5_000).call("DescribeLaunchTemplateVersions", &latest).await.ok();
    assert_eq!(shown.one("versionNumber"), "4");
}
