//! Warm instances of one version, and who has one out.
//!
//! An instance ends when: its lease is dropped before the call was finished (it trapped, timed out, was cancelled); it has
//! served `reuse` requests; `max_warm` others are idle already; it has been idle for `idle_timeout`; so many have not been needed of
//! late; the pool is dropped. Whether it may stay, and whether another is to be made ahead, is decided here, by [`Policy`] and
//! `Demand`; making one is `Instance::start`'s business. The end of a used instance and the start of the next wait until the answer
//! is on its way.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::time::Instant;

use super::RuntimeError;
use super::http::{Seat, Seats};
use super::instance::{Bound, Instance, Pre};
use super::state::Grants;
use crate::deadline::Deadline;

mod demand;
mod stock;

use demand::Demand;
use stock::PAUSE;

/// How long instances live, as the manifest's `[instances]` says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    /// Requests one instance serves; 1 is a fresh one per request.
    pub reuse: u32,
    /// Instances that are always there.
    pub min_warm: usize,
    /// Idle instances that are kept at most.
    pub max_warm: usize,
    /// How long an instance stays idle.
    pub idle_timeout: Duration,
    /// How long a guest's start code may take.
    pub start_limit: Duration,
    /// Requests that one instance serves at once, where the component can.
    pub concurrent: usize,
}

/// Which idle instances stay when others make room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keep {
    /// As many as are always to be there.
    Minimum,
    Nothing,
}

/// The instances of one version.
pub struct Pool {
    pre: Pre,
    grants: Grants,
    policy: Policy,
    idle: Mutex<Idle>,
    busy: AtomicUsize,
    /// Those that serve several requests at once, while they serve any.
    shared: Mutex<Vec<Arc<Seats>>>,
}

struct Idle {
    /// Latest returned last: the warmest caches go out first. Those that have not served yet come before all that have.
    instances: Vec<(Instant, Instance)>,
    demand: Demand,
    /// Instances that are being made ahead.
    coming: usize,
    /// Whether a task is waiting to let expired ones go.
    reaping: bool,
    /// Whether a task makes those that are always to be there.
    restocking: bool,
}

/// An instance on loan to one request.
pub struct Lease {
    pool: Arc<Pool>,
    instance: Option<Instance>,
    finished: bool,
}

impl Pool {
    /// An empty pool.
    pub fn new(pre: Pre, grants: Grants, policy: Policy) -> Arc<Self> {
        let demand = Demand::new(policy.idle_timeout, Instant::now());
        let idle = Idle { instances: Vec::new(), demand, coming: 0, reaping: false, restocking: false };
        Arc::new(Self {
            pre,
            grants,
            policy,
            idle: Mutex::new(idle),
            busy: AtomicUsize::new(0),
            shared: Mutex::default(),
        })
    }

    /// Whether its instances answer typed calls.
    pub fn is_typed(&self) -> bool {
        matches!(self.pre, Pre::Typed(_))
    }

    /// Starts the first instance, if it can. What fails here fails again where a request sees it.
    pub async fn fill(self: &Arc<Self>) {
        if self.most() > 0
            && let Ok(instance) = self.start().await
        {
            drop(self.keep(self.idle(), instance));
        }
    }

    /// A warm instance, or a new one.
    pub async fn check_out(self: &Arc<Self>) -> Result<Lease, RuntimeError> {
        // Counted before starting, so that an instance being made is never invisible.
        let busy = self.busy.fetch_add(1, Ordering::Relaxed) + 1;
        let mut lease = Lease { pool: Arc::clone(self), instance: None, finished: false };
        let mut broken = Vec::new();
        {
            let mut idle = self.idle();
            while let Some((_, instance)) = idle.instances.pop() {
                if instance.is_whole() {
                    lease.instance = Some(instance);
                    break;
                }
                broken.push(instance);
            }
            idle.demand.took(busy, lease.instance.is_none(), Instant::now());
            if lease.instance.is_none() {
                self.prepare(idle, None, 0);
            }
        }
        drop(broken);
        if lease.instance.is_none() {
            lease.instance = Some(self.start().await?);
        }
        Ok(lease)
    }

