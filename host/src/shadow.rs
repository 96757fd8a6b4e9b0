//! Copies of requests that a shadow is to answer beside the version that answers callers: what is copied, what room there is for it, and
//! how the answers compare.
//!
//! A copy is made of a request that was answered, from parts that the two share, and taken only if it has a place at once: among those of
//! its two versions, among the host's, and for its bytes. Otherwise it is counted and forgotten, so whoever asks waits for nothing.
//! Knows no way to an answer: whoever takes the [next](Shadows::next) copy asks the shadow.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use dashmap::DashMap;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::Instant;

use crate::protocol::predict::PredictRequest;
use crate::registry::catalog::Version;
use crate::registry::digest::Digest;
use crate::telemetry::{Likeness, Shadowed};
use crate::tensor::Tensor;
use crate::trace::Origin;

mod compare;

pub use compare::{TOLERANCE, compare};

/// Copies that one version's shadow answers at once, and all shadows of the host.
const PLACES: usize = 4;
const HOST_PLACES: usize = 16;

/// What all copies may keep in memory, in KiB: requests and the answers that theirs are compared with.
const HOST_KIB: usize = 64 << 10;

/// A difference is logged so often at most, for each version and shadow.
const TELL_EVERY: Duration = Duration::from_secs(10);

/// All shadows of the host.
#[derive(Debug)]
pub struct Shadows {
    /// By the version that answers and its shadow.
    known: DashMap<(Digest, Digest), Arc<Pair>>,
    places: Arc<Semaphore>,
    kib: Arc<Semaphore>,
    offered: mpsc::Sender<Taken>,
    taken: tokio::sync::Mutex<mpsc::Receiver<Taken>>,
}

/// A version and its shadow.
#[derive(Debug)]
struct Pair {
    places: Arc<Semaphore>,
    shadowed: Arc<Shadowed>,
    told: Mutex<Option<Instant>>,
}

/// A request that may be copied once it is answered.
pub struct Original {
    shadow: Arc<Version>,
    request: PredictRequest,
    began: Instant,
}

/// A copy that has its place.
#[derive(Debug)]
pub struct Taken {
    pub shadow: Arc<Version>,
    pub request: PredictRequest,
    /// What the caller got.
    pub expected: Vec<(String, Tensor)>,
    took: Duration,
    /// Whose copy it is, for the logs.
    pub origin: Origin,
    pair: Arc<Pair>,
    _places: [OwnedSemaphorePermit; 3],
}

impl Original {
    /// The request's tensors are shared, not copied. Boxed, as it is rare: a request has its place in memory for all that it may come to.
    pub fn of(shadow: Arc<Version>, request: &PredictRequest) -> Box<Self> {
        // What is compared is what the classes are of.
        let request = PredictRequest { classes: Vec::new(), ..request.clone() };
        Box::new(Self { shadow, request, began: Instant::now() })
    }

    /// The version that is to get the copy.
    pub fn shadow(&self) -> &Version {
        &self.shadow
    }
}

impl Default for Shadows {
    fn default() -> Self {
        // Whatever has a place fits.
        let (offered, taken) = mpsc::channel(HOST_PLACES);
        let (places, kib) = (Arc::new(Semaphore::new(HOST_PLACES)), Arc::new(Semaphore::new(HOST_KIB)));
        Self { known: DashMap::new(), places, kib, offered, taken: tokio::sync::Mutex::new(taken) }
    }
}

impl Shadows {
    /// The version has answered a request: a copy is taken if there `is_room` for it elsewhere, and here.
    pub fn offer(&self, original: Original, version: &Version, outputs: &[(String, Tensor)], is_room: bool) {
        let Original { shadow, request, began } = original;
        let pair = self.pair(version, &shadow);
        let taken = || {
            let places = [
                Arc::clone(&pair.places).try_acquire_owned().ok()?,
                Arc::clone(&self.places).try_acquire_owned().ok()?,
                Arc::clone(&self.kib).try_acquire_many_owned(kib(&request, outputs)?).ok()?,
            ];
            let (expected, took, origin) = (outputs.to_vec(), began.elapsed(), Origin::current());
            let taken = Taken { shadow, request, expected, took, origin, pair: Arc::clone(&pair), _places: places };
            self.offered.try_send(taken).ok()
        };
        if !is_room || taken().is_none() {
            pair.shadowed.add(Likeness::Skipped);
        }
    }

    /// The next copy. For one who waits.
    pub async fn next(&self) -> Option<Taken> {
        self.taken.lock().await.recv().await
    }

    /// All versions and shadows that there were copies for.
    pub fn all(&self) -> Vec<Arc<Shadowed>> {
        self.known.iter().map(|pair| Arc::clone(&pair.shadowed)).collect()
    }

    /// How the copies went that one version's shadow got, if there were any.
    pub fn between(&self, version: &Digest, shadow: &Digest) -> Option<Arc<Shadowed>> {
        self.known.get(&(*version, *shadow)).map(|pair| Arc::clone(&pair.shadowed))
    }

    /// A version is deployed no more.
    pub fn forget(&self, version: &Digest) {
        self.known.retain(|(one, other), _| one != version && other != version);
    }

    fn pair(&self, version: &Version, shadow: &Version) -> Arc<Pair> {
        let key = (version.digest, shadow.digest);
        let known = self.known.get(&key).map(|pair| Arc::clone(&pair));
        known.unwrap_or_else(|| {
            let (function, version, shadow) = (version.function.as_str(), version.name.as_str(), shadow.name.as_str());
            let new = || {
                let (places, told) = (Arc::new(Semaphore::new(PLACES)), Mutex::new(None));
                Arc::new(Pair { places, shadowed: Arc::new(Shadowed::new(function, version, shadow)), told })
            };
            Arc::clone(&self.known.entry(key).or_insert_with(new))
        })
    }
}

impl Taken {
    /// The shadow answered so; it took so long.
    pub fn answered(self, likeness: Likeness, difference: Option<&str>, took: Duration) {
        self.pair.shadowed.took.add(self.took);
        self.pair.shadowed.shadow_took.add(took);
        self.end(likeness, difference);
    }

    /// It did not answer.
    pub fn failed(self, why: &str) {
        self.end(Likeness::Failed, Some(why));
    }

    /// It was not asked.
    pub fn skipped(self) {
        self.end(Likeness::Skipped, None);
    }

    fn end(self, likeness: Likeness, why: Option<&str>) {
        let Shadowed { function, version, shadow, .. } = &*self.pair.shadowed;
        self.pair.shadowed.add(likeness);
        if let Some(why) = why.filter(|_| matches!(likeness, Likeness::Different | Likeness::Failed) && self.is_time())
        {
            let id = self.origin.id();
            let id = id.as_deref().unwrap_or_default();
            tracing::warn!(function, version, shadow, id, why, "a shadow did not answer as its version");
        }
    }

    fn is_time(&self) -> bool {
        let mut told = self.pair.told.lock().unwrap_or_else(PoisonError::into_inner);
        let is_time = told.is_none_or(|told| told.elapsed() >= TELL_EVERY);
        if is_time {
            *told = Some(Instant::now());
        }
        is_time
    }
}

/// What a copy keeps in memory: a tensor of a body keeps all of it. `None`: more than can be counted.
fn kib(request: &PredictRequest, outputs: &[(String, Tensor)]) -> Option<u32> {
    let size = |tensors: &[(String, Tensor)]| tensors.iter().map(|(_, tensor)| tensor.size_bytes()).sum::<usize>();
    let bytes = request.body_bytes.max(size(&request.inputs)) + size(outputs);
    u32::try_from(bytes / 1024 + 1).ok()
}
