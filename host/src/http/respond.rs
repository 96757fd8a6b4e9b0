//! Responses, and the one place where an error becomes a status, a stable code and a public message.
//!
//! What a caller may read is the error's own text; its causes go to the log. 4xx: the caller's fault; 429 and 503: later;
//! 502: the function's code; 504: too slow; 500: the host's or the model's own fault.

#![deny(clippy::wildcard_enum_match_arm)]

use std::error::Error as _;

use bytes::Bytes;
use http::header::{ALLOW, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderValue, Response, StatusCode};
use serde::Serialize;

use super::body::{self, Body, BodyError};
use super::route::RouteError;
use crate::admit::AdmitError;
use crate::deploy::DeployError;
use crate::invoke::InvokeError;
use crate::lifecycle::WakeError;
use crate::nn::{NnError, NoMemory};
use crate::protocol::ProtocolError;
use crate::registry::catalog::CatalogError;
use crate::registry::revision::RevisionError;
use crate::registry::store::StoreError;
use crate::runtime::RuntimeError;
use crate::telemetry::Outcome;

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
    Catalog(#[from] CatalogError),
    #[error(transparent)]
    Deploy(#[from] DeployError),
    #[error("a body with content-encoding '{0}' cannot be read: send it as it is, or as gzip or deflate")]
    UnsupportedEncoding(String),
    #[error("{0}")]
    BadRequest(String),
    #[error("internal error")]
    Internal(String),
}

/// The body of every error.
#[derive(Serialize)]
struct ErrorBody<'a> {
    error: &'a str,
    code: &'static str,
}

/// Seconds after which a turned-away caller should try again.
const RETRY_AFTER_SECONDS: u64 = 1;

/// The response for an error.
pub fn error(error: &HttpError) -> Response<Body> {
    let (status, code) = classify(error);
    // Faults of the host's own are described in the log alone.
    let message =
        if code == "internal" { "internal error; the host's log says more".into() } else { error.to_string() };
    let mut response = json(status, &ErrorBody { error: &message, code });
    if status == StatusCode::TOO_MANY_REQUESTS || status == StatusCode::SERVICE_UNAVAILABLE {
        response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(RETRY_AFTER_SECONDS));
    }
    if let HttpError::Route(RouteError::MethodNotAllowed(allowed)) = error {
        response.headers_mut().insert(ALLOW, HeaderValue::from_static(allowed));
    }
    response
}

