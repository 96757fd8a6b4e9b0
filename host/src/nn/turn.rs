//! A turn with one of a model's sessions: leave to run it, until nothing waits for it any more, and a moment longer after a
//! long run.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use ort::session::{RunOptions, Session as OrtSession};
use tokio::runtime::Handle;
use tokio::time::Instant;

use super::batch;
use super::improve::retire;
use super::job::{Answer, Inputs, Job, KeptOutputs, Outputs, Wish};
use super::queue::{JobId, Next, Waiting};
use super::run::{self, RunError, run};
use super::session::Session;
use super::trial::{self, Batching, Verdict};
use crate::telemetry::usage::Bill;

/// After a run of at least this length a turn lingers, since the next job often comes as soon as this one is answered. Jobs
/// that went round three threads took 3 % longer: what a thread has for itself has left the processor's cache by its turn.
const LONG: Duration = Duration::from_millis(1);
const LINGER: Duration = Duration::from_millis(10);

/// Whoever has it has the session of ONNX Runtime to itself.
pub(super) struct Turn {
    session: Arc<Session>,
    /// Taken out when it goes back.
    ort: Option<OrtSession>,
    lingers: bool,
}

impl Turn {
    pub(super) fn new(session: &Arc<Session>, ort: OrtSession) -> Self {
        Self { session: Arc::clone(session), ort: Some(ort), lingers: false }
    }

    /// One run on this thread, for inputs whose `shape` is quick.
    pub(super) fn run_here(mut self, inputs: &Inputs, shape: Option<u64>, bill: &Bill) -> Result<Outputs, RunError> {
        let started = Instant::now();
        let outputs = run(self.ort(), inputs, None);
        bill.waited(Duration::ZERO);
        self.ran(&[bill], shape, started.elapsed(), outputs.is_ok());
        self.hand_on();
        outputs
    }

    /// Gives the session back, or on to those who queued while this turn had it.
    fn hand_on(mut self) {
        let Some(ort) = self.ort.take() else { return };
        let state = self.session.state();
        if state.queue.is_empty() {
            Session::put_back(state, ort);
        } else {
            drop(state);
            Self::new(&self.session, ort).work_elsewhere();
        }
    }

    /// Serves what is queued, on a thread that may block.
    pub(super) fn work_elsewhere(self) {
        match Handle::try_current() {
            Ok(runtime) => drop(runtime.spawn_blocking(|| self.work())),
            // The host is going down; nobody waits.
            Err(_) => drop(self),
        }
    }

    fn work(mut self) {
        while let Ok(options) = RunOptions::new().map(Arc::new) {
            let Some(jobs) = self.next(&options) else { return };
            let ids = ids(&jobs);
            match catch_unwind(AssertUnwindSafe(|| self.serve(jobs, &options))) {
                Ok(replies) => {
                    self.finish(&ids);
                    replies.into_iter().for_each(Reply::send);
                }
                // The jobs are gone, and their callers know.
                Err(_) => self.finish(&ids),
            }
            if self.ort.is_none() {
                return;
            }
        }
        tracing::error!("ONNX Runtime has no memory for a run's options");
    }

    /// What to run next; waits while jobs wait for company. `None`: nothing is queued.
    fn next(&mut self, options: &Arc<RunOptions>) -> Option<Vec<Waiting<Job>>> {
        let session = Arc::clone(&self.session);
        let mut state = session.state();
        if let Some(gone) = self.ort.as_mut().and_then(|ort| state.improvement.exchange(ort)) {
            retire(gone);
        }
        let mut lingers = std::mem::take(&mut self.lingers);
        loop {
            let now = Instant::now();
            match state.queue.next(now) {
                Next::Run(jobs) => {
                    // Under the lock that it left the queue with: a caller who goes finds it here or there.
                    state.flights.begin(ids(&jobs), options);
                    drop(state);
                    for Waiting { job, .. } in &jobs {
                        self.session.metrics.queue_seconds.observe((now - job.queued_at).as_secs_f64());
                        job.bill.waited(now - job.queued_at);
                    }
                    return Some(jobs);
                }
                Next::Wait(until) => {
                    let wait = until.saturating_duration_since(now);
                    let woken = session.company.wait_timeout(state, wait);
                    state = woken.unwrap_or_else(PoisonError::into_inner).0;
                }
                Next::Empty if std::mem::take(&mut lingers) => {
                    let woken = session.company.wait_timeout(state, LINGER);
                    state = woken.unwrap_or_else(PoisonError::into_inner).0;
                }
                Next::Empty => {
                    // Under the same lock: who comes now finds it.
                    if let Some(ort) = self.ort.take() {
                        Session::put_back(state, ort);
                    }
                    return None;
                }
            }
        }
    }

    /// Runs the jobs together, or one by one where that is not to be or fails: one bad job never fails its neighbours. What
    /// is returned is still to be sent.
    fn serve(&mut self, jobs: Vec<Waiting<Job>>, options: &Arc<RunOptions>) -> Vec<Reply> {
        let together = if jobs.len() > 1 { self.run_together(&jobs, options) } else { None };
        match together {
            Some(outputs) => {
                let jobs = jobs.into_iter().map(|waiting| waiting.job);
                jobs.zip(outputs).map(|(job, outputs)| Reply::Host(job, Ok(outputs))).collect()
            }
            None if jobs.len() > 1 => {
                jobs.into_iter().for_each(|waiting| self.run_alone(waiting));
                Vec::new()
            }
            None => jobs.into_iter().map(|waiting| self.run_one(waiting.job, options)).collect(),
        }
    }

