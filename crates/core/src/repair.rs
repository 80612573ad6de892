//! Owns what is put back on a copy or a restored image, and what is wrong with it afterwards.

use std::collections::BTreeSet;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{
    id::SnapshotId,
    image::{Difference, ImageFacts, LaunchPermissions, SnapshotFacts, difference, differences, tag_differences},
    policy::CarryOver,
    tags::{MOST_TAGS, Tags, user_tags},
    text::shown,
};

/// An image with everything that belongs to it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Survey {
    /// The image.
    pub image: ImageFacts,
    /// Who may launch it, as far as the caller may know.
    pub launch_permissions: LaunchPermissions,
    /// UEFI variables, base64.
    #[serde(default)]
    pub uefi_data: Option<String>,
    /// Its snapshots.
    pub snapshots: Vec<SnapshotFacts>,
}

/// Changes that make an image equal its source. All can be repeated.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Repairs {
    /// Launch permissions to add.
    pub launch_permissions: LaunchPermissions,
    /// When to deprecate it.
    pub deprecate_at: Option<Timestamp>,
    /// Whether to protect it from deregistration.
    pub protect: bool,
    /// Whether to make its instances use IMDSv2: of the attributes, the one that can be put back.
    pub imds_v2: bool,
    /// Tags to write on the image.
    pub image_tags: Tags,
    /// Tags to write on its snapshots.
    pub snapshot_tags: Vec<(SnapshotId, Tags)>,
    /// Launch permissions that are not put back by themselves.
    pub not_restored: LaunchPermissions,
    /// What cannot be put back, for people.
    pub notes: Vec<String>,
}

impl Repairs {
    /// Whether there is anything to change.
    pub fn changes_anything(&self) -> bool {
        let Self { not_restored, notes, .. } = Self::default();
        Self { not_restored, notes, ..self.clone() } != Self::default()
    }
}

/// What to change on `made` so that it equals `source` in what the policy carries over.
pub fn repairs(source: &Survey, made: &Survey, carry_over: &BTreeSet<CarryOver>, now: Timestamp) -> Repairs {
    let mut repairs = Repairs::default();
    if carry_over.contains(&CarryOver::LaunchPermissions) {
        let (wanted, not_restored) = wanted_permissions(source, made);
        repairs.launch_permissions = wanted.without(&made.launch_permissions);
        repairs.not_restored = not_restored.without(&made.launch_permissions);
    }
    if carry_over.contains(&CarryOver::Deprecation) && !same_minute(source, made) {
        match deprecation(&source.image) {
            Some(at) if at > now => repairs.deprecate_at = Some(at),
            Some(at) => repairs.notes.push(format!("deprecation at {at} is past and cannot be set")),
            None => {}
        }
    }
    repairs.protect = carry_over.contains(&CarryOver::DeregistrationProtection)
        && source.image.is_protected()
        && !made.image.is_protected();
    let imds_v2 = |survey: &Survey| survey.image.attribute("ImdsSupport") == Some("v2.0");
    repairs.imds_v2 = imds_v2(source) && !imds_v2(made);
    let (tags, dropped) = missing_tags(&source.image.tags, &made.image.tags);
    repairs.image_tags = tags;
    repairs.notes.extend(dropped.iter().map(|key| format!("no room for tag {}: {MOST_TAGS} is the most", shown(key))));
    for (original, copy) in snapshot_pairs(source, made) {
        let (tags, _) = missing_tags(&original.tags, &copy.tags);
        if !tags.is_empty() {
            repairs.snapshot_tags.push((copy.snapshot_id.clone(), tags));
        }
    }
    repairs
}

/// Everything that is still different once the repairs are made.
pub fn remaining_differences(
    source: &Survey,
    made: &Survey,
    carry_over: &BTreeSet<CarryOver>,
    now: Timestamp,
) -> Vec<Difference> {
    let (_, dropped) = missing_tags(&source.image.tags, &made.image.tags);
    let dropped: BTreeSet<String> = dropped.into_iter().map(|key| shown(&format!("Tags.{key}"))).collect();
    let mut found = differences(&source.image, &made.image);
    found.retain(|difference| !dropped.contains(&difference.what));
    if source.uefi_data.is_some() && source.uefi_data != made.uefi_data {
        found.push(difference("UefiData", "the original's", if made.uefi_data.is_some() { "another" } else { "-" }));
    }
    if carry_over.contains(&CarryOver::LaunchPermissions) {
        let missing = wanted_permissions(source, made).0.without(&made.launch_permissions);
        if !missing.is_empty() {
            found.push(difference("LaunchPermissions", format!("{missing:?}"), "-"));
        }
    }
    let future = deprecation(&source.image).is_some_and(|at| at > now);
    if carry_over.contains(&CarryOver::Deprecation) && future && !same_minute(source, made) {
        let text = |image: &ImageFacts| image.deprecation_time.clone().unwrap_or_else(|| "-".into());
        found.push(difference("DeprecationTime", text(&source.image), text(&made.image)));
    }
    let protection = |survey: &Survey| if survey.image.is_protected() { "enabled" } else { "disabled" };
    if carry_over.contains(&CarryOver::DeregistrationProtection)
        && source.image.is_protected()
        && !made.image.is_protected()
    {
        found.push(difference("DeregistrationProtection", protection(source), protection(made)));
    }
    for (original, copy) in snapshot_pairs(source, made) {
        found.extend(tag_differences(&format!("{}.Tags", copy.snapshot_id), &original.tags, &copy.tags));
    }
    found
}

