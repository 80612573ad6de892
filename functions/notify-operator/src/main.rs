//! Lambda entry point of `notify-operator`.

use ami_backup_aws::Aws;
use ami_backup_runtime::{Error, serve, settings};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    serve(async { Aws::load("notify-operator", settings()?).await }, notify_operator::handle).await
}
