//! Copies of requests for another version: what is compared and counted, and that callers notice nothing of it.

use std::time::Duration;

use nocti_tests::{TestHost, bundle_with, eventually, fixture_guest, fixture_model, model_bundle};
use reqwest::Method;
use serde_json::{Value, json};
use tonic::Request;

use super::grpc::simple;
use super::{begun, mode, tensor};

const OUTCOMES: [&str; 5] = ["same", "close", "different", "failed", "skipped"];

/// Version 1 of `misbehave`, which answers, and version 2, which has less memory and time, and other variables: its shadow.
async fn two() -> TestHost {
    let host = TestHost::start().await;
    for version in ["1", "2"] {
        let bundle = bundle_with(&fixture_guest("misbehave"), |project| {
            let manifest = &mut project.manifest;
            manifest.version = version.parse().expect("a version");
            manifest.signature = None;
            if version == "2" {
                manifest.limits.memory = 16 << 20;
                manifest.limits.timeout = Duration::from_millis(900);
                manifest.env.insert("GREETING".into(), "another".into());
            }
        });
        host.post("/api/functions?no_traffic=true", bundle).await.expect(201);
    }
    host
}

async fn shadow(host: &TestHost, function: &str, body: Value) -> Value {
    let path = format!("/api/functions/{function}/aliases/live");
    host.send(host.request(Method::PUT, &path).body(body.to_string())).await.expect(200)
}

/// What came of the copies.
async fn counts(host: &TestHost, function: &str) -> [u64; 5] {
    let shown = host.get(&format!("/api/functions/{function}")).await.expect(200);
    let compared = &shown["shadows"]["live"]["compared"][0];
    OUTCOMES.map(|outcome| compared[outcome].as_u64().unwrap_or_default())
}

