//! Owns DescribeInstances and DescribeVolumes.

use super::context::{Context, check_id};
use super::errors::{Answer, Ec2Error};
use super::filters::{Filters, Page};
use super::xml::Xml;
use crate::world::state::State;
use crate::world::{Instance, Tags, state::Volume};

const FILTERS: &[&str] = &[
    "architecture",
    "block-device-mapping.volume-id",
    "image-id",
    "instance-id",
    "instance-state-name",
    "instance-type",
    "owner-id",
    "root-device-type",
    "tag-key",
];

const VOLUME_FILTERS: &[&str] =
    &["attachment.instance-id", "encrypted", "size", "status", "tag-key", "volume-id", "volume-type"];

pub(super) fn describe(context: &Context<'_>, state: &State) -> Answer<Xml> {
    context.authorise_listing()?;
    let filters = Filters::read(&context.params, FILTERS)?;
    let page = Page::read(context, (5, 1_000))?;
    let ids = context.params.list("InstanceId");
    if !ids.is_empty() && page.sized() {
        return Err(Ec2Error::combination("The parameter instancesSet cannot be used with the parameter maxResults"));
    }
    for id in &ids {
        check_id(id, "i", "InvalidInstanceID.Malformed")?;
    }
    let seen = |instance: &&Instance| context.sees_instance(instance);
    let unknown: Vec<&str> = ids.iter().copied().filter(|id| state.instances.get(*id).filter(seen).is_none()).collect();
    if !unknown.is_empty() {
        return Err(Ec2Error::no_instance(&unknown));
    }
    context.end_dry_run()?;
    let chosen = |instance: &&Instance| seen(instance) && filters.hold(&instance.tags, |name| field(instance, name));
    let (found, next) = page.cut(page.among(&state.instances, &ids).filter(chosen), |instance| instance.id.clone());
    let mut xml = Xml::default();
    xml.items("reservationSet", found, |xml, instance| {
        write_reservation(xml, instance);
        xml.items("instancesSet", [instance], write);
    });
    xml.maybe("nextToken", next);
    Ok(xml)
}

/// What a reservation says before its instances: each instance has one of its own.
pub(super) fn write_reservation(xml: &mut Xml, instance: &Instance) {
    xml.text("reservationId", instance.id.replacen("i-", "r-", 1));
    xml.text("ownerId", &instance.account);
    xml.group("groupSet", |_| {});
}

fn field(instance: &Instance, name: &str) -> Vec<String> {
    vec![match name {
        "architecture" => instance.machine.architecture.clone(),
        "block-device-mapping.volume-id" => return instance.volumes.iter().map(|volume| volume.id.clone()).collect(),
        "image-id" => instance.image_id.clone(),
        "instance-id" => instance.id.clone(),
        "instance-state-name" => instance.state.clone(),
        "instance-type" => instance.instance_type.clone(),
        "owner-id" => instance.account.clone(),
        "root-device-type" => instance.machine.root_device_type.clone(),
        _ => return Vec::new(),
    }]
}

pub(super) fn write(xml: &mut Xml, instance: &Instance) {
    let machine = &instance.machine;
    xml.text("instanceId", &instance.id);
    xml.text("imageId", &instance.image_id);
    xml.group("instanceState", |xml| {
        xml.text("code", state_code(&instance.state));
        xml.text("name", &instance.state);
    });
    xml.text("instanceType", &instance.instance_type);
    xml.moment("launchTime", instance.launched);
    xml.group("placement", |xml| {
        xml.text("availabilityZone", format!("{}a", instance.region));
        xml.text("tenancy", "default");
    });
    xml.text("architecture", &machine.architecture);
    xml.text("rootDeviceType", &machine.root_device_type);
    xml.text("rootDeviceName", &machine.root_device_name);
    xml.items("blockDeviceMapping", &instance.volumes, |xml, volume| {
        xml.text("deviceName", &volume.device);
        xml.group("ebs", |xml| {
            xml.text("volumeId", &volume.id);
            xml.text("status", "attached");
            xml.moment("attachTime", instance.launched);
            xml.text("deleteOnTermination", volume.delete_on_termination);
        });
    });
    xml.text("virtualizationType", &machine.virtualization_type);
    xml.tags(&instance.tags);
    xml.text("hypervisor", "xen");
    xml.text("enaSupport", machine.ena_support);
    xml.maybe("sriovNetSupport", machine.sriov_net_support.as_ref());
    xml.maybe("bootMode", machine.boot_mode.as_ref());
    xml.maybe("currentInstanceBootMode", machine.boot_mode.as_ref());
    xml.maybe("tpmSupport", machine.tpm_support.as_ref());
    xml.text("platformDetails", &machine.platform_details);
    xml.text("usageOperation", &machine.usage_operation);
}

