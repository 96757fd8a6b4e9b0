//! From stored to warm and back: what a version needs in memory, made when a request comes and let go step by step when none does.
//!
//! Owns, per version, the compiled component and a [`Live`]: its pool of instances, and its hold on its models' sessions. Waking is
//! single-flight and goes on when the caller that began it has gone: the next one wants it too. What ends a [`Live`]: the version has
//! been idle for `model_idle`, another model needs its memory, or it is deployed no more; whoever still has it finishes undisturbed.
//! Nothing polls: a version that is in memory has one timer.

use std::collections::HashMap;
use std::panic::AssertUnwindSafe;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use dashmap::DashMap;
use futures::future::FutureExt;

use crate::cache::Cache;
use crate::logs::Logs;
use crate::nn::{self, Models, NnError};
use crate::registry::catalog::{Catalog, Version};
use crate::registry::digest::Digest;
use crate::registry::store::{Store, StoreError};
use crate::runtime::RuntimeError;
use crate::runtime::load::Loader;
use crate::runtime::pool::{Keep, Lease, Pool};
use crate::telemetry::LifecycleMetrics;

mod by_hand;
mod make;
mod room;
mod slot;

pub use make::{Cause, ColdStart, Phase, session_key};
pub use slot::{State, VersionStatus};

pub(crate) use make::{fit_together, load_component, open_models};

use slot::{Loading, Slot};

/// A version in memory.
pub struct Live {
    pub kind: Kind,
    models: Arc<HashMap<String, Arc<nn::Model>>>,
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
    Store(Arc<StoreError>),
    #[error(transparent)]
    Model(#[from] NnError),
    #[error(transparent)]
    Component(Arc<RuntimeError>),
    #[error("{0}")]
    Host(String),
}

/// All versions that were asked for, and what it takes to wake one.
pub struct Lifecycle {
    pub(crate) parts: Arc<Parts>,
    slots: Slots,
    idle: Idle,
    /// One at a time decides what stays in memory.
    warming: Mutex<()>,
}

/// By the version's digest.
type Slots = Arc<DashMap<Digest, Arc<Slot>>>;

/// The `[lifecycle]` part of the configuration: how long what nobody uses stays in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Idle {
    /// Sessions.
    pub model: Duration,
    /// Compiled components.
    pub component: Duration,
}

/// What versions are made from.
pub(crate) struct Parts {
    pub(crate) store: Store,
    pub(crate) loader: Loader,
    pub(crate) models: Arc<Models>,
    pub(crate) cache: Arc<Cache>,
    pub(crate) logs: Arc<Logs>,
    /// Held while a version opens several models.
    pub(crate) several_models: tokio::sync::Mutex<()>,
    pub(crate) metrics: LifecycleMetrics,
}

impl Lifecycle {
    /// Nothing live yet.
    pub(crate) fn new(parts: Arc<Parts>, idle: Idle) -> Self {
        let slots = Slots::default();
        let (unloaded, evictions) = (Arc::downgrade(&slots), parts.metrics.evictions.clone());
        parts.models.set_unload(Box::new(move |target, bytes| {
            let Some(slots) = unloaded.upgrade() else { return 0 };
            let (count, bytes) = room::unload(&slots, target, bytes);
            evictions.inc_by(count);
            bytes
        }));
        Self { parts, slots, idle, warming: Mutex::new(()) }
    }

    /// The version, if it is in memory.
    pub fn awake(&self, version: &Version) -> Option<Arc<Live>> {
        let slot = self.slots.get(&version.digest)?;
        let live = slot.live.load_full()?;
        slot.requests.fetch_add(1, Ordering::Relaxed);
        slot.touch();
        Some(live)
    }

    /// The version in memory, made now if it is not there.
    pub async fn wake(&self, version: &Arc<Version>, cause: Cause) -> Result<Arc<Live>, WakeError> {
        let slot = self.slot(version);
        if cause == Cause::Request {
            slot.requests.fetch_add(1, Ordering::Relaxed);
        }
        let loading = {
            let mut loading = slot.loading.lock().unwrap_or_else(PoisonError::into_inner);
            // Who loaded first has stored the result before clearing `loading`.
            match (slot.live.load_full(), &*loading) {
                (Some(live), _) => return Ok(live),
                (None, Some(loading)) => loading.clone(),
                (None, None) => loading.insert(self.begin(&slot, cause)).clone(),
            }
        };
        loading.await
    }

