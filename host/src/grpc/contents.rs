//! The elements of one tensor in the field of their type, read where they lie in the message.
//!
//! A message of elements takes many times its bytes where it is decoded into lists of them, a string 32 for two. So `build.rs` has it
//! left as it came, and its elements go from there into the tensor, no more of them than its shape says.

use bytes::{Buf, Bytes};
use prost::DecodeError;
use prost::encoding::{DecodeContext, WireType, decode_key, decode_varint, skip_field};

use crate::protocol::contents::Misfit;
use crate::tensor::{Datatype, Packer, Tensor, TensorError, element_count, moved};

/// The fields of elements.
const FIELDS: [(u32, &str); 8] = [
    (1, "bool_contents"),
    (2, "int_contents"),
    (3, "int64_contents"),
    (4, "uint_contents"),
    (5, "uint64_contents"),
    (6, "fp32_contents"),
    (7, "fp64_contents"),
    (8, "bytes_contents"),
];

/// The field of strings, which are one by one; others may lie packed.
const STRINGS: u32 = 8;

/// A tensor from the message in the field `contents` of its input.
pub(super) fn from_typed(datatype: Datatype, shape: Vec<usize>, contents: &Bytes) -> Result<Tensor, Misfit> {
    let Some(field) = field(datatype) else {
        return Err(Misfit::Other(format!("{datatype} has no typed contents: send it in raw_input_contents")));
    };
    let expected = element_count(&shape)
        .filter(|count| count.checked_mul(datatype.size_bytes().unwrap_or(1)).is_some())
        .ok_or_else(|| Misfit::from(TensorError::TooManyElements(shape.clone())))?;
    let values = Values { field, contents };
    if datatype == Datatype::Bytes {
        return strings(&values, shape, expected);
    }
    let size = datatype.size_bytes().unwrap_or(1);
    // Room for what the message can hold, whatever the shape claims.
    let mut bytes = Vec::with_capacity(expected.min(contents.len()) * size);
    let mut got = 0;
    values.each(datatype, |value| {
        if got < expected {
            put(&mut bytes, datatype, value, got)?;
        }
        got += 1;
        Ok(())
    })?;
    if got != expected {
        return Err(Misfit::Size { expected: expected * size, got: got.saturating_mul(size) });
    }
    Ok(Tensor::fixed(datatype, shape, bytes.into())?)
}

fn strings(values: &Values<'_>, shape: Vec<usize>, expected: usize) -> Result<Tensor, Misfit> {
    let mut strings = Packer::default();
    let mut got = 0;
    values.each_string(|string| {
        if got < expected {
            moved(string.len());
            strings.push(string)?;
        }
        got += 1;
        Ok(())
    })?;
    if got != expected {
        return Err(Misfit::Strings { expected, got });
    }
    Ok(Tensor::strings(shape, strings.finish())?)
}

fn field(datatype: Datatype) -> Option<u32> {
    match datatype {
        Datatype::Bool => Some(1),
        Datatype::Int8 | Datatype::Int16 | Datatype::Int32 => Some(2),
        Datatype::Int64 => Some(3),
        Datatype::Uint8 | Datatype::Uint16 | Datatype::Uint32 => Some(4),
        Datatype::Uint64 => Some(5),
        Datatype::Fp32 => Some(6),
        Datatype::Fp64 => Some(7),
        Datatype::Bytes => Some(STRINGS),
        Datatype::Fp16 | Datatype::Bf16 => None,
    }
}

fn name(field: u32) -> &'static str {
    FIELDS.iter().find(|(number, _)| *number == field).map_or("another field", |(_, name)| name)
}

/// The elements in one field of a message.
struct Values<'m> {
    field: u32,
    contents: &'m Bytes,
}

