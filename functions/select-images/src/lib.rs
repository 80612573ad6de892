//! Owns the first step of a run: it checks the policy, finds the instances and images that it is
//! about, and writes the list of items that the map reads.

use std::collections::{BTreeMap, BTreeSet};

use ami_backup_aws::Aws;
use ami_backup_core::{
    ErrorName, StepError, Timestamp,
    id::{BucketName, Region},
    input::document,
    item::Source,
    naming::{attempt_prefix, items_key, run_key},
    policy::{RunRequest, run_request},
    selection::{Found, ObjectPlace, Selection, StartedRun, expires},
    tags::is_managed,
};
use serde::Deserialize;
use serde_json::Value;

/// What the machine hands over.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Input {
    /// The execution's input: the policy.
    pub input: Value,
    /// The execution's name, the run's identity of last resort.
    #[serde(default)]
    pub execution_name: Option<String>,
    /// The keys with which the deployment has copies encrypted, by Region. They stand in the state machine's definition:
    /// the environment holds 4 KB, and an execution goes on with the keys that it began with.
    #[serde(default)]
    pub kms_keys: BTreeMap<Region, String>,
}

/// Selects the sources of a run.
///
/// # Errors
/// `InvalidInput` with the path of the field; `Conflict` if the run was started with other input.
pub async fn handle(aws: &Aws, now: Timestamp, input: Input) -> Result<Selection, StepError> {
    let name = input.execution_name.as_deref();
    let request = run_request(input.input, name, aws.settings(), &input.kms_keys, aws.home())?;
    expires(request.policy.keep_days, now)?;
    check_regions(aws, &request).await?;
    check_bucket(aws, &request).await?;
    let bucket = aws.settings().backup_bucket()?;
    let Some(started) = started_run(aws, bucket, request.clone(), now).await? else {
        return Ok(Selection {
            status: Found::Nothing,
            run: request.run,
            started_at: now,
            region: aws.home().clone(),
            count: 0,
            items: None,
            policy: request.policy,
        });
    };
    let items = started.items(now, aws.home());
    let key = items_key(&attempt_prefix(&request.run, now));
    aws.write_text(bucket, &key, to_json(&items)?).await.map_err(|f| f.into_step_error("write the list of items"))?;
    Ok(Selection {
        status: Found::Found,
        run: request.run,
        started_at: now,
        region: aws.home().clone(),
        count: u32::try_from(items.len()).unwrap_or(u32::MAX),
        items: Some(ObjectPlace { bucket: bucket.clone(), key }),
        policy: request.policy,
    })
}

/// What the first start of this run wrote down, or what this start has just written; `None` if
/// nothing is selected.
async fn started_run(
    aws: &Aws,
    bucket: &BucketName,
    request: RunRequest,
    now: Timestamp,
) -> Result<Option<StartedRun>, StepError> {
    let key = run_key(&request.run);
    if let Some(started) = read_run(aws, bucket, &key, now).await? {
        return started.resumed_by(&request).map(Some);
    }
    let sources = sources(aws, &request).await?;
    if sources.is_empty() {
        return Ok(None);
    }
    let run = StartedRun::new(request.clone(), sources, now)?;
    let first = aws
        .write_text_once(bucket, &key, to_json(&run)?)
        .await
        .map_err(|f| f.into_step_error(format!("write down run {}", request.run)))?;
    if first {
        return Ok(Some(run));
    }
    // Another start of the same run was faster: its selection is the run's.
    match read_run(aws, bucket, &key, now).await? {
        Some(started) => started.resumed_by(&request).map(Some),
        None => Err(StepError::new(ErrorName::Transient, format!("read run {}", request.run), "it is there and gone")),
    }
}

async fn read_run(aws: &Aws, bucket: &BucketName, key: &str, now: Timestamp) -> Result<Option<StartedRun>, StepError> {
    let place = format!("s3://{bucket}/{key}");
    let text = aws.read_text(aws.home(), bucket, key).await.map_err(|f| f.into_step_error(format!("read {place}")))?;
    text.map(|text| document::<StartedRun>(&text, &place)?.checked(now, &place)).transpose()
}

/// A Region that does not exist is a typing error. One that is not enabled stops a person's run at
/// once; in a scheduled run it costs its own copies, and the others are made.
async fn check_regions(aws: &Aws, request: &RunRequest) -> Result<(), StepError> {
    if request.policy.copies.is_empty() {
        return Ok(());
    }
    let regions = aws.regions().await.map_err(|f| f.into_step_error("list the Regions"))?;
    for (index, copy) in request.policy.copies.iter().enumerate() {
        let path = format!("copyTo[{index}]");
        match regions.iter().find(|region| region.name == copy.region) {
            None => return Err(StepError::input(&path, format!("there is no Region {}", copy.region))),
            Some(region) if !region.enabled && !request.scheduled => {
                return Err(StepError::input(&path, format!("{} is not enabled for this account", copy.region)));
            }
            Some(_) => {}
        }
    }
    Ok(())
}

/// EC2 stores images only into a bucket of the same Region.
async fn check_bucket(aws: &Aws, request: &RunRequest) -> Result<(), StepError> {
    let Some(store) = &request.policy.store else {
        return Ok(());
    };
    let bucket = &store.bucket;
    let found = aws.bucket_region(bucket).await.map_err(|f| f.into_step_error(format!("look for bucket {bucket}")))?;
    match found {
        Some(region) if region == *aws.home() => Ok(()),
        Some(region) => Err(StepError::input(
            "bucket",
            format!("{bucket} is in {region}, and images of {home} are stored in {home}", home = aws.home()),
        )),
        None => Err(StepError::input("bucket", format!("there is no bucket {bucket}"))),
    }
}

async fn sources(aws: &Aws, request: &RunRequest) -> Result<Vec<Source>, StepError> {
    let selector = &request.selector;
    let mut instances = selector.instance_ids.clone();
    let mut images = selector.image_ids.clone();
    if !selector.tags.is_empty() {
        let tagged =
            aws.instances_tagged(&selector.tags).await.map_err(|f| f.into_step_error("list instances by tag"))?;
        instances.extend(tagged.into_iter().map(|instance| instance.instance_id));
    }
    // With nothing to do but to make images of instances, there is nothing to do with an image.
    if !selector.tags.is_empty() && request.policy.has_legs() {
        let tagged = aws.images_tagged(&selector.tags).await.map_err(|f| f.into_step_error("list images by tag"))?;
        let foreign = tagged.into_iter().filter(|image| !is_managed(&image.tags));
        images.extend(foreign.map(|image| image.image_id).collect::<BTreeSet<_>>());
    }
    let instances = instances.into_iter().map(|id| Source { instance_id: Some(id), image_id: None });
    let images = images.into_iter().map(|id| Source { instance_id: None, image_id: Some(id) });
    Ok(instances.chain(images).collect())
}

fn to_json(value: &impl serde::Serialize) -> Result<String, StepError> {
    serde_json::to_string(value).map_err(|error| StepError::new(ErrorName::Defect, "write JSON", error.to_string()))
}
