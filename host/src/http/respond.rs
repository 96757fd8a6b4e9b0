//! Responses, and the one place where an error becomes a status, a stable code and a public message; whose fault it is, `fault`
//! says.
//!
//! 4xx: the caller's fault; 429 and 503: later; 502: the function's code; 504: too slow; 500: the host's or the model's own fault.

#![deny(clippy::wildcard_enum_match_arm)]

use bytes::Bytes;
use http::header::{ALLOW, CONTENT_RANGE, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderValue, Response, StatusCode};
use serde::Serialize;
use utoipa::ToSchema;

use super::body::{self, Body, BodyError};
use super::route::RouteError;
use crate::api::blobs::BlobBody;
use crate::deploy::DeployError;
use crate::elsewhere::BrokenOff;
use crate::fault::{self, Fault, Kind};
use crate::invoke::InvokeError;
use crate::oip::RepositoryError;
use crate::protocol::ProtocolError;
use crate::registry::catalog::CatalogError;
use crate::registry::digest::Blob;
use crate::registry::spool::SpoolError;
use crate::registry::store::StoreError;
use crate::telemetry::Outcome;
use crate::tensor::moved;

/// Everything a request can fail with.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    #[error(transparent)]
    Route(#[from] RouteError),
    #[error(transparent)]
    Body(#[from] BodyError),
    #[error(transparent)]
    Protocol(#[from] ProtocolError),
    #[error(transparent)]
    Invoke(#[from] InvokeError),
    #[error(transparent)]
    Repository(#[from] RepositoryError),
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Deploy(Box<DeployError>),
    #[error(transparent)]
    Upload(#[from] SpoolError),
    #[error("there are {size_bytes} bytes of it, and the range begins behind them")]
    Range { size_bytes: u64 },
    #[error("a body with content-encoding '{0}' cannot be read: send it as it is, or as gzip or deflate")]
    UnsupportedEncoding(String),
    #[error("a web page of {0} may change nothing here; name its origin in http.cors_origins if it should")]
    ForeignPage(String),
    #[error("{0}")]
    BadRequest(String),
    #[error("internal error")]
    Internal(String),
}

impl From<DeployError> for HttpError {
    // Boxed, as it is the largest by far, and every result has room for it.
    fn from(error: DeployError) -> Self {
        Self::Deploy(Box::new(error))
    }
}

impl From<BrokenOff> for HttpError {
    fn from(error: BrokenOff) -> Self {
        Self::Invoke(error.into())
    }
}

/// The body of every error.
#[derive(Serialize, ToSchema)]
pub(super) struct ErrorBody<'a> {
    error: &'a str,
    code: &'static str,
    /// Of an upload: the byte that the next one begins with.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    offset: Option<u64>,
    /// Of a deploy: the blobs that the host lacks.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    blobs: Vec<BlobBody>,
}

/// Seconds after which a turned-away caller should try again.
const RETRY_AFTER_SECONDS: u64 = 1;

/// The response for an error.
pub fn error(error: &HttpError) -> Response<Body> {
    let fault = of(error);
    let status = status(fault.kind);
    let message = fault.message(error);
    let offset = if let HttpError::Upload(error) = error { error.offset() } else { None };
    let missing: &[Blob] = if let HttpError::Deploy(error) = error
        && let DeployError::BlobsMissing(blobs) = &**error
    {
        blobs
    } else {
        &[]
    };
    let blobs = missing.iter().copied().map(BlobBody::from).collect();
    let mut response = json(status, &ErrorBody { error: &message, code: fault.code, offset, blobs });
    if status == StatusCode::TOO_MANY_REQUESTS || status == StatusCode::SERVICE_UNAVAILABLE {
        response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(RETRY_AFTER_SECONDS));
    }
    if let HttpError::Route(RouteError::MethodNotAllowed(allowed)) = error {
        response.headers_mut().insert(ALLOW, HeaderValue::from_static(allowed));
    }
    if let HttpError::Range { size_bytes } = error
        && let Ok(size) = format!("bytes */{size_bytes}").parse()
    {
        response.headers_mut().insert(CONTENT_RANGE, size);
    }
    response
}

/// The error with all its causes, for the log.
pub fn chain(error: &HttpError) -> String {
    let text = match error {
        HttpError::Internal(cause) => format!("{error}: {cause}"),
        HttpError::Route(_)
        | HttpError::Body(_)
        | HttpError::Protocol(_)
        | HttpError::Invoke(_)
        | HttpError::Repository(_)
        | HttpError::Catalog(_)
        | HttpError::Deploy(_)
        | HttpError::Store(_)
        | HttpError::Upload(_)
        | HttpError::Range { .. }
        | HttpError::UnsupportedEncoding(_)
        | HttpError::ForeignPage(_)
        | HttpError::BadRequest(_) => error.to_string(),
    };
    fault::with_causes(text, error)
}

/// A JSON response.
pub fn json(status: StatusCode, value: &impl Serialize) -> Response<Body> {
    json_bytes(status, serde_json::to_vec(value).expect("our own types have string keys and no failing parts"))
}

/// A response of JSON that is written already.
pub fn json_bytes(status: StatusCode, json: impl Into<Bytes>) -> Response<Body> {
    let mut response = Response::new(body::full(json));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// A response of bytes, in the buffers that hold them. Little is sooner copied behind the first than sent from where it lies.
pub fn octets(mut first: Vec<u8>, rest: Vec<Bytes>) -> Response<Body> {
    const LITTLE_BYTES: usize = 1024;
    let bytes: usize = rest.iter().map(Bytes::len).sum();
    let body = if bytes > LITTLE_BYTES {
        body::of_buffers(std::iter::once(first.into()).chain(rest))
    } else {
        moved(bytes);
        rest.iter().for_each(|buffer| first.extend_from_slice(buffer));
        body::full(first)
    };
    let mut response = Response::new(body);
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    response
}

/// Whether the operator has to know.
pub fn is_ours(error: &HttpError) -> bool {
    of(error).is_ours()
}

/// What came of a request to a function that was not answered.
pub fn outcome(error: &HttpError) -> Outcome {
    of(error).outcome()
}

/// What came of a request that a function answered itself.
pub fn of_status(status: StatusCode) -> Outcome {
    match status {
        status if status.is_client_error() => Outcome::Invalid,
        status if status.is_server_error() => Outcome::Failed,
        _ => Outcome::Ok,
    }
}

fn of(error: &HttpError) -> Fault {
    match error {
        HttpError::Route(RouteError::NotFound) => Fault { kind: Kind::NotFound, code: "not_found" },
        HttpError::Route(RouteError::MethodNotAllowed(_)) => {
            Fault { kind: Kind::NotAllowed, code: "method_not_allowed" }
        }
        HttpError::Body(BodyError::TooLarge { .. } | BodyError::TooLargeHere { .. }) => fault::TOO_LARGE,
        HttpError::Body(BodyError::Stalled | BodyError::Late { .. }) => fault::STALLED,
        HttpError::Body(BodyError::Broken(_) | BodyError::Corrupt { .. }) | HttpError::BadRequest(_) => fault::INVALID,
        HttpError::Protocol(error) => fault::of_protocol(error),
        HttpError::Invoke(error) => fault::of_invoke(error),
        HttpError::ForeignPage(_) => Fault { kind: Kind::Forbidden, code: "cross_origin" },
        HttpError::UnsupportedEncoding(_) => Fault { kind: Kind::Encoding, code: "unsupported_encoding" },
        HttpError::Repository(error) => fault::of_repository(error),
        HttpError::Catalog(error) => fault::of_catalog(error),
        HttpError::Deploy(error) => fault::of_deploy(error),
        HttpError::Store(error) => fault::of_store(error),
        HttpError::Upload(error) => fault::of_upload(error),
        HttpError::Range { .. } => Fault { kind: Kind::Range, code: "out_of_range" },
        HttpError::Internal(_) => fault::INTERNAL,
    }
}

pub(super) fn status(kind: Kind) -> StatusCode {
    match kind {
        Kind::Invalid => StatusCode::BAD_REQUEST,
        Kind::Forbidden => StatusCode::FORBIDDEN,
        Kind::NotFound => StatusCode::NOT_FOUND,
        Kind::NotAllowed => StatusCode::METHOD_NOT_ALLOWED,
        Kind::Stalled => StatusCode::REQUEST_TIMEOUT,
        Kind::Conflict => StatusCode::CONFLICT,
        Kind::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
        Kind::Encoding => StatusCode::UNSUPPORTED_MEDIA_TYPE,
        Kind::Busy => StatusCode::TOO_MANY_REQUESTS,
        Kind::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        Kind::Unsupported => StatusCode::NOT_IMPLEMENTED,
        Kind::Function => StatusCode::BAD_GATEWAY,
        Kind::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        Kind::Deadline => StatusCode::GATEWAY_TIMEOUT,
        Kind::StoreFull => StatusCode::INSUFFICIENT_STORAGE,
        Kind::Range => StatusCode::RANGE_NOT_SATISFIABLE,
    }
}
