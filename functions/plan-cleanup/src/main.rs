//! Lambda entry point of `plan-cleanup`.

// The future of an SDK call in a call in a call is deep.
#![recursion_limit = "256"]

use ami_backup_aws::Aws;
use ami_backup_runtime::{Error, serve, settings};

/// A plan holds and drops millions of small texts, on which the C library's allocator spends a fifth of the time.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    serve(async { Aws::load("plan-cleanup", settings()?).await }, plan_cleanup::handle).await
}