impl Values<'_> {
    /// Every number as the bits that it has on the wire.
    fn each(&self, datatype: Datatype, mut take: impl FnMut(u64) -> Result<(), Misfit>) -> Result<(), Misfit> {
        let alone = match datatype {
            Datatype::Fp32 => WireType::ThirtyTwoBit,
            Datatype::Fp64 => WireType::SixtyFourBit,
            _ => WireType::Varint,
        };
        self.fields(datatype, |wire_type, rest| match wire_type {
            WireType::LengthDelimited => {
                let mut packed = delimited(rest)?;
                while !packed.is_empty() {
                    take(number(alone, &mut packed)?)?;
                }
                Ok(())
            }
            other if other == alone => take(number(alone, rest)?),
            _ => Err(Misfit::Other(format!("its {} are of another type", name(self.field)))),
        })
    }

    fn each_string(&self, mut take: impl FnMut(&[u8]) -> Result<(), Misfit>) -> Result<(), Misfit> {
        self.fields(Datatype::Bytes, |wire_type, rest| match wire_type {
            WireType::LengthDelimited => take(delimited(rest)?),
            _ => Err(Misfit::Other(format!("its {} are of another type", name(self.field)))),
        })
    }

    /// Has the field read by `read` each time it comes. No other field may have elements.
    fn fields(
        &self,
        datatype: Datatype,
        mut read: impl FnMut(WireType, &mut &[u8]) -> Result<(), Misfit>,
    ) -> Result<(), Misfit> {
        let mut rest = &self.contents[..];
        while !rest.is_empty() {
            let (tag, wire_type) = decode_key(&mut rest).map_err(|error| broken(&error))?;
            if tag == self.field {
                read(wire_type, &mut rest)?;
                continue;
            }
            let before = rest;
            skip_field(wire_type, tag, &mut rest, DecodeContext::default()).map_err(|error| broken(&error))?;
            // A packed list of nothing is one byte long: its length.
            let is_empty = wire_type == WireType::LengthDelimited && before.len() - rest.len() == 1 && tag != STRINGS;
            if !is_empty && FIELDS.iter().any(|(number, _)| *number == tag) {
                return Err(Misfit::Other(format!(
                    "its elements are in {}, but those of {datatype} belong in {}",
                    name(tag),
                    name(self.field)
                )));
            }
        }
        Ok(())
    }
}

/// What a length stands before.
fn delimited<'m>(rest: &mut &'m [u8]) -> Result<&'m [u8], Misfit> {
    let length = decode_varint(rest).map_err(|error| broken(&error))?;
    let parts = usize::try_from(length).ok().and_then(|length| rest.split_at_checked(length));
    let (inside, behind) = parts.ok_or_else(|| Misfit::Other("its contents end early".into()))?;
    *rest = behind;
    Ok(inside)
}

fn number(wire_type: WireType, rest: &mut &[u8]) -> Result<u64, Misfit> {
    let early = |_| Misfit::Other("its contents end early".into());
    match wire_type {
        WireType::ThirtyTwoBit => rest.try_get_u32_le().map(u64::from).map_err(early),
        WireType::SixtyFourBit => rest.try_get_u64_le().map_err(early),
        _ => decode_varint(rest).map_err(|error| broken(&error)),
    }
}

fn broken(error: &DecodeError) -> Misfit {
    Misfit::Other(format!("its contents cannot be read: {error}"))
}

/// Puts the element at `index` behind others.
#[expect(clippy::cast_possible_truncation, reason = "a field of 32 bits has the lower ones of what is on the wire")]
fn put(bytes: &mut Vec<u8>, datatype: Datatype, value: u64, index: usize) -> Result<(), Misfit> {
    let (signed, unsigned) = (value.cast_signed() as i32, value as u32);
    let range = |number: &dyn std::fmt::Display| {
        Misfit::Other(format!("element {index} is {number}, which is out of range for {datatype}"))
    };
    match datatype {
        Datatype::Bool => bytes.push(u8::from(value != 0)),
        Datatype::Int8 => bytes.extend(i8::try_from(signed).map_err(|_| range(&signed))?.to_le_bytes()),
        Datatype::Int16 => bytes.extend(i16::try_from(signed).map_err(|_| range(&signed))?.to_le_bytes()),
        Datatype::Uint8 => bytes.push(u8::try_from(unsigned).map_err(|_| range(&unsigned))?),
        Datatype::Uint16 => bytes.extend(u16::try_from(unsigned).map_err(|_| range(&unsigned))?.to_le_bytes()),
        Datatype::Int32 | Datatype::Uint32 | Datatype::Fp32 => bytes.extend(unsigned.to_le_bytes()),
        Datatype::Int64 | Datatype::Uint64 | Datatype::Fp64 => bytes.extend(value.to_le_bytes()),
        Datatype::Fp16 | Datatype::Bf16 | Datatype::Bytes => {}
    }
    Ok(())
}

#[cfg(test)]
mod tests;
