//! Who is in an instance that serves several requests, and how long it may go on.

use std::any::Any;
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;

use futures::task::AtomicWaker;
use tokio::sync::{Notify, SetOnce, mpsc};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::super::GRACE;
use super::Job;
use crate::deadline::Deadline;
use crate::runtime::RuntimeError;

/// The seats of one instance.
pub(in crate::runtime) struct Seats {
    /// `name@version`.
    function: Arc<str>,
    /// How many there are.
    count: usize,
    taken: Mutex<Taken>,
    /// Bounded by the seats.
    jobs: mpsc::UnboundedSender<Job>,
    /// The time is over sooner than who waits for its end knows.
    sooner: Notify,
    /// The instance's own loop, which ends when nobody is there.
    serving: AtomicWaker,
    /// Whether that loop has had a turn since it was last asked.
    turned: AtomicBool,
    /// Why the instance has ended, if it failed.
    failure: SetOnce<RuntimeError>,
}

struct Taken {
    present: HashMap<u64, Present>,
    next: u64,
    /// Requests that it may still begin.
    reuse: u32,
    /// The guest waits, so that another request would be begun at once.
    open: bool,
    /// No other request from then on: what earlier ones left behind is to come to its end.
    closes: Instant,
    /// What those who have left may still do.
    until: Instant,
    /// When who waits for the end of the time looks again.
    looks: Instant,
    ended: bool,
}

impl Taken {
    /// When somebody's time is over: of those who are there, or of what those left behind who were.
    fn next(&self) -> Instant {
        self.present.values().map(|present| present.due.at()).min().unwrap_or(self.until)
    }
}

struct Present {
    due: Deadline,
    /// Let go when the request has left.
    _held: Option<Box<dyn Any + Send>>,
    /// Cancelled when the request has left without its answer.
    abandoned: CancellationToken,
}

/// A request's place in an instance. Dropping it gives it up; unless it was finished, the instance serves no others after it.
pub struct Seat {
    seats: Arc<Seats>,
    number: u64,
    due: Deadline,
    finished: bool,
}

impl Seats {
    /// Free seats in an instance that may begin so many requests. `due` is the first one's deadline.
    pub(super) fn new(
        function: Arc<str>,
        count: usize,
        reuse: u32,
        due: Deadline,
        jobs: mpsc::UnboundedSender<Job>,
    ) -> Self {
        let taken = Taken {
            present: HashMap::new(),
            next: 0,
            reuse,
            open: true,
            closes: due.at(),
            until: Instant::now(),
            looks: due.at(),
            ended: false,
        };
        Self {
            function,
            count,
            taken: Mutex::new(taken),
            jobs,
            sooner: Notify::new(),
            serving: AtomicWaker::new(),
            turned: AtomicBool::new(false),
            failure: SetOnce::new(),
        }
    }

    /// A seat, if a request could be begun at once.
    pub(in crate::runtime) fn sit(self: &Arc<Self>, due: Deadline) -> Option<Seat> {
        let mut taken = self.taken();
        let free = taken.open && !taken.ended && taken.reuse > 0 && taken.present.len() < self.count;
        if !free || taken.closes <= Instant::now() {
            return None;
        }
        // Until it has begun, and waits.
        taken.open = false;
        taken.reuse -= 1;
        let number = taken.next;
        taken.next += 1;
        taken.present.insert(number, Present { due, _held: None, abandoned: CancellationToken::new() });
        self.look_again(&taken);
        drop(taken);
        Some(Seat { seats: Arc::clone(self), number, due, finished: false })
    }

    /// Requests that it may still begin.
    pub(super) fn reuse(&self) -> u32 {
        self.taken().reuse
    }

    /// Called by the instance's loop each time it has a turn; `ready` says whether the guest takes requests.
    pub(super) fn turn(&self, waker: &Waker, ready: bool) {
        self.serving.register(waker);
        self.turned.store(ready, Ordering::Relaxed);
    }

    /// Whether the loop has had a turn since it was last asked.
    pub(super) fn has_turned(&self) -> bool {
        self.turned.swap(false, Ordering::Relaxed)
    }

    /// Whether others may come.
    pub(super) fn set_open(&self, open: bool) {
        self.taken().open = open;
    }

    pub(super) fn are_empty(&self) -> bool {
        self.taken().present.is_empty()
    }

