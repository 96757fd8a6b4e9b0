//! All loaded sessions, found by what they are: one per model digest, device wish and options, whoever asks.
//!
//! Holds only weak references: a session ends when its last user (a live version) lets go. Loading is single-flight.

use std::sync::{Arc, Weak};

use dashmap::DashMap;
use tokio::sync::Mutex;

use super::library::Library;
use super::session::{Options, Session, Source};
use super::{NnError, device};
use crate::registry::device::Device;
use crate::registry::digest::Digest;

/// What makes two users share a session.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct SessionKey {
    pub digest: Digest,
    pub device: Device,
    pub intra_threads: u32,
}

type Slot = Arc<Mutex<Weak<Session>>>;

/// The sessions of this host.
pub struct Models {
    library: Library,
    devices: Vec<String>,
    slots: DashMap<SessionKey, Slot>,
}

/// A session as `status` shows it.
pub struct SessionInfo {
    pub key: SessionKey,
    pub session: Arc<Session>,
}

impl Models {
    /// No sessions yet; `devices` is the order for `device = "auto"`, of which only those count that the library offers.
    pub fn new(library: Library, devices: &[String]) -> Self {
        Self { library, devices: device::offered(devices), slots: DashMap::new() }
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
        let opened = self.load(name, source, key.device, key.intra_threads, warmup).await?;
        *session = Arc::downgrade(&opened);
        Ok(opened)
    }

    /// A session of the caller's own, for models that guests bring as bytes.
    pub async fn open_private(&self, name: &str, source: Source, wish: Device) -> Result<Arc<Session>, NnError> {
        self.load(name, source, wish, 1, false).await
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

    async fn load(
        &self,
        name: &str,
        source: Source,
        wish: Device,
        intra_threads: u32,
        warmup: bool,
    ) -> Result<Arc<Session>, NnError> {
        let targets = device::order(wish, &self.devices);
        let options = Options { model: name.to_owned(), targets, intra_threads, warmup };
        let started = tokio::time::Instant::now();
        let session = Session::open(self.library.clone(), source, options).await?;
        tracing::debug!(model = name, device = %session.device(), ms = started.elapsed().as_millis(), "session loaded");
        Ok(Arc::new(session))
    }
}
