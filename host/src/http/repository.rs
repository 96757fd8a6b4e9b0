//! The model repository extension over HTTP.

use std::time::Duration;

use http::{Request, Response, StatusCode};
use hyper::body::Incoming;
use serde::de::DeserializeOwned;

use super::body::{self, Body, BodyError};
use super::encoding;
use super::openapi::parameters::Model;
use super::openapi::refusals::{Change, Index, Wake};
use super::openapi::tags;
use super::respond::{self, HttpError};
use crate::admit::Arrived;
use crate::host::Host;
use crate::invoke::InvokeError;
use crate::oip;
use crate::protocol::oip_repository::{self, ChangeRequest, IndexRequest, ModelIndex};

/// The most of a body, which is a few words: what a model is made of comes with its deploy.
const MAX_BODY_BYTES: u64 = 64 << 10;

/// How long a client may take to send it.
const BODY_WITHIN: Duration = Duration::from_secs(30);

/// `POST /v2/repository/index`
#[utoipa::path(
    post,
    path = "/v2/repository/index",
    tag = tags::REPOSITORY,
    operation_id = "repositoryIndex",
    summary = "All versions and their states",
    request_body(content = Option<IndexRequest>, description = "May be absent"),
    responses((status = 200, description = "An entry for each version", body = [ModelIndex]), Index),
)]
pub(super) async fn index(host: &Host, request: Request<Incoming>) -> Result<Response<Body>, HttpError> {
    let (IndexRequest { ready }, _arrived) = arrive(host, request).await?;
    Ok(respond::json(StatusCode::OK, &oip::index(host, ready.unwrap_or_default())))
}

/// `POST /v2/repository/models/M/load`
#[utoipa::path(
    post,
    path = "/v2/repository/models/{model}/load",
    tag = tags::REPOSITORY,
    operation_id = "loadModel",
    summary = "Wakes what the function's requests go to and keeps it in memory",
    description = "Until it is unloaded or deleted, or the host ends. Files and configurations come with a deploy: the parameters \
                   `config` and `file:...` are refused.",
    params(Model),
    request_body(content = Option<ChangeRequest>, description = "May be absent"),
    responses((status = 200, description = "It is loaded", body = serde_json::Value, example = json!({})), Wake),
)]
pub(super) async fn load(host: &Host, model: &str, request: Request<Incoming>) -> Result<Response<Body>, HttpError> {
    let (ChangeRequest { parameters }, _arrived) = arrive(host, request).await?;
    oip::load(host, model, parameters.iter().flat_map(|parameters| parameters.keys()).map(String::as_str)).await?;
    Ok(respond::json_bytes(StatusCode::OK, &b"{}"[..]))
}

/// `POST /v2/repository/models/M/unload`. No model depends on another, so `unload_dependents` changes nothing.
#[utoipa::path(
    post,
    path = "/v2/repository/models/{model}/unload",
    tag = tags::REPOSITORY,
    operation_id = "unloadModel",
    summary = "Puts all versions of a function back on disk",
    description = "None if one of them is kept warm by its manifest. The next request wakes it again.",
    params(Model),
    request_body(content = Option<ChangeRequest>, description = "May be absent"),
    responses((status = 200, description = "It is unloaded", body = serde_json::Value, example = json!({})), Change),
)]
pub(super) async fn unload(host: &Host, model: &str, request: Request<Incoming>) -> Result<Response<Body>, HttpError> {
    let (ChangeRequest { .. }, _arrived) = arrive(host, request).await?;
    oip::unload(host, model).await?;
    Ok(respond::json_bytes(StatusCode::OK, &b"{}"[..]))
}

/// What the body says, and the leave to be in the host.
async fn arrive<T: DeserializeOwned + Default>(
    host: &Host,
    mut request: Request<Incoming>,
) -> Result<(T, Arrived), HttpError> {
    let limit_bytes = host.config.body_bytes.min(MAX_BODY_BYTES);
    let begun = encoding::of_request(request.headers())
        .and_then(|encoding| Ok((host.admit.arrive().map_err(InvokeError::from)?, encoding)));
    let (arrived, encoding) = body::refused(&mut request, begun).await?;
    let read = async {
        let bytes = body::collect(request, limit_bytes, 0).await?;
        encoding::decoded(arrived, bytes, encoding, limit_bytes, 0).await
    };
    let read = tokio::time::timeout(BODY_WITHIN, read).await;
    let read = read.unwrap_or_else(|_| Err(BodyError::Late { seconds: BODY_WITHIN.as_secs() }.into()));
    let (arrived, bytes) = read.map_err(|error| match error {
        HttpError::Body(BodyError::TooLarge { limit_bytes }) => BodyError::TooLargeHere { limit_bytes }.into(),
        other => other,
    })?;
    Ok((oip_repository::parse(&bytes)?, arrived))
}
