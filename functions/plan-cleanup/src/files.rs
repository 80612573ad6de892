//! Owns what a plan leaves in the bucket: its lines in parts, the lines that go by themselves, the table, what the next
//! plan has to know, and last the pointer by which all of it counts.

use std::collections::BTreeMap;

use ami_backup_aws::Aws;
use ami_backup_core::{
    ErrorName, StepError, Timestamp,
    cleanup::{
        account::Account,
        binding::{Binding, digest, going_text},
        judge::Action,
        plan::{Line, Plan},
        run::{
            Known, PlanPointer, RegionWork, files_prefix, going_key, known_key, notes_key, part_key, plan_key,
            table_key,
        },
        summary::Summary,
    },
    failure::AwsFailure,
    id::BucketName,
    report::json_lines,
    text::visible_json,
};
use futures_util::future::join;

/// A part is written once it is longer than this: large enough for few calls, small enough for little memory.
const PART_BYTES: usize = 4 << 20;

/// The plan that this run has made of the Region, if it has.
///
/// # Errors
/// What S3 refused, or `Conflict` if what is there is no plan.
pub(crate) async fn read_pointer(aws: &Aws, work: &RegionWork) -> Result<Option<PlanPointer>, StepError> {
    aws.read_json(&plan_key(&work.run, &work.region)).await
}

/// What the plans so far have seen of the Region.
///
/// # Errors
/// What S3 refused, or `Conflict` if what is there cannot be read: an orphan would lose its grace time, and a listing
/// what it is compared with.
pub(crate) async fn read_known(aws: &Aws, work: &RegionWork) -> Result<Known, StepError> {
    Ok(aws.read_json(&known_key(&work.region)).await?.unwrap_or_default())
}

/// Writes a plan, over one that it `replaces`. Else, if another start of the run has written one meanwhile, that one counts.
///
/// # Errors
/// What S3 refused.
pub(crate) async fn write(
    aws: &Aws,
    work: &RegionWork,
    account: &Account,
    plan: &Plan<'_>,
    known: Known,
    now: Timestamp,
    replaces: bool,
) -> Result<PlanPointer, StepError> {
    let bucket = aws.settings().backup_bucket()?;
    let readings: BTreeMap<_, _> = account
        .readings
        .iter()
        .filter_map(|(source, reading)| reading.as_ref().ok().map(|count| (*source, *count)))
        .collect();
    let prefix = files_prefix(&work.run, &work.region, now);
    let mut summary = Summary::new(&work.request(), &account.account_id, &work.region, readings.clone(), now);
    summary.asks = plan.asks().map(str::to_owned);
    summary.partial = plan.is_partial();
    let notes = account.uses.notes();
    summary.note(notes.iter());
    summary.removed_before = account.removed_before;
    let going = write_lines(aws, bucket, &prefix, plan, &mut summary).await?;
    let put = async |key: &str, text: String| aws.write_version(bucket, key, text).await.map_err(refused(bucket, key));
    let text = going_text(&summary, &going)?;
    let digest = digest(&text);
    let version = put(&going_key(&prefix), text).await?;
    let binding = Binding { digest, version };
    put(&table_key(&prefix), summary.table(&going, &binding)).await?;
    if !notes.is_empty() {
        put(&notes_key(&prefix), json_lines(notes)?).await?;
    }
    let binned = account.binned.iter().filter_map(|image| Some((image.image_id.clone(), image.snapshots.clone()?)));
    let known = known.after(&readings, plan.orphans_since().clone(), &binned.collect(), &going, work.apply);
    put(&known_key(&work.region), json(&known)?).await?;
    let pointer = PlanPointer { prefix, binding, summary };
    let key = plan_key(&work.run, &work.region);
    if replaces {
        put(&key, json(&pointer)?).await?;
        return Ok(pointer);
    }
    // Another start of the run may have been planning at the same time, and was faster: its plan counts.
    let first = aws.write_text_once(bucket, &key, json(&pointer)?).await.map_err(refused(bucket, &key))?;
    if first {
        return Ok(pointer);
    }
    let gone = || StepError::new(ErrorName::Transient, format!("read s3://{bucket}/{key}"), "it is there and gone");
    read_pointer(aws, work).await?.ok_or_else(gone)
}

fn refused(bucket: &BucketName, key: &str) -> impl FnOnce(AwsFailure) -> StepError {
    let name = format!("write s3://{bucket}/{key}");
    move |failure| failure.into_step_error(name)
}

/// Writes every line, a part while the next one is made, and returns those that go. The limits of a run bound them.
async fn write_lines(
    aws: &Aws,
    bucket: &BucketName,
    prefix: &str,
    plan: &Plan<'_>,
    summary: &mut Summary,
) -> Result<Vec<Line>, StepError> {
    let (mut going, mut parts) = (Vec::new(), 0);
    let mut lines = plan.lines();
    let mut part = next_part(&mut lines, summary, &mut going)?;
    loop {
        let key = part_key(prefix, parts);
        let written = aws.write_text(bucket, &key, part);
        let next = async {
            // Lets the request leave first.
            tokio::task::yield_now().await;
            next_part(&mut lines, summary, &mut going)
        };
        let (written, next) = join(written, next).await;
        written.map_err(refused(bucket, &key))?;
        part = next?;
        parts += 1;
        if part.is_empty() {
            return Ok(going);
        }
    }
}

/// The next part of a plan as JSON Lines: nothing once there are no more lines.
fn next_part(
    lines: &mut impl Iterator<Item = Line>,
    summary: &mut Summary,
    going: &mut Vec<Line>,
) -> Result<String, StepError> {
    let mut text = String::new();
    for line in lines {
        summary.add(&line);
        text.push_str(&visible_json(json(&line)?));
        text.push('\n');
        if line.action() != Action::Keep {
            going.push(line);
        }
        if text.len() > PART_BYTES {
            break;
        }
    }
    Ok(text)
}

fn json(value: &impl serde::Serialize) -> Result<String, StepError> {
    serde_json::to_string(value).map_err(|error| StepError::new(ErrorName::Defect, "write JSON", error.to_string()))
}
