//! Lambda entry point of `copy-region`.

use ami_backup_aws::Aws;
use ami_backup_runtime::{Error, serve, settings};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    serve(async { Aws::load("copy-region", settings()?).await }, copy_region::handle).await
}
