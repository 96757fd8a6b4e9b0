//! The elements of an output, where ONNX Runtime has them.

use anyhow::bail;
use ort::value::{DynValue, TensorElementType};
use serde::Serialize;

/// The elements of a tensor, row-major.
#[derive(Clone, Copy, Serialize)]
#[serde(untagged)]
pub(crate) enum Elements<'v> {
    Fp32(&'v [f32]),
    Int64(&'v [i64]),
    Uint8(&'v [u8]),
}

/// Shape and elements of the output of this name.
pub(crate) fn of<'v>(name: &str, value: &'v DynValue) -> anyhow::Result<(&'v [i64], Elements<'v>)> {
    Ok(match value.dtype().tensor_type() {
        Some(TensorElementType::Float32) => {
            let (shape, elements) = value.try_extract_tensor()?;
            (shape, Elements::Fp32(elements))
        }
        Some(TensorElementType::Int64) => {
            let (shape, elements) = value.try_extract_tensor()?;
            (shape, Elements::Int64(elements))
        }
        Some(TensorElementType::Uint8) => {
            let (shape, elements) = value.try_extract_tensor()?;
            (shape, Elements::Uint8(elements))
        }
        _ => bail!("output '{name}' is of type {}", value.dtype()),
    })
}

impl<'v> Elements<'v> {
    pub(crate) fn datatype(self) -> &'static str {
        match self {
            Self::Fp32(_) => "FP32",
            Self::Int64(_) => "INT64",
            Self::Uint8(_) => "UINT8",
        }
    }

    pub(crate) fn bytes(self) -> &'v [u8] {
        match self {
            Self::Fp32(elements) => bytemuck::cast_slice(elements),
            Self::Int64(elements) => bytemuck::cast_slice(elements),
            Self::Uint8(elements) => elements,
        }
    }
}
