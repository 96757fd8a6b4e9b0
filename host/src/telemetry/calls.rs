//! How the requests to one version went: counted by what was asked and what came of it, and timed.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::histogram::Histogram;
use tokio::time::Instant;

use super::latencies::{Latencies, Spread};
use super::metrics::SECONDS;
use super::parts::Parts;
use super::usage::{Timed, Times};
use crate::logs::{Log, Stream};
use crate::trace;

/// What a function is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asked {
    Predict,
    Explain,
    Http,
    /// To predict for a copy of a request, whose answer nobody gets.
    Shadow,
}

/// What comes of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It was answered.
    Ok,
    /// It was not one that can be answered.
    Invalid,
    /// There was no room for it.
    Refused,
    /// Its deadline passed.
    Timeout,
    /// The function, its model or the host failed.
    Failed,
    /// Its caller went away.
    Cancelled,
}

/// The requests to one version so far.
#[derive(Debug)]
pub struct Calls {
    pub function: String,
    pub version: String,
    counts: [[Times; Outcome::ALL.len()]; Asked::ALL.len()],
    made: Instant,
    /// Nanoseconds from then until the latest one came; 0: there was none.
    last_ns: AtomicU64,
    /// From the head's arrival to the answer, or to the end of a raw response's body.
    seconds: Histogram,
    /// The same of those that were answered, finely, since somebody began to look.
    watched: OnceLock<Box<Latencies>>,
    /// Where each request is a line, if it is one.
    log: Option<Log>,
}

/// What is not the caller's doing. A version that has no room for its requests does badly, however well it answers the others.
const FAULTS: [Outcome; 3] = [Outcome::Failed, Outcome::Timeout, Outcome::Refused];

/// What callers got of a version so far. Of what they brought about themselves only this is here that may be the version's doing: that
/// they went.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Served {
    /// Requests that were answered.
    pub answered: u64,
    /// Those that failed, took too long or found no room.
    pub failed: u64,
    /// Those whose callers went away before the answer had come.
    pub abandoned: u64,
    /// How long answers took, since somebody began to look.
    pub took: Spread,
}

/// A request that has come in. One that is dropped before its [end](Self::end) was cancelled.
#[derive(Debug)]
pub struct Call {
    calls: Arc<Calls>,
    pub asked: Asked,
    pub began: Instant,
    outcome: Outcome,
    /// Its id, for the log.
    id: Option<String>,
    /// What its time goes into, for the log.
    pub parts: Parts,
    /// What else the log is told.
    told: String,
}

impl Calls {
    /// None yet. Each is a line in `log`.
    pub fn new(function: &str, version: &str, log: Option<Log>) -> Self {
        let (function, version) = (function.to_owned(), version.to_owned());
        let seconds = Histogram::new(SECONDS);
        let (made, last_ns) = (Instant::now(), AtomicU64::new(0));
        let (counts, watched) = Default::default();
        Self { function, version, counts, made, last_ns, seconds, watched, log }
    }

    /// How requests went so far, copies aside. From the first look on, times are kept.
    pub fn served(&self) -> Served {
        let took = self.watched.get_or_init(Box::default).spread();
        let asked = [Asked::Predict, Asked::Explain, Asked::Http];
        let sum = |outcomes: &[Outcome]| {
            asked.iter().flat_map(|&asked| outcomes.iter().map(move |&outcome| self.count(asked, outcome))).sum()
        };
        let (answered, failed) = (sum(&[Outcome::Ok]), sum(&FAULTS));
        Served { answered, failed, abandoned: sum(&[Outcome::Cancelled]), took }
    }

    /// A request came in.
    pub fn begin(self: &Arc<Self>, asked: Asked, began: Instant) -> Call {
        let since = u64::try_from(began.saturating_duration_since(self.made).as_nanos()).unwrap_or(u64::MAX);
        self.last_ns.store(since.max(1), Ordering::Relaxed);
        let id = self.log.as_ref().and_then(|_| trace::current_id());
        let parts = self.log.as_ref().map(|_| Parts::told()).unwrap_or_default();
        Call { calls: Arc::clone(self), asked, began, outcome: Outcome::Cancelled, id, parts, told: String::new() }
    }

    /// How many requests of a kind had an outcome.
    pub fn count(&self, asked: Asked, outcome: Outcome) -> u64 {
        self.counts[asked as usize][outcome as usize].get().count
    }

    /// The requests that were answered, and those that were not, of every kind; how long they took.
    pub fn answered(&self) -> (Timed, Timed) {
        let (mut answered, mut failed) = (Timed::default(), Timed::default());
        for (outcome, times) in self.counts.iter().flat_map(|counts| Outcome::ALL.into_iter().zip(counts)) {
            let (timed, sum) = (times.get(), if outcome == Outcome::Ok { &mut answered } else { &mut failed });
            *sum = Timed { count: sum.count + timed.count, ns: sum.ns + timed.ns };
        }
        (answered, failed)
    }

