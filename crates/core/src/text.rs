//! Owns how text is written that others wrote: tags, names, keys, what an input says.
//!
//! What cannot be seen is made visible, so that nothing in a plan, an error, a notice or a report can hide a line, turn
//! its direction, or move the cursor of a terminal.

/// Characters of a text of others that are shown.
pub const LONGEST: usize = 200;

/// A text of others as it is written: what cannot be seen as `\u{…}`, at most [`LONGEST`] characters.
pub fn shown(text: &str) -> String {
    within(text, LONGEST)
}

/// The same, with at most `longest` characters: for what AWS says, which is longer.
pub fn within(text: &str, longest: usize) -> String {
    let (mut written, mut length, mut cut) = (String::new(), 0, 0);
    for c in text.chars() {
        let before = written.len();
        push(&mut written, c);
        length += written.get(before..).map_or(0, |unit| unit.chars().count());
        if length > longest {
            written.truncate(cut);
            written.push('…');
            return written;
        }
        if length < longest {
            cut = written.len();
        }
    }
    written
}

/// A text of ours that may hold some of others, whole: what cannot be seen as `\u{…}`.
pub fn visible(text: &str) -> String {
    let mut written = String::with_capacity(text.len());
    text.chars().for_each(|c| push(&mut written, c));
    written
}

/// JSON text that means the same and in which nothing is invisible: JSON has escapes of its own.
pub fn visible_json(json: String) -> String {
    if json.bytes().all(|byte| byte < 0x7f) {
        return json;
    }
    let mut written = String::with_capacity(json.len());
    for c in json.chars() {
        if is_hidden(c) && c != '\n' {
            c.encode_utf16(&mut [0; 2]).iter().for_each(|unit| written.push_str(&format!("\\u{unit:04x}")));
        } else {
            written.push(c);
        }
    }
    written
}

fn push(written: &mut String, c: char) {
    if is_hidden(c) { written.extend(c.escape_unicode()) } else { written.push(c) }
}

/// Whether a character shows nothing by itself: controls, escapes, and the characters of Unicode that format others, of
/// which some turn the direction in which text is read.
fn is_hidden(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}'..='\u{1160}' | '\u{17b4}'..='\u{17b5}' | '\u{180b}'..='\u{180f}'
            | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{3164}'
            | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}' | '\u{e0000}'..='\u{e0fff}')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// 72. What others wrote is written with controls, escapes and bidirectional characters as `\u{…}`.
    #[test]
    fn what_cannot_be_seen_is_made_visible() {
        for (text, written) in [
            ("web", "web"),
            ("ü 日本 🦀", "ü 日本 🦀"),
            ("a\nb\tc", "a\\u{a}b\\u{9}c"),
            ("\u{1b}[2J", "\\u{1b}[2J"),
            ("\u{9b}2J", "\\u{9b}2J"),
            ("x\u{202e}gpj", "x\\u{202e}gpj"),
            ("\u{2066}a\u{2069}", "\\u{2066}a\\u{2069}"),
            ("a\u{200b}b\u{feff}", "a\\u{200b}b\\u{feff}"),
        ] {
            assert_eq!((shown(text).as_str(), visible(text).as_str()), (written, written));
        }
    }

    /// 72. Of each such text at most 200 characters are written.
    #[test]
    fn a_long_text_is_cut() {
        assert_eq!(shown(&"x".repeat(200)), "x".repeat(200));
        assert_eq!(shown(&"x".repeat(201)), format!("{}…", "x".repeat(199)));
        assert_eq!(shown(&"ü".repeat(70_000)).chars().count(), LONGEST);
        // No escape is cut in two.
        assert_eq!(shown(&format!("{}\u{202e}{}", "x".repeat(195), "y".repeat(9))), format!("{}…", "x".repeat(195)));
        assert_eq!(within("abc", 2), "a…");
    }

    /// 72. What is written as JSON means what it meant.
    #[test]
    fn json_hides_nothing_and_loses_nothing() {
        let value = serde_json::json!({"k\u{202e}": ["a\u{7f}b", "\u{e0041}", "ü\n\u{1b}", 1]});
        let json = visible_json(format!("{value}\n"));
        assert!(json.ends_with('\n') && !json.trim_end().chars().any(is_hidden), "{json}");
        assert!(json.contains("\\u202e") && json.contains("\\udb40\\udc41"), "{json}");
        assert_eq!(serde_json::from_str(&json).ok(), Some(value));
    }

    proptest! {
        #[test]
        fn whatever_is_written_can_be_seen_and_is_not_written_again(text in "\\PC{0,300}|(?s).{0,300}") {
            let written = shown(&text);
            prop_assert!(written.chars().count() <= LONGEST);
            prop_assert!(!written.chars().any(is_hidden));
            prop_assert_eq!(shown(&written), written.clone());
            prop_assert!(!visible(&text).chars().any(is_hidden));
        }
    }
}