/// What is put back, and what is not by itself: nothing is made public because something else was. The owner of the copy
/// may launch it anyway.
fn wanted_permissions(source: &Survey, made: &Survey) -> (LaunchPermissions, LaunchPermissions) {
    let mut wanted = source.launch_permissions.clone();
    wanted.accounts.remove(&made.image.owner_id);
    let not_restored = wanted.split_off_all();
    (wanted, not_restored)
}

fn deprecation(image: &ImageFacts) -> Option<Timestamp> {
    image.deprecation_time.as_deref().and_then(|text| text.parse().ok())
}

/// EC2 rounds deprecation to the minute.
fn same_minute(source: &Survey, made: &Survey) -> bool {
    let minute = |survey: &Survey| deprecation(&survey.image).map(|at| at.as_second().div_euclid(60));
    minute(source) == minute(made)
}

/// Tags of people that `made` lacks, as many as fit, and the keys of those that do not.
fn missing_tags(source: &Tags, made: &Tags) -> (Tags, Vec<String>) {
    let mut room = MOST_TAGS.saturating_sub(made.keys().filter(|key| !key.starts_with("aws:")).count());
    let (mut missing, mut dropped) = (Tags::new(), Vec::new());
    for (key, value) in user_tags(source) {
        match made.get(&key) {
            Some(found) if *found == value => {}
            Some(_) => {
                missing.insert(key, value);
            }
            None if room > 0 => {
                room -= 1;
                missing.insert(key, value);
            }
            None => dropped.push(key),
        }
    }
    (missing, dropped)
}

/// Snapshots of the same device in both images.
fn snapshot_pairs<'a>(source: &'a Survey, made: &'a Survey) -> Vec<(&'a SnapshotFacts, &'a SnapshotFacts)> {
    let by_device = |survey: &'a Survey, device: &str| -> Option<&'a SnapshotFacts> {
        let mapping = survey.image.mappings.iter().find(|mapping| mapping.device_name == device)?;
        let id = mapping.ebs.as_ref()?.snapshot_id.as_ref()?;
        survey.snapshots.iter().find(|snapshot| &snapshot.snapshot_id == id)
    };
    source
        .image
        .mappings
        .iter()
        .filter_map(|mapping| Some((by_device(source, &mapping.device_name)?, by_device(made, &mapping.device_name)?)))
        .collect()
}

