//! Generates a client of the host's gRPC services, as any other client would.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let descriptors = protox::compile(["grpc_service.proto"], ["../host/proto"])?;
    tonic_prost_build::configure().build_server(false).build_transport(false).compile_fds(descriptors)?;
    println!("cargo:rerun-if-changed=../host/proto");
    Ok(())
}
