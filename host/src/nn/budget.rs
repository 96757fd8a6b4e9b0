//! The memory that loaded models may take together: one budget for the host's memory, one for each device's.
//!
//! Whoever loads a model first takes a `Share` for what it will need; when the share is dropped, after the memory was given
//! back, others can have it. One that finds no room asks for some: the owner of what is loaded unloads what was used least
//! lately. Those that wait are served in order, but while there is nothing to unload for the first of them, who fits goes
//! ahead. A running model is never unloaded, so waiting ends after a while with an error.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::{Mutex, MutexGuard, Notify};
use tokio::time::Instant;

/// The memory of one device, or of the host.
pub struct Budget {
    /// The setting that says how much there is, for messages.
    setting: &'static str,
    limit_bytes: u64,
    used_bytes: AtomicU64,
    waiting: AtomicUsize,
    /// Whoever waits for room has it: first come, first served.
    turn: Mutex<()>,
    /// There is nothing to unload for whoever has the turn.
    stuck: AtomicBool,
    /// Memory came back, or the turn got stuck.
    changed: Notify,
    /// Unloads what nobody uses now, until about so many bytes are free; how many are about to be.
    make_room: Box<dyn Fn(u64) -> u64 + Send + Sync>,
}

/// Memory that was taken from a budget, until it is dropped.
pub(super) struct Share {
    budget: Arc<Budget>,
    bytes: AtomicU64,
}

/// Why there is no memory for a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NoMemory {
    #[error(
        "it needs {needed_bytes} bytes of memory, more than the {limit_bytes} that all models may take together ({setting})"
    )]
    TooLarge { needed_bytes: u64, limit_bytes: u64, setting: &'static str },
    #[error(
        "with the other models of its version it needs {needed_bytes} bytes of memory, more than the {limit_bytes} that all models may take together ({setting})"
    )]
    TooLargeTogether { needed_bytes: u64, limit_bytes: u64, setting: &'static str },
    #[error(
        "it needs {needed_bytes} bytes of memory; models that are running take {used_bytes} of {limit_bytes} ({setting}); try again later"
    )]
    Taken { needed_bytes: u64, used_bytes: u64, limit_bytes: u64, setting: &'static str },
}

/// How long a model waits for others to stop running.
const PATIENCE: Duration = Duration::from_secs(30);

/// How often room is asked for meanwhile: nobody tells when a run has ended.
const AGAIN: Duration = Duration::from_millis(20);

/// How long what was let go may take to come back, before more is let go.
const ON_ITS_WAY: Duration = Duration::from_millis(500);

impl Budget {
    /// So many bytes, all free; `make_room` unloads what nobody uses, until about so many are free as it is told, and tells how many
    /// will be.
    pub(super) fn new(
        setting: &'static str,
        limit_bytes: u64,
        make_room: impl Fn(u64) -> u64 + Send + Sync + 'static,
    ) -> Arc<Self> {
        Arc::new(Self {
            setting,
            limit_bytes,
            used_bytes: AtomicU64::new(0),
            waiting: AtomicUsize::new(0),
            turn: Mutex::new(()),
            stuck: AtomicBool::new(false),
            changed: Notify::new(),
            make_room: Box::new(make_room),
        })
    }

    /// Bytes that are taken, and bytes that there are.
    pub fn bytes(&self) -> (u64, u64) {
        (self.used_bytes.load(Ordering::Relaxed), self.limit_bytes)
    }

    /// Refuses what will never fit.
    pub(super) fn check(&self, needed_bytes: u64) -> Result<(), NoMemory> {
        let (limit_bytes, setting) = (self.limit_bytes, self.setting);
        if needed_bytes > limit_bytes {
            return Err(NoMemory::TooLarge { needed_bytes, limit_bytes, setting });
        }
        Ok(())
    }

    /// The same of several models that are needed together.
    pub fn check_together(&self, needed_bytes: u64) -> Result<(), NoMemory> {
        let (limit_bytes, setting) = (self.limit_bytes, self.setting);
        if needed_bytes > limit_bytes {
            return Err(NoMemory::TooLargeTogether { needed_bytes, limit_bytes, setting });
        }
        Ok(())
    }

    /// Takes so many bytes, when they can be had.
    pub(super) async fn take(self: &Arc<Self>, bytes: u64) -> Result<Share, NoMemory> {
        self.check(bytes)?;
        if self.waiting.load(Ordering::Acquire) == 0
            && let Some(share) = self.try_take(bytes)
        {
            return Ok(share);
        }
        let _waiting = Waiting::new(&self.waiting);
        let until = Instant::now() + PATIENCE;
        let mut turn = std::pin::pin!(self.turn.lock());
        let _turn = loop {
            let changed = self.changed.notified();
            if self.stuck.load(Ordering::Acquire)
                && let Some(share) = self.try_take(bytes)
            {
                return Ok(share);
            }
            tokio::select! {
                turn = &mut turn => break Turn { budget: self, _turn: turn },
                () = changed => {}
            }
        };
        let (mut on_its_way, mut asked_at) = (0, Instant::now());
        let mut used_then = 0_u64;
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            if let Some(share) = self.try_take(bytes) {
                return Ok(share);
            }
            let (used_bytes, limit_bytes) = self.bytes();
            let has_come = used_then.saturating_sub(used_bytes);
            let waits = on_its_way > has_come && asked_at.elapsed() < ON_ITS_WAY;
            if !waits {
                (on_its_way, asked_at, used_then) = ((self.make_room)(self.missing(bytes)), Instant::now(), used_bytes);
                let was_stuck = self.stuck.swap(on_its_way == 0, Ordering::AcqRel);
                if on_its_way == 0 && !was_stuck {
                    self.changed.notify_waiters();
                }
            }
            if Instant::now() >= until {
                return Err(NoMemory::Taken { needed_bytes: bytes, used_bytes, limit_bytes, setting: self.setting });
            }
            let _ = tokio::time::timeout(AGAIN, changed).await;
        }
    }

    fn try_take(self: &Arc<Self>, bytes: u64) -> Option<Share> {
        let more = |used: u64| used.checked_add(bytes).filter(|used| *used <= self.limit_bytes);
        self.used_bytes.fetch_update(Ordering::AcqRel, Ordering::Relaxed, more).ok()?;
        Some(Share { budget: Arc::clone(self), bytes: AtomicU64::new(bytes) })
    }

    fn missing(&self, bytes: u64) -> u64 {
        let (used, limit) = self.bytes();
        used.saturating_add(bytes).saturating_sub(limit)
    }
}

