//! What is the same for every gRPC call: deadlines, cancellation, bounds, compression, and the end of the host.

use std::collections::HashMap;
use std::time::Duration;

use futures::StreamExt as _;
use hyper::client::conn::http2::handshake;
use hyper_util::rt::{TokioExecutor, TokioIo};
use nocti::registry::nocti_toml::Project;
use nocti_tests::grpc::GrpcClient;
use nocti_tests::grpc::inference::infer_parameter::ParameterChoice;
use nocti_tests::grpc::inference::{InferParameter, ModelInferRequest, ModelReadyRequest};
use nocti_tests::{TestHost, eventually, fixture_guest, fixture_model, write};
use prost::Message;
use serde_json::json;
use tokio::net::TcpStream;
use tonic::codec::CompressionEncoding;
use tonic::codegen::{Service, http};
use tonic::metadata::{MetadataMap, MetadataValue};
use tonic::{Code, Request};

use super::encodings::{AllBusy, few_threads, metric};
use super::grpc::{host, input, request, simple, typed};
use super::{ENDLESS, until};

fn slow(function: &str, timeout: Duration) -> Vec<u8> {
    let (name, version) = (function.parse().expect("a name"), "1".parse().expect("a version"));
    let mut project = Project::for_model(&fixture_model("slow.onnx"), name, version);
    project.manifest.limits.timeout = timeout;
    write(&project)
}

fn iterations(count: u64) -> ModelInferRequest {
    request("slow", vec![input("iterations", "INT64", &[1])], vec![count.to_le_bytes().to_vec()])
}

/// Calls as a client that says how long it waits and then waits for ever, so that the answer is the host's: the code and the
/// message.
async fn patient_call(host: &TestHost, request: &ModelInferRequest, timeout: Duration) -> (Option<i32>, String) {
    raw_call(host, ("grpc-timeout", &format!("{}S", timeout.as_secs())), 0, &request.encode_to_vec()).await
}

/// A call of one message, whatever its flag and its bytes are: the code and the message, if it is refused.
async fn raw_call(host: &TestHost, extra: (&str, &str), flag: u8, message: &[u8]) -> (Option<i32>, String) {
    let address = host.grpc_url.trim_start_matches("http://");
    let stream = TokioIo::new(TcpStream::connect(address).await.expect("the host listens"));
    let (mut sender, connection) = handshake(TokioExecutor::new(), stream).await.expect("it speaks HTTP/2");
    let connection = tokio::spawn(connection);
    let length = u32::try_from(message.len()).expect("it is short").to_be_bytes();
    let body = [&[flag][..], &length, message].concat();
    let request = http::Request::post(format!("{}/inference.GRPCInferenceService/ModelInfer", host.grpc_url))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .header(extra.0, extra.1)
        .body(reqwest::Body::from(body))
        .expect("a request");
    let answer = sender.send_request(request).await.expect("an answer");
    connection.abort();
    let header = |name: &str| answer.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    (header("grpc-status").parse().ok(), header("grpc-message").replace("%20", " "))
}

/// An inference that never ends; its caller goes when it is aborted.
fn endless(mut client: GrpcClient) -> tokio::task::JoinHandle<Code> {
    tokio::spawn(async move { client.model_infer(iterations(ENDLESS)).await.expect_err("it never ends").code() })
}

