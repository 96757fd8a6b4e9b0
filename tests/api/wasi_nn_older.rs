//! `wasi:nn` 0.2.0-rc-2024-08-19 as a component built with its bindings sees it, alone and beside the latest.

use nocti_tests::{TestHost, bundle_with, fixture_guest, fixture_model};
use serde_json::json;

use super::identity_of_a_scalar;

/// Bytes in hexadecimal, as the guest takes and gives them.
fn hexadecimal(bytes: impl IntoIterator<Item = u8>) -> String {
    bytes.into_iter().map(|byte| format!("{byte:02x}")).collect()
}

fn fp32(numbers: &[f32]) -> String {
    hexadecimal(numbers.iter().flat_map(|number| number.to_le_bytes()))
}

fn int32(numbers: &[i32]) -> String {
    hexadecimal(numbers.iter().flat_map(|number| number.to_le_bytes()))
}

async fn host() -> TestHost {
    let host = TestHost::start().await;
    host.deploy(&fixture_guest("nn-2024-08-19")).await.expect(201);
    host
}

/// The lines that the guest answers to its steps.
async fn run_with(host: &TestHost, body: Vec<u8>, steps: &[&str]) -> Vec<String> {
    let answer = host.post(&format!("/functions/nn-2024-08-19/?{}", steps.join("&")), body).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.text().lines().map(str::to_owned).collect()
}

async fn run(host: &TestHost, steps: &[&str]) -> Vec<String> {
    run_with(host, Vec::new(), steps).await
}

/// A context of a bundle's model, then the steps; the lines of those alone.
async fn steps(host: &TestHost, model: &str, steps: &[&str]) -> Vec<String> {
    let load = format!("load-by-name={model}");
    let lines = run(host, &[&[load.as_str(), "context"], steps].concat()).await;
    assert_eq!(lines[..2], ["load-by-name", "context"]);
    lines[2..].to_vec()
}

#[track_caller]
fn assert_refused(line: &str, code: &str, parts: &[&str]) {
    assert!(line.starts_with(&format!("ErrorCode::{code}: ")), "{line}");
    for part in parts {
        assert!(line.contains(part), "'{part}' is not in: {line}");
    }
    assert!(!line.contains("/tmp/") && !line.contains("blobs"), "it tells too much: {line}");
}

#[tokio::test(flavor = "multi_thread")]
async fn both_dialects_run_side_by_side_on_one_session() {
    let host = TestHost::start().await;
    for name in ["http-nn", "nn-2024-08-19"] {
        host.deployed(bundle_with(&fixture_guest(name), |project| {
            project.models.retain(|model| model.name.as_str() == "scalar");
        }))
        .await;
    }
    let set = format!("set-input=x,FP32,3,{}", fp32(&[1.0, 2.5, -8.0]));
    for _ in 0..2 {
        let lines = steps(&host, "scalar", &[&set, "compute", "get-output=sum"]).await;
        assert_eq!(lines, ["set-input", "compute", &format!("sum TensorType::Fp32 [] {}", fp32(&[-4.5]))]);
        let latest = host.get("/functions/http-nn/scalar?x=1,2.5,-8").await;
        assert_eq!(latest.text(), "sum TensorType::Fp32 [] [-4.5]\n");
    }
    let status = host.get("/api/status").await.expect(200);
    assert_eq!(status["sessions"].as_array().map(Vec::len), Some(1), "{status}");
    assert_eq!((&status["sessions"][0]["model"], &status["sessions"][0]["refs"]), (&json!("scalar"), &json!(2)));
}

