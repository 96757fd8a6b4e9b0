//! Work that nobody waits for any more ends: past the deadline, or when the caller has gone.

use std::time::Duration;

use nocti::registry::nocti_toml::Project;
use nocti_tests::{TestHost, bundle_with, fixture_guest, fixture_model, write};
use serde_json::json;

use super::{ENDLESS, begun, iterations, mode, session, until};

/// Time for a request: long enough for a busy machine, short enough to wait for.
const TIMEOUT: Duration = Duration::from_secs(2);

/// Long enough for whatever a test waits for.
const PATIENT: Duration = Duration::from_secs(600);

fn slow(function: &str, timeout: Duration) -> Vec<u8> {
    let (name, version) = (function.parse().expect("a name"), "1".parse().expect("a version"));
    let mut project = Project::for_model(&fixture_model("slow.onnx"), name, version);
    project.manifest.limits.timeout = timeout;
    write(&project)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_past_its_deadline_is_stopped_and_the_session_serves_at_once() {
    let host = TestHost::start().await;
    host.deployed(slow("slow", TIMEOUT)).await;
    host.infer("slow", &iterations(ENDLESS)).await.expect_error(504, "deadline_exceeded", &["deadline"]);
    // Had the run gone on, this one would wait behind it until its own deadline.
    let answer = host.infer("slow", &iterations(1)).await.expect(200);
    assert_eq!(answer["outputs"][0]["data"], json!([64.0]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_waiting_for_the_session_leaves_the_queue_at_its_deadline() {
    let host = TestHost::start().await;
    host.deployed(slow("busy", PATIENT)).await;
    // Long enough to be seen in the queue.
    host.deployed(slow("late", 3 * TIMEOUT)).await;
    let busy = begun(&host, "busy", &iterations(ENDLESS));
    until(&host, "running", 1).await;
    let request = iterations(1);
    let (late, ()) = tokio::join!(host.infer("late", &request), until(&host, "queued", 1));
    late.expect_error(504, "deadline_exceeded", &[]);
    let session = session(&host).await;
    assert_eq!((&session["running"], &session["queued"]), (&json!(1), &json!(0)), "{session}");
    busy.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_run_ends_when_its_caller_goes() {
    let host = TestHost::start().await;
    host.deployed(slow("slow", PATIENT)).await;
    let caller = begun(&host, "slow", &iterations(ENDLESS));
    until(&host, "running", 1).await;
    caller.abort();
    until(&host, "running", 0).await;
    host.infer("slow", &iterations(1)).await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guest_ends_when_its_caller_goes() {
    let host = TestHost::start().await;
    host.deployed(bundle_with(&fixture_guest("misbehave"), |project| {
        project.manifest.limits.timeout = PATIENT;
    }))
    .await;
    for behaviour in ["loop", "sleep"] {
        let body = mode(behaviour, json!({"ms": 600_000}), &[]).to_string();
        let request = host.request(reqwest::Method::POST, "/v2/models/misbehave/infer").body(body);
        let caller = tokio::spawn(request.send());
        host.busy("misbehave", 1).await;
        caller.abort();
        host.busy("misbehave", 0).await;
    }
    let answer = host.infer("misbehave", &mode("count", json!({}), &[])).await.expect(200);
    assert_eq!(answer["outputs"][0]["data"], json!([1]), "an instance that was interrupted is not used again");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_http_function_ends_when_its_caller_goes() {
    let host = TestHost::start().await;
    host.deployed(bundle_with(&fixture_guest("misbehave-http"), |project| {
        project.manifest.limits.timeout = PATIENT;
    }))
    .await;
    for path in ["/loop", "/sleep?ms=600000", "/slow-body?count=1000000&ms=5", "/big?mib=100000"] {
        let request = host.request(reqwest::Method::GET, &format!("/functions/misbehave-http{path}"));
        let caller = tokio::spawn(async move { request.send().await.expect("a head").bytes().await });
        host.busy("misbehave-http", 1).await;
        caller.abort();
        host.busy("misbehave-http", 0).await;
    }
}

/// The guest sees nothing of it, since it never writes again.
#[tokio::test(flavor = "multi_thread")]
async fn an_http_function_that_loops_after_its_head_ends_when_its_caller_goes() {
    let host = TestHost::start().await;
    host.deployed(bundle_with(&fixture_guest("misbehave-http"), |project| {
        project.manifest.limits.timeout = PATIENT;
    }))
    .await;
    let request = host.request(reqwest::Method::GET, "/functions/misbehave-http/loop-after-headers");
    let response = request.send().await.expect("the head comes");
    assert_eq!(response.status(), 200);
    host.busy("misbehave-http", 1).await;
    drop(response);
    host.busy("misbehave-http", 0).await;
}
