//! Owns the attributes of images and snapshots: launch permissions, descriptions, sharing.

use std::collections::BTreeSet;

use super::context::Context;
use super::errors::{Answer, Ec2Error};
use super::images::{write_devices, write_product_codes};
use super::params::Params;
use super::xml::{Xml, moment};
use crate::world::Image;
use crate::world::state::State;

pub(super) fn describe_image(context: &Context<'_>, state: &State) -> Answer<Xml> {
    let params = &context.params;
    let attribute = params.required("Attribute")?;
    let image = context.own_image(state, params.required("ImageId")?)?;
    context.authorise([context.on_image(image)])?;
    context.end_dry_run()?;
    let mut xml = Xml::default();
    xml.text("imageId", &image.id);
    write_image_attribute(context, &mut xml, image, attribute)?;
    Ok(xml)
}

fn write_image_attribute(context: &Context<'_>, xml: &mut Xml, image: &Image, attribute: &str) -> Answer<()> {
    let machine = &image.machine;
    let protection = Some(image.protection.text(context.now));
    let description = Some(image.description.clone()).filter(|text| !text.is_empty());
    let (name, value) = match attribute {
        "launchPermission" => {
            write_permissions(xml, "launchPermission", &image.launch_permissions);
            return Ok(());
        }
        "blockDeviceMapping" => {
            write_devices(xml, image);
            return Ok(());
        }
        "productCodes" => {
            write_product_codes(xml, image);
            return Ok(());
        }
        "description" => ("description", description),
        "kernel" => ("kernel", None),
        "ramdisk" => ("ramdisk", None),
        "sriovNetSupport" => ("sriovNetSupport", machine.sriov_net_support.clone()),
        "bootMode" => ("bootMode", machine.boot_mode.clone()),
        "tpmSupport" => ("tpmSupport", machine.tpm_support.clone()),
        "uefiData" => ("uefiData", machine.uefi_data.clone()),
        "imdsSupport" => ("imdsSupport", machine.imds_support.clone()),
        "lastLaunchedTime" => ("lastLaunchedTime", image.last_launch_told(context.now).map(moment)),
        "deregistrationProtection" => ("deregistrationProtection", protection),
        other => return Err(Ec2Error::invalid(format!("Value ({other}) for parameter attribute is invalid."))),
    };
    xml.group(name, |xml| xml.maybe("value", value));
    Ok(())
}

fn write_permissions(xml: &mut Xml, name: &str, permissions: &BTreeSet<String>) {
    xml.items(name, permissions, |xml, who| match who.as_str() {
        "all" => xml.text("group", "all"),
        account => xml.text("userId", account),
    });
}

/// What a change of permissions adds and removes: account ids, or `all`.
#[derive(Default)]
struct Change {
    add: Vec<String>,
    remove: Vec<String>,
}

impl Change {
    /// Reads the structure (`LaunchPermission.Add.1.UserId`) and the older form (`OperationType` with
    /// `UserId.1` and `UserGroup.1`).
    fn read(params: &Params, structure: &str) -> Answer<Self> {
        let mut change = Self::default();
        let permission = params.structure(structure);
        for (name, into) in [("Add", &mut change.add), ("Remove", &mut change.remove)] {
            for entry in permission.structures(name) {
                match (entry.get("UserId"), entry.get("Group")) {
                    (Some(user), None) => into.push(user.into()),
                    (None, Some(group)) => into.push(group.into()),
                    _ => return Err(Ec2Error::combination(format!("{structure} needs one of UserId and Group"))),
                }
            }
        }
        let older: Vec<String> =
            ["UserId", "UserGroup"].iter().flat_map(|name| params.list(name)).map(Into::into).collect();
        match params.get("OperationType") {
            Some("add") => change.add.extend(older),
            Some("remove") => change.remove.extend(older),
            Some(other) => {
                return Err(Ec2Error::invalid(format!("Value ({other}) for parameter operationType is invalid.")));
            }
            None if older.is_empty() => {}
            None => return Err(Ec2Error::missing("OperationType")),
        }
        change.check()?;
        Ok(change)
    }

