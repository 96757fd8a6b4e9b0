//! From stored to live and back: what a version needs in memory, made when a request comes and let go when none does.
//!
//! Owns, per version, the compiled component with its pool and the version's hold on its models' sessions. A [`Live`] ends
//! when the version has been idle for `model_idle`; whoever still has it finishes undisturbed. Waking is single-flight and
//! goes on when the caller that began it has gone: the next one wants it too. Nothing polls: a live version has one timer.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use dashmap::DashMap;
use futures::future::FutureExt;
use tokio::time::Instant;

use crate::nn::load::Source;
use crate::nn::{self, Models, NnError, SessionKey};
use crate::registry::catalog::Version;
use crate::registry::digest::{Blob, Digest};
use crate::registry::manifest::{Manifest, Model};
use crate::registry::store::Store;
use crate::runtime::RuntimeError;
use crate::runtime::instance::Pre;
use crate::runtime::load::Loader;
use crate::runtime::log::Budget;
use crate::runtime::pool::{Lease, Policy, Pool};
use crate::runtime::state::Grants;

mod assets;
mod slot;

pub use slot::{State, VersionStatus};

use slot::{Loading, Slot};

/// A version in memory.
pub struct Live {
    pub kind: Kind,
    models: Arc<HashMap<String, Arc<nn::Model>>>,
    used_at: Mutex<Instant>,
}

/// What serves a version's requests.
pub enum Kind {
    ModelOnly(Arc<nn::Model>),
    Typed(Arc<Pool>),
    Http(Arc<Pool>),
}

/// Why a version could not be woken.
#[derive(Debug, Clone, thiserror::Error)]
pub enum WakeError {
    #[error("{0} is missing from the store; deploy the version again")]
    Missing(Digest),
    #[error(transparent)]
    Model(#[from] NnError),
    #[error(transparent)]
    Component(Arc<RuntimeError>),
    #[error("{0}")]
    Host(String),
}

/// All live versions and what it takes to make one.
pub struct Lifecycle {
    pub(crate) parts: Arc<Parts>,
    slots: DashMap<Digest, Arc<Slot>>,
    model_idle: Duration,
}

/// What versions are made from.
pub(crate) struct Parts {
    pub(crate) store: Store,
    pub(crate) loader: Loader,
    pub(crate) models: Arc<Models>,
    pub(crate) cache_dir: PathBuf,
}

impl Lifecycle {
    /// Nothing live yet.
    pub(crate) fn new(parts: Arc<Parts>, model_idle: Duration) -> Self {
        Self { parts, slots: DashMap::new(), model_idle }
    }

    /// The version, if it is in memory.
    pub fn awake(&self, version: &Version) -> Option<Arc<Live>> {
        let slot = self.slots.get(&version.digest)?;
        let live = slot.live.load_full()?;
        slot.requests.fetch_add(1, Ordering::Relaxed);
        live.touch();
        Some(live)
    }

    /// The version in memory, made now if it is not there.
    pub async fn wake(&self, version: &Arc<Version>) -> Result<Arc<Live>, WakeError> {
        let slot = self.slot(version);
        slot.requests.fetch_add(1, Ordering::Relaxed);
        let loading = {
            let mut loading = slot.loading.lock().unwrap_or_else(PoisonError::into_inner);
            // Who loaded first has stored the result before clearing `loading`.
            match (slot.live.load_full(), &*loading) {
                (Some(live), _) => return Ok(live),
                (None, Some(loading)) => loading.clone(),
                (None, None) => loading.insert(self.begin(&slot)).clone(),
            }
        };
        loading.await
    }

    /// An instance of the pool; when the process has no room for another one, idle ones of all pools make room.
    pub async fn check_out(&self, pool: &Arc<Pool>) -> Result<Lease, RuntimeError> {
        match pool.check_out().await {
            Err(RuntimeError::NoRoom) => {
                for slot in &self.slots {
                    if let Some(Kind::Typed(pool) | Kind::Http(pool)) =
                        slot.live.load_full().as_deref().map(|live| &live.kind)
                    {
                        pool.give_up_idle();
                    }
                }
                pool.check_out().await
            }
            outcome => outcome,
        }
    }

