//! KServe's V1 protocol, which is TensorFlow Serving's: `{"instances": [...]}` or `{"inputs": ...}` to `{"predictions": [...]}`.
//!
//! <https://kserve.github.io/website/docs/concepts/architecture/data-plane/v1-protocol>. It has no datatypes and no shapes: these follow
//! from the function's signature and from how the lists nest (`column`). Elements are those of the V2 protocol in JSON.

use std::collections::HashMap;

use serde_json::Value;
use utoipa::ToSchema;

use super::ProtocolError;
use super::json::reader::Reader;
use super::json::write::{Elements, json, separated};
use super::json::{Fault, once};
use super::predict::{MAX_PARTS, PredictRequest};
use crate::tensor::{Signature, Tensor};
use column::Column;

mod column;

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
    let asked = Asked { model, signature };
    let read = Reader::new(body).map_err(Fault::Syntax).and_then(|reader| asked.read(reader));
    let inputs = read.map_err(|fault| fault.told(body))?;
    // The tensors share nothing of the body.
    let request = PredictRequest { inputs, ..PredictRequest::default() };
    request.check()?;
    Ok(request)
}

fn malformed(reason: impl Into<String>) -> Fault {
    ProtocolError::Malformed(reason.into()).into()
}

/// Whom a request asks.
#[derive(Clone, Copy)]
struct Asked<'a> {
    model: &'a str,
    signature: &'a Signature,
}

impl Asked<'_> {
    fn read(self, mut reader: Reader<'_>) -> Result<Vec<(String, Tensor)>, Fault> {
        let (mut instances, mut inputs) = (None, None);
        reader.object(|reader, key| {
            reader.peek()?;
            let here = *reader;
            reader.skip()?;
            match &*key {
                "instances" => once(&mut instances, &key, here),
                "inputs" => once(&mut inputs, &key, here),
                _ => Ok(()),
            }
        })?;
        reader.end()?;
        let columns = match (instances, inputs) {
            (Some(instances), None) => self.by_row(instances)?,
            (None, Some(inputs)) => self.by_column(inputs)?,
            (Some(_), Some(_)) => return Err(malformed("it has both `instances` and `inputs`; give one")),
            (None, None) => return Err(malformed("it has neither `instances` nor `inputs`")),
        };
        columns.into_iter().map(|column| column.into_input(self.model)).collect()
    }

    /// Each instance is a row: of the only input, or of those that it names.
    fn by_row(self, mut instances: Reader<'_>) -> Result<Vec<Column>, Fault> {
        if instances.peek()? != b'[' {
            return Err(malformed("`instances` must be a list"));
        }
        let mut first = instances;
        first.pass(1);
        match first.peek()? {
            b']' => return Err(malformed("`instances` is empty")),
            b'{' if !column::is_base64(first) => {}
            _ => return self.only_column(instances),
        }
        let mut columns: Vec<Column> = Vec::new();
        let mut places: HashMap<String, usize> = HashMap::new();
        let mut row = 0;
        instances.array(|reader| {
            let differs = move || malformed(format!("instance {row} does not name the inputs that the first does"));
            if reader.peek()? != b'{' || column::is_base64(*reader) {
                return Err(differs());
            }
            let mut fields = 0;
            reader.object(|reader, name| {
                let place = match places.get(&*name) {
                    Some(&place) => place,
                    None if row == 0 => {
                        places.insert(name.clone().into_owned(), columns.len());
                        columns.push(self.column(&name, *reader, columns.len())?);
                        columns.len() - 1
                    }
                    None => return Err(differs()),
                };
                fields += 1;
                if columns[place].rows() != row {
                    return Err(malformed(format!("instance {row} names '{name}' more than once")));
                }
                columns[place].read_row(reader, self.model)
            })?;
            row += 1;
            if fields == columns.len() { Ok(()) } else { Err(differs()) }
        })?;
        Ok(columns)
    }

    fn by_column(self, mut inputs: Reader<'_>) -> Result<Vec<Column>, Fault> {
        if inputs.peek()? != b'{' || column::is_base64(inputs) {
            return self.only_column(inputs);
        }
        let mut columns: Vec<Column> = Vec::new();
        inputs.object(|reader, name| {
            let mut column = self.column(&name, *reader, columns.len())?;
            column.read(reader, self.model)?;
            columns.push(column);
            Ok::<_, Fault>(())
        })?;
        Ok(columns)
    }

    fn only_column(self, mut values: Reader<'_>) -> Result<Vec<Column>, Fault> {
        let [spec] = self.signature.inputs.as_slice() else {
            let names: Vec<String> = self.signature.inputs.iter().map(|spec| format!("'{}'", spec.name)).collect();
            return Err(ProtocolError::Mismatch(format!(
                "model '{}' has {} inputs ({}): name those that you give, as in {{\"instances\": [{{\"name\": ...}}]}}",
                self.model,
                names.len(),
                names.join(", ")
            ))
            .into());
        };
        let mut column = self.column(&spec.name, values, 0)?;
        column.read(&mut values, self.model)?;
        Ok(vec![column])
    }

    /// An input whose values come next, beside `others`.
    fn column(self, name: &str, values: Reader<'_>, others: usize) -> Result<Column, Fault> {
        if others == MAX_PARTS {
            return Err(malformed(format!("it names more than {MAX_PARTS} inputs; no more are possible")));
        }
        let spec = self.signature.inputs.iter().find(|spec| spec.name == name);
        Ok(Column::new(name, spec, values)?)
    }
}

