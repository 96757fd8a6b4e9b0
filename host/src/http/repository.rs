//! The model repository extension over HTTP.

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use hyper::body::Incoming;

use super::body::{self, Body};
use super::respond::{self, HttpError};
use crate::host::Host;
use crate::oip;
use crate::protocol::oip_repository::{self, ChangeRequest, IndexRequest};

/// `POST /v2/repository/index`
pub(super) async fn index(host: &Host, request: Request<Incoming>) -> Result<Response<Body>, HttpError> {
    let body = read(host, request).await?;
    let IndexRequest { ready } = oip_repository::parse(&body)?;
    Ok(respond::json(StatusCode::OK, &oip::index(host, ready)))
}

/// `POST /v2/repository/models/M/load`
pub(super) async fn load(host: &Host, model: &str, request: Request<Incoming>) -> Result<Response<Body>, HttpError> {
    let body = read(host, request).await?;
    let ChangeRequest { parameters } = oip_repository::parse(&body)?;
    oip::load(host, model, parameters.keys().map(String::as_str)).await?;
    Ok(respond::json_bytes(StatusCode::OK, &b"{}"[..]))
}

/// `POST /v2/repository/models/M/unload`. No model depends on another, so `unload_dependents` changes nothing.
pub(super) async fn unload(host: &Host, model: &str, request: Request<Incoming>) -> Result<Response<Body>, HttpError> {
    let body = read(host, request).await?;
    let _: ChangeRequest = oip_repository::parse(&body)?;
    oip::unload(host, model).await?;
    Ok(respond::json_bytes(StatusCode::OK, &b"{}"[..]))
}

async fn read(host: &Host, request: Request<Incoming>) -> Result<Bytes, HttpError> {
    Ok(body::collect(request, host.config.body_bytes, 0).await?)
}
