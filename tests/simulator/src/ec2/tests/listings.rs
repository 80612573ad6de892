//! Filters, pages, and who sees what.

use serde_json::json;

use super::*;

#[tokio::test]
async fn pages_hold_every_image_once_and_a_token_belongs_to_its_request() {
    let bench = Bench::new();
    let everything = bench.call("DescribeImages", &[("Owner.1", "self")]).await.ok().all("imageId");
    let mut found = Vec::new();
    let mut token = String::new();
    loop {
        let mut parameters = vec![("Owner.1", "self"), ("MaxResults", "2")];
        if !token.is_empty() {
            parameters.push(("NextToken", &token));
        }
        let page = bench.call("DescribeImages", &parameters).await.ok();
        let ids = page.all("imageId");
        assert!(ids.len() <= 2);
        found.extend(ids);
        match page.all("nextToken").pop() {
            Some(next) => token = next,
            None => break,
        }
    }
    assert_eq!(found, everything);
    assert!(found.len() > 4);
    let other = [("Owner.1", "amazon"), ("NextToken", token.as_str())];
    assert_eq!(bench.call("DescribeImages", &other).await.outcome, "InvalidNextToken");
}

#[tokio::test]
async fn what_is_asked_for_by_id_comes_once_and_in_the_order_of_all() {
    let bench = Bench::new();
    let first_two: Vec<String> =
        bench.call("DescribeImages", &[("Owner.1", "self")]).await.ok().all("imageId").into_iter().take(2).collect();
    let [first, second] = first_two.as_slice() else { panic!("too few images: {first_two:?}") };
    let turned = [("ImageId.1", second.as_str()), ("ImageId.2", first), ("ImageId.3", second)];
    assert_eq!(bench.call("DescribeImages", &turned).await.ok().all("imageId"), first_two);
    let filtered = [&turned[..], &[("Filter.1.Name", "image-id"), ("Filter.1.Value.1", second)]].concat();
    assert_eq!(bench.call("DescribeImages", &filtered).await.ok().all("imageId"), [second.as_str()]);
}

#[tokio::test]
async fn filters_take_wildcards_and_all_must_hold() {
    let bench = Bench::new();
    let filter = |name: &'static str, value: &'static str| {
        [("Filter.1.Name", name), ("Filter.1.Value.1", value), ("Owner.1", "self")]
    };
    for (name, value) in [
        ("name", "golden-????-11"),
        ("tag:Team", "plat*"),
        ("tag-key", "Backup"),
        ("block-device-mapping.snapshot-id", GOLDEN_SNAPSHOT),
        ("image-id", GOLDEN),
        ("description", "Web*"),
    ] {
        let found = bench.call("DescribeImages", &filter(name, value)).await.ok().all("imageId");
        assert_eq!(found, [GOLDEN], "{name}");
    }
    let both =
        [&filter("tag:Team", "platform")[..], &[("Filter.2.Name", "state"), ("Filter.2.Value.1", "failed")]].concat();
    assert!(bench.call("DescribeImages", &both).await.ok().all("imageId").is_empty());
    let unknown = bench.call("DescribeImages", &filter("colour", "red")).await;
    assert_eq!(unknown.outcome, "InvalidParameterValue");
}

#[tokio::test]
async fn one_unknown_id_fails_the_whole_listing() {
    let bench = Bench::new();
    let ids = [("ImageId.1", GOLDEN), ("ImageId.2", "ami-0a1b2c3d4e5f6ffff")];
    let refused = bench.call("DescribeImages", &ids).await;
    assert_eq!(refused.outcome, "InvalidAMIID.NotFound");
    assert_eq!(refused.one("Message"), "The image id '[ami-0a1b2c3d4e5f6ffff]' does not exist");
    let malformed = bench.call("DescribeImages", &[("ImageId.1", "ami-xyz")]).await;
    assert_eq!(malformed.outcome, "InvalidAMIID.Malformed");
    let sized = [("ImageId.1", GOLDEN), ("MaxResults", "5")];
    assert_eq!(bench.call("DescribeImages", &sized).await.outcome, "InvalidParameterCombination");
}

#[tokio::test]
async fn an_image_of_another_account_is_seen_only_when_it_is_shared_and_without_its_tags() {
    let bench = Bench::new();
    let private = bench.call("DescribeImages", &[("ImageId.1", "ami-0a1b2c3d4e5f60011")]).await;
    assert_eq!(private.outcome, "InvalidAMIID.NotFound");
    let shared = bench.call("DescribeImages", &[("ImageId.1", "ami-0a1b2c3d4e5f60016")]).await.ok();
    assert_eq!(shared.one("imageOwnerId"), THEM);
    assert!(!shared.body.contains("Secret"));
    let theirs = bench.call_by(THEM, "DescribeImages", &[("ImageId.1", "ami-0a1b2c3d4e5f60016")]).await.ok();
    assert!(theirs.body.contains("Secret"));
    let change = [("ImageId", "ami-0a1b2c3d4e5f60016")];
    assert_eq!(bench.call("DeregisterImage", &change).await.outcome, "AuthFailure");
}

