//! Every datatype of the protocol through ONNX Runtime and back, and what JSON has no words for.

use nocti_tests::{Answer, TestHost, model_bundle};
use serde_json::{Value, json};

use super::{identity_of_a_scalar, tensor};

/// ONNX name, datatype, three values that a careless conversion would change.
fn values() -> Vec<(&'static str, &'static str, [Value; 3])> {
    vec![
        ("bool", "BOOL", [json!(true), json!(false), json!(true)]),
        ("uint8", "UINT8", [json!(0), json!(1), json!(u8::MAX)]),
        ("uint16", "UINT16", [json!(0), json!(1), json!(u16::MAX)]),
        ("uint32", "UINT32", [json!(0), json!(1), json!(u32::MAX)]),
        ("uint64", "UINT64", [json!(0), json!((1_u64 << 53) + 1), json!(u64::MAX)]),
        ("int8", "INT8", [json!(i8::MIN), json!(0), json!(i8::MAX)]),
        ("int16", "INT16", [json!(i16::MIN), json!(0), json!(i16::MAX)]),
        ("int32", "INT32", [json!(i32::MIN), json!(0), json!(i32::MAX)]),
        ("int64", "INT64", [json!(i64::MIN), json!((1_i64 << 53) + 1), json!(i64::MAX)]),
        ("float16", "FP16", [json!(-65504.0), json!(1.5), json!(5.9604645e-8)]),
        ("bfloat16", "BF16", [json!(-2.0), json!(1.5), json!(256.0)]),
        ("float", "FP32", [json!(-0.0), json!(0.1), json!(16777216.0)]),
        ("double", "FP64", [json!(-0.0), json!(0.1), json!(-1234567.890625)]),
        ("string", "BYTES", [json!(""), json!("a \"b\"\\\n"), json!("é🚀")]),
    ]
}

