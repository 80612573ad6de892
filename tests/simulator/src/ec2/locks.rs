//! Owns locks on snapshots: LockSnapshot, UnlockSnapshot and DescribeLockedSnapshots.

use jiff::SignedDuration;

use super::attributes::parse_moment;
use super::context::{Context, check_id};
use super::errors::{Answer, Ec2Error};
use super::filters::{Filters, Page};
use super::xml::{Xml, moment};
use crate::account::LockMode;
use crate::world::state::{State, later};
use crate::world::{Lock, Snapshot, Tags};

/// Longest lock, in days, and longest cooling-off period, in hours (API reference, LockSnapshot).
const MOST_DAYS: u64 = 36_500;
const MOST_COOL_OFF_HOURS: u64 = 72;

pub(super) fn lock(context: &Context<'_>, state: &mut State) -> Answer<Xml> {
    let snapshot = context.own_snapshot(state, context.params.required("SnapshotId")?)?;
    let mut lock = asked(context)?;
    context.authorise([context.on_snapshot(snapshot)])?;
    if let Some(old) = snapshot.lock.as_ref().filter(|old| old.is_final(context.now)) {
        let longer = lock.mode == LockMode::Compliance && lock.cool_off_hours.is_none() && lock.expires >= old.expires;
        if !longer {
            return Err(final_lock(context, &snapshot.id));
        }
        lock.created = old.created;
        lock.cool_off_hours = old.cool_off_hours;
    }
    let id = snapshot.id.clone();
    context.end_dry_run()?;
    let mut xml = Xml::default();
    xml.text("snapshotId", &id);
    write(context, &mut xml, &lock);
    if let Some(snapshot) = state.snapshots.get_mut(&id) {
        snapshot.lock = Some(lock);
    }
    Ok(xml)
}

fn final_lock(context: &Context<'_>, id: &str) -> Ec2Error {
    let message = format!("The snapshot {id} is locked in compliance mode and its cooling-off period is over");
    Ec2Error::new(&context.choices().locked_snapshot_code, message)
}

/// The lock that the call describes.
fn asked(context: &Context<'_>) -> Answer<Lock> {
    let params = &context.params;
    let mode = match params.required("LockMode")? {
        "governance" => LockMode::Governance,
        "compliance" => LockMode::Compliance,
        other => return Err(Ec2Error::invalid(format!("Invalid value '{other}' for LockMode"))),
    };
    let within = |name: &str, most: u64| match params.number(name)? {
        Some(number) if number == 0 || number > most => {
            Err(Ec2Error::invalid(format!("Invalid value '{number}' for {name}. Must be between 1 and {most}")))
        }
        number => Ok(number.and_then(|number| i64::try_from(number).ok())),
    };
    let cool_off_hours = within("CoolOffPeriod", MOST_COOL_OFF_HOURS)?;
    if mode == LockMode::Governance && cool_off_hours.is_some() {
        return Err(Ec2Error::combination("CoolOffPeriod cannot be specified with LockMode governance"));
    }
    let (days, expires) = match (within("LockDuration", MOST_DAYS)?, params.get("ExpirationDate")) {
        (Some(days), None) => (days, later(context.now, SignedDuration::from_hours(24 * days))),
        (None, Some(text)) => {
            let expires = parse_moment("ExpirationDate", text)?;
            if expires <= context.now {
                return Err(Ec2Error::invalid("ExpirationDate must be in the future"));
            }
            (expires.duration_since(context.now).as_hours() / 24, expires)
        }
        _ => return Err(Ec2Error::combination("Exactly one of LockDuration and ExpirationDate must be specified")),
    };
    Ok(Lock { mode, created: context.now, days, expires, cool_off_hours })
}

pub(super) fn unlock(context: &Context<'_>, state: &mut State) -> Answer<Xml> {
    let snapshot = context.own_snapshot(state, context.params.required("SnapshotId")?)?;
    context.authorise([context.on_snapshot(snapshot)])?;
    let id = snapshot.id.clone();
    match snapshot.lock.as_ref().filter(|lock| lock.in_force(context.now)) {
        None => return Err(Ec2Error::new("IncorrectState", format!("The snapshot {id} is not locked"))),
        Some(lock) if lock.is_final(context.now) => return Err(final_lock(context, &id)),
        Some(_) => {}
    }
    context.end_dry_run()?;
    if let Some(snapshot) = state.snapshots.get_mut(&id) {
        snapshot.lock = None;
    }
    let mut xml = Xml::default();
    xml.text("snapshotId", id);
    Ok(xml)
}

pub(super) fn describe(context: &Context<'_>, state: &State) -> Answer<Xml> {
    context.authorise_listing()?;
    let params = &context.params;
    let filters = Filters::read(params, &["lock-state"])?;
    let page = Page::read(context, (5, 1_000))?;
    let ids = params.list("SnapshotId");
    for id in &ids {
        check_id(id, "snap", "InvalidSnapshotID.Malformed")?;
        context.own_snapshot(state, id)?;
    }
    context.end_dry_run()?;
    let locked = |snapshot: &Snapshot| {
        let ours = snapshot.account == context.account()
            && snapshot.region == context.region()
            && snapshot.visible_at <= context.now;
        let lock = snapshot.lock.clone().filter(|_| ours)?;
        let holds = filters.hold(&Tags::new(), |_| vec![lock.state(context.now).to_owned()]);
        holds.then(|| (snapshot.id.clone(), lock))
    };
    let (found, next) = page.cut(page.among(&state.snapshots, &ids).filter_map(locked), |(id, _)| id.clone());
    let mut xml = Xml::default();
    xml.items("snapshotSet", found, |xml, (id, lock)| {
        xml.text("ownerId", context.account());
        xml.text("snapshotId", id);
        write(context, xml, &lock);
    });
    xml.maybe("nextToken", next);
    Ok(xml)
}

fn write(context: &Context<'_>, xml: &mut Xml, lock: &Lock) {
    xml.text("lockState", lock.state(context.now));
    xml.text("lockDuration", lock.days);
    xml.maybe("coolOffPeriod", lock.cool_off_hours);
    xml.maybe("coolOffPeriodExpiresOn", lock.cool_off_ends().map(moment));
    xml.moment("lockCreatedOn", lock.created);
    xml.moment("lockDurationStartTime", lock.created);
    xml.moment("lockExpiresOn", lock.expires);
}
