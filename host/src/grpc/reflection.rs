//! Server reflection, which tells clients without our `.proto` files what there is to call.

use futures::StreamExt;
use http::Request;
use http_body_util::{BodyStream, StreamBody};
use hyper::body::Incoming;
use tokio_util::sync::CancellationToken;
use tonic_reflection::server::{Builder, Error};

use super::server::{Call, call_of};

/// What `build.rs` has found in `proto/`.
const INFERENCE: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/inference.bin"));

/// Both versions of the reflection service, under their names. Clients still ask for the older one.
///
/// A client may leave its stream of questions open for as long as it lives: it ends when the host is told to stop.
pub(super) fn services(stop: &CancellationToken) -> Result<[(&'static str, Call); 2], Error> {
    let builder = || {
        Builder::configure()
            .register_encoded_file_descriptor_set(INFERENCE)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
    };
    let until = |stop: CancellationToken| {
        let body = move |body| StreamBody::new(BodyStream::new(body).take_until(stop.clone().cancelled_owned()));
        move |request: Request<Incoming>| request.map(&body)
    };
    Ok([
        ("grpc.reflection.v1.ServerReflection", call_of(builder().build_v1()?, until(stop.clone()))),
        ("grpc.reflection.v1alpha.ServerReflection", call_of(builder().build_v1alpha()?, until(stop.clone()))),
    ])
}
