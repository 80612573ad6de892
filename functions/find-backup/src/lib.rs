//! Owns the first step of a restore: it checks what is asked for and finds the backup, so that
//! nothing is begun that cannot end well.

use ami_backup_aws::Aws;
use ami_backup_core::{
    StepError, Timestamp,
    id::{BucketName, Region, SnapshotId, is_key},
    naming::record_beside,
    record::Record,
    restore::{
        Method, RecordPlace, RestoreRequest, RestoreSubject, Wanted, contradiction, image_of_key, restore_request,
        restore_run,
    },
    text::shown,
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
    let mut snapshots = Vec::new();
    let (bucket, key) = match request.method {
        Method::Object => {
            let (bucket, key) = object_place(&request, record.as_ref())?;
            check_object(aws, &request.region, &bucket, &key).await?;
            (Some(bucket), Some(key))
        }
        Method::Snapshots => {
            snapshots = check_snapshots(aws, &request, record.as_ref()).await?;
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
            trust_record: request.trust_record,
            snapshots,
            name: request.name,
            original_name: record.map(|record| record.survey.image.name),
            size_gib,
            deadline_minutes: request.deadline_minutes,
            awaited: None,
            adopted: false,
        }),
    })
}

/// The record: of an image, in the backup bucket; of an object too, else beside it, where others may write.
async fn find_record(aws: &Aws, request: &RestoreRequest) -> Result<(Option<Record>, Option<RecordPlace>), StepError> {
    let places = match &request.wanted {
        Wanted::Image(image_id) => vec![aws.record_place(image_id)?],
        Wanted::Object(bucket, key) => {
            check_bucket(aws, &request.region, bucket).await?;
            let own = image_of_key(key).map(|image_id| aws.record_place(&image_id)).transpose()?;
            let beside =
                RecordPlace { region: request.region.clone(), bucket: bucket.clone(), key: record_beside(key) };
            own.into_iter().chain(Some(beside).filter(|place| is_key(&place.key))).collect()
        }
    };
    for place in places {
        let record = if request.trust_record { aws.record_by_anybody(&place).await } else { aws.record(&place).await };
        if let Some(record) = record? {
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
        .map_err(|f| f.into_step_error(format!("look for s3://{bucket}/{}", shown(key))))?;
    let key = shown(key);
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

/// The snapshots of the record, all of which are there, and none of which contradicts it unless the input names it.
async fn check_snapshots(
    aws: &Aws,
    request: &RestoreRequest,
    record: Option<&Record>,
) -> Result<Vec<SnapshotId>, StepError> {
    let Some(record) = record else {
        return Err(StepError::input("imageId", "there is no record to tell which snapshots they were"));
    };
    let ids = record.survey.image.snapshot_ids();
    if let Some(index) = request.trust_snapshots.iter().position(|trusted| !ids.contains(trusted)) {
        let reason = "the record does not name it: only snapshots of the image can be trusted";
        return Err(StepError::input(&format!("trustSnapshots[{index}]"), reason));
    }
    let account = aws.account().await.map_err(|f| f.into_step_error("find out the own account"))?;
    let found = aws.snapshots(aws.home(), &ids).await.map_err(|f| f.into_step_error("look at the snapshots"))?;
    for id in &ids {
        let Some(snapshot) = found.iter().find(|snapshot| &snapshot.snapshot_id == id) else {
            return Err(StepError::input("fromSnapshots", format!("snapshot {id} is gone")));
        };
        if snapshot.state != "completed" {
            let reason = format!("snapshot {id} is `{}` and must be completed", snapshot.state);
            return Err(StepError::input("fromSnapshots", reason));
        }
        let contradicts = contradiction(record, snapshot, &account).filter(|_| !request.trust_snapshots.contains(id));
        if let Some(why) = contradicts {
            let reason = format!(
                "snapshot {id} is not as the record has it: {why}; \
                 if it is the right one all the same, add it to `trustSnapshots`"
            );
            return Err(StepError::input("fromSnapshots", reason));
        }
    }
    Ok(ids)
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
