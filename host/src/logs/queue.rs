//! What waits for the writer: functions with lines, each once, and logs that end.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::function::Function;

/// Bytes of lines that wait, of all functions together. One alone has a few hundred KiB at most, so it takes many to fill this, and a
/// disk that hangs.
const MAX_BYTES: usize = 64 << 20;

/// Something to do for the writer.
pub(super) enum Job {
    /// The function has lines.
    Write(Arc<Function>),
    /// It is deleted.
    Remove(String),
}

#[derive(Default)]
pub(super) struct Queue {
    state: Mutex<State>,
    wake: Condvar,
    bytes: AtomicUsize,
}

#[derive(Default)]
struct State {
    jobs: Vec<Job>,
    stops: bool,
}

impl Queue {
    pub(super) fn push(&self, job: Job) {
        self.state().jobs.push(job);
        self.wake.notify_one();
    }

    /// Nothing comes any more.
    pub(super) fn stop(&self) {
        self.state().stops = true;
        self.wake.notify_one();
    }

    /// All there is to do, when there is something or nothing comes any more, which is said; nothing after `patience`.
    pub(super) fn wait(&self, patience: Duration) -> (Vec<Job>, bool) {
        let idle = |state: &mut State| state.jobs.is_empty() && !state.stops;
        let waited = self.wake.wait_timeout_while(self.state(), patience, idle);
        let (mut state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        (std::mem::take(&mut state.jobs), state.stops)
    }

    /// Lets lines gather, unless nothing comes any more.
    pub(super) fn rest(&self, pause: Duration) {
        let waited = self.wake.wait_timeout_while(self.state(), pause, |state| !state.stops);
        drop(waited.unwrap_or_else(PoisonError::into_inner));
    }

    pub(super) fn has_room(&self) -> bool {
        self.bytes.load(Ordering::Relaxed) < MAX_BYTES
    }

    pub(super) fn holds(&self, bytes: usize) {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(super) fn let_go(&self, bytes: usize) {
        self.bytes.fetch_sub(bytes, Ordering::Relaxed);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
