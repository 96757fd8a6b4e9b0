//! A request with binary data.

use bytes::Bytes;
use nocti::protocol::oip_json::{Halves, parse_raw, parse_request};
use nocti::protocol::predict::PredictRequest;
use nocti::tensor::{Datatype, Signature, Storage, TensorSpec};

use crate::exchange::{every_way, refused};
use crate::json::most_bytes;
use crate::memory::bounded;
use crate::plain;

/// The header `Inference-Header-Content-Length` in two bytes, then the body. Where it is 0, one byte in front of the body says what
/// the model takes.
pub fn binary(data: &[u8]) {
    let Some((length, body)) = data.split_first_chunk() else { return };
    match (u16::from_le_bytes(*length), body) {
        (0, [choice, body @ ..]) => without_json(*choice, body),
        (0, []) => {}
        (length, body) => with_json(length.into(), body),
    }
}

fn with_json(length: usize, body: &[u8]) {
    let body = Bytes::copy_from_slice(body);
    match bounded(most_bytes(body.len()), || parse_request("m", &body, Some(length), Halves::Numbers)) {
        Ok((request, _)) => {
            plain::compare(&body[..length], &request);
            every_way(&request.inputs);
            let mut tail = body.slice(length..);
            if tail.is_empty() {
                let (same, _) =
                    parse_request("m", &body, None, Halves::Numbers).expect("there is nothing behind the JSON");
                assert!(same.inputs.len() == request.inputs.len() && same.outputs == request.outputs);
            }
            // Every byte is somebody's, in the order of the inputs.
            for (_, tensor) in &request.inputs {
                if let Storage::Fixed(bytes) = tensor.storage()
                    && bytes.as_ptr() == tail.as_ptr()
                {
                    assert_eq!(tail.split_to(bytes.len()), bytes);
                }
            }
        }
        Err(error) => refused(body.len(), &error),
    }
}

fn without_json(choice: u8, body: &[u8]) {
    let body = Bytes::copy_from_slice(body);
    let spec = spec(choice.into());
    let signature = Signature { inputs: vec![spec.clone()], outputs: vec![] };
    match bounded(most_bytes(body.len()), || parse_raw("m", &signature, &body)) {
        Ok((PredictRequest { inputs, .. }, _)) => {
            let [(name, tensor)] = inputs.as_slice() else { panic!("the model has one input") };
            assert_eq!((name, tensor.datatype()), (&spec.name, spec.datatype));
            assert!(spec.admits(tensor.shape()), "{:?} is not {:?}", tensor.shape(), spec.shape);
            match tensor.storage() {
                Storage::Fixed(bytes) => assert_eq!(bytes, &body),
                Storage::Variable(elements) => assert!(elements.iter().eq([&body[..]])),
            }
            every_way(&inputs);
        }
        Err(error) => refused(body.len(), &error),
    }
}

fn spec(choice: usize) -> TensorSpec {
    const DATATYPES: [Datatype; 6] =
        [Datatype::Bool, Datatype::Int8, Datatype::Fp16, Datatype::Fp32, Datatype::Uint64, Datatype::Bytes];
    const SHAPES: [&[i64]; 9] =
        [&[], &[-1], &[3], &[-1, 2], &[-1, -1], &[2, -1, 3], &[-1, -1, -1], &[0, -1], &[i64::MAX, -1, 4]];
    let shape = SHAPES[choice / DATATYPES.len() % SHAPES.len()].to_vec();
    TensorSpec { name: "x".into(), datatype: DATATYPES[choice % DATATYPES.len()], shape }
}
