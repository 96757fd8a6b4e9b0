//! What is deployed, in memory: the one place readers ask, and the one way changes are made.
//!
//! Readers see a snapshot that is swapped whole, so resolving a name takes no lock and never sees half a change. A change
//! is made in the store first, create-only, and shown here second; when somebody else was quicker it is made again on
//! top of theirs. The catalog knows functions, versions and aliases, nothing of what runs them. An [`Arc<Version>`]
//! outlives its place in the catalog for as long as somebody uses it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use arc_swap::ArcSwap;
use indexmap::IndexMap;
use serde_json::value::RawValue;

use super::digest::Digest;
use super::excerpt::excerpt;
use super::manifest::Manifest;
use super::name::{AliasName, FunctionName, VersionName};
use super::note::Note;
use super::revision::{
    FunctionKind, ModelRecord, Revision, RevisionError, VersionRecord, has_versions, unknown_function, unknown_version,
};
use super::store::{Notice, Store, StoreError};
use super::timestamp::Timestamp;
use crate::tensor::Signature;

mod change;
mod collect;
mod draw;
mod follow;
mod history;
mod load;
mod read;
mod resolve;
mod rolling;
mod route;
mod saved;
mod scan;
mod shards;
mod stored;
mod vanished;

pub use collect::Collected;
pub use follow::Look;
pub use history::{History, Past, Side, Told};
pub use resolve::Destined;
pub use scan::{After, Page, Search, Which};

use follow::Follow;
use rolling::Rolling;
use route::Shown;
use shards::{Shards, Turns};
use vanished::Vanished;

/// Losing a race so often means something is wrong, not that others are quick.
const MAX_ATTEMPTS: usize = 16;

/// What is deployed. Clones share it.
#[derive(Debug, Clone)]
pub struct Catalog {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    store: Store,
    snapshot: ArcSwap<Snapshot>,
    /// One change of a function at a time in this process, so that its revisions are shown in order.
    turns: Turns,
    follow: tokio::sync::Mutex<Follow>,
    rolling: Rolling,
    vanished: Vanished,
    /// What makes the next start quicker.
    file: Option<saved::File>,
    /// Writes the file after the start.
    saving: tokio::sync::Mutex<Option<tokio::task::JoinHandle<()>>>,
    /// Whether there was a change since the file was read.
    unsaved: AtomicBool,
}

type Snapshot = Shards<Entry>;

#[derive(Debug, Clone)]
enum Entry {
    Usable(Shown),
    /// Its objects in the store cannot be read, which says why.
    Damaged(String),
    /// It was deleted by the revision of this number.
    Gone(u64),
}

/// A function as of one revision.
#[derive(Debug)]
pub struct Function {
    /// Its state.
    pub revision: Revision,
    /// Its versions, first deployed first.
    pub versions: IndexMap<VersionName, Arc<Version>>,
    listed: OnceLock<Option<Box<RawValue>>>,
}

/// An immutable version.
#[derive(Debug)]
pub struct Version {
    /// The function it is a version of.
    pub function: FunctionName,
    /// Its name.
    pub name: VersionName,
    /// What identifies it: its manifest's sha256.
    pub digest: Digest,
    /// What its bundle says about it.
    pub manifest: Arc<Manifest>,
    /// What was found when it was deployed. Boxed, so that the reference counts of thousands of versions, which
    /// requests change, lie close together.
    pub record: Box<VersionRecord>,
    /// Its words as a search wants them, from the first one on.
    words: OnceLock<Box<str>>,
}

/// A version to be deployed, whose parts are in the store already.
#[derive(Debug, Clone)]
pub struct Deployment {
    /// What its bundle says about it, names included.
    pub manifest: Arc<Manifest>,
    /// What its component exports.
    pub kind: FunctionKind,
    /// What it takes and gives, as served.
    pub signature: Option<Signature>,
    /// What its models take and give.
    pub models: Vec<ModelRecord>,
    /// The alias that shall send everything to it; `None` for no traffic.
    pub alias: Option<AliasName>,
}

/// The outcome of a change.
#[derive(Debug)]
pub struct Published {
    /// The function as it now is; without versions if it was deleted.
    pub function: Arc<Function>,
    /// False if everything was so already.
    pub changed: bool,
}

