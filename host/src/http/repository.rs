//! The model repository extension over HTTP.

use http::{Request, Response, StatusCode};
use hyper::body::Incoming;

use super::body::Body;
use super::openapi::parameters::Model;
use super::openapi::refusals::{Change, Index, Wake};
use super::openapi::tags;
use super::respond::{self, HttpError};
use super::small::read;
use crate::host::Host;
use crate::oip;
use crate::protocol::oip_repository::{ChangeRequest, IndexRequest, ModelIndex};

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
    let (IndexRequest { ready }, _arrived) = read(host, request).await?;
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
    let (ChangeRequest { parameters }, _arrived) = read(host, request).await?;
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
    let (ChangeRequest { .. }, _arrived) = read(host, request).await?;
    oip::unload(host, model).await?;
    Ok(respond::json_bytes(StatusCode::OK, &b"{}"[..]))
}