    fn check(&self) -> Answer<()> {
        for who in self.add.iter().chain(&self.remove) {
            let account = who.len() == 12 && who.bytes().all(|byte| byte.is_ascii_digit());
            if !account && who != "all" {
                return Err(Ec2Error::new(
                    "InvalidAMIAttributeItemValue",
                    format!("Invalid attribute item value \"{who}\" for userId item type."),
                ));
            }
        }
        Ok(())
    }

    fn is_empty(&self) -> bool {
        self.add.is_empty() && self.remove.is_empty()
    }

    fn apply(&self, permissions: &mut BTreeSet<String>) {
        permissions.extend(self.add.iter().cloned());
        for who in &self.remove {
            permissions.remove(who);
        }
    }
}

pub(super) fn modify_image(context: &Context<'_>, state: &mut State) -> Answer<Xml> {
    let params = &context.params;
    let image = context.own_image(state, params.required("ImageId")?)?;
    context.authorise([context.on_image(image)])?;
    let (id, image_state) = (image.id.clone(), image.state.clone());
    let change = Change::read(params, "LaunchPermission")?;
    let attribute = params.get("Attribute");
    let value = |name: &str| {
        let named = attribute.is_some_and(|attribute| attribute.eq_ignore_ascii_case(name));
        params.structure(name).get("Value").or_else(|| params.get("Value").filter(|_| named)).map(str::to_owned)
    };
    let (description, imds) = (value("Description"), value("ImdsSupport"));
    if change.is_empty() && description.is_none() && imds.is_none() {
        return Err(Ec2Error::combination("No attributes specified."));
    }
    if !change.is_empty() && image_state != "available" {
        return Err(Ec2Error::new("InvalidAMIID.Unavailable", format!("The image ID '{id}' is not available")));
    }
    if imds.as_deref().is_some_and(|imds| imds != "v2.0") {
        return Err(Ec2Error::invalid("ImdsSupport can only be set to v2.0"));
    }
    context.end_dry_run()?;
    if let Some(image) = state.images.get_mut(&id) {
        change.apply(&mut image.launch_permissions);
        if let Some(description) = description {
            image.description = description;
        }
        if imds.is_some() {
            image.machine.imds_support = imds;
        }
    }
    Ok(done())
}

pub(super) fn describe_snapshot(context: &Context<'_>, state: &State) -> Answer<Xml> {
    let params = &context.params;
    let attribute = params.required("Attribute")?;
    let snapshot = context.own_snapshot(state, params.required("SnapshotId")?)?;
    context.authorise([context.on_snapshot(snapshot)])?;
    context.end_dry_run()?;
    let mut xml = Xml::default();
    xml.text("snapshotId", &snapshot.id);
    match attribute {
        "createVolumePermission" => {
            write_permissions(&mut xml, "createVolumePermission", &snapshot.volume_permissions);
        }
        "productCodes" => xml.group("productCodes", |_| {}),
        other => return Err(Ec2Error::invalid(format!("Value ({other}) for parameter attribute is invalid."))),
    }
    Ok(xml)
}

pub(super) fn modify_snapshot(context: &Context<'_>, state: &mut State) -> Answer<Xml> {
    let params = &context.params;
    let snapshot = context.own_snapshot(state, params.required("SnapshotId")?)?;
    context.authorise([context.on_snapshot(snapshot)])?;
    let change = Change::read(params, "CreateVolumePermission")?;
    if change.is_empty() {
        return Err(Ec2Error::combination("No attributes specified."));
    }
    if snapshot.encrypted && change.add.iter().any(|who| who == "all") {
        return Err(Ec2Error::new("OperationNotPermitted", "Encrypted snapshots cannot be shared publicly"));
    }
    let id = snapshot.id.clone();
    context.end_dry_run()?;
    if let Some(snapshot) = state.snapshots.get_mut(&id) {
        change.apply(&mut snapshot.volume_permissions);
    }
    Ok(done())
}

/// `<return>true</return>`
pub(super) fn done() -> Xml {
    let mut xml = Xml::default();
    xml.text("return", true);
    xml
}

/// A moment that a caller sent.
pub(super) fn parse_moment(name: &str, text: &str) -> Answer<jiff::Timestamp> {
    text.parse().map_err(|_| {
        Ec2Error::invalid(format!(
            "Value ({text}) for parameter {name} is invalid. Expected e.g. {}",
            moment(jiff::Timestamp::UNIX_EPOCH)
        ))
    })
}
