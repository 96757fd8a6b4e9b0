//! Generates the messages of `ModelInfer`, which the client writes and reads, and the baseline's service.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut descriptors = protox::compile(["grpc_service.proto"], ["../host/proto"])?;
    for service in descriptors.file.iter_mut().flat_map(|file| &mut file.service) {
        service.method.retain(|method| method.name() == "ModelInfer");
    }
    tonic_prost_build::configure()
        .build_client(false)
        .build_transport(false)
        // Slices of the message that they came in, as in the host.
        .bytes(".inference.ModelInferRequest.raw_input_contents")
        .bytes(".inference.ModelInferResponse.raw_output_contents")
        .compile_fds(descriptors)?;
    println!("cargo:rerun-if-changed=../host/proto");
    Ok(())
}
