//! The elements of one tensor, raw or in the field of their type.
//!
//! Raw elements of fixed size lie in the message as they lie in a [`Tensor`], so nothing is copied. The messages follow the
//! wording of other servers, which clients and their tests match on.

use bytes::{Buf, Bytes};

use super::messages::InferTensorContents;
use crate::tensor::{Datatype, Storage, Tensor, TensorError, element_count, moved};

/// What is wrong with a tensor; the caller says with which.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Wrong {
    /// Of the wrong size.
    Size { expected: usize, got: usize },
    /// The wrong number of strings.
    Strings { expected: usize, got: String },
    /// Anything else, as a sentence's end.
    Other(String),
}

/// Bytes in front of a raw element of BYTES.
const LENGTH_BYTES: usize = size_of::<u32>();

/// A tensor from its raw elements.
pub(super) fn from_raw(datatype: Datatype, shape: Vec<usize>, bytes: Bytes) -> Result<Tensor, Wrong> {
    let tensor = match datatype {
        Datatype::Bytes => Tensor::variable(shape.clone(), strings(bytes, count(&shape)?)?),
        _ => Tensor::fixed(datatype, shape, bytes),
    };
    tensor.map_err(wrong)
}

/// A tensor from the field of its type.
pub(super) fn from_typed(
    datatype: Datatype,
    shape: Vec<usize>,
    contents: InferTensorContents,
) -> Result<Tensor, Wrong> {
    let fields = [
        ("bool_contents", contents.bool_contents.len()),
        ("int_contents", contents.int_contents.len()),
        ("int64_contents", contents.int64_contents.len()),
        ("uint_contents", contents.uint_contents.len()),
        ("uint64_contents", contents.uint64_contents.len()),
        ("fp32_contents", contents.fp32_contents.len()),
        ("fp64_contents", contents.fp64_contents.len()),
        ("bytes_contents", contents.bytes_contents.len()),
    ];
    let field = field(datatype)
        .ok_or_else(|| Wrong::Other(format!("{datatype} has no typed contents: send it in raw_input_contents")))?;
    if let Some((other, _)) = fields.iter().find(|(name, length)| *length > 0 && *name != field) {
        return Err(Wrong::Other(format!("its elements are in {other}, but those of {datatype} belong in {field}")));
    }
    let bytes = match datatype {
        Datatype::Bool => contents.bool_contents.into_iter().map(u8::from).collect(),
        Datatype::Int8 => narrow::<_, i8, 1>(&contents.int_contents, datatype, i8::to_le_bytes)?,
        Datatype::Int16 => narrow::<_, i16, 2>(&contents.int_contents, datatype, i16::to_le_bytes)?,
        Datatype::Uint8 => narrow::<_, u8, 1>(&contents.uint_contents, datatype, u8::to_le_bytes)?,
        Datatype::Uint16 => narrow::<_, u16, 2>(&contents.uint_contents, datatype, u16::to_le_bytes)?,
        Datatype::Int32 => plain(&contents.int_contents, i32::to_le_bytes),
        Datatype::Int64 => plain(&contents.int64_contents, i64::to_le_bytes),
        Datatype::Uint32 => plain(&contents.uint_contents, u32::to_le_bytes),
        Datatype::Uint64 => plain(&contents.uint64_contents, u64::to_le_bytes),
        Datatype::Fp32 => plain(&contents.fp32_contents, f32::to_le_bytes),
        Datatype::Fp64 => plain(&contents.fp64_contents, f64::to_le_bytes),
        Datatype::Bytes => {
            let expected = count(&shape)?;
            let got = contents.bytes_contents.len();
            let tensor = Tensor::variable(shape, contents.bytes_contents);
            return tensor.map_err(|_| Wrong::Strings { expected, got: got.to_string() });
        }
        Datatype::Fp16 | Datatype::Bf16 => Bytes::new(),
    };
    Tensor::fixed(datatype, shape, bytes).map_err(wrong)
}

