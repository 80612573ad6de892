//! Owns CreateSnapshot, DescribeSnapshots and DeleteSnapshot.

use super::context::{Context, check_id};
use super::create::{check_description, snapshot_of, work};
use super::errors::{Answer, Ec2Error};
use super::filters::{Filters, Page};
use super::xml::{Xml, moment};
use crate::world::state::{GIB, State, WorkKind, progress};
use crate::world::{Snapshot, Tags};

const FILTERS: &[&str] = &[
    "description",
    "encrypted",
    "owner-id",
    "progress",
    "snapshot-id",
    "start-time",
    "status",
    "storage-tier",
    "tag-key",
    "transfer-type",
    "volume-id",
    "volume-size",
];

pub(super) fn create(context: &Context<'_>, state: &mut State) -> Answer<Xml> {
    let params = &context.params;
    let description = params.get("Description").unwrap_or_default();
    check_description(description)?;
    let tags = params.tag_specifications(&["snapshot"], context.settings().quotas.tags_per_resource)?;
    let volume_id = params.required("VolumeId")?;
    check_id(volume_id, "vol", "InvalidParameterValue")?;
    let instances = state.instances.values().filter(|instance| context.sees_instance(instance));
    let volume = instances.flat_map(|instance| &instance.volumes).find(|volume| volume.id == volume_id).cloned();
    let Some(volume) = volume else {
        return Err(Ec2Error::new("InvalidVolume.NotFound", format!("The volume '{volume_id}' does not exist.")));
    };
    let arn = format!("arn:aws:ec2:{}:{}:volume/{volume_id}", context.region(), context.account());
    let on_volume = context.on(arn).resource_tags(&volume.tags);
    context.authorise([on_volume, context.on_new("snapshot", tags.get("snapshot"))])?;
    context.authorise_tags(&tags)?;
    context.end_dry_run()?;

    let work = work(context, WorkKind::Create, volume.used_bytes, context.settings().image_mib_per_second);
    let snapshot = Snapshot {
        description: description.into(),
        tags: tags.get("snapshot").cloned().unwrap_or_default(),
        work: Some(work),
        ..snapshot_of(context, state.new_id("snap"), &volume)
    };
    let mut xml = Xml::default();
    write(context, &mut xml, &snapshot);
    state.snapshots.insert(snapshot.id.clone(), snapshot);
    Ok(xml)
}

pub(super) fn describe(context: &Context<'_>, state: &State) -> Answer<Xml> {
    context.authorise_listing()?;
    let params = &context.params;
    let filters = Filters::read(params, FILTERS)?;
    let page = Page::read(context, (5, 1_000))?;
    let ids = params.list("SnapshotId");
    if !ids.is_empty() && page.sized() {
        return Err(Ec2Error::combination("The parameter snapshotSet cannot be used with the parameter maxResults"));
    }
    let account = |name| if name == "self" { context.account() } else { name };
    let owners: Vec<&str> = params.list("Owner").into_iter().map(account).collect();
    let restorable_by: Vec<&str> = params.list("RestorableBy").into_iter().map(account).collect();
    for id in &ids {
        check_id(id, "snap", "InvalidSnapshotID.Malformed")?;
    }
    let seen = |snapshot: &&Snapshot| {
        snapshot.region == context.region() && snapshot.visible_to(context.account(), context.now)
    };
    let unknown: Vec<&str> = ids.iter().copied().filter(|id| state.snapshots.get(*id).filter(seen).is_none()).collect();
    if !unknown.is_empty() {
        return Err(Ec2Error::no_snapshot(&unknown));
    }
    context.end_dry_run()?;
    let chosen = |snapshot: &&Snapshot| {
        seen(snapshot)
            && (owners.is_empty() || owners.contains(&snapshot.account.as_str()))
            && (restorable_by.is_empty() || restorable_by.iter().any(|who| restorable(snapshot, who)))
            && filters.hold(tags_seen(context, snapshot), |name| field(context, snapshot, name))
    };
    let scans = owners.is_empty() && ids.is_empty() && context.choices().empty_first_page;
    let (found, next) = match page.empty_first().filter(|_| scans) {
        // EC2 looks at so many snapshots for a page, and the filter may match none of them.
        Some(token) => (Vec::new(), Some(token)),
        None => page.cut(page.among(&state.snapshots, &ids).filter(chosen), |snapshot| snapshot.id.clone()),
    };
    let mut xml = Xml::default();
    xml.items("snapshotSet", found, |xml, snapshot| write(context, xml, snapshot));
    xml.maybe("nextToken", next);
    Ok(xml)
}

