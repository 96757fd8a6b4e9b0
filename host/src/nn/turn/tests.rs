use tokio::sync::oneshot;

use super::*;
use crate::nn::fixtures::{ALONE, CALLER, ENDLESS, PAIR, fp32, open, row, soon, until, working_row};
use crate::nn::job::Ticket;
use crate::nn::queue::Sharing;
use crate::tensor::Tensor;

type Answered = Result<Outputs, RunError>;

/// Two jobs that share a run if they may.
async fn pair(session: &Arc<Session>, one: Inputs, other: Inputs) -> (Answered, Answered) {
    tokio::join!(session.compute(&CALLER, PAIR, one), session.compute(&CALLER, PAIR, other))
}

/// A pair that shows whether rows are kept apart.
async fn telling_pair(session: &Arc<Session>) {
    let (one, other) = soon(pair(session, row([1.0, 2.0, 3.0], 2), row([4.0, 5.0, 6.0], 3))).await;
    assert_eq!(one.unwrap()[0].1, fp32(&[1, 3], &[2.0, 4.0, 6.0]));
    assert_eq!(other.unwrap()[0].1, fp32(&[1, 3], &[12.0, 15.0, 18.0]));
}

/// A pair that shows nothing: what is no number equals whatever else is none.
async fn silent_pair(session: &Arc<Session>) {
    let (one, other) = soon(pair(session, row([f32::NAN, 2.0, 3.0], 2), row([4.0, 5.0, 6.0], 3))).await;
    assert!(one.is_ok());
    assert_eq!(other.unwrap()[0].1, fp32(&[1, 3], &[12.0, 15.0, 18.0]));
}

#[tokio::test]
async fn a_trial_with_what_is_no_number_decides_nothing() {
    let session = open("rows.onnx").await;
    silent_pair(&session).await;
    assert_eq!((session.batching(), session.runs()), (Batching::Untried, (2, 2)));
    telling_pair(&session).await;
    assert_eq!((session.batching(), session.runs()), (Batching::On, (3, 4)));
}

#[tokio::test]
async fn after_sixteen_trials_that_showed_nothing_requests_are_left_alone() {
    let session = open("rows.onnx").await;
    for trials in 0..16 {
        assert_eq!(session.batching(), Batching::Untried, "after {trials} trials");
        silent_pair(&session).await;
    }
    assert_eq!(session.batching(), Batching::Undecided);
    soon(session.compute(&CALLER, PAIR, row([1.0; 3], 1))).await.expect("it waits for nobody");
    telling_pair(&session).await;
    assert_eq!((session.batching(), session.runs()), (Batching::Undecided, (35, 35)));
}

#[tokio::test]
async fn a_trial_whose_callers_have_gone_decides_nothing() {
    let session = open("rows.onnx").await;
    let endless = || working_row(fp32(&[1, 3], &[1.0; 3]), 1, ENDLESS);
    let mut both = Box::pin(pair(&session, endless(), endless()));
    until(&session, (0, 2), &mut both).await;
    drop(both);
    // When this one is answered the trial is over.
    soon(session.compute(&CALLER, ALONE, row([1.0; 3], 1))).await.unwrap();
    assert_eq!((session.batching(), session.jobs(), session.runs()), (Batching::Untried, (0, 0), (1, 1)));
    telling_pair(&session).await;
    assert_eq!(session.batching(), Batching::On);
}

#[tokio::test]
async fn a_crash_inside_a_batch_is_an_error_for_each_of_its_jobs_and_for_nobody_else() {
    let session = open("rows.onnx").await;
    session.state().batching = Batching::On;
    // They are said to be of one kind, and cannot be joined.
    let mut texts = row([1.0; 3], 1);
    texts[0].1 = Tensor::variable(vec![1, 3], [""; 3]).unwrap();
    let queue = |(id, inputs)| {
        let (answer, receiver) = oneshot::channel();
        let (id, ripe_at) = (JobId(id), Instant::now());
        let job = Job::new(inputs, Wish::Host(answer), Bill::default(), ripe_at);
        let sharing = Some(Sharing { kind: 7, rows: 1, max_rows: 2 });
        session.state().queue.push(CALLER.lane, Waiting { id, sharing, ripe_at, job });
        Ticket::new(&session, CALLER.lane, id, receiver)
    };
    let tickets = [(1000, row([1.0; 3], 1)), (1001, texts)].map(queue);
    let ort = session.state().idle.pop().expect("nobody else has it");
    Turn::new(&session, ort).work_elsewhere();
    for ticket in tickets {
        let answer = soon(ticket.outputs()).await;
        assert!(matches!(answer, Err(RunError::Ended)), "{answer:?}");
    }

    let outputs = soon(session.compute(&CALLER, ALONE, row([1.0, 2.0, 3.0], 2))).await.unwrap();
    assert_eq!(outputs[0].1, fp32(&[1, 3], &[2.0, 4.0, 6.0]));
    assert_eq!((session.jobs(), session.runs()), ((0, 0), (1, 1)));
}
