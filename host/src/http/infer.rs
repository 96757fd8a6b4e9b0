//! Open Inference Protocol v2 over HTTP: health, metadata, infer.

use std::sync::atomic::Ordering;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Request, Response, StatusCode};
use hyper::body::Incoming;

use super::body::{self, Body};
use super::respond::{self, HttpError};
use super::tensors::{self, Form};
use crate::host::Host;
use crate::invoke::{Answer, Target};
use crate::protocol::ProtocolError;
use crate::protocol::oip_json::{self, BinaryOutputs};
use crate::protocol::oip_metadata;
use crate::runtime::typed::Question;
use crate::tensor::Signature;

/// The length of the JSON of a body that has binary data behind it, both ways.
static JSON_LENGTH: HeaderName = HeaderName::from_static("inference-header-content-length");

/// `POST …/infer`, `POST …/explain`
pub(super) async fn ask(
    host: &Host,
    target: &Target,
    question: Question,
    mut request: Request<Incoming>,
) -> Result<Response<Body>, HttpError> {
    let json_length = json_length(&request);
    let json_length = body::refused(&mut request, json_length).await?;
    // JSON whatever the content type says: `tritonclient` sends none.
    let read = move |function: &str, signature: &Signature, body: Bytes| {
        let (request, binary) = match json_length {
            Some(0) => oip_json::parse_raw(function, signature, &body)?,
            _ => oip_json::parse_request(&body, json_length)?,
        };
        let id = request.id.clone();
        Ok((request, move |answer: &Answer| write(answer, id.as_deref(), &binary)))
    };
    tensors::ask(host, target, question, request, Form { json_length, read }).await
}

/// An answer; `id` is the request's own, echoed.
pub(super) fn write(
    answer: &Answer,
    id: Option<&str>,
    binary: &BinaryOutputs,
) -> Result<Response<Body>, ProtocolError> {
    let (name, version) = (answer.version.function.as_str(), answer.version.name.as_str());
    let body = oip_json::write_response(name, version, id, &answer.outputs, binary)?;
    if body.tail.is_empty() {
        return Ok(respond::json_bytes(StatusCode::OK, body.json));
    }
    let json_length = HeaderValue::from(body.json.len());
    let mut response = respond::octets(std::iter::once(Bytes::from(body.json)).chain(body.tail));
    response.headers_mut().insert(JSON_LENGTH.clone(), json_length);
    Ok(response)
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

/// `GET /v2/health/…`, `/healthz`, `/readyz`
pub(super) fn health(host: &Host, asks_ready: bool) -> Response<Body> {
    let ready = !host.draining.load(Ordering::Relaxed);
    let status = if asks_ready && !ready { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::OK };
    respond::json_bytes(status, oip_metadata::server_health(ready))
}

/// `GET /v2`
pub(super) fn server_metadata() -> Response<Body> {
    respond::json_bytes(StatusCode::OK, oip_metadata::server_metadata())
}
