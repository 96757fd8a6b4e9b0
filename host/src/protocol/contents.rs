//! Raw elements to a tensor: binary data over HTTP, raw contents over gRPC.
//!
//! Nothing is copied. The messages follow the wording of other servers, which clients and their tests match on.

use bytes::Bytes;

use super::ProtocolError;
use crate::tensor::{Datatype, MAX_RANK, NotStrings, Strings, Tensor, TensorError};

/// Why elements make no tensor; whoever knows of which input, says it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Misfit {
    /// Of the wrong size.
    Size { expected: usize, got: usize },
    /// The wrong number of strings.
    Strings { expected: usize, got: usize },
    /// Anything else, as a sentence's end.
    Other(String),
}

impl Misfit {
    /// What it is for an input of a model.
    pub fn of(self, input: &str, model: &str) -> ProtocolError {
        match self {
            Self::Size { expected, got } => ProtocolError::Mismatch(format!(
                "input byte size mismatch for input '{input}' for model '{model}'. Expected {expected}, got {got}"
            )),
            Self::Strings { expected, got } => ProtocolError::Mismatch(format!(
                "expected {expected} string elements for inference input '{input}' for model '{model}', got {got}"
            )),
            Self::Other(reason) => ProtocolError::Input { input: input.to_owned(), reason },
        }
    }
}

impl From<TensorError> for Misfit {
    fn from(error: TensorError) -> Self {
        match error {
            TensorError::WrongByteCount { expected, got, .. } => Self::Size { expected, got },
            TensorError::WrongElementCount { expected, got, .. } => Self::Strings { expected, got },
            TensorError::TooManyDimensions(_) => {
                Self::Other(format!("its shape is too long: at most {MAX_RANK} dimensions are possible"))
            }
            TensorError::TooManyElements(shape) => {
                Self::Other(format!("its shape {shape:?} has more elements than can be addressed"))
            }
            other @ (TensorError::NotABool(_) | TensorError::StringTooLong(_)) => Self::Other(other.to_string()),
        }
    }
}

impl From<NotStrings> for Misfit {
    fn from(error: NotStrings) -> Self {
        Self::Other(error.to_string())
    }
}

/// A tensor from its raw elements.
pub fn from_raw(datatype: Datatype, shape: Vec<usize>, bytes: Bytes) -> Result<Tensor, Misfit> {
    Ok(match datatype {
        Datatype::Bytes => Tensor::strings(shape, Strings::unpack(bytes)?)?,
        _ => Tensor::fixed(datatype, shape, bytes)?,
    })
}
