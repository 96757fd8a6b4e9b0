//! `POST /v2/models/M/infer`

use nocti_tests::{TestHost, fixture_guest, example};
use serde_json::json;

#[tokio::test(flavor = "multi_thread")]
async fn a_model_answers_as_it_is() {
    let host = TestHost::start().await;
    host.deploy_model("simple", "addsub.onnx").await.expect(201);
    let numbers: Vec<i32> = (0..16).collect();
    let input = |name: &str| json!({"name": name, "shape": [1, 16], "datatype": "INT32", "data": numbers});
    let answer = host.infer("simple", &json!({"id": "7", "inputs": [input("INPUT0"), input("INPUT1")]})).await.expect(200);
    assert_eq!(answer["id"], "7");
    assert_eq!(answer["outputs"][0]["name"], "OUTPUT0");
    assert_eq!(answer["outputs"][0]["data"], json!((0..16).map(|n| n * 2).collect::<Vec<i32>>()));
    assert_eq!(answer["outputs"][1]["data"], json!(vec![0; 16]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_typed_function_answers() {
    let host = TestHost::start().await;
    host.deploy(&fixture_guest("misbehave")).await.expect(201);
    let request = json!({
        "parameters": {"mode": "echo"},
        "inputs": [{"name": "x", "shape": [2], "datatype": "INT64", "data": [3, -4]}],
    });
    let answer = host.infer("misbehave", &request).await.expect(200);
    assert_eq!(answer["outputs"][0]["data"], json!([3, -4]));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_http_function_answers() {
    let host = TestHost::start().await;
    host.deploy(&example("hello-http")).await.expect(201);
    let answer = host.get("/functions/hello-http/").await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert!(answer.text().to_lowercase().contains("hello"), "{}", answer.text());
}
