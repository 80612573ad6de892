//! Owns who uses images: instances, launch templates, Auto Scaling, fleets, and what EC2 knows of references to an image
//! and of its usage by other accounts.

use std::collections::{BTreeMap, BTreeSet};

use ami_backup_core::{
    Timestamp,
    cleanup::usage::{Pin, PinnedVersion, Sighting, TemplateVersion, User},
    failure::AwsFailure,
    id::{ImageId, Region, SnapshotId},
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

/// What launches from templates and images, and what it names.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Launchers {
    /// How many there are.
    pub count: u64,
    /// The versions of templates that they name.
    pub pins: Vec<NamedPin>,
    /// The images and snapshots that they name themselves.
    pub seen: Vec<Sighting>,
}

/// A version of a template, which may be named by its template's name instead of its id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedPin {
    id: Option<String>,
    name: Option<String>,
    version: Option<PinnedVersion>,
    by: String,
}

/// Versions of launch templates, and who launches from which.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Templates {
    /// How many templates there are.
    pub count: u64,
    /// Versions.
    pub versions: Vec<TemplateVersion>,
    /// What groups and fleets launch from.
    pub pins: Vec<Pin>,
}

/// A report on the usage of an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UsageReport {
    /// The report.
    pub report_id: String,
    /// The image.
    pub image_id: ImageId,
    /// `pending`, `available` or `failed`.
    pub state: String,
    /// When it was asked for.
    pub created_at: Option<Timestamp>,
}

impl Aws {
    /// Every instance that is listed, or those of some images, with its image and its state. Returns how many.
    ///
    /// # Errors
    /// What EC2 refused.
    pub async fn each_instance(
        &self,
        region: &Region,
        of: Option<&[ImageId]>,
        mut each: impl FnMut(ImageId, &str, &str),
    ) -> Result<u64, AwsFailure> {
        let call = Call::new("ec2:DescribeInstances", region);
        let filters = of.map(|images| vec![filter("image-id", images.iter().map(ImageId::as_str))]);
        let request = self.ec2(region).describe_instances().set_filters(filters).max_results(INSTANCES);
        let mut pages = request.into_paginator().send();
        let mut count = 0;
        while let Some(page) = pages.next().await {
            let page = page.map_err(|error| call.failed(error))?;
            for instance in page.reservations().iter().flat_map(|reservation| reservation.instances()) {
                let id = call.required(instance.instance_id(), "InstanceId")?;
                let state = call.required(instance.state().and_then(|state| state.name()), "State")?;
                each(call.parsed(instance.image_id(), "ImageId")?, id, state.as_str());
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
            page.auto_scaling_groups().iter().try_for_each(|group| found.add_group(&call, group))?;
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
            for one in page.launch_configurations() {
                found.push(configuration(&call, one)?);
            }
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
            page.fleets().iter().try_for_each(|fleet| found.add_fleet(&call, fleet))?;
        }
        let call = Call::new("ec2:DescribeSpotFleetRequests", region);
        let mut pages = self.ec2(region).describe_spot_fleet_requests().max_results(INSTANCES).into_paginator().send();
        while let Some(page) = pages.next().await {
            let page = page.map_err(|error| call.failed(error))?;
            page.spot_fleet_request_configs().iter().try_for_each(|fleet| found.add_spot_fleet(&call, fleet))?;
        }
        Ok(found)
    }

    /// Versions of launch templates, with their aliases resolved: the default, the latest and those that `pins` name of
    /// each template, and with `all` every other one too.
    ///
    /// # Errors
    /// What EC2 refused; an alias that cannot be resolved is a refusal.
    pub async fn launch_templates(
        &self,
        region: &Region,
        pins: &[NamedPin],
        all: bool,
    ) -> Result<Templates, AwsFailure> {
        let (names, latest) = self.template_names(region).await?;
        let pins: Vec<Pin> = pins.iter().filter_map(|pin| pin.resolved(&names)).collect();
        let mut versions = self.versions_of_all_templates(region).await?;
        let listed: BTreeSet<(&str, u64)> = versions.iter().map(|one| (&*one.template_id, one.number)).collect();
        let rest: Vec<(&str, Vec<String>)> = latest
            .iter()
            .filter_map(|(template, latest)| {
                let known = |number: u64| listed.contains(&(&**template, number));
                // Versions are counted from 1. Where the default and the latest are the only ones, nothing is missing.
                if all {
                    return (1..=*latest).any(|number| !known(number)).then(|| (&**template, Vec::new()));
                }
                let pinned = pins.iter().filter(|pin| pin.template_id == *template);
                let numbers: BTreeSet<u64> = pinned
                    .filter_map(|pin| match pin.version {
                        PinnedVersion::Number(number) => Some(number),
                        PinnedVersion::Default | PinnedVersion::Latest => None,
                    })
                    .filter(|number| !known(*number))
                    .collect();
                (!numbers.is_empty()).then(|| (&**template, numbers.iter().map(u64::to_string).collect()))
            })
            .collect();
        let more = stream::iter(rest).map(|(template, numbers)| self.versions_of_template(region, template, numbers));
        let more: Vec<Vec<TemplateVersion>> = more.buffered(TEMPLATES_AT_ONCE).try_collect().await?;
        let new = |one: &TemplateVersion| !listed.contains(&(&*one.template_id, one.number));
        let more: Vec<TemplateVersion> = more.into_iter().flatten().filter(new).collect();
        versions.extend(more);
        Ok(Templates { count: u64::try_from(latest.len()).unwrap_or(u64::MAX), versions, pins })
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
                let id = call.required(template.launch_template_id(), "LaunchTemplateId")?;
                let name = call.required(template.launch_template_name(), "LaunchTemplateName")?;
                let number = call.required(template.latest_version_number(), "LatestVersionNumber")?;
                names.insert(name.to_owned(), id.to_owned());
                latest.insert(id.to_owned(), u64::try_from(number).unwrap_or_default());
            }
        }
        Ok((names, latest))
    }

    async fn versions_of_all_templates(&self, region: &Region) -> Result<Vec<TemplateVersion>, AwsFailure> {
        let call = Call::new("ec2:DescribeLaunchTemplateVersions", region);
        let request = self.ec2(region).describe_launch_template_versions().versions("$Latest").versions("$Default");
        let mut pages = request.resolve_alias(true).max_results(TEMPLATES).into_paginator().send();
        let mut found = Vec::new();
        while let Some(page) = pages.next().await {
            let page = page.map_err(|error| call.failed(error))?;
            for one in page.launch_template_versions() {
                found.push(version(&call, one)?);
            }
        }
        Ok(found)
    }

    /// These versions of a template, or all of them.
    async fn versions_of_template(
        &self,
        region: &Region,
        template: &str,
        numbers: Vec<String>,
    ) -> Result<Vec<TemplateVersion>, AwsFailure> {
        let call = Call::new("ec2:DescribeLaunchTemplateVersions", region);
        let request = self.ec2(region).describe_launch_template_versions().launch_template_id(template);
        let numbers = (!numbers.is_empty()).then_some(numbers);
        // EC2 takes no page size beside a list of versions.
        let size = numbers.is_none().then_some(TEMPLATES);
        let mut pages = request.set_versions(numbers).resolve_alias(true).set_max_results(size).into_paginator().send();
        let mut found = Vec::new();
        while let Some(page) = pages.next().await {
            let page = page.map_err(|error| call.failed(error))?;
            for one in page.launch_template_versions() {
                found.push(version(&call, one)?);
            }
        }
        Ok(found)
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
                    id: call.required(reference.arn(), "Arn")?.to_owned(),
                    image: Some(call.parsed(reference.image_id(), "ImageId")?),
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
            for report in page.image_usage_reports() {
                found.push(usage_report(&call, report)?);
            }
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
                    accounts.insert(call.required(entry.account_id(), "AccountId")?.to_owned());
                }
            }
        }
        Ok(accounts)
    }
}

