//! Owns DescribeImageReferences: what of the account names an image.

use super::aliases::parameter_arn;
use super::context::{Context, check_id};
use super::errors::{Answer, Ec2Error};
use super::filters::Page;
use super::params::Params;
use super::templates::{seen, template_arn};
use super::xml::Xml;
use crate::account::Recipe;
use crate::permissions::Request;
use crate::world::Owned;
use crate::world::state::State;

/// Most images of one call, and how many versions of a launch template are looked at (API reference).
const MOST_IMAGES: usize = 10;
const DEFAULT_DEPTH: usize = 10;
const MOST_DEPTH: u64 = 10_000;

/// Every type, with what its caller must be allowed to find things of it.
const TYPES: &[(&str, &[&str])] = &[
    ("ec2:Instance", &["ec2:DescribeInstances"]),
    ("ec2:LaunchTemplate", &["ec2:DescribeLaunchTemplates", "ec2:DescribeLaunchTemplateVersions"]),
    ("ssm:Parameter", &["ssm:DescribeParameters", "ssm:GetParameters"]),
    ("imagebuilder:ImageRecipe", &["imagebuilder:ListImageRecipes", "imagebuilder:GetImageRecipe"]),
    ("imagebuilder:ContainerRecipe", &["imagebuilder:ListContainerRecipes", "imagebuilder:GetContainerRecipe"]),
];

/// A type that is looked for, and how.
struct Wanted {
    kind: &'static str,
    rights: &'static [&'static str],
    /// States of instances; empty: all.
    states: Vec<String>,
    /// How many of the newest versions of a launch template.
    depth: usize,
}

/// One thing that names an image.
struct Reference {
    image: String,
    kind: &'static str,
    arn: String,
}

pub(super) fn describe(context: &Context<'_>, state: &State) -> Answer<Xml> {
    context.authorise_listing()?;
    let page = Page::read(context, (5, 1_000))?;
    let ids = context.params.list("ImageId");
    if ids.is_empty() {
        return Err(Ec2Error::missing("ImageId"));
    }
    if ids.len() > MOST_IMAGES {
        return Err(Ec2Error::invalid(format!("At most {MOST_IMAGES} image IDs can be specified")));
    }
    for id in &ids {
        check_id(id, "ami", "InvalidAMIID.Malformed")?;
    }
    let wanted = wanted(&context.params)?;
    for right in wanted.iter().flat_map(|wanted| wanted.rights) {
        let request = Request::new(*right, "*").with("aws:CalledVia", "ec2-images.amazonaws.com");
        if !context.implied(&request) {
            return Err(Ec2Error::unauthorised(right, "*"));
        }
    }
    context.end_dry_run()?;
    let mut found: Vec<Reference> = wanted.iter().flat_map(|wanted| references(context, state, &ids, wanted)).collect();
    found.retain(|reference| ids.contains(&reference.image.as_str()));
    let place = |reference: &Reference| format!("{}/{}/{}", reference.image, reference.kind, reference.arn);
    found.sort_by_key(place);
    let (found, next) = page.cut(found, place);
    let mut xml = Xml::default();
    xml.items("imageReferenceSet", found, |xml, reference| {
        xml.text("imageId", reference.image);
        xml.text("resourceType", reference.kind);
        xml.text("arn", reference.arn);
    });
    xml.maybe("nextToken", next);
    Ok(xml)
}

