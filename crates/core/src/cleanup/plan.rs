//! Owns the plan: what is done with every image and every snapshot of an account, and why.
//!
//! An image goes if the listings say that it is due, a look at it alone found nobody who holds it, and the limits of the
//! run have room for it. A snapshot goes with the last image that is on it, or if the image that it was made for is gone
//! in any form.

use std::collections::{BTreeMap, HashMap, HashSet};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{
    account::{Account, Image, Snapshot},
    batch::room,
    judge::{Action, Judgement},
    note::quoted,
    policy::CleanupPolicy,
    reason::{Reason, WrittenReason},
    retention::days,
};
use crate::id::{ImageId, SnapshotId};

/// What a look at one image said, which costs calls and is made only for what would otherwise go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Checked {
    /// Nobody holds it.
    Free,
    /// It stays, for these reasons.
    Held(Vec<Reason>),
    /// It could not be told: it stays, and the run is partial.
    Unknown(String),
}

/// What the looks at images said so far.
pub type Checks = BTreeMap<ImageId, Checked>;

/// The images that are due, oldest first.
fn due(account: &Account, judged: &[Judgement]) -> Vec<usize> {
    let judged = judged.iter().enumerate().filter(|(_, judgement)| judgement.action != Action::Keep);
    let mut due: Vec<usize> = judged.map(|(place, _)| place).collect();
    due.sort_by_key(|place| account.images.get(*place).map(|image| (image.created_at, &image.image_id)));
    due
}

/// The images that have to be looked at next, oldest first: as many as the limit has room for. Nothing is left to look
/// at when the answer is empty.
pub fn next_to_check<'a>(
    account: &'a Account,
    judged: &[Judgement],
    checks: &Checks,
    policy: &CleanupPolicy,
) -> Vec<&'a ImageId> {
    let mut room = room(&policy.limits, account.removed_before).images;
    let mut next = Vec::new();
    for image in due(account, judged).into_iter().filter_map(|place| account.images.get(place)) {
        if room == 0 {
            break;
        }
        match checks.get(&image.image_id) {
            Some(Checked::Free) => room -= 1,
            Some(_) => {}
            None => {
                room -= 1;
                next.push(&image.image_id);
            }
        }
    }
    next
}

/// What the Recycle Bin holds.
#[derive(Debug)]
struct Bin<'a> {
    images: HashSet<&'a ImageId>,
    /// The snapshots that they are on, where that is known.
    on: HashMap<&'a SnapshotId, &'a ImageId>,
    /// One of which it is not known. Any snapshot may be its.
    unknown: Option<&'a ImageId>,
}

impl<'a> Bin<'a> {
    fn of(account: &'a Account) -> Self {
        let mut bin = Self { images: HashSet::new(), on: HashMap::new(), unknown: None };
        for binned in &account.binned {
            bin.images.insert(&binned.image_id);
            match &binned.snapshots {
                // Of several the smallest id, so that the order of the listing changes nothing.
                Some(snapshots) => snapshots.iter().for_each(|snapshot| {
                    let image = bin.on.entry(snapshot).or_insert(&binned.image_id);
                    *image = (*image).min(&binned.image_id);
                }),
                None => bin.unknown = bin.unknown.into_iter().chain([&binned.image_id]).min(),
            }
        }
        bin
    }
}

/// What is done with an account's images and snapshots.
#[derive(Debug)]
pub struct Plan<'a> {
    account: &'a Account,
    policy: &'a CleanupPolicy,
    now: Timestamp,
    images: Vec<Judgement>,
    /// The images that are on each snapshot, by their places.
    on: HashMap<&'a SnapshotId, Vec<usize>>,
    registered: HashSet<&'a ImageId>,
    bin: Bin<'a>,
    snapshots: HashMap<&'a SnapshotId, &'a Snapshot>,
    /// The orphans and leftovers that go.
    alone: HashSet<&'a SnapshotId>,
    /// Since when each orphan is known to be one, those that stay too.
    orphans_since: BTreeMap<SnapshotId, Timestamp>,
    asks: Option<String>,
    partial: bool,
}

impl<'a> Plan<'a> {
    /// The plan by what the listings and the looks at single images said. An image that is due and was not looked at
    /// stays.
    pub fn new(
        account: &'a Account,
        judged: Vec<Judgement>,
        checks: &Checks,
        policy: &'a CleanupPolicy,
        now: Timestamp,
    ) -> Self {
        let due = due(account, &judged);
        let mut on: HashMap<&SnapshotId, Vec<usize>> = HashMap::new();
        for (place, image) in account.images.iter().enumerate() {
            for snapshot in &image.snapshots {
                on.entry(snapshot).or_default().push(place);
            }
        }
        let mut plan = Self {
            account,
            policy,
            now,
            images: judged,
            on,
            registered: account.images.iter().map(|image| &image.image_id).collect(),
            bin: Bin::of(account),
            snapshots: account.snapshots.iter().map(|snapshot| (&snapshot.snapshot_id, snapshot)).collect(),
            alone: HashSet::new(),
            orphans_since: BTreeMap::new(),
            asks: None,
            partial: false,
        };
        plan.admit(&due, checks);
        let snapshots = plan.choose_alone();
        plan.ask(due.len(), snapshots);
        plan
    }

    /// Lets what is due go as far as nobody holds it and the limit has room.
    fn admit(&mut self, due: &[usize], checks: &Checks) {
        let limit = self.policy.limits.images;
        let mut room = room(&self.policy.limits, self.account.removed_before).images;
        for place in due {
            let (Some(image), Some(judgement)) = (self.account.images.get(*place), self.images.get_mut(*place)) else {
                continue;
            };
            let kept = match checks.get(&image.image_id) {
                Some(Checked::Free) if room > 0 => {
                    room -= 1;
                    continue;
                }
                Some(Checked::Free) => vec![Reason::OverLimit { limit }],
                Some(Checked::Held(reasons)) => reasons.clone(),
                Some(Checked::Unknown(why)) => {
                    self.partial = true;
                    vec![Reason::CannotTell(why.clone())]
                }
                None if room == 0 => vec![Reason::OverLimit { limit }],
                None => {
                    self.partial = true;
                    vec![Reason::CannotTell("it was not looked at".into())]
                }
            };
            judgement.action = Action::Keep;
            judgement.reasons = kept;
        }
    }

