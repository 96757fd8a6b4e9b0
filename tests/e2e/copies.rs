//! A tensor's bytes are copied nowhere between an HTTP connection and ONNX Runtime, in either direction: counted, not guessed.

use nocti::registry::nocti_toml::Project;
use nocti_tests::grpc::GrpcClient;
use nocti_tests::grpc::inference::ModelInferRequest;
use nocti_tests::grpc::inference::model_infer_request::InferInputTensor;
use nocti_tests::{Answer, HostProcess, bundle_with, fixture_guest, fixture_model, model_bundle};
use serde_json::{Value, json};
use tempfile::TempDir;
use tonic::transport::Endpoint;

use super::{client, get, post};

/// A host with these functions.
async fn host_with(bundles: impl IntoIterator<Item = Vec<u8>>) -> (HostProcess, TempDir) {
    let store = TempDir::new().unwrap();
    let host = HostProcess::start(store.path(), &[]).await;
    for bundle in bundles {
        let deployed = post(&host, "/api/functions", bundle).await;
        assert_eq!(deployed.status, 201, "{}", deployed.text());
    }
    (host, store)
}

fn model(function: &str, file: &str) -> Vec<u8> {
    model_bundle(function, "1.0.0", &fixture_model(file))
}

/// The guest `free` with one model.
fn guest() -> Vec<u8> {
    bundle_with(&fixture_guest("free"), |project: &mut Project| {
        project.models.retain(|model| model.name.as_str() == "identity_float");
    })
}

/// What the host counted, which it does in test builds.
async fn moved_bytes(host: &HostProcess) -> u64 {
    let metrics = get(host, "/metrics").await.text();
    let count = metrics.lines().find_map(|line| line.strip_prefix("nocti_moved_bytes_total "));
    count.expect("the binary counts copies: `cargo build --workspace` makes it").parse().expect("a number")
}

fn input(name: &str, datatype: &str, shape: &[usize], bytes: &[u8]) -> Value {
    json!({"name": name, "datatype": datatype, "shape": shape, "parameters": {"binary_data_size": bytes.len()}})
}

/// Sends inputs whose binary data is `tail`, behind JSON that ends with so many spaces; the answer's body, which is to have
/// binary data too, and how many bytes were copied meanwhile.
async fn moved_by(
    host: &HostProcess,
    function: &str,
    parameters: Value,
    inputs: Value,
    spaces: usize,
    tail: &[u8],
) -> (Vec<u8>, u64) {
    let mut request = json!({"parameters": parameters, "inputs": inputs});
    request["parameters"]["binary_data_output"] = true.into();
    let json = format!("{request}{}", " ".repeat(spaces));
    let request = client()
        .post(format!("{}/v2/models/{function}/infer", host.url))
        .header("inference-header-content-length", json.len())
        .body([json.as_bytes(), tail].concat());
    let before = moved_bytes(host).await;
    let answer = Answer::read(request.send().await.expect("the host answers")).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    (answer.body, moved_bytes(host).await - before)
}

/// So many numbers, each another one.
fn floats(count: u32) -> Vec<u8> {
    (0..count).flat_map(|n| (n as f32).to_le_bytes()).collect()
}

#[tokio::test]
async fn a_binary_tensor_goes_to_the_model_and_back_without_a_copy() {
    let (host, _store) = host_with([model("float", "identity_float.onnx")]).await;
    let bytes = floats(150_000);
    let inputs = json!([input("input", "FP32", &[1, 150_000], &bytes)]);
    // Wherever the JSON ends, the tensor lies where the model can read it.
    for spaces in 0..8 {
        let (answer, moved) = moved_by(&host, "float", json!({}), inputs.clone(), spaces, &bytes).await;
        assert!(answer.ends_with(&bytes), "the tensor came back");
        assert_eq!(moved, 0, "bytes were copied");
    }
}

