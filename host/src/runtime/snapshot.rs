//! A component that is initialised once, when its bundle is built: its `init` runs, and the memory that leaves becomes the
//! component's initial memory.
//!
//! Whatever runs here sees nothing that differs between two builds: clocks stand still, random numbers follow from the
//! component, files have no times.
//! Models are for requests; their imports trap. A handle that is still open at the end would mean nothing later, so it is an
//! error.

use std::path::Path;
use std::time::Duration;

use rand::SeedableRng;
use rand::rngs::StdRng;
use twox_hash::XxHash3_64;
use wasmtime::component::types::ComponentItem;
use wasmtime::component::{Component, Instance, Lift, Linker, ResourceTable, ResourceType, WasmList};
use wasmtime::{Store, UpdateDeadline};
use wasmtime_wasi::{FsPerms, HostMonotonicClock, HostWallClock, WasiCtx, WasiCtxView, WasiView};
use wasmtime_wasi_config::{WasiConfig, WasiConfigVariables};
use wasmtime_wasi_http::{WasiHttpCtx, WasiHttpCtxView, WasiHttpView};
use wasmtime_wizer::{ComponentInstanceState, Wizer};

mod files;

use super::engine;
use super::outgoing::Outgoing;
use super::state::MemoryLimit;

/// The export that is called: `init: func() -> result<_, string>`. Hosts never call it.
pub const EXPORT: &str = "init";

/// What is initialised, with what.
#[derive(Debug)]
pub struct Uninitialised<'a> {
    /// It exports [`EXPORT`].
    pub component: &'a [u8],
    /// The folder shown as `/assets`.
    pub assets: &'a Path,
    /// The manifest's environment.
    pub env: Vec<(String, String)>,
    /// Bytes of linear memory it may have.
    pub memory_bytes: u64,
    /// How long it may take.
    pub time_limit: Duration,
}

/// Why there is no initialised component.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// It has what cannot be kept, such as tables that change; the text says what.
    #[error("it cannot be kept initialised: {0}")]
    Unsuited(String),
    /// `init` gave an error.
    #[error("its `init` failed: {0}")]
    Failed(String),
    /// `init` ended with a trap.
    #[error("its `init` stopped: {0}")]
    Trapped(String),
    /// `init` did not end.
    #[error("its `init` takes longer than {} s", .0.as_secs_f32())]
    TimedOut(Duration),
    /// `init` left handles open.
    #[error(
        "its `init` keeps open what only requests can have: a file, or standard output or error that it has printed to"
    )]
    HandlesOpen,
    /// A fault of the host's own.
    #[error("{0}")]
    Host(String),
}

/// Runs a component's `init` and gives the component that begins where it ended. Blocks; needs a thread that runs no tasks.
pub fn initialise(guest: &Uninitialised<'_>) -> Result<Vec<u8>, SnapshotError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(host)?;
    runtime.block_on(run(guest))
}

