//! Owns how JSON is read that others wrote: inputs of steps, and documents in the bucket.
//!
//! The path of a bad field is in the error. A field that nobody knows is refused, because a misspelt option that is
//! silently ignored is a backup that is not made; and what has fields is a JSON object, never a list of their values.

mod node;
mod wrong;

use serde::{Deserialize, Deserializer, de::DeserializeOwned};
use serde_json::Value;

use crate::{
    error::{ErrorName, StepError},
    text::{shown, within},
};

use node::Node;

/// What the reader of JSON says of a text is short; of a text that it repeats, this much.
const LONGEST_REASON: usize = 400;

/// The input of a step as it comes in. What cannot be read is a value too, so that the caller is told by one of our
/// names: nested too deep, half a surrogate pair, a number that no machine holds.
#[derive(Debug, Clone)]
pub struct Payload(pub Result<Value, StepError>);

impl<'de> Deserialize<'de> for Payload {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let read = Value::deserialize(deserializer);
        Ok(Self(read.map_err(|error| StepError::input("", within(&error.to_string(), LONGEST_REASON)))))
    }
}

/// Reads `value` as a `T`.
///
/// # Errors
/// `InvalidInput`, with the path of the field that does not fit.
pub fn parse<T: DeserializeOwned>(value: Value) -> Result<T, StepError> {
    read(value).map_err(|(path, reason)| StepError::input(&path, reason))
}

/// Reads a word of the input at `path`.
///
/// # Errors
/// `InvalidInput`, with the path.
pub fn word<T: DeserializeOwned>(path: &str, word: &str) -> Result<T, StepError> {
    read(word.into()).map_err(|(_, reason)| StepError::input(path, reason))
}

/// Reads the text of a document, which lies at `place`.
///
/// # Errors
/// `Conflict`, with the place and the path of the field that does not fit.
pub fn document<T: DeserializeOwned>(text: &str, place: &str) -> Result<T, StepError> {
    document_value(document_json(text, place)?, place)
}

/// The text of a document as JSON.
///
/// # Errors
/// `Conflict`, with the place.
pub fn document_json(text: &str, place: &str) -> Result<Value, StepError> {
    serde_json::from_str(text).map_err(|error| unreadable(place, &error.to_string()))
}

/// Reads a document that is JSON already.
///
/// # Errors
/// `Conflict`, with the place and the path of the field that does not fit.
pub fn document_value<T: DeserializeOwned>(value: Value, place: &str) -> Result<T, StepError> {
    read(value).map_err(|(path, reason)| {
        let at = if path == "." { String::new() } else { format!("{}: ", shown(&path)) };
        unreadable(place, &format!("{at}{reason}"))
    })
}

/// The error of a document that cannot be read.
pub fn unreadable(place: &str, reason: &str) -> StepError {
    StepError::new(ErrorName::Conflict, format!("read {place}"), within(reason, LONGEST_REASON))
}

