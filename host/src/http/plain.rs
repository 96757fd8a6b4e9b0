//! `POST /functions/NAME` with a picture, text or an array for a function that takes tensors, so that
//! `curl --data-binary @3.png` is all it takes.
//!
//! What a body is, its first bytes and its content type say; which input it is for, the function's signature, or the query:
//! `?input=NAME`. The answer is that of the Open Inference Protocol in JSON.

use std::sync::Arc;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, Request, Response};
use hyper::body::Incoming;

use super::body::Body;
use super::infer::Written;
use super::openapi::parameters::{Callee, InputName, RoutingKey};
use super::openapi::{Octets, examples, tags};
use super::respond::HttpError;
use super::tensors::{self, Form};
use crate::host::Host;
use crate::invoke::Target;
use crate::protocol::oip_json::described::{InferRequest, InferResponse};
use crate::protocol::oip_json::{self, Halves};
use crate::protocol::predict::PredictRequest;
use crate::protocol::{ProtocolError, npy};
use crate::registry::catalog::Version;
use crate::runtime::typed::Question;
use crate::tensor::{Datatype, Signature, Tensor, TensorSpec};

/// `POST /functions/NAME`
#[utoipa::path(
    post,
    path = "/functions/{function}",
    tag = tags::FUNCTIONS,
    operation_id = "askFunction",
    summary = "A file, text or an array to a function that takes tensors",
    description = "NumPy's .npy is the input that has its type and shape, JSON is a request of the Open Inference Protocol, and \
                   everything else (PNG, JPEG, text) the one input of BYTES. An http function gets the request as it came.",
    params(Callee, RoutingKey, InputName),
    request_body(content(
        (InferRequest = "application/json", example = json!(examples::infer())),
        (inline(Octets) = "application/octet-stream"),
        (inline(Octets) = "image/png"),
        (String = "text/plain"),
    )),
    responses(
        (status = 200, description = "What the function answers", content(
            (InferResponse = "application/json"),
            (serde_json::Value = "*/*"),
        )),
        (status = "default", description = "What an http function answers, or an `ErrorBody` of the host's", body = serde_json::Value,
            content_type = "*/*"),
    ),
)]
pub(super) async fn ask(
    host: &Host,
    target: &Target,
    shadow: Option<Arc<Version>>,
    request: Request<Incoming>,
) -> Result<Response<Body>, HttpError> {
    let (headers, input) = (request.headers().clone(), wanted_input(request.uri().query().unwrap_or_default()));
    let read = move |function: &str, signature: &Signature, body: Bytes, _| {
        let request = read(function, signature, &headers, input.as_deref(), body)?;
        let id = request.id.clone();
        Ok((request, Written { id, ..Written::default() }))
    };
    tensors::ask(host, target, Question::Predict, request, Form { json_length: |_| Ok(None), read, shadow }).await
}

/// `input=NAME` of a query.
fn wanted_input(query: &str) -> Option<String> {
    let value = query.split('&').find_map(|pair| pair.strip_prefix("input="))?;
    Some(percent_encoding::percent_decode_str(value).decode_utf8_lossy().into_owned())
}

fn read(
    function: &str,
    signature: &Signature,
    headers: &HeaderMap,
    input: Option<&str>,
    body: Bytes,
) -> Result<PredictRequest, ProtocolError> {
    let content_type = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let body_bytes = body.len();
    let (name, tensor) = if npy::is_npy(&body) {
        let tensor =
            npy::parse(&body).map_err(|reason| ProtocolError::Malformed(format!("the .npy file: {reason}")))?;
        let fits = |spec: &TensorSpec| spec.datatype == tensor.datatype() && spec.admits(tensor.shape());
        let what = format!("an array of {} {:?}", tensor.datatype(), tensor.shape());
        (choose(function, signature, input, &what, fits)?.0, tensor)
    } else if is_json(content_type, &body) {
        return Ok(oip_json::parse_request(function, &body, None, Halves::Numbers)?.0);
    } else {
        let takes =
            |spec: &TensorSpec| spec.datatype == Datatype::Bytes && spec.shape.iter().all(|&dim| dim < 0 || dim == 1);
        let (name, rank) = choose(function, signature, input, "text or a file", takes)?;
        let tensor = Tensor::variable(vec![1; rank], [body]);
        (name, tensor.map_err(|error| ProtocolError::Malformed(error.to_string()))?)
    };
    Ok(PredictRequest { inputs: vec![(name, tensor)], body_bytes, ..PredictRequest::default() })
}

/// `curl -d` sends JSON as a form, but a form never begins like an object.
fn is_json(content_type: &str, body: &[u8]) -> bool {
    let is_form = content_type.is_empty() || content_type.starts_with("application/x-www-form-urlencoded");
    content_type.starts_with("application/json") || (is_form && body.trim_ascii_start().starts_with(b"{"))
}

/// The input that a body is for, and its rank: the one that is named, or the only one that suits.
fn choose(
    function: &str,
    signature: &Signature,
    named: Option<&str>,
    what: &str,
    suits: impl Fn(&TensorSpec) -> bool,
) -> Result<(String, usize), ProtocolError> {
    if let Some(name) = named {
        let rank = signature.inputs.iter().find(|spec| spec.name == name).map_or(1, |spec| spec.shape.len());
        return Ok((name.to_owned(), rank));
    }
    let suitable: Vec<&TensorSpec> = signature.inputs.iter().filter(|spec| suits(spec)).collect();
    let list = |specs: &[&TensorSpec]| {
        let specs = specs.iter().map(|spec| format!("'{}' {} {:?}", spec.name, spec.datatype, spec.shape));
        specs.collect::<Vec<_>>().join(", ")
    };
    match suitable.as_slice() {
        [spec] => Ok((spec.name.clone(), spec.shape.len())),
        [] => Err(ProtocolError::Mismatch(format!(
            "function '{function}' has no input for {what}; it takes {}. Send a request of the Open Inference Protocol, or say \
             which input it is for: ?input=NAME",
            if signature.inputs.is_empty() {
                "what it does not declare".to_owned()
            } else {
                list(&signature.inputs.iter().collect::<Vec<_>>())
            },
        ))),
        several => Err(ProtocolError::Mismatch(format!(
            "function '{function}' has several inputs for {what}: {}; say which it is for: ?input=NAME",
            list(several)
        ))),
    }
}
