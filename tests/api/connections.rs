//! HTTP beside the requests themselves: HTTP/2, how many connections there are, pages of other origins, traces.

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use nocti_tests::{TestHost, fixture_guest};
use reqwest::Method;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use super::tensor;

async fn open(host: &TestHost) -> TcpStream {
    TcpStream::connect(host.url.strip_prefix("http://").expect("a plain address")).await.expect("it listens")
}

#[tokio::test(flavor = "multi_thread")]
async fn http2_is_spoken_with_those_who_begin_with_it() {
    let host = TestHost::start().await;
    host.deploy_model("same", "identity_int64.onnx").await.expect(201);
    let stream = TokioIo::new(open(&host).await);
    let (sender, connection) = http2::handshake(TokioExecutor::new(), stream).await.expect("it speaks HTTP/2");
    let connection = tokio::spawn(connection);
    let ask = |body: Vec<u8>| {
        let (mut sender, url) = (sender.clone(), format!("{}/v2/models/same/infer", host.url));
        async move {
            let request = http::Request::post(url).body(Full::new(Bytes::from(body))).expect("a request");
            let answer = sender.send_request(request).await.expect("an answer");
            assert_eq!(answer.version(), http::Version::HTTP_2);
            (answer.status(), answer.into_body().collect().await.expect("a whole body").to_bytes())
        }
    };
    let mut asking = JoinSet::new();
    for number in 0..50 {
        let body = json!({"inputs": [tensor("input", "INT64", &[1, 1], json!([number]))]}).to_string();
        let answer = ask(body.into_bytes());
        asking.spawn(async move {
            let (status, body) = answer.await;
            let answer: serde_json::Value = serde_json::from_slice(&body).expect("JSON");
            assert_eq!((status.as_u16(), &answer["outputs"][0]["data"]), (200, &json!([number])));
        });
    }
    asking.join_all().await;
    // A large body, past every window.
    assert_eq!(ask(vec![b'['; 8 << 20]).await.0, 400);
    let (drained, _) = host.stop().await;
    connection.await.expect("no panic").expect("it is ended in good order");
    assert!(drained, "an open connection without requests does not keep the host");
}

/// A way to the host that takes one byte at a time.
async fn narrow(address: &str) -> DuplexStream {
    let mut stream = TcpStream::connect(address.trim_start_matches("http://")).await.expect("it listens");
    stream.set_nodelay(true).expect("it is a socket");
    let (near, mut far) = tokio::io::duplex(1);
    tokio::spawn(async move { tokio::io::copy_bidirectional(&mut far, &mut stream).await });
    near
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_may_begin_byte_by_byte() {
    let host = TestHost::start().await;
    let mut stream = narrow(&host.url).await;
    stream.write_all(b"POST /healthz HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n").await.expect("it is sent");
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.expect("an answer");
    assert!(answer.starts_with(b"HTTP/1.1 405"), "{}", String::from_utf8_lossy(&answer));
    // Over gRPC's port something that is no call is answered too: there is no such service.
    for url in [&host.url, &host.grpc_url] {
        let stream = TokioIo::new(narrow(url).await);
        let (mut sender, connection) = http2::handshake(TokioExecutor::new(), stream).await.expect("it speaks HTTP/2");
        let connection = tokio::spawn(connection);
        let request = http::Request::get(format!("{url}/healthz")).body(Full::new(Bytes::new())).expect("a request");
        let answer = sender.send_request(request).await.expect("an answer");
        assert_eq!((answer.version(), answer.status().as_u16()), (http::Version::HTTP_2, 200));
        connection.abort();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_connection_too_many_waits_for_another_to_end() {
    let host = TestHost::start_with(|config| config.connections = 2).await;
    let idle = [open(&host).await, open(&host).await];
    let mut third = open(&host).await;
    third.write_all(b"GET /healthz HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n").await.expect("it is sent");
    let mut answer = Vec::new();
    let mut reading = Box::pin(third.read_to_end(&mut answer));
    assert!(futures::poll!(&mut reading).is_pending());
    drop(idle);
    reading.await.expect("an answer");
    assert!(answer.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&answer));
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_of_named_origins_may_call() {
    let host = TestHost::start_with(|config| config.cors_origins = vec!["https://one.example".into()]).await;
    let ask = async |method: Method, origin: &str| {
        let request = host.request(method, "/v2").header("origin", origin);
        host.send(
            request.header("access-control-request-method", "POST").header("access-control-request-headers", "x-own"),
        )
        .await
    };
    let allowed = ask(Method::OPTIONS, "https://one.example").await;
    assert_eq!((allowed.status, &allowed.headers["access-control-allow-headers"]), (204, &"x-own".parse().unwrap()));
    assert_eq!(allowed.headers["access-control-allow-origin"], "https://one.example");
    let answer = ask(Method::GET, "https://one.example").await;
    assert_eq!(
        (answer.status, &answer.headers["access-control-allow-origin"]),
        (200, &"https://one.example".parse().unwrap())
    );
    let other = ask(Method::GET, "https://two.example").await;
    assert!(!other.headers.contains_key("access-control-allow-origin"));
    assert_eq!(other.headers["vary"], "origin", "another page would be answered otherwise");
    assert_eq!(host.get("/v2").await.headers["vary"], "origin");
    assert_eq!(ask(Method::OPTIONS, "https://two.example").await.status, 405);

    let closed = TestHost::start().await;
    let answer = closed.send(closed.request(Method::GET, "/v2").header("origin", "https://one.example")).await;
    assert!(!answer.headers.contains_key("vary"));
    assert!(!answer.headers.contains_key("access-control-allow-origin"), "off unless it is configured");
}

#[tokio::test(flavor = "multi_thread")]
async fn ids_and_traces_go_on_to_functions() {
    let host = TestHost::start().await;
    host.deploy(&fixture_guest("misbehave-http")).await.expect(201);
    let seen = async |trace: &str| {
        let request = host.request(Method::GET, "/functions/misbehave-http/headers");
        let request = request.header("x-request-id", "my-own").header("traceparent", trace).header("tracestate", "a=b");
        let answer = host.send(request).await;
        assert_eq!(answer.headers["x-request-id"], "my-own");
        answer.text()
    };
    let headers = seen("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01").await;
    let trace = headers.lines().find(|line| line.starts_with("traceparent")).unwrap_or_else(|| panic!("{headers}"));
    assert!(trace.contains("00-4bf92f3577b34da6a3ce929d0e0e4736-") && trace.ends_with("-01"), "{trace}");
    assert!(!trace.contains("00f067aa0ba902b7"), "the host is the parent now: {trace}");
    assert!(headers.contains("my-own") && headers.contains("tracestate"), "{headers}");
    let headers = seen("no trace").await;
    assert!(!headers.contains("trace"), "{headers}");
}
