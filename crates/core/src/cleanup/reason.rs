//! Owns the reasons for which something stays or goes: a code for programs and a sentence for people.

use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{protection::Tool, retention::Class, usage::Use};
use crate::{
    id::{ImageId, SnapshotId},
    text::{shown, visible},
};

/// Why something stays, or goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reason {
    // Why it stays: whose it is.
    /// This product did not make it.
    NotOurs,
    /// Another tool looks after it.
    ManagedBy(Tool),
    /// No rule of the policy puts it into a family.
    NoFamily,
    /// It carries a tag that keeps it.
    KeepTag(String),
    /// It is protected against deregistration.
    Protected(String),
    /// Everybody may launch it.
    Public,
    /// Others may launch it, or make volumes of it.
    SharedWith(String),
    /// The snapshot is locked.
    Locked(String),

    // Why it stays: it is in use.
    /// Something uses it.
    InUse(Use),
    /// Somebody launched it not long ago.
    Launched(Timestamp),
    /// Images that stay are on the snapshot.
    Backs(ImageId),
    /// It is part of a recovery point of AWS Backup that cannot expire while this image is on it.
    BlocksRecoveryPoint(ImageId),

    // Why it stays: its time has not come.
    /// It is in a state in which nothing can be done with it.
    State(String),
    /// Nothing says how old it is.
    NoAge,
    /// Nothing says when it may go: no date is written on it, and the policy has no retention.
    NoExpiry,
    /// `never` is written on it.
    Never,
    /// What is written on it is no date.
    UnreadableExpiry(String),
    /// The date that is written on it is not over.
    NotBefore(Timestamp),
    /// It is younger than the retention's days.
    Young {
        /// The days.
        days: u32,
    },
    /// It is among the newest of its family.
    AmongNewest {
        /// How many are kept.
        of: u32,
    },
    /// It is the newest of its day, week, month or year.
    NewestOfPeriod {
        /// Which.
        class: Class,
        /// Such as `2026-11`.
        period: String,
    },
    /// The next stage begins later.
    StageFrom {
        /// Such as `disable`.
        stage: &'static str,
        /// When.
        at: Timestamp,
    },
    /// It went through all stages that the policy has.
    LastStage,

    // Why it stays: what would replace it.
    /// It is the newest verified backup of its family.
    LastGood,
    /// It is newer than the newest verified backup of its family.
    NewerThanLastGood,
    /// Its family has no verified backup.
    NoneVerified,
    /// Its object is required, and is not there or is not plausible.
    NoObject(String),

    /// It is not as the plan saw it.
    Changed(&'static str),
    /// The backup that was to replace it is not there, or is none any more.
    NoReplacement(Option<ImageId>),
    /// It was to go with this image, and the run did not remove the image.
    NotRemoved(ImageId),

    // Why it stays: caution.
    /// A check could not be made.
    CannotTell(String),
    /// The limit of this run is reached.
    OverLimit {
        /// The limit.
        limit: u32,
    },

    // Why a snapshot that no image is on stays.
    /// Nothing says that it was made for an image.
    NotOfAnImage,
    /// The image that it was made for still exists.
    ImageExists(ImageId),
    /// The image that it was made for is in the Recycle Bin.
    ImageInBin(ImageId),
    /// An image in the Recycle Bin may be on it: nothing says what that image is on.
    MayBackBinned(ImageId),
    /// It is an orphan, and the policy leaves orphans alone.
    OrphanLeft(ImageId),
    /// It is an orphan, and has not been one for long enough.
    OrphanSince {
        /// The image that it was made for.
        image: ImageId,
        /// When it was first seen as one; `None` is now.
        seen: Option<Timestamp>,
    },

    // Why it goes.
    /// Retention does not keep it.
    PastRetention,
    /// The date that is written on it is over.
    Expired(Timestamp),
    /// It never became an image.
    Broken(String),
    /// The images that are on it go.
    WithImage(ImageId),
    /// It was left when the run that deregistered its image was cut off.
    LeftOver(ImageId),
    /// The image that it was made for is gone in any form.
    Orphan {
        /// The image.
        image: ImageId,
        /// When it was first seen as an orphan.
        seen: Timestamp,
    },

    // What to know.
    /// The bin keeps a snapshot for less time than the image: after that, the image in the bin is worth nothing.
    BinShorter {
        /// The snapshot.
        snapshot: SnapshotId,
        /// Days for which the bin keeps it; 0 if it does not go there.
        snapshot_days: u32,
        /// Days for which the bin keeps the image.
        image_days: u32,
    },
}

