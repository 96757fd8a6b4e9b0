//! Tensors as binary data behind the JSON, both ways: the protocol's extension `binary_tensor_data`.

use nocti_tests::{Answer, TestHost, example, fixture_guest};
use reqwest::Method;
use serde_json::{Value, json};

use super::tensor;

const JSON_LENGTH: &str = "inference-header-content-length";

/// An input of so many bytes of binary data.
fn input(name: &str, datatype: &str, shape: &[usize], size: usize) -> Value {
    json!({"name": name, "datatype": datatype, "shape": shape, "parameters": {"binary_data_size": size}})
}

/// Sends JSON with bytes behind it; `length` is what the header says.
async fn send(host: &TestHost, path: &str, length: &str, json: &str, tail: &[u8]) -> Answer {
    let request = host.request(Method::POST, path).header(JSON_LENGTH, length);
    host.send(request.body([json.as_bytes(), tail].concat())).await
}

async fn infer(host: &TestHost, function: &str, request: &Value, tail: &[u8]) -> Answer {
    let json = request.to_string();
    send(host, &format!("/v2/models/{function}/infer"), &json.len().to_string(), &json, tail).await
}

/// The JSON of an answer and what is behind it.
#[track_caller]
fn split(answer: &Answer) -> (Value, &[u8]) {
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(answer.headers["content-type"], "application/octet-stream");
    assert_eq!(answer.headers["content-length"], answer.body.len().to_string().as_str());
    let length = answer.headers[JSON_LENGTH].to_str().expect("a number").parse().expect("a number");
    let (json, tail) = answer.body.split_at(length);
    (serde_json::from_slice(json).expect("JSON"), tail)
}

/// ONNX name, datatype, bytes of a tensor of shape [1, 2].
const TENSORS: [(&str, &str, &[u8]); 14] = [
    ("bool", "BOOL", &[1, 0]),
    ("uint8", "UINT8", &[0, 255]),
    ("uint16", "UINT16", &[1, 2, 255, 255]),
    ("uint32", "UINT32", &[1, 2, 3, 4, 255, 255, 255, 255]),
    ("uint64", "UINT64", &[1, 2, 3, 4, 5, 6, 7, 8, 255, 255, 255, 255, 255, 255, 255, 255]),
    ("int8", "INT8", &[128, 127]),
    ("int16", "INT16", &[0, 128, 255, 127]),
    ("int32", "INT32", &[0, 0, 0, 128, 255, 255, 255, 127]),
    ("int64", "INT64", &[0, 0, 0, 0, 0, 0, 0, 128, 1, 0, 0, 0, 0, 0, 32, 0]),
    // A NaN with a payload, which JSON could not carry, and the smallest number.
    ("float16", "FP16", &[0x12, 0x7e, 1, 0]),
    ("bfloat16", "BF16", &[0xc1, 0x7f, 1, 0]),
    ("float", "FP32", &[0x34, 0x12, 0xc0, 0x7f, 1, 0, 0, 0]),
    ("double", "FP64", &[0x78, 0x56, 0x34, 0x12, 0, 0, 0xf8, 0x7f, 1, 0, 0, 0, 0, 0, 0, 128]),
    ("string", "BYTES", b"\x05\0\0\0\xc3\xa9\"\\\n\0\0\0\0"),
];

