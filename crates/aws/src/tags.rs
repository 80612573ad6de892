//! Owns tags and filters as EC2 writes them.

use std::collections::BTreeMap;

use ami_backup_core::{failure::AwsFailure, id::Region, tags::Tags};
use aws_sdk_ec2::types::{Filter, ResourceType, Tag, TagSpecification};

use crate::{Aws, failure::Call};

impl Aws {
    /// Writes tags on images and snapshots, of which CreateTags takes up to 1,000 at once. Tags that
    /// are there already are overwritten, others stay.
    ///
    /// # Errors
    /// What EC2 refused.
    pub async fn create_tags(&self, region: &Region, resource_ids: &[String], tags: &Tags) -> Result<(), AwsFailure> {
        let call = Call::new("ec2:CreateTags", region);
        self.ec2(region)
            .create_tags()
            .set_resources(Some(resource_ids.to_vec()))
            .set_tags(Some(written(tags)))
            .send()
            .await
            .map(|_| ())
            .map_err(|error| call.failed(error))
    }
}

/// Tags as EC2 told them.
pub(crate) fn read(tags: &[Tag]) -> Tags {
    moved(Some(tags.to_vec()))
}

/// Tags as EC2 told them, where nobody else needs them.
pub(crate) fn moved(tags: Option<Vec<Tag>>) -> Tags {
    let tag = |tag: Tag| Some((tag.key?, tag.value.unwrap_or_default()));
    tags.unwrap_or_default().into_iter().filter_map(tag).collect()
}

/// Tags for a thing that a call creates; nothing if there are none, since EC2 refuses an empty list.
pub(crate) fn specification(resource: ResourceType, tags: &Tags) -> Option<TagSpecification> {
    let specification = || TagSpecification::builder().resource_type(resource).set_tags(Some(written(tags))).build();
    (!tags.is_empty()).then(specification)
}

fn written(tags: &Tags) -> Vec<Tag> {
    tags.iter().map(|(key, value)| Tag::builder().key(key).value(value).build()).collect()
}

/// A filter on exactly these values.
pub(crate) fn filter(name: impl Into<String>, values: impl IntoIterator<Item = impl AsRef<str>>) -> Filter {
    let values = values.into_iter().map(|value| literal(value.as_ref())).collect();
    Filter::builder().name(name).set_values(Some(values)).build()
}

/// One filter per tag: a thing must carry them all, each with one of its values. No tags would mean
/// every thing, and therefore have no filters at all.
pub(crate) fn tag_filters(tags: &BTreeMap<String, Vec<String>>) -> Option<Vec<Filter>> {
    let filters = || tags.iter().map(|(key, values)| filter(format!("tag:{key}"), values)).collect();
    (!tags.is_empty()).then(filters)
}

/// In the value of a filter EC2 reads `*` and `?` as wildcards, and `\` takes that meaning away (EC2
/// user guide, "List and filter using the CLI and API"). A run called `nightly*` is not all nights.
fn literal(value: &str) -> String {
    let mut text = String::with_capacity(value.len());
    for character in value.chars() {
        if matches!(character, '*' | '?' | '\\') {
            text.push('\\');
        }
        text.push(character);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wildcard_in_a_value_stands_for_itself() {
        assert_eq!(filter("tag:a", [r"night*ly?\"]).values(), [r"night\*ly\?\\"]);
        assert_eq!(filter("tag:a", ["2026-11-23T02:00:00Z"]).values(), ["2026-11-23T02:00:00Z"]);
    }

    #[test]
    fn no_tags_select_nothing() {
        assert_eq!(tag_filters(&BTreeMap::new()), None);
    }

    #[test]
    fn no_tags_are_no_specification() {
        assert_eq!(specification(ResourceType::Image, &Tags::new()), None);
    }
}
