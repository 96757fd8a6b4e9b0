//! Open Inference Protocol v2 over HTTP: health, metadata, infer.

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use hyper::body::Incoming;
use std::sync::atomic::Ordering;

use super::body::{self, Body};
use super::respond::{self, HttpError};
use crate::host::Host;
use crate::invoke::{self, Begun, InvokeError, Manner, Target};
use crate::protocol::predict::PredictRequest;
use crate::protocol::{oip_json, oip_metadata};
use crate::registry::revision::FunctionKind;
use crate::runtime::typed::Question;
use crate::tensor::Signature;

/// `POST …/infer`, `POST …/explain`
pub(super) async fn ask(
    host: &Host,
    target: &Target,
    question: Question,
    mut request: Request<Incoming>,
) -> Result<Response<Body>, HttpError> {
    let begun = begin(host, target, &request);
    let begun = body::refused(&mut request, begun).await?;
    // JSON whatever the content type says: `tritonclient` sends none.
    let bytes = begun.due.bound(body::collect(request, host.config.body_bytes)).await.map_err(InvokeError::from)??;
    let (begun, request) = parse(begun, bytes).await?;
    let id = request.id.clone();
    let answer = invoke::ask(host, begun, question, request).await?;
    let (name, version) = (answer.version.function.as_str(), answer.version.name.as_str());
    let json = oip_json::write_response(name, version, id.as_deref(), &answer.outputs)?;
    Ok(respond::json_bytes(StatusCode::OK, json))
}

/// What can be said before the body is read.
fn begin(host: &Host, target: &Target, request: &Request<Incoming>) -> Result<Begun, HttpError> {
    refuse_other_encodings(request)?;
    Ok(invoke::begin(host, target, Manner::Tensors)?)
}

/// Large bodies take the processor for a while: not on the executor. The leave to be here goes with the body, which stays in
/// memory when the caller goes away meanwhile.
async fn parse(begun: Begun, body: Bytes) -> Result<(Begun, PredictRequest), HttpError> {
    const LARGE_BYTES: usize = 256 << 10;
    if body.len() < LARGE_BYTES {
        return Ok((begun, oip_json::parse_request(&body)?));
    }
    match tokio::task::spawn_blocking(move || (begun, oip_json::parse_request(&body))).await {
        Ok((begun, request)) => Ok((begun, request?)),
        Err(error) => Err(HttpError::Internal(format!("parsing a request: {error}"))),
    }
}

/// Says which part of the protocol a body is in that is not plain JSON.
fn refuse_other_encodings(request: &Request<Incoming>) -> Result<(), HttpError> {
    for (header, what) in [
        ("inference-header-content-length", "binary tensors are not supported yet: send the tensors as JSON"),
        ("content-encoding", "compressed bodies are not supported yet: send the body as it is"),
    ] {
        if request.headers().get(header).is_some_and(|value| value != "identity") {
            return Err(HttpError::BadRequest(format!("{what} (header {header})")));
        }
    }
    Ok(())
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

/// `GET /v2/models/M`
pub(super) fn model_metadata(host: &Host, target: &Target) -> Result<Response<Body>, HttpError> {
    let version = host.catalog.resolve(&target.function, target.version.as_deref())?;
    let platform = match version.record.kind {
        FunctionKind::ModelOnly => oip_metadata::Platform::Onnx,
        FunctionKind::Typed | FunctionKind::Http => oip_metadata::Platform::Component,
    };
    let function = host.catalog.function(&target.function)?;
    let versions: Vec<String> = function.versions.keys().map(ToString::to_string).collect();
    let signature = version.record.signature.clone().unwrap_or(Signature::default());
    let json = oip_metadata::model_metadata(version.function.as_str(), &versions, platform, &signature);
    Ok(respond::json_bytes(StatusCode::OK, json))
}

/// `GET /v2/models/M/ready`: a stored version is ready, since a request wakes it.
pub(super) fn model_ready(host: &Host, target: &Target) -> Result<Response<Body>, HttpError> {
    let version = host.catalog.resolve(&target.function, target.version.as_deref())?;
    Ok(respond::json_bytes(StatusCode::OK, oip_metadata::model_ready(version.function.as_str())))
}
