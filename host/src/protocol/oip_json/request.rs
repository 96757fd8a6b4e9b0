//! An inference request to a [`PredictRequest`].
//!
//! Owns the outer form: keys, parameters, names, shapes. The elements themselves are left as text on the first pass
//! and read by `data` once datatype and shape are known; those that are no JSON, `binary` takes from behind it. Keys it
//! does not know are skipped, so that newer clients work.

use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt;

use bytes::Bytes;
use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::binary::{BinaryOutputs, Tail};
use super::data::{self, Strings};
use crate::protocol::ProtocolError;
use crate::protocol::predict::{Parameter, PredictRequest};
use crate::tensor::{Datatype, Tensor};

/// Parameters that ask for tensors outside the body. They are refused rather than ignored, because a client that sets
/// them looks for its answer where it asked for it.
const NOT_IN_THE_BODY: [&str; 4] =
    ["shared_memory_region", "shared_memory_offset", "shared_memory_byte_size", "classification"];
/// The bytes of an input that lies behind the JSON.
const BINARY_SIZE: &str = "binary_data_size";
/// Whether a requested output goes out as binary data; where it says nothing, its like for a whole request counts.
const BINARY_OUTPUT: &str = "binary_data";
const BINARY_OUTPUTS: &str = "binary_data_output";
/// An input with this parameter at this value has base64 in place of text: the way to send bytes that are no text, the
/// same as in other servers of the protocol.
const CONTENT_TYPE: &str = "content_type";
const BASE64: &str = "base64";

#[derive(Deserialize)]
struct WireRequest<'a> {
    id: Option<String>,
    #[serde(borrow, default)]
    parameters: WireParameters<'a>,
    #[serde(borrow)]
    inputs: Vec<WireInput<'a>>,
    #[serde(borrow)]
    outputs: Option<Vec<WireOutput<'a>>>,
}

#[derive(Deserialize)]
struct WireInput<'a> {
    name: String,
    #[serde(borrow)]
    datatype: Cow<'a, str>,
    shape: Vec<i64>,
    #[serde(borrow, default)]
    parameters: WireParameters<'a>,
    #[serde(borrow)]
    data: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct WireOutput<'a> {
    name: String,
    #[serde(borrow, default)]
    parameters: WireParameters<'a>,
}

/// A `parameters` object, in order, its values still text.
#[derive(Default)]
struct WireParameters<'a>(Vec<(String, &'a RawValue)>);

/// The request that `body` holds, and which outputs it wants as binary data. `json_length` is where the JSON ends and
/// binary data begins, as the header `Inference-Header-Content-Length` has it; `None` where all is JSON.
///
/// Binary data and elements of BYTES share the body's storage; numbers are read out of the JSON.
pub fn parse_request(
    body: &Bytes,
    json_length: Option<usize>,
) -> Result<(PredictRequest, BinaryOutputs), ProtocolError> {
    let (json, mut tail) = split(body, json_length)?;
    let wire: WireRequest<'_> = serde_json::from_slice(json).map_err(|error| malformed(json, &error))?;
    let mut parameters = read_parameters(&wire.parameters)?;
    let mut binary =
        BinaryOutputs { others: take_switch(&mut parameters, BINARY_OUTPUTS)?.unwrap_or(false), named: vec![] };
    let mut inputs: Vec<(String, Tensor)> = Vec::with_capacity(wire.inputs.len());
    if let Some(name) = repeated(&wire.inputs) {
        return Err(ProtocolError::Input { input: name.to_owned(), reason: "is given more than once".to_owned() });
    }
    for input in wire.inputs {
        inputs.push(read_input(body, tail.as_mut(), input)?);
    }
    tail.map_or(Ok(()), Tail::finish)?;
    let outputs = match wire.outputs {
        None => None,
        Some(outputs) => Some(read_outputs(outputs, &mut binary)?),
    };
    Ok((PredictRequest { id: wire.id, parameters, inputs, outputs, body_bytes: body.len() }, binary))
}