    /// A seat in an instance that serves other requests and could begin one more at once.
    pub fn seat(&self, due: Deadline) -> Option<Seat> {
        self.shared().iter().find_map(|seats| seats.sit(due))
    }

    /// Seats that an instance has.
    pub(super) fn seats(&self) -> usize {
        self.policy.concurrent
    }

    /// An instance serves several requests, and others may come.
    pub(super) fn enter(&self, seats: &Arc<Seats>) {
        self.shared().push(Arc::clone(seats));
    }

    /// It serves none.
    pub(super) fn leave(&self, seats: &Arc<Seats>) {
        self.shared().retain(|other| !Arc::ptr_eq(other, seats));
    }

    fn shared(&self) -> MutexGuard<'_, Vec<Arc<Seats>>> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn start(&self) -> Result<Instance, RuntimeError> {
        // A guest's start code may go on for ever, and not only where a request waits for it.
        let start = Box::pin(Instance::start(&self.pre, &self.grants));
        Deadline::after(self.policy.start_limit).bound(start).await?
    }

    /// Idle instances that are kept at most.
    fn most(&self) -> usize {
        self.policy.max_warm.max(self.policy.min_warm)
    }

    /// Lets idle instances go for the sake of others, at most so many; how many there were.
    pub fn give_up_idle(self: &Arc<Self>, most: usize, keep: Keep) -> usize {
        let mut idle = self.idle();
        let stay = match keep {
            Keep::Minimum => self.policy.min_warm.saturating_sub(self.busy.load(Ordering::Relaxed)),
            Keep::Nothing => 0,
        };
        let count = idle.instances.len().saturating_sub(stay).min(most);
        let gone: Vec<_> = idle.instances.drain(..count).collect();
        drop(idle);
        drop(gone);
        // Not at once, or it would have their room before those for whom it was made.
        self.restock_after(PAUSE);
        count
    }

    /// Lets idle instances go that hold models which their guest has brought.
    pub fn give_up_holders(self: &Arc<Self>) {
        let mut idle = self.idle();
        let holds = |(_, instance): &mut (Instant, Instance)| instance.holds_models();
        let gone: Vec<_> = idle.instances.extract_if(.., holds).collect();
        drop(idle);
        drop(gone);
        self.restock_after(PAUSE);
    }

    /// Instances that wait, and that serve.
    pub fn counts(&self) -> (usize, usize) {
        let busy = self.busy.load(Ordering::Acquire);
        (self.idle().instances.len(), busy)
    }

    fn idle(&self) -> MutexGuard<'_, Idle> {
        // Nothing panics while it holds the lock, and if it did, what it guards would be whole.
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A call has come to its end, with the instance or without.
    fn take_back(self: &Arc<Self>, instance: Option<Instance>) {
        let idle = self.idle();
        match instance {
            Some(instance) if instance.served < self.policy.reuse => drop(self.keep(idle, instance)),
            used => self.prepare(idle, used, 1),
        }
    }

    /// An idle instance more, unless there are enough: then it comes back.
    fn keep(self: &Arc<Self>, mut idle: MutexGuard<'_, Idle>, instance: Instance) -> Option<Instance> {
        if idle.instances.len() >= self.most() {
            return Some(instance);
        }
        let place = if instance.served == 0 { 0 } else { idle.instances.len() };
        idle.instances.insert(place, (Instant::now(), instance));
        let Ok(runtime) = Handle::try_current() else { return None };
        if !std::mem::replace(&mut idle.reaping, true) {
            let first = idle.demand.next();
            runtime.spawn(reap(Arc::downgrade(self), first));
        }
        None
    }

    /// Makes an instance ahead, off this request's path, if another will be needed; there too ends a used one. So many of the busy
    /// ones are about to leave.
    fn prepare(self: &Arc<Self>, mut idle: MutexGuard<'_, Idle>, used: Option<Instance>, leaving: usize) {
        let wanted = idle.demand.wanted(Instant::now()).min(self.policy.max_warm).max(self.policy.min_warm);
        let staying = self.busy.load(Ordering::Relaxed).saturating_sub(leaving);
        let more = idle.instances.len() + idle.coming + staying < wanted && self.grants.slots.has_spare();
        if !more && used.is_none() {
            return;
        }
        let Ok(runtime) = Handle::try_current() else { return };
        idle.coming += usize::from(more);
        drop(idle);
        let pool = Arc::downgrade(self);
        runtime.spawn(async move {
            drop(used);
            if !more {
                return;
            }
            let Some(pool) = pool.upgrade() else { return };
            let made = pool.start().await;
            let mut idle = pool.idle();
            idle.coming -= 1;
            if let Ok(instance) = made {
                drop(pool.keep(idle, instance));
            }
        });
    }

    /// Lets go what is idle for too long or was not needed of late; says when to look again, `None` when there is nothing to
    /// wait for.
    fn expire(&self) -> Option<Instant> {
        let mut idle = self.idle();
        let (now, timeout) = (Instant::now(), self.policy.idle_timeout);
        let (count, busy) = (idle.instances.len(), self.busy.load(Ordering::Relaxed));
        let may_go = count.saturating_sub(self.policy.min_warm.saturating_sub(busy));
        // The last one is kept for as long as it may be idle.
        let unneeded = (count + busy).saturating_sub(idle.demand.wanted(now).max(1));
        let mut gone = Vec::new();
        for (since, instance) in std::mem::take(&mut idle.instances) {
            let goes = gone.len() < unneeded || since + timeout <= now;
            if goes && gone.len() < may_go {
                gone.push(instance);
            } else {
                idle.instances.push((since, instance));
            }
        }
        let left = may_go - gone.len();
        let oldest = idle.instances.iter().map(|(since, _)| *since).min();
        // One that is alone waits for its own time.
        let shrinks = if count + busy > 1 { idle.demand.next() } else { now + timeout };
        let next = oldest.map(|oldest| (oldest + timeout).min(shrinks).max(now + TICK)).filter(|_| left > 0);
        idle.reaping = next.is_some();
        drop(idle);
        drop(gone);
        next
    }
}

