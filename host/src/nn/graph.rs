//! All loaded sessions, found by what they are: one per model digest, device wish and options, whoever asks.
//!
//! Holds only weak references: a session ends when its last user (a live version) lets go. Loading is single-flight.

use std::path::PathBuf;
use std::sync::{Arc, Weak};
use std::time::Duration;

use bytes::Bytes;
use dashmap::DashMap;
use tokio::sync::Mutex;

use super::library::Library;
use super::load::{Options, Source};
use super::model::Model;
use super::session::{Policy, Session};
use super::{NnError, device, weights};
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
    scratch: PathBuf,
    metrics: ModelMetrics,
}

/// A session as `status` shows it.
pub struct SessionInfo {
    pub key: SessionKey,
    pub session: Arc<Session>,
}

impl Models {
    /// No sessions yet; `devices` is the order for `device = "auto"`, of which only those count that the library offers.
    /// `scratch` is a folder for what loading needs for a while.
    pub fn new(library: Library, devices: &[String], scratch: PathBuf, metrics: ModelMetrics) -> Self {
        weights::sweep(&scratch);
        Self { library, devices: device::offered(devices), slots: DashMap::new(), scratch, metrics }
    }

    /// The shared session of a bundle's model, loaded now if nobody has it loaded. A thousand callers load it once.
    pub async fn open(
        &self,
        key: SessionKey,
        name: &str,
        source: Source,
        warmup: bool,
    ) -> Result<Arc<Session>, NnError> {
        let slot = Arc::clone(&self.slots.entry(key.clone()).or_default());
        let mut session = slot.lock().await;
        if let Some(live) = session.upgrade() {
            return Ok(live);
        }
        let opened = self.load(name, source, &key, warmup).await?;
        *session = Arc::downgrade(&opened);
        Ok(opened)
    }

    /// A model of the caller's own, which guests bring as bytes.
    pub async fn open_private(&self, name: &str, bytes: Bytes, wish: Device) -> Result<Model, NnError> {
        let options = Options {
            model: name.to_owned(),
            targets: device::order(wish, &self.devices),
            intra_threads: 1,
            sessions: 1,
            warmup: false,
            scratch: self.scratch.clone(),
        };
        let session = Session::open(self.library.clone(), Source::Memory(bytes), options, self.metrics.clone()).await?;
        Ok(Model::new(name, session, Policy { max_rows: 1, max_delay: Duration::ZERO }))
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

    async fn load(&self, name: &str, source: Source, key: &SessionKey, warmup: bool) -> Result<Arc<Session>, NnError> {
        let options = Options {
            model: name.to_owned(),
            targets: device::order(key.device, &self.devices),
            intra_threads: key.intra_threads,
            sessions: key.sessions,
            warmup,
            scratch: self.scratch.clone(),
        };
        let started = tokio::time::Instant::now();
        let session = Session::open(self.library.clone(), source, options, self.metrics.clone()).await?;
        tracing::debug!(model = name, device = %session.device(), ms = started.elapsed().as_millis(), "session loaded");
        Ok(session)
    }
}
