//! The host's metrics: every name and label that `GET /metrics` shows.
//!
//! Two kinds. What happens at a moment is recorded where it happens, by whoever was handed the [`ModelMetrics`]. What is the
//! case is asked for when somebody looks, as [`Observed`]: it costs nothing in between.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use prometheus_client::encoding::text::{encode_eof, encode_registry};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;
use tokio::time::Instant;

use super::calls::{AllCalls, Calls};
use super::shadowed::{AllShadowed, Shadowed};

/// The media type of [`Metrics::text`].
pub const MEDIA_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The metrics of one host.
pub struct Metrics {
    registry: Registry,
    pub models: ModelMetrics,
    /// Of a call into a function, what it waited for included, in seconds.
    pub guest_seconds: Histogram,
    pub lifecycle: LifecycleMetrics,
    /// Blobs that nobody referred to and were deleted for good.
    pub collected_blobs: Counter,
    pub collected_bytes: Counter,
    /// 1, or 0 while the store does not answer.
    pub store_reachable: Gauge,
}

/// What sessions record; clones share the numbers.
#[derive(Debug, Clone)]
pub struct ModelMetrics {
    /// From a job's arrival to the start of its run, in seconds.
    pub queue_seconds: Histogram,
    /// Of one run of ONNX Runtime, in seconds.
    pub compute_seconds: Histogram,
    /// Jobs in one run.
    pub batch_size: Histogram,
}

/// Histograms by phase.
pub type Phases = Family<[(&'static str, &'static str); 1], Histogram, fn() -> Histogram>;

/// What waking and unloading record; clones share the numbers.
#[derive(Debug, Clone)]
pub struct LifecycleMetrics {
    /// Of each phase of a cold start, in seconds.
    pub cold_start_seconds: Phases,
    /// Models that were unloaded because others needed their memory.
    pub evictions: Counter,
}

/// The state of the host as it is now.
#[derive(Debug, Clone, Default)]
pub struct Observed {
    pub sessions: Vec<ObservedSession>,
    /// Bytes that sessions may take, by device.
    pub budgets: Vec<(String, u64)>,
    pub held_requests: usize,
    /// Of every version that was asked for since the host started.
    pub calls: Vec<Arc<Calls>>,
    /// Of every version that had a shadow since.
    pub shadowed: Vec<Arc<Shadowed>>,
    pub functions: Vec<ObservedFunction>,
    /// Bytes of tensors copied, in a build that counts them.
    pub moved_bytes: Option<u64>,
}

/// A session that is loaded.
#[derive(Debug, Clone, PartialEq)]
pub struct ObservedSession {
    pub device: String,
    pub size_bytes: u64,
}

