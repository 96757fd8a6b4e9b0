//! KServe's V1 protocol over HTTP: `/v1/models`, `…/M`, `…/M:predict`, `…/M:explain`.

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use hyper::body::Incoming;
use serde::Serialize;
use utoipa::ToSchema;

use super::body::Body;
use super::openapi::parameters::{Model, RoutingKey};
use super::openapi::refusals::{Asking, Lookup};
use super::openapi::{examples, tags};
use super::respond::{self, HttpError};
use super::tensors::{self, Form, Writer};
use crate::host::Host;
use crate::invoke::{Answer, Target};
use crate::oip;
use crate::protocol::ProtocolError;
use crate::protocol::kserve_v1::{self, Answers, Explanations, Predictions};
use crate::protocol::oip_metadata;
use crate::protocol::oip_repository::ModelList;
use crate::runtime::typed::Question;
use crate::tensor::Signature;

/// The body of `GET /`.
#[derive(Serialize, ToSchema)]
pub(super) struct Alive {
    status: &'static str,
}

/// `POST /v1/models/M:predict`
#[utoipa::path(
    post,
    path = "/v1/models/{model}:predict",
    tag = tags::V1,
    operation_id = "predictV1",
    summary = "Inference",
    params(Model, RoutingKey),
    request_body(content = kserve_v1::Request, example = json!(examples::v1())),
    responses((status = 200, description = "What the function answers", body = Predictions), Asking),
)]
pub(super) fn predict<'a>(
    host: &'a Host,
    target: &'a Target,
    request: Request<Incoming>,
) -> impl Future<Output = Result<Response<Body>, HttpError>> + 'a {
    ask(host, target, Question::Predict, request)
}

/// `POST /v1/models/M:explain`
#[utoipa::path(
    post,
    path = "/v1/models/{model}:explain",
    tag = tags::V1,
    operation_id = "explainV1",
    summary = "What explains an answer",
    description = "501 for a function that does not explain its answers.",
    params(Model, RoutingKey),
    request_body(content = kserve_v1::Request, example = json!(examples::v1())),
    responses((status = 200, description = "What the function explains", body = Explanations), Asking),
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
    let answers = match question {
        Question::Predict => Answers::Predictions,
        Question::Explain => Answers::Explanations,
    };
    let read = move |function: &str, signature: &Signature, body: Bytes, _| {
        Ok((kserve_v1::parse_request(function, signature, &body)?, answers))
    };
    tensors::ask(host, target, question, request, Form { json_length: |_| Ok(None), read, shadow: None }).await
}

impl Writer for Answers {
    fn write(self, answer: &Answer) -> Result<Response<Body>, ProtocolError> {
        Ok(respond::json_bytes(StatusCode::OK, kserve_v1::write_response(self, &answer.outputs)?))
    }
}

/// `GET /v1/models`
#[utoipa::path(
    get,
    path = "/v1/models",
    tag = tags::V1,
    operation_id = "listModelsV1",
    summary = "The names of all functions",
    responses((status = 200, description = "All names", body = ModelList)),
)]
pub(super) fn list(host: &Host) -> Response<Body> {
    respond::json(StatusCode::OK, &ModelList { models: oip::models(host) })
}

/// `GET /v1/models/M`: as the Open Inference Protocol says it.
#[utoipa::path(
    get,
    path = "/v1/models/{model}",
    tag = tags::V1,
    operation_id = "modelReadyV1",
    summary = "Whether a function is ready",
    params(Model),
    responses(
        (status = 200, description = "It is, or a request wakes it", body = oip_metadata::ModelReady<'_>),
        (status = 503, description = "It was unloaded by hand; a request wakes it all the same", body = oip_metadata::ModelReady<'_>),
        Lookup,
    ),
)]
pub(super) fn ready(host: &Host, target: &Target) -> Result<Response<Body>, HttpError> {
    let ready = oip::is_ready(host, target)?;
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    Ok(respond::json_bytes(status, oip_metadata::model_ready(&target.function, ready)))
}

/// `GET /`
#[utoipa::path(
    get,
    path = "/",
    tag = tags::V1,
    operation_id = "aliveV1",
    summary = "Whether the host lives",
    responses((status = 200, description = "It does", body = Alive)),
)]
pub(super) fn alive() -> Response<Body> {
    respond::json(StatusCode::OK, &Alive { status: "alive" })
}
