//! An inference request to a [`PredictRequest`].
//!
//! Owns the outer form: keys, parameters, names, shapes. Elements are read by `data` in passing if datatype and shape stand
//! before them, as every client writes them, and else afterwards; those that are no JSON, `binary` takes from behind it.
//! Keys it does not know are skipped, so that newer clients work.

use std::borrow::Cow;
use std::collections::HashSet;

use bytes::Bytes;

use super::binary::{BinaryOutputs, Tail};
use super::data::{self, Strings};
use super::element::{Reason, Wrong};
use super::reader::{Reader, Syntax};
use crate::protocol::predict::{Parameter, PredictRequest};
use crate::protocol::{ProtocolError, classify};
use crate::tensor::{Datatype, MAX_RANK, Tensor};

/// Parameters that ask for tensors outside the body. They are refused rather than ignored, because a client that sets
/// them looks for its answer where it asked for it.
const NOT_IN_THE_BODY: [&str; 3] = ["shared_memory_region", "shared_memory_offset", "shared_memory_byte_size"];
/// What other servers keep for themselves.
const RESERVED: &str = "triton_";
/// The bytes of an input that lies behind the JSON.
const BINARY_SIZE: &str = "binary_data_size";
/// Whether a requested output goes out as binary data; where it says nothing, its like for a whole request counts.
const BINARY_OUTPUT: &str = "binary_data";
const BINARY_OUTPUTS: &str = "binary_data_output";
/// An input with this parameter at this value has base64 in place of text: the way to send bytes that are no text, the
/// same as in other servers of the protocol.
const CONTENT_TYPE: &str = "content_type";
const BASE64: &str = "base64";

/// One input, as far as it has been read.
#[derive(Default)]
struct Input<'a> {
    name: Option<String>,
    datatype: Option<Cow<'a, str>>,
    shape: Option<Vec<i64>>,
    parameters: Option<Vec<(String, Parameter)>>,
    /// `null` is none.
    data: Option<Option<Data<'a>>>,
}

/// What an input's `data` is.
enum Data<'a> {
    Read(Tensor),
    /// It begins here.
    Unread(Reader<'a>),
}

/// Why a body is no request.
enum Fault {
    Syntax(Syntax),
    Protocol(ProtocolError),
}

impl From<Syntax> for Fault {
    fn from(syntax: Syntax) -> Self {
        Self::Syntax(syntax)
    }
}

impl From<ProtocolError> for Fault {
    fn from(error: ProtocolError) -> Self {
        Self::Protocol(error)
    }
}

type Parsed = (PredictRequest, BinaryOutputs);

/// The request that `body` holds, and which outputs it wants as binary data. `json_length` is where the JSON ends and
/// binary data begins, as the header `Inference-Header-Content-Length` has it; `None` where all is JSON.
///
/// Binary data and elements of BYTES share the body's storage; numbers are read out of the JSON.
pub fn parse_request(body: &Bytes, json_length: Option<usize>) -> Result<Parsed, ProtocolError> {
    let (json, mut tail) = split(body, json_length)?;
    let read = Reader::new(json).map_err(Fault::Syntax);
    let request = read.and_then(|reader| read_request(body, reader, tail.as_mut())).map_err(|fault| match fault {
        Fault::Syntax(syntax) => malformed(json, syntax),
        Fault::Protocol(error) => error,
    })?;
    tail.map_or(Ok(()), Tail::finish)?;
    Ok(request)
}

fn read_request(body: &Bytes, mut reader: Reader<'_>, mut tail: Option<&mut Tail>) -> Result<Parsed, Fault> {
    let (mut id, mut parameters, mut inputs, mut outputs) = (None, None, None, None);
    reader.object(|reader, key| match &*key {
        "id" => once(&mut id, "id", optional(reader, |reader| Ok(reader.string()?.into_owned()))?),
        "parameters" => once(&mut parameters, "parameters", read_parameters(reader)?),
        "inputs" => once(&mut inputs, "inputs", read_inputs(body, reader, tail.as_deref_mut())?),
        "outputs" => once(&mut outputs, "outputs", optional(reader, read_outputs)?),
        _ => Ok(reader.skip()?),
    })?;
    reader.end()?;
    let inputs = inputs.ok_or_else(|| missing("inputs"))?;
    let mut parameters = parameters.unwrap_or_default();
    let others = take_switch(&mut parameters, BINARY_OUTPUTS)?.unwrap_or(false);
    let wanted = outputs.flatten();
    let (named, classes) = wanted.as_ref().map_or((vec![], vec![]), |all| (all.binary.clone(), all.classes.clone()));
    let outputs = wanted.map(|all| all.names);
    let request = PredictRequest { id: id.flatten(), parameters, inputs, outputs, classes, body_bytes: body.len() };
    Ok((request, BinaryOutputs { others, named }))
}