async fn until(host: &TestHost, function: &str, expected: [u64; 5]) {
    let what = format!("{expected:?} of {OUTCOMES:?}");
    eventually(&what, async || (counts(host, function).await == expected).then_some(())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn copies_are_compared_and_callers_notice_nothing() {
    let host = two().await;
    // It is in memory before the first copy comes: for a cold start it may have too little time.
    shadow(&host, "misbehave", json!({"weights": {"2": 1}})).await;
    host.post("/v2/repository/models/misbehave/load", "{}").await.expect(200);
    let answer = shadow(&host, "misbehave", json!({"weights": {"1": 1}, "shadow": {"version": "2"}})).await;
    assert_eq!(answer["shadows"], json!({"live": {"version": "2", "percent": 100}}));
    let x = [tensor("x", "INT64", &[1], json!([7]))];
    let ask = async |request: &Value| {
        let answer = host.infer("misbehave", request).await.expect(200);
        assert_eq!(answer["model_version"], "1");
    };
    ask(&mode("echo", json!({}), &x)).await;
    until(&host, "misbehave", [1, 0, 0, 0, 0]).await;
    ask(&mode("read-env", json!({}), &[])).await;
    until(&host, "misbehave", [1, 0, 1, 0, 0]).await;
    // It has no memory for these: a trap.
    ask(&mode("hoard", json!({"mebibytes": 32}), &[])).await;
    until(&host, "misbehave", [1, 0, 1, 1, 0]).await;
    // It has not the time.
    ask(&mode("sleep", json!({"ms": 1200}), &x)).await;
    until(&host, "misbehave", [1, 0, 1, 2, 0]).await;
    // What was refused was not answered, and what explains is no answer to compare.
    host.infer("misbehave", &mode("error-invalid", json!({}), &x)).await.expect(400);
    host.post("/v2/models/misbehave/explain", mode("echo", json!({}), &x).to_string()).await.expect(200);
    host.post("/v2/models/misbehave/versions/1/infer", mode("echo", json!({}), &x).to_string()).await.expect(200);
    ask(&mode("echo", json!({}), &x)).await;
    until(&host, "misbehave", [2, 0, 1, 2, 0]).await;
    let shown = host.get("/api/functions/misbehave").await.expect(200)["shadows"]["live"]["compared"][0].clone();
    assert!(shown["version"] == "1" && shown["p50_ms"].is_f64() && shown["shadow_p50_ms"].is_f64(), "{shown}");
    let metrics = host.get("/metrics").await.text();
    for line in [
        r#"nocti_shadow_requests_total{function="misbehave",version="1",shadow="2",outcome="same"} 2"#,
        r#"nocti_shadow_requests_total{function="misbehave",version="1",shadow="2",outcome="failed"} 2"#,
        r#"nocti_requests_total{function="misbehave",version="2",kind="shadow",outcome="ok"} 3"#,
        r#"nocti_requests_total{function="misbehave",version="2",kind="shadow",outcome="timeout"} 1"#,
        r#"nocti_request_seconds_count{function="misbehave",version="2"} 0"#,
    ] {
        assert!(metrics.lines().any(|found| found == line), "{line}: not in\n{metrics}");
    }
    assert!(!metrics.contains(r#"version="2",kind="predict""#), "{metrics}");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_protocol_is_copied() {
    let host = TestHost::start().await;
    for version in ["2", "1"] {
        host.deployed(model_bundle("simple", version, &fixture_model("addsub.onnx"))).await;
    }
    shadow(&host, "simple", json!({"weights": {"1": 1}, "shadow": {"version": "2", "percent": 100}})).await;
    let row = |name| tensor(name, "INT32", &[1, 16], json!(vec![1; 16]));
    let mut request = json!({"inputs": [row("INPUT0"), row("INPUT1")]});
    host.infer("simple", &request).await.expect(200);
    host.ask("simple", &request).await.expect(200);
    let column = json!({"instances": [{"INPUT0": vec![1; 16], "INPUT1": vec![1; 16]}]});
    host.post("/v1/models/simple:predict", column.to_string()).await.expect(200);
    host.grpc().await.model_infer(Request::new(simple("simple"))).await.expect("an answer");
    // What is compared is what the classes are of.
    request["outputs"] = json!([{"name": "OUTPUT0", "parameters": {"classification": 1}}]);
    host.infer("simple", &request).await.expect(200);
    until(&host, "simple", [5, 0, 0, 0, 0]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_has_no_place_is_skipped() {
    let host = two().await;
    shadow(&host, "misbehave", json!({"weights": {"1": 1}, "shadow": {"version": "2"}})).await;
    let slow = mode("sleep", json!({"ms": 600}), &[tensor("x", "INT64", &[1], json!([7]))]);
    let asked: Vec<_> = (0..12).map(|_| begun(&host, "misbehave", &slow)).collect();
    for answer in asked {
        assert_eq!(answer.await.expect("it is not stopped").expect("an answer").status(), 200);
    }
    let [same, .., failed, skipped] = eventually("all are counted", async || {
        Some(counts(&host, "misbehave").await).filter(|counts| counts.iter().sum::<u64>() == 12)
    })
    .await;
    assert!(same + failed <= 8 && skipped >= 4, "{same} {failed} {skipped}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shadow_is_part_of_where_its_alias_points() {
    let host = two().await;
    let with = json!({"weights": {"1": 1}, "shadow": {"version": "2", "percent": 30}});
    let revision = shadow(&host, "misbehave", with.clone()).await["revision"].clone();
    assert_eq!(shadow(&host, "misbehave", with).await["changed"], false);
    host.delete("/api/functions/misbehave/versions/2").await.expect_error(409, "version_in_use", &["gets copies"]);
    // One revision ends the shadow and sends requests to it; one brings both back.
    let promoted = shadow(&host, "misbehave", json!({"weights": {"2": 1}})).await;
    assert_eq!(promoted["revision"].as_u64(), revision.as_u64().map(|before| before + 1));
    assert_eq!((&promoted["aliases"], &promoted["shadows"]), (&json!({"live": {"2": 1}}), &Value::Null));
    let back = host.post("/api/functions/misbehave/rollback", "").await.expect(200);
    let expected = json!({"live": {"version": "2", "percent": 30}});
    assert_eq!((&back["aliases"], &back["shadows"]), (&json!({"live": {"1": 1}}), &expected));
    let (_, store) = host.stop().await;
    let host = TestHost::start_over(store, |_| {}).await;
    let shown = host.get("/api/functions/misbehave").await.expect(200);
    assert_eq!(shown["shadows"], expected);
    let history = host.get("/api/functions/misbehave/revisions?limit=1").await.expect(200);
    assert_eq!(history["revisions"][0]["shadows"], expected);
    let diff = host.get("/api/functions/misbehave/diff?from=revision:3&to=revision:4").await.expect(200);
    let differences = diff["differences"].to_string();
    assert!(differences.contains(r#"["shadows","live","version"]"#), "{differences}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_a_shadow_is_refused() {
    let host = two().await;
    let (bad, wrong) = ("invalid_shadow", "invalid_request");
    for (shadow, status, code, part) in [
        (json!({"version": "1"}), 400, bad, "compared with itself"),
        (json!({"version": "2", "percent": 0}), 400, bad, "say 1 to 100"),
        (json!({"version": "2", "percent": 101}), 400, bad, "say 1 to 100"),
        (json!({"version": "2", "percent": -1}), 400, wrong, "u32"),
        (json!({"version": "3"}), 404, "not_found", "has versions 1, 2"),
        (json!({"percent": 5}), 400, wrong, "version"),
        (json!("2"), 400, wrong, "ShadowRequest"),
    ] {
        let body = json!({"weights": {"1": 1}, "shadow": shadow}).to_string();
        let answer = host.send(host.request(Method::PUT, "/api/functions/misbehave/aliases/live").body(body)).await;
        answer.expect_error(status, code, &[part]);
    }
    host.post("/api/functions", nocti_tests::bundle(&nocti_tests::example("hello-http"))).await.expect(201);
    let raw = bundle_with(&nocti_tests::example("hello-http"), |project| {
        project.manifest.version = "9".parse().expect("a version");
    });
    host.post("/api/functions?no_traffic=true", raw).await.expect(201);
    let name = "hello-http";
    let live = host.get(&format!("/api/functions/{name}")).await.expect(200)["aliases"]["live"].clone();
    let body = json!({"weights": live, "shadow": {"version": "9"}}).to_string();
    let path = format!("/api/functions/{name}/aliases/live");
    let answer = host.send(host.request(Method::PUT, &path).body(body)).await;
    answer.expect_error(400, bad, &["raw HTTP cannot be copied"]);
}
