//! Permits: how many requests may be in the host, and how many inside each function.
//!
//! A request past the host's bound is turned away at once; one past its function's bound waits, until its deadline, unless
//! so many wait already that they would crowd out other functions. A permit ends when it is dropped.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use dashmap::DashMap;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::deadline::Deadline;
use crate::registry::digest::Digest;

/// The bounds and who is inside them.
pub struct Admit {
    host: Arc<Semaphore>,
    /// Requests that may wait for one function: a quarter of all, so that a stuck function leaves room for others.
    max_waiting: usize,
    /// One gate per version with requests; a gate nobody uses is removed.
    functions: Arc<DashMap<Digest, Arc<Gate>>>,
}

/// The way into one function.
struct Gate {
    permits: Arc<Semaphore>,
    waiting: AtomicUsize,
}

/// One place in a gate's queue, given back when dropped.
struct Place(Arc<Gate>);

/// Leave to be in the host: to read the request's body, then to [`Admit::enter`].
pub struct Held {
    _permit: OwnedSemaphorePermit,
}

/// Leave to be inside a function.
pub struct Permit {
    version: Digest,
    functions: Arc<DashMap<Digest, Arc<Gate>>>,
    gate: Option<Arc<Gate>>,
    function: Option<OwnedSemaphorePermit>,
    _held: Held,
}

/// Why a request was not let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AdmitError {
    #[error("the host holds as many requests as it may (limits.held_requests); try again later")]
    HostFull,
    #[error("the function is serving as many requests as it may (limits.concurrency); try again later")]
    FunctionFull,
}

impl Admit {
    /// At most `held_requests` requests in the host, waiting ones included.
    pub fn new(held_requests: usize) -> Self {
        let held_requests = held_requests.min(Semaphore::MAX_PERMITS);
        let max_waiting = held_requests.div_ceil(4);
        Self { host: Arc::new(Semaphore::new(held_requests)), max_waiting, functions: Arc::default() }
    }

    /// Lets a request into the host.
    pub fn hold(&self) -> Result<Held, AdmitError> {
        Arc::clone(&self.host).try_acquire_owned().map(|_permit| Held { _permit }).map_err(|_| AdmitError::HostFull)
    }

    /// Lets it further in to a version, whose function may serve `concurrency` at once.
    pub async fn enter(
        &self,
        held: Held,
        version: Digest,
        concurrency: u32,
        due: Deadline,
    ) -> Result<Permit, AdmitError> {
        let gate = Arc::clone(&self.functions.entry(version).or_insert_with(|| Arc::new(Gate::new(concurrency))));
        let permits = Arc::clone(&gate.permits);
        let functions = Arc::clone(&self.functions);
        // From here on the permit alone keeps the gate, and whatever ends it early leaves the map as it was.
        let mut permit = Permit { version, functions, gate: Some(gate), function: None, _held: held };
        if let Ok(function) = Arc::clone(&permits).try_acquire_owned() {
            permit.function = Some(function);
            return Ok(permit);
        }
        let _place = permit.gate.as_ref().map(|gate| gate.queue(self.max_waiting)).transpose()?;
        match due.bound(permits.acquire_owned()).await {
            Ok(Ok(function)) => {
                permit.function = Some(function);
                Ok(permit)
            }
            Ok(Err(_)) | Err(_) => Err(AdmitError::FunctionFull),
        }
    }
}

impl Gate {
    fn new(concurrency: u32) -> Self {
        Self { permits: Arc::new(Semaphore::new(concurrency as usize)), waiting: AtomicUsize::new(0) }
    }

    fn queue(self: &Arc<Self>, max_waiting: usize) -> Result<Place, AdmitError> {
        let place = Place(Arc::clone(self));
        if self.waiting.fetch_add(1, Ordering::Relaxed) < max_waiting {
            Ok(place)
        } else {
            Err(AdmitError::FunctionFull)
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.function = None;
        self.gate = None;
        // Under the entry's lock nobody else can take the gate: a count of one is the map's own.
        self.functions.remove_if(&self.version, |_, gate| Arc::strong_count(gate) == 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    async fn enter(admit: &Admit, version: &[u8], due: Deadline) -> Result<Permit, AdmitError> {
        admit.enter(admit.hold()?, Digest::of(version), 1, due).await
    }

    fn soon() -> Deadline {
        Deadline::after(Duration::from_secs(1))
    }

    #[tokio::test(start_paused = true)]
    async fn a_full_function_makes_wait_and_a_full_host_does_not() {
        let admit = Admit::new(2);
        let first = enter(&admit, b"v", soon()).await.expect("there is room");
        assert_eq!(enter(&admit, b"v", soon()).await.err(), Some(AdmitError::FunctionFull));
        let other = enter(&admit, b"w", soon()).await.expect("another function has room");
        assert_eq!(enter(&admit, b"x", soon()).await.err(), Some(AdmitError::HostFull));
        drop((first, other));
        assert!(admit.functions.is_empty());
        assert!(enter(&admit, b"v", soon()).await.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn those_who_wait_for_one_function_leave_room_for_others() {
        let admit = Admit::new(8);
        let later = Deadline::after(Duration::from_secs(3600));
        let inside = enter(&admit, b"v", later).await.expect("there is room");
        let mut waiting: Vec<_> = (0..2).map(|_| Box::pin(enter(&admit, b"v", later))).collect();
        for entering in &mut waiting {
            assert!(futures::poll!(entering).is_pending());
        }
        assert_eq!(enter(&admit, b"v", later).await.err(), Some(AdmitError::FunctionFull));
        assert!(enter(&admit, b"w", later).await.is_ok());
        drop((inside, waiting));
        assert!(admit.functions.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_waiting_request_gets_in_when_another_leaves() {
        let admit = Admit::new(2);
        let first = enter(&admit, b"v", soon()).await.expect("there is room");
        let (second, ()) = tokio::join!(enter(&admit, b"v", soon()), async { drop(first) });
        assert!(second.is_ok());
    }
}
