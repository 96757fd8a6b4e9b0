//! KServe's V1 protocol over HTTP: `/v1/models`, `…/M`, `…/M:predict`, `…/M:explain`.

use http::{Request, Response, StatusCode};
use hyper::body::Incoming;
use serde_json::json;

use super::body::{self, Body};
use super::encoding;
use super::respond::{self, HttpError};
use crate::host::Host;
use crate::invoke::{self, Begun, InvokeError, Target};
use crate::protocol::kserve_v1::{self, Answers};
use crate::runtime::typed::Question;
use crate::telemetry::Outcome;

/// `POST /v1/models/M:predict`, `…:explain`
pub(super) async fn ask(
    host: &Host,
    target: &Target,
    question: Question,
    mut request: Request<Incoming>,
) -> Result<Response<Body>, HttpError> {
    let begun = invoke::begin(host, target, question.into()).map_err(HttpError::from);
    let (begun, call) = body::refused(&mut request, begun).await?;
    let answer = answer(host, begun, question, request).await;
    call.end(answer.as_ref().map_or_else(respond::outcome, |_| Outcome::Ok));
    answer
}

async fn answer(
    host: &Host,
    begun: Begun,
    question: Question,
    request: Request<Incoming>,
) -> Result<Response<Body>, HttpError> {
    let (limit_bytes, encoding) = (host.config.body_bytes, encoding::of_request(request.headers())?);
    let bytes = begun.due.bound(body::collect(request, limit_bytes, 0)).await.map_err(InvokeError::from)??;
    let bytes = encoding::decoded(bytes, encoding, limit_bytes, 0).await?;
    let parsing = tokio::task::spawn_blocking(move || {
        let version = begun.version();
        let signature = version.record.signature.clone().unwrap_or_default();
        let parsed = kserve_v1::parse_request(version.function.as_str(), &signature, &bytes);
        (begun, parsed)
    });
    let (begun, parsed) = parsing.await.map_err(|error| HttpError::Internal(format!("parsing a request: {error}")))?;
    let answer = invoke::ask(host, begun, question, parsed?).await?;
    let answers = match question {
        Question::Predict => Answers::Predictions,
        Question::Explain => Answers::Explanations,
    };
    Ok(respond::json_bytes(StatusCode::OK, kserve_v1::write_response(answers, &answer.outputs)?))
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
