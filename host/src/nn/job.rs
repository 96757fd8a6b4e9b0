//! One caller's wish to run a model: what the queue holds, and what the caller waits with.
//!
//! A job ends by being answered or by being given up: dropping the caller's `Ticket` takes a waiting job out of the queue,
//! inputs and all, and terminates a run that nobody else waits for. So a deadline or a closed connection needs nothing
//! but a drop.

use std::sync::Arc;

use ort::session::RunOptions;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::held::{AnyTensor, Held};
use super::queue::{JobId, LaneId};
use super::run::RunError;
use super::session::Session;
use crate::telemetry::Usage;
use crate::telemetry::usage::Bill;
use crate::tensor::Tensor;

/// Inputs under their names, in the model's order.
pub type Inputs = Vec<(String, Tensor)>;

/// Outputs under their names, in the model's order.
pub type Outputs = Vec<(String, Tensor)>;

/// What the queue holds.
#[derive(Debug)]
pub(super) struct Job {
    /// They were checked against the model.
    pub(super) inputs: Inputs,
    pub(super) queued_at: Instant,
    pub(super) wish: Wish,
    pub(super) bill: Bill,
}

/// Whose jobs they are.
#[derive(Debug, Clone)]
pub(super) struct Caller {
    pub(super) lane: LaneId,
    /// `None`: nobody counts.
    pub(super) usage: Option<Arc<Usage>>,
}

/// Where the caller wants the outputs.
#[derive(Debug)]
pub(super) enum Wish {
    /// In the host's memory.
    Host(Answer<Outputs>),
    /// On the device, if the job has a run of its own.
    Kept {
        /// Inputs beside [`Job::inputs`], which lie there already.
        held: Vec<(String, Held)>,
        answer: Answer<KeptOutputs>,
    },
}

/// Outputs of which some lie on a device.
pub type KeptOutputs = Vec<(String, AnyTensor)>;

pub(super) type Answer<T> = oneshot::Sender<Result<T, RunError>>;

/// What the caller waits with.
pub(super) struct Ticket<T> {
    answer: oneshot::Receiver<Result<T, RunError>>,
    session: Arc<Session>,
    lane: LaneId,
    id: JobId,
    answered: bool,
}

impl Caller {
    /// What a job of these inputs counts for, whose rows are to be counted or not.
    pub(super) fn bill(&self, by_rows: bool, inputs: &Inputs) -> Bill {
        let rows = inputs.first().filter(|_| by_rows).and_then(|(_, tensor)| tensor.shape().first());
        Bill { usage: self.usage.clone(), rows: rows.map_or(1, |&rows| rows as u64) }
    }
}

impl Job {
    pub(super) fn new(inputs: Inputs, wish: Wish, bill: Bill, now: Instant) -> Self {
        Self { inputs, queued_at: now, wish, bill }
    }

    /// Whether others may be in its run: what they would put together lies in the host's memory.
    pub(super) fn may_share(&self) -> bool {
        match &self.wish {
            Wish::Host(_) => true,
            Wish::Kept { held, .. } => held.is_empty(),
        }
    }

    /// Outputs in the host's memory, or why there are none. The caller may have gone in the meantime; then nobody misses
    /// the answer.
    pub(super) fn answer(self, outputs: Result<Outputs, RunError>) {
        match self.wish {
            Wish::Host(answer) => drop(answer.send(outputs)),
            Wish::Kept { answer, .. } => {
                let kept = |outputs: Outputs| outputs.into_iter().map(|(name, output)| (name, output.into())).collect();
                drop(answer.send(outputs.map(kept)));
            }
        }
    }
}

impl<T> Ticket<T> {
    pub(super) fn new(
        session: &Arc<Session>,
        lane: LaneId,
        id: JobId,
        answer: oneshot::Receiver<Result<T, RunError>>,
    ) -> Self {
        Self { answer, session: Arc::clone(session), lane, id, answered: false }
    }

    pub(super) async fn outputs(mut self) -> Result<T, RunError> {
        let answer = (&mut self.answer).await;
        self.answered = true;
        answer.unwrap_or(Err(RunError::Ended))
    }
}

impl<T> Drop for Ticket<T> {
    fn drop(&mut self) {
        if !self.answered {
            self.session.give_up(self.lane, self.id);
        }
    }
}

/// The runs that are going on, and for whom.
#[derive(Default)]
pub(super) struct Flights(Vec<Flight>);

struct Flight {
    /// Who still waits for it.
    jobs: Vec<JobId>,
    options: Arc<RunOptions>,
}

impl Flights {
    pub(super) fn begin(&mut self, jobs: Vec<JobId>, options: &Arc<RunOptions>) {
        self.0.push(Flight { jobs, options: Arc::clone(options) });
    }

    /// The job goes on in a run of its own; false when its caller has gone.
    pub(super) fn alone(&mut self, job: JobId, options: &Arc<RunOptions>) -> bool {
        let there = self.leave(job).is_some();
        if there {
            self.begin(vec![job], options);
        }
        there
    }

    /// The job's caller has gone. A run that nobody waits for is terminated.
    pub(super) fn give_up(&mut self, job: JobId) {
        if let Some(flight) = self.leave(job)
            && flight.jobs.is_empty()
        {
            // The only error is a library without this function, which every version has.
            let _ = flight.options.terminate();
        }
    }

    /// Whether anybody still waits for the run.
    pub(super) fn is_awaited(&self, options: &Arc<RunOptions>) -> bool {
        self.0.iter().any(|flight| Arc::ptr_eq(&flight.options, options) && !flight.jobs.is_empty())
    }

    /// The jobs were run.
    pub(super) fn end(&mut self, jobs: &[JobId]) {
        for flight in &mut self.0 {
            flight.jobs.retain(|job| !jobs.contains(job));
        }
        self.0.retain(|flight| !flight.jobs.is_empty());
    }

    /// How many jobs are being run.
    pub(super) fn len(&self) -> usize {
        self.0.iter().map(|flight| flight.jobs.len()).sum()
    }

    fn leave(&mut self, job: JobId) -> Option<&mut Flight> {
        let flight = self.0.iter_mut().find(|flight| flight.jobs.contains(&job))?;
        flight.jobs.retain(|other| *other != job);
        Some(flight)
    }
}
