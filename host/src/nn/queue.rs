//! What waits for a session, and what goes into its next run.
//!
//! Pure: no ONNX Runtime, no threads, no clock of its own. Every caller (a live version's hold on the model) has a lane, and
//! lanes take turns: a function that queues a thousand jobs does not make another's wait for a thousand runs. The first job
//! of the lane whose turn it is begins a batch, unless it waits for company: then the next that does not. Jobs that may run
//! with it join, again one lane after the other.

use std::cell::LazyCell;
use std::collections::{HashMap, VecDeque};

use tokio::time::Instant;

/// Whose job it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct LaneId(pub(super) u64);

/// Which job it is, among all of its session's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct JobId(pub(super) u64);

/// With whom a job may share a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Sharing {
    /// Jobs of the same kind (all dimensions but the first agree) can run together.
    pub(super) kind: u64,
    /// What it adds to the first dimension.
    pub(super) rows: usize,
    /// The most rows of a run that it takes part in.
    pub(super) max_rows: usize,
}

/// A job in the queue.
#[derive(Debug)]
pub(super) struct Waiting<J> {
    pub(super) id: JobId,
    /// `None`: it runs alone.
    pub(super) sharing: Option<Sharing>,
    /// Until when it waits for others to join it; the moment it was queued for one that does not.
    pub(super) ripe_at: Instant,
    pub(super) job: J,
}

/// What there is to do now.
#[derive(Debug)]
pub(super) enum Next<J> {
    /// These run together; at least one.
    Run(Vec<Waiting<J>>),
    /// Nothing before this moment, unless another job comes.
    Wait(Instant),
    Empty,
}

/// The jobs of one session.
#[derive(Debug)]
pub(super) struct Queue<J> {
    /// In the order of their turns. A lane is there while it has jobs.
    lanes: VecDeque<Lane<J>>,
    length: usize,
}

#[derive(Debug)]
struct Lane<J> {
    id: LaneId,
    jobs: VecDeque<Waiting<J>>,
}

impl<J> Default for Queue<J> {
    fn default() -> Self {
        Self { lanes: VecDeque::new(), length: 0 }
    }
}

impl<J> Queue<J> {
    pub(super) fn len(&self) -> usize {
        self.length
    }

    pub(super) fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// Last in its lane.
    pub(super) fn push(&mut self, lane: LaneId, waiting: Waiting<J>) {
        self.length += 1;
        match self.lanes.iter_mut().find(|known| known.id == lane) {
            Some(known) => known.jobs.push_back(waiting),
            None => self.lanes.push_back(Lane { id: lane, jobs: VecDeque::from([waiting]) }),
        }
    }

    /// Takes a job out, wherever it is in its lane; `None` when it is not waiting (any more).
    pub(super) fn remove(&mut self, lane: LaneId, id: JobId) -> Option<J> {
        let at = self.lanes.iter().position(|known| known.id == lane)?;
        let jobs = &mut self.lanes[at].jobs;
        let job = jobs.iter().position(|waiting| waiting.id == id).and_then(|at| jobs.remove(at))?;
        self.length -= 1;
        if jobs.is_empty() {
            self.lanes.remove(at);
        }
        Some(job.job)
    }

    /// The next run: the first job, in the order of turns, that need not wait for company any more, and who may join it.
    pub(super) fn next(&mut self, now: Instant) -> Next<J> {
        let Some((at, place)) = self.ripe(now) else {
            let jobs = self.lanes.iter().flat_map(|lane| &lane.jobs);
            return jobs.map(|waiting| waiting.ripe_at).min().map_or(Next::Empty, Next::Wait);
        };
        // The lanes before it wait for company and keep their turn.
        let Some(mut lane) = self.lanes.remove(at) else { return Next::Empty };
        let Some(first) = lane.jobs.remove(place) else { return Next::Empty };
        let sharing = first.sharing;
        let mut batch = vec![first];
        // Behind the others: its turn is over. It may still join in what it began.
        self.lanes.push_back(lane);
        if let Some(sharing) = sharing {
            self.join(sharing, &mut batch);
        }
        self.lanes.retain(|lane| !lane.jobs.is_empty());
        self.length -= batch.len();
        Next::Run(batch)
    }

    /// Lane and place of the first job that has waited long enough, or has all the company it can have.
    fn ripe(&self, now: Instant) -> Option<(usize, usize)> {
        let rows = LazyCell::new(|| self.rows());
        let is_ripe = |waiting: &Waiting<J>| {
            let full = |sharing: Sharing| rows.get(&sharing.kind).is_some_and(|&rows| rows >= sharing.max_rows);
            waiting.ripe_at <= now || waiting.sharing.is_none_or(full)
        };
        self.lanes.iter().enumerate().find_map(|(at, lane)| {
            let place = lane.jobs.iter().position(is_ripe)?;
            let Some(Sharing { kind, .. }) = lane.jobs[place].sharing else { return Some((at, place)) };
            // Those of a kind keep their order.
            let akin = |waiting: &Waiting<J>| waiting.sharing.is_some_and(|sharing| sharing.kind == kind);
            Some((at, lane.jobs.iter().position(akin)?))
        })
    }

    /// The rows that wait, by kind.
    fn rows(&self) -> HashMap<u64, usize> {
        let mut rows = HashMap::new();
        for sharing in self.lanes.iter().flat_map(|lane| &lane.jobs).filter_map(|waiting| waiting.sharing) {
            *rows.entry(sharing.kind).or_default() += sharing.rows;
        }
        rows
    }

    /// Fills a batch with jobs of the same kind, one of each lane in turn.
    fn join(&mut self, first: Sharing, batch: &mut Vec<Waiting<J>>) {
        let (mut rows, mut room) = (first.rows, first.max_rows);
        // How far each lane was looked through: what did not fit once does not fit later.
        let mut looked = vec![0; self.lanes.len()];
        loop {
            let before = batch.len();
            for (lane, looked) in self.lanes.iter_mut().zip(&mut looked) {
                let fits = |waiting: &Waiting<J>| {
                    waiting.sharing.filter(|sharing| {
                        sharing.kind == first.kind && rows.saturating_add(sharing.rows) <= room.min(sharing.max_rows)
                    })
                };
                let found = (*looked..lane.jobs.len()).find_map(|at| Some((at, fits(&lane.jobs[at])?)));
                let Some((at, sharing)) = found else {
                    *looked = lane.jobs.len();
                    continue;
                };
                *looked = at;
                rows += sharing.rows;
                room = room.min(sharing.max_rows);
                batch.extend(lane.jobs.remove(at));
            }
            if batch.len() == before || rows >= room {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests;