/// A version of a function that was asked for since the host started.
#[derive(Debug, Clone, PartialEq)]
pub struct ObservedFunction {
    pub function: String,
    pub version: String,
    /// How much of it is in memory.
    pub state: &'static str,
    /// What its parts take there.
    pub bytes: [(&'static str, u64); 2],
    /// What it was woken for last, and how many seconds each phase of that took.
    pub last_cold_start: Option<(&'static str, Vec<(&'static str, f64)>)>,
    pub idle: usize,
    pub busy: usize,
    /// Cold starts by phase: those that needed it.
    pub cold_starts: Vec<(&'static str, u64)>,
}

type Labels<const N: usize> = [(&'static str, String); N];

/// 10 µs to 30 s, in steps that a reader can divide by.
pub(super) const SECONDS: [f64; 20] =
    [1e-5, 2e-5, 5e-5, 1e-4, 2e-4, 5e-4, 1e-3, 2e-3, 5e-3, 1e-2, 2e-2, 5e-2, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0];

const BATCH_SIZES: [f64; 9] = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0];

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::default();
        let models = ModelMetrics {
            queue_seconds: Histogram::new(SECONDS),
            compute_seconds: Histogram::new(SECONDS),
            batch_size: Histogram::new(BATCH_SIZES),
        };
        let guest_seconds = Histogram::new(SECONDS);
        let mut register = |name, help, histogram: &Histogram| registry.register(name, help, histogram.clone());
        register("nocti_queue_seconds", "Time jobs waited for their model's session", &models.queue_seconds);
        register("nocti_compute_seconds", "Time of runs of ONNX Runtime", &models.compute_seconds);
        register("nocti_batch_size", "Jobs that ran together", &models.batch_size);
        register("nocti_guest_seconds", "Time of calls into functions, what they waited for included", &guest_seconds);
        let lifecycle = LifecycleMetrics {
            cold_start_seconds: Family::new_with_constructor(|| Histogram::new(SECONDS)),
            evictions: Counter::default(),
        };
        let (phases, evictions) = (lifecycle.cold_start_seconds.clone(), lifecycle.evictions.clone());
        registry.register("nocti_cold_start_seconds", "Time of the phases of cold starts, which overlap", phases);
        registry.register("nocti_evictions", "Models unloaded because others needed their memory", evictions);
        let (collected_blobs, collected_bytes) = (Counter::default(), Counter::default());
        registry.register("nocti_collected_blobs", "Blobs deleted that nobody referred to", collected_blobs.clone());
        registry.register(
            "nocti_collected_bytes",
            "Bytes of blobs deleted that nobody referred to",
            collected_bytes.clone(),
        );
        let store_reachable = Gauge::default();
        store_reachable.set(1);
        registry.register(
            "nocti_store_reachable",
            "Whether the store answered when it was last asked",
            store_reachable.clone(),
        );
        Self { registry, models, guest_seconds, lifecycle, collected_blobs, collected_bytes, store_reachable }
    }
}

/// Observes how long it was there.
pub struct Timer {
    histogram: Histogram,
    began: Instant,
}

impl Timer {
    pub fn begin(histogram: &Histogram) -> Self {
        Self { histogram: histogram.clone(), began: Instant::now() }
    }
}

impl Drop for Timer {
    fn drop(&mut self) {
        self.histogram.observe(self.began.elapsed().as_secs_f64());
    }
}

impl Metrics {
    /// Everything in the text form of OpenMetrics 1.0, which Prometheus reads.
    pub fn text(&self, observed: &Observed) -> String {
        let mut text = String::new();
        let written = encode_registry(&mut text, &self.registry)
            .and_then(|()| encode_registry(&mut text, &observed.registry()))
            .and_then(|()| encode_eof(&mut text));
        written.expect("a String takes everything");
        text
    }
}

impl Observed {
    fn registry(&self) -> Registry {
        let mut registry = Registry::default();
        let (sessions, session_bytes) = (Family::<Labels<1>, Gauge>::default(), Family::<Labels<1>, Gauge>::default());
        for session in &self.sessions {
            let labels = [("device", session.device.clone())];
            sessions.get_or_create(&labels).inc();
            session_bytes.get_or_create(&labels).inc_by(signed(session.size_bytes));
        }
        registry.register("nocti_sessions", "Loaded sessions of ONNX Runtime", sessions);
        let (held, budget) = (Gauge::<i64>::default(), Family::<Labels<1>, Gauge>::default());
        held.set(signed(self.held_requests as u64));
        for (device, bytes) in &self.budgets {
            budget.get_or_create(&[("device", device.clone())]).set(signed(*bytes));
        }
        registry.register("nocti_held_requests", "Requests in the host, waiting ones included", held);
        registry.register("nocti_session_budget_bytes", "Memory that all sessions may take together", budget);
        registry.register("nocti_session_bytes", "Memory of the loaded sessions as measured, in bytes", session_bytes);

        let (states, bytes) = (Family::<Labels<3>, Gauge>::default(), Family::<Labels<3>, Gauge>::default());
        let latest = Family::<Labels<4>, Gauge<f64, AtomicU64>>::default();
        for seen in &self.functions {
            let labels = |name, value: &str| version_labels(seen, [(name, value.to_owned())]);
            states.get_or_create(&labels("state", seen.state)).set(1);
            for (part, size) in seen.bytes {
                bytes.get_or_create(&labels("part", part)).set(signed(size));
            }
            for (cause, (phase, seconds)) in
                seen.last_cold_start.iter().flat_map(|(cause, phases)| phases.iter().map(move |phase| (cause, phase)))
            {
                let [function, version, phase] = version_labels(seen, [("phase", (*phase).to_owned())]);
                let labels = [function, version, ("cause", (*cause).to_owned()), phase];
                latest.get_or_create(&labels).set(*seconds);
            }
        }
        registry.register(
            "nocti_version_state",
            "How much of a version is in memory: 1 for the state that it is in",
            states,
        );
        registry.register("nocti_version_bytes", "Memory of a version's parts; sessions may be others' too", bytes);
        registry.register(
            "nocti_last_cold_start_seconds",
            "Phases of a version's last cold start, and what it was for",
            latest,
        );

        let (instances, cold_starts) = (Family::<Labels<2>, Gauge>::default(), Family::<Labels<2>, Counter>::default());
        for seen in &self.functions {
            for (state, count) in [("idle", seen.idle), ("busy", seen.busy)] {
                let labels = [("function", seen.function.clone()), ("state", state.to_owned())];
                instances.get_or_create(&labels).inc_by(signed(count as u64));
            }
            for &(phase, count) in &seen.cold_starts {
                let labels = [("function", seen.function.clone()), ("phase", phase.to_owned())];
                cold_starts.get_or_create(&labels).inc_by(count);
            }
        }
        registry.register("nocti_instances", "Instances of functions", instances);
        registry.register(
            "nocti_cold_starts",
            "Times a version was brought into memory, by the phases that this needed",
            cold_starts,
        );

        registry.register_collector(Box::new(AllCalls(self.calls.clone())));
        registry.register_collector(Box::new(AllShadowed(self.shadowed.clone())));
        if let Some(bytes) = self.moved_bytes {
            let moved = Counter::<u64>::default();
            moved.inc_by(bytes);
            registry.register("nocti_moved_bytes", "Bytes of tensors that were copied", moved);
        }
        registry
    }
}

fn version_labels(seen: &ObservedFunction, [more]: Labels<1>) -> Labels<3> {
    [("function", seen.function.clone()), ("version", seen.version.clone()), more]
}

fn signed(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::super::calls::{Asked, Outcome};
    use super::*;

    #[test]
    fn what_was_recorded_and_what_is_seen_come_together() {
        let metrics = Metrics::default();
        metrics.models.clone().compute_seconds.observe(0.0004);
        metrics.models.batch_size.observe(3.0);
        let session = || ObservedSession { device: "cpu".into(), size_bytes: 5 };
        let version = |busy| ObservedFunction {
            function: "f".into(),
            version: format!("{busy}"),
            state: "warm",
            bytes: [("component", 1), ("models", 2)],
            last_cold_start: Some(("request", vec![("session", 0.25)])),
            idle: 1,
            busy,
            cold_starts: vec![("session", 2)],
        };
        let calls = Arc::new(Calls::new("f", "1.0.0", None));
        calls.begin(Asked::Predict, Instant::now()).end(Outcome::Ok);
        drop(calls.begin(Asked::Predict, Instant::now()));
        let observed = Observed {
            sessions: vec![session(), session()],
            functions: vec![version(0), version(1)],
            held_requests: 3,
            calls: vec![calls],
            ..Observed::default()
        };
        let text = metrics.text(&observed);
        for line in [
            "# TYPE nocti_compute_seconds histogram",
            "nocti_compute_seconds_bucket{le=\"0.0002\"} 0",
            "nocti_compute_seconds_bucket{le=\"0.0005\"} 1",
            "nocti_batch_size_bucket{le=\"4.0\"} 1",
            "nocti_queue_seconds_count 0",
            "nocti_sessions{device=\"cpu\"} 2",
            "nocti_session_bytes{device=\"cpu\"} 10",
            "nocti_held_requests 3",
            "# TYPE nocti_requests counter",
            "nocti_requests_total{function=\"f\",version=\"1.0.0\",kind=\"predict\",outcome=\"ok\"} 1",
            "nocti_requests_total{function=\"f\",version=\"1.0.0\",kind=\"predict\",outcome=\"cancelled\"} 1",
            "nocti_request_seconds_count{function=\"f\",version=\"1.0.0\"} 2",
            "nocti_guest_seconds_count 0",
            "nocti_version_state{function=\"f\",version=\"1\",state=\"warm\"} 1",
            "nocti_version_bytes{function=\"f\",version=\"1\",part=\"models\"} 2",
            "nocti_last_cold_start_seconds{function=\"f\",version=\"0\",cause=\"request\",phase=\"session\"} 0.25",
            "nocti_instances{function=\"f\",state=\"idle\"} 2",
            "nocti_instances{function=\"f\",state=\"busy\"} 1",
            "nocti_cold_starts_total{function=\"f\",phase=\"session\"} 4",
        ] {
            assert!(text.lines().any(|found| found == line), "{line}: not in\n{text}");
        }
        assert!(text.ends_with("# EOF\n") && !text.contains("nocti_moved_bytes"), "{text}");
    }
}
