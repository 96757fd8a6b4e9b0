//! Functions for wasi:http 0.3: several requests in one instance at once.

use std::time::Duration;

use nocti::registry::manifest::Manifest;
use nocti_tests::{Answer, Reply, TestHost, Upstream, bundle_with, eventually, fixture_guest};
use reqwest::Method;
use tokio::task::JoinHandle;

use super::ENDLESS;

const FUNCTION: &str = "/functions/http-p3";

async fn host() -> TestHost {
    host_with(|_| {}).await
}

async fn host_with(change: impl FnOnce(&mut Manifest)) -> TestHost {
    let host = TestHost::start().await;
    host.deployed(bundle_with(&fixture_guest("http-p3"), |project| change(&mut project.manifest))).await;
    host
}

async fn call(host: &TestHost, path: &str) -> Answer {
    host.get(&format!("{FUNCTION}{path}")).await
}

/// A request on its way; its caller goes when it is aborted.
fn begun(host: &TestHost, path: &str) -> JoinHandle<Answer> {
    let request = host.request(Method::GET, &format!("{FUNCTION}{path}"));
    tokio::spawn(async { Answer::read(request.send().await.expect("the host answers")).await })
}

/// Waits until so many runs of models are going on.
async fn running(host: &TestHost, count: u64) {
    eventually("runs", async || {
        let status = host.get("/api/status").await.expect(200);
        let sessions = status["sessions"].as_array().expect("a list");
        let runs: u64 = sessions.iter().filter_map(|session| session["running"].as_u64()).sum();
        (runs == count).then_some(())
    })
    .await;
}