    /// The jobs were run. If nothing waits the session goes back, before they are answered: who has an answer often asks
    /// again at once, and is to find it free, or this turn lingering.
    fn finish(&mut self, ids: &[JobId]) {
        let mut state = self.session.state();
        state.flights.end(ids);
        if state.queue.is_empty()
            && !self.lingers
            && let Some(ort) = self.ort.take()
        {
            Session::put_back(state, ort);
        }
    }

    /// One job in a run of its own.
    fn run_one(&mut self, job: Job, options: &RunOptions) -> Reply {
        match job.wish {
            Wish::Kept { held, answer } => {
                let (started, session) = (Instant::now(), Arc::clone(&self.session));
                let outputs = run::run_keeping(self.ort(), &job.inputs, &held, &session, options);
                self.ran(&[&job.bill], None, started.elapsed(), outputs.is_ok());
                Reply::Kept(answer, outputs)
            }
            Wish::Host(_) => {
                let outputs = self.timed(&[&job.bill], self.session.shape(&job.inputs), &job.inputs, options);
                Reply::Host(job, outputs)
            }
        }
    }

    /// Each job's outputs; `None` when they have to be run one by one.
    fn run_together(&mut self, jobs: &[Waiting<Job>], options: &Arc<RunOptions>) -> Option<Vec<Outputs>> {
        let inputs: Vec<&Inputs> = jobs.iter().map(|waiting| &waiting.job.inputs).collect();
        if !self.may_share(&inputs, options) {
            return None;
        }
        let bills: Vec<&Bill> = jobs.iter().map(|waiting| &waiting.job.bill).collect();
        let outputs = self.timed(&bills, None, &batch::join(&inputs), options).ok()?;
        let rows: Vec<usize> = jobs.iter().filter_map(|waiting| waiting.sharing).map(|sharing| sharing.rows).collect();
        let parts = batch::part(&outputs, &rows);
        if parts.is_none() {
            self.session.refuse_batching(Batching::RowsInteract, "it gave other numbers of rows than it was given");
        }
        parts
    }

    /// Whether the model is known to keep rows apart; found out on the first that could share a run.
    fn may_share(&mut self, inputs: &[&Inputs], options: &Arc<RunOptions>) -> bool {
        match self.session.batching() {
            Batching::On => true,
            Batching::Impossible | Batching::Costly | Batching::RowsInteract | Batching::Undecided => false,
            Batching::Untried => match trial::keeps_rows_apart(self.ort(), inputs, options) {
                Verdict::Apart => {
                    self.session.state().batching = Batching::On;
                    true
                }
                Verdict::Interact => {
                    self.session
                        .refuse_batching(Batching::RowsInteract, "its answers depend on the other rows of a run");
                    false
                }
                Verdict::Unknown => {
                    // One that was broken off because its callers have gone says nothing, not even that it failed.
                    if self.session.state().flights.is_awaited(options) {
                        self.session.trial_failed();
                    }
                    false
                }
            },
        }
    }

    /// One job of a batch, in a run of its own.
    fn run_alone(&mut self, Waiting { id, job, .. }: Waiting<Job>) {
        match RunOptions::new().map(Arc::new) {
            // Its caller has gone.
            Ok(options) if !self.session.state().flights.alone(id, &options) => {}
            Ok(options) => {
                let reply = self.run_one(job, &options);
                self.session.state().flights.end(&[id]);
                reply.send();
            }
            Err(error) => {
                self.session.state().flights.end(&[id]);
                job.answer(Err(RunError::Failed(error.to_string())));
            }
        }
    }

    fn timed(
        &mut self,
        bills: &[&Bill],
        shape: Option<u64>,
        inputs: &Inputs,
        options: &RunOptions,
    ) -> Result<Outputs, RunError> {
        let started = Instant::now();
        let outputs = run(self.ort(), inputs, Some(options));
        let took = started.elapsed();
        self.lingers = took >= LONG;
        self.ran(bills, shape, took, outputs.is_ok());
        outputs
    }

    fn ran(&mut self, bills: &[&Bill], shape: Option<u64>, took: Duration, succeeded: bool) {
        if self.session.ran(bills, shape, took, succeeded) {
            let session = Arc::clone(&self.session);
            session.measure(self.ort());
        }
    }

    fn ort(&mut self) -> &mut OrtSession {
        self.ort.as_mut().expect("it is there while something is run")
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        // A turn ends by itself but where it could not begin: the host is going down, or has no memory.
        if let Some(ort) = self.ort.take() {
            Session::put_back(self.session.state(), ort);
        }
    }
}

/// What a job is to be answered.
enum Reply {
    Host(Job, Result<Outputs, RunError>),
    Kept(Answer<KeptOutputs>, Result<KeptOutputs, RunError>),
}

impl Reply {
    fn send(self) {
        match self {
            Self::Host(job, outputs) => job.answer(outputs),
            // The caller may have gone in the meantime; then nobody misses the answer.
            Self::Kept(answer, outputs) => drop(answer.send(outputs)),
        }
    }
}

fn ids(jobs: &[Waiting<Job>]) -> Vec<JobId> {
    jobs.iter().map(|waiting| waiting.id).collect()
}

#[cfg(test)]
mod tests;
