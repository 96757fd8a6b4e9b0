//! An answer of the Open Inference Protocol over HTTP, written straight from ONNX Runtime's buffers.

use ort::value::DynValue;
use serde::Serialize;

use crate::elements::{self, Elements};
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
    data: Option<Elements<'v>>,
}

#[derive(Serialize)]
struct Parameters {
    binary_data_size: usize,
}

/// Writes the outputs of a model.
pub(crate) fn write(model: &Model, values: &[DynValue], binary: bool) -> anyhow::Result<Answer> {
    let mut outputs = Vec::with_capacity(values.len());
    let mut behind = Vec::new();
    for (name, value) in model.outputs.iter().zip(values) {
        let (shape, data) = elements::of(name, value)?;
        let parameters = binary.then(|| Parameters { binary_data_size: data.bytes().len() });
        if binary {
            behind.push(data.bytes());
        }
        outputs.push(Output { name, shape, datatype: data.datatype(), parameters, data: (!binary).then_some(data) });
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
