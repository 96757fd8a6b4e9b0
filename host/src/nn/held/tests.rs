//! What stays on a device, with the host's memory for the device: the binding is the same, a GPU is not needed.

use std::time::Duration;

use bytes::Bytes;

use super::*;
use crate::nn::fixtures::{ALONE, CALLER, ENDLESS, fp32, int64, open, row, soon, until};
use crate::nn::job::Inputs;
use crate::nn::run::RunError;
use crate::nn::session::Policy;
use crate::nn::trial::Batching;
use crate::nn::{Model, batch};
use crate::tensor::Storage;

fn named(name: &str, tensor: impl Into<AnyTensor>) -> Vec<(String, AnyTensor)> {
    vec![(name.to_owned(), tensor.into())]
}

fn any(inputs: Inputs) -> Vec<(String, AnyTensor)> {
    inputs.into_iter().map(|(name, tensor)| (name, tensor.into())).collect()
}

/// The only output, which stayed.
fn held(outputs: Vec<(String, AnyTensor)>) -> Held {
    match outputs.into_iter().next() {
        Some((_, AnyTensor::Held(held))) => held,
        other => panic!("not on the device: {other:?}"),
    }
}

#[tokio::test]
async fn what_stays_is_what_a_plain_run_gives_and_can_be_read_again() {
    let session = open("rows.onnx").await;
    let plain = session.compute(&CALLER, ALONE, row([1.0, 2.0, 3.0], 2)).await.unwrap();
    let kept = session.compute_keeping(&CALLER, ALONE, any(row([1.0, 2.0, 3.0], 2))).await.unwrap();
    let (name, tensor) = &kept[0];
    assert_eq!((name.as_str(), tensor.datatype(), tensor.shape()), ("y", Datatype::Fp32, &[1, 3][..]));
    assert_eq!(tensor.size_bytes(), 12);
    let kept = held(kept);
    assert_eq!(kept.fetch().await.unwrap(), plain[0].1);
    assert_eq!(kept.fetch().await.unwrap(), plain[0].1);
    assert_eq!(session.runs(), (2, 2));
}

#[tokio::test]
async fn every_type_that_can_stay_comes_back() {
    let all = [
        (Datatype::Bool, "bool"),
        (Datatype::Uint8, "uint8"),
        (Datatype::Uint16, "uint16"),
        (Datatype::Uint32, "uint32"),
        (Datatype::Uint64, "uint64"),
        (Datatype::Int8, "int8"),
        (Datatype::Int16, "int16"),
        (Datatype::Int32, "int32"),
        (Datatype::Int64, "int64"),
        (Datatype::Fp16, "float16"),
        (Datatype::Fp32, "float"),
        (Datatype::Fp64, "double"),
    ];
    for (datatype, file) in all {
        let session = open(&format!("identity_{file}.onnx")).await;
        // Each byte is a BOOL.
        let bytes = Bytes::from([1, 0, 0, 1].repeat(2 * datatype.size_bytes().unwrap()));
        let length = bytes.len() / datatype.size_bytes().unwrap();
        for (shape, bytes) in [(vec![1, length], bytes), (vec![0, 3], Bytes::new())] {
            let tensor = Tensor::fixed(datatype, shape, bytes).unwrap();
            let kept = session.compute_keeping(&CALLER, ALONE, named("input", tensor.clone())).await.unwrap();
            assert_eq!(held(kept).fetch().await.unwrap(), tensor);
        }
    }
}

#[tokio::test]
async fn what_cannot_stay_is_at_the_host_at_once() {
    let texts = Tensor::variable(vec![1, 2], ["one", "two"]).unwrap();
    let halves = Tensor::fixed(Datatype::Bf16, vec![1, 2], Bytes::from_static(&[1, 2, 3, 4])).unwrap();
    for (model, tensor) in [("identity_string.onnx", texts), ("identity_bfloat16.onnx", halves)] {
        let session = open(model).await;
        let outputs = session.compute_keeping(&CALLER, ALONE, named("input", tensor.clone())).await.unwrap();
        assert!(matches!(&outputs[0].1, AnyTensor::Host(output) if *output == tensor), "{outputs:?}");
    }
}

#[tokio::test]
async fn outputs_go_into_the_next_run_as_they_are() {
    let (rows, identity, sum) =
        (open("rows.onnx").await, open("identity_float.onnx").await, open("identity_float.onnx").await);
    let first = held(rows.compute_keeping(&CALLER, ALONE, any(row([1.0, 2.0, 3.0], 5))).await.unwrap());
    let second = held(identity.compute_keeping(&CALLER, ALONE, named("input", first.clone())).await.unwrap());
    // The first may go before what was made of it.
    drop((first, rows));
    let third = held(sum.compute_keeping(&CALLER, ALONE, named("input", second)).await.unwrap());
    assert_eq!(third.fetch().await.unwrap(), fp32(&[1, 3], &[5.0, 10.0, 15.0]));
    // Beside inputs of the host's.
    let again = open("rows.onnx").await;
    let mut inputs = any(row([0.0; 3], 2));
    inputs[0].1 = third.into();
    let fourth = held(again.compute_keeping(&CALLER, ALONE, inputs).await.unwrap());
    assert_eq!(fourth.fetch().await.unwrap(), fp32(&[1, 3], &[10.0, 20.0, 30.0]));
}

