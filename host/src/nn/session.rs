//! A loaded model: its sessions of ONNX Runtime, and the jobs that wait for one.
//!
//! A run needs a session of ONNX Runtime to itself, so a session that runs is out of the `idle` ones, in somebody's `Turn`.
//! Who brings a job while one is idle takes it: to a thread that may wait for ONNX Runtime, which goes on until
//! nothing is queued, or, for a run known to be quick, right where it is. No tokio thread ever waits for a run that is not.
//! Jobs that wait are batched when a turn begins, never made to wait for it unless they ask to (`max_delay`). The memory goes
//! back, from a thread that may block, when the last user drops the [`Session`].

use std::borrow::Cow;
use std::hash::RandomState;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ort::session::{RunOptions, Session as OrtSession};
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::NnError;
use super::batch;
use super::budget::Share;
use super::device::Target;
use super::footprint;
use super::held::AnyTensor;
use super::improve::{Improvement, retire};
use super::job::{Caller, Flights, Inputs, Job, KeptOutputs, Outputs, Ticket, Wish};
use super::library::Library;
use super::load::{self, Facts, Loaded, Options, Source};
use super::queue::{JobId, LaneId, Queue, Waiting};
use super::quick::{self, Quick};
use super::run::RunError;
use super::trial::Batching;
use super::turn::Turn;
use crate::telemetry::ModelMetrics;
use crate::telemetry::usage::{self, Bill};
use crate::tensor::{Signature, TensorSpec};

/// After this time from the start of loading a warm-up is ended.
const WARM_UP: Duration = Duration::from_secs(10);

/// A model ready to run. Shared by reference; see the module's text for what ends it.
pub struct Session {
    pub(super) name: String,
    facts: Facts,
    sessions: usize,
    took: Took,
    /// Its part of the device's memory; given back with the memory itself.
    share: Option<Share>,
    runs: AtomicU64,
    requests: AtomicU64,
    pub(super) metrics: ModelMetrics,
    state: Mutex<State>,
    /// A job came while a turn waits for company.
    pub(super) company: Condvar,
    /// Callers choose shapes: they must not know which of them collide.
    hasher: RandomState,
}

/// What changes, under one short lock.
pub(super) struct State {
    /// The sessions of ONNX Runtime that nobody uses.
    pub(super) idle: Vec<OrtSession>,
    pub(super) queue: Queue<Job>,
    pub(super) flights: Flights,
    pub(super) quick: Quick,
    pub(super) batching: Batching,
    pub(super) improvement: Improvement,
    /// Trials of batching that showed nothing.
    pub(super) failed_trials: u32,
    next_job: u64,
}

/// How long it took to make a session.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Took {
    pub load: Duration,
    pub warm_up: Option<Duration>,
}

/// How a job's caller goes on.
enum Entered {
    /// It runs here and now.
    Here(Turn, Inputs, Bill),
    Queued(Ticket<Outputs>),
}

/// How a caller wants its jobs to be run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    /// The most rows of a run that requests share; 1: they share none.
    pub max_rows: usize,
    /// How long a job waits for others to join it.
    pub max_delay: Duration,
}

impl Session {
    /// Loads the model on a thread that may block. `share` is what it was expected to need, and becomes what it takes.
    pub(super) async fn open(
        library: Library,
        source: Source,
        options: Options,
        share: Share,
        metrics: ModelMetrics,
    ) -> Result<Arc<Self>, NnError> {
        let model = options.model.clone();
        let failed = |reason: String| NnError::Run { model: model.clone(), reason };
        let warm_up = RunOptions::new().map(Arc::new).map_err(|error| failed(error.to_string()))?;
        // A model may loop for ever, on zeros too: the warm-up ends with its time, and with whoever waits for it.
        let end_warm_up = Terminate(Arc::clone(&warm_up));
        let mut loading = tokio::task::spawn_blocking(move || {
            let started = Instant::now();
            let mut loaded = load::load(&library, &source, &options)?;
            let mut took = Took { load: started.elapsed(), warm_up: None };
            if options.warmup {
                let started = Instant::now();
                for session in &mut loaded.sessions {
                    load::warm_up(&options.model, session, &loaded.facts.signature, &warm_up);
                }
                took.warm_up = Some(started.elapsed());
            }
            let session = Self::new(options.model, loaded, took, share, metrics);
            if let Some(ort) = session.state().idle.first() {
                session.measure(ort);
            }
            Ok(Arc::new(session))
        });
        let result = match tokio::time::timeout(WARM_UP, &mut loading).await {
            Ok(result) => result,
            Err(_) => {
                drop(end_warm_up);
                loading.await
            }
        };
        result.unwrap_or_else(|error| Err(failed(format!("loading it broke off: {error}"))))
    }

