//! Owns the first step of a restore: it checks what is asked for and finds the backup, so that
//! nothing is begun that cannot end well.

use ami_backup_aws::Aws;
use ami_backup_core::{
    StepError, Timestamp,
    id::{BucketName, Region},
    naming::record_beside,
    record::Record,
    restore::{
        Method, RecordPlace, RestoreRequest, RestoreSubject, Wanted, image_of_key, restore_request, restore_run,
    },
    turn::Turn,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// What the machine hands over.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Input {
    /// The execution's input.
    pub input: Value,
    /// The execution's name, the run's identity of last resort.
    #[serde(default)]
    pub execution_name: Option<String>,
}

/// What the step returns.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Output {
    /// From what the image is made again.
    pub method: Method,
    /// What the restore begins with.
    pub turn: Turn<RestoreSubject>,
}

/// Finds the backup that is asked for.
///
/// # Errors
/// `InvalidInput` with what is missing: the record, the object, a snapshot, or its thawing.
pub async fn handle(aws: &Aws, now: Timestamp, input: Input) -> Result<Output, StepError> {
    let request = restore_request(input.input, input.execution_name.as_deref(), aws.home())?;
    let (record, place) = find_record(aws, &request).await?;
    let (bucket, key) = match request.method {
        Method::Object => {
            let (bucket, key) = object_place(&request, record.as_ref())?;
            check_object(aws, &request.region, &bucket, &key).await?;
            (Some(bucket), Some(key))
        }
        Method::Snapshots => {
            check_snapshots(aws, record.as_ref()).await?;
            (None, None)
        }
    };
    check_name(aws, &request).await?;
    let original_id = match (&request.wanted, &record, &key) {
        (Wanted::Image(image_id), ..) => Some(image_id.clone()),
        (_, Some(record), _) => Some(record.image_id().clone()),
        (_, None, Some(key)) => image_of_key(key),
        (_, None, None) => None,
    };
    let size_gib = record.as_ref().map(|record| record.survey.image.size_gib()).unwrap_or_default();
    Ok(Output {
        method: request.method,
        turn: Turn::new(RestoreSubject {
            run: restore_run(request.run, now, aws.home().clone()),
            method: request.method,
            region: request.region,
            original_id,
            bucket,
            key,
            record: place,
            name: request.name,
            original_name: record.map(|record| record.survey.image.name),
            size_gib,
            deadline_minutes: request.deadline_minutes,
            awaited: None,
            adopted: false,
        }),
    })
}

/// The record: of an image, in the backup bucket; of an object, beside it, else in the backup bucket.
async fn find_record(aws: &Aws, request: &RestoreRequest) -> Result<(Option<Record>, Option<RecordPlace>), StepError> {
    let places = match &request.wanted {
        Wanted::Image(image_id) => vec![aws.record_place(image_id)?],
        Wanted::Object(bucket, key) => {
            check_bucket(aws, &request.region, bucket).await?;
            let beside =
                RecordPlace { region: request.region.clone(), bucket: bucket.clone(), key: record_beside(key) };
            let home = image_of_key(key).map(|image_id| aws.record_place(&image_id)).transpose()?;
            std::iter::once(beside).chain(home).collect()
        }
    };
    for place in places {
        if let Some(record) = aws.record(&place).await? {
            return Ok((Some(record), Some(place)));
        }
    }
    match &request.wanted {
        Wanted::Image(image_id) => Err(StepError::input(
            "imageId",
            format!("there is no record of {image_id}; give `bucket` and `key` if its object is elsewhere"),
        )),
        Wanted::Object(..) => Ok((None, None)),
    }
}

fn object_place(request: &RestoreRequest, record: Option<&Record>) -> Result<(BucketName, String), StepError> {
    match &request.wanted {
        Wanted::Object(bucket, key) => Ok((bucket.clone(), key.clone())),
        Wanted::Image(image_id) => {
            let stored = record.and_then(|record| record.stored_object(&request.region));
            stored.and_then(|backup| Some((backup.bucket.clone()?, backup.id.clone()))).ok_or_else(|| {
                let reason = format!(
                    "the record of {image_id} knows no object in {}; give `bucket` and `key`, or `fromSnapshots`",
                    request.region
                );
                StepError::input("imageId", reason)
            })
        }
    }
}

async fn check_bucket(aws: &Aws, region: &Region, bucket: &BucketName) -> Result<(), StepError> {
    let found = aws.bucket_region(bucket).await.map_err(|f| f.into_step_error(format!("look for bucket {bucket}")))?;
    match found {
        Some(found) if found == *region => Ok(()),
        Some(found) => Err(StepError::input(
            "bucket",
            format!("{bucket} is in {found}; EC2 restores where the object is, so give \"region\": \"{found}\""),
        )),
        None => Err(StepError::input("bucket", format!("there is no bucket {bucket}"))),
    }
}

async fn check_object(aws: &Aws, region: &Region, bucket: &BucketName, key: &str) -> Result<(), StepError> {
    check_bucket(aws, region, bucket).await?;
    let object = aws
        .object(region, bucket, key)
        .await
        .map_err(|f| f.into_step_error(format!("look for s3://{bucket}/{key}")))?;
    match object {
        None => Err(StepError::input("key", format!("there is no object s3://{bucket}/{key}"))),
        Some(object) if object.is_archived() => Err(StepError::input(
            "key",
            format!(
                "s3://{bucket}/{key} is archived ({}); restore the object in S3 first, for longer than the image takes",
                object.storage_class.unwrap_or_default()
            ),
        )),
        Some(object) if object.size_bytes == 0 => Err(StepError::input("key", format!("s3://{bucket}/{key} is empty"))),
        Some(_) => Ok(()),
    }
}

async fn check_snapshots(aws: &Aws, record: Option<&Record>) -> Result<(), StepError> {
    let Some(record) = record else {
        return Err(StepError::input("imageId", "there is no record to tell which snapshots they were"));
    };
    let ids = record.survey.image.snapshot_ids();
    let found = aws.snapshots(aws.home(), &ids).await.map_err(|f| f.into_step_error("look at the snapshots"))?;
    for id in &ids {
        match found.iter().find(|snapshot| &snapshot.snapshot_id == id) {
            None => return Err(StepError::input("fromSnapshots", format!("snapshot {id} is gone"))),
            Some(snapshot) if snapshot.state != "completed" => {
                let reason = format!("snapshot {id} is `{}` and must be completed", snapshot.state);
                return Err(StepError::input("fromSnapshots", reason));
            }
            Some(_) => {}
        }
    }
    Ok(())
}

/// A name that somebody else's image has would be refused by EC2, after everything else went well.
async fn check_name(aws: &Aws, request: &RestoreRequest) -> Result<(), StepError> {
    let Some(name) = &request.name else {
        return Ok(());
    };
    let taken =
        aws.images_named(&request.region, name).await.map_err(|f| f.into_step_error("look for images by name"))?;
    let foreign = taken.iter().find(|image| {
        image.tags.get(ami_backup_core::naming::TAG_RUN) != Some(&request.run) && !image.state.is_terminal()
    });
    match foreign {
        Some(image) => Err(StepError::input("name", format!("`{name}` is the name of {}", image.image_id))),
        None => Ok(()),
    }
}
