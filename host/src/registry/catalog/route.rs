//! Where an alias sends requests, with the versions at hand.
//!
//! Of thousands of functions nothing that a request needs to find its version is in a cache, so a look-up costs as many misses as the
//! places it looks at. That of `live` lies in the catalog's own table and is found with the name; the others are worked out when they
//! are asked for.

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

#[derive(Debug, Clone)]
pub(super) struct Route {
    shares: Shares<Arc<Version>>,
    /// With the percentage that it gets copies of. Boxed, as it is rare.
    shadow: Option<Box<(u32, Arc<Version>)>>,
}

impl From<Arc<Function>> for Shown {
    fn from(function: Arc<Function>) -> Self {
        Self { live: Route::of(&function, AliasName::LIVE), function }
    }
}

impl Route {
    /// `None` if there is no such alias.
    pub(super) fn of(function: &Function, alias: &str) -> Option<Self> {
        let Function { revision, versions, .. } = function;
        let weights = revision.aliases.get(alias)?.iter();
        let weights = weights.filter_map(|(version, weight)| Some((Arc::clone(versions.get(version)?), *weight)));
        let shadow = revision.shadows.get(alias).and_then(|shadow| {
            let version = versions.get(&shadow.version)?;
            Some(Box::new((shadow.percent, Arc::clone(version))))
        });
        Some(Self { shares: Shares::of(weights)?, shadow })
    }

    /// Where a request to this alias of that function goes, and whether it is copied; with a routing key where others of that key go.
    pub(super) fn pick(&self, function: &str, alias: &str, key: Option<&[u8]>) -> Destined {
        let version = match key {
            Some(key) => self.shares.by_key(|version| version.name.as_str(), function, alias, key),
            None => self.shares.by_chance(),
        };
        let shadow = self.shadow.as_ref().filter(|shadow| is_copied(shadow.0));
        Destined { version: Arc::clone(version), shadow: shadow.map(|shadow| Arc::clone(&shadow.1)) }
    }
}
