//! The binary tensor data extension: the elements of tensors behind the JSON, in the order in which the JSON names them.
//!
//! Elements lie there as they lie in a [`Tensor`], so nothing is copied: a tensor is a slice of the body, and goes out as the
//! buffer that it is.

use bytes::Bytes;

use super::Halves;
use crate::protocol::{ProtocolError, contents};
use crate::tensor::{Datatype, Tensor};

/// Which outputs go out as binary data.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct BinaryOutputs {
    /// All that are not named, by the request's parameter `binary_data_output`.
    pub(super) others: bool,
    /// By the parameter `binary_data` of a requested output.
    pub(super) named: Vec<(String, bool)>,
    /// Whether others may be FP16 and BF16.
    pub(super) halves: Halves,
}

impl BinaryOutputs {
    /// Whether the output goes out as binary data; else it is JSON.
    pub fn contains(&self, output: &str) -> bool {
        self.named.iter().find(|(name, _)| name == output).map_or(self.others, |(_, binary)| *binary)
    }
}

/// The part of a request's body behind the JSON, as far as no input has taken it.
pub(super) struct Tail(Bytes);

impl Tail {
    pub(super) fn new(bytes: Bytes) -> Self {
        Self(bytes)
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// The tensor of the next input of `model`, which the request says has `size` bytes.
    pub(super) fn take(
        &mut self,
        (model, input): (&str, &str),
        size: usize,
        datatype: Datatype,
        shape: Vec<usize>,
    ) -> Result<Tensor, ProtocolError> {
        if size > self.0.len() {
            return Err(ProtocolError::Mismatch(format!(
                "unexpected size for input '{input}', expecting {} additional bytes for model '{model}'",
                size - self.0.len()
            )));
        }
        contents::from_raw(datatype, shape, self.0.split_to(size)).map_err(|misfit| misfit.of(input, model))
    }

    /// To be asked when every input has its bytes.
    pub(super) fn finish(self, model: &str) -> Result<(), ProtocolError> {
        if self.0.is_empty() {
            return Ok(());
        }
        Err(ProtocolError::Mismatch(format!("unexpected additional input data for model '{model}'")))
    }
}
