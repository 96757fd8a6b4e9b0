//! Bounds on how much happens at once, and what those who are turned away are told.

use std::time::Duration;

use nocti_tests::{TestHost, bundle_with, fixture_guest};
use reqwest::Method;
use serde_json::json;
use tokio::task::JoinSet;

use super::{mode, tensor};

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_holds_all_it_may_turns_further_requests_away() {
    let host = TestHost::start_with(|config| config.held_requests = 1).await;
    host.deploy(&fixture_guest("misbehave")).await.expect(201);
    host.deploy_model("scalar", "scalar.onnx").await.expect(201);
    let body = mode("sleep", json!({"ms": 600_000}), &[]).to_string();
    let holder = tokio::spawn(host.request(Method::POST, "/v2/models/misbehave/infer").body(body).send());
    host.busy("misbehave", 1).await;
    let request = json!({"inputs": [tensor("x", "FP32", &[1], json!([1]))]});
    let answer = host.infer("scalar", &request).await;
    answer.expect_error(503, "overloaded", &["limits.held_requests", "try again"]);
    assert_eq!(answer.headers["retry-after"], "1");
    // What manages the host is not turned away.
    host.get("/api/status").await.expect(200);
    host.get("/v2/health/ready").await.expect(200);
    holder.abort();
    host.busy("misbehave", 0).await;
    host.infer("scalar", &request).await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_functions_requests_wait_for_each_other() {
    let host = TestHost::start().await;
    host.deployed(bundle_with(&fixture_guest("misbehave"), |project| project.manifest.limits.concurrency = 1)).await;
    let mut callers = JoinSet::new();
    for n in 0..8 {
        let x = tensor("x", "INT64", &[1], json!([n]));
        let body = mode("sleep", json!({"ms": 20}), &[x]).to_string();
        callers.spawn(host.request(Method::POST, "/v2/models/misbehave/infer").body(body).send());
    }
    while let Some(answer) = callers.join_next().await {
        assert_eq!(answer.expect("no panic").expect("an answer").status(), 200);
    }
    let status = host.status("misbehave").await;
    assert_eq!(status["instances"], json!({"idle": 1, "busy": 0}), "one instance served them all");
    assert_eq!(status["requests"], 8);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_waits_for_its_function_in_vain_is_told_to_try_again() {
    let host = TestHost::start().await;
    host.deployed(bundle_with(&fixture_guest("misbehave"), |project| {
        project.manifest.limits.concurrency = 1;
        project.manifest.limits.timeout = Duration::from_millis(300);
    }))
    .await;
    // Whether a waiting request's time is over before or just after the one inside has left is chance, so there are many.
    for _ in 0..20 {
        let mut callers = JoinSet::new();
        for _ in 0..16 {
            let body = mode("loop", json!({}), &[]).to_string();
            callers.spawn(host.request(Method::POST, "/v2/models/misbehave/infer").body(body).send());
        }
        let mut turned_away = 0;
        while let Some(answer) = callers.join_next().await {
            let answer = nocti_tests::Answer::read(answer.expect("no panic").expect("an answer")).await;
            if answer.status == 504 {
                answer.expect_error(504, "deadline_exceeded", &[]);
            } else {
                answer.expect_error(429, "too_many_requests", &["limits.concurrency", "try again"]);
                assert_eq!(answer.headers["retry-after"], "1");
                turned_away += 1;
            }
        }
        if turned_away > 0 {
            return;
        }
    }
    panic!("nobody was told that the function is full");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_function_leaves_the_others_alone() {
    let host = TestHost::start().await;
    host.deployed(bundle_with(&fixture_guest("misbehave"), |project| project.manifest.limits.concurrency = 1)).await;
    host.deploy_model("scalar", "scalar.onnx").await.expect(201);
    let body = mode("sleep", json!({"ms": 600_000}), &[]).to_string();
    let holder = tokio::spawn(host.request(Method::POST, "/v2/models/misbehave/infer").body(body).send());
    host.busy("misbehave", 1).await;
    host.infer("scalar", &json!({"inputs": [tensor("x", "FP32", &[1], json!([1]))]})).await.expect(200);
    holder.abort();
}