/// Why the catalog has no answer or made no change.
#[derive(Debug, thiserror::Error)]
pub enum CatalogError {
    #[error("{}", unknown_function(.0))]
    UnknownFunction(String),
    #[error("{}", unknown_version(.function, .version, .existing))]
    UnknownVersion { function: FunctionName, version: String, existing: Vec<VersionName> },
    #[error(
        "function '{function}' gets no traffic: it has no alias '{}'; name a version, or deploy one without --no-traffic; {}",
        AliasName::LIVE, has_versions(.function, .existing)
    )]
    NoTraffic { function: FunctionName, existing: Vec<VersionName> },
    #[error(
        "function '{function}' has no revision {revision}; its newest is {newest}, `nocti history {function}` lists them"
    )]
    UnknownRevision { function: FunctionName, revision: u64, newest: u64 },
    #[error("function '{function}' cannot be used: {why}")]
    Damaged { function: FunctionName, why: String },
    #[error(transparent)]
    Revision(#[from] RevisionError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(
        "the store did not answer, so whether function '{function}' was changed is not known; look at `nocti history {function}`, and \
         try again"
    )]
    Unsure { function: FunctionName, source: Box<StoreError> },
    #[error("function '{0}' is being changed by others all the time; try again")]
    Contended(FunctionName),
    #[error("the change to function '{0}' was interrupted because the server is stopping")]
    Interrupted(FunctionName),
}

impl Version {
    fn new(function: &FunctionName, name: &VersionName, record: &VersionRecord, manifest: Manifest) -> Self {
        Self::of(function, name, record, Arc::new(manifest))
    }

    fn of(function: &FunctionName, name: &VersionName, record: &VersionRecord, manifest: Arc<Manifest>) -> Self {
        Self {
            function: function.clone(),
            name: name.clone(),
            digest: record.digest,
            manifest,
            record: Box::new(record.clone()),
            words: OnceLock::new(),
        }
    }

    /// `name@version`, for logs and messages.
    pub fn label(&self) -> String {
        format!("{}@{}", self.function, self.name)
    }
}

impl Catalog {
    /// Whether the version is deployed still.
    pub fn has(&self, version: &Version) -> bool {
        let function = self.function(version.function.as_str());
        function.is_ok_and(|function| {
            function.versions.get(&version.name).is_some_and(|deployed| deployed.digest == version.digest)
        })
    }

    /// A function by its name.
    pub fn function(&self, name: &str) -> Result<Arc<Function>, CatalogError> {
        entry(&self.shared.snapshot.load(), name).map(Arc::clone)
    }

    /// All functions, sorted by name.
    pub fn functions(&self) -> Vec<Arc<Function>> {
        let snapshot = self.shared.snapshot.load();
        let usable = snapshot.iter().filter_map(|(_, entry)| match entry {
            Entry::Usable(Shown { function, .. }) => Some(Arc::clone(function)),
            Entry::Damaged(_) | Entry::Gone(_) => None,
        });
        let mut functions: Vec<_> = usable.collect();
        functions.sort_by(|a, b| a.revision.function.cmp(&b.revision.function));
        functions
    }

    /// The functions that cannot be read from the store, and why, sorted by name.
    pub fn damaged(&self) -> Vec<(FunctionName, String)> {
        let snapshot = self.shared.snapshot.load();
        let damaged = snapshot.iter().filter_map(|(name, entry)| match entry {
            Entry::Usable(_) | Entry::Gone(_) => None,
            Entry::Damaged(why) => Some((name.clone(), why.clone())),
        });
        let mut damaged: Vec<_> = damaged.collect();
        damaged.sort();
        damaged
    }
}

