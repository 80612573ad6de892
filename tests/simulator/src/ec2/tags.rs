//! Owns CreateTags, DeleteTags and DescribeTags.

use super::attributes::done;
use super::context::{Context, image_arn, snapshot_arn};
use super::errors::{Answer, Ec2Error};
use super::filters::{Filters, Page};
use super::templates::seen;
use super::xml::Xml;
use crate::permissions::Request;
use crate::world::Tags;
use crate::world::state::State;

/// Something that has tags.
struct Tagged<'s> {
    id: &'s str,
    kind: &'static str,
    tags: &'s Tags,
}

/// Everything of the caller in this Region that has tags and can be seen.
fn all<'s>(context: &Context<'_>, state: &'s State) -> Vec<Tagged<'s>> {
    let ours = |account: &str, region: &str| account == context.account() && region == context.region();
    let mut all = Vec::new();
    for image in state.images.values().filter(|image| ours(&image.account, &image.region)) {
        if image.visible_at <= context.now {
            all.push(Tagged { id: &image.id, kind: "image", tags: &image.tags });
        }
    }
    for snapshot in state.snapshots.values().filter(|snapshot| ours(&snapshot.account, &snapshot.region)) {
        if snapshot.visible_at <= context.now {
            all.push(Tagged { id: &snapshot.id, kind: "snapshot", tags: &snapshot.tags });
        }
    }
    for task in state.exports.values().filter(|task| ours(&task.account, &task.region)) {
        if task.visible_at <= context.now {
            all.push(Tagged { id: &task.id, kind: "export-image-task", tags: &task.tags });
        }
    }
    for template in seen(context, state) {
        all.push(Tagged { id: &template.id, kind: "launch-template", tags: &template.tags });
    }
    for report in state.usage_reports.values().filter(|report| ours(&report.account, &report.region)) {
        if report.visible_at <= context.now {
            all.push(Tagged { id: &report.id, kind: "image-usage-report", tags: &report.tags });
        }
    }
    for instance in state.instances.values().filter(|instance| context.sees_instance(instance)) {
        all.push(Tagged { id: &instance.id, kind: "instance", tags: &instance.tags });
        for volume in &instance.volumes {
            all.push(Tagged { id: &volume.id, kind: "volume", tags: &volume.tags });
        }
    }
    all
}

fn request(context: &Context<'_>, tagged: &Tagged<'_>) -> Request {
    let arn = match tagged.kind {
        "image" => image_arn(context.region(), tagged.id),
        "snapshot" => snapshot_arn(context.region(), tagged.id),
        kind => format!("arn:aws:ec2:{}:{}:{kind}/{}", context.region(), context.account(), tagged.id),
    };
    context.on(arn).resource_tags(tagged.tags)
}

fn unknown(id: &str) -> Ec2Error {
    match id.split('-').next() {
        Some("ami") => Ec2Error::no_image(&[id]),
        Some("snap") => Ec2Error::no_snapshot(&[id]),
        Some("i") => Ec2Error::no_instance(&[id]),
        Some("vol") => Ec2Error::new("InvalidVolume.NotFound", format!("The volume '{id}' does not exist.")),
        _ => Ec2Error::new("InvalidID", format!("The ID '{id}' is not valid")),
    }
}

pub(super) fn create(context: &Context<'_>, state: &mut State) -> Answer<Xml> {
    let params = &context.params;
    let ids = params.list("ResourceId");
    let tags = params.tags()?;
    if ids.is_empty() {
        return Err(Ec2Error::missing("ResourceIdSet"));
    }
    if tags.is_empty() {
        return Err(Ec2Error::missing("Tag"));
    }
    let limit = context.settings().quotas.tags_per_resource;
    let known = all(context, state);
    for id in &ids {
        let tagged = known.iter().find(|one| one.id == *id).ok_or_else(|| unknown(id))?;
        context.authorise([request(context, tagged).request_tags(&tags)])?;
        let new = tags.keys().filter(|key| !tagged.tags.contains_key(*key)).count();
        // Tags that AWS wrote do not count.
        let own = tagged.tags.keys().filter(|key| !key.starts_with("aws:")).count();
        if own + new > limit {
            return Err(Ec2Error::new(
                "TagLimitExceeded",
                format!("The maximum number of Tags for a resource has been reached. Limit is {limit}"),
            ));
        }
    }
    context.end_dry_run()?;
    for id in &ids {
        if let Some(its) = state.tags_mut(id) {
            its.extend(tags.clone());
        }
    }
    Ok(done())
}

pub(super) fn delete(context: &Context<'_>, state: &mut State) -> Answer<Xml> {
    let params = &context.params;
    let ids = params.list("ResourceId");
    if ids.is_empty() {
        return Err(Ec2Error::missing("ResourceIdSet"));
    }
    let named = params.structures("Tag");
    let known = all(context, state);
    for id in &ids {
        let tagged = known.iter().find(|one| one.id == *id).ok_or_else(|| unknown(id))?;
        let keys = named.iter().filter_map(|tag| tag.get("Key")).map(str::to_owned);
        context.authorise([request(context, tagged).tag_keys(keys)])?;
    }
    context.end_dry_run()?;
    for id in &ids {
        let Some(its) = state.tags_mut(id) else { continue };
        // Without a tag all go, but those that AWS wrote; a tag without a value goes whatever its value is.
        its.retain(|key, value| {
            let hit = |tag: &crate::ec2::params::Params| {
                tag.get("Key") == Some(key) && tag.get("Value").is_none_or(|wanted| wanted == value)
            };
            key.starts_with("aws:") || !(named.is_empty() || named.iter().any(hit))
        });
    }
    Ok(done())
}

pub(super) fn describe(context: &Context<'_>, state: &State) -> Answer<Xml> {
    context.authorise_listing()?;
    let filters = Filters::read(&context.params, &["key", "resource-id", "resource-type", "value", "tag-key"])?;
    let page = Page::read(context, (5, 1_000))?;
    context.end_dry_run()?;
    let mut rows = Vec::new();
    for tagged in all(context, state) {
        for (key, value) in tagged.tags {
            let field = |name: &str| {
                vec![match name {
                    "key" => key.clone(),
                    "resource-id" => tagged.id.to_owned(),
                    "resource-type" => tagged.kind.to_owned(),
                    _ => value.clone(),
                }]
            };
            if filters.hold(&Tags::from([(key.clone(), value.clone())]), field) {
                rows.push((tagged.id.to_owned(), tagged.kind, key.clone(), value.clone()));
            }
        }
    }
    rows.sort();
    let (rows, next) = page.cut(rows, |(id, _, key, _)| format!("{id}/{key}"));
    let mut xml = Xml::default();
    xml.items("tagSet", rows, |xml, (id, kind, key, value)| {
        xml.text("resourceId", id);
        xml.text("resourceType", kind);
        xml.text("key", key);
        xml.text("value", value);
    });
    xml.maybe("nextToken", next);
    Ok(xml)
}
