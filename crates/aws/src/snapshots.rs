//! Owns what EC2 knows of snapshots.

use ami_backup_core::{
    Timestamp,
    failure::AwsFailure,
    id::{Region, SnapshotId},
    image::SnapshotFacts,
};
use aws_sdk_ec2::types::Snapshot;

use crate::{
    Aws,
    failure::Call,
    tags::{filter, moved},
};

/// EC2 takes up to 200 values in a filter (EC2 user guide, "List and filter using the CLI and API").
const FILTER_VALUES: usize = 200;

/// DescribeSnapshots documents pages of up to 1,000.
const PAGE: i32 = 1000;

impl Aws {
    /// What is visible of these snapshots, whoever owns them, in no certain order.
    ///
    /// By filter and not by the parameter SnapshotIds, with which one unknown id fails them all.
    ///
    /// # Errors
    /// What EC2 refused.
    pub async fn snapshots(&self, region: &Region, ids: &[SnapshotId]) -> Result<Vec<SnapshotFacts>, AwsFailure> {
        let call = Call::new("ec2:DescribeSnapshots", region);
        let client = self.ec2(region);
        let mut found = Vec::new();
        for some in ids.chunks(FILTER_VALUES) {
            let by_id = filter("snapshot-id", some.iter().map(SnapshotId::as_str));
            let request = client.describe_snapshots().filters(by_id).max_results(PAGE);
            let mut pages = request.into_paginator().send();
            while let Some(page) = pages.next().await {
                let page = page.map_err(|error| call.failed(error))?;
                found.extend(page.snapshots.into_iter().flatten().filter_map(|snapshot| facts(snapshot).ok()));
            }
        }
        Ok(found)
    }
}

/// What EC2 says of a snapshot: what it leaves out is not known. By value: of a hundred thousand snapshots nothing is copied
/// that can be moved.
///
/// # Errors
/// What it has for an id, if that is none.
pub(crate) fn facts(snapshot: Snapshot) -> Result<SnapshotFacts, String> {
    let Some(snapshot_id) = snapshot.snapshot_id().and_then(|id| id.parse().ok()) else {
        return Err(snapshot.snapshot_id.unwrap_or_default());
    };
    Ok(SnapshotFacts {
        snapshot_id,
        state: snapshot.state().map(|state| state.as_str().to_owned()).unwrap_or_default(),
        progress_percent: snapshot.progress().and_then(percent),
        volume_size_gib: snapshot.volume_size().and_then(|gib| u64::try_from(gib).ok()).unwrap_or_default(),
        full_size_bytes: snapshot.full_snapshot_size_in_bytes().and_then(|bytes| u64::try_from(bytes).ok()),
        encrypted: snapshot.encrypted() == Some(true),
        kms_key_id: snapshot.kms_key_id,
        owner_id: snapshot.owner_id.unwrap_or_default(),
        description: snapshot.description.unwrap_or_default(),
        start_time: snapshot.start_time.and_then(|at| Timestamp::from_second(at.secs()).ok()),
        tags: moved(snapshot.tags),
    })
}

/// Percent as EC2 writes it, with the sign or without; what cannot be read is not known.
pub(crate) fn percent(text: &str) -> Option<u8> {
    text.trim().trim_end_matches('%').trim_end().parse().ok().filter(|percent| *percent <= 100)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percent_is_read_with_and_without_its_sign() {
        assert_eq!(percent("43%"), Some(43));
        assert_eq!(percent("100"), Some(100));
        for unknown in ["", "%", "n/a", "101%", "-1%"] {
            assert_eq!(percent(unknown), None, "{unknown}");
        }
    }
}
