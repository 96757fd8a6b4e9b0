//! An answer of the Open Inference Protocol, written straight from ONNX Runtime's buffers.

use anyhow::bail;
use ort::value::{DynValue, TensorElementType};
use serde::Serialize;

use crate::model::Model;

/// An answer's body.
pub(crate) struct Answer {
    pub(crate) body: Vec<u8>,
    /// Where binary tensors follow the JSON: its length.
    pub(crate) json_length: Option<usize>,
}

#[derive(Serialize)]
struct Json<'v> {
    model_name: &'v str,
    outputs: Vec<Output<'v>>,
}

#[derive(Serialize)]
struct Output<'v> {
    name: &'v str,
    shape: &'v [i64],
    datatype: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    parameters: Option<Parameters>,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<Data<'v>>,
}

#[derive(Serialize)]
struct Parameters {
    binary_data_size: usize,
}

#[derive(Clone, Copy, Serialize)]
#[serde(untagged)]
enum Data<'v> {
    Fp32(&'v [f32]),
    Int64(&'v [i64]),
    Uint8(&'v [u8]),
}

impl<'v> Data<'v> {
    fn bytes(self) -> &'v [u8] {
        match self {
            Self::Fp32(elements) => bytemuck::cast_slice(elements),
            Self::Int64(elements) => bytemuck::cast_slice(elements),
            Self::Uint8(elements) => elements,
        }
    }
}

/// Writes the outputs of a model.
pub(crate) fn write(model: &Model, values: &[DynValue], binary: bool) -> anyhow::Result<Answer> {
    let mut outputs = Vec::with_capacity(values.len());
    let mut behind = Vec::new();
    for (name, value) in model.outputs.iter().zip(values) {
        let (shape, datatype, data) = match value.dtype().tensor_type() {
            Some(TensorElementType::Float32) => {
                let (shape, elements) = value.try_extract_tensor()?;
                (shape, "FP32", Data::Fp32(elements))
            }
            Some(TensorElementType::Int64) => {
                let (shape, elements) = value.try_extract_tensor()?;
                (shape, "INT64", Data::Int64(elements))
            }
            Some(TensorElementType::Uint8) => {
                let (shape, elements) = value.try_extract_tensor()?;
                (shape, "UINT8", Data::Uint8(elements))
            }
            _ => bail!("output '{name}' is of type {}", value.dtype()),
        };
        let parameters = binary.then(|| Parameters { binary_data_size: data.bytes().len() });
        if binary {
            behind.push(data.bytes());
        }
        outputs.push(Output { name, shape, datatype, parameters, data: (!binary).then_some(data) });
    }
    let mut body = serde_json::to_vec(&Json { model_name: &model.name, outputs })?;
    if !binary {
        return Ok(Answer { body, json_length: None });
    }
    let json_length = body.len();
    body.reserve_exact(behind.iter().map(|bytes| bytes.len()).sum());
    for bytes in behind {
        body.extend_from_slice(bytes);
    }
    Ok(Answer { body, json_length: Some(json_length) })
}
