//! Owns the environment: the only module that reads it.

use ami_backup_core::{StepError, settings::Settings};

/// What the deployment decided, from the environment variables that the template sets.
///
/// # Errors
/// `Defect`, with the name of the variable, if one does not parse.
pub fn settings() -> Result<Settings, StepError> {
    Settings::read(variable)
}

/// The value of a variable, if it is set and is text.
pub(crate) fn variable(name: &str) -> Option<String> {
    #[expect(clippy::disallowed_methods, reason = "the one place that reads the environment")]
    std::env::var(name).ok()
}
