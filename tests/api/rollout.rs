//! Rollouts: an alias' requests go to a version by themselves, and back, through restarts and changes by hand.

use nocti_tests::{Answer, TestHost, bundle_with, eventually, fixture_guest, fixture_model, model_bundle};
use reqwest::Method;
use serde_json::{Value, json};

use super::{mode, tensor};

const ROLLOUT: &str = "/api/functions/simple/aliases/live/rollout";

/// Versions 1 and 2 of the function `simple`, `live` at 1.
async fn two() -> TestHost {
    let host = TestHost::start().await;
    for version in ["2", "1"] {
        host.deployed(model_bundle("simple", version, &fixture_model("addsub.onnx"))).await;
    }
    host
}

async fn put(host: &TestHost, path: &str, body: &Value) -> Answer {
    host.send(host.request(Method::PUT, path).body(body.to_string())).await
}

async fn infer(host: &TestHost) {
    let row = |name| tensor(name, "INT32", &[1, 16], json!(vec![1; 16]));
    host.infer("simple", &json!({"inputs": [row("INPUT0"), row("INPUT1")]})).await.expect(200);
}

async fn rollout(host: &TestHost, function: &str) -> Value {
    host.get(&format!("/api/functions/{function}")).await.expect(200)["rollouts"]["live"].clone()
}

