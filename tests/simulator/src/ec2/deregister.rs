//! Owns DeregisterImage.

use super::context::{Context, snapshot_arn};
use super::errors::{Answer, Ec2Error};
use super::snapshots::check_deletable;
use super::xml::Xml;
use crate::permissions::Request;
use crate::world::state::State;

pub(super) fn deregister(context: &Context<'_>, state: &mut State) -> Answer<Xml> {
    let params = &context.params;
    let image = context.own_image(state, params.required("ImageId")?)?.clone();
    context.authorise([context.on_image(&image)])?;
    if image.protection.in_force(context.now) {
        let code = &context.choices().protected_image_code;
        let message =
            format!("The image {} has deregistration protection enabled and cannot be deregistered", image.id);
        return Err(Ec2Error::new(code, message));
    }
    if image.is_of_aws_backup() {
        let message = format!("The image {} is managed by AWS Backup and cannot be deregistered by EC2", image.id);
        return Err(Ec2Error::new(&context.choices().backup_managed_code, message));
    }
    let with_snapshots = params.flag("DeleteAssociatedSnapshots")?;
    context.end_dry_run()?;

    state.deregister(&image.id, context.now);
    let mut results = Vec::new();
    if with_snapshots {
        for device in &image.devices {
            if let Some(code) = delete_associated(context, state, &device.snapshot_id) {
                results.push((device.snapshot_id.clone(), code));
            }
        }
    }
    let mut xml = Xml::default();
    xml.text("return", true);
    if with_snapshots {
        xml.items("deleteSnapshotResultSet", results, |xml, (id, code)| {
            xml.text("snapshotId", id);
            xml.text("returnCode", code);
        });
    }
    Ok(xml)
}

/// Deletes one snapshot of an image that is gone, and says what came of it; nothing of a snapshot
/// that is gone as well.
fn delete_associated(context: &Context<'_>, state: &mut State, id: &str) -> Option<&'static str> {
    let snapshot = state.snapshots.get(id)?;
    let request = Request::new("ec2:DeleteSnapshot", snapshot_arn(&snapshot.region, id)).resource_tags(&snapshot.tags);
    if snapshot.account != context.account() || !context.implied(&request) {
        return Some("missing-permissions");
    }
    if !state.users_of(id).is_empty() {
        return Some("skipped");
    }
    // A lock, or AWS Backup. The image is gone all the same.
    if check_deletable(context, snapshot).is_err() {
        return Some("client-error");
    }
    state.delete_snapshot(id, context.now);
    Some("success")
}
