//! Functions on an NVIDIA GPU: they answer as on the processor, and say where they run. `make test-gpu` runs these tests;
//! they fail where there is no GPU, and are no part of `make test`.

use std::time::Duration;

use nocti::registry::nocti_toml::Project;
use nocti_tests::{Answer, TestHost, bundle_with, eventually, example, fixture_guest, fixture_model, write};
use serde_json::{Value, json};

/// The device's name in `status` and metadata.
const GPU: &str = "cuda:0";

/// Long enough for whatever a test waits for.
const PATIENT: Duration = Duration::from_secs(600);

/// So many iterations that they never end.
const ENDLESS: u64 = 1 << 62;

/// A host with the GPU build of ONNX Runtime.
async fn host() -> TestHost {
    #[expect(clippy::disallowed_methods, reason = "the Makefile tells where the library is")]
    let library =
        std::env::var("NOCTI_ONNXRUNTIME_LIBRARY").expect("`make test-gpu` says where ONNX Runtime for GPUs is");
    TestHost::start_with(|config| config.onnxruntime.library = library).await
}

/// Deploys what must be good, if there is a GPU.
async fn deploy(host: &TestHost, bundle: Vec<u8>) {
    let answer = host.post("/api/functions", bundle).await;
    assert!(answer.status == 201, "not deployed; is there a GPU? {}", answer.text());
}

/// All its models on a device, and time enough.
fn on(project: &mut Project, device: &str) {
    project.manifest.limits.timeout = PATIENT;
    for model in &mut project.models {
        model.options.device = device.parse().expect("a device");
    }
}

fn model_only(name: &str, file: &std::path::Path, device: &str) -> Vec<u8> {
    let mut project = Project::for_model(file, name.parse().expect("a name"), "1".parse().expect("a version"));
    on(&mut project, device);
    write(&project)
}

/// The folder's function under a name of the test's own.
fn typed(name: &str, folder: &std::path::Path, device: &str) -> Vec<u8> {
    bundle_with(folder, |project| {
        project.manifest.name = name.parse().expect("a name");
        on(project, device);
    })
}

fn tensor(name: &str, datatype: &str, shape: &[usize], data: Value) -> Value {
    let mut tensor = json!({"name": name, "datatype": datatype, "shape": shape});
    tensor["data"] = data;
    tensor
}

fn mode(mode: &str, model: &str, inputs: &[Value]) -> Value {
    json!({"parameters": {"mode": mode, "model": model}, "inputs": inputs})
}

/// One row for `rows.onnx`.
fn row(x: [i64; 3], scale: i64, work: u64) -> Value {
    json!({"inputs": [
        tensor("x", "FP32", &[1, 3], json!(x)),
        tensor("scale", "INT64", &[1], json!([scale])),
        tensor("work", "INT64", &[1], json!([work])),
    ]})
}

fn iterations(count: u64) -> Value {
    json!({"inputs": [tensor("iterations", "INT64", &[1], json!([count]))]})
}

/// Eight rows of 8x8 pixels between 0 and `most`.
fn pixels(most: u64) -> Vec<u64> {
    (0..8 * 64_u64).map(|at| at * at * 31 % (most + 1)).collect()
}

/// Numbers that differ by less than a hundredth of the largest: GPUs round otherwise, tensor cores to ten bits.
#[track_caller]
fn assert_close(some: &Value, other: &Value) {
    let (some, other) = (some["outputs"].as_array().expect("outputs"), other["outputs"].as_array().expect("outputs"));
    assert_eq!(some.len(), other.len());
    for (some, other) in some.iter().zip(other) {
        assert_eq!(
            (&some["name"], &some["datatype"], &some["shape"]),
            (&other["name"], &other["datatype"], &other["shape"])
        );
        let numbers = |output: &Value| -> Vec<f64> {
            output["data"].as_array().expect("numbers").iter().map(|number| number.as_f64().expect("finite")).collect()
        };
        let (some, other) = (numbers(some), numbers(other));
        let largest = other.iter().fold(0.0, |most: f64, number| most.max(number.abs()));
        for (at, (a, b)) in some.iter().zip(&other).enumerate() {
            assert!((a - b).abs() <= 0.01 * largest, "element {at}: {a} and {b}");
        }
    }
}