#[tokio::test(flavor = "multi_thread")]
async fn all_seven_tensor_types_go_through_a_model_and_back() {
    let host = host().await;
    let cases: [(&str, &str, &str, Vec<u8>); 7] = [
        ("uint8", "U8", "U8", vec![0, 255, 7]),
        ("int32", "I32", "I32", [i32::MIN, i32::MAX, 7].iter().flat_map(|n| n.to_le_bytes()).collect()),
        ("int64", "I64", "I64", [i64::MIN, i64::MAX, 7].iter().flat_map(|n| n.to_le_bytes()).collect()),
        // 1.5, NaN, the smallest number.
        ("float16", "FP16", "Fp16", [0x3e00_u16, 0x7e00, 0x0001].iter().flat_map(|n| n.to_le_bytes()).collect()),
        ("bfloat16", "BF16", "Bf16", [0x3fc0_u16, 0x7fc0, 0x0001].iter().flat_map(|n| n.to_le_bytes()).collect()),
        ("float", "FP32", "Fp32", [0.1, f32::NAN, -0.0].iter().flat_map(|n| n.to_le_bytes()).collect()),
        ("double", "FP64", "Fp64", [0.1, f64::INFINITY, -0.0].iter().flat_map(|n| n.to_le_bytes()).collect()),
    ];
    for (name, ty, shown, bytes) in cases {
        for (dimensions, shape, bytes) in [("1x3", "[1, 3]", bytes), ("0x3", "[0, 3]", Vec::new())] {
            let bytes = hexadecimal(bytes);
            let set = format!("set-input=input,{ty},{dimensions},{bytes}");
            let lines = steps(&host, &format!("identity_{name}"), &[&set, "compute", "get-output=output"]).await;
            assert_eq!(lines, ["set-input", "compute", &format!("output TensorType::{shown} {shape} {bytes}")]);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn inputs_stay_until_replaced_and_outputs_until_the_next_run() {
    let host = host().await;
    let input = |name: &str, value: i32| format!("set-input={name},I32,1x16,{}", int32(&[value; 16]));
    let output = |name: &str, value: i32| format!("{name} TensorType::I32 [1, 16] {}", int32(&[value; 16]));
    // Names and positions, in any order; an output may be had twice and goes on as an input.
    let (first, second, third) = (input("INPUT1", 2), input("0", 5), input("INPUT0", 6));
    let lines = steps(
        &host,
        "addsub",
        &[
            &first,
            &second,
            "compute",
            "get-output=OUTPUT0",
            "get-output=OUTPUT0",
            "get-output=1",
            &third,
            "get-output=OUTPUT0",
            "compute",
            "get-output=OUTPUT0",
            "chain=OUTPUT1,INPUT1",
            "compute",
            "get-output=OUTPUT1",
        ],
    )
    .await;
    let expected = [
        "set-input".to_owned(),
        "set-input".into(),
        "compute".into(),
        output("OUTPUT0", 7),
        output("OUTPUT0", 7),
        output("1", 3),
        "set-input".into(),
        output("OUTPUT0", 7),
        "compute".into(),
        output("OUTPUT0", 8),
        "chain".into(),
        "compute".into(),
        output("OUTPUT1", 2),
    ];
    assert_eq!(lines, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_input_with_a_default_may_be_left_out_or_given() {
    let host = host().await;
    let x = format!("set-input=x,FP32,2,{}", fp32(&[1.0, 2.0]));
    let scale = format!("set-input=scale,FP32,1,{}", fp32(&[10.0]));
    let lines =
        steps(&host, "optional_input", &[&x, "compute", "get-output=y", &scale, "compute", "get-output=y"]).await;
    let y = |numbers: &[f32]| format!("y TensorType::Fp32 [2] {}", fp32(numbers));
    assert_eq!((&lines[2], &lines[5]), (&y(&[2.0, 4.0]), &y(&[10.0, 20.0])));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_context_out_of_order_or_with_wrong_inputs_says_so_and_lives_on() {
    let host = host().await;
    let good = format!("set-input=input,FP32,1x1,{}", fp32(&[1.0]));
    let wrong_shape = format!("set-input=input,FP32,1,{}", fp32(&[1.0]));
    let lines = steps(
        &host,
        "identity_float",
        &[
            "get-output=output",
            "compute",
            "set-input=wrong,FP32,1x1,0000803f",
            "set-input=1,FP32,1x1,0000803f",
            "set-input=input,FP32,2x2,000000",
            &wrong_shape,
            "compute",
            "set-input=input,FP64,1x1,0000000000000000",
            "compute",
            &good,
            "compute",
            "get-output=wrong",
            "get-output=1",
            "get-output=output",
            &wrong_shape,
            "compute",
            "get-output=output",
        ],
    )
    .await;
    assert_refused(&lines[0], "RuntimeError", &["no outputs before `compute` has succeeded"]);
    assert_refused(&lines[1], "InvalidArgument", &["missing required input 'input'"]);
    assert_refused(&lines[2], "InvalidArgument", &["no input 'wrong'", "takes 'input'"]);
    assert_refused(&lines[3], "InvalidArgument", &["no input '1'"]);
    assert_refused(&lines[4], "InvalidArgument", &["input 'input'", "shape [2, 2] of FP32 needs 16 bytes, got 3"]);
    assert_eq!(lines[5], "set-input", "types and shapes are checked together, by `compute`");
    assert_refused(&lines[6], "InvalidArgument", &["unexpected shape for input 'input'", "[1]"]);
    assert_refused(&lines[8], "InvalidArgument", &["'FP64'", "expects 'FP32'"]);
    assert_refused(&lines[11], "InvalidArgument", &["no output 'wrong'", "gives 'output'"]);
    assert_refused(&lines[12], "InvalidArgument", &["no output '1'"]);
    assert_eq!(lines[13], format!("output TensorType::Fp32 [1, 1] {}", fp32(&[1.0])));
    assert_refused(&lines[15], "InvalidArgument", &["unexpected shape"]);
    assert_refused(&lines[16], "RuntimeError", &["no outputs before `compute` has succeeded"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_error_has_its_code() {
    let host = host().await;
    let scalar = std::fs::read(fixture_model("scalar.onnx")).expect("it is there");
    assert_refused(&run(&host, &["load-by-name=nothing"]).await[0], "NotFound", &["no model 'nothing'", "'scalar'"]);
    let cases: [(&str, &str, &[&str]); 4] = [
        ("load=openvino,cpu,1", "InvalidEncoding", &["this host runs ONNX models, not GraphEncoding::Openvino"]),
        ("load=onnx,tpu,1", "UnsupportedOperation", &["TPU"]),
        ("load=onnx,cpu,2", "InvalidArgument", &["one builder, got 2"]),
        ("load=onnx,cpu,0", "InvalidArgument", &["one builder, got none"]),
    ];
    for (load, code, parts) in cases {
        assert_refused(&run_with(&host, scalar.clone(), &[load]).await[0], code, parts);
    }
    let corrupt = std::fs::read(fixture_model("corrupt.onnx")).expect("it is there");
    assert_refused(&run_with(&host, corrupt, &["load=onnx,cpu,1"]).await[0], "InvalidEncoding", &["cannot be loaded"]);
    let lines = run_with(&host, scalar.clone(), &["load=onnx,cpu,1"; 9]).await;
    assert_eq!(lines[..8], ["load"; 8]);
    assert_refused(&lines[8], "TooLarge", &["an instance may hold 8 models"]);
    // Two rows and three rows: ONNX Runtime finds out on the way.
    let input = |n: usize| format!("set-input=INPUT{n},I32,{}x16,{}", n + 2, int32(&vec![1; (n + 2) * 16]));
    let lines = steps(&host, "addsub", &[&input(0), &input(1), "compute"]).await;
    assert_refused(&lines[2], "RuntimeError", &["model 'addsub' failed"]);
    // A machine with a GPU loads it.
    let gpu = &run_with(&host, scalar, &["load=onnx,gpu,1"]).await[0];
    if gpu != "load" {
        assert_refused(gpu, "Security", &["cannot run on cuda:0: "]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_can_be_loaded_from_bytes() {
    let host = host().await;
    let scalar = std::fs::read(fixture_model("scalar.onnx")).expect("it is there");
    let set = format!("set-input=x,FP32,2,{}", fp32(&[1.0, 2.0]));
    for load in ["load=onnx,cpu,1", "load=autodetect,cpu,1"] {
        let steps = [load, "context", &set, "compute", "get-output=sum"];
        let lines = run_with(&host, scalar.clone(), &steps).await;
        assert_eq!(lines[4], format!("sum TensorType::Fp32 [] {}", fp32(&[3.0])));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tensor_without_dimensions_goes_in_and_out() {
    let host = host().await;
    let steps = ["load=onnx,cpu,1", "context", "set-input=input,FP32,,cdcccc3d", "compute", "get-output=output"];
    let lines = run_with(&host, identity_of_a_scalar(), &steps).await;
    assert_eq!(lines[4], "output TensorType::Fp32 [] cdcccc3d");
}

#[tokio::test(flavor = "multi_thread")]
async fn types_that_wasi_nn_does_not_have_are_an_error_and_no_trap() {
    let host = host().await;
    let lines = steps(&host, "identity_bool", &["set-input=input,U8,1x1,01", "compute"]).await;
    assert_refused(&lines[1], "InvalidArgument", &["input 'input'", "'BOOL'"]);
}

/// Half a MiB in and out of a limit of 32 MiB, in which the guest's own memory is not counted.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_context_holds_counts_as_held_by_the_guest() {
    let host = TestHost::start().await;
    host.deployed(bundle_with(&fixture_guest("nn-2024-08-19"), |project| {
        project.models.retain(|model| model.name.as_str() == "identity_uint8");
        project.manifest.limits.memory = 32 << 20;
    }))
    .await;
    let path = |steps: &[&str]| {
        let all = [&["load-by-name=identity_uint8", "context"], steps].concat();
        format!("/functions/nn-2024-08-19/?{}", all.join("&"))
    };
    let (zeros, keep) = ("set-zeros=input,524288", "keep-output=output");
    // Replaced inputs, outputs of earlier runs and further handles of one output cost nothing more. With 62 outputs kept
    // the input in the context is the last thing that fits.
    let replaced = [zeros; 100];
    let runs = [&[zeros], vec!["compute"; 100].as_slice()].concat();
    let handles = [&[zeros, "compute"], vec![keep; 200].as_slice()].concat();
    let full = [zeros, "compute", keep].repeat(62);
    for steps in [replaced.as_slice(), &runs, &handles, &full] {
        let answer = host.get(&path(steps)).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        assert!(!answer.text().contains("ErrorCode"), "{}", answer.text());
    }
    let hoard = [zeros, "compute", keep].repeat(63);
    host.get(&path(&hoard)).await.expect_error(502, "function_failed", &["its memory limit of 33554432 bytes"]);
    let answer = host.get(&path(&full)).await;
    assert_eq!(answer.status, 200, "the next request meets a new instance: {}", answer.text());
}
