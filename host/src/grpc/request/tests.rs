use proptest::prelude::*;
use prost::Message;

use super::*;
use crate::grpc::messages::InferTensorContents;
use crate::grpc::undecoded::Undecoded;

fn input(name: &str, shape: &[i64], contents: &[i32]) -> InferInputTensor {
    let contents = InferTensorContents { int_contents: contents.to_vec(), ..Default::default() };
    InferInputTensor {
        name: name.into(),
        datatype: "INT32".into(),
        shape: shape.to_vec(),
        contents: Some(contents.encode_to_vec().into()),
        ..Default::default()
    }
}

fn request(inputs: Vec<InferInputTensor>, raw: Vec<Bytes>) -> ModelInferRequest {
    ModelInferRequest { model_name: "simple".into(), inputs, raw_input_contents: raw, ..Default::default() }
}

#[track_caller]
fn refused(request: ModelInferRequest, text: &str) {
    let error = read(request, 0).expect_err("it is wrong").to_string();
    assert_eq!(error, text);
}

#[test]
fn mistakes_are_told_in_the_words_that_clients_match() {
    let raw = |name: &str| InferInputTensor { contents: None, ..input(name, &[1, 4], &[]) };
    refused(
        request(vec![input("X", &[1], &[1])], vec![Bytes::from_static(&[0; 4])]),
        "contents field must not be specified when using raw_input_contents for 'X' for model 'simple'",
    );
    refused(
        request(vec![raw("X")], vec![Bytes::from_static(&[0; 15])]),
        "input byte size mismatch for input 'X' for model 'simple'. Expected 16, got 15",
    );
    refused(
        request(vec![raw("X"), raw("Y")], vec![Bytes::from_static(&[0; 16])]),
        "expected raw_input_contents for each of 2 inputs, but got 1 for model 'simple'",
    );
    let text = InferInputTensor { datatype: "BYTES".into(), ..raw("X") };
    refused(
        request(vec![text], vec![Bytes::from_static(&[0; 12])]),
        "expected 4 string elements for inference input 'X' for model 'simple', got 3",
    );
    refused(request(vec![input("X", &[-1], &[1])], vec![]), "input 'X': its shape [-1] has a negative dimension");
    refused(
        request(vec![input("X", &[1], &[1]), input("X", &[1], &[1])], vec![]),
        "input 'X': is given more than once",
    );
    let twice = InferRequestedOutputTensor { name: "Y".into(), ..Default::default() };
    refused(
        ModelInferRequest { outputs: vec![twice.clone(), twice], ..request(vec![], vec![]) },
        "output 'Y' is requested more than once",
    );
    let half = InferInputTensor { datatype: "FP16".into(), ..input("X", &[1], &[1]) };
    refused(request(vec![half], vec![]), "input 'X': FP16 has no typed contents: send it in raw_input_contents");
    let float = InferInputTensor { datatype: "FP32".into(), ..input("X", &[1], &[1]) };
    refused(
        request(vec![float], vec![]),
        "input 'X': its elements are in int_contents, but those of FP32 belong in fp32_contents",
    );
    let small = InferInputTensor { datatype: "INT8".into(), ..input("X", &[2], &[127, 128]) };
    refused(request(vec![small], vec![]), "input 'X': element 1 is 128, which is out of range for INT8");
}

#[test]
fn parameters_reach_the_function_but_for_those_of_the_protocol() {
    let parameter = |choice| InferParameter { parameter_choice: Some(choice) };
    let mut message = request(vec![], vec![]);
    message.parameters = BTreeMap::from([
        ("a".into(), parameter(ParameterChoice::Uint64Param(7))),
        ("b".into(), parameter(ParameterChoice::DoubleParam(0.5))),
        ("triton_enable_empty_final_response".into(), parameter(ParameterChoice::BoolParam(true))),
    ]);
    message.id = "7".into();
    let read = read(message, 0).expect("it is good");
    assert_eq!(read.parameters, [("a".into(), Parameter::Int(7)), ("b".into(), Parameter::Double(0.5))]);
    assert_eq!((read.id.as_deref(), read.outputs), (Some("7"), None));
    let mut message = request(vec![], vec![]);
    message.parameters = BTreeMap::from([("a".into(), parameter(ParameterChoice::Uint64Param(u64::MAX)))]);
    refused(message, "parameter 'a': its integer does not fit 64 bits with a sign");
}

#[test]
fn a_message_of_countless_parts_is_refused_before_it_is_decoded() {
    // Each input takes two bytes here, and hundreds when it is decoded.
    let bytes: Vec<u8> = [0x2a, 0].repeat(5000);
    let error = Undecoded::decode(&bytes[..]).unwrap().decode_request().expect_err("too many").to_string();
    assert!(error.contains("5000 inputs, outputs, raw contents and parameters"), "{error}");
    // Those within a tensor count as well: the name is the tensor's, the rest are parameters.
    let parameters = |tag: u8| [&[0x0a, 1, b'X'][..], &[tag, 0].repeat(5000)].concat();
    for (tensors, parameters) in [(5, parameters(0x22)), (6, parameters(0x12))] {
        let mut bytes = Vec::new();
        prost::encoding::bytes::encode(tensors, &parameters, &mut bytes);
        let error = Undecoded::decode(&bytes[..]).unwrap().decode_request().expect_err("too many").to_string();
        assert!(error.contains("5001 inputs, outputs, raw contents and parameters"), "{error}");
    }
}

proptest! {
    #[test]
    fn no_bytes_are_too_strange(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        if let Ok(message) = Undecoded::decode(&bytes[..]).unwrap().decode_request() {
            let _ = read(message, bytes.len());
        }
    }

    #[test]
    fn no_change_to_a_good_message_is_too_strange(at in 0usize..60, value in any::<u8>(), raw in any::<bool>()) {
        let mut message = request(vec![input("X", &[2, 2], &[1, 2, 3, 4])], vec![]);
        if raw {
            message.inputs[0].contents = None;
            message.raw_input_contents = vec![Bytes::from_static(&[1; 16])];
        }
        let mut bytes = message.encode_to_vec();
        if let Some(byte) = bytes.get_mut(at) {
            *byte = value;
        }
        if let Ok(message) = Undecoded::decode(&bytes[..]).unwrap().decode_request() {
            let _ = read(message, bytes.len());
        }
    }
}
