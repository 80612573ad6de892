//! Owns ExportImage, DescribeExportImageTasks and CancelExportTask.

use super::attributes::done;
use super::context::{Context, check_id};
use super::copy::{token_of, used_token};
use super::create::check_description;
use super::errors::{Answer, Ec2Error};
use super::filters::{Filters, Page};
use super::xml::Xml;
use crate::objects::{BucketFacts, ObjectError};
use crate::permissions::Request;
use crate::world::state::{State, Token, duration, later, progress};
use crate::world::{ExportTask, Image, Tags};

pub(super) async fn create(context: &Context<'_>) -> Answer<Xml> {
    let location = context.params.structure("S3ExportLocation");
    let bucket = location.required("S3Bucket").map_err(|_| Ec2Error::missing("S3ExportLocation.S3Bucket"))?;
    let facts = context.ec2.objects.bucket(bucket).await;
    context.ec2.world.with(|state| create_at(context, state, bucket, &facts))
}

fn create_at(
    context: &Context<'_>,
    state: &mut State,
    bucket: &str,
    facts: &Result<BucketFacts, ObjectError>,
) -> Answer<Xml> {
    let params = &context.params;
    let format = params.required("DiskImageFormat")?;
    if !["VMDK", "RAW", "VHD"].contains(&format) {
        return Err(Ec2Error::invalid(format!("Invalid value '{format}' for DiskImageFormat")));
    }
    let description = params.get("Description").unwrap_or_default();
    check_description(description)?;
    let limit = context.settings().quotas.tags_per_resource;
    let tags = params.tag_specifications(&["export-image-task"], limit)?;
    let (token, fingerprint) = token_of(context);
    if let Some(id) = used_token(context, state, token.as_ref())? {
        context.end_dry_run()?;
        let task = state.exports.get(&id);
        return Ok(task.map(|task| answer(context, task)).unwrap_or_default());
    }
    let image = context.image(state, params.required("ImageId")?)?.clone();
    let role = params.get("RoleName").filter(|role| !role.is_empty()).unwrap_or("vmimport");
    context.authorise([context.on_image(&image), new_task(context, tags.get("export-image-task"))])?;
    check_bucket(bucket, context, facts)?;
    check_image(context, state, &image)?;
    check_concurrency(context, state, &image)?;
    check_role(context, state, role)?;
    context.authorise_tags(&tags)?;
    implied(context, bucket, role)?;
    context.end_dry_run()?;

    let prefix = params.structure("S3ExportLocation").get("S3Prefix").unwrap_or_default().to_owned();
    let id = state.new_id("export-ami");
    let speed = context.settings().export_mib_per_second;
    let task = ExportTask {
        key: format!("{prefix}{id}.{}", format.to_lowercase()),
        id: id.clone(),
        account: context.account().into(),
        region: context.region().into(),
        description: description.into(),
        format: format.into(),
        bucket: bucket.into(),
        prefix,
        role: role.into(),
        tags: tags.get("export-image-task").cloned().unwrap_or_default(),
        started: context.now,
        ends: later(context.now, duration(context.settings(), state.used_bytes(&image), speed)),
        image_id: image.id,
        visible_at: context.visible_at(),
        status: "active".into(),
        message: None,
        fail: context.caller.fail_task.clone(),
    };
    let xml = answer(context, &task);
    state.exports.insert(id.clone(), task);
    if let Some(key) = token {
        state.tokens.insert(key, Token { parameters: fingerprint, result: id });
    }
    Ok(xml)
}

fn new_task(context: &Context<'_>, tags: Option<&Tags>) -> Request {
    let arn = format!("arn:aws:ec2:{}:{}:export-image-task/*", context.region(), context.account());
    match tags {
        Some(tags) => context.on(arn).request_tags(tags),
        None => context.on(arn),
    }
}

fn not_exportable(why: impl Into<String>) -> Ec2Error {
    Ec2Error::new("NotExportable", why)
}

