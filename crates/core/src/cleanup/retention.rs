//! Owns what of a family stays: by the policy's retention, and whatever the policy says.

use std::{cmp::Ordering, collections::BTreeSet};

use jiff::{SignedDuration, Timestamp, civil::Date, tz::Offset};
use serde::{Deserialize, Serialize};

use super::reason::Reason;
use crate::error::StepError;

/// What is kept of a family. An image that any of these keeps stays; a class of 0 keeps nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Retention {
    /// The newest so many.
    pub newest: u32,
    /// Whatever is younger than so many days.
    pub days: u32,
    /// The newest of each of the last so many days of which there is one, in UTC.
    pub daily: u32,
    /// The newest of each of the last so many ISO weeks of which there is one.
    pub weekly: u32,
    /// The newest of each of the last so many months of which there is one.
    pub monthly: u32,
    /// The newest of each of the last so many years of which there is one.
    pub yearly: u32,
}

impl Retention {
    /// Refuses a retention that keeps nothing.
    ///
    /// # Errors
    /// `InvalidInput`.
    pub fn check(&self) -> Result<(), StepError> {
        if *self == Self::default() {
            return Err(StepError::input(
                "retention",
                "keeps nothing: give a class more than 0, or leave it out to go by what is written on the images alone",
            ));
        }
        Ok(())
    }

    fn classes(&self) -> [(Class, u32); 4] {
        [
            (Class::Daily, self.daily),
            (Class::Weekly, self.weekly),
            (Class::Monthly, self.monthly),
            (Class::Yearly, self.yearly),
        ]
    }
}

/// How an image goes step by step: each step from an age of the image in days, and never two steps in one run, so that
/// between them somebody can notice.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Stages {
    /// From when on it is deprecated: hidden from those it is shared with.
    pub deprecate_days: Option<u32>,
    /// From when on it is disabled: nobody can launch it, and it can be enabled again.
    pub disable_days: Option<u32>,
    /// From when on it is deregistered. Missing: never.
    pub deregister_days: Option<u32>,
}

impl Stages {
    /// Refuses stages that are none, or out of order.
    ///
    /// # Errors
    /// `InvalidInput` with the path of the field.
    pub fn check(&self) -> Result<(), StepError> {
        let stages = [
            ("deprecateDays", self.deprecate_days),
            ("disableDays", self.disable_days),
            ("deregisterDays", self.deregister_days),
        ];
        let mut given = stages.iter().filter_map(|(name, days)| days.map(|days| (name, days)));
        let Some(mut before) = given.next() else {
            return Err(StepError::input("stages", "has none: leave it out to deregister what is due"));
        };
        for stage in given {
            if stage.1 < before.1 {
                let reason = format!("is {}, and `{}` before it is {}", stage.1, before.0, before.1);
                return Err(StepError::input(&format!("stages.{}", stage.0), reason));
            }
            before = stage;
        }
        Ok(())
    }
}

/// A class of the grandfather-father-son scheme.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Class {
    /// By day.
    Daily,
    /// By ISO week.
    Weekly,
    /// By month.
    Monthly,
    /// By year.
    Yearly,
}

impl Class {
    /// The period that a day belongs to, as it is written.
    fn period(self, date: Date) -> String {
        match self {
            Self::Daily => date.to_string(),
            Self::Weekly => {
                let week = date.iso_week_date();
                format!("{}-W{:02}", week.year(), week.week())
            }
            Self::Monthly => format!("{}-{:02}", date.year(), date.month()),
            Self::Yearly => date.year().to_string(),
        }
    }

    /// As a person says it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Daily => "daily",
            Self::Weekly => "weekly",
            Self::Monthly => "monthly",
            Self::Yearly => "yearly",
        }
    }
}

/// An image of a family, as far as retention looks at it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Member {
    /// When it was made.
    pub created_at: Timestamp,
    /// Whether it is a backup: available, and its object there where one is required.
    pub verified: bool,
}

/// Days as a duration.
pub fn days(days: u32) -> SignedDuration {
    SignedDuration::from_hours(24 * i64::from(days))
}

/// Whether `at` is less than so many days ago. What is not yet is.
pub fn younger_than(at: Timestamp, age_days: u32, now: Timestamp) -> bool {
    now.duration_since(at) < days(age_days)
}

/// Why each member stays whatever the policy says. `members` are newest first.
///
/// The newest stays, and the newest that is verified, and whatever is newer than that: until a backup is proven, it
/// replaces nothing. Without a verified one, all stay.
pub fn kept_for_safety(members: &[Member]) -> Vec<Option<Reason>> {
    let last_good = members.iter().position(|member| member.verified);
    (0..members.len())
        .map(|index| match last_good.map(|good| index.cmp(&good)) {
            None => Some(Reason::NoneVerified),
            Some(Ordering::Equal) => Some(Reason::LastGood),
            Some(Ordering::Less) => Some(Reason::NewerThanLastGood),
            Some(Ordering::Greater) => None,
        })
        .collect()
}

