//! Permits: how many requests may be in the host, and how many inside each function.
//!
//! A request past the host's bound is turned away at once; one past its function's bound waits, until its deadline. A
//! permit ends when it is dropped, which is after the last byte of the answer.

use std::sync::Arc;

use dashmap::DashMap;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::deadline::Deadline;
use crate::registry::digest::Digest;

/// The bounds and who is inside them.
pub struct Admit {
    host: Arc<Semaphore>,
    /// One gate per version with requests; a gate nobody uses is removed.
    functions: Arc<DashMap<Digest, Arc<Semaphore>>>,
}

/// Leave to be inside.
pub struct Permit {
    version: Digest,
    functions: Arc<DashMap<Digest, Arc<Semaphore>>>,
    function: Option<OwnedSemaphorePermit>,
    _host: OwnedSemaphorePermit,
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
        Self { host: Arc::new(Semaphore::new(held_requests.min(Semaphore::MAX_PERMITS))), functions: Arc::default() }
    }

    /// Lets a request for a version in, whose function may serve `concurrency` at once.
    pub async fn enter(&self, version: Digest, concurrency: u32, due: Deadline) -> Result<Permit, AdmitError> {
        let host = Arc::clone(&self.host).try_acquire_owned().map_err(|_| AdmitError::HostFull)?;
        let gate = Arc::clone(
            &self.functions.entry(version).or_insert_with(|| Arc::new(Semaphore::new(concurrency as usize))),
        );
        let mut permit = Permit { version, functions: Arc::clone(&self.functions), function: None, _host: host };
        match due.bound(gate.acquire_owned()).await {
            Ok(Ok(function)) => {
                permit.function = Some(function);
                Ok(permit)
            }
            Ok(Err(_)) | Err(_) => Err(AdmitError::FunctionFull),
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.function = None;
        // Under the entry's lock nobody else can take the gate: a count of one is the map's own.
        self.functions.remove_if(&self.version, |_, gate| Arc::strong_count(gate) == 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn soon() -> Deadline {
        Deadline::after(Duration::from_secs(1))
    }

    #[tokio::test(start_paused = true)]
    async fn a_full_function_makes_wait_and_a_full_host_does_not() {
        let admit = Admit::new(2);
        let version = Digest::of(b"v");
        let first = admit.enter(version, 1, soon()).await.expect("there is room");
        assert_eq!(admit.enter(version, 1, soon()).await.err(), Some(AdmitError::FunctionFull));
        let other = admit.enter(Digest::of(b"w"), 1, soon()).await.expect("another function has room");
        assert_eq!(admit.enter(Digest::of(b"x"), 1, soon()).await.err(), Some(AdmitError::HostFull));
        drop((first, other));
        assert!(admit.functions.is_empty());
        assert!(admit.enter(version, 1, soon()).await.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn a_waiting_request_gets_in_when_another_leaves() {
        let admit = Admit::new(2);
        let version = Digest::of(b"v");
        let first = admit.enter(version, 1, soon()).await.expect("there is room");
        let (second, ()) = tokio::join!(admit.enter(version, 1, soon()), async { drop(first) });
        assert!(second.is_ok());
    }
}