async fn run(guest: &Uninitialised<'_>) -> Result<Vec<u8>, SnapshotError> {
    let mut wizer = Wizer::new();
    // Taking it away would take away the core module's export of that name too, which is still lifted.
    wizer.init_func(EXPORT).keep_init_func(true);
    let (context, instrumented) = wizer.instrument_component(guest.component).map_err(unsuited)?;
    let engine = engine::create(engine::Calls::Concurrent).map_err(host)?;
    let component = Component::new(&engine, instrumented).map_err(unsuited)?;
    let mut linker = Linker::new(&engine);
    wasmtime_wasi::p2::add_to_linker_async(&mut linker).map_err(host)?;
    files::add_to_linker(&mut linker).map_err(host)?;
    wasmtime_wasi_config::add_to_linker(&mut linker, |state: &mut State| WasiConfig::new(&state.config))
        .map_err(host)?;
    wasmtime_wasi_http::p2::add_only_http_to_linker_async(&mut linker).map_err(host)?;
    wasmtime_wasi::p3::add_to_linker(&mut linker).map_err(host)?;
    wasmtime_wasi_http::p3::add_to_linker(&mut linker).map_err(host)?;
    without_models(&mut linker, &component).map_err(unsuited)?;

    let mut store = Store::new(&engine, State::new(guest).map_err(host)?);
    store.limiter(|state| &mut state.limits);
    store.epoch_deadline_callback(|_| Ok(UpdateDeadline::YieldCustom(1, Box::pin(tokio::task::yield_now()))));
    store.set_epoch_deadline(1);
    store.set_hostcall_fuel(usize::MAX);
    let initialised = tokio::time::timeout(guest.time_limit, init(&mut store, &linker, &component)).await;
    let instance = initialised.map_err(|_| SnapshotError::TimedOut(guest.time_limit))??;
    if !store.data().table.is_empty() {
        return Err(SnapshotError::HandlesOpen);
    }
    // Reading a memory makes it grow by a page, which does not become part of the component.
    store.data_mut().limits.limit_bytes = u64::MAX;
    let mut reading = Reading { store, instance, failed: None };
    let snapshot = wizer.snapshot_component(&context, &mut reading).await.map_err(unsuited)?;
    match reading.failed {
        None => Ok(snapshot),
        // Of what is read only memories need anything: room to grow by a page.
        Some(error) => Err(unsuited(format!("its memory cannot grow any more, or not be read: {error:#}"))),
    }
}

async fn init(
    store: &mut Store<State>,
    linker: &Linker<State>,
    component: &Component,
) -> Result<Instance, SnapshotError> {
    let instance = match linker.instantiate_async(&mut *store, component).await {
        Ok(instance) => instance,
        Err(error) => return Err(trapped(store, &error)),
    };
    let init = instance.get_typed_func::<(), (Result<(), String>,)>(&mut *store, EXPORT);
    let init = init.map_err(|_| unsuited("its export `init` is not `func() -> result<_, string>`"))?;
    match init.call_async(&mut *store, ()).await {
        Ok((Ok(()),)) => Ok(instance),
        Ok((Err(message),)) => Err(SnapshotError::Failed(message)),
        Err(error) => Err(trapped(store, &error)),
    }
}

/// Links what a component imports of wasi:nn, in whichever dialect, to traps.
fn without_models(linker: &mut Linker<State>, component: &Component) -> wasmtime::Result<()> {
    let engine = component.engine();
    for (interface, import) in component.component_type().imports(engine) {
        let ComponentItem::ComponentInstance(import) = import.ty else { continue };
        if !interface.starts_with("wasi:nn/") {
            continue;
        }
        let mut linked = linker.instance(interface)?;
        for (name, export) in import.exports(engine) {
            match export.ty {
                ComponentItem::ComponentFunc(_) => {
                    let call = format!("{interface}#{name}");
                    linked.func_new(name, move |_, _, _, _| {
                        Err(wasmtime::format_err!(
                            "it calls {call}: models can be loaded and run by requests, not when a bundle is built"
                        ))
                    })?;
                }
                ComponentItem::Resource(_) => linked.resource(name, ResourceType::host::<NoModel>(), |_, _| Ok(()))?,
                _ => {}
            }
        }
    }
    Ok(())
}

/// Nobody has any.
struct NoModel;

fn unsuited(error: impl std::fmt::Display) -> SnapshotError {
    SnapshotError::Unsuited(format!("{error:#}"))
}

fn host(error: impl std::fmt::Display) -> SnapshotError {
    SnapshotError::Host(format!("{error:#}"))
}

fn trapped(store: &Store<State>, error: &wasmtime::Error) -> SnapshotError {
    let limits = &store.data().limits;
    SnapshotError::Trapped(if limits.refused {
        format!("it needs more memory than its limit of {} bytes (limits.memory)", limits.limit_bytes)
    } else {
        error.root_cause().to_string()
    })
}

/// The data of the store.
struct State {
    wasi: WasiCtx,
    table: ResourceTable,
    http: WasiHttpCtx,
    hooks: Outgoing,
    config: WasiConfigVariables,
    limits: MemoryLimit,
}

