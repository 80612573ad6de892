//! Owns how things that a run makes are named, so that they are found again: tags, image names,
//! tokens and keys in the bucket. All are functions of what identifies them.

use sha2::{Digest, Sha256};

use crate::id::{BucketName, ImageId, Region};

/// Marks what this product made; what carries it is never selected as a source by tag.
pub const TAG_MANAGED: &str = "ami-backup:managed";
/// The run that made it.
pub const TAG_RUN: &str = "ami-backup:run";
/// The policy of that run.
pub const TAG_POLICY: &str = "ami-backup:policy";
/// The instance or image that it was made from.
pub const TAG_SOURCE: &str = "ami-backup:source";
/// What the run was asked to back up: of a copy of an image of an instance, the instance.
pub const TAG_ORIGIN: &str = "ami-backup:origin";
/// When it may go: a time, [`NEVER`] or [`BY_POLICY`].
pub const TAG_EXPIRES: &str = "ami-backup:expires";
/// Of what no clean-up may remove.
pub const NEVER: &str = "never";
/// Of what goes when the retention of a clean-up no longer keeps it.
pub const BY_POLICY: &str = "by-policy";
/// Which attempt made it: see [`token`].
pub const TAG_TOKEN: &str = "ami-backup:token";

/// AMI names have 3 to 128 characters.
pub const LONGEST_IMAGE_NAME: usize = 128;
/// AMI names have 3 to 128 characters.
pub const SHORTEST_IMAGE_NAME: usize = 3;

/// Hexadecimal digits of a token: EC2's idempotency guide allows 64 characters.
const TOKEN_DIGITS: usize = 64;

fn hex(parts: &[&str]) -> String {
    let mut hash = Sha256::new();
    for part in parts {
        // The length keeps ("ab", "c") and ("a", "bc") apart.
        hash.update(part.len().to_le_bytes());
        hash.update(part.as_bytes());
    }
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What a token is for. Part of the token, so that a copy and a restore of one image in one run and
/// Region are two things.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// An image made from an instance.
    Create,
    /// An object in S3.
    Store,
    /// A copy in another Region.
    Copy,
    /// A VM file.
    Export,
    /// An image made from an object.
    Restore,
    /// An image made from snapshots.
    Register,
    /// A report on the usage of an image.
    UsageReport,
}

impl Purpose {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Store => "store",
            Self::Copy => "copy",
            Self::Export => "export",
            Self::Restore => "restore",
            Self::Register => "register",
            Self::UsageReport => "usage-report",
        }
    }
}

/// What makes one created thing the same as another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity<'a> {
    /// What it is for.
    pub purpose: Purpose,
    /// The run that makes it.
    pub run: &'a str,
    /// What it is made from.
    pub source: &'a str,
    /// Where it is made.
    pub region: &'a Region,
    /// Whatever else tells it from others: a key, a format, a bucket.
    pub parameters: &'a str,
}

/// The token of the attempt after `failed` attempts ended badly: 64 hexadecimal digits.
///
/// The number is part of it, so that EC2 does not hand back, for ever, a copy that ended `failed`.
pub fn token(identity: &Identity<'_>, failed: usize) -> String {
    let mut token = hex(&[
        identity.purpose.as_str(),
        identity.run,
        identity.source,
        identity.region.as_str(),
        identity.parameters,
        &failed.to_string(),
    ]);
    token.truncate(TOKEN_DIGITS);
    token
}

/// Sixteen hexadecimal digits for a run, whose own name may hold characters that keys should not.
pub fn run_digest(run: &str) -> String {
    let mut digest = hex(&["run", run]);
    digest.truncate(16);
    digest
}

/// The name of a made image: `stem`, a hyphen, and the first twelve digits of its token.
///
/// Deterministic, so that a repeated creating call meets its own name instead of making a second
/// image. A stem that is too long is cut, and characters that not every page of the EC2
/// documentation allows become hyphens.
pub fn image_name(stem: &str, token: &str) -> String {
    let suffix: String = token.chars().take(12).collect();
    let room = LONGEST_IMAGE_NAME - suffix.len() - 1;
    let stem: String = stem.chars().map(|c| if allowed_in_image_name(c) { c } else { '-' }).take(room).collect();
    format!("{stem}-{suffix}")
}

/// Whether EC2's error-code page and its API reference both allow this character in an AMI name.
pub fn allowed_in_image_name(c: char) -> bool {
    c.is_ascii_alphanumeric() || "-_./()".contains(c)
}

/// Key of the object that EC2 writes for an image, under a prefix: a prediction. What EC2 returns is
/// what counts.
pub fn predicted_object_key(prefix: &str, image_id: &ImageId) -> String {
    format!("{prefix}{image_id}.bin")
}

/// Key of an image's record.
pub fn record_key(image_id: &ImageId) -> String {
    format!("records/{image_id}.json")
}

/// Key of the record's copy beside a stored object.
pub fn record_beside(object_key: &str) -> String {
    format!("{object_key}.json")
}

/// Key of what the first start of a run wrote down.
pub fn run_key(run: &str) -> String {
    format!("runs/{}/run.json", run_digest(run))
}

/// Prefixes of the backup bucket below which only the stack's roles write: the bucket's policy denies it to others, and
/// no image is stored there.
pub const PAPERS: [&str; 5] = ["cleanups/", "identity/", "leases/", "records/", "runs/"];

