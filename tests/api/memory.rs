//! The memory that all models may take together.

use std::sync::Arc;
use std::time::Duration;

use nocti_tests::{TestHost, bundle_with, eventually, fixture_guest};
use serde_json::{Value, json};

use super::{mode, tensor};

/// Room for one small model that has run, and not for two.
const ONE: u64 = 3 << 19;

fn scalar() -> Value {
    json!({"inputs": [tensor("x", "FP32", &[2], json!([1, 2]))]})
}

fn float() -> Value {
    json!({"inputs": [tensor("input", "FP32", &[1, 1], json!([1]))]})
}

async fn evictions(host: &TestHost) -> u64 {
    let text = host.get("/metrics").await.text();
    let line = text.lines().find_map(|line| line.strip_prefix("nocti_evictions_total "));
    line.expect("it is always shown").parse().expect("a number")
}

#[tokio::test(flavor = "multi_thread")]
async fn the_model_that_was_used_least_lately_makes_room() {
    let host = TestHost::start_with(|config| config.memory.models = Some(ONE)).await;
    host.deploy_model("first", "scalar.onnx").await.expect(201);
    host.deploy_model("second", "identity_float.onnx").await.expect(201);
    for _ in 0..3 {
        for (function, other, request) in [("first", "second", scalar()), ("second", "first", float())] {
            host.infer(function, &request).await.expect(200);
            host.infer(function, &request).await.expect(200);
            let what = format!("{other} is unloaded");
            eventually(&what, async || (host.status(other).await["state"] == "stored").then_some(())).await;
            assert_eq!(host.status(function).await["state"], "loaded");
        }
    }
    assert!(evictions(&host).await >= 5);
    let settled = async || {
        let memory = host.get("/api/status").await.expect(200)["memory"].clone();
        (memory["budgets"][0]["used_bytes"] == memory["session_bytes"]).then_some(memory)
    };
    let memory = eventually("the memory is given back", settled).await;
    assert_eq!(memory["budgets"][0]["limit_bytes"], ONE);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_that_runs_is_not_unloaded_and_others_wait_for_it() {
    let host = Arc::new(TestHost::start_with(|config| config.memory.models = Some(ONE)).await);
    host.deploy_model("slow", "slow.onnx").await.expect(201);
    host.deploy_model("float", "identity_float.onnx").await.expect(201);
    // It has to have run, or both would fit.
    let iterations = |count: i64| json!({"inputs": [tensor("iterations", "INT64", &[1], json!([count]))]});
    host.infer("slow", &iterations(1)).await.expect(200);
    let endless = {
        let host = Arc::clone(&host);
        tokio::spawn(async move { host.infer("slow", &iterations(1 << 62)).await.status })
    };
    let running = async || {
        let sessions = host.get("/api/status").await.expect(200)["sessions"].clone();
        (sessions[0]["running"] == 1).then_some(())
    };
    eventually("it runs", running).await;
    let waiting = {
        let host = Arc::clone(&host);
        tokio::spawn(async move { host.infer("float", &float()).await.status })
    };
    let woken = async || (host.status("float").await["state"] != "stored").then_some(());
    eventually("the other is being woken", woken).await;
    assert_eq!(host.status("slow").await["state"], "loaded");
    // Its caller goes, which ends the run.
    endless.abort();
    assert_eq!(waiting.await.expect("it does not panic"), 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_larger_than_all_memory_for_models_is_refused_with_the_numbers() {
    let host = TestHost::start_with(|config| config.memory.models = Some(1000)).await;
    let answer = host.deploy_model("large", "scalar.onnx").await;
    answer.expect_error(413, "model_too_large", &["model 'large'", "more than the 1000", "memory.models"]);
    host.get("/api/functions/large").await.expect_error(404, "not_found", &[]);
    // What it needs was measured: it has at least all that its file says, and is no guess at its weights.
    let text = answer.text();
    let needed = text.split_once("needs ").and_then(|(_, rest)| rest.split_once(" bytes")).map(|(needed, _)| needed);
    let needed: u64 = needed.and_then(|needed| needed.parse().ok()).unwrap_or_else(|| panic!("{text}"));
    assert!((1001..2 << 20).contains(&needed), "{needed}");
}

#[tokio::test(flavor = "multi_thread")]
async fn versions_of_several_models_take_turns_where_there_is_room_for_one() {
    // Two models that have run, and no third.
    let host = Arc::new(TestHost::start_with(|config| config.memory.models = Some(5 << 19)).await);
    let pairs = [("left", ["scalar", "nan"]), ("right", ["identity_float", "identity_int64"])];
    for (function, names) in pairs {
        host.deployed(bundle_with(&fixture_guest("free"), |project| {
            project.manifest.name = function.parse().expect("a name");
            project.models.retain(|model| names.contains(&model.name.as_str()));
        }))
        .await;
    }
    let mut asking = tokio::task::JoinSet::new();
    for client in 0..4 {
        let host = Arc::clone(&host);
        asking.spawn(async move {
            let (function, model, input) = match client % 2 {
                0 => ("left", "scalar", tensor("x", "FP32", &[2], json!([1, 2]))),
                _ => ("right", "identity_float", tensor("input", "FP32", &[1, 1], json!([1]))),
            };
            for _ in 0..10 {
                host.infer(function, &mode("nn", json!({"model": model}), std::slice::from_ref(&input)))
                    .await
                    .expect(200);
            }
        });
    }
    asking.join_all().await;
    let budget = host.get("/api/status").await.expect(200)["memory"]["budgets"][0].clone();
    assert!(budget["used_bytes"].as_u64() <= budget["limit_bytes"].as_u64(), "{budget}");
}

#[tokio::test(flavor = "multi_thread")]
async fn models_that_fit_one_by_one_but_not_together_are_refused_with_the_numbers() {
    let host = TestHost::start_with(|config| config.memory.models = Some(ONE)).await;
    let with = |models: &[&str]| {
        bundle_with(&fixture_guest("free"), |project| {
            project.models.retain(|model| models.contains(&model.name.as_str()));
        })
    };
    let answer = host.post("/api/functions", with(&["scalar", "nan"])).await;
    let limit = format!("more than the {ONE}");
    answer.expect_error(413, "model_too_large", &["with the other models of its version", &limit]);
    host.deployed(with(&["scalar"])).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_that_race_with_unloading_are_all_answered() {
    let host = Arc::new(
        TestHost::start_with(|config| {
            config.memory.models = Some(ONE);
            config.idle.model = Duration::from_millis(1);
        })
        .await,
    );
    host.deploy_model("first", "scalar.onnx").await.expect(201);
    host.deploy_model("second", "identity_float.onnx").await.expect(201);
    let mut asking = tokio::task::JoinSet::new();
    for client in 0..8 {
        let host = Arc::clone(&host);
        asking.spawn(async move {
            for _ in 0..50 {
                let (function, request) = if client % 2 == 0 { ("first", scalar()) } else { ("second", float()) };
                host.infer(function, &request).await.expect(200);
            }
        });
    }
    asking.join_all().await;
    assert_eq!(host.status("first").await["requests"], 200);
}
