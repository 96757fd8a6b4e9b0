//! Warm instances of one version, and who has one out.
//!
//! An instance ends when: its lease is dropped before the call was finished (it trapped, timed out, was cancelled); it has
//! served `reuse` requests; `max_warm` others are idle already; it has been idle for `idle_timeout`; the pool is dropped.
//! Whether it may stay is decided here, by [`Policy`]; making one is `Instance::start`'s business.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use tokio::time::Instant;

use super::RuntimeError;
use super::instance::{Instance, Pre};
use super::state::Grants;

/// How long instances live, as the manifest's `[instances]` says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    /// Requests one instance serves; 1 is a fresh one per request.
    pub reuse: u32,
    /// Idle instances that are not let go.
    pub min_warm: usize,
    /// Idle instances that are kept at most.
    pub max_warm: usize,
    /// How long an instance stays idle.
    pub idle_timeout: Duration,
}

/// The instances of one version.
pub struct Pool {
    pre: Pre,
    grants: Grants,
    policy: Policy,
    idle: Mutex<Idle>,
    busy: AtomicUsize,
}

#[derive(Default)]
struct Idle {
    /// Latest returned last: the warmest caches go out first, the oldest expire first.
    instances: Vec<(Instant, Instance)>,
    /// Whether a task is waiting to let expired ones go.
    reaping: bool,
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
        Arc::new(Self { pre, grants, policy, idle: Mutex::default(), busy: AtomicUsize::new(0) })
    }

    /// Whether its instances answer typed calls.
    pub fn is_typed(&self) -> bool {
        matches!(self.pre, Pre::Typed(_))
    }

    /// Starts so many idle instances, as far as it can. What fails here fails again where a request sees it.
    pub async fn fill(self: &Arc<Self>, count: usize) {
        for _ in 0..count {
            let Ok(mut lease) = self.check_out().await else { return };
            lease.finish();
        }
    }

    /// A warm instance, or a new one.
    pub async fn check_out(self: &Arc<Self>) -> Result<Lease, RuntimeError> {
        let warm = self.idle.lock().unwrap_or_else(PoisonError::into_inner).instances.pop();
        // Counted before starting, so that an instance being made is never invisible.
        self.busy.fetch_add(1, Ordering::Relaxed);
        let mut lease = Lease { pool: Arc::clone(self), instance: warm.map(|(_, instance)| instance), finished: false };
        if lease.instance.is_none() {
            lease.instance = Some(Instance::start(&self.pre, &self.grants).await?);
        }
        Ok(lease)
    }

    /// Lets all idle instances go, for the sake of another pool.
    pub fn give_up_idle(&self) {
        let gone = std::mem::take(&mut self.idle.lock().unwrap_or_else(PoisonError::into_inner).instances);
        drop(gone);
    }

    /// Instances that wait, and that serve.
    pub fn counts(&self) -> (usize, usize) {
        let busy = self.busy.load(Ordering::Acquire);
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).instances.len();
        (idle, busy)
    }

    fn take_back(self: &Arc<Self>, instance: Instance) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if instance.served >= self.policy.reuse || idle.instances.len() >= self.policy.max_warm {
            drop(idle);
            return;
        }
        idle.instances.push((Instant::now(), instance));
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        if !std::mem::replace(&mut idle.reaping, true) {
            runtime.spawn(reap(Arc::downgrade(self), self.policy.idle_timeout));
        }
    }

    /// Lets expired instances go; says when the next one expires, `None` when there is none to wait for.
    fn expire(&self) -> Option<Instant> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let may_go = idle.instances.len().saturating_sub(self.policy.min_warm);
        let expired =
            idle.instances.iter().take(may_go).take_while(|(since, _)| *since + self.policy.idle_timeout <= now);
        let expired = expired.count();
        let gone: Vec<_> = idle.instances.drain(..expired).collect();
        let next = (may_go > expired).then(|| idle.instances[0].0 + self.policy.idle_timeout);
        idle.reaping = next.is_some();
        drop(idle);
        drop(gone);
        next
    }
}

/// One task per pool while it has idle instances, none while it has not.
async fn reap(pool: Weak<Pool>, idle_timeout: Duration) {
    let mut next = Instant::now() + idle_timeout;
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
        let instance = self.instance.as_mut().expect("a lease has its instance until it is dropped");
        instance.served += 1;
        // What an earlier request was refused says nothing about this one.
        instance.store.data_mut().limits.refused = false;
        instance
    }

    /// `name@version`.
    pub(super) fn function(&self) -> Arc<str> {
        Arc::clone(&self.pool.grants.function)
    }

    /// The call came to its end: the instance may serve again.
    pub(super) fn finish(&mut self) {
        self.finished = true;
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if let Some(instance) = self.instance.take()
            && self.finished
        {
            self.pool.take_back(instance);
        }
        // Last, so that an instance on its way back is never invisible.
        self.pool.busy.fetch_sub(1, Ordering::Release);
    }
}
