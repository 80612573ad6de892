//! Owns what makes images generations of one thing, of which the newest are kept.

use serde::{Deserialize, Serialize};
use wildmatch::WildMatch;

use crate::{
    image::ImageFacts,
    naming::{TAG_ORIGIN, TAG_POLICY, TAG_SOURCE},
};

/// A rule that puts images together.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum FamilyRule {
    /// Backups of one instance, or of one image.
    Source,
    /// Images that carry this tag with one value.
    Tag(String),
    /// Images whose name fits this pattern, in which `*` is any text and `?` any character. The names of an image's
    /// generations differ, and so does their version: the pattern is what they have in common.
    Name(String),
}

/// The family of an image, or `None` if no rule puts it into one.
///
/// Images of another architecture or another policy are another family: the newest `arm64` image is no replacement for
/// an `x86_64` one, nor a nightly one for a yearly one.
pub fn family_of(image: &ImageFacts, rules: &[FamilyRule]) -> Option<String> {
    let common = rules.iter().find_map(|rule| match rule {
        FamilyRule::Source => {
            let written = image.tags.get(TAG_ORIGIN).or_else(|| image.tags.get(TAG_SOURCE));
            let source = written.or(image.source_instance_id.as_ref())?;
            Some(format!("source {source}"))
        }
        FamilyRule::Tag(key) => image.tags.get(key).map(|value| format!("{key}={value}")),
        FamilyRule::Name(pattern) => WildMatch::new(pattern).matches(&image.name).then(|| format!("name {pattern}")),
    })?;
    let architecture = image.attribute("Architecture").unwrap_or("unknown architecture");
    let policy = image.tags.get(TAG_POLICY).map(|policy| format!(", policy {policy}")).unwrap_or_default();
    Some(format!("{common}, {architecture}{policy}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::tests::image;

    fn with(tags: &[(&str, &str)]) -> ImageFacts {
        let mut image = image("ami-12345678");
        image.name = "web-2026.11".into();
        image.tags = tags.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        image
    }

    #[test]
    fn the_first_rule_that_fits_counts() {
        let rules = [FamilyRule::Tag("Role".into()), FamilyRule::Name("web-*".into()), FamilyRule::Source];
        let family = |image: &ImageFacts| family_of(image, &rules);
        assert_eq!(family(&with(&[("Role", "db")])).as_deref(), Some("Role=db, x86_64"));
        assert_eq!(family(&with(&[])).as_deref(), Some("name web-*, x86_64"));
        let mut other = with(&[(TAG_SOURCE, "i-12345678")]);
        other.name = "db-1".into();
        assert_eq!(family(&other).as_deref(), Some("source i-12345678, x86_64"));
        other.tags.clear();
        assert_eq!(family(&other), None);
    }

    #[test]
    fn a_copy_belongs_to_what_was_backed_up_and_not_to_the_image_it_was_copied_from() {
        let copy = with(&[(TAG_ORIGIN, "i-12345678"), (TAG_SOURCE, "ami-12345678")]);
        assert_eq!(family_of(&copy, &[FamilyRule::Source]).as_deref(), Some("source i-12345678, x86_64"));
    }

    #[test]
    fn what_nobody_tagged_is_known_by_the_instance_that_ec2_remembers() {
        let mut image = with(&[]);
        image.source_instance_id = Some("i-87654321".into());
        assert_eq!(family_of(&image, &[FamilyRule::Source]).as_deref(), Some("source i-87654321, x86_64"));
    }

    /// Case 33: a version in the name does not make another family.
    #[test]
    fn versions_of_a_name_are_one_family() {
        let rules = [FamilyRule::Name("web-?.*".into()), FamilyRule::Name("web-*".into())];
        let named = |name: &str| {
            let mut image = with(&[]);
            image.name = name.into();
            family_of(&image, &rules)
        };
        assert_eq!(named("web-1.0"), named("web-2.7"));
        assert_ne!(named("web-1.0"), named("web-10.0"));
        assert_eq!(named("api-1.0"), None);
    }

    #[test]
    fn another_architecture_or_policy_is_another_family() {
        let nightly = with(&[("Role", "db"), (TAG_POLICY, "nightly")]);
        let mut arm = nightly.clone();
        arm.attributes.insert("Architecture".into(), "arm64".into());
        let mut yearly = nightly.clone();
        yearly.tags.insert(TAG_POLICY.into(), "yearly".into());
        let rules = [FamilyRule::Tag("Role".into())];
        let families: std::collections::BTreeSet<_> =
            [&nightly, &arm, &yearly].iter().filter_map(|image| family_of(image, &rules)).collect();
        assert_eq!(families.len(), 3, "{families:?}");
    }
}
