//! Owns which images are due, by what the account's listings say: nothing keeps them but what only a look at each image
//! can tell.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{
    account::{Account, Expiry, Image, trusted},
    policy::CleanupPolicy,
    reason::Reason,
    retention::{Member, Stages, days, kept_by_retention, kept_for_safety, younger_than},
};
use crate::{error::StepError, image::ImageState};

/// What is done with an image or a snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Action {
    /// Nothing.
    Keep,
    /// An image is hidden from those that it is shared with.
    Deprecate,
    /// Nobody can launch an image until it is enabled again.
    Disable,
    /// An image is removed, and the snapshots that no other image is on with it.
    Deregister,
    /// A snapshot is removed.
    DeleteSnapshot,
}

/// What the listings say of an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Judgement {
    /// `Keep`, or what it is due for.
    pub action: Action,
    /// Why: all that keeps it, or why it is due.
    pub reasons: Vec<Reason>,
    /// The newest verified backup of its family, by its place in the account's images: what must still be there when
    /// this one goes.
    pub last_good: Option<usize>,
}

/// Judges every image of an account, in the order of its images.
///
/// # Errors
/// `Conflict` if a listing cannot be trusted: nothing is due then.
pub fn judge(account: &Account, policy: &CleanupPolicy, now: Timestamp) -> Result<Vec<Judgement>, StepError> {
    trusted(&account.readings, &policy.floors, &account.last_readings, &account.region)?;
    let mut kept: Vec<Vec<Reason>> =
        account.images.iter().map(|image| kept_alone(account, image, policy, now)).collect();
    let mut last_good: Vec<Option<usize>> = vec![None; account.images.len()];
    for places in families(account).values() {
        let members: Vec<Member> =
            places.iter().map(|(created_at, place)| member(account, policy, *created_at, *place)).collect();
        let good = members.iter().zip(places).find(|(member, _)| member.verified).map(|(_, (_, place))| *place);
        let retained = policy.retention.as_ref().map(|retention| kept_by_retention(&members, retention, now));
        let retained = retained.unwrap_or_else(|| vec![Vec::new(); members.len()]);
        for (((_, place), safe), retained) in places.iter().zip(kept_for_safety(&members)).zip(retained) {
            if let (Some(kept), Some(last_good)) = (kept.get_mut(*place), last_good.get_mut(*place)) {
                kept.extend(safe);
                kept.extend(retained);
                *last_good = good;
            }
        }
    }
    let judged = account.images.iter().zip(kept).zip(last_good);
    Ok(judged.map(|((image, kept), last_good)| conclude(image, kept, last_good, policy, now)).collect())
}

/// Why an image stays, by itself.
fn kept_alone(account: &Account, image: &Image, policy: &CleanupPolicy, now: Timestamp) -> Vec<Reason> {
    let mut kept = image.protections.clone();
    kept.extend(account.uses.of_image(&image.image_id).iter().cloned().map(Reason::InUse));
    if let (Some(days), Some(at)) = (policy.launched_within_days, image.launched_at)
        && younger_than(at, days, now)
    {
        kept.push(Reason::Launched(at));
    }
    match &image.state {
        ImageState::Available | ImageState::Disabled | ImageState::Terminal(_) => {}
        other => kept.push(Reason::State(other.as_str().to_owned())),
    }
    if image.created_at.is_none() {
        kept.push(Reason::NoAge);
    }
    if image.family.is_none() {
        kept.push(Reason::NoFamily);
    }
    match &image.expiry {
        Expiry::ByPolicy if policy.retention.is_none() => kept.push(Reason::NoExpiry),
        Expiry::ByPolicy => {}
        Expiry::Never => kept.push(Reason::Never),
        Expiry::At(at) if now < *at => kept.push(Reason::NotBefore(*at)),
        Expiry::At(_) => {}
        Expiry::Unreadable(text) => kept.push(Reason::UnreadableExpiry(text.clone())),
    }
    if policy.require_object
        && let Some(problem) = account.object_problem(image)
    {
        kept.push(Reason::NoObject(problem));
    }
    kept
}

/// The images of each family that the run may touch and whose age is known, newest first: by time, then by id, so that
/// the order of a listing changes nothing.
fn families(account: &Account) -> BTreeMap<&str, Vec<(Timestamp, usize)>> {
    let mut families: BTreeMap<&str, Vec<(Timestamp, usize)>> = BTreeMap::new();
    for (place, image) in account.images.iter().enumerate() {
        if let (true, Some(family), Some(created_at)) = (image.in_scope, &image.family, image.created_at) {
            families.entry(family).or_default().push((created_at, place));
        }
    }
    let id = |place: usize| account.images.get(place).map(|image| &image.image_id);
    for places in families.values_mut() {
        places.sort_by(|(a_at, a), (b_at, b)| b_at.cmp(a_at).then_with(|| id(*b).cmp(&id(*a))));
    }
    families
}

fn member(account: &Account, policy: &CleanupPolicy, created_at: Timestamp, place: usize) -> Member {
    let verified = account.images.get(place).is_some_and(|image| {
        image.state == ImageState::Available && (!policy.require_object || account.object_problem(image).is_none())
    });
    Member { created_at, verified }
}

fn conclude(
    image: &Image,
    kept: Vec<Reason>,
    last_good: Option<usize>,
    policy: &CleanupPolicy,
    now: Timestamp,
) -> Judgement {
    let due = match (&policy.stages, image.created_at) {
        (None, _) | (_, None) => Ok(Action::Deregister),
        (Some(stages), Some(created_at)) => next_stage(image, stages, created_at, now),
    };
    let (action, reasons) = match due {
        _ if !kept.is_empty() => (Action::Keep, kept),
        Ok(action) => (action, why_due(image, policy)),
        Err(reason) => (Action::Keep, vec![reason]),
    };
    Judgement { action, reasons, last_good }
}

fn why_due(image: &Image, policy: &CleanupPolicy) -> Vec<Reason> {
    let mut reasons = Vec::new();
    if let ImageState::Terminal(state) = &image.state {
        reasons.push(Reason::Broken(state.clone()));
    }
    if let Expiry::At(at) = image.expiry {
        reasons.push(Reason::Expired(at));
    }
    if policy.retention.is_some() {
        reasons.push(Reason::PastRetention);
    }
    reasons
}

/// The first stage that the image has not been through, if its age is there; else why it stays.
fn next_stage(image: &Image, stages: &Stages, created_at: Timestamp, now: Timestamp) -> Result<Action, Reason> {
    let usable = image.state == ImageState::Available;
    let deprecated = image.deprecated_at.is_some_and(|at| at <= now);
    // What is not available can neither be deprecated nor disabled, or has been.
    let all = [
        ("deprecate", stages.deprecate_days, usable && !deprecated, Action::Deprecate),
        ("disable", stages.disable_days, usable, Action::Disable),
        ("deregister", stages.deregister_days, true, Action::Deregister),
    ];
    for (stage, age_days, open, action) in all {
        let (Some(age_days), true) = (age_days, open) else { continue };
        if !younger_than(created_at, age_days, now) {
            return Ok(action);
        }
        // A time that cannot be written is far away.
        let at = created_at.checked_add(days(age_days)).unwrap_or(Timestamp::MAX);
        return Err(Reason::StageFrom { stage, at });
    }
    Err(Reason::LastStage)
}
