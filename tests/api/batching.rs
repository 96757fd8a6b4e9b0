//! Requests of one model share its runs: who joins, who does not, and that nobody notices but by the time it takes.

use std::time::Duration;

use nocti::registry::nocti_toml::Project;
use nocti_tests::{Answer, TestHost, eventually, fixture_model, write};
use serde_json::{Value, json};

use super::{ENDLESS, tensor};

/// Long enough for whatever a test waits for.
const PATIENT: Duration = Duration::from_secs(600);

fn function(name: &str, model: &str, change: impl FnOnce(&mut Project)) -> Vec<u8> {
    let (name, version) = (name.parse().expect("a name"), "1".parse().expect("a version"));
    let mut project = Project::for_model(&fixture_model(model), name, version);
    project.manifest.limits.timeout = PATIENT;
    project.manifest.limits.concurrency = 2000;
    change(&mut project);
    write(&project)
}

async fn host_with(bundle: Vec<u8>) -> TestHost {
    let host = TestHost::start().await;
    host.deployed(bundle).await;
    host
}

/// One row for `rows.onnx`.
fn row(x: [i64; 3], scale: i64, work: u64) -> Value {
    json!({"inputs": [
        tensor("x", "FP32", &[1, 3], json!(x)),
        tensor("scale", "INT64", &[1], json!([scale])),
        tensor("work", "INT64", &[1], json!([work])),
    ]})
}

fn answered(answer: &Answer) -> Value {
    answer.expect(200)["outputs"][0]["data"].clone()
}

/// The host's only session; null before it is loaded.
async fn session(host: &TestHost) -> Value {
    let status = host.get("/api/status").await.expect(200);
    assert!(status["sessions"].as_array().is_some_and(|sessions| sessions.len() <= 1), "{status}");
    status["sessions"][0].clone()
}

async fn until(host: &TestHost, what: &str, count: usize) {
    eventually(what, async || (session(host).await[what] == count).then_some(())).await;
}

