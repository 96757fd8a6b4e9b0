//! A request of the Open Inference Protocol, in JSON or with binary tensors after the JSON, read in one pass.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use anyhow::{Context as _, bail};
use bytemuck::Pod;
use serde::de::{Error as _, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

/// What is asked of a model.
pub(crate) struct Question<'b> {
    pub(crate) inputs: Vec<Input<'b>>,
    /// Whether the outputs shall be binary.
    pub(crate) binary_output: bool,
}

/// One input; its elements may lie in the request's body.
pub(crate) struct Input<'b> {
    pub(crate) name: Cow<'b, str>,
    pub(crate) shape: Vec<i64>,
    pub(crate) elements: Elements<'b>,
}

/// The elements of a tensor, row-major.
pub(crate) enum Elements<'b> {
    Fp32(Cow<'b, [f32]>),
    Int64(Cow<'b, [i64]>),
    Uint8(Cow<'b, [u8]>),
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub(crate) enum Datatype {
    Fp32,
    Int64,
    Uint8,
}

#[derive(Deserialize)]
struct Json<'b> {
    #[serde(borrow)]
    inputs: Vec<JsonInput<'b>>,
    #[serde(default)]
    parameters: Parameters,
}

#[derive(Default, Deserialize)]
struct Parameters {
    #[serde(default)]
    binary_data_output: bool,
}

struct JsonInput<'b> {
    name: Cow<'b, str>,
    shape: Vec<i64>,
    datatype: Datatype,
    data: Data<'b>,
}

/// Where an input's elements are.
enum Data<'b> {
    Here(Elements<'b>),
    /// So many bytes after the JSON and the inputs before this one.
    Behind(usize),
}

/// Reads a body whose first `json_length` bytes are JSON.
pub(crate) fn parse(body: &[u8], json_length: usize) -> anyhow::Result<Question<'_>> {
    let (json, mut behind) = body.split_at_checked(json_length).context("the body is shorter than its JSON")?;
    let json: Json<'_> = serde_json::from_slice(json)?;
    let mut inputs = Vec::with_capacity(json.inputs.len());
    for input in json.inputs {
        let elements = match input.data {
            Data::Here(elements) => elements,
            Data::Behind(length) => {
                let (bytes, rest) = behind.split_at_checked(length).context("the body is too short")?;
                behind = rest;
                binary(input.datatype, bytes)?
            }
        };
        inputs.push(Input { name: input.name, shape: input.shape, elements });
    }
    if !behind.is_empty() {
        bail!("the body goes on after the last input");
    }
    Ok(Question { inputs, binary_output: json.parameters.binary_data_output })
}

/// The elements that these bytes are.
pub(crate) fn binary(datatype: Datatype, bytes: &[u8]) -> anyhow::Result<Elements<'_>> {
    /// The bytes where they lie if they lie aligned.
    fn cast<T: Pod>(bytes: &[u8]) -> anyhow::Result<Cow<'_, [T]>> {
        if !bytes.len().is_multiple_of(size_of::<T>()) {
            bail!("{} bytes are no whole number of elements", bytes.len());
        }
        Ok(bytemuck::try_cast_slice(bytes).map_or_else(|_| bytemuck::pod_collect_to_vec(bytes).into(), Cow::Borrowed))
    }
    Ok(match datatype {
        Datatype::Fp32 => Elements::Fp32(cast(bytes)?),
        Datatype::Int64 => Elements::Int64(cast(bytes)?),
        Datatype::Uint8 => Elements::Uint8(Cow::Borrowed(bytes)),
    })
}

impl FromStr for Datatype {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> anyhow::Result<Self> {
        match text {
            "FP32" => Ok(Self::Fp32),
            "INT64" => Ok(Self::Int64),
            "UINT8" => Ok(Self::Uint8),
            other => bail!("an input of type {other}"),
        }
    }
}

impl<'de: 'b, 'b> Deserialize<'de> for JsonInput<'b> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(InputVisitor)
    }
}

/// Reads the elements as what they are where the datatype comes before them, as every client writes it.
struct InputVisitor;

#[derive(Deserialize)]
#[serde(field_identifier, rename_all = "lowercase")]
enum Field {
    Name,
    Shape,
    Datatype,
    Parameters,
    Data,
    #[serde(other)]
    Other,
}

#[derive(Deserialize)]
struct InputParameters {
    binary_data_size: Option<usize>,
}

impl<'de> Visitor<'de> for InputVisitor {
    type Value = JsonInput<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an input tensor")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let (mut name, mut shape, mut datatype, mut data, mut unread) = (None, None, None, None, None);
        while let Some(field) = map.next_key()? {
            match field {
                Field::Name => name = Some(map.next_value::<CowStr<'_>>()?.0),
                Field::Shape => shape = Some(map.next_value()?),
                Field::Datatype => datatype = Some(map.next_value()?),
                Field::Parameters => {
                    let parameters: InputParameters = map.next_value()?;
                    data = parameters.binary_data_size.map(Data::Behind).or(data);
                }
                Field::Data => match datatype {
                    Some(Datatype::Fp32) => data = Some(Data::Here(Elements::Fp32(map.next_value()?))),
                    Some(Datatype::Int64) => data = Some(Data::Here(Elements::Int64(map.next_value()?))),
                    Some(Datatype::Uint8) => data = Some(Data::Here(Elements::Uint8(map.next_value()?))),
                    None => unread = Some(map.next_value::<&RawValue>()?),
                },
                Field::Other => drop(map.next_value::<serde::de::IgnoredAny>()?),
            }
        }
        let datatype = datatype.ok_or_else(|| A::Error::missing_field("datatype"))?;
        if let Some(text) = unread {
            data = Some(Data::Here(late(datatype, text.get()).map_err(A::Error::custom)?));
        }
        Ok(JsonInput {
            name: name.ok_or_else(|| A::Error::missing_field("name"))?,
            shape: shape.ok_or_else(|| A::Error::missing_field("shape"))?,
            datatype,
            data: data.ok_or_else(|| A::Error::missing_field("data"))?,
        })
    }
}

fn late(datatype: Datatype, text: &str) -> serde_json::Result<Elements<'static>> {
    Ok(match datatype {
        Datatype::Fp32 => Elements::Fp32(serde_json::from_str(text)?),
        Datatype::Int64 => Elements::Int64(serde_json::from_str(text)?),
        Datatype::Uint8 => Elements::Uint8(serde_json::from_str(text)?),
    })
}

/// A text that is borrowed where it has no escapes.
#[derive(Deserialize)]
struct CowStr<'b>(#[serde(borrow)] Cow<'b, str>);
