//! A client of the host's gRPC services, generated from the same files as any other client's.

use tonic::transport::{Channel, Endpoint};

use super::TestHost;
use inference::grpc_inference_service_client::GrpcInferenceServiceClient;

/// The protocol's messages.
#[allow(clippy::all, clippy::allow_attributes_without_reason, missing_docs, reason = "this code is generated")]
pub mod inference {
    tonic::include_proto!("inference");
}

/// The protocol's client.
pub type GrpcClient = GrpcInferenceServiceClient<Channel>;

impl TestHost {
    /// A connection of its own.
    pub async fn channel(&self) -> Channel {
        let endpoint = Endpoint::from_shared(self.grpc_url.clone()).expect("it is a URL");
        endpoint.connect().await.expect("the host listens")
    }

    /// A client with a connection of its own, which takes messages of any size.
    pub async fn grpc(&self) -> GrpcClient {
        GrpcClient::new(self.channel().await).max_decoding_message_size(usize::MAX)
    }
}
