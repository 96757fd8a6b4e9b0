//! The wire forms of an inference: bytes in, tensors out, and the other way round.
//!
//! Pure: no HTTP types, no status codes, no I/O, no state. What a value on the wire means is decided here; what to
//! answer when it means nothing is decided by whoever owns the connection.

pub mod check;
pub mod classify;
pub mod contents;
mod json;
pub mod kserve_v1;
pub mod npy;
pub mod oip_config;
pub mod oip_json;
pub mod oip_metadata;
pub mod oip_repository;
pub mod oip_statistics;
pub mod predict;

/// Why a request or an answer cannot go over the wire.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProtocolError {
    /// The body is no JSON, or no inference request.
    #[error("the body is not a valid inference request: {0}")]
    Malformed(String),
    /// The body of another request is no JSON, or not the right one.
    #[error("the body is not what belongs here: {0}")]
    Unreadable(String),
    /// One input of the request makes no tensor.
    #[error("input '{input}': {reason}")]
    Input {
        /// The input's name.
        input: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A parameter has a value of a type that parameters cannot have.
    #[error("parameter '{name}': {reason}")]
    Parameter {
        /// The parameter's name.
        name: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The request asks for a part of the protocol that this server does not speak.
    #[error("{0}")]
    Unsupported(String),
    /// The request does not fit the function's signature.
    #[error("{0}")]
    Mismatch(String),
    /// What the function answered does not fit its signature: the function's fault, not the caller's.
    #[error("{0}")]
    Answer(String),
    /// A right answer that JSON cannot carry.
    #[error("{0}")]
    Unwritable(String),
}