    /// Asks a person if so much is due that the policy may be wrong, or so little would be left.
    fn ask(&mut self, images: usize, snapshots: usize) {
        let limits = &self.policy.limits;
        let count = |n: usize| u64::try_from(n).unwrap_or(u64::MAX);
        let in_scope = self.account.images.iter().filter(|image| image.in_scope).count();
        let of_snapshots = self.account.snapshots.iter().filter(|snapshot| snapshot.is_in_scope()).count();
        let share = u64::from(limits.share_percent);
        let mut asks = Vec::new();
        for (due, all, what) in [(images, in_scope, "images"), (snapshots, of_snapshots, "snapshots")] {
            if count(due).saturating_mul(100) > count(all).saturating_mul(share) {
                asks.push(format!(
                    "{due} of the {all} {what} that the run may touch are due, more than the {share} % of \
                     `limits.sharePercent`"
                ));
            }
        }
        let going = self.images.iter().filter(|judgement| judgement.action == Action::Deregister).count();
        let left = count(self.images.len().saturating_sub(going));
        if going > 0 && left < u64::from(limits.remaining) {
            asks.push(format!(
                "{left} images would be left in {}, less than the {} of `limits.remaining`",
                self.account.region, limits.remaining
            ));
        }
        self.asks = (!asks.is_empty()).then(|| asks.join(", and "));
    }

    /// Finds the snapshots that are due by themselves, leftovers and orphans, and which of them go: those that are known for
    /// longest, as far as the limit has room. Returns how many snapshots are due in all, before that limit.
    fn choose_alone(&mut self) -> usize {
        let mut alone: Vec<(Timestamp, &SnapshotId)> = Vec::new();
        let mut since = BTreeMap::new();
        let mut due = 0;
        for snapshot in &self.account.snapshots {
            let id = &snapshot.snapshot_id;
            let judged = self.judge_snapshot(snapshot);
            due += usize::from(judged.is_ok());
            match &judged {
                Ok(Reason::Orphan { seen, .. }) => alone.push((*seen, id)),
                Ok(Reason::LeftOver(_)) => {
                    alone.push((self.account.left_over.get(id).map_or(self.now, |left| left.since), id));
                }
                _ => {}
            }
            let reasons = judged.as_ref().map_or_else(Vec::as_slice, std::slice::from_ref);
            let is_orphan = |reason: &Reason| {
                matches!(reason, Reason::Orphan { .. } | Reason::OrphanSince { .. } | Reason::OrphanLeft(_))
            };
            if reasons.iter().any(is_orphan) {
                let seen = self.account.orphans_since.get(id).copied().unwrap_or(self.now);
                since.insert(id.clone(), seen);
            }
        }
        self.orphans_since = since;
        alone.sort_unstable();
        let room = room(&self.policy.limits, self.account.removed_before).snapshots;
        self.alone = alone.into_iter().take(usize::try_from(room).unwrap_or(usize::MAX)).map(|(_, id)| id).collect();
        due
    }

    /// Why a snapshot goes, or all that keeps it.
    fn judge_snapshot(&self, snapshot: &Snapshot) -> Result<Reason, Vec<Reason>> {
        let on = self.on.get(&snapshot.snapshot_id).map(Vec::as_slice).unwrap_or_default();
        let due = if on.is_empty() { self.judge_orphan(snapshot) } else { self.judge_backing(snapshot, on) };
        let mut kept = snapshot.protections.clone();
        let uses = self.account.uses.of_snapshot(&snapshot.snapshot_id);
        kept.extend(uses.iter().cloned().map(Reason::InUse));
        match due {
            Ok(reason) if kept.is_empty() => Ok(reason),
            Ok(_) => Err(kept),
            Err(reasons) => {
                kept.extend(reasons);
                Err(kept)
            }
        }
    }

    /// A snapshot that images are on goes with the last of them. If this product did not make it, it must have been made
    /// for one of them: somebody may have registered an image on a snapshot that he keeps for another purpose.
    fn judge_backing(&self, snapshot: &Snapshot, on: &[usize]) -> Result<Reason, Vec<Reason>> {
        let images =
            || on.iter().filter_map(|place| Some((self.account.images.get(*place)?, self.images.get(*place)?)));
        let mut kept = Vec::new();
        for (image, judgement) in images() {
            if judgement.action != Action::Deregister {
                kept.push(Reason::Backs(image.image_id.clone()));
            }
            if snapshot.is_recovery_point() {
                kept.push(Reason::BlocksRecoveryPoint(image.image_id.clone()));
            }
        }
        let made_for = |image: &Image| snapshot.made_for.as_ref() == Some(&image.image_id);
        if !snapshot.managed && !images().any(|(image, _)| made_for(image)) {
            kept.push(Reason::NotOfAnImage);
        }
        match images().next() {
            Some((image, _)) if kept.is_empty() => Ok(Reason::WithImage(image.image_id.clone())),
            _ => Err(kept),
        }
    }

    /// A snapshot that no image is on.
    fn judge_orphan(&self, snapshot: &Snapshot) -> Result<Reason, Vec<Reason>> {
        let one = |reason: Reason| Err(vec![reason]);
        let left_over = self.account.left_over.get(&snapshot.snapshot_id);
        let origins = || left_over.iter().flat_map(|left| &left.images).chain(&snapshot.made_for);
        let Some(image) = origins().next() else {
            return one(Reason::NotOfAnImage);
        };
        for image in origins() {
            if self.registered.contains(image) {
                return one(Reason::ImageExists(image.clone()));
            }
            if self.bin.images.contains(image) {
                return one(Reason::ImageInBin(image.clone()));
            }
        }
        if let Some(binned) = self.bin.on.get(&snapshot.snapshot_id).or(self.bin.unknown.as_ref()) {
            return one(Reason::MayBackBinned((*binned).clone()));
        }
        if let Some(odd) = self.account.odd_binned.first() {
            return one(Reason::CannotTell(format!(
                "the Recycle Bin holds {}, of which nobody knows the snapshots",
                quoted(odd)
            )));
        }
        if left_over.is_some() {
            return Ok(Reason::LeftOver(image.clone()));
        }
        let Some(orphans) = &self.policy.orphans else {
            return one(Reason::OrphanLeft(image.clone()));
        };
        match self.account.orphans_since.get(&snapshot.snapshot_id) {
            Some(seen) if self.now.duration_since(*seen) >= days(orphans.grace_days) => {
                Ok(Reason::Orphan { image: image.clone(), seen: *seen })
            }
            seen => one(Reason::OrphanSince { image: image.clone(), seen: seen.copied() }),
        }
    }