impl State {
    fn new(guest: &Uninitialised<'_>) -> wasmtime::Result<Self> {
        let mut wasi = WasiCtx::builder();
        let seed = XxHash3_64::oneshot(guest.component);
        // Standard output is for what the command says.
        wasi.stdout(wasmtime_wasi::cli::stderr())
            .inherit_stderr()
            .envs(&guest.env)
            .allow_tcp(false)
            .allow_udp(false)
            .allow_ip_name_lookup(false)
            .secure_random(StdRng::seed_from_u64(seed))
            .insecure_random(StdRng::seed_from_u64(seed))
            .insecure_random_seed(seed.into())
            .wall_clock(Stopped)
            .monotonic_clock(Stopped)
            .preopened_dir(guest.assets, "/assets", FsPerms::ReadOnly)?;
        let mut config = WasiConfigVariables::new();
        for (key, value) in &guest.env {
            config.insert(key, value);
        }
        let limits = MemoryLimit::new(guest.memory_bytes);
        Ok(Self {
            wasi: wasi.build(),
            table: ResourceTable::new(),
            http: WasiHttpCtx::new(),
            hooks: Outgoing::none(),
            config,
            limits,
        })
    }
}

impl WasiView for State {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView { ctx: &mut self.wasi, table: &mut self.table }
    }
}

impl WasiHttpView for State {
    fn http(&mut self) -> WasiHttpCtxView<'_> {
        WasiHttpCtxView { ctx: &mut self.http, table: &mut self.table, hooks: &mut self.hooks }
    }
}

/// It is always 1970.
struct Stopped;

impl HostWallClock for Stopped {
    fn resolution(&self) -> Duration {
        Duration::from_nanos(1)
    }

    fn now(&self) -> Duration {
        Duration::ZERO
    }
}

impl HostMonotonicClock for Stopped {
    fn resolution(&self) -> u64 {
        1
    }

    fn now(&self) -> u64 {
        0
    }
}

/// An initialised instance whose globals and memories are read, by functions that instrumenting has added.
struct Reading {
    store: Store<State>,
    instance: Instance,
    /// What could not be read: by the trait, reading does not fail.
    failed: Option<wasmtime::Error>,
}

impl Reading {
    async fn call<R: Lift + Send + Sync + 'static>(&mut self, interface: &str, function: &str) -> Option<R> {
        match self.try_call(interface, function).await {
            Ok(result) => Some(result),
            Err(error) => {
                self.failed.get_or_insert(error);
                None
            }
        }
    }

    async fn try_call<R>(&mut self, interface: &str, function: &str) -> wasmtime::Result<R>
    where
        R: Lift + Send + Sync + 'static,
    {
        let missing = || wasmtime::format_err!("{interface}#{function} is missing");
        let interface = self.instance.get_export_index(&mut self.store, None, interface).ok_or_else(missing)?;
        let function =
            self.instance.get_export_index(&mut self.store, Some(&interface), function).ok_or_else(missing)?;
        let function = self.instance.get_typed_func::<(), (R,)>(&mut self.store, function)?;
        Ok(function.call_async(&mut self.store, ()).await?.0)
    }
}

impl ComponentInstanceState for Reading {
    async fn call_func_ret_list_u8(&mut self, interface: &str, function: &str, contents: impl FnOnce(&[u8]) + Send) {
        match self.call::<WasmList<u8>>(interface, function).await {
            Some(list) => contents(list.as_le_slice(&self.store)),
            None => contents(&[]),
        }
    }

    async fn call_func_ret_s32(&mut self, interface: &str, function: &str) -> i32 {
        self.call(interface, function).await.unwrap_or_default()
    }

    async fn call_func_ret_s64(&mut self, interface: &str, function: &str) -> i64 {
        self.call(interface, function).await.unwrap_or_default()
    }

    async fn call_func_ret_f32(&mut self, interface: &str, function: &str) -> u32 {
        self.call::<f32>(interface, function).await.unwrap_or_default().to_bits()
    }

    async fn call_func_ret_f64(&mut self, interface: &str, function: &str) -> u64 {
        self.call::<f64>(interface, function).await.unwrap_or_default().to_bits()
    }
}
