//! The composition root: every part is built here, in one visible order, and taken down in the other.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use tokio::sync::{Mutex, Semaphore};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::admit::Admit;
use crate::cache::Cache;
use crate::collect;
use crate::config::{self, Config};
use crate::follow;
use crate::grpc;
use crate::host::Host;
use crate::http::server;
use crate::invoke::copies;
use crate::lifecycle::{Lifecycle, Parts};
use crate::listener::{ListenError, Listener, Speaks};
use crate::logs::Logs;
use crate::nn::library::{Library, LibraryError};
use crate::nn::{Models, graph};
use crate::registry::catalog::Catalog;
use crate::registry::spool::Spool;
use crate::registry::store::{Store, StoreError};
use crate::rollout;
use crate::runtime::load::Loader;
use crate::shadow::Shadows;
use crate::telemetry::Metrics;

/// A host that has its addresses and waits to serve.
pub struct App {
    host: Arc<Host>,
    listener: Listener,
    address: SocketAddr,
    grpc_listener: Listener,
    grpc_address: SocketAddr,
}

/// Why a host cannot start.
#[derive(Debug, thiserror::Error)]
pub enum AppError {
    #[error(transparent)]
    Library(#[from] LibraryError),
    #[error("wasmtime cannot start: {0}")]
    Engine(String),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Listen(#[from] ListenError),
    #[error("no thread can be started")]
    Thread(#[source] std::io::Error),
    #[error("the listening socket is unusable")]
    Socket(#[source] std::io::Error),
}

/// Compiling uses every core already; beside it there is room for models that take long to load.
const EXAMINED_AT_ONCE: usize = 4;

/// A look at all functions takes milliseconds, so whoever waits for a turn does not wait long.
const SCANNED_AT_ONCE: usize = 2;

impl App {
    /// Builds every part. Nothing is served yet, but the addresses are taken.
    pub async fn build(config: Config) -> Result<Self, AppError> {
        let library = Library::open(&config.onnxruntime, config::tool_folder().as_deref())?;
        let cache_dir = config.cache_dir();
        let cache = Arc::new(Cache::open(cache_dir.clone(), config.cache_limit));
        let loader = Loader::new(Arc::clone(&cache));
        let loader = loader.map_err(|error| AppError::Engine(format!("{error:#}")))?;
        let store = Store::open(&config.store, &cache_dir, config.cache_limit).await?;
        let catalog = Catalog::load_saved(store.clone(), &cache_dir).await?;
        for (function, why) in catalog.damaged() {
            tracing::error!(%function, why, "cannot be used");
        }
        let logs = Logs::open(&config.logs_dir(), &config.logs).map_err(AppError::Thread)?;
        let (logs, metrics) = (Arc::new(logs), Metrics::default());
        let models =
            Arc::new(Models::new(library, Arc::clone(&cache), &models_config(&config), metrics.models.clone()));
        let (several_models, lifecycle_metrics) = (Mutex::new(()), metrics.lifecycle.clone());
        let parts =
            Parts { store, loader, models, cache, logs: Arc::clone(&logs), several_models, metrics: lifecycle_metrics };
        let lifecycle = Lifecycle::new(Arc::new(parts), config.idle);
        let listener = Listener::bind(config.listen, "--listen", Speaks::Either).await?;
        let address = listener.address().map_err(AppError::Socket)?;
        let grpc_listener = Listener::bind(config.grpc_listen, "--grpc-listen", Speaks::Http2).await?;
        let grpc_address = grpc_listener.address().map_err(AppError::Socket)?;
        let spool = Spool::new(cache_dir.join("uploads"), config.uploads.clone());
        let admit = Admit::new(config.held_requests);
        let (examining, scanning) = (Semaphore::new(EXAMINED_AT_ONCE).into(), Semaphore::new(SCANNED_AT_ONCE).into());
        let host = Arc::new(Host {
            config,
            address,
            catalog,
            spool,
            admit,
            lifecycle,
            shadows: Shadows::default(),
            logs,
            examining,
            scanning,
            metrics,
            started_at: Instant::now(),
            draining: AtomicBool::new(false),
        });
        Ok(Self { host, listener, address, grpc_listener, grpc_address })
    }

    /// The address that was taken, with the port that port 0 became.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The same for gRPC.
    pub fn grpc_address(&self) -> SocketAddr {
        self.grpc_address
    }

    /// Serves until `stop`, then drains. True when every request in flight could finish.
    pub async fn run(self, stop: CancellationToken) -> bool {
        self.host.lifecycle.parts.models.begin();
        for function in self.host.catalog.functions() {
            self.host.lifecycle.keep_warm(&self.host.catalog, function.name().as_str());
        }
        let following = tokio::spawn(follow::follow(Arc::clone(&self.host), stop.clone()));
        let collecting = tokio::spawn(collect::run(Arc::clone(&self.host), stop.clone()));
        let http = server::serve(Arc::clone(&self.host), self.listener, stop.clone());
        let grpc = grpc::serve(Arc::clone(&self.host), self.grpc_listener, stop.clone());
        let copies = copies::run(Arc::clone(&self.host), stop.clone());
        let rollouts = rollout::run(Arc::clone(&self.host), stop);
        let (http_drained, grpc_drained, (), ()) = tokio::join!(http, grpc, copies, rollouts);
        // They have been told, too.
        let _ = tokio::join!(collecting, following);
        self.host.lifecycle.clear();
        self.host.logs.close().await;
        self.host.catalog.save().await;
        http_drained && grpc_drained
    }
}

fn models_config(config: &Config) -> graph::Config {
    let devices = config.onnxruntime.devices.clone();
    graph::Config { devices, memory: config.memory, quick_start: config.quick_start }
}
