//! Tensors to an inference response: JSON, and behind it the outputs that are wanted as binary data.
//!
//! Data is written flat and row-major.

use bytes::Bytes;

use super::Halves;
use super::binary::BinaryOutputs;
use crate::protocol::ProtocolError;
use crate::protocol::json::write::{Elements, json, separated, write_integer};
use crate::tensor::Tensor;

/// The body of an answer, in its order.
#[derive(Debug, Clone, PartialEq)]
pub struct ResponseBody {
    pub json: Vec<u8>,
    /// Binary data, never copied together; empty where all is JSON.
    pub tail: Vec<Bytes>,
}

/// The body of an answer. `id` is the request's own, echoed.
pub fn write_response(
    model_name: &str,
    model_version: &str,
    id: Option<&str>,
    outputs: &[(String, Tensor)],
    binary: &BinaryOutputs,
) -> Result<ResponseBody, ProtocolError> {
    let mut body = Vec::with_capacity(room(outputs, binary));
    let mut tail = Vec::new();
    body.extend_from_slice(b"{\"model_name\":");
    json(&mut body, model_name);
    body.extend_from_slice(b",\"model_version\":");
    json(&mut body, model_version);
    if let Some(id) = id {
        body.extend_from_slice(b",\"id\":");
        json(&mut body, id);
    }
    body.extend_from_slice(b",\"outputs\":[");
    separated(&mut body, outputs, |body, (name, tensor)| {
        write_head(body, name, tensor);
        if binary.contains(name) {
            body.extend_from_slice(b",\"parameters\":{\"binary_data_size\":");
            write_integer(body, tensor.raw().len());
            body.extend_from_slice(b"}}");
            tail.extend(Some(tensor.raw()).filter(|bytes| !bytes.is_empty()).cloned());
            return Ok(());
        }
        if binary.halves == Halves::Binary && Halves::are(tensor.datatype()) {
            return Err(ProtocolError::Unwritable(format!(
                "sending {} data via JSON is not supported. Please use the binary data format for output {name}",
                tensor.datatype()
            )));
        }
        write_elements(body, name, tensor)
    })?;
    body.extend_from_slice(b"]}");
    Ok(ResponseBody { json: body, tail })
}

/// An output up to its elements.
fn write_head(body: &mut Vec<u8>, name: &str, tensor: &Tensor) {
    body.extend_from_slice(b"{\"name\":");
    json(body, name);
    body.extend_from_slice(b",\"datatype\":");
    json(body, tensor.datatype().name());
    body.extend_from_slice(b",\"shape\":");
    json(body, tensor.shape());
}

fn write_elements(body: &mut Vec<u8>, name: &str, tensor: &Tensor) -> Result<(), ProtocolError> {
    body.extend_from_slice(b",\"data\":[");
    Elements::of(name, tensor).write(body, usize::MAX)?;
    body.extend_from_slice(b"]}");
    Ok(())
}

/// A guess at the JSON's length that spares most growing: text is longer than the bytes it stands for.
fn room(outputs: &[(String, Tensor)], binary: &BinaryOutputs) -> usize {
    let data = |name: &str, tensor: &Tensor| if binary.contains(name) { 0 } else { tensor.size_bytes() * 3 };
    let outputs: usize = outputs.iter().map(|(name, tensor)| name.len() + 128 + data(name, tensor)).sum();
    256 + outputs
}
