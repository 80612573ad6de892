//! Owns the record of an image, before the first leg and after the last, and the outcome that one
//! child execution leaves for the report.

use ami_backup_aws::Aws;
use ami_backup_core::{
    ErrorName, StepError, Timestamp,
    copy::CopySubject,
    export::ExportSubject,
    id::ImageId,
    image::{cannot_be_copied, cannot_be_exported, cannot_be_stored},
    item::Item,
    naming::{outcome_key, record_beside},
    record::{Record, RecordedBackup},
    repair::Survey,
    report::{CaughtError, Leg, LegResult, Outcome, ReportLine, Verdict, leg_outcomes, lines, verdict},
    store::StoreSubject,
    text::shown,
    turn::Turn,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// When the step is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Phase {
    /// Before the first leg.
    Open,
    /// After the last leg.
    Complete,
    /// There were no legs: something failed before.
    Failed,
}

/// What the machine hands over.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Input {
    /// When the step is called.
    pub phase: Phase,
    /// The item, with its image.
    pub subject: Item,
    /// What the branches returned.
    #[serde(default)]
    pub outcomes: Value,
    /// What failed before the legs.
    #[serde(default)]
    pub failure: Option<CaughtError>,
}

/// What the legs begin with.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Legs {
    /// The store leg, if wanted.
    pub store: Option<Turn<StoreSubject>>,
    /// A copy leg for each Region.
    pub copies: Vec<Turn<CopySubject>>,
    /// The export leg, if wanted.
    pub export: Option<Turn<ExportSubject>>,
}

/// What the step returns.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Output {
    /// The legs, in the first phase.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub legs: Option<Legs>,
    /// How the image fared, in the other phases.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub result: Option<Verdict>,
}

/// Opens or completes the record of an image.
///
/// # Errors
/// `InvalidInput` if nothing of what the policy asks for can be done with the image; nothing is
/// written then.
pub async fn handle(aws: &Aws, now: Timestamp, input: Input) -> Result<Output, StepError> {
    let item = input.subject;
    match input.phase {
        Phase::Open => open(aws, now, &item).await,
        Phase::Complete => complete(aws, now, &item, &input.outcomes).await,
        Phase::Failed => {
            let failure = input.failure.unwrap_or(CaughtError { error: "Defect".into(), cause: None });
            let lines = lines(&item, Some(&failure), &[]);
            write_outcome(aws, &item, lines).await
        }
    }
}

async fn open(aws: &Aws, now: Timestamp, item: &Item) -> Result<Output, StepError> {
    let image_id = image_of(item)?;
    let doing = format!("back up {image_id}");
    let survey = survey(aws, &image_id).await?.ok_or_else(|| {
        let reason = "there is no such image here, or it is not shared with this account";
        StepError::new(ErrorName::InvalidInput, &doing, reason).in_region(aws.home())
    })?;
    refuse_if_nothing_can_be_done(aws, item, &survey).await?;
    let known = aws.record(&aws.record_place(&image_id)?).await?;
    let size_gib = survey.image.size_gib();
    write_record(aws, &Record::opened(known, survey, &account(aws).await?, now)).await?;
    Ok(Output { legs: Some(legs(item, &image_id, size_gib)), result: None })
}

/// A leg that cannot be done fails by itself and is reported. If none can, nothing is begun.
async fn refuse_if_nothing_can_be_done(aws: &Aws, item: &Item, survey: &Survey) -> Result<(), StepError> {
    let account = account(aws).await?;
    let (image, limit) = (&survey.image, aws.settings().store_limit_gb);
    let mut refusals = Vec::new();
    refusals.extend(item.policy.store.as_ref().map(|_| cannot_be_stored(image, &account, limit)));
    refusals.extend(item.policy.copies.first().map(|_| cannot_be_copied(image)));
    refusals.extend(item.policy.export.as_ref().map(|_| cannot_be_exported(image, &account)));
    if refusals.is_empty() || refusals.iter().any(Option::is_none) {
        return Ok(());
    }
    let mut reasons: Vec<String> = refusals.into_iter().flatten().collect();
    reasons.dedup();
    let doing = format!("back up {}", image.image_id);
    Err(StepError::new(ErrorName::InvalidInput, doing, reasons.join("; ")).in_region(aws.home()))
}

