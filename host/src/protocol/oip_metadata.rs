//! What the Open Inference Protocol says about the server and its models, and the health bodies, as JSON.
//!
//! Knows which fields the protocol wants; what is deployed and what is ready, the caller says. Health bodies carry
//! `live` and `ready` both, because the protocol's prose and the clients disagree on the key.

use std::collections::BTreeMap;

use serde::Serialize;
use utoipa::ToSchema;

use crate::tensor::TensorSpec;

/// The name the server goes by.
pub const SERVER_NAME: &str = "nocti";

/// Complete ones alone: clients rely on what is listed.
pub const EXTENSIONS: &[&str] =
    &["classification", "binary_tensor_data", "model_repository", "model_configuration", "statistics"];

/// What answers for a model, under the names of the protocol's `platform` field.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
pub enum Platform {
    /// An ONNX model that the host runs itself.
    #[serde(rename = "onnxruntime_onnx")]
    Onnx,
    /// A WebAssembly component.
    #[serde(rename = "nocti_component")]
    Component,
}

/// What the server says of itself.
#[derive(Serialize, ToSchema)]
pub struct ServerMetadata {
    name: &'static str,
    version: &'static str,
    extensions: &'static [&'static str],
}

/// What a model says of itself.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct ModelMetadata {
    pub name: String,
    pub versions: Vec<String>,
    pub platform: Platform,
    pub inputs: Vec<TensorSpec>,
    pub outputs: Vec<TensorSpec>,
    /// Free text by name; only over HTTP.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub properties: BTreeMap<String, String>,
}

/// How the server is.
#[derive(Serialize, ToSchema)]
pub struct ServerHealth {
    live: bool,
    ready: bool,
}

/// Whether a model is ready.
#[derive(Serialize, ToSchema)]
pub struct ModelReady<'a> {
    name: &'a str,
    ready: bool,
}

/// The body of `GET /v2`.
pub fn server_metadata() -> Vec<u8> {
    body(&ServerMetadata { name: SERVER_NAME, version: env!("CARGO_PKG_VERSION"), extensions: EXTENSIONS })
}

impl Platform {
    pub fn name(self) -> &'static str {
        match self {
            Self::Onnx => "onnxruntime_onnx",
            Self::Component => "nocti_component",
        }
    }
}

/// The body of `GET /v2/health/live` and `/v2/health/ready`.
pub fn server_health(ready: bool) -> Vec<u8> {
    body(&ServerHealth { live: true, ready })
}

/// The body of `GET /v2/models/M/ready`.
pub fn model_ready(name: &str, ready: bool) -> Vec<u8> {
    body(&ModelReady { name, ready })
}

fn body(value: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(value).expect("these structs have string keys only and nothing that fails to serialise")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tensor::Datatype;

    fn text(body: Vec<u8>) -> String {
        String::from_utf8(body).expect("JSON is UTF-8")
    }

    #[test]
    fn the_server_lists_the_extensions_that_are_complete() {
        let version = env!("CARGO_PKG_VERSION");
        let extensions =
            r#"["classification","binary_tensor_data","model_repository","model_configuration","statistics"]"#;
        let expected = format!(r#"{{"name":"nocti","version":"{version}","extensions":{extensions}}}"#);
        assert_eq!(text(server_metadata()), expected);
    }

    #[test]
    fn a_model_shows_its_signature_with_datatypes_of_the_protocol() {
        let metadata = ModelMetadata {
            name: "iris".into(),
            versions: vec!["1.0.0".into()],
            platform: Platform::Onnx,
            inputs: vec![TensorSpec { name: "x".into(), datatype: Datatype::Fp32, shape: vec![-1, 4] }],
            outputs: vec![TensorSpec { name: "y".into(), datatype: Datatype::Bytes, shape: vec![] }],
            properties: BTreeMap::new(),
        };
        assert_eq!(
            text(body(&metadata)),
            r#"{"name":"iris","versions":["1.0.0"],"platform":"onnxruntime_onnx","inputs":[{"name":"x","datatype":"FP32","shape":[-1,4]}],"outputs":[{"name":"y","datatype":"BYTES","shape":[]}]}"#
        );
    }

    #[test]
    fn health_has_both_keys() {
        assert_eq!(text(server_health(false)), r#"{"live":true,"ready":false}"#);
        assert_eq!(text(model_ready("iris", true)), r#"{"name":"iris","ready":true}"#);
    }
}
