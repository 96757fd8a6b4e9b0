//! Permits: how many requests may be in the host, and how many inside each function.
//!
//! A request is held from before its body is read. One past the host's bound is refused; one past its function's bound waits,
//! until its deadline, unless so many are there already that they would crowd out other functions.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use dashmap::DashMap;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::deadline::Deadline;
use crate::registry::digest::Digest;
use crate::telemetry::Calls;

/// The bounds and who is inside them.
pub struct Admit {
    host: Arc<Semaphore>,
    /// For streams, which may be silent for long: they are not to take the places of requests.
    streams: Arc<Semaphore>,
    /// Apart from those, as who follows a log does so for hours.
    followers: Arc<Semaphore>,
    /// Whole bundles, each of which has some MiB in memory while it comes.
    bundles: Arc<Semaphore>,
    max_held: usize,
    /// Requests that may be there for one function beside those inside it: a quarter of all, so that a stuck function, or
    /// one whose callers send slowly, leaves room for others.
    max_outside: usize,
    /// One gate per version that was asked for, until it is forgotten.
    gates: DashMap<Digest, Arc<Gate>>,
}

/// The way into one function.
pub struct Gate {
    permits: Arc<Semaphore>,
    concurrency: u32,
    /// How the requests went that came to it.
    pub calls: Arc<Calls>,
    /// Requests that are there, inside or not.
    present: AtomicUsize,
}

/// Leave to be in the host for a request that does not say yet which function it is for. Ends when it is dropped.
pub struct Arrived {
    _host: OwnedSemaphorePermit,
}

/// Leave to keep something open that may last: a stream of requests, each of which [arrives](Admit::arrive) by itself, an upload, a
/// download, a log. Ends when it is dropped.
pub struct Stream {
    _place: OwnedSemaphorePermit,
}

impl Stream {
    fn among(places: &Arc<Semaphore>, full: AdmitError) -> Result<Self, AdmitError> {
        Ok(Self { _place: Arc::clone(places).try_acquire_owned().map_err(|_| full)? })
    }
}

/// Leave to be in the host: to read the request's body, then to go inside. Ends when it is dropped.
pub struct Held {
    gate: Arc<Gate>,
    _host: OwnedSemaphorePermit,
}

/// Leave to be inside a function. Ends when it is dropped.
pub struct Permit {
    _function: OwnedSemaphorePermit,
    _held: Held,
}

/// Of 8 MiB each at most, until a part is written.
const MAX_BUNDLES: usize = 64;

/// Why a request was not let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AdmitError {
    #[error("the host holds as many requests as it may (limits.held_requests); try again later")]
    HostFull,
    #[error("the host has as many streams open as it may (a quarter of limits.held_requests); try again later")]
    StreamsFull,
    #[error("as many logs are followed as may be at once (a sixteenth of limits.held_requests); try again later")]
    FollowersFull,
    #[error(
        "as many bundles are on their way to the host as may be at once (a sixteenth of limits.held_requests, and at most {MAX_BUNDLES}); try again later"
    )]
    BundlesFull,
    #[error(
        "there is no room for another request in this function (limits.concurrency inside, a quarter of limits.held_requests waiting); try again later"
    )]
    FunctionFull,
}

impl Admit {
    /// At most `held_requests` requests in the host, waiting ones included.
    pub fn new(held_requests: usize) -> Self {
        let held_requests = held_requests.min(Semaphore::MAX_PERMITS);
        let max_outside = held_requests.div_ceil(4);
        let places = |count| Arc::new(Semaphore::new(count));
        let sixteenth = held_requests.div_ceil(16);
        let (host, streams) = (places(held_requests), places(max_outside));
        let (followers, bundles) = (places(sixteenth), places(sixteenth.min(MAX_BUNDLES)));
        Self { host, streams, followers, bundles, max_held: held_requests, max_outside, gates: DashMap::new() }
    }

    /// Lets a request into the host whose function is in its body.
    pub fn arrive(&self) -> Result<Arrived, AdmitError> {
        Ok(Arrived { _host: Arc::clone(&self.host).try_acquire_owned().map_err(|_| AdmitError::HostFull)? })
    }

    /// Lets a client open a stream of requests: a quarter of as many as there may be requests.
    pub fn open_stream(&self) -> Result<Stream, AdmitError> {
        Stream::among(&self.streams, AdmitError::StreamsFull)
    }

    /// Lets a client follow a log: a sixteenth of as many as there may be requests.
    pub fn follow(&self) -> Result<Stream, AdmitError> {
        Stream::among(&self.followers, AdmitError::FollowersFull)
    }

