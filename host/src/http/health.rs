//! Open Inference Protocol v2 over HTTP: what the server says of itself.

use std::sync::atomic::Ordering;

use http::{Response, StatusCode};

use super::body::Body;
use super::openapi::tags;
use super::respond;
use crate::host::Host;
use crate::protocol::oip_metadata::{self, ServerHealth, ServerMetadata};

/// `GET /v2/health/live`, `/healthz`
#[utoipa::path(
    get,
    path = "/v2/health/live",
    tag = tags::OIP,
    operation_id = "serverLive",
    summary = "Whether the host lives",
    responses((status = 200, description = "It does", body = ServerHealth)),
)]
pub(super) fn live(host: &Host) -> Response<Body> {
    respond::json_bytes(StatusCode::OK, oip_metadata::server_health(is_ready(host)))
}

/// `GET /v2/health/ready`, `/readyz`
#[utoipa::path(
    get,
    path = "/v2/health/ready",
    tag = tags::OIP,
    operation_id = "serverReady",
    summary = "Whether the host takes requests",
    responses(
        (status = 200, description = "It does", body = ServerHealth),
        (status = 503, description = "It is going down", body = ServerHealth),
    ),
)]
pub(super) fn ready(host: &Host) -> Response<Body> {
    let ready = is_ready(host);
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    respond::json_bytes(status, oip_metadata::server_health(ready))
}

fn is_ready(host: &Host) -> bool {
    !host.draining.load(Ordering::Relaxed)
}

/// `GET /v2`
#[utoipa::path(
    get,
    path = "/v2",
    tag = tags::OIP,
    operation_id = "serverMetadata",
    summary = "What the host is, and which extensions it speaks",
    responses((status = 200, description = "Name, version, extensions", body = ServerMetadata)),
)]
pub(super) fn server_metadata() -> Response<Body> {
    respond::json_bytes(StatusCode::OK, oip_metadata::server_metadata())
}
