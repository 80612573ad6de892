//! Owns Regions: which are enabled, and whether EBS encrypts by default there.

use super::context::Context;
use super::errors::{Answer, Ec2Error};
use super::filters::Filters;
use super::xml::Xml;
use crate::world::state::State;

/// A Region that is not enabled knows no credentials of the account.
pub(super) fn check_enabled(context: &Context<'_>, state: &State) -> Answer<()> {
    if is_enabled(context, state, context.region()) {
        return Ok(());
    }
    let message = "AWS was not able to validate the provided access credentials";
    Err(Ec2Error::new("AuthFailure", message))
}

pub(super) fn is_enabled(context: &Context<'_>, state: &State, region: &str) -> bool {
    let owner = state.owner(context.account());
    owner.is_some_and(|owner| owner.regions.iter().any(|enabled| enabled == region))
}

pub(super) fn describe(context: &Context<'_>, state: &State) -> Answer<Xml> {
    context.authorise_listing()?;
    let params = &context.params;
    let filters = Filters::read(params, &["region-name", "opt-in-status", "endpoint"])?;
    let owner = state.owner(context.account());
    let mut all: Vec<(&str, &str)> = Vec::new();
    if let Some(owner) = owner {
        all.extend(owner.regions.iter().map(|region| (region.as_str(), "opt-in-not-required")));
        all.extend(owner.disabled_regions.iter().map(|region| (region.as_str(), "not-opted-in")));
    }
    let names = params.list("RegionName");
    if let Some(unknown) = names.iter().find(|name| !all.iter().any(|(region, _)| region == *name)) {
        return Err(Ec2Error::invalid(format!("Invalid region name {unknown}")));
    }
    let everything = params.flag("AllRegions")?;
    context.end_dry_run()?;
    all.retain(|(region, status)| {
        // A Region that is asked for by name is shown although it is not enabled.
        let asked = if names.is_empty() { everything || *status != "not-opted-in" } else { names.contains(region) };
        asked
            && filters.hold(&Default::default(), |name| match name {
                "region-name" => vec![(*region).to_owned()],
                "opt-in-status" => vec![(*status).to_owned()],
                _ => vec![endpoint(region)],
            })
    });
    let mut xml = Xml::default();
    xml.items("regionInfo", all, |xml, (region, status)| {
        xml.text("regionName", region);
        xml.text("regionEndpoint", endpoint(region));
        xml.text("optInStatus", status);
    });
    Ok(xml)
}

fn endpoint(region: &str) -> String {
    format!("ec2.{region}.amazonaws.com")
}

/// Whether new volumes and snapshots of the caller are encrypted in this Region.
pub(super) fn encrypts_by_default(context: &Context<'_>, state: &State) -> bool {
    state.owner(context.account()).is_some_and(|owner| owner.encryption_by_default.contains(context.region()))
}

pub(super) fn encryption_by_default(context: &Context<'_>, state: &State) -> Answer<Xml> {
    context.authorise_listing()?;
    context.end_dry_run()?;
    let on = encrypts_by_default(context, state);
    let mut xml = Xml::default();
    xml.text("ebsEncryptionByDefault", on);
    xml.text("sseType", if on { "sse-kms" } else { "none" });
    Ok(xml)
}