/// Why each member stays by the policy. `members` are newest first.
pub fn kept_by_retention(members: &[Member], retention: &Retention, now: Timestamp) -> Vec<Vec<Reason>> {
    let mut kept = vec![Vec::new(); members.len()];
    for (reasons, member) in kept.iter_mut().zip(members) {
        if younger_than(member.created_at, retention.days, now) {
            reasons.push(Reason::Young { days: retention.days });
        }
    }
    let verified = || members.iter().enumerate().filter(|(_, member)| member.verified);
    let mut keep = |index: usize, reason: Reason| {
        if let Some(reasons) = kept.get_mut(index) {
            reasons.push(reason);
        }
    };
    for ((index, _), _) in verified().zip(0..retention.newest) {
        keep(index, Reason::AmongNewest { of: retention.newest });
    }
    for (class, most) in retention.classes() {
        let mut periods = BTreeSet::new();
        for (index, member) in verified() {
            let period = class.period(Offset::UTC.to_datetime(member.created_at).date());
            let full = u64::try_from(periods.len()).is_ok_and(|len| len >= u64::from(most));
            if !full && periods.insert(period.clone()) {
                keep(index, Reason::NewestOfPeriod { class, period });
            }
        }
    }
    kept
}

#[cfg(test)]
pub(crate) mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap_or_else(|_| unreachable!("{text}"))
    }

    fn members(times: &[&str]) -> Vec<Member> {
        times.iter().map(|time| Member { created_at: at(time), verified: true }).collect()
    }

    fn stays(members: &[Member], retention: &Retention, now: &str) -> Vec<bool> {
        kept_by_retention(members, retention, at(now)).iter().map(|reasons| !reasons.is_empty()).collect()
    }

    #[test]
    fn the_newest_are_counted_among_what_is_verified() {
        let mut all = members(&["2026-01-04T00:00:00Z", "2026-01-03T00:00:00Z", "2026-01-02T00:00:00Z"]);
        let two = Retention { newest: 2, ..Retention::default() };
        assert_eq!(stays(&all, &two, "2026-02-01T00:00:00Z"), [true, true, false]);
        all[1].verified = false;
        assert_eq!(stays(&all, &two, "2026-02-01T00:00:00Z"), [true, false, true]);
    }

    #[test]
    fn a_day_is_over_after_24_hours() {
        let all = members(&["2026-01-02T00:00:01Z", "2026-01-02T00:00:00Z"]);
        let one = Retention { days: 1, ..Retention::default() };
        assert_eq!(stays(&all, &one, "2026-01-03T00:00:00Z"), [true, false]);
    }

    #[test]
    fn age_keeps_what_is_not_verified_too() {
        let mut all = members(&["2026-01-02T00:00:00Z"]);
        all[0].verified = false;
        let reasons = kept_by_retention(
            &all,
            &Retention { days: 30, newest: 1, daily: 1, ..Retention::default() },
            at("2026-01-03T00:00:00Z"),
        );
        assert_eq!(reasons, [vec![Reason::Young { days: 30 }]]);
    }

    #[test]
    fn of_each_period_the_newest_stays_and_periods_without_one_do_not_count() {
        let all = members(&[
            "2026-03-10T12:00:00Z", // Tuesday, week 11
            "2026-03-10T02:00:00Z", // the same day
            "2026-03-08T02:00:00Z", // Sunday, week 10
            "2026-01-01T02:00:00Z", // week 1
            "2025-12-31T02:00:00Z", // week 1 of 2026 too, and another month and year
            "2024-06-01T02:00:00Z",
        ]);
        let now = "2026-06-01T00:00:00Z";
        let by = |retention: Retention| stays(&all, &retention, now);
        assert_eq!(by(Retention { daily: 2, ..Retention::default() }), [true, false, true, false, false, false]);
        assert_eq!(by(Retention { weekly: 3, ..Retention::default() }), [true, false, true, true, false, false]);
        assert_eq!(by(Retention { monthly: 3, ..Retention::default() }), [true, false, false, true, true, false]);
        assert_eq!(by(Retention { yearly: 2, ..Retention::default() }), [true, false, false, false, true, false]);
        assert_eq!(by(Retention { yearly: 9, ..Retention::default() }), [true, false, false, false, true, true]);
    }

    #[test]
    fn periods_are_written_as_people_write_them() {
        let date = jiff::civil::date(2027, 1, 2);
        let written = [Class::Daily, Class::Weekly, Class::Monthly, Class::Yearly].map(|c| c.period(date));
        assert_eq!(written, ["2027-01-02", "2026-W53", "2027-01", "2027"]);
        let named = [Class::Daily, Class::Weekly, Class::Monthly, Class::Yearly].map(Class::as_str);
        assert_eq!(named, ["daily", "weekly", "monthly", "yearly"]);
    }

    /// Case 27: old backups stay until a newer one is verified.
    #[test]
    fn until_a_newer_one_is_verified_the_old_one_stays() {
        let mut all = members(&["2026-01-04T00:00:00Z", "2026-01-03T00:00:00Z", "2026-01-02T00:00:00Z"]);
        let safe = |all: &[Member]| kept_for_safety(all);
        assert_eq!(safe(&all), [Some(Reason::LastGood), None, None]);
        all[0].verified = false;
        assert_eq!(safe(&all), [Some(Reason::NewerThanLastGood), Some(Reason::LastGood), None]);
        for member in &mut all {
            member.verified = false;
        }
        assert_eq!(safe(&all), vec![Some(Reason::NoneVerified); 3]);
        assert_eq!(safe(&[]), []);
    }

    #[test]
    fn stages_come_in_their_order() -> Result<(), StepError> {
        let stages = |deprecate_days, disable_days, deregister_days| {
            Stages { deprecate_days, disable_days, deregister_days }.check()
        };
        stages(Some(30), Some(30), Some(30))?;
        stages(None, None, Some(0))?;
        stages(Some(1), None, Some(2))?;
        for (wrong, path) in [
            (stages(None, None, None), "stages"),
            (stages(Some(2), Some(1), Some(3)), "stages.disableDays"),
            (stages(Some(1), Some(3), Some(2)), "stages.deregisterDays"),
            (stages(Some(3), None, Some(2)), "stages.deregisterDays"),
        ] {
            assert!(wrong.is_err_and(|error| error.reason.starts_with(path)), "{path}");
        }
        Ok(())
    }

    fn any_members() -> impl Strategy<Value = Vec<Member>> {
        prop::collection::vec((0_i64..2_000, any::<bool>()), 0..40).prop_map(|mut made| {
            made.sort_by_key(|(hours, _)| std::cmp::Reverse(*hours));
            made.into_iter()
                .map(|(hours, verified)| Member {
                    created_at: Timestamp::constant(1_700_000_000, 0) + SignedDuration::from_hours(hours * 7),
                    verified,
                })
                .collect()
        })
    }

    pub(crate) fn any_retention() -> impl Strategy<Value = Retention> {
        (0_u32..6, 0_u32..400, 0_u32..6, 0_u32..6, 0_u32..6, 0_u32..3).prop_map(
            |(newest, days, daily, weekly, monthly, yearly)| Retention { newest, days, daily, weekly, monthly, yearly },
        )
    }

    /// What keeps at least what each of the two keeps.
    pub(crate) fn sum(a: &Retention, b: &Retention) -> Retention {
        Retention {
            newest: a.newest + b.newest,
            days: a.days + b.days,
            daily: a.daily + b.daily,
            weekly: a.weekly + b.weekly,
            monthly: a.monthly + b.monthly,
            yearly: a.yearly + b.yearly,
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]

        #[test]
        fn more_retention_never_keeps_less(all in any_members(), some in any_retention(), more in any_retention()) {
            let now = Timestamp::constant(1_760_000_000, 0);
            let less = kept_by_retention(&all, &some, now);
            let kept = kept_by_retention(&all, &sum(&some, &more), now);
            for (index, reasons) in less.iter().enumerate() {
                prop_assert!(reasons.is_empty() || !kept[index].is_empty(), "{index}");
            }
        }

        /// What retention took away is not needed by what it left: a second look takes nothing more.
        #[test]
        fn what_is_left_is_kept_again(all in any_members(), retention in any_retention()) {
            let now = Timestamp::constant(1_760_000_000, 0);
            let kept = kept_by_retention(&all, &retention, now);
            let left: Vec<Member> =
                all.iter().zip(&kept).filter(|(_, reasons)| !reasons.is_empty()).map(|(member, _)| *member).collect();
            let again = kept_by_retention(&left, &retention, now);
            prop_assert!(again.iter().all(|reasons| !reasons.is_empty()));
        }

        #[test]
        fn at_least_the_newest_verified_one_is_safe(all in any_members()) {
            let safe = kept_for_safety(&all);
            match all.iter().position(|member| member.verified) {
                Some(good) => prop_assert_eq!(safe.iter().filter(|reason| reason.is_some()).count(), good + 1),
                None => prop_assert!(safe.iter().all(Option::is_some)),
            }
        }
    }
}
