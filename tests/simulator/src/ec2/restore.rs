//! Owns CreateRestoreImageTask.

use std::collections::BTreeMap;

use super::context::{Context, snapshot_arn};
use super::copy::may_use_key;
use super::create::{check_name, check_name_free, image_id, new_image, work};
use super::envelope::{self, StoredDevice, StoredImage};
use super::errors::{Answer, Ec2Error};
use super::regions::encrypts_by_default;
use super::store::{check_bucket, first_denied};
use super::xml::Xml;
use crate::account::{RoleNeeds, StoredBytes};
use crate::objects::{ObjectError, StoredObject};
use crate::permissions::Request;
use crate::world::state::{GB, GIB, State, Work, WorkKind};
use crate::world::{Device, Image, Snapshot, Tags};

/// What the new snapshots need of the key that they are encrypted with.
const KEY_ACTIONS: &[&str] =
    &["CreateGrant", "Decrypt", "DescribeKey", "GenerateDataKeyWithoutPlaintext", "ReEncryptTo"];

pub(super) async fn create(context: &Context<'_>) -> Answer<Xml> {
    let (bucket, key) = (context.params.required("Bucket")?, context.params.required("ObjectKey")?);
    if bucket.contains('/') {
        return Err(Ec2Error::invalid(format!("Invalid bucket name {bucket}: a path belongs in ObjectKey")));
    }
    let tags =
        context.params.tag_specifications(&["image", "snapshot"], context.settings().quotas.tags_per_resource)?;
    context
        .authorise([context.on_new("image", tags.get("image")), context.on_new("snapshot", tags.get("snapshot"))])?;
    let facts = context.ec2.objects.bucket(bucket).await;
    check_bucket(context, bucket, &facts)?;
    let choices = context.choices();
    let object = match context.ec2.objects.get(bucket, key).await {
        Ok(object) => object,
        Err(ObjectError::Other(text)) => return Err(Ec2Error::new("InternalError", text)),
        Err(_) => {
            let message = format!("The specified key {key} does not exist in bucket {bucket}");
            return Err(Ec2Error::new(&choices.missing_object_code, message));
        }
    };
    if object.is_frozen() {
        let message = format!("The object {key} is in storage class {}: restore it first", object.storage_class);
        return Err(Ec2Error::new(&choices.archived_object_code, message));
    }
    let owner = facts.map(|facts| facts.owner).unwrap_or_default();
    context.ec2.world.with(|state| create_from(context, state, &object, &owner, &tags))
}

fn create_from(
    context: &Context<'_>,
    state: &mut State,
    object: &StoredObject,
    owner: &str,
    tags: &BTreeMap<String, Tags>,
) -> Answer<Xml> {
    let params = &context.params;
    context.authorise_tags(tags)?;
    let stored = envelope::decode(&object.body);
    let name = match (params.get("Name"), &stored) {
        (Some(name), _) => name.to_owned(),
        (None, Ok(stored)) => stored.name.clone(),
        // Nobody knows what the damaged object is called.
        (None, Err(_)) => format!("restore-{}", state.counter + 1),
    };
    check_name(&name)?;
    check_name_free(context, state, &name)?;
    check_quota(context, state)?;
    context.end_dry_run()?;

    let devices = stored.as_ref().map(|stored| stored.devices.clone()).unwrap_or_default();
    let bytes = devices.iter().map(|device| device.used_bytes).sum();
    let mut work = work(context, WorkKind::Restore, bytes, context.settings().restore_mib_per_second);
    work.quota_bytes = match context.choices().gigabytes_count {
        StoredBytes::Written => bytes,
        StoredBytes::Volume => devices.iter().map(|device| device.size_gib * GIB).sum(),
    };
    let denied = implied(context, owner, stored.as_ref().ok());
    work.fail = work.fail.take().or(denied).or_else(|| stored.as_ref().err().cloned());
    let id = state.new_id("ami");
    let image = match &stored {
        Ok(stored) => restored(context, state, stored, &id, tags, &mut work),
        Err(_) => new_image(context, id.clone()),
    };
    let mut image_tags = image.tags.clone();
    image_tags.extend(tags.get("image").cloned().unwrap_or_default());
    let image = Image { name, tags: image_tags, work: Some(work), ..image };
    state.images.insert(id.clone(), image);
    Ok(image_id(&id))
}

