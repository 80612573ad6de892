//! Owns a stand-in for the state machines: plain loops that call the functions in the machines' order,
//! catch what the machines catch, and wait on the stage's clock. Only for tests.

use ami_backup_core::StepError;

use crate::support::*;

/// What a run left behind.
#[derive(Debug)]
pub struct Run {
    /// What report-backup returned.
    pub report: Value,
    /// The lines of the report.
    pub lines: Vec<Value>,
}

impl Run {
    /// The verdict.
    pub fn verdict(&self) -> &str {
        self.report["verdict"].as_str().unwrap_or_default()
    }

    /// The lines of a leg.
    pub fn of(&self, leg: &str) -> Vec<&Value> {
        self.lines.iter().filter(|line| line["leg"] == leg).collect()
    }

    /// The lines that say FAILED.
    pub fn failed(&self) -> Vec<&Value> {
        self.lines.iter().filter(|line| line["result"] == "FAILED").collect()
    }
}

/// Backs up.
pub async fn backup(stage: &Stage, input: Value) -> Run {
    // Two starts of a run are never in the same millisecond: an execution takes longer than that.
    stage.pass(1);
    let selection = persist(stage, "select-images", json!({"input": input, "executionName": "by-hand"}))
        .await
        .unwrap_or_else(|error| panic!("{error}"));
    if selection["status"] == "FOUND" {
        for item in items_of(stage, &selection).await {
            child(stage, item).await;
        }
    }
    let report = persist(stage, "report-backup", selection).await.unwrap_or_else(|error| panic!("{error}"));
    let key = report["report"]["key"].as_str().expect("the place of the report");
    let lines = text(stage, BUCKET, key).await;
    Run { lines: lines.lines().map(|line| serde_json::from_str(line).expect("JSON lines")).collect(), report }
}

/// One child execution: one image.
async fn child(stage: &Stage, item: Value) {
    let (subject, legs) = match opened(stage, item).await {
        Ok(opened) => opened,
        Err((subject, error)) => {
            let failed = json!({"phase": "FAILED", "subject": subject, "outcomes": [], "failure": caught(&error)});
            persist(stage, "record-backup", failed).await.unwrap_or_else(|error| panic!("{error}"));
            return;
        }
    };
    let mut outcomes = vec![leg(stage, "store", &["start-store", "check-store"], &legs["store"]).await];
    let mut copies = Vec::new();
    for copy in legs["copies"].as_array().expect("a list of copies") {
        copies.push(leg(stage, "copy", &["copy-region", "check-image", "finish-copy"], copy).await);
    }
    outcomes.push(Value::Array(copies));
    outcomes.push(leg(stage, "export", &["start-export", "check-export"], &legs["export"]).await);
    let complete = json!({"phase": "COMPLETE", "subject": subject, "outcomes": outcomes, "failure": null});
    persist(stage, "record-backup", complete).await.unwrap_or_else(|error| panic!("{error}"));
}

/// The image and its record: the subject with its image, and what the legs begin with.
async fn opened(stage: &Stage, item: Value) -> Result<(Value, Value), (Value, StepError)> {
    let mut subject = item;
    if subject["source"]["instanceId"].is_string() {
        let turn = until_done(stage, "create-image", "check-image", json!({"subject": subject}))
            .await
            .map_err(|(turn, error)| (turn["subject"].clone(), error))?;
        subject = turn["subject"].clone();
    }
    let open = json!({"phase": "OPEN", "subject": subject, "outcomes": [], "failure": null});
    match persist(stage, "record-backup", open).await {
        Ok(output) => Ok((subject, output["legs"].clone())),
        Err(error) => Err((subject, error)),
    }
}

/// One branch of the parallel state.
async fn leg(stage: &Stage, name: &str, steps: &[&str], turn: &Value) -> Value {
    if turn.is_null() {
        return json!({"leg": name, "result": "SKIPPED"});
    }
    let mut result = until_done(stage, steps[0], steps[1], turn.clone()).await;
    for step in &steps[2..] {
        if let Ok(turn) = result {
            result = persist(stage, step, turn.clone()).await.map_err(|error| (turn, error));
        }
    }
    match result {
        Ok(turn) => json!({"leg": name, "result": "OK", "turn": turn}),
        Err((turn, error)) => json!({"leg": name, "result": "FAILED", "turn": turn, "error": caught(&error)}),
    }
}

/// An error as Step Functions hands it to a `Catch`.
pub fn caught(error: &StepError) -> Value {
    let cause = json!({"errorType": error.name.as_str(), "errorMessage": error.to_string()});
    json!({"Error": error.name.as_str(), "Cause": cause.to_string()})
}

/// Restores: what finish-restore returned, or the error that ended the execution.
pub async fn restore(stage: &Stage, input: Value) -> Answer {
    stage.pass(1);
    let found = persist(stage, "find-backup", json!({"input": input, "executionName": "restore-by-hand"})).await?;
    let start = if found["method"] == "SNAPSHOTS" { "register-image" } else { "start-restore" };
    let turn = until_done(stage, start, "check-image", found["turn"].clone()).await.map_err(|(_, error)| error)?;
    persist(stage, "finish-restore", turn).await
}
