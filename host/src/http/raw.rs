//! `/functions/NAME/...`: raw HTTP to functions that speak it; the others get the body as a tensor.

use http::header::{CONTENT_LENGTH, EXPECT};
use http::uri::{PathAndQuery, Uri};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Body as _, Incoming};
use wasmtime_wasi_http::Error as GuestError;

use super::body::{self, Body, BodyError, BoxError, Counted};
use super::openapi::tags;
use super::plain;
use super::respond::{self, HttpError};
use super::tensors::ROUTING_KEY;
use crate::host::Host;
use crate::invoke::{self, Begun, InvokeError, Target};
use crate::registry::revision::FunctionKind;
use crate::runtime::http::ResponseBody;
use crate::telemetry::{Asked, Call};

/// Hands the request on, its path cut to what comes after the name; bodies stream both ways, but for small ones on their way
/// in.
#[utoipa::path(
    get,
    path = "/functions/{function}",
    tag = tags::FUNCTIONS,
    operation_id = "callFunction",
    summary = "A request to an http function",
    description = "It takes any method, any path after its name and any body, and gets the request as it came, its path cut to what \
                   comes after the name. What it answers is its own affair.",
    params(("function" = String, Path, description = "A function's name, or `NAME@VERSION`", example = "hello-http")),
    responses(
        (status = "default", description = "What the function answers, or an `ErrorBody` of the host's", body = serde_json::Value,
            content_type = "*/*"),
    ),
)]
pub(super) async fn call(
    host: &Host,
    target: &Target,
    path: &str,
    mut request: Request<Incoming>,
) -> Result<Response<Body>, HttpError> {
    let key = request.headers().get(&ROUTING_KEY).map(HeaderValue::as_bytes);
    let destined = host.catalog.resolve_for(key, &target.function, target.version.as_deref()).ok();
    // Weights are drawn by once: the version that is looked at is the one that is asked.
    let drawn = destined
        .as_ref()
        .map(|to| Target { function: target.function.clone(), version: Some(to.version.name.to_string()) });
    let target = drawn.as_ref().unwrap_or(target);
    let takes_tensors = destined.as_ref().is_some_and(|to| to.version.record.kind != FunctionKind::Http);
    if takes_tensors && path == "/" && request.method() == Method::POST {
        // Boxed, so that other requests need no room for it.
        return Box::pin(plain::ask(host, target, destined.and_then(|to| to.shadow), request)).await;
    }
    let begun = begin(host, target, path, &mut request);
    let (begun, mut call) = body::refused(&mut request, begun).await?;
    let without_body = request.method() == Method::HEAD;
    // Not the query, which may have what is no log's business.
    call.tell(", ", request.method());
    call.tell(" ", &request.uri().path());
    match answer(host, begun, request).await {
        Ok(mut response) => {
            // A page of one function is not to answer for those of others.
            response.headers_mut().remove("service-worker-allowed");
            call.tell(" ", &response.status().as_u16());
            let whole = respond::of_status(response.status());
            let length = if without_body { Some(0) } else { length(&response) };
            Ok(response.map(|body| Counted::new(body, length, call, whole).boxed_unsync()))
        }
        Err(error) => {
            call.tell(": ", &error);
            call.end(respond::outcome(&error));
            Err(error)
        }
    }
}

async fn answer(host: &Host, begun: Begun, request: Request<Incoming>) -> Result<Response<ResponseBody>, HttpError> {
    let limit_bytes = host.config.body_bytes;
    if is_small(&request) {
        let (head, body) = request.into_parts();
        let body = begun.due.bound(body::collect(Request::new(body), limit_bytes, 0)).await;
        let body = Full::new(body.map_err(InvokeError::from)??).map_err(|never| -> GuestError { match never {} });
        return Ok(invoke::call(host, begun, Request::from_parts(head, body)).await?);
    }
    // One that did not say its size breaks off at the limit.
    let limit = usize::try_from(limit_bytes).unwrap_or(usize::MAX);
    let request = request.map(|body| Limited::new(body, limit).map_err(move |error| broken(error, limit_bytes)));
    Ok(invoke::call(host, begun, request).await?)
}

/// How long a response's body is, as its head says.
fn length<B>(response: &Response<B>) -> Option<u64> {
    match response.status() {
        StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED => Some(0),
        _ => response.headers().get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok(),
    }
}

/// Whether the whole body is taken before the function is called: then a client that sends slowly holds no instance, and the
/// guest need not be stopped and resumed for it. Not where the client asks for leave to send, which the function gives by
/// reading.
fn is_small(request: &Request<Incoming>) -> bool {
    const SMALL_BYTES: u64 = 64 << 10;
    let size = request.body().size_hint().exact();
    size.is_some_and(|bytes| bytes <= SMALL_BYTES) && !request.headers().contains_key(EXPECT)
}

/// What can be said before the body is read.
fn begin(
    host: &Host,
    target: &Target,
    path: &str,
    request: &mut Request<Incoming>,
) -> Result<(Begun, Call), HttpError> {
    *request.uri_mut() = below(request.uri(), path)?;
    let limit_bytes = host.config.body_bytes;
    if request.body().size_hint().lower() > limit_bytes {
        return Err(BodyError::TooLarge { limit_bytes }.into());
    }
    Ok(invoke::begin(host, target, None, Asked::Http)?)
}

/// What the function sees of a body that ends before its end.
fn broken(error: BoxError, limit_bytes: u64) -> GuestError {
    match error.downcast::<hyper::Error>() {
        Ok(error) => (*error).into(),
        Err(_) => GuestError::HttpRequestBodySize(Some(limit_bytes)),
    }
}

fn below(uri: &Uri, path: &str) -> Result<Uri, HttpError> {
    let path_and_query = match uri.query() {
        Some(query) => format!("{path}?{query}"),
        None => path.to_owned(),
    };
    let path_and_query: PathAndQuery =
        path_and_query.parse().map_err(|error| HttpError::BadRequest(format!("the path is no path: {error}")))?;
    let mut parts = uri.clone().into_parts();
    // Only the path goes on: with a scheme or authority alone a URI would be invalid.
    parts.scheme = None;
    parts.authority = None;
    parts.path_and_query = Some(path_and_query);
    Uri::from_parts(parts).map_err(|error| HttpError::BadRequest(format!("the path is no path: {error}")))
}
