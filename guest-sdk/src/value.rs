//! One input or output of any type, and the way from it to the type a function wants.

use half::{bf16, f16};

use crate::bindings::nn::tensor::{Tensor as Handle, TensorType};
use crate::{Bytes, Datatype, Element, Tensor, Text};

/// A value of any type.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// FP16.
    F16(Tensor<f16>),
    /// BF16.
    Bf16(Tensor<bf16>),
    /// FP32.
    F32(Tensor<f32>),
    /// FP64.
    F64(Tensor<f64>),
    /// UINT8.
    U8(Tensor<u8>),
    /// INT32.
    I32(Tensor<i32>),
    /// INT64.
    I64(Tensor<i64>),
    /// BYTES: text or opaque.
    Bytes(Bytes),
}

/// A type that an input or output can be taken as: `Tensor<T>`, [`Text`], [`Bytes`], or [`Value`] for any.
pub trait FromValue: Sized {
    /// The value as this type.
    ///
    /// # Errors
    /// A sentence that goes on after the value's name: "is INT64 where FP32 is expected".
    fn from_value(value: Value) -> Result<Self, String>;
}

impl Value {
    /// The type of the elements.
    pub fn datatype(&self) -> Datatype {
        match self {
            Self::F16(_) => Datatype::Fp16,
            Self::Bf16(_) => Datatype::Bf16,
            Self::F32(_) => Datatype::Fp32,
            Self::F64(_) => Datatype::Fp64,
            Self::U8(_) => Datatype::Uint8,
            Self::I32(_) => Datatype::Int32,
            Self::I64(_) => Datatype::Int64,
            Self::Bytes(_) => Datatype::Bytes,
        }
    }

    /// The size of each dimension.
    pub fn shape(&self) -> &[usize] {
        match self {
            Self::F16(tensor) => tensor.shape(),
            Self::Bf16(tensor) => tensor.shape(),
            Self::F32(tensor) => tensor.shape(),
            Self::F64(tensor) => tensor.shape(),
            Self::U8(tensor) => tensor.shape(),
            Self::I32(tensor) => tensor.shape(),
            Self::I64(tensor) => tensor.shape(),
            Self::Bytes(bytes) => bytes.shape(),
        }
    }

    /// A tensor as the raw bindings have it.
    pub fn from_handle(handle: Handle) -> Self {
        match handle.ty() {
            TensorType::Fp16 => Self::F16(Tensor::from_handle(handle)),
            TensorType::Bf16 => Self::Bf16(Tensor::from_handle(handle)),
            TensorType::Fp32 => Self::F32(Tensor::from_handle(handle)),
            TensorType::Fp64 => Self::F64(Tensor::from_handle(handle)),
            TensorType::U8 => Self::U8(Tensor::from_handle(handle)),
            TensorType::I32 => Self::I32(Tensor::from_handle(handle)),
            TensorType::I64 => Self::I64(Tensor::from_handle(handle)),
        }
    }

    /// The value as the raw bindings have it, and as a graph takes it.
    ///
    /// # Errors
    /// It is BYTES, which no graph takes; they come back as they were.
    pub fn into_handle(self) -> Result<Handle, Bytes> {
        match self {
            Self::F16(tensor) => Ok(tensor.into_handle()),
            Self::Bf16(tensor) => Ok(tensor.into_handle()),
            Self::F32(tensor) => Ok(tensor.into_handle()),
            Self::F64(tensor) => Ok(tensor.into_handle()),
            Self::U8(tensor) => Ok(tensor.into_handle()),
            Self::I32(tensor) => Ok(tensor.into_handle()),
            Self::I64(tensor) => Ok(tensor.into_handle()),
            Self::Bytes(bytes) => Err(bytes),
        }
    }
}

fn mismatch(value: &Value, expected: Datatype) -> String {
    format!("is {} where {expected} is expected", value.datatype())
}

impl FromValue for Value {
    fn from_value(value: Value) -> Result<Self, String> {
        Ok(value)
    }
}

impl<T: Element> FromValue for Tensor<T> {
    fn from_value(value: Value) -> Result<Self, String> {
        T::unwrap(value).map_err(|other| mismatch(&other, T::DATATYPE))
    }
}

impl FromValue for Bytes {
    fn from_value(value: Value) -> Result<Self, String> {
        match value {
            Value::Bytes(bytes) => Ok(bytes),
            other => Err(mismatch(&other, Datatype::Bytes)),
        }
    }
}

impl FromValue for Text {
    fn from_value(value: Value) -> Result<Self, String> {
        let bytes = Bytes::from_value(value)?;
        Self::try_from(bytes).map_err(|reason| format!("is not text: {reason}"))
    }
}

impl<T: Element> From<Tensor<T>> for Value {
    fn from(tensor: Tensor<T>) -> Self {
        T::wrap(tensor)
    }
}

/// One dimension.
impl<T: Element> From<Vec<T>> for Value {
    fn from(data: Vec<T>) -> Self {
        T::wrap(data.into())
    }
}

impl From<Bytes> for Value {
    fn from(bytes: Bytes) -> Self {
        Self::Bytes(bytes)
    }
}

impl From<Text> for Value {
    fn from(text: Text) -> Self {
        Self::Bytes(text.into())
    }
}
