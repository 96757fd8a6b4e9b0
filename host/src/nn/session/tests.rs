use std::time::Duration;

use bytes::Bytes;

use super::*;
use crate::nn::fixtures::{ALONE, CALLER, ENDLESS, PAIR, fp32, open, row, soon, working_row};
use crate::tensor::{Datatype, Tensor};

#[tokio::test]
async fn a_shape_that_only_failed_is_not_known_to_be_quick() {
    let session = open("addsub.onnx").await;
    let input = |name: &str, rows: usize| {
        let tensor = Tensor::fixed(Datatype::Int32, vec![rows, 16], Bytes::from(vec![0; rows * 64])).unwrap();
        (name.to_owned(), tensor)
    };
    // Each fits, but not the other.
    let inputs = vec![input("INPUT0", 2), input("INPUT1", 3)];
    let shape = session.shape(&inputs).expect("its work follows from it");
    // The first run of a session takes longer than others.
    for _ in 0..32 {
        let error = session.compute(&CALLER, ALONE, inputs.clone()).await.unwrap_err();
        assert!(matches!(error, RunError::Failed(_)), "{error:?}");
        assert!(!session.state().quick.has(shape));
    }
    // Nor does one that was run where it was asked for hide a failure.
    session.state().quick.saw(shape, Duration::ZERO, true);
    let error = session.compute(&CALLER, ALONE, inputs).await.unwrap_err();
    assert!(matches!(error, RunError::Failed(_)), "{error:?}");
    assert_eq!((session.runs(), session.jobs()), ((33, 33), (0, 0)));
}

#[tokio::test]
async fn a_job_with_an_input_that_may_be_left_out_waits_for_nobody() {
    let session = open("optional_input.onnx").await;
    let x = |value: f32| vec![("x".to_owned(), fp32(&[1], &[value]))];
    let with = [x(3.0), vec![("scale".to_owned(), fp32(&[1], &[10.0]))]].concat();
    let outputs = soon(session.compute(&CALLER, PAIR, with)).await.unwrap();
    assert_eq!(outputs[0].1, fp32(&[1], &[30.0]));

    let both = async { tokio::join!(session.compute(&CALLER, PAIR, x(1.0)), session.compute(&CALLER, PAIR, x(2.0))) };
    let (one, other) = soon(both).await;
    assert_eq!((&one.unwrap()[0].1, &other.unwrap()[0].1), (&fp32(&[1], &[2.0]), &fp32(&[1], &[4.0])));
    assert_eq!(session.runs(), (2, 3), "those without it shared a run");
}

/// A tensor's bytes, and who has them.
struct Counted {
    bytes: Vec<u8>,
    _holder: Arc<()>,
}

impl AsRef<[u8]> for Counted {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

#[tokio::test]
async fn a_thousand_callers_who_leave_take_their_tensors_with_them() {
    let session = open("rows.onnx").await;
    let holders = Arc::new(());
    // Eight are in a run that never ends, the others wait for theirs.
    let policy = Policy { max_rows: 8, ..PAIR };
    let call = |_| {
        let bytes = Bytes::from_owner(Counted { bytes: vec![0; 12], _holder: Arc::clone(&holders) });
        let x = Tensor::fixed(Datatype::Fp32, vec![1, 3], bytes).unwrap();
        let session = Arc::clone(&session);
        tokio::spawn(async move { session.compute(&CALLER, policy, working_row(x, 1, ENDLESS)).await })
    };
    let callers: Vec<_> = (0..1000).map(call).collect();
    let all = async {
        while session.jobs() != (992, 8) {
            tokio::task::yield_now().await;
        }
    };
    soon(all).await;
    assert!(Arc::strong_count(&holders) > 1000);

    callers.iter().for_each(tokio::task::JoinHandle::abort);
    let none = async {
        while session.jobs() != (0, 0) || Arc::strong_count(&holders) > 1 {
            tokio::task::yield_now().await;
        }
    };
    soon(none).await;
    let outputs = soon(session.compute(&CALLER, ALONE, row([1.0, 2.0, 3.0], 2))).await.unwrap();
    assert_eq!(outputs[0].1, fp32(&[1, 3], &[2.0, 4.0, 6.0]));
}
