//! What the Open Inference Protocol has beside tensors in JSON: classes in place of scores, bodies that are one tensor, reserved
//! parameters.

use nocti_tests::{TestHost, example};
use reqwest::Method;
use serde_json::json;

use super::tensor;

#[tokio::test(flavor = "multi_thread")]
async fn the_best_classes_come_in_place_of_all_scores() {
    let host = TestHost::start().await;
    host.deploy(&example("digits")).await.expect(201);
    let mut request = json!({"inputs": [tensor("image", "UINT8", &[2, 8, 8], json!(vec![9; 128]))]});
    request["outputs"] = json!([{"name": "scores"}]);
    let scores = host.infer("digits", &request).await.expect(200)["outputs"][0].clone();
    request["outputs"] = json!([{"name": "scores", "parameters": {"classification": 3}}]);
    let answer = host.infer("digits", &request).await.expect(200);
    let classes = &answer["outputs"][0];
    assert_eq!((&classes["datatype"], &classes["shape"]), (&json!("BYTES"), &json!([2, 3])));
    let scores: Vec<f64> = scores["data"].as_array().unwrap().iter().map(|score| score.as_f64().unwrap()).collect();
    let best = scores[..10].iter().copied().fold(f64::MIN, f64::max);
    let first = classes["data"][0].as_str().unwrap();
    let (value, index) = first.split_once(':').unwrap();
    assert!((value.parse::<f64>().unwrap() - best).abs() < 1e-5, "{first} of {scores:?}");
    assert_eq!(scores[index.parse::<usize>().unwrap()], best);

    for wrong in [json!(0), json!("3"), json!(1.5)] {
        request["outputs"][0]["parameters"]["classification"] = wrong;
        host.infer("digits", &request).await.expect_error(400, "invalid_request", &["'classification'", "at least 1"]);
    }
    let scores = json!({"name": "scores", "parameters": {"classification": 3}});
    request["outputs"] = json!([scores, scores]);
    let answer = host.infer("digits", &request).await;
    answer.expect_error(400, "invalid_request", &["output 'scores' is requested more than once"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_may_be_one_tensor_and_nothing_else() {
    let host = TestHost::start().await;
    host.deploy_model("same", "identity_int64.onnx").await.expect(201);
    host.deploy_model("pair", "addsub.onnx").await.expect(201);
    host.deploy_model("text", "identity_string.onnx").await.expect(201);
    let send = async |function: &str, body: Vec<u8>| {
        let path = format!("/v2/models/{function}/infer");
        let request = host.request(Method::POST, &path).header("inference-header-content-length", "0").body(body);
        host.send(request).await
    };
    let body = [5_i64.to_le_bytes(), (-7_i64).to_le_bytes()].concat();
    let answer = send("same", body.clone()).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let json_length: usize = answer.headers["inference-header-content-length"].to_str().unwrap().parse().unwrap();
    assert_eq!(answer.body[json_length..], body, "outputs are binary too");
    let answer = send("text", b"any text".to_vec()).await;
    assert!(answer.body.ends_with(b"\x08\0\0\0any text"), "{}", answer.text());
    send("same", vec![0; 9]).await.expect_error(400, "invalid_request", &["input 'input'"]);
    send("pair", vec![0; 128]).await.expect_error(400, "invalid_request", &["exactly one input", "'pair' has 2"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn reserved_parameters_are_refused() {
    let host = TestHost::start().await;
    host.deploy_model("same", "identity_int64.onnx").await.expect(201);
    let mut request = json!({"inputs": [tensor("input", "INT64", &[1, 1], json!([1]))], "parameters": {"triton_x": 1}});
    let refused = host.infer("same", &request).await;
    refused.expect_error(400, "invalid_request", &["'triton_x'", "are reserved"]);
    request["parameters"] = json!({"sequence_id": 5, "priority": 1, "own": "thing"});
    host.infer("same", &request).await.expect(200);
}

/// A shape is a few bytes long, whatever it says of rows that hold nothing.
#[tokio::test(flavor = "multi_thread")]
async fn the_classes_of_countless_empty_rows_take_no_time() {
    let host = TestHost::start().await;
    host.deploy_model("float", "identity_float.onnx").await.expect(201);
    let shape = [1_000_000_000_000_000, 0];
    let outputs = json!([{"name": "output", "parameters": {"classification": 1}}]);
    let request = json!({"inputs": [tensor("input", "FP32", &shape, json!([]))], "outputs": outputs});
    let answer = host.infer("float", &request).await.expect(200);
    assert_eq!(answer["outputs"], json!([tensor("output", "BYTES", &shape, json!([]))]));
}
