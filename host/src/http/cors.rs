//! Leave for web pages of other origins to call this host; none unless the configuration names them (`http.cors_origins`).
//!
//! The Fetch standard's CORS protocol, <https://fetch.spec.whatwg.org/#http-cors-protocol>. No credentials: the host has none.

use bytes::Bytes;
use http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_HEADERS,
    ACCESS_CONTROL_REQUEST_METHOD, ORIGIN, VARY,
};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};

use super::body::{self, Body};
use super::page;

/// Who calls, where it matters: as what a page may read the answer, if it may.
#[derive(Debug, Clone)]
pub(super) struct Caller(Option<HeaderValue>);

/// Looks who calls: a page of an origin that is named, or of any if `*` is. `None`: that changes no answer.
pub(super) fn caller(origins: &[String], headers: &HeaderMap) -> Option<Caller> {
    if origins.is_empty() {
        return None;
    }
    let origin = headers.get(ORIGIN).filter(|origin| page::is_named(origins, origin));
    let any = origins.iter().any(|named| named == "*");
    Some(Caller(origin.map(|origin| if any { HeaderValue::from_static("*") } else { origin.clone() })))
}

impl Caller {
    /// The answer to a browser that asks before it sends, if the request is such a question.
    pub(super) fn preflight<B>(&self, request: &Request<B>) -> Option<Response<Body>> {
        let headers = request.headers();
        if self.0.is_none()
            || request.method() != Method::OPTIONS
            || !headers.contains_key(ACCESS_CONTROL_REQUEST_METHOD)
        {
            return None;
        }
        let mut response = Response::new(body::full(Bytes::new()));
        *response.status_mut() = StatusCode::NO_CONTENT;
        let answer = response.headers_mut();
        answer.insert(
            ACCESS_CONTROL_ALLOW_METHODS,
            HeaderValue::from_static("GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"),
        );
        if let Some(wanted) = headers.get(ACCESS_CONTROL_REQUEST_HEADERS) {
            answer.insert(ACCESS_CONTROL_ALLOW_HEADERS, wanted.clone());
        }
        answer.insert(ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("86400"));
        Some(response)
    }

    /// Lets the page read an answer. What a function says of itself counts.
    pub(super) fn mark(self, headers: &mut HeaderMap) {
        if headers.contains_key(ACCESS_CONTROL_ALLOW_ORIGIN) {
            return;
        }
        // Others would be answered otherwise, which whoever keeps answers has to know.
        headers.append(VARY, HeaderValue::from_static("origin"));
        let Some(origin) = self.0 else { return };
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        headers.insert(
            ACCESS_CONTROL_EXPOSE_HEADERS,
            HeaderValue::from_static("inference-header-content-length, retry-after, x-request-id"),
        );
    }
}
