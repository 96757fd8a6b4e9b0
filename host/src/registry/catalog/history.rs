//! What was: a function's revisions, newest first, what differs between two of them, and which one a rollback goes to.
//!
//! All of it is read from the store when somebody asks: readers of what is need none of it. A function that has been deleted
//! has a history still.

use futures::StreamExt;
use serde_json::{Value, json};

use super::super::name::FunctionName;
use super::super::revision::{Action, Aliases, Revision, Shadows, TrafficError};
use super::super::timestamp::Timestamp;
use super::{Catalog, CatalogError, RevisionError, Version, name};

/// Revisions read at once.
const READS: usize = 8;

/// A part of a function's history.
#[derive(Debug)]
pub struct History {
    /// Newest first.
    pub revisions: Vec<Past>,
    /// Whether there are older ones.
    pub more: bool,
}

/// A revision as history tells it.
#[derive(Debug)]
pub struct Past {
    pub revision: u64,
    /// Or why it cannot be read.
    pub told: Result<Told, String>,
}

/// Which change it was, and where requests went from then on.
#[derive(Debug)]
pub struct Told {
    pub created_at: Timestamp,
    pub action: Action,
    pub by: Option<String>,
    pub message: Option<String>,
    pub aliases: Aliases,
    pub shadows: Shadows,
}

impl Catalog {
    /// The newest revisions of a function, or those before revision `before`: at most `limit` of them.
    pub async fn history(&self, function: &str, before: Option<u64>, limit: usize) -> Result<History, CatalogError> {
        let name = name(function)?;
        let mut numbers = self.numbers(&name).await?;
        numbers.retain(|&number| before.is_none_or(|before| number < before));
        let more = numbers.len() > limit;
        let newest = numbers.split_off(numbers.len().saturating_sub(limit)).into_iter().rev();
        let read = newest.map(|revision| {
            let (store, name) = (self.shared.store.clone(), name.clone());
            async move {
                let told = store.revision(&name, revision).await.map(Told::from).map_err(|error| error.to_string());
                Past { revision, told }
            }
        });
        Ok(History { revisions: futures::stream::iter(read).buffered(READS).collect().await, more })
    }

    /// Two of a function's versions, or two of its revisions, as they are compared.
    pub async fn sides(&self, function: &str, from: &Side, to: &Side) -> Result<(Value, Value), CatalogError> {
        Ok((self.side(function, from).await?, self.side(function, to).await?))
    }

    async fn side(&self, function: &str, side: &Side) -> Result<Value, CatalogError> {
        match side {
            Side::Version(version) => {
                let function = self.function(function)?;
                let found = function.versions.get(version.as_str());
                Ok(version_as_json(found.ok_or_else(|| function.unknown(Some(version.as_str())))?))
            }
            Side::Revision(number) => Ok(revision_as_json(&self.past(&name(function)?, *number).await?)),
        }
    }

    /// A revision that there may be.
    pub(super) async fn past(&self, name: &FunctionName, number: u64) -> Result<Revision, CatalogError> {
        let numbers = self.numbers(name).await?;
        if !numbers.contains(&number) {
            let (function, newest) = (name.clone(), numbers.last().copied().unwrap_or_default());
            return Err(CatalogError::UnknownRevision { function, revision: number, newest });
        }
        Ok(self.shared.store.revision(name, number).await?)
    }

    /// The newest revision's number, and the one that a [rollback](Revision::rolled_back) goes to: the newest itself where a rollout
    /// goes on, which that ends, and else the revision before the last change of aliases.
    ///
    /// A rollout is one change, made when it is done: while it goes on, its alias counts as being where it was, so that what is changed of
    /// others meanwhile is a change of its own.
    pub(super) async fn before_the_last_traffic(&self, name: &FunctionName) -> Result<(u64, Revision), CatalogError> {
        let numbers = self.numbers(name).await?;
        let newest = numbers.last().copied().unwrap_or_default();
        let current = self.shared.store.revision(name, newest).await?;
        if current.is_deleted() {
            return Err(RevisionError::UnknownFunction(name.clone()).into());
        }
        // What cannot be gone back to is elsewhere; whoever tries is told why.
        let is_there = |at: &Revision| {
            let back = current.rolled_back(at, current.created_at);
            back.is_ok_and(|back| back.directs_as(&current))
        };
        let mut at = current.clone();
        while is_there(&at) {
            let Some(earlier) = self.earlier(&at, &numbers).await? else {
                return Err(RevisionError::from(TrafficError::NothingBefore(name.clone())).into());
            };
            at = earlier;
        }
        // Of those that say the same, one without a rollout says it best, in a history that people read.
        let goal = at.settled();
        while at.is_rolling() {
            match self.earlier(&at, &numbers).await? {
                Some(earlier) if earlier.settled().sends_as(&goal) => at = earlier,
                _ => break,
            }
        }
        Ok((newest, at))
    }

    /// The revision before this one. What was rolled back is passed over: before a rollback is where that went to.
    async fn earlier(&self, at: &Revision, numbers: &[u64]) -> Result<Option<Revision>, CatalogError> {
        let before = match at.action {
            Action::Rollback { to } => Some(to),
            _ => numbers.iter().copied().rfind(|&number| number < at.revision),
        };
        let Some(before) = before.filter(|&before| before < at.revision) else { return Ok(None) };
        let earlier = self.shared.store.revision(&at.function, before).await?;
        // Whatever was before it was deleted is another function's history.
        Ok(Some(earlier).filter(|earlier| !earlier.is_deleted()))
    }

    /// The numbers of all revisions of a function that there is or was, smallest first.
    async fn numbers(&self, name: &FunctionName) -> Result<Vec<u64>, CatalogError> {
        let numbers = self.shared.store.revisions(name).await?;
        if numbers.is_empty() { Err(CatalogError::UnknownFunction(name.to_string())) } else { Ok(numbers) }
    }
}

/// What is compared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Side {
    Version(String),
    Revision(u64),
}

impl From<Revision> for Told {
    fn from(revision: Revision) -> Self {
        let Revision { created_at, action, by, message, aliases, shadows, .. } = revision;
        Self { created_at, action, by, message, aliases, shadows }
    }
}

/// All that its bundle says, but for what it is called, and what was found when it was deployed.
fn version_as_json(version: &Version) -> Value {
    let record = &version.record;
    let mut all = json!(&*version.manifest);
    if let Some(fields) = all.as_object_mut() {
        fields.retain(|name, _| name != "name" && name != "version");
        fields.insert("kind".into(), json!(record.kind));
        fields.insert("signature".into(), json!(record.signature));
        fields.insert("model_signatures".into(), json!(record.models));
        fields.insert("labels".into(), json!(record.labels));
    }
    all
}

/// Where requests go, and what is deployed as what.
fn revision_as_json(revision: &Revision) -> Value {
    let versions = revision.versions.iter().map(|(name, record)| {
        let (digest, kind, labels) = (record.digest, record.kind, &record.labels);
        (name.to_string(), json!({"digest": digest, "kind": kind, "size_bytes": record.size_bytes, "labels": labels}))
    });
    json!({"aliases": revision.aliases, "shadows": revision.shadows, "versions": versions.collect::<serde_json::Map<_, _>>()})
}

#[cfg(test)]
mod tests;
