//! Owns the envelope of a wait: what every `start-` and `check-` takes and returns.
//!
//! The state machine waits, Rust decides. The output of one turn is the input of the next, and a
//! `Choice` looks at `status` alone.

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::{
    error::{ErrorName, StepError},
    id::Region,
    settings::Settings,
};

/// What the machine does next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Status {
    /// There is nothing more to wait for.
    Done,
    /// Wait, then check.
    InProgress,
    /// Refused for quota: wait, then start again.
    Deferred,
}

/// One turn of a wait over a `subject`. On the way in everything but the subject may be missing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Turn<S> {
    /// What the machine does next; absent before the first turn.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<Status>,
    /// Seconds to wait before the next turn.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wait_seconds: Option<u32>,
    /// When this was first tried.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_tried_at: Option<Timestamp>,
    /// When what is waited for was asked for: later than the first try if that was refused for quota.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub asked_at: Option<Timestamp>,
    /// When waiting ends with `DeadlineExceeded`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline: Option<Timestamp>,
    /// Looks taken so far.
    #[serde(default)]
    pub polls: u32,
    /// The last thing seen, for people: `pending 43 %`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_seen: Option<String>,
    /// What is waited for.
    pub subject: S,
}

/// The circumstances of one turn.
#[derive(Debug, Clone, Copy)]
pub struct Look<'a> {
    /// What is being done and to which id, as a fragment: `store ami-…`.
    pub doing: &'a str,
    /// The Region it is done in.
    pub region: &'a Region,
    /// The present.
    pub now: Timestamp,
    /// Smallest wait between two looks, in seconds.
    pub minimum_wait_seconds: u32,
}

impl<'a> Look<'a> {
    /// A turn of `doing` something in `region`, by the deployment's settings.
    pub fn new(settings: &Settings, doing: &'a str, region: &'a Region, now: Timestamp) -> Self {
        Self { doing, region, now, minimum_wait_seconds: settings.minimum_wait_seconds }
    }
}

/// The shortest budget that a wait gets: even a small image can queue behind others.
pub const LEAST_BUDGET: SignedDuration = SignedDuration::from_hours(2);

/// CreateImage can last up to 24 hours (EC2 user guide).
pub const CREATE_BUDGET: SignedDuration = SignedDuration::from_hours(24);

/// Minutes that a GiB may take: copies of 10 hours for 300 GiB have been reported and finished.
const MINUTES_PER_GIB: i64 = 2;

/// What was refused for quota is asked for again after four times the wait between two looks, a minute
/// by default: what is in progress takes minutes, and every refusal costs a call.
const DEFERRED_FACTOR: u32 = 4;
/// The longest pause between two looks: after days, two hours late is not noticed.
const LONGEST_WAIT_SECONDS: f64 = 7_200.0;

/// The longest pause for an estimate's sake: early estimates are poor.
const LONGEST_ESTIMATED_WAIT_SECONDS: f64 = 900.0;

/// How long a wait for `size_gib` may last, unless the policy allows `deadline_minutes`.
pub fn budget(size_gib: u64, deadline_minutes: Option<u32>) -> SignedDuration {
    if let Some(minutes) = deadline_minutes {
        return SignedDuration::from_mins(i64::from(minutes));
    }
    let by_size = i64::try_from(size_gib).unwrap_or(i64::MAX).saturating_mul(MINUTES_PER_GIB);
    // A year bounds the arithmetic: no execution lives longer.
    SignedDuration::from_mins(by_size.min(365 * 24 * 60)).max(LEAST_BUDGET)
}

impl<S> Turn<S> {
    /// A wait over `subject` that has not begun.
    pub fn new(subject: S) -> Self {
        Self {
            status: None,
            wait_seconds: None,
            first_tried_at: None,
            asked_at: None,
            deadline: None,
            polls: 0,
            last_seen: None,
            subject,
        }
    }

    /// The same turn with its first try and its deadline set, if this is the first.
    #[must_use]
    pub fn begun(mut self, now: Timestamp, budget: SignedDuration) -> Self {
        let first = *self.first_tried_at.get_or_insert(now);
        self.deadline.get_or_insert(first.saturating_add(budget).unwrap_or(Timestamp::MAX));
        self
    }

