//! Owns where records are read and written.

use ami_backup_core::{StepError, id::ImageId, naming::record_key, record::Record, restore::RecordPlace, text::shown};

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
    /// What S3 refused, or `Conflict` if what is there is no record that this version reads, or one of another image than
    /// its key names, or one that another account wrote.
    pub async fn record(&self, place: &RecordPlace) -> Result<Option<Record>, StepError> {
        let Some(record) = self.record_by_anybody(place).await? else { return Ok(None) };
        if record.account_id.is_some() {
            let account = self.account().await.map_err(|f| f.into_step_error("find out the own account"))?;
            record.check_account(&account, &name(place))?;
        }
        Ok(Some(record))
    }

    /// The same, whichever account wrote it: for a record that the input says to believe.
    ///
    /// # Errors
    /// As for a record of this account.
    pub async fn record_by_anybody(&self, place: &RecordPlace) -> Result<Option<Record>, StepError> {
        let name = name(place);
        let read = self.read_text(&place.region, &place.bucket, &place.key).await;
        let Some(text) = read.map_err(|f| f.into_step_error(format!("read {name}")))? else { return Ok(None) };
        let record = Record::from_text(&text, &name)?;
        record.check_key(&place.key, &name)?;
        Ok(Some(record))
    }
}

fn name(place: &RecordPlace) -> String {
    format!("s3://{}/{}", place.bucket, shown(&place.key))
}