impl NamedPin {
    /// By its template's id. `None` if there is no such template any more, or no service writes such a version.
    fn resolved(&self, ids: &BTreeMap<String, String>) -> Option<Pin> {
        let by_name = || ids.get(self.name.as_ref()?).cloned();
        let template_id = self.id.clone().or_else(by_name)?;
        Some(Pin { template_id, version: self.version?, by: self.by.clone() })
    }
}

impl Launchers {
    fn add_group(&mut self, call: &Call<'_>, group: &AutoScalingGroup) -> Result<(), AwsFailure> {
        let name = call.required(group.auto_scaling_group_name(), "AutoScalingGroupName")?;
        let by = format!("group {name}");
        let mixed = group.mixed_instances_policy().and_then(|policy| policy.launch_template());
        let overrides = mixed.map(|mixed| mixed.overrides()).unwrap_or_default();
        let named = group.launch_template().into_iter();
        let named = named.chain(mixed.and_then(|mixed| mixed.launch_template_specification()));
        let named = named.chain(overrides.iter().filter_map(|one| one.launch_template_specification()));
        self.pins.extend(named.map(|template| pin_of_group(template, &by)));
        for image in overrides.iter().filter_map(|one| one.image_id()) {
            self.seen.extend(sighting(call, User::AutoScalingGroup, name, Some(image), [])?);
        }
        self.count += 1;
        Ok(())
    }

    fn add_fleet(&mut self, call: &Call<'_>, fleet: &FleetData) -> Result<(), AwsFailure> {
        self.count += 1;
        let state = fleet.fleet_state().map(|state| state.as_str()).unwrap_or_default();
        if state.starts_with("deleted") || state == "failed" {
            return Ok(());
        }
        let id = call.required(fleet.fleet_id(), "FleetId")?;
        for config in fleet.launch_template_configs() {
            self.pins.extend(config.launch_template_specification().map(|one| pin_of_fleet(one, id)));
            for one in config.overrides() {
                let mappings = one.block_device_mappings().iter().filter_map(|one| one.ebs()?.snapshot_id());
                self.seen.extend(sighting(call, User::Fleet, id, one.image_id(), mappings)?);
            }
        }
        Ok(())
    }

