//! Owns deprecation, deregistration protection, and disabling of images.

use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp};

use super::attributes::{done, parse_moment};
use super::context::Context;
use super::errors::{Answer, Ec2Error};
use super::xml::Xml;
use crate::account::StorageTier;
use crate::world::Image;
use crate::world::state::{Protection, State, later};

/// How far ahead a deprecation may lie, in days: ten years.
const FARTHEST_DEPRECATION: i64 = 3_653;

/// Finds the image of the call, checks rights, ends a dry run, and changes it.
fn change(context: &Context<'_>, state: &mut State, change: impl FnOnce(&mut Image) -> Answer<()>) -> Answer<()> {
    let image = context.own_image(state, context.params.required("ImageId")?)?;
    context.authorise([context.on_image(image)])?;
    let mut changed = image.clone();
    change(&mut changed)?;
    context.end_dry_run()?;
    state.images.insert(changed.id.clone(), changed);
    Ok(())
}

pub(super) fn deprecate(context: &Context<'_>, state: &mut State) -> Answer<Xml> {
    let at = parse_moment("DeprecateAt", context.params.required("DeprecateAt")?)?;
    if at < context.now {
        return Err(Ec2Error::invalid("The deprecation date must be in the future"));
    }
    if at > later(context.now, SignedDuration::from_hours(24 * FARTHEST_DEPRECATION)) {
        return Err(Ec2Error::invalid("The deprecation date must be within 10 years"));
    }
    // Rounded to the nearest minute.
    let minutes = (at.as_second() + 30).div_euclid(60) * 60;
    let rounded = Timestamp::from_second(minutes).unwrap_or(at);
    change(context, state, |image| {
        image.deprecate_at = Some(rounded);
        Ok(())
    })?;
    Ok(done())
}

pub(super) fn undeprecate(context: &Context<'_>, state: &mut State) -> Answer<Xml> {
    change(context, state, |image| {
        image.deprecate_at = None;
        Ok(())
    })?;
    Ok(done())
}

pub(super) fn protect(context: &Context<'_>, state: &mut State) -> Answer<Xml> {
    let cooldown = context.params.flag("WithCooldown")?;
    let protection = if cooldown { Protection::OnWithCooldown } else { Protection::On };
    change(context, state, |image| {
        image.protection = protection;
        Ok(())
    })?;
    Ok(returned(protection.text(context.now)))
}

pub(super) fn unprotect(context: &Context<'_>, state: &mut State) -> Answer<Xml> {
    let mut shown = String::new();
    change(context, state, |image| {
        image.protection = match image.protection {
            Protection::OnWithCooldown => Protection::Until(later(context.now, SignedDuration::from_hours(24))),
            Protection::Until(end) => Protection::Until(end),
            Protection::On | Protection::Off => Protection::Off,
        };
        shown = image.protection.text(context.now);
        Ok(())
    })?;
    Ok(returned(shown))
}

fn returned(text: String) -> Xml {
    let mut xml = Xml::default();
    xml.text("return", text);
    xml
}

pub(super) fn disable(context: &Context<'_>, state: &mut State) -> Answer<Xml> {
    change(context, state, |image| {
        if image.state != "available" {
            return Err(wrong_state(image));
        }
        image.state = "disabled".into();
        image.launch_permissions.clear();
        Ok(())
    })?;
    Ok(done())
}

pub(super) fn enable(context: &Context<'_>, state: &mut State) -> Answer<Xml> {
    let archived: BTreeSet<String> =
        state.snapshots.values().filter(|one| one.tier == StorageTier::Archive).map(|one| one.id.clone()).collect();
    change(context, state, |image| {
        if image.state != "disabled" {
            return Err(wrong_state(image));
        }
        if let Some(device) = image.devices.iter().find(|device| archived.contains(&device.snapshot_id)) {
            let message = format!("The snapshot {} of the image is in the archive tier", device.snapshot_id);
            return Err(Ec2Error::new("IncorrectState", message));
        }
        image.state = "available".into();
        Ok(())
    })?;
    Ok(done())
}

fn wrong_state(image: &Image) -> Ec2Error {
    Ec2Error::new("InvalidAMIID.Unavailable", format!("The image {} is in state {}", image.id, image.state))
}
