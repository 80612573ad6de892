//! Owns finding what earlier runs were to remove and did not get to, by the papers that they wrote just before.

use std::collections::{BTreeMap, BTreeSet};

use ami_backup_aws::Aws;
use ami_backup_core::{
    ErrorName, StepError, Timestamp,
    cleanup::{
        account::Account,
        batch::Outcomes,
        intent::{Intent, IntentKey, LeftOver, OpenIntents, intents_prefix, is_left_over, still_open},
        run::{Known, RegionWork},
    },
    id::{ImageId, SnapshotId},
};

/// Papers whose texts are held at once.
const PAPERS: usize = 500;

/// Notes in the account what is left of earlier runs. Returns the papers that the next plan has to look at.
///
/// Papers whose plan can still be applied are all looked at, older ones only while something is left by them. Only a paper
/// whose image is gone can leave anything, and the outcomes of its plan are read only where a snapshot of it is there.
///
/// # Errors
/// What S3 refused, or `Conflict` if what is there cannot be read.
pub(crate) async fn read(
    aws: &Aws,
    work: &RegionWork,
    account: &mut Account,
    known: &Known,
    now: Timestamp,
) -> Result<OpenIntents, StepError> {
    let keys = keys(aws, work, known).await?;
    let mut intended: BTreeMap<&str, BTreeSet<ImageId>> = BTreeMap::new();
    for key in keys.values() {
        intended.entry(&key.plan).or_default().insert(key.image_id.clone());
    }
    let registered: BTreeSet<&ImageId> = account.images.iter().map(|image| &image.image_id).collect();
    let there: BTreeSet<&SnapshotId> = account.snapshots.iter().map(|snapshot| &snapshot.snapshot_id).collect();
    let gone: Vec<String> =
        keys.iter().filter(|(_, key)| !registered.contains(&key.image_id)).map(|(key, _)| key.clone()).collect();
    let mut fates = BTreeMap::new();
    let mut left_over = BTreeMap::new();
    for some in gone.chunks(PAPERS) {
        for (key, intent) in papers(aws, some).await? {
            let Some(IntentKey { plan, made_at, .. }) = keys.get(&key) else { continue };
            let intended = intended.get(plan.as_str()).cloned().unwrap_or_default();
            for snapshot in intent.snapshots.iter().filter(|snapshot| there.contains(&snapshot.snapshot_id)) {
                let outcomes = fate(aws, work, &intent, &mut fates).await?;
                let left = |outcomes: &Outcomes| {
                    is_left_over(snapshot, outcomes, &intended, |image| registered.contains(image))
                };
                if outcomes.as_ref().is_some_and(left) {
                    let (images, since, intent) = (snapshot.images.clone(), *made_at, key.clone());
                    left_over.insert(snapshot.snapshot_id.clone(), LeftOver { images, since, intent });
                }
            }
        }
    }
    account.left_over = left_over;
    Ok(still_open(&work.region, account.left_over.values().map(|left| left.intent.clone()).collect(), now))
}

/// The keys of the papers to look at.
async fn keys(aws: &Aws, work: &RegionWork, known: &Known) -> Result<BTreeMap<String, IntentKey>, StepError> {
    let bucket = aws.settings().backup_bucket()?;
    let prefix = intents_prefix(&work.region);
    let doing = format!("list s3://{bucket}/{prefix}");
    let listed = aws.keys_after(bucket, &prefix, known.intents.until.as_deref()).await;
    let listed = listed.map_err(|failure| failure.into_step_error(doing))?;
    let all = known.intents.open.iter().cloned().chain(listed);
    Ok(all.filter_map(|key| Some((key.clone(), IntentKey::of(&work.region, &key)?))).collect())
}

/// The papers of these keys that are there.
async fn papers(aws: &Aws, keys: &[String]) -> Result<Vec<(String, Intent)>, StepError> {
    let bucket = aws.settings().backup_bucket()?;
    let texts = aws.read_texts_by_key(bucket, keys).await;
    let texts = texts.map_err(|failure| failure.into_step_error("read what earlier runs were about to remove"))?;
    let parsed = |(key, text): (String, String)| {
        let unreadable = |error: serde_json::Error| {
            StepError::new(ErrorName::Conflict, format!("read s3://{bucket}/{key}"), error.to_string())
        };
        Ok((key.clone(), serde_json::from_str(&text).map_err(unreadable)?))
    };
    texts.into_iter().map(parsed).collect()
}

/// How the items of the plan of a paper ended; `None` if it was undone.
async fn fate<'a>(
    aws: &Aws,
    work: &RegionWork,
    intent: &Intent,
    fates: &'a mut BTreeMap<String, Option<Outcomes>>,
) -> Result<&'a Option<Outcomes>, StepError> {
    if !fates.contains_key(&intent.plan) {
        let undone = aws.undo_mark(&intent.run, &work.region).await?.is_some();
        let outcomes = match undone {
            true => None,
            false => Some(aws.plan_outcomes(&intent.plan, &intent.binding.digest).await?),
        };
        fates.insert(intent.plan.clone(), outcomes);
    }
    Ok(fates.entry(intent.plan.clone()).or_default())
}