#[tokio::test]
async fn a_model_that_runs_elsewhere_gets_it_through_the_hosts_memory() {
    let first = open("rows.onnx").await;
    let kept = held(first.compute_keeping(&CALLER, ALONE, any(row([1.0, 2.0, 3.0], 2))).await.unwrap());
    let model = Model::new("identity", open("identity_float.onnx").await, ALONE, None);
    let outputs = model.compute_keeping(named("input", kept.clone())).await.unwrap();
    assert!(matches!(&outputs[0].1, AnyTensor::Host(tensor) if *tensor == fp32(&[1, 3], &[2.0, 4.0, 6.0])));
    let error = model.compute_keeping(named("output", kept)).await.unwrap_err().to_string();
    assert!(error.contains("has no input 'output'"), "{error}");
}

#[tokio::test]
async fn it_outlives_whoever_used_the_session() {
    let session = open("rows.onnx").await;
    let weak = Arc::downgrade(&session);
    let kept = held(session.compute_keeping(&CALLER, ALONE, any(row([1.0, 2.0, 3.0], 1))).await.unwrap());
    let clone = kept.clone();
    drop((session, kept));
    assert_eq!(clone.fetch().await.unwrap(), fp32(&[1, 3], &[1.0, 2.0, 3.0]));
    assert!(weak.strong_count() > 0);
    drop(clone);
    // The thread that ran it lets go after it has answered.
    let gone = async {
        while weak.strong_count() > 0 {
            tokio::task::yield_now().await;
        }
    };
    soon(gone).await;
}

#[tokio::test]
async fn a_later_run_does_not_write_over_it() {
    let session = open("rows.onnx").await;
    let mut all = Vec::new();
    for scale in 1..9 {
        all.push(held(session.compute_keeping(&CALLER, ALONE, any(row([1.0, 0.0, 2.0], scale))).await.unwrap()));
    }
    for (kept, scale) in all.iter().zip([1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0]) {
        assert_eq!(kept.fetch().await.unwrap(), fp32(&[1, 3], &[scale, 0.0, 2.0 * scale]));
    }
}

#[tokio::test]
async fn what_does_not_go_together_is_an_error_and_the_session_goes_on() {
    let session = open("rows.onnx").await;
    // The model takes 0 to 9.
    let error = session.compute_keeping(&CALLER, ALONE, any(row([1.0; 3], 77))).await.unwrap_err();
    assert!(matches!(error, RunError::Refused(_) | RunError::Failed(_)), "{error:?}");
    held(session.compute_keeping(&CALLER, ALONE, any(row([1.0; 3], 7))).await.unwrap());
}

#[tokio::test]
async fn a_run_that_nobody_waits_for_is_ended() {
    let session = open("slow.onnx").await;
    let run = |count| session.compute_keeping(&CALLER, ALONE, named("iterations", int64(&[count])));
    let mut endless = Box::pin(run(ENDLESS));
    until(&session, (0, 1), &mut endless).await;
    drop(endless);
    assert_eq!(held(run(1).await.unwrap()).fetch().await.unwrap(), fp32(&[1], &[64.0]));
}

/// Those that share a run get their rows from the host's memory; one with an input on the device has its own.
#[tokio::test]
async fn shared_runs_keep_nothing() {
    let session = open("rows.onnx").await;
    let company = Policy { max_rows: 3, max_delay: Duration::from_secs(600) };
    let run = |x, scale| session.compute_keeping(&CALLER, company, any(row(x, scale)));
    // Three rows fill the run, so that none waits for its delay.
    let outputs = tokio::try_join!(run([1.0; 3], 1), run([2.0; 3], 2), run([3.0; 3], 3)).unwrap();
    for (outputs, value) in [outputs.0, outputs.1, outputs.2].into_iter().zip([1.0, 4.0, 9.0]) {
        assert!(
            matches!(&outputs[0].1, AnyTensor::Host(tensor) if *tensor == fp32(&[1, 3], &[value; 3])),
            "{outputs:?}"
        );
    }
    assert_eq!(session.batching(), Batching::On);
    let kept = held(session.compute_keeping(&CALLER, ALONE, any(row([1.0; 3], 2))).await.unwrap());
    let mut inputs = any(row([0.0; 3], 3));
    inputs[0].1 = kept.into();
    let alone = held(session.compute_keeping(&CALLER, company, inputs).await.unwrap());
    assert_eq!(alone.fetch().await.unwrap(), fp32(&[1, 3], &[6.0; 3]));
}

/// The list of a device's inputs is the list of the host's, as far as the allocator can see.
#[test]
fn lists_are_turned_where_they_are() {
    let tensors = batch::join(&[&row([1.0; 3], 1)]);
    let place = tensors.as_ptr().addr();
    let turned = any(tensors);
    assert_eq!(turned.as_ptr().addr(), place);
    let back: Inputs = turned.into_iter().map(|(name, tensor)| (name, tensor.on_host().unwrap())).collect();
    assert_eq!(back.as_ptr().addr(), place);
    assert!(matches!(back[0].1.storage(), Storage::Fixed(_)));
}
