//! Owns the ids of AWS: what each looks like, so that a wrong one is refused where it enters.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Why a text is not the id that it should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not {expected}")]
pub struct InvalidId {
    text: String,
    expected: &'static str,
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $valid:path, $expected:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// The id as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<String> for $name {
            type Error = InvalidId;

            fn try_from(text: String) -> Result<Self, InvalidId> {
                if $valid(&text) { Ok(Self(text)) } else { Err(InvalidId { text, expected: $expected }) }
            }
        }

        impl std::str::FromStr for $name {
            type Err = InvalidId;

            fn from_str(text: &str) -> Result<Self, InvalidId> {
                Self::try_from(text.to_owned())
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> String {
                id.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

id!(
    /// Id of an image, `ami-` and 8 or 17 hexadecimal digits.
    ImageId, is_image_id, "an image id (`ami-` and 8 or 17 hexadecimal digits)"
);
id!(
    /// Id of an EBS snapshot, `snap-` and 8 or 17 hexadecimal digits.
    SnapshotId, is_snapshot_id, "a snapshot id (`snap-` and 8 or 17 hexadecimal digits)"
);
id!(
    /// Id of an instance, `i-` and 8 or 17 hexadecimal digits.
    InstanceId, is_instance_id, "an instance id (`i-` and 8 or 17 hexadecimal digits)"
);
id!(
    /// Name of a Region, such as `eu-west-1`.
    Region, is_region, "the name of a Region (such as `eu-west-1`)"
);
id!(
    /// Name of an S3 bucket: 3 to 63 lower-case letters, digits, dots and hyphens.
    BucketName, is_bucket_name, "a bucket name (3 to 63 lower-case letters, digits, dots and hyphens)"
);

/// What a text means that a person typed where an id belongs: services hand on what they were given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Typed<T> {
    /// An id.
    Id(T),
    /// No id as it stands. In lower case, and without what surrounds it, it is this one.
    Perhaps(T),
    /// Nothing that could be an id.
    Nothing,
}

impl<T: std::str::FromStr> Typed<T> {
    /// Reads what a person typed.
    pub fn read(text: &str) -> Self {
        if let Ok(id) = text.parse() {
            return Self::Id(id);
        }
        let bare = text.trim_matches(|character: char| !character.is_ascii_alphanumeric()).to_ascii_lowercase();
        bare.parse().map_or(Self::Nothing, Self::Perhaps)
    }

    /// The id that is meant, or may be.
    pub fn id(self) -> Option<T> {
        match self {
            Self::Id(id) | Self::Perhaps(id) => Some(id),
            Self::Nothing => None,
        }
    }
}

fn is_hex_id(text: &str, prefix: &str) -> bool {
    text.strip_prefix(prefix).is_some_and(|hex| {
        (hex.len() == 8 || hex.len() == 17) && hex.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
    })
}

fn is_image_id(text: &str) -> bool {
    is_hex_id(text, "ami-")
}

fn is_snapshot_id(text: &str) -> bool {
    is_hex_id(text, "snap-")
}

fn is_instance_id(text: &str) -> bool {
    is_hex_id(text, "i-")
}

fn is_region(text: &str) -> bool {
    let parts: Vec<&str> = text.split('-').collect();
    let words = parts.len().saturating_sub(1);
    parts.len() >= 3
        && parts.iter().take(words).all(|p| !p.is_empty() && p.bytes().all(|b| b.is_ascii_lowercase()))
        && parts.last().is_some_and(|p| !p.is_empty() && p.bytes().all(|b| b.is_ascii_digit()))
}

fn is_bucket_name(text: &str) -> bool {
    let edge = |b: Option<u8>| b.is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    (3..=63).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'.')
        && edge(text.bytes().next())
        && edge(text.bytes().last())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_of_both_lengths_are_known() {
        assert!(is_image_id("ami-12345678") && is_image_id("ami-0123456789abcdef0"));
        for wrong in ["ami-", "ami-1234567", "ami-0123456789ABCDEF0", "i-12345678", "", "ami-123456789"] {
            assert!(!is_image_id(wrong), "{wrong}");
        }
    }

    #[test]
    fn an_id_of_one_kind_is_no_id_of_another() {
        for (text, kinds) in [
            ("ami-12345678", [true, false, false]),
            ("snap-12345678", [false, true, false]),
            ("i-12345678", [false, false, true]),
            ("vol-12345678", [false, false, false]),
        ] {
            assert_eq!([is_image_id(text), is_snapshot_id(text), is_instance_id(text)], kinds, "{text}");
        }
    }

    /// 68. An id that could be a true one in lower case, and without what surrounds it, keeps what it could concern.
    #[test]
    fn what_a_person_typed_is_an_id_perhaps_one_or_none() {
        let id = || "ami-0123456789abcdef0".parse::<ImageId>().unwrap_or_else(|_| unreachable!());
        assert_eq!(Typed::read("ami-0123456789abcdef0"), Typed::Id(id()));
        for text in [
            "ami-0123456789abcdef0 ",
            "\tami-0123456789abcdef0\n",
            "AMI-0123456789ABCDEF0",
            "\"ami-0123456789abcdef0\"",
            "ami-0123456789abcdef0\u{200b}",
            "\u{a0}ami-0123456789abcdef0",
        ] {
            assert_eq!(Typed::read(text), Typed::Perhaps(id()), "{text:?}");
            assert_eq!(Typed::read(text).id(), Some(id()));
        }
        for text in ["", " ", "ami-", "ami-placeholder", "ami-0B00000000000002", "ami-0123456789abcdef0 ami-1", "é"] {
            assert_eq!(Typed::<ImageId>::read(text), Typed::Nothing, "{text:?}");
        }
    }

    #[test]
    fn buckets_have_3_to_63_lower_case_letters_digits_dots_and_hyphens() {
        let longest = "b".repeat(63);
        for right in ["abc", "123", "a-b", "a.b", "my-archive.2026", longest.as_str()] {
            assert!(is_bucket_name(right), "{right}");
        }
        let too_long = "b".repeat(64);
        for wrong in ["ab", "aBc", "a_b", "a b", "a/b", "-abc", "abc-", ".abc", "abc.", "", too_long.as_str()] {
            assert!(!is_bucket_name(wrong), "{wrong}");
        }
    }

    #[test]
    fn regions_of_all_partitions_are_known() {
        for right in ["us-east-1", "eu-central-2", "us-gov-west-1", "cn-north-1", "ap-southeast-10"] {
            assert!(is_region(right), "{right}");
        }
        for wrong in ["us-east", "us-east-1a", "US-EAST-1", "", "eu--1", "here"] {
            assert!(!is_region(wrong), "{wrong}");
        }
    }
}