#[tokio::test]
async fn regions_say_whether_they_are_enabled_and_others_answer_nobody() {
    let bench = Bench::new();
    let enabled = bench.call("DescribeRegions", &[]).await.ok().all("regionName");
    assert_eq!(enabled, ["us-east-1", "eu-west-1", "eu-central-1"]);
    let all = bench.call("DescribeRegions", &[("AllRegions", "true")]).await.ok();
    assert_eq!(all.all("optInStatus").last().unwrap(), "not-opted-in");
    let refused = bench.call_in("ap-east-1", "DescribeImages", &[]).await;
    assert_eq!((refused.outcome.as_str(), refused.status), ("AuthFailure", 401));
}

#[tokio::test]
async fn instances_and_their_volumes_are_found_by_tag_and_by_id() {
    let bench = Bench::new();
    let by_tag = [("Filter.1.Name", "tag:Backup"), ("Filter.1.Value.1", "nightly"), ("MaxResults", "5")];
    let found = bench.call("DescribeInstances", &by_tag).await.ok();
    assert_eq!(found.all("instanceId"), [INSTANCE]);
    assert_eq!(found.all("volumeId").len(), 2);
    let volumes = bench.call("DescribeVolumes", &[("VolumeId.1", "vol-0a1b2c3d4e5f60002")]).await.ok();
    assert_eq!(volumes.one("size"), "20");
}

#[tokio::test]
async fn tags_are_written_listed_and_removed() {
    let bench = Bench::new();
    let write = [("ResourceId.1", GOLDEN), ("Tag.1.Key", "New"), ("Tag.1.Value", "1")];
    bench.call("CreateTags", &write).await.ok();
    let ask = [("Filter.1.Name", "resource-id"), ("Filter.1.Value.1", GOLDEN)];
    assert_eq!(bench.call("DescribeTags", &ask).await.ok().all("key"), ["Backup", "New", "Team"]);
    bench.call("DeleteTags", &[("ResourceId.1", GOLDEN), ("Tag.1.Key", "New")]).await.ok();
    bench.call("DeleteTags", &[("ResourceId.1", GOLDEN), ("Tag.1.Key", "Team"), ("Tag.1.Value", "other")]).await.ok();
    assert_eq!(bench.call("DescribeTags", &ask).await.ok().all("key"), ["Backup", "Team"]);
    let reserved = [("ResourceId.1", GOLDEN), ("Tag.1.Key", "aws:x"), ("Tag.1.Value", "1")];
    assert_eq!(bench.call("CreateTags", &reserved).await.outcome, "InvalidParameterValue");
}

#[tokio::test]
async fn an_image_may_be_a_kernel_and_may_lack_what_most_have() {
    let bench = Bench::holding(json!({"images": [
        {"region": HOME, "id": "aki-0a1b2c3d", "name": "", "rootDeviceName": "", "rootDeviceType": "instance-store"},
        {"region": HOME, "id": "ari-0a1b2c3d", "name": "r", "undated": true},
    ]}));
    let kind = |kind| [("Filter.1.Name", "image-type"), ("Filter.1.Value.1", kind)];
    let kernel = bench.call("DescribeImages", &kind("kernel")).await.ok();
    assert_eq!((kernel.one("imageId"), kernel.one("imageType")), ("aki-0a1b2c3d".into(), "kernel".into()));
    assert!(["name", "rootDeviceName"].iter().all(|field| kernel.all(field).is_empty()));
    let ramdisk = bench.call("DescribeImages", &kind("ramdisk")).await.ok();
    assert_eq!((ramdisk.one("imageId"), ramdisk.all("creationDate")), ("ari-0a1b2c3d".into(), Vec::<String>::new()));
}

#[tokio::test]
async fn whether_a_listing_of_snapshots_without_an_owner_begins_with_an_empty_page_is_a_choice() {
    let bench = Bench::of(|file| file.settings.choices.empty_first_page = true);
    let filter = [("Filter.1.Name", "snapshot-id"), ("Filter.1.Value.1", GOLDEN_SNAPSHOT), ("MaxResults", "5")];
    let first = bench.call("DescribeSnapshots", &filter).await.ok();
    assert!(first.all("snapshotId").is_empty());
    let token = first.one("nextToken");
    let next = [&filter[..], &[("NextToken", token.as_str())]].concat();
    let next = bench.call("DescribeSnapshots", &next).await.ok();
    assert_eq!((next.one("snapshotId"), next.all("nextToken").len()), (GOLDEN_SNAPSHOT.into(), 0));
    let own = [&filter[..], &[("Owner.1", "self")]].concat();
    assert_eq!(bench.call("DescribeSnapshots", &own).await.ok().all("snapshotId").len(), 1);
}

#[tokio::test]
async fn what_is_answered_of_an_image_that_was_never_stored_is_a_choice() {
    let ask = [("ImageId.1", GOLDEN)];
    assert!(Bench::new().call("DescribeStoreImageTasks", &ask).await.ok().all("amiId").is_empty());
    let bench = Bench::of(|file| file.settings.choices.never_stored_code = Some("InvalidAMIID.NotFound".into()));
    assert_eq!(bench.call("DescribeStoreImageTasks", &ask).await.outcome, "InvalidAMIID.NotFound");
    bench.store(GOLDEN, BACKUPS).await.ok();
    assert_eq!(bench.call("DescribeStoreImageTasks", &ask).await.ok().all("amiId"), [GOLDEN]);
}
