//! Open Inference Protocol v2 over HTTP: what models say of themselves.

use http::{Response, StatusCode};

use super::body::Body;
use super::openapi::parameters::Model;
use super::openapi::refusals::Lookup;
use super::openapi::tags;
use super::respond::{self, HttpError};
use crate::host::Host;
use crate::invoke::Target;
use crate::oip;
use crate::protocol::oip_config::ModelConfig;
use crate::protocol::oip_metadata::{self, ModelMetadata, ModelReady};
use crate::protocol::oip_repository::ModelList;
use crate::protocol::oip_statistics::Statistics;

/// `GET /v2/models`
#[utoipa::path(
    get,
    path = "/v2/models",
    tag = tags::OIP,
    operation_id = "listModels",
    summary = "The names of all functions",
    responses((status = 200, description = "All names", body = ModelList)),
)]
pub(super) fn list(host: &Host) -> Response<Body> {
    respond::json(StatusCode::OK, &ModelList { models: oip::models(host) })
}

/// `GET /v2/models/M`
#[utoipa::path(
    get,
    path = "/v2/models/{model}",
    tag = tags::OIP,
    operation_id = "modelMetadata",
    summary = "What a function takes and gives",
    params(Model),
    responses((status = 200, description = "Its inputs, outputs and versions", body = ModelMetadata), Lookup),
)]
pub(super) fn metadata(host: &Host, target: &Target) -> Result<Response<Body>, HttpError> {
    Ok(respond::json(StatusCode::OK, &oip::metadata(host, target)?))
}

/// `GET /v2/models/M/ready`
#[utoipa::path(
    get,
    path = "/v2/models/{model}/ready",
    tag = tags::OIP,
    operation_id = "modelReady",
    summary = "Whether a function answers",
    description = "A stored version is ready, since a request wakes it, unless somebody unloaded it.",
    params(Model),
    responses(
        (status = 200, description = "It does", body = ModelReady<'_>),
        (status = 503, description = "It was unloaded by hand; a request wakes it all the same", body = ModelReady<'_>),
        Lookup,
    ),
)]
pub(super) fn ready(host: &Host, target: &Target) -> Result<Response<Body>, HttpError> {
    let ready = oip::is_ready(host, target)?;
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    Ok(respond::json_bytes(status, oip_metadata::model_ready(&target.function, ready)))
}

/// `GET /v2/models/M/config`
#[utoipa::path(
    get,
    path = "/v2/models/{model}/config",
    tag = tags::OIP,
    operation_id = "modelConfig",
    summary = "A function's configuration, in Triton's form",
    params(Model),
    responses((status = 200, description = "The configuration", body = ModelConfig), Lookup),
)]
pub(super) fn config(host: &Host, target: &Target) -> Result<Response<Body>, HttpError> {
    Ok(respond::json(StatusCode::OK, &oip::config(host, target)?))
}

/// `GET /v2/models/stats`
#[utoipa::path(
    get,
    path = "/v2/models/stats",
    tag = tags::OIP,
    operation_id = "statistics",
    summary = "What all functions did since the host's start",
    responses((status = 200, description = "An entry for each version", body = Statistics)),
)]
pub(super) fn all_statistics(host: &Host) -> Result<Response<Body>, HttpError> {
    Ok(respond::json(StatusCode::OK, &oip::statistics(host, None)?))
}

/// `GET /v2/models/M/stats`
#[utoipa::path(
    get,
    path = "/v2/models/{model}/stats",
    tag = tags::OIP,
    operation_id = "modelStatistics",
    summary = "What a function did since the host's start",
    params(Model),
    responses((status = 200, description = "An entry for each version", body = Statistics), Lookup),
)]
pub(super) fn statistics(host: &Host, target: &Target) -> Result<Response<Body>, HttpError> {
    Ok(respond::json(StatusCode::OK, &oip::statistics(host, Some(target))?))
}
