//! Lambda entry point of `plan-cleanup`.

// The future of an SDK call in a call in a call is deep.
#![recursion_limit = "256"]

use ami_backup_aws::Aws;
use ami_backup_runtime::{Error, serve, settings};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    serve(async { Aws::load("plan-cleanup", settings()?).await }, plan_cleanup::handle).await
}
