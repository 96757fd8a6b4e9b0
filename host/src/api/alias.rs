//! Aliases, as requests name them.

use crate::http::respond::HttpError;
use crate::registry::catalog::Function;
use crate::registry::name::{AliasName, VersionName};

pub(super) fn alias_name(text: &str) -> Result<AliasName, HttpError> {
    text.parse().map_err(|error| HttpError::BadRequest(format!("{error}")))
}

/// The version that an alias alone points at; what is no alias is a version's name, whether there is one or not.
pub(super) fn version_of<'n>(function: &'n Function, name: &'n str) -> Result<&'n str, HttpError> {
    let Some(weights) = function.revision.aliases.get(name) else { return Ok(name) };
    let versions: Vec<&str> = weights.keys().map(VersionName::as_str).collect();
    match *versions.as_slice() {
        [version] => Ok(version),
        _ => Err(HttpError::BadRequest(format!(
            "'{name}' is an alias of function '{}' and shares requests among versions {}: name one of them",
            function.name(),
            versions.join(", ")
        ))),
    }
}
