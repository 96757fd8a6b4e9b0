//! `ModelInfer` over gRPC: tensors in every form there is, and the mistakes that can be made with them.

use std::collections::HashMap;

use nocti_tests::grpc::inference::infer_parameter::ParameterChoice;
use nocti_tests::grpc::inference::model_infer_request::{InferInputTensor, InferRequestedOutputTensor};
use nocti_tests::grpc::inference::{InferParameter, InferTensorContents, ModelInferRequest, ModelInferResponse};
use nocti_tests::{TestHost, fixture_guest, fixture_model, model_bundle};
use serde_json::json;
use tonic::Code;

/// An input whose elements are elsewhere.
pub(super) fn input(name: &str, datatype: &str, shape: &[i64]) -> InferInputTensor {
    InferInputTensor { name: name.into(), datatype: datatype.into(), shape: shape.to_vec(), ..Default::default() }
}

/// An input with its elements.
pub(super) fn typed(name: &str, datatype: &str, shape: &[i64], contents: InferTensorContents) -> InferInputTensor {
    InferInputTensor { contents: Some(contents), ..input(name, datatype, shape) }
}

pub(super) fn ints(values: &[i32]) -> InferTensorContents {
    InferTensorContents { int_contents: values.to_vec(), ..Default::default() }
}

