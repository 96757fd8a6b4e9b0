//! Does a request fit a function's signature, and does an answer?
//!
//! Compares names, types and shapes; never looks at elements. The messages follow the wording of other servers of the
//! Open Inference Protocol, which clients and their tests match on.

use crate::protocol::ProtocolError;
use crate::protocol::predict::PredictRequest;
use crate::tensor::{Signature, Tensor, TensorSpec};

/// For a function that is a model: all of its inputs must be there, and nothing else.
pub fn check_inputs(model: &str, signature: &Signature, request: &PredictRequest) -> Result<(), ProtocolError> {
    let missing: Vec<&str> = (signature.inputs.iter())
        .map(|spec| spec.name.as_str())
        .filter(|want| !request.inputs.iter().any(|(name, _)| name == want))
        .collect();
    if !missing.is_empty() || request.inputs.len() > signature.inputs.len() {
        check_names(model, signature, request)?;
        return Err(ProtocolError::Mismatch(format!(
            "expected {} inputs but got {} inputs for model '{model}'. Got input(s) {}, but missing required input(s) {}. \
             Please provide all required input(s).",
            signature.inputs.len(),
            request.inputs.len(),
            quoted(request.inputs.iter().map(|(name, _)| name.as_str())),
            quoted(missing),
        )));
    }
    check_given(model, signature, request)
}

/// For a function with code of its own: what is given must fit, and the function decides what it needs. One that
/// declares no inputs (or no outputs) takes (or gives) any.
pub fn check_given_inputs(model: &str, signature: &Signature, request: &PredictRequest) -> Result<(), ProtocolError> {
    if signature.inputs.is_empty() {
        return check_requested(model, signature, request);
    }
    check_given(model, signature, request)
}

/// What a function answered against what it declares. The error is the function's fault.
pub fn check_outputs(function: &str, signature: &Signature, outputs: &[(String, Tensor)]) -> Result<(), ProtocolError> {
    if signature.outputs.is_empty() {
        return Ok(());
    }
    let wrong = |what: String| Err(ProtocolError::Answer(format!("function '{function}' answered wrongly: {what}")));
    for (index, (name, tensor)) in outputs.iter().enumerate() {
        let Some(spec) = find(&signature.outputs, name) else {
            let declared = quoted(signature.outputs.iter().map(|spec| spec.name.as_str()));
            return wrong(format!("its output '{name}' is not one of the declared outputs {declared}"));
        };
        if outputs[..index].iter().any(|(other, _)| other == name) {
            return wrong(format!("it gave its output '{name}' twice"));
        }
        if tensor.datatype() != spec.datatype {
            return wrong(format!(
                "its output '{name}' has datatype {}, but it declares {}",
                tensor.datatype(),
                spec.datatype
            ));
        }
        if !spec.admits(tensor.shape()) {
            return wrong(format!(
                "its output '{name}' has shape {}, but it declares {}",
                dims(tensor.shape()),
                dims(&spec.shape)
            ));
        }
    }
    match signature.outputs.iter().find(|spec| !outputs.iter().any(|(name, _)| *name == spec.name)) {
        Some(spec) => wrong(format!("its output '{}' is missing", spec.name)),
        None => Ok(()),
    }
}

/// The wanted outputs in the order they are wanted; all of them, as they come, when none is named.
pub fn select_outputs(
    model: &str,
    mut outputs: Vec<(String, Tensor)>,
    wanted: Option<&[String]>,
) -> Result<Vec<(String, Tensor)>, ProtocolError> {
    let Some(wanted) = wanted.filter(|names| !names.is_empty()) else {
        return Ok(outputs);
    };
    let mut selected: Vec<(String, Tensor)> = Vec::with_capacity(wanted.len());
    for want in wanted {
        match outputs.iter().position(|(name, _)| name == want) {
            Some(index) => selected.push(outputs.swap_remove(index)),
            None => {
                return Err(unknown_output(
                    model,
                    want,
                    outputs.iter().chain(&selected).map(|(name, _)| name.as_str()),
                ));
            }
        }
    }
    Ok(selected)
}

fn check_given(model: &str, signature: &Signature, request: &PredictRequest) -> Result<(), ProtocolError> {
    check_names(model, signature, request)?;
    for (name, tensor) in &request.inputs {
        let Some(spec) = find(&signature.inputs, name) else {
            continue;
        };
        if tensor.datatype() != spec.datatype {
            return Err(ProtocolError::Mismatch(format!(
                "inference input '{name}' data-type is '{}', but model '{model}' expects '{}'",
                tensor.datatype(),
                spec.datatype
            )));
        }
        if !spec.admits(tensor.shape()) {
            return Err(ProtocolError::Mismatch(format!(
                "unexpected shape for input '{name}' for model '{model}'. Expected {}, got {}",
                dims(&spec.shape),
                dims(tensor.shape())
            )));
        }
    }
    check_requested(model, signature, request)
}

fn check_names(model: &str, signature: &Signature, request: &PredictRequest) -> Result<(), ProtocolError> {
    match request.inputs.iter().find(|(name, _)| find(&signature.inputs, name).is_none()) {
        Some((name, _)) => Err(ProtocolError::Mismatch(format!(
            "unexpected inference input '{name}' for model '{model}'. Its input(s) are {}",
            quoted(signature.inputs.iter().map(|spec| spec.name.as_str()))
        ))),
        None => Ok(()),
    }
}

/// Refuses a wanted output that does not exist before anything is computed for it.
fn check_requested(model: &str, signature: &Signature, request: &PredictRequest) -> Result<(), ProtocolError> {
    if signature.outputs.is_empty() {
        return Ok(());
    }
    let wanted = request.outputs.as_deref().unwrap_or_default();
    match wanted.iter().find(|name| find(&signature.outputs, name).is_none()) {
        Some(name) => Err(unknown_output(model, name, signature.outputs.iter().map(|spec| spec.name.as_str()))),
        None => Ok(()),
    }
}

fn unknown_output<'a>(model: &str, name: &str, known: impl IntoIterator<Item = &'a str>) -> ProtocolError {
    ProtocolError::Mismatch(format!(
        "unexpected inference output '{name}' for model '{model}'. Its output(s) are {}",
        quoted(known)
    ))
}

fn find<'a>(specs: &'a [TensorSpec], name: &str) -> Option<&'a TensorSpec> {
    specs.iter().find(|spec| spec.name == name)
}

/// `['a','b']`
fn quoted<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    let names: Vec<String> = names.into_iter().map(|name| format!("'{name}'")).collect();
    format!("[{}]", names.join(","))
}

/// `[-1,16]`
fn dims<T: ToString>(shape: &[T]) -> String {
    let dims: Vec<String> = shape.iter().map(T::to_string).collect();
    format!("[{}]", dims.join(","))
}

#[cfg(test)]
mod tests;