/// A name that more than one input has.
fn repeated<'a>(inputs: &'a [WireInput<'_>]) -> Option<&'a str> {
    /// So few are compared sooner than hashed.
    const FEW: usize = 8;
    let mut names = inputs.iter().map(|input| input.name.as_str()).enumerate();
    if inputs.len() <= FEW {
        return names.find(|(at, name)| inputs[..*at].iter().any(|other| other.name == *name)).map(|(_, name)| name);
    }
    let mut seen = HashSet::with_capacity(inputs.len());
    names.find(|(_, name)| !seen.insert(*name)).map(|(_, name)| name)
}

/// The JSON and what is behind it.
fn split(body: &Bytes, json_length: Option<usize>) -> Result<(&[u8], Option<Tail>), ProtocolError> {
    let Some(length) = json_length else { return Ok((body, None)) };
    if length == 0 {
        return Err(ProtocolError::Unsupported(
            "a body of binary data alone (Inference-Header-Content-Length: 0) is not supported: put JSON before it that \
             says which inputs it holds"
                .to_owned(),
        ));
    }
    let json = body.get(..length).ok_or_else(|| {
        let got = body.len();
        ProtocolError::Malformed(format!(
            "its JSON has {length} bytes (Inference-Header-Content-Length), but all of it has {got}"
        ))
    })?;
    Ok((json, Some(Tail::new(body.slice(length..)))))
}

fn read_input(body: &Bytes, tail: Option<&mut Tail>, input: WireInput<'_>) -> Result<(String, Tensor), ProtocolError> {
    let parameters = read_parameters(&input.parameters)?;
    match read_tensor(body, tail, &input, &parameters) {
        Ok(tensor) => Ok((input.name, tensor)),
        Err(reason) => Err(ProtocolError::Input { input: input.name, reason }),
    }
}

fn read_tensor(
    body: &Bytes,
    tail: Option<&mut Tail>,
    input: &WireInput<'_>,
    parameters: &[(String, Parameter)],
) -> Result<Tensor, String> {
    let datatype: Datatype = (input.datatype.parse())
        .map_err(|_| format!("'{}' is not a datatype of the Open Inference Protocol", input.datatype))?;
    let shape = (input.shape.iter())
        .map(|&dim| usize::try_from(dim).map_err(|_| format!("its shape {:?} has a negative dimension", input.shape)))
        .collect::<Result<Vec<usize>, String>>()?;
    let size = parameters.iter().find(|(name, _)| name == BINARY_SIZE).map(|(_, value)| value);
    let text = match (input.data, size) {
        (Some(text), None) => text,
        (None, Some(size)) => {
            let size = binary_size(size)?;
            let tail = tail.ok_or(
                "it has a binary_data_size, which needs the header Inference-Header-Content-Length: the length of the \
                 JSON, behind which the binary data begins",
            )?;
            return tail.take(size, datatype, shape);
        }
        (Some(_), Some(_)) => return Err("it has both data and a binary_data_size".to_owned()),
        (None, None) => return Err("it has no data".to_owned()),
    };
    let base64 =
        (parameters.iter()).any(|(name, value)| name == CONTENT_TYPE && *value == Parameter::Text(BASE64.to_owned()));
    let strings = if base64 { Strings::Base64 } else { Strings::Text };
    if base64 && datatype != Datatype::Bytes {
        return Err(format!("its {CONTENT_TYPE} is {BASE64}, which only BYTES can have, but it is {datatype}"));
    }
    data::read(body, text.get(), datatype, shape, strings)
}

fn binary_size(value: &Parameter) -> Result<usize, &'static str> {
    match value {
        Parameter::Int(size) => usize::try_from(*size).ok(),
        Parameter::Bool(_) | Parameter::Double(_) | Parameter::Text(_) => None,
    }
    .ok_or("its binary_data_size must be a number of bytes")
}

