//! JSON where it lies: what the protocols over HTTP share. Elements go straight between their text and little-endian bytes, with
//! no tree of JSON values in between.
//!
//! NaN and the infinities, which JSON has no numbers for, are the strings `"NaN"`, `"Infinity"` and `"-Infinity"` both ways, as
//! in the JSON mapping of protocol buffers; on the way in also the bare words that Python writes.

pub(super) mod element;
mod number;
pub(super) mod reader;
pub(super) mod write;

use super::ProtocolError;
use super::contents::Misfit;
use reader::Syntax;

/// Why a text is no request.
#[derive(Debug)]
pub(super) enum Fault {
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

impl Fault {
    /// As the caller is to read it, who sent `text`.
    pub(super) fn told(self, text: &[u8]) -> ProtocolError {
        let Syntax { at, what } = match self {
            Self::Syntax(syntax) => syntax,
            Self::Protocol(error) => return error,
        };
        let before = &text[..at];
        let line = before.iter().filter(|&&byte| byte == b'\n').count() + 1;
        let column = before.iter().rev().take_while(|&&byte| byte != b'\n').count() + 1;
        ProtocolError::Malformed(format!("{what} at line {line} column {column}"))
    }
}

/// Why there is no tensor, or no element of one.
#[derive(Debug)]
pub(super) enum Wrong {
    /// The text is no JSON.
    Syntax(Syntax),
    /// It is, but not what it should be.
    Misfit(Misfit),
}

impl From<Syntax> for Wrong {
    fn from(syntax: Syntax) -> Self {
        Self::Syntax(syntax)
    }
}

impl From<Misfit> for Wrong {
    fn from(misfit: Misfit) -> Self {
        Self::Misfit(misfit)
    }
}

/// A part of a sentence.
impl From<String> for Wrong {
    fn from(reason: String) -> Self {
        Self::Misfit(Misfit::Other(reason))
    }
}

impl Wrong {
    /// The same of the element at `index`.
    pub(super) fn at(self, index: usize) -> Self {
        match self {
            Self::Misfit(Misfit::Other(reason)) => format!("element {index} {reason}").into(),
            other @ (Self::Syntax(_) | Self::Misfit(_)) => other,
        }
    }

    /// The same of an input of a model.
    pub(super) fn of(self, input: &str, model: &str) -> Fault {
        match self {
            Self::Syntax(syntax) => syntax.into(),
            Self::Misfit(misfit) => misfit.of(input, model).into(),
        }
    }
}

/// A field that comes twice is refused: clients disagree on which one counts.
pub(super) fn once<T>(field: &mut Option<T>, name: &str, value: T) -> Result<(), Fault> {
    match field.replace(value) {
        None => Ok(()),
        Some(_) => Err(ProtocolError::Malformed(format!("duplicate field `{name}`")).into()),
    }
}
