//! Owns what people are told, and in which words.

use serde_json::Value;

/// SNS takes subjects of up to 100 printable ASCII characters.
const LONGEST_SUBJECT: usize = 100;

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
        let text = |field: &str| detail.get(field).and_then(Value::as_str).unwrap_or("-");
        let machine = text("stateMachineArn").rsplit(':').next().unwrap_or("-");
        let subject = format!("ami-backup: {} of {machine}", text("status"));
        let message = format!(
            "Execution {}\nended {}.\n\nError: {}\nCause: {}\n\nInput: {}\n",
            text("executionArn"),
            text("status"),
            text("error"),
            text("cause"),
            text("input"),
        );
        Self::new(&subject, message)
    }

    /// About a run, from what `report-backup` returned.
    pub fn of_run(report: &Value) -> Self {
        let text = |field: &str| report.get(field).and_then(Value::as_str).unwrap_or("-");
        let subject = format!("ami-backup: {} in run {}", text("verdict"), text("run"));
        let place = |field: &str| report.pointer(&format!("/report/{field}")).and_then(Value::as_str).unwrap_or("-");
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
    fn a_subject_is_one_that_sns_takes() {
        let notice = Notice::of_run(&json!({"verdict": "WARNING", "run": "ü\n".repeat(200)}));
        assert_eq!(notice.subject.chars().count(), LONGEST_SUBJECT);
        assert!(notice.subject.chars().all(|c| c.is_ascii_graphic() || c == ' '));
    }
}