/// Waits until a request has been in one instance with `count` others or more.
async fn together(host: &TestHost, count: u64) {
    eventually("an instance shared", async || {
        let most: u64 = call(host, "/most").await.text().parse().expect("a number");
        (most > count).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_function_sees_the_request_and_the_manifests_environment() {
    let host = host().await;
    let request = host.request(Method::PUT, &format!("{FUNCTION}/target?a=b")).header("x-mine", "a, b");
    let text = host.send(request).await.text();
    let authority = host.url.trim_start_matches("http://");
    let line = format!("Method::Put Some(Scheme::Http) Some(\"{authority}\") Some(\"/target?a=b\")\n");
    assert!(text.starts_with(&line) && text.contains("x-mine: a, b\n"), "{text}");
    assert_eq!(call(&host, "/env").await.text(), "GREETING=from the manifest\n");
    assert_eq!(call(&host, "/nothing").await.status, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_instance_stays_for_the_next_request_and_is_replaced_when_it_is_used_up() {
    let host = host_with(|manifest| manifest.instances.reuse = 3).await;
    for count in ["1", "2", "3", "1"] {
        assert_eq!(call(&host, "/count").await.text(), count);
        host.busy("http-p3", 0).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_share_an_instance_while_it_waits() {
    let host = host().await;
    let waiting = begun(&host, "/meet?count=2");
    host.busy("http-p3", 1).await;
    together(&host, 1).await;
    assert_eq!(waiting.await.expect("it ends").text(), "met\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_manifest_says_how_many_requests_share_an_instance() {
    let host = host_with(|manifest| manifest.instances.concurrent = 1).await;
    let waiting = begun(&host, "/meet?count=2");
    host.busy("http-p3", 1).await;
    for _ in 0..50 {
        assert_eq!(call(&host, "/most").await.text(), "1");
    }
    waiting.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trap_ends_all_requests_of_its_instance_and_nothing_else() {
    let host = host().await;
    let bystander = begun(&host, "/meet?count=99");
    host.busy("http-p3", 1).await;
    together(&host, 1).await;
    eventually("a trap in the same instance", async || {
        call(&host, "/trap").await.expect_error(502, "function_failed", &["function 'http-p3'", "unreachable"]);
        bystander.is_finished().then_some(())
    })
    .await;
    let answer = bystander.await.expect("it ends");
    answer.expect_error(502, "function_failed", &["function 'http-p3'", "unreachable"]);
    assert_eq!(call(&host, "/count").await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn failures_before_the_head_are_answers_of_the_host() {
    let host = host_with(|manifest| manifest.limits.timeout = Duration::from_secs(3)).await;
    for (path, status, code, part) in [
        ("/trap", 502, "function_failed", "unreachable"),
        ("/error", 502, "bad_answer", "InternalError"),
        ("/loop", 504, "deadline_exceeded", "limits.timeout"),
        ("/meet?count=99", 504, "deadline_exceeded", "limits.timeout"),
    ] {
        call(&host, path).await.expect_error(status, code, &[part]);
        host.busy("http-p3", 0).await;
        assert_eq!(call(&host, "/count").await.status, 200, "after {path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failure_after_the_head_cuts_the_answer_off() {
    let host = host().await;
    let request = host.request(Method::GET, &format!("{FUNCTION}/trap-after-head"));
    let broken = match request.send().await {
        // The head can be cut off with the rest.
        Err(_) => true,
        Ok(response) => response.bytes().await.is_err(),
    };
    assert!(broken, "half an answer looked like a whole one");
    assert_eq!(call(&host, "/count").await.text(), "1", "a new instance");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_waits_for_any_more_ends() {
    let host = host().await;
    let gone = begun(&host, "/meet?count=99");
    host.busy("http-p3", 1).await;
    gone.abort();
    host.busy("http-p3", 0).await;
    let gone = begun(&host, "/loop");
    host.busy("http-p3", 1).await;
    gone.abort();
    host.busy("http-p3", 0).await;
    assert_eq!(call(&host, "/count").await.text(), "1", "neither is used again");
}

/// The host keeps something for each, beyond the guest's memory.
#[tokio::test(flavor = "multi_thread")]
async fn streams_that_an_instance_holds_are_bounded() {
    let host = host().await;
    assert_eq!(call(&host, "/hoard?count=1000").await.text(), "1000");
    assert_eq!(call(&host, "/hoard?count=1000").await.text(), "1000", "the first thousand were given back");
    call(&host, "/hoard?count=1000000").await.expect_error(502, "function_failed", &["handle limit"]);
    assert_eq!(call(&host, "/count").await.text(), "1", "a new instance");
}

#[tokio::test(flavor = "multi_thread")]
async fn models_run_by_name() {
    let host = host().await;
    for path in ["/compute", "/compute-concurrently"] {
        assert_eq!(call(&host, &format!("{path}?model=scalar&x=1,2.5,-8")).await.text(), "sum [-4.5]\n", "{path}");
        let unknown = call(&host, &format!("{path}?model=nothing")).await;
        assert!(unknown.status == 400 && unknown.text().contains("no model 'nothing'"), "{}", unknown.text());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_concurrent_run_suspends_its_own_request_alone() {
    let host = host().await;
    let computing = begun(&host, &format!("/compute-concurrently?model=slow&iterations={ENDLESS}"));
    running(&host, 1).await;
    together(&host, 1).await;
    // The run ends with its request.
    computing.abort();
    running(&host, 0).await;
    host.busy("http-p3", 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_do_not_come_to_an_instance_that_a_run_keeps() {
    let host = host().await;
    let computing = begun(&host, &format!("/compute?model=slow&iterations={ENDLESS}"));
    running(&host, 1).await;
    for _ in 0..20 {
        assert_eq!(call(&host, "/most").await.text(), "1", "another instance answers");
    }
    computing.abort();
    running(&host, 0).await;
    host.busy("http-p3", 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_go_out_to_where_the_manifest_allows() {
    let upstream = Upstream::start(|_| Reply::text("hello")).await;
    let other = Upstream::start(|_| Reply::text("secret")).await;
    let allowed = format!("http://{}", upstream.address).parse().expect("a destination");
    let host = host_with(|manifest| manifest.network.allow = vec![allowed]).await;
    let text = call(&host, &format!("/get?url=http://{}/", upstream.address)).await.text();
    assert_eq!(text, "status 200\nhello");
    let text = call(&host, &format!("/get?url=http://{}/", other.address)).await.text();
    assert_eq!(text, "error: ErrorCode::HttpRequestDenied");
    assert_eq!(other.seen(), [] as [&str; 0]);
}

/// HTTP allows these no body, so nobody reads what the function writes.
#[tokio::test(flavor = "multi_thread")]
async fn answers_without_a_body_do_not_cost_the_instance() {
    let host = host().await;
    for _ in 0..3 {
        let answer = host.send(host.request(Method::HEAD, &format!("{FUNCTION}/count"))).await;
        assert!(answer.status == 200 && answer.body.is_empty());
        host.busy("http-p3", 0).await;
    }
    assert_eq!(call(&host, "/count").await.text(), "4");
}
