//! One version's place among those that were asked for, and what `status` says of it.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwapOption;
use futures::future::{BoxFuture, Shared};
use tokio::time::Instant;

use super::make::{ColdStart, Phase};
use super::{Idle, Live, WakeError};
use crate::registry::catalog::Version;
use crate::runtime::instance::Pre;
use crate::telemetry::Usage;

/// How much of a version is in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// Nothing: it is on disk.
    Stored,
    /// Its component, ready to be instantiated.
    Component,
    /// What is missing is being made.
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
    /// Times it was brought into memory, and how often each phase of that was needed.
    pub cold_starts: u64,
    pub phases: [(Phase, u64); Phase::ALL.len()],
    pub last_cold_start: Option<ColdStart>,
    /// Of its compiled component, and of its models' sessions, which others may use too; 0: it is not in memory.
    pub component_bytes: u64,
    pub model_bytes: u64,
}

impl State {
    /// As the API has it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Stored => "stored",
            Self::Component => "component",
            Self::Loading => "loading",
            Self::Loaded => "loaded",
            Self::Warm => "warm",
        }
    }
}

impl VersionStatus {
    /// True when its sessions are in memory.
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
    /// Stays when the sessions go.
    component: Mutex<Option<Arc<Pre>>>,
    pub(super) requests: AtomicU64,
    used_at: Mutex<Instant>,
    /// Whether its manifest keeps instances that are always there.
    min_warm: AtomicBool,
    by_hand: Mutex<ByHand>,
    /// Whether a timer sees to it that it goes to rest.
    resting: AtomicBool,
    starts: Mutex<Starts>,
    /// What its models did for it, however often they were unloaded meanwhile.
    pub(super) usage: Arc<Usage>,
}

/// What somebody asked for, beside requests.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum ByHand {
    #[default]
    Nothing,
    /// To be in memory, always.
    Loaded,
    /// To be on disk, until a request comes.
    Unloaded,
}

#[derive(Default)]
struct Starts {
    count: u64,
    phases: [u64; Phase::ALL.len()],
    last: Option<ColdStart>,
}

impl Slot {
    pub(super) fn new(version: &Arc<Version>) -> Self {
        Self {
            version: Arc::clone(version),
            live: ArcSwapOption::empty(),
            loading: Mutex::new(None),
            component: Mutex::new(None),
            requests: AtomicU64::new(0),
            used_at: Mutex::new(Instant::now()),
            min_warm: AtomicBool::new(false),
            by_hand: Mutex::default(),
            resting: AtomicBool::new(false),
            starts: Mutex::default(),
            usage: Arc::default(),
        }
    }

    /// Whether it is to stay in memory.
    pub(super) fn stays(&self) -> bool {
        self.keeps_warm() || self.by_hand() == ByHand::Loaded
    }

    /// Whether its manifest wants it to stay in memory.
    pub(super) fn keeps_warm(&self) -> bool {
        self.min_warm.load(Ordering::SeqCst)
    }

    /// From now on its manifest wants it to stay in memory, or not. True if somebody has to begin to [rest](Self::rest) it.
    pub(super) fn set_keeps_warm(&self, keeps_warm: bool) -> bool {
        self.min_warm.store(keeps_warm, Ordering::SeqCst);
        self.begins_to_rest()
    }

    /// Whether somebody has to begin to [rest](Self::rest) it: it is in memory, and nobody does.
    pub(super) fn begins_to_rest(&self) -> bool {
        let in_memory = self.live.load().is_some() || self.component().is_some();
        in_memory && !self.stays() && !self.resting.swap(true, Ordering::SeqCst)
    }

