//! What one instance may see of the world: the whole of a guest's authority, in one place.
//!
//! No network but HTTP to where the manifest allows, no environment but the manifest's, no files but `/assets` to read, no more memory
//! than allowed.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use tokio_util::sync::CancellationToken;
use wasmtime::ResourceLimiter;
use wasmtime::component::{GuestTaskId, ResourceTable};
use wasmtime_wasi::{FsPerms, WasiCtx, WasiCtxView, WasiView};
use wasmtime_wasi_config::WasiConfigVariables;
use wasmtime_wasi_http::{WasiHttpCtx, WasiHttpCtxView, WasiHttpView};

use super::assets::Assets;
use super::instance::Slots;
use super::log::{GuestOutput, Output};
use super::outgoing::{Outgoing, Sender};
use crate::logs::Stream;
use crate::nn::wit::{NnCtx, NnState, NnView};
use crate::nn::{Models, Named};

/// What every instance of a version is given.
pub struct Grants {
    /// `name@version`, for logs.
    pub function: Arc<str>,
    /// Where what its instances print goes.
    pub output: Arc<Output>,
    /// What is shown as `/assets`, when the bundle has assets.
    pub assets: Option<Arc<Assets>>,
    /// The manifest's environment.
    pub env: Vec<(String, String)>,
    /// What they may send, together.
    pub sender: Arc<Sender>,
    /// Bytes of linear memory an instance may have.
    pub memory_bytes: u64,
    /// Room for instances.
    pub slots: Arc<Slots>,
    /// The model plane, for models guests bring themselves.
    pub models: Arc<Models>,
    /// The bundle's models by name.
    pub named: Arc<Named>,
}

/// The data of an instance's store.
pub struct State {
    wasi: WasiCtx,
    http: WasiHttpCtx,
    hooks: Outgoing,
    config: WasiConfigVariables,
    nn: NnState,
    pub(super) table: ResourceTable,
    /// The requests of an instance that serves several, by their tasks. Numbers of tasks that have ended are used again.
    pub(super) requests: HashMap<GuestTaskId, CancellationToken>,
    pub(super) limits: MemoryLimit,
    /// Where what it prints goes.
    pub(super) output: Arc<Output>,
}

/// Handles one instance may hold at once; a guest that leaks them fails instead of growing the host.
const MAX_HANDLES: usize = 1024;

impl State {
    /// `assets` is the folder to be shown as `/assets`.
    pub(super) fn new(grants: &Grants, assets: Option<&Path>) -> wasmtime::Result<Self> {
        let mut wasi = WasiCtx::builder();
        wasi.stdout(GuestOutput::new(&grants.output, Stream::Stdout))
            .stderr(GuestOutput::new(&grants.output, Stream::Stderr))
            .envs(&grants.env)
            .allow_tcp(false)
            .allow_udp(false)
            .allow_ip_name_lookup(false);
        if let Some(folder) = assets {
            wasi.preopened_dir(folder, "/assets", FsPerms::ReadOnly)?;
        }
        let mut config = WasiConfigVariables::new();
        for (key, value) in &grants.env {
            config.insert(key, value);
        }
        let mut table = ResourceTable::new();
        table.set_max_capacity(MAX_HANDLES);
        Ok(Self {
            wasi: wasi.build(),
            http: WasiHttpCtx::new(),
            hooks: Outgoing::new(&grants.sender),
            config,
            nn: NnState::new(Arc::clone(&grants.models), Arc::clone(&grants.named), grants.memory_bytes),
            table,
            requests: HashMap::new(),
            limits: MemoryLimit::new(grants.memory_bytes),
            output: Arc::clone(&grants.output),
        })
    }

    pub(super) fn config(&self) -> &WasiConfigVariables {
        &self.config
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

impl NnView for State {
    fn nn(&mut self) -> NnCtx<'_> {
        NnCtx { state: &mut self.nn, table: &mut self.table }
    }

    fn abandoned(&self, task: GuestTaskId) -> Option<CancellationToken> {
        self.requests.get(&task).cloned()
    }
}

/// Counts an instance's linear memories together.
pub(super) struct MemoryLimit {
    pub(super) limit_bytes: u64,
    used_bytes: u64,
    /// True once the guest asked for more than it may have: the likely reason of a trap that follows.
    pub(super) refused: bool,
}

impl MemoryLimit {
    pub(super) fn new(limit_bytes: u64) -> Self {
        Self { limit_bytes, used_bytes: 0, refused: false }
    }
}

impl ResourceLimiter for MemoryLimit {
    fn memory_growing(&mut self, current: usize, desired: usize, _: Option<usize>) -> wasmtime::Result<bool> {
        let used = self.used_bytes.saturating_add((desired.saturating_sub(current)) as u64);
        if used > self.limit_bytes {
            self.refused = true;
            return Ok(false);
        }
        self.used_bytes = used;
        Ok(true)
    }

    fn table_growing(&mut self, _: usize, desired: usize, _: Option<usize>) -> wasmtime::Result<bool> {
        Ok(desired <= 1 << 20)
    }
}
