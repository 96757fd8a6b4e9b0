//! The model repository: what there is, and loading and unloading by hand.

use std::sync::Arc;

use crate::host::Host;
use crate::lifecycle::WakeError;
use crate::protocol::oip_repository::{ModelIndex, State};
use crate::registry::catalog::{CatalogError, Function, Version};
use crate::registry::excerpt::excerpt;
use crate::registry::name::AliasName;

/// Why a model is not loaded, or still is. Clients match the first words.
#[derive(Debug, thiserror::Error)]
pub enum RepositoryError {
    #[error("failed to {verb} '{model}': {source}")]
    Unknown { verb: &'static str, model: String, source: Box<CatalogError> },
    #[error("failed to load '{model}': {source}")]
    Load { model: String, source: WakeError },
    #[error(
        "failed to load '{model}': a model's files and configuration come with its deploy; deploy it instead of sending \
         parameter '{parameter}'"
    )]
    Override { model: String, parameter: String },
    #[error(
        "failed to unload '{0}': its manifest keeps instances warm (instances.min_warm); deploy a version that does not, \
         or delete the function"
    )]
    KeptWarm(String),
}

/// Every version there is, or those that are ready. A stored one is ready, since a request wakes it.
pub fn index(host: &Host, only_ready: bool) -> Vec<ModelIndex> {
    let mut index = Vec::new();
    for function in host.catalog.functions() {
        index.extend(function.versions.values().map(|version| {
            let unloaded = host.lifecycle.is_unloaded(&version.digest);
            ModelIndex {
                name: version.function.to_string(),
                version: version.name.to_string(),
                state: if unloaded { State::Unavailable } else { State::Ready },
                reason: if unloaded { "unloaded".into() } else { String::new() },
            }
        }));
    }
    let damaged = host.catalog.damaged().into_iter().map(|(name, reason)| ModelIndex {
        name: name.to_string(),
        version: String::new(),
        state: State::Unavailable,
        reason,
    });
    index.extend(damaged);
    index.retain(|entry| !only_ready || entry.state == State::Ready);
    index
}

/// The names of all functions.
pub fn models(host: &Host) -> Vec<String> {
    host.catalog.functions().iter().map(|function| function.name().to_string()).collect()
}

/// Wakes what the model's requests go to. It stays in memory until it is unloaded, deployed no more, or the host ends.
pub async fn load<'p>(
    host: &Host,
    model: &str,
    parameters: impl IntoIterator<Item = &'p str>,
) -> Result<(), RepositoryError> {
    let overrides = parameters.into_iter().find(|name| *name == "config" || name.starts_with("file:"));
    if let Some(parameter) = overrides {
        return Err(RepositoryError::Override { model: excerpt(model), parameter: excerpt(parameter) });
    }
    let unknown = |source| RepositoryError::Unknown { verb: "load", model: excerpt(model), source: Box::new(source) };
    let function = host.catalog.function(model).map_err(unknown)?;
    let live = live(&function);
    if live.is_empty() {
        // It has no traffic, which the catalog says better.
        host.catalog.resolve(model, None).map_err(unknown)?;
    }
    for version in live {
        let loaded = host.lifecycle.load(version).await;
        // One that was deleted meanwhile is not to stay in memory.
        if !host.catalog.has(version) {
            host.lifecycle.forget(&version.digest);
        }
        loaded.map_err(|source| RepositoryError::Load { model: model.to_owned(), source })?;
    }
    Ok(())
}

/// All versions of the model go back to disk, as soon as what is in flight has finished; none if one of them is kept warm by its
/// manifest.
pub async fn unload(host: &Host, model: &str) -> Result<(), RepositoryError> {
    let unknown = |source| RepositoryError::Unknown { verb: "unload", model: excerpt(model), source: Box::new(source) };
    let function = host.catalog.function(model).map_err(unknown)?;
    let versions: Vec<&Arc<Version>> = function.versions.values().collect();
    if versions.iter().any(|version| host.lifecycle.keeps_warm(&version.digest)) {
        return Err(RepositoryError::KeptWarm(model.to_owned()));
    }
    for version in versions {
        host.lifecycle.unload(version).await;
        if !host.catalog.has(version) {
            host.lifecycle.forget(&version.digest);
        }
    }
    Ok(())
}

/// The versions that requests without a version go to.
fn live(function: &Function) -> Vec<&Arc<Version>> {
    let weights = function.revision.aliases.get(AliasName::LIVE);
    weights.into_iter().flat_map(|weights| weights.keys()).filter_map(|name| function.versions.get(name)).collect()
}
