//! Where each alias sends requests, worked out when its function is shown.
//!
//! Among thousands of functions nothing that a request needs to find its version is in a cache, so a look-up costs as many misses as
//! the places it looks at: the function's own place is one, and the version's count another.

use std::sync::Arc;

use indexmap::IndexMap;

use super::super::name::{AliasName, VersionName};
use super::super::revision::Revision;
use super::Version;
use super::draw::{Shares, is_copied};
use super::resolve::Destined;

/// The routes of a function's aliases.
#[derive(Debug)]
pub(super) struct Routes {
    /// At hand, as most requests go there.
    live: Option<Route>,
    others: Vec<(AliasName, Route)>,
}

#[derive(Debug)]
struct Route {
    shares: Shares<Arc<Version>>,
    /// With the percentage that it gets copies of.
    shadow: Option<(u32, Arc<Version>)>,
}

impl Routes {
    pub(super) fn of(revision: &Revision, versions: &IndexMap<VersionName, Arc<Version>>) -> Self {
        let routes = revision.aliases.iter().filter_map(|(alias, weights)| {
            let weights = weights.iter().filter_map(|(version, weight)| Some((Arc::clone(versions.get(version)?), *weight)));
            let shadow = revision.shadows.get(alias);
            let shadow = shadow.and_then(|shadow| Some((shadow.percent, Arc::clone(versions.get(&shadow.version)?))));
            Some((alias.clone(), Route { shares: Shares::of(weights)?, shadow }))
        });
        let (mut live, others) = routes.partition::<Vec<_>, _>(|(alias, _)| alias.as_str() == AliasName::LIVE);
        Self { live: live.pop().map(|(_, route)| route), others }
    }

    /// Where a request to `alias` of `function` goes, and whether it is copied; with a routing key where others of that key go. `None`
    /// if there is no such alias.
    pub(super) fn pick(&self, function: &str, alias: &str, key: Option<&[u8]>) -> Option<Destined> {
        let route = match alias {
            AliasName::LIVE => self.live.as_ref(),
            _ => self.others.iter().find(|(name, _)| name.as_str() == alias).map(|(_, route)| route),
        };
        let Route { shares, shadow } = route?;
        let version = match key {
            Some(key) => shares.by_key(|version| version.name.as_str(), function, alias, key),
            None => shares.by_chance(),
        };
        let shadow = shadow.as_ref().filter(|(percent, _)| is_copied(*percent));
        Some(Destined { version: Arc::clone(version), shadow: shadow.map(|(_, version)| Arc::clone(version)) })
    }
}
