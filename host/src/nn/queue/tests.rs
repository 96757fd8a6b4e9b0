use std::time::Duration;

use super::*;
use proptest::prelude::*;

const A: LaneId = LaneId(1);
const B: LaneId = LaneId(2);

fn waiting(id: u64, kind: u64, max_rows: usize, ripe_at: Instant) -> Waiting<u64> {
    Waiting { id: JobId(id), sharing: Some(Sharing { kind, rows: 1, max_rows }), ripe_at, job: id }
}

fn alone(id: u64, now: Instant) -> Waiting<u64> {
    Waiting { id: JobId(id), sharing: None, ripe_at: now, job: id }
}

/// The jobs of the next run, in the order they are in it.
fn run(queue: &mut Queue<u64>, now: Instant) -> Vec<u64> {
    match queue.next(now) {
        Next::Run(batch) => batch.into_iter().map(|waiting| waiting.job).collect(),
        Next::Wait(_) | Next::Empty => Vec::new(),
    }
}

#[test]
fn what_fits_together_runs_together_up_to_the_limit() {
    let now = Instant::now();
    let mut queue = Queue::default();
    for id in 0..5 {
        queue.push(A, waiting(id, 7, 3, now));
    }
    queue.push(A, waiting(5, 8, 3, now));
    assert_eq!(run(&mut queue, now), [0, 1, 2]);
    assert_eq!(run(&mut queue, now), [3, 4]);
    assert_eq!(run(&mut queue, now), [5]);
    assert!(matches!(queue.next(now), Next::Empty));
}

#[test]
fn one_that_runs_alone_takes_nobody_with_it() {
    let now = Instant::now();
    let mut queue = Queue::default();
    queue.push(A, alone(0, now));
    queue.push(A, waiting(1, 7, 8, now));
    queue.push(A, alone(2, now));
    queue.push(A, waiting(3, 7, 8, now));
    assert_eq!(run(&mut queue, now), [0]);
    assert_eq!(run(&mut queue, now), [1, 3]);
    assert_eq!(run(&mut queue, now), [2]);
}

#[test]
fn lanes_take_turns() {
    let now = Instant::now();
    let mut queue = Queue::default();
    for id in 0..4 {
        queue.push(A, alone(id, now));
    }
    queue.push(B, alone(10, now));
    let order: Vec<u64> = (0..5).flat_map(|_| run(&mut queue, now)).collect();
    assert_eq!(order, [0, 10, 1, 2, 3], "B's only job waits for one of A's four");
}

#[test]
fn a_batch_has_room_for_every_lane() {
    let now = Instant::now();
    let mut queue = Queue::default();
    for id in 0..8 {
        queue.push(A, waiting(id, 7, 4, now));
    }
    queue.push(B, waiting(10, 7, 4, now));
    queue.push(B, waiting(11, 7, 4, now));
    assert_eq!(run(&mut queue, now), [0, 10, 1, 11]);
}

#[test]
fn the_smallest_limit_of_a_batch_holds() {
    let now = Instant::now();
    let mut queue = Queue::default();
    queue.push(A, waiting(0, 7, 64, now));
    queue.push(A, waiting(1, 7, 2, now));
    queue.push(A, waiting(2, 7, 64, now));
    assert_eq!(run(&mut queue, now), [0, 1]);
    assert_eq!(run(&mut queue, now), [2]);
}

#[test]
fn waiting_for_company_ends_with_the_delay_or_a_full_batch() {
    let now = Instant::now();
    let later = now + Duration::from_millis(5);
    let mut queue = Queue::default();
    queue.push(A, waiting(0, 7, 2, later));
    assert!(matches!(queue.next(now), Next::Wait(at) if at == later));
    // Another kind of job does not wait behind it.
    queue.push(A, waiting(1, 8, 2, later));
    queue.push(B, alone(2, now));
    assert_eq!(run(&mut queue, now), [2]);
    queue.push(B, waiting(3, 7, 2, later));
    assert_eq!(run(&mut queue, now), [0, 3], "full before its time");
    assert_eq!(run(&mut queue, later), [1]);
}