fn read<T: DeserializeOwned>(value: Value) -> Result<T, (String, String)> {
    serde_path_to_error::deserialize(Node(value))
        .map_err(|error| (error.path().to_string(), error.into_inner().to_string()))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::json;

    use super::*;
    use crate::id::{ImageId, Region};

    #[derive(Debug, Default, PartialEq, Deserialize)]
    #[serde(rename_all = "camelCase", deny_unknown_fields, default)]
    struct Sample {
        image_ids: Vec<ImageId>,
        apply: bool,
        days: Option<u32>,
        inner: Option<Inner>,
        way: Option<Way>,
        keys: BTreeMap<Region, String>,
        any: Value,
    }

    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(rename_all = "camelCase", deny_unknown_fields)]
    struct Inner {
        name: String,
    }

    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(rename_all = "camelCase")]
    enum Way {
        All,
        Newest(u32),
        Named(Inner),
    }

    #[track_caller]
    fn refused(value: Value, parts: &[&str]) {
        let error = parse::<Sample>(value.clone()).err();
        assert_eq!(error.as_ref().map(|e| e.name), Some(ErrorName::InvalidInput), "{value}");
        let text = error.map(|e| e.to_string()).unwrap_or_default();
        for part in parts {
            assert!(text.contains(part), "{part:?} is missing from {text:?}");
        }
        for rust in ["struct", "sequence", "u32", "i64", "newtype", "enum", "Sample"] {
            assert!(!text.contains(rust), "{rust:?} is in {text:?}");
        }
    }

    #[test]
    fn what_fits_is_read() {
        let value = json!({
            "imageIds": ["ami-12345678"], "apply": true, "days": 7, "inner": {"name": "a"}, "way": {"newest": 2},
            "keys": {"eu-west-1": "k"}, "any": [1, {"b": null}],
        });
        let read = parse::<Sample>(value).unwrap_or_default();
        assert_eq!((read.days, read.apply, read.way), (Some(7), true, Some(Way::Newest(2))));
        assert_eq!((read.any, read.inner), (json!([1, {"b": null}]), Some(Inner { name: "a".into() })));
        assert_eq!((read.keys.len(), read.image_ids.len()), (1, 1));
        for (way, named) in
            [(json!("all"), Way::All), (json!({"named": {"name": "x"}}), Way::Named(Inner { name: "x".into() }))]
        {
            assert_eq!(parse::<Sample>(json!({"way": way})).unwrap_or_default().way, Some(named));
        }
        assert_eq!(parse::<Sample>(json!({"days": null})).ok(), Some(Sample::default()));
    }

    /// 70. An input is a JSON object, and so is everything in it that has fields.
    #[test]
    fn a_list_of_values_is_no_object() {
        refused(json!([[], true, 7]), &["the input: is a list and must be an object"]);
        refused(json!({"inner": ["a"]}), &["inner: is a list and must be an object"]);
        refused(json!({"way": {"named": ["a"]}}), &["is a list and must be an object"]);
        for value in [json!(null), json!("x"), json!(7), json!(true)] {
            refused(value, &["must be an object"]);
        }
        assert!(document::<Sample>("[[], true]", "s3://b/k").is_err());
    }

    /// 70. A refusal names the path of the field and JSON's types.
    #[test]
    fn a_refusal_speaks_of_json() {
        refused(json!({"imageIds": ["ami-12345678", "vol-1"]}), &["imageIds[1]", "`vol-1`"]);
        refused(json!({"imageIds": "ami-12345678"}), &["imageIds: is the text `ami-12345678` and must be a list"]);
        refused(json!({"imageIds": [null]}), &["imageIds[0]: is null and must be text"]);
        refused(json!({"apply": "yes"}), &["apply: is the text `yes` and must be true or false"]);
        refused(json!({"days": -1}), &["days: is `-1` and must be a whole number from 0 to 4294967295"]);
        refused(json!({"days": 4_294_967_296_u64}), &["days: is `4294967296`", "4294967295"]);
        refused(json!({"days": 1.5}), &["days: is `1.5` and must be a whole number"]);
        refused(json!({"days": {}}), &["days: is an object and must be a whole number"]);
        refused(json!({"inner": {}}), &["inner", "the field `name` is missing"]);
        refused(json!({"keys": {"Ireland": "k"}}), &["keys.Ireland", "`Ireland`"]);
        refused(json!({"keys": []}), &["keys: is a list and must be an object"]);
        refused(json!({"way": 7}), &["way", "`7`"]);
        refused(json!({"way": {"newest": 1, "all": 2}}), &["way: is an object"]);
    }

    /// 70. A refusal suggests the field or the word that is nearest.
    #[test]
    fn a_refusal_suggests_what_is_nearest() {
        refused(json!({"imageIDs": []}), &["imageIDs", "did you mean `imageIds`?"]);
        refused(json!({"aply": true}), &["did you mean `apply`?"]);
        refused(json!({"somethingElse": 1}), &["there is no field `somethingElse`", "imageIds, apply, days"]);
        refused(json!({"way": "newst"}), &["way", "did you mean `newest`?"]);
    }

    /// 70. A refusal repeats at most 200 characters of what it refuses.
    #[test]
    fn a_refusal_repeats_little() {
        let long = "x".repeat(70_000);
        for value in [
            json!({"imageIds": [long]}),
            json!({long.clone(): 1}),
            json!({"way": long}),
            json!({"apply": long}),
            json!({"keys": {long.clone(): 1}}),
            json!({"inner": {"name": "a", long.clone(): 1}}),
        ] {
            let text = parse::<Sample>(value).err().map(|e| e.to_string()).unwrap_or_default();
            assert!(text.contains('…') && text.chars().count() < 1_000, "{text}");
        }
    }

    /// As the runtime reads what Lambda hands over.
    fn payload(text: &str) -> Result<Value, StepError> {
        let read = Payload::deserialize(&mut serde_json::Deserializer::from_str(text));
        read.unwrap_or_else(|error| unreachable!("{error}")).0
    }

    /// 70. What no JSON reader can hold, nested too deep, half a surrogate pair, a number beyond all, is `InvalidInput` too.
    #[test]
    fn what_cannot_be_read_at_all_has_one_of_our_names() {
        let deep = "[".repeat(10_000) + &"]".repeat(10_000);
        for text in [deep.as_str(), r#"{"a": "\ud800"}"#, r#"{"a": 1e999}"#, r#"{"a": -1e999}"#, "{\"a\": \"\n\"}", ""]
        {
            let name = payload(text).err().map(|error| error.name);
            assert_eq!(name, Some(ErrorName::InvalidInput), "{}", &text[..text.len().min(40)]);
        }
        assert_eq!(payload(r#"{"a": 1}"#), Ok(json!({"a": 1})));
    }

    /// 71. A document that cannot be read is a `Conflict` with its place and the path of the field.
    #[test]
    fn a_document_is_read_as_strictly_as_an_input() {
        for (text, part) in [
            (r#"{"imageIds": ["vol-1"]}"#, "imageIds[0]"),
            (r#"{"more": 1}"#, "more"),
            ("{", "EOF"),
            (r#"[[], true]"#, "must be an object"),
        ] {
            let error = document::<Sample>(text, "s3://b/k").err();
            assert_eq!(error.as_ref().map(|e| e.name), Some(ErrorName::Conflict), "{text}");
            let text = error.map(|e| e.to_string()).unwrap_or_default();
            assert!(text.contains("s3://b/k") && text.contains(part) && !text.contains("the input"), "{text}");
        }
        assert_eq!(document::<Sample>("{}", "s3://b/k"), Ok(Sample::default()));
    }
}
