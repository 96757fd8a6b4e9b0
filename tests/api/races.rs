//! Changes while others change the same, and while requests come.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use nocti::lifecycle::Idle;
use nocti_tests::{Answer, TestHost, fixture_model, model_bundle};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::tensor;

fn request() -> Value {
    json!({"inputs": [tensor("x", "FP32", &[2], json!([1, 2]))]})
}

fn scalar(version: &str) -> Vec<u8> {
    model_bundle("scalar", version, &fixture_model("scalar.onnx"))
}

/// Deploys all of them at once; the statuses, sorted.
async fn at_once(host: &TestHost, bundles: Vec<Vec<u8>>) -> Vec<u16> {
    let mut deploys = JoinSet::new();
    for bundle in bundles {
        let request = host.request(Method::POST, "/api/functions").body(bundle);
        deploys.spawn(async move { Answer::read(request.send().await.expect("an answer")).await.status });
    }
    let mut statuses = deploys.join_all().await;
    statuses.sort_unstable();
    statuses
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_deploys_of_one_version_with_the_same_content_one_makes_it() {
    let host = TestHost::start().await;
    let statuses = at_once(&host, vec![scalar("1"); 8]).await;
    assert_eq!(statuses, [200, 200, 200, 200, 200, 200, 200, 201]);
    assert_eq!(host.get("/api/functions/scalar").await.expect(200)["revision"], 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_deploys_of_one_version_with_different_content_one_wins() {
    let host = TestHost::start().await;
    let models = ["scalar", "nan", "addsub", "tokens_i64", "optional_input"];
    let bundles = models.map(|model| model_bundle("scalar", "1", &fixture_model(&format!("{model}.onnx"))));
    assert_eq!(at_once(&host, bundles.to_vec()).await, [201, 409, 409, 409, 409]);
    let shown = host.get("/api/functions/scalar").await.expect(200);
    assert_eq!((&shown["revision"], shown["versions"].as_array().map(Vec::len)), (&json!(1), Some(1)));
    let (_, store) = host.stop().await;
    let host = TestHost::start_over(store, |_| {}).await;
    assert_eq!(host.get("/api/functions/scalar").await.expect(200), shown, "the store says the same");
}

#[tokio::test(flavor = "multi_thread")]
async fn versions_deployed_at_once_are_all_there() {
    let host = TestHost::start().await;
    let bundles = (0..12).map(|version| scalar(&format!("v{version}"))).collect();
    assert_eq!(at_once(&host, bundles).await, [201; 12]);
    let shown = host.get("/api/functions/scalar").await.expect(200);
    assert_eq!((&shown["revision"], shown["versions"].as_array().map(Vec::len)), (&json!(12), Some(12)));
    for version in 0..12 {
        host.post(&format!("/v2/models/scalar/versions/v{version}/infer"), request().to_string()).await.expect(200);
    }
}

/// Sends requests until told to stop; the statuses that came, each once.
async fn requests(url: String, client: reqwest::Client, enough: Arc<AtomicBool>) -> Vec<u16> {
    let mut seen = Vec::new();
    while !enough.load(Ordering::Relaxed) {
        let request = client.post(format!("{url}/v2/models/scalar/infer")).body(request().to_string());
        let status = request.send().await.expect("an answer").status().as_u16();
        if !seen.contains(&status) {
            seen.push(status);
        }
    }
    seen
}

/// A host in which a version is in memory no longer than somebody asks for it: most requests wake it.
async fn restless() -> TestHost {
    let soon = Duration::from_millis(1);
    TestHost::start_with(|config| config.idle = Idle { model: soon, component: soon }).await
}

#[tokio::test(flavor = "multi_thread")]
async fn no_request_fails_while_versions_come_and_go() {
    no_request_fails(TestHost::start().await).await;
    no_request_fails(restless().await).await;
}

async fn no_request_fails(host: TestHost) {
    host.deployed(scalar("first")).await;
    let enough = Arc::new(AtomicBool::new(false));
    let mut callers = JoinSet::new();
    for _ in 0..4 {
        let client = reqwest::Client::builder().no_proxy().build().expect("a client needs nothing");
        callers.spawn(requests(host.url.clone(), client, Arc::clone(&enough)));
    }
    let mut before = "first".to_owned();
    for round in 0..10 {
        let version = format!("v{round}");
        host.deployed(scalar(&version)).await;
        host.delete(&format!("/api/functions/scalar/versions/{before}")).await.expect(200);
        before = version;
    }
    enough.store(true, Ordering::Relaxed);
    for seen in callers.join_all().await {
        assert_eq!(seen, [200]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn while_a_function_is_deleted_and_deployed_again_requests_find_it_or_do_not() {
    requests_find_it_or_do_not(TestHost::start().await).await;
    requests_find_it_or_do_not(restless().await).await;
}

async fn requests_find_it_or_do_not(host: TestHost) {
    host.deployed(scalar("1")).await;
    let enough = Arc::new(AtomicBool::new(false));
    let mut callers = JoinSet::new();
    for _ in 0..4 {
        let client = reqwest::Client::builder().no_proxy().build().expect("a client needs nothing");
        callers.spawn(requests(host.url.clone(), client, Arc::clone(&enough)));
    }
    for _ in 0..10 {
        host.delete("/api/functions/scalar").await.expect(200);
        host.deployed(scalar("1")).await;
    }
    enough.store(true, Ordering::Relaxed);
    for seen in callers.join_all().await {
        assert!(seen.iter().all(|status| [200, 404].contains(status)), "{seen:?}");
    }
    host.infer("scalar", &request()).await.expect(200);
}
