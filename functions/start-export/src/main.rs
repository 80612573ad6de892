//! Lambda entry point of `start-export`.

use ami_backup_aws::Aws;
use ami_backup_runtime::{Error, serve, settings};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    serve(async { Aws::load("start-export", settings()?).await }, start_export::handle).await
}