    fn new(name: String, loaded: Loaded, took: Took, share: Share, metrics: ModelMetrics) -> Self {
        let Loaded { sessions, facts, better } = loaded;
        let state = State {
            queue: Queue::default(),
            flights: Flights::default(),
            quick: Quick::default(),
            batching: facts.sharing,
            improvement: Improvement::new(better),
            failed_trials: 0,
            next_job: 0,
            idle: sessions,
        };
        Self {
            name,
            facts,
            sessions: state.idle.len(),
            took,
            share: Some(share),
            runs: AtomicU64::new(0),
            requests: AtomicU64::new(0),
            metrics,
            state: Mutex::new(state),
            company: Condvar::new(),
            hasher: RandomState::new(),
        }
    }

    /// Runs the model once, with inputs that fit it. Dropping the future cancels.
    pub(super) async fn compute(
        self: &Arc<Self>,
        caller: &Caller,
        policy: Policy,
        inputs: Inputs,
    ) -> Result<Outputs, RunError> {
        let shape = self.shape(&inputs);
        match self.enter(caller, policy, shape, inputs) {
            Entered::Here(turn, inputs, bill) => turn.run_here(&inputs, shape, &bill),
            Entered::Queued(ticket) => ticket.outputs().await,
        }
    }

    /// The same, with outputs that stay on the device if the run is nobody else's. Inputs that lie on a device lie on this
    /// session's.
    pub(super) async fn compute_keeping(
        self: &Arc<Self>,
        caller: &Caller,
        policy: Policy,
        inputs: Vec<(String, AnyTensor)>,
    ) -> Result<KeptOutputs, RunError> {
        let (mut lent, mut held) = (Vec::new(), Vec::new());
        for (name, input) in inputs {
            match input {
                AnyTensor::Host(tensor) => lent.push((name, tensor)),
                AnyTensor::Held(tensor) => held.push((name, tensor)),
            }
        }
        let (answer, receiver) = oneshot::channel();
        let bill = caller.bill(self.facts.sharing == Batching::Untried && policy.max_rows > 1, &lent);
        let job = Job::new(lent, Wish::Kept { held, answer }, bill, Instant::now());
        let id = self.queue(self.state(), caller.lane, policy, job);
        Ticket::new(self, caller.lane, id, receiver).outputs().await
    }

    fn enter(self: &Arc<Self>, caller: &Caller, policy: Policy, shape: Option<u64>, inputs: Inputs) -> Entered {
        let bill = caller.bill(self.facts.sharing == Batching::Untried && policy.max_rows > 1, &inputs);
        let mut state = self.state();
        let at_once =
            policy.max_delay.is_zero() && state.queue.is_empty() && shape.is_some_and(|it| state.quick.has(it));
        if at_once && let Some(ort) = state.idle.pop() {
            return Entered::Here(Turn::new(self, ort), inputs, bill);
        }
        let (answer, receiver) = oneshot::channel();
        let job = Job::new(inputs, Wish::Host(answer), bill, Instant::now());
        let id = self.queue(state, caller.lane, policy, job);
        Entered::Queued(Ticket::new(self, caller.lane, id, receiver))
    }

    /// Whoever gets the id answers for it: it is to be [given up](Self::give_up) if nobody waits any more.
    fn queue(self: &Arc<Self>, mut state: MutexGuard<'_, State>, lane: LaneId, policy: Policy, job: Job) -> JobId {
        let shared =
            matches!(state.batching, Batching::Untried | Batching::On) && policy.max_rows > 1 && job.may_share();
        // An input that may be left out need not be as long as the others: the signature says nothing of its rows.
        let shared = shared && job.inputs.len() == self.facts.signature.inputs.len();
        let sharing = if shared { batch::sharing(&job.inputs, policy.max_rows, &self.hasher) } else { None };
        let ripe_at = if sharing.is_some() { job.queued_at + policy.max_delay } else { job.queued_at };
        let id = JobId(state.next_job);
        state.next_job += 1;
        state.queue.push(lane, Waiting { id, sharing, ripe_at, job });
        let turn = state.idle.pop().map(|ort| Turn::new(self, ort));
        drop(state);
        match turn {
            Some(turn) => turn.work_elsewhere(),
            None => self.company.notify_all(),
        }
        id
    }

