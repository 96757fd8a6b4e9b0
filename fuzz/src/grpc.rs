//! A request over gRPC: the bytes of its message.

use bytes::Bytes;
use nocti::grpc::read_request;
use nocti::tensor::{Storage, Tensor};
use prost::Message;

use crate::exchange::{Tensors, every_way, refused};
use crate::memory::bounded;

/// A byte of message is an element of eight, and there is room for twice as many; what its shape or its length claims is nothing. There
/// may be so many inputs as take this much whatever the message is.
fn most_bytes(message_bytes: usize) -> usize {
    16 * message_bytes + (2 << 20)
}

/// The bytes are a message.
pub fn grpc(data: &[u8]) {
    let message = Bytes::copy_from_slice(data);
    match bounded(most_bytes(message.len()), || read_request(message)) {
        Ok(request) => {
            assert_eq!(request.body_bytes, data.len());
            every_way(&request.inputs);
        }
        Err(error) => refused(2 * data.len(), &error),
    }
}

/// The tensors in a message with raw contents, and as they are read from it.
pub(crate) fn and_back(tensors: &Tensors) -> Vec<(String, Tensor)> {
    let raw_input_contents = tensors.iter().map(|(_, tensor)| raw(tensor)).collect();
    let inputs = tensors.iter().map(|(name, tensor)| Input {
        name: name.clone(),
        datatype: tensor.datatype().to_string(),
        shape: tensor.shape().iter().map(|&dim| i64::try_from(dim).expect("it was read from a request")).collect(),
    });
    let message = Request { inputs: inputs.collect(), raw_input_contents }.encode_to_vec();
    read_request(message.into()).expect("it is a request").inputs
}

fn raw(tensor: &Tensor) -> Vec<u8> {
    match tensor.storage() {
        Storage::Fixed(bytes) => bytes.to_vec(),
        Storage::Variable(elements) => elements.packed().to_vec(),
    }
}

/// As much of `ModelInferRequest` as holds tensors.
#[derive(Message)]
struct Request {
    #[prost(message, repeated, tag = "5")]
    inputs: Vec<Input>,
    #[prost(bytes = "vec", repeated, tag = "7")]
    raw_input_contents: Vec<Vec<u8>>,
}

#[derive(Message)]
struct Input {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    datatype: String,
    #[prost(int64, repeated, tag = "3")]
    shape: Vec<i64>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_parameter_in_each_of_many_inputs_takes_no_more_than_it_may() {
        // Of all short messages these take the most: an input of two bytes, and a parameter of two bytes in it.
        grpc(&[0x2a, 2, 0x22, 0].repeat(2048));
    }
}
