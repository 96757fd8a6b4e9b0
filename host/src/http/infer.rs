//! Open Inference Protocol v2 over HTTP: health, metadata, infer.

use std::sync::atomic::Ordering;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Request, Response, StatusCode};
use hyper::body::Incoming;

use super::body::{self, Body};
use super::encoding::{self, Encoding};
use super::respond::{self, HttpError};
use crate::host::Host;
use crate::invoke::{self, Begun, InvokeError, Target};
use crate::protocol::oip_json::{self, BinaryOutputs};
use crate::protocol::oip_metadata;
use crate::protocol::predict::PredictRequest;
use crate::runtime::typed::Question;
use crate::telemetry::{Call, Outcome};

/// The length of the JSON of a body that has binary data behind it, both ways.
static JSON_LENGTH: HeaderName = HeaderName::from_static("inference-header-content-length");

/// `POST …/infer`, `POST …/explain`
pub(super) async fn ask(
    host: &Host,
    target: &Target,
    question: Question,
    mut request: Request<Incoming>,
) -> Result<Response<Body>, HttpError> {
    let begun = begin(host, target, question, &request);
    let (begun, call, form) = body::refused(&mut request, begun).await?;
    let answer = answer(host, begun, question, request, form).await;
    call.end(answer.as_ref().map_or_else(respond::outcome, |_| Outcome::Ok));
    answer
}

/// What the head says of a body.
#[derive(Clone, Copy)]
struct Form {
    encoding: Option<Encoding>,
    /// Where the JSON ends and binary data begins; `None`: all of it is JSON.
    json_length: Option<usize>,
}

/// What can be said before the body is read.
fn begin(
    host: &Host,
    target: &Target,
    question: Question,
    request: &Request<Incoming>,
) -> Result<(Begun, Call, Form), HttpError> {
    let form = Form { encoding: encoding::of_request(request.headers())?, json_length: json_length(request)? };
    let (begun, call) = invoke::begin(host, target, question.into())?;
    Ok((begun, call, form))
}

async fn answer(
    host: &Host,
    begun: Begun,
    question: Question,
    request: Request<Incoming>,
    form: Form,
) -> Result<Response<Body>, HttpError> {
    // JSON whatever the content type says: `tritonclient` sends none.
    let (limit_bytes, aligned_at) = (host.config.body_bytes, form.json_length.unwrap_or(0));
    let collected = body::collect(request, limit_bytes, aligned_at);
    let bytes = begun.due.bound(collected).await.map_err(InvokeError::from)??;
    let bytes = encoding::decoded(bytes, form.encoding, limit_bytes, aligned_at).await?;
    let (begun, (request, binary)) = parse(begun, bytes, form.json_length).await?;
    let id = request.id.clone();
    let answer = invoke::ask(host, begun, question, request).await?;
    let (name, version) = (answer.version.function.as_str(), answer.version.name.as_str());
    let body = oip_json::write_response(name, version, id.as_deref(), &answer.outputs, &binary)?;
    if body.tail.is_empty() {
        return Ok(respond::json_bytes(StatusCode::OK, body.json));
    }
    let json_length = HeaderValue::from(body.json.len());
    let mut response = respond::octets(std::iter::once(Bytes::from(body.json)).chain(body.tail));
    response.headers_mut().insert(JSON_LENGTH.clone(), json_length);
    Ok(response)
}

type Parsed = (PredictRequest, BinaryOutputs);

/// Large bodies take the processor for a while: not on the executor. The leave to be here goes with the body, which stays in
/// memory when the caller goes away meanwhile.
async fn parse(begun: Begun, body: Bytes, json_length: Option<usize>) -> Result<(Begun, Parsed), HttpError> {
    const LARGE_JSON_BYTES: usize = 256 << 10;
    // Of binary data at most its strings and booleans are looked at.
    const LARGE_BYTES: usize = 4 << 20;
    if json_length == Some(0) {
        let version = begun.version();
        let signature = version.record.signature.clone().unwrap_or_default();
        let parsed = oip_json::parse_raw(version.function.as_str(), &signature, &body)?;
        return Ok((begun, parsed));
    }
    if json_length.unwrap_or(body.len()) < LARGE_JSON_BYTES && body.len() < LARGE_BYTES {
        return Ok((begun, oip_json::parse_request(&body, json_length)?));
    }
    match tokio::task::spawn_blocking(move || (begun, oip_json::parse_request(&body, json_length))).await {
        Ok((begun, parsed)) => Ok((begun, parsed?)),
        Err(error) => Err(HttpError::Internal(format!("parsing a request: {error}"))),
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
