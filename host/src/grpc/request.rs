//! A decoded message to a [`PredictRequest`]: names, parameters, shapes. The elements are `contents`' business.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::contents;
use super::messages::infer_parameter::ParameterChoice;
use super::messages::model_infer_request::{InferInputTensor, InferRequestedOutputTensor};
use super::messages::{InferParameter, ModelInferRequest};
use crate::protocol::contents::{Misfit, from_raw};
use crate::protocol::predict::{Parameter, PredictRequest, ROUTING_KEY};
use crate::protocol::{ProtocolError, classify};
use crate::tensor::{Datatype, MAX_RANK, Tensor, TensorError};

/// Parameters with this beginning speak to the server and not to the function.
const OF_THE_PROTOCOL: &str = "triton_";

/// What the message asks of its model. `length` is the message's, whose storage the tensors share.
pub(super) fn read(message: ModelInferRequest, length: usize) -> Result<PredictRequest, ProtocolError> {
    let ModelInferRequest { model_name: model, id, parameters, inputs, outputs, raw_input_contents: raw, .. } = message;
    let parameters = read_parameters(parameters)?;
    let parameters = parameters.into_iter().filter(|(name, _)| !name.starts_with(OF_THE_PROTOCOL)).collect();
    let inputs = if raw.is_empty() { read_typed(&model, inputs)? } else { read_raw(&model, inputs, raw)? };
    let (outputs, classes) = read_outputs(outputs)?;
    let id = Some(id).filter(|id| !id.is_empty());
    let request = PredictRequest { id, parameters, inputs, outputs, classes, body_bytes: length };
    request.check()?;
    Ok(request)
}

/// The routing key, if the message has one: which version reads the rest depends on it.
pub(super) fn routing_key(message: &ModelInferRequest) -> Result<Option<Vec<u8>>, ProtocolError> {
    let Some(parameter) = message.parameters.get(ROUTING_KEY) else { return Ok(None) };
    let wrong = |reason: &str| ProtocolError::Parameter { name: ROUTING_KEY.to_owned(), reason: reason.to_owned() };
    read_parameter(parameter.clone()).map_err(wrong)?.into_key().map(Some)
}

fn read_typed(model: &str, inputs: Vec<InferInputTensor>) -> Result<Vec<(String, Tensor)>, ProtocolError> {
    let read = |mut input: InferInputTensor| {
        let contents = input.contents.take().unwrap_or_default();
        tensor(model, input, |datatype, shape| contents::from_typed(datatype, shape, &contents))
    };
    inputs.into_iter().map(read).collect()
}

fn read_raw(
    model: &str,
    inputs: Vec<InferInputTensor>,
    raw: Vec<Bytes>,
) -> Result<Vec<(String, Tensor)>, ProtocolError> {
    if let Some(input) = inputs.iter().find(|input| input.contents.is_some()) {
        let name = &input.name;
        return Err(ProtocolError::Mismatch(format!(
            "contents field must not be specified when using raw_input_contents for '{name}' for model '{model}'"
        )));
    }
    if inputs.len() != raw.len() {
        return Err(ProtocolError::Mismatch(format!(
            "expected raw_input_contents for each of {} inputs, but got {} for model '{model}'",
            inputs.len(),
            raw.len()
        )));
    }
    let read = |(input, raw): (InferInputTensor, Bytes)| {
        tensor(model, input, |datatype, shape| from_raw(datatype, shape, raw))
    };
    inputs.into_iter().zip(raw).map(read).collect()
}

fn tensor(
    model: &str,
    input: InferInputTensor,
    read: impl FnOnce(Datatype, Vec<usize>) -> Result<Tensor, Misfit>,
) -> Result<(String, Tensor), ProtocolError> {
    let InferInputTensor { name, datatype, shape, parameters, .. } = input;
    read_parameters(parameters)?;
    let refused = |reason| ProtocolError::Input { input: name.clone(), reason };
    let datatype = datatype
        .parse::<Datatype>()
        .map_err(|_| refused(format!("'{datatype}' is not a datatype of the Open Inference Protocol")))?;
    if shape.len() > MAX_RANK {
        return Err(Misfit::from(TensorError::TooManyDimensions(shape.len())).of(&name, model));
    }
    let dims: Option<Vec<usize>> = shape.iter().map(|&dim| usize::try_from(dim).ok()).collect();
    let dims = dims.ok_or_else(|| refused(format!("its shape {shape:?} has a negative dimension")))?;
    let tensor = read(datatype, dims).map_err(|misfit| misfit.of(&name, model))?;
    Ok((name, tensor))
}

/// The wanted outputs, and those of which the largest elements alone are wanted.
type Wanted = (Option<Vec<String>>, Vec<(String, usize)>);

fn read_outputs(outputs: Vec<InferRequestedOutputTensor>) -> Result<Wanted, ProtocolError> {
    let (mut names, mut classes) = (Vec::with_capacity(outputs.len()), Vec::new());
    for output in outputs {
        if let Some(count) = classify::wanted(&read_parameters(output.parameters)?)? {
            classes.push((output.name.clone(), count));
        }
        names.push(output.name);
    }
    Ok((Some(names).filter(|names| !names.is_empty()), classes))
}

fn read_parameters(parameters: BTreeMap<String, InferParameter>) -> Result<Vec<(String, Parameter)>, ProtocolError> {
    let read = |(name, parameter): (String, InferParameter)| {
        Parameter::check_name(&name)?;
        match read_parameter(parameter) {
            Ok(parameter) => Ok((name, parameter)),
            Err(reason) => Err(ProtocolError::Parameter { name, reason: reason.to_owned() }),
        }
    };
    parameters.into_iter().map(read).collect()
}

fn read_parameter(parameter: InferParameter) -> Result<Parameter, &'static str> {
    match parameter.parameter_choice {
        Some(ParameterChoice::BoolParam(value)) => Ok(Parameter::Bool(value)),
        Some(ParameterChoice::Int64Param(value)) => Ok(Parameter::Int(value)),
        Some(ParameterChoice::Uint64Param(value)) => {
            i64::try_from(value).map(Parameter::Int).map_err(|_| "its integer does not fit 64 bits with a sign")
        }
        Some(ParameterChoice::DoubleParam(value)) => Ok(Parameter::Double(value)),
        Some(ParameterChoice::StringParam(value)) => Ok(Parameter::Text(value)),
        None => Err("has no value"),
    }
}

#[cfg(test)]
mod tests;
