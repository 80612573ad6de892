//! Owns DescribeSnapshotTierStatus.

use super::context::Context;
use super::errors::Answer;
use super::filters::{Filters, Page};
use super::xml::Xml;
use crate::account::StorageTier;
use crate::world::Snapshot;
use crate::world::state::State;

const FILTERS: &[&str] = &["last-tiering-operation", "snapshot-id", "volume-id"];

pub(super) fn describe(context: &Context<'_>, state: &State) -> Answer<Xml> {
    context.authorise_listing()?;
    let filters = Filters::read(&context.params, FILTERS)?;
    let page = Page::read(context, (1, 1_000))?;
    context.end_dry_run()?;
    let chosen = |snapshot: &&Snapshot| {
        snapshot.account == context.account()
            && snapshot.region == context.region()
            && snapshot.visible_at <= context.now
            && filters.hold(&snapshot.tags, |name| match name {
                "snapshot-id" => vec![snapshot.id.clone()],
                "volume-id" => vec![snapshot.volume_id.clone()],
                _ => last_operation(snapshot).map(str::to_owned).into_iter().collect(),
            })
    };
    let (found, next) = page.cut(page.among(&state.snapshots, &[]).filter(chosen), |snapshot| snapshot.id.clone());
    let mut xml = Xml::default();
    xml.items("snapshotTierStatusSet", found, |xml, snapshot| {
        xml.text("snapshotId", &snapshot.id);
        xml.text("volumeId", &snapshot.volume_id);
        xml.text("status", &snapshot.state);
        xml.text("ownerId", &snapshot.account);
        xml.tags(&snapshot.tags);
        xml.text("storageTier", snapshot.tier.text());
        xml.maybe("lastTieringOperationStatus", last_operation(snapshot));
    });
    xml.maybe("nextToken", next);
    Ok(xml)
}

/// What was last done about the tier: what the account file puts into the archive was archived.
fn last_operation(snapshot: &Snapshot) -> Option<&'static str> {
    (snapshot.tier == StorageTier::Archive).then_some("archival-completed")
}
