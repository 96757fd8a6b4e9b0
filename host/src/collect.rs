//! Garbage, collected behind everything else: blobs that nobody refers to, uploads that nobody goes on with.
//!
//! One task a host. Hosts that share a store need not know of each other: what is safe for one collector is safe for several, and
//! they do not begin at the same moment.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::host::Host;
use crate::registry::catalog::Collected;

/// Between two collections: often enough that what is waste goes soon after its time, and seldom enough to be no load.
const INTERVAL: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(6 * 3600));

/// Collects until `stop`. Every step by itself leaves the store whole, so it ends wherever it is.
pub async fn run(host: Arc<Host>, stop: CancellationToken) {
    let collecting = async {
        loop {
            tokio::time::sleep(pause(host.config.blob_grace)).await;
            once(&host).await;
        }
    };
    let _ = stop.run_until_cancelled(collecting).await;
}

async fn once(host: &Host) {
    host.spool.sweep().await;
    match host.catalog.collect(host.config.blob_grace).await {
        Ok(collected) if collected == Collected::default() => {}
        Ok(Collected { discarded, recovered, deleted, deleted_bytes }) => {
            host.metrics.collected_blobs.inc_by(deleted);
            host.metrics.collected_bytes.inc_by(deleted_bytes);
            tracing::info!(discarded, recovered, deleted, deleted_bytes, "garbage collected");
        }
        // Whose revision cannot be read may refer to anything.
        Err(error) => {
            tracing::warn!(error = crate::fault::with_causes(error.to_string(), &error), "nothing is collected")
        }
    }
}

/// A fourth of the time that things are kept, and not at the same moment as others.
fn pause(grace: Duration) -> Duration {
    let (least, most) = INTERVAL;
    (grace / 4).clamp(least, most).mul_f64(rand::random_range(0.75..1.25))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_collected_several_times_in_a_grace_and_never_all_the_time() {
        for grace in [Duration::ZERO, Duration::from_secs(1), Duration::from_secs(24 * 3600), Duration::MAX] {
            let pause = pause(grace);
            assert!(pause >= INTERVAL.0.mul_f64(0.75) && pause <= INTERVAL.1.mul_f64(1.25), "{grace:?}: {pause:?}");
            assert!(grace < Duration::from_secs(1) || pause < grace, "{grace:?}: {pause:?}");
        }
    }
}