    /// Every version that has been asked for since the host started.
    pub fn statuses(&self) -> Vec<VersionStatus> {
        let slots: Vec<Arc<Slot>> = self.slots.iter().map(|slot| Arc::clone(&slot)).collect();
        slots.iter().map(|slot| slot.status()).collect()
    }

    /// A version's models, while it is in memory.
    pub fn models(&self, version: &Digest) -> Option<Arc<HashMap<String, Arc<nn::Model>>>> {
        let live = self.slots.get(version)?.live.load_full()?;
        Some(Arc::clone(&live.models))
    }

    /// A version is deployed no more: forget it. What is in flight finishes.
    pub fn forget(&self, version: &Digest) {
        if let Some((_, slot)) = self.slots.remove(version) {
            slot.live.store(None);
        }
    }

    /// Everything goes back to disk, for shutdown.
    pub fn clear(&self) {
        self.slots.clear();
    }

    fn slot(&self, version: &Arc<Version>) -> Arc<Slot> {
        if let Some(slot) = self.slots.get(&version.digest) {
            return Arc::clone(&slot);
        }
        let slot = self.slots.entry(version.digest).or_insert_with(|| Arc::new(Slot::new(version)));
        Arc::clone(&slot)
    }

    fn begin(&self, slot: &Arc<Slot>) -> Loading {
        let (parts, slot, idle) = (Arc::clone(&self.parts), Arc::clone(slot), self.model_idle);
        // A task of its own: a caller that gives up must not undo the work the others wait for.
        let task = tokio::spawn(async move {
            let started = Instant::now();
            let result = make(&parts, &slot.version).await.map(Arc::new);
            if let Ok(live) = &result {
                slot.cold_starts.fetch_add(1, Ordering::Relaxed);
                let took = u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX);
                slot.last_cold_start_us.store(took, Ordering::Relaxed);
                tracing::info!(function = %slot.version.label(), ms = took / 1000, "woken");
                slot.live.store(Some(Arc::clone(live)));
                if slot.version.manifest.instances.min_warm == 0 {
                    tokio::spawn(sleep_when_idle(Arc::downgrade(&slot), Arc::downgrade(live), idle));
                }
            }
            *slot.loading.lock().unwrap_or_else(PoisonError::into_inner) = None;
            result
        });
        let joined =
            async move { task.await.unwrap_or_else(|error| Err(WakeError::Host(format!("waking failed: {error}")))) };
        joined.boxed().shared()
    }
}

/// Lets a live version go once it has been idle long enough. Ends with it, and holds nothing of it while it waits: a
/// version that is deleted goes at once.
async fn sleep_when_idle(slot: Weak<Slot>, live: Weak<Live>, idle: Duration) {
    /// The slot's reference and this task's own; one more is a request's.
    const UNUSED: usize = 2;
    let mut due = Instant::now() + idle;
    loop {
        tokio::time::sleep_until(due).await;
        let Some(live) = live.upgrade() else { return };
        let in_use = live.busy() || Arc::strong_count(&live) > UNUSED;
        if in_use {
            live.touch();
        }
        due = live.used_at() + idle;
        if !in_use && due <= Instant::now() {
            break;
        }
    }
    if let Some(slot) = slot.upgrade() {
        slot.live.store(None);
        tracing::info!(function = %slot.version.label(), "idle: back to disk");
    }
}

