//! Owns RegisterImage.

use super::context::{Context, check_id};
use super::create::{check_description, check_name, check_name_free, image_id, new_image};
use super::errors::{Answer, Ec2Error};
use super::params::Params;
use super::xml::Xml;
use crate::account::{Machine, StorageTier};
use crate::world::state::State;
use crate::world::{Device, Image, Snapshot};

pub(super) fn register(context: &Context<'_>, state: &mut State) -> Answer<Xml> {
    let params = &context.params;
    let name = params.required("Name")?;
    check_name(name)?;
    let description = params.get("Description").unwrap_or_default();
    check_description(description)?;
    let tags = params.tag_specifications(&["image"], context.settings().quotas.tags_per_resource)?;
    let machine = machine(params)?;
    let devices = devices(context, state, &params.structures("BlockDeviceMapping"))?;
    if !devices.iter().any(|device| device.name == machine.root_device_name) {
        let message = format!("No snapshot is mapped to the root device '{}'", machine.root_device_name);
        return Err(Ec2Error::new("InvalidBlockDeviceMapping", message));
    }
    let snapshots = devices.iter().filter_map(|device| state.snapshots.get(&device.snapshot_id));
    let on_snapshots = snapshots.map(|snapshot| context.on_snapshot(snapshot));
    context.authorise(on_snapshots.chain([context.on_new("image", tags.get("image"))]))?;
    context.authorise_tags(&tags)?;
    check_name_free(context, state, name)?;
    context.end_dry_run()?;

    let id = state.new_id("ami");
    let mut image = Image {
        name: name.into(),
        description: description.into(),
        tags: tags.get("image").cloned().unwrap_or_default(),
        machine,
        devices,
        state: "available".into(),
        ..new_image(context, id.clone())
    };
    if let Some(reason) = &context.caller.fail_task {
        image.state = "failed".into();
        image.state_reason = Some(("Client.InternalError".into(), reason.clone()));
    }
    state.images.insert(id.clone(), image);
    Ok(image_id(&id))
}

/// The machine, with EC2's historic defaults.
fn machine(params: &Params) -> Answer<Machine> {
    let one_of = |name: &str, allowed: &[&str]| match params.get(name) {
        None => Ok(None),
        Some(value) if allowed.contains(&value) => Ok(Some(value.to_owned())),
        Some(value) => Err(Ec2Error::invalid(format!("Invalid value '{value}' for {name}"))),
    };
    let architectures = ["i386", "x86_64", "arm64", "x86_64_mac", "arm64_mac"];
    let architecture = one_of("Architecture", &architectures)?.unwrap_or_else(|| "i386".into());
    let virtualization = one_of("VirtualizationType", &["hvm", "paravirtual"])?;
    let virtualization_type = virtualization.unwrap_or_else(|| "paravirtual".into());
    let boot_mode = one_of("BootMode", &["legacy-bios", "uefi", "uefi-preferred"])?;
    if architecture == "arm64" && boot_mode.as_deref() == Some("legacy-bios") {
        return Err(Ec2Error::combination("BootMode legacy-bios is not supported for architecture arm64"));
    }
    if architecture == "arm64" && virtualization_type == "paravirtual" {
        return Err(Ec2Error::combination("Architecture arm64 requires virtualization type hvm"));
    }
    let tpm_support = one_of("TpmSupport", &["v2.0"])?;
    if tpm_support.is_some() && boot_mode.as_deref() != Some("uefi") {
        return Err(Ec2Error::combination("TpmSupport requires BootMode uefi"));
    }
    let uefi_data = params.get("UefiData").map(str::to_owned);
    if uefi_data.as_ref().is_some_and(|data| data.len() > 64_000) {
        return Err(Ec2Error::invalid("UefiData exceeds the maximum length of 64000"));
    }
    Ok(Machine {
        architecture,
        virtualization_type,
        root_device_name: params.get("RootDeviceName").unwrap_or("/dev/sda1").into(),
        root_device_type: "ebs".into(),
        ena_support: params.flag("EnaSupport")?,
        sriov_net_support: one_of("SriovNetSupport", &["simple"])?,
        boot_mode,
        tpm_support,
        imds_support: one_of("ImdsSupport", &["v2.0"])?,
        uefi_data,
        ephemeral_devices: params
            .structures("BlockDeviceMapping")
            .iter()
            .filter(|mapping| mapping.get("VirtualName").is_some())
            .map(|mapping| mapping.required("DeviceName").map(Into::into))
            .collect::<Answer<_>>()?,
        platform_details: "Linux/UNIX".into(),
        usage_operation: "RunInstances".into(),
    })
}

fn devices(context: &Context<'_>, state: &State, mappings: &[Params]) -> Answer<Vec<Device>> {
    let mut devices: Vec<Device> = Vec::new();
    for mapping in mappings {
        let name = mapping.required("DeviceName")?;
        if mapping.get("NoDevice").is_some() || mapping.get("VirtualName").is_some() {
            continue;
        }
        if devices.iter().any(|device| device.name == name) {
            let message = format!("The device '{name}' is used in more than one block-device mapping");
            return Err(Ec2Error::new("InvalidBlockDeviceMapping", message));
        }
        let ebs = mapping.structure("Ebs");
        let Some(snapshot) = ebs.get("SnapshotId") else {
            // An empty volume needs no snapshot, and no backup of it either.
            continue;
        };
        devices.push(device(context, state, name, snapshot, &ebs)?);
    }
    Ok(devices)
}

fn device(context: &Context<'_>, state: &State, name: &str, snapshot: &str, ebs: &Params) -> Answer<Device> {
    check_id(snapshot, "snap", "InvalidSnapshotID.Malformed")?;
    let here = |found: &&Snapshot| found.region == context.region() && found.visible_to(context.account(), context.now);
    let found = state.snapshots.get(snapshot).filter(here).ok_or_else(|| Ec2Error::no_snapshot(&[snapshot]))?;
    if ebs.get("Encrypted").is_some() {
        let message = "Encrypted flag cannot be specified since device /dev/xvda has a snapshot specified.";
        return Err(Ec2Error::new("InvalidBlockDeviceMapping", message.replace("/dev/xvda", name)));
    }
    if found.state != "completed" {
        let message = format!("Snapshot '{snapshot}' is not 'completed'.");
        return Err(Ec2Error::new("IncorrectState", message));
    }
    if found.tier == StorageTier::Archive {
        let message = format!("Snapshot '{snapshot}' is in the archive tier.");
        return Err(Ec2Error::new("IncorrectState", message));
    }
    let size_gib = ebs.number("VolumeSize")?.unwrap_or(found.size_gib);
    if size_gib < found.size_gib {
        let message = format!(
            "Volume of size {size_gib}GB is smaller than snapshot '{snapshot}', expect size >= {}GB",
            found.size_gib
        );
        return Err(Ec2Error::new("InvalidBlockDeviceMapping", message));
    }
    Ok(Device {
        name: name.into(),
        snapshot_id: snapshot.into(),
        size_gib,
        volume_type: ebs.get("VolumeType").unwrap_or("standard").into(),
        iops: ebs.small_number("Iops")?,
        throughput: ebs.small_number("Throughput")?,
        delete_on_termination: ebs.maybe_flag("DeleteOnTermination")?.unwrap_or(true),
        encrypted: found.encrypted,
    })
}
