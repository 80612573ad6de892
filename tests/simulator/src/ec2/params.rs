//! Owns the reading of parameters: `Name=value` pairs in which lists and structures are written with
//! dots (`Filter.1.Value.2`).

use std::collections::{BTreeMap, BTreeSet};

use super::errors::{Answer, Ec2Error};
use crate::world::Tags;

/// The parameters of a call, or of one structure in it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Params(BTreeMap<String, String>);

impl Params {
    pub(crate) fn new(pairs: &[(String, String)]) -> Self {
        Self(pairs.iter().cloned().collect())
    }

    /// Whether there is nothing in it.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The text of a parameter that may be absent. An empty text is a text.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// The text of a parameter that must be there and not empty.
    pub(crate) fn required(&self, name: &str) -> Answer<&str> {
        self.get(name).filter(|value| !value.is_empty()).ok_or_else(|| Ec2Error::missing(name))
    }

    /// `true` or `false`, if given.
    pub(crate) fn maybe_flag(&self, name: &str) -> Answer<Option<bool>> {
        match self.get(name) {
            None => Ok(None),
            Some("true" | "True" | "TRUE" | "1") => Ok(Some(true)),
            Some("false" | "False" | "FALSE" | "0") => Ok(Some(false)),
            Some(other) => {
                Err(Ec2Error::invalid(format!("Invalid value '{other}' for {name}. Must be 'true' or 'false'")))
            }
        }
    }

    /// `true` or `false`; absent means false.
    pub(crate) fn flag(&self, name: &str) -> Answer<bool> {
        Ok(self.maybe_flag(name)?.unwrap_or(false))
    }

    /// A whole number, if given.
    pub(crate) fn number(&self, name: &str) -> Answer<Option<u64>> {
        let parse = |text: &str| {
            text.parse().map_err(|_| Ec2Error::invalid(format!("Invalid value '{text}' for {name}. Must be a number")))
        };
        self.get(name).map(parse).transpose()
    }

    /// The same, where the number is known to be small.
    pub(crate) fn small_number(&self, name: &str) -> Answer<Option<u32>> {
        let number = self.number(name)?;
        let small =
            |number| u32::try_from(number).map_err(|_| Ec2Error::invalid(format!("{name} is too large: {number}")));
        number.map(small).transpose()
    }

    /// The texts `name.1`, `name.2`, … in order.
    pub(crate) fn list(&self, name: &str) -> Vec<&str> {
        self.numbers(name).iter().filter_map(|number| self.get(&format!("{name}.{number}"))).collect()
    }

    /// The structures `name.1.…`, `name.2.…`, … in order.
    pub(crate) fn structures(&self, name: &str) -> Vec<Self> {
        self.numbers(name).iter().map(|number| self.structure(&format!("{name}.{number}"))).collect()
    }

    /// The structure `name.…`, without the prefix. Empty if there is none.
    pub(crate) fn structure(&self, name: &str) -> Self {
        let prefix = format!("{name}.");
        let inside =
            self.0.iter().filter_map(|(key, value)| Some((key.strip_prefix(&prefix)?.to_owned(), value.clone())));
        Self(inside.collect())
    }

    /// Everything but the named parameters, in one text: equal texts mean equal requests.
    pub(crate) fn fingerprint(&self, except: &[&str]) -> String {
        let pairs = self.0.iter().filter(|(name, _)| !except.contains(&name.as_str()));
        pairs.map(|(name, value)| format!("{name}={value}\n")).collect()
    }

    fn numbers(&self, name: &str) -> BTreeSet<u32> {
        let prefix = format!("{name}.");
        let number = |key: &String| key.strip_prefix(&prefix)?.split('.').next()?.parse().ok();
        self.0.keys().filter_map(number).collect()
    }

    /// `Tag.N.Key` and `Tag.N.Value`, checked as EC2 checks them.
    pub(crate) fn tags(&self) -> Answer<Tags> {
        let mut tags = Tags::new();
        for tag in self.structures("Tag") {
            let key = tag.required("Key").map_err(|_| Ec2Error::invalid("Tag keys must not be empty"))?;
            let value = tag.get("Value").unwrap_or_default();
            check_tag(key, value)?;
            if tags.insert(key.into(), value.into()).is_some() {
                return Err(Ec2Error::invalid(format!("Duplicate tag key '{key}' specified.")));
            }
        }
        Ok(tags)
    }

    /// The tags of `TagSpecification.N` by resource type, of which only those in `allowed` may occur.
    pub(crate) fn tag_specifications(&self, allowed: &[&str], limit: usize) -> Answer<BTreeMap<String, Tags>> {
        let mut all = BTreeMap::new();
        for specification in self.structures("TagSpecification") {
            let kind = specification.required("ResourceType")?;
            if !allowed.contains(&kind) {
                return Err(Ec2Error::invalid(format!(
                    "'{kind}' is not a valid taggable resource type for this operation."
                )));
            }
            let tags = specification.tags()?;
            if tags.len() > limit {
                return Err(Ec2Error::new("TagLimitExceeded", format!("The maximum number of tags is {limit}")));
            }
            if all.insert(kind.to_owned(), tags).is_some() {
                return Err(Ec2Error::invalid(format!("The resource type '{kind}' is specified twice.")));
            }
        }
        Ok(all)
    }
}

fn check_tag(key: &str, value: &str) -> Answer<()> {
    if key.to_ascii_lowercase().starts_with("aws:") {
        return Err(Ec2Error::invalid(format!("Tag keys starting with 'aws:' are reserved for internal use: '{key}'")));
    }
    if key.chars().count() > 127 {
        return Err(Ec2Error::new("InvalidTagKey.Malformed", "Tag key exceeds the maximum length of 127 characters"));
    }
    if value.chars().count() > 255 {
        return Err(Ec2Error::invalid("Tag value exceeds the maximum length of 255 characters"));
    }
    Ok(())
}
