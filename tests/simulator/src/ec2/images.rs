//! Owns DescribeImages and how an image is written.

use super::context::Context;
use super::errors::{Answer, Ec2Error};
use super::filters::{Filters, Page};
use super::xml::{Xml, moment};
use crate::permissions::matches;
use crate::world::state::State;
use crate::world::{Device, Image, Tags};

const FILTERS: &[&str] = &[
    "architecture",
    "block-device-mapping.delete-on-termination",
    "block-device-mapping.device-name",
    "block-device-mapping.encrypted",
    "block-device-mapping.snapshot-id",
    "block-device-mapping.volume-size",
    "block-device-mapping.volume-type",
    "creation-date",
    "description",
    "ena-support",
    "hypervisor",
    "image-id",
    "image-type",
    "is-public",
    "name",
    "owner-alias",
    "owner-id",
    "platform-details",
    "product-code",
    "root-device-name",
    "root-device-type",
    "source-image-id",
    "source-image-region",
    "source-instance-id",
    "state",
    "state-reason-code",
    "state-reason-message",
    "tag-key",
    "usage-operation",
    "virtualization-type",
];

pub(super) fn describe(context: &Context<'_>, state: &State) -> Answer<Xml> {
    context.authorise_listing()?;
    let params = &context.params;
    let filters = Filters::read(params, FILTERS)?;
    let page = Page::read(context, (1, 1_000))?;
    let ids = params.list("ImageId");
    if !ids.is_empty() && page.wanted() {
        return Err(Ec2Error::combination("The parameter imageIdsSet cannot be used with the parameter maxResults"));
    }
    let owners = params.list("Owner");
    for owner in &owners {
        check_owner(owner)?;
    }
    let executable_by = params.list("ExecutableBy");
    let (disabled, deprecated) = (params.flag("IncludeDisabled")?, params.flag("IncludeDeprecated")?);
    check_all_there(context, state, &ids)?;
    context.end_dry_run()?;

    let chosen = |image: &&Image| {
        let ours = image.account == context.account();
        image.region == context.region()
            && image.visible_to(context.account(), context.now)
            && (owners.is_empty() || owners.iter().any(|owner| is_owner(context, image, owner)))
            && (executable_by.is_empty() || executable_by.iter().any(|who| may_launch(context, image, who)))
            && (disabled || image.state != "disabled")
            && (ours || deprecated || !ids.is_empty() || !is_deprecated(context, image))
            && filters.hold(tags_seen(context, image), |name| field(image, name))
    };
    let (found, next) = page.cut(page.among(&state.images, &ids).filter(chosen), |image| image.id.clone());
    let mut xml = Xml::default();
    xml.items("imagesSet", found, |xml, image| write(context, xml, image));
    xml.maybe("nextToken", next);
    Ok(xml)
}

/// An unknown id fails the whole call, with the unknown ids in the message.
fn check_all_there(context: &Context<'_>, state: &State, ids: &[&str]) -> Answer<()> {
    let mut unknown = Vec::new();
    let mut code = None;
    for id in ids {
        match context.image(state, id) {
            Ok(_) => {}
            Err(error) if error.code == "InvalidAMIID.Malformed" => return Err(error),
            Err(error) => {
                unknown.push(*id);
                code = Some(error.code);
            }
        }
    }
    match code {
        None => Ok(()),
        Some(code) => Err(Ec2Error { code, ..Ec2Error::no_image(&unknown) }),
    }
}

fn check_owner(owner: &str) -> Answer<()> {
    let known = ["self", "amazon", "aws-marketplace", "aws-backup-vault", "microsoft"].contains(&owner);
    let account = owner.len() == 12 && owner.bytes().all(|byte| byte.is_ascii_digit());
    if known || account {
        return Ok(());
    }
    Err(Ec2Error::new("InvalidUserID.Malformed", format!("Invalid user id: \"{owner}\"")))
}

fn is_owner(context: &Context<'_>, image: &Image, owner: &str) -> bool {
    let account = if owner == "self" { context.account() } else { owner };
    image.account == account || image.owner_alias.as_deref() == Some(owner)
}

fn may_launch(context: &Context<'_>, image: &Image, who: &str) -> bool {
    match who {
        "all" => image.is_public(),
        "self" => image.shared_with(context.account()),
        account => image.shared_with(account),
    }
}

fn is_deprecated(context: &Context<'_>, image: &Image) -> bool {
    image.deprecate_at.is_some_and(|at| at <= context.now)
}

/// Tags belong to an account: nobody sees those of another one.
pub(super) fn tags_seen<'i>(context: &Context<'_>, image: &'i Image) -> &'i Tags {
    static NONE: Tags = Tags::new();
    if image.account == context.account() { &image.tags } else { &NONE }
}

