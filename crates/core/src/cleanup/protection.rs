//! Owns what is never touched because of what it carries: tags that keep it, and the marks of other tools.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{error::StepError, image::ImageFacts, tags::Tags, text::shown};

/// A tag that keeps what carries it: `Key` with any value, or `Key=value`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct KeepTag {
    key: String,
    value: Option<String>,
}

impl TryFrom<String> for KeepTag {
    type Error = StepError;

    fn try_from(text: String) -> Result<Self, StepError> {
        let (key, value) = match text.split_once('=') {
            Some((key, value)) => (key.to_owned(), Some(value.to_owned())),
            None => (text, None),
        };
        if key.is_empty() {
            return Err(StepError::input("keepTags", "a tag needs a key: `Key` or `Key=value`"));
        }
        Ok(Self { key, value })
    }
}

impl From<KeepTag> for String {
    fn from(tag: KeepTag) -> Self {
        tag.to_string()
    }
}

impl fmt::Display for KeepTag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.value {
            Some(value) => write!(f, "{}={value}", self.key),
            None => f.write_str(&self.key),
        }
    }
}

impl KeepTag {
    /// Whether something with these tags is kept by it.
    pub fn keeps(&self, tags: &Tags) -> bool {
        tags.get(&self.key).is_some_and(|found| self.value.as_ref().is_none_or(|value| value == found))
    }
}

/// A tool that looks after its own images and snapshots.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Tool {
    /// AWS Backup: what it made is a recovery point, and goes only through it.
    Backup,
    /// Data Lifecycle Manager.
    LifecycleManager,
    /// EC2 Image Builder.
    ImageBuilder,
    /// A seller on the Marketplace, or AWS.
    Marketplace,
    /// A service of AWS that wrote this tag, which users cannot write.
    Service(String),
}

impl fmt::Display for Tool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Backup => f.write_str("AWS Backup"),
            Self::LifecycleManager => f.write_str("Data Lifecycle Manager"),
            Self::ImageBuilder => f.write_str("EC2 Image Builder"),
            Self::Marketplace => f.write_str("the Marketplace"),
            Self::Service(tag) => write!(f, "the service that wrote the tag {}", shown(tag)),
        }
    }
}

/// The tool that an image belongs to, or `None` if it is nobody's.
pub fn tool_of_image(image: &ImageFacts) -> Option<Tool> {
    match image.owner_alias.as_deref() {
        Some("aws-backup-vault") => return Some(Tool::Backup),
        Some("amazon" | "aws-marketplace") => return Some(Tool::Marketplace),
        _ if !image.product_codes.is_empty() => return Some(Tool::Marketplace),
        _ => {}
    }
    tool_of_tags(&image.tags)
}

/// The tool that a snapshot belongs to, by its tags and the description that the tool wrote.
pub fn tool_of_snapshot(tags: &Tags, description: &str) -> Option<Tool> {
    if description.starts_with("This snapshot is created by the AWS Backup service") {
        return Some(Tool::Backup);
    }
    if description.starts_with("Created for policy: policy-") {
        return Some(Tool::LifecycleManager);
    }
    tool_of_tags(tags)
}

fn tool_of_tags(tags: &Tags) -> Option<Tool> {
    tags.iter().find_map(|(key, value)| match key.as_str() {
        "Ec2ImageBuilderArn" => Some(Tool::ImageBuilder),
        "CreatedBy" if value == "EC2 Image Builder" => Some(Tool::ImageBuilder),
        key if key.starts_with("aws:backup:") => Some(Tool::Backup),
        key if key.starts_with("aws:dlm:") || key.starts_with("dlm:") => Some(Tool::LifecycleManager),
        key if key.starts_with("aws:") => Some(Tool::Service(key.to_owned())),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::tests::image;

    fn tags(pairs: &[(&str, &str)]) -> Tags {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    fn keep(text: &str) -> KeepTag {
        KeepTag::try_from(text.to_owned()).unwrap_or_else(|error| unreachable!("{error}"))
    }

    #[test]
    fn a_keep_tag_is_a_key_or_a_key_with_its_value() {
        let found = tags(&[("Tier", "gold"), ("Keep", "")]);
        for (tag, keeps) in [
            ("Keep", true),
            ("Keep=", true),
            ("Keep=yes", false),
            ("Tier=gold", true),
            ("Tier=g", false),
            ("keep", false),
        ] {
            assert_eq!(keep(tag).keeps(&found), keeps, "{tag}");
            assert_eq!(String::from(keep(tag)), tag);
        }
        assert!(keep("Note=a=b").keeps(&tags(&[("Note", "a=b")])));
    }

    /// Case 21: what another tool looks after is recognised by what that tool writes.
    #[test]
    fn what_other_tools_made_is_recognised() {
        for (pairs, tool) in [
            (&[("aws:backup:source-resource", "x")][..], Some(Tool::Backup)),
            (&[("aws:dlm:lifecycle-policy-id", "x")], Some(Tool::LifecycleManager)),
            (&[("dlm:managed", "true")], Some(Tool::LifecycleManager)),
            (&[("CreatedBy", "EC2 Image Builder")], Some(Tool::ImageBuilder)),
            (&[("Ec2ImageBuilderArn", "arn")], Some(Tool::ImageBuilder)),
            (&[("aws:new:thing", "x")], Some(Tool::Service("aws:new:thing".into()))),
            (&[("CreatedBy", "me"), ("awsome", "x")], None),
        ] {
            assert_eq!(tool_of_snapshot(&tags(pairs), ""), tool, "{pairs:?}");
            let mut tagged = image("ami-12345678");
            tagged.tags = tags(pairs);
            assert_eq!(tool_of_image(&tagged), tool, "{pairs:?}");
        }
    }

    #[test]
    fn a_description_that_a_tool_writes_is_enough() {
        let none = Tags::new();
        for (description, tool) in [
            ("This snapshot is created by the AWS Backup service.", Some(Tool::Backup)),
            ("Created for policy: policy-0123 schedule: x", Some(Tool::LifecycleManager)),
            ("Created by CreateImage(i-12345678) for ami-12345678", None),
            ("", None),
        ] {
            assert_eq!(tool_of_snapshot(&none, description), tool, "{description}");
        }
    }

    #[test]
    fn an_image_of_a_vault_or_of_the_marketplace_is_not_ours() {
        for (alias, codes, tool) in [
            (Some("aws-backup-vault"), vec![], Some(Tool::Backup)),
            (Some("aws-marketplace"), vec![], Some(Tool::Marketplace)),
            (Some("amazon"), vec![], Some(Tool::Marketplace)),
            (None, vec!["code".to_owned()], Some(Tool::Marketplace)),
            (Some("self"), vec![], None),
            (None, vec![], None),
        ] {
            let mut sold = image("ami-12345678");
            sold.owner_alias = alias.map(Into::into);
            sold.product_codes = codes;
            assert_eq!(tool_of_image(&sold), tool, "{alias:?}");
        }
    }

    #[test]
    fn every_tool_has_a_name() {
        let all = [
            Tool::Backup,
            Tool::LifecycleManager,
            Tool::ImageBuilder,
            Tool::Marketplace,
            Tool::Service("aws:x".into()),
        ];
        let names: std::collections::BTreeSet<String> = all.iter().map(ToString::to_string).collect();
        assert!(names.len() == all.len() && names.iter().any(|name| name.contains("aws:x")), "{names:?}");
    }
}