/// Asks in JSON, where the type may be JSON.
async fn asked(host: &TestHost, name: &str, request: &Value) -> Answer {
    if name.contains("float16") { host.ask(name, request).await } else { host.infer(name, request).await }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_datatype_comes_back_as_it_went_in_flat_or_nested() {
    let host = TestHost::start().await;
    for (name, datatype, [a, b, c]) in values() {
        host.deploy_model(name, &format!("identity_{name}.onnx")).await.expect(201);
        let flat = json!([a, b, c, c, a, b]);
        let nested = json!([[a, b, c], [c, a, b]]);
        for data in [&flat, &nested] {
            let request = json!({"inputs": [tensor("input", datatype, &[2, 3], data.clone())]});
            let answer = asked(&host, name, &request).await.expect(200);
            assert_eq!(answer["outputs"], json!([tensor("output", datatype, &[2, 3], flat.clone())]), "{datatype}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_negative_zero_keeps_its_sign() {
    let host = TestHost::start().await;
    host.deploy_model("float", "identity_float.onnx").await.expect(201);
    let request = json!({"inputs": [tensor("input", "FP32", &[1, 1], json!([-0.0]))]});
    let answer = host.infer("float", &request).await;
    assert!(answer.text().contains("[-0.0]"), "{}", answer.text());
}

#[tokio::test(flavor = "multi_thread")]
async fn empty_dimensions_are_answered_with_empty_data() {
    let host = TestHost::start().await;
    for (name, datatype) in [("float", "FP32"), ("string", "BYTES")] {
        host.deploy_model(name, &format!("identity_{name}.onnx")).await.expect(201);
        for (shape, data) in [([0, 3], json!([])), ([2, 0], json!([[], []])), ([0, 0], json!([]))] {
            let request = json!({"inputs": [tensor("input", datatype, &shape, data)]});
            let answer = host.infer(name, &request).await.expect(200);
            assert_eq!(answer["outputs"], json!([tensor("output", datatype, &shape, json!([]))]));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_output_without_dimensions_has_an_empty_shape_and_one_element() {
    let host = TestHost::start().await;
    host.deploy_model("scalar", "scalar.onnx").await.expect(201);
    let answer = host.infer("scalar", &json!({"inputs": [tensor("x", "FP32", &[3], json!([1, 2, 3]))]})).await;
    assert_eq!(answer.expect(200)["outputs"], json!([tensor("sum", "FP32", &[], json!([6.0]))]));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_input_without_dimensions_takes_one_element_and_an_empty_shape() {
    let host = TestHost::start().await;
    let file = tempfile::NamedTempFile::new().expect("a temporary file");
    std::fs::write(file.path(), identity_of_a_scalar()).expect("it can be written");
    host.deployed(model_bundle("one", "1.0.0", file.path())).await;
    assert_eq!(host.get("/v2/models/one").await.expect(200)["inputs"][0]["shape"], json!([]));
    let request = |shape: &[usize], data: Value| json!({"inputs": [tensor("input", "FP32", shape, data)]});
    let answer = host.infer("one", &request(&[], json!([0.1]))).await.expect(200);
    assert_eq!(answer["outputs"], json!([tensor("output", "FP32", &[], json!([0.1]))]));
    for data in [json!([]), json!([1, 2])] {
        host.infer("one", &request(&[], data)).await.expect_error(400, "invalid_request", &["input 'input'"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nan_and_infinities_are_strings_in_both_directions() {
    let host = TestHost::start().await;
    let special = json!(["NaN", "Infinity", "-Infinity"]);
    for (name, datatype) in [("float16", "FP16"), ("bfloat16", "BF16"), ("float", "FP32"), ("double", "FP64")] {
        host.deploy_model(name, &format!("identity_{name}.onnx")).await.expect(201);
        let request = json!({"inputs": [tensor("input", datatype, &[1, 3], special.clone())]});
        let answer = asked(&host, name, &request).await.expect(200);
        assert_eq!(answer["outputs"][0]["data"], special, "{datatype}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_that_computes_nan_is_answered_with_valid_json() {
    let host = TestHost::start().await;
    host.deploy_model("nan", "nan.onnx").await.expect(201);
    let request = json!({"inputs": [tensor("x", "FP32", &[3], json!([-1, 0, 1]))]});
    let answer = host.infer("nan", &request).await.expect(200);
    assert_eq!(answer["outputs"][0]["data"], json!(["NaN", "-Infinity", 0.0]));
    assert_eq!(answer["outputs"][1]["data"], json!([-1.0, "Infinity", 1.0]));
}

/// As Python's `json` writes them, and so `tritonclient`.
#[tokio::test(flavor = "multi_thread")]
async fn bare_nan_and_infinities_are_taken_for_floats_and_refused_for_integers() {
    let host = TestHost::start().await;
    for (name, datatype) in [("float", "FP32"), ("double", "FP64"), ("int32", "INT32")] {
        host.deploy_model(name, &format!("identity_{name}.onnx")).await.expect(201);
        let words = "[NaN, Infinity, -Infinity]";
        let v2 = format!(r#"{{"inputs":[{{"name":"input","datatype":"{datatype}","shape":[1,3],"data":{words}}}]}}"#);
        let v1 = format!(r#"{{"instances":[{words}]}}"#);
        for (path, body) in [(format!("/v2/models/{name}/infer"), v2), (format!("/v1/models/{name}:predict"), v1)] {
            let answer = host.post(&path, body).await;
            if name == "int32" {
                answer.expect_error(400, "invalid_request", &["'input': element 0 is NaN, but INT32 takes integers"]);
            } else {
                assert!(answer.text().contains(r#""NaN","Infinity","-Infinity""#), "{}", answer.text());
            }
        }
    }
}

/// In the words of other servers, which clients match.
#[tokio::test(flavor = "multi_thread")]
async fn halves_are_binary_data_but_for_people() {
    let host = TestHost::start().await;
    for (name, datatype, one) in [("float16", "FP16", [0, 0x3c]), ("bfloat16", "BF16", [0x80, 0x3f])] {
        host.deploy_model(name, &format!("identity_{name}.onnx")).await.expect(201);
        let request = json!({"inputs": [tensor("input", datatype, &[1, 1], json!([1]))]});
        let said = "data via JSON is not supported. Please use the binary data format for";
        let answer = host.infer(name, &request).await.expect(400);
        let error = format!("receiving {datatype} {said} input input");
        assert_eq!(answer, json!({"error": error, "code": "invalid_request"}));
        let input =
            json!({"name": "input", "datatype": datatype, "shape": [1, 1], "parameters": {"binary_data_size": 2}});
        for binary in [true, false] {
            let json = json!({"parameters": {"binary_data_output": binary}, "inputs": [input]}).to_string();
            let request = host
                .request(reqwest::Method::POST, &format!("/v2/models/{name}/infer"))
                .header("inference-header-content-length", json.len())
                .body([json.as_bytes(), &one].concat());
            let answer = host.send(request).await;
            if binary {
                assert!(answer.status == 200 && answer.body.ends_with(&one), "{}", answer.text());
            } else {
                let error = format!("sending {datatype} {said} output output");
                assert_eq!(answer.expect(400), json!({"error": error, "code": "not_json"}));
            }
        }
        let answer = host.ask(name, &request).await.expect(200);
        assert_eq!(answer["outputs"], json!([tensor("output", datatype, &[1, 1], json!([1.0]))]));
        let answer = host.post(&format!("/v1/models/{name}:predict"), r#"{"instances": [[1.5]]}"#).await;
        assert_eq!(answer.expect(200), json!({"predictions": [[1.5]]}));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn values_outside_their_type_are_refused_by_name_and_position() {
    let host = TestHost::start().await;
    let cases = [
        ("uint8", "UINT8", json!([1, 256]), ["element 1 is 256", "UINT8, 0 to 255"]),
        ("uint64", "UINT64", json!([-1, 0]), ["element 0 is -1", "UINT64"]),
        ("int8", "INT8", json!([0, -129]), ["element 1 is -129", "INT8, -128 to 127"]),
        ("int64", "INT64", json!([u64::MAX, 0]), ["element 0 is 18446744073709551615", "INT64"]),
        ("int32", "INT32", json!([0, 1.5]), ["element 1 is 1.5", "INT32 takes integers"]),
        ("float16", "FP16", json!([0, 65536]), ["element 1 is 65536", "range of FP16"]),
        ("float", "FP32", json!([0, 1e39]), ["element 1 is 1e", "range of FP32"]),
        ("float", "FP32", json!([0, "1"]), ["element 1 is \"1\"", "FP32 takes numbers"]),
        ("bool", "BOOL", json!([true, 2]), ["element 1 is 2", "BOOL takes true, false"]),
        ("string", "BYTES", json!(["a", 1]), ["element 1 is 1", "BYTES takes strings"]),
        ("string", "BYTES", json!(["a", null]), ["element 1 is null", "BYTES takes strings"]),
    ];
    for (name, datatype, data, parts) in cases {
        host.deploy_model(name, &format!("identity_{name}.onnx")).await;
        let answer = asked(&host, name, &json!({"inputs": [tensor("input", datatype, &[1, 2], data)]})).await;
        answer.expect_error(400, "invalid_request", &["input 'input'"]);
        answer.expect_error(400, "invalid_request", &parts);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_that_are_no_text_go_in_as_base64_where_the_model_takes_them() {
    let host = TestHost::start().await;
    host.deploy_model("string", "identity_string.onnx").await.expect(201);
    let base64 = |data: &str| {
        let mut input = tensor("input", "BYTES", &[1, 1], json!([data]));
        input["parameters"] = json!({"content_type": "base64"});
        json!({"inputs": [input]})
    };
    let answer = host.infer("string", &base64("dGV4dA==")).await.expect(200);
    assert_eq!(answer["outputs"][0]["data"], json!(["text"]));
    host.infer("string", &base64("/v8=")).await.expect_error(400, "invalid_request", &["UTF-8"]);
    host.infer("string", &base64("not base64")).await.expect_error(400, "invalid_request", &["'input'", "not base64"]);
}

/// ONNX Runtime takes C strings, which end at their first NUL.
#[tokio::test(flavor = "multi_thread")]
async fn text_with_a_nul_is_refused_rather_than_cut_off() {
    let host = TestHost::start().await;
    host.deploy_model("string", "identity_string.onnx").await.expect(201);
    let request = json!({"inputs": [tensor("input", "BYTES", &[1, 1], json!(["a\0b"]))]});
    host.infer("string", &request).await.expect_error(400, "invalid_request", &["input 'input'", "NUL character"]);
}
