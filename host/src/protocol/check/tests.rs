use bytes::Bytes;

use super::*;
use crate::tensor::Datatype;

fn spec(name: &str, datatype: Datatype, shape: &[i64]) -> TensorSpec {
    TensorSpec { name: name.into(), datatype, shape: shape.to_vec() }
}

fn simple() -> Signature {
    Signature {
        inputs: vec![spec("INPUT0", Datatype::Int32, &[-1, 16]), spec("INPUT1", Datatype::Int32, &[-1, 16])],
        outputs: vec![spec("OUTPUT0", Datatype::Int32, &[-1, 16]), spec("OUTPUT1", Datatype::Int32, &[-1, 16])],
    }
}

fn zeros(datatype: Datatype, shape: &[usize]) -> Tensor {
    let count: usize = shape.iter().product();
    let size = datatype.size_bytes().expect("fixed size");
    Tensor::fixed(datatype, shape.to_vec(), Bytes::from(vec![0; count * size])).expect("as many bytes as it needs")
}

fn named(names: &[&str]) -> Vec<(String, Tensor)> {
    names.iter().map(|&name| (name.to_owned(), zeros(Datatype::Int32, &[1, 16]))).collect()
}

fn asking(inputs: Vec<(String, Tensor)>, outputs: &[&str]) -> PredictRequest {
    let outputs = Some(outputs.iter().map(|&name| name.to_owned()).collect());
    PredictRequest { inputs, outputs, ..PredictRequest::default() }
}

fn said(result: Result<(), ProtocolError>) -> String {
    result.expect_err("must be refused").to_string()
}

#[test]
fn a_fitting_request_passes_in_any_order() {
    let request = asking(named(&["INPUT1", "INPUT0"]), &[]);
    assert_eq!(check_inputs("simple", &simple(), &request), Ok(()));
}

#[test]
fn a_model_needs_all_inputs_and_code_does_not() {
    let request = asking(named(&["INPUT0"]), &[]);
    assert_eq!(
        said(check_inputs("simple", &simple(), &request)),
        "expected 2 inputs but got 1 inputs for model 'simple'. Got input(s) ['INPUT0'], but missing required \
         input(s) ['INPUT1']. Please provide all required input(s)."
    );
    assert_eq!(check_given_inputs("simple", &simple(), &request), Ok(()));
}

#[test]
fn unknown_inputs_are_refused_by_name() {
    let request = asking(named(&["INPUT0", "INPUT1", "INPUT2"]), &[]);
    for check in [check_inputs, check_given_inputs] {
        assert_eq!(
            said(check("simple", &simple(), &request)),
            "unexpected inference input 'INPUT2' for model 'simple'. Its input(s) are ['INPUT0','INPUT1']"
        );
    }
}

#[test]
fn wrong_types_and_shapes_name_both_sides() {
    let mut inputs = named(&["INPUT0", "INPUT1"]);
    inputs[0].1 = zeros(Datatype::Fp32, &[1, 16]);
    assert_eq!(
        said(check_inputs("simple", &simple(), &asking(inputs.clone(), &[]))),
        "inference input 'INPUT0' data-type is 'FP32', but model 'simple' expects 'INT32'"
    );
    inputs[0].1 = zeros(Datatype::Int32, &[1, 8]);
    assert_eq!(
        said(check_given_inputs("simple", &simple(), &asking(inputs, &[]))),
        "unexpected shape for input 'INPUT0' for model 'simple'. Expected [-1,16], got [1,8]"
    );
}

#[test]
fn an_undeclared_signature_takes_and_gives_anything() {
    let request = asking(named(&["whatever"]), &["something"]);
    assert_eq!(check_given_inputs("free", &Signature::default(), &request), Ok(()));
    assert_eq!(check_outputs("free", &Signature::default(), &named(&["something"])), Ok(()));
}

#[test]
fn unknown_outputs_are_refused_before_and_after_the_run() {
    let request = asking(named(&["INPUT0", "INPUT1"]), &["OUTPUT1", "OUTPUT9"]);
    let message = "unexpected inference output 'OUTPUT9' for model 'simple'. Its output(s) are ['OUTPUT0','OUTPUT1']";
    assert_eq!(said(check_inputs("simple", &simple(), &request)), message);
    let error = select_outputs("simple", named(&["OUTPUT0", "OUTPUT1"]), request.outputs.as_deref())
        .expect_err("there is no OUTPUT9");
    assert_eq!(error.to_string(), message);
}

#[test]
fn outputs_come_in_the_order_asked_for() {
    let given = || named(&["a", "b", "c"]);
    let names = |wanted: &[&str]| -> Vec<String> {
        let wanted: Vec<String> = wanted.iter().map(|&name| name.to_owned()).collect();
        let selected = select_outputs("m", given(), Some(&wanted)).expect("all exist");
        selected.into_iter().map(|(name, _)| name).collect()
    };
    assert_eq!(names(&[]), ["a", "b", "c"]);
    assert_eq!(names(&["c", "a"]), ["c", "a"]);
}

#[test]
fn wrong_answers_of_a_function_are_its_own_fault() {
    let mut outputs = named(&["OUTPUT0", "OUTPUT1"]);
    assert_eq!(check_outputs("f", &simple(), &outputs), Ok(()));
    assert_eq!(
        said(check_outputs("f", &simple(), &outputs[..1])),
        "function 'f' answered wrongly: its output 'OUTPUT1' is missing"
    );
    outputs[1].1 = zeros(Datatype::Int32, &[16]);
    assert_eq!(
        said(check_outputs("f", &simple(), &outputs)),
        "function 'f' answered wrongly: its output 'OUTPUT1' has shape [16], but it declares [-1,16]"
    );
    outputs[1].1 = zeros(Datatype::Uint8, &[1, 16]);
    assert!(matches!(check_outputs("f", &simple(), &outputs), Err(ProtocolError::Answer(_))));
    assert_eq!(
        said(check_outputs("f", &simple(), &named(&["OUTPUT0", "OUTPUT0"]))),
        "function 'f' answered wrongly: it gave its output 'OUTPUT0' twice"
    );
    assert_eq!(
        said(check_outputs("f", &simple(), &named(&["x"]))),
        "function 'f' answered wrongly: its output 'x' is not one of the declared outputs ['OUTPUT0','OUTPUT1']"
    );
}
