//! The `data` of one tensor: JSON text to elements.
//!
//! Takes text that is already known to be valid JSON (serde_json has walked over it) and knows the datatype and shape,
//! which may stand after the data in the request. Owns the walk through flat or nested arrays; what one element is,
//! `element` knows. Nothing is allocated per element, except for strings with escapes.

use bytes::Bytes;
use half::{bf16, f16};

use super::element::{self, Reason};
use crate::tensor::{Datatype, MAX_RANK, Tensor, element_count};

/// How the elements of a BYTES tensor are written.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Strings {
    /// As text.
    Text,
    /// As base64, for bytes that are no text.
    Base64,
}

/// The tensor whose `data` is `text`, a part of `body`.
pub(super) fn read(
    body: &Bytes,
    text: &str,
    datatype: Datatype,
    shape: Vec<usize>,
    strings: Strings,
) -> Result<Tensor, Reason> {
    if shape.len() > MAX_RANK {
        return Err(format!("its shape has {} dimensions; at most {MAX_RANK} are possible", shape.len()));
    }
    let count = element_count(&shape)
        .filter(|n| n.checked_mul(datatype.size_bytes().unwrap_or(1)).is_some())
        .ok_or_else(|| format!("its shape {shape:?} has more elements than can be addressed"))?;
    // A shape is a few bytes long whatever it claims: room is made for what the text can hold, not for the claim.
    let room = count.min(text.len() / 2 + 1);
    let mut walk = Walk { text, at: 0, read: 0, count, shape: &shape };
    macro_rules! fixed {
        ($parse:expr) => {{
            let mut bytes = Vec::with_capacity(room * datatype.size_bytes().unwrap_or(1));
            walk.run(|token| {
                bytes.extend_from_slice(&$parse(token)?.to_le_bytes());
                Ok(())
            })?;
            Tensor::fixed(datatype, shape, Bytes::from(bytes))
        }};
    }
    let tensor = match datatype {
        Datatype::Bool => fixed!(element::boolean),
        Datatype::Uint8 => fixed!(element::integer::<u8>),
        Datatype::Uint16 => fixed!(element::integer::<u16>),
        Datatype::Uint32 => fixed!(element::integer::<u32>),
        Datatype::Uint64 => fixed!(element::integer::<u64>),
        Datatype::Int8 => fixed!(element::integer::<i8>),
        Datatype::Int16 => fixed!(element::integer::<i16>),
        Datatype::Int32 => fixed!(element::integer::<i32>),
        Datatype::Int64 => fixed!(element::integer::<i64>),
        Datatype::Fp16 => fixed!(element::float::<f16>),
        Datatype::Bf16 => fixed!(element::float::<bf16>),
        Datatype::Fp32 => fixed!(element::float::<f32>),
        Datatype::Fp64 => fixed!(element::float::<f64>),
        Datatype::Bytes => {
            let mut elements = Vec::with_capacity(room);
            let read = match strings {
                Strings::Text => element::string,
                Strings::Base64 => element::base64_string,
            };
            walk.run(|token| {
                elements.push(read(body, token)?);
                Ok(())
            })?;
            Tensor::variable(shape, elements)
        }
    };
    tensor.map_err(|error| error.to_string())
}

/// A walk over the arrays of `text`, which is valid JSON: what follows a value is known to be `,`, `]` or the end.
struct Walk<'a> {
    text: &'a str,
    at: usize,
    /// Elements taken so far.
    read: usize,
    /// Elements the shape asks for.
    count: usize,
    shape: &'a [usize],
}

