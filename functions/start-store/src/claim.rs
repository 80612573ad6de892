//! Owns the claim on storing an image: the one thing between a look that found nothing and a call that
//! has no token.

use ami_backup_aws::Aws;
use ami_backup_core::{
    ErrorName, StepError, Timestamp,
    id::BucketName,
    input::{document, unreadable},
    naming::{store_claim_key, store_claims_prefix, store_claims_prefix_of_before},
    store::{StoreClaim, StoreSubject, next_claim},
};

/// A claim that is ours.
#[derive(Debug)]
pub(crate) struct Claim {
    key: String,
    claim: StoreClaim,
}

/// Claims the storing of an image.
///
/// # Errors
/// `NotYetVisible` while somebody else has the claim: what they make will show.
pub(crate) async fn claim(aws: &Aws, now: Timestamp, subject: &StoreSubject, doing: &str) -> Result<Claim, StepError> {
    let bucket = aws.settings().backup_bucket()?;
    let taken = || {
        let reason = "another start is asking for the same just now";
        StepError::new(ErrorName::NotYetVisible, doing, reason).in_region(aws.home())
    };
    let next = async |prefix: &str| {
        let last = last_claim(aws, bucket, prefix).await?;
        next_claim(last.as_ref().map(|(number, claim)| (*number, claim)), now).ok_or_else(taken)
    };
    next(&store_claims_prefix_of_before(&subject.bucket, &subject.image_id)).await?;
    let prefix = store_claims_prefix(&subject.bucket, &subject.image_id);
    let number = next(&prefix).await?;
    let claim = StoreClaim { run: subject.run.run.clone(), at: now, released: false };
    let key = store_claim_key(&prefix, number);
    let first = aws.write_text_once(bucket, &key, text(&claim)?).await.map_err(|f| f.into_step_error(doing))?;
    if first { Ok(Claim { key, claim }) } else { Err(taken()) }
}

/// Gives a claim back, because EC2 has refused. If that does not work, it is over after a while anyway.
pub(crate) async fn release(aws: &Aws, claim: Claim) {
    let Claim { key, claim } = claim;
    let released = StoreClaim { released: true, ..claim };
    if let (Ok(bucket), Ok(text)) = (aws.settings().backup_bucket(), text(&released)) {
        let _over_soon = aws.write_text(bucket, &key, text).await;
    }
}

async fn last_claim(aws: &Aws, bucket: &BucketName, prefix: &str) -> Result<Option<(u32, StoreClaim)>, StepError> {
    let keys = aws.keys(bucket, prefix).await.map_err(|f| f.into_step_error(format!("list s3://{bucket}/{prefix}")))?;
    let Some(key) = keys.last() else { return Ok(None) };
    let name = format!("s3://{bucket}/{key}");
    let read = aws.read_text(aws.home(), bucket, key).await.map_err(|f| f.into_step_error(format!("read {name}")))?;
    let number = key.strip_prefix(prefix).and_then(|rest| rest.strip_suffix(".json")).and_then(|n| n.parse().ok());
    let broken = || unreadable(&name, "it is no claim on storing an image").in_region(aws.home());
    let claim: Option<StoreClaim> = read.map(|text| document(&text, &name)).transpose()?;
    number.zip(claim).map(Some).ok_or_else(broken)
}

fn text(claim: &StoreClaim) -> Result<String, StepError> {
    serde_json::to_string(claim).map_err(|error| StepError::new(ErrorName::Defect, "write a claim", error.to_string()))
}
