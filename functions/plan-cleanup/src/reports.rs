//! Owns asking EC2 who else uses an image: a report is made for each image that would otherwise go, and takes a while.

use ami_backup_aws::{Aws, UsageReport};
use ami_backup_core::{
    SignedDuration, StepError, Timestamp,
    cleanup::{
        plan::{Checked, Checks},
        reason::Reason,
        run::RegionWork,
        usage::{Use, User},
    },
    failure::{AwsFailure, FailureClass},
    id::ImageId,
    naming::{Identity, Purpose, token},
};

/// The states of a report that is made, or will be.
const MADE: &str = "available";
const MAKING: &str = "pending";
/// A report that is younger than this is not asked for again: what it says is a day late anyway.
const FRESH: SignedDuration = SignedDuration::from_hours(24);
/// Images of one call.
const IMAGES: usize = 100;

/// What reports say of the use by accounts other than the `own` of the images that are free to go by all else, and how many
/// are being made. When it is `late`, nothing is waited for: what is not known keeps its image.
///
/// # Errors
/// `Throttled` and `Transient`.
pub(crate) async fn add(
    aws: &Aws,
    work: &RegionWork,
    own: &str,
    mut checks: Checks,
    now: Timestamp,
    late: bool,
) -> Result<(Checks, usize), StepError> {
    let free: Vec<ImageId> =
        checks.iter().filter(|(_, checked)| **checked == Checked::Free).map(|(image, _)| image.clone()).collect();
    let mut pending = 0;
    for some in free.chunks(IMAGES) {
        let reports = match aws.usage_reports(&work.region, some).await {
            Ok(reports) => reports,
            Err(failure) => {
                let why = told(failure)?;
                checks.extend(some.iter().map(|image| (image.clone(), Checked::Unknown(why.clone()))));
                continue;
            }
        };
        for image in some {
            match one(aws, work, own, image, &reports, now).await? {
                Answer::Known(checked) => drop(checks.insert(image.clone(), checked)),
                Answer::Pending if late => {
                    let why = "the report on its usage by other accounts was not ready in time";
                    checks.insert(image.clone(), Checked::Unknown(why.into()));
                }
                Answer::Pending => pending += 1,
            }
        }
    }
    Ok((checks, pending))
}

enum Answer {
    Known(Checked),
    Pending,
}

async fn one(
    aws: &Aws,
    work: &RegionWork,
    own: &str,
    image: &ImageId,
    reports: &[UsageReport],
    now: Timestamp,
) -> Result<Answer, StepError> {
    // What is neither made nor being made is asked for again by the next start of the run.
    let holds = |report: &UsageReport| [MADE, MAKING].contains(&report.state.as_str());
    let fresh = |report: &&UsageReport| {
        let since = |at: Timestamp| now.duration_since(at) < FRESH && (holds(report) || at >= work.started_at);
        report.image_id == *image && report.created_at.is_some_and(since)
    };
    let newest =
        reports.iter().filter(fresh).max_by_key(|report| (holds(report), report.created_at, &report.report_id));
    let unknown = |why: String| Ok(Answer::Known(Checked::Unknown(why)));
    match newest.map(|report| (report, report.state.as_str())) {
        Some((report, MADE)) => match aws.usage_report_accounts(&work.region, &report.report_id).await {
            Ok(accounts) => {
                // What the own account uses, its listings say, by the rules of the policy and without a day's lag.
                let others = accounts.into_iter().filter(|account| account != own);
                let held: Vec<_> = others.map(|id| Reason::InUse(Use { by: User::Account, id })).collect();
                Ok(Answer::Known(if held.is_empty() { Checked::Free } else { Checked::Held(held) }))
            }
            Err(failure) => unknown(told(failure)?),
        },
        Some((_, MAKING)) => Ok(Answer::Pending),
        Some((_, state)) => unknown(format!("the report on its usage by other accounts ended `{state}`")),
        None => match aws.create_usage_report(&work.region, image, &token_of(work, image)).await {
            Ok(()) => Ok(Answer::Pending),
            // Reports of so many images are being made already: by and by there will be room.
            Err(failure) if failure.class() == FailureClass::Quota => Ok(Answer::Pending),
            Err(failure) => unknown(told(failure)?),
        },
    }
}

fn token_of(work: &RegionWork, image: &ImageId) -> String {
    let start = work.started_at.to_string();
    let identity = Identity {
        purpose: Purpose::UsageReport,
        run: &work.run,
        source: image.as_str(),
        region: &work.region,
        parameters: &start,
    };
    token(&identity, 0)
}

/// Why it cannot be told, or an error if that passes.
fn told(failure: AwsFailure) -> Result<String, StepError> {
    match failure.class() {
        FailureClass::Throttled | FailureClass::Transient => {
            Err(failure.into_step_error("ask for the usage of images by other accounts"))
        }
        _ => Ok(failure.to_string()),
    }
}
