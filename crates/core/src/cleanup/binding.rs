//! Owns what binds a plan to what was read: the digest of the lines that go, and the version that S3 gave them.
//!
//! A plan lies in a bucket for up to a week between the moment at which a person reads it and its application. Whatever
//! changed it meanwhile, what is applied is what was read, or nothing.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{
    plan::Line,
    run::{Approval, PlanPointer},
    summary::Summary,
};
use crate::{
    error::{ErrorName, StepError},
    report::json_lines,
};

/// Which plan it is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Binding {
    /// SHA-256 of `going.jsonl`, in 64 hexadecimal digits. Empty: an earlier version made the plan, and bound it to nothing.
    pub digest: String,
    /// The version of that object, where the bucket keeps versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
}

/// The lines of a plan that go, and what stands above them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Going {
    /// The plan in short; `None`: an earlier version made the plan.
    pub summary: Option<Summary>,
    /// The lines.
    pub lines: Vec<Line>,
}

/// The first line of `going.jsonl`: with it the digest covers when the plan was made, until when it may be applied, and
/// whether a person has to agree.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "camelCase")]
enum Head<S> {
    Plan { summary: S },
}

/// The text of `going.jsonl`.
///
/// # Errors
/// `Defect` if it cannot be written as JSON.
pub fn going_text(summary: &Summary, going: &[Line]) -> Result<String, StepError> {
    Ok(json_lines([Head::Plan { summary }])? + &json_lines(going)?)
}

/// Reads `going.jsonl`, without a look at what it is bound to. `place` is where it lies.
///
/// # Errors
/// `Conflict` if it is no plan.
pub fn read_going(place: &str, text: &str) -> Result<Going, StepError> {
    let unreadable = |error: serde_json::Error| conflict(place, error.to_string());
    let mut going = Going::default();
    let mut lines = text.lines().peekable();
    if let Some(Ok(Head::Plan { summary })) = lines.peek().map(|line| serde_json::from_str(line)) {
        going.summary = Some(summary);
        lines.next();
    }
    for line in lines {
        going.lines.push(serde_json::from_str(line).map_err(unreadable)?);
    }
    Ok(going)
}

