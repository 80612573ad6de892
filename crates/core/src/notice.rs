//! Owns what people are told, and in which words.

use serde_json::Value;

use crate::{
    cleanup::run::{MadePlan, RegionWork, table_key},
    id::BucketName,
    text::{shown, visible, within},
};

/// SNS takes subjects of up to 100 printable ASCII characters.
const LONGEST_SUBJECT: usize = 100;
/// Characters of a text in a message, of which SNS takes 256 KiB. A cause has at most so many.
const LONGEST_TEXT: usize = 32_768;
/// Characters of an input in a message.
const LONGEST_INPUT: usize = 8_000;

/// A message to people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    /// One line.
    pub subject: String,
    /// The rest.
    pub message: String,
}

impl Notice {
    fn new(subject: &str, message: String) -> Self {
        let printable = |c: char| if c.is_ascii_graphic() || c == ' ' { c } else { '?' };
        Self { subject: subject.chars().map(printable).take(LONGEST_SUBJECT).collect(), message }
    }

    /// About an execution that ended badly, from the detail of EventBridge's status change event.
    pub fn of_execution(detail: &Value) -> Self {
        let text = |field: &str| within(detail.get(field).and_then(Value::as_str).unwrap_or("-"), LONGEST_TEXT);
        let machine = text("stateMachineArn");
        let machine = machine.rsplit(':').next().unwrap_or("-");
        let subject = format!("ami-backup: {} of {machine}", text("status"));
        let message = format!(
            "Execution {}\nended {}.\n\nError: {}\nCause: {}\n\nInput: {}\n",
            text("executionArn"),
            text("status"),
            text("error"),
            text("cause"),
            within(&text("input"), LONGEST_INPUT),
        );
        Self::new(&subject, message)
    }

    /// About a plan that a person has to agree to: what it would do, where it is, and how to answer by `token`.
    pub fn of_plan(work: &RegionWork, plan: &MadePlan, bucket: &BucketName, token: &str) -> Self {
        let subject = format!("ami-backup: agree to a clean-up of {} in {}", plan.going, work.region);
        let why = visible(plan.asks.as_deref().unwrap_or("the policy has `approval`"));
        let token = visible(token);
        let answer = |output: &str| {
            format!("aws stepfunctions send-task-success --task-token '{token}' \\\n  --task-output '{output}'")
        };
        let message = format!(
            "Clean-up {} would do something with {} images and snapshots in {}, and asks first:\n{why}.\n\n\
             Read the plan:\naws s3 cp s3://{bucket}/{} -\n\n\
             SHA-256 of its going.jsonl: {}{}\n\n\
             To apply it, with your name:\n{}\n\n\
             To refuse it:\n{}\n\n\
             Without an answer until {} nothing is removed.\n",
            shown(&work.run),
            plan.going,
            work.region,
            shown(&table_key(&plan.prefix)),
            plan.binding.digest,
            plan.binding.version.as_ref().map_or(String::new(), |version| format!(", version {version}")),
            answer(&format!(r#"{{"approved": true, "plan": "{}", "by": "me"}}"#, plan.binding.digest)),
            answer(r#"{"approved": false, "by": "me"}"#),
            plan.fresh_until,
        );
        Self::new(&subject, message)
    }

    /// About a run, from what `report-backup` returned.
    pub fn of_run(report: &Value) -> Self {
        let text = |field: &str| within(report.get(field).and_then(Value::as_str).unwrap_or("-"), LONGEST_TEXT);
        let subject = format!("ami-backup: {} in run {}", text("verdict"), text("run"));
        let place =
            |field: &str| shown(report.pointer(&format!("/report/{field}")).and_then(Value::as_str).unwrap_or("-"));
        let message = format!("{}\n\nReport: s3://{}/{}\n", text("summary"), place("bucket"), place("key"));
        Self::new(&subject, message)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_notice_of_an_execution_says_which_and_why() {
        let notice = Notice::of_execution(&json!({
            "status": "TIMED_OUT", "executionArn": "arn:e", "stateMachineArn": "arn:aws:states:r:a:stateMachine:Backup",
            "cause": "because",
        }));
        assert_eq!(notice.subject, "ami-backup: TIMED_OUT of Backup");
        assert!(notice.message.contains("arn:e") && notice.message.contains("because"));
    }

    #[test]
    fn whoever_has_to_agree_is_told_to_what_why_and_how() {
        let work = crate::cleanup::run::tests::work(json!({"run": "monthly", "apply": true}));
        let plan: MadePlan = serde_json::from_value(json!({
            "next": "ASK", "prefix": "cleanups/1/us-east-1/2/", "binding": {"digest": "d1", "version": "v1"},
            "madeAt": "2026-11-24T02:00:00Z",
            "freshUntil": "2026-11-25T02:00:00Z", "going": 7, "asks": "7 of the 8 images are due",
        }))
        .unwrap_or_else(|error| unreachable!("{error}"));
        let bucket = "backups".parse().unwrap_or_else(|_| unreachable!());
        let notice = Notice::of_plan(&work, &plan, &bucket, "t-o-k-e-n");
        assert_eq!(notice.subject, "ami-backup: agree to a clean-up of 7 in us-east-1");
        for part in [
            "monthly",
            "7 of the 8 images are due.",
            "s3://backups/cleanups/1/us-east-1/2/plan.txt",
            "--task-token 't-o-k-e-n'",
            "going.jsonl: d1, version v1",
            r#"'{"approved": true, "plan": "d1", "by": "me"}'"#,
            r#"'{"approved": false, "by": "me"}'"#,
            "until 2026-11-25T02:00:00Z",
        ] {
            assert!(notice.message.contains(part), "{part}: {}", notice.message);
        }
        let always = Notice::of_plan(&work, &MadePlan { asks: None, ..plan }, &bucket, "t");
        assert!(always.message.contains("`approval`"));
    }

    /// 72. A notice shows what it repeats.
    #[test]
    fn a_notice_hides_nothing() {
        let hostile = "\u{1b}[2J\u{202e}x\nCause: none".repeat(10_000);
        let of = |field: &str| Notice::of_execution(&json!({field: hostile}));
        for notice in [of("cause"), of("input"), of("stateMachineArn"), Notice::of_run(&json!({"summary": hostile}))] {
            let text = notice.message + &notice.subject;
            assert!(text.chars().all(|c| c == '\n' || c == '…' || c == ' ' || c.is_ascii_graphic()), "{text}");
            assert!(text.len() < 100_000 && !text.contains("\nCause: none"));
        }
    }

    #[test]
    fn a_subject_is_one_that_sns_takes() {
        let notice = Notice::of_run(&json!({"verdict": "WARNING", "run": "ü\n".repeat(200)}));
        assert_eq!(notice.subject.chars().count(), LONGEST_SUBJECT);
        assert!(notice.subject.chars().all(|c| c.is_ascii_graphic() || c == ' '));
    }
}
