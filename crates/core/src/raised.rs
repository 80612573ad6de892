//! Owns which errors each function can end with. A contract test holds every state machine against this table, and the
//! tests of the functions hold every function against it.

use crate::error::ErrorName;

/// What every function can end with: it reads an input, and asks AWS.
const EVERY: [ErrorName; 7] = [
    ErrorName::Throttled,
    ErrorName::Transient,
    ErrorName::QuotaExceeded,
    ErrorName::Conflict,
    ErrorName::AccessDenied,
    ErrorName::InvalidInput,
    ErrorName::Defect,
];

/// What it can end with besides, by the function's name.
const BESIDES: &[(&str, &[ErrorName])] = {
    use ErrorName::{DeadlineExceeded, NotYetVisible, ResourceFailed};
    &[
        ("ask-approval", &[DeadlineExceeded]),
        ("check-export", &[NotYetVisible, ResourceFailed, DeadlineExceeded]),
        ("check-image", &[NotYetVisible, ResourceFailed, DeadlineExceeded]),
        ("check-store", &[NotYetVisible, ResourceFailed, DeadlineExceeded]),
        ("cleanup-snapshots", &[DeadlineExceeded]),
        ("copy-region", &[NotYetVisible, DeadlineExceeded]),
        ("create-image", &[NotYetVisible, DeadlineExceeded]),
        ("find-backup", &[]),
        ("finish-copy", &[NotYetVisible, ResourceFailed]),
        ("finish-restore", &[NotYetVisible, ResourceFailed]),
        ("notify-operator", &[]),
        ("plan-cleanup", &[DeadlineExceeded]),
        ("record-backup", &[NotYetVisible]),
        ("register-image", &[NotYetVisible, DeadlineExceeded]),
        ("report-backup", &[]),
        ("report-cleanup", &[]),
        ("select-images", &[]),
        ("select-regions", &[]),
        ("start-export", &[NotYetVisible, DeadlineExceeded]),
        ("start-restore", &[NotYetVisible, DeadlineExceeded]),
        ("start-store", &[NotYetVisible, ResourceFailed, DeadlineExceeded]),
        ("undo-cleanup", &[DeadlineExceeded]),
    ]
};

/// The functions that the table knows.
pub fn functions() -> impl Iterator<Item = &'static str> {
    BESIDES.iter().map(|(name, _)| *name)
}

/// The names of the errors that `function` can end with; `None` if the table does not know it.
pub fn raised_by(function: &str) -> Option<Vec<ErrorName>> {
    let (_, besides) = BESIDES.iter().find(|(name, _)| *name == function)?;
    Some(EVERY.iter().chain(*besides).copied().collect())
}
