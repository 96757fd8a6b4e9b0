//! One element of a tensor: its JSON text to a value.
//!
//! Reads a number, a string or a literal and either gives the value or says what is wrong with it, in words that follow
//! "element 7 ".

use std::borrow::Cow;
use std::fmt::Display;
use std::str::FromStr;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use half::{bf16, f16};

use super::number::Decimal;
use super::reader::{INFINITY, MINUS_INFINITY, NAN, Reader};
use super::{Wrong, element};
use crate::tensor::Datatype;

/// What is wrong, as a part of a sentence.
type Reason = String;

/// The longest piece of a caller's text that a message repeats.
const QUOTED_CHARS: usize = 40;

/// An integer type of the protocol.
pub(in crate::protocol) trait Integer: FromStr + Display + Default + TryFrom<i128> {
    const NAME: &'static str;
    const MIN: Self;
    const MAX: Self;
}

/// A floating-point type of the protocol.
pub(in crate::protocol) trait Float: Sized {
    const NAME: &'static str;
    /// The nearest value to a number; `None` where that takes a closer look.
    fn from_number(number: Decimal) -> Option<Self>;
    /// The nearest value to a decimal number; `None` when that is infinite.
    fn from_decimal(token: &str) -> Option<Self>;
    /// NaN or an infinity.
    fn from_special(value: f32) -> Self;
}

/// `true`, `false`, 1 or 0 as a byte.
pub(in crate::protocol) fn boolean(reader: &mut Reader<'_>) -> Result<u8, Wrong> {
    match reader.scalar()? {
        "true" | "1" => Ok(1),
        "false" | "0" => Ok(0),
        other => Err(format!("is {}, but BOOL takes true, false, 1 or 0", shown(other)).into()),
    }
}

/// A whole number in the type's range.
pub(in crate::protocol) fn integer<T: Integer>(reader: &mut Reader<'_>) -> Result<T, Wrong> {
    let number = Decimal::read(reader.rest());
    if let Some((number, value)) = number.and_then(|number| Some((number, T::try_from(number.integer()?).ok()?))) {
        reader.pass(number.length);
        return Ok(value);
    }
    any_integer(reader.scalar()?).map_err(Wrong::from)
}

fn any_integer<T: Integer>(token: &str) -> Result<T, Reason> {
    token.parse().or_else(|_| match token {
        // Only the unsigned types refuse this one.
        "-0" => Ok(T::default()),
        _ if !is_number(token) => Err(format!("is {}, but {} takes integers", shown(token), T::NAME)),
        _ if token.contains(['.', 'e', 'E']) => {
            Err(format!("is {}, but {} takes integers, written without fraction and exponent", shown(token), T::NAME))
        }
        _ => Err(format!("is {}, outside the range of {}, {} to {}", shown(token), T::NAME, T::MIN, T::MAX)),
    })
}

/// A number, or one of the strings for NaN and the infinities.
pub(in crate::protocol) fn float<T: Float>(reader: &mut Reader<'_>) -> Result<T, Wrong> {
    let number = Decimal::read(reader.rest());
    if let Some((number, value)) = number.and_then(|number| Some((number, T::from_number(number)?))) {
        reader.pass(number.length);
        return Ok(value);
    }
    any_float(reader.scalar()?).map_err(Wrong::from)
}

fn any_float<T: Float>(token: &str) -> Result<T, Reason> {
    match token.trim_matches('"') {
        NAN => return Ok(T::from_special(f32::NAN)),
        INFINITY => return Ok(T::from_special(f32::INFINITY)),
        MINUS_INFINITY => return Ok(T::from_special(f32::NEG_INFINITY)),
        _ => {}
    }
    if is_number(token) {
        return T::from_decimal(token).ok_or_else(|| format!("is {}, beyond the range of {}", shown(token), T::NAME));
    }
    Err(format!(
        "is {}, but {} takes numbers and the strings \"NaN\", \"Infinity\" and \"-Infinity\"",
        shown(token),
        T::NAME
    ))
}

/// A string's bytes: those of the text itself wherever it has no escapes.
pub(in crate::protocol) fn string<'a>(reader: &mut Reader<'a>) -> Result<Cow<'a, [u8]>, Wrong> {
    any_string(reader.scalar()?).map_err(Wrong::from)
}

fn any_string(token: &str) -> Result<Cow<'_, [u8]>, Reason> {
    let inner = token.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
    let Some(inner) = inner else {
        return Err(format!("is {}, but BYTES takes strings", shown(token)));
    };
    if !inner.contains('\\') {
        return Ok(Cow::Borrowed(inner.as_bytes()));
    }
    serde_json::from_str::<String>(token)
        .map(|text| Cow::Owned(text.into_bytes()))
        .map_err(|_| format!("is {}, which has an escape that stands for no character", shown(token)))
}