    /// Why a person has to agree before the plan is applied, if one has to.
    pub fn asks(&self) -> Option<&str> {
        self.asks.as_deref()
    }

    /// Whether an image stays only because it could not be told whether it is in use.
    pub fn is_partial(&self) -> bool {
        self.partial
    }

    /// Since when each orphan is known to be one: what the next plan has to be told. What is none any more starts anew
    /// should it become one again.
    pub const fn orphans_since(&self) -> &BTreeMap<SnapshotId, Timestamp> {
        &self.orphans_since
    }

    /// What is done with each image and then with each snapshot, in the order of the account.
    pub fn lines(&self) -> impl Iterator<Item = Line> + use<'_, 'a> {
        let images = self.account.images.iter().zip(&self.images).map(|(image, judged)| self.image_line(image, judged));
        images.chain(self.account.snapshots.iter().map(|snapshot| self.snapshot_line(snapshot)))
    }

    fn image_line(&self, image: &Image, judgement: &Judgement) -> Line {
        let mut reasons: Vec<WrittenReason> = judgement.reasons.iter().map(Into::into).collect();
        if judgement.action == Action::Deregister {
            reasons.extend(self.bin_warnings(image).iter().map(Into::into));
        }
        let last_good = judgement.last_good.filter(|_| judgement.action != Action::Keep);
        Line::Image(ImageLine {
            image_id: image.image_id.clone(),
            name: image.name.clone(),
            state: image.state.as_str().to_owned(),
            action: judgement.action,
            reasons,
            family: image.family.clone(),
            created_at: image.created_at,
            provisioned_gib: image.provisioned_gib,
            snapshots: image.snapshots.clone(),
            bin_days: image.bin_days,
            last_good: last_good.and_then(|place| Some(self.account.images.get(place)?.image_id.clone())),
        })
    }

    /// Snapshots that the bin would not keep for as long as the image: without them it cannot come back.
    fn bin_warnings(&self, image: &Image) -> Vec<Reason> {
        let Some(image_days) = image.bin_days else { return Vec::new() };
        let going = image.snapshots.iter().filter_map(|id| self.snapshots.get(id));
        let going = going.filter(|snapshot| self.judge_snapshot(snapshot).is_ok());
        let days = going.map(|snapshot| (snapshot.snapshot_id.clone(), snapshot.bin_days.unwrap_or(0)));
        days.filter(|(_, days)| *days < image_days)
            .map(|(snapshot, snapshot_days)| Reason::BinShorter { snapshot, snapshot_days, image_days })
            .collect()
    }

    fn snapshot_line(&self, snapshot: &Snapshot) -> Line {
        let over = Reason::OverLimit { limit: self.policy.limits.orphan_snapshots };
        let (action, reasons) = match self.judge_snapshot(snapshot) {
            Ok(Reason::Orphan { .. } | Reason::LeftOver(_)) if !self.alone.contains(&snapshot.snapshot_id) => {
                (Action::Keep, vec![over])
            }
            Ok(reason) => (Action::DeleteSnapshot, vec![reason]),
            Err(reasons) => (Action::Keep, reasons),
        };
        let on = self.on.get(&snapshot.snapshot_id).map(Vec::as_slice).unwrap_or_default();
        let image_ids = on.iter().filter_map(|place| Some(self.account.images.get(*place)?.image_id.clone()));
        Line::Snapshot(SnapshotLine {
            snapshot_id: snapshot.snapshot_id.clone(),
            action,
            reasons: reasons.iter().map(Into::into).collect(),
            images: image_ids.collect(),
            provisioned_gib: snapshot.provisioned_gib,
            full_bytes: snapshot.full_bytes,
            bin_days: snapshot.bin_days,
            intent: self.account.left_over.get(&snapshot.snapshot_id).map(|left| left.intent.clone()),
        })
    }
}

/// One line of a plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "camelCase")]
pub enum Line {
    /// An image.
    Image(ImageLine),
    /// A snapshot.
    Snapshot(SnapshotLine),
}

impl Line {
    /// What is done.
    pub const fn action(&self) -> Action {
        match self {
            Self::Image(line) => line.action,
            Self::Snapshot(line) => line.action,
        }
    }

    /// Why.
    pub fn reasons(&self) -> &[WrittenReason] {
        match self {
            Self::Image(line) => &line.reasons,
            Self::Snapshot(line) => &line.reasons,
        }
    }

    /// Its id.
    pub fn id(&self) -> &str {
        match self {
            Self::Image(line) => line.image_id.as_str(),
            Self::Snapshot(line) => line.snapshot_id.as_str(),
        }
    }
}

/// What is done with an image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ImageLine {
    /// The image.
    pub image_id: ImageId,
    /// Its name.
    pub name: String,
    /// Its state, as the plan saw it.
    pub state: String,
    /// What is done.
    pub action: Action,
    /// Why.
    pub reasons: Vec<WrittenReason>,
    /// What it is a generation of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub family: Option<String>,
    /// When it was made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created_at: Option<Timestamp>,
    /// Sum of its volume sizes in GiB. What a deletion frees is less: snapshots share blocks.
    pub provisioned_gib: u64,
    /// The snapshots that it is on.
    pub snapshots: Vec<SnapshotId>,
    /// Days for which the Recycle Bin keeps it once it is deregistered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bin_days: Option<u32>,
    /// The last good backup of its family, which must be there when this one goes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_good: Option<ImageId>,
}