/// The error with all its causes, for the log.
pub fn chain(error: &HttpError) -> String {
    let mut text = error.to_string();
    if let HttpError::Internal(cause) = error {
        text = format!("{text}: {cause}");
    }
    let mut cause = error.source();
    while let Some(error) = cause {
        let next = error.to_string();
        // Transparent variants repeat their cause's text.
        if !text.ends_with(&next) {
            text = format!("{text}: {next}");
        }
        cause = error.source();
    }
    text
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

/// A response of bytes, in the buffers that hold them.
pub fn octets(buffers: impl IntoIterator<Item = Bytes>) -> Response<Body> {
    let mut response = Response::new(body::of_buffers(buffers));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    response
}

type Class = (StatusCode, &'static str);

const INTERNAL: Class = (StatusCode::INTERNAL_SERVER_ERROR, "internal");
const BAD_REQUEST: Class = (StatusCode::BAD_REQUEST, "invalid_request");
const DEADLINE: Class = (StatusCode::GATEWAY_TIMEOUT, "deadline_exceeded");
const NO_MEMORY: Class = (StatusCode::SERVICE_UNAVAILABLE, "no_memory");
const BAD_ANSWER: Class = (StatusCode::BAD_GATEWAY, "bad_answer");

/// What came of a request to a function that was not answered.
pub fn outcome(error: &HttpError) -> Outcome {
    match classify(error) {
        (_, "overloaded" | "too_many_requests" | "no_memory" | "draining") => Outcome::Refused,
        (StatusCode::GATEWAY_TIMEOUT | StatusCode::REQUEST_TIMEOUT, _) => Outcome::Timeout,
        (status, _) => of_status(status),
    }
}

/// What came of a request that a function answered itself.
pub fn of_status(status: StatusCode) -> Outcome {
    match status {
        status if status.is_client_error() => Outcome::Invalid,
        status if status.is_server_error() => Outcome::Failed,
        _ => Outcome::Ok,
    }
}

fn classify(error: &HttpError) -> Class {
    match error {
        HttpError::Route(RouteError::NotFound) => (StatusCode::NOT_FOUND, "not_found"),
        HttpError::Route(RouteError::MethodNotAllowed(_)) => (StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed"),
        HttpError::Body(error) => classify_body(error),
        HttpError::Protocol(error) => classify_protocol(error),
        HttpError::Invoke(error) => classify_invoke(error),
        HttpError::Catalog(error) => classify_catalog(error),
        HttpError::Deploy(error) => classify_deploy(error),
        HttpError::UnsupportedEncoding(_) => (StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_encoding"),
        HttpError::BadRequest(_) => BAD_REQUEST,
        HttpError::Internal(_) => INTERNAL,
    }
}

fn classify_body(error: &BodyError) -> Class {
    match error {
        BodyError::TooLarge { .. } => (StatusCode::PAYLOAD_TOO_LARGE, "too_large"),
        BodyError::Stalled => (StatusCode::REQUEST_TIMEOUT, "body_timeout"),
        BodyError::Broken(_) => BAD_REQUEST,
    }
}

fn classify_protocol(error: &ProtocolError) -> Class {
    match error {
        ProtocolError::Malformed(_)
        | ProtocolError::Input { .. }
        | ProtocolError::Parameter { .. }
        | ProtocolError::Unsupported(_)
        | ProtocolError::Mismatch(_) => BAD_REQUEST,
        ProtocolError::Unwritable { .. } => (StatusCode::BAD_REQUEST, "not_json"),
        ProtocolError::Answer(_) => BAD_ANSWER,
    }
}

fn classify_invoke(error: &InvokeError) -> Class {
    match error {
        InvokeError::Unknown(error) => classify_catalog(error),
        InvokeError::NotAdmitted(AdmitError::HostFull) => (StatusCode::SERVICE_UNAVAILABLE, "overloaded"),
        InvokeError::NotAdmitted(AdmitError::FunctionFull) => (StatusCode::TOO_MANY_REQUESTS, "too_many_requests"),
        InvokeError::Wake { source, .. } => classify_wake(source),
        InvokeError::Deadline(_) => DEADLINE,
        InvokeError::Protocol(error) => classify_protocol(error),
        InvokeError::Model(error) => classify_model(error),
        InvokeError::Guest { source, .. } => classify_guest(source),
        InvokeError::NotExplainable(_) => (StatusCode::NOT_IMPLEMENTED, "not_explainable"),
        InvokeError::NotPredictable(_) | InvokeError::NotHttp(_) => (StatusCode::BAD_REQUEST, "wrong_kind"),
    }
}

fn classify_wake(error: &WakeError) -> Class {
    match error {
        WakeError::Model(NnError::NoMemory { .. }) => NO_MEMORY,
        WakeError::Missing(_) | WakeError::Model(_) | WakeError::Component(_) => {
            (StatusCode::INTERNAL_SERVER_ERROR, "load_failed")
        }
        WakeError::Host(_) => INTERNAL,
    }
}

fn classify_model(error: &NnError) -> Class {
    match error {
        NnError::InvalidInput(_) => BAD_REQUEST,
        NnError::Unsupported(_) => (StatusCode::NOT_IMPLEMENTED, "not_implemented"),
        NnError::InvalidModel { .. } | NnError::Device { .. } => (StatusCode::INTERNAL_SERVER_ERROR, "load_failed"),
        NnError::Run { .. } => (StatusCode::INTERNAL_SERVER_ERROR, "model_failed"),
        NnError::NoMemory { .. } => NO_MEMORY,
        NnError::Ended(_) => INTERNAL,
    }
}

fn classify_guest(error: &RuntimeError) -> Class {
    match error {
        RuntimeError::InvalidComponent(_) => (StatusCode::INTERNAL_SERVER_ERROR, "load_failed"),
        RuntimeError::Trapped { .. } => (StatusCode::BAD_GATEWAY, "function_failed"),
        RuntimeError::BadAnswer(_) => BAD_ANSWER,
        RuntimeError::InvalidInput(_) => BAD_REQUEST,
        RuntimeError::Unavailable(_) => (StatusCode::SERVICE_UNAVAILABLE, "unavailable"),
        RuntimeError::Internal(_) => (StatusCode::INTERNAL_SERVER_ERROR, "function_error"),
        RuntimeError::NotExported(_) => (StatusCode::NOT_IMPLEMENTED, "not_explainable"),
        RuntimeError::NoRoom => (StatusCode::SERVICE_UNAVAILABLE, "overloaded"),
        RuntimeError::Deadline(_) => DEADLINE,
        RuntimeError::Host(_) => INTERNAL,
    }
}

fn classify_catalog(error: &CatalogError) -> Class {
    match error {
        CatalogError::UnknownFunction(_) | CatalogError::UnknownVersion { .. } => (StatusCode::NOT_FOUND, "not_found"),
        CatalogError::NoTraffic { .. } => (StatusCode::NOT_FOUND, "no_traffic"),
        CatalogError::Damaged { .. } => (StatusCode::INTERNAL_SERVER_ERROR, "damaged"),
        CatalogError::Revision(error) => classify_revision(error),
        CatalogError::Store(error) => classify_store(error),
        CatalogError::Contended(_) => (StatusCode::CONFLICT, "contended"),
        CatalogError::Interrupted(_) => (StatusCode::SERVICE_UNAVAILABLE, "draining"),
    }
}

fn classify_revision(error: &RevisionError) -> Class {
    match error {
        RevisionError::VersionTaken { .. } => (StatusCode::CONFLICT, "version_taken"),
        RevisionError::NameClash { .. } => (StatusCode::CONFLICT, "name_clash"),
        RevisionError::VersionInUse { .. } => (StatusCode::CONFLICT, "version_in_use"),
        RevisionError::UnknownFunction(_) | RevisionError::UnknownVersion { .. } => {
            (StatusCode::NOT_FOUND, "not_found")
        }
    }
}

fn classify_store(error: &StoreError) -> Class {
    match error {
        StoreError::Full { .. } => (StatusCode::INSUFFICIENT_STORAGE, "storage_full"),
        StoreError::Conflict { .. } => (StatusCode::CONFLICT, "contended"),
        StoreError::WrongContent { .. } => (StatusCode::BAD_REQUEST, "invalid_bundle"),
        StoreError::Damaged { .. } | StoreError::Missing { .. } | StoreError::TooLarge { .. } => {
            (StatusCode::INTERNAL_SERVER_ERROR, "damaged")
        }
        StoreError::Open { .. } | StoreError::Failed { .. } => INTERNAL,
    }
}

fn classify_deploy(error: &DeployError) -> Class {
    match error {
        DeployError::Upload(_) | DeployError::Bundle(_) => (StatusCode::BAD_REQUEST, "invalid_bundle"),
        DeployError::Stalled => (StatusCode::REQUEST_TIMEOUT, "body_timeout"),
        DeployError::Busy => (StatusCode::SERVICE_UNAVAILABLE, "overloaded"),
        DeployError::Failed(_) => INTERNAL,
        DeployError::Rejected(source) => match source {
            // What is in the bundle cannot run here: the bundle's fault, unlike the same failure when it is woken.
            WakeError::Model(NnError::Ended(_) | NnError::Run { .. }) | WakeError::Host(_) | WakeError::Missing(_) => {
                INTERNAL
            }
            WakeError::Model(NnError::NoMemory {
                reason: NoMemory::TooLarge { .. } | NoMemory::TooLargeTogether { .. },
                ..
            }) => (StatusCode::PAYLOAD_TOO_LARGE, "model_too_large"),
            WakeError::Model(NnError::NoMemory { reason: NoMemory::Taken { .. }, .. }) => NO_MEMORY,
            WakeError::Model(_) => (StatusCode::BAD_REQUEST, "invalid_model"),
            WakeError::Component(error) if matches!(**error, RuntimeError::Host(_)) => INTERNAL,
            WakeError::Component(_) => (StatusCode::BAD_REQUEST, "invalid_component"),
        },
        DeployError::Store(error) => classify_store(error),
        DeployError::Catalog(error) => classify_catalog(error),
    }
}
