//! Owns versions of launch templates: DescribeLaunchTemplateVersions and CreateLaunchTemplateVersion.

use super::aliases;
use super::context::Context;
use super::copy::{token_of, used_token};
use super::create::check_description;
use super::errors::{Answer, Ec2Error};
use super::filters::{Filters, Page};
use super::templates::{find, maker, no_version, on_template, seen};
use super::xml::{Xml, moment};
use crate::world::state::{State, Token};
use crate::world::{LaunchTemplate, Tags, TemplateVersion};

const FILTERS: &[&str] = &["create-time", "image-id", "instance-type", "is-default-version"];

/// As EC2 refuses to resolve aliases in a listing (evidence in the README).
const SINGLE_VERSION: &str = "Resource aliasing (resolveAlias) is only supported when doing single version describe";

/// A version on its way into an answer.
struct Row<'s> {
    template: &'s LaunchTemplate,
    number: u64,
    version: &'s TemplateVersion,
    /// The image as it is shown: the alias, or what it stands for.
    image: Option<String>,
}

pub(super) fn describe(context: &Context<'_>, state: &State) -> Answer<Xml> {
    context.authorise_listing()?;
    let params = &context.params;
    let filters = Filters::read(params, FILTERS)?;
    let page = Page::read(context, (1, 200))?;
    let named = params.get("LaunchTemplateId").is_some() || params.get("LaunchTemplateName").is_some();
    let resolves = params.flag("ResolveAlias")?;
    if resolves && !(named && params.list("LaunchTemplateVersion").len() == 1) {
        return Err(Ec2Error::combination(SINGLE_VERSION));
    }
    let mut rows = if named { rows_of_one(context, state)? } else { rows_of_all(context, state)? };
    if resolves {
        for row in &mut rows {
            let shown = row.image.take().map(|image| aliases::resolve(context, state, &image)).transpose()?;
            row.image = shown;
        }
    }
    context.end_dry_run()?;
    let filtered_by_shown = context.choices().alias_filter_resolves;
    rows.retain(|row| {
        let image = if filtered_by_shown { &row.image } else { &row.version.image_id };
        filters.hold(&Tags::new(), |name| field(row, image.as_deref(), name))
    });
    // The newest version of a template comes first.
    let place = |row: &Row<'_>| format!("{}/{:020}", row.template.id, u64::MAX - row.number);
    rows.sort_by_key(place);
    let (rows, next) = page.cut(rows, place);
    let mut xml = Xml::default();
    xml.items("launchTemplateVersionSet", rows, |xml, row| {
        write(xml, row.template, row.number, row.version, row.image.as_deref());
    });
    xml.maybe("nextToken", next);
    Ok(xml)
}

fn field(row: &Row<'_>, image: Option<&str>, name: &str) -> Vec<String> {
    match name {
        "create-time" => vec![moment(row.version.created)],
        "image-id" => image.map(str::to_owned).into_iter().collect(),
        "instance-type" => row.version.instance_type.iter().cloned().collect(),
        _ => vec![(row.number == row.template.default_version).to_string()],
    }
}

/// The versions of the launch template that the call names: those that it lists, those between two
/// numbers, or all.
fn rows_of_one<'s>(context: &Context<'_>, state: &'s State) -> Answer<Vec<Row<'s>>> {
    let params = &context.params;
    let template = find(context, state, params)?;
    let (least, most) = (params.number("MinVersion")?, params.number("MaxVersion")?);
    let listed = params.list("LaunchTemplateVersion");
    if !listed.is_empty() && (least.is_some() || most.is_some()) {
        return Err(Ec2Error::combination("Versions cannot be specified together with MinVersion or MaxVersion."));
    }
    let mut wanted = Vec::new();
    for text in &listed {
        wanted.push(template.number(text, context.now).ok_or_else(|| no_version(template, text))?);
    }
    let inside = |number: u64| {
        if listed.is_empty() {
            least.is_none_or(|least| least <= number) && most.is_none_or(|most| number <= most)
        } else {
            wanted.contains(&number)
        }
    };
    let seen = template.newest(usize::MAX, context.now).filter(|(number, _)| inside(*number));
    Ok(seen.map(|(number, version)| row(template, number, version)).collect())
}

