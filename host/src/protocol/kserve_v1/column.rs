//! The values of one input: lists in lists to a tensor, whose shape shows as they are read.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::protocol::contents::Misfit;
use crate::protocol::json::element::{self, Put};
use crate::protocol::json::reader::{Reader, Syntax};
use crate::protocol::json::{Fault, Wrong};
use crate::tensor::{Datatype, MAX_RANK, Packer, Tensor, TensorError, TensorSpec};

/// TensorFlow Serving's form of bytes that are no text is an object with this key alone.
const BASE64: &str = "b64";

/// An input as far as it has been read.
pub(super) struct Column {
    name: String,
    datatype: Datatype,
    elements: Elements,
    read: usize,
    /// The length of the lists at each depth, as the first of them has it.
    shape: Vec<usize>,
    /// At which depth there are elements.
    rank: Option<usize>,
    rows: usize,
}

enum Elements {
    Fixed(Vec<u8>, Put),
    Strings(Packer),
}

impl Column {
    /// An input whose values come next. Where the signature says nothing of it, its type is what its first value looks like.
    pub(super) fn new(name: &str, spec: Option<&TensorSpec>, values: Reader<'_>) -> Result<Self, Syntax> {
        let datatype = match spec {
            Some(spec) => spec.datatype,
            None => look(values)?,
        };
        let elements = match element::put(datatype) {
            Some(put) => Elements::Fixed(Vec::new(), put),
            None => Elements::Strings(Packer::default()),
        };
        Ok(Self { name: name.to_owned(), datatype, elements, read: 0, shape: Vec::new(), rank: None, rows: 0 })
    }

    /// Rows that were read one by one.
    pub(super) fn rows(&self) -> usize {
        self.rows
    }

    /// All values.
    pub(super) fn read(&mut self, reader: &mut Reader<'_>, model: &str) -> Result<(), Fault> {
        self.nested(reader, 0).map_err(|wrong| wrong.of(&self.name, model))
    }

    /// The values of one more row.
    pub(super) fn read_row(&mut self, reader: &mut Reader<'_>, model: &str) -> Result<(), Fault> {
        self.rows += 1;
        if self.rows == 1 {
            self.shape.push(0);
        }
        self.shape[0] = self.rows;
        self.nested(reader, 1).map_err(|wrong| wrong.of(&self.name, model))
    }

    pub(super) fn into_input(self, model: &str) -> Result<(String, Tensor), Fault> {
        let tensor = match self.elements {
            Elements::Fixed(bytes, _) => Tensor::fixed(self.datatype, self.shape, bytes.into()),
            Elements::Strings(strings) => Tensor::strings(self.shape, strings.finish()),
        };
        match tensor {
            Ok(tensor) => Ok((self.name, tensor)),
            Err(error) => Err(Misfit::from(error).of(&self.name, model).into()),
        }
    }

    /// What comes next, which is inside of so many lists.
    fn nested(&mut self, reader: &mut Reader<'_>, depth: usize) -> Result<(), Wrong> {
        let uneven = || "its lists are not all of the same length".to_owned().into();
        if reader.peek()? != b'[' {
            if self.rank.unwrap_or(self.shape.len()) != depth {
                return Err(uneven());
            }
            self.rank = Some(depth);
            return self.element(reader);
        }
        if self.rank.is_some_and(|rank| depth >= rank) {
            return Err(uneven());
        }
        let is_first = self.shape.len() == depth;
        if depth == MAX_RANK {
            return Err(Misfit::from(TensorError::TooManyDimensions(depth + 1)).into());
        }
        if is_first {
            self.shape.push(0);
        }
        let length = reader.array(|reader| self.nested(reader, depth + 1))?;
        if is_first {
            self.shape[depth] = length;
        }
        if self.shape[depth] == length { Ok(()) } else { Err(uneven()) }
    }

    fn element(&mut self, reader: &mut Reader<'_>) -> Result<(), Wrong> {
        let index = self.read;
        self.read += 1;
        let is_object = reader.peek()? == b'{';
        let read = match &mut self.elements {
            Elements::Strings(strings) if is_object => {
                base64(reader).and_then(|bytes| strings.push(&bytes).map_err(|error| Misfit::from(error).into()))
            }
            Elements::Fixed(..) if is_object => Err("is an object".to_owned().into()),
            Elements::Strings(strings) => element::string(reader)
                .and_then(|string| strings.push(&string).map_err(|error| Misfit::from(error).into())),
            Elements::Fixed(bytes, put) => put(reader, bytes),
        };
        read.map_err(|wrong| wrong.at(index))
    }
}

/// Whether bytes in base64 come next.
pub(super) fn is_base64(mut reader: Reader<'_>) -> bool {
    let mut fields = 0;
    let read = reader.object(|reader, key| {
        fields += 1;
        if fields == 1 && key == BASE64 && reader.peek()? == b'"' {
            reader.skip()
        } else {
            Err(reader.error("another"))
        }
    });
    read.is_ok() && fields == 1
}

fn base64(reader: &mut Reader<'_>) -> Result<Vec<u8>, Wrong> {
    let here = *reader;
    if !is_base64(here) {
        return Err(format!("is an object, but BYTES takes strings and {{\"{BASE64}\": \"...\"}}").into());
    }
    let mut decoded = None;
    reader.object(|reader, _| {
        let text = reader.string()?;
        decoded = STANDARD.decode(text.as_bytes()).ok();
        Ok::<_, Wrong>(())
    })?;
    decoded.ok_or_else(|| "is not base64".to_owned().into())
}

/// What the first value looks like.
fn look(mut values: Reader<'_>) -> Result<Datatype, Syntax> {
    while values.peek()? == b'[' {
        values.pass(1);
    }
    Ok(match values.peek()? {
        b'"' | b'{' => Datatype::Bytes,
        b't' | b'f' => Datatype::Bool,
        b'-' | b'0'..=b'9' if values.scalar()?.parse::<i64>().is_ok() => Datatype::Int64,
        _ => Datatype::Fp32,
    })
}
