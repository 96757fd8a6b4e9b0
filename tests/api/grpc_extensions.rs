//! What the host says over gRPC of itself and its models, the repository, health and reflection.

use nocti_tests::grpc::inference::model_config::SchedulingChoice;
use nocti_tests::grpc::inference::model_instance_group::Kind;
use nocti_tests::grpc::inference::{
    DataType, ModelConfigRequest, ModelMetadataRequest, ModelReadyRequest, ModelRepositoryParameter,
    ModelStatisticsRequest, RepositoryIndexRequest, RepositoryModelLoadRequest, RepositoryModelUnloadRequest,
    ServerLiveRequest, ServerMetadataRequest, ServerReadyRequest, StatisticDuration,
};
use nocti_tests::{bundle_with, fixture_guest};
use tonic::Code;

use super::grpc::{host, simple};

fn ready(name: &str, version: &str) -> ModelReadyRequest {
    ModelReadyRequest { name: name.into(), version: version.into() }
}

fn load(model_name: &str) -> RepositoryModelLoadRequest {
    RepositoryModelLoadRequest { model_name: model_name.into(), ..Default::default() }
}

fn unload(model_name: &str) -> RepositoryModelUnloadRequest {
    RepositoryModelUnloadRequest { model_name: model_name.into(), ..Default::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_server_and_its_models_say_what_they_are() {
    let host = host().await;
    let mut client = host.grpc().await;
    assert!(client.server_live(ServerLiveRequest {}).await.expect("it answers").into_inner().live);
    assert!(client.server_ready(ServerReadyRequest {}).await.expect("it answers").into_inner().ready);
    let server = client.server_metadata(ServerMetadataRequest {}).await.expect("it answers").into_inner();
    let http = host.get("/v2").await.expect(200);
    assert_eq!((&http["name"], &http["version"]), (&server.name.into(), &server.version.into()));
    assert_eq!(http["extensions"], serde_json::json!(server.extensions));

    for (name, version, expected) in [
        ("simple", "", true),
        ("simple", "1.0.0", true),
        ("simple", "live", true),
        ("simple", "9", false),
        ("x", "", false),
    ] {
        let answer = client.model_ready(ready(name, version)).await.expect("no error, as elsewhere").into_inner();
        assert_eq!(answer.ready, expected, "{name} {version}");
    }
    let asked = |name: &str| ModelMetadataRequest { name: name.into(), version: String::new() };
    let model = client.model_metadata(asked("simple")).await.expect("it answers").into_inner();
    assert_eq!((model.name.as_str(), model.platform.as_str()), ("simple", "onnxruntime_onnx"));
    assert_eq!((model.versions, model.inputs.len(), model.outputs.len()), (vec!["1.0.0".to_owned()], 2, 2));
    let input = &model.inputs[0];
    assert_eq!((input.name.as_str(), input.datatype.as_str(), &input.shape[..]), ("INPUT0", "INT32", &[-1, 16][..]));
    let status = client.model_metadata(asked("nothing")).await.expect_err("there is none");
    assert_eq!(status.code(), Code::NotFound);
    assert!(status.message().contains("Request for unknown model: 'nothing'"), "{status}");
}

#[tokio::test(flavor = "multi_thread")]
async fn configuration_and_statistics_are_those_of_rest() {
    let host = host().await;
    let mut client = host.grpc().await;
    client.model_infer(simple("simple")).await.expect("it answers");
    let asked = ModelConfigRequest { name: "simple".into(), version: String::new() };
    let config = client.model_config(asked).await.expect("it answers").into_inner().config.expect("it is there");
    assert_eq!((config.name.as_str(), config.backend.as_str(), config.max_batch_size), ("simple", "onnxruntime", 64));
    assert_eq!((config.input[0].data_type(), &config.input[0].dims[..]), (DataType::TypeInt32, &[16][..]));
    assert_eq!((config.output[1].data_type(), config.output[1].name.as_str()), (DataType::TypeInt32, "OUTPUT1"));
    assert!(matches!(config.scheduling_choice, Some(SchedulingChoice::DynamicBatching(_))));
    assert_eq!((config.instance_group[0].kind(), config.instance_group[0].count), (Kind::Cpu, 1));
    let unknown = ModelConfigRequest { name: "nothing".into(), version: String::new() };
    assert_eq!(client.model_config(unknown).await.expect_err("there is none").code(), Code::NotFound);

    for (name, version) in [("simple", ""), ("simple", "1.0.0"), ("", "")] {
        let asked = ModelStatisticsRequest { name: name.into(), version: version.into() };
        let stats = client.model_statistics(asked).await.expect("it answers").into_inner().model_stats;
        assert_eq!(stats.len(), 1);
        assert_eq!((stats[0].inference_count, stats[0].execution_count), (1, 1));
        let times = stats[0].inference_stats.expect("clients read it");
        let success = times.success.expect("clients read it");
        assert!(success.count == 1 && success.ns > 0, "{times:?}");
        assert_eq!(
            (times.cache_hit, times.cache_miss),
            (Some(StatisticDuration::default()), Some(StatisticDuration::default()))
        );
        assert_eq!((stats[0].batch_stats[0].batch_size, stats[0].memory_usage[0].r#type.as_str()), (1, "CPU"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn statistics_of_a_version_are_of_its_model() {
    let host = host().await;
    let mut client = host.grpc().await;
    for (name, version, code, words) in [
        ("", "1.0.0", Code::InvalidArgument, "version '1.0.0' of no model is asked for: name the model as well"),
        ("nothing", "", Code::NotFound, "unknown model: 'nothing'"),
        ("simple", "2.0.0", Code::NotFound, "2.0.0"),
    ] {
        let asked = ModelStatisticsRequest { name: name.into(), version: version.into() };
        let status = client.model_statistics(asked).await.expect_err("there are none");
        assert_eq!(status.code(), code, "{status}");
        assert!(status.message().contains(words), "{status}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn models_are_loaded_and_unloaded_by_hand() {
    let host = host().await;
    let mut client = host.grpc().await;
    let states = async |client: &mut nocti_tests::grpc::GrpcClient, ready: bool| -> Vec<String> {
        let asked = RepositoryIndexRequest { ready, ..Default::default() };
        let models = client.repository_index(asked).await.expect("it answers").into_inner().models;
        models.into_iter().map(|it| format!("{} {} {} {}", it.name, it.version, it.state, it.reason)).collect()
    };
    assert_eq!(states(&mut client, false).await, ["simple 1.0.0 READY "]);
    client.repository_model_load(load("simple")).await.expect("it is loaded");
    assert_eq!(host.status("simple").await["state"], "loaded");
    client.repository_model_unload(unload("simple")).await.expect("it is unloaded");
    assert_eq!(host.status("simple").await["state"], "stored");
    assert!(!client.model_ready(ready("simple", "")).await.expect("it answers").into_inner().ready);
    assert_eq!(states(&mut client, false).await, ["simple 1.0.0 UNAVAILABLE unloaded"]);
    assert_eq!(states(&mut client, true).await, [""; 0]);

    // KServe's clients have the name in the first field.
    let kserve = RepositoryModelLoadRequest { repository_name: "simple".into(), ..Default::default() };
    let loaded = client.repository_model_load(kserve).await.expect("it is loaded").into_inner();
    assert_eq!((loaded.model_name.as_str(), loaded.is_loaded), ("simple", true));
    assert!(client.model_ready(ready("simple", "")).await.expect("it answers").into_inner().ready);

    let status = client.repository_model_load(load("wrong_model_name")).await.expect_err("there is none");
    assert_eq!(status.code(), Code::NotFound);
    assert!(status.message().contains("failed to load 'wrong_model_name'"), "{status}");
    let mut overridden = load("simple");
    overridden.parameters.insert("config".into(), ModelRepositoryParameter::default());
    let status = client.repository_model_load(overridden).await.expect_err("that is what deploys are for");
    assert_eq!(status.code(), Code::InvalidArgument);
    host.deployed(bundle_with(&fixture_guest("misbehave"), |project| project.manifest.instances.min_warm = 1)).await;
    let status = client.repository_model_unload(unload("misbehave")).await.expect_err("it would be back at once");
    assert_eq!(status.code(), Code::FailedPrecondition);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_served_says_so() {
    use tonic::client::Grpc;
    use tonic::codegen::http::uri::PathAndQuery;

    let host = host().await;
    for (method, part) in [
        ("SystemSharedMemoryRegister", "shared memory is not supported"),
        ("SystemSharedMemoryStatus", "shared memory is not supported"),
        ("CudaSharedMemoryUnregister", "shared memory is not supported"),
        ("TraceSetting", "tracing is not supported"),
        ("LogSettings", "when the host starts"),
    ] {
        let mut client = Grpc::new(host.channel().await);
        client.ready().await.expect("it is connected");
        let path: PathAndQuery = format!("/inference.GRPCInferenceService/{method}").parse().expect("a path");
        let codec = tonic_prost::ProstCodec::<ServerLiveRequest, ServerLiveRequest>::default();
        let status = client.unary(tonic::Request::new(ServerLiveRequest {}), path, codec).await.expect_err("it is not");
        assert_eq!(status.code(), Code::Unimplemented);
        assert!(status.message().contains(part), "{status}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_without_our_files_find_out_what_there_is_to_call() {
    use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
    use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
    use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;
    use tonic_reflection::pb::v1::{ServerReflectionRequest, ServerReflectionResponse};

    let host = host().await;
    let mut client = ServerReflectionClient::new(host.channel().await);
    let ask = async |client: &mut ServerReflectionClient<_>, message: MessageRequest| {
        let request = ServerReflectionRequest { host: String::new(), message_request: Some(message) };
        let requests = futures::stream::iter([request]);
        let mut answers = client.server_reflection_info(requests).await.expect("it is served").into_inner();
        let ServerReflectionResponse { message_response, .. } = answers.message().await.expect("good").expect("one");
        message_response.expect("an answer")
    };
    let MessageResponse::ListServicesResponse(list) =
        ask(&mut client, MessageRequest::ListServices(String::new())).await
    else {
        panic!("no list");
    };
    let names: Vec<_> = list.service.iter().map(|service| service.name.as_str()).collect();
    for name in ["inference.GRPCInferenceService", "grpc.health.v1.Health"] {
        assert!(names.contains(&name), "{names:?}");
    }
    let symbol = MessageRequest::FileContainingSymbol("inference.GRPCInferenceService".into());
    let MessageResponse::FileDescriptorResponse(files) = ask(&mut client, symbol).await else { panic!("no file") };
    // What the generated server reads in another way is one message to its clients.
    let text = String::from_utf8_lossy(&files.file_descriptor_proto.concat()).into_owned();
    assert!(text.contains("ModelInferRequest") && !text.contains("Undecoded"), "{text}");
}