fn check_bucket(name: &str, context: &Context<'_>, facts: &Result<BucketFacts, ObjectError>) -> Answer<()> {
    let refused = |why: String| Err(Ec2Error::new("InvalidParameter", why));
    match facts {
        Err(ObjectError::Other(text)) => Err(Ec2Error::new("InternalError", text)),
        Err(_) => refused(format!("The given S3 bucket {name} does not exist")),
        Ok(facts) if facts.region != context.region() => {
            refused(format!("The given S3 bucket {name} is in region {}, not {}", facts.region, context.region()))
        }
        Ok(facts) if facts.owner != context.account() => {
            refused(format!("The given S3 bucket {name} is not owned by account {}", context.account()))
        }
        Ok(facts) if facts.kms => {
            refused(format!("The given S3 bucket {name} is encrypted with SSE-KMS: only SSE-S3 is supported"))
        }
        Ok(_) => Ok(()),
    }
}

fn check_image(context: &Context<'_>, state: &State, image: &Image) -> Answer<()> {
    let id = &image.id;
    if image.account != context.account() {
        return Err(not_exportable(format!("The image {id} is shared from another account")));
    }
    if image.state != "available" {
        let message = format!("The image {id} is not available: its state is {}", image.state);
        return Err(Ec2Error::new(&context.choices().image_not_available_code, message));
    }
    if image.machine.root_device_type != "ebs" {
        return Err(not_exportable(format!("The image {id} is not EBS-backed")));
    }
    if image.machine.platform_details != "Linux/UNIX" {
        let details = &image.machine.platform_details;
        return Err(not_exportable(format!("The image {id} contains AWS-provided software: {details}")));
    }
    if image.machine.architecture != "x86_64" && image.machine.architecture != "i386" {
        return Err(not_exportable(format!("The image {id} has architecture {}", image.machine.architecture)));
    }
    let largest = context.settings().quotas.largest_exported_volume_gib;
    for device in &image.devices {
        let snapshot = state.snapshots.get(&device.snapshot_id);
        let snapshot = snapshot.ok_or_else(|| Ec2Error::no_snapshot(&[&device.snapshot_id]))?;
        if snapshot.encrypted {
            return Err(not_exportable(format!("The image {id} has the encrypted snapshot {}", snapshot.id)));
        }
        if device.size_gib > largest {
            let size = device.size_gib;
            return Err(not_exportable(format!("The image {id} has a volume of {size} GiB: at most {largest} GiB")));
        }
    }
    Ok(())
}

fn check_concurrency(context: &Context<'_>, state: &State, image: &Image) -> Answer<()> {
    let here = |task: &&ExportTask| {
        task.account == context.account() && task.region == context.region() && task.status == "active"
    };
    let active: Vec<&ExportTask> = state.exports.values().filter(here).collect();
    let choices = context.choices();
    if let Some(task) = active.iter().find(|task| task.image_id == image.id) {
        let message = format!("The image {} is being exported already by {}", image.id, task.id);
        return Err(Ec2Error::new(&choices.export_busy_image_code, message));
    }
    let limit = context.settings().quotas.concurrent_exports;
    if active.len() >= limit {
        let message = format!("{limit} conversion tasks are active in this region already");
        return Err(Ec2Error::new(&choices.export_over_limit_code, message));
    }
    Ok(())
}

fn check_role(context: &Context<'_>, state: &State, role: &str) -> Answer<()> {
    let roles = state.owner(context.account()).and_then(|owner| owner.roles.as_ref());
    if roles.is_none_or(|roles| roles.iter().any(|known| known == role)) {
        return Ok(());
    }
    let message = format!(
        "The service role {role} does not exist or does not have sufficient permissions for the service to continue."
    );
    Err(Ec2Error::new("InvalidParameter", message))
}

/// What the service does with its caller's rights before it starts.
fn implied(context: &Context<'_>, bucket: &str, role: &str) -> Answer<()> {
    let arn = format!("arn:aws:iam::{}:role/{role}", context.account());
    let pass = Request::new("iam:PassRole", arn).with("iam:PassedToService", "vmie.amazonaws.com");
    if !context.implied(&pass) {
        return Err(Ec2Error::unauthorised(&pass.action, &pass.resource));
    }
    let bucket_arn = format!("arn:aws:s3:::{bucket}");
    let wanted = [
        Request::new("ec2:DescribeImages", "*"),
        Request::new("ec2:DescribeSnapshots", "*"),
        Request::new("s3:GetBucketLocation", bucket_arn.clone()),
        Request::new("s3:GetObject", format!("{bucket_arn}/*")),
        Request::new("s3:PutObject", format!("{bucket_arn}/*")),
    ];
    match super::store::first_denied(context, &wanted) {
        None => Ok(()),
        Some(why) => Err(Ec2Error::new(
            "InvalidParameter",
            format!(
                "Insufficient permissions - please verify bucket ownership and write permissions on the bucket. {why}"
            ),
        )),
    }
}

