//! Guests' `compute`s share runs as requests of model-only functions do, with each other and with those.

use nocti::registry::nocti_toml::Project;
use nocti_tests::{bundle_with, eventually, fixture_guest, fixture_model};
use serde_json::{Value, json};

use super::batching::{PATIENT, answered, function, host_with, queued, row, since};
use super::{ENDLESS, begun, mode, session, until};

/// The guest `free` with `rows.onnx` as its only model.
fn guest() -> Vec<u8> {
    let model = Project::for_model(
        &fixture_model("rows.onnx"),
        "rows".parse().expect("a name"),
        "1".parse().expect("a version"),
    );
    bundle_with(&fixture_guest("free"), |project| {
        project.models = model.models;
        project.manifest.limits.timeout = PATIENT;
        project.manifest.limits.concurrency = 2000;
    })
}

/// One row that the guest gives to the model.
fn guests_row(x: [i64; 3], scale: i64, work: u64) -> Value {
    let inputs = row(x, scale, work)["inputs"].as_array().expect("a list").clone();
    mode("nn", json!({"model": "rows"}), &inputs)
}

#[tokio::test(flavor = "multi_thread")]
async fn instances_and_plain_requests_share_a_run() {
    let host = host_with(function("plain", "rows.onnx", |_| {})).await;
    host.deployed(guest()).await;
    queued(&host, "plain", [("plain", row([1, 2, 3], 1, 0)), ("free", guests_row([3, 2, 1], 1, 0))]).await;
    let before = session(&host).await;
    assert_eq!((&before["batching"], &before["refs"]), (&json!("on"), &json!(2)), "{before}");

    let requests: [_; 6] = std::array::from_fn(|at| {
        let (x, scale) = ([1, 2, 3], i64::try_from(at).expect("small"));
        if at % 2 == 0 { ("free", guests_row(x, scale, 0)) } else { ("plain", row(x, scale, 0)) }
    });
    let answers = queued(&host, "plain", requests).await;
    for (scale, answer) in [0.0, 1.0, 2.0, 3.0, 4.0, 5.0].into_iter().zip(&answers) {
        assert_eq!(answered(answer), json!([scale, 2.0 * scale, 3.0 * scale]));
    }
    // The run that kept the session busy, and one for all the others.
    assert_eq!(since(&before, &host).await, (2, 7));

    // Instances of one function alone; each serves one request at a time.
    let before = session(&host).await;
    let requests = [[1, 2, 3], [4, 5, 6], [7, 8, 9]].map(|x| ("free", guests_row(x, 2, 0)));
    let answers = queued(&host, "plain", requests).await;
    for (answer, expected) in answers.iter().zip([[2.0, 4.0, 6.0], [8.0, 10.0, 12.0], [14.0, 16.0, 18.0]]) {
        assert_eq!(answered(answer), json!(expected));
    }
    assert_eq!(since(&before, &host).await, (2, 4));
}

#[tokio::test(flavor = "multi_thread")]
async fn guests_whose_callers_leave_in_the_middle_of_a_run_leave_nothing_behind() {
    const CALLERS: u64 = 200;
    let host = host_with(guest()).await;
    let request = guests_row([1, 2, 3], 1, ENDLESS);
    let callers: Vec<_> = (0..CALLERS).map(|_| begun(&host, "free", &request)).collect();
    eventually("all of them", async || {
        let session = session(&host).await;
        (session["queued"].as_u64()? + session["running"].as_u64()? == CALLERS).then_some(())
    })
    .await;
    callers.iter().for_each(tokio::task::JoinHandle::abort);
    host.busy("free", 0).await;
    until(&host, "running", 0).await;
    until(&host, "queued", 0).await;
    assert_eq!(answered(&host.infer("free", &guests_row([1, 2, 3], 2, 0)).await), json!([2.0, 4.0, 6.0]));
}
