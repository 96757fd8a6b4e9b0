//! Tensors from one form on the wire to the next: whatever was read is the same after every form that it can be written in.

use bytes::Bytes;
use half::{bf16, f16};
use nocti::protocol::ProtocolError;
use nocti::protocol::oip_json::{self, BinaryOutputs, Halves};
use nocti::tensor::{Datatype, Storage, Tensor};

use crate::grpc;

pub(crate) type Tensors = [(String, Tensor)];

/// A message may repeat names, and has some words of its own.
const OWN_WORDS: usize = 600;

/// A message that says no more than what it speaks of.
pub(crate) fn refused(input_bytes: usize, error: &impl ToString) {
    let message = error.to_string();
    assert!(!message.is_empty());
    assert!(message.len() <= input_bytes + OWN_WORDS, "{} bytes of message for {input_bytes}", message.len());
}

/// Writes the tensors in JSON, in binary data and in a message of gRPC, and reads them again.
pub(crate) fn every_way(tensors: &Tensors) {
    match write(tensors, &BinaryOutputs::default()) {
        Ok((body, _)) => same(tensors, &read(&body, None), true),
        Err(error) => assert!(matches!(error, ProtocolError::Unwritable { .. }), "{error}"),
    }
    let (body, json_length) = write(tensors, &all_binary()).expect("every tensor has binary data");
    same(tensors, &read(&body, Some(json_length)), false);
    same(tensors, &grpc::and_back(tensors), false);
}

/// That all outputs are wanted as binary data.
fn all_binary() -> BinaryOutputs {
    let request = Bytes::from_static(br#"{"parameters": {"binary_data_output": true}, "inputs": []}"#);
    oip_json::parse_request("m", &request, None, Halves::Numbers).expect("it is a request").1
}

/// An answer with these tensors, made a request: their forms are the same but for a word.
fn write(tensors: &Tensors, binary: &BinaryOutputs) -> Result<(Bytes, usize), ProtocolError> {
    const HEAD: &[u8] = br#"{"model_name":"m","model_version":"1","id":"i","outputs":"#;
    let answer = oip_json::write_response("m", "1", Some("i"), tensors, binary)?;
    let rest = answer.json.strip_prefix(HEAD).expect("an answer begins with what it is the answer of");
    let json = [br#"{"inputs":"#, rest].concat();
    let length = json.len();
    let body: Vec<u8> = json.into_iter().chain(answer.tail.into_iter().flatten()).collect();
    Ok((body.into(), length))
}

fn read(body: &Bytes, json_length: Option<usize>) -> Vec<(String, Tensor)> {
    let read = oip_json::parse_request("m", body, json_length, Halves::Numbers);
    read.unwrap_or_else(|error| panic!("{error}: {}", body.escape_ascii())).0.inputs
}

pub(crate) fn same(tensors: &Tensors, others: &Tensors, nan_is_nan: bool) {
    assert_eq!(tensors.len(), others.len());
    for ((name, tensor), (other_name, other)) in tensors.iter().zip(others) {
        assert_eq!((name, tensor.datatype(), tensor.shape()), (other_name, other.datatype(), other.shape()));
        assert_eq!(elements(tensor, nan_is_nan), elements(other, nan_is_nan), "{name}");
    }
}

/// The tensor's elements; JSON does not carry a NaN's bits.
fn elements(tensor: &Tensor, nan_is_nan: bool) -> Vec<Vec<u8>> {
    let is_nan = |element: &[u8]| match (tensor.datatype(), element) {
        (Datatype::Fp16, &[a, b]) => f16::from_le_bytes([a, b]).is_nan(),
        (Datatype::Bf16, &[a, b]) => bf16::from_le_bytes([a, b]).is_nan(),
        (Datatype::Fp32, &[a, b, c, d]) => f32::from_le_bytes([a, b, c, d]).is_nan(),
        (Datatype::Fp64, &[a, b, c, d, e, f, g, h]) => f64::from_le_bytes([a, b, c, d, e, f, g, h]).is_nan(),
        _ => false,
    };
    let element = |element: &[u8]| if nan_is_nan && is_nan(element) { b"NaN".to_vec() } else { element.to_vec() };
    match tensor.storage() {
        Storage::Fixed(bytes) => bytes.chunks(tensor.datatype().size_bytes().unwrap_or(1)).map(element).collect(),
        Storage::Variable(elements) => elements.iter().map(|element| element.to_vec()).collect(),
    }
}