    /// When the latest request came, in milliseconds since 1970; 0: there was none.
    pub fn last_ms(&self) -> u64 {
        let last = Duration::from_nanos(self.last_ns.load(Ordering::Relaxed));
        if last.is_zero() {
            return 0;
        }
        let ago = self.made.elapsed().saturating_sub(last);
        let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        u64::try_from(since_1970.saturating_sub(ago).as_millis()).unwrap_or(u64::MAX)
    }

    fn record(&self, asked: Asked, outcome: Outcome, took: Duration) {
        self.counts[asked as usize][outcome as usize].add(took);
        if asked == Asked::Shadow {
            return;
        }
        self.seconds.observe(took.as_secs_f64());
        if outcome == Outcome::Ok
            && let Some(watched) = self.watched.get()
        {
            watched.add(took);
        }
    }
}

impl Served {
    /// What came since then.
    pub fn since(&self, earlier: &Self) -> Self {
        Self {
            answered: self.answered.saturating_sub(earlier.answered),
            failed: self.failed.saturating_sub(earlier.failed),
            abandoned: self.abandoned.saturating_sub(earlier.abandoned),
            took: self.took.since(&earlier.took),
        }
    }

    /// Both together.
    pub fn and(&self, other: &Self) -> Self {
        Self {
            answered: self.answered + other.answered,
            failed: self.failed + other.failed,
            abandoned: self.abandoned + other.abandoned,
            took: self.took.and(&other.took),
        }
    }
}

impl Call {
    /// It came in at an earlier moment than it could be counted.
    pub fn since(mut self, began: Instant) -> Self {
        self.began = began;
        self
    }

    /// It turns out to be for another version.
    pub fn turn_to(&mut self, calls: &Arc<Calls>) {
        self.calls = Arc::clone(calls);
    }

    /// What its log is to say of it, where there is one: at most so much as anybody would read.
    pub fn tell(&mut self, separator: &str, what: &dyn std::fmt::Display) {
        const MAX_BYTES: usize = 500;
        if self.calls.log.is_some() {
            let told = format!("{separator}{what}");
            self.told.push_str(&told[..told.floor_char_boundary(MAX_BYTES)]);
        }
    }

    /// Its outcome is known.
    pub fn end(mut self, outcome: Outcome) {
        self.outcome = outcome;
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        let took = self.began.elapsed();
        self.calls.record(self.asked, self.outcome, took);
        if let Some(log) = &self.calls.log {
            let (asked, outcome, ms) = (self.asked.name(), self.outcome.name(), took.as_micros() as f64 / 1000.0);
            log.line(
                Stream::Request,
                self.id.as_deref(),
                &format!("{asked} {outcome} {ms} ms{}{}", self.parts, self.told),
                false,
            );
        }
    }
}

impl Asked {
    const ALL: [Self; 4] = [Self::Predict, Self::Explain, Self::Http, Self::Shadow];

    fn name(self) -> &'static str {
        match self {
            Self::Predict => "predict",
            Self::Explain => "explain",
            Self::Http => "http",
            Self::Shadow => "shadow",
        }
    }
}

impl Outcome {
    const ALL: [Self; 6] = [Self::Ok, Self::Invalid, Self::Refused, Self::Timeout, Self::Failed, Self::Cancelled];

    fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Invalid => "invalid",
            Self::Refused => "refused",
            Self::Timeout => "timeout",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }
}

/// The calls of all versions that were asked for, as metrics.
#[derive(Debug)]
pub(super) struct AllCalls(pub(super) Vec<Arc<Calls>>);

impl Collector for AllCalls {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> std::fmt::Result {
        let help = "Requests to functions, by what was asked and what came of it";
        let mut requests = encoder.encode_descriptor("nocti_requests", help, None, MetricType::Counter)?;
        for calls in &self.0 {
            for (asked, outcome) in Asked::ALL.iter().flat_map(|asked| Outcome::ALL.map(|outcome| (*asked, outcome))) {
                let count = calls.count(asked, outcome);
                if count > 0 {
                    let labels = [
                        ("function", calls.function.as_str()),
                        ("version", &calls.version),
                        ("kind", asked.name()),
                        ("outcome", outcome.name()),
                    ];
                    ConstCounter::new(count).encode(requests.encode_family(&labels)?)?;
                }
            }
        }
        let help = "Time of requests to functions, from their arrival to the end of their answer";
        let mut seconds = encoder.encode_descriptor("nocti_request_seconds", help, None, MetricType::Histogram)?;
        for calls in &self.0 {
            let labels = [("function", calls.function.as_str()), ("version", &calls.version)];
            calls.seconds.encode(seconds.encode_family(&labels)?)?;
        }
        Ok(())
    }
}