/// The raw elements of a tensor: its own buffer where they are of fixed size.
pub(super) fn to_raw(tensor: &Tensor) -> Result<Bytes, String> {
    let elements = match tensor.storage() {
        Storage::Fixed(bytes) => return Ok(bytes.clone()),
        Storage::Variable(elements) => elements,
    };
    let mut raw = Vec::with_capacity(tensor.size_bytes() + LENGTH_BYTES * elements.len());
    for element in elements {
        let length = u32::try_from(element.len())
            .map_err(|_| format!("has an element of {} bytes; 4 GiB are the most", element.len()))?;
        raw.extend_from_slice(&length.to_le_bytes());
        raw.extend_from_slice(element);
    }
    moved(tensor.size_bytes());
    Ok(raw.into())
}

fn field(datatype: Datatype) -> Option<&'static str> {
    match datatype {
        Datatype::Bool => Some("bool_contents"),
        Datatype::Int8 | Datatype::Int16 | Datatype::Int32 => Some("int_contents"),
        Datatype::Int64 => Some("int64_contents"),
        Datatype::Uint8 | Datatype::Uint16 | Datatype::Uint32 => Some("uint_contents"),
        Datatype::Uint64 => Some("uint64_contents"),
        Datatype::Fp32 => Some("fp32_contents"),
        Datatype::Fp64 => Some("fp64_contents"),
        Datatype::Bytes => Some("bytes_contents"),
        Datatype::Fp16 | Datatype::Bf16 => None,
    }
}

fn wrong(error: TensorError) -> Wrong {
    match error {
        TensorError::WrongByteCount { expected, got, .. } => Wrong::Size { expected, got },
        TensorError::WrongElementCount { expected, got, .. } => Wrong::Strings { expected, got: got.to_string() },
        other @ (TensorError::TooManyDimensions(_) | TensorError::TooManyElements(_) | TensorError::NotABool(_)) => {
            Wrong::Other(other.to_string())
        }
    }
}

fn count(shape: &[usize]) -> Result<usize, Wrong> {
    let too_many = || Wrong::Other(format!("its shape {shape:?} has more elements than can be addressed"));
    element_count(shape).ok_or_else(too_many)
}

/// Raw elements of BYTES; they share the storage of `bytes`.
fn strings(mut bytes: Bytes, expected: usize) -> Result<Vec<Bytes>, Wrong> {
    // Room for what the bytes can hold, whatever the shape claims.
    let mut elements = Vec::with_capacity(expected.min(bytes.len() / LENGTH_BYTES));
    while !bytes.is_empty() {
        if elements.len() == expected {
            return Err(Wrong::Strings { expected, got: "more".into() });
        }
        let index = elements.len();
        let Some(&length) = bytes.first_chunk::<LENGTH_BYTES>() else {
            return Err(Wrong::Other(format!("its raw contents end within the length of element {index}")));
        };
        let (length, left) = (u32::from_le_bytes(length) as usize, bytes.len() - LENGTH_BYTES);
        if length > left {
            return Err(Wrong::Other(format!(
                "element {index} has {length} bytes, but {left} are left of its raw contents"
            )));
        }
        bytes.advance(LENGTH_BYTES);
        elements.push(bytes.split_to(length));
    }
    Ok(elements)
}

fn plain<T: Copy, const N: usize>(elements: &[T], bytes: impl Fn(T) -> [u8; N]) -> Bytes {
    let mut all = Vec::with_capacity(elements.len() * N);
    elements.iter().for_each(|&element| all.extend_from_slice(&bytes(element)));
    all.into()
}

/// Elements that are smaller than their field.
fn narrow<T, S, const N: usize>(
    elements: &[T],
    datatype: Datatype,
    bytes: impl Fn(S) -> [u8; N],
) -> Result<Bytes, Wrong>
where
    T: Copy + std::fmt::Display,
    S: TryFrom<T>,
{
    let mut all = Vec::with_capacity(elements.len() * N);
    for (index, &element) in elements.iter().enumerate() {
        let small = S::try_from(element)
            .map_err(|_| Wrong::Other(format!("element {index} is {element}, which is out of range for {datatype}")))?;
        all.extend_from_slice(&bytes(small));
    }
    Ok(all.into())
}

#[cfg(test)]
mod tests;