    /// Lets a client send a whole bundle, however many streams are open: a sixteenth of as many as there may be requests, and 64 at most.
    pub fn bundle(&self) -> Result<Stream, AdmitError> {
        Stream::among(&self.bundles, AdmitError::BundlesFull)
    }

    /// The way into a version, whose function may serve `concurrency` requests at once.
    pub fn gate(&self, version: Digest, concurrency: u32, calls: impl FnOnce() -> Calls) -> Arc<Gate> {
        let known = self.gates.get(&version).map(|gate| Arc::clone(&gate));
        known.unwrap_or_else(|| {
            let new = || Arc::new(Gate::new(concurrency, calls()));
            Arc::clone(&self.gates.entry(version).or_insert_with(new))
        })
    }

    /// Lets a request into the host that is to go through this gate.
    pub fn hold(&self, gate: Arc<Gate>) -> Result<Held, AdmitError> {
        let host = Arc::clone(&self.host).try_acquire_owned().map_err(|_| AdmitError::HostFull)?;
        let before = gate.present.fetch_add(1, Ordering::Relaxed);
        let most = self.max_outside.saturating_add(gate.concurrency as usize);
        let held = Held { gate, _host: host };
        if before < most { Ok(held) } else { Err(AdmitError::FunctionFull) }
    }

    /// How the requests went to all versions that were asked for.
    pub fn calls(&self) -> Vec<Arc<Calls>> {
        self.gates.iter().map(|gate| Arc::clone(&gate.calls)).collect()
    }

    /// Requests in the host, waiting ones included.
    pub fn held(&self) -> usize {
        self.max_held.saturating_sub(self.host.available_permits())
    }

    /// Whether the host holds half as many requests as it may: what can wait is to leave the rest to callers.
    pub fn is_busy(&self) -> bool {
        self.held() >= self.max_held.div_ceil(2)
    }

    /// A version is deployed no more. Requests that are there go on.
    pub fn forget(&self, version: &Digest) {
        self.gates.remove(version);
    }
}

impl Held {
    /// Goes inside, now or when another request leaves.
    pub async fn enter(self, due: Deadline) -> Result<Permit, AdmitError> {
        match due.bound(Arc::clone(&self.gate.permits).acquire_owned()).await {
            Ok(Ok(_function)) => Ok(Permit { _function, _held: self }),
            Ok(Err(_)) | Err(_) => Err(AdmitError::FunctionFull),
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.gate.present.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Gate {
    fn new(concurrency: u32, calls: Calls) -> Self {
        let permits = Arc::new(Semaphore::new(concurrency as usize));
        Self { permits, concurrency, calls: Arc::new(calls), present: AtomicUsize::new(0) }
    }

    /// Whether a request would not wait.
    pub fn has_room(&self) -> bool {
        self.permits.available_permits() > 0
    }

    /// Whether requests wait to come inside.
    pub fn is_crowded(&self) -> bool {
        self.present.load(Ordering::Relaxed) > self.concurrency as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    async fn enter(admit: &Admit, version: &[u8], due: Deadline) -> Result<Permit, AdmitError> {
        let gate = admit.gate(Digest::of(version), 1, || Calls::new("f", "1.0.0", None));
        admit.hold(gate)?.enter(due).await
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
        let gate = |version: &[u8]| admit.gate(Digest::of(version), 1, || Calls::new("f", "1.0.0", None));
        assert!(gate(b"v").is_crowded() && !gate(b"v").has_room() && !gate(b"w").is_crowded() && gate(b"w").has_room());
        assert!(!admit.is_busy(), "three of eight");
        drop((inside, waiting));
        assert!(admit.gates.iter().all(|gate| gate.present.load(Ordering::Relaxed) == 0));
    }

    #[test]
    fn silent_streams_take_no_places_of_requests() {
        let admit = Admit::new(8);
        let streams = [admit.open_stream().expect("a quarter"), admit.open_stream().expect("a quarter")];
        assert_eq!(admit.open_stream().err(), Some(AdmitError::StreamsFull));
        let follower = admit.follow().expect("one at least");
        assert_eq!(
            (admit.follow().err(), admit.open_stream().err()),
            (Some(AdmitError::FollowersFull), Some(AdmitError::StreamsFull))
        );
        drop(follower);
        assert!(admit.follow().is_ok());
        assert_eq!((0..8).map(|_| admit.arrive()).filter(Result::is_ok).count(), 8);
        drop(streams);
        assert!(admit.open_stream().is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn a_waiting_request_gets_in_when_another_leaves() {
        let admit = Admit::new(2);
        let first = enter(&admit, b"v", soon()).await.expect("there is room");
        let (second, ()) = tokio::join!(enter(&admit, b"v", soon()), async { drop(first) });
        assert!(second.is_ok());
    }
}