    /// A caller has gone: its job leaves the queue, or ends with the others of its run.
    pub(super) fn give_up(&self, lane: LaneId, id: JobId) {
        let mut state = self.state();
        let waiting = state.queue.remove(lane, id);
        if waiting.is_none() {
            state.flights.give_up(id);
        }
        // A turn may wait for company that this job was to have.
        self.company.notify_all();
        // Its inputs are freed when the lock is.
        drop(state);
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        // Nothing panics while it holds the lock, and if it did, the state would be whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The shape of a job's inputs, for a model whose work follows from it.
    pub(super) fn shape(&self, inputs: &Inputs) -> Option<u64> {
        if self.facts.fixed_work { quick::shape(inputs, &self.hasher) } else { None }
    }

    /// The name the model was loaded under first.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Inputs and outputs as the model declares them.
    pub fn signature(&self) -> &Signature {
        &self.facts.signature
    }

    /// The signature with those inputs that have a default and are `given`: what a request has to fit.
    pub fn signature_for(&self, given: impl Fn(&str) -> bool) -> Cow<'_, Signature> {
        let mut signature = Cow::Borrowed(&self.facts.signature);
        for spec in self.facts.optional.iter().filter(|spec| given(&spec.name)) {
            signature.to_mut().inputs.push(spec.clone());
        }
        signature
    }

    /// Inputs that have a default in the model and may be left out.
    pub(super) fn optional(&self) -> &[TensorSpec] {
        &self.facts.optional
    }

    /// The device the model really runs on.
    pub fn device(&self) -> Target {
        self.facts.device
    }

    /// Bytes of the model's file.
    pub fn file_bytes(&self) -> u64 {
        self.facts.file_bytes
    }

    /// Bytes of its device's memory, as measured: what ONNX Runtime has allocated for it, and the weights that are mapped.
    pub fn size_bytes(&self) -> u64 {
        self.share.as_ref().map_or(0, Share::bytes)
    }

    /// How long it took to make.
    pub fn took(&self) -> Took {
        self.took
    }

    /// Looks how much one of its sessions takes, which is what each of them takes.
    pub(super) fn measure(&self, ort: &OrtSession) {
        let Some(share) = &self.share else { return };
        let tensors = footprint::allocated_bytes(ort, self.facts.device).unwrap_or(0);
        let each = self.facts.session_bytes + tensors;
        share.resize(self.facts.mapped_bytes + each * self.sessions as u64);
    }

    /// Nobody uses this session of ONNX Runtime any more; a better one may be there in its place.
    pub(super) fn put_back(mut state: MutexGuard<'_, State>, mut ort: OrtSession) {
        let gone = state.improvement.exchange(&mut ort);
        state.idle.push(ort);
        drop(state);
        if let Some(gone) = gone {
            retire(gone);
        }
    }

    /// Runs that can go on at once.
    pub fn sessions(&self) -> usize {
        self.sessions
    }

    /// A run for these jobs, whose inputs had this shape, took so long. Tells whether it is time to measure the session: after
    /// the first runs, and more and more seldom.
    pub(super) fn ran(self: &Arc<Self>, bills: &[&Bill], shape: Option<u64>, took: Duration, succeeded: bool) -> bool {
        let runs = self.runs.fetch_add(1, Ordering::Relaxed) + 1;
        self.requests.fetch_add(bills.len() as u64, Ordering::Relaxed);
        self.metrics.compute_seconds.observe(took.as_secs_f64());
        self.metrics.batch_size.observe(bills.len() as f64);
        if succeeded {
            usage::charge(bills, took);
        }
        let mut state = self.state();
        if let Some(shape) = shape {
            state.quick.saw(shape, took, succeeded);
        }
        let better = state.improvement.spend(took);
        drop(state);
        if let Some(better) = better {
            self.improve(better);
        }
        runs.is_power_of_two()
    }

    /// Runs so far, and the requests that they were for.
    pub fn runs(&self) -> (u64, u64) {
        (self.runs.load(Ordering::Relaxed), self.requests.load(Ordering::Relaxed))
    }

    /// Jobs that wait for their run, and jobs whose run goes on.
    pub fn jobs(&self) -> (usize, usize) {
        let state = self.state();
        (state.queue.len(), state.flights.len())
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        let sessions = std::mem::take(&mut self.state().idle);
        let share = self.share.take();
        let free = move || {
            drop(sessions);
            give_memory_back();
            drop(share);
        };
        // It takes milliseconds, and the last user is often a task.
        match Handle::try_current() {
            Ok(runtime) => drop(runtime.spawn_blocking(free)),
            Err(_) => free(),
        }
    }
}

/// Ends a run when dropped. After the run that is harmless: options are never used twice.
struct Terminate(Arc<RunOptions>);

impl Drop for Terminate {
    fn drop(&mut self) {
        // The only error is a library without this function, which every version has.
        let _ = self.0.terminate();
    }
}

/// The allocator keeps a dropped session's pages for later; an idle host has no later.
pub(super) fn give_memory_back() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: malloc_trim(3) takes no pointers, locks what it touches, and may be called from any thread at any time.
    #[expect(unsafe_code, reason = "the allocator has no safe interface for it")]
    unsafe {
        libc::malloc_trim(0);
    }
}

#[cfg(test)]
mod tests;