    /// The wait is over.
    #[must_use]
    pub fn done(mut self, last_seen: impl Into<String>) -> Self {
        self.status = Some(Status::Done);
        self.wait_seconds = Some(0);
        self.last_seen = Some(last_seen.into());
        self
    }

    /// Goes on waiting for what is `percent` done, if the deadline allows.
    ///
    /// # Errors
    /// `DeadlineExceeded` with the last thing seen, once the deadline has passed.
    pub fn in_progress(mut self, what: &str, percent: Option<u8>, look: &Look<'_>) -> Result<Self, StepError> {
        let seen = self.last_seen.take();
        self.stop_if_late(seen.as_deref().unwrap_or(what), ErrorName::DeadlineExceeded, look)?;
        self.asked_at.get_or_insert(look.now);
        self.status = Some(Status::InProgress);
        self.wait_seconds = Some(self.seconds_to_wait(percent, look));
        self.last_seen = Some(percent.map_or_else(|| what.to_owned(), |percent| format!("{what} {percent} %")));
        self.polls = self.polls.saturating_add(1);
        Ok(self)
    }

    /// Refused for quota: starts again later, if the deadline allows.
    ///
    /// # Errors
    /// `QuotaExceeded` once the deadline has passed.
    pub fn deferred(mut self, why: &str, look: &Look<'_>) -> Result<Self, StepError> {
        self.stop_if_late(why, ErrorName::QuotaExceeded, look)?;
        self.status = Some(Status::Deferred);
        let patient = Look { minimum_wait_seconds: look.minimum_wait_seconds.saturating_mul(DEFERRED_FACTOR), ..*look };
        self.wait_seconds = Some(self.seconds_to_wait(None, &patient));
        self.last_seen = Some(format!("deferred: {why}"));
        self.polls = self.polls.saturating_add(1);
        Ok(self)
    }

    /// Whether anything may still be created: what is made after the deadline nobody would wait for.
    ///
    /// # Errors
    /// `QuotaExceeded` after deferrals, else `DeadlineExceeded`, once the deadline has passed.
    pub fn may_create(&self, look: &Look<'_>) -> Result<(), StepError> {
        let deferred = self.status == Some(Status::Deferred);
        let name = if deferred { ErrorName::QuotaExceeded } else { ErrorName::DeadlineExceeded };
        self.stop_if_late(self.last_seen.as_deref().unwrap_or("nothing"), name, look)
    }

    /// The same turn over another subject.
    pub fn with_subject<T>(self, subject: T) -> Turn<T> {
        Turn {
            status: self.status,
            wait_seconds: self.wait_seconds,
            first_tried_at: self.first_tried_at,
            asked_at: self.asked_at,
            deadline: self.deadline,
            polls: self.polls,
            last_seen: self.last_seen,
            subject,
        }
    }

    /// How long ago it was asked for: what is new may not be visible everywhere yet.
    pub fn age(&self, now: Timestamp) -> SignedDuration {
        let since = self.asked_at.or(self.first_tried_at);
        since.map_or(SignedDuration::ZERO, |since| now.duration_since(since))
    }

    fn stop_if_late(&self, seen: &str, name: ErrorName, look: &Look<'_>) -> Result<(), StepError> {
        match self.deadline {
            Some(deadline) if look.now >= deadline => {
                let reason = format!("the deadline {deadline} has passed, last seen: {seen}");
                Err(StepError::new(name, look.doing, reason).in_region(look.region))
            }
            _ => Ok(()),
        }
    }

    fn seconds_to_wait(&self, percent: Option<u8>, look: &Look<'_>) -> u32 {
        let elapsed = self.first_tried_at.map_or(SignedDuration::ZERO, |first| look.now.duration_since(first));
        self.bounded(wait_seconds(percent, elapsed, look.minimum_wait_seconds), look.now)
    }

    /// Never sleeps far past the deadline: the turn that reports it comes in time.
    fn bounded(&self, seconds: u32, now: Timestamp) -> u32 {
        let left = self.deadline.map_or(i64::MAX, |deadline| deadline.duration_since(now).as_secs());
        let left = u32::try_from(left.max(1)).unwrap_or(u32::MAX);
        seconds.min(left)
    }
}