    fn add_spot_fleet(&mut self, call: &Call<'_>, fleet: &SpotFleetRequestConfig) -> Result<(), AwsFailure> {
        self.count += 1;
        let state = fleet.spot_fleet_request_state().map(|state| state.as_str()).unwrap_or_default();
        if state.starts_with("cancelled") || state == "failed" {
            return Ok(());
        }
        let id = call.required(fleet.spot_fleet_request_id(), "SpotFleetRequestId")?;
        let Some(config) = fleet.spot_fleet_request_config() else { return Ok(()) };
        for one in config.launch_specifications() {
            let mappings = one.block_device_mappings().iter().filter_map(|one| one.ebs()?.snapshot_id());
            self.seen.extend(sighting(call, User::SpotFleet, id, one.image_id(), mappings)?);
        }
        for config in config.launch_template_configs() {
            self.pins.extend(config.launch_template_specification().map(|one| pin_of_fleet(one, id)));
        }
        Ok(())
    }
}

fn pin_of_group(template: &LaunchTemplateSpecification, by: &str) -> NamedPin {
    NamedPin {
        id: template.launch_template_id().map(str::to_owned),
        name: template.launch_template_name().map(str::to_owned),
        version: PinnedVersion::parse(template.version()),
        by: by.to_owned(),
    }
}

fn pin_of_fleet(template: &FleetLaunchTemplateSpecification, fleet: &str) -> NamedPin {
    NamedPin {
        id: template.launch_template_id().map(str::to_owned),
        name: template.launch_template_name().map(str::to_owned),
        version: PinnedVersion::parse(template.version()),
        by: format!("fleet {fleet}"),
    }
}

/// Nothing, if neither an image nor a snapshot is named.
fn sighting<'a>(
    call: &Call<'_>,
    by: User,
    id: &str,
    image: Option<&str>,
    snapshots: impl IntoIterator<Item = &'a str>,
) -> Result<Option<Sighting>, AwsFailure> {
    // What launches by an alias, or leaves its image to a template, is no id.
    let image = image.filter(|image| image.starts_with("ami-"));
    let image = image.map(|image| call.parsed(Some(image), "ImageId")).transpose()?;
    let snapshots = snapshots.into_iter().filter(|id| !id.is_empty());
    let snapshots = snapshots.map(|id| call.parsed(Some(id), "SnapshotId")).collect::<Result<Vec<SnapshotId>, _>>()?;
    if image.is_none() && snapshots.is_empty() {
        return Ok(None);
    }
    Ok(Some(Sighting { by, id: id.to_owned(), image, snapshots }))
}

fn configuration(call: &Call<'_>, one: &LaunchConfiguration) -> Result<Sighting, AwsFailure> {
    let name = call.required(one.launch_configuration_name(), "LaunchConfigurationName")?;
    let mappings = one.block_device_mappings().iter().filter_map(|one| one.ebs()?.snapshot_id());
    let seen = sighting(call, User::LaunchConfiguration, name, one.image_id(), mappings)?;
    call.required(seen, "ImageId")
}

fn version(call: &Call<'_>, one: &LaunchTemplateVersion) -> Result<TemplateVersion, AwsFailure> {
    let template_id = call.required(one.launch_template_id(), "LaunchTemplateId")?.to_owned();
    let number = call.required(one.version_number(), "VersionNumber")?;
    let data = one.launch_template_data();
    let mappings = data.map(|data| data.block_device_mappings()).unwrap_or_default();
    let mappings = mappings.iter().filter_map(|one| one.ebs()?.snapshot_id());
    let seen = sighting(call, User::LaunchTemplate, &template_id, data.and_then(|data| data.image_id()), mappings)?;
    let (image, snapshots) = seen.map(|seen| (seen.image, seen.snapshots)).unwrap_or_default();
    Ok(TemplateVersion {
        template_id,
        number: u64::try_from(number).map_err(|_| call.malformed(format!("the answer's VersionNumber is {number}")))?,
        default: one.default_version() == Some(true),
        image,
        snapshots,
    })
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

fn usage_report(call: &Call<'_>, report: &ImageUsageReport) -> Result<UsageReport, AwsFailure> {
    Ok(UsageReport {
        report_id: call.required(report.report_id(), "ReportId")?.to_owned(),
        image_id: call.parsed(report.image_id(), "ImageId")?,
        state: call.required(report.state(), "State")?.to_owned(),
        created_at: report.creation_time().and_then(|at| Timestamp::from_second(at.secs()).ok()),
    })
}