    pub(super) fn by_hand(&self) -> ByHand {
        *self.by_hand.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// It was loaded by hand, unless that has been unloaded meanwhile.
    pub(super) fn loaded(&self, live: &Arc<Live>) {
        let mut by_hand = self.by_hand.lock().unwrap_or_else(PoisonError::into_inner);
        if self.live.load().as_ref().is_some_and(|there| Arc::ptr_eq(there, live)) {
            *by_hand = ByHand::Loaded;
        }
    }

    /// It goes by hand.
    pub(super) fn unload(&self) {
        let mut by_hand = self.by_hand.lock().unwrap_or_else(PoisonError::into_inner);
        *by_hand = ByHand::Unloaded;
        self.put_away();
    }

    /// Something woke it: that it was unloaded by hand is history.
    fn woken(&self) {
        let mut by_hand = self.by_hand.lock().unwrap_or_else(PoisonError::into_inner);
        if *by_hand == ByHand::Unloaded {
            *by_hand = ByHand::Nothing;
        }
    }

    /// All of it goes at once, but for what is in use.
    fn put_away(&self) {
        self.live.store(None);
        *self.component.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    pub(super) fn component(&self) -> Option<Arc<Pre>> {
        self.component.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn keep_component(&self, component: &Arc<Pre>) {
        *self.component.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(component));
    }

    /// A request uses it now.
    pub(super) fn touch(&self) {
        *self.used_at.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    pub(super) fn used_at(&self) -> Instant {
        *self.used_at.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Unloads this one, but none that was made since.
    pub(super) fn let_go(&self, live: &Arc<Live>) {
        self.live.compare_and_swap(live, None);
    }

    /// What was made is in use from now on.
    pub(super) fn install(&self, live: &Arc<Live>) {
        self.woken();
        self.live.store(Some(Arc::clone(live)));
    }

    /// Lets go what nobody has used for long enough; when to look again. `None`: there is nothing left to let go.
    pub(super) fn rest(&self, idle: Idle) -> Option<Instant> {
        let now = Instant::now();
        if let Some(live) = self.live.load_full() {
            if self.stays() {
                self.resting.store(false, Ordering::SeqCst);
                // It may have been told otherwise meanwhile, and found this still at it.
                return self.begins_to_rest().then_some(now);
            }
            if live.in_use() {
                self.touch();
            }
            let due = self.used_at() + idle.model;
            if due > now {
                return Some(due);
            }
            self.let_go(&live);
            tracing::info!(function = %self.version.label(), "idle: its models are unloaded");
        }
        // Whoever wakes it begins under this lock, and has the component by then or loads it.
        let loading = self.loading.lock().unwrap_or_else(PoisonError::into_inner);
        if loading.is_some() || self.live.load().is_some() {
            return Some(now + idle.model);
        }
        let mut component = self.component.lock().unwrap_or_else(PoisonError::into_inner);
        let due = self.used_at() + idle.component;
        if component.is_some() && due > now {
            return Some(due);
        }
        *component = None;
        self.resting.store(false, Ordering::SeqCst);
        None
    }

    /// It was brought into memory.
    pub(super) fn started(&self, start: ColdStart) {
        let mut starts = self.starts.lock().unwrap_or_else(PoisonError::into_inner);
        starts.count += 1;
        for (count, phase) in starts.phases.iter_mut().zip(Phase::ALL) {
            *count += u64::from(start.phase(phase).is_some());
        }
        starts.last = Some(start);
    }

    pub(super) fn status(&self) -> VersionStatus {
        let live = self.live.load_full();
        let instances = live.as_ref().map_or((0, 0), |live| live.instances());
        let component = self.component();
        let state = match &live {
            Some(_) if instances.0 + instances.1 > 0 => State::Warm,
            Some(_) => State::Loaded,
            None if self.loading.lock().unwrap_or_else(PoisonError::into_inner).is_some() => State::Loading,
            None if component.is_some() => State::Component,
            None => State::Stored,
        };
        let starts = self.starts.lock().unwrap_or_else(PoisonError::into_inner);
        let mut phases = Phase::ALL.map(|phase| (phase, 0));
        for ((_, count), known) in phases.iter_mut().zip(starts.phases) {
            *count = known;
        }
        VersionStatus {
            version: Arc::clone(&self.version),
            state,
            instances,
            requests: self.requests.load(Ordering::Relaxed),
            cold_starts: starts.count,
            phases,
            last_cold_start: starts.last,
            component_bytes: component.map_or(0, |component| component.size_bytes()),
            model_bytes: live.map_or(0, |live| live.model_bytes()),
        }
    }
}
