//! A function's whole state at one moment, and the changes that make the next one.
//!
//! Revisions are numbered, written once and never changed, so that history and rollback come for free and two writers
//! cannot both succeed. The changes are pure functions from a revision to the next. Knows no store: writing one down,
//! and trying again when somebody was quicker, is the catalog's business.

use std::collections::BTreeMap;
use std::fmt;

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::digest::Digest;
use super::excerpt::excerpt;
use super::name::{AliasName, FunctionName, ModelName, VersionName};
use super::note::Note;
use super::timestamp::Timestamp;
use crate::tensor::Signature;

mod labels;
mod rollout;
mod shadow;
mod traffic;

pub use labels::{LabelChange, Labels};
pub use rollout::{AtStep, Plan, Rollout, RolloutState, Rollouts};
pub use shadow::{Shadow, Shadowing, Shadows};
pub use traffic::{Aliases, TrafficError, Weights};

/// A function's whole state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Revision {
    /// Whose state it is.
    pub function: FunctionName,
    /// Its number, from 1; 0 is the state before the first change and is never stored.
    pub revision: u64,
    /// Tells it from what another host writes under the same number at the same time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// When it was made.
    pub created_at: Timestamp,
    /// What made it.
    pub action: Action,
    /// Who made it, as they say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// The versions there are, first deployed first. None: the function has been deleted.
    pub versions: IndexMap<VersionName, VersionRecord>,
    /// Where each alias sends requests, by weight.
    pub aliases: Aliases,
    /// Which versions get copies of their requests.
    #[serde(default, skip_serializing_if = "Shadows::is_empty")]
    pub shadows: Shadows,
    /// Which of them go to a version step by step, or went.
    #[serde(default, skip_serializing_if = "Rollouts::is_empty")]
    pub rollouts: Rollouts,
}

/// What made a revision. The state is whole without it, so one that a later release made is read as far as it is known.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Action {
    /// The state before the first change.
    Create,
    /// A version was deployed and, unless it got no traffic, an alias was pointed at it.
    Deploy { version: VersionName, alias: Option<AliasName> },
    /// A version was deleted.
    DeleteVersion { version: VersionName },
    /// The function was deleted with all its versions.
    DeleteFunction,
    /// An alias was pointed at versions.
    Traffic { alias: AliasName },
    /// An alias was taken away.
    DeleteAlias { alias: AliasName },
    /// All aliases went back to where they were at revision `to`, before the last change of theirs; one that a rollout was moving then,
    /// to where it was before that.
    Rollback { to: u64 },
    /// All aliases went to where they were at revision `to`.
    Restore { to: u64 },
    /// An alias' requests begin to go to a version step by step.
    Rollout { alias: AliasName, version: VersionName },
    /// They went on to the next step. `from` is the revision before the first one.
    RolloutStep { alias: AliasName, version: VersionName, percent: u32, from: u64 },
    /// The alias went back to where it was at revision `to`, before the first step.
    RolloutBack { alias: AliasName, version: VersionName, to: u64 },
    /// Labels of a version were changed.
    Labels { version: VersionName },
    /// Something that a later release does and calls so.
    #[serde(untagged)]
    Unknown { kind: String },
}

/// What is known about a version, as it was found when it was deployed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VersionRecord {
    /// The sha256 of its manifest, which is a blob of that name.
    pub digest: Digest,
    /// What its component exports.
    pub kind: FunctionKind,
    /// When it was deployed.
    pub created_at: Timestamp,
    /// What it takes and gives, as served; `None` where nothing says so.
    pub signature: Option<Signature>,
    /// What its models take and give.
    pub models: Vec<ModelRecord>,
    /// Bytes of all its parts.
    pub size_bytes: u64,
    /// What people have put on it since.
    #[serde(default, skip_serializing_if = "Labels::is_empty")]
    pub labels: Labels,
}

/// A model as ONNX Runtime found it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelRecord {
    /// What a guest loads it by.
    pub name: ModelName,
    /// Its inputs and outputs.
    pub signature: Signature,
}

/// The three kinds of function, told apart by what the component exports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum FunctionKind {
    /// No component: the host answers with the model itself.
    ModelOnly,
    /// Exports `nocti:function/predictor`.
    Typed,
    /// Exports `wasi:http/incoming-handler`.
    Http,
}

