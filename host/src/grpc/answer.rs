//! An answer as a message. Elements are always raw, as in other servers: clients look for them there.

use super::messages::ModelInferResponse;
use super::messages::model_infer_response::InferOutputTensor;
use crate::invoke::Answer;
use crate::tensor::{Tensor, moved};

/// `id` is the request's own, echoed.
pub(super) fn write(answer: &Answer, id: Option<String>) -> ModelInferResponse {
    let mut response = ModelInferResponse {
        model_name: answer.version.function.to_string(),
        model_version: answer.version.name.to_string(),
        id: id.unwrap_or_default(),
        ..ModelInferResponse::default()
    };
    for (name, tensor) in &answer.outputs {
        let raw = tensor.raw().clone();
        // When the message is encoded, into one buffer.
        moved(raw.len());
        response.outputs.push(head(name, tensor));
        response.raw_output_contents.push(raw);
    }
    response
}

fn head(name: &str, tensor: &Tensor) -> InferOutputTensor {
    InferOutputTensor {
        name: name.to_owned(),
        datatype: tensor.datatype().name().to_owned(),
        shape: tensor.shape().iter().map(|&dim| i64::try_from(dim).unwrap_or(i64::MAX)).collect(),
        ..InferOutputTensor::default()
    }
}