/// What is done with a snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SnapshotLine {
    /// The snapshot.
    pub snapshot_id: SnapshotId,
    /// What is done.
    pub action: Action,
    /// Why.
    pub reasons: Vec<WrittenReason>,
    /// The images that are on it: they go first.
    pub images: Vec<ImageId>,
    /// Size of its volume in GiB. What a deletion frees is less: snapshots share blocks.
    pub provisioned_gib: u64,
    /// Bytes of all its blocks, where EC2 says so: a deletion frees at most these, and less if another snapshot shares some.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub full_bytes: Option<u64>,
    /// Days for which the Recycle Bin keeps it once it is deleted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bin_days: Option<u32>,
    /// Of a leftover: key of the paper by which it was to go with an image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub intent: Option<String>,
}

#[cfg(test)]
pub(crate) mod tests {
    use std::collections::BTreeSet;

    use serde_json::{Value, json};

    use super::*;
    use crate::cleanup::{
        account::BinnedImage,
        intent::LeftOver,
        judge::{
            judge,
            tests::{account, id, image, now},
        },
        policy::tests::policy,
        protection::Tool,
        usage::User,
    };
    use crate::{
        image::{
            ImageFacts, SnapshotFacts,
            tests::{image as image_facts, snapshot as snapshot_facts},
        },
        naming::{TAG_MANAGED, TAG_SOURCE},
        tags::Tags,
    };

    fn snapshot_id(number: u32) -> SnapshotId {
        format!("snap-{number:08x}").parse().unwrap_or_else(|_| unreachable!())
    }

    /// A snapshot of ours, of the image of the same number.
    pub(crate) fn snapshot(number: u32) -> Snapshot {
        Snapshot {
            snapshot_id: snapshot_id(number),
            managed: true,
            made_for: Some(id(number)),
            protections: Vec::new(),
            provisioned_gib: 8,
            full_bytes: None,
            bin_days: None,
        }
    }

    /// Three images of a family with a snapshot each, of which the policy keeps the newest: 2 and 3 are due.
    fn three() -> Account {
        let mut account = account(vec![image(1, 1), image(2, 2), image(3, 3)]);
        account.snapshots = (1..=3).map(snapshot).collect();
        account
    }

    fn newest() -> Value {
        json!({"retention": {"newest": 1}, "limits": {"sharePercent": 100}})
    }

    fn with(more: Value) -> Value {
        let mut asked = newest();
        if let (Some(asked), Value::Object(more)) = (asked.as_object_mut(), more) {
            asked.extend(more);
        }
        asked
    }

    pub(crate) fn all_free(account: &Account) -> Checks {
        account.images.iter().map(|image| (image.image_id.clone(), Checked::Free)).collect()
    }

    /// What happens to each image and snapshot, with the codes of the reasons.
    fn planned(account: &Account, checks: &Checks, asked: Value) -> BTreeMap<String, (Action, Vec<String>)> {
        let policy = policy(asked);
        let judged = judge(account, &policy, now()).unwrap_or_else(|error| unreachable!("{error}"));
        let plan = Plan::new(account, judged, checks, &policy, now());
        let codes = |line: &Line| line.reasons().iter().map(|reason| reason.code.clone()).collect();
        plan.lines().map(|line| (line.id().to_owned(), (line.action(), codes(&line)))).collect()
    }

    #[track_caller]
    fn one(account: &Account, asked: Value, id: &str) -> (Action, Vec<String>) {
        planned(account, &all_free(account), asked).remove(id).unwrap_or_else(|| unreachable!("{id}"))
    }

    const SECOND: &str = "snap-00000002";

    #[test]
    fn an_image_goes_and_its_snapshots_with_it() {
        let account = three();
        let all = planned(&account, &all_free(&account), newest());
        for (id, action, code) in [
            ("ami-00000001", Action::Keep, "last-good"),
            ("ami-00000002", Action::Deregister, "past-retention"),
            ("snap-00000001", Action::Keep, "backs-an-image"),
            ("snap-00000002", Action::DeleteSnapshot, "with-image"),
            ("snap-00000003", Action::DeleteSnapshot, "with-image"),
        ] {
            assert!(all[id].0 == action && all[id].1[0] == code, "{id}: {:?}", all[id]);
        }
    }

    /// 44. A snapshot that several images are on goes with the last of them.
    ///
    /// Case 19: a snapshot that two images are on goes with the last of them.
    #[test]
    fn a_shared_snapshot_goes_with_the_last_image() {
        let mut account = three();
        account.images[0].snapshots.push(snapshot_id(2));
        assert_eq!(one(&account, newest(), SECOND), (Action::Keep, vec!["backs-an-image".into()]));
        account.images[0].snapshots.pop();
        account.images[2].snapshots.push(snapshot_id(2));
        assert_eq!(one(&account, newest(), SECOND), (Action::DeleteSnapshot, vec!["with-image".into()]));
    }

    /// 44. The snapshot of an image that stays, in whatever state that image is, stays.
    ///
    /// Case 24: the snapshot of an image that stays is never a candidate, whatever else is true of it.
    #[test]
    fn the_snapshot_of_an_image_that_stays_stays() {
        for state in ["available", "disabled", "pending", "failed", "transient"] {
            let mut account = three();
            account.images[1].protections.push(Reason::KeepTag("Keep".into()));
            account.images[1].state = state.to_owned().into();
            account.left_over = left(2, 9);
            account.orphans_since = [(snapshot_id(2), now() - days(99))].into();
            let asked = with(json!({"orphans": {"graceDays": 1}}));
            assert_eq!(one(&account, asked, SECOND).1, ["backs-an-image"], "{state}");
        }
        // An image that is only deprecated or disabled stays.
        let asked = with(json!({"stages": {"disableDays": 1}}));
        let account = three();
        assert_eq!(one(&account, asked.clone(), "ami-00000002").0, Action::Disable);
        assert_eq!(one(&account, asked, SECOND).1, ["backs-an-image"]);
    }

