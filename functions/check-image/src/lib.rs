//! Owns one look at an image that is being made: created, copied, restored or registered, in any
//! Region.

use ami_backup_aws::Aws;
use ami_backup_core::{
    ErrorName, SignedDuration, StepError, Timestamp,
    image::{ImageFacts, ImageState, snapshot_progress},
    input,
    item::Awaited,
    turn::{LEAST_BUDGET, Look, Turn},
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// EC2 may not know a new id for up to about five minutes; twice that, and it is gone.
const SETTLING: SignedDuration = SignedDuration::from_mins(10);

/// Anything that waits for an image. What else it carries goes through untouched.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Map<String, Value>")]
pub struct Waiting {
    /// The image.
    pub awaited: Awaited,
    /// The rest of the subject.
    #[serde(flatten)]
    pub rest: Map<String, Value>,
}

impl TryFrom<Map<String, Value>> for Waiting {
    type Error = String;

    fn try_from(mut rest: Map<String, Value>) -> Result<Self, String> {
        let awaited = rest.remove("awaited").ok_or("the field `awaited` is missing")?;
        input::parse(awaited)
            .map(|awaited| Self { awaited, rest })
            .map_err(|error| format!("awaited: {}", error.reason))
    }
}

/// Looks once.
///
/// # Errors
/// `ResourceFailed` with EC2's reason if the image will never be available.
pub async fn handle(aws: &Aws, now: Timestamp, turn: Turn<Waiting>) -> Result<Turn<Waiting>, StepError> {
    let turn = turn.begun(now, LEAST_BUDGET);
    let Awaited { image_id, region } = turn.subject.awaited.clone();
    let doing = format!("wait for {image_id}");
    let look = Look::new(aws.settings(), &doing, &region, now);
    let image = aws.image(&region, &image_id).await.map_err(|f| f.into_step_error(format!("look at {image_id}")))?;
    let Some(image) = image else {
        let (name, reason) = if turn.age(now) < SETTLING {
            (ErrorName::NotYetVisible, "EC2 does not show it yet")
        } else {
            (ErrorName::ResourceFailed, "EC2 no longer shows it: it was deregistered, or the Region is another")
        };
        return Err(StepError::new(name, doing, reason).in_region(&region));
    };
    let failed = |reason: String| {
        let left = format!("{image_id}, {}", image.state.as_str());
        Err(StepError::new(ErrorName::ResourceFailed, &doing, reason).in_region(&region).leaving(left))
    };
    match &image.state {
        ImageState::Available => Ok(turn.done("available")),
        ImageState::Terminal(state) => {
            failed(format!("it is `{state}`: {}", image.state_reason.as_deref().unwrap_or("EC2 gives no reason")))
        }
        ImageState::Disabled => failed("somebody disabled it".into()),
        ImageState::Pending | ImageState::Other(_) => {
            let percent = progress(aws, &image).await?;
            turn.in_progress(image.state.as_str(), percent, &look)
        }
    }
}

/// The progress of the snapshots, once EC2 tells which they are.
async fn progress(aws: &Aws, image: &ImageFacts) -> Result<Option<u8>, StepError> {
    let ids = image.snapshot_ids();
    if ids.is_empty() {
        return Ok(None);
    }
    let snapshots = aws
        .snapshots(&image.region, &ids)
        .await
        .map_err(|f| f.into_step_error(format!("look at the snapshots of {}", image.image_id)))?;
    Ok(snapshot_progress(&snapshots))
}
