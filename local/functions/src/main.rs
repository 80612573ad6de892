//! All functions in one program, for local use: `functions start-store` is what `start-store` is in its own program. One
//! program is linked in the time of one.

use std::{env, process::ExitCode};

use ami_backup_functions::{ALL, named};
use ami_backup_runtime::Error;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<ExitCode, Error> {
    let Some(function) = env::args().nth(1).as_deref().and_then(named) else {
        let names: Vec<&str> = ALL.iter().map(|function| function.name).collect();
        eprintln!("name the function to run: {}", names.join(", "));
        return Ok(ExitCode::from(2));
    };
    (function.serve)().await?;
    Ok(ExitCode::SUCCESS)
}