#[test]
fn nobody_waits_for_the_company_of_another_job_of_the_lane() {
    let now = Instant::now();
    let [soon, later] = [1, 5].map(|ms| now + Duration::from_millis(ms));
    let mut queue = Queue::default();
    queue.push(A, waiting(0, 7, 8, later));
    queue.push(A, alone(1, now));
    assert_eq!(run(&mut queue, now), [1]);
    queue.push(A, waiting(2, 8, 8, now));
    assert_eq!(run(&mut queue, now), [2], "its kind is another");
    queue.push(A, waiting(3, 9, 2, later));
    queue.push(A, waiting(4, 9, 2, later));
    assert_eq!(run(&mut queue, now), [3, 4], "full before its time");
    queue.push(A, waiting(5, 6, 8, soon));
    assert!(matches!(queue.next(now), Next::Wait(at) if at == soon));
    assert_eq!(run(&mut queue, soon), [5]);
    assert_eq!(run(&mut queue, later), [0]);
}

#[test]
fn jobs_of_a_kind_keep_their_order() {
    let now = Instant::now();
    let mut queue = Queue::default();
    queue.push(A, waiting(0, 7, 8, now + Duration::from_millis(5)));
    queue.push(A, waiting(1, 7, 8, now));
    assert_eq!(run(&mut queue, now), [0, 1]);
}

#[test]
fn a_removed_job_is_gone() {
    let now = Instant::now();
    let mut queue = Queue::default();
    queue.push(A, waiting(0, 7, 8, now));
    queue.push(A, waiting(1, 7, 8, now));
    assert_eq!(queue.remove(A, JobId(0)), Some(0));
    assert_eq!(queue.remove(A, JobId(0)), None);
    assert_eq!(queue.len(), 1);
    assert_eq!(run(&mut queue, now), [1]);
    assert_eq!(queue.remove(A, JobId(1)), None);
    assert!(queue.is_empty());
}

proptest! {
    /// Whatever is queued runs exactly once, in runs that are of one kind and keep everybody's limit.
    #[test]
    fn every_job_runs_once_and_within_its_limits(
        jobs in proptest::collection::vec((0u64..4, 0u64..3, 1usize..5, 1usize..9, any::<bool>(), 0u64..4), 0..60),
        removed in proptest::collection::vec(0usize..60, 0..10),
    ) {
        let mut now = Instant::now();
        let mut queue = Queue::default();
        let mut expected: Vec<usize> = Vec::new();
        for (id, &(lane, kind, rows, max_rows, shares, delay)) in jobs.iter().enumerate() {
            let sharing = shares.then_some(Sharing { kind, rows, max_rows });
            let ripe_at = if shares { now + Duration::from_millis(delay) } else { now };
            queue.push(LaneId(lane), Waiting { id: JobId(id as u64), sharing, ripe_at, job: id });
            expected.push(id);
        }
        for at in removed {
            let was_there = expected.contains(&at);
            if let Some(&(lane, ..)) = jobs.get(at) {
                prop_assert_eq!(queue.remove(LaneId(lane), JobId(at as u64)).is_some(), was_there);
                expected.retain(|&id| id != at);
            }
        }
        prop_assert_eq!(queue.len(), expected.len());
        let mut ran = Vec::new();
        loop {
            let batch = match queue.next(now) {
                Next::Run(batch) => batch,
                Next::Wait(until) => {
                    prop_assert!(until > now);
                    now = until;
                    continue;
                }
                Next::Empty => break,
            };
            let rows: usize = batch.iter().filter_map(|waiting| waiting.sharing).map(|sharing| sharing.rows).sum();
            if batch.len() > 1 {
                let kind = batch[0].sharing.map(|sharing| sharing.kind);
                for waiting in &batch {
                    let sharing = waiting.sharing.expect("one that runs alone is alone");
                    prop_assert_eq!(Some(sharing.kind), kind);
                    prop_assert!(rows <= sharing.max_rows);
                }
            }
            ran.extend(batch.into_iter().map(|waiting| waiting.job));
        }
        ran.sort_unstable();
        prop_assert_eq!(ran, expected);
        prop_assert!(queue.is_empty());
    }
}
