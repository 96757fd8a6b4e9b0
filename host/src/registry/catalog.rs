//! What is deployed, in memory: the one place readers ask, and the one way changes are made.
//!
//! Readers see a snapshot that is swapped whole, so resolving a name takes no lock and never sees half a change. A change
//! is made in the store first, create-only, and shown here second; when somebody else was quicker it is made again on
//! top of theirs. The catalog knows functions, versions and aliases, nothing of what runs them. An [`Arc<Version>`]
//! outlives its place in the catalog for as long as somebody uses it.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use arc_swap::ArcSwap;
use indexmap::IndexMap;

use super::digest::Digest;
use super::excerpt::excerpt;
use super::manifest::Manifest;
use super::name::{AliasName, FunctionName, VersionName};
use super::note::Note;
use super::revision::{
    FunctionKind, ModelRecord, Revision, RevisionError, VersionRecord, has_versions, unknown_function, unknown_version,
};
use super::store::{Store, StoreError};
use super::timestamp::Timestamp;
use crate::tensor::Signature;

mod change;
mod collect;
mod draw;
mod history;
mod read;
mod resolve;
mod rolling;
mod saved;
mod scan;
mod shards;

pub use collect::Collected;
pub use history::{History, Past, Side, Told};
pub use resolve::Destined;
pub use scan::{After, Page, Search, Which};

use rolling::Rolling;
use saved::Everything;
use shards::Shards;

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
    /// One change at a time in this process, so that snapshots follow each other in order.
    changing: tokio::sync::Mutex<()>,
    rolling: Rolling,
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
    Usable(Arc<Function>),
    /// Its objects in the store cannot be read, which says why.
    Damaged(String),
}

/// A function as of one revision.
#[derive(Debug)]
pub struct Function {
    /// Its state.
    pub revision: Revision,
    /// Its versions, first deployed first.
    pub versions: IndexMap<VersionName, Arc<Version>>,
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
    /// What was found when it was deployed.
    pub record: VersionRecord,
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
            record: record.clone(),
            words: OnceLock::new(),
        }
    }

    /// `name@version`, for logs and messages.
    pub fn label(&self) -> String {
        format!("{}@{}", self.function, self.name)
    }
}

impl Catalog {
    /// Reads everything that is deployed. A function that cannot be read is kept as [damaged](Self::damaged) and
    /// leaves the others alone.
    pub async fn load(store: Store) -> Result<Self, StoreError> {
        Self::read(store, None).await
    }

    /// The same, but of what a file in `cache` knows already only the metadata are read. The file is brought up to date
    /// behind, and by [`save`](Self::save).
    pub async fn load_saved(store: Store, cache: &Path) -> Result<Self, StoreError> {
        Self::read(store, Some(saved::File::new(cache))).await
    }

    async fn read(store: Store, file: Option<saved::File>) -> Result<Self, StoreError> {
        let Everything { functions, damaged, unsaved } = saved::read_all(&store, file.as_ref()).await?;
        let (mut snapshot, rolling) = (Snapshot::default(), Rolling::default());
        for function in functions.into_iter().filter(|function| !function.revision.is_deleted()) {
            rolling.look(&function.revision);
            snapshot.insert(function.name().clone(), Entry::Usable(function));
        }
        for (name, why) in damaged {
            snapshot.insert(name, Entry::Damaged(why));
        }
        let saving = file.clone().zip(unsaved).map(|(file, functions)| {
            let store = store.clone();
            tokio::task::spawn_blocking(move || file.write(&store, &functions))
        });
        let shared = Shared {
            store,
            snapshot: ArcSwap::from_pointee(snapshot),
            changing: tokio::sync::Mutex::default(),
            rolling,
            file,
            saving: tokio::sync::Mutex::new(saving),
            unsaved: AtomicBool::new(false),
        };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// Saves what has changed for the next [`load_saved`](Self::load_saved). Nothing is lost without.
    pub async fn save(&self) {
        let shared = Arc::clone(&self.shared);
        let mut saving = shared.saving.lock().await;
        if let Some(earlier) = saving.take() {
            let _ = earlier.await;
        }
        let Some(file) = shared.file.clone() else { return };
        if !shared.unsaved.swap(false, Ordering::Relaxed) {
            return;
        }
        // Read again instead of kept from each deploy: what is saved is what the store has, and deploys do no more for it.
        match saved::read_all(&shared.store, Some(&file)).await {
            Ok(Everything { unsaved: Some(functions), .. }) => {
                let store = shared.store.clone();
                let _ = tokio::task::spawn_blocking(move || file.write(&store, &functions)).await;
            }
            Ok(_) => {}
            Err(error) => tracing::warn!(%error, "what is deployed cannot be saved; the next start takes longer"),
        }
    }

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
            Entry::Usable(function) => Some(Arc::clone(function)),
            Entry::Damaged(_) => None,
        });
        let mut functions: Vec<_> = usable.collect();
        functions.sort_by(|a, b| a.revision.function.cmp(&b.revision.function));
        functions
    }

    /// The functions that cannot be read from the store, and why, sorted by name.
    pub fn damaged(&self) -> Vec<(FunctionName, String)> {
        let snapshot = self.shared.snapshot.load();
        let damaged = snapshot.iter().filter_map(|(name, entry)| match entry {
            Entry::Usable(_) => None,
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
        let _turn = self.changing.lock().await;
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
                match self.store.write_revision(&function.revision).await {
                    Ok(()) => {}
                    Err(StoreError::Conflict { .. }) => continue,
                    Err(error) => return Err(error.into()),
                }
            }
            self.show(Arc::clone(&function));
            self.unsaved.fetch_or(changed, Ordering::Relaxed);
            return Ok(Published { function, changed });
        }
        Err(CatalogError::Contended(name.clone()))
    }

    fn show(&self, function: Arc<Function>) {
        let rolling = Arc::clone(&function);
        let mut snapshot = Snapshot::clone(&self.snapshot.load());
        let name = function.revision.function.clone();
        if function.revision.is_deleted() {
            snapshot.remove(&name);
        } else {
            snapshot.insert(name, Entry::Usable(function));
        }
        self.snapshot.store(Arc::new(snapshot));
        // After it can be seen: who is told looks at once.
        self.rolling.look(&rolling.revision);
    }
}

impl Function {
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
    match snapshot.get(function) {
        Some((_, Entry::Usable(function))) => Ok(function),
        Some((name, Entry::Damaged(why))) => Err(CatalogError::Damaged { function: name.clone(), why: why.clone() }),
        None => Err(CatalogError::UnknownFunction(excerpt(function))),
    }
}

/// A text that is no name is the name of no function.
fn name(text: &str) -> Result<FunctionName, CatalogError> {
    text.parse().map_err(|_| CatalogError::UnknownFunction(excerpt(text)))
}

#[cfg(test)]
mod tests;
