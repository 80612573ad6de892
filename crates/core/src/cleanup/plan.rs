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
    judge::{Action, Judgement},
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
    let mut room = policy.limits.images;
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
                Some(snapshots) => bin.on.extend(snapshots.iter().map(|snapshot| (snapshot, &binned.image_id))),
                // The smallest id, so that the order of the listing changes nothing.
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
    orphans: HashSet<&'a SnapshotId>,
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
            orphans: HashSet::new(),
            asks: None,
            partial: false,
        };
        plan.admit(&due, checks);
        plan.ask(due.len());
        plan.choose_orphans();
        plan
    }

    /// Lets what is due go as far as nobody holds it and the limit has room.
    fn admit(&mut self, due: &[usize], checks: &Checks) {
        let limit = self.policy.limits.images;
        let mut room = limit;
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
    fn ask(&mut self, due: usize) {
        let limits = &self.policy.limits;
        let count = |n: usize| u64::try_from(n).unwrap_or(u64::MAX);
        let in_scope = count(self.account.images.iter().filter(|image| image.in_scope).count());
        let (due, share) = (count(due), u64::from(limits.share_percent));
        if due.saturating_mul(100) > in_scope.saturating_mul(share) {
            self.asks = Some(format!(
                "{due} of the {in_scope} images that the run may touch are due, more than the {share} % of \
                 `limits.sharePercent`"
            ));
        }
        let going = self.images.iter().filter(|judgement| judgement.action == Action::Deregister).count();
        let left = count(self.images.len().saturating_sub(going));
        if going > 0 && left < u64::from(limits.remaining) {
            self.asks = Some(format!(
                "{left} images would be left in {}, less than the {} of `limits.remaining`",
                self.account.region, limits.remaining
            ));
        }
    }

    /// The orphans that go: those that are known to be orphans for longest, as far as the limit has room.
    fn choose_orphans(&mut self) {
        let mut due: Vec<(Timestamp, &SnapshotId)> = Vec::new();
        for snapshot in &self.account.snapshots {
            if let Ok(Reason::Orphan { seen, .. }) = self.judge_snapshot(snapshot) {
                due.push((seen, &snapshot.snapshot_id));
            }
        }
        due.sort_unstable();
        let room = usize::try_from(self.policy.limits.orphan_snapshots).unwrap_or(usize::MAX);
        self.orphans = due.into_iter().take(room).map(|(_, id)| id).collect();
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
            if snapshot.recovery_point {
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
        let Some(image) = snapshot.retires_with.as_ref().or(snapshot.made_for.as_ref()) else {
            return one(Reason::NotOfAnImage);
        };
        for image in [&snapshot.retires_with, &snapshot.made_for].into_iter().flatten() {
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
        if snapshot.managed && snapshot.retires_with.is_some() {
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
    pub fn orphans_since(&self) -> BTreeMap<SnapshotId, Timestamp> {
        let mut since = BTreeMap::new();
        for snapshot in &self.account.snapshots {
            let reasons = match self.judge_snapshot(snapshot) {
                Ok(reason) => vec![reason],
                Err(reasons) => reasons,
            };
            let is_orphan = |reason: &Reason| {
                matches!(reason, Reason::Orphan { .. } | Reason::OrphanSince { .. } | Reason::OrphanLeft(_))
            };
            if reasons.iter().any(is_orphan) {
                let seen = self.account.orphans_since.get(&snapshot.snapshot_id).copied().unwrap_or(self.now);
                since.insert(snapshot.snapshot_id.clone(), seen);
            }
        }
        since
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
            Ok(Reason::Orphan { .. }) if !self.orphans.contains(&snapshot.snapshot_id) => (Action::Keep, vec![over]),
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
            unique_bytes: snapshot.unique_bytes,
            bin_days: snapshot.bin_days,
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
    /// Bytes that only it holds, where that was measured: what a deletion really frees.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unique_bytes: Option<u64>,
    /// Days for which the Recycle Bin keeps it once it is deleted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bin_days: Option<u32>,
}
