//! Owns what EC2 does with the Recycle Bin: lists what is in it, and brings it back.

use super::attributes::done;
use super::context::{Context, check_id};
use super::errors::{Answer, Ec2Error};
use super::filters::Page;
use super::snapshots;
use super::xml::Xml;
use crate::world::state::State;
use crate::world::{Binned, Image, Snapshot};

/// Most ids of a list of images (API reference, ListImagesInRecycleBin).
const MOST_IMAGES: usize = 20;

fn image<'s>(context: &Context<'_>, state: &'s State, id: &str) -> Answer<&'s Binned<Image>> {
    check_id(id, "ami", "InvalidAMIID.Malformed")?;
    let ours = |binned: &&Binned<Image>| is_ours(context, &binned.it.account, &binned.it.region);
    state.binned_images.get(id).filter(ours).ok_or_else(|| Ec2Error::no_image(&[id]))
}

fn snapshot<'s>(context: &Context<'_>, state: &'s State, id: &str) -> Answer<&'s Binned<Snapshot>> {
    check_id(id, "snap", "InvalidSnapshotID.Malformed")?;
    let ours = |binned: &&Binned<Snapshot>| is_ours(context, &binned.it.account, &binned.it.region);
    state.binned_snapshots.get(id).filter(ours).ok_or_else(|| Ec2Error::no_snapshot(&[id]))
}

fn is_ours(context: &Context<'_>, account: &str, region: &str) -> bool {
    account == context.account() && region == context.region()
}

pub(super) fn list_images(context: &Context<'_>, state: &State) -> Answer<Xml> {
    context.authorise_listing()?;
    let page = Page::read(context, (1, 1_000))?;
    let ids = context.params.list("ImageId");
    if ids.len() > MOST_IMAGES {
        return Err(Ec2Error::invalid(format!("At most {MOST_IMAGES} image IDs can be specified")));
    }
    for id in &ids {
        image(context, state, id)?;
    }
    context.end_dry_run()?;
    let chosen = |binned: &&Binned<Image>| {
        is_ours(context, &binned.it.account, &binned.it.region)
            && (ids.is_empty() || ids.contains(&binned.it.id.as_str()))
    };
    let found = state.binned_images.values().filter(chosen);
    let (found, next) = page.cut(found, |binned: &&Binned<Image>| binned.it.id.clone());
    let mut xml = Xml::default();
    xml.items("imageSet", found, |xml, binned| {
        xml.text("imageId", &binned.it.id);
        xml.text("name", &binned.it.name);
        xml.unless_empty("description", &binned.it.description);
        xml.moment("recycleBinEnterTime", binned.entered);
        xml.moment("recycleBinExitTime", binned.exits);
    });
    xml.maybe("nextToken", next);
    Ok(xml)
}

pub(super) fn list_snapshots(context: &Context<'_>, state: &State) -> Answer<Xml> {
    context.authorise_listing()?;
    let page = Page::read(context, (5, 1_000))?;
    let ids = context.params.list("SnapshotId");
    for id in &ids {
        snapshot(context, state, id)?;
    }
    context.end_dry_run()?;
    let chosen = |binned: &&Binned<Snapshot>| {
        is_ours(context, &binned.it.account, &binned.it.region)
            && (ids.is_empty() || ids.contains(&binned.it.id.as_str()))
    };
    let found = state.binned_snapshots.values().filter(chosen);
    let (found, next) = page.cut(found, |binned: &&Binned<Snapshot>| binned.it.id.clone());
    let mut xml = Xml::default();
    xml.items("snapshotSet", found, |xml, binned| {
        xml.text("snapshotId", &binned.it.id);
        xml.moment("recycleBinEnterTime", binned.entered);
        xml.moment("recycleBinExitTime", binned.exits);
        xml.text("description", &binned.it.description);
        xml.text("volumeId", &binned.it.volume_id);
    });
    xml.maybe("nextToken", next);
    Ok(xml)
}

pub(super) fn restore_image(context: &Context<'_>, state: &mut State) -> Answer<Xml> {
    let image = &image(context, state, context.params.required("ImageId")?)?.it;
    context.authorise([context.on_image(image)])?;
    let missing = image.devices.iter().find(|device| !state.snapshots.contains_key(&device.snapshot_id));
    if let Some(device) = missing {
        let code = &context.choices().restore_without_snapshots_code;
        return Err(Ec2Error { code: code.clone(), ..Ec2Error::no_snapshot(&[&device.snapshot_id]) });
    }
    let id = image.id.clone();
    context.end_dry_run()?;
    state.restore_binned_image(&id);
    Ok(done())
}

pub(super) fn restore_snapshot(context: &Context<'_>, state: &mut State) -> Answer<Xml> {
    let snapshot = &snapshot(context, state, context.params.required("SnapshotId")?)?.it;
    context.authorise([context.on_snapshot(snapshot)])?;
    let id = snapshot.id.clone();
    context.end_dry_run()?;
    let mut xml = Xml::default();
    if let Some(snapshot) = state.restore_binned_snapshot(&id) {
        snapshots::write(context, &mut xml, &snapshot);
    }
    Ok(xml)
}
