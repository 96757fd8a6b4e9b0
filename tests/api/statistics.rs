//! The statistics and model configuration extensions: `…/stats`, `…/config`.

use nocti_tests::{TestHost, bundle, example, fixture_guest, fixture_model, model_bundle};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::{mode, tensor};

fn simple(rows: usize) -> Value {
    let input = |name: &str| tensor(name, "INT32", &[rows, 16], json!(vec![1; rows * 16]));
    json!({"inputs": [input("INPUT0"), input("INPUT1")]})
}

/// The only version that the statistics at a path are of.
async fn only(host: &TestHost, path: &str) -> Value {
    let answer = host.get(path).await.expect(200);
    assert_eq!(answer["model_stats"].as_array().map(Vec::len), Some(1), "{answer}");
    answer["model_stats"][0].clone()
}

fn counts(stats: &Value) -> [u64; 4] {
    let stats = &stats["inference_stats"];
    ["success", "fail", "queue", "compute_infer"].map(|name| stats[name]["count"].as_u64().expect("a number"))
}

#[tokio::test(flavor = "multi_thread")]
async fn statistics_count_what_was_done() {
    let host = TestHost::start().await;
    host.deploy_model("simple", "addsub.onnx").await.expect(201);
    let before = only(&host, "/v2/models/simple/stats").await;
    let nothing = json!({"count": 0, "ns": 0});
    // Clients read each of these without looking whether it is there.
    for name in
        ["success", "fail", "queue", "compute_input", "compute_infer", "compute_output", "cache_hit", "cache_miss"]
    {
        assert_eq!(before["inference_stats"][name], nothing, "{name}");
    }
    assert_eq!((&before["name"], &before["version"]), (&json!("simple"), &json!("1.0.0")));
    assert_eq!((&before["last_inference"], &before["response_stats"]), (&json!(0), &json!({})));
    assert_eq!((&before["batch_stats"], &before["memory_usage"]), (&json!([]), &json!([])));
    assert_eq!(host.status("simple").await["state"], "stored", "looking wakes nothing");

    host.infer("simple", &simple(1)).await.expect(200);
    host.infer("simple", &simple(3)).await.expect(200);
    let wrong = json!({"inputs": [tensor("INPUT0", "FP32", &[1], json!([1]))]});
    host.infer("simple", &wrong).await.expect_error(400, "invalid_request", &[]);
    let after = only(&host, "/v2/models/simple/stats").await;
    assert_eq!(counts(&after), [2, 1, 2, 2], "{after}");
    assert_eq!((&after["inference_count"], &after["execution_count"]), (&json!(4), &json!(2)), "by rows, by runs");
    let sizes: Vec<_> = after["batch_stats"].as_array().expect("a list").iter().map(|it| &it["batch_size"]).collect();
    assert_eq!(sizes, [1, 3]);
    for times in [&after["inference_stats"]["success"], &after["batch_stats"][1]["compute_infer"]] {
        assert!(times["ns"].as_u64() > Some(0), "{after}");
    }
    assert!(after["last_inference"].as_u64() > Some(1_700_000_000_000), "milliseconds since 1970: {after}");
    assert_eq!((&after["memory_usage"][0]["type"], &after["memory_usage"][0]["id"]), (&json!("CPU"), &json!(0)));
    assert!(after["memory_usage"][0]["byte_size"].as_u64() > Some(0), "{after}");
    // They outlive the model's time in memory.
    host.post("/v2/repository/models/simple/unload", "{}").await.expect(200);
    assert_eq!(counts(&only(&host, "/v2/models/simple/stats").await), [2, 1, 2, 2]);
}