#[tokio::test(flavor = "multi_thread")]
async fn every_datatype_comes_back_bit_by_bit() {
    let host = TestHost::start().await;
    for (name, datatype, bytes) in TENSORS {
        host.deploy_model(name, &format!("identity_{name}.onnx")).await.expect(201);
        let request = json!({
            "id": "7",
            "parameters": {"binary_data_output": true},
            "inputs": [input("input", datatype, &[1, 2], bytes.len())],
        });
        let answer = infer(&host, name, &request, bytes).await;
        let (json, tail) = split(&answer);
        let output = input("output", datatype, &[1, 2], bytes.len());
        assert_eq!(
            json,
            json!({"model_name": name, "model_version": "1.0.0", "id": "7", "outputs": [output]}),
            "{datatype}"
        );
        assert_eq!(tail, bytes, "{datatype}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn binary_and_json_tensors_go_together_both_ways() {
    let host = TestHost::start().await;
    host.deploy_model("simple", "addsub.onnx").await.expect(201);
    let ones: Vec<u8> = [1i32; 16].into_iter().flat_map(i32::to_le_bytes).collect();
    let numbers = tensor("INPUT0", "INT32", &[1, 16], json!((0..16).collect::<Vec<_>>()));
    let sums: Vec<u8> = (1..17i32).flat_map(i32::to_le_bytes).collect();
    let differences = tensor("OUTPUT1", "INT32", &[1, 16], json!((-1..15).collect::<Vec<_>>()));
    let wish = |binary: bool| json!({"binary_data": binary});
    for (parameters, outputs) in [
        (json!({}), json!([{"name": "OUTPUT0", "parameters": wish(true)}, {"name": "OUTPUT1"}])),
        (
            json!({"binary_data_output": true}),
            json!([{"name": "OUTPUT0"}, {"name": "OUTPUT1", "parameters": wish(false)}]),
        ),
    ] {
        let inputs = json!([numbers, input("INPUT1", "INT32", &[1, 16], 64)]);
        let request = json!({"parameters": parameters, "inputs": inputs, "outputs": outputs});
        let answer = infer(&host, "simple", &request, &ones).await;
        let (json, tail) = split(&answer);
        assert_eq!(json["outputs"], json!([input("OUTPUT0", "INT32", &[1, 16], 64), differences]));
        assert_eq!(tail, sums);
    }
    // Binary in, JSON out, and the other way round.
    let both = [ones.clone(), ones.clone()].concat();
    let binary = json!([input("INPUT0", "INT32", &[1, 16], 64), input("INPUT1", "INT32", &[1, 16], 64)]);
    let answer = infer(&host, "simple", &json!({"inputs": binary}), &both).await;
    assert_eq!(answer.expect(200)["outputs"][0]["data"], json!(vec![2; 16]));
    assert_eq!(
        (answer.headers.get(JSON_LENGTH), &answer.headers["content-type"]),
        (None, &"application/json".parse().expect("a value"))
    );
    let ones = json!(vec![1; 16]);
    let inputs = json!([tensor("INPUT0", "INT32", &[1, 16], ones.clone()), tensor("INPUT1", "INT32", &[1, 16], ones)]);
    let request = json!({"parameters": {"binary_data_output": true}, "inputs": inputs});
    let answer = host.infer("simple", &request).await;
    assert_eq!(split(&answer).1.len(), 128);
}

/// There is nothing behind the JSON then, so that any client can read it.
#[tokio::test(flavor = "multi_thread")]
async fn tensors_without_elements_have_no_binary_data() {
    let host = TestHost::start().await;
    for (name, datatype) in [("float", "FP32"), ("string", "BYTES")] {
        host.deploy_model(name, &format!("identity_{name}.onnx")).await.expect(201);
        let inputs = json!([input("input", datatype, &[0, 3], 0)]);
        let request = json!({"parameters": {"binary_data_output": true}, "inputs": inputs});
        let answer = infer(&host, name, &request, &[]).await;
        assert_eq!(answer.expect(200)["outputs"], json!([input("output", datatype, &[0, 3], 0)]));
        assert_eq!(answer.headers.get(JSON_LENGTH), None);
    }
}

/// Frames of a chunked body end anywhere, also within the JSON and within an element.
#[tokio::test(flavor = "multi_thread")]
async fn a_body_of_unknown_length_in_many_pieces_is_put_together() {
    let host = TestHost::start().await;
    host.deploy_model("float", "identity_float.onnx").await.expect(201);
    let bytes: Vec<u8> = (0..300_000u32).flat_map(|n| (n as f32).to_le_bytes()).collect();
    let inputs = json!([input("input", "FP32", &[300, 1000], bytes.len())]);
    let json = json!({"parameters": {"binary_data_output": true}, "inputs": inputs}).to_string();
    let body = [json.as_bytes(), &bytes].concat();
    let pieces: Vec<_> = body.chunks(7919).map(|piece| Ok::<_, std::io::Error>(piece.to_vec())).collect();
    let request = host.request(Method::POST, "/v2/models/float/infer").header(JSON_LENGTH, json.len());
    let request = request.body(reqwest::Body::wrap_stream(futures::stream::iter(pieces)));
    assert_eq!(split(&host.send(request).await).1, bytes);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_typed_function_takes_and_gives_binary_data() {
    let host = TestHost::start().await;
    host.deploy(&example("digits")).await.expect(201);
    let image: Vec<u8> = (0..64).map(|n| if n % 8 == 3 { 255 } else { 0 }).collect();
    let as_json = json!({"inputs": [tensor("image", "UINT8", &[1, 8, 8], json!(image))]});
    let expected = host.infer("digits", &as_json).await.expect(200);
    let request = json!({
        "parameters": {"binary_data_output": true},
        "inputs": [input("image", "UINT8", &[1, 8, 8], 64)],
        "outputs": [{"name": "scores"}, {"name": "label", "parameters": {"binary_data": false}}],
    });
    let answer = infer(&host, "digits", &request, &image).await;
    let (json, tail) = split(&answer);
    assert_eq!(json["outputs"][0], input("scores", "FP32", &[1, 10], 40));
    assert_eq!(json["outputs"][1], expected["outputs"][0]);
    let scores: Vec<f32> = tail.as_chunks().0.iter().map(|&bytes| f32::from_le_bytes(bytes)).collect();
    let expected: Vec<f32> = serde_json::from_value(expected["outputs"][1]["data"].clone()).expect("numbers");
    assert_eq!(scores, expected);
    // A picture file is no text.
    let png = std::fs::read(example("digits/model/samples/2-0.png")).expect("it is part of the example");
    let data = [&u32::try_from(png.len()).expect("small").to_le_bytes()[..], &png].concat();
    let request = json!({"inputs": [input("png", "BYTES", &[1], data.len())]});
    assert_eq!(infer(&host, "digits", &request, &data).await.expect(200)["outputs"][0]["data"], json!([2]));
}

#[tokio::test(flavor = "multi_thread")]
async fn explanations_come_as_binary_data_as_well() {
    let host = TestHost::start().await;
    host.deploy(&fixture_guest("misbehave")).await.expect(201);
    let parameters = json!({"mode": "of my own", "binary_data_output": true});
    let json = json!({"parameters": parameters, "inputs": [input("x", "INT64", &[1], 8)]}).to_string();
    let answer = send(&host, "/v2/models/misbehave/explain", &json.len().to_string(), &json, &[0; 8]).await;
    let (json, tail) = split(&answer);
    assert_eq!(json["outputs"], json!([input("why", "BYTES", &[1], 18)]));
    assert_eq!(tail, b"\x0e\0\0\0mode of my own");
}

#[tokio::test(flavor = "multi_thread")]
async fn binary_data_that_makes_no_tensors_is_refused_with_the_reason() {
    let host = TestHost::start().await;
    host.deploy_model("float", "identity_float.onnx").await.expect(201);
    host.deploy_model("string", "identity_string.onnx").await.expect(201);
    let float = |size| json!({"inputs": [input("input", "FP32", &[1, 2], size)]});
    let string = |size| json!({"inputs": [input("input", "BYTES", &[1, 1], size)]});
    let cases: [(&str, Value, &[u8], &str); 8] = [
        (
            "float",
            float(8),
            &[0; 5],
            "unexpected size for input 'input', expecting 3 additional bytes for model 'float'",
        ),
        ("float", float(8), &[0; 9], "unexpected additional input data for model 'float'"),
        ("float", float(4), &[0; 4], "input byte size mismatch for input 'input' for model 'float'. Expected 8, got 4"),
        (
            "string",
            string(5),
            b"\x02\0\0\0a",
            "input 'input': element 0 has 2 bytes, but 1 are left of its binary data",
        ),
        ("string", string(3), &[0; 3], "input 'input': its binary data ends within the length of element 0"),
        (
            "string",
            string(8),
            &[0; 8],
            "expected 1 string elements for inference input 'input' for model 'string', got 2",
        ),
        ("string", string(5), b"\x01\0\0\0\xff", "input 'input': this model takes text: the elements must be UTF-8"),
        (
            "float",
            json!({"inputs": [input("input", "FP32", &[1, 1], 4)], "outputs": [{"name": "output", "parameters": {"binary_data": "yes"}}]}),
            &[0; 4],
            "parameter 'binary_data': must be true or false",
        ),
    ];
    for (function, request, tail, message) in cases {
        let answer = infer(&host, function, &request, tail).await.expect(400);
        assert_eq!(answer, json!({"error": message, "code": "invalid_request"}));
    }
    let answer = host.infer("float", &float(8)).await;
    answer.expect_error(400, "invalid_request", &["input 'input'", "needs the header Inference-Header-Content-Length"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_header_that_is_no_length_of_the_json_is_refused() {
    let host = TestHost::start().await;
    host.deploy_model("float", "identity_float.onnx").await.expect(201);
    let path = "/v2/models/float/infer";
    let json = json!({"inputs": [tensor("input", "FP32", &[1, 1], json!([1]))]}).to_string();
    for header in ["", "x", "-1", "+5", "1.5", "0x10", "99999999999999999999999", "1, 2"] {
        let answer = send(&host, path, header, &json, &[]).await;
        answer.expect_error(400, "invalid_request", &[JSON_LENGTH, "must be one number"]);
    }
    let twice = host.request(Method::POST, path).header(JSON_LENGTH, "5").header(JSON_LENGTH, "5").body(json.clone());
    host.send(twice).await.expect_error(400, "invalid_request", &[JSON_LENGTH, "must be one number"]);
    for too_much in [json.len() + 1, usize::MAX] {
        let answer = send(&host, path, &too_much.to_string(), &json, &[]).await;
        let parts = [&*format!("its JSON has {too_much} bytes"), &*format!("all of it has {}", json.len())];
        answer.expect_error(400, "invalid_request", &parts);
    }
    let answer = send(&host, path, &(json.len() - 1).to_string(), &json, &[]).await;
    answer.expect_error(400, "invalid_request", &["not a valid inference request", "EOF"]);
    // All of the body may be JSON.
    send(&host, path, &json.len().to_string(), &json, &[]).await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_limit_of_bodies_holds_for_binary_data() {
    let host = TestHost::start_with(|config| config.body_bytes = 10_000).await;
    host.deploy_model("float", "identity_float.onnx").await.expect(201);
    let request = json!({"inputs": [input("input", "FP32", &[1, 2500], 10_000)]});
    infer(&host, "float", &request, &[0; 10_000]).await.expect_error(413, "too_large", &["limits.body"]);
}
