//! Loading and unloading a version by hand, as the protocol's model repository extension has it.

use std::sync::{Arc, PoisonError};

use super::slot::ByHand;
use super::{Cause, Lifecycle, WakeError};
use crate::registry::catalog::Version;
use crate::registry::digest::Digest;
use crate::telemetry::Usage;

impl Lifecycle {
    /// Wakes the version, which stays in memory until it is unloaded by hand or deployed no more.
    pub async fn load(&self, version: &Arc<Version>) -> Result<(), WakeError> {
        let slot = self.slot(version);
        // Not before it is there: who goes away meanwhile, or fails, has asked for nothing. Until then this caller has it, so that
        // it does not go to rest.
        let live = self.wake(version, Cause::Load).await?;
        slot.loaded(&live);
        Ok(())
    }

    /// The version goes back to disk. What is in flight finishes, and the next request wakes it again.
    pub async fn unload(&self, version: &Arc<Version>) {
        let slot = self.slot(version);
        // Loading cannot be stopped; what it makes is put away with the rest.
        let loading = slot.loading.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(loading) = loading {
            let _ = loading.await;
        }
        slot.unload();
        tracing::info!(function = %version.label(), "unloaded by hand");
    }

    /// Whether the manifest wants it to stay in memory: unloaded, it would be back at once.
    pub fn keeps_warm(&self, version: &Digest) -> bool {
        self.slots.get(version).is_some_and(|slot| slot.keeps_warm())
    }

    /// Whether it was unloaded by hand, and nothing has woken it since.
    pub fn is_unloaded(&self, version: &Digest) -> bool {
        self.slots.get(version).is_some_and(|slot| slot.by_hand() == ByHand::Unloaded)
    }

    /// What the version's models did for it so far, if it was asked for at all.
    pub fn usage(&self, version: &Digest) -> Option<Arc<Usage>> {
        self.slots.get(version).map(|slot| Arc::clone(&slot.usage))
    }
}
