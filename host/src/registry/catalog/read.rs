//! Reading a function from the store: its newest revision, and the manifests that names.

use std::sync::Arc;

use indexmap::IndexMap;

use super::super::digest::Digest;
use super::super::manifest::{MAX_MANIFEST_BYTES, Manifest, ManifestError};
use super::super::name::{FunctionName, VersionName};
use super::super::revision::Revision;
use super::super::store::{Store, StoreError};
use super::{Function, Version};

/// Adds the manifests to a revision, reading only those that `shown` does not have.
pub(super) async fn with_manifests(
    store: &Store,
    revision: Revision,
    shown: Option<&Arc<Function>>,
) -> Result<Function, StoreError> {
    let mut versions = IndexMap::new();
    for (name, record) in &revision.versions {
        let known = shown.and_then(|function| function.versions.get(name));
        let version = match known.filter(|known| known.digest == record.digest) {
            Some(version) if *version.record == *record => Arc::clone(version),
            // Other labels.
            Some(version) => Arc::new(Version::of(&revision.function, name, record, Arc::clone(&version.manifest))),
            None => {
                let manifest = manifest(store, &revision.function, name, record.digest).await?;
                Arc::new(Version::new(&revision.function, name, record, manifest))
            }
        };
        versions.insert(name.clone(), version);
    }
    Ok(Function::new(revision, versions))
}

/// A function whose manifests were read elsewhere, in the order of its versions; `None` if they are not as many.
pub(super) fn from_parts(revision: Revision, manifests: Vec<Manifest>) -> Option<Function> {
    if manifests.len() != revision.versions.len() {
        return None;
    }
    let versions = revision.versions.iter().zip(manifests).map(|((name, record), manifest)| {
        (name.clone(), Arc::new(Version::new(&revision.function, name, record, manifest)))
    });
    let versions = versions.collect();
    Some(Function::new(revision, versions))
}

async fn manifest(
    store: &Store,
    function: &FunctionName,
    version: &VersionName,
    digest: Digest,
) -> Result<Manifest, StoreError> {
    let damaged = |why: String| StoreError::Damaged { object: format!("manifest {digest}"), why };
    let bytes = store.read_blob(&digest, MAX_MANIFEST_BYTES as u64).await?;
    let manifest = Manifest::parse(&bytes).map_err(|error| match error {
        ManifestError::Newer { format } => StoreError::Newer { object: format!("manifest {digest}"), format },
        error => damaged(error.to_string()),
    })?;
    if (&manifest.name, &manifest.version) != (function, version) {
        return Err(damaged(format!("it is of function '{}' version '{}'", manifest.name, manifest.version)));
    }
    Ok(manifest)
}
