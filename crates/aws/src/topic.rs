//! Owns telling people.

use ami_backup_core::failure::AwsFailure;

use crate::{Aws, failure::Call};

impl Aws {
    /// Publishes a message. SNS takes a subject of up to 100 printable ASCII characters and a message
    /// of up to 256 KiB.
    ///
    /// # Errors
    /// What SNS refused. After a lost reply the message may have been sent, and may be sent again.
    pub async fn publish(&self, topic_arn: &str, subject: &str, message: &str) -> Result<(), AwsFailure> {
        let call = Call::new("sns:Publish", self.home());
        let request = self.sns().publish().topic_arn(topic_arn).subject(subject).message(message);
        request.send().await.map(|_| ()).map_err(|error| call.failed(error))
    }
}
