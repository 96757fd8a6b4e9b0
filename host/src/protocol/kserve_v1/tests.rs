use proptest::prelude::*;
use serde_json::{Value, json};

use super::{Answers, parse_request, write_response};
use crate::protocol::ProtocolError;
use crate::protocol::predict::PredictRequest;
use crate::tensor::{Datatype, Signature, Storage, Tensor, TensorSpec};

fn spec(name: &str, datatype: Datatype, shape: &[i64]) -> TensorSpec {
    TensorSpec { name: name.into(), datatype, shape: shape.to_vec() }
}

fn floats() -> Signature {
    Signature { inputs: vec![spec("x", Datatype::Fp32, &[-1, 2])], outputs: vec![] }
}

fn parse(signature: &Signature, body: &Value) -> Result<PredictRequest, ProtocolError> {
    parse_request("m", signature, body.to_string().as_bytes())
}

#[test]
fn rows_of_the_only_input_become_a_tensor() {
    let body = json!({"instances": [[1, 2.5], [3, "NaN"]], "signature_name": "serving_default"});
    for body in [body, json!({"inputs": [[1, 2.5], [3, "NaN"]]}), json!({"inputs": {"x": [[1, 2.5], [3, "NaN"]]}})] {
        let request = parse(&floats(), &body).unwrap();
        let (name, tensor) = &request.inputs[0];
        assert_eq!((name.as_str(), tensor.datatype(), tensor.shape()), ("x", Datatype::Fp32, &[2, 2][..]));
        let Storage::Fixed(bytes) = tensor.storage() else { panic!("numbers") };
        assert_eq!(bytes[4..8], 2.5_f32.to_le_bytes());
    }
}

#[test]
fn rows_that_name_their_inputs_become_columns() {
    let signature = Signature {
        inputs: vec![spec("a", Datatype::Int64, &[-1]), spec("b", Datatype::Bytes, &[-1, 1])],
        outputs: vec![],
    };
    let body = json!({"instances": [{"a": 1, "b": ["x"]}, {"b": [{"b64": "/w=="}], "a": 2}]});
    let request = parse(&signature, &body).unwrap();
    let shapes: Vec<_> = request.inputs.iter().map(|(name, tensor)| (name.as_str(), tensor.shape().to_vec())).collect();
    assert_eq!(shapes, [("a", vec![2]), ("b", vec![2, 1])]);
    let Storage::Variable(elements) = request.inputs[1].1.storage() else { panic!("BYTES") };
    assert_eq!(elements.iter().collect::<Vec<_>>(), [&b"x"[..], b"\xff"]);
}

