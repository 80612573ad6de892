//! Owns the last step of a clean-up: it reconciles what each Region's plan says with what became of it, writes the
//! report, and gives the verdict.

use ami_backup_aws::Aws;
use ami_backup_core::{
    ErrorName, StepError, Timestamp,
    cleanup::{
        batch::Outcomes,
        report::{RegionEnd, RegionFacts, cause, lines, summary, verdict},
        run::{CleanupStart, PlanPointer, plan_key, report_key},
    },
    id::Region,
    report::{Verdict, json_lines},
    selection::ObjectPlace,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// What the machine hands over.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Input {
    /// The start of the run.
    pub started: CleanupStart,
    /// How the Regions ended: a list, in which what cannot be read is missing.
    #[serde(default)]
    pub ended: Value,
}

/// What the step returns.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Output {
    /// How the run ended.
    pub verdict: Verdict,
    /// The run.
    pub run: String,
    /// Where the report is: one JSON line per Region and item.
    pub report: ObjectPlace,
    /// One sentence for people.
    pub summary: String,
    /// Error of the execution, if it fails.
    pub error: Option<&'static str>,
    /// Cause of the execution, if it fails.
    pub cause: Option<String>,
}

/// Reports on a clean-up.
///
/// # Errors
/// `Conflict` if the pointer to a plan cannot be read.
pub async fn handle(aws: &Aws, _now: Timestamp, input: Input) -> Result<Output, StepError> {
    let bucket = aws.settings().backup_bucket()?.clone();
    let start = &input.started;
    let ends: Vec<RegionEnd> = match &input.ended {
        Value::Array(ends) => ends.iter().filter_map(|end| serde_json::from_value(end.clone()).ok()).collect(),
        _ => Vec::new(),
    };
    let mut report = Vec::new();
    for region in &start.regions {
        let said = ends.iter().find(|end| end.region == *region).cloned();
        let facts = facts(aws, start, region, said).await?;
        report.extend(lines(start, &facts));
    }
    let place = ObjectPlace { key: report_key(&start.run, start.started_at), bucket };
    let name = format!("s3://{}/{}", place.bucket, place.key);
    aws.write_text(&place.bucket, &place.key, json_lines(&report)?)
        .await
        .map_err(|f| f.into_step_error(format!("write {name}")))?;
    let verdict = verdict(&report);
    let error = match verdict {
        Verdict::Ok | Verdict::Warning => None,
        Verdict::Partial => Some("CleanupPartial"),
        Verdict::Failed => Some("CleanupFailed"),
    };
    Ok(Output {
        verdict,
        run: start.run.clone(),
        summary: summary(start, &report),
        error,
        cause: error.map(|_| cause(start, verdict, &name, &report)),
        report: place,
    })
}

async fn facts(
    aws: &Aws,
    start: &CleanupStart,
    region: &Region,
    end: Option<RegionEnd>,
) -> Result<RegionFacts, StepError> {
    let plan: Option<PlanPointer> = aws.read_json(&plan_key(&start.run, region)).await?;
    let mut facts = RegionFacts {
        region: region.clone(),
        end,
        plan,
        going: Vec::new(),
        outcomes: Outcomes::new(),
        undone: aws.undo_mark(&start.run, region).await?.map(|mark| mark.at),
        unreadable: None,
    };
    let Some(plan) = &facts.plan else { return Ok(facts) };
    let read = async {
        let going = aws.plan_going(&plan.prefix, |place, text| plan.read(place, text)).await?;
        let outcomes = match start.apply {
            true => aws.plan_outcomes(&plan.prefix, &plan.binding.digest).await?,
            false => Outcomes::new(),
        };
        Ok::<_, StepError>((going.lines, outcomes))
    };
    match read.await {
        Ok((going, outcomes)) => (facts.going, facts.outcomes) = (going, outcomes),
        // Papers that are not what was read fail their Region, and not the report on the others.
        Err(error) if error.name == ErrorName::Conflict => facts.unreadable = Some(error),
        Err(error) => return Err(error),
    }
    Ok(facts)
}