    /// 63. A snapshot that something keeps stays, though its image goes.
    #[test]
    fn what_a_snapshot_carries_keeps_it_though_its_image_goes() {
        let mut account = three();
        account.snapshots[1].protections.push(Reason::Locked("governance".into()));
        account.uses.add_snapshot(snapshot_id(2), User::LaunchTemplate, "lt-1 version 1");
        assert_eq!(one(&account, newest(), SECOND), (Action::Keep, vec!["locked".into(), "in-use".into()]));
        assert_eq!(one(&account, newest(), "ami-00000002").0, Action::Deregister);
    }

    /// 50. What another tool looks after, what this product did not make (unless the operator opts in), what is public,
    ///     what is protected, locked or carries a keep tag stays.
    #[test]
    fn what_is_not_for_this_run_to_touch_stays() {
        let ours: Tags = [(TAG_MANAGED, "true"), (TAG_SOURCE, "i-12345678")]
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .into();
        let by_image = |asked: Value, change: fn(&mut ImageFacts)| {
            let mut facts = image_facts("ami-00000002");
            facts.creation_date = Some("2026-11-22T02:00:00.000Z".into());
            facts.tags = ours.clone();
            change(&mut facts);
            let mut account = three();
            account.images[1] = Image::of(&facts, &policy(asked.clone()), &[]);
            one(&account, asked, "ami-00000002")
        };
        let by_snapshot = |asked: Value, lock: Option<&str>, change: fn(&mut SnapshotFacts)| {
            let mut facts = snapshot_facts(SECOND);
            facts.description = "Created by CreateImage(i-12345678) for ami-00000002".into();
            facts.tags = ours.clone();
            change(&mut facts);
            let mut account = three();
            account.snapshots[1] = Snapshot::of(&facts, lock, &policy(asked.clone()), &[]);
            one(&account, asked, SECOND)
        };
        let stays = |code: &str| (Action::Keep, vec![code.to_owned()]);
        let (plain, wide) = (with(json!({"keepTags": ["Keep"]})), with(json!({"includeUnmanaged": true})));
        let image = |change| by_image(plain.clone(), change);
        assert_eq!(image(|_| {}).0, Action::Deregister);
        assert_eq!(
            image(|facts| facts.owner_alias = Some("aws-backup-vault".into())),
            stays("managed-by-another-tool")
        );
        assert_eq!(image(|facts| facts.public = true), stays("public"));
        assert_eq!(image(|facts| facts.deregistration_protection = Some("enabled".into())), stays("protected"));
        assert_eq!(image(|facts| drop(facts.tags.insert("Keep".into(), "x".into()))), stays("keep-tag"));
        let snapshot = |lock, change| by_snapshot(plain.clone(), lock, change);
        assert_eq!(snapshot(None, |_| {}).0, Action::DeleteSnapshot);
        assert_eq!(snapshot(Some("governance"), |_| {}), stays("locked"));
        assert_eq!(snapshot(None, |facts| drop(facts.tags.insert("Keep".into(), "x".into()))), stays("keep-tag"));
        let tool = |facts: &mut SnapshotFacts| drop(facts.tags.insert("dlm:managed".into(), "true".into()));
        assert_eq!(snapshot(None, tool), stays("managed-by-another-tool"));
        let foreign = |facts: &mut ImageFacts| drop(facts.tags.remove(TAG_MANAGED));
        let of_others = |facts: &mut SnapshotFacts| drop(facts.tags.remove(TAG_MANAGED));
        assert_eq!(image(foreign), stays("not-ours"));
        assert_eq!(snapshot(None, of_others), stays("not-ours"));
        assert_eq!(by_image(wide.clone(), foreign).0, Action::Deregister);
        assert_eq!(by_snapshot(wide, None, of_others).0, Action::DeleteSnapshot);
    }

    /// Case 22: an image on a recovery point keeps that from expiring.
    #[test]
    fn an_image_on_a_recovery_point_is_reported_as_what_blocks_it() {
        let mut account = three();
        for snapshot in &mut account.snapshots {
            snapshot.protections.push(Reason::ManagedBy(Tool::Backup));
        }
        let blocked = |codes: &[&str]| (Action::Keep, codes.iter().map(|code| (*code).to_owned()).collect::<Vec<_>>());
        let stays = ["managed-by-another-tool", "backs-an-image", "blocks-a-recovery-point"];
        assert_eq!(one(&account, newest(), "snap-00000001"), blocked(&stays));
        assert_eq!(one(&account, newest(), SECOND), blocked(&["managed-by-another-tool", "blocks-a-recovery-point"]));
    }

    #[test]
    fn a_snapshot_of_somebody_else_goes_only_if_it_was_made_for_the_image() {
        let mut account = three();
        account.snapshots[1].managed = false;
        assert_eq!(one(&account, newest(), SECOND).0, Action::DeleteSnapshot);
        for made_for in [None, Some(id(9)), Some(id(1))] {
            account.snapshots[1].made_for = made_for;
            assert_eq!(one(&account, newest(), SECOND), (Action::Keep, vec!["not-of-an-image".into()]));
        }
        account.images[2].snapshots.push(snapshot_id(2));
        account.snapshots[1].made_for = Some(id(3));
        assert_eq!(one(&account, newest(), SECOND).0, Action::DeleteSnapshot);
    }

    /// An account with one image and a snapshot of image 2, which is gone; it has been seen so for ten days.
    fn orphaned() -> Account {
        let mut account = account(vec![image(1, 1)]);
        account.snapshots = vec![snapshot(2)];
        account.orphans_since = [(snapshot_id(2), now() - days(10))].into();
        account
    }

    fn in_grace(days: u32) -> Value {
        with(json!({"orphans": {"graceDays": days}}))
    }

    /// 53. An orphan goes only if the policy says so and after it was seen as one for the grace time.
    ///
    /// Case 23: an orphan is shown first and goes only if the operator says so, after a grace time.
    #[test]
    fn an_orphan_goes_on_opt_in_and_after_a_grace_time() {
        let mut account = orphaned();
        assert_eq!(one(&account, newest(), SECOND), (Action::Keep, vec!["orphan-left-alone".into()]));
        assert_eq!(one(&account, in_grace(11), SECOND), (Action::Keep, vec!["orphan-in-grace".into()]));
        assert_eq!(one(&account, in_grace(10), SECOND), (Action::DeleteSnapshot, vec!["orphan".into()]));
        account.orphans_since.clear();
        assert_eq!(one(&account, in_grace(1), SECOND), (Action::Keep, vec!["orphan-in-grace".into()]));
    }