/// The bytes that a string of base64 stands for. A length or padding that no encoder writes is refused, so that two texts
/// never mean one value.
pub(in crate::protocol) fn base64_string<'a>(reader: &mut Reader<'a>) -> Result<Cow<'a, [u8]>, Wrong> {
    let token = reader.scalar()?;
    let decoded = STANDARD.decode(any_string(token)?).map(Cow::Owned);
    decoded.map_err(|_| format!("is {}, which is not base64", shown(token)).into())
}

/// Puts the little-endian bytes of the element that comes next behind others.
pub(in crate::protocol) type Put = fn(&mut Reader<'_>, &mut Vec<u8>) -> Result<(), Wrong>;

/// THE table of readers: expands to `$fixed!` of the one for elements of the datatype, or to `$strings` for BYTES. A macro, so that
/// whoever reads many of them has one loop for each.
macro_rules! read_by {
    ($datatype:expr, $fixed:ident, $strings:expr) => {
        match $datatype {
            Datatype::Bool => $fixed!(element::boolean),
            Datatype::Uint8 => $fixed!(element::integer::<u8>),
            Datatype::Uint16 => $fixed!(element::integer::<u16>),
            Datatype::Uint32 => $fixed!(element::integer::<u32>),
            Datatype::Uint64 => $fixed!(element::integer::<u64>),
            Datatype::Int8 => $fixed!(element::integer::<i8>),
            Datatype::Int16 => $fixed!(element::integer::<i16>),
            Datatype::Int32 => $fixed!(element::integer::<i32>),
            Datatype::Int64 => $fixed!(element::integer::<i64>),
            Datatype::Fp16 => $fixed!(element::float::<half::f16>),
            Datatype::Bf16 => $fixed!(element::float::<half::bf16>),
            Datatype::Fp32 => $fixed!(element::float::<f32>),
            Datatype::Fp64 => $fixed!(element::float::<f64>),
            Datatype::Bytes => $strings,
        }
    };
}
pub(in crate::protocol) use read_by;

/// How an element of the datatype is read; `None` for BYTES.
pub(in crate::protocol) fn put(datatype: Datatype) -> Option<Put> {
    macro_rules! put {
        ($read:expr) => {
            Some(|reader, bytes| {
                bytes.extend_from_slice(&$read(reader)?.to_le_bytes());
                Ok(())
            })
        };
    }
    read_by!(datatype, put, None)
}

fn is_number(token: &str) -> bool {
    token.starts_with(|c: char| c == '-' || c.is_ascii_digit()) && token != MINUS_INFINITY
}

/// `token` as a message may repeat it.
fn shown(token: &str) -> Cow<'_, str> {
    match token.char_indices().nth(QUOTED_CHARS) {
        Some((end, _)) => Cow::Owned(format!("{}...", &token[..end])),
        None => Cow::Borrowed(token),
    }
}

macro_rules! integers {
    ($($type:ty => $name:literal),*) => {$(
        impl Integer for $type {
            const NAME: &'static str = $name;
            const MIN: Self = <$type>::MIN;
            const MAX: Self = <$type>::MAX;
        }
    )*};
}
integers!(
    u8 => "UINT8", u16 => "UINT16", u32 => "UINT32", u64 => "UINT64",
    i8 => "INT8", i16 => "INT16", i32 => "INT32", i64 => "INT64"
);

impl Float for f32 {
    const NAME: &'static str = "FP32";
    fn from_number(number: Decimal) -> Option<Self> {
        number.f32()
    }
    fn from_decimal(token: &str) -> Option<Self> {
        token.parse().ok().filter(|value: &Self| value.is_finite())
    }
    fn from_special(value: f32) -> Self {
        value
    }
}

impl Float for f64 {
    const NAME: &'static str = "FP64";
    fn from_number(number: Decimal) -> Option<Self> {
        number.f64()
    }
    fn from_decimal(token: &str) -> Option<Self> {
        token.parse().ok().filter(|value: &Self| value.is_finite())
    }
    fn from_special(value: f32) -> Self {
        value.into()
    }
}

impl Float for f16 {
    const NAME: &'static str = "FP16";
    fn from_number(number: Decimal) -> Option<Self> {
        number.f64().map(Self::from_f64).filter(|value| value.is_finite())
    }
    fn from_decimal(token: &str) -> Option<Self> {
        token.parse().ok().map(Self::from_f64).filter(|value| value.is_finite())
    }
    fn from_special(value: f32) -> Self {
        Self::from_f32(value)
    }
}

impl Float for bf16 {
    const NAME: &'static str = "BF16";
    fn from_number(number: Decimal) -> Option<Self> {
        number.f64().map(Self::from_f64).filter(|value| value.is_finite())
    }
    fn from_decimal(token: &str) -> Option<Self> {
        token.parse().ok().map(Self::from_f64).filter(|value| value.is_finite())
    }
    fn from_special(value: f32) -> Self {
        Self::from_f32(value)
    }
}
