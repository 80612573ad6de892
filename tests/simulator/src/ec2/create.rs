//! Owns CreateImage, and what makers of images have in common.

use std::collections::BTreeMap;

use jiff::SignedDuration;

use super::context::{Context, check_id};
use super::errors::{Answer, Ec2Error};
use super::params::Params;
use super::xml::Xml;
use crate::permissions::Request;
use crate::world::state::{Protection, State, Volume, Work, WorkKind, duration, later};
use crate::world::{Device, Image, Instance, Snapshot, Tags};

/// Refuses a name that is too short or too long, or has other than EC2's characters.
pub(super) fn check_name(name: &str) -> Answer<()> {
    let allowed = |one: char| one.is_ascii_alphanumeric() || "()[] ./-'@_".contains(one);
    if (3..=128).contains(&name.chars().count()) && name.chars().all(allowed) {
        return Ok(());
    }
    Err(Ec2Error::new(
        "InvalidAMIName.Malformed",
        "AMI names must be between 3 and 128 characters long, and may contain letters, numbers, '(', ')', '[', ']', \
         ' ', '.', '/', '-', ''', '@' and '_'",
    ))
}

/// Refuses a name that an image of the caller in this Region has.
pub(super) fn check_name_free(context: &Context<'_>, state: &State, name: &str) -> Answer<()> {
    let taken = state
        .images
        .values()
        .find(|image| image.account == context.account() && image.region == context.region() && image.name == name);
    let taken = taken.map(|image| image.id.as_str()).or_else(|| still_taken(context, state, name));
    match taken {
        None => Ok(()),
        Some(id) => {
            let message = format!("AMI name {name} is already in use by AMI {id}");
            Err(Ec2Error::new("InvalidAMIName.Duplicate", message))
        }
    }
}

/// A deregistered image whose name is not free again yet.
fn still_taken<'s>(context: &Context<'_>, state: &'s State, name: &str) -> Option<&'s str> {
    let wait = i64::try_from(context.choices().name_stays_taken_ms).unwrap_or(i64::MAX / 2);
    let taken = state.gone_images.iter().find(|(_, gone)| {
        gone.account == context.account()
            && gone.region == context.region()
            && gone.name == name
            && context.now < later(gone.at, SignedDuration::from_millis(wait))
    });
    taken.map(|(id, _)| id.as_str())
}

/// Refuses a description that is too long.
pub(super) fn check_description(description: &str) -> Answer<()> {
    if description.chars().count() > 255 {
        return Err(Ec2Error::invalid("Description exceeds the maximum length of 255 characters"));
    }
    Ok(())
}

/// Work of this call on `bytes` at a speed, which fails if a fault rule says so.
pub(super) fn work(context: &Context<'_>, kind: WorkKind, bytes: u64, mib_per_second: u64) -> Work {
    Work {
        kind,
        started: context.now,
        ends: later(context.now, duration(context.settings(), bytes, mib_per_second)),
        quota_bytes: 0,
        fail: context.caller.fail_task.clone(),
    }
}

/// `<imageId>` alone.
pub(super) fn image_id(id: &str) -> Xml {
    let mut xml = Xml::default();
    xml.text("imageId", id);
    xml
}

pub(super) fn create(context: &Context<'_>, state: &mut State) -> Answer<Xml> {
    let params = &context.params;
    let name = params.required("Name")?;
    check_name(name)?;
    let description = params.get("Description").unwrap_or_default();
    check_description(description)?;
    let limit = context.settings().quotas.tags_per_resource;
    let tags = params.tag_specifications(&["image", "snapshot"], limit)?;
    let instance = find_instance(context, state, params.required("InstanceId")?)?;
    authorise(context, instance, &tags)?;
    let chosen = volumes(instance, &params.structures("BlockDeviceMapping"))?;
    check_instance(instance)?;
    check_name_free(context, state, name)?;
    let reboots = !params.flag("NoReboot")? && instance.state == "running";
    context.end_dry_run()?;

    let instance = instance.clone();
    let bytes = chosen.iter().map(|volume| volume.used_bytes).sum();
    let work = work(context, WorkKind::Create, bytes, context.settings().image_mib_per_second);
    let id = state.new_id("ami");
    let snapshot_tags = tags.get("snapshot").cloned().unwrap_or_default();
    let mut devices = Vec::new();
    for volume in &chosen {
        let snapshot = Snapshot {
            description: format!("Created by CreateImage({}) for {id}", instance.id),
            tags: snapshot_tags.clone(),
            work: Some(work.clone()),
            ..snapshot_of(context, state.new_id("snap"), volume)
        };
        devices.push(device_of(volume, &snapshot.id));
        state.snapshots.insert(snapshot.id.clone(), snapshot);
    }
    let image = Image {
        name: name.into(),
        description: description.into(),
        tags: tags.get("image").cloned().unwrap_or_default(),
        source_instance_id: Some(instance.id.clone()),
        // The ancestor of an image of an instance is the image that the instance came from.
        source_image: Some((instance.image_id.clone(), instance.region.clone())),
        machine: instance.machine.clone(),
        devices,
        work: Some(work),
        ..new_image(context, id.clone())
    };
    state.images.insert(id.clone(), image);
    if let Some(instance) = state.instances.get_mut(&instance.id).filter(|_| reboots) {
        instance.reboots += 1;
    }
    Ok(image_id(&id))
}