/// The digest of a text.
pub fn digest(text: &str) -> String {
    Sha256::digest(text.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn conflict(place: &str, reason: impl Into<String>) -> StepError {
    StepError::new(ErrorName::Conflict, format!("read {place}"), reason).leaving("nothing was changed")
}

impl Binding {
    /// The lines of the plan that this names, from the `text` at a `place`.
    ///
    /// # Errors
    /// `Conflict` with the place and both digests if it is another text.
    pub fn read(&self, place: &str, text: &str) -> Result<Going, StepError> {
        if self.digest.is_empty() {
            let reason = "an earlier version of ami-backup made this plan, and bound it to no digest: start another run, \
                          which makes a new plan";
            return Err(conflict(place, reason));
        }
        let found = digest(text);
        if found == self.digest {
            return read_going(place, text);
        }
        let version = self.version.as_ref().map_or(String::new(), |version| format!(" (version {version})"));
        let reason = format!(
            "the plan has the digest {}{version}, and what is there now has {found}: start another run, which makes a new plan",
            self.digest
        );
        Err(conflict(place, reason))
    }
}

impl PlanPointer {
    /// The lines of the plan that the pointer names, as in [`Binding::read`].
    ///
    /// # Errors
    /// `Conflict` also if the pointer says otherwise of the plan than the plan itself.
    pub fn read(&self, place: &str, text: &str) -> Result<Going, StepError> {
        let going = self.binding.read(place, text)?;
        if going.summary.as_ref() == Some(&self.summary) {
            return Ok(going);
        }
        let reason = "the pointer to the plan says otherwise of it than its first line: start another run, which makes a new plan";
        Err(conflict(place, reason))
    }
}

impl Approval {
    /// Whether this paper, which lies at a `place` beside a plan, is a yes to that plan. What names no plan is no answer.
    ///
    /// # Errors
    /// `Conflict` with the place and both digests if it is about another plan.
    pub fn agrees_to(&self, binding: &Binding, place: &str) -> Result<bool, StepError> {
        match &self.plan {
            Some(plan) if *plan != binding.digest => {
                Err(conflict(place, format!("it agrees to the plan {plan}, and the plan is {}", binding.digest)))
            }
            plan => Ok(self.approved && plan.is_some()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use jiff::Timestamp;
    use serde_json::json;

    use super::*;
    use crate::cleanup::{account::tests::region, run::tests::work};

    fn summary() -> Summary {
        let request = work(json!({})).request();
        Summary::new(&request, "111122223333", &region(), BTreeMap::new(), Timestamp::UNIX_EPOCH)
    }

    fn going(count: usize) -> Vec<Line> {
        let line = |number: usize| {
            let value = json!({"kind": "snapshot", "snapshotId": format!("snap-{number:08x}"), "reasons": [],
                "action": "DELETE_SNAPSHOT", "images": [], "provisionedGib": 8});
            serde_json::from_value(value).unwrap_or_else(|error| unreachable!("{error}"))
        };
        (1..=count).map(line).collect()
    }

    fn pointer(text: &str) -> PlanPointer {
        let binding = Binding { digest: digest(text), version: Some("v1".into()) };
        PlanPointer { prefix: "p/".into(), binding, summary: summary() }
    }

    #[test]
    fn a_digest_is_that_of_sha256sum() {
        assert_eq!(digest("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    }

    /// 75. What is applied is what was read, and anything else is a `Conflict` with the place and both digests.
    #[test]
    fn what_is_not_what_was_read_is_a_conflict_with_both_digests() -> Result<(), StepError> {
        let text = going_text(&summary(), &going(2))?;
        let read = pointer(&text).read("s3://b/going.jsonl", &text)?;
        assert_eq!((read.lines, read.summary), (going(2), Some(summary())));
        let swapped = going_text(&summary(), &going(3))?;
        let error = pointer(&text).read("s3://b/going.jsonl", &swapped).err();
        let error = error.unwrap_or_else(|| unreachable!("it is another plan"));
        assert_eq!(error.name, ErrorName::Conflict);
        let said = error.to_string();
        for part in ["s3://b/going.jsonl", &digest(&text), &digest(&swapped), "v1", "nothing was changed"] {
            assert!(said.contains(part), "{part} is missing from {said}");
        }
        Ok(())
    }

    #[test]
    fn a_pointer_that_says_otherwise_of_a_plan_than_the_plan_is_a_conflict() -> Result<(), StepError> {
        let text = going_text(&summary(), &going(1))?;
        let changes: [fn(&mut Summary); 3] = [
            |summary| summary.asks = Some("all go".into()),
            |summary| summary.fresh_until = Timestamp::MAX,
            |summary| summary.partial = true,
        ];
        for change in changes {
            let mut pointer = pointer(&text);
            change(&mut pointer.summary);
            let error = pointer.read("s3://b/going.jsonl", &text).err();
            assert_eq!(error.map(|error| error.name), Some(ErrorName::Conflict));
        }
        Ok(())
    }

    #[test]
    fn what_an_earlier_version_made_is_not_applied_and_can_be_read() -> Result<(), StepError> {
        let text = json_lines(going(2))?;
        let unbound = Binding::default().read("s3://b/going.jsonl", &text).err();
        assert!(
            unbound.is_some_and(|error| error.name == ErrorName::Conflict && error.to_string().contains("another run"))
        );
        assert_eq!(read_going("s3://b/going.jsonl", &text)?, Going { summary: None, lines: going(2) });
        assert!(read_going("s3://b/going.jsonl", "no JSON").is_err());
        // Only the first line stands above a plan.
        let twice = going_text(&summary(), &[])?.repeat(2);
        assert!(read_going("s3://b/going.jsonl", &twice).is_err());
        Ok(())
    }

    /// 76. An approval names the digest of the plan, and one that names another plan is a `Conflict`.
    #[test]
    fn an_approval_is_one_of_the_plan_that_it_names() {
        let binding = Binding { digest: "d1".into(), version: None };
        let of = |approved, plan: Option<&str>| {
            let approval = Approval { approved, by: "me".into(), plan: plan.map(str::to_owned), version: None };
            approval.agrees_to(&binding, "s3://b/approval.json").map_err(|error| error.to_string())
        };
        assert_eq!(of(true, Some("d1")), Ok(true));
        assert_eq!((of(false, Some("d1")), of(true, None)), (Ok(false), Ok(false)));
        let said = of(true, Some("d2")).err().unwrap_or_default();
        assert!(["s3://b/approval.json", "d1", "d2"].iter().all(|part| said.contains(part)), "{said}");
    }
}