/// Why a function's state cannot be changed so.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RevisionError {
    #[error(
        "version '{version}' of function '{function}' is already deployed with other content (sha256 {deployed}, this is \
         {offered}); versions never change, so deploy it under another version"
    )]
    VersionTaken { function: FunctionName, version: VersionName, deployed: Digest, offered: Digest },
    #[error("'{name}' cannot be both a version and an alias of function '{function}'; choose another {choose}")]
    NameClash { function: FunctionName, name: String, choose: &'static str },
    #[error("{}", unknown_function(.0.as_str()))]
    UnknownFunction(FunctionName),
    #[error("{}", unknown_version(.function, .version, .existing))]
    UnknownVersion { function: FunctionName, version: String, existing: Vec<VersionName> },
    #[error(
        "version '{version}' of function '{function}' gets requests through alias '{alias}'; send them to \
         another version first (`nocti traffic {function} VERSION=WEIGHT --alias {alias}`), or delete the whole function"
    )]
    VersionInUse { function: FunctionName, version: VersionName, alias: AliasName },
    #[error(
        "version '{version}' of function '{function}' would have {count} labels, and may have {most}; take some off first", most = labels::MOST
    )]
    TooManyLabels { function: FunctionName, version: VersionName, count: usize },
    #[error(transparent)]
    Traffic(#[from] TrafficError),
    #[error(
        "function '{function}' is at revision {current}, no more at {expected}: somebody changed it meanwhile; look at it \
         again before you change it"
    )]
    Moved { function: FunctionName, expected: u64, current: u64 },
}

impl Revision {
    /// The state of a function that has never been deployed.
    pub fn before_first(function: FunctionName, now: Timestamp) -> Self {
        let (versions, aliases) = (IndexMap::new(), BTreeMap::new());
        let (action, shadows, rollouts) = (Action::Create, Shadows::new(), Rollouts::new());
        let (id, by, message) = (None, None, None);
        Self { function, revision: 0, id, created_at: now, action, by, message, versions, aliases, shadows, rollouts }
    }

    /// True when there is nothing deployed.
    pub fn is_deleted(&self) -> bool {
        self.versions.is_empty()
    }

    /// A version is deployed, and `alias`, if any, sends everything to it. `None`: that is how things are already.
    pub fn with_deploy(
        &self,
        version: &VersionName,
        record: &VersionRecord,
        alias: Option<&AliasName>,
        now: Timestamp,
    ) -> Result<Option<Self>, RevisionError> {
        // `function@NAME` must mean one thing.
        if self.aliases.contains_key(version.as_str()) || alias.is_some_and(|alias| alias.as_str() == version.as_str())
        {
            return Err(self.clash(version.as_str(), "version"));
        }
        if let Some(alias) = alias {
            self.check_alias(alias)?;
            self.check_room(alias)?;
        }
        let mut next = self.next(Action::Deploy { version: version.clone(), alias: alias.cloned() }, now);
        match self.versions.get(version.as_str()) {
            // The first record stands: what was found then is what is being served.
            Some(deployed) if deployed.digest == record.digest => {}
            Some(deployed) => {
                return Err(RevisionError::VersionTaken {
                    function: self.function.clone(),
                    version: version.clone(),
                    deployed: deployed.digest,
                    offered: record.digest,
                });
            }
            None => drop(next.versions.insert(version.clone(), record.clone())),
        }
        if let Some(alias) = alias {
            next.point(alias, BTreeMap::from([(version.clone(), 100)]), None);
        }
        let changed = next.versions != self.versions || !next.directs_as(self);
        Ok(changed.then_some(next))
    }