/// The latest, the default, or both versions of every launch template.
fn rows_of_all<'s>(context: &Context<'_>, state: &'s State) -> Answer<Vec<Row<'s>>> {
    let params = &context.params;
    let wanted = params.list("LaunchTemplateVersion");
    if wanted.is_empty() {
        return Err(Ec2Error::missing("LaunchTemplateId"));
    }
    let ranged = params.get("MinVersion").is_some() || params.get("MaxVersion").is_some();
    if ranged || wanted.iter().any(|text| !["$Latest", "$Default"].contains(text)) {
        let message = "Without a launch template, only the versions $Latest and $Default can be described.";
        return Err(Ec2Error::invalid(message));
    }
    let mut rows = Vec::new();
    for template in seen(context, state) {
        let mut numbers: Vec<u64> = wanted.iter().filter_map(|text| template.number(text, context.now)).collect();
        numbers.sort_unstable();
        numbers.dedup();
        let versions = numbers.into_iter().filter_map(|number| Some((number, template.seen(number, context.now)?)));
        rows.extend(versions.map(|(number, version)| row(template, number, version)));
    }
    Ok(rows)
}

fn row<'s>(template: &'s LaunchTemplate, number: u64, version: &'s TemplateVersion) -> Row<'s> {
    Row { template, number, version, image: version.image_id.clone() }
}

fn write(xml: &mut Xml, template: &LaunchTemplate, number: u64, version: &TemplateVersion, image: Option<&str>) {
    xml.text("launchTemplateId", &template.id);
    xml.text("launchTemplateName", &template.name);
    xml.text("versionNumber", number);
    xml.unless_empty("versionDescription", &version.description);
    xml.moment("createTime", version.created);
    xml.text("createdBy", maker(&template.account));
    xml.text("defaultVersion", number == template.default_version);
    xml.group("launchTemplateData", |xml| {
        xml.maybe("imageId", image);
        xml.maybe("instanceType", version.instance_type.as_ref());
        if !version.devices.is_empty() {
            xml.items("blockDeviceMappingSet", &version.devices, |xml, (device, snapshot)| {
                xml.text("deviceName", device);
                xml.group("ebs", |xml| xml.text("snapshotId", snapshot));
            });
        }
    });
}

/// The version that the call describes, on top of `source`.
pub(super) fn version_of(context: &Context<'_>, source: Option<&TemplateVersion>) -> Answer<TemplateVersion> {
    let params = &context.params;
    let description = params.get("VersionDescription").unwrap_or_default();
    check_description(description)?;
    let data = params.structure("LaunchTemplateData");
    if data.is_empty() && source.is_none() {
        return Err(Ec2Error::missing("LaunchTemplateData"));
    }
    let given = |name: &str, of: fn(&TemplateVersion) -> &Option<String>| {
        data.get(name).map(str::to_owned).or_else(|| source.and_then(|source| of(source).clone()))
    };
    // Snapshots are not inherited (API reference, CreateLaunchTemplateVersion).
    let mut devices = Vec::new();
    for mapping in data.structures("BlockDeviceMapping") {
        if let Some(snapshot) = mapping.structure("Ebs").get("SnapshotId") {
            devices.push((mapping.get("DeviceName").unwrap_or_default().to_owned(), snapshot.to_owned()));
        }
    }
    Ok(TemplateVersion {
        image_id: given("ImageId", |version| &version.image_id),
        instance_type: given("InstanceType", |version| &version.instance_type),
        devices,
        description: description.into(),
        created: context.now,
        visible_at: context.visible_at(),
    })
}

pub(super) fn create(context: &Context<'_>, state: &mut State) -> Answer<Xml> {
    let params = &context.params;
    let template = find(context, state, params)?;
    context.authorise([on_template(context, template)])?;
    let (token, fingerprint) = token_of(context);
    if let Some(number) = used_token(context, state, token.as_ref())? {
        context.end_dry_run()?;
        return Ok(answer(template, number.parse().unwrap_or_default()));
    }
    let source = match params.get("SourceVersion") {
        None => None,
        Some(text) => {
            let number = template.number(text, context.now).ok_or_else(|| no_version(template, text))?;
            template.versions.get(&number)
        }
    };
    let version = version_of(context, source)?;
    context.end_dry_run()?;
    let mut changed = template.clone();
    let number = changed.latest() + 1;
    changed.versions.insert(number, version);
    let xml = answer(&changed, number);
    if let Some(key) = token {
        state.tokens.insert(key, Token { parameters: fingerprint, result: number.to_string() });
    }
    state.templates.insert(changed.id.clone(), changed);
    Ok(xml)
}

fn answer(template: &LaunchTemplate, number: u64) -> Xml {
    let mut xml = Xml::default();
    if let Some(version) = template.versions.get(&number) {
        xml.group("launchTemplateVersion", |xml| {
            write(xml, template, number, version, version.image_id.as_deref());
        });
    }
    xml
}
