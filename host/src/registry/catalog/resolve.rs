//! Which version a request goes to, and which gets a copy: a look at the snapshot, without a lock.

use std::sync::Arc;

use super::super::name::AliasName;
use super::route::{Route, Shown};
use super::{Catalog, CatalogError, Version, shown};

/// Where a request goes.
#[derive(Debug)]
pub struct Destined {
    /// The version that answers it.
    pub version: Arc<Version>,
    /// The version that is to get a copy.
    pub shadow: Option<Arc<Version>>,
}

impl Catalog {
    /// The version that a request for `function` goes to: the one called `version`, or the one that the alias of that
    /// name picks by its weights. Without `version`, the `live` alias decides.
    pub fn resolve(&self, function: &str, version: Option<&str>) -> Result<Arc<Version>, CatalogError> {
        self.resolve_for(None, function, version).map(|destined| destined.version)
    }

    /// The same for a request that may have a routing key, which goes where others of that key go. Whether it is copied is a matter of
    /// chance.
    pub fn resolve_for(
        &self,
        key: Option<&[u8]>,
        function: &str,
        version: Option<&str>,
    ) -> Result<Destined, CatalogError> {
        let snapshot = self.shared.snapshot.load();
        let Shown { function: of, live } = shown(&snapshot, function)?;
        if let Some(found) = version.and_then(|version| of.versions.get(version)) {
            return Ok(Destined { version: Arc::clone(found), shadow: None });
        }
        let destined = match version {
            None | Some(AliasName::LIVE) => live.as_ref().map(|route| route.pick(function, AliasName::LIVE, key)),
            Some(alias) => Route::of(of, alias, |version| version).map(|route| route.pick(function, alias, key)),
        };
        destined.ok_or_else(|| of.unknown(version))
    }
}
