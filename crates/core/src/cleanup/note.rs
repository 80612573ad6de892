//! Owns notes: what a listing shows and a plan cannot use, with its place.

use std::fmt;

use serde::{Deserialize, Serialize};

/// So many characters of a text of others are quoted.
const MOST_QUOTED: usize = 200;

/// What a listing shows and a plan cannot use. It keeps nothing, unless it says so, and stops nothing.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Note {
    /// Where it stands: `launch template lt-… version 3`, `group web`.
    pub place: String,
    /// What is odd about it.
    pub text: String,
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.text)
    }
}

/// A text of others as a note quotes it: what does not print is escaped, and the rest of a long text is left out.
pub(super) fn quoted(text: &str) -> String {
    let shown = text.chars().take(MOST_QUOTED).flat_map(char::escape_debug);
    let rest = if text.chars().nth(MOST_QUOTED).is_some() { "…" } else { "" };
    format!("`{}{rest}`", shown.collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_of_others_is_quoted_so_that_a_person_sees_it_and_no_terminal_obeys_it() {
        for (text, shown) in [
            ("ami-placeholder", "`ami-placeholder`"),
            ("ami-0c2aba6c ", "`ami-0c2aba6c `"),
            ("a\nb\u{1b}[2J\u{202e}", "`a\\nb\\u{1b}[2J\\u{202e}`"),
        ] {
            assert_eq!(quoted(text), shown);
        }
        assert_eq!(quoted(&"x".repeat(201)).chars().count(), 203);
    }
}