#[tokio::test(flavor = "multi_thread")]
async fn statistics_of_one_version_of_all_of_a_model_and_of_everything() {
    let host = TestHost::start().await;
    host.deployed(model_bundle("simple", "1", &fixture_model("addsub.onnx"))).await;
    host.deployed(model_bundle("simple", "2", &fixture_model("addsub.onnx"))).await;
    host.deploy(&fixture_guest("misbehave")).await.expect(201);
    host.deployed(bundle(&example("hello-http"))).await;
    host.infer("simple", &simple(1)).await.expect(200);
    host.infer("misbehave", &mode("count", json!({}), &[])).await.expect(200);
    assert_eq!(host.get("/functions/hello-http/").await.status, 200);
    let names = async |path: &str| -> Vec<String> {
        let answer = host.get(path).await.expect(200);
        let versions = answer["model_stats"].as_array().expect("a list").iter();
        versions.map(|it| format!("{} {}", it["name"], it["version"]).replace('"', "")).collect()
    };
    assert_eq!(names("/v2/models/simple/stats").await, ["simple 1", "simple 2"]);
    assert_eq!(names("/v2/models/simple/versions/1/stats").await, ["simple 1"]);
    assert_eq!(names("/v2/models/simple/versions/live/stats").await, ["simple 2"]);
    assert_eq!(names("/v2/models/stats").await.len(), 4);
    assert_eq!(counts(&only(&host, "/v2/models/simple/versions/1/stats").await), [0; 4]);
    assert_eq!(counts(&only(&host, "/v2/models/simple/versions/2/stats").await), [1, 0, 1, 1]);
    for function in ["misbehave", "hello-http"] {
        let stats = only(&host, &format!("/v2/models/{function}/stats")).await;
        assert_eq!((counts(&stats), &stats["inference_count"]), ([1, 0, 0, 0], &json!(1)), "{stats}");
    }
    let unknown = &["Request for unknown model: 'nothing'"];
    host.get("/v2/models/nothing/stats").await.expect_error(404, "not_found", unknown);
    host.get("/v2/models/simple/versions/9/stats").await.expect_error(404, "not_found", &["version '9'"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn runs_that_requests_share_count_for_each_version_in_them() {
    let host = TestHost::start().await;
    for function in ["one", "other"] {
        host.deploy_model(function, "rows.onnx").await.expect(201);
    }
    let row = |work: u64| {
        let x = tensor("x", "FP32", &[1, 3], json!([1, 2, 3]));
        json!({"inputs": [x, tensor("scale", "INT64", &[1], json!([2])), tensor("work", "INT64", &[1], json!([work]))]})
    };
    let mut callers = JoinSet::new();
    for n in 0..24 {
        let path = format!("/v2/models/{}/infer", ["one", "other"][n % 2]);
        callers.spawn(host.request(reqwest::Method::POST, &path).body(row(3_000).to_string()).send());
    }
    while let Some(answer) = callers.join_next().await {
        assert_eq!(answer.expect("no panic").expect("an answer").status(), 200);
    }
    for function in ["one", "other"] {
        let stats = only(&host, &format!("/v2/models/{function}/stats")).await;
        assert_eq!((counts(&stats), &stats["inference_count"]), ([12, 0, 12, 12], &json!(12)), "{stats}");
        let batches = stats["batch_stats"].as_array().expect("a list");
        let runs: u64 = batches.iter().filter_map(|batch| batch["compute_infer"]["count"].as_u64()).sum();
        assert_eq!(stats["execution_count"], runs, "{stats}");
        assert!(runs < 12 && batches.iter().any(|batch| batch["batch_size"].as_u64() > Some(1)), "{stats}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_configuration_says_what_clients_size_their_requests_by() {
    let host = TestHost::start().await;
    host.deploy_model("simple", "addsub.onnx").await.expect(201);
    let tensor = |name: &str| json!({"name": name, "data_type": "TYPE_INT32", "dims": [16]});
    let expected = json!({
        "name": "simple",
        "platform": "onnxruntime_onnx",
        "backend": "onnxruntime",
        "version_policy": {"all": {}},
        "max_batch_size": 64,
        "input": [tensor("INPUT0"), tensor("INPUT1")],
        "output": [tensor("OUTPUT0"), tensor("OUTPUT1")],
        "instance_group": [{"name": "simple", "kind": "KIND_AUTO", "count": 1, "gpus": []}],
        "dynamic_batching": {"preferred_batch_size": [], "max_queue_delay_microseconds": 0},
        "model_transaction_policy": {"decoupled": false},
    });
    for path in ["/v2/models/simple/config", "/v2/models/simple/versions/1.0.0/config"] {
        assert_eq!(host.get(path).await.expect(200), expected, "{path}");
    }
    host.post("/v2/repository/models/simple/load", "{}").await.expect(200);
    let loaded = host.get("/v2/models/simple/config").await.expect(200);
    assert_eq!(loaded["instance_group"][0]["kind"], "KIND_CPU", "it is known by now: {loaded}");

    // A row must leave something of the shape.
    host.deploy_model("nan", "nan.onnx").await.expect(201);
    let config = host.get("/v2/models/nan/config").await.expect(200);
    assert_eq!((&config["max_batch_size"], &config["input"][0]["dims"]), (&json!(0), &json!([-1])));
    assert_eq!(config.get("dynamic_batching"), None);

    host.deployed(bundle(&example("digits"))).await;
    let config = host.get("/v2/models/digits/config").await.expect(200);
    assert_eq!((&config["platform"], &config["max_batch_size"]), (&json!("nocti_component"), &json!(0)));
    host.deploy_model("text", "identity_string.onnx").await.expect(201);
    let config = host.get("/v2/models/text/config").await.expect(200);
    assert_eq!(config["input"], json!([{"name": "input", "data_type": "TYPE_STRING", "dims": [-1]}]));
    host.get("/v2/models/nothing/config").await.expect_error(404, "not_found", &["Request for unknown model"]);
}