/// Keeps the model's session busy until `request`s are queued, then lets it go.
async fn queued<const N: usize>(host: &TestHost, function: &str, requests: [(&str, Value); N]) -> [Answer; N] {
    let endless = row([0, 0, 0], 0, ENDLESS).to_string();
    let path = format!("/v2/models/{function}/infer");
    let caller = tokio::spawn(host.request(reqwest::Method::POST, &path).body(endless).send());
    until(host, "running", 1).await;
    let asked = requests.each_ref().map(|(function, request)| host.infer(function, request));
    let answers = futures::future::join_all(asked);
    let release = async {
        until(host, "queued", N).await;
        caller.abort();
    };
    let (answers, ()) = tokio::join!(answers, release);
    answers.try_into().unwrap_or_else(|_| panic!("an answer each"))
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_that_wait_together_share_a_run() {
    let host = host_with(function("rows", "rows.onnx", |_| {})).await;
    let first = [("rows", row([1, 2, 3], 2, 0)), ("rows", row([4, 5, 6], 3, 1))];
    let [two, three] = queued(&host, "rows", first).await;
    assert_eq!((answered(&two), answered(&three)), (json!([2.0, 4.0, 6.0]), json!([12.0, 15.0, 18.0])));
    let before = session(&host).await;
    assert_eq!(before["batching"], "on", "{before}");

    let requests: [_; 8] = std::array::from_fn(|at| ("rows", row([1, 2, i64::try_from(at).expect("small")], 2, 0)));
    let answers = queued(&host, "rows", requests).await;
    for (at, answer) in answers.iter().enumerate() {
        assert_eq!(answered(answer), json!([2.0, 4.0, 2.0 * at as f64]));
    }
    let after = session(&host).await;
    // The run that kept the session busy, and one for all the others.
    assert_eq!(after["runs"].as_u64(), before["runs"].as_u64().map(|runs| runs + 2), "{after}");
    assert_eq!(after["requests"].as_u64(), before["requests"].as_u64().map(|requests| requests + 9), "{after}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_takes_no_more_rows_than_the_function_allows() {
    let host = host_with(function("rows", "rows.onnx", |project| project.models[0].options.max_batch = 2)).await;
    queued(&host, "rows", [("rows", row([1, 2, 3], 1, 0)), ("rows", row([3, 2, 1], 1, 0))]).await;
    let before = session(&host).await;
    queued(&host, "rows", std::array::from_fn::<_, 6, _>(|_| ("rows", row([1, 2, 3], 1, 0)))).await;
    let after = session(&host).await;
    assert_eq!(after["runs"].as_u64(), before["runs"].as_u64().map(|runs| runs + 4), "{after}");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_allows_no_company_gets_none() {
    let host = host_with(function("rows", "rows.onnx", |project| project.models[0].options.max_batch = 1)).await;
    queued(&host, "rows", std::array::from_fn::<_, 4, _>(|_| ("rows", row([1, 2, 3], 1, 0)))).await;
    let after = session(&host).await;
    assert_eq!((&after["runs"], &after["requests"], &after["batching"]), (&json!(5), &json!(5), &json!("untried")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_whose_rows_interact_answers_each_request_by_itself() {
    let host = host_with(function("rows", "rows_interact.onnx", |_| {})).await;
    for _ in 0..2 {
        let requests = [("rows", row([1, 2, 3], 2, 0)), ("rows", row([4, 5, 6], 3, 1)), ("rows", row([7, 8, 9], 1, 0))];
        for answer in queued(&host, "rows", requests).await {
            assert_eq!(answered(&answer), json!([0.0, 0.0, 0.0]), "a row less the mean of all rows, which is itself");
        }
        assert_eq!(session(&host).await["batching"], "rows_interact");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn equal_requests_do_not_hide_that_rows_interact() {
    let host = host_with(function("rows", "rows_interact.onnx", |_| {})).await;
    for answer in queued(&host, "rows", std::array::from_fn::<_, 3, _>(|_| ("rows", row([1, 2, 3], 2, 0)))).await {
        assert_eq!(answered(&answer), json!([0.0, 0.0, 0.0]));
    }
    assert_eq!(session(&host).await["batching"], "rows_interact");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_job_does_not_fail_its_neighbours() {
    let host = host_with(function("rows", "rows.onnx", |_| {})).await;
    queued(&host, "rows", [("rows", row([1, 2, 3], 1, 0)), ("rows", row([3, 2, 1], 1, 0))]).await;
    assert_eq!(session(&host).await["batching"], "on");
    let requests = [("rows", row([1, 1, 1], 2, 0)), ("rows", row([1, 1, 1], 10, 0)), ("rows", row([1, 1, 1], 4, 0))];
    let [good, bad, also_good] = queued(&host, "rows", requests).await;
    assert_eq!((answered(&good), answered(&also_good)), (json!([2.0, 2.0, 2.0]), json!([4.0, 4.0, 4.0])));
    bad.expect_error(400, "invalid_request", &["model 'rows' refuses its inputs", "out of"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_leaves_a_shared_run_does_not_end_it_for_the_others() {
    let host = host_with(function("rows", "rows.onnx", |_| {})).await;
    queued(&host, "rows", [("rows", row([1, 2, 3], 1, 0)), ("rows", row([3, 2, 1], 1, 0))]).await;
    // Both in one run, which ends when the one with the work is done, some seconds later: by then the other has gone.
    let busy =
        host.request(reqwest::Method::POST, "/v2/models/rows/infer").body(row([0, 0, 0], 0, ENDLESS).to_string());
    let busy = tokio::spawn(busy.send());
    until(&host, "running", 1).await;
    let leaving = host.request(reqwest::Method::POST, "/v2/models/rows/infer").body(row([1, 1, 1], 1, 0).to_string());
    let leaving = tokio::spawn(leaving.send());
    let staying = async {
        let request = row([1, 1, 1], 7, 300_000);
        host.infer("rows", &request).await
    };
    let release = async {
        until(&host, "queued", 2).await;
        busy.abort();
        until(&host, "running", 2).await;
        leaving.abort();
        until(&host, "running", 1).await;
    };
    let (staying, ()) = tokio::join!(staying, release);
    assert_eq!(answered(&staying), json!([7.0, 7.0, 7.0]));
}

#[tokio::test(flavor = "multi_thread")]
async fn functions_that_share_a_model_share_its_runs_and_keep_their_limits() {
    let host = host_with(function("one", "rows.onnx", |_| {})).await;
    host.deployed(function("other", "rows.onnx", |project| project.models[0].options.max_batch = 1)).await;
    host.infer("other", &row([1, 2, 3], 1, 0)).await.expect(200);
    let requests = [("one", row([1, 2, 3], 2, 0)), ("other", row([4, 5, 6], 3, 1)), ("one", row([7, 8, 9], 1, 0))];
    let [one, other, again] = queued(&host, "one", requests).await;
    assert_eq!(answered(&one), json!([2.0, 4.0, 6.0]));
    assert_eq!(answered(&other), json!([12.0, 15.0, 18.0]));
    assert_eq!(answered(&again), json!([7.0, 8.0, 9.0]));
    assert_eq!(session(&host).await["refs"], 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_function_may_wait_for_company() {
    let delayed = function("rows", "rows.onnx", |project| {
        project.models[0].options.max_batch = 2;
        project.models[0].options.max_delay = Duration::from_secs(1);
    });
    let host = host_with(delayed).await;
    let alone = host.infer("rows", &row([1, 2, 3], 2, 0)).await;
    assert_eq!(answered(&alone), json!([2.0, 4.0, 6.0]), "nobody came, and it ran all the same");
    // Nothing is busy: they wait for each other, if both come within the delay.
    eventually("they meet", async || {
        let (one, two) = (row([1, 2, 3], 2, 0), row([4, 5, 6], 3, 0));
        let (one, two) = tokio::join!(host.infer("rows", &one), host.infer("rows", &two));
        assert_eq!((answered(&one), answered(&two)), (json!([2.0, 4.0, 6.0]), json!([12.0, 15.0, 18.0])));
        (session(&host).await["batching"] == "on").then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_with_a_fixed_first_dimension_is_never_batched() {
    let host = TestHost::start().await;
    host.deploy_model("slow", "slow.onnx").await.expect(201);
    host.infer("slow", &super::iterations(1)).await.expect(200);
    assert_eq!(session(&host).await["batching"], "impossible");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_clients_that_leave_leave_nothing_behind() {
    let host = host_with(function("rows", "rows.onnx", |_| {})).await;
    let request =
        || host.request(reqwest::Method::POST, "/v2/models/rows/infer").body(row([1, 2, 3], 1, ENDLESS).to_string());
    let clients: Vec<_> = (0..1000).map(|_| tokio::spawn(request().send())).collect();
    eventually("all of them", async || {
        let session = session(&host).await;
        (session["queued"].as_u64()? + session["running"].as_u64()? == 1000).then_some(())
    })
    .await;
    clients.iter().for_each(tokio::task::JoinHandle::abort);
    until(&host, "running", 0).await;
    until(&host, "queued", 0).await;
    assert_eq!(answered(&host.infer("rows", &row([1, 2, 3], 1, 0)).await), json!([1.0, 2.0, 3.0]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_can_have_several_runs_at_once() {
    let two = function("rows", "rows.onnx", |project| {
        project.models[0].options.sessions = 2;
        project.models[0].options.max_batch = 1;
    });
    let host = host_with(two).await;
    let endless =
        host.request(reqwest::Method::POST, "/v2/models/rows/infer").body(row([0, 0, 0], 0, ENDLESS).to_string());
    let busy = tokio::spawn(endless.send());
    until(&host, "running", 1).await;
    assert_eq!(answered(&host.infer("rows", &row([1, 2, 3], 5, 0)).await), json!([5.0, 10.0, 15.0]));
    busy.abort();
    assert_eq!(session(&host).await["sessions"], 2);
}
