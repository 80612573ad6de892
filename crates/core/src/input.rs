//! Owns how a step reads its input: the path of a bad field is in the error, and a field that nobody
//! knows is refused, because a misspelt option that is silently ignored is a backup that is not made.

use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::error::StepError;

/// Reads `value` as a `T`.
///
/// # Errors
/// `InvalidInput`, with the path of the field that does not fit.
pub fn parse<T: DeserializeOwned>(value: Value) -> Result<T, StepError> {
    serde_path_to_error::deserialize(value).map_err(|error| {
        let path = error.path().to_string();
        StepError::input(&path, error.into_inner())
    })
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;
    use serde_json::json;

    use super::*;
    use crate::{error::ErrorName, id::ImageId};

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Sample {
        #[expect(dead_code, reason = "only parsed")]
        ids: Vec<ImageId>,
    }

    #[test]
    fn the_path_of_the_bad_field_is_named() {
        let error = parse::<Sample>(json!({"ids": ["ami-12345678", "vol-1"]})).err();
        let text = error.as_ref().map(ToString::to_string).unwrap_or_default();
        assert_eq!(error.map(|e| e.name), Some(ErrorName::InvalidInput));
        assert!(text.contains("ids[1]") && text.contains("vol-1"), "{text}");
    }

    #[test]
    fn an_unknown_field_is_named() {
        let text = parse::<Sample>(json!({"ids": [], "idz": 1})).err().map(|e| e.to_string()).unwrap_or_default();
        assert!(text.contains("idz"), "{text}");
    }
}
