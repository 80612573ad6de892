//! Owns reading what a clean-up left in the bucket: the lines of a plan that go, how they ended, and the like.

use ami_backup_core::{
    ErrorName, StepError,
    cleanup::{
        apply::ItemOutcome,
        batch::Outcomes,
        binding::Going,
        run::{UndoMark, going_key, outcomes_prefix, undo_key},
    },
    id::Region,
    input::document,
};
use serde::de::DeserializeOwned;

use crate::Aws;

impl Aws {
    /// A JSON document of the backup bucket, or `None` if it is not there.
    ///
    /// # Errors
    /// What S3 refused, or `Conflict` if it is not what it should be.
    pub async fn read_json<T: DeserializeOwned>(&self, key: &str) -> Result<Option<T>, StepError> {
        let bucket = self.settings().backup_bucket()?;
        let name = format!("s3://{bucket}/{key}");
        let text = self.read_text(self.home(), bucket, key).await;
        let text = text.map_err(|failure| failure.into_step_error(format!("read {name}")))?;
        text.map(|text| document(&text, &name)).transpose()
    }

    /// The lines of a plan that go, as `read` takes them from a place and its text.
    ///
    /// # Errors
    /// What S3 refused, or `Conflict` if they are not there, or are not what was read.
    pub async fn plan_going(
        &self,
        prefix: &str,
        read: impl FnOnce(&str, &str) -> Result<Going, StepError>,
    ) -> Result<Going, StepError> {
        let bucket = self.settings().backup_bucket()?;
        let key = going_key(prefix);
        let place = format!("s3://{bucket}/{key}");
        let text = self.read_text(self.home(), bucket, &key).await;
        let text = text.map_err(|failure| failure.into_step_error(format!("read {place}")))?;
        let gone = || StepError::new(ErrorName::Conflict, format!("read {place}"), "it is not there");
        read(&place, &text.ok_or_else(gone)?)
    }

    /// Since when what a run removed in a Region is being brought back, if it is.
    ///
    /// # Errors
    /// What S3 refused, or `Conflict` if the mark cannot be read.
    pub async fn undo_mark(&self, run: &str, region: &Region) -> Result<Option<UndoMark>, StepError> {
        self.read_json(&undo_key(run, region)).await
    }

    /// How the items of a plan ended so far, in any start of the run.
    ///
    /// # Errors
    /// What S3 refused, or `Conflict` if a file cannot be read, or is of another plan than that of the `digest`: what it
    /// says went must not be tried as if it had not.
    pub async fn plan_outcomes(&self, plan: &str, digest: &str) -> Result<Outcomes, StepError> {
        let bucket = self.settings().backup_bucket()?;
        let prefix = outcomes_prefix(plan);
        let name = format!("s3://{bucket}/{prefix}");
        let keys = self.keys(bucket, &prefix).await.map_err(|f| f.into_step_error(format!("list {name}")))?;
        let texts = self.read_texts(bucket, &keys).await.map_err(|f| f.into_step_error(format!("read {name}")))?;
        let mut outcomes = Outcomes::new();
        for line in texts.iter().flat_map(|text| text.lines()) {
            let outcome: ItemOutcome = document(line, &name)?;
            if let Some(other) = outcome.plan.as_ref().filter(|other| *other != digest) {
                let reason = format!("the plan has the digest {digest}, and an outcome is of the plan {other}");
                return Err(StepError::new(ErrorName::Conflict, format!("read {name}"), reason));
            }
            outcomes.insert(outcome.id.clone(), outcome);
        }
        Ok(outcomes)
    }
}
