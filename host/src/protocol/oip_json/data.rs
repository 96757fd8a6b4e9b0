//! The `data` of one tensor: JSON text to elements.
//!
//! Knows the datatype and shape. Owns the walk through flat or nested arrays; what one element is, `element` knows.
//! Nothing is allocated per element, except for strings with escapes.

use bytes::Bytes;

use crate::protocol::contents::Misfit;
use crate::protocol::json::reader::{Reader, Syntax};
use crate::protocol::json::{Wrong, element};
use crate::tensor::{Datatype, Packer, Tensor, TensorError, element_count};

/// How the elements of a BYTES tensor are written.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Strings {
    /// As text.
    Text,
    /// As base64, for bytes that are no text.
    Base64,
}

/// The tensor whose `data` comes next.
pub(super) fn read(
    reader: &mut Reader<'_>,
    datatype: Datatype,
    shape: Vec<usize>,
    strings: Strings,
) -> Result<Tensor, Wrong> {
    let count = element_count(&shape)
        .filter(|n| n.checked_mul(datatype.size_bytes().unwrap_or(1)).is_some())
        .ok_or_else(|| Misfit::from(TensorError::TooManyElements(shape.clone())))?;
    // A shape is a few bytes long whatever it claims: room is made for what the text can hold, not for the claim.
    let room = count.min(reader.rest().len() / 2 + 1);
    let mut walk = Walk { read: 0, count, shape: &shape, of_strings: datatype == Datatype::Bytes };
    macro_rules! fixed {
        ($read:expr) => {{
            let mut bytes = Vec::with_capacity(room * datatype.size_bytes().unwrap_or(1));
            walk.run(reader, |reader| {
                bytes.extend_from_slice(&$read(reader)?.to_le_bytes());
                Ok(())
            })?;
            Tensor::fixed(datatype, shape, Bytes::from(bytes))
        }};
    }
    let tensor = element::read_by!(datatype, fixed, {
        // Each is two quotes and a comma in the text, and four bytes in the tensor.
        let mut elements = Packer::with_room(room, reader.rest().len().saturating_sub(3 * room));
        let read = match strings {
            Strings::Text => element::string,
            Strings::Base64 => element::base64_string,
        };
        walk.run(reader, |reader| Ok(elements.push(&read(reader)?).map_err(Misfit::from)?))?;
        Tensor::strings(shape, elements.finish())
    });
    Ok(tensor.map_err(Misfit::from)?)
}

/// A walk through flat or nested arrays.
struct Walk<'s> {
    /// Elements taken so far.
    read: usize,
    /// Elements the shape asks for.
    count: usize,
    shape: &'s [usize],
    of_strings: bool,
}

impl Walk<'_> {
    /// Has each element read by `take`, in row-major order, and makes sure that there are as many as the shape says.
    fn run<'a>(
        &mut self,
        reader: &mut Reader<'a>,
        mut take: impl FnMut(&mut Reader<'a>) -> Result<(), Wrong>,
    ) -> Result<(), Wrong> {
        if reader.peek()? != b'[' {
            if !self.shape.is_empty() {
                // What is no value at all is wrong in any place.
                reader.skip()?;
                return Err("its data must be an array".to_owned().into());
            }
            // A scalar may stand without brackets.
            return self.element(reader, &mut take);
        }
        if starts_nested(*reader)? {
            return self.nested(reader, self.shape, &mut take);
        }
        let entries = reader.array(|reader| self.element(reader, &mut take))?;
        if entries != self.count && self.of_strings {
            return Err(Misfit::Strings { expected: self.count, got: entries }.into());
        }
        if entries != self.count {
            let (shape, count) = (self.shape, self.count);
            return Err(format!("its shape {shape:?} needs {count} elements, but its data has {entries}").into());
        }
        Ok(())
    }

    /// One array for the first of `dims`, with an array per further dimension inside each of its entries.
    fn nested<'a>(
        &mut self,
        reader: &mut Reader<'a>,
        dims: &[usize],
        take: &mut impl FnMut(&mut Reader<'a>) -> Result<(), Wrong>,
    ) -> Result<(), Wrong> {
        let shape = self.shape;
        let Some((&want, inner)) = dims.split_first() else {
            return Err(format!("its data is nested more deeply than its shape {shape:?}").into());
        };
        let depth = shape.len() - dims.len();
        if reader.peek()? != b'[' {
            let read = self.read;
            return Err(format!("element {read}: its data is neither flat nor nested like its shape {shape:?}").into());
        }
        let got = reader.array(|reader| match (inner.is_empty(), reader.peek()?) {
            (true, b'[') | (false, _) => self.nested(reader, inner, take),
            (true, _) => self.element(reader, take),
        })?;
        if got != want {
            return Err(format!(
                "its data has an array of {got} entries where dimension {depth} of its shape {shape:?} is {want}"
            )
            .into());
        }
        Ok(())
    }

    /// Takes the element that comes next.
    fn element<'a>(
        &mut self,
        reader: &mut Reader<'a>,
        take: &mut impl FnMut(&mut Reader<'a>) -> Result<(), Wrong>,
    ) -> Result<(), Wrong> {
        let index = self.read;
        self.read += 1;
        let taken = match reader.peek()? {
            b'[' => {
                let shape = self.shape;
                Err(format!("is an array, but its data must be flat or nested like its shape {shape:?}").into())
            }
            b'{' => Err("is an object".to_owned().into()),
            _ => take(reader),
        };
        taken.map_err(|wrong| wrong.at(index))
    }
}

/// True when the array that comes next has an array as its first entry.
fn starts_nested(mut ahead: Reader<'_>) -> Result<bool, Syntax> {
    ahead.pass(1);
    Ok(ahead.peek()? == b'[')
}
