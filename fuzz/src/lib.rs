//! What no input may break. Each check takes any bytes as one decoder of the host would get them, and fails if the decoder panics,
//! takes far more memory than the bytes are, or reads something else than what they say.
//!
//! `targets/` hands them to a fuzzer, `tests/corpus.rs` those that are worth keeping.

mod binary;
mod bundle;
mod exchange;
mod grpc;
mod json;
mod memory;
mod npy;
mod plain;
mod project;
mod query;
mod v1;

pub use binary::binary;
pub use bundle::bundle;
pub use grpc::grpc;
pub use json::json;
pub use npy::npy;
pub use project::project;
pub use query::query;
pub use v1::v1;

/// A check, by the name of its target and of its corpus.
pub type Check = (&'static str, fn(&[u8]));

/// All checks.
pub const CHECKS: [Check; 8] = [
    ("json", json),
    ("binary", binary),
    ("grpc", grpc),
    ("bundle", bundle),
    ("v1", v1),
    ("npy", npy),
    ("project", project),
    ("query", query),
];
