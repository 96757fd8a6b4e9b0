//! Server reflection, which tells clients without our `.proto` files what there is to call.

use tonic_reflection::server::{Builder, Error};

use super::connections::{Call, call_of};

/// What `build.rs` has found in `proto/`.
const INFERENCE: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/inference.bin"));

/// Both versions of the reflection service, under their names. Clients still ask for the older one.
pub(super) fn services() -> Result<[(&'static str, Call); 2], Error> {
    let builder = || {
        Builder::configure()
            .register_encoded_file_descriptor_set(INFERENCE)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
    };
    Ok([
        ("grpc.reflection.v1.ServerReflection", call_of(builder().build_v1()?)),
        ("grpc.reflection.v1alpha.ServerReflection", call_of(builder().build_v1alpha()?)),
    ])
}