/// An image of the caller with nothing in it yet.
pub(super) fn new_image(context: &Context<'_>, id: String) -> Image {
    Image {
        id,
        account: context.account().into(),
        region: context.region().into(),
        name: String::new(),
        description: String::new(),
        tags: Tags::new(),
        state: "pending".into(),
        state_reason: None,
        launch_permissions: Default::default(),
        created: context.now,
        deprecate_at: None,
        protection: Protection::Off,
        last_launched: None,
        launches: Vec::new(),
        product_codes: Vec::new(),
        owner_alias: None,
        source_instance_id: None,
        source_image: None,
        machine: Default::default(),
        devices: Vec::new(),
        visible_at: context.visible_at(),
        work: None,
    }
}

/// A pending snapshot of a volume.
pub(super) fn snapshot_of(context: &Context<'_>, id: String, volume: &Volume) -> Snapshot {
    Snapshot {
        id,
        account: context.account().into(),
        region: context.region().into(),
        description: String::new(),
        tags: Tags::new(),
        volume_id: volume.id.clone(),
        size_gib: volume.size_gib,
        used_bytes: volume.used_bytes,
        encrypted: volume.encrypted,
        kms_key_id: volume.kms_key_id.clone(),
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

fn device_of(volume: &Volume, snapshot_id: &str) -> Device {
    Device {
        name: volume.device.clone(),
        snapshot_id: snapshot_id.into(),
        size_gib: volume.size_gib,
        volume_type: volume.volume_type.clone(),
        iops: volume.iops,
        throughput: volume.throughput,
        delete_on_termination: volume.delete_on_termination,
        encrypted: volume.encrypted,
    }
}

fn find_instance<'s>(context: &Context<'_>, state: &'s State, id: &str) -> Answer<&'s Instance> {
    check_id(id, "i", "InvalidInstanceID.Malformed")?;
    let seen = |instance: &&Instance| context.sees_instance(instance);
    state.instances.get(id).filter(seen).ok_or_else(|| Ec2Error::no_instance(&[id]))
}

fn authorise(context: &Context<'_>, instance: &Instance, tags: &BTreeMap<String, Tags>) -> Answer<()> {
    let arn = format!("arn:aws:ec2:{}:{}:instance/{}", instance.region, instance.account, instance.id);
    let on_instance: Request = context.on(arn).resource_tags(&instance.tags);
    context.authorise([
        on_instance,
        context.on_new("image", tags.get("image")),
        context.on_new("snapshot", tags.get("snapshot")),
    ])?;
    context.authorise_tags(tags)
}

fn check_instance(instance: &Instance) -> Answer<()> {
    if !["running", "stopping", "stopped"].contains(&instance.state.as_str()) {
        let message = format!(
            "The instance '{}' is not in a valid state ('{}') for this operation.",
            instance.id, instance.state
        );
        return Err(Ec2Error::new("IncorrectInstanceState", message));
    }
    if instance.machine.root_device_type != "ebs" {
        let message = format!("The instance {} does not have an 'ebs' root device type", instance.id);
        return Err(Ec2Error::new("InvalidParameterValue", message));
    }
    Ok(())
}

/// The volumes of the instance, as the mappings of the call change them.
fn volumes(instance: &Instance, mappings: &[Params]) -> Answer<Vec<Volume>> {
    let mut chosen = instance.volumes.clone();
    for mapping in mappings {
        let device = mapping.required("DeviceName")?;
        let refused = |what: &str| {
            Err(Ec2Error::new("InvalidBlockDeviceMapping", format!("{what} cannot be specified for device {device}")))
        };
        let Some(at) = chosen.iter().position(|volume| volume.device == device) else {
            return refused("A mapping that the instance does not have");
        };
        if mapping.get("NoDevice").is_some() {
            if device == instance.machine.root_device_name {
                return refused("NoDevice");
            }
            chosen.remove(at);
            continue;
        }
        let ebs = mapping.structure("Ebs");
        for field in ["Encrypted", "KmsKeyId", "OutpostArn", "VolumeInitializationRate"] {
            if ebs.get(field).is_some() {
                return refused(field);
            }
        }
        let size = ebs.number("VolumeSize")?;
        if size.is_some_and(|size| chosen.get(at).is_none_or(|volume| volume.size_gib != size)) {
            return refused("Another VolumeSize");
        }
        if let (Some(keep), Some(volume)) = (ebs.maybe_flag("DeleteOnTermination")?, chosen.get_mut(at)) {
            volume.delete_on_termination = keep;
        }
    }
    Ok(chosen)
}
