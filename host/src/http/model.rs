//! Open Inference Protocol v2 over HTTP: what models say of themselves.

use http::{Response, StatusCode};

use super::body::Body;
use super::respond::{self, HttpError};
use crate::host::Host;
use crate::invoke::Target;
use crate::oip;
use crate::protocol::{oip_metadata, oip_repository};

/// `GET /v2/models`
pub(super) fn list(host: &Host) -> Response<Body> {
    respond::json(StatusCode::OK, &oip_repository::ModelList { models: oip::models(host) })
}

/// `GET /v2/models/M`
pub(super) fn metadata(host: &Host, target: &Target) -> Result<Response<Body>, HttpError> {
    Ok(respond::json(StatusCode::OK, &oip::metadata(host, target)?))
}

/// `GET /v2/models/M/ready`
pub(super) fn ready(host: &Host, target: &Target) -> Result<Response<Body>, HttpError> {
    let ready = oip::is_ready(host, target)?;
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    Ok(respond::json_bytes(status, oip_metadata::model_ready(&target.function, ready)))
}

/// `GET /v2/models/M/config`
pub(super) fn config(host: &Host, target: &Target) -> Result<Response<Body>, HttpError> {
    Ok(respond::json(StatusCode::OK, &oip::config(host, target)?))
}

/// `GET /v2/models/stats`, `/v2/models/M/stats`
pub(super) fn statistics(host: &Host, target: Option<&Target>) -> Result<Response<Body>, HttpError> {
    let function = target.map(|target| target.function.as_str());
    let version = target.and_then(|target| target.version.as_deref());
    Ok(respond::json(StatusCode::OK, &oip::statistics(host, function, version)?))
}