/// The image that comes out of the object; makes its snapshots.
fn restored(
    context: &Context<'_>,
    state: &mut State,
    stored: &StoredImage,
    id: &str,
    tags: &BTreeMap<String, Tags>,
    work: &mut Work,
) -> Image {
    let choices = context.choices();
    let default = encrypts_by_default(context, state);
    let mut made = Vec::new();
    for device in &stored.devices {
        let encrypted = default || (device.encrypted && choices.restore_keeps_encryption);
        let key = encrypted.then(|| context.key_arn(None));
        if key.as_deref().is_some_and(|key| !may_use_key(context, key, KEY_ACTIONS)) {
            work.fail = work.fail.take().or_else(|| Some("Given key ID is not accessible".into()));
        }
        made.push(snapshot(context, state.new_id("snap"), id, device, key, tags));
    }
    let devices = stored.devices.iter().zip(&made).map(|(device, snapshot)| Device {
        name: device.name.clone(),
        snapshot_id: snapshot.id.clone(),
        size_gib: device.size_gib,
        volume_type: device.volume_type.clone(),
        iops: device.iops,
        throughput: device.throughput,
        delete_on_termination: device.delete_on_termination,
        encrypted: snapshot.encrypted,
    });
    let mut machine = stored.machine.clone();
    machine.boot_mode = machine.boot_mode.filter(|_| choices.restore_keeps_boot_mode);
    machine.tpm_support = machine.tpm_support.filter(|_| choices.restore_keeps_tpm_support);
    machine.imds_support = machine.imds_support.filter(|_| choices.restore_keeps_imds_support);
    machine.uefi_data = machine.uefi_data.filter(|_| choices.restore_keeps_uefi_data);
    let image = Image {
        description: stored.description.clone(),
        tags: stored.tags.iter().filter(|(key, _)| !key.starts_with("aws:")).map(owned).collect(),
        deprecate_at: stored.deprecate_at.filter(|_| choices.restore_keeps_deprecation),
        source_image: Some((stored.image_id.clone(), stored.region.clone())),
        machine,
        devices: devices.collect(),
        ..new_image(context, id.into())
    };
    for mut snapshot in made {
        snapshot.work = Some(work.clone());
        state.snapshots.insert(snapshot.id.clone(), snapshot);
    }
    image
}

fn owned((key, value): (&String, &String)) -> (String, String) {
    (key.clone(), value.clone())
}

fn snapshot(
    context: &Context<'_>,
    id: String,
    image: &str,
    device: &StoredDevice,
    key: Option<String>,
    tags: &BTreeMap<String, Tags>,
) -> Snapshot {
    let mut all: Tags = device.tags.iter().filter(|(key, _)| !key.starts_with("aws:")).map(owned).collect();
    all.extend(tags.get("snapshot").cloned().unwrap_or_default());
    Snapshot {
        id,
        account: context.account().into(),
        region: context.region().into(),
        description: context.choices().restored_snapshot_description.replace("{image}", image),
        tags: all,
        volume_id: "vol-ffffffff".into(),
        size_gib: device.snapshot_size_gib,
        used_bytes: device.used_bytes,
        encrypted: key.is_some(),
        kms_key_id: key,
        started: context.now,
        completed: None,
        state: "pending".into(),
        state_message: None,
        volume_permissions: Default::default(),
        lock: None,
        tier: Default::default(),
        visible_at: context.visible_at(),
        work: None,
    }
}

fn check_quota(context: &Context<'_>, state: &State) -> Answer<()> {
    let choices = context.choices();
    let ours = |image: &&Image| {
        image.account == context.account() && (image.region == context.region() || !choices.quotas_per_region)
    };
    let restoring =
        |image: &Image| image.work.as_ref().filter(|work| work.kind == WorkKind::Restore).map(|work| work.quota_bytes);
    let running: u64 = state.images.values().filter(ours).filter_map(restoring).sum();
    let limit = context.settings().quotas.restore_in_progress_gb;
    if running < limit * GB {
        return Ok(());
    }
    let message = format!("{} GB are being restored in this account: the limit is {limit} GB", running / GB);
    Err(Ec2Error::new(&choices.restore_over_quota_code, message))
}

/// Asks for everything that the task does with its caller's rights; gives why it will fail.
fn implied(context: &Context<'_>, owner: &str, stored: Option<&StoredImage>) -> Option<String> {
    let everything = context.choices().store_and_restore_need == RoleNeeds::Everything;
    let bucket = format!("arn:aws:s3:::{}", context.params.get("Bucket").unwrap_or_default());
    let object = format!("{bucket}/{}", context.params.get("ObjectKey").unwrap_or_default());
    let snapshot = snapshot_arn(context.region(), "*");
    let mut wanted = vec![
        Request::new("s3:ListBucket", bucket),
        Request::new("s3:GetObject", object.clone()),
        Request::new("ebs:StartSnapshot", snapshot.clone()),
        Request::new("ebs:PutSnapshotBlock", snapshot.clone()),
        Request::new("ebs:CompleteSnapshot", snapshot.clone()),
        Request::new("ec2:GetEbsEncryptionByDefault", "*"),
    ];
    // Tags that come out of the object are written with the caller's rights too.
    let on_image = stored.map(|stored| stored.tags.clone()).unwrap_or_default();
    let on_snapshots = stored.into_iter().flat_map(|stored| &stored.devices).flat_map(|device| device.tags.clone());
    let image = format!("arn:aws:ec2:{}::image/*", context.region());
    for (arn, tags) in [(image, on_image), (snapshot.clone(), on_snapshots.collect())] {
        wanted.push(Request::new("ec2:CreateTags", arn).request_tags(&tags).with("ec2:CreateAction", context.action));
    }
    if everything {
        for action in ["PutObject", "PutObjectTagging", "DeleteObject", "AbortMultipartUpload"] {
            wanted.push(Request::new(format!("s3:{action}"), object.clone()));
        }
        for action in ["ListSnapshotBlocks", "GetSnapshotBlock", "ListChangedBlocks"] {
            wanted.push(Request::new(format!("ebs:{action}"), snapshot.clone()));
        }
        wanted.push(Request::new("ec2:DescribeTags", "*"));
    }
    let of = |request: Request| match request.action.starts_with("s3:") {
        true => request.with("aws:ResourceAccount", owner),
        false => request,
    };
    first_denied(context, &wanted.into_iter().map(of).collect::<Vec<_>>())
}
