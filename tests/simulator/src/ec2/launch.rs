//! Owns RunInstances.

use std::collections::BTreeMap;

use jiff::SignedDuration;

use super::aliases;
use super::context::Context;
use super::copy::{token_of, used_token};
use super::errors::{Answer, Ec2Error};
use super::instances;
use super::templates::{find, no_version, on_template};
use super::xml::Xml;
use crate::world::state::{State, Token, Volume, later};
use crate::world::{Image, Instance, InstanceChange, LaunchTemplate, Tags, TemplateVersion};

/// Most instances of one call. AWS's limit is a quota on CPUs.
const MOST_INSTANCES: u64 = 1_000;

/// What tags can be written on while instances are launched.
const TAGGED: &[&str] = &["instance", "volume", "network-interface", "spot-instances-request"];

pub(super) fn run(context: &Context<'_>, state: &mut State) -> Answer<Xml> {
    let params = &context.params;
    let count = count(context)?;
    let tags = params.tag_specifications(TAGGED, context.settings().quotas.tags_per_resource)?;
    let (token, fingerprint) = token_of(context);
    if let Some(ids) = used_token(context, state, token.as_ref())? {
        context.end_dry_run()?;
        return Ok(answer(state, &ids));
    }
    let template = template(context, state)?;
    let version = template.map(|(_, version)| version);
    let named = params.get("ImageId").or_else(|| version?.image_id.as_deref()).ok_or_else(|| {
        Ec2Error::new("MissingParameter", "The request must contain the parameter ImageId or a launch template")
    })?;
    let id = aliases::resolve(context, state, named)?;
    let image = context.image(state, &id)?.clone();
    authorise(context, &image, template.map(|(template, _)| template), &tags)?;
    if image.state != "available" {
        let message = format!("The image ID '{id}' is not available: its state is {}", image.state);
        return Err(Ec2Error::new("InvalidAMIID.Unavailable", message));
    }
    let missing = image.devices.iter().find(|device| !state.snapshots.contains_key(&device.snapshot_id));
    if let Some(device) = missing {
        return Err(Ec2Error::no_snapshot(&[&device.snapshot_id]));
    }
    let kind = params.get("InstanceType").or_else(|| version?.instance_type.as_deref()).unwrap_or("m1.small");
    let kind = kind.to_owned();
    context.end_dry_run()?;

    let mut ids = Vec::new();
    for _ in 0..count {
        let instance = launched(context, state, &image, &kind, &tags);
        ids.push(instance.id.clone());
        state.instances.insert(instance.id.clone(), instance);
    }
    if let Some(image) = state.images.get_mut(&id) {
        image.launches.push(context.now);
    }
    let ids = ids.join(",");
    if let Some(key) = token {
        state.tokens.insert(key, Token { parameters: fingerprint, result: ids.clone() });
    }
    Ok(answer(state, &ids))
}

/// How many instances are launched: there is always room for the most.
fn count(context: &Context<'_>) -> Answer<u64> {
    let params = &context.params;
    let least = params.number("MinCount")?.ok_or_else(|| Ec2Error::missing("MinCount"))?;
    let most = params.number("MaxCount")?.ok_or_else(|| Ec2Error::missing("MaxCount"))?;
    if least == 0 || least > most {
        return Err(Ec2Error::invalid(format!("Invalid value '{least}' for MinCount. Must be between 1 and MaxCount")));
    }
    if most > MOST_INSTANCES {
        let message = format!("You have requested more instances ({most}) than your current limit of {MOST_INSTANCES}");
        return Err(Ec2Error::new("InstanceLimitExceeded", message));
    }
    Ok(most)
}

/// The version of the launch template that the call names, if it names one.
fn template<'s>(context: &Context<'_>, state: &'s State) -> Answer<Option<(&'s LaunchTemplate, &'s TemplateVersion)>> {
    let named = context.params.structure("LaunchTemplate");
    if named.is_empty() {
        return Ok(None);
    }
    let template = find(context, state, &named)?;
    let text = named.get("Version").unwrap_or("$Default");
    let number = template.number(text, context.now);
    let version = number.and_then(|number| template.seen(number, context.now));
    Ok(Some((template, version.ok_or_else(|| no_version(template, text))?)))
}

fn authorise(
    context: &Context<'_>,
    image: &Image,
    template: Option<&LaunchTemplate>,
    tags: &BTreeMap<String, Tags>,
) -> Answer<()> {
    let new = |kind: &str| {
        let arn = format!("arn:aws:ec2:{}:{}:{kind}/*", context.region(), context.account());
        context.on(arn).request_tags(tags.get(kind).unwrap_or(&Tags::new()))
    };
    let on_template = template.map(|template| on_template(context, template));
    context.authorise([context.on_image(image), new("instance"), new("volume")].into_iter().chain(on_template))?;
    context.authorise_tags(tags)
}

/// A pending instance of the image.
fn launched(
    context: &Context<'_>,
    state: &mut State,
    image: &Image,
    kind: &str,
    tags: &BTreeMap<String, Tags>,
) -> Instance {
    let id = state.new_id("i");
    let volume_tags = tags.get("volume").cloned().unwrap_or_default();
    let mut volumes = Vec::new();
    for device in &image.devices {
        let snapshot = state.snapshots.get(&device.snapshot_id);
        volumes.push(Volume {
            device: device.name.clone(),
            size_gib: device.size_gib,
            used_bytes: snapshot.map(|snapshot| snapshot.used_bytes).unwrap_or_default(),
            encrypted: device.encrypted,
            kms_key_id: snapshot.and_then(|snapshot| snapshot.kms_key_id.clone()),
            volume_type: device.volume_type.clone(),
            iops: device.iops,
            throughput: device.throughput,
            delete_on_termination: device.delete_on_termination,
            tags: volume_tags.clone(),
            id: state.new_id("vol"),
        });
    }
    Instance {
        id,
        account: context.account().into(),
        region: context.region().into(),
        state: "pending".into(),
        tags: tags.get("instance").cloned().unwrap_or_default(),
        image_id: image.id.clone(),
        instance_type: kind.into(),
        launched: context.now,
        machine: image.machine.clone(),
        volumes,
        reboots: 0,
        // What is to fail ends without ever running.
        change: Some(change(context, if context.caller.fail_task.is_some() { "terminated" } else { "running" })),
        visible_at: context.visible_at(),
    }
}

/// What becomes of an instance after the time that this takes.
pub(super) fn change(context: &Context<'_>, to: &str) -> InstanceChange {
    let takes = i64::try_from(context.settings().instance_change_ms).unwrap_or(i64::MAX / 2);
    InstanceChange { at: later(context.now, SignedDuration::from_millis(takes)), to: Some(to.into()) }
}

fn answer(state: &State, ids: &str) -> Xml {
    let launched: Vec<&Instance> = ids.split(',').filter_map(|id| state.instances.get(id)).collect();
    let mut xml = Xml::default();
    if let Some(first) = launched.first() {
        instances::write_reservation(&mut xml, first);
    }
    xml.items("instancesSet", launched, instances::write);
    xml
}