fn read_inputs(
    body: &Bytes,
    reader: &mut Reader<'_>,
    mut tail: Option<&mut Tail>,
) -> Result<Vec<(String, Tensor)>, Fault> {
    let mut inputs = Vec::with_capacity(1);
    reader.array(|reader| {
        inputs.push(read_input(body, reader, tail.as_deref_mut())?);
        Ok::<_, Fault>(())
    })?;
    match repeated(&inputs) {
        Some(name) => Err(wrong_input(name, "is given more than once".to_owned()).into()),
        None => Ok(inputs),
    }
}

fn read_input(body: &Bytes, reader: &mut Reader<'_>, tail: Option<&mut Tail>) -> Result<(String, Tensor), Fault> {
    let mut input = Input::default();
    reader.object(|reader, key| match &*key {
        "name" => once(&mut input.name, "name", reader.string()?.into_owned()),
        "datatype" => once(&mut input.datatype, "datatype", reader.string()?),
        "shape" => once(&mut input.shape, "shape", read_shape(reader)?),
        "parameters" => once(&mut input.parameters, "parameters", read_parameters(reader)?),
        "data" => {
            let data = optional(reader, |reader| input.read_data(body, reader))?;
            once(&mut input.data, "data", data)
        }
        _ => Ok(reader.skip()?),
    })?;
    let name = input.name.take().ok_or_else(|| missing("name"))?;
    match input.into_tensor(body, tail) {
        Ok(tensor) => Ok((name, tensor)),
        Err(wrong) => Err(fault(&name, wrong)),
    }
}

