//! How the copies of one version's requests went that another version got as its shadow.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;

use super::latencies::Latencies;

/// How the answer to a copy compares with what the caller got.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Likeness {
    /// It is the same.
    Same,
    /// Floating-point numbers differ a little.
    Close,
    /// Something else does, or they do by more.
    Different,
    /// There is none.
    Failed,
    /// The copy was not made, since there was no room for it.
    Skipped,
}

/// The copies so far.
#[derive(Debug)]
pub struct Shadowed {
    pub function: String,
    /// The version that answers callers.
    pub version: String,
    /// The version that gets copies.
    pub shadow: String,
    counts: [AtomicU64; Likeness::ALL.len()],
    /// What the version, and its shadow, took for requests that both answered.
    pub took: Latencies,
    pub shadow_took: Latencies,
}

impl Likeness {
    /// All of them, in the order in which they are shown.
    pub const ALL: [Self; 5] = [Self::Same, Self::Close, Self::Different, Self::Failed, Self::Skipped];

    fn name(self) -> &'static str {
        match self {
            Self::Same => "same",
            Self::Close => "close",
            Self::Different => "different",
            Self::Failed => "failed",
            Self::Skipped => "skipped",
        }
    }
}

impl Shadowed {
    /// None yet.
    pub fn new(function: &str, version: &str, shadow: &str) -> Self {
        let [function, version, shadow] = [function, version, shadow].map(str::to_owned);
        let (took, shadow_took) = (Latencies::default(), Latencies::default());
        Self { function, version, shadow, counts: Default::default(), took, shadow_took }
    }

    pub fn add(&self, likeness: Likeness) {
        self.counts[likeness as usize].fetch_add(1, Ordering::Relaxed);
    }

    pub fn count(&self, likeness: Likeness) -> u64 {
        self.counts[likeness as usize].load(Ordering::Relaxed)
    }
}

/// All copies, as metrics.
#[derive(Debug)]
pub(super) struct AllShadowed(pub(super) Vec<Arc<Shadowed>>);

impl Collector for AllShadowed {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> std::fmt::Result {
        let help = "Copies of requests that shadows got, by how their answers compare";
        let mut family = encoder.encode_descriptor("nocti_shadow_requests", help, None, MetricType::Counter)?;
        for shadowed in &self.0 {
            for outcome in Likeness::ALL {
                let count = shadowed.count(outcome);
                if count > 0 {
                    let labels = [
                        ("function", shadowed.function.as_str()),
                        ("version", &shadowed.version),
                        ("shadow", &shadowed.shadow),
                        ("outcome", outcome.name()),
                    ];
                    ConstCounter::new(count).encode(family.encode_family(&labels)?)?;
                }
            }
        }
        Ok(())
    }
}
