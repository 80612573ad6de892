//! Owns filters and pages.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use super::context::Context;
use super::errors::{Answer, Ec2Error};
use super::params::Params;
use crate::permissions::matches;
use crate::world::Tags;
use crate::world::state::hex;

/// EC2's cap on the values of all filters together (not confirmed by its documentation).
const MAX_VALUES: usize = 200;

/// The filters of a call: all must hold, each by any of its values, in which `*` and `?` are wildcards.
#[derive(Debug)]
pub(crate) struct Filters(Vec<(String, Vec<String>)>);

impl Filters {
    /// Reads `Filter.N`; a name that is not in `known` is refused. `tag:…` is known where `tag-key` is.
    pub(crate) fn read(params: &Params, known: &[&str]) -> Answer<Self> {
        let mut filters = Vec::new();
        for filter in params.structures("Filter") {
            let name = filter.required("Name").map_err(|_| Ec2Error::missing("Filter.Name"))?;
            let tag = name.starts_with("tag:") && known.contains(&"tag-key");
            if !tag && !known.contains(&name) {
                return Err(Ec2Error::invalid(format!("The filter '{name}' is invalid")));
            }
            let values: Vec<String> = filter.list("Value").into_iter().map(Into::into).collect();
            if values.is_empty() {
                return Err(Ec2Error::invalid(format!("The filter '{name}' has no values")));
            }
            filters.push((name.to_owned(), values));
        }
        if filters.iter().map(|(_, values)| values.len()).sum::<usize>() > MAX_VALUES {
            let message = format!("The maximum number of filter values specified on a single call is {MAX_VALUES}");
            return Err(Ec2Error::new("FilterLimitExceeded", message));
        }
        Ok(Self(filters))
    }

    /// Whether all filters hold for something with these tags, of which `field` gives the values that
    /// it has for a filter name.
    pub(crate) fn hold(&self, tags: &Tags, field: impl Fn(&str) -> Vec<String>) -> bool {
        self.0.iter().all(|(name, wanted)| {
            let found = match name.strip_prefix("tag:") {
                Some(key) => tags.get(key).cloned().into_iter().collect(),
                None if name == "tag-key" => tags.keys().cloned().collect(),
                None => field(name),
            };
            found.iter().any(|found| wanted.iter().any(|wanted| matches(wanted, found)))
        })
    }
}

/// Which page is asked for.
#[derive(Debug)]
pub(crate) struct Page {
    size: Option<usize>,
    after: Option<String>,
    fingerprint: String,
}

impl Page {
    /// Reads `MaxResults` (which must lie in `bounds`) and `NextToken`. A token that another request
    /// gave is refused.
    pub(crate) fn read(context: &Context<'_>, bounds: (u64, u64)) -> Answer<Self> {
        let params = &context.params;
        let (least, most) = bounds;
        let size = params.number("MaxResults")?;
        if size.is_some_and(|size| size < least || size > most) {
            let message =
                format!("Value for parameter MaxResults is invalid. Expecting a value between {least} and {most}.");
            return Err(Ec2Error::invalid(message));
        }
        let parts = [
            context.caller.account.as_str(),
            context.caller.region.as_str(),
            &params.fingerprint(&["NextToken", "MaxResults"]),
        ];
        let fingerprint = hex(parts.join("\n").as_bytes())[..16].to_owned();
        let after = match params.get("NextToken").filter(|token| !token.is_empty()) {
            None => None,
            Some(token) => match token.split_once('.') {
                Some((print, after)) if print == fingerprint => Some(after.to_owned()),
                _ => return Err(Ec2Error::new("InvalidNextToken", format!("The token '{token}' is invalid"))),
            },
        };
        Ok(Self { size: size.and_then(|size| usize::try_from(size).ok()), after, fingerprint })
    }

    /// Whether a page was asked for, rather than everything.
    pub(crate) fn wanted(&self) -> bool {
        self.size.is_some() || self.after.is_some()
    }

    /// Whether `MaxResults` was given.
    pub(crate) fn sized(&self) -> bool {
        self.size.is_some()
    }

    /// The token of the page after an empty one, on the first page of several.
    pub(crate) fn empty_first(&self) -> Option<String> {
        // No id sorts before the empty text.
        (self.size.is_some() && self.after.is_none()).then(|| format!("{}.", self.fingerprint))
    }

    /// What can be on the page: the things with these ids, or without ids all of them from where the page begins, in
    /// the order of their ids.
    pub(crate) fn among<'m, T>(
        &self,
        all: &'m BTreeMap<String, T>,
        ids: &[&str],
    ) -> Box<dyn Iterator<Item = &'m T> + 'm> {
        if ids.is_empty() {
            let from = self.after.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
            return Box::new(all.range::<str, _>((from, Bound::Unbounded)).map(|(_, one)| one));
        }
        let named: BTreeSet<&str> = ids.iter().copied().collect();
        let found: Vec<&T> = named.into_iter().filter_map(|id| all.get(id)).collect();
        Box::new(found.into_iter())
    }

    /// Cuts the page out of `items`, which must be in the ascending order of their keys. Also gives the
    /// token of the next page, if there is one. Looks at no more of them than the page needs.
    pub(crate) fn cut<T>(
        &self,
        items: impl IntoIterator<Item = T>,
        key: impl Fn(&T) -> String,
    ) -> (Vec<T>, Option<String>) {
        let mut rest = items.into_iter().filter(|item| self.after.as_ref().is_none_or(|after| key(item) > *after));
        let Some(size) = self.size else { return (rest.collect(), None) };
        let page: Vec<T> = rest.by_ref().take(size).collect();
        let more = rest.next().is_some();
        let token = page.last().filter(|_| more).map(|last| format!("{}.{}", self.fingerprint, key(last)));
        (page, token)
    }
}
