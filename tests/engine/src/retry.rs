//! Owns the decisions after an error: is it retried, when, and who catches it.

use jiff::SignedDuration;

/// One entry of a `Retry`.
#[derive(Debug, Clone, PartialEq)]
pub struct Retrier {
    /// Names that it matches.
    pub errors: Vec<String>,
    /// Wait before the first retry, in seconds.
    pub interval_seconds: u64,
    /// Retries at most.
    pub max_attempts: u32,
    /// Factor by which each wait is longer than the one before.
    pub backoff_rate: f64,
    /// Longest wait, in seconds.
    pub max_delay_seconds: Option<u64>,
    /// Whether a wait is drawn between nothing and what it would be.
    pub full_jitter: bool,
}

/// Errors that end an execution whatever `States.ALL` says.
///
/// The user guide, "Handling errors": both "can't be caught by the `States.ALL` error type".
const NOT_IN_ALL: &[&str] = &["States.DataLimitExceeded", "States.Runtime"];

/// Whether a list of names matches an error.
///
/// Names are compared exactly. `States.ALL` stands for every name but those that nothing but their own
/// name catches; `States.TaskFailed` for every name but `States.Timeout`. `States.Runtime` cannot be
/// caught at all.
pub fn matches(names: &[String], error: &str) -> bool {
    error != "States.Runtime"
        && names.iter().any(|name| match name.as_str() {
            "States.ALL" => !NOT_IN_ALL.contains(&error),
            "States.TaskFailed" => error != "States.Timeout" && !NOT_IN_ALL.contains(&error),
            name => name == error,
        })
}

/// What one visit of a state has retried so far: each retrier counts for itself.
#[derive(Debug, Default)]
pub struct Attempts {
    by_retrier: Vec<u32>,
}

impl Attempts {
    /// How often the state has been retried, by whichever retrier.
    pub fn total(&self) -> u32 {
        self.by_retrier.iter().sum()
    }

    /// How long to wait before the state is tried again; `None`: it is not. The first retrier that
    /// matches decides, also that it is enough. `chance` is from 0 to less than 1.
    pub fn next(&mut self, retriers: &[Retrier], error: &str, chance: impl FnOnce() -> f64) -> Option<SignedDuration> {
        self.by_retrier.resize(retriers.len(), 0);
        let at = retriers.iter().position(|retrier| matches(&retrier.errors, error))?;
        let (retrier, tried) = (retriers.get(at)?, self.by_retrier.get_mut(at)?);
        if *tried >= retrier.max_attempts {
            return None;
        }
        let delay = delay_seconds(retrier, *tried);
        *tried += 1;
        Some(SignedDuration::from_secs_f64(if retrier.full_jitter { delay * chance() } else { delay }))
    }
}

/// The wait before a retry, without jitter: interval × rate ^ retries before it, and never more than
/// the longest.
fn delay_seconds(retrier: &Retrier, retries: u32) -> f64 {
    let seconds = |whole: u64| SignedDuration::from_secs(i64::try_from(whole).unwrap_or(i64::MAX)).as_secs_f64();
    let delay = seconds(retrier.interval_seconds) * retrier.backoff_rate.powf(f64::from(retries));
    // A year is the longest that an execution may take.
    delay.min(retrier.max_delay_seconds.map_or(31_536_000.0, seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    fn retrier(errors: &[&str]) -> Retrier {
        Retrier {
            errors: names(errors),
            interval_seconds: 3,
            max_attempts: 3,
            backoff_rate: 2.0,
            max_delay_seconds: None,
            full_jitter: false,
        }
    }

    #[test]
    fn names_are_matched_exactly_and_wildcards_have_their_limits() {
        for (list, error, expected) in [
            ("Transient", "Transient", true),
            ("Transient", "transient", false),
            ("Transient", "TransientFault", false),
            ("States.ALL", "Anything", true),
            ("States.ALL", "States.Timeout", true),
            ("States.ALL", "States.DataLimitExceeded", false),
            ("States.DataLimitExceeded", "States.DataLimitExceeded", true),
            ("States.ALL", "States.Runtime", false),
            ("States.Runtime", "States.Runtime", false),
            ("States.TaskFailed", "Anything", true),
            ("States.TaskFailed", "States.Timeout", false),
        ] {
            assert_eq!(matches(&names(&[list]), error), expected, "{list} {error}");
        }
    }

    #[test]
    fn waits_grow_by_the_rate_up_to_the_longest() {
        // The example of the user guide: 3, 6, 12 s; the next would be 24.
        let mut attempts = Attempts::default();
        let growing = Retrier { max_attempts: 4, max_delay_seconds: Some(20), ..retrier(&["E"]) };
        let waits: Vec<_> =
            (0..5).map(|_| attempts.next(std::slice::from_ref(&growing), "E", || 0.0).map(|w| w.as_secs())).collect();
        assert_eq!(waits, [Some(3), Some(6), Some(12), Some(20), None]);
    }

    #[test]
    fn each_retrier_counts_for_itself_and_the_first_that_matches_decides() {
        let retriers = [Retrier { max_attempts: 1, ..retrier(&["A"]) }, retrier(&["B"]), retrier(&["States.ALL"])];
        let mut attempts = Attempts::default();
        assert!(attempts.next(&retriers, "A", || 0.0).is_some());
        assert!(attempts.next(&retriers, "B", || 0.0).is_some());
        assert!(attempts.next(&retriers, "A", || 0.0).is_none(), "the last retrier is not asked");
        assert!(attempts.next(&retriers, "B", || 0.0).is_some());
        assert_eq!(attempts.total(), 3);
    }

    #[test]
    fn full_jitter_draws_between_nothing_and_the_whole_wait() {
        let jittery = [Retrier { full_jitter: true, interval_seconds: 8, ..retrier(&["E"]) }];
        let wait = |chance: f64| Attempts::default().next(&jittery, "E", || chance);
        assert_eq!(wait(0.0), Some(SignedDuration::ZERO));
        assert_eq!(wait(0.5), Some(SignedDuration::from_secs(4)));
    }
}