/// Component and sessions, made side by side.
async fn make(parts: &Arc<Parts>, version: &Arc<Version>) -> Result<Live, WakeError> {
    let models = async {
        let opening = version.manifest.models.iter().map(|model| open_model(parts, model));
        futures::future::try_join_all(opening).await
    };
    let component = load_component(parts, &version.manifest);
    let (models, pre, assets) = tokio::try_join!(models, component, assets::unpack(parts, version))?;
    let first = models.first().map(|(_, model)| Arc::clone(model));
    let models: Arc<HashMap<_, _>> = Arc::new(models.into_iter().collect());
    let kind = match pre {
        None => match first {
            Some(model) => Kind::ModelOnly(model),
            None => return Err(WakeError::Host("the version has neither code nor a model".into())),
        },
        Some(pre) => {
            let grants = grants(parts, version, Arc::clone(&models), assets);
            let policy = policy(version);
            match pre {
                Pre::Typed(_) => Kind::Typed(Pool::new(pre, grants, policy)),
                Pre::Http(_) => Kind::Http(Pool::new(pre, grants, policy)),
            }
        }
    };
    Ok(Live { kind, models, used_at: Mutex::new(Instant::now()) })
}

/// A version's hold on one of its models.
pub(crate) async fn open_model(parts: &Parts, model: &Model) -> Result<(String, Arc<nn::Model>), WakeError> {
    let file = local_file(parts, &model.blob.sha256)?;
    let options = &model.options;
    let name = model.name.as_str();
    let session = parts.models.open(session_key(model), name, Source::File(file), options.warmup).await?;
    let max_rows = usize::try_from(options.max_batch).unwrap_or(usize::MAX);
    let policy = nn::Policy { max_rows, max_delay: options.max_delay };
    Ok((name.to_owned(), Arc::new(nn::Model::new(name, session, policy))))
}

/// Which session serves a model.
pub(crate) fn session_key(model: &Model) -> SessionKey {
    let options = &model.options;
    SessionKey {
        digest: model.blob.sha256,
        device: options.device,
        intra_threads: options.intra_threads,
        sessions: options.sessions,
    }
}

/// A version's component, if it has one.
pub(crate) async fn load_component(parts: &Arc<Parts>, manifest: &Manifest) -> Result<Option<Pre>, WakeError> {
    let Some(Blob { sha256: digest, .. }) = manifest.component else { return Ok(None) };
    let file = local_file(parts, &digest)?;
    let parts = Arc::clone(parts);
    // Compiling takes the processor for as long as it takes: not on the executor.
    let loaded = tokio::task::spawn_blocking(move || {
        parts.loader.load(&digest.to_string(), || {
            std::fs::read(file).map_err(|error| RuntimeError::Host(format!("component blob {digest}: {error}")))
        })
    });
    match loaded.await {
        Ok(result) => result.map(Some).map_err(|error| WakeError::Component(Arc::new(error))),
        Err(error) => Err(WakeError::Host(format!("loading the component failed: {error}"))),
    }
}

fn local_file(parts: &Parts, digest: &Digest) -> Result<PathBuf, WakeError> {
    parts.store.local_path(digest).ok_or(WakeError::Missing(*digest))
}

fn grants(
    parts: &Parts,
    version: &Version,
    by_name: Arc<HashMap<String, Arc<nn::Model>>>,
    assets: Option<PathBuf>,
) -> Grants {
    Grants {
        function: version.label().into(),
        output: Budget::new(),
        assets,
        env: version.manifest.env.iter().map(|(key, value)| (key.clone(), value.clone())).collect(),
        memory_bytes: version.manifest.limits.memory,
        models: Arc::clone(&parts.models),
        by_name,
    }
}

fn policy(version: &Version) -> Policy {
    let instances = &version.manifest.instances;
    Policy {
        reuse: instances.reuse,
        min_warm: instances.min_warm as usize,
        max_warm: instances.max_warm as usize,
        idle_timeout: instances.idle_timeout,
    }
}

// === impl Live ===

impl Live {
    /// A request uses it now.
    fn touch(&self) {
        *self.used_at.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    fn used_at(&self) -> Instant {
        *self.used_at.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn instances(&self) -> (usize, usize) {
        match &self.kind {
            Kind::ModelOnly(_) => (0, 0),
            Kind::Typed(pool) | Kind::Http(pool) => pool.counts(),
        }
    }

    fn busy(&self) -> bool {
        self.instances().1 > 0
    }
}
