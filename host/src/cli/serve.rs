//! `nocti serve`: the host, until it is told to stop.

use std::time::Duration;

use anyhow::Context;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use super::{ServeArgs, output};
use crate::app::App;
use crate::config::Config;
use crate::telemetry;

/// How long tasks that outlive the drain may hold up the exit.
const EXIT_TIMEOUT: Duration = Duration::from_secs(1);

/// Runs the host.
pub(super) fn run(args: &ServeArgs) -> anyhow::Result<()> {
    let config = Config::load(args.config.as_deref(), &args.flags())?;
    if args.print_config {
        return output::text(&config.to_toml());
    }
    telemetry::init(&config.log).map_err(anyhow::Error::msg)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().context("no threads to run on")?;
    let result = runtime.block_on(serve(config));
    runtime.shutdown_timeout(EXIT_TIMEOUT);
    result
}

async fn serve(config: Config) -> anyhow::Result<()> {
    let drain_timeout = config.drain_timeout;
    let stop = CancellationToken::new();
    // Before anything can be interrupted.
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let app = App::build(config).await?;
    tracing::info!("gRPC on {}", app.grpc_address());
    // Whoever started the host reads the address from this line, which is the last one.
    tracing::info!("listening on http://{}", app.address());
    let serving = app.run(stop.clone());
    tokio::pin!(serving);
    tokio::select! {
        _ = &mut serving => return Ok(()),
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    tracing::info!("stopping: requests in flight may finish; signal again to stop at once");
    stop.cancel();
    tokio::select! {
        drained = serving => {
            if !drained {
                tracing::warn!("requests in flight did not finish within {drain_timeout:?}");
            }
        }
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    tracing::info!("stopped");
    Ok(())
}
