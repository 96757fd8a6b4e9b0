//! Tensors to an inference response: JSON, and behind it the outputs that are wanted as binary data.
//!
//! Data is written flat and row-major, numbers in the shortest form that reads back as the same value. The body is
//! always valid JSON, whatever the function computed.

use bytes::Bytes;
use half::{bf16, f16};
use serde::Serialize;

use super::binary::{self, BinaryOutputs};
use crate::protocol::ProtocolError;
use crate::tensor::{Datatype, Storage, Tensor};

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
            write_integer(body, binary::size(tensor));
            body.extend_from_slice(b"}}");
            return binary::write(&mut tail, name, tensor);
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
    match tensor.storage() {
        Storage::Fixed(bytes) => write_fixed(body, tensor.datatype(), bytes),
        Storage::Variable(elements) => write_strings(body, name, elements)?,
    }
    body.extend_from_slice(b"]}");
    Ok(())
}

fn write_fixed(body: &mut Vec<u8>, datatype: Datatype, bytes: &[u8]) {
    match datatype {
        Datatype::Bool => each(body, bytes, |[byte]| byte != 0, write_bool),
        Datatype::Uint8 => each(body, bytes, u8::from_le_bytes, write_integer),
        Datatype::Uint16 => each(body, bytes, u16::from_le_bytes, write_integer),
        Datatype::Uint32 => each(body, bytes, u32::from_le_bytes, write_integer),
        Datatype::Uint64 => each(body, bytes, u64::from_le_bytes, write_integer),
        Datatype::Int8 => each(body, bytes, i8::from_le_bytes, write_integer),
        Datatype::Int16 => each(body, bytes, i16::from_le_bytes, write_integer),
        Datatype::Int32 => each(body, bytes, i32::from_le_bytes, write_integer),
        Datatype::Int64 => each(body, bytes, i64::from_le_bytes, write_integer),
        Datatype::Fp16 => each(body, bytes, |b| f16::from_le_bytes(b).to_f32(), write_float),
        Datatype::Bf16 => each(body, bytes, |b| bf16::from_le_bytes(b).to_f32(), write_float),
        Datatype::Fp32 => each(body, bytes, f32::from_le_bytes, write_float),
        Datatype::Fp64 => each(body, bytes, f64::from_le_bytes, write_float),
        // Its elements are never in fixed storage.
        Datatype::Bytes => {}
    }
}

fn write_strings(body: &mut Vec<u8>, name: &str, elements: &[Bytes]) -> Result<(), ProtocolError> {
    separated(body, elements, |body, element| {
        let text = std::str::from_utf8(element).map_err(|_| ProtocolError::Unwritable {
            output: name.to_owned(),
            reason: "it holds bytes that are not UTF-8 text; ask for it as binary data (parameter binary_data) or \
                     let the function answer with text, such as base64"
                .to_owned(),
        })?;
        json(body, text);
        Ok(())
    })
}

/// Writes the elements of `N` bytes each, comma-separated.
fn each<const N: usize, T>(
    body: &mut Vec<u8>,
    bytes: &[u8],
    read: impl Fn([u8; N]) -> T,
    write: impl Fn(&mut Vec<u8>, T),
) {
    let (elements, _) = bytes.as_chunks::<N>();
    for (index, &element) in elements.iter().enumerate() {
        if index > 0 {
            body.push(b',');
        }
        write(body, read(element));
    }
}

/// Writes one item after the other with commas between.
fn separated<T>(
    body: &mut Vec<u8>,
    items: &[T],
    mut write: impl FnMut(&mut Vec<u8>, &T) -> Result<(), ProtocolError>,
) -> Result<(), ProtocolError> {
    for (index, item) in items.iter().enumerate() {
        if index > 0 {
            body.push(b',');
        }
        write(body, item)?;
    }
    Ok(())
}

fn write_bool(body: &mut Vec<u8>, value: bool) {
    body.extend_from_slice(if value { b"true" } else { b"false" });
}

fn write_integer<T: itoa::Integer>(body: &mut Vec<u8>, value: T) {
    body.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
}

/// A float as a number, or as the string that stands for it where JSON has no number.
#[inline]
fn write_float<T: zmij::Float + Copy + Into<f64>>(body: &mut Vec<u8>, value: T) {
    let wide: f64 = value.into();
    if wide.is_finite() {
        body.extend_from_slice(zmij::Buffer::new().format_finite(value).as_bytes());
    } else if wide.is_nan() {
        body.extend_from_slice(b"\"NaN\"");
    } else if wide > 0.0 {
        body.extend_from_slice(b"\"Infinity\"");
    } else {
        body.extend_from_slice(b"\"-Infinity\"");
    }
}

fn json<T: Serialize + ?Sized>(body: &mut Vec<u8>, value: &T) {
    serde_json::to_writer(body, value).expect("strings and shapes always serialise, and a Vec takes every byte");
}

/// A guess at the JSON's length that spares most growing: text is longer than the bytes it stands for.
fn room(outputs: &[(String, Tensor)], binary: &BinaryOutputs) -> usize {
    let data = |name: &str, tensor: &Tensor| if binary.contains(name) { 0 } else { tensor.size_bytes() * 3 };
    let outputs: usize = outputs.iter().map(|(name, tensor)| name.len() + 128 + data(name, tensor)).sum();
    256 + outputs
}
