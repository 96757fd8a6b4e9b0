//! Open Inference Protocol v2 over HTTP: infer and explain.

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Request, Response, StatusCode};
use hyper::body::Incoming;

use super::body::Body;
use super::openapi::parameters::{JsonLength, Model, RoutingKey};
use super::openapi::refusals::Asking;
use super::openapi::{Octets, examples, tags};
use super::respond::{self, HttpError};
use super::tensors::{self, Form, Writer};
use crate::host::Host;
use crate::invoke::{Answer, Target};
use crate::protocol::ProtocolError;
use crate::protocol::oip_json::described::{InferRequest, InferResponse};
use crate::protocol::oip_json::{self, BinaryOutputs, Halves};
use crate::runtime::typed::Question;
use crate::tensor::Signature;

/// The length of the JSON of a body that has binary data behind it, both ways.
static JSON_LENGTH: HeaderName = HeaderName::from_static("inference-header-content-length");

/// `POST /v2/models/M/infer`
#[utoipa::path(
    post,
    path = "/v2/models/{model}/infer",
    tag = tags::OIP,
    operation_id = "infer",
    summary = "Inference",
    params(Model, RoutingKey, JsonLength),
    request_body(content(
        (InferRequest = "application/json", example = json!(examples::infer())),
        (inline(Octets) = "application/octet-stream"),
    ), description = "JSON, whatever the content type says, and behind it binary data if the header says where it begins"),
    responses(
        (status = 200, description = "What the function answers", content(
            (InferResponse = "application/json"),
            (inline(Octets) = "application/octet-stream"),
        )),
        Asking,
    ),
)]
pub(super) fn infer<'a>(
    host: &'a Host,
    target: &'a Target,
    request: Request<Incoming>,
) -> impl Future<Output = Result<Response<Body>, HttpError>> + 'a {
    ask(host, target, Question::Predict, request)
}

/// `POST /v2/models/M/explain`
#[utoipa::path(
    post,
    path = "/v2/models/{model}/explain",
    tag = tags::OIP,
    operation_id = "explain",
    summary = "What explains an answer",
    description = "501 for a function that does not explain its answers.",
    params(Model, RoutingKey, JsonLength),
    request_body(content(
        (InferRequest = "application/json", example = json!(examples::infer())),
        (inline(Octets) = "application/octet-stream"),
    )),
    responses(
        (status = 200, description = "What the function explains", content(
            (InferResponse = "application/json"),
            (inline(Octets) = "application/octet-stream"),
        )),
        Asking,
    ),
)]
pub(super) fn explain<'a>(
    host: &'a Host,
    target: &'a Target,
    request: Request<Incoming>,
) -> impl Future<Output = Result<Response<Body>, HttpError>> + 'a {
    ask(host, target, Question::Explain, request)
}

async fn ask(
    host: &Host,
    target: &Target,
    question: Question,
    request: Request<Incoming>,
) -> Result<Response<Body>, HttpError> {
    // JSON whatever the content type says: `tritonclient` sends none.
    let read = |function: &str, signature: &Signature, body: Bytes, json_length| {
        let (request, binary) = match json_length {
            Some(0) => oip_json::parse_raw(function, signature, &body)?,
            _ => oip_json::parse_request(function, &body, json_length, Halves::Binary)?,
        };
        let id = request.id.clone();
        Ok((request, Written { id, binary }))
    };
    tensors::ask(host, target, question, request, Form { json_length, read, shadow: None }).await
}

/// How an answer is written.
#[derive(Default)]
pub(super) struct Written {
    /// The request's own, echoed.
    pub(super) id: Option<String>,
    pub(super) binary: BinaryOutputs,
}

impl Writer for Written {
    fn text_bytes(&self, answer: &Answer) -> usize {
        let text = answer.outputs.iter().filter(|(name, _)| !self.binary.contains(name));
        text.map(|(_, tensor)| tensor.raw().len()).sum()
    }

    fn write(self, answer: &Answer) -> Result<Response<Body>, ProtocolError> {
        let (name, version) = (answer.version.function.as_str(), answer.version.name.as_str());
        let body = oip_json::write_response(name, version, self.id.as_deref(), &answer.outputs, &self.binary)?;
        if body.tail.is_empty() {
            return Ok(respond::json_bytes(StatusCode::OK, body.json));
        }
        let json_length = HeaderValue::from(body.json.len());
        let mut response = respond::octets(body.json, body.tail);
        response.headers_mut().insert(JSON_LENGTH.clone(), json_length);
        Ok(response)
    }
}

/// Where the JSON of a body ends, if binary data follows it.
fn json_length(request: &Request<Incoming>) -> Result<Option<usize>, HttpError> {
    let mut values = request.headers().get_all(&JSON_LENGTH).iter();
    let Some(value) = values.next() else { return Ok(None) };
    let text = value.to_str().unwrap_or_default();
    let length =
        text.parse().ok().filter(|_| values.next().is_none() && text.bytes().all(|byte| byte.is_ascii_digit()));
    let wrong =
        || HttpError::BadRequest(format!("header {JSON_LENGTH} must be one number: the length of the JSON in bytes"));
    length.map(Some).ok_or_else(wrong)
}
