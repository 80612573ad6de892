//! Owns in which words a JSON value is refused: those of JSON, and not of Rust.

use std::fmt::{self, Display};

use serde::de::{Error, Expected, Unexpected};

use super::LONGEST_REASON;
use crate::text::{shown, within};

/// So many characters of two words are compared: no field of ours is longer.
const LONGEST_WORD: usize = 40;

/// Why a JSON value is not what it must be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Wrong(String);

impl Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Wrong {}

impl Error for Wrong {
    fn custom<T: Display>(message: T) -> Self {
        Self(within(&message.to_string(), LONGEST_REASON))
    }

    fn invalid_type(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self(format!("is {} and must be {}", found_in_json(found), expected_in_json(&expected.to_string())))
    }

    fn invalid_value(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::invalid_type(found, expected)
    }

    fn invalid_length(length: usize, expected: &dyn Expected) -> Self {
        Self(format!("has {length} values and must be {}", expected_in_json(&expected.to_string())))
    }

    fn unknown_variant(word: &str, known: &'static [&'static str]) -> Self {
        Self(format!("`{}` is none of {}{}", shown(word), known.join(", "), suggestion(word, known)))
    }

    fn unknown_field(field: &str, known: &'static [&'static str]) -> Self {
        let rest = match suggestion(field, known) {
            near if near.is_empty() => format!(": the fields are {}", known.join(", ")),
            near => near,
        };
        Self(format!("there is no field `{}`{rest}", shown(field)))
    }

    fn missing_field(field: &'static str) -> Self {
        Self(format!("the field `{field}` is missing"))
    }
}

fn found_in_json(found: Unexpected<'_>) -> String {
    match found {
        Unexpected::Bool(value) => format!("`{value}`"),
        Unexpected::Unsigned(number) => format!("`{number}`"),
        Unexpected::Signed(number) => format!("`{number}`"),
        Unexpected::Float(number) => format!("`{number:?}`"),
        Unexpected::Str(text) => format!("the text `{}`", shown(text)),
        Unexpected::Unit | Unexpected::Option => "null".to_owned(),
        Unexpected::Seq | Unexpected::TupleVariant => "a list".to_owned(),
        Unexpected::Map | Unexpected::StructVariant => "an object".to_owned(),
        Unexpected::UnitVariant => "text".to_owned(),
        other => shown(&other.to_string()),
    }
}

/// What is expected, which serde says in words of Rust. Our own words stay.
fn expected_in_json(expected: &str) -> String {
    let whole = |most: u64| format!("a whole number from 0 to {most}");
    match expected {
        "u8" => whole(u8::MAX.into()),
        "u16" => whole(u16::MAX.into()),
        "u32" => whole(u32::MAX.into()),
        "u64" | "usize" => whole(u64::MAX),
        "i8" | "i16" | "i32" | "i64" | "isize" => "a whole number".to_owned(),
        "f32" | "f64" => "a number".to_owned(),
        "a string" | "a borrowed string" | "unit variant" | "variant identifier" | "field identifier" => {
            "text".to_owned()
        }
        "a boolean" => "true or false".to_owned(),
        "a map" | "newtype variant" | "struct variant" => "an object".to_owned(),
        "unit" => "null".to_owned(),
        _ if expected.starts_with("struct ") => "an object".to_owned(),
        _ if expected.contains("sequence") || expected.starts_with("a tuple") => "a list".to_owned(),
        _ if expected.starts_with("enum ") => "text, or an object with one field".to_owned(),
        _ => expected.to_owned(),
    }
}

/// The known word that is nearest to one that nobody knows, if any is near.
fn suggestion(word: &str, known: &[&str]) -> String {
    let letters = |word: &str| -> Vec<char> { word.chars().take(LONGEST_WORD).flat_map(char::to_lowercase).collect() };
    let word = letters(word);
    let near =
        known.iter().map(|known| (distance(&word, &letters(known)), known)).min_by_key(|(distance, _)| *distance);
    match near {
        Some((distance, known)) if distance * 3 <= word.len() => format!("; did you mean `{known}`?"),
        _ => String::new(),
    }
}

/// How many letters have to be put in, taken out or changed to make one word of the other.
fn distance(one: &[char], other: &[char]) -> usize {
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (index, letter) in (1..).zip(one) {
        let mut above_left = std::mem::replace(&mut row[0], index);
        for (place, with) in (1..).zip(other) {
            let changed = above_left + usize::from(letter != with);
            above_left = row[place];
            row[place] = changed.min(row[place - 1] + 1).min(above_left + 1);
        }
    }
    row[other.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_are_counted() {
        let distance =
            |one: &str, other: &str| distance(&one.chars().collect::<Vec<_>>(), &other.chars().collect::<Vec<_>>());
        for (one, other, letters) in
            [("", "", 0), ("", "ab", 2), ("ab", "", 2), ("apply", "aply", 1), ("abc", "axc", 1), ("abc", "xyz", 3)]
        {
            assert_eq!(distance(one, other), letters, "{one} {other}");
        }
    }
}
