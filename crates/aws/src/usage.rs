//! Owns who uses images: instances, launch templates, Auto Scaling, fleets, and what EC2 knows of references to an image
//! and of its usage by other accounts.

use std::collections::{BTreeMap, BTreeSet};

use ami_backup_core::{
    Timestamp,
    cleanup::usage::{Aliases, Pin, PinnedVersion, Sighting, TemplateVersion, Templates, User},
    failure::{AwsFailure, FailureClass},
    id::{ImageId, Region},
};
use aws_sdk_autoscaling::types::{AutoScalingGroup, LaunchConfiguration, LaunchTemplateSpecification};
use aws_sdk_ec2::types::{
    FleetData, FleetLaunchTemplateSpecification, ImageReferenceOptionName, ImageReferenceResourceType,
    ImageUsageReport, ImageUsageResourceTypeRequest, LaunchTemplateVersion, ResourceTypeOption, ResourceTypeRequest,
    SpotFleetRequestConfig,
};
use futures_util::{StreamExt, TryStreamExt, stream};

use crate::{Aws, failure::Call, tags::filter};

/// Instances come in pages of up to 1,000, templates and their versions of up to 200, Auto Scaling's things of up to 100.
const INSTANCES: i32 = 1000;
const TEMPLATES: i32 = 200;
const GROUPS: i32 = 100;
/// Templates of which all versions are listed at once: more would only empty the bucket of the call sooner.
const TEMPLATES_AT_ONCE: usize = 8;
/// Versions of a template that references look at: as many as the call takes.
const DEPTH: &str = "10000";

/// What a row is called that has no name: what it names is used all the same.
const NAMELESS: &str = "without a name";

/// What launches from templates and images, and what it names.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Launchers {
    /// How many there are.
    pub count: u64,
    /// The versions of templates that they name.
    pub pins: Vec<Pin>,
    /// The images and snapshots that they name themselves.
    pub seen: Vec<Sighting>,
}

/// A report on the usage of an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UsageReport {
    /// The report.
    pub report_id: String,
    /// The image.
    pub image_id: ImageId,
    /// `pending`, `available` or `error`; empty if EC2 does not say.
    pub state: String,
    /// When it was asked for.
    pub created_at: Option<Timestamp>,
}

impl Aws {
    /// Every instance that is listed, or those of some images, with what it has for an image, and its state. Returns how
    /// many.
    ///
    /// # Errors
    /// What EC2 refused.
    pub async fn each_instance(
        &self,
        region: &Region,
        of: Option<&[ImageId]>,
        mut each: impl FnMut(Option<&str>, &str, &str),
    ) -> Result<u64, AwsFailure> {
        let call = Call::new("ec2:DescribeInstances", region);
        let filters = of.map(|images| vec![filter("image-id", images.iter().map(ImageId::as_str))]);
        let request = self.ec2(region).describe_instances().set_filters(filters).max_results(INSTANCES);
        let mut pages = request.into_paginator().send();
        let mut count = 0;
        while let Some(page) = pages.next().await {
            let page = page.map_err(|error| call.failed(error))?;
            for instance in page.reservations().iter().flat_map(|reservation| reservation.instances()) {
                let state = instance.state().and_then(|state| state.name()).map_or("", |state| state.as_str());
                each(instance.image_id(), instance.instance_id().unwrap_or(NAMELESS), state);
                count += 1;
            }
        }
        Ok(count)
    }

    /// Auto Scaling groups.
    ///
    /// # Errors
    /// What Auto Scaling refused.
    pub async fn auto_scaling_groups(&self, region: &Region) -> Result<Launchers, AwsFailure> {
        let call = Call::new("autoscaling:DescribeAutoScalingGroups", region);
        let request = self.auto_scaling(region).describe_auto_scaling_groups().max_records(GROUPS);
        let mut pages = request.into_paginator().send();
        let mut found = Launchers::default();
        while let Some(page) = pages.next().await {
            let page = page.map_err(|error| call.failed(error))?;
            page.auto_scaling_groups().iter().for_each(|group| found.add_group(group));
        }
        Ok(found)
    }

    /// Launch configurations of Auto Scaling, whether a group uses them or not.
    ///
    /// # Errors
    /// What Auto Scaling refused.
    pub async fn launch_configurations(&self, region: &Region) -> Result<Vec<Sighting>, AwsFailure> {
        let call = Call::new("autoscaling:DescribeLaunchConfigurations", region);
        let request = self.auto_scaling(region).describe_launch_configurations().max_records(GROUPS);
        let mut pages = request.into_paginator().send();
        let mut found = Vec::new();
        while let Some(page) = pages.next().await {
            let page = page.map_err(|error| call.failed(error))?;
            found.extend(page.launch_configurations().iter().map(configuration));
        }
        Ok(found)
    }