impl Share {
    /// It turned out to be so many bytes. What is running is not ended for that: others make room.
    pub(super) fn resize(&self, bytes: u64) {
        let before = self.bytes.swap(bytes, Ordering::AcqRel);
        if bytes >= before {
            self.budget.used_bytes.fetch_add(bytes - before, Ordering::AcqRel);
            let missing = self.budget.missing(0);
            if missing > 0 {
                (self.budget.make_room)(missing);
            }
        } else {
            self.budget.used_bytes.fetch_sub(before - bytes, Ordering::AcqRel);
            self.budget.changed.notify_waiters();
        }
    }

    pub(super) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.budget.used_bytes.fetch_sub(*self.bytes.get_mut(), Ordering::AcqRel);
        self.budget.changed.notify_waiters();
    }
}

/// Being the first of those who wait.
struct Turn<'b> {
    budget: &'b Budget,
    _turn: MutexGuard<'b, ()>,
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.budget.stuck.store(false, Ordering::Release);
    }
}

struct Waiting<'b>(&'b AtomicUsize);

impl<'b> Waiting<'b> {
    fn new(waiting: &'b AtomicUsize) -> Self {
        waiting.fetch_add(1, Ordering::AcqRel);
        Self(waiting)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex as StdMutex;

    #[tokio::test(start_paused = true)]
    async fn what_is_dropped_can_be_taken_again() {
        let budget = Budget::new("b", 10, |_| 0);
        let first = budget.take(6).await.unwrap();
        let second = budget.take(4).await.unwrap();
        assert_eq!(budget.bytes(), (10, 10));
        drop((first, second));
        assert_eq!(budget.bytes(), (0, 10));
        assert_eq!(
            budget.take(11).await.err(),
            Some(NoMemory::TooLarge { needed_bytes: 11, limit_bytes: 10, setting: "b" })
        );
    }

    #[tokio::test(start_paused = true)]
    async fn who_finds_no_room_asks_for_what_is_missing() {
        let (idle, asked) = (Arc::new(StdMutex::new(Vec::new())), Arc::new(StdMutex::new(Vec::new())));
        let (owner, seen) = (Arc::clone(&idle), Arc::clone(&asked));
        let budget = Budget::new("b", 10, move |bytes| {
            seen.lock().unwrap().push(bytes);
            let gone: Option<Share> = owner.lock().unwrap().pop();
            gone.map_or(0, |share| share.bytes())
        });
        for bytes in [6, 3] {
            let share = budget.take(bytes).await.unwrap();
            idle.lock().unwrap().push(share);
        }
        let taken = budget.take(3).await.unwrap();
        assert_eq!((asked.lock().unwrap().clone(), taken.bytes()), (vec![2], 3));
        // What turns out to be larger than it was thought makes the others go.
        taken.resize(8);
        assert_eq!((asked.lock().unwrap().clone(), budget.bytes()), (vec![2, 4], (8, 10)));
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_for_what_is_on_its_way_is_served_before_those_that_come_later() {
        let asked = Arc::new(AtomicUsize::new(0));
        let seen = Arc::clone(&asked);
        let budget = Budget::new("b", 10, move |missing| {
            seen.fetch_add(1, Ordering::Relaxed);
            missing
        });
        let ending = budget.take(8).await.unwrap();
        let mut large = Box::pin(budget.take(9));
        assert!(futures::poll!(&mut large).is_pending());
        let mut small = Box::pin(budget.take(1));
        assert!(futures::poll!(&mut small).is_pending(), "it must not overtake");
        tokio::time::advance(AGAIN).await;
        assert!(futures::poll!(&mut large).is_pending());
        assert_eq!(asked.load(Ordering::Relaxed), 1, "nothing more is let go while that is on its way");
        drop(ending);
        let (large, small) = tokio::join!(large, small);
        drop((large.unwrap(), small.unwrap()));
    }

    #[tokio::test(start_paused = true)]
    async fn where_nothing_can_be_unloaded_who_fits_goes_ahead_and_nobody_waits_for_ever() {
        let budget = Budget::new("b", 10, |_| 0);
        let _running = budget.take(8).await.unwrap();
        let mut large = Box::pin(budget.take(9));
        assert!(futures::poll!(&mut large).is_pending());
        let small = budget.take(1).await.unwrap();
        let mut next = Box::pin(budget.take(2));
        assert!(futures::poll!(&mut next).is_pending());
        drop(small);
        drop(next.await.unwrap());
        let refused = large.await.err();
        let expected = NoMemory::Taken { needed_bytes: 9, used_bytes: 8, limit_bytes: 10, setting: "b" };
        assert_eq!(refused, Some(expected));
    }
}