    /// A version is gone. The last one takes its aliases, and with them the function, along.
    pub fn without_version(&self, version: &str, now: Timestamp) -> Result<Self, RevisionError> {
        let Some((name, _)) = self.versions.get_key_value(version) else {
            return Err(self.unknown_version(version));
        };
        let mut next = self.next(Action::DeleteVersion { version: name.clone() }, now);
        if self.versions.len() == 1 {
            next.undirected();
        } else if let Some((alias, _)) = self.aliases.iter().find(|(_, weights)| weights.contains_key(version)) {
            let (function, alias) = (self.function.clone(), alias.clone());
            return Err(RevisionError::VersionInUse { function, version: name.clone(), alias });
        } else if let Some((alias, _)) = self.shadows.iter().find(|(_, shadow)| shadow.version == *name) {
            let (function, alias) = (self.function.clone(), alias.clone());
            return Err(TrafficError::IsShadow { function, version: name.clone(), alias }.into());
        }
        next.versions.shift_remove(version);
        Ok(next)
    }

    /// The function is gone. Its numbers go on from here, so that a revision's number stays unique for ever.
    pub fn without_anything(&self, now: Timestamp) -> Result<Self, RevisionError> {
        if self.is_deleted() {
            return Err(RevisionError::UnknownFunction(self.function.clone()));
        }
        let mut next = self.next(Action::DeleteFunction, now);
        next.versions.clear();
        next.undirected();
        Ok(next)
    }

    /// The revision with what was said of the change that makes it, and like no other.
    pub(super) fn noted(self, note: &Note) -> Self {
        let id = Some(format!("{:032x}", rand::random::<u128>()));
        Self { id, by: note.by.clone(), message: note.message.clone(), ..self }
    }

    /// Refuses a change that is meant for another revision.
    pub(super) fn check_expected(&self, note: &Note) -> Result<(), RevisionError> {
        match note.revision {
            Some(expected) if expected != self.revision => {
                Err(RevisionError::Moved { function: self.function.clone(), expected, current: self.revision })
            }
            _ => Ok(()),
        }
    }

    /// Says what contradicts itself, in a revision that was read.
    pub(super) fn check(&self) -> Result<(), String> {
        for (alias, weights) in &self.aliases {
            if let Some(version) = weights.keys().find(|version| !self.versions.contains_key(version.as_str())) {
                return Err(format!("alias '{alias}' points at version '{version}', which is not there"));
            }
            let total = weights.values().try_fold(0u32, |sum, weight| sum.checked_add(*weight));
            if total.is_none_or(|total| total == 0) {
                return Err(format!("the weights of alias '{alias}' add up to nothing usable"));
            }
        }
        self.check_shadows()?;
        self.check_rollouts()
    }

    fn unknown_version(&self, version: &str) -> RevisionError {
        if self.is_deleted() {
            return RevisionError::UnknownFunction(self.function.clone());
        }
        let existing = self.versions.keys().cloned().collect();
        RevisionError::UnknownVersion { function: self.function.clone(), version: excerpt(version), existing }
    }

    /// Refuses an alias that is called like a version.
    fn check_alias(&self, alias: &AliasName) -> Result<(), RevisionError> {
        if self.versions.contains_key(alias.as_str()) { Err(self.clash(alias.as_str(), "alias")) } else { Ok(()) }
    }

    fn clash(&self, name: &str, choose: &'static str) -> RevisionError {
        RevisionError::NameClash { function: self.function.clone(), name: name.to_owned(), choose }
    }

    /// A clock that was put back does not put a change before the one that it follows.
    fn next(&self, action: Action, now: Timestamp) -> Self {
        let (revision, created_at) = (self.revision + 1, now.max(self.created_at));
        Self { revision, id: None, created_at, action, by: None, message: None, ..self.clone() }
    }
}

/// The message about a function that is not there.
pub(super) fn unknown_function(function: &str) -> String {
    format!("Request for unknown model: '{function}' is not found")
}

/// The message about a version that is not there.
pub(super) fn unknown_version(function: &FunctionName, version: &str, existing: &[VersionName]) -> String {
    let there = has_versions(function, existing);
    format!("Request for unknown model: '{function}' version '{version}' is not found; {there}")
}

/// What there is, for a message about what there is not.
pub(super) fn has_versions(function: &FunctionName, existing: &[VersionName]) -> String {
    let listed = existing.iter().map(VersionName::as_str).collect::<Vec<_>>().join(", ");
    format!("function '{function}' has versions {listed}")
}

impl fmt::Display for FunctionKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ModelOnly => "model-only",
            Self::Typed => "typed",
            Self::Http => "http",
        })
    }
}

#[cfg(test)]
mod tests;