    /// EC2 Fleets and Spot Fleet requests that are not over. EC2 lists no instant fleets: their instances are all that
    /// there is of them.
    ///
    /// # Errors
    /// What EC2 refused.
    pub async fn fleets(&self, region: &Region) -> Result<Launchers, AwsFailure> {
        let mut found = Launchers::default();
        let call = Call::new("ec2:DescribeFleets", region);
        let mut pages = self.ec2(region).describe_fleets().max_results(INSTANCES).into_paginator().send();
        while let Some(page) = pages.next().await {
            let page = page.map_err(|error| call.failed(error))?;
            page.fleets().iter().for_each(|fleet| found.add_fleet(fleet));
        }
        let call = Call::new("ec2:DescribeSpotFleetRequests", region);
        let mut pages = self.ec2(region).describe_spot_fleet_requests().max_results(INSTANCES).into_paginator().send();
        while let Some(page) = pages.next().await {
            let page = page.map_err(|error| call.failed(error))?;
            page.spot_fleet_request_configs().iter().for_each(|fleet| found.add_spot_fleet(fleet));
        }
        Ok(found)
    }

    /// Versions of launch templates, and what their aliases stand for: the default, the latest and those that `pins` name
    /// of each template, and with `all` every other one too. What a pin names and is not there is not among them.
    ///
    /// # Errors
    /// What EC2 refused, a right to read what an alias stands for included.
    pub async fn launch_templates(&self, region: &Region, pins: &[Pin], all: bool) -> Result<Templates, AwsFailure> {
        let (ids, latest) = self.template_names(region).await?;
        let mut versions = self.versions_of_all_templates(region).await?;
        let listed: BTreeSet<(&str, u64)> = versions.iter().map(|one| (&*one.template_id, one.number)).collect();
        let known = |template: &str, number: u64| listed.contains(&(template, number));
        let pinned: BTreeSet<(&str, u64)> = pins
            .iter()
            .filter_map(|pin| match PinnedVersion::parse(pin.version.as_deref()) {
                Some(PinnedVersion::Number(number)) => Some((pin.template(&ids)?, number)),
                _ => None,
            })
            .filter(|(template, number)| !known(template, *number))
            .collect();
        let needs_more = |template: &str, latest: u64| {
            // Versions are counted from 1. Where the default and the latest are the only ones, nothing is missing.
            (all && (1..=latest).any(|number| !known(template, number)))
                || pinned.iter().any(|(named, _)| *named == template)
        };
        let rest = latest.iter().filter(|(template, latest)| needs_more(template, **latest));
        let rest: Vec<&str> = rest.map(|(template, _)| template.as_str()).collect();
        let more = stream::iter(rest).map(|template| self.versions_of_template(region, template));
        let more: Vec<Vec<TemplateVersion>> = more.buffered(TEMPLATES_AT_ONCE).try_collect().await?;
        let wanted = |one: &TemplateVersion| {
            !known(&one.template_id, one.number) && (all || pinned.contains(&(&*one.template_id, one.number)))
        };
        let more: Vec<TemplateVersion> = more.into_iter().flatten().filter(wanted).collect();
        versions.extend(more);
        let aliases = self.aliases(region, &versions).await?;
        Ok(Templates { count: u64::try_from(latest.len()).unwrap_or(u64::MAX), ids, versions, aliases })
    }

    /// The id of each template by its name, and the number of its latest version by its id.
    async fn template_names(
        &self,
        region: &Region,
    ) -> Result<(BTreeMap<String, String>, BTreeMap<String, u64>), AwsFailure> {
        let call = Call::new("ec2:DescribeLaunchTemplates", region);
        let mut pages = self.ec2(region).describe_launch_templates().max_results(TEMPLATES).into_paginator().send();
        let (mut names, mut latest) = (BTreeMap::new(), BTreeMap::new());
        while let Some(page) = pages.next().await {
            let page = page.map_err(|error| call.failed(error))?;
            for template in page.launch_templates() {
                let Some(id) = template.launch_template_id() else { continue };
                names.extend(template.launch_template_name().map(|name| (name.to_owned(), id.to_owned())));
                let number = template.latest_version_number().and_then(|number| u64::try_from(number).ok());
                latest.insert(id.to_owned(), number.unwrap_or_default());
            }
        }
        Ok((names, latest))
    }

