//! Where requests go: weights, keys, the way back, and what was changed.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use nocti_tests::grpc::inference::InferParameter;
use nocti_tests::grpc::inference::infer_parameter::ParameterChoice;
use nocti_tests::{Answer, TestHost, bundle_with, eventually, fixture_guest, fixture_model, model_bundle};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tonic::Request;

use super::grpc::simple;
use super::{begun, mode, tensor};

const LIVE: &str = "/api/functions/simple/aliases/live";

fn request() -> Value {
    let row = tensor("INPUT0", "INT32", &[1, 16], json!(vec![1; 16]));
    json!({"inputs": [row, tensor("INPUT1", "INT32", &[1, 16], json!(vec![1; 16]))]})
}

/// Versions 1 and 2 of the function `simple`, `live` at 2.
async fn two() -> TestHost {
    let host = TestHost::start().await;
    for version in ["1", "2"] {
        host.deployed(model_bundle("simple", version, &fixture_model("addsub.onnx"))).await;
    }
    host
}

async fn put(host: &TestHost, path: &str, body: &Value) -> Answer {
    host.send(host.request(Method::PUT, path).body(body.to_string())).await
}

async fn live(host: &TestHost, weights: Value) -> Value {
    put(host, LIVE, &json!({"weights": weights})).await.expect(200)
}

/// Which version answers.
async fn answering(host: &TestHost) -> String {
    version(&host.infer("simple", &request()).await)
}

