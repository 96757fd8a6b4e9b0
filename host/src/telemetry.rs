//! What the host says of itself: its log, lines on standard error, coloured on a terminal; and its metrics.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

pub mod calls;
pub mod latencies;
pub mod metrics;
pub mod parts;
pub mod shadowed;
pub mod usage;

pub use calls::{Asked, Call, Calls, Outcome, Served};
pub use latencies::Spread;
pub use metrics::{LifecycleMetrics, Metrics, ModelMetrics};
pub use parts::{Part, Parts};
pub use shadowed::{Likeness, Shadowed};
pub use usage::Usage;

/// Starts logging; `filter` is in the form `info` or `nocti=debug,wasmtime=warn`. A second call changes nothing.
pub fn init(filter: &str) -> Result<(), String> {
    let filter = EnvFilter::try_new(filter).map_err(|error| format!("log filter '{filter}': {error}"))?;
    let _ = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .try_init();
    Ok(())
}