/// The pause between two looks, at least.
const TICK: Duration = Duration::from_millis(10);

/// One task per pool while it has idle instances that may go, none while it has not.
async fn reap(pool: Weak<Pool>, mut next: Instant) {
    loop {
        tokio::time::sleep_until(next).await;
        match pool.upgrade().and_then(|pool| pool.expire()) {
            Some(instant) => next = instant,
            None => return,
        }
    }
}

impl Lease {
    /// The instance, which now counts as having served one more request.
    pub(super) fn begin(&mut self) -> &mut Instance {
        let instance = self.instance();
        instance.served += 1;
        // What an earlier request was refused says nothing about this one.
        instance.store.data_mut().limits.refused = false;
        instance
    }

    /// The same, without one more.
    pub(super) fn instance(&mut self) -> &mut Instance {
        self.instance.as_mut().expect("a lease has its instance until it is dropped")
    }

    pub(super) fn bound(&self) -> &Arc<Bound> {
        &self.instance.as_ref().expect("a lease has its instance until it is dropped").bound
    }

    pub(super) fn pool(&self) -> &Arc<Pool> {
        &self.pool
    }

    /// Requests that the instance may still begin.
    pub(super) fn reuse(&self) -> u32 {
        let served = self.instance.as_ref().map_or(0, |instance| instance.served);
        self.pool.policy.reuse.saturating_sub(served)
    }

    /// `name@version`.
    pub(super) fn function(&self) -> Arc<str> {
        Arc::clone(&self.pool.grants.function)
    }

    /// The call came to its end: the instance may serve again.
    pub(super) fn finish(&mut self) {
        self.finished = true;
    }

    /// The same after several: the instance may still begin so many.
    pub(super) fn finish_with(&mut self, reuse: u32) {
        self.instance().served = self.pool.policy.reuse.saturating_sub(reuse);
        self.finish();
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if let Some(instance) = self.instance.take() {
            // What did not finish ends here and now, whatever it was doing.
            self.pool.take_back(if self.finished { Some(instance) } else { None });
        }
        // Last, so that an instance on its way back is never invisible.
        self.pool.busy.fetch_sub(1, Ordering::Release);
        if self.pool.policy.min_warm > 0 {
            self.pool.restock();
        }
    }
}
