//! `GET /metrics`: what a scraper reads.

use nocti_tests::{TestHost, example, fixture_guest, fixture_model, model_bundle};
use serde_json::json;

use super::{mode, tensor};

/// The value of a metric with its labels, as it is written.
async fn value(host: &TestHost, metric: &str) -> Option<f64> {
    let answer = host.get("/metrics").await;
    assert_eq!(answer.status, 200);
    let text = answer.text();
    let line = text.lines().find_map(|line| line.strip_prefix(metric)?.strip_prefix(' '));
    line.map(|value| value.parse().unwrap_or_else(|error| panic!("{metric} {value}: {error}")))
}

#[tokio::test(flavor = "multi_thread")]
async fn every_metric_has_its_type() {
    let host = TestHost::start().await;
    host.deploy_model("float", "identity_float.onnx").await.expect(201);
    let request = json!({"inputs": [tensor("input", "FP32", &[1, 1], json!([1]))]});
    host.infer("float", &request).await.expect(200);
    let answer = host.get("/metrics").await;
    assert_eq!(answer.headers["content-type"], "application/openmetrics-text; version=1.0.0; charset=utf-8");
    let text = answer.text();
    for (name, kind) in [
        ("nocti_queue_seconds", "histogram"),
        ("nocti_compute_seconds", "histogram"),
        ("nocti_batch_size", "histogram"),
        ("nocti_sessions", "gauge"),
        ("nocti_session_bytes", "gauge"),
        ("nocti_instances", "gauge"),
        ("nocti_cold_starts", "counter"),
        ("nocti_requests", "counter"),
        ("nocti_request_seconds", "histogram"),
        ("nocti_guest_seconds", "histogram"),
    ] {
        assert!(text.contains(&format!("# TYPE {name} {kind}\n")), "{name}: not in\n{text}");
    }
    assert!(text.ends_with("# EOF\n"), "{text}");
    host.post("/metrics", "").await.expect_error(405, "method_not_allowed", &["GET"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn looking_wakes_nothing_and_shows_what_a_request_woke() {
    let host = TestHost::start().await;
    let file = fixture_model("identity_float.onnx");
    host.deployed(model_bundle("one", "1.0.0", &file)).await;
    host.deployed(model_bundle("two", "1.0.0", &file)).await;
    assert_eq!(value(&host, "nocti_sessions{device=\"cpu\"}").await, None);
    assert_eq!(host.status("one").await["state"], "stored");

    let request = json!({"inputs": [tensor("input", "FP32", &[1, 1], json!([1]))]});
    host.infer("one", &request).await.expect(200);
    host.infer("one", &request).await.expect(200);
    host.infer("two", &request).await.expect(200);
    // The same model serves both.
    assert_eq!(value(&host, "nocti_sessions{device=\"cpu\"}").await, Some(1.0));
    let taken = host.get("/api/status").await.expect(200)["sessions"][0]["size_bytes"].as_f64();
    assert_eq!(value(&host, "nocti_session_bytes{device=\"cpu\"}").await, taken);
    // Only the first had to load it.
    let loaded = |function| format!("nocti_cold_starts_total{{function=\"{function}\",phase=\"session\"}}");
    assert_eq!(value(&host, &loaded("one")).await, Some(1.0));
    assert_eq!(value(&host, &loaded("two")).await, Some(0.0));
    assert_eq!(value(&host, "nocti_cold_start_seconds_count{phase=\"session\"}").await, Some(1.0));
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_are_counted_by_what_came_of_them() {
    let host = TestHost::start().await;
    host.deploy(&fixture_guest("misbehave")).await.expect(201);
    host.deploy(&fixture_guest("misbehave-http")).await.expect(201);
    for (request, status) in [("count", 200), ("count", 200), ("trap", 502), ("no such mode", 400)] {
        assert_eq!(host.infer("misbehave", &mode(request, json!({}), &[])).await.status, status, "{request}");
    }
    host.post("/v2/models/misbehave/infer", "{").await.expect_error(400, "invalid_request", &[]);
    // Refused by their heads alone.
    for (header, value, status) in [("content-encoding", "br", 415), ("inference-header-content-length", "x", 400)] {
        let request =
            host.request(reqwest::Method::POST, "/v2/models/misbehave/infer").header(header, value).body("{}");
        assert_eq!(host.send(request).await.status, status);
    }
    host.post("/v2/models/misbehave/explain", mode("count", json!({}), &[]).to_string()).await;
    assert_eq!(host.get("/functions/misbehave-http/slow-body?count=3&ms=1").await.status, 200);
    let request = host.request(reqwest::Method::HEAD, "/functions/misbehave-http/count");
    host.send(request).await;
    let count = async |function: &str, kind: &str, outcome: &str| {
        let labels = format!("function=\"{function}\",version=\"1.0.0\",kind=\"{kind}\",outcome=\"{outcome}\"");
        value(&host, &format!("nocti_requests_total{{{labels}}}")).await
    };
    assert_eq!(count("misbehave", "predict", "ok").await, Some(2.0));
    assert_eq!(count("misbehave", "predict", "failed").await, Some(1.0));
    assert_eq!(count("misbehave", "predict", "invalid").await, Some(4.0));
    assert_eq!(count("misbehave", "explain", "ok").await, Some(1.0));
    let both = async || (count("misbehave-http", "http", "ok").await == Some(2.0)).then_some(());
    nocti_tests::eventually("whole raw answers are counted", both).await;
    let seconds = "nocti_request_seconds_count{function=\"misbehave\",version=\"1.0.0\"}";
    assert_eq!(value(&host, seconds).await, Some(8.0));

    // A caller who goes away in the middle of an answer.
    let path = "/functions/misbehave-http/slow-body?count=100&ms=50";
    let mut answer = host.request(reqwest::Method::GET, path).send().await.expect("an answer");
    answer.chunk().await.expect("its beginning");
    drop(answer);
    let cancelled = async || (count("misbehave-http", "http", "cancelled").await == Some(1.0)).then_some(());
    nocti_tests::eventually("what was cancelled is counted", cancelled).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn instances_are_counted_by_function_and_state() {
    let host = TestHost::start().await;
    host.deploy(&example("digits")).await.expect(201);
    let request = json!({"inputs": [tensor("image", "UINT8", &[1, 8, 8], json!(vec![0; 64]))]});
    host.infer("digits", &request).await.expect(200);
    let idle = "nocti_instances{function=\"digits\",state=\"idle\"}";
    nocti_tests::eventually("an idle instance", async || (value(&host, idle).await == Some(1.0)).then_some(())).await;
    assert_eq!(value(&host, "nocti_instances{function=\"digits\",state=\"busy\"}").await, Some(0.0));
}
