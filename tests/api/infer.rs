//! `POST /v2/models/M/infer`: the answers.

use nocti_tests::{TestHost, example, fixture_guest};
use serde_json::{Value, json};

use super::{mode, tensor};

/// A request of `addsub.onnx`.
fn simple() -> Value {
    let numbers: Vec<i32> = (0..16).collect();
    let input = |name: &str| tensor(name, "INT32", &[1, 16], json!(numbers));
    json!({"inputs": [input("INPUT0"), input("INPUT1")]})
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_answers_as_it_is() {
    let host = TestHost::start().await;
    host.deploy_model("simple", "addsub.onnx").await.expect(201);
    let sum: Vec<i32> = (0..16).map(|n| n * 2).collect();
    let expected = json!({
        "model_name": "simple",
        "model_version": "1.0.0",
        "outputs": [
            tensor("OUTPUT0", "INT32", &[1, 16], json!(sum)),
            tensor("OUTPUT1", "INT32", &[1, 16], json!(vec![0; 16])),
        ],
    });
    let answer = host.infer("simple", &simple()).await;
    assert_eq!(answer.expect(200), expected);
    assert_eq!(answer.headers["content-type"], "application/json");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_typed_function_answers() {
    let host = TestHost::start().await;
    host.deploy(&fixture_guest("misbehave")).await.expect(201);
    let x = tensor("x", "INT64", &[2], json!([3, -4]));
    let answer = host.infer("misbehave", &mode("echo", json!({}), std::slice::from_ref(&x))).await.expect(200);
    assert_eq!(answer["outputs"], json!([x]));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_http_function_answers() {
    let host = TestHost::start().await;
    host.deploy(&example("hello-http")).await.expect(201);
    let answer = host.get("/functions/hello-http/").await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert!(answer.text().to_lowercase().contains("hello"), "{}", answer.text());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_requests_id_is_echoed_and_none_is_made_up() {
    let host = TestHost::start().await;
    host.deploy_model("simple", "addsub.onnx").await.expect(201);
    let mut request = simple();
    assert_eq!(host.infer("simple", &request).await.expect(200).get("id"), None);
    for id in ["7", "", "é \"quoted\""] {
        request["id"] = id.into();
        assert_eq!(host.infer("simple", &request).await.expect(200)["id"], id);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn wanted_outputs_come_alone_and_in_the_order_they_are_wanted() {
    let host = TestHost::start().await;
    host.deploy_model("simple", "addsub.onnx").await.expect(201);
    let cases: [(Option<&[&str]>, &[&str]); 4] = [
        (None, &["OUTPUT0", "OUTPUT1"]),
        (Some(&[]), &["OUTPUT0", "OUTPUT1"]),
        (Some(&["OUTPUT1"]), &["OUTPUT1"]),
        (Some(&["OUTPUT1", "OUTPUT0"]), &["OUTPUT1", "OUTPUT0"]),
    ];
    for (wanted, expected) in cases {
        let mut request = simple();
        if let Some(wanted) = wanted {
            request["outputs"] = wanted.iter().map(|name| json!({"name": name})).collect();
        }
        let answer = host.infer("simple", &request).await.expect(200);
        let names: Vec<&str> =
            answer["outputs"].as_array().expect("a list").iter().flat_map(|o| o["name"].as_str()).collect();
        assert_eq!(names, expected);
    }
    let mut request = simple();
    request["outputs"] = json!([{"name": "OUTPUT2"}]);
    let parts = ["unexpected inference output 'OUTPUT2' for model 'simple'", "'OUTPUT0','OUTPUT1'"];
    host.infer("simple", &request).await.expect_error(400, "invalid_request", &parts);
    request["outputs"] = json!([{"name": "OUTPUT0"}, {"name": "OUTPUT0"}]);
    let parts = ["output 'OUTPUT0' is requested more than once"];
    host.infer("simple", &request).await.expect_error(400, "invalid_request", &parts);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_typed_functions_outputs_can_be_chosen_too() {
    let host = TestHost::start().await;
    host.deploy(&fixture_guest("free")).await.expect(201);
    let mut request = mode("half", json!({}), &[]);
    request["outputs"] = json!([{"name": "bf16"}]);
    let answer = host.ask("free", &request).await.expect(200);
    assert_eq!(answer["outputs"], json!([tensor("bf16", "BF16", &[2], json!([1.5, -2.0]))]));
    // Without a signature the function alone knows its outputs.
    request["outputs"] = json!([{"name": "f32"}]);
    let answer = host.infer("free", &request).await;
    answer.expect_error(400, "invalid_request", &["unexpected inference output 'f32'", "'bf16'", "'f16'"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_input_with_a_default_may_be_left_out_or_given() {
    let host = TestHost::start().await;
    host.deploy_model("scaled", "optional_input.onnx").await.expect(201);
    let x = tensor("x", "FP32", &[2], json!([1, 2]));
    let scale = tensor("scale", "FP32", &[1], json!([10]));
    let answer = host.infer("scaled", &json!({"inputs": [x]})).await.expect(200);
    assert_eq!(answer["outputs"][0]["data"], json!([2.0, 4.0]));
    let answer = host.infer("scaled", &json!({"inputs": [x, scale]})).await.expect(200);
    assert_eq!(answer["outputs"][0]["data"], json!([10.0, 20.0]));
    let wrong = tensor("scale", "FP32", &[2], json!([10, 10]));
    let answer = host.infer("scaled", &json!({"inputs": [x, wrong]})).await;
    answer.expect_error(400, "invalid_request", &["unexpected shape for input 'scale'", "[1]", "[2]"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_and_an_alias_can_be_asked_for_by_name() {
    let host = TestHost::start().await;
    host.deploy_model("simple", "addsub.onnx").await.expect(201);
    for version in ["1.0.0", "live"] {
        let answer = host.post(&format!("/v2/models/simple/versions/{version}/infer"), simple().to_string()).await;
        assert_eq!(answer.expect(200)["model_version"], "1.0.0");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_deployed_is_not_found() {
    let host = TestHost::start().await;
    host.deploy_model("simple", "addsub.onnx").await.expect(201);
    let body = simple().to_string();
    for name in ["nothing", "Not%20a%20name", "..%2F..%2Fetc"] {
        let answer = host.post(&format!("/v2/models/{name}/infer"), body.clone()).await;
        answer.expect_error(404, "not_found", &["Request for unknown model: '", "is not found"]);
    }
    let answer = host.post("/v2/models/simple/versions/2.0.0/infer", body.clone()).await;
    answer.expect_error(404, "not_found", &["'simple' version '2.0.0' is not found", "has versions 1.0.0"]);
}

/// `tritonclient` sends none, others send what they like.
#[tokio::test(flavor = "multi_thread")]
async fn the_body_is_json_whatever_the_content_type_says() {
    let host = TestHost::start().await;
    host.deploy_model("simple", "addsub.onnx").await.expect(201);
    for content_type in ["", "application/json", "text/plain", "application/octet-stream"] {
        let request = host.request(reqwest::Method::POST, "/v2/models/simple/infer").body(simple().to_string());
        host.send(request.header("content-type", content_type)).await.expect(200);
    }
}

/// Keys of newer clients.
#[tokio::test(flavor = "multi_thread")]
async fn keys_that_the_protocol_does_not_know_are_passed_over() {
    let host = TestHost::start().await;
    host.deploy_model("simple", "addsub.onnx").await.expect(201);
    let mut request = simple();
    request["priority"] = json!({"deep": [1, {"deeper": null}]});
    request["inputs"][0]["colour"] = json!("blue");
    request["parameters"] = json!({"free": 1, "text": "x"});
    host.infer("simple", &request).await.expect(200);
}
