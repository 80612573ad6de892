//! Owns the faults: rules that say which call goes wrong, and how.

use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};

/// Which calls go wrong, and how. A field that is absent matches everything.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Rule {
    /// `ec2`, `s3`, `sts`, `sns`, `autoscaling` or `rbin`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    /// Name of the action, or `*`.
    pub action: String,
    /// Name of the calling function.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub function: Option<String>,
    /// Region of the call.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// The first matching call that goes wrong, counted from 1; absent: the first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nth: Option<u32>,
    /// How many matching calls go wrong from there on; absent: one if `nth` is given, else all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub times: Option<u32>,
    /// What goes wrong.
    pub effect: Effect,
}

/// What goes wrong with a call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase", deny_unknown_fields)]
pub enum Effect {
    /// The call is refused and nothing happens.
    Refuse {
        /// Error code, e.g. `RequestLimitExceeded`.
        code: String,
        /// Error message; absent: a fixed sentence.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        message: Option<String>,
        /// HTTP status; absent: the one that goes with the code.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        status: Option<u16>,
    },
    /// The connection closes before the call has any effect.
    Cut,
    /// The call has its effect and the reply never comes.
    HoldReply,
    /// The call succeeds; the task or image that it starts ends failed.
    FailTask {
        /// Reason that the task reports.
        reason: String,
    },
}

#[derive(Debug)]
struct Armed {
    rule: Rule,
    seen: u32,
}

/// The rules in force, with the count of calls that each has seen.
#[derive(Debug, Default)]
pub struct Faults(Mutex<Vec<Armed>>);

impl Faults {
    /// Replaces all rules; counting starts again.
    pub fn set(&self, rules: Vec<Rule>) {
        let armed = rules.into_iter().map(|rule| Armed { rule, seen: 0 }).collect();
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = armed;
    }

    /// Removes all rules.
    pub fn clear(&self) {
        self.set(Vec::new());
    }

    /// The rules in force.
    pub fn rules(&self) -> Vec<Rule> {
        let armed = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        armed.iter().map(|one| one.rule.clone()).collect()
    }

    /// Counts this call for every rule that matches it, and says what goes wrong: the first rule in
    /// the list whose turn it is wins.
    pub fn decide(&self, service: &str, action: &str, function: Option<&str>, region: &str) -> Option<Effect> {
        let mut decided = None;
        let mut armed = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for one in armed.iter_mut().filter(|one| one.rule.matches(service, action, function, region)) {
            one.seen = one.seen.saturating_add(1);
            if decided.is_none() && one.rule.strikes(one.seen) {
                decided = Some(one.rule.effect.clone());
            }
        }
        decided
    }
}

impl Rule {
    fn matches(&self, service: &str, action: &str, function: Option<&str>, region: &str) -> bool {
        let same = |wanted: &Option<String>, found: &str| wanted.as_deref().is_none_or(|wanted| wanted == found);
        same(&self.service, service)
            && (self.action == "*" || self.action == action)
            && (self.function.is_none() || self.function.as_deref() == function)
            && same(&self.region, region)
    }

    fn strikes(&self, seen: u32) -> bool {
        let first = self.nth.unwrap_or(1).max(1);
        let times = self.times.or(self.nth.map(|_| 1));
        seen >= first && times.is_none_or(|times| seen - first < times)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cut(nth: Option<u32>, times: Option<u32>) -> Rule {
        Rule {
            service: None,
            action: "CopyImage".into(),
            function: None,
            region: None,
            nth,
            times,
            effect: Effect::Cut,
        }
    }

    fn strikes(rule: Rule, calls: usize) -> Vec<bool> {
        let faults = Faults::default();
        faults.set(vec![rule]);
        (0..calls).map(|_| faults.decide("ec2", "CopyImage", None, "us-east-1").is_some()).collect()
    }

    #[test]
    fn a_rule_without_nth_strikes_every_call() {
        assert_eq!(strikes(cut(None, None), 3), [true, true, true]);
    }

    #[test]
    fn nth_strikes_once_and_times_says_how_often_from_there() {
        assert_eq!(strikes(cut(Some(2), None), 3), [false, true, false]);
        assert_eq!(strikes(cut(Some(2), Some(2)), 4), [false, true, true, false]);
        assert_eq!(strikes(cut(None, Some(1)), 2), [true, false]);
    }

    #[test]
    fn a_rule_for_one_function_leaves_the_others_alone() {
        let faults = Faults::default();
        faults.set(vec![Rule { function: Some("copy-region".into()), ..cut(None, None) }]);
        assert_eq!(faults.decide("ec2", "CopyImage", Some("start-store"), "us-east-1"), None);
        assert_eq!(faults.decide("ec2", "CopyImage", Some("copy-region"), "us-east-1"), Some(Effect::Cut));
    }

    #[test]
    fn rules_are_read_from_json() {
        let rule: Rule =
            serde_json::from_str(r#"{"action":"CopyImage","nth":2,"effect":{"refuse":{"code":"InternalError"}}}"#)
                .unwrap();
        assert_eq!(rule.effect, Effect::Refuse { code: "InternalError".into(), message: None, status: None });
    }
}