/// The body of an answer: a list of rows, each a value where there is one output, and else an object of all of them. Outputs that
/// do not have the same number of rows are an object of lists.
pub fn write_response(answers: Answers, outputs: &[(String, Tensor)]) -> Result<Vec<u8>, ProtocolError> {
    let name = match answers {
        Answers::Predictions => "predictions",
        Answers::Explanations => "explanations",
    };
    let mut body = format!("{{\"{name}\":").into_bytes();
    for (name, tensor) in outputs {
        check_lists(name, tensor.shape())?;
    }
    let mut columns: Vec<Values<'_>> = outputs.iter().map(|(name, tensor)| Values::of(name, tensor)).collect();
    match (columns.as_mut_slice(), rows(outputs)) {
        ([only], _) => only.write(&mut body, only.shape)?,
        (columns, Some(rows)) => {
            body.push(b'[');
            separated(&mut body, 0..rows, |body, _| {
                object(body, columns, |body, values| values.write(body, &values.shape[1..]))
            })?;
            body.push(b']');
        }
        (columns, None) => object(&mut body, columns, |body, values| values.write(body, values.shape))?,
    }
    body.push(b'}');
    Ok(body)
}

/// An output, as far as it is not written.
struct Values<'t> {
    name: &'t str,
    shape: &'t [usize],
    elements: Elements<'t>,
}

impl<'t> Values<'t> {
    fn of(name: &'t str, tensor: &'t Tensor) -> Self {
        Self { name, shape: tensor.shape(), elements: Elements::of(name, tensor) }
    }

    /// Writes the next elements of this shape as lists in lists.
    fn write(&mut self, body: &mut Vec<u8>, shape: &[usize]) -> Result<(), ProtocolError> {
        let Some((&length, inner)) = shape.split_first() else { return self.elements.write(body, 1) };
        body.push(b'[');
        if inner.is_empty() {
            self.elements.write(body, length)?;
        } else {
            separated(body, 0..length, |body, _| self.write(body, inner))?;
        }
        body.push(b']');
        Ok(())
    }
}

fn object<'t>(
    body: &mut Vec<u8>,
    columns: &mut [Values<'t>],
    mut write: impl FnMut(&mut Vec<u8>, &mut Values<'t>) -> Result<(), ProtocolError>,
) -> Result<(), ProtocolError> {
    body.push(b'{');
    separated(body, columns, |body, values| {
        json(body, values.name);
        body.push(b':');
        write(body, values)
    })?;
    body.push(b'}');
    Ok(())
}

/// How many rows all outputs have.
fn rows(outputs: &[(String, Tensor)]) -> Option<usize> {
    let rows = *outputs.first()?.1.shape().first()?;
    outputs.iter().all(|(_, tensor)| tensor.shape().first() == Some(&rows)).then_some(rows)
}

/// A shape without elements takes no memory as a tensor, but its lists would here.
fn check_lists(output: &str, shape: &[usize]) -> Result<(), ProtocolError> {
    const MAX_EMPTY_LISTS: usize = 1 << 16;
    let lists =
        shape.iter().take_while(|&&length| length > 0).try_fold(1_usize, |lists, &length| lists.checked_mul(length));
    if !shape.contains(&0) || lists.is_some_and(|lists| lists <= MAX_EMPTY_LISTS) {
        return Ok(());
    }
    Err(ProtocolError::Unwritable(format!(
        "output '{output}' cannot be sent in rows: its shape is {shape:?}, of which at most {MAX_EMPTY_LISTS} empty lists are written"
    )))
}

#[cfg(test)]
mod tests;