impl<'a> Input<'a> {
    /// The data that comes next, if it is known by now whose and of what kind it is. Strings may be base64, which is known
    /// only in the end.
    fn read_data(&self, body: &Bytes, reader: &mut Reader<'a>) -> Result<Data<'a>, Fault> {
        if let (Some(name), Some(Ok(datatype)), Some(Ok(shape))) = (&self.name, self.datatype(), self.shape())
            && datatype != Datatype::Bytes
        {
            let tensor = data::read(body, reader, datatype, shape, Strings::Text);
            return tensor.map(Data::Read).map_err(|wrong| fault(name, wrong));
        }
        let here = *reader;
        reader.skip()?;
        Ok(Data::Unread(here.until(reader)))
    }

    fn into_tensor(mut self, body: &Bytes, tail: Option<&mut Tail>) -> Result<Tensor, Wrong> {
        let required = |field: &str| Wrong::Reason(format!("missing field `{field}`"));
        let datatype = self.datatype().ok_or_else(|| required("datatype"))??;
        let shape = self.shape().ok_or_else(|| required("shape"))?;
        let parameters = self.parameters.take().unwrap_or_default();
        let parameter = |wanted: &str| parameters.iter().find(|(name, _)| name == wanted).map(|(_, value)| value);
        let base64 = matches!(parameter(CONTENT_TYPE), Some(Parameter::Text(text)) if text == BASE64);
        if base64 && datatype != Datatype::Bytes {
            return Err(
                format!("its {CONTENT_TYPE} is {BASE64}, which only BYTES can have, but it is {datatype}").into()
            );
        }
        match (self.data.flatten(), parameter(BINARY_SIZE)) {
            (Some(Data::Read(tensor)), None) => Ok(tensor),
            (Some(Data::Unread(mut reader)), None) => {
                let strings = if base64 { Strings::Base64 } else { Strings::Text };
                data::read(body, &mut reader, datatype, shape?, strings)
            }
            (None, Some(size)) => {
                let size = binary_size(size).map_err(str::to_owned)?;
                let tail = tail.ok_or_else(|| {
                    "it has a binary_data_size, which needs the header Inference-Header-Content-Length: the length of the \
                     JSON, behind which the binary data begins"
                        .to_owned()
                })?;
                Ok(tail.take(size, datatype, shape?)?)
            }
            (Some(_), Some(_)) => Err("it has both data and a binary_data_size".to_owned().into()),
            (None, None) => Err("it has no data".to_owned().into()),
        }
    }

    fn datatype(&self) -> Option<Result<Datatype, Reason>> {
        let name = self.datatype.as_deref()?;
        Some(name.parse().map_err(|_| format!("'{name}' is not a datatype of the Open Inference Protocol")))
    }

    fn shape(&self) -> Option<Result<Vec<usize>, Reason>> {
        let shape = self.shape.as_ref()?;
        // Before anything else is said of it: messages repeat the whole of it.
        if shape.len() > MAX_RANK {
            return Some(Err(format!("its shape has {} dimensions; at most {MAX_RANK} are possible", shape.len())));
        }
        let dims = shape.iter().map(|&dim| usize::try_from(dim).ok());
        Some(dims.collect::<Option<_>>().ok_or_else(|| format!("its shape {shape:?} has a negative dimension")))
    }
}

/// Keeps a field's value. A field that comes twice is refused: clients disagree on which one counts.
fn once<T>(field: &mut Option<T>, name: &str, value: T) -> Result<(), Fault> {
    match field.replace(value) {
        None => Ok(()),
        Some(_) => Err(ProtocolError::Malformed(format!("duplicate field `{name}`")).into()),
    }
}

/// `null` is what some clients send for what is not there.
fn optional<'a, T>(
    reader: &mut Reader<'a>,
    read: impl FnOnce(&mut Reader<'a>) -> Result<T, Fault>,
) -> Result<Option<T>, Fault> {
    if reader.null()? { Ok(None) } else { read(reader).map(Some) }
}

fn missing(field: &str) -> ProtocolError {
    ProtocolError::Malformed(format!("missing field `{field}`"))
}

fn wrong_input(name: &str, reason: Reason) -> ProtocolError {
    ProtocolError::Input { input: name.to_owned(), reason }
}

fn fault(name: &str, wrong: Wrong) -> Fault {
    match wrong {
        Wrong::Syntax(syntax) => syntax.into(),
        Wrong::Reason(reason) => wrong_input(name, reason).into(),
    }
}

fn read_shape(reader: &mut Reader<'_>) -> Result<Vec<i64>, Fault> {
    let mut shape = Vec::with_capacity(4);
    reader.array(|reader| {
        reader.peek()?;
        let here = *reader;
        let dim = reader.scalar()?.parse().map_err(|_| here.error("invalid type: expected an integer of 64 bits"))?;
        shape.push(dim);
        Ok::<_, Fault>(())
    })?;
    Ok(shape)
}

/// A name that more than one input has.
fn repeated(inputs: &[(String, Tensor)]) -> Option<&str> {
    /// So few are compared sooner than hashed.
    const FEW: usize = 8;
    let mut names = inputs.iter().map(|(name, _)| name.as_str()).enumerate();
    if inputs.len() <= FEW {
        return names.find(|(at, name)| inputs[..*at].iter().any(|(other, _)| other == name)).map(|(_, name)| name);
    }
    let mut seen = HashSet::with_capacity(inputs.len());
    names.find(|(_, name)| !seen.insert(*name)).map(|(_, name)| name)
}

/// The JSON and what is behind it.
fn split(body: &Bytes, json_length: Option<usize>) -> Result<(&[u8], Option<Tail>), ProtocolError> {
    let Some(length) = json_length else { return Ok((body, None)) };
    let json = body.get(..length).ok_or_else(|| {
        let got = body.len();
        ProtocolError::Malformed(format!(
            "its JSON has {length} bytes (Inference-Header-Content-Length), but all of it has {got}"
        ))
    })?;
    Ok((json, Some(Tail::new(body.slice(length..)))))
}

fn binary_size(value: &Parameter) -> Result<usize, &'static str> {
    match value {
        Parameter::Int(size) => usize::try_from(*size).ok(),
        Parameter::Bool(_) | Parameter::Double(_) | Parameter::Text(_) => None,
    }
    .ok_or("its binary_data_size must be a number of bytes")
}

