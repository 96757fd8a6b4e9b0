//! One function's log, as far as it is in memory: lines that wait to be written, and how many had no room.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use chrono::Utc;
use tokio::time::Instant;

use super::budget::{BYTES_PER_SECOND, Budget};
use super::line::{self, Line, Stream};
use super::queue::{Job, Queue};

/// What a version writes with: guests' output, requests, what the host has to say. [`Log::default`] leads nowhere.
#[derive(Clone, Default)]
pub struct Log {
    to: Option<Pen>,
}

#[derive(Clone)]
struct Pen {
    function: Arc<Function>,
    version: Arc<str>,
    queue: Arc<Queue>,
}

/// All versions of a function, until it is deleted.
pub(super) struct Function {
    pub(super) name: String,
    state: Mutex<State>,
    /// How often something was written, or the log has ended: readers look again.
    changes: AtomicU64,
}

struct State {
    waiting: Vec<u8>,
    /// Lines that wait, and those of which a line that waits tells that they are missing.
    lines: u64,
    /// Lines that had no room since.
    left_out: u64,
    budget: Budget,
    /// Whether the writer is going to come.
    queued: bool,
    ended: bool,
}

/// What the writer takes.
pub(super) struct Taken {
    pub(super) bytes: Vec<u8>,
    /// How many lines are missing if it cannot be written.
    pub(super) lines: u64,
    /// Whether there is more to say, later.
    pub(super) again: bool,
}

impl fmt::Debug for Log {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Log").field(&self.to.as_ref().map(|pen| &*pen.function.name)).finish()
    }
}

impl Log {
    pub(super) fn new(function: Arc<Function>, version: &str, queue: &Arc<Queue>) -> Self {
        Self { to: Some(Pen { function, version: version.into(), queue: Arc::clone(queue) }) }
    }

    /// Adds a line, unless the function writes too much; never waits. `request` is the id of the request that it belongs to; `cut`
    /// says that the line goes on in the next.
    pub fn line(&self, stream: Stream, request: Option<&str>, text: &str, cut: bool) {
        let Some(Pen { function, version, queue }) = &self.to else { return };
        let line = |state: &mut State| {
            let time = line::time(Utc::now());
            let request = request.map(Into::into);
            let version = Some((&**version).into());
            Line { time: time.into(), version, stream, request, text: text.into(), cut }.write(&mut state.waiting);
        };
        if function.add(line::written_bytes(text), queue, line) {
            queue.push(Job::Write(Arc::clone(function)));
        }
    }
}

impl Function {
    pub(super) fn new(name: &str) -> Self {
        Self { name: name.to_owned(), state: Mutex::new(State::new()), changes: AtomicU64::new(0) }
    }

    /// Adds a line whose text is written in so many bytes. True when the writer has to be told.
    fn add(&self, bytes: usize, queue: &Queue, line: impl FnOnce(&mut State)) -> bool {
        /// What a line has beside its text, about.
        const FRAME: usize = 100;
        let mut state = self.state();
        if state.ended {
            return false;
        }
        if state.budget.take(bytes + FRAME, Instant::now()) && queue.has_room() {
            let before = state.waiting.len();
            state.say_left_out();
            line(&mut state);
            state.lines += 1;
            queue.holds(state.waiting.len() - before);
        } else {
            state.left_out += 1;
        }
        !std::mem::replace(&mut state.queued, true)
    }

    /// What waits to be written; `at_last`: nobody will ask again.
    pub(super) fn take(&self, queue: &Queue, at_last: bool) -> Taken {
        let mut state = self.state();
        queue.let_go(state.waiting.len());
        if state.ended {
            // Its files go, or have gone: they must not come back.
            *state = State { ended: true, ..State::new() };
            return Taken { bytes: Vec::new(), lines: 0, again: false };
        }
        if at_last || state.budget.opens(Instant::now()) {
            state.say_left_out();
        }
        state.queued = state.left_out > 0;
        let (bytes, lines) = (std::mem::take(&mut state.waiting), std::mem::take(&mut state.lines));
        Taken { bytes, lines, again: state.queued }
    }

    /// Lines that were taken could not be written.
    pub(super) fn missed(&self, lines: u64) {
        self.state().left_out += lines;
    }

    /// Lines that were taken are written.
    pub(super) fn changed(&self) {
        self.changes.fetch_add(1, Ordering::Release);
    }

    /// How often it has changed.
    pub(super) fn changes(&self) -> u64 {
        self.changes.load(Ordering::Acquire)
    }

    /// The function is deleted; what some request of it still prints is not kept.
    pub(super) fn end(&self) {
        self.state().ended = true;
        self.changed();
    }

    pub(super) fn has_ended(&self) -> bool {
        self.state().ended
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing panics while it holds the lock, and if it did, what it guards would be whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn new() -> Self {
        let budget = Budget::new(Instant::now());
        Self { waiting: Vec::new(), lines: 0, left_out: 0, budget, queued: false, ended: false }
    }

    /// A line about those that had no room, if there are any.
    fn say_left_out(&mut self) {
        let count = std::mem::take(&mut self.left_out);
        if count == 0 {
            return;
        }
        let lines = if count == 1 { "1 line was" } else { &format!("{count} lines were") };
        let kib = BYTES_PER_SECOND >> 10;
        let text = format!("{lines} left out: more than {kib} KiB a second, or the disk failed");
        let time = line::time(Utc::now()).into();
        let line = Line { time, version: None, stream: Stream::Host, request: None, text: text.into(), cut: false };
        line.write(&mut self.waiting);
        self.lines += count;
    }
}