#[tokio::test(flavor = "multi_thread")]
async fn the_sooner_of_two_deadlines_ends_the_work() {
    let host = TestHost::start().await;
    let patient = Duration::from_secs(600);
    for (function, client) in [(Duration::from_secs(1), patient), (patient, Duration::from_secs(1))] {
        host.deployed(slow("slow", function)).await;
        let (code, message) = patient_call(&host, &iterations(ENDLESS), client).await;
        assert_eq!(code, Some(Code::DeadlineExceeded as i32), "{message}");
        let whose = if function < client { "limits.timeout" } else { "the client's timeout" };
        assert!(message.contains(whose), "{message}");
        // The run has ended, or this one would wait for it.
        host.grpc().await.model_infer(iterations(1)).await.expect("the session is free");
        let metrics = host.get("/metrics").await.text();
        assert!(metrics.contains("kind=\"predict\",outcome=\"timeout\"} 1"), "{metrics}");
        host.delete("/api/functions/slow").await.expect(200);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_ends_when_its_caller_goes() {
    let host = TestHost::start().await;
    host.deployed(slow("slow", Duration::from_secs(600))).await;
    let caller = endless(host.grpc().await);
    until(&host, "running", 1).await;
    caller.abort();
    until(&host, "running", 0).await;
    host.grpc().await.model_infer(iterations(1)).await.expect("the session is free");
    let cancelled = "kind=\"predict\",outcome=\"cancelled\"} 1";
    eventually("it is counted", async || host.get("/metrics").await.text().contains(cancelled).then_some(())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_holds_all_it_may_turns_calls_away() {
    let host = TestHost::start_with(|config| config.held_requests = 1).await;
    host.deployed(slow("slow", Duration::from_secs(600))).await;
    let caller = endless(host.grpc().await);
    until(&host, "running", 1).await;
    let mut client = host.grpc().await;
    let status = client.model_infer(iterations(1)).await.expect_err("there is no room");
    assert_eq!(status.code(), Code::Unavailable, "{status}");
    assert!(status.message().contains("limits.held_requests"), "{status}");
    // A stream takes no request's place, and each message needs one.
    let asked = futures::stream::iter([iterations(1)]).chain(futures::stream::pending());
    let mut open = client.model_stream_infer(asked).await.expect("there is room for a stream").into_inner();
    let answer = open.message().await.expect("it goes on").expect("it does not end");
    assert!(answer.error_message.contains("limits.held_requests"), "{answer:?}");
    let status = client.model_stream_infer(futures::stream::pending()).await.expect_err("there is none for another");
    assert_eq!(status.code(), Code::Unavailable, "{status}");
    assert!(status.message().contains("streams"), "{status}");
    drop(open);
    caller.abort();
    eventually("room", async || client.model_infer(iterations(1)).await.ok()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_may_be_as_large_as_a_body() {
    let host = TestHost::start_with(|config| config.body_bytes = 6 << 20).await;
    host.deploy_model("float", "identity_float.onnx").await.expect(201);
    let mut client = host.grpc().await;
    let floats = |count: usize| {
        let shape = [1, i64::try_from(count).expect("it fits")];
        request("float", vec![input("input", "FP32", &shape)], vec![vec![0x3f; count * 4]])
    };
    // More than gRPC's usual 4 MiB; raw, and as numbers.
    let answer = client.model_infer(floats(1_300_000)).await.expect("it is small enough").into_inner();
    assert_eq!(answer.raw_output_contents, [vec![0x3f; 5_200_000]]);
    let contents =
        nocti_tests::grpc::inference::InferTensorContents { fp32_contents: vec![0.5; 1_300_000], ..Default::default() };
    let numbers = request("float", vec![typed("input", "FP32", &[1, 1_300_000], contents)], vec![]);
    let answer = client.model_infer(numbers).await.expect("it is small enough").into_inner();
    assert_eq!(answer.raw_output_contents[0].len(), 5_200_000);
    let status = client.model_infer(floats(1_600_000)).await.expect_err("it is too large");
    assert_eq!(status.code(), Code::ResourceExhausted, "{status}");
    assert!(status.message().contains("larger than 6291456 bytes (limits.body)"), "{status}");
    // Small on its way, and too large when it is unpacked.
    let mut packed = host.grpc().await.send_compressed(CompressionEncoding::Gzip);
    packed.model_infer(floats(1_000_000)).await.expect("it is small enough");
    let status = packed.model_infer(floats(60_000_000)).await.expect_err("it is too large");
    assert_eq!(status.code(), Code::ResourceExhausted, "{status}");
    // What is no inference is a few words.
    let ready = |bytes: usize| ModelReadyRequest { name: "x".repeat(bytes), ..Default::default() };
    assert!(!client.model_ready(ready(60_000)).await.expect("it is short enough").into_inner().ready);
    for mut client in [client, packed] {
        let status = client.model_ready(ready(70_000)).await.expect_err("it is too long");
        assert!(status.message().contains("65536 bytes"), "{status}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_message_is_packed_or_not() {
    let host = host().await;
    let message = simple("simple").encode_to_vec();
    let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::default());
    std::io::Write::write_all(&mut encoder, &message).expect("memory takes all");
    let deflated = encoder.finish().expect("memory takes all");
    for (flag, bytes) in [(0, &message), (1, &deflated)] {
        assert_eq!(raw_call(&host, ("grpc-encoding", "deflate"), flag, bytes).await.0, None, "it is answered");
    }
    let invalid = Some(Code::InvalidArgument as i32);
    let cut = &deflated[..deflated.len() - 1];
    for (encoding, flag, bytes, code, words) in [
        ("deflate", 1, &message[..], invalid, "not what its grpc-encoding, deflate, says"),
        ("gzip", 1, &deflated, invalid, "not what its grpc-encoding, gzip, says"),
        ("deflate", 1, cut, invalid, "not what its grpc-encoding, deflate, says"),
        ("deflate", 0, &deflated, invalid, "not a valid inference request"),
        ("deflate", 2, &message, invalid, "1 for one that is packed"),
        ("zstd", 1, &message, Some(Code::Unimplemented as i32), "zstd"),
    ] {
        let (got, message) = raw_call(&host, ("grpc-encoding", encoding), flag, bytes).await;
        assert_eq!(got, code, "{message}");
        assert!(message.contains(words), "{message}");
    }
    // Many on one stream, in order.
    let mut client = host.grpc().await.send_compressed(CompressionEncoding::Gzip);
    let requests = (0..20).map(|n: i32| ModelInferRequest { id: n.to_string(), ..simple("simple") });
    let answers = client.model_stream_infer(futures::stream::iter(requests)).await.expect("it is served").into_inner();
    let ids = answers.map(|answer| answer.expect("the stream goes on").infer_response.expect("an answer").id);
    assert_eq!(ids.collect::<Vec<_>>().await, (0..20).map(|n| n.to_string()).collect::<Vec<_>>());
}

/// A few kilobytes may become as much as a message may be, which holds nobody up.
#[test]
fn packed_messages_wait_for_a_thread_that_may_take_its_time() {
    few_threads().block_on(async {
        let host = TestHost::start().await;
        host.deploy(&fixture_guest("misbehave")).await.expect(201);
        let mode = InferParameter { parameter_choice: Some(ParameterChoice::StringParam("count".into())) };
        let parameters = HashMap::from([("mode".to_owned(), mode)]);
        let count = ModelInferRequest { parameters, ..request("misbehave", vec![], vec![]) };
        let mut plain = host.grpc().await;
        let mut packed = host.grpc().await.send_compressed(CompressionEncoding::Gzip);
        plain.model_infer(count.clone()).await.expect("it answers");

        let busy = AllBusy::begin().await;
        let asked = count.clone();
        let waiting = tokio::spawn(async move { packed.model_infer(asked).await });
        metric(&host, "nocti_held_requests 1").await;
        plain.model_infer(count).await.expect("it answers");
        assert!(!waiting.is_finished());
        drop(busy);
        waiting.await.expect("no panic").expect("it answers");
        metric(&host, "nocti_held_requests 0").await;
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_in_flight_finish_and_watchers_are_told_when_the_host_stops() {
    use tonic_health::pb::health_client::HealthClient;
    use tonic_health::pb::{HealthCheckRequest, health_check_response::ServingStatus};

    let host = TestHost::start_with(|config| config.drain_timeout = Duration::from_secs(60)).await;
    host.deployed(slow("slow", Duration::from_secs(60))).await;
    let mut health = HealthClient::new(host.channel().await);
    let asked = |service: &str| HealthCheckRequest { service: service.to_owned() };
    for service in ["", "inference.GRPCInferenceService"] {
        let status = health.check(asked(service)).await.expect("it is served").into_inner().status();
        assert_eq!(status, ServingStatus::Serving, "{service}");
    }
    assert_eq!(health.check(asked("other")).await.expect_err("it is not").code(), Code::NotFound);
    let mut watch = health.watch(asked("")).await.expect("it is served").into_inner();
    assert_eq!(watch.message().await.expect("a message").expect("one").status(), ServingStatus::Serving);

    // An open stream is told as well, after its answer.
    let (sender, requests) = futures::channel::mpsc::unbounded();
    sender.unbounded_send(iterations(100_000)).expect("it is open");
    let mut client = host.grpc().await;
    let mut stream = client.model_stream_infer(requests).await.expect("it is served").into_inner();
    until(&host, "running", 1).await;
    let call = tokio::spawn(async move { client.model_infer(iterations(100_000)).await });
    until(&host, "queued", 1).await;

    host.begin_stop();
    let address = host.grpc_url.trim_start_matches("http://").to_owned();
    eventually("a refused connection", async || TcpStream::connect(&address).await.is_err().then_some(())).await;
    assert_eq!(watch.message().await.expect("a message").expect("one").status(), ServingStatus::NotServing);
    assert!(watch.message().await.expect("its end").is_none());
    let answer = call.await.expect("no panic").expect("it was in flight").into_inner();
    assert_eq!(answer.raw_output_contents, [64f32.to_le_bytes().to_vec()]);
    let answer = stream.message().await.expect("an answer").expect("it was in flight");
    assert_eq!(answer.error_message, "");
    assert_eq!(stream.message().await.expect_err("the stream ends").code(), Code::Unavailable);
    let (drained, _) = host.stop().await;
    assert!(drained, "nothing that is open holds the host up");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_does_not_speak_grpc_disturbs_nobody() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    let host = host().await;
    let address = host.grpc_url.trim_start_matches("http://");
    let frames: [&[u8]; 3] = [
        b"GET / HTTP/1.1\r\nhost: x\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff",
        &[0; 100],
    ];
    for bytes in frames {
        let mut stream = TcpStream::connect(address).await.expect("the host listens");
        // It may be closed before all of it is there.
        let _ = stream.write_all(bytes).await;
        let _ = stream.read_to_end(&mut Vec::new()).await;
    }
    // Over HTTP/2, but what it says is no message.
    let channel = host.channel().await;
    let call = async |path: &str, body: Vec<u8>| {
        let request =
            http::Request::post(format!("{}{path}", host.grpc_url)).header("content-type", "application/grpc");
        let request = request.body(tonic::body::Body::new(reqwest::Body::from(body))).expect("a request");
        let mut channel = channel.clone();
        std::future::poll_fn(|context| channel.poll_ready(context)).await.expect("it is connected");
        channel.call(request).await
    };
    let infer = "/inference.GRPCInferenceService/ModelInfer";
    let grpc_status = |response: &http::Response<tonic::body::Body>| {
        response.headers().get("grpc-status").and_then(|code| code.to_str().ok()?.parse::<i32>().ok())
    };
    for (path, body, code) in [
        ("/nothing", vec![], Code::Unimplemented),
        ("/inference.GRPCInferenceService/Nothing", vec![], Code::Unimplemented),
        ("/inference.GRPCInferenceService/CudaSharedMemoryStatus", vec![], Code::Unimplemented),
        (infer, vec![], Code::InvalidArgument),
        (infer, vec![0, 0, 0], Code::InvalidArgument),
        (infer, vec![7, 0, 0, 0, 1, 0], Code::InvalidArgument),
        (infer, vec![0, 0, 0, 0, 9, 0], Code::InvalidArgument),
        (infer, vec![0, 0, 0, 0, 2, 0xff, 0xff], Code::InvalidArgument),
        (infer, vec![0, 0xff, 0xff, 0xff, 0xff], Code::ResourceExhausted),
    ] {
        let response = call(path, body.clone()).await.expect("an answer");
        assert_eq!(grpc_status(&response), Some(code as i32), "{path} {body:?} {:?}", response.headers());
    }
    assert_eq!(host.grpc().await.model_infer(simple("simple")).await.expect("it serves").into_inner().id, "");
    assert_eq!(host.get("/api/status").await.expect(200)["sessions"][0]["runs"], json!(1));
}

#[tokio::test(flavor = "multi_thread")]
async fn one_connection_too_many_waits_for_another_to_end() {
    let host = TestHost::start_with(|config| config.connections = 1).await;
    host.deploy_model("simple", "addsub.onnx").await.expect(201);
    let address = host.grpc_url.trim_start_matches("http://").to_owned();
    // It says nothing, and has its place all the same.
    let idle = TcpStream::connect(&address).await.expect("the host listens");
    let mut client = host.grpc().await;
    let mut call = Box::pin(client.model_infer(simple("simple")));
    assert!(futures::poll!(&mut call).is_pending());
    drop(idle);
    call.await.expect("there is room");
    // Nor does one that has not begun hold up the end.
    drop(client);
    let _idle = TcpStream::connect(&address).await.expect("the host listens");
    let stopped = tokio::time::timeout(Duration::from_secs(20), host.stop()).await;
    assert!(stopped.expect("it stops").0);
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_answers_a_call_has_its_id() {
    let host = host().await;
    let mut client = host.grpc().await;
    let call = |id: &'static str, model: &str| {
        let mut call = Request::new(simple(model));
        call.metadata_mut().insert("x-request-id", MetadataValue::from_static(id));
        call
    };
    let id =
        |metadata: &MetadataMap| metadata.get("x-request-id").expect("it has one").to_str().expect("text").to_owned();
    assert_eq!(id(client.model_infer(call("mine", "simple")).await.expect("an answer").metadata()), "mine");
    assert_eq!(id(client.model_infer(call("mine", "nothing")).await.expect_err("there is none").metadata()), "mine");
    let stream = call("mine", "simple").map(|message| futures::stream::iter([message]));
    assert_eq!(id(client.model_stream_infer(stream).await.expect("it is served").metadata()), "mine");
    // Who gives none gets one.
    let mut made = std::collections::HashSet::new();
    for _ in 0..3 {
        made.insert(id(client.model_infer(simple("simple")).await.expect("an answer").metadata()));
    }
    assert!(made.len() == 3 && made.iter().all(|id| id.parse::<u64>().is_ok()), "{made:?}");
}