pub(super) fn raw(values: &[i32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

pub(super) fn request(model: &str, inputs: Vec<InferInputTensor>, raw: Vec<Vec<u8>>) -> ModelInferRequest {
    ModelInferRequest { model_name: model.into(), inputs, raw_input_contents: raw, ..Default::default() }
}

/// 0 to 15 and ones, for a model such as `addsub`.
pub(super) fn simple(model: &str) -> ModelInferRequest {
    let (zero, one) = (input("INPUT0", "INT32", &[1, 16]), input("INPUT1", "INT32", &[1, 16]));
    request(model, vec![zero, one], vec![raw(&(0..16).collect::<Vec<_>>()), raw(&[1; 16])])
}

pub(super) async fn host() -> TestHost {
    let host = TestHost::start().await;
    host.deploy_model("simple", "addsub.onnx").await.expect(201);
    host
}

async fn infer(host: &TestHost, request: ModelInferRequest) -> ModelInferResponse {
    host.grpc().await.model_infer(request).await.unwrap_or_else(|status| panic!("{status}")).into_inner()
}

/// Asserts the code, and that the message has `parts` in it.
#[track_caller]
fn refused<T: std::fmt::Debug>(answer: Result<T, tonic::Status>, code: Code, parts: &[&str]) {
    let status = answer.expect_err("it is wrong");
    assert_eq!(status.code(), code, "{status}");
    for part in parts {
        assert!(status.message().contains(part), "'{part}' is not in: {}", status.message());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sums_and_differences_come_back_raw_whatever_they_were_asked_in() {
    let host = host().await;
    let contents = vec![
        typed("INPUT0", "INT32", &[1, 16], ints(&(0..16).collect::<Vec<_>>())),
        typed("INPUT1", "INT32", &[1, 16], ints(&[1; 16])),
    ];
    for mut request in [simple("simple"), request("simple", contents, vec![])] {
        request.id = "seven".into();
        let answer = infer(&host, request).await;
        assert_eq!((answer.model_name.as_str(), answer.model_version.as_str()), ("simple", "1.0.0"));
        assert_eq!(answer.id, "seven");
        let heads: Vec<_> = answer.outputs.iter().map(|it| (it.name.as_str(), it.datatype.as_str())).collect();
        assert_eq!(heads, [("OUTPUT0", "INT32"), ("OUTPUT1", "INT32")]);
        assert!(answer.outputs.iter().all(|it| it.shape == [1, 16] && it.contents.is_none()));
        let expected = [raw(&(1..17).collect::<Vec<_>>()), raw(&(-1..15).collect::<Vec<_>>())];
        assert_eq!(answer.raw_output_contents, expected);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn outputs_come_in_the_order_they_are_wanted() {
    let host = host().await;
    let output = |name: &str| InferRequestedOutputTensor { name: name.into(), ..Default::default() };
    let wanted = ModelInferRequest { outputs: vec![output("OUTPUT1")], ..simple("simple") };
    let answer = infer(&host, wanted).await;
    assert_eq!(answer.outputs.len(), 1);
    assert_eq!(answer.raw_output_contents, [raw(&(-1..15).collect::<Vec<_>>())]);
    let unknown = ModelInferRequest { outputs: vec![output("OUTPUT9")], ..simple("simple") };
    let parts = &["unexpected inference output 'OUTPUT9' for model 'simple'"];
    refused(host.grpc().await.model_infer(unknown).await, Code::InvalidArgument, parts);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_datatype_goes_through_raw_and_typed() {
    let host = TestHost::start().await;
    let none = InferTensorContents::default();
    let strings = vec![b"".to_vec(), b"a b".to_vec(), "é🚀".as_bytes().to_vec()];
    let text: Vec<u8> =
        strings.iter().flat_map(|it| [&u32::try_from(it.len()).unwrap().to_le_bytes()[..], it].concat()).collect();
    let floats = [-0.0f32, 0.1, f32::NAN];
    let doubles = [-0.0f64, 0.1, f64::INFINITY];
    let cases: Vec<(&str, &str, Vec<u8>, Option<InferTensorContents>)> = vec![
        (
            "bool",
            "BOOL",
            vec![1, 0, 1],
            Some(InferTensorContents { bool_contents: vec![true, false, true], ..none.clone() }),
        ),
        (
            "uint8",
            "UINT8",
            vec![0, 1, 255],
            Some(InferTensorContents { uint_contents: vec![0, 1, 255], ..none.clone() }),
        ),
        (
            "uint16",
            "UINT16",
            [0u16, 1, 65535].iter().flat_map(|it| it.to_le_bytes()).collect(),
            Some(InferTensorContents { uint_contents: vec![0, 1, 65535], ..none.clone() }),
        ),
        (
            "uint32",
            "UINT32",
            [0, 1, u32::MAX].iter().flat_map(|it| it.to_le_bytes()).collect(),
            Some(InferTensorContents { uint_contents: vec![0, 1, u32::MAX], ..none.clone() }),
        ),
        (
            "uint64",
            "UINT64",
            [0, 1, u64::MAX].iter().flat_map(|it| it.to_le_bytes()).collect(),
            Some(InferTensorContents { uint64_contents: vec![0, 1, u64::MAX], ..none.clone() }),
        ),
        ("int8", "INT8", vec![128, 0, 127], Some(ints(&[-128, 0, 127]))),
        (
            "int16",
            "INT16",
            [i16::MIN, 0, i16::MAX].iter().flat_map(|it| it.to_le_bytes()).collect(),
            Some(ints(&[-32768, 0, 32767])),
        ),
        ("int32", "INT32", raw(&[i32::MIN, 0, i32::MAX]), Some(ints(&[i32::MIN, 0, i32::MAX]))),
        (
            "int64",
            "INT64",
            [i64::MIN, (1 << 53) + 1, i64::MAX].iter().flat_map(|it| it.to_le_bytes()).collect(),
            Some(InferTensorContents { int64_contents: vec![i64::MIN, (1 << 53) + 1, i64::MAX], ..none.clone() }),
        ),
        ("float16", "FP16", vec![0xff, 0xfb, 0x66, 0x2e, 1, 0], None),
        ("bfloat16", "BF16", vec![0x80, 0x3f, 0, 0xc0, 0x80, 0x7f], None),
        (
            "float",
            "FP32",
            floats.iter().flat_map(|it| it.to_le_bytes()).collect(),
            Some(InferTensorContents { fp32_contents: floats.to_vec(), ..none.clone() }),
        ),
        (
            "double",
            "FP64",
            doubles.iter().flat_map(|it| it.to_le_bytes()).collect(),
            Some(InferTensorContents { fp64_contents: doubles.to_vec(), ..none.clone() }),
        ),
        ("string", "BYTES", text, Some(InferTensorContents { bytes_contents: strings, ..none.clone() })),
    ];
    let mut client = host.grpc().await;
    for (model, datatype, bytes, contents) in cases {
        host.deployed(model_bundle(model, "1", &fixture_model(&format!("identity_{model}.onnx")))).await;
        let head = input("input", datatype, &[1, 3]);
        let as_raw = request(model, vec![head.clone()], vec![bytes.clone()]);
        let as_typed =
            contents.map(|contents| request(model, vec![typed("input", datatype, &[1, 3], contents)], vec![]));
        for request in [Some(as_raw), as_typed].into_iter().flatten() {
            let answer =
                client.model_infer(request).await.unwrap_or_else(|status| panic!("{model}: {status}")).into_inner();
            assert_eq!((answer.outputs[0].datatype.as_str(), &answer.outputs[0].shape), (datatype, &vec![1, 3]));
            assert_eq!(answer.raw_output_contents, std::slice::from_ref(&bytes), "{model}");
        }
        // Nothing is a tensor too.
        let answer = client.model_infer(request(model, vec![input("input", datatype, &[0, 3])], vec![vec![]])).await;
        let answer = answer.unwrap_or_else(|status| panic!("{model}: {status}")).into_inner();
        assert_eq!((answer.outputs[0].shape.as_slice(), answer.raw_output_contents), (&[0, 3][..], vec![vec![]]));
    }
    let half = request("float16", vec![typed("input", "FP16", &[1, 3], none)], vec![]);
    refused(client.model_infer(half).await, Code::InvalidArgument, &["FP16", "raw_input_contents"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_fit_is_told_in_the_words_that_clients_match() {
    let host = host().await;
    let mut client = host.grpc().await;
    let change = |change: fn(&mut ModelInferRequest)| {
        let mut request = simple("simple");
        change(&mut request);
        request
    };
    let cases = [
        (
            change(|it| it.inputs[0].contents = Some(ints(&[1]))),
            "contents field must not be specified when using raw_input_contents for 'INPUT0' for model 'simple'",
        ),
        (
            change(|it| it.raw_input_contents[0].truncate(60)),
            "input byte size mismatch for input 'INPUT0' for model 'simple'. Expected 64, got 60",
        ),
        (
            change(|it| {
                it.inputs[0].shape = vec![1, 8];
                it.raw_input_contents[0].truncate(32);
            }),
            "unexpected shape for input 'INPUT0' for model 'simple'. Expected [-1,16], got [1,8]",
        ),
        (
            change(|it| {
                it.inputs.pop();
                it.raw_input_contents.pop();
            }),
            "expected 2 inputs but got 1 inputs for model 'simple'. Got input(s) ['INPUT0'], but missing required input(s) \
             ['INPUT1']",
        ),
        (
            change(|it| it.inputs[0].datatype = "FP32".into()),
            "inference input 'INPUT0' data-type is 'FP32', but model 'simple' expects 'INT32'",
        ),
        (change(|it| it.inputs[0].datatype = "TYPE_INT32".into()), "'TYPE_INT32' is not a datatype"),
        (change(|it| it.inputs[1].name = "INPUT0".into()), "input 'INPUT0': is given more than once"),
        (change(|it| it.inputs[1].name = "INPUT2".into()), "unexpected inference input 'INPUT2' for model 'simple'"),
        (change(|it| it.inputs[0].shape = vec![-1, 16]), "its shape [-1, 16] has a negative dimension"),
        (change(|it| it.inputs[0].shape = vec![i64::MAX, i64::MAX]), "more elements than can be addressed"),
        (change(|it| it.inputs[0].shape = vec![1; 70]), "at most 64 dimensions"),
    ];
    for (request, text) in cases {
        refused(client.model_infer(request).await, Code::InvalidArgument, &[text]);
    }
    let unknown = client.model_infer(simple("nothing")).await;
    refused(unknown, Code::NotFound, &["Request for unknown model: 'nothing' is not found"]);
    let version = ModelInferRequest { model_version: "9".into(), ..simple("simple") };
    refused(client.model_infer(version).await, Code::NotFound, &["'simple' version '9' is not found"]);
    // A caller's text may be any length, and the message travels in a header.
    let long = "x".repeat(1 << 20);
    refused(client.model_infer(simple(&long)).await, Code::NotFound, &["Request for unknown model: 'xxx"]);
    let long = change(|it| it.inputs[1].name = "x".repeat(1 << 20));
    refused(client.model_infer(long).await, Code::InvalidArgument, &["unexpected inference input 'xxx"]);
    // After all this it answers.
    for version in ["", "1.0.0", "live"] {
        client
            .model_infer(ModelInferRequest { model_version: version.into(), ..simple("simple") })
            .await
            .expect(version);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn parameters_reach_a_function_and_those_of_other_servers_are_understood() {
    let host = TestHost::start().await;
    host.deploy(&fixture_guest("misbehave")).await.expect(201);
    let parameter = |choice| InferParameter { parameter_choice: Some(choice) };
    let text = |text: &str| parameter(ParameterChoice::StringParam(text.into()));
    let with = |more: &[(&str, InferParameter)]| {
        let mut parameters = HashMap::from([("mode".to_owned(), text("count"))]);
        parameters.extend(more.iter().map(|(name, value)| ((*name).to_owned(), value.clone())));
        ModelInferRequest { parameters, ..request("misbehave", vec![], vec![]) }
    };
    let of_triton = with(&[
        ("sequence_id", parameter(ParameterChoice::Int64Param(7))),
        ("sequence_start", parameter(ParameterChoice::BoolParam(true))),
        ("priority", parameter(ParameterChoice::Uint64Param(1))),
        ("timeout", parameter(ParameterChoice::Int64Param(1_000_000))),
        ("ratio", parameter(ParameterChoice::DoubleParam(0.5))),
        ("triton_enable_empty_final_response", parameter(ParameterChoice::BoolParam(true))),
    ]);
    let answer = infer(&host, of_triton).await;
    assert_eq!(answer.raw_output_contents, [1i64.to_le_bytes().to_vec()]);
    let mut client = host.grpc().await;
    let huge = with(&[("priority", parameter(ParameterChoice::Uint64Param(u64::MAX)))]);
    refused(client.model_infer(huge).await, Code::InvalidArgument, &["parameter 'priority'", "64 bits"]);
    for name in ["shared_memory_region", "shared_memory_offset", "shared_memory_byte_size"] {
        let outside = with(&[(name, text("r"))]);
        let words = [name, "is not supported", "turn shared memory off in the client"];
        refused(client.model_infer(outside).await, Code::InvalidArgument, &words);
    }
    // In memory they take far more than on their way.
    let parameters = (0..100_000).map(|n| (n.to_string(), InferParameter::default())).collect();
    let inputs = vec![InferInputTensor { parameters, ..input("x", "INT64", &[1]) }];
    let countless = client.model_infer(request("misbehave", inputs, vec![])).await;
    refused(countless, Code::InvalidArgument, &["100002 inputs, outputs, raw contents and parameters", "4096"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn http_and_grpc_are_the_same_host() {
    let host = host().await;
    infer(&host, simple("simple")).await;
    let stats = host.get("/v2/models/simple/stats").await.expect(200);
    assert_eq!(stats["model_stats"][0]["inference_stats"]["success"]["count"], json!(1));
    assert_eq!(host.status("simple").await["requests"], 1);
    let metrics = host.get("/metrics").await.text();
    let line = "nocti_requests_total{function=\"simple\",version=\"1.0.0\",kind=\"predict\",outcome=\"ok\"} 1";
    assert!(metrics.lines().any(|found| found == line), "{metrics}");
}
