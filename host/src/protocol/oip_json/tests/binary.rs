//! Binary data behind the JSON.

use bytes::Bytes;
use proptest::prelude::*;

use super::properties::any_tensor;
use crate::protocol::ProtocolError;
use crate::protocol::oip_json::{BinaryOutputs, Halves, parse_request, write_response};
use crate::protocol::predict::PredictRequest;
use crate::tensor::Tensor;

/// A request of JSON with bytes behind it.
fn parse(json: &str, tail: &[u8]) -> Result<(PredictRequest, BinaryOutputs), ProtocolError> {
    parse_request("m", &Bytes::from([json.as_bytes(), tail].concat()), Some(json.len()), Halves::Binary)
}

/// An input of so many bytes of binary data.
fn input(name: &str, datatype: &str, shape: &str, size: impl std::fmt::Display) -> String {
    format!(r#"{{"name":"{name}","shape":{shape},"datatype":"{datatype}","parameters":{{"binary_data_size":{size}}}}}"#)
}

/// Why a request whose only input is `x` is refused.
fn refusal(datatype: &str, shape: &str, size: impl std::fmt::Display, tail: &[u8]) -> String {
    let json = format!(r#"{{"inputs":[{}]}}"#, input("x", datatype, shape, size));
    parse(&json, tail).expect_err("must be refused").to_string()
}

#[test]
fn inputs_take_their_bytes_in_order_and_json_goes_between() {
    let json = format!(
        r#"{{"inputs":[{},{{"name":"b","shape":[1],"datatype":"INT8","data":[9]}},{},{},{}]}}"#,
        input("a", "UINT16", "[2]", 4),
        input("c", "BYTES", "[2]", 11),
        input("d", "FP32", "[0,3]", 0),
        input("e", "BOOL", "[]", 1),
    );
    let body = Bytes::from([json.as_bytes(), b"\x01\x00\x00\x01\x03\0\0\0\xffab\0\0\0\0\x01"].concat());
    let (request, _) = parse_request("m", &body, Some(json.len()), Halves::Binary).expect("valid");
    let raw: Vec<_> = request.inputs.iter().map(|(_, tensor)| tensor.raw().clone()).collect();
    assert_eq!(raw, [&[1, 0, 0, 1][..], &[9], b"\x03\0\0\0\xffab\0\0\0\0", &[], &[1]]);
    for (input, at) in [(0, 0), (2, 4)] {
        assert_eq!(raw[input].as_ptr(), body[json.len() + at..].as_ptr(), "a tensor is a slice of the body");
    }
}

#[test]
fn sizes_must_agree_with_shape_datatype_and_body() {
    assert_eq!(
        refusal("FP32", "[2]", 8, &[0; 7]),
        "unexpected size for input 'x', expecting 1 additional bytes for model 'm'"
    );
    assert_eq!(refusal("FP32", "[2]", 8, &[0; 11]), "unexpected additional input data for model 'm'");
    assert_eq!(
        refusal("FP32", "[2]", 4, &[0; 4]),
        "input byte size mismatch for input 'x' for model 'm'. Expected 8, got 4"
    );
    assert_eq!(refusal("BOOL", "[2]", 2, &[1, 2]), "input 'x': a BOOL element must be 0 or 1, got 2");
    assert_eq!(refusal("INT8", "[-1]", 1, &[0]), "input 'x': its shape [-1] has a negative dimension");
    let enormous = "[9223372036854775807,4]";
    for datatype in ["INT8", "BYTES"] {
        assert!(refusal(datatype, enormous, 4, &[0; 4]).contains("more elements than can be addressed"));
    }
    for size in ["-1", "1.5", "true", "\"4\""] {
        assert_eq!(refusal("INT8", "[1]", size, &[0]), "input 'x': its binary_data_size must be a number of bytes");
    }
}

#[test]
fn elements_of_bytes_must_fill_their_data() {
    assert_eq!(
        refusal("BYTES", "[1]", 6, b"\x03\0\0\0ab"),
        "input 'x': element 0 has 3 bytes, but 2 are left of its binary data"
    );
    for (shape, size, got) in [("[2]", 4, 1), ("[1]", 12, 3)] {
        let said =
            format!("expected {} string elements for inference input 'x' for model 'm', got {got}", &shape[1..2]);
        assert_eq!(refusal("BYTES", shape, size, &vec![0; size]), said);
    }
    assert_eq!(refusal("BYTES", "[2]", 7, &[0; 7]), "input 'x': its binary data ends within the length of element 1");
}

#[test]
fn what_is_binary_data_must_be_clear() {
    let both =
        r#"{"inputs":[{"name":"x","shape":[1],"datatype":"INT8","data":[1],"parameters":{"binary_data_size":1}}]}"#;
    let said =
        |result: Result<(PredictRequest, BinaryOutputs), ProtocolError>| result.expect_err("refused").to_string();
    assert_eq!(said(parse(both, &[1])), "input 'x': it has both data and a binary_data_size");
    let json = format!(r#"{{"inputs":[{}]}}"#, input("x", "INT8", "[1]", 1));
    let error = said(parse_request("m", &Bytes::from(json.clone()), None, Halves::Binary));
    assert!(error.contains("needs the header Inference-Header-Content-Length"), "{error}");
    assert_eq!(
        said(parse_request("m", &Bytes::from(json.clone()), Some(json.len() + 1), Halves::Binary)),
        format!(
            "the body is not a valid inference request: its JSON has {} bytes (Inference-Header-Content-Length), but all \
             of it has {}",
            json.len() + 1,
            json.len()
        )
    );
    let error = said(parse(r#"{"inputs":[],"parameters":{"binary_data_output":1}}"#, &[]));
    assert_eq!(error, "parameter 'binary_data_output': must be true or false");
}

#[test]
fn an_output_is_binary_by_its_own_parameter_or_by_the_requests() {
    let wants = |outputs: &str, all: bool| {
        let json = format!(r#"{{"inputs":[],"parameters":{{"p":1,"binary_data_output":{all}}},"outputs":{outputs}}}"#);
        let (request, binary) = parse_request("m", &Bytes::from(json), None, Halves::Binary).expect("valid");
        assert_eq!(request.parameters.len(), 1, "the function is not told");
        (binary.contains("a"), binary.contains("b"))
    };
    let named = |binary: bool| format!(r#"[{{"name":"a","parameters":{{"binary_data":{binary}}}}},{{"name":"b"}}]"#);
    assert_eq!(wants("null", true), (true, true));
    assert_eq!(wants("[]", false), (false, false));
    assert_eq!(wants(&named(false), true), (false, true));
    assert_eq!(wants(&named(true), false), (true, false));
}

#[test]
fn a_response_has_its_buffers_as_they_are() {
    let numbers = Bytes::from_static(&[1, 0, 2, 0]);
    let outputs = [
        ("n".to_owned(), Tensor::fixed(crate::tensor::Datatype::Int16, vec![2], numbers.clone()).expect("4 bytes")),
        ("t".to_owned(), Tensor::variable(vec![2], [&b"\xff"[..], b"ab"]).expect("two")),
        ("none".to_owned(), Tensor::variable(vec![0], [""; 0]).expect("none")),
    ];
    let body = write_response("m", "1", None, &outputs, &BinaryOutputs { others: true, ..BinaryOutputs::default() })
        .expect("writable");
    assert_eq!(
        String::from_utf8(body.json).expect("text"),
        r#"{"model_name":"m","model_version":"1","outputs":[{"name":"n","datatype":"INT16","shape":[2],"parameters":{"binary_data_size":4}},{"name":"t","datatype":"BYTES","shape":[2],"parameters":{"binary_data_size":11}},{"name":"none","datatype":"BYTES","shape":[0],"parameters":{"binary_data_size":0}}]}"#
    );
    assert_eq!(body.tail, [numbers.clone(), Bytes::from_static(b"\x01\0\0\0\xff\x02\0\0\0ab")]);
    assert_eq!(body.tail[0].as_ptr(), numbers.as_ptr());
    assert_eq!(body.tail[1].as_ptr(), outputs[1].1.raw().as_ptr());
}

proptest! {
    /// An answer's binary data, sent as a request, is the same tensors: bits, NaN and bytes that are no text.
    #[test]
    fn binary_data_round_trips(tensors in prop::collection::vec(any_tensor(), 0..4)) {
        let outputs: Vec<_> = tensors.into_iter().enumerate().map(|(n, tensor)| (n.to_string(), tensor)).collect();
        let body = write_response("m", "1", None, &outputs, &BinaryOutputs { others: true, ..BinaryOutputs::default() }).expect("writable");
        let json = String::from_utf8(body.json).expect("text").replace("\"outputs\"", "\"inputs\"");
        let (request, _) = parse(&json, &body.tail.concat()).expect("valid");
        prop_assert_eq!(request.inputs, outputs);
    }

    #[test]
    fn any_body_is_answered(
        shape in prop::collection::vec(-1i64..4, 0..3),
        sizes in prop::collection::vec(-1i64..20, 1..4),
        datatype in prop::sample::select(vec!["BYTES", "BOOL", "FP64", "INT8"]),
        tail in prop::collection::vec(prop_oneof![Just(0u8), any::<u8>()], 0..40),
        cut in 0usize..400,
    ) {
        let inputs: Vec<_> =
            sizes.iter().enumerate().map(|(n, size)| input(&n.to_string(), datatype, &format!("{shape:?}"), size)).collect();
        let json = format!(r#"{{"inputs":[{}]}}"#, inputs.join(","));
        let _ = parse(&json, &tail);
        let body = Bytes::from([json.as_bytes(), &tail].concat());
        let _ = parse_request("m", &body, Some(cut), Halves::Binary);
        let _ = parse_request("m", &Bytes::from(tail), Some(cut), Halves::Binary);
    }
}
