//! KServe's V1 protocol, which is TensorFlow Serving's: `{"instances": [...]}` or `{"inputs": ...}` to `{"predictions": [...]}`.
//!
//! <https://kserve.github.io/website/docs/concepts/architecture/data-plane/v1-protocol>. It has no datatypes and no shapes: these follow
//! from the function's signature and from how the lists nest. It is put into the words of the V2 protocol and back, so that both
//! take and give the same numbers.

use bytes::Bytes;
use serde_json::{Map, Value, json};
use utoipa::ToSchema;

use super::ProtocolError;
use super::oip_json::{self, BinaryOutputs};
use super::predict::PredictRequest;
use crate::tensor::{Datatype, Signature, Tensor, TensorSpec, element_count};

/// What an answer's values are called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answers {
    Predictions,
    Explanations,
}

/// What an answer looks like: rows of values or of objects where there are several outputs, an object of lists where these do not
/// have the same number of rows, or a value without rows.
#[derive(ToSchema)]
#[schema(as = V1Predictions)]
pub struct Predictions {
    pub predictions: Value,
}

/// The same of what explains an answer.
#[derive(ToSchema)]
#[schema(as = V1Explanations)]
pub struct Explanations {
    pub explanations: Value,
}

/// What a request's body looks like: rows, or columns.
#[derive(ToSchema)]
#[schema(as = V1Request)]
#[serde(untagged)]
pub enum Request {
    Rows {
        /// Of the only input, or objects that name inputs.
        #[schema(min_items = 1)]
        instances: Vec<Value>,
    },
    Columns {
        /// An object of inputs by name, or the only input.
        inputs: Value,
    },
}

/// The request that a body is.
pub fn parse_request(model: &str, signature: &Signature, body: &[u8]) -> Result<PredictRequest, ProtocolError> {
    let malformed = |reason: String| ProtocolError::Malformed(reason);
    let body: Value = serde_json::from_slice(body).map_err(|error| malformed(error.to_string()))?;
    let Value::Object(mut body) = body else { return Err(malformed("it must be an object".into())) };
    let columns = match (body.remove("instances"), body.remove("inputs")) {
        (Some(Value::Array(instances)), None) => by_row(model, signature, instances)?,
        (None, Some(Value::Object(inputs))) if !is_base64(&inputs) => inputs.into_iter().collect(),
        (None, Some(inputs)) => vec![(only_input(model, signature)?, inputs)],
        (Some(_), None) => return Err(malformed("`instances` must be a list".into())),
        (Some(_), Some(_)) => return Err(malformed("it has both `instances` and `inputs`; give one".into())),
        (None, None) => return Err(malformed("it has neither `instances` nor `inputs`".into())),
    };
    let inputs: Vec<Value> = columns
        .into_iter()
        .map(|(name, values)| {
            let spec = signature.inputs.iter().find(|spec| spec.name == name);
            input(&name, spec, values).map_err(|reason| ProtocolError::Input { input: name.clone(), reason })
        })
        .collect::<Result<_, _>>()?;
    let request = Bytes::from(json!({"inputs": inputs}).to_string());
    Ok(oip_json::parse_request(&request, None)?.0)
}

/// Each instance is a row: of the only input, or of those that it names.
fn by_row(model: &str, signature: &Signature, instances: Vec<Value>) -> Result<Vec<(String, Value)>, ProtocolError> {
    let named = |instance: &Value| matches!(instance, Value::Object(fields) if !is_base64(fields));
    match instances.first() {
        None => Err(ProtocolError::Malformed("`instances` is empty".into())),
        Some(first) if !named(first) => Ok(vec![(only_input(model, signature)?, Value::Array(instances))]),
        Some(_) => {
            let mut columns: Vec<(String, Value)> = Vec::new();
            for (row, instance) in instances.into_iter().enumerate() {
                let differs =
                    || ProtocolError::Malformed(format!("instance {row} does not name the inputs that the first does"));
                let Value::Object(fields) = instance else { return Err(differs()) };
                if row > 0 && fields.len() != columns.len() {
                    return Err(differs());
                }
                for (name, value) in fields {
                    match columns.iter_mut().find(|(known, _)| *known == name) {
                        Some((_, Value::Array(column))) => column.push(value),
                        _ if row == 0 => columns.push((name, Value::Array(vec![value]))),
                        _ => return Err(differs()),
                    }
                }
            }
            Ok(columns)
        }
    }
}

fn only_input(model: &str, signature: &Signature) -> Result<String, ProtocolError> {
    match signature.inputs.as_slice() {
        [spec] => Ok(spec.name.clone()),
        specs => {
            let names: Vec<String> = specs.iter().map(|spec| format!("'{}'", spec.name)).collect();
            Err(ProtocolError::Mismatch(format!(
                "model '{model}' has {} inputs ({}): name those that you give, as in {{\"instances\": [{{\"name\": ...}}]}}",
                specs.len(),
                names.join(", ")
            )))
        }
    }
}

/// TensorFlow Serving's form of bytes that are no text.
fn is_base64(fields: &Map<String, Value>) -> bool {
    fields.len() == 1 && fields.get("b64").is_some_and(Value::is_string)
}