    /// 53. What was not made for an image is no orphan.
    ///
    /// Case 82: what was not made for an image is no orphan, however old it is.
    #[test]
    fn what_was_not_made_for_an_image_is_no_orphan() {
        let mut account = orphaned();
        account.snapshots[0].made_for = None;
        assert_eq!(one(&account, in_grace(1), SECOND), (Action::Keep, vec!["not-of-an-image".into()]));
    }

    /// 53. An orphan is a snapshot that was made for an image which is gone in any form: not registered, not disabled,
    ///     not in the making, not in the Recycle Bin.
    #[test]
    fn an_image_that_exists_in_any_form_has_no_orphans() {
        assert_eq!(one(&orphaned(), in_grace(1), SECOND).1, ["orphan"]);
        for state in ["pending", "disabled", "failed", "transient"] {
            let mut account = orphaned();
            let mut making = image(2, 0);
            making.state = state.to_owned().into();
            making.snapshots.clear();
            account.images.push(making);
            assert_eq!(one(&account, in_grace(1), SECOND).1, ["image-exists"], "{state}");
        }
        let mut account = orphaned();
        account.binned = vec![BinnedImage { image_id: id(2), snapshots: Some(BTreeSet::new()) }];
        assert_eq!(one(&account, in_grace(1), SECOND).1, ["image-in-bin"]);
        // It was to go with one image and was made for another, which is still there.
        let mut account = orphaned();
        account.left_over = left(2, 9);
        account.snapshots[0].made_for = Some(id(1));
        assert_eq!(one(&account, in_grace(1), SECOND).1, ["image-exists"]);
    }

    /// 54. While the Recycle Bin holds an image of which nobody knows its snapshots, no orphan goes.
    #[test]
    fn an_image_in_the_bin_may_be_on_any_snapshot_unless_it_is_known_on_which() {
        let mut account = orphaned();
        let binned = |snapshots: Option<&[u32]>| BinnedImage {
            image_id: id(7),
            snapshots: snapshots.map(|numbers| numbers.iter().map(|number| snapshot_id(*number)).collect()),
        };
        for (snapshots, action) in
            [(None, Action::Keep), (Some(&[2, 3][..]), Action::Keep), (Some(&[3][..]), Action::DeleteSnapshot)]
        {
            account.binned = vec![binned(snapshots)];
            assert_eq!(one(&account, in_grace(1), SECOND).0, action, "{snapshots:?}");
        }
        account.binned = vec![binned(None)];
        account.left_over = left(2, 2);
        assert_eq!(one(&account, newest(), SECOND).1, ["image-in-bin"]);
        account.binned.clear();
        account.odd_binned = vec!["ami-of-a-kind-to-come".into()];
        assert_eq!(one(&account, newest(), SECOND).1, ["cannot-tell"]);
    }

    /// A snapshot that is left of an image, by a paper.
    fn left(snapshot: u32, image: u32) -> BTreeMap<SnapshotId, LeftOver> {
        let intent = format!("cleanups/intents/us-east-1/1/2/{}.json", id(image));
        let since = now() - days(snapshot);
        [(snapshot_id(snapshot), LeftOver { images: vec![id(image)], since, intent })].into()
    }

    /// 53. What a run that was cut off has left of its images goes without a word of the policy and without grace.
    ///
    /// 74. No tag says so.
    #[test]
    fn what_a_run_that_was_cut_off_left_goes_without_grace() {
        let mut account = orphaned();
        account.left_over = left(2, 2);
        assert_eq!(one(&account, newest(), SECOND), (Action::DeleteSnapshot, vec!["left-over".into()]));
        account.snapshots[0].protections.push(Reason::KeepTag("Keep".into()));
        assert_eq!(one(&account, newest(), SECOND), (Action::Keep, vec!["keep-tag".into(),]));
        let tag = ("ami-backup:retires-with".to_owned(), id(2).to_string());
        let mut facts = snapshot_facts(SECOND);
        facts.description = "Created by CreateImage(i-12345678) for ami-00000002".into();
        facts.tags = [(TAG_MANAGED.to_owned(), "true".to_owned()), tag].into();
        let mut account = orphaned();
        account.snapshots[0] = Snapshot::of(&facts, None, &policy(newest()), &[]);
        assert_eq!(one(&account, newest(), SECOND), (Action::Keep, vec!["orphan-left-alone".into()]));
    }

    /// 74. Leftovers count in `limits.orphanSnapshots`, and the share that asks counts snapshots too.
    #[test]
    fn leftovers_count_in_the_limit_of_orphans_the_longest_known_first() {
        let mut account = account(vec![image(1, 1)]);
        account.snapshots = (2..=5).map(snapshot).collect();
        account.orphans_since = [(snapshot_id(5), now() - days(9))].into();
        account.left_over = (2..=4).flat_map(|number| left(number, number)).collect();
        let asked = with(json!({"orphans": {"graceDays": 1}, "limits": {"orphanSnapshots": 2, "sharePercent": 100}}));
        let policy = policy(asked.clone());
        let codes = |account: &Account| -> Vec<String> {
            let all = planned(account, &all_free(account), asked.clone());
            (2..=5).map(|number| all[snapshot_id(number).as_str()].1.join(" ")).collect()
        };
        assert_eq!(codes(&account), ["over-limit", "over-limit", "left-over", "orphan"]);
        account.removed_before.snapshots = 1;
        assert_eq!(codes(&account), ["over-limit", "over-limit", "over-limit", "orphan"]);
        let judged = judge(&account, &policy, now()).unwrap_or_default();
        let plan = Plan::new(&account, judged, &Checks::new(), &policy, now());
        assert!(plan.orphans_since().keys().eq([&snapshot_id(5)]), "a leftover is no orphan");
    }

