//! The Open Inference Protocol v2 in JSON, with or without binary data behind it: a request's body to tensors, tensors to
//! a response's body.
//!
//! Elements go straight between their text and little-endian bytes, with no tree of JSON values in between. NaN and
//! the infinities, which JSON has no numbers for, are the strings `"NaN"`, `"Infinity"` and `"-Infinity"` both ways,
//! as in the JSON mapping of protocol buffers. FP16 and BF16 are JSON numbers, rounded by way of FP64.
//! BYTES are strings; an input with the parameter `"content_type": "base64"` holds base64, for bytes that are no text.

mod binary;
mod data;
pub mod described;
mod element;
mod number;
mod raw;
mod reader;
mod request;
mod response;

pub use binary::BinaryOutputs;
pub use raw::parse_raw;
pub use request::parse_request;
pub use response::{ResponseBody, write_response};

#[cfg(test)]
mod tests;
