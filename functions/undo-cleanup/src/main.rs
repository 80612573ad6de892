//! Lambda entry point of `undo-cleanup`.

// The future of an SDK call in a call in a call is deep.
#![recursion_limit = "256"]

use ami_backup_aws::Aws;
use ami_backup_runtime::{Error, serve, settings};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    serve(async { Aws::load("undo-cleanup", settings()?).await }, undo_cleanup::handle).await
}
