//! Bounds on how much happens at once, and what those who are turned away are told.

use nocti_tests::{TestHost, bundle_with, eventually, fixture_guest};
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
    let room = async || (host.infer("scalar", &request).await.status == 200).then_some(());
    eventually("room for a request", room).await;
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
async fn a_request_that_finds_its_function_and_the_queue_full_is_told_to_try_again() {
    // Of four requests one may wait for a function.
    let host = TestHost::start_with(|config| config.held_requests = 4).await;
    host.deployed(bundle_with(&fixture_guest("misbehave"), |project| project.manifest.limits.concurrency = 1)).await;
    let body = mode("sleep", json!({"ms": 600_000}), &[]).to_string();
    let mut callers = JoinSet::new();
    let mut call = || callers.spawn(host.request(Method::POST, "/v2/models/misbehave/infer").body(body.clone()).send());
    call();
    host.busy("misbehave", 1).await;
    call();
    call();
    // Whichever of the two came second.
    let answer = callers.join_next().await.expect("three were sent").expect("no panic").expect("an answer");
    let answer = nocti_tests::Answer::read(answer).await;
    answer.expect_error(429, "too_many_requests", &["limits.concurrency", "try again"]);
    assert_eq!(answer.headers["retry-after"], "1");
}

/// Bodies take memory: nobody may fill it who is not let in.
#[tokio::test(flavor = "multi_thread")]
async fn a_full_host_takes_no_bodies() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let host = TestHost::start_with(|config| config.held_requests = 1).await;
    host.deploy(&fixture_guest("misbehave")).await.expect(201);
    let body = mode("sleep", json!({"ms": 600_000}), &[]).to_string();
    let holder = tokio::spawn(host.request(Method::POST, "/v2/models/misbehave/infer").body(body).send());
    host.busy("misbehave", 1).await;
    let mut stream = tokio::net::TcpStream::connect(host.url.trim_start_matches("http://")).await.expect("it listens");
    let head = "POST /v2/models/misbehave/infer HTTP/1.1\r\nhost: x\r\ncontent-length: 1000000\r\nexpect: 100-continue\r\n\r\n";
    stream.write_all(head.as_bytes()).await.expect("it reads");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("it answers");
    assert!(answer.starts_with("HTTP/1.1 503"), "{answer}");
    holder.abort();
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