impl Reason {
    /// What programs and tables group by.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::NotOurs => "not-ours",
            Self::ManagedBy(_) => "managed-by-another-tool",
            Self::NoFamily => "no-family",
            Self::KeepTag(_) => "keep-tag",
            Self::Protected(_) => "protected",
            Self::Public => "public",
            Self::SharedWith(_) => "shared",
            Self::Locked(_) => "locked",
            Self::InUse(_) => "in-use",
            Self::Launched(_) => "launched",
            Self::Backs(_) => "backs-an-image",
            Self::BlocksRecoveryPoint(_) => "blocks-a-recovery-point",
            Self::State(_) => "state",
            Self::NoAge => "no-age",
            Self::NoExpiry => "no-expiry",
            Self::Never => "never",
            Self::UnreadableExpiry(_) => "unreadable-expiry",
            Self::NotBefore(_) => "not-expired",
            Self::Young { .. } => "young",
            Self::AmongNewest { .. } => "among-newest",
            Self::NewestOfPeriod { .. } => "newest-of-period",
            Self::StageFrom { .. } => "next-stage-later",
            Self::LastStage => "last-stage",
            Self::LastGood => "last-good",
            Self::NewerThanLastGood => "newer-than-last-good",
            Self::NoneVerified => "none-verified",
            Self::NoObject(_) => "no-object",
            Self::Changed(_) => "changed",
            Self::NoReplacement(_) => "no-replacement",
            Self::NotRemoved(_) => "image-not-removed",
            Self::CannotTell(_) => "cannot-tell",
            Self::OverLimit { .. } => "over-limit",
            Self::NotOfAnImage => "not-of-an-image",
            Self::ImageExists(_) => "image-exists",
            Self::ImageInBin(_) | Self::MayBackBinned(_) => "image-in-bin",
            Self::OrphanLeft(_) => "orphan-left-alone",
            Self::OrphanSince { .. } => "orphan-in-grace",
            Self::PastRetention => "past-retention",
            Self::Expired(_) => "expired",
            Self::Broken(_) => "broken",
            Self::WithImage(_) => "with-image",
            Self::LeftOver(_) => "left-over",
            Self::Orphan { .. } => "orphan",
            Self::BinShorter { .. } => "bin-keeps-snapshot-shorter",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotOurs => f.write_str("ami-backup did not make it"),
            Self::ManagedBy(tool) => write!(f, "{tool} looks after it"),
            Self::NoFamily => f.write_str("no rule of `families` fits it"),
            Self::KeepTag(tag) => write!(f, "the tag {} keeps it", shown(tag)),
            Self::Protected(how) => write!(f, "deregistration protection is {}", shown(how)),
            Self::Public => f.write_str("it is public"),
            Self::SharedWith(who) => write!(f, "it is shared with {}", shown(who)),
            Self::Locked(how) => write!(f, "it is locked ({})", shown(how)),
            Self::InUse(usage) => write!(f, "{usage} uses it"),
            Self::Launched(at) => write!(f, "it was launched on {at}"),
            Self::Backs(image) => write!(f, "{image} is on it"),
            Self::BlocksRecoveryPoint(image) => {
                write!(f, "{image} is on it, and so its recovery point in AWS Backup cannot expire and costs money")
            }
            Self::State(state) => write!(f, "it is {}", shown(state)),
            Self::NoAge => f.write_str("nothing says how old it is"),
            Self::NoExpiry => f.write_str("no date is written on it and the policy has no retention"),
            Self::Never => f.write_str("it never expires by what is written on it"),
            Self::UnreadableExpiry(text) => write!(f, "its expiry tag `{}` is no date", shown(text)),
            Self::NotBefore(at) => write!(f, "it does not expire before {at}"),
            Self::Young { days } => write!(f, "it is younger than {days} days"),
            Self::AmongNewest { of } => write!(f, "it is among the newest {of} of its family"),
            Self::NewestOfPeriod { class, period } => write!(f, "it is the {} one of {period}", class.as_str()),
            Self::StageFrom { stage, at } => write!(f, "it is due; to {stage} it, the policy waits until {at}"),
            Self::LastStage => f.write_str("it went through all stages of the policy"),
            Self::LastGood => f.write_str("it is the last good backup of its family"),
            Self::NewerThanLastGood => f.write_str("it is newer than the last good backup of its family"),
            Self::NoneVerified => f.write_str("its family has no verified backup"),
            Self::NoObject(why) => write!(f, "its object in the bucket is required: {}", visible(why)),
            Self::Changed(what) => write!(f, "its {what} changed since the plan was made"),
            Self::NoReplacement(None) => f.write_str("the plan names no backup that replaces it"),
            Self::NoReplacement(Some(image)) => write!(f, "{image}, which was to replace it, does not any more"),
            Self::CannotTell(why) => write!(f, "cannot tell whether it is in use: {}", visible(why)),
            Self::NotRemoved(image) => write!(f, "{image} is gone and this run did not deregister it"),
            Self::OverLimit { limit } => write!(f, "it is due; the limit of {limit} for one run is reached"),
            Self::NotOfAnImage => f.write_str("nothing says that it was made for an image"),
            Self::ImageExists(image) => write!(f, "{image}, for which it was made, exists"),
            Self::ImageInBin(image) => write!(f, "{image}, for which it was made, is in the Recycle Bin"),
            Self::MayBackBinned(image) => write!(f, "{image} in the Recycle Bin may be on it"),
            Self::OrphanLeft(image) => write!(f, "{image}, for which it was made, is gone; the policy keeps orphans"),
            Self::OrphanSince { image, seen } => {
                let since = seen.map_or_else(|| "now".to_owned(), |at| format!("on {at}"));
                write!(f, "{image}, for which it was made, is gone; first seen so {since}")
            }
            Self::PastRetention => f.write_str("retention keeps newer ones"),
            Self::Expired(at) => write!(f, "it expired on {at}"),
            Self::Broken(state) => write!(f, "it ended {} and is no backup", shown(state)),
            Self::WithImage(image) => write!(f, "{image} is on it and goes"),
            Self::LeftOver(image) => write!(f, "it was to go with {image}, which went"),
            Self::Orphan { image, seen } => write!(f, "{image}, for which it was made, is gone; seen so since {seen}"),
            Self::BinShorter { snapshot, snapshot_days, image_days } => write!(
                f,
                "the Recycle Bin keeps {snapshot} for {snapshot_days} days and the image for {image_days}: \
                 after that the image cannot come back"
            ),
        }
    }
}

/// A reason as it stands in a plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct WrittenReason {
    /// For programs.
    pub code: String,
    /// For people.
    pub text: String,
}

impl From<&Reason> for WrittenReason {
    fn from(reason: &Reason) -> Self {
        Self { code: reason.code().to_owned(), text: reason.to_string() }
    }
}
