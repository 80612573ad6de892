//! Owns the Recycle Bin: what goes into it, for how long, and how it comes back.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};

use super::state::{GoneImage, State, WorkKind, later};
use super::uses::Owned;
use super::{Image, Snapshot, Tags};
use crate::account::{BinnedType, RecycleBinRule};

/// The tag of what is in the bin.
const TAG: &str = "aws:recycle-bin:resource-in-bin";

/// Something in the bin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Binned<T> {
    /// What it is.
    pub it: T,
    /// When it came.
    pub entered: Timestamp,
    /// When it is gone for ever.
    pub exits: Timestamp,
}

/// For how many days the rules keep something that is deleted; `None`: not at all. The longest wins.
fn days_kept(
    rules: &[Owned<RecycleBinRule>],
    kind: BinnedType,
    (account, region): (&str, &str),
    tags: &Tags,
) -> Option<u32> {
    let has = |wanted: &BTreeMap<String, Option<String>>| {
        wanted
            .iter()
            .any(|(key, value)| tags.get(key).is_some_and(|found| value.as_ref().is_none_or(|value| value == found)))
    };
    let keeps = |rule: &&Owned<RecycleBinRule>| {
        rule.account == account
            && rule.it.region == region
            && rule.it.resource_type == kind
            && (rule.it.resource_tags.is_empty() || has(&rule.it.resource_tags))
            && !has(&rule.it.exclude_resource_tags)
    };
    rules.iter().filter(keeps).map(|rule| rule.it.retention_days).max()
}

fn binned<T>(it: T, at: Timestamp, days: u32) -> Binned<T> {
    Binned { it, entered: at, exits: later(at, SignedDuration::from_hours(24 * i64::from(days))) }
}

impl State {
    /// Removes an image and leaves its snapshots; a copy or a restore that is making it is cancelled,
    /// and its unfinished snapshots go too. What a rule of the Recycle Bin keeps goes there.
    pub(crate) fn deregister(&mut self, id: &str, at: Timestamp) -> bool {
        let Some(mut image) = self.images.remove(id) else { return false };
        let gone =
            GoneImage { account: image.account.clone(), region: image.region.clone(), name: image.name.clone(), at };
        self.gone_images.insert(image.id.clone(), gone);
        if image.work.as_ref().is_some_and(|work| work.kind != WorkKind::Create) {
            for device in &image.devices {
                self.snapshots.remove(&device.snapshot_id);
            }
        }
        // What was never whole is not worth keeping; nor is what has nothing on EBS.
        let whole = matches!(image.state.as_str(), "available" | "disabled") && image.machine.root_device_type == "ebs";
        let place = (image.account.as_str(), image.region.as_str());
        let days = days_kept(&self.bin_rules, BinnedType::Ec2Image, place, &image.tags);
        if let Some(days) = days.filter(|_| whole) {
            image.tags.insert(TAG.into(), "true".into());
            self.binned_images.insert(image.id.clone(), binned(image, at, days));
        }
        true
    }

    /// Deletes a snapshot. What a rule of the Recycle Bin keeps goes there.
    pub(crate) fn delete_snapshot(&mut self, id: &str, at: Timestamp) {
        let Some(mut snapshot) = self.snapshots.remove(id) else { return };
        let place = (snapshot.account.as_str(), snapshot.region.as_str());
        let days = days_kept(&self.bin_rules, BinnedType::EbsSnapshot, place, &snapshot.tags);
        if let Some(days) = days.filter(|_| snapshot.state == "completed") {
            snapshot.tags.insert(TAG.into(), "true".into());
            self.binned_snapshots.insert(snapshot.id.clone(), binned(snapshot, at, days));
        }
    }

    /// Brings an image back, with its launch permissions.
    pub(crate) fn restore_binned_image(&mut self, id: &str) {
        let Some(Binned { it: mut image, .. }) = self.binned_images.remove(id) else { return };
        image.tags.remove(TAG);
        self.gone_images.remove(id);
        self.images.insert(image.id.clone(), image);
    }

    /// Brings a snapshot back, with its permissions.
    pub(crate) fn restore_binned_snapshot(&mut self, id: &str) -> Option<Snapshot> {
        let Binned { it: mut snapshot, .. } = self.binned_snapshots.remove(id)?;
        snapshot.tags.remove(TAG);
        self.snapshots.insert(snapshot.id.clone(), snapshot.clone());
        Some(snapshot)
    }

    /// Forgets what has been in the bin for long enough.
    pub(super) fn purge_bin(&mut self, now: Timestamp) {
        self.binned_images.retain(|_, binned: &mut Binned<Image>| now < binned.exits);
        self.binned_snapshots.retain(|_, binned| now < binned.exits);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn days(rules: serde_json::Value, tags: &[(&str, &str)]) -> Option<u32> {
        let rules: Vec<RecycleBinRule> = serde_json::from_value(rules).unwrap();
        let rules: Vec<_> = rules.into_iter().map(|it| Owned { account: "1".into(), it }).collect();
        let tags = tags.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        days_kept(&rules, BinnedType::EbsSnapshot, ("1", "r"), &tags)
    }

    #[test]
    fn the_longest_matching_rule_wins_and_an_excluded_tag_is_passed_over() {
        let rules = json!([
            {"region": "r", "resourceType": "EBS_SNAPSHOT", "retentionDays": 7,
             "excludeResourceTags": {"Scratch": null}},
            {"region": "r", "resourceType": "EBS_SNAPSHOT", "retentionDays": 30, "resourceTags": {"Team": "a"}},
            {"region": "r", "resourceType": "EC2_IMAGE", "retentionDays": 300},
            {"region": "other", "resourceType": "EBS_SNAPSHOT", "retentionDays": 300}]);
        assert_eq!(days(rules.clone(), &[]), Some(7));
        assert_eq!(days(rules.clone(), &[("Team", "a")]), Some(30));
        assert_eq!(days(rules.clone(), &[("Team", "b")]), Some(7));
        assert_eq!(days(rules.clone(), &[("Scratch", "x")]), None);
        assert_eq!(days(rules, &[("Scratch", "x"), ("Team", "a")]), Some(30));
    }
}