/// An input in the words of V2. Where the signature says nothing of it, its type is what its first value looks like.
fn input(name: &str, spec: Option<&TensorSpec>, mut values: Value) -> Result<Value, String> {
    let mut shape = Vec::new();
    let mut first = &values;
    while let Value::Array(elements) = first {
        shape.push(elements.len());
        match elements.first() {
            Some(element) => first = element,
            None => break,
        }
    }
    let datatype = spec.map_or_else(|| look(first), |spec| spec.datatype);
    if !values.is_array() {
        values = Value::Array(vec![values]);
    }
    let mut parameters = json!({});
    if datatype == Datatype::Bytes && has_base64(&values) {
        as_base64(&mut values);
        parameters = json!({"content_type": "base64"});
    }
    if !nests_evenly(&values, &shape) {
        return Err("its lists are not all of the same length".into());
    }
    Ok(json!({"name": name, "datatype": datatype.name(), "shape": shape, "parameters": parameters, "data": values}))
}

fn look(value: &Value) -> Datatype {
    match value {
        Value::Bool(_) => Datatype::Bool,
        Value::Number(number) if number.is_i64() => Datatype::Int64,
        Value::String(_) | Value::Object(_) => Datatype::Bytes,
        _ => Datatype::Fp32,
    }
}

fn nests_evenly(value: &Value, shape: &[usize]) -> bool {
    match (value, shape) {
        (Value::Array(elements), [length, rest @ ..]) => {
            elements.len() == *length && elements.iter().all(|element| nests_evenly(element, rest))
        }
        // A scalar was put into a list of its own.
        (Value::Array(elements), []) => elements.len() == 1 && !elements[0].is_array(),
        (_, shape) => shape.is_empty(),
    }
}

fn has_base64(value: &Value) -> bool {
    match value {
        Value::Array(elements) => elements.iter().any(has_base64),
        Value::Object(fields) => is_base64(fields),
        _ => false,
    }
}

/// All of them, since V2 says it for a whole input.
fn as_base64(value: &mut Value) {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    match value {
        Value::Array(elements) => elements.iter_mut().for_each(as_base64),
        Value::Object(fields) if is_base64(fields) => *value = fields.remove("b64").unwrap_or_default(),
        Value::String(text) => *text = STANDARD.encode(text.as_bytes()),
        _ => {}
    }
}

/// The body of an answer: a list of rows, each a value where there is one output, and else an object of all of them. Outputs that
/// do not have the same number of rows are an object of lists.
pub fn write_response(answers: Answers, outputs: &[(String, Tensor)]) -> Result<Vec<u8>, ProtocolError> {
    let written = oip_json::write_response("", "", None, outputs, &BinaryOutputs::default())?;
    let unreadable = |error: serde_json::Error| ProtocolError::Answer(error.to_string());
    let mut written: Value = serde_json::from_slice(&written.json).map_err(unreadable)?;
    let columns: Vec<(&str, Value)> = outputs
        .iter()
        .zip(written["outputs"].as_array_mut().into_iter().flatten())
        .map(|((name, tensor), output)| Ok((name.as_str(), nested(name, &mut output["data"], tensor.shape())?)))
        .collect::<Result<_, ProtocolError>>()?;
    let values = match columns.as_slice() {
        [(_, value)] => value.clone(),
        columns => rows(columns).unwrap_or_else(|| columns.iter().cloned().collect()),
    };
    let name = match answers {
        Answers::Predictions => "predictions",
        Answers::Explanations => "explanations",
    };
    serde_json::to_vec(&json!({name: values})).map_err(unreadable)
}

/// A flat list as lists in lists.
fn nested(name: &str, data: &mut Value, shape: &[usize]) -> Result<Value, ProtocolError> {
    /// The most lists with nothing in them: there could be any number, since they take no memory in a tensor.
    const MAX_EMPTY: usize = 1 << 16;
    let mut level = match data.take() {
        Value::Array(elements) => elements,
        _ => Vec::new(),
    };
    for at in (1..shape.len()).rev() {
        let lists = element_count(&shape[..at]).filter(|&lists| lists <= level.len().max(MAX_EMPTY));
        let lists = lists.ok_or_else(|| ProtocolError::Unwritable {
            output: name.to_owned(),
            reason: format!("its shape {shape:?} is of more than {MAX_EMPTY} empty lists"),
        })?;
        let mut rest = level.into_iter();
        level = (0..lists).map(|_| rest.by_ref().take(shape[at]).collect()).collect();
    }
    Ok(if shape.is_empty() { level.pop().unwrap_or_default() } else { Value::Array(level) })
}

fn rows(columns: &[(&str, Value)]) -> Option<Value> {
    let count = columns.first()?.1.as_array()?.len();
    let lists: Vec<&Vec<Value>> = columns.iter().map(|(_, value)| value.as_array()).collect::<Option<_>>()?;
    if lists.iter().any(|list| list.len() != count) {
        return None;
    }
    let row = |at: usize| -> Value {
        columns.iter().zip(&lists).map(|((name, _), list)| ((*name).to_owned(), list[at].clone())).collect()
    };
    Some((0..count).map(row).collect())
}

#[cfg(test)]
mod tests;
