//! A tensor as every part of the host hands it on: element type, shape, bytes.
//!
//! A leaf: it knows no ONNX Runtime, no wasm and no wire format. The bytes are reference-counted ([`Bytes`]), so a
//! tensor can be a slice of a request's body, an ONNX Runtime output or a guest's copy, and cloning one moves nothing.
//! The storage is freed when the last clone goes.

use std::str::FromStr;

use bytes::Bytes;
use serde::de::value::{Error as ValueError, StrDeserializer};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

mod copies;
mod strings;

pub use copies::{moved, moved_bytes};
pub use strings::{Iter as StringsIter, NotStrings, Packer, Strings};

/// The element types of the Open Inference Protocol v2, which are the ONNX tensor types under other names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "UPPERCASE")]
pub enum Datatype {
    Bool,
    Uint8,
    Uint16,
    Uint32,
    Uint64,
    Int8,
    Int16,
    Int32,
    Int64,
    Fp16,
    Bf16,
    Fp32,
    Fp64,
    Bytes,
}

/// Text that names no datatype.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("is not a datatype; use BOOL, UINT8 to UINT64, INT8 to INT64, FP16, BF16, FP32, FP64 or BYTES")]
pub struct NotADatatype;

/// One input or output of a model or function: its name, type and shape (-1: any size).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TensorSpec {
    pub name: String,
    pub datatype: Datatype,
    pub shape: Vec<i64>,
}

/// What a function takes and gives, in the model's own order.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Signature {
    #[serde(default)]
    pub inputs: Vec<TensorSpec>,
    #[serde(default)]
    pub outputs: Vec<TensorSpec>,
}

/// A value with its shape. Invariant: the storage holds exactly as many elements as the shape says.
#[derive(Debug, Clone, PartialEq)]
pub struct Tensor {
    datatype: Datatype,
    shape: Vec<usize>,
    storage: Storage,
}

/// The elements of a tensor.
#[derive(Debug, Clone, PartialEq)]
pub enum Storage {
    /// Fixed-size elements, little-endian, row-major, unpadded; BOOL is one byte, 0 or 1.
    Fixed(Bytes),
    /// The elements of a BYTES tensor, row-major.
    Variable(Strings),
}

/// The most dimensions a tensor may have: a shape must not be a way to fill the memory.
pub const MAX_RANK: usize = 64;

/// Why bytes and shape do not make a tensor.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TensorError {
    #[error("a tensor has at most {MAX_RANK} dimensions, got {0}")]
    TooManyDimensions(usize),
    #[error("shape {0:?} has more elements than can be addressed")]
    TooManyElements(Vec<usize>),
    #[error("shape {shape:?} of {datatype} needs {expected} bytes, got {got}")]
    WrongByteCount { datatype: Datatype, shape: Vec<usize>, expected: usize, got: usize },
    #[error("shape {shape:?} needs {expected} elements, got {got}")]
    WrongElementCount { shape: Vec<usize>, expected: usize, got: usize },
    #[error("an element has {0} bytes; 4 GiB are the most")]
    StringTooLong(usize),
    #[error("a BOOL element must be 0 or 1, got {0}")]
    NotABool(u8),
}

impl Tensor {
    /// A tensor of fixed-size elements from its little-endian bytes.
    pub fn fixed(datatype: Datatype, shape: Vec<usize>, bytes: Bytes) -> Result<Self, TensorError> {
        check_rank(&shape)?;
        let size = datatype.size_bytes().unwrap_or(0);
        let expected = element_count(&shape)
            .and_then(|n| n.checked_mul(size))
            .ok_or_else(|| TensorError::TooManyElements(shape.clone()))?;
        if expected != bytes.len() || size == 0 {
            return Err(TensorError::WrongByteCount { datatype, shape, expected, got: bytes.len() });
        }
        if datatype == Datatype::Bool
            && let Some(&other) = bytes.iter().find(|&&b| b > 1)
        {
            return Err(TensorError::NotABool(other));
        }
        Ok(Self { datatype, shape, storage: Storage::Fixed(bytes) })
    }

    /// A BYTES tensor from its elements, which are copied into one buffer.
    pub fn variable(shape: Vec<usize>, elements: impl IntoIterator<Item: AsRef<[u8]>>) -> Result<Self, TensorError> {
        let mut packer = Packer::default();
        elements.into_iter().try_for_each(|element| packer.push(element.as_ref()))?;
        Self::strings(shape, packer.finish())
    }

