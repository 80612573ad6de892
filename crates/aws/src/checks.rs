//! Owns looking at single images and snapshots: whether anybody holds or uses them at the moment.
//!
//! Like [`crate::survey`], it makes several calls in a row, because a plan and its application need the same ones.

use std::collections::BTreeMap;

use ami_backup_core::{
    StepError,
    cleanup::{
        account::Source,
        plan::{Checked, Checks},
        policy::CleanupPolicy,
        reason::Reason,
        usage::{Sighting, Use, User, Uses, VersionsInUse},
    },
    failure::{AwsFailure, FailureClass},
    id::{ImageId, Region},
    image::LaunchPermissions,
};

use crate::Aws;

/// Images that DescribeImageReferences answers for in one call.
const REFERENCES: usize = 10;

impl Aws {
    /// Whether anybody holds these images: who may launch them, and what of the account names them. What a service
    /// refuses to tell keeps an image; a refusal that passes is an error, so that the step is tried again.
    ///
    /// # Errors
    /// `Throttled` and `Transient`.
    pub async fn check_images(
        &self,
        region: &Region,
        policy: &CleanupPolicy,
        ids: &[ImageId],
    ) -> Result<Checks, StepError> {
        let mut checks = Checks::new();
        // Old versions of templates are a use only if all are; the listings know of the others.
        let templates = policy.launch_template_versions == VersionsInUse::All;
        for some in ids.chunks(REFERENCES) {
            let references = match self.image_references(region, some, templates).await {
                Ok(references) => references,
                Err(failure) => {
                    let why = told(failure, "look for references")?;
                    checks.extend(some.iter().map(|id| (id.clone(), Checked::Unknown(why.clone()))));
                    continue;
                }
            };
            let mut held: BTreeMap<&ImageId, Vec<Reason>> = some.iter().map(|id| (id, Vec::new())).collect();
            for seen in references {
                let reason = Reason::InUse(Use { by: seen.by, id: seen.id });
                match seen.image.and_then(|image| image.parse::<ImageId>().ok()) {
                    Some(image) => held.get_mut(&image).into_iter().for_each(|held| held.push(reason.clone())),
                    // It is one of these, since EC2 was asked about no other.
                    None => held.values_mut().for_each(|held| held.push(reason.clone())),
                }
            }
            for (id, mut reasons) in held {
                let checked = match self.launch_permissions(region, id).await {
                    Ok(permissions) => {
                        reasons.extend(sharers(&permissions).map(Reason::SharedWith));
                        if reasons.is_empty() { Checked::Free } else { Checked::Held(reasons) }
                    }
                    Err(failure) if reasons.is_empty() => {
                        Checked::Unknown(told(failure, "find out who may launch it")?)
                    }
                    Err(_) => Checked::Held(reasons),
                };
                checks.insert(id.clone(), checked);
            }
        }
        Ok(checks)
    }

    /// Who uses these images, and any snapshot by itself, at the moment. Versions of launch templates that are neither
    /// the default, the latest nor named by a group are as a plan saw them: what is new is the latest.
    ///
    /// # Errors
    /// The refusal of any listing.
    pub async fn uses_of(&self, region: &Region, policy: &CleanupPolicy, ids: &[ImageId]) -> Result<Uses, StepError> {
        let listing = |source: Source| move |failure: AwsFailure| failure.into_step_error(source.listing());
        let mut uses = Uses::default();
        if !ids.is_empty() {
            let see = |image: Option<&str>, id: &str, state: &str| uses.add_instance(image, id, state);
            self.each_instance(region, Some(ids), see).await.map_err(listing(Source::Instances))?;
        }
        let groups = self.auto_scaling_groups(region).await.map_err(listing(Source::AutoScalingGroups))?;
        let fleets = self.fleets(region).await.map_err(listing(Source::Fleets))?;
        let configurations = self.launch_configurations(region).await.map_err(listing(Source::LaunchConfigurations))?;
        let pins: Vec<_> = groups.pins.into_iter().chain(fleets.pins).collect();
        let templates = self.launch_templates(region, &pins, false).await;
        let templates = templates.map_err(listing(Source::LaunchTemplateVersions))?;
        let which = match policy.launch_template_versions {
            VersionsInUse::Groups => VersionsInUse::Groups,
            // Of what is listed here, all counts: the default, the latest and what groups name.
            VersionsInUse::All | VersionsInUse::DefaultAndLatest | VersionsInUse::Newest(_) => VersionsInUse::All,
        };
        uses.add_launch_templates(&templates, &pins, which);
        groups.seen.into_iter().chain(fleets.seen).chain(configurations).for_each(|seen| uses.see(seen));
        let tasks = self.images_in_tasks(region).await.map_err(listing(Source::Tasks))?;
        tasks.into_iter().for_each(|seen| uses.see(seen));
        Ok(uses)
    }

    /// The images that a store or an export reads at the moment.
    ///
    /// # Errors
    /// What EC2 refused.
    pub async fn images_in_tasks(&self, region: &Region) -> Result<Vec<Sighting>, AwsFailure> {
        let reads = |image, id| Sighting { by: User::Task, id, image: Some(image), snapshots: Vec::new() };
        let stored = self.images_being_stored(region).await?;
        let mut reading: Vec<_> = stored.into_iter().map(|image| reads(image, "store".to_owned())).collect();
        for task in self.export_tasks(region).await? {
            let over = ["completed", "deleting", "deleted"].contains(&task.status.as_str());
            if let (false, Some(image)) = (over, task.image_id) {
                reading.push(reads(image.to_string(), task.task_id));
            }
        }
        Ok(reading)
    }
}

/// Why it cannot be told, or an error if that passes.
fn told(failure: AwsFailure, doing: &str) -> Result<String, StepError> {
    match failure.class() {
        FailureClass::Throttled | FailureClass::Transient => Err(failure.into_step_error(doing)),
        _ => Ok(failure.to_string()),
    }
}

/// Everybody who may launch an image beside its owner.
fn sharers(permissions: &LaunchPermissions) -> impl Iterator<Item = String> {
    let accounts = permissions.accounts.iter().chain(&permissions.groups);
    accounts.chain(&permissions.organizations).chain(&permissions.organizational_units).cloned()
}
