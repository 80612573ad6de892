//! Owns the log: where lines go and which of them.

use std::io;

use lambda_runtime::tracing::subscriber::{
    EnvFilter,
    filter::{Directive, LevelFilter},
    fmt,
};

use crate::settings::variable;

/// Its only line at the default level repeats the error that [`crate::answer()`] has logged already,
/// as a debug dump.
const REPEATS_ERRORS: &str = "lambda_runtime::layers::panic=off";

/// Starts logging as Lambda's advanced logging controls ask for: `AWS_LAMBDA_LOG_LEVEL` (else
/// `RUST_LOG`, else info) and `AWS_LAMBDA_LOG_FORMAT` (JSON, else text).
pub(crate) fn init() {
    let level = variable("AWS_LAMBDA_LOG_LEVEL").or_else(|| variable("RUST_LOG"));
    let level = level.and_then(|level| level.parse().ok()).unwrap_or(LevelFilter::INFO);
    let mut filter = EnvFilter::builder().with_default_directive(level.into()).from_env_lossy();
    if let Ok(quiet) = REPEATS_ERRORS.parse::<Directive>() {
        filter = filter.add_directive(quiet);
    }
    // Without times: Lambda puts its own on every line.
    let lines = fmt().with_env_filter(filter).with_target(false).without_time().with_writer(io::stdout);
    let json = variable("AWS_LAMBDA_LOG_FORMAT").is_some_and(|format| format.eq_ignore_ascii_case("json"));
    // A second initialisation in one process is refused, and the first one stays: nothing is lost.
    let _already = if json { lines.json().try_init() } else { lines.try_init() };
}