    async fn versions_of_all_templates(&self, region: &Region) -> Result<Vec<TemplateVersion>, AwsFailure> {
        let call = Call::new("ec2:DescribeLaunchTemplateVersions", region);
        let request = self.ec2(region).describe_launch_template_versions().versions("$Latest").versions("$Default");
        let mut pages = request.max_results(TEMPLATES).into_paginator().send();
        let mut found = Vec::new();
        while let Some(page) = pages.next().await {
            let page = page.map_err(|error| call.failed(error))?;
            found.extend(page.launch_template_versions().iter().map(version));
        }
        Ok(found)
    }

    /// All versions of a template: none if it is gone. EC2 refuses to list some of them if one of these is gone.
    async fn versions_of_template(&self, region: &Region, template: &str) -> Result<Vec<TemplateVersion>, AwsFailure> {
        let call = Call::new("ec2:DescribeLaunchTemplateVersions", region);
        let request = self.ec2(region).describe_launch_template_versions().launch_template_id(template);
        let mut pages = request.max_results(TEMPLATES).into_paginator().send();
        let mut found = Vec::new();
        while let Some(page) = pages.next().await {
            match page.map_err(|error| call.failed(error)) {
                Ok(page) => found.extend(page.launch_template_versions().iter().map(version)),
                Err(failure) if failure.class() == FailureClass::NotFound => break,
                Err(failure) => return Err(failure),
            }
        }
        Ok(found)
    }

    /// What each alias of these versions stands for, or why for nothing.
    async fn aliases(&self, region: &Region, versions: &[TemplateVersion]) -> Result<Aliases, AwsFailure> {
        let mut named: BTreeMap<&str, Vec<&TemplateVersion>> = BTreeMap::new();
        for version in versions {
            if let Some(alias) = version.alias() {
                named.entry(alias).or_default().push(version);
            }
        }
        let aliases = stream::iter(named).map(|(alias, by)| async move {
            let meant = self.alias(region, alias, &by).await;
            meant.map(|meant| (alias.to_owned(), meant))
        });
        aliases.buffered(TEMPLATES_AT_ONCE).try_collect().await
    }

    /// What an alias stands for that these versions name. EC2 resolves aliases only where one version is asked for.
    async fn alias(
        &self,
        region: &Region,
        alias: &str,
        by: &[&TemplateVersion],
    ) -> Result<Result<String, String>, AwsFailure> {
        let call = Call::new("ec2:DescribeLaunchTemplateVersions", region);
        let mut why = String::new();
        for TemplateVersion { template_id, number, .. } in by {
            let request = self.ec2(region).describe_launch_template_versions().launch_template_id(template_id);
            let answer = request.versions(number.to_string()).resolve_alias(true).send().await;
            match answer.map_err(|error| call.failed(error)) {
                Ok(answer) => {
                    let data = answer.launch_template_versions().first().and_then(|one| one.launch_template_data());
                    let image = data.and_then(|data| data.image_id()).map(str::to_owned);
                    return Ok(image.ok_or_else(|| "EC2 tells no image for it".to_owned()));
                }
                // This version is gone, and not what it names: the next one may tell.
                Err(failure) if failure.class() == FailureClass::NotFound => why = failure.to_string(),
                Err(failure) if failure.class() == FailureClass::Refused => return Ok(Err(failure.to_string())),
                Err(failure) => {
                    let message = format!("{} [{alias} in {template_id} version {number}]", failure.message);
                    return Err(AwsFailure { message, ..failure });
                }
            }
        }
        Ok(Err(why))
    }

    /// What of the own account names these images, of which the call takes ten: instances that are not terminated, SSM
    /// parameters, recipes of Image Builder, and versions of launch templates if `templates`.
    ///
    /// # Errors
    /// What EC2 refused.
    pub async fn image_references(
        &self,
        region: &Region,
        images: &[ImageId],
        templates: bool,
    ) -> Result<Vec<Sighting>, AwsFailure> {
        let call = Call::new("ec2:DescribeImageReferences", region);
        let mut types = vec![
            wanted(
                "ec2:Instance",
                Some(("state-name", &["pending", "running", "shutting-down", "stopping", "stopped"])),
            ),
            wanted("ssm:Parameter", None),
            wanted("imagebuilder:ImageRecipe", None),
            wanted("imagebuilder:ContainerRecipe", None),
        ];
        if templates {
            types.push(wanted("ec2:LaunchTemplate", Some(("version-depth", &[DEPTH]))));
        }
        let ids = images.iter().map(ToString::to_string).collect();
        let request = self.ec2(region).describe_image_references().set_image_ids(Some(ids));
        let request = request.set_resource_types(Some(types)).max_results(INSTANCES);
        let mut pages = request.into_paginator().send();
        let mut found = Vec::new();
        while let Some(page) = pages.next().await {
            let page = page.map_err(|error| call.failed(error))?;
            for reference in page.image_references() {
                found.push(Sighting {
                    by: user(reference.resource_type().map(ImageReferenceResourceType::as_str).unwrap_or_default()),
                    id: reference.arn().unwrap_or(NAMELESS).to_owned(),
                    image: reference.image_id().map(str::to_owned),
                    snapshots: Vec::new(),
                });
            }
        }
        Ok(found)
    }

