//! Lambda entry point of `report-backup`.

use ami_backup_aws::Aws;
use ami_backup_runtime::{Error, serve, settings};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    serve(async { Aws::load("report-backup", settings()?).await }, report_backup::handle).await
}
