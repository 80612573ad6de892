//! Owns CreateStoreImageTask and DescribeStoreImageTasks.

use jiff::{SignedDuration, Timestamp};

use super::context::Context;
use super::copy::may_use_key;
use super::envelope;
use super::errors::{Answer, Ec2Error};
use super::filters::{Filters, Page};
use super::xml::Xml;
use crate::account::{DescribedBucket, RoleNeeds, SecondStore, StoredBytes};
use crate::objects::{BucketFacts, ObjectError};
use crate::permissions::Request;
use crate::world::state::{GB, GIB, State, duration, later, progress};
use crate::world::{Image, Snapshot, StoreTask, Tags};

/// Where an image is to be stored.
struct Target {
    bucket: String,
    as_given: String,
    key: String,
    taken: bool,
    facts: Result<BucketFacts, ObjectError>,
}

pub(super) async fn create(context: &Context<'_>) -> Answer<Xml> {
    let image_id = context.params.required("ImageId")?;
    let as_given = context.params.required("Bucket")?.to_owned();
    let (bucket, path) = as_given.split_once('/').unwrap_or((&as_given, ""));
    let path = path.trim_matches('/');
    let key = if path.is_empty() { format!("{image_id}.bin") } else { format!("{path}/{image_id}.bin") };
    let bucket = bucket.to_owned();
    let facts = context.ec2.objects.bucket(&bucket).await;
    let taken = facts.is_ok() && context.ec2.objects.exists(&bucket, &key).await.unwrap_or(false);
    let target = Target { bucket, as_given, key, taken, facts };
    context.ec2.world.with(|state| create_at(context, state, &target))
}

fn create_at(context: &Context<'_>, state: &mut State, target: &Target) -> Answer<Xml> {
    let image = context.image(state, context.params.required("ImageId")?)?.clone();
    let tags = object_tags(context)?;
    context.authorise([context.on_image(&image)])?;
    check_bucket(context, &target.bucket, &target.facts)?;
    let snapshots = check_image(context, state, &image)?;
    check_size(context, &image, &snapshots)?;
    check_second(context, state, &image, target)?;
    let quota_bytes = quota_bytes(context, &image.devices.iter().map(|device| device.size_gib).sum(), &snapshots);
    check_quota(context, state)?;
    context.end_dry_run()?;

    let denied = implied(context, target, &snapshots, !tags.is_empty());
    let used = snapshots.iter().map(|snapshot| snapshot.used_bytes).sum();
    let by_id = snapshots.iter().map(|snapshot| (snapshot.id.clone(), snapshot.clone())).collect();
    let mut object = envelope::stored_object(&image, &by_id, context.account(), context.now);
    object.tags = tags;
    let number = state.store_tasks.last().map_or(1, |last| last.number + 1);
    state.store_tasks.push(StoreTask {
        number,
        account: context.account().into(),
        region: context.region().into(),
        image_id: image.id,
        bucket: target.bucket.clone(),
        bucket_as_given: target.as_given.clone(),
        key: target.key.clone(),
        started: context.now,
        ends: later(context.now, duration(context.settings(), used, context.settings().store_mib_per_second)),
        visible_at: context.visible_at(),
        quota_bytes,
        snapshots: snapshots.into_iter().map(|snapshot| snapshot.id).collect(),
        state: "InProgress".into(),
        failure: None,
        fail: context.caller.fail_task.clone().or(denied),
        object,
    });
    let mut xml = Xml::default();
    xml.text("objectKey", &target.key);
    Ok(xml)
}

fn object_tags(context: &Context<'_>) -> Answer<Tags> {
    let mut tags = Tags::new();
    for tag in context.params.structures("S3ObjectTag") {
        let (key, value) = (tag.required("Key")?, tag.get("Value").unwrap_or_default());
        if key.to_ascii_lowercase().starts_with("aws:") {
            return Err(Ec2Error::invalid(format!("S3 object tag keys may not start with aws: '{key}'")));
        }
        if key.chars().count() > 128 || value.chars().count() > 256 {
            return Err(Ec2Error::invalid("S3 object tags hold keys of 128 and values of 256 characters at most"));
        }
        tags.insert(key.into(), value.into());
    }
    if tags.len() > 10 {
        return Err(Ec2Error::invalid("An S3 object has at most 10 tags"));
    }
    Ok(tags)
}

/// The bucket must exist, in the Region of the call.
pub(super) fn check_bucket(context: &Context<'_>, name: &str, facts: &Result<BucketFacts, ObjectError>) -> Answer<()> {
    let choices = context.choices();
    match facts {
        Err(ObjectError::NoSuchBucket | ObjectError::NoSuchKey) => {
            Err(Ec2Error::new(&choices.missing_bucket_code, format!("The specified bucket {name} does not exist")))
        }
        Err(ObjectError::Other(text)) => Err(Ec2Error::new("InternalError", text)),
        Ok(facts) if facts.region != context.region() => Err(Ec2Error::new(
            &choices.bucket_elsewhere_code,
            format!("The bucket {name} is in region {}: it must be in region {}", facts.region, context.region()),
        )),
        Ok(_) => Ok(()),
    }
}

