//! Owns DescribeFleets and DescribeSpotFleetRequests.

use super::context::Context;
use super::errors::{Answer, Ec2Error};
use super::filters::{Filters, Page};
use super::xml::Xml;
use crate::account::{Fleet, SpotFleet, TemplateSpecification, TemplateWithOverrides};
use crate::world::state::State;
use crate::world::{Owned, Tags};

pub(super) fn describe(context: &Context<'_>, state: &State) -> Answer<Xml> {
    context.authorise_listing()?;
    let filters = Filters::read(&context.params, &["fleet-state", "type"])?;
    let page = Page::read(context, (1, 1_000))?;
    let ids = context.params.list("FleetId");
    let ours = |one: &&Owned<Fleet>| one.account == context.account() && one.it.region == context.region();
    let mut all: Vec<&Fleet> = state.uses.fleets.iter().filter(ours).map(|one| &one.it).collect();
    if let Some(unknown) = ids.iter().find(|id| !all.iter().any(|fleet| fleet.id == **id)) {
        let message = format!("The fleet ID '{unknown}' does not exist");
        return Err(Ec2Error::new("InvalidFleetId.NotFound", message));
    }
    context.end_dry_run()?;
    all.retain(|fleet| {
        // A fleet that launches once is shown to who asks for it (API reference, DescribeFleets).
        let asked = if ids.is_empty() { fleet.kind != "instant" } else { ids.contains(&fleet.id.as_str()) };
        let field = |name: &str| vec![if name == "type" { fleet.kind.clone() } else { fleet.state.clone() }];
        asked && filters.hold(&Tags::new(), field)
    });
    all.sort_by_key(|fleet| fleet.id.clone());
    let (found, next) = page.cut(all, |fleet| fleet.id.clone());
    let mut xml = Xml::default();
    xml.items("fleetSet", found, |xml, fleet| {
        xml.text("fleetId", &fleet.id);
        xml.text("fleetState", &fleet.state);
        xml.text("type", &fleet.kind);
        write_configurations(context, state, xml, &fleet.launch_template_configs);
        xml.tags(&fleet.tags);
    });
    xml.maybe("nextToken", next);
    Ok(xml)
}

/// The `launchTemplateConfigs` of a fleet of either kind.
fn write_configurations(context: &Context<'_>, state: &State, xml: &mut Xml, all: &[TemplateWithOverrides]) {
    xml.items("launchTemplateConfigs", all, |xml, configuration| {
        let template = state.filled_in(context.account(), context.region(), &configuration.launch_template);
        xml.group("launchTemplateSpecification", |xml| write_specification(xml, &template));
        xml.items("overrides", &configuration.overrides, |xml, changed| {
            xml.maybe("instanceType", changed.instance_type.as_ref());
            xml.maybe("imageId", changed.image_id.as_ref());
        });
    });
}

fn write_specification(xml: &mut Xml, template: &TemplateSpecification) {
    xml.maybe("launchTemplateId", template.launch_template_id.as_ref());
    xml.maybe("launchTemplateName", template.launch_template_name.as_ref());
    xml.maybe("version", template.version.as_ref());
}

pub(super) fn describe_spot(context: &Context<'_>, state: &State) -> Answer<Xml> {
    context.authorise_listing()?;
    let page = Page::read(context, (1, 1_000))?;
    let ids = context.params.list("SpotFleetRequestId");
    let ours = |one: &&Owned<SpotFleet>| one.account == context.account() && one.it.region == context.region();
    let mut all: Vec<&SpotFleet> = state.uses.spot_fleets.iter().filter(ours).map(|one| &one.it).collect();
    if let Some(unknown) = ids.iter().find(|id| !all.iter().any(|fleet| fleet.id == **id)) {
        let message = format!("The spot fleet request ID '{unknown}' does not exist");
        return Err(Ec2Error::new("InvalidSpotFleetRequestId.NotFound", message));
    }
    context.end_dry_run()?;
    all.retain(|fleet| ids.is_empty() || ids.contains(&fleet.id.as_str()));
    all.sort_by_key(|fleet| fleet.id.clone());
    let (found, next) = page.cut(all, |fleet| fleet.id.clone());
    let mut xml = Xml::default();
    xml.items("spotFleetRequestConfigSet", found, |xml, fleet| {
        xml.text("spotFleetRequestId", &fleet.id);
        xml.text("spotFleetRequestState", &fleet.state);
        xml.group("spotFleetRequestConfig", |xml| write_spot(context, state, xml, fleet));
    });
    xml.maybe("nextToken", next);
    Ok(xml)
}

fn write_spot(context: &Context<'_>, state: &State, xml: &mut Xml, fleet: &SpotFleet) {
    xml.text("iamFleetRole", format!("arn:aws:iam::{}:role/aws-ec2-spot-fleet-tagging-role", context.account()));
    xml.text("targetCapacity", 1);
    xml.items("launchSpecifications", &fleet.launch_specifications, |xml, launch| {
        xml.text("imageId", &launch.image_id);
        xml.text("instanceType", &launch.instance_type);
        // EC2 has no device names to show here: only the snapshots are known.
        xml.items("blockDeviceMapping", &launch.snapshot_ids, |xml, snapshot| {
            xml.group("ebs", |xml| xml.text("snapshotId", snapshot));
        });
    });
    write_configurations(context, state, xml, &fleet.launch_template_configs);
}
