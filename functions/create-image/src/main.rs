//! Lambda entry point of `create-image`.

use ami_backup_aws::Aws;
use ami_backup_runtime::{Error, serve, settings};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    serve(async { Aws::load("create-image", settings()?).await }, create_image::handle).await
}
