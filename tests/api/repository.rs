//! The model repository extension: `/v2/repository/...`, `/v2/models`.

use std::io::Write;
use std::time::Duration;

use flate2::Compression;
use flate2::write::GzEncoder;
use nocti::lifecycle::Idle;
use nocti_tests::{Answer, TestHost, bundle_with, eventually, fixture_guest, fixture_model, model_bundle};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use super::encodings::metric;
use super::{begun, iterations, mode, tensor, until};

fn scalar() -> Value {
    json!({"inputs": [tensor("x", "FP32", &[2], json!([1, 2]))]})
}

async fn change(host: &TestHost, model: &str, verb: &str) -> Answer {
    host.post(&format!("/v2/repository/models/{model}/{verb}"), "{}").await
}

/// A host that forgets at once what nobody uses.
async fn forgetful() -> TestHost {
    let idle = Idle { model: Duration::from_millis(50), component: Duration::from_millis(50) };
    TestHost::start_with(|config| config.idle = idle).await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_index_has_every_version() {
    let host = TestHost::start().await;
    assert_eq!(host.get("/v2/models").await.expect(200), json!({"models": []}));
    assert_eq!(host.post("/v2/repository/index", "").await.expect(200), json!([]));
    host.deployed(model_bundle("scalar", "1.0.0", &fixture_model("scalar.onnx"))).await;
    host.deployed(model_bundle("scalar", "2.0.0", &fixture_model("nan.onnx"))).await;
    host.deploy_model("simple", "addsub.onnx").await.expect(201);
    let entry = |name: &str, version: &str| json!({"name": name, "version": version, "state": "READY", "reason": ""});
    let all = json!([entry("scalar", "1.0.0"), entry("scalar", "2.0.0"), entry("simple", "1.0.0")]);
    for body in
        ["", "null", "{}", r#"{"ready": null}"#, r#"{"ready": true}"#, r#"{"ready": false, "repository_name": "x"}"#]
    {
        assert_eq!(host.post("/v2/repository/index", body).await.expect(200), all, "{body}");
    }
    assert_eq!(host.get("/v2/models").await.expect(200), json!({"models": ["scalar", "simple"]}));
    for body in ["7", r#"{"ready": 1}"#, "{", "\u{0}"] {
        let parts = &["the body is not what belongs here", "line 1"];
        host.post("/v2/repository/index", body).await.expect_error(400, "invalid_request", parts);
    }
    // Not the fields of an object in their order.
    host.post("/v2/repository/index", "[true]").await.expect_error(400, "invalid_request", &["must be an object"]);
    host.get("/v2/repository/index").await.expect_error(405, "method_not_allowed", &["POST"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_loaded_stays_in_memory_until_it_is_unloaded() {
    let host = forgetful().await;
    host.deploy_model("kept", "scalar.onnx").await.expect(201);
    host.deploy_model("scalar", "nan.onnx").await.expect(201);
    host.deploy(&fixture_guest("misbehave")).await.expect(201);
    for function in ["kept", "misbehave"] {
        assert_eq!(change(&host, function, "load").await.expect(200), json!({}));
        assert_eq!(host.status(function).await["last_cold_start"]["cause"], "load");
    }
    // One that came later and was only asked for has gone meanwhile.
    host.infer("scalar", &scalar()).await.expect(200);
    eventually("the other is stored", async || (host.status("scalar").await["state"] == "stored").then_some(())).await;
    assert_eq!(host.status("kept").await["state"], "loaded");
    assert_ne!(host.status("misbehave").await["state"], "stored");
    // Loading what is loaded changes nothing.
    change(&host, "kept", "load").await.expect(200);
    assert_eq!(host.status("kept").await["cold_starts"], 1);

    change(&host, "kept", "unload").await.expect(200);
    change(&host, "misbehave", "unload").await.expect(200);
    for function in ["kept", "misbehave"] {
        assert_eq!(host.status(function).await["state"], "stored");
    }
    assert_eq!(host.get("/api/status").await.expect(200)["sessions"], json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unloaded_model_is_not_ready_until_a_request_or_a_load_wakes_it() {
    let host = TestHost::start().await;
    host.deploy_model("scalar", "scalar.onnx").await.expect(201);
    let ready = async || (host.get("/v2/models/scalar/ready").await.status, index(&host).await);
    for wake in ["infer", "load"] {
        host.infer("scalar", &scalar()).await.expect(200);
        change(&host, "scalar", "unload").await.expect(200);
        let answer = host.get("/v2/models/scalar/versions/1.0.0/ready").await;
        assert_eq!(answer.expect(503), json!({"name": "scalar", "ready": false}));
        for path in ["/v1/models/scalar", "/v1/models/scalar/versions/1.0.0"] {
            assert_eq!(host.get(path).await.expect(503), json!({"name": "scalar", "ready": false}));
        }
        let unloaded = json!([{"name": "scalar", "version": "1.0.0", "state": "UNAVAILABLE", "reason": "unloaded"}]);
        assert_eq!(ready().await, (503, unloaded));
        assert_eq!(host.post("/v2/repository/index", r#"{"ready": true}"#).await.expect(200), json!([]));
        match wake {
            "infer" => drop(host.infer("scalar", &scalar()).await.expect(200)),
            _ => drop(change(&host, "scalar", wake).await.expect(200)),
        }
        let back = json!([{"name": "scalar", "version": "1.0.0", "state": "READY", "reason": ""}]);
        assert_eq!(ready().await, (200, back), "{wake}");
        assert_eq!(host.get("/v1/models/scalar").await.expect(200), json!({"name": "scalar", "ready": true}));
    }
}

async fn index(host: &TestHost) -> Value {
    host.post("/v2/repository/index", "").await.expect(200)
}

#[tokio::test(flavor = "multi_thread")]
async fn unloading_lets_requests_in_flight_finish() {
    let host = TestHost::start().await;
    host.deploy_model("slow", "slow.onnx").await.expect(201);
    let request = begun(&host, "slow", &iterations(100_000));
    until(&host, "running", 1).await;
    change(&host, "slow", "unload").await.expect(200);
    assert_eq!(host.status("slow").await["state"], "stored");
    let answer = Answer::read(request.await.expect("no panic").expect("an answer")).await.expect(200);
    assert_eq!(answer["outputs"][0]["data"], json!([64.0]));
    eventually("the session has ended", async || {
        (host.get("/api/status").await.json()["sessions"] == json!([])).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_loaded_or_unloaded_says_so_as_clients_expect() {
    let host = TestHost::start().await;
    for verb in ["load", "unload"] {
        let failed = format!("failed to {verb} 'wrong_model_name'");
        let parts = &[failed.as_str(), "Request for unknown model: 'wrong_model_name'"];
        change(&host, "wrong_model_name", verb).await.expect_error(404, "not_found", parts);
    }
    change(&host, "..%2F..%2Fetc", "load").await.expect_error(404, "not_found", &["failed to load '../../etc'"]);
    host.deploy_model("simple", "addsub.onnx").await.expect(201);
    for parameter in ["config", "file:1/model.onnx"] {
        let body = json!({"parameters": {parameter: "eyJ9"}}).to_string();
        let parts = &["failed to load 'simple'", parameter, "deploy it instead"];
        host.post("/v2/repository/models/simple/load", body).await.expect_error(400, "invalid_request", parts);
    }
    for parameters in [r#"{"parameters": {"unload_dependents": true}}"#, r#"{"parameters": null}"#] {
        host.post("/v2/repository/models/simple/unload", parameters).await.expect(200);
    }

    // Its manifest would bring it back.
    host.deployed(bundle_with(&fixture_guest("misbehave"), |project| project.manifest.instances.min_warm = 1)).await;
    let parts = &["failed to unload 'misbehave'", "instances.min_warm"];
    change(&host, "misbehave", "unload").await.expect_error(409, "kept_warm", parts);
    assert_eq!(host.get("/v2/models/misbehave/ready").await.status, 200);
    host.infer("misbehave", &mode("count", json!({}), &[])).await.expect(200);

    // The blob of its model is gone.
    let blobs = host.store().join("blobs/sha256");
    for entry in std::fs::read_dir(&blobs).expect("it is there") {
        std::fs::remove_file(entry.expect("it can be listed").path()).expect("it can be removed");
    }
    let parts = &["failed to load 'simple'", "missing from the store"];
    change(&host, "simple", "load").await.expect_error(500, "load_failed", parts);
}

const PATHS: [&str; 3] =
    ["/v2/repository/index", "/v2/repository/models/simple/load", "/v2/repository/models/simple/unload"];

#[tokio::test(flavor = "multi_thread")]
async fn bodies_are_small_and_may_be_compressed() {
    let host = TestHost::start().await;
    host.deploy_model("simple", "addsub.onnx").await.expect(201);
    let gzip = |bytes: &[u8]| {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(bytes).and_then(|()| encoder.finish()).expect("memory takes all")
    };
    for path in PATHS {
        let send = async |encoding: &str, body: Vec<u8>| {
            host.send(host.request(Method::POST, path).header("content-encoding", encoding).body(body)).await
        };
        send("gzip", gzip(b"{}")).await.expect(200);
        send("br", b"{}".to_vec()).await.expect_error(415, "unsupported_encoding", &["gzip or deflate"]);
        send("gzip", gzip(b"7")).await.expect_error(400, "invalid_request", &["the body is not what belongs here"]);
        host.post(path, format!("{{{}}}", " ".repeat((64 << 10) - 2))).await.expect(200);
        for (encoding, body) in [("identity", vec![b' '; (64 << 10) + 1]), ("gzip", gzip(&vec![b' '; 1 << 20]))] {
            send(encoding, body).await.expect_error(413, "too_large", &["65536"]);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn its_requests_are_among_those_that_the_host_holds() {
    let host = TestHost::start_with(|config| config.held_requests = 1).await;
    host.deploy_model("simple", "addsub.onnx").await.expect(201);
    let mut slow = TcpStream::connect(host.url.trim_start_matches("http://")).await.expect("it listens");
    let head = "POST /v2/repository/index HTTP/1.1\r\nhost: h\r\ncontent-length: 2\r\n\r\n{";
    slow.write_all(head.as_bytes()).await.expect("it is sent");
    eventually("the first is held", async || (host.post(PATHS[0], "").await.status == 503).then_some(())).await;
    for path in PATHS {
        host.post(path, "").await.expect_error(503, "overloaded", &["limits.held_requests"]);
    }
    drop(slow);
    eventually("there is room again", async || (host.post(PATHS[0], "").await.status == 200).then_some(())).await;
}

/// The load goes on, for whoever comes next, but nobody has asked for the model to stay.
#[tokio::test(flavor = "multi_thread")]
async fn a_load_whose_caller_goes_keeps_nothing() {
    let host = forgetful().await;
    // Who loads by hand waits for the warm-up, and this one takes as long as one may.
    host.deploy_model("endless", "endless_on_zeros.onnx").await.expect(201);
    let caller = tokio::spawn(host.request(Method::POST, "/v2/repository/models/endless/load").send());
    eventually("it loads", async || (host.status("endless").await["state"] == "loading").then_some(())).await;
    metric(&host, "nocti_held_requests 1").await;
    caller.abort();
    metric(&host, "nocti_held_requests 0").await;
    assert_eq!(host.status("endless").await["state"], "loading");
    eventually("it is stored again", async || {
        let status = host.status("endless").await;
        (status["state"] == "stored" && status["cold_starts"] == 1).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_that_was_deleted_is_kept_no_more() {
    let host = TestHost::start().await;
    host.deploy_model("scalar", "scalar.onnx").await.expect(201);
    change(&host, "scalar", "load").await.expect(200);
    host.delete("/api/functions/scalar").await.expect(200);
    eventually("its session has ended", async || {
        (host.get("/api/status").await.json()["sessions"] == json!([])).then_some(())
    })
    .await;
    change(&host, "scalar", "unload").await.expect_error(404, "not_found", &["failed to unload 'scalar'"]);
}
