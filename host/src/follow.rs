//! What other hosts change in the store takes hold here too: within two seconds, and by one small request a second, however many
//! functions there are.
//!
//! The catalog notices and shows it; this sees to what follows from it in memory. A store that does not answer stops nothing: what
//! is known is served on.

use std::sync::Arc;

use tokio::time::{Duration, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use crate::host::Host;
use crate::registry::catalog::{CatalogError, Look};
use crate::registry::name::FunctionName;

const EVERY: Duration = Duration::from_secs(1);

/// Follows the store until `stop`.
pub async fn follow(host: Arc<Host>, stop: CancellationToken) {
    let mut turn = tokio::time::interval(EVERY);
    turn.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut reachable = true;
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            function = host.catalog.next_vanished() => {
                settle(&host, &function);
                continue;
            }
            _ = turn.tick() => {}
        }
        let Some(Look { changes, failure }) = stop.run_until_cancelled(host.catalog.look()).await else { return };
        for function in changes {
            tracing::info!(%function, "changed by another host");
            settle(&host, &function);
        }
        match &failure {
            Some(error) if reachable => {
                let error: &dyn std::error::Error = error;
                tracing::error!(error, "the store does not answer: what is known is served on, changes have to wait");
            }
            None if !reachable => tracing::info!("the store answers again"),
            _ => {}
        }
        reachable = failure.is_none();
        host.metrics.store_reachable.set(i64::from(reachable));
    }
}

/// A function has changed: what is deployed no more is forgotten, and what is to be warm is woken.
pub fn settle(host: &Host, name: &FunctionName) {
    let vanished = host.catalog.vanished(name);
    for version in vanished.iter().filter(|version| !host.catalog.has(version)) {
        host.lifecycle.forget(&version.digest);
        host.admit.forget(&version.digest);
        host.shadows.forget(&version.digest);
    }
    if matches!(host.catalog.function(name.as_str()), Err(CatalogError::UnknownFunction(_))) {
        host.logs.forget(name.as_str());
    }
    host.lifecycle.keep_warm(&host.catalog, name.as_str());
    host.catalog.seen_to(name, &vanished);
}
