//! A request of KServe's V1 protocol.

use nocti::protocol::ProtocolError;
use nocti::protocol::kserve_v1::{Answers, parse_request, write_response};
use nocti::tensor::{Datatype, Signature, TensorSpec};
use serde_json::{Value, json};

use crate::exchange::{every_way, refused, same};
use crate::memory::bounded;

/// As in V2, and the name of an input is kept twice, with a column of its own.
fn most_bytes(body_bytes: usize) -> usize {
    256 * body_bytes + (16 << 10)
}

/// The first byte says what the model takes, the others are the body.
pub fn v1(data: &[u8]) {
    let Some((choice, body)) = data.split_first() else { return };
    let signature = signature(*choice);
    match bounded(most_bytes(body.len()), || parse_request("m", &signature, body)) {
        Ok(request) => {
            every_way(&request.inputs);
            match write_response(Answers::Predictions, &request.inputs) {
                Ok(answer) => {
                    let mut answer: Value = serde_json::from_slice(&answer).expect("it is JSON");
                    // An object of this one name is text in base64 where its value is text, as "-Infinity" is.
                    if let [(name, tensor)] = request.inputs.as_slice()
                        && name != "b64"
                    {
                        let spec = TensorSpec { name: name.clone(), datatype: tensor.datatype(), shape: vec![] };
                        let inputs = json!({"inputs": {name: answer["predictions"].take()}}).to_string();
                        let signature = Signature { inputs: vec![spec], outputs: vec![] };
                        let again = parse_request("m", &signature, inputs.as_bytes()).expect("it was read before");
                        same(&request.inputs, &again.inputs, true);
                    }
                }
                Err(error) => assert!(matches!(error, ProtocolError::Unwritable { .. }), "{error}"),
            }
        }
        Err(error) => refused(8 * body.len(), &error),
    }
}

fn signature(choice: u8) -> Signature {
    let datatypes: &[Datatype] = match choice % 6 {
        0 => &[],
        1 => &[Datatype::Fp32],
        2 => &[Datatype::Bytes],
        3 => &[Datatype::Bool],
        4 => &[Datatype::Uint8],
        _ => &[Datatype::Int64, Datatype::Bytes],
    };
    let spec = |(name, &datatype): (&str, &Datatype)| TensorSpec { name: name.to_owned(), datatype, shape: vec![-1] };
    Signature { inputs: ["x", "y"].into_iter().zip(datatypes).map(spec).collect(), outputs: vec![] }
}