/// The same function on both devices, and what both say to a request.
async fn assert_answers_alike(bundle: impl Fn(&str, &str) -> Vec<u8>, request: &Value) {
    let host = host().await;
    deploy(&host, bundle("on-gpu", "cuda")).await;
    deploy(&host, bundle("on-cpu", "cpu")).await;
    for _ in 0..3 {
        let (gpu, cpu) = tokio::join!(host.infer("on-gpu", request), host.infer("on-cpu", request));
        assert_close(&gpu.expect(200), &cpu.expect(200));
    }
    for (function, device) in [("on-gpu", GPU), ("on-cpu", "cpu")] {
        let models = &host.status(function).await["models"];
        assert_eq!(models[0]["device"], device, "{models}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_alone_answers_as_on_the_processor() {
    let digits = example("digits").join("model/digits.onnx");
    let images: Vec<f64> = pixels(255).iter().map(|&pixel| pixel as f64 / 255.0).collect();
    let request = json!({"inputs": [tensor("image", "FP32", &[8, 1, 8, 8], json!(images))]});
    assert_answers_alike(|name, device| model_only(name, &digits, device), &request).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transformer_alone_answers_as_on_the_processor() {
    let minilm = example("sentences").join("model/minilm.onnx");
    let (ids, mask) = ([[101, 2023, 2003, 2019, 102], [101, 2460, 102, 0, 0]], [[1; 5], [1, 1, 1, 0, 0]]);
    let input = |name: &str, data: [[u16; 5]; 2]| tensor(name, "INT64", &[2, 5], json!(data.concat()));
    let request = json!({"inputs": [input("input_ids", ids), input("attention_mask", mask)]});
    assert_answers_alike(|name, device| model_only(name, &minilm, device), &request).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_function_that_reads_its_models_outputs_answers_as_on_the_processor() {
    let request = json!({"inputs": [tensor("image", "UINT8", &[8, 8, 8], json!(pixels(255)))]});
    assert_answers_alike(|name, device| typed(name, &example("digits"), device), &request).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sentences_mean_the_same() {
    let texts = ["Nobody has seen the sea from here.", "short", "Three instances of one function share its model."];
    let request = json!({"inputs": [tensor("text", "BYTES", &[3], json!(texts))]});
    assert_answers_alike(|name, device| typed(name, &example("sentences"), device), &request).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn where_a_model_runs_is_said_everywhere() {
    let host = host().await;
    deploy(&host, model_only("scalar", &fixture_model("scalar.onnx"), "auto")).await;
    host.infer("scalar", &json!({"inputs": [tensor("x", "FP32", &[2], json!([1, 2]))]})).await.expect(200);
    let status = host.get("/api/status").await.expect(200);
    assert_eq!(status["sessions"][0]["device"], GPU, "{status}");
    let models = &host.status("scalar").await["models"];
    assert_eq!((&models[0]["name"], &models[0]["device"]), (&json!("scalar"), &json!(GPU)));
    let metadata = host.get("/v2/models/scalar").await.expect(200);
    assert!(metadata.to_string().contains(GPU), "{metadata}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gpu_that_is_not_there_is_refused_by_its_name() {
    let host = host().await;
    deploy(&host, model_only("scalar", &fixture_model("scalar.onnx"), "cuda:0")).await;
    let answer = host.post("/api/functions", model_only("far", &fixture_model("scalar.onnx"), "cuda:99")).await;
    answer.expect_error(400, "invalid_model", &["model 'far' cannot run on cuda:99"]);
}

/// One model's outputs are the next one's inputs, and at the end the function's answer: no guest reads them.
#[tokio::test(flavor = "multi_thread")]
async fn outputs_are_handed_on_in_both_dialects() {
    let host = host().await;
    deploy(&host, typed("free", &fixture_guest("free"), "cuda")).await;
    let input = tensor("input", "FP32", &[1, 2], json!([0.1, 2.5]));
    let mut empty = tensor("input", "FP32", &[0, 2], json!([]));
    for input in [&input, &empty] {
        let answer = host.infer("free", &mode("nn-handed-on", "identity_float", std::slice::from_ref(input))).await;
        let output = answer.expect(200)["outputs"][0].clone();
        assert_eq!((&output["data"], &output["shape"]), (&input["data"], &input["shape"]));
    }
    empty["name"] = "other".into();
    let refused = host.infer("free", &mode("nn", "identity_float", &[empty])).await.expect(200);
    assert_eq!(refused["outputs"][0]["data"][0], "InvalidArgument", "{refused}");

    deploy(&host, typed("older", &fixture_guest("nn-2024-08-19"), "cuda")).await;
    let bytes = "0000803f00000040";
    let steps = format!(
        "load-by-name=identity_float&context&set-input=input,FP32,1x2,{bytes}&compute&get-output=output\
         &chain=output,input&compute&get-output=output&get-output=output"
    );
    let answer = host.post(&format!("/functions/older/?{steps}"), "").await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let text = answer.text();
    assert_eq!(text.lines().filter(|line| line.ends_with(bytes)).count(), 3, "{text}");
}

/// Keeps the only session busy until `requests` are queued, then lets it go.
async fn queued(host: &TestHost, function: &str, requests: &[Value]) -> Vec<Answer> {
    let session = async |what: &str| host.get("/api/status").await.expect(200)["sessions"][0][what].clone();
    let endless = row([0, 0, 0], 0, ENDLESS).to_string();
    let path = format!("/v2/models/{function}/infer");
    let caller = tokio::spawn(host.request(reqwest::Method::POST, &path).body(endless).send());
    eventually("the busy session", async || (session("running").await == 1).then_some(())).await;
    let answers = futures::future::join_all(requests.iter().map(|request| host.infer(function, request)));
    let release = async {
        eventually("the queue", async || (session("queued").await == requests.len()).then_some(())).await;
        caller.abort();
    };
    tokio::join!(answers, release).0
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_share_runs() {
    let host = host().await;
    deploy(&host, model_only("rows", &fixture_model("rows.onnx"), "cuda")).await;
    let requests: Vec<Value> = (0..8).map(|at| row([1, 2, at], 2, 0)).collect();
    for _ in 0..2 {
        for (at, answer) in queued(&host, "rows", &requests).await.iter().enumerate() {
            assert_eq!(answer.expect(200)["outputs"][0]["data"], json!([2.0, 4.0, 2.0 * at as f64]));
        }
    }
    let session = host.get("/api/status").await.expect(200)["sessions"][0].clone();
    assert_eq!((&session["device"], &session["batching"]), (&json!(GPU), &json!("on")));
    let count = |what: &str| session[what].as_u64().expect("a number");
    assert!(count("runs") < count("requests"), "{session}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_past_its_deadline_ends_and_one_whose_caller_goes() {
    let host = host().await;
    let mut project = Project::for_model(
        &fixture_model("slow.onnx"),
        "slow".parse().expect("a name"),
        "1".parse().expect("a version"),
    );
    on(&mut project, "cuda");
    project.manifest.limits.timeout = Duration::from_secs(2);
    deploy(&host, write(&project)).await;
    host.infer("slow", &iterations(ENDLESS)).await.expect_error(504, "deadline_exceeded", &["deadline"]);
    assert_eq!(host.infer("slow", &iterations(1)).await.expect(200)["outputs"][0]["data"], json!([64.0]));

    deploy(&host, typed("free", &fixture_guest("free"), "cuda")).await;
    let endless = mode("nn", "slow", &[iterations(ENDLESS)["inputs"][0].clone()]).to_string();
    let request = host.request(reqwest::Method::POST, "/v2/models/free/infer").body(endless);
    let caller = tokio::spawn(request.send());
    host.busy("free", 1).await;
    caller.abort();
    host.busy("free", 0).await;
    let once = mode("nn", "slow", &[iterations(1)["inputs"][0].clone()]);
    assert_eq!(host.infer("free", &once).await.expect(200)["outputs"][0]["data"], json!([64.0]));
}

/// Two hosts in one process use the same GPU; neither minds what the other is sent.
#[tokio::test(flavor = "multi_thread")]
async fn bad_requests_leave_it_working() {
    let hosts = [host().await, host().await];
    for host in &hosts {
        deploy(host, model_only("rows", &fixture_model("rows.onnx"), "cuda")).await;
        deploy(host, typed("free", &fixture_guest("free"), "cuda")).await;
    }
    let bad = [
        json!({"inputs": [tensor("x", "FP32", &[1, 4], json!([1, 2, 3, 4]))]}),
        json!({"inputs": [tensor("x", "INT64", &[1, 3], json!([1, 2, 3]))]}),
        json!({"inputs": []}),
    ];
    for host in &hosts {
        for request in &bad {
            let answer = host.infer("rows", request).await;
            assert!([400, 500].contains(&answer.status), "{} {}", answer.status, answer.text());
        }
        for behaviour in ["nn-twice", "nn-bad-tensor"] {
            let refused = host.infer("free", &mode(behaviour, "identity_float", &[])).await.expect(200);
            assert_eq!(refused["outputs"][0]["data"][0], "InvalidArgument", "{refused}");
        }
    }
    for host in &hosts {
        assert_eq!(
            host.infer("rows", &row([1, 2, 3], 2, 0)).await.expect(200)["outputs"][0]["data"],
            json!([2.0, 4.0, 6.0])
        );
    }
}
