//! The Open Inference Protocol over gRPC: calls in, answers out, as `http` does it. Both begin at the same
//! `invoke::begin` and call the same errors by their own names.

mod answer;
mod contents;
mod extensions;
mod health;
mod infer;
mod packed;
mod reflection;
mod request;
mod respond;
mod server;
mod service;
mod small;
mod stream;
mod timeout;
mod undecoded;

pub use server::serve;

use bytes::Bytes;

use crate::protocol::ProtocolError;
use crate::protocol::predict::PredictRequest;

/// What the bytes of a `ModelInferRequest` ask of its model, for whoever has them without a call.
pub fn read_request(message: Bytes) -> Result<PredictRequest, ProtocolError> {
    let length = message.len();
    request::read(undecoded::Undecoded::from(message).decode_request()?, length)
}

/// The messages and the service of `proto/`, as `build.rs` generates them.
#[allow(
    clippy::all,
    clippy::allow_attributes_without_reason,
    missing_docs,
    unreachable_pub,
    reason = "this code is generated"
)]
mod messages {
    tonic::include_proto!("inference");
}