    /// 74. Leftovers count in `limits.orphanSnapshots`, and the share that asks counts snapshots too.
    #[test]
    fn a_large_share_of_the_snapshots_asks() {
        let mut account = account(vec![image(1, 1)]);
        account.snapshots = (1..=4).map(snapshot).collect();
        account.left_over = (2..=4).flat_map(|number| left(number, number)).collect();
        let text = asks(&account, json!({"sharePercent": 74, "orphanSnapshots": 1})).unwrap_or_default();
        assert!(text.contains("3 of the 4 snapshots") && text.contains("74 %"), "{text}");
        assert_eq!(asks(&account, json!({"sharePercent": 75})), None);
        // What the run may not touch is no part of it.
        account.snapshots[0].protections.push(Reason::NotOurs);
        assert!(asks(&account, json!({"sharePercent": 75})).is_some());
        // Those that go with images count too.
        let mut both = three();
        both.images[0].snapshots.clear();
        both.snapshots.truncate(2);
        both.images.truncate(2);
        both.snapshots.remove(0);
        assert!(asks(&both, json!({"sharePercent": 99})).is_some_and(|text| text.contains("1 of the 1 snapshots")));
    }

    /// 55. In one run and Region no more images go than the limit allows, the oldest first.
    #[test]
    fn what_an_earlier_plan_of_the_run_removed_counts_in_its_limit() {
        let mut account = three();
        account.removed_before.images = 1;
        let asked = with(json!({"limits": {"images": 2, "sharePercent": 100}}));
        let all = planned(&account, &all_free(&account), asked.clone());
        assert_eq!(["ami-00000002", "ami-00000003"].map(|id| all[id].0), [Action::Keep, Action::Deregister]);
        let policy = policy(asked);
        let judged = judge(&account, &policy, now()).unwrap_or_default();
        assert_eq!(next_to_check(&account, &judged, &Checks::new(), &policy), [&id(3)]);
    }

    /// 55. No more orphans go than their limit allows, the longest known first.
    #[test]
    fn orphans_go_as_far_as_the_limit_has_room_the_oldest_known_first() {
        let mut account = account(vec![image(1, 1)]);
        account.snapshots = (2..=5).map(snapshot).collect();
        account.orphans_since = (2..=5).map(|number| (snapshot_id(number), now() - days(10 * number))).collect();
        let asked = with(json!({"orphans": {"graceDays": 1}, "limits": {"orphanSnapshots": 2, "sharePercent": 100}}));
        let all = planned(&account, &all_free(&account), asked);
        let went = |number: u32| all[snapshot_id(number).as_str()].clone();
        assert_eq!([2, 3].map(|number| went(number).1), [["over-limit"], ["over-limit"]]);
        assert_eq!([4, 5].map(|number| went(number).0), [Action::DeleteSnapshot; 2]);
    }

    #[test]
    fn what_is_an_orphan_is_remembered_and_what_is_none_any_more_forgotten() {
        let mut account = account(vec![image(1, 1)]);
        account.snapshots = (1..=5).map(snapshot).collect();
        account.snapshots[3].made_for = None;
        account.snapshots[4].protections.push(Reason::Locked("compliance".into()));
        account.orphans_since = [1, 2, 4, 9].map(|number| (snapshot_id(number), now() - days(3))).into();
        for asked in [newest(), in_grace(1), in_grace(9)] {
            let policy = policy(asked);
            let judged = judge(&account, &policy, now()).unwrap_or_default();
            let plan = Plan::new(&account, judged, &Checks::new(), &policy, now());
            let since = [(snapshot_id(2), now() - days(3)), (snapshot_id(3), now()), (snapshot_id(5), now())];
            assert_eq!(*plan.orphans_since(), since.into());
        }
    }

    /// 55. In one run and Region no more images go than the limit allows, the oldest first.
    ///
    /// Case 12: the limit of a run is kept, and the oldest go first.
    #[test]
    fn images_go_as_far_as_the_limit_has_room_the_oldest_first() {
        let account = account((1..=10).map(|number| image(number, number)).collect());
        let asked = with(json!({"limits": {"images": 3, "sharePercent": 100}}));
        let all = planned(&account, &all_free(&account), asked.clone());
        let going: Vec<&str> =
            all.iter().filter(|(_, (action, _))| *action != Action::Keep).map(|(id, _)| &**id).collect();
        assert_eq!(going, ["ami-00000008", "ami-00000009", "ami-0000000a"]);
        assert_eq!(all["ami-00000007"], (Action::Keep, vec!["over-limit".into()]));
        // What is held takes no room.
        let mut checks = all_free(&account);
        checks.insert(id(9), Checked::Held(vec![Reason::SharedWith("444455556666".into())]));
        let all = planned(&account, &checks, asked);
        assert_eq!(all["ami-00000009"], (Action::Keep, vec!["shared".into()]));
        assert_eq!(all["ami-00000007"].0, Action::Deregister);
    }

    #[test]
    fn what_is_looked_at_is_what_could_go_and_no_more() {
        let account = account((1..=10).map(|number| image(number, number)).collect());
        let policy = policy(with(json!({"limits": {"images": 3}})));
        let judged = judge(&account, &policy, now()).unwrap_or_default();
        let next = |checks: &Checks| -> Vec<u32> {
            let ids = next_to_check(&account, &judged, checks, &policy);
            (1..=10).filter(|number| ids.contains(&&id(*number))).collect()
        };
        let mut checks = Checks::new();
        assert_eq!(next(&checks), [8, 9, 10]);
        checks.insert(id(10), Checked::Free);
        checks.insert(id(9), Checked::Unknown("denied".into()));
        checks.insert(id(8), Checked::Held(Vec::new()));
        assert_eq!(next(&checks), [6, 7]);
        checks.insert(id(7), Checked::Free);
        checks.insert(id(6), Checked::Free);
        assert_eq!(next(&checks), Vec::<u32>::new());
    }