/// The wanted outputs.
#[derive(Default)]
struct Outputs {
    names: Vec<String>,
    /// Those that say whether they are to be binary data.
    binary: Vec<(String, bool)>,
    /// Those of which the largest elements alone are wanted.
    classes: Vec<(String, usize)>,
}

fn read_outputs(reader: &mut Reader<'_>) -> Result<Outputs, Fault> {
    let mut outputs = Outputs::default();
    reader.array(|reader| {
        let (mut name, mut parameters) = (None, None);
        reader.object(|reader, key| match &*key {
            "name" => once(&mut name, "name", reader.string()?.into_owned()),
            "parameters" => once(&mut parameters, "parameters", read_parameters(reader)?),
            _ => Ok(reader.skip()?),
        })?;
        let name = name.ok_or_else(|| missing("name"))?;
        let mut parameters = parameters.unwrap_or_default();
        if let Some(wish) = take_switch(&mut parameters, BINARY_OUTPUT)? {
            outputs.binary.push((name.clone(), wish));
        }
        if let Some(count) = classify::wanted(&parameters)? {
            outputs.classes.push((name.clone(), count));
        }
        outputs.names.push(name);
        Ok::<_, Fault>(())
    })?;
    Ok(outputs)
}

/// Takes a parameter that speaks to the protocol and not to the function.
fn take_switch(parameters: &mut Vec<(String, Parameter)>, name: &str) -> Result<Option<bool>, ProtocolError> {
    let Some(index) = parameters.iter().position(|(other, _)| other == name) else { return Ok(None) };
    match parameters.remove(index) {
        (_, Parameter::Bool(value)) => Ok(Some(value)),
        (name, _) => Err(ProtocolError::Parameter { name, reason: "must be true or false".to_owned() }),
    }
}

fn read_parameters(reader: &mut Reader<'_>) -> Result<Vec<(String, Parameter)>, Fault> {
    let mut parameters = Vec::new();
    if reader.null()? {
        return Ok(parameters);
    }
    reader.object(|reader, name| {
        let name = name.into_owned();
        let value = match reader.peek()? {
            b'[' | b'{' => {
                reader.skip()?;
                Err(NO_PARAMETER)
            }
            _ => read_parameter(reader.scalar()?),
        };
        let value =
            value.map_err(|reason| ProtocolError::Parameter { name: name.clone(), reason: reason.to_owned() })?;
        if NOT_IN_THE_BODY.contains(&name.as_str()) {
            return Err(ProtocolError::Unsupported(format!(
                "parameter '{name}' is not supported: this server takes and gives tensors in the body only, as JSON or \
                 binary data; turn shared memory off in the client"
            ))
            .into());
        }
        if name.starts_with(RESERVED) {
            let reason = format!("parameters whose names start with '{RESERVED}' are reserved");
            return Err(ProtocolError::Parameter { name, reason }.into());
        }
        parameters.push((name, value));
        Ok::<_, Fault>(())
    })?;
    Ok(parameters)
}

const NO_PARAMETER: &str = "must be a boolean, a number or a string";

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
        _ => Err(NO_PARAMETER),
    }
}

/// The error for a body that is no request, with a hint where the reason is a number that JSON does not have.
fn malformed(json: &[u8], syntax: Syntax) -> ProtocolError {
    let (before, rest) = json.split_at(syntax.at);
    let line = before.iter().filter(|&&byte| byte == b'\n').count() + 1;
    let column = before.iter().rev().take_while(|&&byte| byte != b'\n').count() + 1;
    let special = [&b"NaN"[..], b"Infinity", b"-Infinity"].iter().any(|name| rest.starts_with(name));
    let hint = if special {
        "; JSON has no NaN and no infinities: write them as the strings \"NaN\", \"Infinity\" and \"-Infinity\""
    } else {
        ""
    };
    ProtocolError::Malformed(format!("{} at line {line} column {column}{hint}", syntax.what))
}
