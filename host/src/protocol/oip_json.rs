//! The Open Inference Protocol v2 in JSON, with or without binary data behind it: a request's body to tensors, tensors to
//! a response's body.
//!
//! FP16 and BF16 are binary data alone, as in other servers ([`Halves`]). BYTES are strings; an input with the parameter
//! `"content_type": "base64"` holds base64, for bytes that are no text.

mod binary;
mod data;
pub mod described;
mod raw;
mod request;
mod response;

pub use binary::BinaryOutputs;
pub use raw::parse_raw;
pub use request::parse_request;
pub use response::{ResponseBody, write_response};

use crate::tensor::Datatype;

/// How FP16 and BF16 go.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Halves {
    /// As binary data, and not in JSON: so the protocol has it.
    Binary,
    /// In JSON as numbers too, rounded by way of FP64: for people.
    #[default]
    Numbers,
}

impl Halves {
    fn are(datatype: Datatype) -> bool {
        matches!(datatype, Datatype::Fp16 | Datatype::Bf16)
    }
}

#[cfg(test)]
mod tests;
