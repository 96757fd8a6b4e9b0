//! A turn with one of a model's sessions: leave to run it, until nothing waits for it any more.

use std::sync::{Arc, PoisonError};

use ort::session::{RunOptions, Session as OrtSession};
use tokio::runtime::Handle;
use tokio::time::Instant;

use super::job::{Inputs, Job, Outputs, Wish};
use super::queue::{JobId, Next, Waiting};
use super::run::{self, RunError, run};
use super::session::{Batching, Session};
use super::{batch, trial};

/// Whoever has it has the session of ONNX Runtime to itself. That goes back when this is dropped, or on to those who
/// queued meanwhile.
pub(super) struct Turn {
    session: Arc<Session>,
    /// Taken out when it goes back.
    ort: Option<OrtSession>,
}

impl Turn {
    pub(super) fn new(session: &Arc<Session>, ort: OrtSession) -> Self {
        Self { session: Arc::clone(session), ort: Some(ort) }
    }

    /// One run on this thread, for inputs whose `shape` is quick.
    pub(super) fn run_here(mut self, inputs: &Inputs, shape: Option<u64>) -> Result<Outputs, RunError> {
        let started = Instant::now();
        let outputs = run(self.ort(), inputs, None);
        self.session.ran(1, shape, started.elapsed());
        outputs
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
            self.serve(jobs, &options);
        }
        tracing::error!("ONNX Runtime has no memory for a run's options");
    }

    /// What to run next; waits while jobs wait for company. `None`: nothing is queued.
    fn next(&self, options: &Arc<RunOptions>) -> Option<Vec<Waiting<Job>>> {
        let mut state = self.session.state();
        loop {
            let now = Instant::now();
            match state.queue.next(now) {
                Next::Run(jobs) => {
                    // Under the lock that it left the queue with: a caller who goes finds it here or there.
                    state.flights.begin(ids(&jobs), options);
                    return Some(jobs);
                }
                Next::Wait(until) => {
                    let wait = until.saturating_duration_since(now);
                    let woken = self.session.company.wait_timeout(state, wait);
                    state = woken.unwrap_or_else(PoisonError::into_inner).0;
                }
                Next::Empty => return None,
            }
        }
    }

    /// Runs the jobs together, or one by one where that is not to be or fails: one bad job never fails its neighbours.
    fn serve(&mut self, jobs: Vec<Waiting<Job>>, options: &Arc<RunOptions>) {
        if jobs.len() > 1 {
            match self.run_together(&jobs, options) {
                Some(outputs) => {
                    self.session.state().flights.end(&ids(&jobs));
                    jobs.into_iter().zip(outputs).for_each(|(waiting, outputs)| waiting.job.answer(Ok(outputs)));
                }
                None => jobs.into_iter().for_each(|waiting| self.run_alone(waiting)),
            }
        } else if let Some(Waiting { id, job, .. }) = jobs.into_iter().next() {
            self.serve_one(id, job, options);
        }
    }

    /// One job in a run of its own.
    fn serve_one(&mut self, id: JobId, job: Job, options: &RunOptions) {
        let Job { inputs, wish, .. } = job;
        match wish {
            Wish::Host(answer) => {
                let outputs = self.timed(1, self.session.shape(&inputs), &inputs, options);
                self.session.state().flights.end(&[id]);
                // The caller may have gone in the meantime; then nobody misses the answer.
                drop(answer.send(outputs));
            }
            Wish::Kept { held, answer } => {
                let started = Instant::now();
                let session = Arc::clone(&self.session);
                let outputs = run::run_keeping(self.ort(), &inputs, &held, &session, options);
                session.ran(1, None, started.elapsed());
                session.state().flights.end(&[id]);
                drop(answer.send(outputs));
            }
        }
    }

    /// Each job's outputs; `None` when they have to be run one by one.
    fn run_together(&mut self, jobs: &[Waiting<Job>], options: &RunOptions) -> Option<Vec<Outputs>> {
        let inputs: Vec<&Inputs> = jobs.iter().map(|waiting| &waiting.job.inputs).collect();
        if !self.may_share(&inputs, options) {
            return None;
        }
        let outputs = self.timed(jobs.len(), None, &batch::join(&inputs), options).ok()?;
        let rows: Vec<usize> = jobs.iter().filter_map(|waiting| waiting.sharing).map(|sharing| sharing.rows).collect();
        let parts = batch::part(&outputs, &rows);
        if parts.is_none() {
            self.session.refuse_batching("it gave other numbers of rows than it was given");
        }
        parts
    }

    /// Whether the model is known to keep rows apart; found out on the first that could share a run.
    fn may_share(&mut self, inputs: &[&Inputs], options: &RunOptions) -> bool {
        match self.session.batching() {
            Batching::On => true,
            Batching::Impossible | Batching::RowsInteract => false,
            Batching::Untried => match trial::keeps_rows_apart(self.ort(), inputs, options) {
                Some(true) => {
                    self.session.state().batching = Batching::On;
                    true
                }
                Some(false) => {
                    self.session.refuse_batching("its answers depend on the other rows of a run");
                    false
                }
                None => false,
            },
        }
    }

    /// One job of a batch, in a run of its own.
    fn run_alone(&mut self, Waiting { id, job, .. }: Waiting<Job>) {
        match RunOptions::new().map(Arc::new) {
            // Its caller has gone.
            Ok(options) if !self.session.state().flights.alone(id, &options) => {}
            Ok(options) => self.serve_one(id, job, &options),
            Err(error) => {
                self.session.state().flights.end(&[id]);
                job.answer(Err(RunError::Failed(error.to_string())));
            }
        }
    }

    fn timed(
        &mut self,
        jobs: usize,
        shape: Option<u64>,
        inputs: &Inputs,
        options: &RunOptions,
    ) -> Result<Outputs, RunError> {
        let started = Instant::now();
        let outputs = run(self.ort(), inputs, Some(options));
        self.session.ran(jobs, shape, started.elapsed());
        outputs
    }

    fn ort(&mut self) -> &mut OrtSession {
        self.ort.as_mut().expect("it is there until the drop")
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let Some(ort) = self.ort.take() else { return };
        let mut state = self.session.state();
        // What came since this turn last looked at the queue found no idle session.
        if state.queue.is_empty() || Handle::try_current().is_err() {
            state.idle.push(ort);
        } else {
            drop(state);
            Self::new(&self.session, ort).work_elsewhere();
        }
    }
}

fn ids(jobs: &[Waiting<Job>]) -> Vec<JobId> {
    jobs.iter().map(|waiting| waiting.id).collect()
}
