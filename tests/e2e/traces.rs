//! The log names what ties a request to those around it, over HTTP and over gRPC.

use nocti_tests::HostProcess;
use nocti_tests::grpc::GrpcClient;
use nocti_tests::grpc::inference::ModelInferRequest;
use tempfile::TempDir;
use tonic::Request;
use tonic::metadata::MetadataValue;
use tonic::transport::Endpoint;

use super::client;

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

#[tokio::test]
async fn ids_and_traces_are_in_the_log() {
    let store = TempDir::new().unwrap();
    let host = HostProcess::start(store.path(), &[("NOCTI_LOG", "nocti=debug")]).await;
    let parent = format!("00-{TRACE}-00f067aa0ba902b7-01");
    let request =
        client().get(format!("{}/v2", host.url)).header("x-request-id", "rest").header("traceparent", &parent);
    assert_eq!(request.send().await.unwrap().status(), 200);

    let channel = Endpoint::from_shared(format!("http://{}", host.grpc_address)).unwrap().connect().await.unwrap();
    let mut client = GrpcClient::new(channel);
    let asked = ModelInferRequest { model_name: "nothing".into(), ..Default::default() };
    let mut call = Request::new(asked.clone());
    call.metadata_mut().insert("x-request-id", MetadataValue::from_static("call"));
    call.metadata_mut().insert("traceparent", parent.parse().unwrap());
    client.model_infer(call).await.unwrap_err();
    let mut call = Request::new(futures::stream::iter([asked]));
    call.metadata_mut().insert("x-request-id", MetadataValue::from_static("stream"));
    call.metadata_mut().insert("traceparent", parent.parse().unwrap());
    let mut answers = client.model_stream_infer(call).await.unwrap().into_inner();
    assert!(answers.message().await.unwrap().unwrap().error_message.contains("nothing"));
    drop((client, answers));

    host.signal("TERM").await;
    let (_, log) = host.wait().await;
    let line = |id: &str, text: &str| {
        let named = format!("id=\"{id}\" trace={TRACE}");
        assert!(log.lines().any(|line| line.contains(&named) && line.contains(text)), "{id}, {text}: {log}");
    };
    line("rest", "path=\"/v2\"");
    line("call", "call refused");
    // Its errors are answers: that of one message is logged where it is made.
    line("stream", "call refused");
    line("stream", "/inference.GRPCInferenceService/ModelStreamInfer");
}
