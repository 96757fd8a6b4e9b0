//! An inference request to a [`PredictRequest`].
//!
//! Owns the outer form: keys, parameters, names, shapes. Elements are read by `data` in passing if datatype and shape stand
//! before them, as every client writes them, and else afterwards; those that are no JSON, `binary` takes from behind it.
//! Keys it does not know are skipped, so that newer clients work.

use std::borrow::Cow;

use bytes::Bytes;

use super::Halves;
use super::binary::{BinaryOutputs, Tail};
use super::data::{self, Strings};
use crate::protocol::json::reader::{MINUS_INFINITY, Reader};
use crate::protocol::json::{Fault, once};
use crate::protocol::predict::{MAX_PARTS, Parameter, PredictRequest};
use crate::protocol::{ProtocolError, classify};
use crate::tensor::{Datatype, MAX_RANK, Tensor};

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

/// What is wrong with an input, as a part of a sentence.
type Reason = String;

/// Whom a request asks, and in what form it may be.
#[derive(Clone, Copy)]
struct Asked<'a> {
    model: &'a str,
    halves: Halves,
}

type Parsed = (PredictRequest, BinaryOutputs);

/// The request that `body` holds, and which outputs it wants as binary data. `json_length` is where the JSON ends and
/// binary data begins, as the header `Inference-Header-Content-Length` has it; `None` where all is JSON.
///
/// Binary data shares the body's storage; what is JSON is read out of it.
pub fn parse_request(
    model: &str,
    body: &Bytes,
    json_length: Option<usize>,
    halves: Halves,
) -> Result<Parsed, ProtocolError> {
    let (json, mut tail) = split(body, json_length)?;
    let asked = Asked { model, halves };
    let read = Reader::new(json).map_err(Fault::Syntax).and_then(|reader| read_request(asked, reader, tail.as_mut()));
    let (mut request, binary) = read.map_err(|fault| fault.told(json))?;
    request.check()?;
    tail.map_or(Ok(()), |tail| tail.finish(model))?;
    request.body_bytes = body.len();
    Ok((request, binary))
}