impl<'a> Walk<'a> {
    /// Hands each element's text to `take`, in row-major order, and makes sure that there are as many as the shape says.
    fn run(&mut self, mut take: impl FnMut(&'a str) -> Result<(), Reason>) -> Result<(), Reason> {
        if self.peek() != b'[' {
            if !self.shape.is_empty() {
                return Err("its data must be an array".to_owned());
            }
            // A scalar may stand without brackets.
            self.element(&mut take)?;
        } else if self.starts_nested() {
            self.nested(self.shape, &mut take)?;
        } else {
            let entries = self.entries(|walk| walk.element(&mut take))?;
            if entries != self.count {
                let (shape, count) = (self.shape, self.count);
                return Err(format!("its shape {shape:?} needs {count} elements, but its data has {entries}"));
            }
        }
        Ok(())
    }

    /// True when the array that starts here has an array as its first entry.
    fn starts_nested(&self) -> bool {
        let inside = &self.text.as_bytes()[self.at + 1..];
        inside.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'[')
    }

    /// One array for the first of `dims`, with an array per further dimension inside each of its entries.
    fn nested(&mut self, dims: &[usize], take: &mut impl FnMut(&'a str) -> Result<(), Reason>) -> Result<(), Reason> {
        let Some((&want, inner)) = dims.split_first() else {
            return Err(format!("its data is nested more deeply than its shape {:?}", self.shape));
        };
        let depth = self.shape.len() - dims.len();
        if self.peek() != b'[' {
            return Err(format!(
                "element {}: its data is neither flat nor nested like its shape {:?}",
                self.read, self.shape
            ));
        }
        let got = self.entries(|walk| match (inner.is_empty(), walk.peek()) {
            (true, b'[') | (false, _) => walk.nested(inner, take),
            (true, _) => walk.element(take),
        })?;
        if got != want {
            let shape = self.shape;
            return Err(format!(
                "its data has an array of {got} entries where dimension {depth} of its shape {shape:?} is {want}"
            ));
        }
        Ok(())
    }

    /// Steps through the array that starts here and says how many entries it had.
    fn entries(&mut self, mut entry: impl FnMut(&mut Self) -> Result<(), Reason>) -> Result<usize, Reason> {
        self.at += 1;
        self.skip_whitespace();
        if self.peek() == b']' {
            self.at += 1;
            return Ok(0);
        }
        let mut entries = 0;
        loop {
            self.skip_whitespace();
            entry(self)?;
            entries += 1;
            self.skip_whitespace();
            let last = self.peek() == b']';
            self.at += 1;
            if last {
                return Ok(entries);
            }
        }
    }

    /// Takes the element that starts here.
    fn element(&mut self, take: &mut impl FnMut(&'a str) -> Result<(), Reason>) -> Result<(), Reason> {
        let index = self.read;
        let rest = &self.text.as_bytes()[self.at..];
        let length = match rest.first() {
            Some(b'"') => string_length(rest),
            Some(b'[') => {
                return Err(format!(
                    "element {index} is an array, but its data must be flat or nested like its shape {:?}",
                    self.shape
                ));
            }
            Some(b'{') => return Err(format!("element {index} is an object")),
            _ => rest.iter().position(|&byte| ends_token(byte)).unwrap_or(rest.len()),
        };
        // Both ends are at ASCII characters, so the slice is on character boundaries.
        let token = &self.text[self.at..self.at + length];
        self.at += length;
        self.read += 1;
        take(token).map_err(|reason| format!("element {index} {reason}"))
    }

    fn skip_whitespace(&mut self) {
        while self.peek().is_ascii_whitespace() {
            self.at += 1;
        }
    }

    /// The byte here, or 0 at the end of the text.
    fn peek(&self) -> u8 {
        self.text.as_bytes().get(self.at).copied().unwrap_or(0)
    }
}

/// True for what can stand behind a number or a literal.
fn ends_token(byte: u8) -> bool {
    matches!(byte, b',' | b']' | b' ' | b'\n' | b'\r' | b'\t')
}

/// The length of the string literal that `rest` starts with, quotes included.
fn string_length(rest: &[u8]) -> usize {
    let mut at = 1;
    while at < rest.len() {
        match rest[at] {
            b'"' => return at + 1,
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
    rest.len()
}