/// The number of a state.
pub(super) fn state_code(state: &str) -> u8 {
    match state {
        "pending" => 0,
        "running" => 16,
        "shutting-down" => 32,
        "terminated" => 48,
        "stopping" => 64,
        _ => 80,
    }
}

pub(super) fn describe_volumes(context: &Context<'_>, state: &State) -> Answer<Xml> {
    context.authorise_listing()?;
    let filters = Filters::read(&context.params, VOLUME_FILTERS)?;
    let page = Page::read(context, (5, 1_000))?;
    let ids = context.params.list("VolumeId");
    for id in &ids {
        check_id(id, "vol", "InvalidVolumeID.Malformed")?;
    }
    let mut all: Vec<(&Instance, &Volume)> = Vec::new();
    for instance in state.instances.values() {
        if context.sees_instance(instance) {
            all.extend(instance.volumes.iter().map(|volume| (instance, volume)));
        }
    }
    if let Some(unknown) = ids.iter().find(|id| !all.iter().any(|(_, volume)| volume.id == **id)) {
        return Err(Ec2Error::new("InvalidVolume.NotFound", format!("The volume '{unknown}' does not exist.")));
    }
    context.end_dry_run()?;
    all.retain(|(instance, volume)| {
        (ids.is_empty() || ids.contains(&volume.id.as_str()))
            && filters.hold(&volume.tags, |name| volume_field(instance, volume, name))
    });
    all.sort_by(|one, other| one.1.id.cmp(&other.1.id));
    let (found, next) = page.cut(all, |(_, volume)| volume.id.clone());
    let mut xml = Xml::default();
    xml.items("volumeSet", found, |xml, (instance, volume)| write_volume(xml, instance, volume));
    xml.maybe("nextToken", next);
    Ok(xml)
}

fn volume_field(instance: &Instance, volume: &Volume, name: &str) -> Vec<String> {
    vec![match name {
        "attachment.instance-id" => instance.id.clone(),
        "encrypted" => volume.encrypted.to_string(),
        "size" => volume.size_gib.to_string(),
        "status" => "in-use".into(),
        "volume-id" => volume.id.clone(),
        "volume-type" => volume.volume_type.clone(),
        _ => return Vec::new(),
    }]
}

fn write_volume(xml: &mut Xml, instance: &Instance, volume: &Volume) {
    let tags: &Tags = &volume.tags;
    xml.text("volumeId", &volume.id);
    xml.text("size", volume.size_gib);
    xml.text("availabilityZone", format!("{}a", instance.region));
    xml.text("status", "in-use");
    xml.moment("createTime", instance.launched);
    xml.items("attachmentSet", [instance], |xml, instance| {
        xml.text("volumeId", &volume.id);
        xml.text("instanceId", &instance.id);
        xml.text("device", &volume.device);
        xml.text("status", "attached");
        xml.moment("attachTime", instance.launched);
        xml.text("deleteOnTermination", volume.delete_on_termination);
    });
    xml.tags(tags);
    xml.text("volumeType", &volume.volume_type);
    xml.maybe("iops", volume.iops);
    xml.maybe("throughput", volume.throughput);
    xml.text("encrypted", volume.encrypted);
    xml.maybe("kmsKeyId", volume.kms_key_id.as_ref());
}
