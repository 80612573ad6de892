//! ExportImage.

use super::*;

const EXPORTS: &str = "ami-backup-demo-exports";
const EXPORT: &[(&str, &str)] = &[
    ("ImageId", GOLDEN),
    ("DiskImageFormat", "VMDK"),
    ("S3ExportLocation.S3Bucket", EXPORTS),
    ("S3ExportLocation.S3Prefix", "exports"),
    ("ClientToken", "t1"),
];

fn with(name: &'static str, value: &'static str) -> Vec<(&'static str, &'static str)> {
    let mut parameters: Vec<_> =
        EXPORT.iter().copied().filter(|(one, _)| *one != name && *one != "ClientToken").collect();
    parameters.push((name, value));
    parameters
}

#[tokio::test]
async fn a_file_appears_under_the_prefix_without_a_separator() {
    let bench = Bench::new();
    let id = bench.call("ExportImage", EXPORT).await.ok().one("exportImageTaskId");
    assert_eq!(bench.call("ExportImage", EXPORT).await.ok().one("exportImageTaskId"), id);
    let running = bench.call("DescribeExportImageTasks", &[("ExportImageTaskId.1", &id)]).await.ok();
    assert_eq!((running.one("status"), running.one("progress")), ("active".into(), "0".into()));
    let done = bench.after(60_000).call("DescribeExportImageTasks", &[]).await.ok();
    assert_eq!(done.one("status"), "completed");
    assert!(bench.objects.exists(EXPORTS, &format!("exports{id}.vmdk")).await.unwrap());
}

#[tokio::test]
async fn what_cannot_be_exported_is_refused() {
    let bench = Bench::new();
    for (image, code) in [
        ("ami-0a1b2c3d4e5f60014", "NotExportable"),
        ("ami-0a1b2c3d4e5f60016", "NotExportable"),
        ("ami-0a1b2c3d4e5f60012", "NotExportable"),
        ("ami-0a1b2c3d4e5f60010", "NotExportable"),
        ("ami-0a1b2c3d4e5f60013", "InvalidAMIID.Unavailable"),
    ] {
        assert_eq!(bench.call("ExportImage", &with("ImageId", image)).await.outcome, code, "{image}");
    }
    let elsewhere = with("S3ExportLocation.S3Bucket", "ami-backup-demo-elsewhere");
    assert_eq!(bench.call("ExportImage", &elsewhere).await.outcome, "InvalidParameter");
    let kms = BucketFacts { name: "kms".into(), region: HOME.into(), owner: US.into(), kms: true };
    bench.objects.add_bucket(kms);
    let refused = bench.call("ExportImage", &with("S3ExportLocation.S3Bucket", "kms")).await;
    assert_eq!(refused.outcome, "InvalidParameter");
}

#[tokio::test]
async fn one_export_per_image_and_so_many_per_region() {
    let bench = Bench::with(|settings| settings.quotas.concurrent_exports = 1);
    bench.call("ExportImage", EXPORT).await.ok();
    assert_eq!(bench.call("ExportImage", &with("DiskImageFormat", "VHD")).await.outcome, "NotExportable");
    let image = bench.create_image("another").await.ok().one("imageId");
    bench.world.change_image(&image, |image| {
        image.work = None;
        image.state = "available".into();
    });
    let other: Vec<(&str, &str)> =
        EXPORT.iter().map(|(name, value)| (*name, if *name == "ImageId" { image.as_str() } else { *value })).collect();
    let other: Vec<_> = other.into_iter().filter(|(name, _)| *name != "ClientToken").collect();
    assert_eq!(bench.call("ExportImage", &other).await.outcome, "ResourceLimitExceeded");
}

#[tokio::test]
async fn a_failed_or_cancelled_export_ends_deleted_with_a_message() {
    let bench = Bench::new();
    let caller = Caller { fail_task: Some("ClientError: unsupported kernel".into()), ..bench.caller.clone() };
    let id = bench.call_as(&caller, "ExportImage", EXPORT).await.ok().one("exportImageTaskId");
    let shown = bench.after(60_000).call("DescribeExportImageTasks", &[("ExportImageTaskId.1", &id)]).await.ok();
    assert_eq!(
        (shown.one("status"), shown.one("statusMessage")),
        ("deleted".into(), "ClientError: unsupported kernel".into())
    );
    let id = bench.call("ExportImage", &with("DiskImageFormat", "RAW")).await.ok().one("exportImageTaskId");
    bench.call("CancelExportTask", &[("ExportTaskId", &id)]).await.ok();
    let shown = bench.after(60_000).call("DescribeExportImageTasks", &[("ExportImageTaskId.1", &id)]).await.ok();
    assert_eq!(shown.one("status"), "deleted");
    assert_eq!(bench.call("CancelExportTask", &[("ExportTaskId", &id)]).await.outcome, "IncorrectState");
}
