//! `wasi:nn` as a guest sees it: models by name and from bytes, all tensor types, every mistake an error value.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use nocti_tests::{TestHost, bundle_with, fixture_guest, fixture_model};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::{ENDLESS, identity_of_a_scalar, mode, tensor};

/// The function with every model.
async fn host() -> TestHost {
    let host = TestHost::start().await;
    host.deploy(&fixture_guest("free")).await.expect(201);
    host
}

async fn nn(host: &TestHost, behaviour: &str, model: &str, inputs: &[Value]) -> Value {
    host.ask("free", &mode(behaviour, json!({"model": model}), inputs)).await.expect(200)["outputs"].clone()
}

/// The code and the message of what `wasi:nn` refused.
#[track_caller]
fn assert_refused(outputs: &Value, code: &str, parts: &[&str]) {
    assert_eq!(outputs[0]["name"], "error", "{outputs}");
    assert_eq!(outputs[0]["data"][0], code, "{outputs}");
    let message = outputs[0]["data"][1].as_str().expect("text");
    for part in parts {
        assert!(message.contains(part), "'{part}' is not in: {message}");
    }
    assert!(!message.contains("/tmp/") && !message.contains("blobs"), "it tells too much: {message}");
}

#[tokio::test(flavor = "multi_thread")]
async fn all_seven_tensor_types_go_through_a_model_and_back() {
    let host = host().await;
    let cases = [
        ("uint8", "UINT8", json!([0, 255, 7])),
        ("int32", "INT32", json!([i32::MIN, i32::MAX, 7])),
        ("int64", "INT64", json!([i64::MIN, i64::MAX, 7])),
        ("float16", "FP16", json!([1.5, "NaN", -65504.0])),
        ("bfloat16", "BF16", json!([1.5, "Infinity", -2.0])),
        ("float", "FP32", json!([0.1, "-Infinity", -0.0])),
        ("double", "FP64", json!([0.1, "NaN", 1e300])),
    ];
    for (name, datatype, data) in cases {
        let (input, output) = ("input", "output");
        for (shape, data) in [([1, 3], data), ([0, 3], json!([]))] {
            let expected = json!([tensor(output, datatype, &shape, data.clone())]);
            let outputs = nn(&host, "nn", &format!("identity_{name}"), &[tensor(input, datatype, &shape, data)]).await;
            assert_eq!(outputs, expected);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_with_several_inputs_takes_them_by_name_in_any_order() {
    let host = host().await;
    let input = |name: &str, value: i32| tensor(name, "INT32", &[1, 16], json!(vec![value; 16]));
    let outputs = nn(&host, "nn", "addsub", &[input("INPUT1", 2), input("INPUT0", 5)]).await;
    assert_eq!(outputs[0]["data"][0], 7);
    assert_eq!(outputs[1]["data"][0], 3, "INPUT0 - INPUT1");
    let scalar = nn(&host, "nn", "scalar", &[tensor("x", "FP32", &[2], json!([1, 2]))]).await;
    assert_eq!(scalar, json!([tensor("sum", "FP32", &[], json!([3.0]))]));
    // Other hosts take positions for names, and guests written for them send those.
    let by_position = nn(&host, "nn", "addsub", &[input("1", 2), input("0", 5)]).await;
    assert_eq!(by_position[1]["data"][0], 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_input_with_a_default_may_be_left_out_or_given() {
    let host = host().await;
    let x = tensor("x", "FP32", &[2], json!([1, 2]));
    let without = nn(&host, "nn", "optional_input", std::slice::from_ref(&x)).await;
    assert_eq!(without[0]["data"], json!([2.0, 4.0]));
    let with = nn(&host, "nn", "optional_input", &[x, tensor("scale", "FP32", &[1], json!([10]))]).await;
    assert_eq!(with[0]["data"], json!([10.0, 20.0]));
}

#[tokio::test(flavor = "multi_thread")]
async fn tensors_go_from_one_model_to_the_next_as_handles() {
    let host = host().await;
    let input = tensor("input", "FP32", &[1, 2], json!([0.1, "NaN"]));
    let outputs = nn(&host, "nn-handed-on", "identity_float", &[input]).await;
    assert_eq!(outputs, json!([tensor("output", "FP32", &[1, 2], json!([0.1, "NaN"]))]));
}

#[tokio::test(flavor = "multi_thread")]
async fn inputs_that_do_not_fit_are_invalid_arguments() {
    let host = host().await;
    let fp32 = |name: &str, shape: &[usize], data: Value| tensor(name, "FP32", shape, data);
    let cases: Vec<(&str, &str, Vec<Value>, &[&str])> = vec![
        ("nn", "identity_float", vec![fp32("wrong", &[1, 1], json!([1]))], &["has no input 'wrong'", "'input'"]),
        ("nn", "identity_float", vec![], &["missing required input 'input'"]),
        ("nn", "identity_float", vec![fp32("input", &[1], json!([1]))], &["unexpected shape for input 'input'", "[1]"]),
        ("nn", "identity_double", vec![fp32("input", &[1, 1], json!([1]))], &["'FP32'", "expects 'FP64'"]),
        ("nn", "addsub", vec![tensor("INPUT0", "INT32", &[1, 16], json!(vec![1; 16]))], &["missing", "'INPUT1'"]),
        ("nn-twice", "identity_float", vec![], &["input 'input'", "given twice"]),
        ("nn-bad-tensor", "identity_float", vec![], &["input 'input'", "shape [2, 2] of FP32 needs 16 bytes, got 3"]),
        ("nn-huge-tensor", "identity_double", vec![], &["input 'input'", "more elements than can be addressed"]),
    ];
    for (behaviour, model, inputs, parts) in cases {
        assert_refused(&nn(&host, behaviour, model, &inputs).await, "InvalidArgument", parts);
    }
    let ok = nn(&host, "nn", "identity_float", &[fp32("input", &[1, 1], json!([1]))]).await;
    assert_eq!(ok[0]["data"], json!([1.0]), "nothing is broken by any of it");
}

#[tokio::test(flavor = "multi_thread")]
async fn types_that_wasi_nn_does_not_have_are_an_error_and_no_trap() {
    let host = host().await;
    for (model, datatype) in [("identity_bool", "BOOL"), ("identity_string", "BYTES")] {
        let outputs = nn(&host, "nn", model, &[tensor("input", "UINT8", &[1, 1], json!([1]))]).await;
        assert_refused(&outputs, "InvalidArgument", &["input 'input'", datatype]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failure_inside_the_model_is_a_runtime_error() {
    let host = host().await;
    let two = tensor("INPUT0", "INT32", &[2, 16], json!(vec![1; 32]));
    let three = tensor("INPUT1", "INT32", &[3, 16], json!(vec![1; 48]));
    assert_refused(&nn(&host, "nn", "addsub", &[two, three]).await, "RuntimeError", &["model 'addsub' failed"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_model_is_not_found_and_the_known_ones_are_named() {
    let host = host().await;
    for name in ["nothing", "", "../scalar", "Scalar"] {
        assert_refused(&nn(&host, "nn", name, &[]).await, "NotFound", &[&format!("no model '{name}'"), "'scalar'"]);
    }
    let host = TestHost::start().await;
    host.deployed(bundle_with(&fixture_guest("free"), |project| project.models.clear())).await;
    let expected =
        tensor("error", "BYTES", &[2], json!(["NotFound", "there is no model 'scalar' in the bundle; it has none"]));
    assert_eq!(nn(&host, "nn", "scalar", &[]).await, json!([expected]));
}

/// A model in a BYTES input, as JSON takes bytes that are no text.
fn bytes(file: &str) -> Value {
    model_input(&std::fs::read(fixture_model(file)).expect("it is there"))
}

fn model_input(content: &[u8]) -> Value {
    let mut input = tensor("model", "BYTES", &[1], json!([STANDARD.encode(content)]));
    input["parameters"] = json!({"content_type": "base64"});
    input
}

async fn load(host: &TestHost, file: &str, parameters: Value, inputs: &[Value]) -> Value {
    let inputs = [&[bytes(file)], inputs].concat();
    host.infer("free", &mode("nn-load-bytes", parameters, &inputs)).await.expect(200)["outputs"].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_can_be_loaded_from_bytes() {
    let host = host().await;
    let x = tensor("x", "FP32", &[2], json!([1, 2]));
    for parameters in [json!({}), json!({"encoding": "autodetect"})] {
        let outputs = load(&host, "scalar.onnx", parameters, std::slice::from_ref(&x)).await;
        assert_eq!(outputs, json!([tensor("sum", "FP32", &[], json!([3.0]))]));
    }
    let sessions = host.get("/api/status").await.expect(200)["sessions"].as_array().map(Vec::len);
    assert_eq!(sessions, Some(15), "the bundle's own; what a guest loads is its own affair");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tensor_without_dimensions_goes_in_and_out() {
    let host = host().await;
    let inputs = [model_input(&identity_of_a_scalar()), tensor("input", "FP32", &[], json!([0.1]))];
    let answer = host.infer("free", &mode("nn-load-bytes", json!({}), &inputs)).await.expect(200);
    assert_eq!(answer["outputs"], json!([tensor("output", "FP32", &[], json!([0.1]))]));
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_that_cannot_be_loaded_are_refused_with_the_reason() {
    let host = host().await;
    let cases: [(&str, Value, &str, &[&str]); 6] = [
        ("corrupt.onnx", json!({}), "InvalidEncoding", &["cannot be loaded"]),
        ("external.onnx", json!({}), "InvalidEncoding", &["another file"]),
        ("external_beside.onnx", json!({}), "InvalidEncoding", &["another file"]),
        ("sequence_output.onnx", json!({}), "InvalidEncoding", &["only tensors"]),
        ("scalar.onnx", json!({"encoding": "openvino"}), "InvalidEncoding", &["this host runs ONNX"]),
        ("scalar.onnx", json!({"target": "tpu"}), "UnsupportedOperation", &["TPU"]),
    ];
    for (file, parameters, code, parts) in cases {
        assert_refused(&load(&host, file, parameters, &[]).await, code, parts);
    }
    let mut two = bytes("scalar.onnx");
    two["shape"] = json!([2]);
    two["data"] = json!([two["data"][0], two["data"][0]]);
    let answer = host.infer("free", &mode("nn-load-bytes", json!({}), &[two])).await.expect(200);
    assert_refused(&answer["outputs"], "InvalidArgument", &["one builder, got 2"]);
    let mut none = bytes("scalar.onnx");
    (none["shape"], none["data"]) = (json!([0]), json!([]));
    let answer = host.infer("free", &mode("nn-load-bytes", json!({}), &[none])).await.expect(200);
    assert_refused(&answer["outputs"], "InvalidArgument", &["one builder, got none"]);
}

/// A machine with a GPU answers, one without says so; neither pretends.
#[tokio::test(flavor = "multi_thread")]
async fn a_gpu_is_used_or_missed_but_never_replaced() {
    let host = host().await;
    let x = tensor("x", "FP32", &[2], json!([1, 2]));
    let outputs = load(&host, "scalar.onnx", json!({"target": "gpu"}), &[x]).await;
    // The bundle's own models run on a GPU where there is one.
    let status = host.get("/api/status").await.expect(200);
    let sessions = status["sessions"].as_array().expect("a list");
    let own = sessions.iter().find(|session| session["model"] == "scalar").expect("it is loaded");
    match own["device"].as_str() {
        Some("cuda:0") => assert_eq!(outputs, json!([tensor("sum", "FP32", &[], json!([3.0]))])),
        Some("cpu") => assert_refused(&outputs, "Security", &["model 'loaded from bytes' cannot run on cuda:0: "]),
        other => panic!("a session on {other:?}"),
    }
}

/// What `nn-load-many` tells of a model of `scalar.onnx` made longer: code, message, [held when refused, held at the end].
async fn load_many(host: &TestHost, count: u64, padding: u64) -> Value {
    let parameters = json!({"count": count, "padding": padding});
    let request = mode("nn-load-many", parameters, &[bytes("scalar.onnx")]);
    let outputs = host.infer("free", &request).await.expect(200)["outputs"].clone();
    match outputs.as_array().map(Vec::as_slice) {
        Some([error, held]) => json!([error["data"][0], error["data"][1], held["data"]]),
        _ => outputs,
    }
}

/// A host with the guest and no models; requests one after the other meet the same instance.
async fn alone(memory_mebibytes: u64) -> TestHost {
    let host = TestHost::start().await;
    host.deployed(bundle_with(&fixture_guest("free"), |project| {
        project.models.clear();
        project.manifest.limits.memory = memory_mebibytes << 20;
    }))
    .await;
    host
}

/// That the instance which answers next has seen so many requests, this one included.
async fn assert_seen(host: &TestHost, requests: u64) {
    let answer = host.infer("free", &mode("count", json!({}), &[])).await.expect(200);
    assert_eq!(answer["outputs"], json!([tensor("x", "INT64", &[1], json!([requests]))]));
}

#[tokio::test(flavor = "multi_thread")]
async fn more_models_from_bytes_than_an_instance_may_hold_are_too_large() {
    let host = alone(64).await;
    assert_eq!(load_many(&host, 8, 0).await, json!([tensor("held", "INT64", &[1], json!([8]))]));
    let refused = json!(["TooLarge", "an instance may hold 8 models that it loaded from bytes", [8, 8]]);
    // What a request leaves behind when it ends is free for the next.
    for _ in 0..2 {
        assert_eq!(load_many(&host, 9, 0).await, refused);
    }
    assert_seen(&host, 4).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn models_from_bytes_that_are_larger_than_the_memory_together_are_too_large() {
    let host = alone(32).await;
    let padding = 10 << 20;
    // The field's number, four bytes of length, and the padding.
    let size = std::fs::metadata(fixture_model("scalar.onnx")).expect("it is there").len() + 5 + padding;
    assert_eq!(load_many(&host, 3, padding).await, json!([tensor("held", "INT64", &[1], json!([3]))]));
    let message =
        format!("a model of {size} bytes does not fit: {} of {} bytes are taken (limits.memory)", 3 * size, 32 << 20);
    for _ in 0..2 {
        assert_eq!(load_many(&host, 4, padding).await, json!(["TooLarge", message, [3, 3]]));
    }
    assert_seen(&host, 4).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn more_handles_than_an_instance_may_hold_end_it() {
    let host = alone(64).await;
    let handles = |count: u64| mode("handles", json!({"count": count}), &[]);
    for _ in 0..2 {
        let answer = host.infer("free", &handles(900)).await.expect(200);
        assert_eq!(answer["outputs"][0]["data"], json!([900]));
    }
    let answer = host.infer("free", &handles(1100)).await;
    answer.expect_error(
        502,
        "function_failed",
        &["function 'free'", "the function failed: resource table has no free keys"],
    );
    // Not an error value but a trap: the next request meets a new instance.
    assert_seen(&host, 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_that_never_ends_ends_with_the_request() {
    let host = TestHost::start().await;
    host.deployed(bundle_with(&fixture_guest("free"), |project| {
        project.models.retain(|model| model.name.as_str() == "slow");
        project.manifest.limits.timeout = std::time::Duration::from_secs(2);
    }))
    .await;
    let slow =
        |count: u64| mode("nn", json!({"model": "slow"}), &[tensor("iterations", "INT64", &[1], json!([count]))]);
    host.infer("free", &slow(ENDLESS)).await.expect_error(504, "deadline_exceeded", &[]);
    let answer = host.infer("free", &slow(1)).await.expect(200);
    assert_eq!(answer["outputs"][0]["data"], json!([64.0]), "the session is free again");
}

#[tokio::test(flavor = "multi_thread")]
async fn many_instances_of_several_functions_share_one_session() {
    let host = TestHost::start().await;
    for name in ["one", "other"] {
        host.deployed(bundle_with(&fixture_guest("free"), |project| {
            project.manifest.name = name.parse().expect("a name");
            project.models.retain(|model| model.name.as_str() == "scalar");
        }))
        .await;
    }
    let mut callers = JoinSet::new();
    for n in 0..40 {
        let name = if n % 2 == 0 { "one" } else { "other" };
        let body = mode("nn", json!({"model": "scalar"}), &[tensor("x", "FP32", &[2], json!([n, 1]))]).to_string();
        let request = host.request(Method::POST, &format!("/v2/models/{name}/infer")).body(body);
        callers
            .spawn(async move { (n, request.send().await.expect("an answer").json::<Value>().await.expect("JSON")) });
    }
    while let Some(answered) = callers.join_next().await {
        let (n, answer) = answered.expect("no panic");
        assert_eq!(answer["outputs"][0]["data"], json!([f64::from(n) + 1.0]), "{answer}");
    }
    let status = host.get("/api/status").await.expect(200);
    assert_eq!(status["sessions"].as_array().map(Vec::len), Some(1), "{status}");
    assert_eq!((&status["sessions"][0]["model"], &status["sessions"][0]["refs"]), (&json!("scalar"), &json!(2)));
}