fn read_outputs(outputs: Vec<WireOutput<'_>>, binary: &mut BinaryOutputs) -> Result<Vec<String>, ProtocolError> {
    (outputs.into_iter())
        .map(|output| {
            if let Some(wish) = take_switch(&mut read_parameters(&output.parameters)?, BINARY_OUTPUT)? {
                binary.named.push((output.name.clone(), wish));
            }
            Ok(output.name)
        })
        .collect()
}

/// Takes a parameter that speaks to the protocol and not to the function.
fn take_switch(parameters: &mut Vec<(String, Parameter)>, name: &str) -> Result<Option<bool>, ProtocolError> {
    let Some(index) = parameters.iter().position(|(other, _)| other == name) else { return Ok(None) };
    match parameters.remove(index) {
        (_, Parameter::Bool(value)) => Ok(Some(value)),
        (name, _) => Err(ProtocolError::Parameter { name, reason: "must be true or false".to_owned() }),
    }
}

fn read_parameters(parameters: &WireParameters<'_>) -> Result<Vec<(String, Parameter)>, ProtocolError> {
    (parameters.0.iter())
        .map(|(name, text)| {
            let value = read_parameter(text.get())
                .map_err(|reason| ProtocolError::Parameter { name: name.clone(), reason: reason.to_owned() })?;
            if NOT_IN_THE_BODY.contains(&name.as_str()) {
                return Err(ProtocolError::Unsupported(format!(
                    "parameter '{name}' is not supported: this server takes and gives tensors in the body only, as JSON or \
                     binary data; turn shared memory and classification off in the client"
                )));
            }
            Ok((name.clone(), value))
        })
        .collect()
}

fn read_parameter(text: &str) -> Result<Parameter, &'static str> {
    match text.as_bytes().first() {
        Some(b't' | b'f') => Ok(Parameter::Bool(text == "true")),
        Some(b'"') => serde_json::from_str(text)
            .map(Parameter::Text)
            .map_err(|_| "its text has an escape that stands for no character"),
        Some(b'-' | b'0'..=b'9') if text.contains(['.', 'e', 'E']) => (text.parse().ok())
            .filter(|value: &f64| value.is_finite())
            .map(Parameter::Double)
            .ok_or("its number is beyond the range of a double"),
        Some(b'-' | b'0'..=b'9') => text.parse().map(Parameter::Int).map_err(|_| "its integer does not fit 64 bits"),
        _ => Err("must be a boolean, a number or a string"),
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for WireParameters<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Parameters;
        impl<'de> Visitor<'de> for Parameters {
            type Value = WireParameters<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of parameters")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut parameters = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    parameters.push(entry);
                }
                Ok(WireParameters(parameters))
            }

            // `"parameters": null` is what some clients send for none.
            fn visit_unit<E>(self) -> Result<Self::Value, E> {
                Ok(WireParameters::default())
            }
        }
        deserializer.deserialize_any(Parameters)
    }
}

/// The error for a body that is no request, with a hint where the reason is a number that JSON does not have.
fn malformed(body: &[u8], error: &serde_json::Error) -> ProtocolError {
    let mut reason = error.to_string();
    if error.is_syntax() && stands_at_a_special_number(body, error) {
        reason.push_str(
            "; JSON has no NaN and no infinities: write them as the strings \"NaN\", \"Infinity\" and \"-Infinity\"",
        );
    }
    ProtocolError::Malformed(reason)
}

fn stands_at_a_special_number(body: &[u8], error: &serde_json::Error) -> bool {
    let before: usize =
        body.split_inclusive(|&b| b == b'\n').take(error.line().saturating_sub(1)).map(<[u8]>::len).sum();
    // serde_json points at the offending byte or at the one before it.
    let column = before + error.column();
    (column.saturating_sub(2)..=column)
        .filter_map(|at| body.get(at..))
        .any(|rest| [&b"NaN"[..], b"Infinity"].iter().any(|name| rest.starts_with(name)))
}
