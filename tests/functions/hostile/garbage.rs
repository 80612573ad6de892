//! Owns making garbage of what is good: JSON in which something was changed, by a seed.

use serde_json::{Map, Number};

use crate::support::*;

/// A seeded source of garbage.
pub struct Garbage(fastrand::Rng);

/// Texts that fit hardly anywhere, or where they should not.
const TEXTS: &[&str] = &[
    "",
    " ",
    "never",
    "by-policy",
    "null",
    "{}",
    "[]",
    "\u{0}",
    "\u{1b}[2J\u{1b}]0;x\u{7}",
    "\u{202e}gpj.exe",
    "a\nb\r\n",
    "\u{feff}",
    "\u{10ffff}",
    "🦀",
    "../../records/x.json",
    "records/ami-0a1b2c3d4e5f60001.json",
    "ami-0a1b2c3d4e5f60001",
    "ami-0a1b2c3d4e5f60014",
    "AMI-0A1B2C3D4E5F60001",
    " ami-0a1b2c3d4e5f60001",
    "snap-0a1b2c3d4e5f60001",
    "i-0a1b2c3d4e5f60001",
    "eu-west-1",
    "us-east-1",
    "xx-nowhere-9",
    "9999-12-31T23:59:59Z",
    "-009999-01-02T00:00:00Z",
    "2026-11-23T02:00:00Z",
    "2026-11-23T02:00:00.999999999Z",
    "<aws.scheduler.scheduled-time>",
    "ami-backup-demo-backups",
    "ami-backup-demo-elsewhere",
    "192.168.1.1",
    "a..b",
    "s3://b/k",
    "/",
    "//",
    "a/",
    "' ; rm -rf /",
    "${x}",
    "%00",
    "<x/>&amp;",
    "all",
    "DEREGISTER",
    "APPROVED",
];

impl Garbage {
    /// The source of a test, the same each time.
    pub fn new(of: &str) -> Self {
        Self(fastrand::Rng::with_seed(
            of.bytes().fold(13, |seed: u64, byte| seed.wrapping_mul(31).wrapping_add(byte.into())),
        ))
    }

    /// A number below another.
    pub fn below(&mut self, number: usize) -> usize {
        self.0.usize(..number)
    }

    /// An event as text: mostly JSON of which a part is another, sometimes no JSON at all. Lambda takes only UTF-8.
    pub fn event(&mut self, good: &str) -> String {
        let mut value: Value = serde_json::from_str(good).expect("JSON");
        for _ in 0..self.0.usize(1..4) {
            self.change(&mut value);
        }
        let text = value.to_string();
        if self.0.u8(..8) == 0 { self.spoiled(text) } else { text }
    }

    /// The content of a document: of JSON Lines a line is changed, and bytes may be no text.
    pub fn content(&mut self, good: &str) -> Vec<u8> {
        let lines: Vec<&str> = good.lines().collect();
        let text = if serde_json::from_str::<Value>(good).is_ok() || lines.is_empty() {
            self.event(if lines.is_empty() { "{}" } else { good })
        } else {
            let (place, mut lines) =
                (self.below(lines.len()), lines.iter().map(ToString::to_string).collect::<Vec<_>>());
            lines[place] = self.event(&lines[place]);
            lines.join("\n")
        };
        let mut bytes = text.into_bytes();
        if self.0.u8(..16) == 0 {
            let place = self.below(bytes.len() + 1);
            bytes.splice(place..place, [0xff, 0xc0, 0x80]);
        }
        bytes
    }

    /// Changes one thing in a value.
    fn change(&mut self, value: &mut Value) {
        let places = places(value, String::new());
        let place = places[self.below(places.len())].clone();
        let other = places[self.below(places.len())].clone();
        let other = value.pointer(&other).cloned().unwrap_or_default();
        let Some(here) = value.pointer_mut(&place) else { return };
        match self.0.u8(..10) {
            0..=3 => *here = self.scalar(),
            4 => *here = other,
            5 => *here = json!([here]),
            6 => *here = as_list(here),
            7 => {
                if let Value::Object(fields) = here {
                    let name = fields.keys().nth(self.0.usize(..fields.len().max(1))).cloned();
                    drop(name.and_then(|name| fields.remove(&name)));
                }
            }
            8 => {
                if let Value::Object(fields) = here {
                    let name = fields.keys().next().map_or_else(|| "more".to_owned(), |name| name.to_uppercase());
                    fields.insert(name, self.scalar());
                }
            }
            _ => {
                for _ in 0..self.0.usize(1..200) {
                    *here = json!([here]);
                }
            }
        }
    }

    /// A value that fits hardly anywhere, or where it should not.
    fn scalar(&mut self) -> Value {
        match self.0.u8(..14) {
            0 => Value::Null,
            1 => json!(self.0.bool()),
            2 => json!(0),
            3 => json!(-1),
            4 => json!(u64::MAX),
            5 => json!(i64::MIN),
            6 => json!(4_294_967_296_u64),
            7 => Number::from_f64(1e308).map_or(Value::Null, Value::Number),
            8 => json!(1.5),
            9 => json!([null, null, null, null, true]),
            10 => Value::Object(Map::new()),
            11 => json!(["x", "\u{202e}", "ü"][self.below(3)].repeat(70_000)),
            _ => json!(TEXTS[self.below(TEXTS.len())]),
        }
    }

    /// Text that was JSON.
    fn spoiled(&mut self, mut text: String) -> String {
        let quote = text.find('"').map_or(0, |place| place + 1);
        match self.0.u8(..8) {
            0 => {
                let cut = text.char_indices().map(|(place, _)| place).nth(self.below(text.chars().count().max(1)));
                text.truncate(cut.unwrap_or_default());
            }
            1 => text.insert_str(quote, "\\ud800"),
            2 => text.insert(quote, '\u{1}'),
            3 => text = format!("{{\"a\": 1e999, \"b\": {text}}}"),
            4 => text.insert(0, '\u{feff}'),
            5 => text = "[".repeat(5_000) + &text,
            6 => text = format!("{{\"a\": {}{text}{}}}", "[".repeat(200), "]".repeat(200)),
            _ => text.clear(),
        }
        text
    }
}

/// The pointers to all parts of a value.
fn places(value: &Value, at: String) -> Vec<String> {
    let below: Vec<String> = match value {
        Value::Array(values) => {
            (0..).zip(values).flat_map(|(index, value): (usize, _)| places(value, format!("{at}/{index}"))).collect()
        }
        Value::Object(fields) => {
            let escaped = |name: &str| name.replace('~', "~0").replace('/', "~1");
            fields.iter().flat_map(|(name, value)| places(value, format!("{at}/{}", escaped(name)))).collect()
        }
        _ => Vec::new(),
    };
    std::iter::once(at).chain(below).collect()
}

/// What serde takes for an object where nobody forbids it: the list of its values.
fn as_list(value: &Value) -> Value {
    match value {
        Value::Object(fields) => fields.values().cloned().collect(),
        other => json!([other]),
    }
}
