//! Compressed requests and answers.

use std::io::{Read, Write};
use std::sync::mpsc;

use flate2::Compression;
use flate2::read::{GzDecoder, ZlibDecoder};
use flate2::write::{GzEncoder, ZlibEncoder};
use nocti_tests::{TestHost, eventually, fixture_guest};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::runtime::Runtime;

use super::tensor;

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).expect("memory takes all");
    encoder.finish().expect("memory takes all")
}

fn deflate(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).expect("memory takes all");
    encoder.finish().expect("memory takes all")
}

async fn host() -> TestHost {
    let host = TestHost::start().await;
    host.deploy_model("same", "identity_int64.onnx").await.expect(201);
    host
}

fn numbers(count: i64) -> Value {
    json!((0..count).collect::<Vec<i64>>())
}

#[tokio::test(flavor = "multi_thread")]
async fn compressed_requests_are_read() {
    let host = host().await;
    let body = json!({"inputs": [tensor("input", "INT64", &[1, 300], numbers(300))]}).to_string();
    for (encoding, body) in [
        ("gzip", gzip(body.as_bytes())),
        ("gzip", [gzip(&body.as_bytes()[..100]), gzip(&body.as_bytes()[100..])].concat()),
        ("x-gzip", gzip(body.as_bytes())),
        ("deflate", deflate(body.as_bytes())),
    ] {
        let request =
            host.request(Method::POST, "/v2/models/same/infer").header("content-encoding", encoding).body(body);
        let answer = host.send(request).await.expect(200);
        assert_eq!(answer["outputs"][0]["data"], numbers(300), "{encoding}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_length_of_the_json_is_that_before_it_was_compressed() {
    let host = host().await;
    let head = json!({"inputs": [{"name": "input", "datatype": "INT64", "shape": [1, 2], "parameters": {"binary_data_size": 16}}],
                      "parameters": {"binary_data_output": true}})
    .to_string();
    let body = [head.as_bytes(), &5_i64.to_le_bytes(), &7_i64.to_le_bytes()].concat();
    let request = host.request(Method::POST, "/v2/models/same/infer").header("content-encoding", "gzip");
    let request = request.header("inference-header-content-length", head.len()).body(gzip(&body));
    let answer = host.send(request).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let json_length: usize = answer.headers["inference-header-content-length"].to_str().unwrap().parse().unwrap();
    assert_eq!(answer.body[json_length..], body[head.len()..]);
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_are_compressed_where_that_is_asked_for() {
    let host = host().await;
    let body = json!({"inputs": [tensor("input", "INT64", &[1, 1000], numbers(1000))]}).to_string();
    let ask = async |accept: &str| {
        let request = host.request(Method::POST, "/v2/models/same/infer").header("accept-encoding", accept);
        host.send(request.body(body.clone())).await
    };
    let plain = ask("identity").await;
    assert!(!plain.headers.contains_key("content-encoding"));
    assert_eq!(plain.headers["vary"], "accept-encoding", "another caller may get it in another form");
    for accept in ["gzip;Q=0", "identity;q=1, gzip;q=0.5"] {
        assert!(!ask(accept).await.headers.contains_key("content-encoding"), "{accept}");
    }
    for (accept, encoding) in [("gzip", "gzip"), ("br, deflate", "deflate"), ("gzip;q=0.1, deflate;q=0.5", "deflate")] {
        let answer = ask(accept).await;
        assert_eq!((answer.status, answer.headers["content-encoding"].to_str().unwrap()), (200, encoding), "{accept}");
        assert!(answer.body.len() < plain.body.len());
        assert_eq!(answer.headers.get_all("vary").iter().collect::<Vec<_>>(), ["accept-encoding"]);
        let mut text = Vec::new();
        match encoding {
            "gzip" => GzDecoder::new(&answer.body[..]).read_to_end(&mut text).unwrap(),
            _ => ZlibDecoder::new(&answer.body[..]).read_to_end(&mut text).unwrap(),
        };
        assert!(text == plain.body, "{accept}");
    }
    // However the tensors came and go; and what is no inference.
    let rows = json!({"instances": (0..1000).map(|n| json!([n])).collect::<Vec<_>>()}).to_string();
    for (method, path, body) in [
        (Method::POST, "/functions/same", body.clone()),
        (Method::POST, "/v1/models/same:predict", rows),
        (Method::GET, "/api/openapi.json", String::new()),
    ] {
        let request = host.request(method, path).header("accept-encoding", "gzip").body(body);
        let answer = host.send(request).await;
        assert_eq!((answer.status, answer.headers["content-encoding"].to_str().unwrap()), (200, "gzip"), "{path}");
        assert_eq!(answer.headers.get_all("vary").iter().collect::<Vec<_>>(), ["accept-encoding"], "{path}");
        let mut text = Vec::new();
        GzDecoder::new(&answer.body[..]).read_to_end(&mut text).unwrap();
        serde_json::from_slice::<Value>(&text).expect("JSON");
    }
    // A short one would only grow.
    let request = host.request(Method::GET, "/v2/models/same/ready").header("accept-encoding", "gzip");
    assert!(!host.send(request).await.headers.contains_key("content-encoding"));
}

/// What a runtime has for work that takes a while, and one that has so little.
const THREADS: usize = 4;

pub(super) fn few_threads() -> Runtime {
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    runtime.max_blocking_threads(THREADS).enable_all().build().expect("a runtime")
}

/// While it is there, nothing that takes a while can begin.
pub(super) struct AllBusy(#[expect(dead_code, reason = "threads wait for its end")] Vec<mpsc::Sender<()>>);

impl AllBusy {
    pub(super) async fn begin() -> Self {
        let mut all = Vec::new();
        for _ in 0..THREADS {
            let (begins, begun) = tokio::sync::oneshot::channel();
            let (ends, ended) = mpsc::channel();
            tokio::task::spawn_blocking(move || begins.send(()).map(|()| ended.recv()));
            begun.await.expect("a thread is free");
            all.push(ends);
        }
        Self(all)
    }
}

/// Waits for a line of the metrics.
pub(super) async fn metric(host: &TestHost, line: &str) {
    eventually(line, async || host.get("/metrics").await.text().lines().any(|found| found == line).then_some(())).await;
}

/// Else the answers of callers who ask for compressed ones could be there in any number.
#[test]
fn an_answer_has_its_place_until_it_is_compressed() {
    few_threads().block_on(async {
        let host = TestHost::start().await;
        host.deploy(&fixture_guest("misbehave")).await.expect(201);
        let body = json!({"inputs": [tensor("x", "INT64", &[300], numbers(300))], "parameters": {"mode": "echo"}});
        host.infer("misbehave", &body).await.expect(200);
        let busy = AllBusy::begin().await;
        let request = host.request(Method::POST, "/v2/models/misbehave/infer").header("accept-encoding", "gzip");
        let asking = tokio::spawn(request.body(body.to_string()).send());
        metric(&host, "nocti_guest_seconds_count 2").await;
        for _ in 0..10 {
            let metrics = host.get("/metrics").await.text();
            assert!(metrics.contains("\nnocti_held_requests 1\n"), "its place is taken");
        }
        assert!(!asking.is_finished());
        drop(busy);
        let answer = asking.await.expect("no panic").expect("an answer");
        assert_eq!(answer.headers()["content-encoding"], "gzip");
        metric(&host, "nocti_held_requests 0").await;
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_decompressed_is_refused() {
    let host = TestHost::start_with(|config| config.body_bytes = 1 << 20).await;
    host.deploy_model("same", "identity_int64.onnx").await.expect(201);
    let send = async |encoding: &str, body: Vec<u8>| {
        let request =
            host.request(Method::POST, "/v2/models/same/infer").header("content-encoding", encoding).body(body);
        host.send(request).await
    };
    send("br", vec![0; 10]).await.expect_error(415, "unsupported_encoding", &["'br'", "gzip or deflate"]);
    let whole = gzip(b"{\"inputs\": []}");
    for body in [b"no gzip".to_vec(), whole[..whole.len() / 2].to_vec(), [&whole[..], b"garbage behind it"].concat()] {
        send("gzip", body).await.expect_error(400, "invalid_request", &["content-encoding, gzip,"]);
    }
    // A kilobyte that becomes two megabytes.
    let bomb = gzip(&vec![b' '; 2 << 20]);
    send("gzip", bomb).await.expect_error(413, "too_large", &["1048576"]);
    let body = json!({"inputs": [tensor("input", "INT64", &[1, 1], json!([1]))]});
    host.infer("same", &body).await.expect(200);
}
