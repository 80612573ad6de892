//! Owns what happens to a restored image once it is available: what a restore does not keep is put
//! back from the record, every attribute is compared, and the differences are named.

use std::collections::BTreeSet;

use ami_backup_aws::Aws;
use ami_backup_core::{
    ErrorName, StepError, Timestamp,
    id::{ImageId, Region},
    image::{Difference, LaunchPermissions},
    item::Awaited,
    policy::CarryOver,
    repair::{Repairs, Survey, remaining_differences, repairs},
    report::{Claim, Verdict},
    restore::RestoreSubject,
    turn::Turn,
};
use serde::Serialize;
use serde_json::json;

/// A cause is at most 32,768 characters long, and what JSON escapes counts twice.
const LONGEST_REASON: usize = 15_000;

/// What the step returns: the report of a restore.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Output {
    /// `OK`, `WARNING` if there was no record to compare with or something is not put back by itself, `FAILED` if something differs.
    pub verdict: Verdict,
    /// The run.
    pub run: String,
    /// The restored image.
    pub image_id: ImageId,
    /// Where it is.
    pub region: Region,
    /// The same as a report says it: what is so, for anybody to check.
    pub claim: Claim,
    /// The image as it was called, where that is known.
    pub original_id: Option<ImageId>,
    /// In what it differs from the original.
    pub differences: Vec<Difference>,
    /// What is not put back by itself: a person decides.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub not_restored: Vec<NotRestored>,
    /// What people should know.
    pub warnings: Vec<String>,
    /// Error of the execution, if it fails.
    pub error: Option<&'static str>,
    /// Cause of the execution, if it fails.
    pub cause: Option<String>,
}

/// What is not put back, and how a person puts it back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct NotRestored {
    /// What it is.
    pub what: &'static str,
    /// Why it is not put back.
    pub why: String,
    /// By which command it is.
    pub command: String,
}

/// Finishes a restore.
///
/// # Errors
/// `ResourceFailed` if the restored image has gone.
pub async fn handle(aws: &Aws, now: Timestamp, turn: Turn<RestoreSubject>) -> Result<Output, StepError> {
    let subject = turn.subject;
    let Some(Awaited { image_id, region }) = subject.awaited.clone() else {
        return Err(StepError::input("subject.awaited", "is missing"));
    };
    let (record, believed) = match &subject.record {
        Some(place) if subject.trust_record => (aws.record_by_anybody(place).await?, true),
        Some(place) => {
            let record = aws.record(place).await?;
            let own = record.as_ref().map(|record| aws.record_place(record.image_id())).transpose()?;
            let believed = own.as_ref() == Some(place);
            (record, believed)
        }
        None => (None, false),
    };
    let Some(mut record) = record else {
        return Ok(without_record(subject, image_id, region));
    };
    let mut not_restored = Vec::new();
    if !believed {
        let permissions = std::mem::take(&mut record.survey.launch_permissions);
        let why = "the record is not the stack's own, and others may have written it: \
                   restore with `trustRecord`, or give them by hand";
        not_restored.extend(left_out(&permissions, why, &image_id, &region));
    }
    let (differences, wanted) = put_back(aws, now, &record.survey, &image_id, &region).await?;
    let why = "nothing becomes public by itself: make it public by hand";
    not_restored.extend(left_out(&wanted.not_restored, why, &image_id, &region));
    let failed = !differences.is_empty();
    let claim = claim(&image_id, &region);
    let cause = failed.then(|| cause(&subject.run.run, &claim, &record.survey.image.image_id, &differences));
    Ok(Output {
        verdict: match failed {
            true => Verdict::Failed,
            false if not_restored.is_empty() => Verdict::Ok,
            false => Verdict::Warning,
        },
        run: subject.run.run,
        image_id,
        region,
        claim,
        original_id: subject.original_id,
        differences,
        not_restored,
        warnings: wanted.notes,
        error: failed.then_some("RestoredWithDifferences"),
        cause,
    })
}

/// What is said of launch permissions that are not put back, if there are any.
fn left_out(permissions: &LaunchPermissions, why: &str, image_id: &ImageId, region: &Region) -> Option<NotRestored> {
    let command = permissions.command(region, image_id);
    (!permissions.is_empty()).then(|| NotRestored { what: "launch permissions", why: why.to_owned(), command })
}

fn claim(image_id: &ImageId, region: &Region) -> Claim {
    let (id, region) = (image_id.to_string(), region.clone());
    Claim { id, region, bucket: None, state: "available".into(), size_bytes: None }
}

/// The cause of an execution whose image differs: JSON, as that of a backup.
fn cause(run: &str, claim: &Claim, original: &ImageId, differences: &[Difference]) -> String {
    let list: Vec<String> = differences.iter().map(ToString::to_string).collect();
    let text =
        format!("{} in {} was restored and differs from {original}: {}", claim.id, claim.region, list.join(", "));
    let reason: String = text.chars().take(LONGEST_REASON).collect();
    json!({"verdict": Verdict::Failed, "run": run, "claim": claim, "failure": reason}).to_string()
}

fn without_record(subject: RestoreSubject, image_id: ImageId, region: Region) -> Output {
    let warnings = ["launch permissions", "deprecation date", "deregistration protection"].map(|what| {
        format!("there is no record of the original: {what} could not be put back, nor any attribute compared")
    });
    Output {
        verdict: Verdict::Warning,
        run: subject.run.run,
        claim: claim(&image_id, &region),
        image_id,
        region,
        original_id: subject.original_id,
        differences: Vec::new(),
        not_restored: Vec::new(),
        warnings: warnings.to_vec(),
        error: None,
        cause: None,
    }
}

async fn put_back(
    aws: &Aws,
    now: Timestamp,
    source: &Survey,
    image_id: &ImageId,
    region: &Region,
) -> Result<(Vec<Difference>, Repairs), StepError> {
    let all: BTreeSet<CarryOver> =
        [CarryOver::LaunchPermissions, CarryOver::Deprecation, CarryOver::DeregistrationProtection].into();
    let doing = format!("put back on {image_id} what restoring it lost");
    let made = survey(aws, region, image_id).await?;
    let wanted = repairs(source, &made, &all, now);
    aws.repair(region, image_id, &wanted).await.map_err(|f| f.into_settling_error(&doing))?;
    let after = if wanted.changes_anything() { survey(aws, region, image_id).await? } else { made };
    let differences = remaining_differences(source, &after, &all, now);
    if repairs(source, &after, &all, now).changes_anything() {
        let list: Vec<String> = differences.iter().map(ToString::to_string).collect();
        let reason = format!("it is put back and does not show yet: {}", list.join(", "));
        let left = format!("{image_id}, available");
        return Err(StepError::new(ErrorName::NotYetVisible, doing, reason).in_region(region).leaving(left));
    }
    Ok((differences, wanted))
}

async fn survey(aws: &Aws, region: &Region, image_id: &ImageId) -> Result<Survey, StepError> {
    let survey =
        aws.survey(region, image_id).await.map_err(|f| f.into_settling_error(format!("look at {image_id}")))?;
    survey.ok_or_else(|| {
        let reason = "it is gone: somebody deregistered it";
        StepError::new(ErrorName::ResourceFailed, format!("look at {image_id}"), reason).in_region(region)
    })
}
