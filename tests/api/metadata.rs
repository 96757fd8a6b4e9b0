//! What the host says about itself and its models: `/v2`, `/v2/models/M`, health.

use nocti_tests::{TestHost, example, fixture_guest};
use serde_json::json;

#[tokio::test(flavor = "multi_thread")]
async fn the_server_says_who_it_is() {
    let host = TestHost::start().await;
    let answer = host.get("/v2").await.expect(200);
    assert_eq!(answer["name"], "nocti");
    let extensions =
        json!(["classification", "binary_tensor_data", "model_repository", "model_configuration", "statistics"]);
    assert_eq!(answer["extensions"], extensions);
    assert!(answer["version"].as_str().is_some_and(|version| version.split('.').count() == 3), "{answer}");
    host.get("/v2/").await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_host_is_live_and_ready() {
    let host = TestHost::start().await;
    for path in ["/v2/health/live", "/v2/health/ready", "/healthz", "/readyz"] {
        assert_eq!(host.get(path).await.expect(200), json!({"live": true, "ready": true}), "{path}");
        let head = host.send(host.request(reqwest::Method::HEAD, path)).await;
        assert_eq!((head.status, head.body.len()), (200, 0));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_shows_what_onnx_runtime_found_in_it() {
    let host = TestHost::start().await;
    host.deploy_model("simple", "addsub.onnx").await.expect(201);
    let spec = |name: &str| json!({"name": name, "datatype": "INT32", "shape": [-1, 16]});
    let expected = json!({
        "name": "simple",
        "versions": ["1.0.0"],
        "platform": "onnxruntime_onnx",
        "inputs": [spec("INPUT0"), spec("INPUT1")],
        "outputs": [spec("OUTPUT0"), spec("OUTPUT1")],
    });
    for path in ["/v2/models/simple", "/v2/models/simple/", "/v2/models/simple/versions/1.0.0"] {
        assert_eq!(host.get(path).await.expect(200), expected, "{path}");
    }
    // What it runs on is known while it is in memory.
    let zeros = json!(vec![0; 16]);
    let input = |name: &str| json!({"name": name, "datatype": "INT32", "shape": [1, 16], "data": zeros});
    host.infer("simple", &json!({"inputs": [input("INPUT0"), input("INPUT1")]})).await.expect(200);
    let awake = host.get("/v2/models/simple").await.expect(200);
    assert_eq!(awake["properties"], json!({"simple.device": "cpu"}));
    host.deploy_model("scalar", "scalar.onnx").await.expect(201);
    let answer = host.get("/v2/models/scalar").await.expect(200);
    assert_eq!(answer["outputs"], json!([{"name": "sum", "datatype": "FP32", "shape": []}]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_function_with_code_shows_what_it_declares() {
    let host = TestHost::start().await;
    host.deploy(&fixture_guest("misbehave")).await.expect(201);
    let answer = host.get("/v2/models/misbehave").await.expect(200);
    assert_eq!(answer["platform"], "nocti_component");
    assert_eq!(answer["inputs"], json!([{"name": "x", "datatype": "INT64", "shape": [-1]}]));
    assert_eq!(answer["inputs"], answer["outputs"]);
    host.deploy(&example("hello-http")).await.expect(201);
    let answer = host.get("/v2/models/hello-http").await.expect(200);
    assert_eq!((&answer["inputs"], &answer["outputs"]), (&json!([]), &json!([])));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deployed_model_is_ready_before_anybody_asked_for_it() {
    let host = TestHost::start().await;
    host.deploy_model("simple", "addsub.onnx").await.expect(201);
    for path in
        ["/v2/models/simple/ready", "/v2/models/simple/versions/1.0.0/ready", "/v2/models/simple/versions/live/ready"]
    {
        assert_eq!(host.get(path).await.expect(200), json!({"name": "simple", "ready": true}));
    }
    assert_eq!(host.status("simple").await["state"], "stored", "asking whether it is ready wakes nothing");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_model_has_no_metadata() {
    let host = TestHost::start().await;
    host.deploy_model("simple", "addsub.onnx").await.expect(201);
    for path in ["/v2/models/nothing", "/v2/models/nothing/ready", "/v2/models/nothing/versions/1.0.0"] {
        host.get(path).await.expect_error(404, "not_found", &["Request for unknown model: 'nothing'"]);
    }
    for path in ["/v2/models/simple/versions/9", "/v2/models/simple/versions/9/ready"] {
        host.get(path).await.expect_error(404, "not_found", &["'simple' version '9'", "has versions 1.0.0"]);
    }
}
