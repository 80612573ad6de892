//! Owns the ids of AWS: what each looks like, so that a wrong one is refused where it enters.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::text::shown;

/// Why a text is not the id that it should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{}` is not {expected}", shown(text))]
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
    /// Name of a general purpose bucket of S3.
    BucketName, is_bucket_name,
    "a bucket name (3 to 63 lower-case letters, digits, hyphens and single dots; no IP address, and none of S3's own \
     prefixes and suffixes)"
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

/// Beginnings and ends of names that S3 keeps for itself: aliases of access points, directory and table buckets (S3 user
/// guide, "General purpose bucket naming rules").
const RESERVED_PREFIXES: [&str; 3] = ["xn--", "sthree-", "amzn-s3-demo-"];
const RESERVED_SUFFIXES: [&str; 5] = ["-s3alias", "--ol-s3", ".mrap", "--x-s3", "--table-s3"];

fn is_bucket_name(text: &str) -> bool {
    let edge = |b: Option<u8>| b.is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    (3..=63).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'.')
        && edge(text.bytes().next())
        && edge(text.bytes().last())
        && !text.contains("..")
        && !is_formatted_as_an_ip_address(text)
        && !RESERVED_PREFIXES.iter().any(|prefix| text.starts_with(prefix))
        && !RESERVED_SUFFIXES.iter().any(|suffix| text.ends_with(suffix))
}

fn is_formatted_as_an_ip_address(text: &str) -> bool {
    let mut parts = text.split('.');
    parts.clone().count() == 4 && parts.all(|part| part.bytes().all(|b| b.is_ascii_digit()))
}

/// S3 keys have up to 1,024 bytes.
pub const LONGEST_KEY: usize = 1_024;

/// Whether a text can be the key of an object.
pub fn is_key(text: &str) -> bool {
    (1..=LONGEST_KEY).contains(&text.len())
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

    /// 70. A bucket has a name as S3 has them.
    #[test]
    fn buckets_are_called_as_s3_calls_them() {
        let longest = "b".repeat(63);
        for right in
            ["abc", "123", "a-b", "a.b", "a.-b", "1.2.3", "1.2.3.4.5", "my-archive.2026", "axn--b", longest.as_str()]
        {
            assert!(is_bucket_name(right), "{right}");
        }
        let too_long = "b".repeat(64);
        for wrong in ["ab", "aBc", "a_b", "a b", "a/b", "-abc", "abc-", ".abc", "abc.", "", too_long.as_str()] {
            assert!(!is_bucket_name(wrong), "{wrong}");
        }
        for wrong in [
            "a..b",
            "192.168.5.4",
            "xn--abc",
            "sthree-abc",
            "amzn-s3-demo-abc",
            "abc-s3alias",
            "abc--ol-s3",
            "abc.mrap",
            "abc--use1-az4--x-s3",
            "abc--table-s3",
        ] {
            assert!(!is_bucket_name(wrong), "{wrong}");
        }
    }

    /// 70. A key has 1 to 1,024 bytes.
    #[test]
    fn a_key_has_up_to_1024_bytes() {
        for (key, right) in [
            ("", false),
            ("k", true),
            (&*"k".repeat(1_024), true),
            (&*"k".repeat(1_025), false),
            (&*"ü".repeat(513), false),
        ] {
            assert_eq!(is_key(key), right, "{} bytes", key.len());
        }
    }

    #[test]
    fn what_is_no_id_is_repeated_in_part() {
        let error = ImageId::try_from("\u{1b}".repeat(70_000)).err().map(|error| error.to_string()).unwrap_or_default();
        assert!(error.starts_with("`\\u{1b}") && error.chars().count() < 300, "{error}");
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
