//! `/api/functions` and `/api/status`: list, show, delete, and what is in memory.

use nocti_tests::{TestHost, bundle_with, eventually, fixture_guest, fixture_model, model_bundle};
use reqwest::Method;
use serde_json::{Value, json};

use super::{mode, tensor};

fn version_of_simple(version: &str) -> Vec<u8> {
    model_bundle("simple", version, &fixture_model("addsub.onnx"))
}

fn keys(value: &Value) -> Vec<&str> {
    value.as_object().expect("an object").keys().map(String::as_str).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deploy_tells_what_it_made() {
    let host = TestHost::start().await;
    let bundle = version_of_simple("1.0.0");
    let answer = host.post("/api/functions", bundle.clone()).await.expect(201);
    assert_eq!(keys(&answer), ["function", "version", "digest", "kind", "revision", "aliases", "size_bytes"]);
    assert_eq!(answer["function"], "simple");
    assert_eq!(answer["version"], "1.0.0");
    assert_eq!(answer["kind"], "model-only");
    assert_eq!(answer["revision"], 1);
    assert_eq!(answer["aliases"], json!({"live": {"1.0.0": 100}}));
    assert_eq!(answer["size_bytes"], bundle.len());
    assert!(answer["digest"].as_str().is_some_and(|digest| digest.len() == 64), "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_list_has_each_function_once_by_name() {
    let host = TestHost::start().await;
    assert_eq!(host.get("/api/functions").await.expect(200), json!({"functions": []}));
    host.deployed(version_of_simple("1.0.0")).await;
    host.deployed(version_of_simple("1.1.0")).await;
    host.deploy(&fixture_guest("misbehave")).await.expect(201);
    let expected = json!({"functions": [
        {
            "name": "misbehave", "kind": "typed", "live": {"1.0.0": 100}, "versions": ["1.0.0"],
            "description": "Behaves as the parameter mode says; has a signature and no models", "tags": [],
        },
        {
            "name": "simple", "kind": "model-only", "live": {"1.1.0": 100}, "versions": ["1.0.0", "1.1.0"],
            "description": "", "tags": [],
        },
    ]});
    assert_eq!(host.get("/api/functions").await.expect(200), expected);
    // What has been listed is not kept beyond a change.
    let path = "/api/functions/simple/aliases/live";
    host.send(host.request(Method::PUT, path).body(json!({"weights": {"1.0.0": 1}}).to_string())).await.expect(200);
    let listed = host.get("/api/functions").await.expect(200);
    assert_eq!(listed["functions"][1]["live"], json!({"1.0.0": 1}));
    host.deployed(version_of_simple("1.2.0")).await;
    let listed = host.get("/api/functions").await.expect(200);
    assert_eq!(listed["functions"][1]["versions"], json!(["1.0.0", "1.1.0", "1.2.0"]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_function_is_shown_with_all_that_its_versions_are() {
    let host = TestHost::start().await;
    let deployed = host
        .post(
            "/api/functions",
            bundle_with(&fixture_guest("free"), |project| {
                let manifest = &mut project.manifest;
                manifest.authors = vec!["Ada".into()];
                manifest.tags = vec!["test".into()];
                manifest.license = Some("Apache-2.0".into());
                manifest.metrics.insert("accuracy".into(), 0.978);
                project.models.retain(|model| model.name.as_str() == "scalar");
            }),
        )
        .await
        .expect(201);
    let answer = host.get("/api/functions/free").await.expect(200);
    assert_eq!(keys(&answer), ["name", "revision", "aliases", "versions"]);
    let version = &answer["versions"][0];
    let mut shown = version.clone();
    for varying in ["created_at", "size_bytes", "models"] {
        shown.as_object_mut().expect("an object").remove(varying);
    }
    let expected = json!({
        "version": "1.0.0",
        "digest": deployed["digest"],
        "kind": "typed",
        "description": "The component of misbehave with every model, an asset and no signature",
        "authors": ["Ada"],
        "tags": ["test"],
        "license": "Apache-2.0",
        "signature": null,
        "metrics": {"accuracy": 0.978},
        "labels": {},
        "limits": {"memory": "128MiB", "timeout": "30s", "concurrency": 64},
        "instances": {"reuse": 1000, "min_warm": 0, "max_warm": 16, "idle_timeout": "30s", "concurrent": 16},
        "network": {"allow": []},
    });
    assert_eq!(shown, expected);
    assert!(version["created_at"].as_str().is_some_and(|time| time.ends_with('Z')), "{version}");
    let size = std::fs::metadata(fixture_model("scalar.onnx")).expect("it is there").len();
    assert_eq!(keys(&version["models"][0]), ["name", "size_bytes", "sha256", "device", "inputs", "outputs"]);
    assert_eq!((&version["models"][0]["name"], &version["models"][0]["size_bytes"]), (&json!("scalar"), &json!(size)));
    assert_eq!(version["models"][0]["device"], "auto");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_only_function_is_shown_with_its_models_signature() {
    let host = TestHost::start().await;
    host.deployed(version_of_simple("1.0.0")).await;
    let answer = host.get("/api/functions/simple").await.expect(200);
    let input = json!({"name": "INPUT1", "datatype": "INT32", "shape": [-1, 16]});
    assert_eq!(answer["versions"][0]["signature"]["inputs"][1], input);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_function_is_gone_with_all_its_versions() {
    let host = TestHost::start().await;
    host.deployed(version_of_simple("1.0.0")).await;
    host.deployed(version_of_simple("1.1.0")).await;
    assert_eq!(host.delete("/api/functions/simple").await.expect(200), json!({"deleted": "simple"}));
    assert_eq!(host.get("/api/functions").await.expect(200), json!({"functions": []}));
    for path in ["/api/functions/simple", "/v2/models/simple", "/v2/models/simple/versions/1.0.0/ready"] {
        host.get(path).await.expect_error(404, "not_found", &["'simple'"]);
    }
    host.infer("simple", &json!({"inputs": []})).await.expect_error(404, "not_found", &["'simple'"]);
    host.delete("/api/functions/simple").await.expect_error(404, "not_found", &["'simple'"]);
    // Its name is free again, also for other content.
    host.deployed(model_bundle("simple", "1.0.0", &fixture_model("scalar.onnx"))).await;
    assert_eq!(host.get("/v2/models/simple").await.expect(200)["outputs"][0]["name"], "sum");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_goes_unless_requests_go_to_it() {
    let host = TestHost::start().await;
    host.deployed(version_of_simple("1.0.0")).await;
    host.deployed(version_of_simple("1.1.0")).await;
    let answer = host.delete("/api/functions/simple/versions/1.1.0").await;
    answer.expect_error(
        409,
        "version_in_use",
        &["'1.1.0'", "alias 'live'", "nocti traffic simple VERSION=WEIGHT --alias live"],
    );
    let answer = host.delete("/api/functions/simple/versions/1.0.0").await.expect(200);
    assert_eq!(answer, json!({"deleted": "simple@1.0.0"}));
    host.get("/v2/models/simple/versions/1.0.0").await.expect_error(404, "not_found", &["has versions 1.1.0"]);
    let answer = host.delete("/api/functions/simple/versions/1.0.0").await;
    answer.expect_error(404, "not_found", &["'1.0.0'"]);
    host.delete("/api/functions/nothing/versions/1").await.expect_error(404, "not_found", &["'nothing'"]);
    // The last one takes the function along.
    host.delete("/api/functions/simple/versions/1.1.0").await.expect(200);
    host.get("/api/functions/simple").await.expect_error(404, "not_found", &[]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_in_flight_finishes_after_its_function_is_deleted() {
    let host = TestHost::start().await;
    host.deploy(&fixture_guest("misbehave")).await.expect(201);
    let x = tensor("x", "INT64", &[1], json!([7]));
    let body = mode("sleep", json!({"ms": 500}), std::slice::from_ref(&x)).to_string();
    let request = host.request(reqwest::Method::POST, "/v2/models/misbehave/infer").body(body);
    let in_flight = tokio::spawn(request.send());
    host.busy("misbehave", 1).await;
    host.delete("/api/functions/misbehave").await.expect(200);
    host.get("/v2/models/misbehave").await.expect_error(404, "not_found", &[]);
    let response = in_flight.await.expect("no panic").expect("an answer");
    assert_eq!(response.status(), 200);
    assert_eq!(response.json::<Value>().await.expect("JSON")["outputs"], json!([x]));
}

/// Its function may be gone by the time a body has come.
#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_was_let_in_before_the_delete_is_the_last() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let host = TestHost::start().await;
    host.deploy_model("scalar", "scalar.onnx").await.expect(201);
    let body = json!({"inputs": [tensor("x", "FP32", &[1], json!([1]))]}).to_string();
    let mut stream = tokio::net::TcpStream::connect(host.url.trim_start_matches("http://")).await.expect("it listens");
    let head = format!(
        "POST /v2/models/scalar/infer HTTP/1.1\r\nhost: x\r\nconnection: close\r\nexpect: 100-continue\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).await.expect("it reads");
    let mut go_on = [0; 12];
    stream.read_exact(&mut go_on).await.expect("it answers");
    assert_eq!(&go_on, b"HTTP/1.1 100");
    host.delete("/api/functions/scalar").await.expect(200);
    stream.write_all(body.as_bytes()).await.expect("it reads");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("it answers");
    assert!(answer.contains("HTTP/1.1 200"), "{answer}");
    let gone = async || {
        let status = host.get("/api/status").await.expect(200);
        (status["sessions"] == json!([]) && status["functions"] == json!([])).then_some(())
    };
    eventually("the end of the function", gone).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_functions_session_ends() {
    let host = TestHost::start().await;
    host.deploy_model("scalar", "scalar.onnx").await.expect(201);
    host.infer("scalar", &json!({"inputs": [tensor("x", "FP32", &[1], json!([1]))]})).await.expect(200);
    assert_eq!(host.get("/api/status").await.expect(200)["sessions"].as_array().map(Vec::len), Some(1));
    host.delete("/api/functions/scalar").await.expect(200);
    let gone = async || (host.get("/api/status").await.expect(200)["sessions"] == json!([])).then_some(());
    eventually("the end of the session", gone).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_status_shows_what_is_in_memory_and_how_it_came_there() {
    let host = TestHost::start().await;
    host.deploy_model("scalar", "scalar.onnx").await.expect(201);
    host.deploy(&fixture_guest("misbehave")).await.expect(201);
    let before = host.get("/api/status").await.expect(200);
    assert_eq!(keys(&before), ["uptime_s", "functions", "sessions", "memory"]);
    let stored = |function: &str, kind: &str| {
        json!({
            "function": function, "version": "1.0.0", "kind": kind, "state": "stored",
            "instances": {"idle": 0, "busy": 0}, "requests": 0, "cold_starts": 0, "last_cold_start": null,
            "component_bytes": 0, "model_bytes": 0, "models": [],
        })
    };
    assert_eq!(before["functions"], json!([stored("misbehave", "typed"), stored("scalar", "model-only")]));
    assert_eq!(before["sessions"], json!([]));
    assert_eq!(before["memory"]["session_bytes"], 0);
    assert!(before["memory"]["resident_bytes"].as_u64().is_some_and(|bytes| bytes > 1 << 20), "{before}");

    host.infer("misbehave", &mode("echo", json!({}), &[tensor("x", "INT64", &[1], json!([1]))])).await.expect(200);
    host.infer("scalar", &json!({"inputs": [tensor("x", "FP32", &[1], json!([1]))]})).await.expect(200);
    host.infer("scalar", &json!({"inputs": []})).await.expect_error(400, "invalid_request", &[]);
    let after = host.get("/api/status").await.expect(200);
    let (typed, model) = (&after["functions"][0], &after["functions"][1]);
    assert_eq!((&typed["state"], &typed["instances"]), (&json!("warm"), &json!({"idle": 1, "busy": 0})));
    assert_eq!((&typed["requests"], &typed["cold_starts"]), (&json!(1), &json!(1)));
    let start = &typed["last_cold_start"];
    assert_eq!(start["cause"], "request");
    assert!(start["total_ms"].as_f64().is_some_and(|ms| ms > 0.0), "{typed}");
    assert_eq!(keys(&start["phases_ms"]), ["component", "instance"], "it has no model");
    assert_eq!((&model["state"], &model["requests"]), (&json!("loaded"), &json!(2)));
    let device = &after["sessions"][0]["device"];
    assert_eq!(model["models"], json!([{"name": "scalar", "device": device, "batching": "impossible"}]));
    assert_eq!(typed["models"], json!([]), "it has none");
    let size = std::fs::metadata(fixture_model("scalar.onnx")).expect("it is there").len();
    let session = &after["sessions"][0];
    let expected = [
        "model",
        "sha256",
        "device",
        "sessions",
        "batching",
        "runs",
        "requests",
        "queued",
        "running",
        "size_bytes",
        "file_bytes",
        "refs",
    ];
    assert_eq!(keys(session), expected);
    assert_eq!(
        (&session["model"], &session["file_bytes"], &session["refs"]),
        (&json!("scalar"), &json!(size), &json!(1))
    );
    // What was measured, and what it is measured against.
    let taken = &session["size_bytes"];
    assert!(taken.as_u64().is_some_and(|bytes| bytes > size), "{session}");
    assert_eq!(&after["memory"]["session_bytes"], taken);
    let budget = &after["memory"]["budgets"][0];
    assert_eq!((&budget["device"], &budget["used_bytes"]), (&json!("cpu"), taken));
    assert!(budget["limit_bytes"].as_u64() > taken.as_u64(), "{budget}");
}
