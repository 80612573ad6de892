//! Owns where records are read and written.

use ami_backup_core::{StepError, id::ImageId, naming::record_key, record::Record, restore::RecordPlace};

use crate::Aws;

impl Aws {
    /// Where this deployment keeps the record of an image.
    ///
    /// # Errors
    /// `Defect` if the deployment names no backup bucket.
    pub fn record_place(&self, image_id: &ImageId) -> Result<RecordPlace, StepError> {
        let bucket = self.settings().backup_bucket()?.clone();
        Ok(RecordPlace { region: self.home().clone(), bucket, key: record_key(image_id) })
    }

    /// The record at a place, or `None` if there is none.
    ///
    /// # Errors
    /// What S3 refused, or `Conflict` if what is there is no record that this version reads.
    pub async fn record(&self, place: &RecordPlace) -> Result<Option<Record>, StepError> {
        let name = format!("s3://{}/{}", place.bucket, place.key);
        let text = self
            .read_text(&place.region, &place.bucket, &place.key)
            .await
            .map_err(|f| f.into_step_error(format!("read {name}")))?;
        text.map(|text| Record::from_text(&text, &name)).transpose()
    }
}
