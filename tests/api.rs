//! The host in this process, through its HTTP interface: a file per resource.

use serde_json::{Value, json};

mod binary;
mod cancel;
mod datatypes;
mod deploy;
mod deploy_models;
mod drain;
mod functions;
mod guests;
mod hostile;
mod infer;
mod isolation;
mod lifecycle;
mod limits;
mod metadata;
mod metrics;
mod races;
mod raw_http;
mod requests;
mod restart;
mod wasi_nn;

/// One input of an inference request.
fn tensor(name: &str, datatype: &str, shape: &[usize], data: Value) -> Value {
    let mut tensor = json!({"name": name, "datatype": datatype, "shape": shape});
    tensor["data"] = data;
    tensor
}

/// A request of the guest `misbehave`: its mode, further parameters, inputs.
fn mode(mode: &str, parameters: Value, inputs: &[Value]) -> Value {
    let mut all = parameters;
    all["mode"] = mode.into();
    json!({"parameters": all, "inputs": inputs})
}

/// A request of `slow.onnx`: 100,000 iterations take about a second.
fn iterations(count: u64) -> Value {
    json!({"inputs": [tensor("iterations", "INT64", &[1], json!([count]))]})
}

/// So many iterations that they never end.
const ENDLESS: u64 = 1 << 62;