fn read_request(asked: Asked<'_>, mut reader: Reader<'_>, mut tail: Option<&mut Tail>) -> Result<Parsed, Fault> {
    let (mut id, mut parameters, mut inputs, mut outputs) = (None, None, None, None);
    reader.object(|reader, key| match &*key {
        "id" => once(&mut id, "id", optional(reader, |reader| Ok(reader.string()?.into_owned()))?),
        "parameters" => once(&mut parameters, "parameters", read_parameters(reader)?),
        "inputs" => once(&mut inputs, "inputs", read_inputs(asked, reader, tail.as_deref_mut())?),
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
    let request = PredictRequest { id: id.flatten(), parameters, inputs, outputs, classes, body_bytes: 0 };
    Ok((request, BinaryOutputs { others, named, halves: asked.halves }))
}

fn read_inputs(
    asked: Asked<'_>,
    reader: &mut Reader<'_>,
    mut tail: Option<&mut Tail>,
) -> Result<Vec<(String, Tensor)>, Fault> {
    let mut inputs = Vec::with_capacity(1);
    reader.array(|reader| {
        check_count(inputs.len(), "inputs")?;
        inputs.push(read_input(asked, reader, tail.as_deref_mut())?);
        Ok::<_, Fault>(())
    })?;
    Ok(inputs)
}

fn read_input(asked: Asked<'_>, reader: &mut Reader<'_>, tail: Option<&mut Tail>) -> Result<(String, Tensor), Fault> {
    let mut input = Input::default();
    reader.object(|reader, key| match &*key {
        "name" => once(&mut input.name, "name", reader.string()?.into_owned()),
        "datatype" => once(&mut input.datatype, "datatype", reader.string()?),
        "shape" => once(&mut input.shape, "shape", read_shape(reader)?),
        "parameters" => once(&mut input.parameters, "parameters", read_parameters(reader)?),
        "data" => {
            let data = optional(reader, |reader| input.read_data(asked, reader))?;
            once(&mut input.data, "data", data)
        }
        _ => Ok(reader.skip()?),
    })?;
    let name = input.name.take().ok_or_else(|| missing("name"))?;
    let tensor = input.into_tensor(asked, &name, tail)?;
    Ok((name, tensor))
}

impl Asked<'_> {
    /// Whether elements of the type may be JSON.
    fn takes(self, datatype: Datatype) -> bool {
        self.halves == Halves::Numbers || !Halves::are(datatype)
    }
}

impl<'a> Input<'a> {
    /// The data that comes next, if it is known by now whose and of what kind it is. Strings may be base64, which is known
    /// only in the end.
    fn read_data(&self, asked: Asked<'_>, reader: &mut Reader<'a>) -> Result<Data<'a>, Fault> {
        if let (Some(name), Some(Ok(datatype)), Some(Ok(shape))) = (&self.name, self.datatype(), self.shape())
            && datatype != Datatype::Bytes
            && asked.takes(datatype)
        {
            let tensor = data::read(reader, datatype, shape, Strings::Text);
            return tensor.map(Data::Read).map_err(|wrong| wrong.of(name, asked.model));
        }
        let here = *reader;
        reader.skip()?;
        Ok(Data::Unread(here.until(reader)))
    }

    fn into_tensor(mut self, asked: Asked<'_>, name: &str, tail: Option<&mut Tail>) -> Result<Tensor, Fault> {
        let wrong = |reason: Reason| ProtocolError::Input { input: name.to_owned(), reason };
        let required = |field: &str| wrong(format!("missing field `{field}`"));
        let datatype = self.datatype().ok_or_else(|| required("datatype"))?.map_err(wrong)?;
        let shape = self.shape().ok_or_else(|| required("shape"))?;
        let parameters = self.parameters.take().unwrap_or_default();
        let parameter = |wanted: &str| parameters.iter().find(|(name, _)| name == wanted).map(|(_, value)| value);
        let base64 = matches!(parameter(CONTENT_TYPE), Some(Parameter::Text(text)) if text == BASE64);
        if base64 && datatype != Datatype::Bytes {
            let reason = format!("its {CONTENT_TYPE} is {BASE64}, which only BYTES can have, but it is {datatype}");
            return Err(wrong(reason).into());
        }
        match (self.data.flatten(), parameter(BINARY_SIZE)) {
            (Some(_), None) if !asked.takes(datatype) => Err(ProtocolError::Mismatch(format!(
                "receiving {datatype} data via JSON is not supported. Please use the binary data format for input {name}"
            ))
            .into()),
            (Some(Data::Read(tensor)), None) => Ok(tensor),
            (Some(Data::Unread(mut reader)), None) => {
                let strings = if base64 { Strings::Base64 } else { Strings::Text };
                let read = data::read(&mut reader, datatype, shape.map_err(wrong)?, strings);
                read.map_err(|wrong| wrong.of(name, asked.model))
            }
            (None, Some(size)) => {
                let size = binary_size(size).map_err(|reason| wrong(reason.to_owned()))?;
                let tail = tail.ok_or_else(|| {
                    wrong(
                        "it has a binary_data_size, which needs the header Inference-Header-Content-Length: the length of \
                         the JSON, behind which the binary data begins"
                            .to_owned(),
                    )
                })?;
                Ok(tail.take((asked.model, name), size, datatype, shape.map_err(wrong)?)?)
            }
            (Some(_), Some(_)) => Err(wrong("it has both data and a binary_data_size".to_owned()).into()),
            (None, None) => Err(wrong("it has no data".to_owned()).into()),
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
            return Some(Err(format!("its shape is too long: at most {MAX_RANK} dimensions are possible")));
        }
        let dims = shape.iter().map(|&dim| usize::try_from(dim).ok());
        Some(dims.collect::<Option<_>>().ok_or_else(|| format!("its shape {shape:?} has a negative dimension")))
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

/// To be asked before one more is taken.
fn check_count(count: usize, what: &str) -> Result<(), ProtocolError> {
    if count < MAX_PARTS {
        return Ok(());
    }
    Err(ProtocolError::Malformed(format!("it has more than {MAX_PARTS} {what}; no more are possible")))
}

fn read_shape(reader: &mut Reader<'_>) -> Result<Vec<i64>, Fault> {
    let mut shape = Vec::with_capacity(4);
    reader.array(|reader| {
        reader.peek()?;
        let here = *reader;
        let dim = reader.scalar()?.parse().map_err(|_| here.error("invalid type: expected an integer of 64 bits"))?;
        // One more than there may be is enough to be refused.
        if shape.len() <= MAX_RANK {
            shape.push(dim);
        }
        Ok::<_, Fault>(())
    })?;
    Ok(shape)
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
        check_count(outputs.names.len(), "outputs")?;
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
        Parameter::check_name(&name)?;
        if name.starts_with(RESERVED) {
            let reason = format!("parameters whose names start with '{RESERVED}' are reserved");
            return Err(ProtocolError::Parameter { name, reason }.into());
        }
        check_count(parameters.len(), "parameters")?;
        parameters.push((name, value));
        Ok::<_, Fault>(())
    })?;
    Ok(parameters)
}

const NO_PARAMETER: &str = "must be a boolean, a number or a string";

fn read_parameter(text: &str) -> Result<Parameter, &'static str> {
    match text.as_bytes().first() {
        _ if text == MINUS_INFINITY => Err(NO_PARAMETER),
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