    /// A BYTES tensor.
    pub fn strings(shape: Vec<usize>, elements: Strings) -> Result<Self, TensorError> {
        check_rank(&shape)?;
        let expected = element_count(&shape).ok_or_else(|| TensorError::TooManyElements(shape.clone()))?;
        if expected != elements.len() {
            return Err(TensorError::WrongElementCount { shape, expected, got: elements.len() });
        }
        Ok(Self { datatype: Datatype::Bytes, shape, storage: Storage::Variable(elements) })
    }

    pub fn datatype(&self) -> Datatype {
        self.datatype
    }

    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    pub fn storage(&self) -> &Storage {
        &self.storage
    }

    /// The elements as the protocol has them as binary data.
    pub fn raw(&self) -> &Bytes {
        match &self.storage {
            Storage::Fixed(bytes) => bytes,
            Storage::Variable(strings) => strings.packed(),
        }
    }

    /// Bytes held, for limits and metrics.
    pub fn size_bytes(&self) -> usize {
        match &self.storage {
            Storage::Fixed(bytes) => bytes.len(),
            Storage::Variable(elements) => elements.size_bytes(),
        }
    }
}

fn check_rank(shape: &[usize]) -> Result<(), TensorError> {
    if shape.len() > MAX_RANK { Err(TensorError::TooManyDimensions(shape.len())) } else { Ok(()) }
}

/// The product of the dimensions (1 for a scalar), `None` when it overflows.
pub fn element_count(shape: &[usize]) -> Option<usize> {
    shape.iter().try_fold(1usize, |n, &dim| n.checked_mul(dim))
}

impl TensorSpec {
    /// True when `shape` has this spec's rank and agrees with it wherever the spec fixes a dimension. An empty spec says
    /// nothing: ONNX Runtime shows inputs without a declared shape and scalars alike.
    pub fn admits(&self, shape: &[usize]) -> bool {
        self.shape.is_empty()
            || self.shape.len() == shape.len()
                && self.shape.iter().zip(shape).all(|(&want, &got)| want < 0 || usize::try_from(want) == Ok(got))
    }
}

impl Datatype {
    /// Bytes of one element; `None` for BYTES, whose elements differ in length.
    pub fn size_bytes(self) -> Option<usize> {
        match self {
            Self::Bool | Self::Uint8 | Self::Int8 => Some(1),
            Self::Uint16 | Self::Int16 | Self::Fp16 | Self::Bf16 => Some(2),
            Self::Uint32 | Self::Int32 | Self::Fp32 => Some(4),
            Self::Uint64 | Self::Int64 | Self::Fp64 => Some(8),
            Self::Bytes => None,
        }
    }

    /// The name on the wire.
    pub fn name(self) -> &'static str {
        match self {
            Self::Bool => "BOOL",
            Self::Uint8 => "UINT8",
            Self::Uint16 => "UINT16",
            Self::Uint32 => "UINT32",
            Self::Uint64 => "UINT64",
            Self::Int8 => "INT8",
            Self::Int16 => "INT16",
            Self::Int32 => "INT32",
            Self::Int64 => "INT64",
            Self::Fp16 => "FP16",
            Self::Bf16 => "BF16",
            Self::Fp32 => "FP32",
            Self::Fp64 => "FP64",
            Self::Bytes => "BYTES",
        }
    }
}

impl FromStr for Datatype {
    type Err = NotADatatype;

    fn from_str(text: &str) -> Result<Self, NotADatatype> {
        Self::deserialize(StrDeserializer::<ValueError>::new(text)).map_err(|_| NotADatatype)
    }
}

impl std::fmt::Display for Datatype {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_and_shape_must_agree() {
        let three = Bytes::from_static(&[0; 12]);
        assert!(Tensor::fixed(Datatype::Fp32, vec![3], three.clone()).is_ok());
        let error = Tensor::fixed(Datatype::Fp32, vec![2, 2], three).expect_err("12 bytes are not 16");
        assert_eq!(error.to_string(), "shape [2, 2] of FP32 needs 16 bytes, got 12");
    }

    #[test]
    fn scalars_have_one_element_and_empty_dimensions_none() {
        assert!(Tensor::fixed(Datatype::Int64, vec![], Bytes::from_static(&[0; 8])).is_ok());
        assert!(Tensor::fixed(Datatype::Int64, vec![0, 7], Bytes::new()).is_ok());
        assert!(Tensor::variable(vec![], ["x"]).is_ok());
    }

    #[test]
    fn an_overflowing_shape_is_refused() {
        let error = Tensor::fixed(Datatype::Uint8, vec![usize::MAX, 2], Bytes::new()).expect_err("overflows");
        assert!(matches!(error, TensorError::TooManyElements(_)));
    }
}
