//! Typed functions that behave badly: what the caller is told, and that nobody else notices.

use std::time::Duration;

use nocti_tests::{TestHost, bundle_with, fixture_guest};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::{mode, tensor};

async fn host() -> TestHost {
    let host = TestHost::start().await;
    host.deploy(&fixture_guest("misbehave")).await.expect(201);
    host
}

async fn count(host: &TestHost, function: &str) -> Value {
    host.infer(function, &mode("count", json!({}), &[])).await.expect(200)["outputs"][0]["data"][0].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trap_is_the_functions_fault_and_the_next_request_gets_a_new_instance() {
    let host = host().await;
    let cases: [(&str, &[&str]); 3] = [
        ("trap", &["function 'misbehave'", "the function failed", "unreachable"]),
        ("exit", &["function 'misbehave'", "exit"]),
        ("stack", &["function 'misbehave'", "wasm trap"]),
    ];
    for (behaviour, parts) in cases {
        assert_eq!(count(&host, "misbehave").await, 1);
        assert_eq!(count(&host, "misbehave").await, 2, "an instance is used again");
        let answer = host.infer("misbehave", &mode(behaviour, json!({}), &[])).await;
        answer.expect_error(502, "function_failed", parts);
        assert_eq!(host.status("misbehave").await["instances"]["busy"], 0);
    }
    assert_eq!(count(&host, "misbehave").await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn more_memory_than_allowed_is_refused_with_the_limits_name() {
    let host = TestHost::start().await;
    host.deployed(bundle_with(&fixture_guest("misbehave"), |project| project.manifest.limits.memory = 16 << 20)).await;
    let answer = host.infer("misbehave", &mode("exhaust", json!({}), &[])).await;
    answer.expect_error(502, "function_failed", &["limits.memory", "16777216 bytes"]);
    assert_eq!(count(&host, "misbehave").await, 1);
}

/// The guest's own memory stays small: the host keeps the tensors for it.
#[tokio::test(flavor = "multi_thread")]
async fn tensors_in_the_host_count_as_the_instances_memory() {
    let host = TestHost::start().await;
    host.deployed(bundle_with(&fixture_guest("misbehave"), |project| project.manifest.limits.memory = 64 << 20)).await;
    let hoard = |mebibytes: u32| mode("hoard", json!({"mebibytes": mebibytes}), &[]);
    let answer = host.infer("misbehave", &hoard(16)).await.expect(200);
    assert_eq!(answer["outputs"][0]["data"], json!([16]));
    let answer = host.infer("misbehave", &hoard(256)).await;
    answer.expect_error(502, "function_failed", &["limits.memory"]);
    // What was dropped is free again.
    for _ in 0..8 {
        host.infer("misbehave", &hoard(16)).await.expect(200);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn endless_loops_end_at_their_deadline_and_block_nobody() {
    let host = TestHost::start().await;
    host.deployed(bundle_with(&fixture_guest("misbehave"), |project| {
        project.manifest.limits.timeout = Duration::from_secs(5);
    }))
    .await;
    host.deploy_model("scalar", "scalar.onnx").await.expect(201);
    let mut loops = JoinSet::new();
    for _ in 0..4 {
        let body = mode("loop", json!({}), &[]).to_string();
        let request = host.request(Method::POST, "/v2/models/misbehave/infer").body(body);
        loops.spawn(async move { nocti_tests::Answer::read(request.send().await.expect("an answer")).await });
    }
    host.busy("misbehave", 4).await;
    for _ in 0..10 {
        host.infer("scalar", &json!({"inputs": [tensor("x", "FP32", &[1], json!([1]))]})).await.expect(200);
    }
    assert_eq!(host.status("misbehave").await["instances"]["busy"], 4, "they were looping all the while");
    while let Some(answer) = loops.join_next().await {
        answer.expect("no panic").expect_error(504, "deadline_exceeded", &["deadline"]);
    }
    assert_eq!(host.status("misbehave").await["instances"]["busy"], 0);
    assert_eq!(count(&host, "misbehave").await, 1, "none of those that looped serves again");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_function_that_waits_too_long_is_ended_too() {
    let host = TestHost::start().await;
    host.deployed(bundle_with(&fixture_guest("misbehave"), |project| {
        project.manifest.limits.timeout = Duration::from_millis(500);
    }))
    .await;
    let answer = host.infer("misbehave", &mode("sleep", json!({"ms": 60_000}), &[])).await;
    answer.expect_error(504, "deadline_exceeded", &["deadline"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_is_not_as_declared_is_the_functions_fault() {
    let host = host().await;
    let cases: [(&str, &[&str]); 5] = [
        ("missing", &["output 'x' is missing"]),
        ("extra", &["output 'surprise' is not one of the declared outputs", "'x'"]),
        ("wrong-name", &["output 'surprise'"]),
        ("wrong-type", &["output 'x' has datatype FP32, but it declares INT64"]),
        ("wrong-shape", &["output 'x' has shape [1,2], but it declares [-1]"]),
    ];
    for (behaviour, parts) in cases {
        let answer = host.infer("misbehave", &mode(behaviour, json!({}), &[])).await;
        answer.expect_error(502, "bad_answer", &["function 'misbehave' answered wrongly"]);
        answer.expect_error(502, "bad_answer", parts);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_signature_any_answer_is_right() {
    let host = TestHost::start().await;
    host.deployed(bundle_with(&fixture_guest("free"), |project| project.models.clear())).await;
    let answer = host.infer("free", &mode("missing", json!({}), &[])).await.expect(200);
    assert_eq!(answer["outputs"], json!([]));
    let answer = host.infer("free", &mode("extra", json!({}), &[])).await.expect(200);
    assert_eq!(answer["outputs"][1], tensor("surprise", "INT64", &[1], json!([2])));
    let answer = host.infer("free", &mode("nan", json!({}), &[])).await;
    assert_eq!(answer.expect(200)["outputs"][0]["data"], json!(["NaN", "Infinity", "-Infinity", -0.0]));
    let answer = host.ask("free", &mode("half", json!({}), &[])).await.expect(200);
    let half = tensor("f16", "FP16", &[2], json!([1.5, -65504.0]));
    assert_eq!(answer["outputs"], json!([half, tensor("bf16", "BF16", &[2], json!([1.5, -2.0]))]));
}

#[tokio::test(flavor = "multi_thread")]
async fn every_type_that_functions_take_passes_through_one() {
    let host = TestHost::start().await;
    host.deployed(bundle_with(&fixture_guest("free"), |project| project.models.clear())).await;
    let inputs = [
        tensor("u8", "UINT8", &[2], json!([0, 255])),
        tensor("i32", "INT32", &[2], json!([i32::MIN, i32::MAX])),
        tensor("i64", "INT64", &[2], json!([i64::MIN, i64::MAX])),
        tensor("f16", "FP16", &[2], json!([1.5, "NaN"])),
        tensor("bf16", "BF16", &[2], json!([-2.0, "Infinity"])),
        tensor("f32", "FP32", &[2, 1], json!([0.1, "-Infinity"])),
        tensor("f64", "FP64", &[1, 2], json!([0.1, 1e300])),
        tensor("text", "BYTES", &[3], json!(["", "é🚀", "a\u{0}b"])),
        tensor("scalar", "INT64", &[], json!([7])),
        tensor("empty", "FP32", &[0, 4], json!([])),
        tensor("no-text", "BYTES", &[0], json!([])),
    ];
    let answer = host.ask("free", &mode("echo", json!({}), &inputs)).await.expect(200);
    let outputs = answer["outputs"].as_array().expect("a list");
    assert_eq!(outputs.len(), inputs.len());
    for input in &inputs {
        assert!(outputs.contains(input), "{input} is not in {answer}");
    }
}

/// Twice the value, negated, of a FP16 is another number where its bits are read as BF16, and so on for every pair.
#[tokio::test(flavor = "multi_thread")]
async fn a_function_reads_the_elements_of_every_type_and_answers_with_new_ones() {
    let host = TestHost::start().await;
    host.deployed(bundle_with(&fixture_guest("free"), |project| project.models.clear())).await;
    let cases = [
        ("FP16", json!([1.5, "NaN", -65504.0]), json!(["Infinity", "NaN", -3.0])),
        ("FP32", json!([0.1, "-Infinity", 3e38]), json!(["-Infinity", "Infinity", -0.2])),
        ("FP64", json!([0.1, "NaN", 1e300]), json!([-2e300, "NaN", -0.2])),
        ("BF16", json!([1.5, "Infinity", -2.0]), json!([4.0, "-Infinity", -3.0])),
        ("UINT8", json!([0, 255, 7]), json!([8, 0, 1])),
        ("INT32", json!([i32::MIN, i32::MAX, 7]), json!([-7, -i32::MAX, i32::MIN])),
        ("INT64", json!([i64::MIN, i64::MAX, 7]), json!([-7, -i64::MAX, i64::MIN])),
    ];
    for shape in [vec![3], vec![1, 3], vec![3, 1, 1]] {
        let all = |pick: fn(&(&str, Value, Value)) -> Value| -> Vec<Value> {
            cases.iter().map(|case| tensor(case.0, case.0, &shape, pick(case))).collect()
        };
        let request = mode("elements", json!({}), &all(|(_, sent, _)| sent.clone()));
        let answer = host.ask("free", &request).await.expect(200);
        assert_eq!(answer["outputs"], json!(all(|(_, _, expected)| expected.clone())));
    }
    for (datatype, ..) in &cases {
        let empty = tensor(datatype, datatype, &[2, 0], json!([]));
        let answer = host.ask("free", &mode("elements", json!({}), std::slice::from_ref(&empty))).await.expect(200);
        assert_eq!(answer["outputs"], json!([empty]));
        let other = if *datatype == "INT32" { "INT64" } else { "INT32" };
        let wrong = mode("elements", json!({}), &[tensor(datatype, other, &[1], json!([1]))]);
        let told = format!("input `{datatype}` is {other} where {datatype} is expected");
        host.infer("free", &wrong).await.expect_error(400, "invalid_request", &[&told]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_function_sees_the_request_as_it_was_made() {
    let host = TestHost::start().await;
    host.deployed(bundle_with(&fixture_guest("free"), |project| project.models.clear())).await;
    let parameters = json!({"flag": true, "whole": -7, "real": 1.5, "words": "é"});
    let mut request = mode("describe", parameters, &[tensor("a", "FP32", &[1, 2], json!([1, 2]))]);
    request["id"] = json!("mine");
    let answer = host.infer("free", &request).await.expect(200);
    let text = answer["outputs"][0]["data"][0].as_str().expect("text");
    for line in ["id Some(\"mine\")", "input a FP32 [1, 2]"] {
        assert!(text.contains(line), "{text}");
    }
    for (name, value) in [("flag", "true"), ("whole", "-7"), ("real", "1.5"), ("words", "é")] {
        let line = text.lines().find(|line| line.starts_with(&format!("parameter {name} ")));
        assert!(line.is_some_and(|line| line.contains(value)), "{name}: {text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_functions_own_errors_keep_their_meaning_and_their_words() {
    let host = host().await;
    let cases = [
        ("error-invalid", 400, "invalid_request"),
        ("error-unavailable", 503, "unavailable"),
        ("error-internal", 500, "function_error"),
    ];
    for (behaviour, status, code) in cases {
        let request = mode(behaviour, json!({"message": "the moon is \"full\" é"}), &[]);
        let answer = host.infer("misbehave", &request).await;
        answer.expect_error(status, code, &["function 'misbehave'", "the moon is \"full\" é"]);
        assert_eq!(answer.headers.contains_key("retry-after"), status == 503);
    }
    assert_eq!(count(&host, "misbehave").await, 4, "an error is an answer: the instance stays");
}

#[tokio::test(flavor = "multi_thread")]
async fn instances_serve_as_many_requests_as_the_manifest_says() {
    for (reuse, counts) in [(1, [1, 1, 1, 1]), (3, [1, 2, 3, 1])] {
        let host = TestHost::start().await;
        host.deployed(bundle_with(&fixture_guest("misbehave"), |project| project.manifest.instances.reuse = reuse))
            .await;
        for expected in counts {
            assert_eq!(count(&host, "misbehave").await, expected, "reuse = {reuse}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_answer_comes_whole() {
    let host = host().await;
    let elements = 1_000_000;
    let answer = host.infer("misbehave", &mode("big", json!({"count": elements}), &[])).await.expect(200);
    let output = &answer["outputs"][0];
    assert_eq!(output["shape"], json!([elements]));
    let data = output["data"].as_array().expect("a list");
    assert!(data.iter().enumerate().all(|(at, value)| *value == at), "in order");
    assert_eq!(data.len(), elements);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_function_prints_disturbs_nothing() {
    let host = host().await;
    let message = "x".repeat(20_000);
    let x = tensor("x", "INT64", &[1], json!([1]));
    let request = mode("print", json!({"message": message}), std::slice::from_ref(&x));
    assert_eq!(host.infer("misbehave", &request).await.expect(200)["outputs"], json!([x]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_function_that_explains_is_asked_for_it_and_others_say_that_they_do_not() {
    let host = host().await;
    let explain = |function: &str| format!("/v2/models/{function}/explain");
    let answer = host.post(&explain("misbehave"), mode("of my own", json!({}), &[]).to_string()).await;
    assert_eq!(answer.expect(200)["outputs"], json!([tensor("why", "BYTES", &[1], json!(["mode of my own"]))]));
    host.deploy_model("scalar", "scalar.onnx").await.expect(201);
    let answer = host.post(&explain("scalar"), json!({"inputs": []}).to_string()).await;
    answer.expect_error(501, "not_explainable", &["'scalar'", "nocti:function/explainer"]);
    host.post(&explain("misbehave"), "{}").await.expect_error(400, "invalid_request", &["`inputs`"]);
}
