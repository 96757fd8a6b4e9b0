//! The budgets of all places where models are kept: the host's memory and each device's.

use std::sync::{Arc, OnceLock};

use dashmap::DashMap;

use super::budget::Budget;
use super::device::Target;
use super::machine;

/// The `[memory]` part of the configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Config {
    /// Bytes of the host's memory that all sessions may take; `None`: three fifths of what this process may use.
    pub models: Option<u64>,
    /// The same of each device's own memory; `None`: as much as there is.
    pub device_models: Option<u64>,
}

/// Unloads what nobody uses in a device's memory until about so many bytes are free; how many are about to be.
pub type Unload = dyn Fn(Target, u64) -> u64 + Send + Sync;

/// What sessions may take, by where they are.
pub(super) struct Memory {
    host: Arc<Budget>,
    device_bytes: u64,
    devices: DashMap<Target, Arc<Budget>>,
    unload: Arc<OnceLock<Box<Unload>>>,
}

impl Memory {
    pub(super) fn new(config: Config) -> Self {
        let all = || machine::memory_bytes().map_or(u64::MAX, |bytes| bytes / 5 * 3);
        let unload = Arc::default();
        let host = budget(Target::Cpu, config.models.unwrap_or_else(all), &unload);
        let device_bytes = config.device_models.unwrap_or(u64::MAX);
        Self { host, device_bytes, devices: DashMap::new(), unload }
    }

    /// Who unloads models; the first to say so.
    pub(super) fn set_unload(&self, unload: Box<Unload>) {
        let _ = self.unload.set(unload);
    }

    pub(super) fn of(&self, target: Target) -> Arc<Budget> {
        if !target.has_own_memory() {
            return Arc::clone(&self.host);
        }
        let known = self.devices.entry(target);
        Arc::clone(&known.or_insert_with(|| budget(target, self.device_bytes, &self.unload)))
    }

    /// All of them, the host's first.
    pub(super) fn all(&self) -> Vec<(Target, Arc<Budget>)> {
        let devices = self.devices.iter().map(|entry| (*entry.key(), Arc::clone(entry.value())));
        std::iter::once((Target::Cpu, Arc::clone(&self.host))).chain(devices).collect()
    }
}

fn budget(target: Target, limit_bytes: u64, unload: &Arc<OnceLock<Box<Unload>>>) -> Arc<Budget> {
    let (unload, setting) =
        (Arc::clone(unload), if target.has_own_memory() { "memory.device_models" } else { "memory.models" });
    Budget::new(setting, limit_bytes, move |bytes| unload.get().map_or(0, |unload| unload(target, bytes)))
}
