//! Generates the code of the gRPC services from `proto/`, without a protobuf compiler on the machine.

use prost::Message;
use prost_types::DescriptorProto;
use prost_types::field_descriptor_proto::Type;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut descriptors = protox::compile(["grpc_service.proto"], ["proto"])?;
    #[expect(clippy::disallowed_methods, reason = "cargo tells build scripts by variables")]
    let out = std::path::PathBuf::from(std::env::var("OUT_DIR")?);
    // For reflection.
    std::fs::write(out.join("inference.bin"), descriptors.encode_to_vec())?;
    for file in &mut descriptors.file {
        for method in file.service.iter_mut().flat_map(|service| &mut service.method) {
            if method.input_type() == ".inference.ModelInferRequest" {
                // On the wire one message and a stream that has one are the same. As a stream of bytes, the server reads it once
                // it has let the request in, and decodes it where that may take long.
                method.client_streaming = Some(true);
                method.input_type = Some(".inference.Undecoded".into());
            }
        }
        let messages = file.message_type.iter_mut().flat_map(|message| &mut message.nested_type);
        for field in
            messages.filter(|message| message.name() == "InferInputTensor").flat_map(|message| &mut message.field)
        {
            if field.name() == "contents" {
                // The same on the wire, but left as it came: decoded, elements take many times their bytes.
                field.set_type(Type::Bytes);
                field.type_name = None;
                field.proto3_optional = Some(true);
            }
        }
        if file.name() == "grpc_service.proto" {
            file.message_type.push(DescriptorProto { name: Some("Undecoded".into()), ..DescriptorProto::default() });
        }
    }
    tonic_prost_build::configure()
        .build_client(false)
        .build_transport(false)
        .extern_path(".inference.Undecoded", "crate::grpc::undecoded::Undecoded")
        // Slices of the message that they came in.
        .bytes(".inference.ModelInferRequest.raw_input_contents")
        .bytes(".inference.ModelInferResponse.raw_output_contents")
        .bytes(".inference.ModelInferRequest.InferInputTensor.contents")
        // In one order.
        .btree_map(".")
        .compile_fds(descriptors)?;
    println!("cargo:rerun-if-changed=proto");
    Ok(())
}