#[cfg(test)]
pub(crate) mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::image::tests::image;

    pub(crate) fn survey(image_id: &str, snapshot_id: &str) -> Survey {
        let mut image = image(image_id);
        let snapshot_id: SnapshotId = snapshot_id.parse().unwrap_or_else(|_| unreachable!());
        if let Some(ebs) = image.mappings[0].ebs.as_mut() {
            ebs.snapshot_id = Some(snapshot_id.clone());
        }
        let mut snapshot = crate::image::tests::snapshot("snap-12345678");
        snapshot.snapshot_id = snapshot_id;
        Survey { image, launch_permissions: LaunchPermissions::default(), uefi_data: None, snapshots: vec![snapshot] }
    }

    fn all() -> BTreeSet<CarryOver> {
        [CarryOver::LaunchPermissions, CarryOver::Deprecation, CarryOver::DeregistrationProtection].into()
    }

    fn repaired(made: &Survey, repairs: &Repairs) -> Survey {
        let mut made = made.clone();
        made.launch_permissions.accounts.extend(repairs.launch_permissions.accounts.iter().cloned());
        if let Some(at) = repairs.deprecate_at {
            made.image.deprecation_time = Some(at.to_string());
        }
        if repairs.protect {
            made.image.deregistration_protection = Some("enabled-without-cooldown".into());
        }
        if repairs.imds_v2 {
            made.image.attributes.insert("ImdsSupport".into(), "v2.0".into());
        }
        made.image.tags.extend(repairs.image_tags.clone());
        for (id, tags) in &repairs.snapshot_tags {
            if let Some(snapshot) = made.snapshots.iter_mut().find(|snapshot| &snapshot.snapshot_id == id) {
                snapshot.tags.extend(tags.clone());
            }
        }
        made
    }

    proptest! {
        /// Whatever a copy lost, the repairs leave no difference, and repairing again changes nothing.
        #[test]
        fn repairs_leave_no_difference(
            accounts in proptest::collection::btree_set("[0-9]{12}", 0..4),
            tags in proptest::collection::btree_map("[a-d]", "[x-z]", 0..4),
            kept in proptest::collection::btree_map("[a-d]", "[x-z]", 0..4),
            protected: bool, deprecated: bool, imds_v2: bool,
        ) {
            let now = Timestamp::UNIX_EPOCH;
            let mut source = survey("ami-12345678", "snap-12345678");
            source.launch_permissions.accounts = accounts;
            source.image.tags = tags.clone();
            source.snapshots[0].tags = tags;
            source.image.deregistration_protection = protected.then(|| "enabled-with-cooldown".into());
            source.image.deprecation_time = deprecated.then(|| "2030-01-01T00:00:00.000Z".into());
            if imds_v2 {
                source.image.attributes.insert("ImdsSupport".into(), "v2.0".into());
            }
            let mut made = survey("ami-87654321", "snap-87654321");
            made.image.tags = kept;

            let made = repaired(&made, &repairs(&source, &made, &all(), now));
            prop_assert_eq!(remaining_differences(&source, &made, &all(), now), vec![]);
            prop_assert_eq!(repairs(&source, &made, &all(), now), Repairs::default());
        }
    }

    /// 71. Nothing becomes public by itself.
    #[test]
    fn the_right_of_everybody_is_not_put_back_and_is_no_difference() {
        let mut source = survey("ami-12345678", "snap-12345678");
        source.launch_permissions.groups.insert("all".into());
        source.launch_permissions.accounts.insert("999999999999".into());
        let mut made = survey("ami-87654321", "snap-87654321");
        let now = Timestamp::UNIX_EPOCH;
        let wanted = repairs(&source, &made, &all(), now);
        assert!(wanted.launch_permissions.groups.is_empty() && wanted.launch_permissions.accounts.len() == 1);
        let command = wanted.not_restored.command(&made.image.region, &made.image.image_id);
        assert!(command.contains("ami-87654321") && command.ends_with("'Add=[{Group=all}]'"), "{command}");
        made.launch_permissions = wanted.launch_permissions;
        assert!(!repairs(&source, &made, &all(), now).changes_anything());
        assert!(remaining_differences(&source, &made, &all(), now).is_empty());
        // What is public already needs no word.
        made.launch_permissions.groups.insert("all".into());
        assert!(repairs(&source, &made, &all(), now).not_restored.is_empty());
    }

    #[test]
    fn what_the_policy_does_not_want_is_not_put_back() {
        let mut source = survey("ami-12345678", "snap-12345678");
        source.launch_permissions.accounts.insert("999999999999".into());
        source.image.deregistration_protection = Some("enabled-without-cooldown".into());
        source.image.deprecation_time = Some("2030-01-01T00:00:00.000Z".into());
        let made = survey("ami-87654321", "snap-87654321");
        let none = BTreeSet::new();
        assert_eq!(repairs(&source, &made, &none, Timestamp::UNIX_EPOCH), Repairs::default());
        assert!(remaining_differences(&source, &made, &none, Timestamp::UNIX_EPOCH).is_empty());
        assert_eq!(remaining_differences(&source, &made, &all(), Timestamp::UNIX_EPOCH).len(), 3);
    }

    #[test]
    fn a_snapshot_gets_back_the_tags_of_the_snapshot_of_the_same_device() {
        let tags = |value: &str| Tags::from([("Disk".to_owned(), value.to_owned())]);
        let with_data_disk = |mut survey: Survey, snapshot_id: &str| {
            let id: SnapshotId = snapshot_id.parse().unwrap_or_else(|_| unreachable!());
            let mut mapping = survey.image.mappings[0].clone();
            mapping.device_name = "/dev/xvdb".into();
            if let Some(ebs) = mapping.ebs.as_mut() {
                ebs.snapshot_id = Some(id.clone());
            }
            survey.image.mappings.push(mapping);
            survey.snapshots.push(SnapshotFacts { snapshot_id: id, ..survey.snapshots[0].clone() });
            survey
        };
        let mut source = with_data_disk(survey("ami-12345678", "snap-11111111"), "snap-22222222");
        source.snapshots[0].tags = tags("root");
        source.snapshots[1].tags = tags("data");
        let mut made = with_data_disk(survey("ami-87654321", "snap-33333333"), "snap-44444444");
        // EC2 promises no order, neither of the mapping nor of the snapshots.
        made.image.mappings.reverse();

        let found = remaining_differences(&source, &made, &all(), Timestamp::UNIX_EPOCH);
        let what: Vec<&str> = found.iter().map(|difference| difference.what.as_str()).collect();
        assert_eq!(what, ["snap-33333333.Tags.Disk", "snap-44444444.Tags.Disk"]);
        let put_back = repairs(&source, &made, &all(), Timestamp::UNIX_EPOCH).snapshot_tags;
        let expected = [("snap-33333333", tags("root")), ("snap-44444444", tags("data"))];
        assert_eq!(put_back.iter().map(|(id, tags)| (id.as_str(), tags.clone())).collect::<Vec<_>>(), expected);
    }

    #[test]
    fn tags_are_put_back_as_long_as_there_is_room_and_those_of_aws_take_none() {
        let mut source = survey("ami-12345678", "snap-12345678");
        source.image.tags = ["a", "b", "c", "d"].map(|key| (key.to_owned(), "1".to_owned())).into();
        let mut made = survey("ami-87654321", "snap-87654321");
        made.image.tags = (0..MOST_TAGS - 3).map(|n| (format!("t{n:02}"), String::new())).collect();
        made.image.tags.insert("aws:backup:x".into(), "1".into());
        made.image.tags.insert("d".into(), "another".into());

        let repairs = repairs(&source, &made, &all(), Timestamp::UNIX_EPOCH);
        assert_eq!(repairs.image_tags.keys().collect::<Vec<_>>(), ["a", "b", "d"]);
        assert!(repairs.notes.len() == 1 && repairs.notes[0].contains("tag c"), "{:?}", repairs.notes);
    }

    #[test]
    fn what_can_only_be_noted_changes_nothing() {
        let noted = Repairs { notes: vec!["no room".into()], ..Repairs::default() };
        assert!(!noted.changes_anything());
        let tags = Tags::from([("Team".to_owned(), "a".to_owned())]);
        for changed in [
            Repairs { protect: true, ..Repairs::default() },
            Repairs { imds_v2: true, ..Repairs::default() },
            Repairs { deprecate_at: Some(Timestamp::UNIX_EPOCH), ..Repairs::default() },
            Repairs { image_tags: tags, ..noted },
        ] {
            assert!(changed.changes_anything(), "{changed:?}");
        }
    }

    #[test]
    fn a_deprecation_is_put_back_only_if_it_lies_ahead() {
        let at: Timestamp = "2030-01-01T00:00:00Z".parse().unwrap_or_else(|_| unreachable!());
        let second = jiff::SignedDuration::from_secs(1);
        let mut source = survey("ami-12345678", "snap-12345678");
        source.image.deprecation_time = Some("2030-01-01T00:00:00.000Z".into());
        let made = survey("ami-87654321", "snap-87654321");
        for (now, ahead) in [(at - second, true), (at, false), (at + second, false)] {
            let repairs = repairs(&source, &made, &all(), now);
            assert_eq!((repairs.deprecate_at.is_some(), repairs.notes.is_empty()), (ahead, ahead), "{now}");
            assert_eq!(remaining_differences(&source, &made, &all(), now).len(), usize::from(ahead), "{now}");
        }
    }

    #[test]
    fn uefi_data_of_the_source_must_be_on_what_was_made() {
        let survey_with = |uefi_data: Option<&str>| Survey {
            uefi_data: uefi_data.map(str::to_owned),
            ..survey("ami-12345678", "snap-12345678")
        };
        for (original, found, differs) in [
            (Some("a"), Some("a"), false),
            (Some("a"), Some("b"), true),
            (Some("a"), None, true),
            (None, Some("a"), false),
            (None, None, false),
        ] {
            let left =
                remaining_differences(&survey_with(original), &survey_with(found), &all(), Timestamp::UNIX_EPOCH);
            let what: Vec<&str> = left.iter().map(|difference| difference.what.as_str()).collect();
            assert_eq!(what, if differs { vec!["UefiData"] } else { vec![] }, "{original:?} {found:?}");
        }
    }

    #[test]
    fn tags_for_which_there_is_no_room_are_noted_and_not_a_difference() {
        let mut source = survey("ami-12345678", "snap-12345678");
        source.image.tags.insert("zz".into(), "1".into());
        let mut made = survey("ami-87654321", "snap-87654321");
        made.image.tags = (0..MOST_TAGS).map(|n| (format!("t{n:02}"), String::new())).collect();
        let repairs = repairs(&source, &made, &all(), Timestamp::UNIX_EPOCH);
        assert!(repairs.image_tags.is_empty() && repairs.notes.len() == 1);
        assert!(remaining_differences(&source, &made, &all(), Timestamp::UNIX_EPOCH).is_empty());
    }
}
