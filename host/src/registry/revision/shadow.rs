//! Which version gets copies of an alias' requests, to be compared with what the alias answers.
//!
//! A shadow belongs to where its alias points: whatever points the alias elsewhere ends it in the same revision, and the way back brings
//! it back.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::super::name::{AliasName, VersionName};
use super::traffic::TrafficError;
use super::{FunctionKind, Revision, RevisionError, Weights};

/// The version that gets copies.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Shadow {
    /// The version.
    pub version: VersionName,
    /// How many of a hundred requests are copied.
    pub percent: u32,
}

/// All shadows of a function.
pub type Shadows = BTreeMap<AliasName, Shadow>;

/// A shadow that is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shadowing {
    pub version: String,
    pub percent: u32,
}

impl Revision {
    /// The shadow that is asked for, of an alias that sends requests by these weights.
    pub(super) fn shadow(
        &self,
        alias: &AliasName,
        weights: &Weights,
        asked: &Shadowing,
    ) -> Result<Shadow, RevisionError> {
        let known = self.versions.get_key_value(asked.version.as_str());
        let (version, record) = known.ok_or_else(|| self.unknown_version(&asked.version))?;
        let raw =
            |version: &VersionName| self.versions.get(version).is_some_and(|found| found.kind == FunctionKind::Http);
        let why = if !(1..=100).contains(&asked.percent) {
            format!("{} % of the requests cannot be copied; say 1 to 100", asked.percent)
        } else if weights.contains_key(version) {
            "the alias sends requests to it, so a copy would be compared with itself; choose another version".to_owned()
        } else if record.kind == FunctionKind::Http || weights.keys().any(raw) {
            "raw HTTP cannot be copied: a body that streams is read once; only functions that take tensors can"
                .to_owned()
        } else {
            return Ok(Shadow { version: version.clone(), percent: asked.percent });
        };
        let (function, alias, version) = (self.function.clone(), alias.clone(), version.clone());
        Err(TrafficError::Shadow { function, alias, version, why }.into())
    }

    /// Says what contradicts itself.
    pub(super) fn check_shadows(&self) -> Result<(), String> {
        for (alias, shadow) in &self.shadows {
            if !self.aliases.contains_key(alias) || !self.versions.contains_key(&shadow.version) {
                return Err(format!(
                    "alias '{alias}' has version '{}' as its shadow: one is not there",
                    shadow.version
                ));
            }
            if !(1..=100).contains(&shadow.percent) {
                return Err(format!("the shadow of alias '{alias}' gets {} % of the requests", shadow.percent));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