/// Whether the image can be stored by this caller at all; gives its snapshots.
fn check_image(context: &Context<'_>, state: &State, image: &Image) -> Answer<Vec<Snapshot>> {
    let choices = context.choices();
    let refused = |why: String| Err(Ec2Error::new(&choices.unstorable_image_code, why));
    if image.machine.root_device_type != "ebs" {
        return refused(format!("The image {} is not EBS-backed: only EBS-backed AMIs can be stored", image.id));
    }
    if image.machine.virtualization_type == "paravirtual" {
        return refused(format!("The image {} is paravirtual: paravirtual AMIs cannot be stored", image.id));
    }
    if image.state != "available" {
        let message = format!("The image {} is not available: its state is {}", image.id, image.state);
        return Err(Ec2Error::new(&choices.image_not_available_code, message));
    }
    let account = context.account();
    if image.account != account && !image.shared_with(account) {
        return refused(format!("The image {} is public and not shared with account {account}", image.id));
    }
    let mut snapshots = Vec::new();
    for device in &image.devices {
        let id = &device.snapshot_id;
        let snapshot = state.snapshots.get(id).ok_or_else(|| Ec2Error::no_snapshot(&[id]))?;
        if !snapshot.usable_by(account) {
            return refused(format!("The snapshot {id} of image {} is not shared with account {account}", image.id));
        }
        snapshots.push(snapshot.clone());
    }
    Ok(snapshots)
}

fn check_size(context: &Context<'_>, image: &Image, snapshots: &[Snapshot]) -> Answer<()> {
    let limit = context.settings().quotas.largest_stored_image_gb;
    let bytes: u64 = snapshots.iter().map(|snapshot| snapshot.size_gib * GIB).sum();
    if bytes <= limit * GB {
        return Ok(());
    }
    let message = format!("The image {} has {} GB: at most {limit} GB can be stored", image.id, bytes / GB);
    Err(Ec2Error::new(&context.choices().unstorable_image_code, message))
}

fn check_second(context: &Context<'_>, state: &State, image: &Image, target: &Target) -> Answer<()> {
    let choices = context.choices();
    if choices.second_store == SecondStore::Overwrites {
        return Ok(());
    }
    let same = |task: &&StoreTask| {
        task.bucket == target.bucket
            && task.image_id == image.id
            && task.state != "Failed"
            && (task.key == target.key || !choices.second_store_per_key)
    };
    // A completed task whose object has been removed since stands in nobody's way.
    let running = state
        .store_tasks
        .iter()
        .filter(same)
        .any(|task| task.state == "InProgress" || (task.key != target.key && task.account == context.account()));
    if !running && !target.taken {
        return Ok(());
    }
    let message = format!("The image {} is already stored in bucket {}", image.id, target.bucket);
    Err(Ec2Error::new(&choices.second_store_code, message))
}

/// The bytes that count against a quota.
pub(super) fn quota_bytes(context: &Context<'_>, volume_gib: &u64, snapshots: &[Snapshot]) -> u64 {
    match context.choices().gigabytes_count {
        StoredBytes::Volume => volume_gib * GIB,
        StoredBytes::Written => snapshots.iter().map(|snapshot| snapshot.used_bytes).sum(),
    }
}

fn check_quota(context: &Context<'_>, state: &State) -> Answer<()> {
    let choices = context.choices();
    let counts = |task: &&StoreTask| {
        task.state == "InProgress"
            && task.account == context.account()
            && (task.region == context.region() || !choices.quotas_per_region)
    };
    let running: u64 = state.store_tasks.iter().filter(counts).map(|task| task.quota_bytes).sum();
    let limit = context.settings().quotas.store_in_progress_gb;
    // A task is accepted while the total is below the limit, however large it is itself.
    if running < limit * GB {
        return Ok(());
    }
    let message = format!("{} GB are being stored in this account: the limit is {limit} GB", running / GB);
    Err(Ec2Error::new(&choices.store_over_quota_code, message))
}

/// Asks for everything that the task does with its caller's rights; gives why it will fail.
fn implied(context: &Context<'_>, target: &Target, snapshots: &[Snapshot], tagged: bool) -> Option<String> {
    let everything = context.choices().store_and_restore_need == RoleNeeds::Everything;
    let mut wanted = object_requests(target, everything, tagged);
    for snapshot in snapshots {
        let mut actions = vec!["ListSnapshotBlocks", "GetSnapshotBlock"];
        if everything {
            actions.extend(["ListChangedBlocks", "StartSnapshot", "PutSnapshotBlock", "CompleteSnapshot"]);
        }
        let arn = super::context::snapshot_arn(&snapshot.region, &snapshot.id);
        let ask = |action| Request::new(format!("ebs:{action}"), arn.clone()).resource_tags(&snapshot.tags);
        wanted.extend(actions.into_iter().map(ask));
    }
    wanted.extend(ec2_requests(context, everything));
    let keys = snapshots.iter().filter_map(|snapshot| snapshot.kms_key_id.as_deref());
    let mut denied = first_denied(context, &wanted);
    for key in keys {
        if !may_use_key(context, key, &["Decrypt", "DescribeKey"]) {
            denied = denied.or_else(|| Some(format!("Access Denied: kms:Decrypt on {key}")));
        }
    }
    if target.facts.as_ref().is_ok_and(|facts| facts.kms) {
        // Which key the bucket uses is not known here, so these are written down and never refused.
        context.implied_free("kms:GenerateDataKey", "*");
        context.implied_free("kms:Decrypt", "*");
    }
    denied
}