#[tokio::test]
async fn a_function_hands_tensors_on_without_a_copy() {
    let (host, _store) = host_with([guest()]).await;
    let bytes = floats(150_000);
    let inputs = json!([input("input", "FP32", &[1, 150_000], &bytes)]);
    // To its answer, or to a model, from there to the model again and then to its answer.
    for mode in ["echo", "nn-handed-on"] {
        let parameters = json!({"mode": mode, "model": "identity_float"});
        let (answer, moved) = moved_by(&host, "free", parameters, inputs.clone(), 0, &bytes).await;
        assert!(answer.ends_with(&bytes), "{mode}: the tensor came back");
        assert_eq!(moved, 0, "{mode}: bytes were copied");
    }
}

#[tokio::test]
async fn a_tensor_that_does_not_lie_as_the_model_reads_it_is_copied_once() {
    let (host, _store) = host_with([model("rows", "rows.onnx")]).await;
    // An odd number of rows of three FP32 ends in the middle of eight bytes, where the tensors behind it begin.
    for (rows, moved_per_row) in [(50_000_u32, 0), (50_001, 16)] {
        let x = floats(3 * rows);
        let [scale, work] = [1_i64, 0].map(|value| value.to_le_bytes().repeat(rows as usize));
        let count = rows as usize;
        let inputs = json!([
            input("x", "FP32", &[count, 3], &x),
            input("scale", "INT64", &[count], &scale),
            input("work", "INT64", &[count], &work),
        ]);
        let tail = [x.as_slice(), &scale, &work].concat();
        let (answer, moved) = moved_by(&host, "rows", json!({}), inputs, 0, &tail).await;
        assert!(answer.ends_with(&x), "each row times 1");
        assert_eq!(moved, moved_per_row * u64::from(rows), "{rows} rows");
    }
}

/// Or it would keep the whole body, which counts for nobody's memory.
#[tokio::test]
async fn a_small_part_of_a_large_body_is_copied_before_a_function_keeps_it() {
    let (host, _store) = host_with([guest()]).await;
    for (count, expected) in [(150_000_u32, 8), (1_500, 0)] {
        let (a, b) = (floats(count), 7_i64.to_le_bytes());
        let inputs = json!([input("a", "FP32", &[count as usize], &a), input("b", "INT64", &[1], &b)]);
        let tail = [a.as_slice(), &b].concat();
        let (answer, moved) = moved_by(&host, "free", json!({"mode": "echo"}), inputs, 0, &tail).await;
        assert!(answer.ends_with(&tail), "both came back");
        assert_eq!(moved, expected, "beside {count} numbers");
    }
}

/// The count counts: short strings are gathered.
#[tokio::test]
async fn short_strings_are_copied_and_counted() {
    let (host, _store) = host_with([model("string", "identity_string.onnx")]).await;
    let bytes = b"\x04\0\0\0four";
    let inputs = json!([input("input", "BYTES", &[1, 1], bytes)]);
    let (answer, moved) = moved_by(&host, "string", json!({}), inputs, 0, bytes).await;
    assert!(answer.ends_with(bytes), "the tensor came back");
    assert!(moved >= 4, "{moved}");
}

/// Over gRPC a message is encoded into one buffer, and a tensor lies in one as it comes.
#[tokio::test]
async fn a_raw_tensor_over_grpc_is_copied_only_to_be_aligned_and_to_be_sent() {
    let (host, _store) = host_with([model("float", "identity_float.onnx")]).await;
    let endpoint = Endpoint::from_shared(format!("http://{}", host.grpc_address)).expect("it is a URL");
    let mut client = GrpcClient::new(endpoint.connect().await.expect("the host listens"));
    let bytes = floats(150_000);
    let length = bytes.len() as u64;
    let input = InferInputTensor {
        name: "input".into(),
        datatype: "FP32".into(),
        shape: vec![1, 150_000],
        ..InferInputTensor::default()
    };
    for id in ["", "a", "ab", "abc"] {
        let request = ModelInferRequest {
            model_name: "float".into(),
            id: id.into(),
            inputs: vec![input.clone()],
            raw_input_contents: vec![bytes.clone()],
            ..ModelInferRequest::default()
        };
        let before = moved_bytes(&host).await;
        let answer = client.model_infer(request).await.expect("the host answers").into_inner();
        let moved = moved_bytes(&host).await - before;
        assert_eq!(answer.raw_output_contents, std::slice::from_ref(&bytes));
        assert!(moved == length || moved == 2 * length, "{moved} of {length}");
    }
}
