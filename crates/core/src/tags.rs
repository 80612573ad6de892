//! Owns the tags of what a run makes: ours, and as many of the source's as fit.

use std::collections::BTreeMap;

use crate::{
    item::RunContext,
    naming::{TAG_EXPIRES, TAG_MANAGED, TAG_ORIGIN, TAG_POLICY, TAG_RUN, TAG_SOURCE, TAG_TOKEN},
};

/// Tags by key.
pub type Tags = BTreeMap<String, String>;

/// A resource carries at most 50 user tags.
pub const MOST_TAGS: usize = 50;

/// Tags for a thing that is about to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlannedTags {
    /// What goes into the creating call.
    pub tags: Tags,
    /// Keys of the source's tags for which there was no room, in order.
    pub dropped: Vec<String>,
}

/// Our own tags: whose it is, and when it may go.
pub fn identity_tags(run: &RunContext, source: &str, token: &str) -> Tags {
    [
        (TAG_MANAGED, "true".to_owned()),
        (TAG_RUN, run.run.clone()),
        (TAG_POLICY, run.policy.clone()),
        (TAG_SOURCE, source.to_owned()),
        (TAG_ORIGIN, run.origin.clone().unwrap_or_else(|| source.to_owned())),
        (TAG_EXPIRES, run.expires.to_string()),
        (TAG_TOKEN, token.to_owned()),
    ]
    .into_iter()
    .map(|(key, value)| (key.to_owned(), value))
    .collect()
}

/// Tags that a person wrote: neither AWS's nor ours.
///
/// AWS's (`aws:`) cannot be written by users. Ours are of the thing that was made, not of what is made
/// from it: copied onward they would give two things one identity.
pub fn user_tags(tags: &Tags) -> Tags {
    tags.iter()
        .filter(|(key, _)| !key.starts_with("aws:") && !key.starts_with("ami-backup:"))
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect()
}

/// The source's tags and ours, ours first, within the limit.
pub fn planned_tags(source: &Tags, identity: Tags) -> PlannedTags {
    let mut tags = identity;
    let mut dropped = Vec::new();
    for (key, value) in user_tags(source) {
        if tags.len() < MOST_TAGS {
            tags.insert(key, value);
        } else {
            dropped.push(key);
        }
    }
    PlannedTags { tags, dropped }
}

/// The tags that all have in common: one call tags all snapshots of an image alike, and what only some
/// carry is put on each when it exists.
pub fn common_tags<'a>(mut all: impl Iterator<Item = &'a Tags>) -> Tags {
    let Some(first) = all.next() else {
        return Tags::new();
    };
    all.fold(first.clone(), |mut common, tags| {
        common.retain(|key, value| tags.get(key) == Some(value));
        common
    })
}

/// Whether this product made the thing that carries these tags.
pub fn is_managed(tags: &Tags) -> bool {
    tags.get(TAG_MANAGED).is_some_and(|value| value == "true")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::item::test_run;

    #[test]
    fn identity_is_never_what_is_dropped() {
        let source: Tags = (0..50).map(|n| (format!("tag-{n:02}"), String::new())).collect();
        let planned = planned_tags(&source, identity_tags(&test_run(), "ami-12345678", "t"));
        assert_eq!(planned.tags.len(), MOST_TAGS);
        assert_eq!(planned.dropped.len(), 7);
        assert!(is_managed(&planned.tags) && planned.tags.contains_key(TAG_TOKEN));
    }

    #[test]
    fn what_is_made_of_an_image_of_an_instance_says_that_it_is_of_the_instance() {
        let run = RunContext { origin: Some("i-12345678".into()), ..test_run() };
        let origin = |run: &RunContext| identity_tags(run, "ami-12345678", "t").remove(TAG_ORIGIN);
        assert_eq!(origin(&run).as_deref(), Some("i-12345678"));
        assert_eq!(origin(&test_run()).as_deref(), Some("ami-12345678"));
    }

    #[test]
    fn the_identity_of_a_source_does_not_reach_its_copies() {
        let source = identity_tags(&test_run(), "i-12345678", "old");
        let planned = planned_tags(&source, identity_tags(&test_run(), "ami-12345678", "new"));
        assert_eq!(planned.tags.get(TAG_TOKEN).map(String::as_str), Some("new"));
        assert_eq!(planned.tags.get(TAG_SOURCE).map(String::as_str), Some("ami-12345678"));
    }

    #[test]
    fn only_tags_with_one_value_are_common() {
        let tags = |pairs: &[(&str, &str)]| pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        let (one, other): (Tags, Tags) = (tags(&[("a", "1"), ("b", "1")]), tags(&[("a", "1"), ("b", "2"), ("c", "3")]));
        assert_eq!(common_tags([&one, &other].into_iter()), tags(&[("a", "1")]));
        assert_eq!(common_tags(std::iter::empty()), Tags::new());
    }

    #[test]
    fn only_what_says_that_it_is_ours_is_ours() {
        assert!(is_managed(&identity_tags(&test_run(), "ami-12345678", "t")));
        for (key, value) in [(TAG_MANAGED, "false"), (TAG_RUN, "true"), ("managed", "true")] {
            assert!(!is_managed(&Tags::from([(key.to_owned(), value.to_owned())])), "{key}={value}");
        }
        assert!(!is_managed(&Tags::new()));
    }

    #[test]
    fn tags_of_aws_are_left_out() {
        let source = Tags::from([("aws:backup:x".to_owned(), "1".to_owned()), ("Team".to_owned(), "a".to_owned())]);
        assert_eq!(user_tags(&source).len(), 1);
    }
}
