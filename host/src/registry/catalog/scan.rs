//! Looking through all functions: a page of their list, and those that a query finds.
//!
//! A page begins behind the last one's end, which is a name: what comes and goes meanwhile moves nothing else. It takes one look at every
//! function and sorts only what it shows.

use std::cmp::Ordering;
use std::sync::Arc;

use super::super::name::{AliasName, FunctionName, VersionName};
use super::super::revision::Weights;
use super::super::search::{Query, Subject, text};
use super::route::Shown;
use super::{Catalog, Entry, Function, Version};

/// What is looked for.
#[derive(Debug, Clone, Default)]
pub struct Search {
    pub query: Query,
    /// Which of a function's versions are looked at.
    pub which: Which,
    /// Only those behind this one.
    pub after: Option<After>,
    /// The most that are shown.
    pub limit: usize,
}

/// Which of a function's versions stand for it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Which {
    /// The one that `live` sends most requests to or, where there is no such alias, the newest.
    #[default]
    Live,
    /// The one that this alias sends most requests to.
    Alias(AliasName),
    /// Every one by itself.
    All,
}

/// The last that was shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct After {
    pub function: FunctionName,
    /// Of the versions where all are looked at; `None`: all of them were shown.
    pub version: Option<VersionName>,
}

/// A part of what there is.
#[derive(Debug)]
pub struct Page<T> {
    pub items: Vec<T>,
    /// Whether there are more behind.
    pub more: bool,
}

impl Catalog {
    /// The functions behind `after` by name, at most `limit` of them.
    pub fn page(&self, after: Option<&str>, limit: Option<usize>) -> Page<Arc<Function>> {
        let snapshot = self.shared.snapshot.load();
        let usable = snapshot.iter().filter_map(|(name, entry)| match entry {
            Entry::Usable(Shown { function, .. }) if after.is_none_or(|after| name.as_str() > after) => {
                Some((name, function))
            }
            Entry::Usable(_) | Entry::Damaged(_) | Entry::Gone(_) => None,
        });
        let page = Page::first(usable.collect(), limit, |(a, _), (b, _)| a.cmp(b));
        Page { items: page.items.into_iter().map(|(_, function)| Arc::clone(function)).collect(), more: page.more }
    }

    /// The versions that a query finds: first those of functions that it names, then the others, both by name.
    pub fn search(&self, search: &Search) -> Page<Arc<Version>> {
        let Search { query, which, after, limit } = search;
        let snapshot = self.shared.snapshot.load();
        let behind = after.as_ref().map(|after| {
            let version = after.version.as_ref().filter(|_| *which == Which::All);
            (Place { is_named: query.names(after.function.as_str()), function: &after.function }, version)
        });
        let mut found = Vec::new();
        for (name, entry) in snapshot.iter() {
            let Entry::Usable(Shown { function, .. }) = entry else { continue };
            let place = Place { is_named: query.names(name.as_str()), function: name };
            for version in function.standing_for(which) {
                let is_behind = behind.as_ref().is_none_or(|(last, version_before)| match place.cmp(last) {
                    Ordering::Equal => version_before.is_some_and(|before| version.name > *before),
                    order => order == Ordering::Greater,
                });
                if is_behind && query.holds_of(version.subject()) {
                    found.push((place, version));
                }
            }
        }
        let page = Page::first(found, Some(*limit), |a, b| (a.0, &a.1.name).cmp(&(b.0, &b.1.name)));
        Page { items: page.items.into_iter().map(|(_, version)| Arc::clone(version)).collect(), more: page.more }
    }
}

/// Where a function is shown.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Place<'n> {
    is_named: bool,
    function: &'n FunctionName,
}

impl Ord for Place<'_> {
    fn cmp(&self, other: &Self) -> Ordering {
        (other.is_named, self.function).cmp(&(self.is_named, other.function))
    }
}

impl PartialOrd for Place<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<T> Page<T> {
    /// The first of `all` in this order.
    fn first(mut all: Vec<T>, limit: Option<usize>, order: impl Fn(&T, &T) -> Ordering) -> Self {
        let limit = limit.unwrap_or(all.len());
        let more = all.len() > limit;
        if more {
            all.select_nth_unstable_by(limit, &order);
            all.truncate(limit);
        }
        all.sort_unstable_by(order);
        Self { items: all, more }
    }
}

impl Function {
    fn standing_for(&self, which: &Which) -> impl Iterator<Item = &Arc<Version>> {
        let of_alias = |alias: &str| self.versions.get(most(self.revision.aliases.get(alias)?)?);
        let (one, all) = match which {
            Which::All => (None, Some(self.versions.values())),
            Which::Alias(alias) => (of_alias(alias.as_str()), None),
            Which::Live => (of_alias(AliasName::LIVE).or_else(|| self.versions.values().last()), None),
        };
        one.into_iter().chain(all.into_iter().flatten())
    }
}

/// The version of the greatest weight; of equal ones the last by name.
fn most(weights: &Weights) -> Option<&VersionName> {
    weights.iter().max_by_key(|(_, weight)| **weight).map(|(version, _)| version)
}

impl Version {
    fn subject(&self) -> Subject<'_> {
        let Self { function, manifest, record, .. } = self;
        Subject { function, manifest, record, text: self.words.get_or_init(|| text(manifest, record)) }
    }
}

#[cfg(test)]
mod tests;
