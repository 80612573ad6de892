//! Lambda entry point of `record-backup`.

use ami_backup_aws::Aws;
use ami_backup_runtime::{Error, serve, settings};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    serve(async { Aws::load("record-backup", settings()?).await }, record_backup::handle).await
}
