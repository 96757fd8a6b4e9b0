//! Versions come into memory when they are asked for and leave it when they are not.

use std::time::Duration;

use nocti::lifecycle::Idle;
use nocti_tests::{TestHost, bundle_with, eventually, example, fixture_guest};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::{mode, tensor};

fn scalar() -> Value {
    json!({"inputs": [tensor("x", "FP32", &[2], json!([1, 2]))]})
}

async fn state(host: &TestHost, function: &str, state: &str) {
    let what = format!("{function} is {state}");
    eventually(&what, async || (host.status(function).await["state"] == state).then_some(())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn idle_versions_go_back_to_disk_and_wake_again() {
    let host = TestHost::start_with(|config| {
        config.idle = Idle { model: Duration::from_millis(200), component: Duration::from_millis(300) };
    })
    .await;
    host.deploy_model("scalar", "scalar.onnx").await.expect(201);
    host.deploy(&fixture_guest("misbehave")).await.expect(201);
    for starts in 1..=2 {
        host.infer("scalar", &scalar()).await.expect(200);
        host.infer("misbehave", &mode("count", json!({}), &[])).await.expect(200);
        for function in ["scalar", "misbehave"] {
            state(&host, function, "stored").await;
            let status = host.status(function).await;
            assert_eq!(status["cold_starts"], starts, "{status}");
            assert_eq!(status["instances"], json!({"idle": 0, "busy": 0}));
        }
        assert_eq!(host.get("/api/status").await.expect(200)["sessions"], json!([]));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_component_stays_longer_than_the_models() {
    let host = TestHost::start_with(|config| config.idle.model = Duration::from_millis(100)).await;
    host.deploy(&example("digits")).await.expect(201);
    let request = json!({"inputs": [tensor("image", "UINT8", &[1, 8, 8], json!(vec![0; 64]))]});
    host.infer("digits", &request).await.expect(200);
    let phases = |status: &Value| -> Vec<String> {
        let phases = status["last_cold_start"]["phases_ms"].as_object().expect("it was woken");
        phases.keys().cloned().collect()
    };
    assert_eq!(phases(&host.status("digits").await), ["component", "instance", "session"]);
    state(&host, "digits", "component").await;
    assert_eq!(host.get("/api/status").await.expect(200)["sessions"], json!([]));
    host.infer("digits", &request).await.expect(200);
    assert_eq!(phases(&host.status("digits").await), ["instance", "session"], "its component was there");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_at_work_is_not_idle() {
    let host = TestHost::start_with(|config| config.idle.model = Duration::from_millis(50)).await;
    host.deploy(&fixture_guest("misbehave")).await.expect(201);
    host.deploy(&fixture_guest("misbehave-http")).await.expect(201);
    let request = mode("sleep", json!({"ms": 500}), &[tensor("x", "INT64", &[1], json!([1]))]);
    let (typed, http) =
        tokio::join!(host.infer("misbehave", &request), host.get("/functions/misbehave-http/slow-body?count=10&ms=50"));
    typed.expect(200);
    assert_eq!(http.text().lines().count(), 10);
    for function in ["misbehave", "misbehave-http"] {
        assert_eq!(host.status(function).await["cold_starts"], 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_that_keeps_warm_instances_does_not_go_back_to_disk() {
    let host = TestHost::start_with(|config| config.idle.model = Duration::from_millis(50)).await;
    host.deployed(bundle_with(&fixture_guest("misbehave"), |project| {
        project.manifest.instances.min_warm = 1;
        project.manifest.instances.idle_timeout = Duration::from_millis(50);
    }))
    .await;
    host.deploy_model("scalar", "scalar.onnx").await.expect(201);
    host.infer("misbehave", &mode("count", json!({}), &[])).await.expect(200);
    // One that came later and had the same time has gone meanwhile.
    host.infer("scalar", &scalar()).await.expect(200);
    state(&host, "scalar", "stored").await;
    let status = host.status("misbehave").await;
    assert_eq!((&status["state"], &status["instances"]["idle"]), (&json!("warm"), &json!(1)));
}

#[tokio::test(flavor = "multi_thread")]
async fn idle_instances_go_before_their_version_does() {
    let host = TestHost::start().await;
    host.deployed(bundle_with(&fixture_guest("misbehave"), |project| {
        project.manifest.instances.idle_timeout = Duration::from_millis(100);
    }))
    .await;
    host.infer("misbehave", &mode("count", json!({}), &[])).await.expect(200);
    state(&host, "misbehave", "loaded").await;
    let answer = host.infer("misbehave", &mode("count", json!({}), &[])).await.expect(200);
    assert_eq!(answer["outputs"][0]["data"], json!([1]), "a new instance counts from one");
    assert_eq!(host.status("misbehave").await["cold_starts"], 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_more_instances_stay_idle_than_the_manifest_says() {
    let host = TestHost::start().await;
    host.deployed(bundle_with(&fixture_guest("misbehave"), |project| project.manifest.instances.max_warm = 2)).await;
    let mut callers = JoinSet::new();
    for _ in 0..8 {
        let body = mode("sleep", json!({"ms": 300}), &[tensor("x", "INT64", &[1], json!([1]))]).to_string();
        callers.spawn(host.request(Method::POST, "/v2/models/misbehave/infer").body(body).send());
    }
    while let Some(answer) = callers.join_next().await {
        assert_eq!(answer.expect("no panic").expect("an answer").status(), 200);
    }
    assert_eq!(host.status("misbehave").await["instances"], json!({"idle": 2, "busy": 0}));
}

/// An http function that never gets as far as being instantiated.
const ENDLESS: &str = r#"(component
  (import "wasi:http/types@0.2.0" (instance $types
    (export "incoming-request" (type (sub resource)))
    (export "response-outparam" (type (sub resource)))))
  (alias export $types "incoming-request" (type $request))
  (alias export $types "response-outparam" (type $response))
  (core module $code
    (func $start (loop $again (br $again)))
    (func (export "handle") (param i32 i32))
    (start $start))
  (core instance $code (instantiate $code))
  (func $handle (param "request" (own $request)) (param "response-out" (own $response))
    (canon lift (core func $code "handle")))
  (component $handler
    (import "incoming-request" (type $request (sub resource)))
    (import "response-outparam" (type $response (sub resource)))
    (import "handle-function" (func $handle (param "request" (own $request)) (param "response-out" (own $response))))
    (export "handle" (func $handle)))
  (instance $handler (instantiate $handler
    (with "incoming-request" (type $request))
    (with "response-outparam" (type $response))
    (with "handle-function" (func $handle))))
  (export "wasi:http/incoming-handler@0.2.0" (instance $handler)))"#;

#[tokio::test(flavor = "multi_thread")]
async fn start_code_that_does_not_end_is_ended() {
    let host = TestHost::start().await;
    let component = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(component.path(), wat::parse_str(ENDLESS).expect("a component")).expect("it can be written");
    host.deployed(bundle_with(&fixture_guest("misbehave-http"), |project| {
        project.component.as_mut().expect("a component").file.path = component.path().to_owned();
        project.assets.clear();
        project.manifest.limits.timeout = Duration::from_millis(500);
        project.manifest.instances.min_warm = 1;
    }))
    .await;
    // Nobody has asked for it: it is woken since an instance is always to be there.
    state(&host, "misbehave-http", "loaded").await;
    for _ in 0..2 {
        host.get("/functions/misbehave-http/").await.expect_error(504, "deadline_exceeded", &["500ms"]);
    }
    host.delete("/api/functions/misbehave-http").await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_that_cannot_be_woken_leaves_memory_too() {
    let host = TestHost::start_with(|config| {
        config.idle = Idle { model: Duration::from_millis(100), component: Duration::from_millis(100) };
    })
    .await;
    host.deploy(&example("digits")).await.expect(201);
    // Its model is lost: the blob, and what was prepared.
    let model = std::fs::read(example("digits/model/digits.onnx")).expect("the example's model");
    let digest = nocti::registry::digest::Digest::of(&model).to_string();
    std::fs::remove_file(host.store().join("blobs/sha256").join(&digest)).expect("it is stored");
    let request = json!({"inputs": [tensor("image", "UINT8", &[1, 8, 8], json!(vec![0; 64]))]});
    let answer = host.infer("digits", &request).await;
    answer.expect_error(500, "load_failed", &["missing from the store"]);
    state(&host, "digits", "stored").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_first_requests_load_a_version_once() {
    let host = TestHost::start().await;
    host.deployed(bundle_with(&fixture_guest("free"), |project| {
        project.models.retain(|model| model.name.as_str() == "scalar");
    }))
    .await;
    host.deploy_model("scalar", "scalar.onnx").await.expect(201);
    let (typed, model) =
        (mode("nn", json!({"model": "scalar"}), &[tensor("x", "FP32", &[2], json!([1, 2]))]), scalar());
    let mut callers = JoinSet::new();
    for n in 0..1000 {
        let (function, body) = if n % 2 == 0 { ("free", &typed) } else { ("scalar", &model) };
        let request = host.request(Method::POST, &format!("/v2/models/{function}/infer")).body(body.to_string());
        callers.spawn(async move { request.send().await.expect("an answer").json::<Value>().await.expect("JSON") });
    }
    while let Some(answer) = callers.join_next().await {
        let answer = answer.expect("no panic");
        assert_eq!(answer["outputs"], json!([tensor("sum", "FP32", &[], json!([3.0]))]), "{answer}");
    }
    for function in ["free", "scalar"] {
        let status = host.status(function).await;
        assert_eq!((&status["requests"], &status["cold_starts"]), (&json!(500), &json!(1)));
    }
    let sessions = host.get("/api/status").await.expect(200)["sessions"].clone();
    assert_eq!(sessions.as_array().map(Vec::len), Some(1), "both functions use one session: {sessions}");
    assert_eq!(sessions[0]["refs"], 2, "{sessions}");
}