    /// Nobody may come any more. False when somebody is there.
    pub(super) fn end(&self) -> bool {
        let mut taken = self.taken();
        taken.ended = taken.present.is_empty();
        taken.ended
    }

    /// The instance has failed, and all requests in it.
    pub(super) fn fail(&self, error: RuntimeError) {
        self.taken().ended = true;
        let _ = self.failure.set(error);
    }

    /// Ends when nobody is there and the time is over that those who left have given to what they left behind. Requests whose
    /// deadline has passed leave here, however slowly their clients read.
    pub(super) async fn overstayed(&self) {
        loop {
            let sooner = self.sooner.notified();
            let (gone, next) = {
                let (mut taken, now) = (self.taken(), Instant::now());
                let late: Vec<u64> = taken
                    .present
                    .iter()
                    .filter(|(_, present)| present.due.at() <= now)
                    .map(|(number, _)| *number)
                    .collect();
                let gone: Vec<_> = late.iter().filter_map(|number| taken.present.remove(number)).collect();
                for present in &gone {
                    present.abandoned.cancel();
                    taken.closes = now;
                }
                taken.looks = taken.next();
                (gone, taken.looks)
            };
            if !gone.is_empty() {
                self.serving.wake();
            }
            drop(gone);
            if next <= Instant::now() && self.are_empty() {
                return;
            }
            tokio::select! {
                () = sooner => {}
                () = tokio::time::sleep_until(next) => {}
            }
        }
    }

    /// Wakes who waits for the end of the time where that is sooner now: each waking costs the instance a turn.
    fn look_again(&self, taken: &Taken) {
        if taken.next() < taken.looks {
            self.sooner.notify_one();
        }
    }

    fn leave(&self, number: u64, finished: bool) {
        let (gone, is_last) = {
            let (mut taken, now) = (self.taken(), Instant::now());
            let Some(gone) = taken.present.remove(&number) else { return };
            let due = gone.due.at();
            taken.until = taken.until.max(if finished { due } else { due.min(now + GRACE) });
            if !finished {
                gone.abandoned.cancel();
                taken.closes = taken.closes.min(now + GRACE);
            }
            self.look_again(&taken);
            (gone, taken.present.is_empty())
        };
        drop(gone);
        // The loop ends with the last one, and drops what is abandoned.
        if is_last || !finished {
            self.serving.wake();
        }
    }

    fn taken(&self) -> MutexGuard<'_, Taken> {
        // Nothing panics while it holds the lock, and if it did, what it guards would be whole.
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Seat {
    /// `name@version`.
    pub(in crate::runtime) fn function(&self) -> Arc<str> {
        Arc::clone(&self.seats.function)
    }

    /// Lets go of this when the request has left, by itself or at its deadline.
    pub(super) fn hold(&self, held: Box<dyn Any + Send>) {
        let mut taken = self.seats.taken();
        if let Some(present) = taken.present.get_mut(&self.number) {
            present._held = Some(held);
        }
    }

    /// Cancelled when the request has left without its answer.
    pub(super) fn abandoned(&self) -> CancellationToken {
        let taken = self.seats.taken();
        taken.present.get(&self.number).map(|present| present.abandoned.clone()).unwrap_or_default()
    }

    /// The request goes to the guest. An instance that has ended meanwhile drops it.
    pub(super) fn send(&self, job: Job) {
        let _ = self.seats.jobs.send(job);
    }

    /// The request has its answer.
    pub(super) fn finish(&mut self) {
        self.finished = true;
        self.seats.leave(self.number, true);
    }

    /// Why the instance has ended, if it has: the same for all that were in it.
    pub(super) fn failure(&self) -> Option<RuntimeError> {
        Some(match self.seats.failure.get()? {
            RuntimeError::Trapped { reason, source } => {
                RuntimeError::Trapped { reason: reason.clone(), source: wasmtime::format_err!("{source:#}") }
            }
            // It was ended because of it.
            _ if self.due.at() <= Instant::now() => RuntimeError::Deadline(self.due.passed()),
            error => RuntimeError::Host(error.to_string()),
        })
    }

    /// The same when it is known that it has: it may be about to say why.
    pub(super) async fn failed(&self) -> RuntimeError {
        self.seats.failure.wait().await;
        self.failure().unwrap_or_else(|| RuntimeError::Host("the instance has ended".into()))
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        if !self.finished {
            self.seats.leave(self.number, false);
        }
    }
}