    /// Those of a function's versions that get traffic and ask for instances that are always there are woken now, and stay in
    /// memory until this is called after a change of the function.
    pub fn keep_warm(&self, catalog: &Catalog, function: &str) {
        // So that what is acted on is the catalog's latest word, and nobody forgets a version in between.
        let _turn = self.warming.lock().unwrap_or_else(PoisonError::into_inner);
        let Ok(function) = catalog.function(function) else { return };
        for version in function.versions.values() {
            let gets_traffic = || function.revision.aliases.values().any(|weights| weights.contains_key(&version.name));
            let stays = version.manifest.instances.min_warm > 0 && gets_traffic();
            let known = self.slots.get(&version.digest).map(|slot| Arc::clone(&slot));
            let Some(slot) = known.or_else(|| stays.then(|| self.slot(version))) else { continue };
            if slot.set_keeps_warm(stays) {
                tokio::spawn(rest(Arc::downgrade(&slot), self.idle));
            }
            let mut loading = slot.loading.lock().unwrap_or_else(PoisonError::into_inner);
            if stays && slot.live.load().is_none() && loading.is_none() {
                // It goes on by itself; a failure is seen by the first request, which tries again.
                *loading = Some(self.begin(&slot, Cause::MinWarm));
            }
        }
    }

    /// An instance of the pool; when the process has no room for another one, idle ones of all pools make room.
    pub async fn check_out(&self, pool: &Arc<Pool>) -> Result<Lease, RuntimeError> {
        // Others may be quicker to take the room that was made.
        for keep in [Keep::Minimum, Keep::Nothing, Keep::Nothing, Keep::Nothing] {
            match pool.check_out().await {
                Err(RuntimeError::NoRoom) => room::give_up_instances(&self.slots, keep),
                outcome => return outcome,
            }
        }
        pool.check_out().await
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
        let _turn = self.warming.lock().unwrap_or_else(PoisonError::into_inner);
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

    fn begin(&self, slot: &Arc<Slot>, cause: Cause) -> Loading {
        slot.touch();
        let (parts, slot, idle) = (Arc::clone(&self.parts), Arc::clone(slot), self.idle);
        // A task of its own: a caller that gives up must not undo the work the others wait for.
        let task = tokio::spawn(async move {
            let made = AssertUnwindSafe(make::make(&parts, &slot, cause)).catch_unwind().await;
            let made = made.unwrap_or_else(|_| Err(WakeError::Host("waking it panicked".into())));
            let result = made.map(|(live, start)| {
                tracing::info!(function = %slot.version.label(), ms = start.total.as_millis(), %cause, "woken");
                start.observe(&parts.metrics);
                slot.started(start);
                let live = Arc::new(live);
                slot.touch();
                slot.install(&live);
                live
            });
            *slot.loading.lock().unwrap_or_else(PoisonError::into_inner) = None;
            // One that failed may have its component.
            if slot.begins_to_rest() {
                tokio::spawn(rest(Arc::downgrade(&slot), idle));
            }
            result
        });
        let joined =
            async move { task.await.unwrap_or_else(|error| Err(WakeError::Host(format!("waking failed: {error}")))) };
        joined.boxed().shared()
    }
}

/// One timer for each version that is in memory. It holds nothing of it while it waits: one that is deleted goes at once.
async fn rest(slot: Weak<Slot>, idle: Idle) {
    while let Some(due) = slot.upgrade().and_then(|slot| slot.rest(idle)) {
        tokio::time::sleep_until(due).await;
    }
}

// === impl Live ===

impl Live {
    fn instances(&self) -> (usize, usize) {
        match &self.kind {
            Kind::ModelOnly(_) => (0, 0),
            Kind::Typed(pool) | Kind::Http(pool) => pool.counts(),
        }
    }

    fn model_bytes(&self) -> u64 {
        let sessions = self.models.values().map(|model| Arc::as_ptr(model.session()));
        let sessions: HashMap<_, _> =
            sessions.zip(self.models.values().map(|model| model.session().size_bytes())).collect();
        sessions.values().sum()
    }

    /// Whether a request has it, or one of its instances.
    fn in_use(self: &Arc<Self>) -> bool {
        /// The slot's reference and this caller's own; one more is a request's.
        const UNUSED: usize = 2;
        self.instances().1 > 0 || Arc::strong_count(self) > UNUSED
    }
}