impl Shared {
    async fn publish(
        &self,
        name: &FunctionName,
        note: &Note,
        change: impl Fn(&Revision) -> Result<Option<Revision>, RevisionError>,
    ) -> Result<Published, CatalogError> {
        let _turn = self.turns.of(name).lock().await;
        for _ in 0..MAX_ATTEMPTS {
            let current = self.store.latest(name).await?;
            let current = current.unwrap_or_else(|| Revision::before_first(name.clone(), Timestamp::now()));
            let next = change(&current);
            // One that is not there is at no revision.
            if !matches!(next, Err(RevisionError::UnknownFunction(_))) {
                current.check_expected(note)?;
            }
            let (next, changed) = match next? {
                Some(next) => (next.noted(note), true),
                None => (current, false),
            };
            // Before it is written: what cannot be shown afterwards must not be deployed.
            let shown = self.snapshot.load_full();
            let function = Arc::new(read::with_manifests(&self.store, next, entry(&shown, name.as_str()).ok()).await?);
            if changed {
                let Revision { revision, id, .. } = &function.revision;
                let notice = Notice { function: name.clone(), revision: *revision, id: id.clone() };
                match self.store.announce(&notice).await {
                    // By other notices: nobody need have written this revision.
                    Err(StoreError::Conflict { .. }) => return Err(CatalogError::Contended(name.clone())),
                    announced => announced?,
                }
                match self.store.write_revision(&function.revision).await {
                    Ok(()) => {}
                    Err(StoreError::Conflict { .. }) => continue,
                    Err(source @ StoreError::Unreachable { .. }) => {
                        return Err(CatalogError::Unsure { function: name.clone(), source: Box::new(source) });
                    }
                    Err(error) => return Err(error.into()),
                }
            }
            self.show(name, &Entry::of(Arc::clone(&function)));
            self.unsaved.fetch_or(changed, Ordering::Relaxed);
            return Ok(Published { function, changed });
        }
        Err(CatalogError::Contended(name.clone()))
    }

    /// For one whose turn it is.
    fn show(&self, name: &FunctionName, entry: &Entry) {
        let before = self.snapshot.rcu(|shown| {
            let mut next = Snapshot::clone(shown);
            next.insert(name.clone(), entry.clone());
            next
        });
        // After it can be seen: who is told looks at once.
        self.rolling.look(entry);
        self.vanished.look(before.get(name.as_str()).map(|(_, before)| before), entry);
    }
}

impl Entry {
    fn of(function: Arc<Function>) -> Self {
        if function.revision.is_deleted() {
            Self::Gone(function.revision.revision)
        } else {
            Self::Usable(function.into())
        }
    }
}

impl Function {
    fn new(revision: Revision, versions: IndexMap<VersionName, Arc<Version>>) -> Self {
        Self { revision, versions, listed: OnceLock::new() }
    }

    /// Its entry in the list of all, which `write` alone writes, for the first list that it is in: a list of thousands has no time to
    /// gather what lies in many places.
    pub fn listed(&self, write: impl FnOnce(&Self) -> Option<Box<RawValue>>) -> Option<&RawValue> {
        self.listed.get_or_init(|| write(self)).as_deref()
    }

    /// What the function is called.
    pub fn name(&self) -> &FunctionName {
        &self.revision.function
    }

    fn unknown(&self, version: Option<&str>) -> CatalogError {
        let (function, existing) = (self.name().clone(), self.versions.keys().cloned().collect());
        match version {
            None | Some(AliasName::LIVE) => CatalogError::NoTraffic { function, existing },
            Some(version) => CatalogError::UnknownVersion { function, version: excerpt(version), existing },
        }
    }
}

fn entry<'s>(snapshot: &'s Snapshot, function: &str) -> Result<&'s Arc<Function>, CatalogError> {
    shown(snapshot, function).map(|shown| &shown.function)
}

fn shown<'s>(snapshot: &'s Snapshot, function: &str) -> Result<&'s Shown, CatalogError> {
    match snapshot.get(function) {
        Some((_, Entry::Usable(shown))) => Ok(shown),
        Some((name, Entry::Damaged(why))) => Err(CatalogError::Damaged { function: name.clone(), why: why.clone() }),
        Some((_, Entry::Gone(_))) | None => Err(CatalogError::UnknownFunction(excerpt(function))),
    }
}

/// A text that is no name is the name of no function.
fn name(text: &str) -> Result<FunctionName, CatalogError> {
    text.parse().map_err(|_| CatalogError::UnknownFunction(excerpt(text)))
}

#[cfg(test)]
mod tests;
