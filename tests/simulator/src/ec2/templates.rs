//! Owns launch templates as such: DescribeLaunchTemplates, CreateLaunchTemplate, ModifyLaunchTemplate and
//! DeleteLaunchTemplate.

use std::collections::BTreeMap;

use super::context::{Context, check_id};
use super::copy::{token_of, used_token};
use super::errors::{Answer, Ec2Error};
use super::filters::{Filters, Page};
use super::params::Params;
use super::template_versions::version_of;
use super::xml::{Xml, moment};
use crate::permissions::Request;
use crate::world::LaunchTemplate;
use crate::world::state::{State, Token};

/// The launch templates that the caller sees in the Region of the call.
pub(super) fn seen<'s>(context: &Context<'_>, state: &'s State) -> impl Iterator<Item = &'s LaunchTemplate> {
    let (account, region, now) = (context.account().to_owned(), context.region().to_owned(), context.now);
    let here = move |template: &&LaunchTemplate| {
        template.account == account && template.region == region && template.visible_at <= now
    };
    state.templates.values().filter(here)
}

/// The launch template that `params` names, by its id or its name.
pub(super) fn find<'s>(context: &Context<'_>, state: &'s State, params: &Params) -> Answer<&'s LaunchTemplate> {
    match (params.get("LaunchTemplateId"), params.get("LaunchTemplateName")) {
        (Some(_), Some(_)) => Err(Ec2Error::combination(
            "Either a launch template ID or a launch template name must be specified, not both.",
        )),
        (None, None) => Err(Ec2Error::missing("LaunchTemplateId")),
        (Some(id), None) => {
            check_id(id, "lt", "InvalidLaunchTemplateId.Malformed")?;
            seen(context, state).find(|template| template.id == id).ok_or_else(|| no_id(id))
        }
        (None, Some(name)) => seen(context, state).find(|template| template.name == name).ok_or_else(|| no_name(name)),
    }
}

fn no_id(id: &str) -> Ec2Error {
    let message = format!("The specified launch template, with template ID {id}, does not exist.");
    Ec2Error::new("InvalidLaunchTemplateId.NotFound", message)
}

fn no_name(name: &str) -> Ec2Error {
    let message = format!("The specified launch template, with template name {name}, does not exist.");
    Ec2Error::new("InvalidLaunchTemplateName.NotFoundException", message)
}

/// This call's action on a launch template.
pub(super) fn on_template(context: &Context<'_>, template: &LaunchTemplate) -> Request {
    context.on(template_arn(&template.region, &template.account, &template.id)).resource_tags(&template.tags)
}

/// ARN of a launch template.
pub(super) fn template_arn(region: &str, account: &str, id: &str) -> String {
    format!("arn:aws:ec2:{region}:{account}:launch-template/{id}")
}

pub(super) fn describe(context: &Context<'_>, state: &State) -> Answer<Xml> {
    context.authorise_listing()?;
    let params = &context.params;
    let filters = Filters::read(params, &["create-time", "launch-template-name", "tag-key"])?;
    let page = Page::read(context, (1, 200))?;
    let (ids, names) = (params.list("LaunchTemplateId"), params.list("LaunchTemplateName"));
    for id in &ids {
        check_id(id, "lt", "InvalidLaunchTemplateId.Malformed")?;
        if !seen(context, state).any(|template| template.id == *id) {
            return Err(no_id(id));
        }
    }
    if let Some(name) = names.iter().find(|name| !seen(context, state).any(|template| template.name == **name)) {
        return Err(no_name(name));
    }
    context.end_dry_run()?;
    let chosen = |template: &&LaunchTemplate| {
        (ids.is_empty() || ids.contains(&template.id.as_str()))
            && (names.is_empty() || names.contains(&template.name.as_str()))
            && filters.hold(&template.tags, |name| {
                vec![if name == "create-time" { moment(template.created) } else { template.name.clone() }]
            })
    };
    let (found, next) = page.cut(seen(context, state).filter(chosen), |template| template.id.clone());
    let mut xml = Xml::default();
    xml.items("launchTemplates", found, write);
    xml.maybe("nextToken", next);
    Ok(xml)
}

