//! Owns the last step of a run: it reconciles what was planned with what came back, writes the report,
//! and gives the verdict.

mod remains;

use std::collections::BTreeMap;

use ami_backup_aws::Aws;
use ami_backup_core::{
    ErrorName, StepError, Timestamp,
    input::{document, unreadable},
    item::Item,
    naming::{attempt_prefix, report_key},
    report::{Outcome, Remains, ReportLine, Verdict, cause, json_lines, reconcile, summary, unclaimed, verdict},
    selection::{ObjectPlace, Selection},
    text::shown,
};
use serde::Serialize;

use crate::remains::{not_looked_for, remains};

/// What is left of an image is looked for by some five calls, one after the other: so many fit
/// into an invocation, and into what EC2 allows at once.
const MOST_LOOKED_FOR: u32 = 50;

/// What the step returns.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Output {
    /// How the run ended.
    pub verdict: Verdict,
    /// The run.
    pub run: String,
    /// Where the report is: one JSON line per image and leg.
    pub report: ObjectPlace,
    /// One sentence for people.
    pub summary: String,
    /// Number of lines, done and failed.
    pub counts: Counts,
    /// Error of the execution, if it fails.
    pub error: Option<&'static str>,
    /// Cause of the execution, if it fails.
    pub cause: Option<String>,
}

/// Numbers of a report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// Lines in all.
    pub lines: usize,
    /// Lines of what was done.
    pub done: usize,
    /// Lines of what was not.
    pub failed: usize,
}

/// Reports on a run.
///
/// # Errors
/// `Defect` if the list of items is not there, `Conflict` if it is not that of this start.
pub async fn handle(aws: &Aws, now: Timestamp, selection: Selection) -> Result<Output, StepError> {
    let bucket = aws.settings().backup_bucket()?.clone();
    let attempt = attempt_prefix(&selection.run, selection.started_at);
    let items = items(aws, &selection).await?;
    let keys = aws
        .keys(&bucket, &format!("{attempt}outcomes/"))
        .await
        .map_err(|f| f.into_step_error("list the outcomes of the images"))?;
    let texts = aws
        .read_readable_texts(&bucket, &keys)
        .await
        .map_err(|f| f.into_step_error("read the outcomes of the images"))?;
    // An outcome that cannot be read is one that is missing: its image is then reported as unreported.
    let outcomes: Vec<Outcome> = texts.iter().filter_map(|text| document(text, "an outcome").ok()).collect();
    let (mut found, mut exports) = (BTreeMap::new(), None);
    for (number, (item, legs)) in (0..).zip(unclaimed(&items, &outcomes)) {
        let remains = if number < MOST_LOOKED_FOR {
            remains(aws, item, &legs, now, &mut exports).await?
        } else {
            let reason = not_looked_for(item, "there are too many such images");
            Remains { not_looked_for: Some(reason), ..Remains::default() }
        };
        found.insert(item.item, remains);
    }
    let lines = reconcile(&items, outcomes, &found);
    let report = ObjectPlace { bucket, key: report_key(&attempt) };
    aws.write_text(&report.bucket, &report.key, json_lines(&lines)?)
        .await
        .map_err(|f| f.into_step_error(format!("write s3://{}/{}", report.bucket, report.key)))?;
    Ok(output(selection.run, report, &lines))
}

fn output(run: String, report: ObjectPlace, lines: &[ReportLine]) -> Output {
    let verdict = verdict(lines);
    let error = match verdict {
        Verdict::Ok | Verdict::Warning => None,
        Verdict::Partial => Some("BackupPartial"),
        Verdict::Failed => Some("BackupFailed"),
    };
    let place = format!("s3://{}/{}", report.bucket, report.key);
    let failed = lines.iter().filter(|line| line.error.is_some()).count();
    Output {
        verdict,
        summary: summary(&run, lines),
        counts: Counts { lines: lines.len(), done: lines.len() - failed, failed },
        error,
        cause: error.map(|_| cause(&run, verdict, &place, lines)),
        report,
        run,
    }
}

async fn items(aws: &Aws, selection: &Selection) -> Result<Vec<Item>, StepError> {
    let Some(place) = &selection.items else {
        return Ok(Vec::new());
    };
    let name = format!("s3://{}/{}", place.bucket, shown(&place.key));
    let text = aws
        .read_text(aws.home(), &place.bucket, &place.key)
        .await
        .map_err(|f| f.into_step_error(format!("read {name}")))?
        .ok_or_else(|| StepError::new(ErrorName::Defect, format!("read the items {name}"), "they are not there"))?;
    let items: Vec<Item> = document(&text, &name)?;
    let ours = |item: &Item| item.run.run == selection.run && item.run.started_at == selection.started_at;
    match items.iter().position(|item| !ours(item)) {
        Some(index) => Err(unreadable(&name, &format!("[{index}].run: it is another run's item"))),
        None => Ok(items),
    }
}