#[track_caller]
fn version(answer: &Answer) -> String {
    answer.expect(200)["model_version"].as_str().expect("a version").to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_are_shared_out_from_the_next_one_on() {
    let host = two().await;
    let answer = live(&host, json!({"1": 1, "2": 1})).await;
    let aliases = json!({"live": {"1": 1, "2": 1}});
    assert_eq!(answer, json!({"function": "simple", "revision": 3, "aliases": aliases, "changed": true}));
    assert_eq!(host.get("/api/functions/simple").await.expect(200)["aliases"], aliases);
    let mut counts: HashMap<String, usize> = HashMap::new();
    for _ in 0..200 {
        *counts.entry(answering(&host).await).or_default() += 1;
    }
    // Eight standard deviations.
    assert!(counts.len() == 2 && counts.values().all(|&count| (44..=156).contains(&count)), "{counts:?}");
    for to in ["1", "2"] {
        live(&host, json!({to: 7})).await;
        for _ in 0..20 {
            assert_eq!(answering(&host).await, to);
        }
    }
    let unchanged = live(&host, json!({"1": 0, "2": 7})).await;
    assert_eq!((&unchanged["changed"], &unchanged["revision"]), (&json!(false), &json!(5)));
    // Another alias is called by its name, and holds its version.
    put(&host, "/api/functions/simple/aliases/test", &json!({"weights": {"1": 1}})).await.expect(200);
    let answer = host.post("/v2/models/simple/versions/test/infer", request().to_string()).await;
    assert_eq!(version(&answer), "1");
    let deleted = host.delete("/api/functions/simple/versions/1").await;
    deleted.expect_error(409, "version_in_use", &["alias 'test'"]);
    host.delete("/api/functions/simple/aliases/test?message=the+trial+is+over").await.expect(200);
    host.delete("/api/functions/simple/versions/1").await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_request_is_lost_while_weights_change() {
    let host = two().await;
    let enough = Arc::new(AtomicBool::new(false));
    let mut callers = JoinSet::new();
    for _ in 0..4 {
        let call = host.request(Method::POST, "/v2/models/simple/infer").body(request().to_string());
        let enough = Arc::clone(&enough);
        callers.spawn(async move {
            let mut answered = 0;
            while !enough.load(Ordering::Relaxed) {
                let call = call.try_clone().expect("its body is there");
                let answer = Answer::read(call.send().await.expect("an answer")).await;
                assert_eq!(answer.status, 200, "{}", answer.text());
                answered += 1;
            }
            answered
        });
    }
    for round in 1..=20 {
        live(&host, json!({"1": round, "2": 20})).await;
        live(&host, json!({"1": 1})).await;
        assert_eq!(answering(&host).await, "1");
        host.post("/api/functions/simple/rollback", "").await.expect(200);
    }
    enough.store(true, Ordering::Relaxed);
    assert!(callers.join_all().await.into_iter().all(|answered: usize| answered > 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_is_answered_by_the_version_that_it_began_with() {
    let host = TestHost::start().await;
    let version = |version: &str, min_warm| {
        bundle_with(&fixture_guest("misbehave"), |project| {
            project.manifest.version = version.parse().expect("a version");
            project.manifest.instances.min_warm = min_warm;
        })
    };
    host.deployed(version("1", 0)).await;
    let sleep = mode("sleep", json!({"ms": 1500}), &[tensor("x", "INT64", &[1], json!([7]))]);
    let asleep = begun(&host, "misbehave", &sleep);
    host.busy("misbehave", 1).await;
    let deployed = host.post("/api/functions?no_traffic=true", version("2", 1)).await.expect(201);
    assert_eq!(deployed["aliases"], json!({"live": {"1": 100}}));
    let body = json!({"weights": {"2": 1}, "revision": 2});
    put(&host, "/api/functions/misbehave/aliases/live", &body).await.expect(200);
    // What gets requests is kept warm from now on, as its manifest asks for.
    eventually("version 2 is warm", async || (host.status("misbehave").await["state"] == "warm").then_some(())).await;
    let now = host.infer("misbehave", &mode("echo", json!({}), &[tensor("x", "INT64", &[1], json!([8]))])).await;
    assert_eq!(now.expect(200)["model_version"], "2");
    host.delete("/api/functions/misbehave/versions/1").await.expect(200);
    let then = Answer::read(asleep.await.expect("it is not stopped").expect("an answer")).await.expect(200);
    assert_eq!((&then["model_version"], &then["outputs"][0]["data"]), (&json!("1"), &json!([7])));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_keeps_its_version_over_every_protocol() {
    let host = two().await;
    live(&host, json!({"1": 1, "2": 1})).await;
    let mut grpc = host.grpc().await;
    let mut seen: HashMap<String, usize> = HashMap::new();
    for number in 0..24 {
        let key = format!("user-{number}");
        let keyed = |path: &str, body: &Value| {
            host.send(host.request(Method::POST, path).header("nocti-routing-key", &key).body(body.to_string()))
        };
        let expected = version(&keyed("/v2/models/simple/infer", &request()).await);
        *seen.entry(expected.clone()).or_default() += 1;
        for _ in 0..2 {
            assert_eq!(version(&keyed("/v2/models/simple/infer", &request()).await), expected);
            assert_eq!(version(&keyed("/v2/models/simple/versions/live/infer", &request()).await), expected);
            assert_eq!(version(&keyed("/functions/simple", &request()).await), expected);
            // A parameter of the request counts before the header.
            let mut with_parameter = request();
            with_parameter["parameters"] = json!({"routing_key": key});
            assert_eq!(version(&host.infer("simple", &with_parameter).await), expected);
            let other = host.request(Method::POST, "/v2/models/simple/infer").header("nocti-routing-key", "other");
            assert_eq!(version(&host.send(other.body(with_parameter.to_string())).await), expected);
            // A version is a version.
            assert_eq!(version(&keyed("/v2/models/simple/versions/1/infer", &request()).await), "1");

            let mut call = Request::new(simple("simple"));
            call.metadata_mut().insert("nocti-routing-key", key.parse().expect("a value"));
            assert_eq!(grpc.model_infer(call).await.expect("an answer").into_inner().model_version, expected);
            let mut message = simple("simple");
            let choice = Some(ParameterChoice::StringParam(key.clone()));
            message.parameters.insert("routing_key".into(), InferParameter { parameter_choice: choice });
            let answers = grpc.model_infer(message.clone()).await.expect("an answer").into_inner();
            assert_eq!(answers.model_version, expected);
            let mut stream =
                grpc.model_stream_infer(futures::stream::iter([message])).await.expect("a stream").into_inner();
            let answer = stream.message().await.expect("it goes on").expect("an answer").infer_response;
            assert_eq!(answer.expect("no error").model_version, expected);
        }
    }
    // Which keys are where never changes, so this holds always or never.
    assert_eq!(seen.len(), 2, "{seen:?}");
    let metrics = host.get("/metrics").await.text();
    assert!(
        !metrics.contains("outcome=\"cancelled\""),
        "one that turned to another version was not given up: {metrics}"
    );
    let mut wrong = request();
    wrong["parameters"] = json!({"routing_key": true});
    host.infer("simple", &wrong).await.expect_error(
        400,
        "invalid_request",
        &["'routing_key'", "text or a whole number"],
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_way_back_and_what_was_changed_outlive_the_host() {
    let host = TestHost::start().await;
    for version in ["1", "2"] {
        let path = format!("/api/functions?by=ada&message=version+{version}");
        host.post(&path, model_bundle("simple", version, &fixture_model("addsub.onnx"))).await.expect(201);
    }
    put(&host, LIVE, &json!({"weights": {"1": 90, "2": 10}, "message": "a tenth"})).await.expect(200);
    let back = host.post("/api/functions/simple/rollback", r#"{"message": "2 errs"}"#).await.expect(200);
    assert_eq!((&back["aliases"], &back["revision"]), (&json!({"live": {"2": 100}}), &json!(4)));
    let (_, store) = host.stop().await;
    let host = TestHost::start_over(store, |_| {}).await;
    assert_eq!(answering(&host).await, "2");
    let back = host.post("/api/functions/simple/rollback", "").await.expect(200);
    assert_eq!(back["aliases"], json!({"live": {"1": 100}}), "one change further");
    assert_eq!(answering(&host).await, "1");
    host.post("/api/functions/simple/rollback", "").await.expect_error(409, "nothing_before", &["'simple'"]);
    let split = host.post("/api/functions/simple/revisions/3/restore", "").await.expect(200);
    assert_eq!(split["aliases"], json!({"live": {"1": 90, "2": 10}}));

    let history = host.get("/api/functions/simple/revisions?limit=4").await.expect(200);
    let told = |history: &Value| -> Vec<Value> {
        let revisions = history["revisions"].as_array().expect("a list").iter();
        revisions
            .map(|told| json!([told["revision"], told["action"], told["to"], told["by"], told["message"]]))
            .collect()
    };
    let expected = [
        json!([6, "restore", 3, null, null]),
        json!([5, "rollback", 1, null, null]),
        json!([4, "rollback", 2, null, "2 errs"]),
        json!([3, "traffic", null, null, "a tenth"]),
    ];
    assert_eq!((told(&history), &history["next"]), (expected.to_vec(), &json!(3)));
    assert_eq!(history["revisions"][3]["aliases"], json!({"live": {"1": 90, "2": 10}}));
    let history = host.get("/api/functions/simple/revisions?before=3").await.expect(200);
    let expected = [json!([2, "deploy", null, "ada", "version 2"]), json!([1, "deploy", null, "ada", "version 1"])];
    assert_eq!((told(&history), &history["next"]), (expected.to_vec(), &json!(null)));

    let differences = |answer: Value| answer["differences"].clone();
    let diff = host.get("/api/functions/simple/diff?from=revision:2&to=revision:3").await.expect(200);
    let expected = json!([
        {"path": ["aliases", "live", "1"], "to": 90},
        {"path": ["aliases", "live", "2"], "from": 100, "to": 10},
    ]);
    assert_eq!(differences(diff), expected);
    let diff = host.get("/api/functions/simple/diff?from=1&to=2").await.expect(200);
    assert_eq!(differences(diff), json!([]), "they have the same content");
    host.deployed(model_bundle("simple", "3", &fixture_model("scalar.onnx"))).await;
    let diff = differences(host.get("/api/functions/simple/diff?from=1&to=3").await.expect(200));
    let paths: Vec<String> = diff.as_array().expect("a list").iter().map(|found| found["path"].to_string()).collect();
    for part in ["sha256", "\"signature\",\"inputs\",\"INPUT0\"", "model_signatures"] {
        assert!(paths.iter().any(|path| path.contains(part)), "{part} is not in {paths:?}");
    }
    host.delete("/api/functions/simple?message=done").await.expect(200);
    let history = host.get("/api/functions/simple/revisions?limit=1").await.expect(200);
    assert_eq!(told(&history), [json!([8, "delete_function", null, null, "done"])], "what is gone has a history");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_done_changes_nothing() {
    let host = two().await;
    let (bad, wrong) = ("invalid_weights", "invalid_request");
    let cases = [
        (json!({"weights": {}}), 400, bad, "no version has a weight above 0"),
        (json!({"weights": {"1": 0}}), 400, bad, "no version has a weight above 0"),
        (json!({"weights": {"1": u32::MAX, "2": 1}}), 400, bad, "add up to more than"),
        (json!({"weights": {"1": 1u64 << 32}}), 400, wrong, "u32"),
        (json!({"weights": {"1": -1}}), 400, wrong, "u32"),
        (json!({"weights": {"1": 0.5}}), 400, wrong, "u32"),
        (json!({"weights": [1]}), 400, wrong, "an object of names"),
        (json!({"shares": {"1": 1}}), 400, wrong, "unknown field `shares`"),
        (json!({"weights": {"3": 1}}), 404, "not_found", "function 'simple' has versions 1, 2"),
        (json!({"weights": {"1": 1}, "message": "a\nb"}), 400, wrong, "one line"),
        (json!({"weights": {"1": 1}, "revision": 1}), 409, "revision_moved", "at revision 2, no more at 1"),
    ];
    for (body, status, code, part) in cases {
        put(&host, LIVE, &body).await.expect_error(status, code, &[part]);
    }
    let twice = host.request(Method::PUT, LIVE).body(r#"{"weights": {"1": 90, "1": 10}}"#);
    host.send(twice).await.expect_error(400, wrong, &["\"1\" is there twice"]);
    let one = json!({"weights": {"1": 1}});
    put(&host, &format!("{LIVE}?revision=1"), &one).await.expect_error(400, wrong, &["'revision'", "in the body"]);
    put(&host, "/api/functions/simple/aliases/2", &one).await.expect_error(
        409,
        "name_clash",
        &["choose another alias"],
    );
    put(&host, "/api/functions/simple/aliases/A%20b", &one).await.expect_error(400, wrong, &["not a valid alias"]);
    put(&host, "/api/functions/other/aliases/live", &one).await.expect_error(404, "not_found", &["'other'"]);
    host.delete(LIVE).await.expect_error(409, "live_stays", &["requests without a version go"]);
    let answer = host.delete("/api/functions/simple/aliases/none").await;
    answer.expect_error(404, "not_found", &["has no alias 'none'; it has live"]);
    host.delete("/api/functions/simple?revision=1").await.expect_error(409, "revision_moved", &["no more at 1"]);
    host.delete("/api/functions/simple?sure=yes").await.expect_error(400, wrong, &["there is no parameter 'sure'"]);
    let restored = host.post("/api/functions/simple/revisions/9/restore", "").await;
    restored.expect_error(404, "not_found", &["has no revision 9; its newest is 2"]);
    host.post("/api/functions/simple/revisions/x/restore", "").await.expect_error(
        400,
        wrong,
        &["a revision is a number"],
    );
    host.post("/api/functions/other/rollback", "").await.expect_error(404, "not_found", &["'other'"]);
    for (query, part) in [("limit=0", "1 to 200"), ("limit=x", "'limit' must be a number"), ("x", "limit, before")] {
        host.get(&format!("/api/functions/simple/revisions?{query}")).await.expect_error(400, wrong, &[part]);
    }
    for (query, status, part) in [
        ("from=1", 400, "?from=A&to=B"),
        ("from=1&to=revision:1", 400, "not one of each"),
        ("from=revision:x&to=revision:1", 400, "revision:7"),
        ("from=1&to=9", 404, "versions 1, 2"),
        ("from=revision:1&to=revision:9", 404, "no revision 9"),
    ] {
        let answer = host.get(&format!("/api/functions/simple/diff?{query}")).await;
        answer.expect_error(status, if status == 404 { "not_found" } else { wrong }, &[part]);
    }
    assert_eq!(host.get("/api/functions/simple").await.expect(200)["revision"], 2);
    assert_eq!(answering(&host).await, "2");
}
