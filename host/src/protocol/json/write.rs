//! The elements of a tensor as text: numbers in the shortest form that reads back as the same value, and always valid JSON,
//! whatever the function computed.

use half::{bf16, f16};
use serde::Serialize;

use crate::protocol::ProtocolError;
use crate::tensor::{Datatype, Storage, StringsIter, Tensor};

/// The elements of an output that are not written yet.
pub(in crate::protocol) struct Elements<'t> {
    output: &'t str,
    datatype: Datatype,
    rest: Rest<'t>,
}

enum Rest<'t> {
    Fixed(&'t [u8]),
    Strings(StringsIter<'t>),
}

impl<'t> Elements<'t> {
    pub(in crate::protocol) fn of(output: &'t str, tensor: &'t Tensor) -> Self {
        let rest = match tensor.storage() {
            Storage::Fixed(bytes) => Rest::Fixed(bytes),
            Storage::Variable(strings) => Rest::Strings(strings.iter()),
        };
        Self { output, datatype: tensor.datatype(), rest }
    }

    /// Writes the next `count` elements, or those that there are, with commas between.
    pub(in crate::protocol) fn write(&mut self, body: &mut Vec<u8>, count: usize) -> Result<(), ProtocolError> {
        match &mut self.rest {
            Rest::Fixed(bytes) => {
                let size = self.datatype.size_bytes().unwrap_or(1);
                let (these, rest) = bytes.split_at(bytes.len().min(count.saturating_mul(size)));
                *bytes = rest;
                write_fixed(body, self.datatype, these);
                Ok(())
            }
            Rest::Strings(strings) => write_strings(body, self.output, strings.take(count)),
        }
    }
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

fn write_strings<'t>(
    body: &mut Vec<u8>,
    output: &str,
    strings: impl Iterator<Item = &'t [u8]>,
) -> Result<(), ProtocolError> {
    separated(body, strings, |body, string| {
        let text = std::str::from_utf8(string).map_err(|_| {
            ProtocolError::Unwritable(format!(
                "output '{output}' cannot be sent as JSON: it holds bytes that are not UTF-8 text; ask for it as binary data \
                 (parameter binary_data) or let the function answer with text, such as base64"
            ))
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
pub(in crate::protocol) fn separated<T>(
    body: &mut Vec<u8>,
    items: impl IntoIterator<Item = T>,
    mut write: impl FnMut(&mut Vec<u8>, T) -> Result<(), ProtocolError>,
) -> Result<(), ProtocolError> {
    for (index, item) in items.into_iter().enumerate() {
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

pub(in crate::protocol) fn write_integer<T: itoa::Integer>(body: &mut Vec<u8>, value: T) {
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

pub(in crate::protocol) fn json<T: Serialize + ?Sized>(body: &mut Vec<u8>, value: &T) {
    serde_json::to_writer(body, value).expect("strings and shapes always serialise, and a Vec takes every byte");
}