fn field(image: &Image, name: &str) -> Vec<String> {
    if let Some(name) = name.strip_prefix("block-device-mapping.") {
        return image.devices.iter().filter_map(|device| device_field(image, device, name)).collect();
    }
    let machine = &image.machine;
    let maybe = |text: Option<&String>| text.cloned().unwrap_or_default();
    vec![match name {
        "architecture" => machine.architecture.clone(),
        "creation-date" => maybe(created(image).as_ref()),
        "description" => image.description.clone(),
        "ena-support" => machine.ena_support.to_string(),
        "hypervisor" => "xen".into(),
        "image-id" => image.id.clone(),
        "image-type" => image.kind().into(),
        "is-public" => image.is_public().to_string(),
        "name" => image.name.clone(),
        "owner-alias" => maybe(image.owner_alias.as_ref()),
        "owner-id" => image.account.clone(),
        "platform-details" => machine.platform_details.clone(),
        "product-code" => return image.product_codes.clone(),
        "root-device-name" => machine.root_device_name.clone(),
        "root-device-type" => machine.root_device_type.clone(),
        "source-image-id" => maybe(image.source_image.as_ref().map(|(id, _)| id)),
        "source-image-region" => maybe(image.source_image.as_ref().map(|(_, region)| region)),
        "source-instance-id" => maybe(image.source_instance_id.as_ref()),
        "state" => image.state.clone(),
        "state-reason-code" => maybe(image.state_reason.as_ref().map(|(code, _)| code)),
        "state-reason-message" => maybe(image.state_reason.as_ref().map(|(_, message)| message)),
        "usage-operation" => machine.usage_operation.clone(),
        "virtualization-type" => machine.virtualization_type.clone(),
        _ => return Vec::new(),
    }]
}

fn device_field(image: &Image, device: &Device, name: &str) -> Option<String> {
    if image.machine.root_device_type == "instance-store" && name != "device-name" {
        return None;
    }
    match name {
        "delete-on-termination" => Some(device.delete_on_termination.to_string()),
        "device-name" => Some(device.name.clone()),
        "encrypted" => Some(device.encrypted.to_string()),
        "snapshot-id" => Some(device.snapshot_id.clone()),
        "volume-size" => Some(device.size_gib.to_string()),
        "volume-type" => Some(device.volume_type.clone()),
        _ => None,
    }
}

fn created(image: &Image) -> Option<String> {
    (image.created != jiff::Timestamp::MIN).then(|| moment(image.created))
}

fn write(context: &Context<'_>, xml: &mut Xml, image: &Image) {
    let machine = &image.machine;
    xml.text("imageId", &image.id);
    xml.text("imageLocation", format!("{}/{}", image.account, image.name));
    xml.text("imageState", &image.state);
    xml.text("imageOwnerId", &image.account);
    xml.maybe("imageOwnerAlias", image.owner_alias.as_ref());
    xml.maybe("creationDate", created(image));
    xml.text("isPublic", image.is_public());
    xml.text("architecture", &machine.architecture);
    xml.text("imageType", image.kind());
    if matches("Windows*", &machine.platform_details) {
        xml.text("platform", "windows");
    }
    xml.text("platformDetails", &machine.platform_details);
    xml.text("usageOperation", &machine.usage_operation);
    xml.unless_empty("name", &image.name);
    xml.unless_empty("description", &image.description);
    xml.unless_empty("rootDeviceType", &machine.root_device_type);
    xml.unless_empty("rootDeviceName", &machine.root_device_name);
    write_devices(xml, image);
    if !image.product_codes.is_empty() {
        write_product_codes(xml, image);
    }
    xml.text("virtualizationType", &machine.virtualization_type);
    xml.tags(tags_seen(context, image));
    xml.text("hypervisor", "xen");
    xml.text("enaSupport", machine.ena_support);
    xml.maybe("sriovNetSupport", machine.sriov_net_support.as_ref());
    xml.maybe("bootMode", machine.boot_mode.as_ref());
    xml.maybe("tpmSupport", machine.tpm_support.as_ref());
    xml.maybe("imdsSupport", machine.imds_support.as_ref());
    xml.maybe("deprecationTime", image.deprecate_at.map(moment));
    xml.text("deregistrationProtection", image.protection.text(context.now));
    // Launches are told to the owner alone.
    let told = image.last_launch_told(context.now).filter(|_| image.account == context.account());
    xml.maybe("lastLaunchedTime", told.map(moment));
    xml.maybe("sourceInstanceId", image.source_instance_id.as_ref());
    if let Some((id, region)) = &image.source_image {
        xml.text("sourceImageId", id);
        xml.text("sourceImageRegion", region);
    }
    if let Some((code, message)) = &image.state_reason {
        xml.group("stateReason", |xml| {
            xml.text("code", code);
            xml.text("message", message);
        });
    }
}

/// The `productCodes` of an image.
pub(super) fn write_product_codes(xml: &mut Xml, image: &Image) {
    xml.items("productCodes", &image.product_codes, |xml, code| {
        xml.text("productCode", code);
        xml.text("type", "marketplace");
    });
}

/// The `blockDeviceMapping` of an image.
pub(super) fn write_devices(xml: &mut Xml, image: &Image) {
    let ebs = image.machine.root_device_type != "instance-store";
    let on_ebs = image.devices.iter().filter(|_| ebs).map(|device| (&device.name, Some(device), 0));
    let ephemeral = image.machine.ephemeral_devices.iter().zip(0..).map(|(name, number)| (name, None, number));
    xml.items("blockDeviceMapping", on_ebs.chain(ephemeral), |xml, (name, device, number)| {
        xml.text("deviceName", name);
        let Some(device) = device else {
            return xml.text("virtualName", format!("ephemeral{number}"));
        };
        xml.group("ebs", |xml| {
            xml.text("deleteOnTermination", device.delete_on_termination);
            xml.maybe("iops", device.iops);
            xml.text("snapshotId", &device.snapshot_id);
            xml.text("volumeSize", device.size_gib);
            xml.text("volumeType", &device.volume_type);
            xml.maybe("throughput", device.throughput);
            xml.text("encrypted", device.encrypted);
        });
    });
}
