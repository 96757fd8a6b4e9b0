//! Host: the one struct that requests share. Fields only; what they do is in their own rooms.

use tokio::time::Instant;

use crate::admit::Admit;
use crate::config::Config;
use crate::lifecycle::Lifecycle;
use crate::logs::Logs;
use crate::registry::catalog::Catalog;
use crate::registry::spool::Spool;
use crate::shadow::Shadows;
use crate::telemetry::Metrics;

/// A running host.
pub struct Host {
    pub config: Config,
    /// Where HTTP is served, with the port that port 0 became.
    pub address: std::net::SocketAddr,
    pub catalog: Catalog,
    /// Blobs that are being sent.
    pub spool: Spool,
    pub admit: Admit,
    pub lifecycle: Lifecycle,
    /// Copies of requests.
    pub shadows: Shadows,
    pub logs: std::sync::Arc<Logs>,
    /// Turns at loading a bundle's content to see that it runs, which takes memory that no limit of a function bounds.
    pub examining: std::sync::Arc<tokio::sync::Semaphore>,
    /// Turns at looking through all functions, which takes a processor for a while where there are many.
    pub scanning: std::sync::Arc<tokio::sync::Semaphore>,
    pub metrics: Metrics,
    pub started_at: Instant,
    /// Set once the host is told to stop: ready no more, though what is in flight goes on.
    pub draining: std::sync::atomic::AtomicBool,
}
