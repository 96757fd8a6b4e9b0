//! One version's place among the live ones, and what `status` says of it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use futures::future::{BoxFuture, Shared};

use super::{Live, WakeError};
use crate::registry::catalog::Version;

/// How much of a version is in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// Nothing: it is on disk.
    Stored,
    /// Nothing yet.
    Loading,
    /// Its component and sessions.
    Loaded,
    /// Instances as well.
    Warm,
}

/// A version as `status` shows it.
pub struct VersionStatus {
    pub version: Arc<Version>,
    pub state: State,
    /// Idle and busy instances.
    pub instances: (usize, usize),
    pub requests: u64,
    pub cold_starts: u64,
    pub last_cold_start: Option<Duration>,
}

impl VersionStatus {
    /// True when it takes memory.
    pub fn is_live(&self) -> bool {
        matches!(self.state, State::Warm | State::Loaded)
    }
}

pub(super) type Loading = Shared<BoxFuture<'static, Result<Arc<Live>, WakeError>>>;

/// One version's place, kept while the version is deployed.
pub(super) struct Slot {
    pub(super) version: Arc<Version>,
    pub(super) live: ArcSwapOption<Live>,
    pub(super) loading: Mutex<Option<Loading>>,
    pub(super) requests: AtomicU64,
    pub(super) cold_starts: AtomicU64,
    pub(super) last_cold_start_us: AtomicU64,
}

impl Slot {
    pub(super) fn new(version: &Arc<Version>) -> Self {
        Self {
            version: Arc::clone(version),
            live: ArcSwapOption::empty(),
            loading: Mutex::new(None),
            requests: AtomicU64::new(0),
            cold_starts: AtomicU64::new(0),
            last_cold_start_us: AtomicU64::new(0),
        }
    }

    pub(super) fn status(&self) -> VersionStatus {
        let live = self.live.load_full();
        let instances = live.as_ref().map_or((0, 0), |live| live.instances());
        let state = match &live {
            Some(_) if instances.0 + instances.1 > 0 => State::Warm,
            Some(_) => State::Loaded,
            None if self.loading.lock().unwrap_or_else(PoisonError::into_inner).is_some() => State::Loading,
            None => State::Stored,
        };
        let cold_starts = self.cold_starts.load(Ordering::Relaxed);
        let last = Duration::from_micros(self.last_cold_start_us.load(Ordering::Relaxed));
        VersionStatus {
            version: Arc::clone(&self.version),
            state,
            instances,
            requests: self.requests.load(Ordering::Relaxed),
            cold_starts,
            last_cold_start: (cold_starts > 0).then_some(last),
        }
    }
}
