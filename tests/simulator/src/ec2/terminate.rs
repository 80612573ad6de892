//! Owns TerminateInstances.

use super::context::{Context, check_id};
use super::errors::{Answer, Ec2Error};
use super::instances::state_code;
use super::launch::change;
use super::xml::Xml;
use crate::world::Instance;
use crate::world::state::State;

pub(super) fn terminate(context: &Context<'_>, state: &mut State) -> Answer<Xml> {
    let ids = context.params.list("InstanceId");
    if ids.is_empty() {
        return Err(Ec2Error::missing("InstanceId"));
    }
    let seen = |instance: &&Instance| context.sees_instance(instance);
    for id in &ids {
        check_id(id, "i", "InvalidInstanceID.Malformed")?;
    }
    let unknown: Vec<&str> = ids.iter().copied().filter(|id| state.instances.get(*id).filter(seen).is_none()).collect();
    if !unknown.is_empty() {
        return Err(Ec2Error::no_instance(&unknown));
    }
    for instance in ids.iter().filter_map(|id| state.instances.get(*id)) {
        let arn = format!("arn:aws:ec2:{}:{}:instance/{}", instance.region, instance.account, instance.id);
        context.authorise([context.on(arn).resource_tags(&instance.tags)])?;
    }
    context.end_dry_run()?;
    let mut changes = Vec::new();
    for id in ids {
        let Some(instance) = state.instances.get_mut(id) else { continue };
        let before = instance.state.clone();
        // What is over or ending already is left alone, and answered all the same.
        if !["shutting-down", "terminated"].contains(&before.as_str()) {
            instance.state = "shutting-down".into();
            instance.change = Some(change(context, "terminated"));
        }
        changes.push((id.to_owned(), before, instance.state.clone()));
    }
    let mut xml = Xml::default();
    xml.items("instancesSet", changes, |xml, (id, before, after)| {
        xml.text("instanceId", id);
        for (name, state) in [("currentState", after), ("previousState", before)] {
            xml.group(name, |xml| {
                xml.text("code", state_code(&state));
                xml.text("name", state);
            });
        }
    });
    Ok(xml)
}