/// Seconds to wait before the next look.
///
/// A fifteenth of the time that has passed: whatever is waited for is noticed at most 7 % late, and
/// the looks grow with the logarithm of the wait, so that all legs of an image together stay within
/// the 25,000 events of an execution's history (about nine a look). With progress to go by, a quarter
/// of the estimated rest, if that is longer.
pub fn wait_seconds(percent: Option<u8>, elapsed: SignedDuration, minimum: u32) -> u32 {
    let minimum = f64::from(minimum.max(1));
    let elapsed = elapsed.as_secs_f64().max(0.0);
    let rest = match percent {
        Some(percent @ 1..=99) => elapsed * f64::from(100 - percent) / f64::from(percent),
        _ => 0.0,
    };
    let by_progress = (rest / 4.0).min(LONGEST_ESTIMATED_WAIT_SECONDS);
    whole_seconds((elapsed / 15.0).max(by_progress).clamp(minimum, LONGEST_WAIT_SECONDS.max(minimum)))
}

#[expect(clippy::as_conversions, clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped above")]
fn whole_seconds(seconds: f64) -> u32 {
    seconds.ceil() as u32
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn turn() -> Turn<()> {
        Turn::new(()).begun(Timestamp::UNIX_EPOCH, LEAST_BUDGET)
    }

    fn at<T>(now: Timestamp, turn: impl FnOnce(&Look<'_>) -> T) -> T {
        let region = "us-east-1".parse().unwrap_or_else(|_| unreachable!());
        turn(&Look { doing: "copy ami-12345678", region: &region, now, minimum_wait_seconds: 1 })
    }

    #[test]
    fn deadline_beats_progress_and_the_error_says_of_what() {
        let late = Timestamp::UNIX_EPOCH + LEAST_BUDGET;
        let mut waiting = turn();
        waiting.last_seen = Some("pending 98 %".into());
        let error = at(late, |look| waiting.in_progress("pending", Some(99), look)).err();
        let text = error.as_ref().map(ToString::to_string).unwrap_or_default();
        assert_eq!(error.map(|e| e.name), Some(ErrorName::DeadlineExceeded));
        for part in ["pending 98 %", "copy ami-12345678 in us-east-1"] {
            assert!(text.contains(part), "{text}");
        }
    }

    #[test]
    fn what_was_refused_for_hours_is_new_when_it_is_accepted() -> Result<(), StepError> {
        let minutes = |minutes| Timestamp::UNIX_EPOCH + SignedDuration::from_mins(minutes);
        assert_eq!(turn().age(minutes(7)), SignedDuration::from_mins(7));
        let deferred = at(minutes(30), |look| turn().deferred("too much in progress", look))?;
        assert_eq!(deferred.age(minutes(60)), SignedDuration::from_mins(60));
        let asked = at(minutes(60), |look| deferred.in_progress("stored", Some(0), look))?;
        let later = at(minutes(65), |look| asked.in_progress("stored", Some(9), look))?;
        assert_eq!(later.age(minutes(70)), SignedDuration::from_mins(10));
        assert_eq!(later.with_subject(1).age(minutes(70)), SignedDuration::from_mins(10));
        assert_eq!(Turn::new(()).age(minutes(70)), SignedDuration::ZERO);
        Ok(())
    }

    #[test]
    fn a_quota_refusal_is_an_error_only_once_the_deadline_has_passed() -> Result<(), StepError> {
        let why = "too much in progress";
        let deferred = at(Timestamp::UNIX_EPOCH, |look| turn().deferred(why, look))?;
        assert_eq!(deferred.status, Some(Status::Deferred));
        at(Timestamp::UNIX_EPOCH, |look| deferred.may_create(look))?;
        at(Timestamp::UNIX_EPOCH + LEAST_BUDGET, |look| {
            assert_eq!(deferred.may_create(look).err().map(|e| e.name), Some(ErrorName::QuotaExceeded));
            assert_eq!(deferred.deferred(why, look).err().map(|e| e.name), Some(ErrorName::QuotaExceeded));
        });
        Ok(())
    }

    #[test]
    fn the_next_look_comes_after_a_share_of_the_time_and_not_after_the_deadline() -> Result<(), StepError> {
        let region = "us-east-1".parse().unwrap_or_else(|_| unreachable!());
        let hour = Timestamp::UNIX_EPOCH + SignedDuration::from_hours(1);
        let deadline = Timestamp::UNIX_EPOCH + LEAST_BUDGET;
        for (case, now, percent, seconds) in [
            ("the minimum", Timestamp::UNIX_EPOCH, None, 15),
            ("a fifteenth of the hour", hour, None, 240),
            ("a fifteenth of the hour, with a tenth left to do", hour, Some(90), 240),
            ("a quarter of the twenty minutes that are left", hour, Some(75), 300),
            ("a quarter of an hour, because early estimates are poor", hour, Some(1), 900),
            ("no more than there is until the deadline", deadline - SignedDuration::from_secs(30), None, 30),
            ("at least a second", deadline - SignedDuration::from_millis(1), None, 1),
        ] {
            let look = Look { doing: "copy ami-12345678", region: &region, now, minimum_wait_seconds: 15 };
            let waiting = turn().in_progress("pending", percent, &look)?;
            assert_eq!((waiting.wait_seconds, waiting.polls), (Some(seconds), 1), "{case}");
        }
        Ok(())
    }

    #[test]
    fn what_was_refused_for_quota_is_asked_for_again_after_four_times_the_wait_of_a_look() -> Result<(), StepError> {
        let region = "us-east-1".parse().unwrap_or_else(|_| unreachable!());
        let hour = Timestamp::UNIX_EPOCH + SignedDuration::from_hours(1);
        let deadline = Timestamp::UNIX_EPOCH + LEAST_BUDGET;
        for (case, now, seconds) in [
            ("four times the minimum", Timestamp::UNIX_EPOCH, 60),
            ("a fifteenth of the hour", hour, 240),
            ("no more than there is until the deadline", deadline - SignedDuration::from_secs(30), 30),
        ] {
            let look = Look { doing: "copy ami-12345678", region: &region, now, minimum_wait_seconds: 15 };
            let deferred = turn().deferred("too much in progress", &look)?;
            assert_eq!((deferred.wait_seconds, deferred.polls), (Some(seconds), 1), "{case}");
        }
        Ok(())
    }

    #[test]
    fn the_first_try_and_the_deadline_are_set_once() {
        let later = turn().begun(Timestamp::UNIX_EPOCH + SignedDuration::from_hours(1), CREATE_BUDGET);
        assert_eq!(later.first_tried_at, Some(Timestamp::UNIX_EPOCH));
        assert_eq!(later.deadline, Some(Timestamp::UNIX_EPOCH + LEAST_BUDGET));
    }

    #[test]
    fn large_images_get_more_time_and_the_policy_decides() {
        assert_eq!(budget(8, None), LEAST_BUDGET);
        assert_eq!(budget(600, None), SignedDuration::from_hours(20));
        assert_eq!(budget(600, Some(30)), SignedDuration::from_mins(30));
        // The largest volume that EBS has.
        assert_eq!(budget(65_536, None), SignedDuration::from_mins(131_072));
        assert_eq!(budget(u64::MAX, None), SignedDuration::from_hours(365 * 24));
    }

    proptest! {
        #[test]
        fn a_wait_is_never_shorter_than_the_minimum_nor_longer_than_two_hours(
            percent in proptest::option::of(0_u8..=100), elapsed in -10_i64..10_000_000, minimum in 0_u32..600,
        ) {
            let seconds = wait_seconds(percent, SignedDuration::from_secs(elapsed), minimum);
            prop_assert!(seconds >= minimum.max(1));
            prop_assert!(seconds <= 7_200);
        }

        /// A history has 25,000 events, a look takes about nine: twelve legs (an object, a file and ten
        /// copies) that are stuck for as long as the largest image may take still fit.
        #[test]
        fn twelve_stuck_legs_fit_into_one_history(stuck_at in proptest::option::of(0_u8..=100)) {
            let (mut elapsed, mut looks) = (0_i64, 0_u32);
            while elapsed < 7 * 24 * 3600 && looks < 25_000 {
                elapsed += i64::from(wait_seconds(stuck_at, SignedDuration::from_secs(elapsed), 15));
                looks += 1;
            }
            prop_assert!(12 * 9 * looks < 25_000, "{looks} looks");
        }
    }
}
