//! What a model says of itself, and whether it is ready.

use std::collections::BTreeMap;

use crate::host::Host;
use crate::invoke::Target;
use crate::protocol::oip_metadata::{ModelMetadata, Platform};
use crate::registry::catalog::CatalogError;
use crate::registry::digest::Digest;
use crate::registry::revision::FunctionKind;

/// The metadata of a version, or of the one that is asked when none is named.
pub fn metadata(host: &Host, target: &Target) -> Result<ModelMetadata, CatalogError> {
    let version = host.catalog.resolve(&target.function, target.version.as_deref())?;
    let function = host.catalog.function(&target.function)?;
    let signature = version.record.signature.clone().unwrap_or_default();
    Ok(ModelMetadata {
        name: version.function.to_string(),
        versions: function.versions.keys().map(ToString::to_string).collect(),
        platform: platform(version.record.kind),
        inputs: signature.inputs,
        outputs: signature.outputs,
        properties: properties(host, &version.digest),
    })
}

/// A stored version is ready, since a request wakes it, unless somebody unloaded it.
pub fn is_ready(host: &Host, target: &Target) -> Result<bool, CatalogError> {
    let version = host.catalog.resolve(&target.function, target.version.as_deref())?;
    Ok(!host.lifecycle.is_unloaded(&version.digest))
}

pub(super) fn platform(kind: FunctionKind) -> Platform {
    match kind {
        FunctionKind::ModelOnly => Platform::Onnx,
        FunctionKind::Typed | FunctionKind::Http => Platform::Component,
    }
}

/// What a version's models really run on, while they are in memory.
fn properties(host: &Host, version: &Digest) -> BTreeMap<String, String> {
    let models = host.lifecycle.models(version).unwrap_or_default();
    models.iter().map(|(name, model)| (format!("{name}.device"), model.session().device().to_string())).collect()
}