/// The types that the call names with their options; all of them, if it says so.
fn wanted(params: &Params) -> Answer<Vec<Wanted>> {
    let everything = params.flag("IncludeAllResourceTypes")?;
    let named = params.structures("ResourceType");
    if !everything && named.is_empty() {
        return Err(Ec2Error::missing("ResourceTypes"));
    }
    let mut wanted: Vec<Wanted> = Vec::new();
    for entry in &named {
        let name = entry.required("ResourceType")?;
        let known = TYPES.iter().find(|(kind, _)| *kind == name);
        let &(kind, rights) = known.ok_or_else(|| Ec2Error::invalid(format!("Invalid resource type '{name}'")))?;
        let mut one = Wanted { kind, rights, states: Vec::new(), depth: DEFAULT_DEPTH };
        for option in entry.structures("ResourceTypeOption") {
            let values = option.list("OptionValue");
            match (kind, option.required("OptionName")?) {
                ("ec2:Instance", "state-name") => one.states = values.into_iter().map(Into::into).collect(),
                ("ec2:LaunchTemplate", "version-depth") => one.depth = depth(&values)?,
                (kind, other) => return Err(Ec2Error::invalid(format!("Invalid option '{other}' for {kind}"))),
            }
        }
        wanted.push(one);
    }
    for &(kind, rights) in TYPES.iter().filter(|_| everything) {
        if !wanted.iter().any(|wanted| wanted.kind == kind) {
            wanted.push(Wanted { kind, rights, states: Vec::new(), depth: DEFAULT_DEPTH });
        }
    }
    Ok(wanted)
}

/// The value of an option `version-depth`.
pub(super) fn depth(values: &[&str]) -> Answer<usize> {
    let number = match values {
        [one] => one.parse().ok().filter(|depth| (1..=MOST_DEPTH).contains(depth)),
        _ => None,
    };
    let number = number.and_then(|number| usize::try_from(number).ok());
    number.ok_or_else(|| Ec2Error::invalid(format!("version-depth must be one number between 1 and {MOST_DEPTH}")))
}

/// Everything of one type that names an image. An alias names none. Of instances and launch templates, of which there
/// are many, only those that name one of `ids`.
fn references(context: &Context<'_>, state: &State, ids: &[&str], wanted: &Wanted) -> Vec<Reference> {
    let (account, region) = (context.account(), context.region());
    let reference = |image: &str, arn: String| Reference { image: image.into(), kind: wanted.kind, arn };
    match wanted.kind {
        "ec2:Instance" => {
            let seen = state.instances.values().filter(|one| context.sees_instance(one));
            let asked = seen.filter(|one| {
                ids.contains(&one.image_id.as_str()) && (wanted.states.is_empty() || wanted.states.contains(&one.state))
            });
            let arn = |id: &str| format!("arn:aws:ec2:{region}:{account}:instance/{id}");
            asked.map(|one| reference(&one.image_id, arn(&one.id))).collect()
        }
        "ec2:LaunchTemplate" => {
            let mut all = Vec::new();
            for template in seen(context, state) {
                let newest = template.newest(wanted.depth, context.now);
                let mut images: Vec<&str> = newest.filter_map(|(_, version)| version.image_id.as_deref()).collect();
                images.retain(|image| ids.contains(image));
                images.sort_unstable();
                images.dedup();
                all.extend(
                    images.into_iter().map(|image| reference(image, template_arn(region, account, &template.id))),
                );
            }
            all
        }
        "ssm:Parameter" => {
            let all = state.uses.ssm_parameters.iter();
            let ours = all.filter(|one| one.account == account && one.it.region == region);
            let latest = ours.filter(|one| {
                let mut all = state.uses.ssm_parameters.iter();
                !all.any(|other| {
                    (&other.account, &other.it.region, &other.it.name) == (&one.account, &one.it.region, &one.it.name)
                        && other.it.version > one.it.version
                })
            });
            latest.map(|one| reference(&one.it.value, parameter_arn(region, account, &one.it.name))).collect()
        }
        "imagebuilder:ImageRecipe" => recipes(&state.uses.image_recipes, account, region, reference),
        _ => recipes(&state.uses.container_recipes, account, region, reference),
    }
}

fn recipes(
    all: &[Owned<Recipe>],
    account: &str,
    region: &str,
    reference: impl Fn(&str, String) -> Reference,
) -> Vec<Reference> {
    let ours = all.iter().filter(|one| one.account == account && one.it.region == region);
    ours.map(|one| reference(&one.it.image_id, one.it.arn.clone())).collect()
}