/// What was changed and why, oldest first, from this revision on.
async fn history(host: &TestHost, function: &str, from: usize) -> Vec<Value> {
    let history = host.get(&format!("/api/functions/{function}/revisions")).await.expect(200);
    let revisions = history["revisions"].as_array().expect("a list").iter().rev().skip(from - 1);
    revisions.map(|told| json!([told["action"], told["aliases"]["live"], told["message"]])).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_that_does_well_gets_all_requests_in_the_end() {
    let host = two().await;
    let plan = json!({"version": "2", "steps": [20, 60, 100], "every": "100ms", "max_p99": 100, "min_requests": 5});
    let begun = put(&host, ROLLOUT, &plan).await.expect(200);
    assert_eq!(begun["aliases"]["live"], json!({"1": 80, "2": 20}));
    let state = &begun["rollouts"]["live"];
    assert_eq!((&state["state"], &state["step"], &state["percent"]), (&json!("running"), &json!(1), &json!(20)));
    assert_eq!(
        (&state["every"], &state["max_error_rate"], &state["from"]),
        (&json!("100ms"), &json!(0.01), &json!({"1": 100}))
    );
    eventually("all requests go to it", async || {
        infer(&host).await;
        (rollout(&host, "simple").await["state"] == "done").then_some(())
    })
    .await;
    let expected = [
        json!(["rollout", {"1": 80, "2": 20}, null]),
        json!(["rollout_step", {"1": 40, "2": 60}, null]),
        json!(["rollout_step", {"2": 100}, null]),
    ];
    assert_eq!(history(&host, "simple", 3).await, expected);
    host.delete(ROLLOUT).await.expect_error(409, "no_rollout", &["is going on"]);
    // All of it was one change.
    let back = host.post("/api/functions/simple/rollback", "").await.expect(200);
    assert_eq!((&back["aliases"], &back["rollouts"]), (&json!({"live": {"1": 100}}), &Value::Null));
}

/// Version 1 of `misbehave`, and version 2, which has less memory.
async fn misbehave() -> TestHost {
    let host = TestHost::start().await;
    for (version, mebibytes) in [("2", 16), ("1", 128)] {
        host.deployed(bundle_with(&fixture_guest("misbehave"), |project| {
            project.manifest.version = version.parse().expect("a version");
            project.manifest.limits.memory = mebibytes << 20;
        }))
        .await;
    }
    host
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_that_fails_goes_back_and_history_says_why() {
    let host = misbehave().await;
    let plan = json!({"version": "2", "steps": [50, 100], "every": "1h", "message": "less memory will do"});
    put(&host, "/api/functions/misbehave/aliases/live/rollout", &plan).await.expect(200);
    let hoard = mode("hoard", json!({"mebibytes": 32}), &[tensor("x", "INT64", &[1], json!([1]))]);
    eventually("it goes back", async || {
        host.infer("misbehave", &hoard).await;
        (rollout(&host, "misbehave").await["state"] == "back").then_some(())
    })
    .await;
    let why = rollout(&host, "misbehave").await["why"].as_str().expect("a reason").to_owned();
    assert!(why.contains("requests failed, 1% are allowed, and 0 of the others'"), "{why}");
    let expected =
        [json!(["rollout", {"1": 50, "2": 50}, "less memory will do"]), json!(["rollout_back", {"1": 100}, why])];
    assert_eq!(history(&host, "misbehave", 3).await, expected);
    host.infer("misbehave", &hoard).await.expect(200);
    // Faults of callers say nothing about a version: they are no part of what it is judged by.
    put(&host, "/api/functions/misbehave/aliases/live/rollout", &plan).await.expect(200);
    for _ in 0..30 {
        host.infer("misbehave", &mode("error-invalid", json!({}), &[tensor("x", "INT64", &[1], json!([1]))])).await;
    }
    let mut asked = 0;
    eventually("it goes back again", async || {
        host.infer("misbehave", &hoard).await;
        asked += 1;
        (rollout(&host, "misbehave").await["state"] == "back").then_some(())
    })
    .await;
    let why = rollout(&host, "misbehave").await["why"].as_str().expect("a reason").to_owned();
    let numbers: Vec<u64> = why.split_whitespace().filter_map(|word| word.parse().ok()).collect();
    assert!(numbers.iter().take(2).all(|&number| number <= asked), "{why}, of {asked}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rollout_goes_on_after_a_restart() {
    let host = two().await;
    let plan = json!({"version": "2", "steps": [50, 75, 100], "every": "200ms", "min_requests": 3});
    put(&host, ROLLOUT, &plan).await.expect(200);
    let (_, store) = host.stop().await;
    let host = TestHost::start_over(store, |_| {}).await;
    assert_eq!(rollout(&host, "simple").await["state"], "running");
    eventually("all requests go to it", async || {
        infer(&host).await;
        (rollout(&host, "simple").await["state"] == "done").then_some(())
    })
    .await;
    assert_eq!(history(&host, "simple", 3).await.len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_else_points_the_alias_ends_it() {
    let host = two().await;
    let plan = json!({"version": "2", "steps": [50, 100], "every": "1h"});
    let before = json!({"live": {"1": 100}});
    put(&host, ROLLOUT, &plan).await.expect(200);
    host.delete("/api/functions/simple/versions/2").await.expect_error(409, "version_in_use", &["alias 'live'"]);
    let ended = host.delete(&format!("{ROLLOUT}?message=enough")).await.expect(200);
    assert_eq!((&ended["aliases"], &ended["rollouts"]["live"]["why"]), (&before, &json!("enough")));
    host.delete(ROLLOUT).await.expect_error(409, "no_rollout", &["alias 'live' of function 'simple'"]);
    put(&host, ROLLOUT, &plan).await.expect(200);
    let back = host.post("/api/functions/simple/rollback", "").await.expect(200);
    assert_eq!((&back["aliases"], &back["rollouts"]), (&before, &Value::Null));
    put(&host, ROLLOUT, &plan).await.expect(200);
    let by_hand = json!({"weights": {"1": 50, "2": 50}});
    let by_hand = put(&host, "/api/functions/simple/aliases/live", &by_hand).await.expect(200);
    assert_eq!((&by_hand["changed"], &by_hand["rollouts"]), (&json!(true), &Value::Null));
    let told = history(&host, "simple", 3).await;
    let actions: Vec<&str> = told.iter().map(|told| told[0].as_str().expect("a word")).collect();
    assert_eq!(actions, ["rollout", "rollout_back", "rollout", "rollback", "rollout", "traffic"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_done_is_refused_and_changes_nothing() {
    let host = two().await;
    let (bad, wrong) = ("invalid_rollout", "invalid_request");
    let good = json!({"version": "2", "steps": [5, 100], "every": "5m"});
    for (field, value, status, code, part) in [
        ("steps", json!([]), 400, bad, "such as 5,25,100"),
        ("steps", json!([25, 5, 100]), 400, bad, "percents that rise"),
        ("steps", json!([5, 101]), 400, bad, "the last step must be 100"),
        ("steps", json!([5, 25]), 400, bad, "the last step must be 100"),
        ("steps", json!([-1, 100]), 400, wrong, "u32"),
        ("every", json!("0s"), 400, bad, "longer than 0"),
        ("every", json!("5"), 400, wrong, "not a duration"),
        ("every", json!("9999h"), 400, bad, "at most 2400h"),
        ("max_error_rate", json!(1.5), 400, bad, "0 to 1"),
        ("max_error_rate", json!(-0.1), 400, wrong, "max_error_rate: -0.1"),
        ("max_p99", json!(0.5), 400, bad, "at least 1"),
        ("max_p99", json!(1e300), 400, wrong, "max_p99"),
        ("min_requests", json!(0), 400, bad, "min_requests must be 1"),
        ("min_requests", json!(-1), 400, wrong, "u64"),
        ("version", json!("3"), 404, "not_found", "has versions 2, 1"),
        ("version", json!("1"), 400, bad, "go to version '1' already"),
        ("revision", json!(1), 409, "revision_moved", "no more at 1"),
        ("more", json!(1), 400, wrong, "unknown field"),
    ] {
        let mut body = good.clone();
        body[field] = value;
        put(&host, ROLLOUT, &body).await.expect_error(status, code, &[part]);
    }
    put(&host, ROLLOUT, &json!({})).await.expect_error(400, wrong, &["missing field"]);
    let none = put(&host, "/api/functions/simple/aliases/none/rollout", &good).await;
    none.expect_error(404, "not_found", &["has no alias 'none'; it has live"]);
    put(&host, "/api/functions/other/aliases/live/rollout", &good).await.expect_error(404, "not_found", &["'other'"]);
    assert_eq!(host.get("/api/functions/simple").await.expect(200)["revision"], 2);
    // One that cannot begin to serve gets no request.
    let host = misbehave().await;
    let bundle = bundle_with(&fixture_guest("misbehave"), |project| {
        project.manifest.version = "3".parse().expect("a version");
        // Less than an instance begins with.
        project.manifest.limits.memory = 1 << 20;
    });
    host.post("/api/functions?no_traffic=true", bundle).await.expect(201);
    let plan = json!({"version": "3", "steps": [5, 100], "every": "5m"});
    let refused = put(&host, "/api/functions/misbehave/aliases/live/rollout", &plan).await;
    refused.expect_error(502, "function_failed", &["function 'misbehave'"]);
    assert_eq!(rollout(&host, "misbehave").await, Value::Null);
}
