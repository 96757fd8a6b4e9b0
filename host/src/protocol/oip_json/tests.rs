mod binary;
mod properties;

use bytes::Bytes;
use half::{bf16, f16};

use super::*;
use crate::protocol::ProtocolError;
use crate::protocol::predict::{Parameter, PredictRequest};
use crate::tensor::{Datatype, Storage, Tensor};

fn parse(text: &str) -> Result<PredictRequest, ProtocolError> {
    parse_request("m", &Bytes::copy_from_slice(text.as_bytes()), None, Halves::Numbers).map(|(request, _)| request)
}

/// The request whose only input is `x`.
fn one(datatype: &str, shape: &str, data: &str) -> Result<Tensor, ProtocolError> {
    parse(&format!(r#"{{"inputs":[{{"name":"x","shape":{shape},"datatype":"{datatype}","data":{data}}}]}}"#))
        .map(|mut request| request.inputs.remove(0).1)
}

fn refusal(datatype: &str, shape: &str, data: &str) -> String {
    one(datatype, shape, data).expect_err("must be refused").to_string()
}

fn fixed(tensor: &Tensor) -> &[u8] {
    match tensor.storage() {
        Storage::Fixed(bytes) => bytes,
        Storage::Variable(_) => panic!("not a tensor of fixed-size elements"),
    }
}

fn written(tensor: Tensor) -> Result<String, ProtocolError> {
    let body = write_response("m", "1", None, &[("x".into(), tensor)], &BinaryOutputs::default())?;
    let value: serde_json::Value = serde_json::from_slice(&body.json).expect("a response is valid JSON");
    Ok(value["outputs"][0]["data"].to_string())
}

#[test]
fn a_whole_request() {
    let request = parse(
        r#"{"id":"7","later":{"a":[1]},"parameters":{"b":true,"i":-3,"d":0.1,"t":"ä\n"},
            "outputs":[{"name":"y","parameters":{"binary_data":false}}],
            "inputs":[{"data":[1, 2],"name":"x","datatype":"INT32","shape":[1,2]}]}"#,
    )
    .expect("valid");
    assert_eq!(request.id.as_deref(), Some("7"));
    assert_eq!(request.outputs, Some(vec!["y".to_owned()]));
    let parameters: Vec<_> = request.parameters.iter().map(|(name, value)| (name.as_str(), value.clone())).collect();
    assert_eq!(
        parameters,
        [
            ("b", Parameter::Bool(true)),
            ("i", Parameter::Int(-3)),
            ("d", Parameter::Double(0.1)),
            ("t", Parameter::Text("ä\n".into()))
        ]
    );
    let (name, tensor) = &request.inputs[0];
    assert_eq!((name.as_str(), tensor.datatype(), tensor.shape()), ("x", Datatype::Int32, &[1, 2][..]));
    assert_eq!(fixed(tensor), [1, 0, 0, 0, 2, 0, 0, 0]);
}

#[test]
fn a_whole_response() {
    let tensor = Tensor::fixed(Datatype::Uint16, vec![2, 1], Bytes::from_static(&[1, 0, 0, 1])).expect("4 bytes");
    let outputs = [("a\"b".to_owned(), tensor)];
    let body = |id, outputs| {
        let body = write_response("m", "1.0", id, outputs, &BinaryOutputs::default()).expect("writable");
        assert!(body.tail.is_empty());
        String::from_utf8(body.json).unwrap()
    };
    assert_eq!(
        body(Some("7"), &outputs[..]),
        r#"{"model_name":"m","model_version":"1.0","id":"7","outputs":[{"name":"a\"b","datatype":"UINT16","shape":[2,1],"data":[1,256]}]}"#
    );
    assert_eq!(body(None, &[]), r#"{"model_name":"m","model_version":"1.0","outputs":[]}"#);
}

#[test]
fn scalars_empty_dimensions_and_whitespace() {
    assert_eq!(fixed(&one("UINT8", "[]", "5").expect("scalar")), [5]);
    assert_eq!(fixed(&one("UINT8", "[]", "[5]").expect("flat scalar")), [5]);
    for data in ["[]", "[ ]", "[[],[ ]]"] {
        assert_eq!(one("UINT8", "[2,0]", data).expect("empty").shape(), [2, 0]);
    }
    assert_eq!(fixed(&one("UINT8", "[2, 2]", " [ [1 , 2 ]\n,\t[3,4 ] ] ").expect("spaced")), [1, 2, 3, 4]);
}

#[test]
fn integers_are_checked_against_their_type() {
    assert_eq!(
        refusal("UINT8", "[3]", "[1,2,300]"),
        "input 'x': element 2 is 300, outside the range of UINT8, 0 to 255"
    );
    assert_eq!(
        refusal("INT8", "[1]", "[-129]"),
        "input 'x': element 0 is -129, outside the range of INT8, -128 to 127"
    );
    assert_eq!(
        refusal("INT64", "[1]", "[3.0]"),
        "input 'x': element 0 is 3.0, but INT64 takes integers, written without fraction and exponent"
    );
    assert_eq!(refusal("INT32", "[1]", "[\"7\"]"), "input 'x': element 0 is \"7\", but INT32 takes integers");
    assert_eq!(fixed(&one("UINT8", "[1]", "[-0]").expect("minus zero is zero")), [0]);
    assert_eq!(fixed(&one("UINT64", "[1]", "[18446744073709551615]").expect("the largest")), [0xff; 8]);
    assert_eq!(fixed(&one("INT64", "[1]", "[-9223372036854775808]").expect("the smallest")), i64::MIN.to_le_bytes());
}

#[test]
fn booleans_are_words_or_bits() {
    assert_eq!(fixed(&one("BOOL", "[4]", "[true,false,1,0]").expect("valid")), [1, 0, 1, 0]);
    assert_eq!(refusal("BOOL", "[1]", "[2]"), "input 'x': element 0 is 2, but BOOL takes true, false, 1 or 0");
}

#[test]
fn floats_take_integers_and_three_strings_but_no_overflow() {
    let data = r#"[1,"NaN","Infinity","-Infinity"]"#;
    let floats: Vec<f32> = fixed(&one("FP32", "[4]", data).expect("valid"))
        .as_chunks()
        .0
        .iter()
        .map(|&bytes| f32::from_le_bytes(bytes))
        .collect();
    assert_eq!(floats[0], 1.0);
    assert!(floats[1].is_nan());
    assert_eq!(floats[2..], [f32::INFINITY, f32::NEG_INFINITY]);
    assert_eq!(refusal("FP16", "[1]", "[70000]"), "input 'x': element 0 is 70000, beyond the range of FP16");
    assert_eq!(refusal("FP32", "[1]", "[1e39]"), "input 'x': element 0 is 1e39, beyond the range of FP32");
    assert!(refusal("FP64", "[1]", "[null]").starts_with("input 'x': element 0 is null, but FP64 takes numbers"));
    assert!(refusal("FP32", "[1]", "[true]").starts_with("input 'x': element 0 is true, but"));
}

#[test]
fn half_precision_rounds_to_nearest_even() {
    assert_eq!(
        fixed(&one("FP16", "[2]", "[0.1,2049]").expect("valid")),
        [f16::from_f64(0.1).to_le_bytes(), f16::from_f64(2048.0).to_le_bytes()].concat()
    );
    assert_eq!(fixed(&one("BF16", "[1]", "[257]").expect("valid")), bf16::from_f32(256.0).to_le_bytes());
    let tensor = Tensor::fixed(Datatype::Fp16, vec![1], Bytes::copy_from_slice(&f16::from_f32(0.5).to_le_bytes()));
    assert_eq!(written(tensor.expect("2 bytes")).expect("writable"), "[0.5]");
}

/// As Python's `json` writes them.
#[test]
fn floats_take_bare_nan_and_infinities_and_nothing_else_does() {
    for shape_first in [true, false] {
        let (shape, data) = (r#""shape":[3],"datatype":"FP64""#, r#""data":[NaN,Infinity, -Infinity]"#);
        let (one, two) = if shape_first { (shape, data) } else { (data, shape) };
        let tensor = parse(&format!(r#"{{"inputs":[{{"name":"x",{one},{two}}}]}}"#)).expect("valid").inputs.remove(0).1;
        let numbers: Vec<f64> = fixed(&tensor).as_chunks().0.iter().map(|&bytes| f64::from_le_bytes(bytes)).collect();
        assert!(numbers[0].is_nan());
        assert_eq!(numbers[1..], [f64::INFINITY, f64::NEG_INFINITY]);
    }
    for word in ["NaN", "Infinity", "-Infinity"] {
        let said = format!("input 'x': element 1 is {word}, but INT32 takes integers");
        assert_eq!(refusal("INT32", "[2]", &format!("[1, {word}]")), said);
        assert!(refusal("BOOL", "[1]", &format!("[{word}]")).contains("BOOL takes true"));
        assert!(refusal("BYTES", "[1]", &format!("[{word}]")).contains("BYTES takes strings"));
        let error = parse(&format!(r#"{{"inputs":[],"parameters":{{"p":{word}}}}}"#)).expect_err("refused").to_string();
        assert_eq!(error, "parameter 'p': must be a boolean, a number or a string");
    }
    assert!(refusal("FP32", "[1]", "[nan]").contains("expected a value at line 1"));
}

/// The words that clients match.
#[test]
fn halves_are_no_json_but_for_people() {
    let body = |field: &str, datatype: &str| {
        Bytes::from(format!(r#"{{"inputs":[{{"name":"x",{field},"shape":[1],"datatype":"{datatype}"}}]}}"#))
    };
    for datatype in ["FP16", "BF16"] {
        let body = body(r#""data":[1]"#, datatype);
        let refused = parse_request("m", &body, None, Halves::Binary).expect_err("refused").to_string();
        let said = "data via JSON is not supported. Please use the binary data format for input x";
        assert_eq!(refused, format!("receiving {datatype} {said}"));
        let (request, _) = parse_request("m", &body, None, Halves::Numbers).expect("for people");
        let refused = write_response(
            "m",
            "1",
            None,
            &request.inputs,
            &BinaryOutputs { halves: Halves::Binary, ..BinaryOutputs::default() },
        );
        let said = "data via JSON is not supported. Please use the binary data format for output x";
        assert_eq!(refused.expect_err("refused"), ProtocolError::Unwritable(format!("sending {datatype} {said}")));
        assert_eq!(written(request.inputs[0].1.clone()).expect("for people"), "[1.0]");
    }
}

#[test]
fn a_request_has_parts_within_reason() {
    let many = |part: &str| vec![part; 4097].join(",");
    for (body, said) in [
        (format!(r#"{{"inputs":[],"outputs":[{}]}}"#, many(r#"{"name":"y"}"#)), "more than 4096 outputs"),
        (format!(r#"{{"inputs":[],"parameters":{{{}}}}}"#, many(r#""p":1"#)), "more than 4096 parameters"),
        (r#"{"inputs":[],"outputs":[{"name":"y"},{"name":"y"}]}"#.to_owned(), "output 'y' is requested more than once"),
    ] {
        let error = parse(&body).expect_err("refused").to_string();
        assert!(error.contains(said), "{error}");
    }
}

#[test]
fn shapes_must_make_sense_and_match_the_data() {
    assert_eq!(refusal("INT8", "[-1]", "[1]"), "input 'x': its shape [-1] has a negative dimension");
    assert_eq!(
        refusal("INT8", "[9223372036854775807,4]", "[1]"),
        "input 'x': its shape [9223372036854775807, 4] has more elements than can be addressed"
    );
    assert_eq!(
        refusal("BYTES", "[16]", r#"["a","b"]"#),
        "expected 16 string elements for inference input 'x' for model 'm', got 2"
    );
    assert_eq!(refusal("INT8", "[16]", "[1,2]"), "input 'x': its shape [16] needs 16 elements, but its data has 2");
    assert_eq!(
        refusal("INT8", "[2,2]", "[[1,2],[3]]"),
        "input 'x': its data has an array of 1 entries where dimension 1 of its shape [2, 2] is 2"
    );
    assert_eq!(refusal("INT8", "[1]", "[[1]]"), "input 'x': its data is nested more deeply than its shape [1]");
    assert!(refusal("INT8", "[2]", "[1,[2]]").contains("element 1 is an array"));
    assert!(refusal("INT8", "[2,1]", "[[1],2]").contains("neither flat nor nested"));
    assert!(refusal("INT8", "[1]", "[{}]").contains("element 0 is an object"));
    assert_eq!(refusal("INT8", "[1]", "7"), "input 'x': its data must be an array");
    let deep = |levels: usize| {
        let shape = format!("[{}]", vec!["1"; levels].join(","));
        one("INT8", &shape, &format!("{}1{}", "[".repeat(levels), "]".repeat(levels)))
    };
    assert!(deep(64).is_ok());
    assert!(deep(65).expect_err("too deep").to_string().contains("at most 64 dimensions"));
    // Deeper than any stack, so the walk must not be what finds out.
    assert!(one("INT8", "[1]", &format!("{}1{}", "[".repeat(500_000), "]".repeat(500_000))).is_err());
}

#[test]
fn strings_are_read_with_their_escapes() {
    let body = Bytes::from_static(
        br#"{"inputs":[{"name":"x","shape":[3],"datatype":"BYTES","data":["plain, ]","a\"\\\n\u00e4\ud83d\ude00",""]}]}"#,
    );
    let (request, _) = parse_request("m", &body, None, Halves::Binary).expect("valid");
    let Storage::Variable(elements) = request.inputs[0].1.storage() else { panic!("BYTES") };
    assert_eq!(elements.iter().collect::<Vec<_>>(), ["plain, ]", "a\"\\\nä😀", ""].map(str::as_bytes));
    assert!(refusal("BYTES", "[1]", r#"["\ud800"]"#).contains("stands for no character"));
    assert_eq!(refusal("BYTES", "[1]", "[1]"), "input 'x': element 0 is 1, but BYTES takes strings");
}

#[test]
fn countless_strings_take_a_small_multiple_of_their_text() {
    let text = format!("[{}]", vec![r#""""#; 100_000].join(","));
    let tensor = one("BYTES", "[100000]", &text).expect("valid");
    assert_eq!(tensor.raw().len(), 400_000);
}

#[test]
fn bytes_that_are_no_text_come_as_base64() {
    let input = |datatype: &str, data: &str| {
        parse(&format!(
            r#"{{"inputs":[{{"name":"x","shape":[1],"datatype":"{datatype}","parameters":{{"content_type":"base64"}},"data":{data}}}]}}"#
        ))
    };
    let request = input("BYTES", r#"["iVBO\/w=="]"#).expect("valid");
    let Storage::Variable(elements) = request.inputs[0].1.storage() else { panic!("BYTES") };
    assert_eq!(elements.iter().collect::<Vec<_>>(), [&[0x89, b'P', b'N', 0xff]]);
    let said = |datatype: &str, data: &str| input(datatype, data).expect_err("must be refused").to_string();
    assert_eq!(said("BYTES", r#"["iVBO/w"]"#), r#"input 'x': element 0 is "iVBO/w", which is not base64"#);
    for text in ["Z", "Zg", "Zg=", "Zh==", "Zm9=", "=", "====", "Zg==Zg==", "Z===", "Zm 9", "Zm9v\\n", "Zm-_", "Zmé"] {
        assert!(said("BYTES", &format!(r#"["{text}"]"#)).ends_with("which is not base64"), "{text}");
    }
    assert!(said("INT8", "[1]").contains("only BYTES"));
}

#[test]
fn bytes_that_are_no_text_cannot_be_sent_as_json() {
    let tensor = Tensor::variable(vec![1], vec![Bytes::from_static(&[0xff])]).expect("one element");
    let error = written(tensor).expect_err("not UTF-8").to_string();
    assert!(error.starts_with("output 'x' cannot be sent as JSON: it holds bytes that are not UTF-8"), "{error}");
}

#[test]
fn tensors_outside_the_body_are_refused() {
    for request in [
        r#"{"inputs":[{"name":"x","shape":[1],"datatype":"FP32","parameters":{"shared_memory_region":"r"}}]}"#,
        r#"{"inputs":[],"outputs":[{"name":"y","parameters":{"shared_memory_offset":3}}]}"#,
    ] {
        let error = parse(request).expect_err("must be refused");
        assert!(matches!(error, ProtocolError::Unsupported(_)), "{request}: {error}");
        assert!(error.to_string().contains("turn shared memory off in the client"));
    }
}

#[test]
fn requests_of_the_wrong_form_say_what_is_wrong() {
    let said = |text: &str| parse(text).expect_err("must be refused").to_string();
    assert!(said("").starts_with("the body is not a valid inference request: EOF"));
    assert!(said("{}").contains("missing field `inputs`"));
    assert!(said(r#"{"inputs":[{"name":"x"}]}"#).contains("missing field `datatype`"));
    assert_eq!(said(r#"{"inputs":[{"name":"x","shape":[1],"datatype":"FP32"}]}"#), "input 'x': it has no data");
    assert_eq!(
        said(r#"{"inputs":[{"name":"x","shape":[1],"datatype":"FP23","data":[1]}]}"#),
        "input 'x': 'FP23' is not a datatype of the Open Inference Protocol"
    );
    let x = r#"{"name":"x","shape":[1],"datatype":"INT8","data":[1]}"#;
    assert_eq!(said(&format!(r#"{{"inputs":[{x},{x}]}}"#)), "input 'x': is given more than once");
    assert_eq!(
        said(r#"{"inputs":[],"parameters":{"p":[1]}}"#),
        "parameter 'p': must be a boolean, a number or a string"
    );
    assert_eq!(
        said(r#"{"inputs":[],"parameters":{"p":9223372036854775808}}"#),
        "parameter 'p': its integer does not fit 64 bits"
    );
}
