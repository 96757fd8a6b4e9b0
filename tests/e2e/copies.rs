//! A tensor's bytes are copied nowhere between the connection and ONNX Runtime, in either direction: counted, not guessed.

use nocti_tests::{Answer, HostProcess, fixture_model, model_bundle};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::{client, get, post};

/// What the host counted, which it does in test builds.
async fn moved_bytes(host: &HostProcess) -> u64 {
    let metrics = get(host, "/metrics").await.text();
    let count = metrics.lines().find_map(|line| line.strip_prefix("nocti_moved_bytes_total "));
    count.expect("the binary counts copies: `cargo build --workspace` makes it").parse().expect("a number")
}

/// Sends an identity model binary data, to be answered with the same.
async fn same(host: &HostProcess, model: &str, input: &Value, spaces: usize, bytes: &[u8]) {
    let request = json!({"parameters": {"binary_data_output": true}, "inputs": [input]});
    let json = format!("{request}{}", " ".repeat(spaces));
    let request = client()
        .post(format!("{}/v2/models/{model}/infer", host.url))
        .header("inference-header-content-length", json.len())
        .body([json.as_bytes(), bytes].concat());
    let answer = Answer::read(request.send().await.expect("the host answers")).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert!(answer.body.ends_with(bytes), "the tensor came back");
}

async fn deploy(host: &HostProcess, model: &str) {
    let bundle = model_bundle(model, "1.0.0", &fixture_model(&format!("identity_{model}.onnx")));
    let deployed = post(host, "/api/functions", bundle).await;
    assert_eq!(deployed.status, 201, "{}", deployed.text());
}

fn input(datatype: &str, shape: [usize; 2], size: usize) -> Value {
    json!({"name": "input", "datatype": datatype, "shape": shape, "parameters": {"binary_data_size": size}})
}

#[tokio::test]
async fn a_binary_tensor_goes_to_the_model_and_back_without_a_copy() {
    let store = TempDir::new().unwrap();
    let host = HostProcess::start(store.path(), &[]).await;
    deploy(&host, "float").await;
    let bytes: Vec<u8> = (0..150_000_u32).flat_map(|n| (n as f32).to_le_bytes()).collect();
    let float = input("FP32", [1, 150_000], bytes.len());
    let before = moved_bytes(&host).await;
    // Wherever the JSON ends, the tensor lies where the model can read it.
    for spaces in 0..8 {
        same(&host, "float", &float, spaces, &bytes).await;
    }
    assert_eq!(moved_bytes(&host).await - before, 0, "bytes were copied");
}

/// The count counts: short strings are gathered.
#[tokio::test]
async fn short_strings_are_copied_and_counted() {
    let store = TempDir::new().unwrap();
    let host = HostProcess::start(store.path(), &[]).await;
    deploy(&host, "string").await;
    let before = moved_bytes(&host).await;
    same(&host, "string", &input("BYTES", [1, 1], 8), 0, b"\x04\0\0\0four").await;
    assert!(moved_bytes(&host).await - before >= 4);
}