fn write(xml: &mut Xml, template: &LaunchTemplate) {
    xml.text("launchTemplateId", &template.id);
    xml.text("launchTemplateName", &template.name);
    xml.moment("createTime", template.created);
    xml.text("createdBy", maker(&template.account));
    xml.text("defaultVersionNumber", template.default_version);
    xml.text("latestVersionNumber", template.latest());
    xml.tags(&template.tags);
}

/// Who made a launch template or a version of it: nobody keeps count here.
pub(super) fn maker(account: &str) -> String {
    format!("arn:aws:iam::{account}:root")
}

fn answer(template: &LaunchTemplate) -> Xml {
    let mut xml = Xml::default();
    xml.group("launchTemplate", |xml| write(xml, template));
    xml
}

pub(super) fn create(context: &Context<'_>, state: &mut State) -> Answer<Xml> {
    let params = &context.params;
    let name = params.required("LaunchTemplateName")?;
    let allowed = |one: char| one.is_ascii_alphanumeric() || "().-/_".contains(one);
    if !(3..=128).contains(&name.len()) || !name.chars().all(allowed) {
        let message = "A launch template name must be between 3 and 128 characters, and may contain letters, \
                       numbers, and the following characters: - ( ) . / _";
        return Err(Ec2Error::new("InvalidLaunchTemplateName.MalformedException", message));
    }
    let limit = context.settings().quotas.tags_per_resource;
    let mut tags = params.tag_specifications(&["launch-template"], limit)?;
    let (token, fingerprint) = token_of(context);
    if let Some(id) = used_token(context, state, token.as_ref())? {
        context.end_dry_run()?;
        return state.templates.get(&id).map(answer).ok_or_else(|| no_id(&id));
    }
    let version = version_of(context, None)?;
    let on_new = context.on(template_arn(context.region(), context.account(), "*"));
    context.authorise([on_new.request_tags(tags.get("launch-template").unwrap_or(&BTreeMap::new()))])?;
    context.authorise_tags(&tags)?;
    let mut all = state.templates.values();
    if all.any(|one| one.account == context.account() && one.region == context.region() && one.name == name) {
        let message = format!("Launch template name already in use: {name}");
        return Err(Ec2Error::new("InvalidLaunchTemplateName.AlreadyExistsException", message));
    }
    context.end_dry_run()?;

    let template = LaunchTemplate {
        id: state.new_id("lt"),
        account: context.account().into(),
        region: context.region().into(),
        name: name.into(),
        created: context.now,
        default_version: 1,
        versions: BTreeMap::from([(1, version)]),
        tags: tags.remove("launch-template").unwrap_or_default(),
        visible_at: context.visible_at(),
    };
    let xml = answer(&template);
    if let Some(key) = token {
        state.tokens.insert(key, Token { parameters: fingerprint, result: template.id.clone() });
    }
    state.templates.insert(template.id.clone(), template);
    Ok(xml)
}

pub(super) fn modify(context: &Context<'_>, state: &mut State) -> Answer<Xml> {
    let params = &context.params;
    let template = find(context, state, params)?;
    context.authorise([on_template(context, template)])?;
    let text = params.required("SetDefaultVersion")?;
    let number = template.number(text, context.now).ok_or_else(|| no_version(template, text))?;
    let changed = LaunchTemplate { default_version: number, ..template.clone() };
    context.end_dry_run()?;
    let xml = answer(&changed);
    state.templates.insert(changed.id.clone(), changed);
    Ok(xml)
}

/// The refusal of a version that is not there.
pub(super) fn no_version(template: &LaunchTemplate, version: &str) -> Ec2Error {
    let message =
        format!("Could not find the specified version {version} for the launch template with ID {}.", template.id);
    Ec2Error::new("InvalidLaunchTemplateId.VersionNotFound", message)
}

pub(super) fn delete(context: &Context<'_>, state: &mut State) -> Answer<Xml> {
    let template = find(context, state, &context.params)?;
    context.authorise([on_template(context, template)])?;
    let (xml, id) = (answer(template), template.id.clone());
    context.end_dry_run()?;
    state.templates.remove(&id);
    Ok(xml)
}
