//! Answers EC2's query protocol from the world. One file per noun; `errors`, `params`, `xml`, `filters`,
//! `context` and `limits` are the machinery below them.

use std::sync::Arc;

use http::{Response, StatusCode};
use hyper::body::Bytes;

use crate::calls::CallLog;
use crate::edge::Caller;
use crate::objects::ObjectStore;
use crate::permissions::Permissions;
use crate::world::World;
use crate::world::state::State;

mod aliases;
mod attributes;
mod context;
mod copy;
mod create;
mod deregister;
pub mod envelope;
mod errors;
mod export;
mod filters;
mod fleets;
mod images;
mod instances;
mod launch;
mod lifecycle;
mod limits;
mod locks;
mod params;
mod recycle_bin;
mod references;
mod regions;
mod register;
mod restore;
mod snapshots;
mod store;
mod tags;
mod template_versions;
mod templates;
mod terminate;
mod tiers;
mod usage;
pub(crate) mod xml;

#[cfg(test)]
mod tests;

pub use errors::refusal;

use context::Context;
use errors::{Answer, Ec2Error};
use params::Params;
use xml::Xml;

/// What came of a call: `ok` or the error code. Each response carries it as an extension.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome(pub String);

/// The simulated EC2.
#[derive(Debug, Clone)]
pub struct Ec2 {
    world: Arc<World>,
    objects: Arc<dyn ObjectStore>,
    permissions: Arc<Permissions>,
    calls: Arc<CallLog>,
}

impl Ec2 {
    /// An EC2 over `world` that stores its objects in `objects`, and writes implied actions to `calls`.
    pub fn new(
        world: Arc<World>,
        objects: Arc<dyn ObjectStore>,
        permissions: Arc<Permissions>,
        calls: Arc<CallLog>,
    ) -> Self {
        Self { world, objects, permissions, calls }
    }

    /// Answers one call: `parameters` are the decoded pairs of the form. Moves the world to the present
    /// first. The response has [`Outcome`] among its extensions.
    pub async fn call(&self, caller: &Caller, parameters: &[(String, String)]) -> Response<Bytes> {
        self.world.settle(self.objects.as_ref()).await;
        let params = Params::new(parameters);
        let action = params.get("Action").unwrap_or_default().to_owned();
        let context = Context { ec2: self, caller, action: &action, params, now: self.world.now() };
        let request_id = self.world.with(State::request_id);
        match context.answer().await {
            Ok(body) => {
                let mut xml = Xml::answer(&action, &request_id);
                xml.append(&body);
                let text = xml.finish(&format!("{action}Response"));
                errors::response(StatusCode::OK, &request_id, text, Outcome("ok".into()))
            }
            Err(error) => errors::document(&error.code, &error.message, &request_id, None),
        }
    }
}

impl Context<'_> {
    async fn answer(&self) -> Answer<Xml> {
        self.ec2.world.with(|state| {
            regions::check_enabled(self, state)?;
            limits::take(self, state)
        })?;
        match self.action {
            "CreateStoreImageTask" => store::create(self).await,
            "CreateRestoreImageTask" => restore::create(self).await,
            "ExportImage" => export::create(self).await,
            _ => self.ec2.world.with(|state| self.answer_from(state)),
        }
    }

    fn answer_from(&self, state: &mut State) -> Answer<Xml> {
        match self.action {
            "DescribeRegions" => regions::describe(self, state),
            "DescribeImages" => images::describe(self, state),
            "CreateImage" => create::create(self, state),
            "CopyImage" => copy::copy(self, state),
            "RegisterImage" => register::register(self, state),
            "DeregisterImage" => deregister::deregister(self, state),
            "CreateSnapshot" => snapshots::create(self, state),
            "DescribeSnapshots" => snapshots::describe(self, state),
            "DeleteSnapshot" => snapshots::delete(self, state),
            "DescribeImageAttribute" => attributes::describe_image(self, state),
            "ModifyImageAttribute" => attributes::modify_image(self, state),
            "DescribeSnapshotAttribute" => attributes::describe_snapshot(self, state),
            "ModifySnapshotAttribute" => attributes::modify_snapshot(self, state),
            "EnableImageDeprecation" => lifecycle::deprecate(self, state),
            "DisableImageDeprecation" => lifecycle::undeprecate(self, state),
            "EnableImageDeregistrationProtection" => lifecycle::protect(self, state),
            "DisableImageDeregistrationProtection" => lifecycle::unprotect(self, state),
            "DisableImage" => lifecycle::disable(self, state),
            "EnableImage" => lifecycle::enable(self, state),
            "CreateTags" => tags::create(self, state),
            "DeleteTags" => tags::delete(self, state),
            "DescribeTags" => tags::describe(self, state),
            "GetEbsEncryptionByDefault" => regions::encryption_by_default(self, state),
            "DescribeStoreImageTasks" => store::describe(self, state),
            "DescribeExportImageTasks" => export::describe(self, state),
            "CancelExportTask" => export::cancel(self, state),
            _ => self.answer_about_use(state),
        }
    }

    /// What launches instances, and what else names images.
    fn answer_about_use(&self, state: &mut State) -> Answer<Xml> {
        match self.action {
            "DescribeInstances" => instances::describe(self, state),
            "DescribeVolumes" => instances::describe_volumes(self, state),
            "RunInstances" => launch::run(self, state),
            "TerminateInstances" => terminate::terminate(self, state),
            "DescribeLaunchTemplates" => templates::describe(self, state),
            "CreateLaunchTemplate" => templates::create(self, state),
            "ModifyLaunchTemplate" => templates::modify(self, state),
            "DeleteLaunchTemplate" => templates::delete(self, state),
            "DescribeLaunchTemplateVersions" => template_versions::describe(self, state),
            "CreateLaunchTemplateVersion" => template_versions::create(self, state),
            "DescribeFleets" => fleets::describe(self, state),
            "DescribeSpotFleetRequests" => fleets::describe_spot(self, state),
            "DescribeImageReferences" => references::describe(self, state),
            "CreateImageUsageReport" => usage::create(self, state),
            "DescribeImageUsageReports" => usage::describe(self, state),
            "DescribeImageUsageReportEntries" => usage::describe_entries(self, state),
            "DeleteImageUsageReport" => usage::delete(self, state),
            _ => self.answer_about_keeping(state),
        }
    }

    /// What keeps snapshots and images from being gone.
    fn answer_about_keeping(&self, state: &mut State) -> Answer<Xml> {
        match self.action {
            "LockSnapshot" => locks::lock(self, state),
            "UnlockSnapshot" => locks::unlock(self, state),
            "DescribeLockedSnapshots" => locks::describe(self, state),
            "DescribeSnapshotTierStatus" => tiers::describe(self, state),
            "ListImagesInRecycleBin" => recycle_bin::list_images(self, state),
            "ListSnapshotsInRecycleBin" => recycle_bin::list_snapshots(self, state),
            "RestoreImageFromRecycleBin" => recycle_bin::restore_image(self, state),
            "RestoreSnapshotFromRecycleBin" => recycle_bin::restore_snapshot(self, state),
            "" => Err(Ec2Error::missing("Action")),
            other => {
                Err(Ec2Error::new("InvalidAction", format!("The action {other} is not valid for this web service.")))
            }
        }
    }
}