/// Prefix of the claims on storing an image in a bucket, with its end slash.
pub fn store_claims_prefix(bucket: &BucketName, image_id: &ImageId) -> String {
    format!("leases/{bucket}/{image_id}/")
}

/// Where such claims lay before they had a prefix of their own: what was claimed there still holds for its time.
pub fn store_claims_prefix_of_before(bucket: &BucketName, image_id: &ImageId) -> String {
    format!("runs/stores/{bucket}/{image_id}/")
}

/// Key of the claim of this number; they sort by it.
pub fn store_claim_key(prefix: &str, number: u32) -> String {
    format!("{prefix}{number:08}.json")
}

/// Prefix of what one start of a run writes, with its end slash.
pub fn attempt_prefix(run: &str, started_at: jiff::Timestamp) -> String {
    format!("runs/{}/{}/", run_digest(run), started_at.as_millisecond())
}

/// Key of the list that the map reads.
pub fn items_key(attempt: &str) -> String {
    format!("{attempt}items.json")
}

/// Key of one image's outcome.
pub fn outcome_key(attempt: &str, item: u32) -> String {
    format!("{attempt}outcomes/{item}.json")
}

/// Key of the report.
pub fn report_key(attempt: &str) -> String {
    format!("{attempt}report.jsonl")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn region() -> Region {
        "us-east-1".parse().unwrap_or_else(|_| unreachable!())
    }

    #[test]
    fn a_failed_attempt_changes_the_token_and_nothing_else_does_so_silently() {
        let region = region();
        let identity = Identity { purpose: Purpose::Copy, run: "r", source: "ami-1", region: &region, parameters: "" };
        assert_eq!(token(&identity, 0), token(&identity, 0));
        assert_ne!(token(&identity, 0), token(&identity, 1));
        let restore = Identity { purpose: Purpose::Restore, ..identity.clone() };
        assert_ne!(token(&identity, 0), token(&restore, 0));
        assert!(token(&identity, 0).len() <= 64);
    }

    #[test]
    fn a_stem_is_cut_only_if_the_name_would_be_too_long() {
        let token = "0123456789abcdef".repeat(4);
        for (stem, kept) in [("web", 3), (&*"s".repeat(115), 115), (&*"s".repeat(116), 115), (&*"s".repeat(300), 115)] {
            assert_eq!(image_name(stem, &token), format!("{}-0123456789ab", &stem[..kept]));
        }
    }

    #[test]
    fn everything_in_the_bucket_lies_where_the_documentation_says() {
        let image_id: ImageId = "ami-12345678".parse().unwrap_or_else(|_| unreachable!());
        assert_eq!(predicted_object_key("teams/web/", &image_id), "teams/web/ami-12345678.bin");
        assert_eq!(record_beside("teams/web/ami-12345678.bin"), "teams/web/ami-12345678.bin.json");
        assert_eq!(record_key(&image_id), "records/ami-12345678.json");

        let digits = run_digest("nightly");
        assert_eq!(run_key("nightly"), format!("runs/{digits}/run.json"));
        let attempt = attempt_prefix("nightly", jiff::Timestamp::constant(1_700_000_000, 123_000_000));
        assert_eq!(attempt, format!("runs/{digits}/1700000000123/"));
        assert_eq!(items_key(&attempt), format!("{attempt}items.json"));
        assert_eq!(outcome_key(&attempt, 7), format!("{attempt}outcomes/7.json"));
        assert_eq!(report_key(&attempt), format!("{attempt}report.jsonl"));
    }

    #[test]
    fn claims_on_a_store_are_kept_by_bucket_and_image_and_sort_by_their_number() {
        let image_id: ImageId = "ami-12345678".parse().unwrap_or_else(|_| unreachable!());
        let bucket: BucketName = "backups".parse().unwrap_or_else(|_| unreachable!());
        let prefix = store_claims_prefix(&bucket, &image_id);
        assert_eq!(prefix, "leases/backups/ami-12345678/");
        let keys: Vec<String> = [1, 9, 10, 100, 99_999_999].map(|number| store_claim_key(&prefix, number)).into();
        assert!(keys.is_sorted() && keys.iter().all(|key| key.starts_with(&prefix)), "{keys:?}");
    }

    proptest! {
        #[test]
        fn each_run_has_sixteen_digits_of_its_own(a in ".{1,20}", b in ".{1,20}") {
            prop_assert!(run_digest(&a).len() == 16 && run_digest(&a).chars().all(|c| c.is_ascii_hexdigit()));
            prop_assert_eq!(run_digest(&a) == run_digest(&b), a == b);
        }

        #[test]
        fn image_names_are_names_that_ec2_takes(stem in ".{0,200}", token in "[0-9a-f]{64}") {
            let name = image_name(&stem, &token);
            prop_assert!((SHORTEST_IMAGE_NAME..=LONGEST_IMAGE_NAME).contains(&name.len()));
            prop_assert!(name.chars().all(allowed_in_image_name));
            prop_assert!(name.ends_with(&token[..12]));
        }

        #[test]
        fn parts_do_not_run_into_each_other(a in "[a-c]{0,4}", b in "[a-c]{0,4}", c in "[a-c]{0,4}", d in "[a-c]{0,4}") {
            prop_assume!((&a, &b) != (&c, &d));
            prop_assert_ne!(hex(&[&a, &b]), hex(&[&c, &d]));
        }
    }
}