fn legs(item: &Item, image_id: &ImageId, size_gib: u64) -> Legs {
    let (run, policy) = (&item.run, &item.policy);
    let deadline_minutes = policy.deadline_minutes;
    let store = policy.store.as_ref().map(|store| {
        Turn::new(StoreSubject {
            run: run.clone(),
            image_id: image_id.clone(),
            size_gib,
            bucket: store.bucket.clone(),
            prefix: store.prefix.clone(),
            deadline_minutes,
            key: None,
            object: None,
            adopted: false,
        })
    });
    let copies = policy.copies.iter().map(|copy| {
        Turn::new(CopySubject {
            run: run.clone(),
            image_id: image_id.clone(),
            size_gib,
            region: copy.region.clone(),
            kms_key_id: copy.kms_key_id.clone(),
            carry_over: policy.carry_over.clone(),
            deadline_minutes,
            awaited: None,
            adopted: false,
            notes: Vec::new(),
        })
    });
    let export = policy.export.as_ref().map(|export| {
        Turn::new(ExportSubject {
            run: run.clone(),
            image_id: image_id.clone(),
            size_gib,
            format: export.format,
            prefix: export.prefix.clone(),
            deadline_minutes,
            task_id: None,
            bucket: None,
            object: None,
            adopted: false,
        })
    });
    Legs { store, copies: copies.collect(), export }
}

async fn complete(aws: &Aws, now: Timestamp, item: &Item, outcomes: &Value) -> Result<Output, StepError> {
    let image_id = image_of(item)?;
    let mut lines = lines(item, None, &leg_outcomes(outcomes));
    let mut record = match aws.record(&aws.record_place(&image_id)?).await? {
        Some(record) => record,
        None => match survey(aws, &image_id).await? {
            Some(survey) => Record::opened(None, survey, &account(aws).await?, now),
            None => {
                return Err(StepError::new(
                    ErrorName::Conflict,
                    format!("complete the record of {image_id}"),
                    "both the record and the image have gone since this run began",
                )
                .in_region(aws.home()));
            }
        },
    };
    for backup in lines.iter().filter_map(|line| recorded(line, &item.run.run, now)) {
        record.add(backup);
    }
    note_what_no_image_holds(&record, &mut lines);
    write_record(aws, &record).await?;
    copy_beside_the_object(aws, item, &record, &lines).await?;
    write_outcome(aws, item, lines).await
}

/// Instance-store volumes are in no image, and nothing else in the report would say so.
fn note_what_no_image_holds(record: &Record, lines: &mut [ReportLine]) {
    let devices = record.survey.image.ephemeral_devices();
    if let (false, Some(line)) = (devices.is_empty(), lines.first_mut()) {
        line.notes.push(format!("not backed up, because they are instance store: {}", shown(&devices.join(", "))));
    }
}

fn recorded(line: &ReportLine, run: &str, now: Timestamp) -> Option<RecordedBackup> {
    let claim = line.claim.as_ref()?;
    (line.result == LegResult::Ok && line.leg != Leg::Image).then(|| RecordedBackup {
        leg: line.leg,
        region: claim.region.clone(),
        bucket: claim.bucket.clone(),
        id: claim.id.clone(),
        size_bytes: claim.size_bytes,
        run: run.to_owned(),
        recorded_at: now,
    })
}

async fn copy_beside_the_object(
    aws: &Aws,
    item: &Item,
    record: &Record,
    lines: &[ReportLine],
) -> Result<(), StepError> {
    let stored = lines.iter().find(|line| line.leg == Leg::Store && line.result == LegResult::Ok);
    let (Some(claim), Some(store)) = (stored.and_then(|line| line.claim.as_ref()), &item.policy.store) else {
        return Ok(());
    };
    let key = record_beside(&claim.id);
    aws.write_text(&store.bucket, &key, record.to_text()?)
        .await
        .map_err(|f| f.into_step_error(format!("write s3://{}/{key}", store.bucket)))
}

async fn write_outcome(aws: &Aws, item: &Item, lines: Vec<ReportLine>) -> Result<Output, StepError> {
    let result = verdict(&lines);
    let outcome = Outcome { item: item.item, lines };
    let text = serde_json::to_string(&outcome)
        .map_err(|error| StepError::new(ErrorName::Defect, "write an outcome", error.to_string()))?;
    let bucket = aws.settings().backup_bucket()?;
    let key = outcome_key(&item.run.attempt, item.item);
    aws.write_text(bucket, &key, text).await.map_err(|f| f.into_step_error(format!("write s3://{bucket}/{key}")))?;
    Ok(Output { legs: None, result: Some(result) })
}

async fn account(aws: &Aws) -> Result<String, StepError> {
    aws.account().await.map_err(|f| f.into_step_error("find out the own account"))
}

async fn survey(aws: &Aws, image_id: &ImageId) -> Result<Option<Survey>, StepError> {
    aws.survey(aws.home(), image_id).await.map_err(|f| f.into_settling_error(format!("look at {image_id}")))
}

async fn write_record(aws: &Aws, record: &Record) -> Result<(), StepError> {
    let place = aws.record_place(record.image_id())?;
    aws.write_text(&place.bucket, &place.key, record.to_text()?)
        .await
        .map_err(|f| f.into_step_error(format!("write s3://{}/{}", place.bucket, place.key)))
}

fn image_of(item: &Item) -> Result<ImageId, StepError> {
    item.image_id().cloned().ok_or_else(|| StepError::input("subject.source.imageId", "is missing"))
}
