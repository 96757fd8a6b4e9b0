//! Requests of one model share its runs: who joins, who does not, and that nobody notices but by the time it takes.

use std::time::Duration;

use nocti::registry::nocti_toml::Project;
use nocti_tests::{Answer, TestHost, eventually, fixture_model, write};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::{ENDLESS, begun, session, tensor, until};

/// Long enough for whatever a test waits for.
pub(super) const PATIENT: Duration = Duration::from_secs(600);

pub(super) fn function(name: &str, model: &str, change: impl FnOnce(&mut Project)) -> Vec<u8> {
    let (name, version) = (name.parse().expect("a name"), "1".parse().expect("a version"));
    let mut project = Project::for_model(&fixture_model(model), name, version);
    project.manifest.limits.timeout = PATIENT;
    project.manifest.limits.concurrency = 2000;
    change(&mut project);
    write(&project)
}

pub(super) async fn host_with(bundle: Vec<u8>) -> TestHost {
    let host = TestHost::start().await;
    host.deployed(bundle).await;
    host
}

/// One row for `rows.onnx`.
pub(super) fn row(x: [i64; 3], scale: i64, work: u64) -> Value {
    json!({"inputs": [
        tensor("x", "FP32", &[1, 3], json!(x)),
        tensor("scale", "INT64", &[1], json!([scale])),
        tensor("work", "INT64", &[1], json!([work])),
    ]})
}

pub(super) fn answered(answer: &Answer) -> Value {
    answer.expect(200)["outputs"][0]["data"].clone()
}

/// The runs since `before`, and the requests that they were for.
pub(super) async fn since(before: &Value, host: &TestHost) -> (u64, u64) {
    let after = session(host).await;
    let more = |key: &str| after[key].as_u64().expect("a number") - before[key].as_u64().expect("a number");
    (more("runs"), more("requests"))
}

/// Keeps the model's session busy until `request`s are queued, then lets it go.
pub(super) async fn queued<const N: usize>(
    host: &TestHost,
    function: &str,
    requests: [(&str, Value); N],
) -> [Answer; N] {
    let caller = begun(host, function, &row([0, 0, 0], 0, ENDLESS));
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
    // The run that kept the session busy, and one for all the others.
    assert_eq!(since(&before, &host).await, (2, 9));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_takes_no_more_rows_than_the_function_allows() {
    let host = host_with(function("rows", "rows.onnx", |project| project.models[0].options.max_batch = 2)).await;
    queued(&host, "rows", [("rows", row([1, 2, 3], 1, 0)), ("rows", row([3, 2, 1], 1, 0))]).await;
    let before = session(&host).await;
    queued(&host, "rows", std::array::from_fn::<_, 6, _>(|_| ("rows", row([1, 2, 3], 1, 0)))).await;
    assert_eq!(since(&before, &host).await, (4, 7));
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
    let before = session(&host).await;
    assert_eq!(before["batching"], "on", "{before}");
    // Both in one run, which ends when the one with the work is done, some seconds later: by then the other has gone.
    let busy = begun(&host, "rows", &row([0, 0, 0], 0, ENDLESS));
    until(&host, "running", 1).await;
    let leaving = begun(&host, "rows", &row([1, 1, 1], 1, 0));
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
    assert_eq!(since(&before, &host).await, (2, 3), "the run that was left was not begun again");
}

#[tokio::test(flavor = "multi_thread")]
async fn functions_that_share_a_model_share_its_runs_and_keep_their_limits() {
    let host = host_with(function("one", "rows.onnx", |_| {})).await;
    host.deployed(function("alone", "rows.onnx", |project| project.models[0].options.max_batch = 1)).await;
    host.deployed(function("other", "rows.onnx", |_| {})).await;
    queued(&host, "one", [("one", row([1, 2, 3], 1, 0)), ("one", row([3, 2, 1], 1, 0))]).await;
    assert_eq!(session(&host).await["batching"], "on");
    // The run that keeps the session busy, the one that is shared and, where one of them allows no company, its own.
    for (function, expected) in [("alone", (3, 4)), ("other", (2, 4))] {
        let before = session(&host).await;
        let requests = [("one", row([1, 2, 3], 2, 0)), (function, row([4, 5, 6], 3, 1)), ("one", row([7, 8, 9], 1, 0))];
        let [first, second, third] = queued(&host, "one", requests).await;
        assert_eq!(answered(&first), json!([2.0, 4.0, 6.0]));
        assert_eq!(answered(&second), json!([12.0, 15.0, 18.0]));
        assert_eq!(answered(&third), json!([7.0, 8.0, 9.0]));
        assert_eq!(since(&before, &host).await, expected, "{function}");
    }
    assert_eq!(session(&host).await["refs"], 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn functions_that_share_a_model_take_turns() {
    let alone = |name| function(name, "rows.onnx", |project| project.models[0].options.max_batch = 1);
    let host = host_with(alone("one")).await;
    host.deployed(alone("other")).await;
    let endless = row([0, 0, 0], 0, ENDLESS);
    let running = begun(&host, "one", &endless);
    until(&host, "running", 1).await;
    let next = begun(&host, "one", &endless);
    until(&host, "queued", 1).await;
    let last = begun(&host, "one", &endless);
    until(&host, "queued", 2).await;
    let other = begun(&host, "other", &row([1, 2, 3], 2, 0));
    until(&host, "queued", 3).await;
    running.abort();
    until(&host, "queued", 2).await;
    next.abort();
    // It came last and does not wait for all that `one` has asked for.
    eventually("the other's answer", async || other.is_finished().then_some(())).await;
    assert!(!last.is_finished(), "its run never ends");
    let answer = Answer::read(other.await.expect("no panic").expect("an answer")).await;
    assert_eq!(answered(&answer), json!([2.0, 4.0, 6.0]));
    last.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_function_may_wait_for_company() {
    let delayed = function("rows", "rows.onnx", |project| {
        project.models[0].options.max_batch = 2;
        project.models[0].options.max_delay = Duration::from_secs(1);
    });
    let host = host_with(delayed).await;
    let asked = Instant::now();
    let alone = host.infer("rows", &row([1, 2, 3], 2, 0)).await;
    assert_eq!(answered(&alone), json!([2.0, 4.0, 6.0]), "nobody came, and it ran all the same");
    assert!(asked.elapsed() >= Duration::from_secs(1), "it waited only {:?}", asked.elapsed());
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
    let request = row([1, 2, 3], 1, ENDLESS);
    let clients: Vec<_> = (0..1000).map(|_| begun(&host, "rows", &request)).collect();
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
    let busy = begun(&host, "rows", &row([0, 0, 0], 0, ENDLESS));
    until(&host, "running", 1).await;
    assert_eq!(answered(&host.infer("rows", &row([1, 2, 3], 5, 0)).await), json!([5.0, 10.0, 15.0]));
    busy.abort();
    assert_eq!(session(&host).await["sessions"], 2);
}