fn object_requests(target: &Target, everything: bool, tagged: bool) -> Vec<Request> {
    let bucket = format!("arn:aws:s3:::{}", target.bucket);
    let object = format!("{bucket}/{}", target.key);
    let mut actions = vec!["PutObject", "AbortMultipartUpload"];
    if tagged || everything {
        actions.push("PutObjectTagging");
    }
    if everything {
        actions.extend(["GetObject", "DeleteObject"]);
    }
    let on_object = actions.into_iter().map(|action| Request::new(format!("s3:{action}"), object.clone()));
    let wanted = on_object.chain([Request::new("s3:ListBucket", bucket)]);
    match &target.facts {
        Ok(facts) => wanted.map(|request| request.with("aws:ResourceAccount", &facts.owner)).collect(),
        Err(_) => wanted.collect(),
    }
}

/// The EC2 actions that AWS's example policy lists beside the tasks themselves.
fn ec2_requests(context: &Context<'_>, everything: bool) -> Vec<Request> {
    let mut wanted = vec![Request::new("ec2:DescribeTags", "*")];
    if everything {
        wanted.push(Request::new("ec2:GetEbsEncryptionByDefault", "*"));
        let arn = super::context::snapshot_arn(context.region(), "*");
        wanted.push(Request::new("ec2:CreateTags", arn).with("ec2:CreateAction", context.action));
    }
    wanted
}

/// Asks for everything, and says what is the first that the caller may not do.
pub(super) fn first_denied(context: &Context<'_>, wanted: &[Request]) -> Option<String> {
    let mut denied = None;
    for request in wanted {
        if !context.implied(request) && denied.is_none() {
            denied = Some(format!("Access Denied: {} on {}", request.action, request.resource));
        }
    }
    denied
}

pub(super) fn describe(context: &Context<'_>, state: &State) -> Answer<Xml> {
    context.authorise_listing()?;
    let params = &context.params;
    let filters = Filters::read(params, &["task-state", "bucket"])?;
    let page = Page::read(context, (1, 200))?;
    let ids = params.list("ImageId");
    if ids.len() > 20 {
        return Err(Ec2Error::invalid("At most 20 image ids can be specified"));
    }
    if !ids.is_empty() && page.sized() {
        return Err(Ec2Error::combination("The parameter imageIds cannot be used with the parameter maxResults"));
    }
    for id in &ids {
        super::context::check_id(id, "ami", "InvalidAMIID.Malformed")?;
        let stored = |task: &StoreTask| task.image_id == *id && task.account == context.account();
        if let (Some(code), false) = (&context.choices().never_stored_code, state.store_tasks.iter().any(stored)) {
            return Err(Ec2Error { code: code.clone(), ..Ec2Error::no_image(&[*id]) });
        }
    }
    context.end_dry_run()?;
    let history = SignedDuration::from_hours(24 * context.settings().quotas.store_task_history_days);
    let oldest = context.now.checked_sub(history).unwrap_or(Timestamp::MIN);
    let chosen = |task: &&StoreTask| {
        task.account == context.account()
            && task.region == context.region()
            && task.visible_at <= context.now
            && task.started >= oldest
            // Filters are passed over when ids are given.
            && if ids.is_empty() {
                filters.hold(&Tags::new(), |name| match name {
                    "task-state" => vec![task.state.clone()],
                    _ => vec![bucket_shown(context, task)],
                })
            } else {
                ids.contains(&task.image_id.as_str())
            }
    };
    let newest_first: Vec<&StoreTask> = state.store_tasks.iter().rev().filter(chosen).collect();
    let (found, next) = page.cut(newest_first, |task| format!("{:020}", u64::MAX - task.number));
    let mut xml = Xml::default();
    xml.items("storeImageTaskResultSet", found, |xml, task| write(context, xml, task));
    xml.maybe("nextToken", next);
    Ok(xml)
}

fn bucket_shown(context: &Context<'_>, task: &StoreTask) -> String {
    match context.choices().described_bucket {
        DescribedBucket::Name => task.bucket.clone(),
        DescribedBucket::Path => task.bucket_as_given.clone(),
    }
}

fn write(context: &Context<'_>, xml: &mut Xml, task: &StoreTask) {
    let percent = match task.state.as_str() {
        "Completed" => 100,
        _ => progress(task.started, task.ends, context.now),
    };
    xml.text("amiId", &task.image_id);
    xml.moment("taskStartTime", task.started);
    xml.text("bucket", bucket_shown(context, task));
    xml.text("s3objectKey", &task.key);
    xml.text("progressPercentage", percent);
    xml.text("storeTaskState", &task.state);
    xml.maybe("storeTaskFailureReason", task.failure.as_ref());
}
