//! One instance: a store and the component running in it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use wasmtime::component::InstancePre;
use wasmtime::{Engine, Store, UpdateDeadline};
use wasmtime_wasi_http::p2::bindings::{Proxy, ProxyPre};

use super::RuntimeError;
use super::engine::MAX_INSTANCES;
use super::exports::TypedExports;
use super::state::{Grants, State};

/// A linked component, ready to be instantiated.
#[derive(Clone)]
pub enum Pre {
    Typed(InstancePre<State>),
    Http(ProxyPre<State>),
}

/// A component's exports in a running instance.
pub(super) enum Bound {
    Typed(TypedExports),
    Http(Proxy),
}

/// A running instance. Ends when dropped.
pub struct Instance {
    pub(super) store: Store<State>,
    pub(super) bound: Arc<Bound>,
    /// Requests it has begun to serve.
    pub(super) served: u32,
    _counted: Counted,
}

/// Instances of this process.
static COUNT: AtomicUsize = AtomicUsize::new(0);

/// One of them.
struct Counted;

impl Counted {
    fn new() -> Self {
        COUNT.fetch_add(1, Ordering::Relaxed);
        Self
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        COUNT.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Whether an instance may be made that no request waits for: the last slots are for those that one does.
pub(super) fn has_room() -> bool {
    COUNT.load(Ordering::Relaxed) < MAX_INSTANCES as usize / 10 * 9
}

impl Instance {
    /// Instantiates; runs the guest's start code.
    pub(super) async fn start(pre: &Pre, grants: &Grants) -> Result<Self, RuntimeError> {
        let state = State::new(grants).map_err(|error| RuntimeError::Host(format!("{error:#}")))?;
        let mut store = Store::new(pre.engine(), state);
        store.limiter(|state| &mut state.limits);
        // A guest that computes yields the thread each epoch; whoever awaits it decides how long that may go on.
        store.epoch_deadline_callback(|_| Ok(UpdateDeadline::YieldCustom(1, Box::pin(tokio::task::yield_now()))));
        store.set_epoch_deadline(1);
        // Bytes one call may move across the boundary: a guest's memory holds no more.
        store.set_hostcall_fuel(usize::try_from(grants.memory_bytes.saturating_mul(2)).unwrap_or(usize::MAX));
        let bound = match pre {
            Pre::Typed(pre) => match pre.instantiate_async(&mut store).await {
                Ok(instance) => TypedExports::find(&mut store, &instance).map(Bound::Typed),
                Err(error) => Err(error),
            },
            Pre::Http(pre) => pre.instantiate_async(&mut store).await.map(Bound::Http),
        };
        match bound {
            Ok(bound) => Ok(Self { store, bound: Arc::new(bound), served: 0, _counted: Counted::new() }),
            Err(error) if error.is::<wasmtime::PoolConcurrencyLimitError>() => Err(RuntimeError::NoRoom),
            Err(error) => Err(trap(&store, error)),
        }
    }

    /// The error that a failed call into the guest means.
    pub(super) fn trap(&self, error: wasmtime::Error) -> RuntimeError {
        trap(&self.store, error)
    }
}

impl Pre {
    fn engine(&self) -> &Engine {
        match self {
            Self::Typed(pre) => pre.engine(),
            Self::Http(pre) => pre.engine(),
        }
    }
}

fn trap(store: &Store<State>, source: wasmtime::Error) -> RuntimeError {
    let limits = &store.data().limits;
    let reason = if limits.refused {
        format!("it needs more memory than its limit of {} bytes (limits.memory)", limits.limit_bytes)
    } else {
        match source.downcast_ref::<wasmtime::Trap>() {
            Some(trap) => trap.to_string(),
            None => source.root_cause().to_string(),
        }
    };
    RuntimeError::Trapped { reason, source }
}
