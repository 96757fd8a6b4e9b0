//! One instance: a store and the component running in it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use wasmtime::component::InstancePre;
use wasmtime::{Engine, Store, UpdateDeadline};
use wasmtime_wasi_http::p2::bindings::{Proxy, ProxyPre};
use wasmtime_wasi_http::p3::bindings::{Service, ServicePre};

use super::RuntimeError;
use super::assets::Place;
use super::engine::MAX_INSTANCES;
use super::exports::TypedExports;
use super::state::{Grants, State};
use super::trap::trap;
use crate::nn::wit::NnView;

/// A linked component, ready to be instantiated.
#[derive(Clone)]
pub enum Pre {
    Typed(InstancePre<State>),
    Http(ProxyPre<State>),
    Service(ServicePre<State>),
}

/// A component's exports in a running instance.
pub(super) enum Bound {
    Typed(TypedExports),
    /// `wasi:http` 0.2: one request at a time.
    Http(Proxy),
    /// `wasi:http` 0.3: several at once.
    Service(Service),
}

/// A running instance. Ends when dropped.
pub struct Instance {
    pub(super) store: Store<State>,
    pub(super) bound: Arc<Bound>,
    /// Requests it has begun to serve.
    pub(super) served: u32,
    /// Where its assets are.
    assets: Option<Arc<Place>>,
    _slot: Slot,
}

/// Room for the instances of one engine.
#[derive(Default)]
pub struct Slots {
    taken: AtomicUsize,
}

/// Room for one.
struct Slot(Arc<Slots>);

impl Slots {
    /// Whether an instance may be made that no request waits for: the last slots are for those that one does.
    pub(super) fn has_spare(&self) -> bool {
        self.taken.load(Ordering::Relaxed) < MAX_INSTANCES as usize / 10 * 9
    }

    fn take(self: &Arc<Self>) -> Slot {
        self.taken.fetch_add(1, Ordering::Relaxed);
        Slot(Arc::clone(self))
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.0.taken.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Streams, futures, tasks and other handles that a guest may hold at once, those of [`State`]'s table included: the host keeps something
/// for each, beyond the guest's memory.
const MAX_COMPONENT_HANDLES: usize = 8192;

impl Instance {
    /// Instantiates; runs the guest's start code.
    pub(super) async fn start(pre: &Pre, grants: &Grants) -> Result<Self, RuntimeError> {
        let assets = match &grants.assets {
            Some(assets) => Some(assets.place().await.map_err(|error| cannot_unpack(&error))?),
            None => None,
        };
        let state = State::new(grants, assets.as_deref().map(Place::folder));
        let state = state.map_err(|error| RuntimeError::Host(format!("{error:#}")))?;
        let mut store = Store::new(pre.engine(), state);
        store.limiter(|state| &mut state.limits);
        // A guest that computes yields the thread each epoch; whoever awaits it decides how long that may go on.
        store.epoch_deadline_callback(|_| Ok(UpdateDeadline::YieldCustom(1, Box::pin(tokio::task::yield_now()))));
        store.set_epoch_deadline(1);
        store.set_max_component_handles(MAX_COMPONENT_HANDLES);
        // Bytes one call may move across the boundary: a guest's memory holds no more.
        store.set_hostcall_fuel(usize::try_from(grants.memory_bytes.saturating_mul(2)).unwrap_or(usize::MAX));
        let bound = match pre {
            Pre::Typed(pre) => match pre.instantiate_async(&mut store).await {
                Ok(instance) => TypedExports::find(&mut store, &instance).map(Bound::Typed),
                Err(error) => Err(error),
            },
            Pre::Http(pre) => pre.instantiate_async(&mut store).await.map(Bound::Http),
            Pre::Service(pre) => pre.instantiate_async(&mut store).await.map(Bound::Service),
        };
        match bound {
            Ok(bound) => Ok(Self { store, bound: Arc::new(bound), served: 0, assets, _slot: grants.slots.take() }),
            Err(error) if error.is::<wasmtime::PoolConcurrencyLimitError>() => Err(RuntimeError::NoRoom),
            Err(error) => Err(trap(&store, error)),
        }
    }

    /// Whether all that it was given is still there.
    pub(super) fn is_whole(&self) -> bool {
        self.assets.as_ref().is_none_or(|assets| assets.is_there())
    }

    /// Whether the guest holds models of its own.
    pub(super) fn holds_models(&mut self) -> bool {
        self.store.data_mut().nn().state.holds_private_models()
    }

    /// The error that a failed call into the guest means.
    pub(super) fn trap(&self, error: wasmtime::Error) -> RuntimeError {
        trap(&self.store, error)
    }
}

impl Pre {
    /// Bytes of its compiled code, which is mapped from the cache.
    pub fn size_bytes(&self) -> u64 {
        let component = match self {
            Self::Typed(pre) => pre.component(),
            Self::Http(pre) => pre.instance_pre().component(),
            Self::Service(pre) => pre.instance_pre().component(),
        };
        let image = component.image_range();
        (image.end.addr() - image.start.addr()) as u64
    }

    fn engine(&self) -> &Engine {
        match self {
            Self::Typed(pre) => pre.engine(),
            Self::Http(pre) => pre.engine(),
            Self::Service(pre) => pre.engine(),
        }
    }
}

/// Not where: a caller must not learn where the host keeps its files.
fn cannot_unpack(error: &std::io::Error) -> RuntimeError {
    RuntimeError::Host(format!("assets cannot be unpacked: {}", error.kind()))
}