fn write(context: &Context<'_>, xml: &mut Xml, task: &ExportTask) {
    xml.unless_empty("description", &task.description);
    xml.text("exportImageTaskId", &task.id);
    xml.text("imageId", &task.image_id);
    let (mut message, mut percent) = (task.message.clone(), None);
    if task.status == "active" {
        let done = progress(task.started, task.ends, context.now);
        percent = Some(done);
        message = Some(["validating", "updating", "converting"][usize::try_from(done / 34).unwrap_or(0).min(2)].into());
    }
    xml.maybe("progress", percent);
    xml.group("s3ExportLocation", |xml| {
        xml.text("s3Bucket", &task.bucket);
        xml.unless_empty("s3Prefix", &task.prefix);
    });
    xml.text("status", &task.status);
    xml.maybe("statusMessage", message);
    xml.tags(&task.tags);
}

/// What ExportImage itself answers: as described, and the format and the role.
fn answer(context: &Context<'_>, task: &ExportTask) -> Xml {
    let mut xml = Xml::default();
    write(context, &mut xml, task);
    xml.text("diskImageFormat", &task.format);
    xml.text("roleName", &task.role);
    xml
}

pub(super) fn describe(context: &Context<'_>, state: &State) -> Answer<Xml> {
    context.authorise_listing()?;
    let params = &context.params;
    let filters = Filters::read(params, &["task-state", "tag-key"])?;
    let page = Page::read(context, (1, 500))?;
    let ids = params.list("ExportImageTaskId");
    let seen: Vec<&ExportTask> = state
        .exports
        .values()
        .filter(|task| task.account == context.account() && task.region == context.region())
        .filter(|task| task.visible_at <= context.now)
        .collect();
    for id in &ids {
        check_id(id, "export-ami", "InvalidExportTaskID.Malformed")?;
        if !seen.iter().any(|task| task.id == *id) {
            return Err(no_task(id));
        }
    }
    context.end_dry_run()?;
    let chosen = |task: &&ExportTask| {
        (ids.is_empty() || ids.contains(&task.id.as_str())) && filters.hold(&task.tags, |_| vec![task.status.clone()])
    };
    let (found, next) = page.cut(seen.into_iter().filter(chosen), |task| task.id.clone());
    let mut xml = Xml::default();
    xml.items("exportImageTaskSet", found, |xml, task| write(context, xml, task));
    xml.maybe("nextToken", next);
    Ok(xml)
}

fn no_task(id: &str) -> Ec2Error {
    Ec2Error::new("InvalidExportTaskID.NotFound", format!("The export task ID '{id}' does not exist"))
}

pub(super) fn cancel(context: &Context<'_>, state: &mut State) -> Answer<Xml> {
    let id = context.params.required("ExportTaskId")?;
    check_id(id, "export-ami", "InvalidExportTaskID.Malformed")?;
    let ours = |task: &&ExportTask| {
        task.account == context.account() && task.region == context.region() && task.visible_at <= context.now
    };
    let task = state.exports.get(id).filter(ours).ok_or_else(|| no_task(id))?;
    let arn = format!("arn:aws:ec2:{}:{}:export-image-task/{id}", context.region(), context.account());
    context.authorise([context.on(arn).resource_tags(&task.tags)])?;
    if task.status != "active" {
        let message = format!("The export task {id} cannot be cancelled: its status is {}", task.status);
        return Err(Ec2Error::new("IncorrectState", message));
    }
    context.end_dry_run()?;
    let ends = later(context.now, duration(context.settings(), 0, 1));
    if let Some(task) = state.exports.get_mut(id) {
        task.status = "deleting".into();
        task.message = Some("Cancelled by user".into());
        task.ends = ends;
    }
    Ok(done())
}
