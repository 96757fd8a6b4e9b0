//! The same request read in the plainest way, by `serde_json` and the standard library, to compare with.

use half::{bf16, f16};
use nocti::protocol::predict::PredictRequest;
use nocti::tensor::{Datatype, Storage, Tensor};
use serde::Deserialize;
use serde_json::value::RawValue;

#[derive(Deserialize)]
struct Request<'a> {
    id: Option<String>,
    #[serde(borrow)]
    inputs: Vec<Input<'a>>,
    outputs: Option<Vec<Output>>,
}

#[derive(Deserialize)]
struct Input<'a> {
    name: String,
    datatype: String,
    /// As wide as `-0`, which is an integer to the host and none to serde.
    shape: Vec<f64>,
    #[serde(borrow)]
    parameters: Option<&'a RawValue>,
    #[serde(borrow)]
    data: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Output {
    name: String,
}

/// `request` is what the host read in `json`. Binary data and base64 are left out.
pub(crate) fn compare(json: &[u8], request: &PredictRequest) {
    let json = quoted(json);
    let plain: Request<'_> = serde_json::from_slice(&json).expect("what the host reads is JSON");
    assert_eq!(plain.id, request.id);
    let outputs = plain.outputs.map(|outputs| outputs.into_iter().map(|output| output.name).collect::<Vec<_>>());
    assert_eq!(outputs, request.outputs);
    assert_eq!(plain.inputs.len(), request.inputs.len());
    for (plain, (name, tensor)) in plain.inputs.iter().zip(&request.inputs) {
        let shape: Vec<f64> = tensor.shape().iter().map(|&dim| dim as f64).collect();
        let head = (&plain.name, plain.datatype.as_str(), plain.shape.as_slice());
        assert_eq!(head, (name, tensor.datatype().name(), shape.as_slice()));
        let may_be_base64 = tensor.datatype() == Datatype::Bytes && plain.parameters.is_some();
        if let Some(data) = plain.data.filter(|_| !may_be_base64) {
            let mut expected = Vec::new();
            flatten(data, &mut |token| expected.push(element(tensor.datatype(), token)));
            assert_eq!(expected, elements(tensor), "{name}");
        }
    }
}

/// JSON has no words for what is no number; the host takes those that others write.
fn quoted(json: &[u8]) -> Vec<u8> {
    let (mut quoted, mut rest, mut in_string) = (Vec::with_capacity(json.len()), json, false);
    while let [byte, behind @ ..] = rest {
        let word = ["NaN", "Infinity", "-Infinity"].into_iter().find(|word| rest.starts_with(word.as_bytes()));
        let taken = match (byte, word) {
            (_, Some(word)) if !in_string => {
                quoted.extend(format!("\"{word}\"").bytes());
                rest = &rest[word.len()..];
                continue;
            }
            (b'\\', _) if !behind.is_empty() => 2,
            (b'"', _) => {
                in_string = !in_string;
                1
            }
            _ => 1,
        };
        quoted.extend(&rest[..taken]);
        rest = &rest[taken..];
    }
    quoted
}

fn flatten(value: &RawValue, take: &mut impl FnMut(&str)) {
    if !value.get().starts_with('[') {
        return take(value.get());
    }
    let values: Vec<&RawValue> = serde_json::from_str(value.get()).expect("it begins as an array");
    values.into_iter().for_each(|value| flatten(value, take));
}

fn element(datatype: Datatype, token: &str) -> Vec<u8> {
    let float = || match token {
        "\"NaN\"" => f64::NAN,
        "\"Infinity\"" => f64::INFINITY,
        "\"-Infinity\"" => f64::NEG_INFINITY,
        number => number.parse().expect("the host found a number"),
    };
    match datatype {
        Datatype::Bool => vec![u8::from(token == "true" || token == "1")],
        Datatype::Fp16 => f16::from_f64(float()).to_le_bytes().to_vec(),
        Datatype::Bf16 => bf16::from_f64(float()).to_le_bytes().to_vec(),
        // Rounded once: not by way of FP64.
        Datatype::Fp32 => token.parse().map_or_else(|_| special(float()), f32::to_le_bytes).to_vec(),
        Datatype::Fp64 => float().to_le_bytes().to_vec(),
        Datatype::Bytes => serde_json::from_str::<String>(token).expect("the host found a string").into_bytes(),
        integer => {
            let value: i128 = token.parse().expect("the host found an integer");
            value.to_le_bytes()[..integer.size_bytes().expect("an integer has a size")].to_vec()
        }
    }
}

#[expect(clippy::cast_possible_truncation, reason = "neither NaN nor an infinity has anything to lose")]
fn special(value: f64) -> [u8; 4] {
    (value as f32).to_le_bytes()
}

fn elements(tensor: &Tensor) -> Vec<Vec<u8>> {
    match tensor.storage() {
        Storage::Fixed(bytes) => {
            bytes.chunks(tensor.datatype().size_bytes().expect("as fixed storage says")).map(<[u8]>::to_vec).collect()
        }
        Storage::Variable(elements) => elements.iter().map(|element| element.to_vec()).collect(),
    }
}
