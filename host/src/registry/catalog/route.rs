//! Where an alias sends requests, with the versions at hand.
//!
//! Of thousands of functions nothing that a request needs to find its version is in a cache, so a look-up costs as many misses as the
//! places it looks at. That of `live` lies in the catalog's own table and is found with the name; the others are worked out when they
//! are asked for.

use std::borrow::Borrow;
use std::sync::Arc;

use super::super::name::AliasName;
use super::draw::{Shares, is_copied};
use super::resolve::Destined;
use super::{Function, Version};

/// A function, and the way of most of its requests.
#[derive(Debug, Clone)]
pub(super) struct Shown {
    pub(super) function: Arc<Function>,
    pub(super) live: Option<Route>,
}

/// Holds its versions, or borrows them from the function.
#[derive(Debug, Clone)]
pub(super) struct Route<V = Arc<Version>> {
    shares: Shares<V>,
    /// With the percentage that it gets copies of.
    shadow: Option<(u32, V)>,
}

impl From<Arc<Function>> for Shown {
    fn from(function: Arc<Function>) -> Self {
        Self { live: Route::of(&function, AliasName::LIVE, Arc::clone), function }
    }
}

impl<V: Borrow<Arc<Version>>> Route<V> {
    /// `None` if there is no such alias: one that there is has a version, and its versions are there ([`Revision::check`]).
    ///
    /// [`Revision::check`]: super::super::revision::Revision::check
    pub(super) fn of<'f>(function: &'f Function, alias: &str, take: impl Fn(&'f Arc<Version>) -> V) -> Option<Self> {
        let Function { revision, versions, .. } = function;
        let weights = revision.aliases.get(alias)?.iter();
        let weights = weights.filter_map(|(version, weight)| Some((take(versions.get(version)?), *weight)));
        let shadow = revision.shadows.get(alias);
        let shadow = shadow.and_then(|shadow| Some((shadow.percent, take(versions.get(&shadow.version)?))));
        Some(Self { shares: Shares::of(weights)?, shadow })
    }

    /// Where a request to this alias of that function goes, and whether it is copied; with a routing key where others of that key go.
    pub(super) fn pick(&self, function: &str, alias: &str, key: Option<&[u8]>) -> Destined {
        let version = match key {
            Some(key) => self.shares.by_key(|held| held.borrow().name.as_str(), function, alias, key),
            None => self.shares.by_chance(),
        };
        let shadow = self.shadow.as_ref().filter(|(percent, _)| is_copied(*percent));
        Destined { version: Arc::clone(version.borrow()), shadow: shadow.map(|(_, held)| Arc::clone(held.borrow())) }
    }
}
