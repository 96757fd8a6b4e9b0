//! Models made to hurt: what a sandbox does not contain must be refused or survived.

use nocti_tests::{TestHost, fixture_model, model_bundle};
use serde_json::json;

/// A field of a protobuf message that has a length.
fn field(number: u8, content: &[u8]) -> Vec<u8> {
    let mut bytes = vec![number << 3 | 2, u8::try_from(content.len()).expect("small messages only")];
    bytes.extend_from_slice(content);
    bytes
}

/// An ONNX model whose only output is its input, `x` FP32 [n].
fn passthrough() -> Vec<u8> {
    let shape = field(1, &field(2, b"n"));
    let tensor_type = [&[8, 1][..], &field(2, &shape)].concat();
    let value = [field(1, b"x"), field(2, &field(1, &tensor_type))].concat();
    let graph = [field(2, b"g"), field(11, &value), field(12, &value)].concat();
    let opset = [field(1, b""), vec![16, 17]].concat();
    [vec![8, 8], field(8, &opset), field(7, &graph)].concat()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_output_that_is_an_input_is_the_callers_own() {
    let host = TestHost::start().await;
    let folder = tempfile::tempdir().expect("a temporary folder");
    let model = folder.path().join("same.onnx");
    std::fs::write(&model, passthrough()).expect("it can be written");
    host.post("/api/functions", model_bundle("same", "1.0.0", &model)).await.expect(201);
    // Enough of them that memory given back too early would be somebody else's by now.
    let asks = (0..64).map(|n| {
        let (host, numbers) = (&host, vec![n; 2000]);
        async move {
            let input = json!({"name": "x", "shape": [2000], "datatype": "FP32", "data": numbers});
            let answer = host.infer("same", &json!({"inputs": [input]})).await.expect(200);
            let data = answer["outputs"][0]["data"].as_array().expect("numbers").clone();
            assert!(data.len() == 2000 && data.iter().all(|value| value.as_f64() == Some(f64::from(n))), "{n}");
        }
    });
    futures::future::join_all(asks).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn external_data_behind_what_parsers_skip_is_refused() {
    let host = TestHost::start().await;
    let folder = tempfile::tempdir().expect("a temporary folder");
    let external = std::fs::read(fixture_model("external_beside.onnx")).expect("a fixture");
    // A group of an unknown field, which protobuf parsers skip.
    let model = folder.path().join("group.onnx");
    std::fs::write(&model, [&[0x9b, 0x06, 0x9c, 0x06][..], &external].concat()).expect("it can be written");
    let answer = host.post("/api/functions", model_bundle("group", "1.0.0", &model)).await;
    answer.expect_error(400, "invalid_model", &["not a valid ONNX file"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_with_very_many_inputs_is_answered() {
    let host = TestHost::start().await;
    host.deploy_model("simple", "addsub.onnx").await.expect(201);
    let inputs: Vec<_> =
        (0..50_000).map(|n| json!({"name": format!("x{n}"), "shape": [1], "datatype": "INT32", "data": [1]})).collect();
    host.infer("simple", &json!({"inputs": inputs})).await.expect_error(400, "invalid_request", &[]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tensor_has_only_so_many_dimensions() {
    let host = TestHost::start().await;
    host.deploy_model("simple", "addsub.onnx").await.expect(201);
    let input = json!({"name": "INPUT0", "shape": vec![1; 65], "datatype": "INT32", "data": [1]});
    host.infer("simple", &json!({"inputs": [input]})).await.expect_error(
        400,
        "invalid_request",
        &["at most 64 dimensions"],
    );
}
