//! All loaded sessions, found by what they are: one per model digest, device wish and options, whoever asks.
//!
//! Holds only weak references: a session ends when its last user (a live version) lets go. Loading is single-flight.

use std::sync::{Arc, Weak};
use std::time::Duration;

use bytes::Bytes;
use dashmap::DashMap;
use tokio::sync::Mutex;

use super::budget::Budget;
use super::device::Target;
use super::library::Library;
use super::load::{Expected, Options, Source};
use super::memory::{self, Memory, Unload};
use super::model::Model;
use super::prepared::Shelf;
use super::session::{Policy, Session};
use super::{NnError, device, first, load};
use crate::cache::Cache;
use crate::registry::device::Device;
use crate::registry::digest::Digest;
use crate::telemetry::ModelMetrics;

/// What makes two users share a session.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct SessionKey {
    pub digest: Digest,
    pub device: Device,
    pub intra_threads: u32,
    /// Runs that can go on at once.
    pub sessions: u32,
}

type Slot = Arc<Mutex<Weak<Session>>>;

/// The sessions of this host.
pub struct Models {
    library: Library,
    devices: Vec<String>,
    slots: DashMap<SessionKey, Slot>,
    cache: Arc<Cache>,
    memory: Memory,
    quick_start: bool,
    metrics: ModelMetrics,
}

/// How models are loaded.
#[derive(Debug, Clone)]
pub struct Config {
    /// The order for `device = "auto"`, of which only those count that the library offers.
    pub devices: Vec<String>,
    pub memory: memory::Config,
    /// Whether a model answers its first requests in the form that is loaded sooner.
    pub quick_start: bool,
}

/// A session as `status` shows it.
pub struct SessionInfo {
    pub key: SessionKey,
    pub session: Arc<Session>,
}

/// A session that was asked for.
pub struct Opened {
    pub session: Arc<Session>,
    /// Whether it was loaded for this.
    pub loaded: bool,
}

impl Models {
    /// No sessions yet. Prepared forms are kept in `cache`.
    pub fn new(library: Library, cache: Arc<Cache>, config: &Config, metrics: ModelMetrics) -> Self {
        Self {
            library,
            devices: device::offered(&config.devices),
            slots: DashMap::new(),
            cache,
            memory: Memory::new(config.memory),
            quick_start: config.quick_start,
            metrics,
        }
    }

    /// The shared session of a bundle's model, loaded now if nobody has it loaded. A thousand callers load it once. With
    /// `warm_up` it has run once when it comes.
    pub async fn open(&self, key: SessionKey, name: &str, source: Source, warm_up: bool) -> Result<Opened, NnError> {
        let slot = Arc::clone(&self.slots.entry(key.clone()).or_default());
        let mut known = slot.lock().await;
        if let Some(session) = known.upgrade() {
            return Ok(Opened { session, loaded: false });
        }
        let shelf = Some(Shelf { cache: Arc::clone(&self.cache), digest: key.digest.to_string() });
        let order = device::order(key.device, &self.devices);
        let options = |target| Options {
            model: name.to_owned(),
            target,
            intra_threads: key.intra_threads,
            sessions: key.sessions,
            warmup: warm_up,
            shelf: shelf.clone(),
            quick_start: self.quick_start,
        };
        let session = self.load(&order, &source, options).await?;
        *known = Arc::downgrade(&session);
        Ok(Opened { session, loaded: true })
    }

    /// Has ONNX Runtime do now, on a thread that may block, what it does once in a process: no request is to wait for it.
    pub fn begin(&self) {
        let library = self.library.clone();
        tokio::task::spawn_blocking(move || {
            if let Err(error) = first::load_and_run(&library) {
                tracing::warn!(%error, "ONNX Runtime does not load the simplest of models");
            }
        });
    }

    /// A model of the caller's own, which guests bring as bytes.
    pub async fn open_private(&self, name: &str, bytes: Bytes, wish: Device) -> Result<Model, NnError> {
        let options = |target| Options {
            model: name.to_owned(),
            target,
            intra_threads: 1,
            sessions: 1,
            warmup: false,
            shelf: None,
            quick_start: false,
        };
        let session = self.load(&device::order(wish, &self.devices), &Source::Memory(bytes), options).await?;
        Ok(Model::new(name, session, Policy { max_rows: 1, max_delay: Duration::ZERO }, None))
    }

    /// The sessions that are loaded now. Slots of ended ones are swept on the way.
    pub fn loaded(&self) -> Vec<SessionInfo> {
        let mut found = Vec::new();
        // A slot that is locked is being loaded; one that others hold is about to be.
        self.slots.retain(|key, slot| match slot.try_lock().map(|session| session.upgrade()) {
            Ok(Some(session)) => {
                found.push(SessionInfo { key: key.clone(), session });
                true
            }
            Ok(None) => Arc::strong_count(slot) > 1,
            Err(_) => true,
        });
        found
    }

    /// What sessions may take, and what they take, of the host's memory and of each device's.
    pub fn budgets(&self) -> Vec<(Target, Arc<Budget>)> {
        self.memory.all()
    }

    /// Who is asked to unload models when the next one would not fit: the first to say so.
    pub fn set_unload(&self, unload: Box<Unload>) {
        self.memory.set_unload(unload);
    }

    /// Loads a model on the first device that can be had.
    async fn load(
        &self,
        order: &[Target],
        source: &Source,
        options: impl Fn(Target) -> Options,
    ) -> Result<Arc<Session>, NnError> {
        let mut no_device = None;
        for &target in order {
            let options = options(target);
            let model = options.model.clone();
            let no_memory = |reason| NnError::NoMemory { model: model.clone(), reason };
            let budget = self.memory.of(target);
            let share = match expected(source, &options).await {
                Expected::Measured(bytes) => budget.take(bytes).await,
                // Whether it fits shows when it has been measured.
                Expected::Guessed(bytes) => budget.take(bytes.min(budget.bytes().1)).await,
            };
            let share = share.map_err(no_memory)?;
            match Session::open(self.library.clone(), source.clone(), options, share, self.metrics.clone()).await {
                Err(error @ NnError::Device { .. }) => {
                    if let NnError::Device { reason, .. } = &error
                        && order.len() > 1
                    {
                        device::passed_over(&model, target, reason);
                    }
                    no_device = Some(error);
                }
                opened => {
                    let session = opened?;
                    budget.check(session.size_bytes()).map_err(no_memory)?;
                    return Ok(session);
                }
            }
        }
        Err(no_device.unwrap_or_else(|| {
            NnError::Unsupported("no device of the server's list onnxruntime.devices can be used".into())
        }))
    }
}

/// What a model is expected to take: looked for on a thread that may block, since it may have to be hashed.
async fn expected(source: &Source, options: &Options) -> Expected {
    let (source, options) = (source.clone(), options.clone());
    let looking = tokio::task::spawn_blocking(move || load::expected(&source, &options));
    looking.await.unwrap_or(Expected::Guessed(0))
}
