//! Requests that `digits` of the examples answers.

use serde_json::{Value, json};

use crate::protocol::oip_json::described::PICTURE;

pub(crate) fn infer() -> Value {
    json!({"inputs": [{"name": "image", "datatype": "UINT8", "shape": [1, 8, 8], "data": [PICTURE]}]})
}

pub(crate) fn v1() -> Value {
    json!({"instances": [{"image": PICTURE}]})
}
