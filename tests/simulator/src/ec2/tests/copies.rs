//! CopyImage.

use super::*;

const COPY: &[(&str, &str)] =
    &[("SourceImageId", GOLDEN), ("SourceRegion", HOME), ("Name", "copy"), ("ClientToken", "t1")];

#[tokio::test]
async fn a_token_gives_the_same_copy_again_and_refuses_other_parameters() {
    let bench = Bench::new();
    let first = bench.call_in("eu-west-1", "CopyImage", COPY).await.ok().one("imageId");
    let again = bench.call_in("eu-west-1", "CopyImage", COPY).await.ok().one("imageId");
    assert_eq!(first, again);
    let made = bench.world.images(US, "eu-west-1").into_iter().filter(|image| image.name == "copy");
    assert_eq!(made.count(), 1);
    let other = [COPY, &[("Description", "another")]].concat();
    assert_eq!(bench.call_in("eu-west-1", "CopyImage", &other).await.outcome, "IdempotentParameterMismatch");
    let elsewhere = bench.call_in("eu-central-1", "CopyImage", COPY).await.ok().one("imageId");
    assert_ne!(first, elsewhere);
}

#[tokio::test]
async fn a_copy_loses_permissions_and_snapshot_tags_and_knows_its_source() {
    let bench = Bench::new();
    let tagged = [
        COPY,
        &[
            ("CopyImageTags", "true"),
            ("TagSpecification.1.ResourceType", "image"),
            ("TagSpecification.1.Tag.1.Key", "Team"),
            ("TagSpecification.1.Tag.1.Value", "other"),
        ],
    ]
    .concat();
    let id = bench.call_in("eu-west-1", "CopyImage", &tagged).await.ok().one("imageId");
    bench.after(60_000);
    assert_eq!(bench.state_of("eu-west-1", &id).await, "available");
    let copy = bench.world.image(&id).unwrap();
    assert!(copy.launch_permissions.is_empty());
    assert_eq!(copy.tags.get("Team").unwrap(), "other");
    assert_eq!(copy.tags.get("Backup").unwrap(), "nightly");
    assert_eq!(copy.source_image, Some((GOLDEN.to_owned(), HOME.to_owned())));
    let snapshots = bench.world.snapshots_of(&id);
    assert!(snapshots[0].tags.is_empty());
    assert_eq!(
        snapshots[0].description,
        format!(
            "Copied for DestinationAmi {id} from SourceAmi {GOLDEN} for SourceSnapshot {GOLDEN_SNAPSHOT}. Task created \
             on 1,795,464,000,000."
        )
    );
}

#[tokio::test]
async fn the_source_must_be_there_and_available_and_its_storage_shared() {
    let bench = Bench::new();
    let of = |id: &'static str| [("SourceImageId", id), ("SourceRegion", HOME), ("Name", "copy")];
    for (id, code) in [
        ("ami-0a1b2c3d4e5f6ffff", "InvalidAMIID.NotFound"),
        ("ami-0a1b2c3d4e5f60011", "InvalidAMIID.NotFound"),
        ("ami-0a1b2c3d4e5f60013", "InvalidAMIID.Unavailable"),
        ("ami-0a1b2c3d4e5f60010", "InvalidRequest"),
    ] {
        assert_eq!(bench.call_in("eu-west-1", "CopyImage", &of(id)).await.outcome, code, "{id}");
    }
    let elsewhere = [("SourceImageId", GOLDEN), ("SourceRegion", "ap-east-1"), ("Name", "copy")];
    assert_eq!(bench.call_in("eu-west-1", "CopyImage", &elsewhere).await.outcome, "InvalidRegion");
    bench.world.change_snapshot("snap-0a1b2c3d4e5f60016", |snapshot| snapshot.volume_permissions.clear());
    let shared = bench.call_in("eu-west-1", "CopyImage", &of("ami-0a1b2c3d4e5f60016")).await;
    assert_eq!(shared.outcome, "InvalidRequest");
}

#[tokio::test]
async fn too_many_copies_at_once_are_refused() {
    let bench = Bench::with(|settings| settings.quotas.concurrent_image_copies = 1);
    bench.call_in("eu-west-1", "CopyImage", COPY).await.ok();
    let second = [("SourceImageId", GOLDEN), ("SourceRegion", HOME), ("Name", "copy")];
    assert_eq!(bench.call_in("eu-west-1", "CopyImage", &second).await.outcome, "ResourceLimitExceeded");
    bench.after(60_000).call_in("eu-west-1", "CopyImage", &second).await.ok();
}

#[tokio::test]
async fn a_key_of_another_region_fails_the_copy_later() {
    let bench = Bench::new();
    let key = "arn:aws:kms:us-east-1:000000000000:key/0a1b2c3d-4e5f-4000-8000-000000000014";
    let encrypted = [COPY, &[("Encrypted", "true"), ("KmsKeyId", key)]].concat();
    let id = bench.call_in("eu-west-1", "CopyImage", &encrypted).await.ok().one("imageId");
    bench.after(60_000);
    assert_eq!(bench.state_of("eu-west-1", &id).await, "failed");
    let alone = [COPY, &[("KmsKeyId", key)]].concat();
    assert_eq!(bench.call_in("eu-west-1", "CopyImage", &alone).await.outcome, "InvalidParameterCombination");
}

#[tokio::test]
async fn deregistering_a_pending_copy_cancels_it() {
    let bench = Bench::new();
    let id = bench.call_in("eu-central-1", "CopyImage", COPY).await.ok().one("imageId");
    bench.call_in("eu-central-1", "DeregisterImage", &[("ImageId", &id)]).await.ok();
    bench.after(60_000);
    assert!(bench.world.snapshots(US, "eu-central-1").is_empty());
}
