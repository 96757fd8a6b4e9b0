//! Requests that are refused before anything is computed: bad JSON, bad tensors, bad paths and methods, too large ones.

use std::time::Duration;

use nocti::registry::nocti_toml::Project;
use nocti_tests::{TestHost, fixture_guest, fixture_model, write};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::Instant;

use super::{mode, session, tensor};

const INFER: &str = "/v2/models/simple/infer";

async fn host() -> TestHost {
    let host = TestHost::start().await;
    host.deploy_model("simple", "addsub.onnx").await.expect(201);
    host
}

fn good(name: &str) -> Value {
    tensor(name, "INT32", &[1, 16], json!((0..16).collect::<Vec<i32>>()))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_is_no_request_is_refused_with_the_place() {
    let host = host().await;
    let cases: [(&[u8], &[&str]); 9] = [
        (b"", &["not a valid inference request"]),
        (b"{", &["line 1"]),
        (b"[]", &["not a valid inference request"]),
        (b"{}", &["missing field `inputs`"]),
        (b"{\"inputs\": 7}", &["invalid type", "column"]),
        (b"{\"inputs\": []} trailing", &["trailing characters"]),
        (b"{\"inputs\": [{\"name\": \"INPUT0\"}]}", &["missing field `datatype`"]),
        (b"\xff\xfe{}", &["not a valid inference request"]),
        (b"{\"inputs\": [], \"inputs\": []}", &["duplicate field `inputs`"]),
    ];
    for (body, parts) in cases {
        let answer = host.post(INFER, body.to_vec()).await;
        answer.expect_error(400, "invalid_request", parts);
    }
    // Nested too deeply for a parser that recurses.
    let deep = format!("{{\"inputs\": {}", "[".repeat(100_000));
    host.post(INFER, deep).await.expect_error(400, "invalid_request", &["not a valid inference request"]);
    let input = json!({"name": "INPUT0", "datatype": "INT32", "shape": [1]}).to_string();
    let deep = format!(
        "{{\"inputs\": [{},\"data\":{}{}}}]}}",
        &input[..input.len() - 1],
        "[".repeat(50_000),
        "]".repeat(50_000)
    );
    host.post(INFER, deep).await.expect_error(400, "invalid_request", &[]);
}

#[tokio::test(flavor = "multi_thread")]
async fn inputs_that_do_not_fit_are_refused_with_what_is_expected() {
    let host = host().await;
    host.infer("simple", &json!({"inputs": [good("INPUT0"), good("INPUT1")]})).await.expect(200);
    let before = session(&host).await;
    let sixteen = json!((0..16).collect::<Vec<i32>>());
    let cases: Vec<(Vec<Value>, &[&str])> = vec![
        (vec![good("INPUT0"), good("INPUT2")], &["unexpected inference input 'INPUT2' for model 'simple'", "'INPUT1'"]),
        (vec![good("INPUT0")], &["expected 2 inputs but got 1", "missing required input(s) ['INPUT1']"]),
        (vec![], &["expected 2 inputs but got 0", "['INPUT0','INPUT1']"]),
        (vec![good("INPUT0"), good("INPUT1"), good("INPUT2")], &["'INPUT2'"]),
        (vec![good("INPUT0"), good("INPUT0")], &["input 'INPUT0'", "more than once"]),
        (
            vec![good("INPUT0"), tensor("INPUT1", "FP32", &[1, 16], sixteen.clone())],
            &["inference input 'INPUT1' data-type is 'FP32', but model 'simple' expects 'INT32'"],
        ),
        (
            vec![good("INPUT0"), tensor("INPUT1", "INT32", &[2, 8], sixteen.clone())],
            &["unexpected shape for input 'INPUT1' for model 'simple'. Expected [-1,16], got [2,8]"],
        ),
        (vec![good("INPUT0"), tensor("INPUT1", "INT32", &[16], sixteen.clone())], &["'INPUT1'", "got [16]"]),
        (vec![good("INPUT0"), tensor("INPUT1", "INT32", &[], json!([1]))], &["'INPUT1'", "got []"]),
    ];
    for (inputs, parts) in cases {
        host.infer("simple", &json!({"inputs": inputs})).await.expect_error(400, "invalid_request", parts);
    }
    let after = session(&host).await;
    assert_eq!(after["runs"], before["runs"], "none of them has reached ONNX Runtime");
    // Each fits by itself, but they do not fit each other: the model's own complaint.
    let two = tensor("INPUT1", "INT32", &[2, 16], json!(vec![1; 32]));
    let three = tensor("INPUT0", "INT32", &[3, 16], json!(vec![1; 48]));
    let answer = host.infer("simple", &json!({"inputs": [two, three]})).await;
    answer.expect_error(500, "model_failed", &["model 'simple' failed: ", "2 by 3"]);
    host.infer("simple", &json!({"inputs": [good("INPUT0"), good("INPUT1")]})).await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn data_that_does_not_fill_its_shape_is_refused() {
    let host = host().await;
    let row = json!((0..16).collect::<Vec<i32>>());
    let cases: [(Value, Value, &[&str]); 12] = [
        (json!([1, 16]), json!([1, 2, 3]), &["shape [1, 16] needs 16 elements, but its data has 3"]),
        (json!([1, 16]), json!(vec![0; 17]), &["needs 16 elements, but its data has 17"]),
        (json!([2, 16]), json!([row]), &["an array of 1 entries where dimension 0", "is 2"]),
        (json!([1, 16]), json!([[1, 2]]), &["an array of 2 entries where dimension 1"]),
        (json!([1, 16]), json!([[[1]]]), &["nested more deeply than its shape"]),
        (json!([2, 2]), json!([[1, 2], 3]), &["neither flat nor nested"]),
        (json!([2, 2]), json!([1, 2, [3]]), &["element 2 is an array"]),
        (json!([1]), json!([{"a": 1}]), &["element 0 is an object"]),
        (json!([1]), json!(1), &["must be an array"]),
        (json!([-1, 16]), row.clone(), &["negative dimension"]),
        (json!([1u64 << 40, 1u64 << 40]), json!([1]), &["more elements than can be addressed"]),
        (json!(vec![1; 101]), json!([1]), &["at most 64 dimensions"]),
    ];
    for (shape, data, parts) in cases {
        let input = json!({"name": "INPUT0", "datatype": "INT32", "shape": shape, "data": data});
        let answer = host.infer("simple", &json!({"inputs": [input, good("INPUT1")]})).await;
        answer.expect_error(400, "invalid_request", &["input 'INPUT0'"]);
        answer.expect_error(400, "invalid_request", parts);
    }
    let without = json!({"name": "INPUT0", "datatype": "INT32", "shape": [1, 16]});
    let answer = host.infer("simple", &json!({"inputs": [without, good("INPUT1")]})).await;
    answer.expect_error(400, "invalid_request", &["input 'INPUT0'", "no data"]);
    let unknown = tensor("INPUT0", "FP8", &[1, 16], json!([1]));
    let answer = host.infer("simple", &json!({"inputs": [unknown]})).await;
    answer.expect_error(400, "invalid_request", &["input 'INPUT0'", "'FP8' is not a datatype"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn tensors_outside_the_body_are_refused_rather_than_ignored() {
    let host = host().await;
    for name in ["shared_memory_region", "shared_memory_offset", "shared_memory_byte_size"] {
        let words = [name, "is not supported", "turn shared memory off in the client"];
        let request = json!({"parameters": {name: 1}, "inputs": [good("INPUT0"), good("INPUT1")]});
        host.infer("simple", &request).await.expect_error(400, "invalid_request", &words);
    }
    let request = json!({"parameters": {"list": [1]}, "inputs": [good("INPUT0"), good("INPUT1")]});
    host.infer("simple", &request).await.expect_error(400, "invalid_request", &["parameter 'list'", "boolean"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_typed_functions_signature_is_held_against_the_request() {
    let host = TestHost::start().await;
    host.deploy(&fixture_guest("misbehave")).await.expect(201);
    let cases: [(Value, &[&str]); 3] = [
        (tensor("y", "INT64", &[1], json!([1])), &["unexpected inference input 'y'", "'x'"]),
        (tensor("x", "INT32", &[1], json!([1])), &["data-type is 'INT32'", "expects 'INT64'"]),
        (tensor("x", "INT64", &[1, 1], json!([1])), &["unexpected shape for input 'x'", "[-1]"]),
    ];
    for (input, parts) in cases {
        let answer = host.infer("misbehave", &mode("echo", json!({}), &[input])).await;
        answer.expect_error(400, "invalid_request", parts);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn types_that_functions_cannot_take_are_refused_and_cost_no_instance() {
    let host = TestHost::start().await;
    host.deploy(&fixture_guest("free")).await.expect(201);
    let count =
        async || host.infer("free", &mode("count", json!({}), &[])).await.expect(200)["outputs"][0]["data"][0].clone();
    assert_eq!(count().await, 1);
    for datatype in ["BOOL", "UINT16", "UINT32", "UINT64", "INT8", "INT16"] {
        let x = tensor("x", datatype, &[1], json!([1]));
        let answer = host.infer("free", &mode("echo", json!({}), &[x])).await;
        answer.expect_error(400, "invalid_request", &["input 'x'", datatype, "they take UINT8, INT32"]);
    }
    assert_eq!(count().await, 2, "the instance was there to stay");
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_over_the_limit_are_refused_announced_or_not() {
    let host = TestHost::start_with(|config| config.body_bytes = 10_000).await;
    host.deploy_model("simple", "addsub.onnx").await.expect(201);
    let request = json!({"inputs": [good("INPUT0"), good("INPUT1")]}).to_string();
    host.post(INFER, format!("{request:<10000}")).await.expect(200);
    let large = format!("{request:<10001}");
    let parts = ["larger than 10000 bytes", "limits.body"];
    host.post(INFER, large.clone()).await.expect_error(413, "too_large", &parts);
    // A body that comes in chunks says its size only by ending.
    let answer = host.raw(&in_chunks(&large)).await;
    assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
    assert!(answer.contains("too_large") && answer.contains("limits.body"), "{answer}");
    let answer = host.raw(&in_chunks(&request)).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    // A client that asks first is told before it sends anything.
    let head = format!("POST {INFER} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: 10001\r\n");
    let answer = host.raw((head + "expect: 100-continue\r\n\r\n").as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
}

/// Most clients send all of it before they read.
#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_is_still_sending_reads_the_refusal() {
    let host = TestHost::start_with(|config| config.body_bytes = 10_000).await;
    host.deploy_model("simple", "addsub.onnx").await.expect(201);
    let answer = host.post(INFER, vec![b' '; 16 << 20]).await;
    answer.expect_error(413, "too_large", &["larger than 10000 bytes"]);
    let answer = host.post("/v2/models/nothing/infer", vec![b' '; 16 << 20]).await;
    answer.expect_error(404, "not_found", &["'nothing'"]);
    let answer = host.post("/api/functions", vec![b'x'; 16 << 20]).await;
    answer.expect_error(400, "invalid_bundle", &["not a WebAssembly file"]);
}

/// In no time: a clock that is paused jumps to whatever is due next.
#[tokio::test]
async fn a_body_that_does_not_come_is_waited_for_only_so_long() {
    let host = TestHost::start().await;
    let late = "the deadline passed: it took longer than 20s (limits.timeout), the body's upload and waiting included";
    let cases = [
        (60, 30, 408, json!({"error": "nothing of the body came for 30 s", "code": "body_timeout"})),
        (20, 20, 504, json!({"error": late, "code": "deadline_exceeded"})),
    ];
    for (timeout, waited, status, error) in cases {
        let version = timeout.to_string().parse().expect("a version");
        let mut project = Project::for_model(&fixture_model("addsub.onnx"), "simple".parse().expect("a name"), version);
        project.manifest.limits.timeout = Duration::from_secs(timeout);
        host.deployed(write(&project)).await;

        let begun = Instant::now();
        let mut stream = TcpStream::connect(host.url.trim_start_matches("http://")).await.expect("it listens");
        let head = format!("POST {INFER} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: 100\r\n");
        stream.write_all((head + "expect: 100-continue\r\n\r\n").as_bytes()).await.expect("it reads");
        let mut go_on = [0; "HTTP/1.1 100 Continue\r\n\r\n".len()];
        stream.read_exact(&mut go_on).await.expect("it waits for the body");
        tokio::time::pause();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.expect("it answers");
        tokio::time::resume();
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{answer}");
        assert!(answer.ends_with(&format!("\r\n\r\n{error}")), "{answer}");
        assert!(begun.elapsed() >= Duration::from_secs(waited), "after {:?}", begun.elapsed());
    }
}

fn in_chunks(body: &str) -> Vec<u8> {
    let mut request =
        format!("POST {INFER} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n");
    for piece in body.as_bytes().chunks(1000) {
        request += &format!("{:x}\r\n{}\r\n", piece.len(), String::from_utf8_lossy(piece));
    }
    (request + "0\r\n\r\n").into_bytes()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_method_is_told_the_right_one() {
    let host = host().await;
    let cases = [
        (Method::GET, INFER, "POST"),
        (Method::PUT, INFER, "POST"),
        (Method::POST, "/v2", "GET, HEAD"),
        (Method::POST, "/v2/health/live", "GET, HEAD"),
        (Method::POST, "/v2/models/simple", "GET, HEAD"),
        (Method::DELETE, "/v2/models/simple/ready", "GET, HEAD"),
        (Method::DELETE, "/api/functions", "GET, HEAD, POST"),
        (Method::POST, "/api/functions/simple", "GET, HEAD, DELETE"),
        (Method::GET, "/api/functions/simple/versions/1.0.0", "DELETE"),
        (Method::POST, "/api/status", "GET, HEAD"),
        (Method::POST, "/healthz", "GET, HEAD"),
    ];
    for (method, path, allowed) in cases {
        let answer = host.send(host.request(method.clone(), path)).await;
        answer.expect_error(405, "method_not_allowed", &[allowed]);
        assert_eq!(answer.headers["allow"], allowed, "{method} {path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_path_with_nothing_behind_it_is_not_found() {
    let host = host().await;
    for path in ["/v1", "/v2/repository", "/v2/models/simple/predict", "/api", "/functions", "/%ff"] {
        host.get(path).await.expect_error(404, "not_found", &[]);
        host.post(path, "{}").await.expect_error(404, "not_found", &[]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_callers_request_id_comes_back_and_else_there_is_one() {
    let host = host().await;
    let given = host.send(host.request(Method::GET, "/v2").header("x-request-id", "mine-7")).await;
    assert_eq!(given.headers["x-request-id"], "mine-7");
    assert!(!host.get("/no/such/path").await.headers["x-request-id"].is_empty());
    let long = host.send(host.request(Method::GET, "/v2").header("x-request-id", "x".repeat(129))).await;
    assert!(long.headers["x-request-id"].len() <= 128);
}
