//! The types a tensor's elements can have. Knows nothing of where a tensor's bytes are.

use std::fmt;

use bytemuck::Pod;
use half::{bf16, f16};

use crate::bindings::nn::tensor::TensorType;
use crate::{Tensor, Value};

/// The type of a value's elements, shown by the name it has in the Open Inference Protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Datatype {
    /// 16-bit floating point, IEEE 754.
    Fp16,
    /// 16-bit floating point with the exponent of a 32-bit one.
    Bf16,
    /// 32-bit floating point.
    Fp32,
    /// 64-bit floating point.
    Fp64,
    /// 8-bit unsigned integer.
    Uint8,
    /// 32-bit signed integer.
    Int32,
    /// 64-bit signed integer.
    Int64,
    /// Text or opaque bytes.
    Bytes,
}

impl fmt::Display for Datatype {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Fp16 => "FP16",
            Self::Bf16 => "BF16",
            Self::Fp32 => "FP32",
            Self::Fp64 => "FP64",
            Self::Uint8 => "UINT8",
            Self::Int32 => "INT32",
            Self::Int64 => "INT64",
            Self::Bytes => "BYTES",
        })
    }
}

/// A Rust type that a [`Tensor`] can be made of: `f32`, `f64`, `u8`, `i32`, `i64`, [`f16`](struct@f16) and [`bf16`],
/// and no other, for these are all the tensor types there are between host and function.
pub trait Element: Pod + PartialEq + fmt::Debug + private::Sealed {
    /// The type's name on the wire.
    const DATATYPE: Datatype;
    /// The type's name in wasi:nn.
    #[doc(hidden)]
    const TENSOR_TYPE: TensorType;
    /// The tensor as a value.
    #[doc(hidden)]
    fn wrap(tensor: Tensor<Self>) -> Value;
    /// The tensor in a value, or the value as it came if it is of another type.
    #[doc(hidden)]
    fn unwrap(value: Value) -> Result<Tensor<Self>, Value>;
}

mod private {
    pub trait Sealed {}
}

macro_rules! elements {
    ($($rust:ty => $variant:ident, $tensor_type:ident, $datatype:ident;)*) => {$(
        impl private::Sealed for $rust {}

        impl Element for $rust {
            const DATATYPE: Datatype = Datatype::$datatype;
            const TENSOR_TYPE: TensorType = TensorType::$tensor_type;

            fn wrap(tensor: Tensor<Self>) -> Value {
                Value::$variant(tensor)
            }

            fn unwrap(value: Value) -> Result<Tensor<Self>, Value> {
                match value {
                    Value::$variant(tensor) => Ok(tensor),
                    other => Err(other),
                }
            }
        }
    )*};
}

elements! {
    f16 => F16, Fp16, Fp16;
    bf16 => Bf16, Bf16, Bf16;
    f32 => F32, Fp32, Fp32;
    f64 => F64, Fp64, Fp64;
    u8 => U8, U8, Uint8;
    i32 => I32, I32, Int32;
    i64 => I64, I64, Int64;
}
