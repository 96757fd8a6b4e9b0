//! Instances that are there before they are needed, and gone when they are not.

use std::time::Duration;

use nocti_tests::{TestHost, bundle_with, eventually, fixture_guest};
use reqwest::Method;
use serde_json::json;
use tokio::task::JoinSet;

use super::{mode, tensor};

fn misbehave(version: &str, change: impl FnOnce(&mut nocti::registry::manifest::Instances)) -> Vec<u8> {
    bundle_with(&fixture_guest("misbehave"), |project| {
        project.manifest.version = version.parse().expect("a version");
        change(&mut project.manifest.instances);
    })
}

async fn idle(host: &TestHost, count: u64) {
    let what = format!("{count} idle instances");
    let look = async || (host.status("misbehave").await["instances"]["idle"] == count).then_some(());
    eventually(&what, look).await;
}

/// So many requests inside at once.
async fn spike(host: &TestHost, count: usize) {
    let mut callers = JoinSet::new();
    for _ in 0..count {
        let body = mode("sleep", json!({"ms": 200}), &[tensor("x", "INT64", &[1], json!([1]))]).to_string();
        callers.spawn(host.request(Method::POST, "/v2/models/misbehave/infer").body(body).send());
    }
    while let Some(answer) = callers.join_next().await {
        assert_eq!(answer.expect("no panic").expect("an answer").status(), 200);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn instances_that_are_always_there_need_no_request() {
    let host = TestHost::start_with(|config| config.idle.model = Duration::from_millis(50)).await;
    host.deployed(misbehave("1", |instances| instances.min_warm = 2)).await;
    idle(&host, 2).await;
    let status = host.status("misbehave").await;
    assert_eq!((&status["requests"], &status["last_cold_start"]["cause"]), (&json!(0), &json!("min_warm")));

    let (_, store) = host.stop().await;
    let host = TestHost::start_over(store, |config| config.idle.model = Duration::from_millis(50)).await;
    idle(&host, 2).await;
    // One that traps is replaced.
    let trap = mode("trap", json!({}), &[]);
    host.infer("misbehave", &trap).await.expect_error(502, "function_failed", &[]);
    idle(&host, 2).await;
    assert_eq!(host.status("misbehave").await["cold_starts"], 1);

    // Without traffic it is an idle version like others.
    host.deployed(misbehave("2", |_| {})).await;
    let resting = async || {
        let status = host.get("/api/status").await.expect(200);
        let old = status["functions"].as_array().expect("a list").iter().find(|it| it["version"] == "1").cloned();
        (old.expect("it is deployed")["state"] == "component").then_some(())
    };
    eventually("the old version rests", resting).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_spike_left_goes_before_its_time() {
    let host = TestHost::start().await;
    host.deployed(misbehave("1", |instances| instances.idle_timeout = Duration::from_secs(3600))).await;
    spike(&host, 8).await;
    assert!(host.status("misbehave").await["instances"]["idle"].as_u64() >= Some(8));
    // An hour has not passed, but two windows of five seconds, in which one at a time was enough.
    idle(&host, 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn where_the_process_has_room_for_no_more_instances_idle_ones_make_room() {
    let host = TestHost::start().await;
    host.deployed(bundle_with(&fixture_guest("misbehave-http"), |project| {
        project.manifest.instances.min_warm = 1990;
        project.manifest.instances.max_warm = 1990;
    }))
    .await;
    let full = async || {
        let idle = host.status("misbehave-http").await["instances"]["idle"].clone();
        (idle == 1990).then_some(())
    };
    eventually("nearly all are taken", full).await;
    host.deployed(misbehave("1", |_| {})).await;
    spike(&host, 30).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_request_has_an_instance_of_its_own_where_the_manifest_says_so() {
    let host = TestHost::start().await;
    host.deployed(misbehave("1", |instances| instances.reuse = 1)).await;
    for _ in 0..20 {
        let answer = host.infer("misbehave", &mode("count", json!({}), &[])).await.expect(200);
        assert_eq!(answer["outputs"][0]["data"], json!([1]), "a new instance counts from one");
    }
    let mut callers = JoinSet::new();
    for _ in 0..64 {
        let body = mode("count", json!({}), &[]).to_string();
        let request = host.request(Method::POST, "/v2/models/misbehave/infer").body(body);
        callers.spawn(async move { request.send().await.expect("an answer").json::<serde_json::Value>().await });
    }
    while let Some(answer) = callers.join_next().await {
        let answer = answer.expect("no panic").expect("JSON");
        assert_eq!(answer["outputs"][0]["data"], json!([1]), "none serves twice");
    }
    // The next one finds an instance that is there already.
    eventually("one is made ahead", async || {
        let instances = host.status("misbehave").await["instances"].clone();
        (instances["idle"].as_u64() >= Some(1) && instances["busy"] == 0).then_some(())
    })
    .await;
}
