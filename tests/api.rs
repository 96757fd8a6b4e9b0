//! The host in this process, through its HTTP interface: a file per resource.

use nocti_tests::{TestHost, eventually};
use reqwest::{Method, Response};
use serde_json::{Value, json};
use tokio::task::JoinHandle;

mod authority;
mod batching;
mod batching_guests;
mod binary;
mod blobs;
mod bundles;
mod cache;
mod cancel;
mod connections;
mod datatypes;
mod deploy;
mod deploy_models;
mod drain;
mod encodings;
mod functions;
mod grpc;
mod grpc_calls;
mod grpc_extensions;
mod grpc_stream;
mod guests;
mod hostile;
mod http_p3;
mod infer;
mod isolation;
mod lifecycle;
mod limits;
mod logs;
mod memory;
mod metadata;
mod metrics;
mod oip_extensions;
mod openapi;
mod others;
mod outgoing;
mod pages;
mod plain_bodies;
mod pool;
mod races;
mod raw_http;
mod repository;
mod requests;
mod restart;
mod rollout;
mod search;
mod shadow;
mod statistics;
mod streaming;
mod traffic;
mod v1;
mod wasi_nn;
mod wasi_nn_older;

/// One input of an inference request.
fn tensor(name: &str, datatype: &str, shape: &[usize], data: Value) -> Value {
    let mut tensor = json!({"name": name, "datatype": datatype, "shape": shape});
    tensor["data"] = data;
    tensor
}

/// A request of the guest `misbehave`: its mode, further parameters, inputs.
fn mode(mode: &str, parameters: Value, inputs: &[Value]) -> Value {
    let mut all = parameters;
    all["mode"] = mode.into();
    json!({"parameters": all, "inputs": inputs})
}

/// A request of `slow.onnx`: 100,000 iterations take about a second.
fn iterations(count: u64) -> Value {
    json!({"inputs": [tensor("iterations", "INT64", &[1], json!([count]))]})
}

/// So many iterations that they never end.
const ENDLESS: u64 = 1 << 62;

/// An inference request on its way; its caller goes when it is aborted.
fn begun(host: &TestHost, function: &str, request: &Value) -> JoinHandle<reqwest::Result<Response>> {
    let path = format!("/v2/models/{function}/infer");
    tokio::spawn(host.request(Method::POST, &path).body(request.to_string()).send())
}

/// What `GET /api/status` says of the host's only session; null before it is loaded.
async fn session(host: &TestHost) -> Value {
    let status = host.get("/api/status").await.expect(200);
    assert!(status["sessions"].as_array().is_some_and(|sessions| sessions.len() <= 1), "{status}");
    status["sessions"][0].clone()
}

/// Waits until the host's only session has so many jobs `running` or `queued`.
async fn until(host: &TestHost, what: &str, count: usize) {
    eventually(what, async || (session(host).await[what] == count).then_some(())).await;
}

/// The model `identity_float.onnx` with `input` and `output` without dimensions, which no model file has: protobuf skips
/// fields it does not know, so each dimension gets the number of none.
fn identity_of_a_scalar() -> Vec<u8> {
    let mut model = std::fs::read(nocti_tests::fixture_model("identity_float.onnx")).expect("it is there");
    for field in [b"\x12\x04rows".as_slice(), b"\x12\x07columns"] {
        let found = model.windows(field.len()).enumerate().filter(|(_, window)| *window == field).map(|(at, _)| at);
        let tags: Vec<usize> = found.map(|at| at - 2).collect();
        assert_eq!(tags.len(), 2, "once in the input and once in the output");
        for at in tags {
            assert_eq!(std::mem::replace(&mut model[at], 0x7a), 0x0a, "a dimension");
        }
    }
    model
}