/// Whether an account may make volumes of a snapshot by itself: it owns it or it is shared with it by
/// name. `all` is everybody.
fn restorable(snapshot: &Snapshot, who: &str) -> bool {
    if who == "all" { snapshot.volume_permissions.contains("all") } else { snapshot.usable_by(who) }
}

fn tags_seen<'s>(context: &Context<'_>, snapshot: &'s Snapshot) -> &'s Tags {
    static NONE: Tags = Tags::new();
    if snapshot.account == context.account() { &snapshot.tags } else { &NONE }
}

fn percent(context: &Context<'_>, snapshot: &Snapshot) -> String {
    match (&snapshot.work, snapshot.state.as_str()) {
        (Some(work), _) => format!("{}%", progress(work.started, work.ends, context.now)),
        (None, "completed") => "100%".into(),
        (None, _) => "0%".into(),
    }
}

fn field(context: &Context<'_>, snapshot: &Snapshot, name: &str) -> Vec<String> {
    vec![match name {
        "description" => snapshot.description.clone(),
        "encrypted" => snapshot.encrypted.to_string(),
        "owner-id" => snapshot.account.clone(),
        "progress" => percent(context, snapshot),
        "snapshot-id" => snapshot.id.clone(),
        "start-time" => moment(snapshot.started),
        "status" => snapshot.state.clone(),
        "storage-tier" => snapshot.tier.text().into(),
        "transfer-type" => "standard".into(),
        "volume-id" => snapshot.volume_id.clone(),
        "volume-size" => snapshot.size_gib.to_string(),
        _ => return Vec::new(),
    }]
}

pub(super) fn write(context: &Context<'_>, xml: &mut Xml, snapshot: &Snapshot) {
    xml.text("snapshotId", &snapshot.id);
    xml.text("volumeId", &snapshot.volume_id);
    xml.text("status", &snapshot.state);
    xml.maybe("statusMessage", snapshot.state_message.as_ref());
    xml.moment("startTime", snapshot.started);
    xml.maybe("completionTime", snapshot.completed.map(moment));
    xml.text("progress", percent(context, snapshot));
    xml.text("ownerId", &snapshot.account);
    xml.text("volumeSize", snapshot.size_gib);
    xml.text("description", &snapshot.description);
    xml.tags(tags_seen(context, snapshot));
    xml.text("encrypted", snapshot.encrypted);
    xml.maybe("kmsKeyId", snapshot.kms_key_id.as_ref());
    xml.text("storageTier", snapshot.tier.text());
    xml.text("transferType", "standard");
    xml.text("sseType", if snapshot.encrypted { "sse-kms" } else { "none" });
    // EC2 knows the size only when the snapshot is complete.
    xml.maybe(
        "fullSnapshotSizeInBytes",
        (snapshot.state == "completed").then_some(snapshot.used_bytes.min(snapshot.size_gib * GIB)),
    );
}

pub(super) fn delete(context: &Context<'_>, state: &mut State) -> Answer<Xml> {
    let snapshot = context.own_snapshot(state, context.params.required("SnapshotId")?)?.clone();
    context.authorise([context.on_snapshot(&snapshot)])?;
    if let Some(image) = state.users_of(&snapshot.id).first() {
        let message = format!("The snapshot {} is currently in use by {}", snapshot.id, image.id);
        return Err(Ec2Error::new("InvalidSnapshot.InUse", message));
    }
    check_deletable(context, &snapshot)?;
    context.end_dry_run()?;
    state.delete_snapshot(&snapshot.id, context.now);
    let mut xml = Xml::default();
    xml.text("return", true);
    Ok(xml)
}

/// Refuses to delete what is locked, and what AWS Backup manages.
pub(super) fn check_deletable(context: &Context<'_>, snapshot: &Snapshot) -> Answer<()> {
    if snapshot.is_locked(context.now) {
        let message = format!("The snapshot {} is locked and cannot be deleted", snapshot.id);
        return Err(Ec2Error::new(&context.choices().locked_snapshot_code, message));
    }
    if snapshot.is_of_aws_backup() {
        let message = format!("The snapshot {} is managed by AWS Backup and cannot be deleted by EC2", snapshot.id);
        return Err(Ec2Error::new(&context.choices().backup_managed_code, message));
    }
    Ok(())
}