    /// The reports on the usage of these images.
    ///
    /// # Errors
    /// What EC2 refused.
    pub async fn usage_reports(&self, region: &Region, images: &[ImageId]) -> Result<Vec<UsageReport>, AwsFailure> {
        let call = Call::new("ec2:DescribeImageUsageReports", region);
        let ids = images.iter().map(ToString::to_string).collect();
        let request = self.ec2(region).describe_image_usage_reports().set_image_ids(Some(ids));
        let mut pages = request.into_paginator().send();
        let mut found = Vec::new();
        while let Some(page) = pages.next().await {
            let page = page.map_err(|error| call.failed(error))?;
            found.extend(page.image_usage_reports().iter().filter_map(usage_report));
        }
        Ok(found)
    }

    /// Asks for a report on the usage of an image by other accounts.
    ///
    /// # Errors
    /// What EC2 refused.
    pub async fn create_usage_report(&self, region: &Region, image: &ImageId, token: &str) -> Result<(), AwsFailure> {
        let call = Call::new("ec2:CreateImageUsageReport", region);
        let kind = |name: &str| ImageUsageResourceTypeRequest::builder().resource_type(name).build();
        let request = self.ec2(region).create_image_usage_report().image_id(image.as_str()).client_token(token);
        let request = request.resource_types(kind("ec2:Instance")).resource_types(kind("ec2:LaunchTemplate"));
        request.send().await.map(|_| ()).map_err(|error| call.failed(error))
    }

    /// The accounts that a report shows to use its image.
    ///
    /// # Errors
    /// What EC2 refused.
    pub async fn usage_report_accounts(&self, region: &Region, report: &str) -> Result<BTreeSet<String>, AwsFailure> {
        let call = Call::new("ec2:DescribeImageUsageReportEntries", region);
        let request = self.ec2(region).describe_image_usage_report_entries().report_ids(report);
        let mut pages = request.into_paginator().send();
        let mut accounts = BTreeSet::new();
        while let Some(page) = pages.next().await {
            let page = page.map_err(|error| call.failed(error))?;
            for entry in page.image_usage_report_entries() {
                if entry.usage_count() != Some(0) {
                    accounts.insert(entry.account_id().unwrap_or(NAMELESS).to_owned());
                }
            }
        }
        Ok(accounts)
    }
}

impl Launchers {
    fn add_group(&mut self, group: &AutoScalingGroup) {
        let name = group.auto_scaling_group_name().unwrap_or(NAMELESS);
        let by = format!("group {name}");
        let mixed = group.mixed_instances_policy().and_then(|policy| policy.launch_template());
        let overrides = mixed.map(|mixed| mixed.overrides()).unwrap_or_default();
        let named = group.launch_template().into_iter();
        let named = named.chain(mixed.and_then(|mixed| mixed.launch_template_specification()));
        let named = named.chain(overrides.iter().filter_map(|one| one.launch_template_specification()));
        self.pins.extend(named.map(|template| pin_of_group(template, &by)));
        let images = overrides.iter().filter_map(|one| one.image_id());
        self.seen.extend(images.map(|image| sighting(User::AutoScalingGroup, name, Some(image), [])));
        self.count += 1;
    }

    fn add_fleet(&mut self, fleet: &FleetData) {
        self.count += 1;
        let state = fleet.fleet_state().map(|state| state.as_str()).unwrap_or_default();
        if state.starts_with("deleted") || state == "failed" {
            return;
        }
        let id = fleet.fleet_id().unwrap_or(NAMELESS);
        for config in fleet.launch_template_configs() {
            self.pins.extend(config.launch_template_specification().map(|one| pin_of_fleet(one, id)));
            for one in config.overrides() {
                let mappings = one.block_device_mappings().iter().filter_map(|one| one.ebs()?.snapshot_id());
                self.seen.push(sighting(User::Fleet, id, one.image_id(), mappings));
            }
        }
    }