#[test]
fn what_is_wrong_is_said() {
    let several = Signature {
        inputs: vec![spec("a", Datatype::Int64, &[-1]), spec("b", Datatype::Int64, &[-1])],
        outputs: vec![],
    };
    for (signature, body, said) in [
        (&floats(), json!([1]), "expected an object"),
        (&floats(), json!({}), "neither `instances` nor `inputs`"),
        (&floats(), json!({"instances": []}), "`instances` is empty"),
        (&floats(), json!({"instances": 1}), "`instances` must be a list"),
        (&floats(), json!({"instances": [], "inputs": []}), "both"),
        (&floats(), json!({"instances": [[1, 2], [3]]}), "input 'x': its lists are not all of the same length"),
        (&floats(), json!({"instances": [["one", "two"]]}), "input 'x': "),
        (&several, json!({"instances": [1]}), "model 'm' has 2 inputs ('a', 'b')"),
        (&several, json!({"instances": [{"a": 1}, {"b": 1}]}), "instance 1 does not name"),
        (&several, json!({"instances": [{"a": 1}, {"a": 1, "b": 2}]}), "instance 1 does not name"),
        (&several, json!({"instances": [{"a": 1}, 2]}), "instance 1 does not name"),
        (&floats(), json!({"instances": [[1, 2], 3]}), "input 'x': its lists are not all of the same length"),
        (&floats(), json!({"instances": [1, [2, 3]]}), "input 'x': its lists are not all of the same length"),
        (&several, json!({"inputs": {"x": [[[]], [1]]}}), "input 'x': its lists are not all of the same length"),
        (&floats(), json!({"instances": [[1, {"b64": "YQ=="}]]}), "input 'x': element 1 is an object"),
    ] {
        let error = parse(signature, &body).expect_err("refused").to_string();
        assert!(error.contains(said), "{body}: {error}");
    }
    for (body, said) in [
        (r#"{"instances": [[1, 2]], "instances": [[3, 4]]}"#, "duplicate field `instances`"),
        (r#"{"inputs": {"a": 1, "a": 2}}"#, "input 'a': is given more than once"),
        (r#"{"instances": [{"a": 1, "a": 2}]}"#, "instance 0 names 'a' more than once"),
        (r#"{"instances": [1, 2}"#, "expected `,` or `]` at line 1 column 20"),
        (r#"{"instances": [[1, 2]], "instances": "#, "EOF"),
    ] {
        let error = parse_request("m", &several, body.as_bytes()).expect_err("refused").to_string();
        assert!(error.contains(said), "{body}: {error}");
    }
}

/// Names are looked up, not gone through.
#[test]
fn what_nobody_asked_for_is_refused_before_it_takes_time_or_memory() {
    let fields: Vec<String> = (0..100_000).map(|n| format!("\"k{n}\":1")).collect();
    let fields = fields.join(",");
    for body in [format!("{{\"instances\":[{{{fields}}}]}}"), format!("{{\"inputs\":{{{fields}}}}}")] {
        let error = parse_request("m", &floats(), body.as_bytes()).expect_err("refused").to_string();
        assert!(error.contains("more than 4096 inputs"), "{error}");
    }
}

#[test]
fn scalars_empty_lists_and_bare_infinities() {
    let read =
        |signature: &Signature, body: &str| parse_request("m", signature, body.as_bytes()).unwrap().inputs.remove(0).1;
    assert_eq!(read(&Signature::default(), r#"{"inputs": {"x": 5}}"#).shape(), [0_usize; 0]);
    assert_eq!(read(&floats(), r#"{"inputs": [[], []]}"#).shape(), [2, 0]);
    let tensor = read(&floats(), r#"{"instances": [[-Infinity, NaN]]}"#);
    assert_eq!(tensor.raw()[..4], f32::NEG_INFINITY.to_le_bytes());
    for (data, datatype) in
        [("true", Datatype::Bool), ("-7", Datatype::Int64), ("7.0", Datatype::Fp32), (r#""a""#, Datatype::Bytes)]
    {
        let tensor = read(&Signature::default(), &format!(r#"{{"inputs": {{"x": [[{data}]]}}}}"#));
        assert_eq!((tensor.datatype(), tensor.shape()), (datatype, &[1, 1][..]));
    }
}

fn ints(shape: Vec<usize>, values: &[i32]) -> Tensor {
    Tensor::fixed(Datatype::Int32, shape, values.iter().flat_map(|value| value.to_le_bytes()).collect()).unwrap()
}

fn written(outputs: &[(String, Tensor)]) -> Value {
    serde_json::from_slice(&write_response(Answers::Predictions, outputs).unwrap()).unwrap()
}

#[test]
fn answers_are_rows() {
    let matrix = ints(vec![2, 3], &[1, 2, 3, 4, 5, 6]);
    let label = Tensor::variable(vec![2], ["a", "b"]).unwrap();
    assert_eq!(written(&[("y".into(), matrix.clone())]), json!({"predictions": [[1, 2, 3], [4, 5, 6]]}));
    let both = [("y".into(), matrix.clone()), ("label".into(), label)];
    let expected = json!({"predictions": [{"y": [1, 2, 3], "label": "a"}, {"y": [4, 5, 6], "label": "b"}]});
    assert_eq!(written(&both), expected);
    let uneven = [("y".into(), matrix), ("z".into(), ints(vec![1], &[7]))];
    assert_eq!(written(&uneven), json!({"predictions": {"y": [[1, 2, 3], [4, 5, 6]], "z": [7]}}));
    assert_eq!(written(&[("s".into(), ints(vec![], &[7]))]), json!({"predictions": 7}));
    assert_eq!(written(&[("e".into(), ints(vec![0, 3], &[]))]), json!({"predictions": []}));
    assert_eq!(written(&[("e".into(), ints(vec![2, 0], &[]))]), json!({"predictions": [[], []]}));
    assert_eq!(written(&[("e".into(), ints(vec![2, 0, 3], &[]))]), json!({"predictions": [[], []]}));
    assert_eq!(written(&[("e".into(), ints(vec![2, 1, 0, 3], &[]))]), json!({"predictions": [[[]], [[]]]}));
    let both = [("e".into(), ints(vec![2, 0], &[])), ("s".into(), ints(vec![2], &[1, 2]))];
    assert_eq!(written(&both), json!({"predictions": [{"e": [], "s": 1}, {"e": [], "s": 2}]}));
}

#[test]
fn nothing_is_not_written_any_number_of_times() {
    for shape in [vec![1_000_000_000_000, 0], vec![300, 300, 0]] {
        let refused = write_response(Answers::Predictions, &[("e".into(), ints(shape, &[]))]).unwrap_err().to_string();
        assert!(refused.contains("empty lists"), "{refused}");
    }
}

proptest! {
    #[test]
    fn what_goes_in_as_rows_comes_out_as_rows(rows in 1_usize..5, width in 1_usize..5, seed in any::<i32>()) {
        let values: Vec<Vec<i64>> =
            (0..rows).map(|row| (0..width).map(|at| i64::from(seed) + (row * width + at) as i64).collect()).collect();
        let request = parse(&Signature::default(), &json!({"inputs": {"x": values}})).unwrap();
        prop_assert_eq!(written(&request.inputs), json!({"predictions": values}));
    }

    #[test]
    fn no_body_makes_it_panic(body in ".*", nested in prop::collection::vec(prop::collection::vec(any::<i8>(), 0..3), 0..3)) {
        let _ = parse_request("m", &floats(), body.as_bytes());
        let _ = parse(&floats(), &json!({"instances": nested}));
        let _ = parse(&Signature::default(), &json!({"inputs": {"x": nested}}));
    }
}