    /// 52. What could not be looked at stays.
    ///
    /// Cases 2 and 5: what cannot be told keeps the image, and the run is partial.
    #[test]
    fn what_cannot_be_told_keeps_the_image_and_makes_the_run_partial() {
        let account = three();
        let policy = policy(newest());
        let partial = |checks: &Checks| {
            let judged = judge(&account, &policy, now()).unwrap_or_default();
            Plan::new(&account, judged, checks, &policy, now()).is_partial()
        };
        let mut checks = all_free(&account);
        assert!(!partial(&checks));
        checks.insert(id(2), Checked::Unknown("denied".into()));
        assert!(partial(&checks));
        let all = planned(&account, &checks, newest());
        assert_eq!(all["ami-00000002"], (Action::Keep, vec!["cannot-tell".into()]));
        assert_eq!(all[SECOND].1, ["backs-an-image"]);
        assert_eq!(all["ami-00000003"].0, Action::Deregister);
        checks.remove(&id(2));
        assert!(partial(&checks));
        assert_eq!(planned(&account, &checks, newest())["ami-00000002"].1, ["cannot-tell"]);
    }

    #[test]
    fn what_was_not_looked_at_for_want_of_room_makes_no_run_partial() {
        let account = three();
        let policy = policy(with(json!({"limits": {"images": 1}})));
        let judged = judge(&account, &policy, now()).unwrap_or_default();
        let plan = Plan::new(&account, judged, &[(id(3), Checked::Free)].into(), &policy, now());
        assert!(!plan.is_partial());
        let kept: Vec<_> = plan.lines().filter(|line| line.id() == "ami-00000002").collect();
        assert_eq!(kept[0].reasons()[0].code, "over-limit");
    }

    fn asks(account: &Account, limits: Value) -> Option<String> {
        let policy = policy(json!({"retention": {"newest": 1}, "limits": limits}));
        let judged = judge(account, &policy, now()).unwrap_or_default();
        Plan::new(account, judged, &all_free(account), &policy, now()).asks().map(str::to_owned)
    }

    /// 55. A plan that would take more than the share asks a person.
    ///
    /// Case 16: a policy that would take nearly everything asks a person first.
    #[test]
    fn a_large_share_asks() {
        let mut account = three();
        let text = asks(&account, json!({"sharePercent": 66})).unwrap_or_default();
        assert!(text.contains("2 of the 3") && text.contains("66 %"), "{text}");
        assert_eq!(asks(&account, json!({"sharePercent": 67})), None);
        // What the run may not touch is no part of it.
        let mut foreign = image(9, 9);
        foreign.in_scope = false;
        foreign.protections.push(Reason::NotOurs);
        account.images.push(foreign);
        assert!(asks(&account, json!({"sharePercent": 66})).is_some());
        // What is due and over the limit counts: the share is of the policy, not of one night.
        assert!(asks(&account, json!({"sharePercent": 66, "images": 0})).is_some());
        // The share itself may go: half of two under the default.
        let mut two = three();
        two.images.truncate(2);
        assert_eq!(asks(&two, json!({"sharePercent": 50})), None);
        assert!(asks(&two, json!({"sharePercent": 49})).is_some());
    }

    /// 55. A plan that would leave less than must remain asks a person too.
    #[test]
    fn too_few_left_asks() {
        let account = three();
        let text = asks(&account, json!({"sharePercent": 100, "remaining": 2})).unwrap_or_default();
        assert!(text.contains("1 images would be left in us-east-1") && text.contains("less than the 2"), "{text}");
        assert_eq!(asks(&account, json!({"sharePercent": 100, "remaining": 1})), None);
        assert_eq!(asks(&account, json!({"sharePercent": 100, "remaining": 9, "images": 0})), None);
        let both = asks(&account, json!({"sharePercent": 1, "remaining": 2})).unwrap_or_default();
        assert!(both.contains("sharePercent") && both.contains("limits.remaining"), "{both}");
    }

    /// Case 17: the plan says when the bin would not keep what an image needs to come back.
    #[test]
    fn a_bin_that_keeps_snapshots_shorter_is_a_warning() {
        let mut account = three();
        let warns = |account: &Account| {
            one(account, newest(), "ami-00000002").1.contains(&"bin-keeps-snapshot-shorter".to_owned())
        };
        account.images[1].bin_days = Some(14);
        assert!(warns(&account));
        for (days, warned) in [(13, true), (14, false), (15, false)] {
            account.snapshots[1].bin_days = Some(days);
            assert_eq!(warns(&account), warned, "{days}");
        }
        account.snapshots[1].bin_days = None;
        account.snapshots[1].protections.push(Reason::Locked("governance".into()));
        assert!(!warns(&account), "a snapshot that stays needs no bin");
        account.snapshots[1].protections.clear();
        account.images[1].bin_days = None;
        assert!(!warns(&account), "an image that is gone at once needs no snapshot");
    }

    #[test]
    fn a_line_says_all_that_the_apply_and_a_person_need() {
        let mut account = three();
        account.images[1].bin_days = Some(7);
        account.snapshots[1].bin_days = Some(7);
        account.snapshots[1].full_bytes = Some(5);
        let policy = policy(newest());
        let judged = judge(&account, &policy, now()).unwrap_or_default();
        let plan = Plan::new(&account, judged, &all_free(&account), &policy, now());
        let lines: Vec<Value> = plan.lines().filter_map(|line| serde_json::to_value(line).ok()).collect();
        assert_eq!(
            lines[1],
            json!({
                "kind": "image", "imageId": "ami-00000002", "name": "backup-2", "state": "available",
                "action": "DEREGISTER",
                "reasons": [{"code": "past-retention", "text": "retention keeps newer ones"}],
                "family": "source i-12345678, x86_64", "createdAt": "2026-11-22T02:00:00Z", "provisionedGib": 8,
                "snapshots": ["snap-00000002"], "binDays": 7, "lastGood": "ami-00000001",
            })
        );
        assert_eq!(
            lines[4],
            json!({
                "kind": "snapshot", "snapshotId": "snap-00000002", "action": "DELETE_SNAPSHOT",
                "reasons": [{"code": "with-image", "text": "ami-00000002 is on it and goes"}],
                "images": ["ami-00000002"], "provisionedGib": 8, "fullBytes": 5, "binDays": 7,
            })
        );
        assert!(lines[0].get("lastGood").is_none());
        let read: Result<Vec<Line>, _> = lines.into_iter().map(serde_json::from_value).collect();
        assert_eq!(read.ok(), Some(plan.lines().collect()));
    }
}