    fn add_spot_fleet(&mut self, fleet: &SpotFleetRequestConfig) {
        self.count += 1;
        let state = fleet.spot_fleet_request_state().map(|state| state.as_str()).unwrap_or_default();
        if state.starts_with("cancelled") || state == "failed" {
            return;
        }
        let id = fleet.spot_fleet_request_id().unwrap_or(NAMELESS);
        let Some(config) = fleet.spot_fleet_request_config() else { return };
        for one in config.launch_specifications() {
            let mappings = one.block_device_mappings().iter().filter_map(|one| one.ebs()?.snapshot_id());
            self.seen.push(sighting(User::SpotFleet, id, one.image_id(), mappings));
        }
        for config in config.launch_template_configs() {
            self.pins.extend(config.launch_template_specification().map(|one| pin_of_fleet(one, id)));
        }
    }
}

fn pin_of_group(template: &LaunchTemplateSpecification, by: &str) -> Pin {
    Pin {
        template_id: template.launch_template_id().map(str::to_owned),
        template_name: template.launch_template_name().map(str::to_owned),
        version: template.version().map(str::to_owned),
        by: by.to_owned(),
    }
}

fn pin_of_fleet(template: &FleetLaunchTemplateSpecification, fleet: &str) -> Pin {
    Pin {
        template_id: template.launch_template_id().map(str::to_owned),
        template_name: template.launch_template_name().map(str::to_owned),
        version: template.version().map(str::to_owned),
        by: format!("fleet {fleet}"),
    }
}

/// What a row names, as people typed it.
fn sighting<'a>(by: User, id: &str, image: Option<&str>, snapshots: impl IntoIterator<Item = &'a str>) -> Sighting {
    let snapshots = snapshots.into_iter().map(str::to_owned).collect();
    Sighting { by, id: id.to_owned(), image: image.map(str::to_owned), snapshots }
}

fn configuration(one: &LaunchConfiguration) -> Sighting {
    let name = one.launch_configuration_name().unwrap_or(NAMELESS);
    let mappings = one.block_device_mappings().iter().filter_map(|one| one.ebs()?.snapshot_id());
    sighting(User::LaunchConfiguration, name, one.image_id(), mappings)
}

fn version(one: &LaunchTemplateVersion) -> TemplateVersion {
    let data = one.launch_template_data();
    let mappings = data.map(|data| data.block_device_mappings()).unwrap_or_default();
    let snapshots = mappings.iter().filter_map(|one| one.ebs()?.snapshot_id()).map(str::to_owned);
    TemplateVersion {
        template_id: one.launch_template_id().unwrap_or(NAMELESS).to_owned(),
        number: one.version_number().and_then(|number| u64::try_from(number).ok()).unwrap_or_default(),
        default: one.default_version() == Some(true),
        image: data.and_then(|data| data.image_id()).map(str::to_owned),
        snapshots: snapshots.collect(),
    }
}

fn wanted(kind: &str, option: Option<(&str, &[&str])>) -> ResourceTypeRequest {
    let option = option.map(|(name, values)| {
        let values = values.iter().map(|value| (*value).to_owned()).collect();
        let option = ResourceTypeOption::builder().option_name(ImageReferenceOptionName::from(name));
        vec![option.set_option_values(Some(values)).build()]
    });
    let request = ResourceTypeRequest::builder().resource_type(ImageReferenceResourceType::from(kind));
    request.set_resource_type_options(option).build()
}

fn user(kind: &str) -> User {
    match kind {
        "ec2:Instance" => User::Instance,
        "ec2:LaunchTemplate" => User::LaunchTemplate,
        "ssm:Parameter" => User::Parameter,
        "imagebuilder:ImageRecipe" => User::ImageRecipe,
        "imagebuilder:ContainerRecipe" => User::ContainerRecipe,
        _ => User::Other,
    }
}

/// Nothing of a report that cannot be told apart from others: it is as good as none.
fn usage_report(report: &ImageUsageReport) -> Option<UsageReport> {
    Some(UsageReport {
        report_id: report.report_id()?.to_owned(),
        image_id: report.image_id()?.parse().ok()?,
        state: report.state().unwrap_or_default().to_owned(),
        created_at: report.creation_time().and_then(|at| Timestamp::from_second(at.secs()).ok()),
    })
}
