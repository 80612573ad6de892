//! Owns showing what happened in a trial, in the order in which it happened.

use ami_backup_core::Timestamp;
use ami_backup_engine::{Event, History};
use ami_backup_simulator::calls::Call;
use serde_json::Value;

/// Longest text of one event.
const LONGEST: usize = 300;

/// A line for each state that was entered, each failure and each call.
pub fn readable(histories: &[(String, History)], calls: &[Call]) -> Vec<String> {
    let mut lines: Vec<(Timestamp, usize, String)> = Vec::new();
    for (name, history) in histories {
        for event in history.events().iter() {
            let detail = match event.kind {
                "ExecutionStarted" => &event.detail["input"],
                "ExecutionSucceeded" => &event.detail["output"],
                "TaskFailed" | "TaskTimedOut" | "TaskSubmitted" | "ExecutionFailed" | "ExecutionTimedOut" => {
                    &event.detail
                }
                kind if kind.ends_with("StateEntered") => &Value::Null,
                _ => continue,
            };
            let detail = if detail.is_null() { String::new() } else { format!(" {}", short(&detail.to_string())) };
            lines.push((event.at, lines.len(), format!("{name}  {} {}{detail}", event.kind, event.place)));
        }
    }
    for call in calls.iter().filter(|call| call.implied_by.is_none()) {
        let caller = call.function.as_deref().unwrap_or("somebody");
        let named = ["ImageId", "SourceImageId", "Bucket", "ObjectKey", "key", "Name"];
        let named = named.iter().filter_map(|name| Some(format!(" {}={}", name, call.parameters.get(*name)?)));
        let what = format!("{}:{}{} → {}", call.service, call.action, named.collect::<String>(), call.outcome);
        lines.push((call.at, lines.len(), format!("    {caller} in {} {what}", call.region)));
    }
    lines.sort();
    lines.into_iter().map(|(at, _, text)| format!("{at:.3} {text}")).collect()
}

/// Everything that functions have answered, as text.
pub fn answers(histories: &[(String, History)]) -> String {
    let mut text = String::new();
    for (_, history) in histories {
        let answers = |event: &&Event| event.kind == "TaskSucceeded";
        text.extend(history.events().iter().filter(answers).map(|event| event.detail.to_string()));
    }
    text
}

fn short(text: &str) -> String {
    if text.chars().count() <= LONGEST {
        return text.to_owned();
    }
    text.chars().take(LONGEST).chain("…".chars()).collect()
}
