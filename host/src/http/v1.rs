//! KServe's V1 protocol over HTTP: `/v1/models`, `…/M`, `…/M:predict`, `…/M:explain`.

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use hyper::body::Incoming;
use serde_json::json;

use super::body::Body;
use super::respond::{self, HttpError};
use super::tensors::{self, Form};
use crate::host::Host;
use crate::invoke::{Answer, Target};
use crate::protocol::kserve_v1::{self, Answers};
use crate::runtime::typed::Question;
use crate::tensor::Signature;

/// `POST /v1/models/M:predict`, `…:explain`
pub(super) async fn ask(
    host: &Host,
    target: &Target,
    question: Question,
    request: Request<Incoming>,
) -> Result<Response<Body>, HttpError> {
    let answers = match question {
        Question::Predict => Answers::Predictions,
        Question::Explain => Answers::Explanations,
    };
    let write = move |answer: &Answer| {
        Ok(respond::json_bytes(StatusCode::OK, kserve_v1::write_response(answers, &answer.outputs)?))
    };
    let read = move |function: &str, signature: &Signature, body: Bytes| {
        Ok((kserve_v1::parse_request(function, signature, &body)?, write))
    };
    tensors::ask(host, target, question, request, Form { json_length: None, read }).await
}

/// `GET /v1/models`
pub(super) fn list(host: &Host) -> Response<Body> {
    let functions = host.catalog.functions();
    let models: Vec<&str> = functions.iter().map(|function| function.name().as_str()).collect();
    respond::json(StatusCode::OK, &json!({"models": models}))
}

/// `GET /v1/models/M`: a stored version is ready, since a request wakes it.
pub(super) fn ready(host: &Host, target: &Target) -> Result<Response<Body>, HttpError> {
    let version = host.catalog.resolve(&target.function, target.version.as_deref())?;
    Ok(respond::json(StatusCode::OK, &json!({"name": version.function.as_str(), "ready": true})))
}

/// `GET /`
pub(super) fn alive() -> Response<Body> {
    respond::json(StatusCode::OK, &json!({"status": "alive"}))
}
