//! `GET /api/docs`: the OpenAPI document for people, in one page that needs nothing from elsewhere.

use std::sync::LazyLock;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::{CONTENT_SECURITY_POLICY, CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS};
use http::{HeaderValue, Response};
use sha2::{Digest as _, Sha256};

use super::body::{self, Body};
use super::openapi::tags;

const PAGE: &str = include_str!("docs.html");

/// What the page may do: run its own script, use its own style, ask this server.
static POLICY: LazyLock<HeaderValue> = LazyLock::new(|| {
    let (script, style) = (hash_of("script"), hash_of("style"));
    let policy = format!(
        "default-src 'none'; script-src '{script}'; style-src '{style}'; connect-src 'self'; base-uri 'none'; \
         form-action 'none'; frame-ancestors 'none'"
    );
    HeaderValue::try_from(policy).expect("base64 is ASCII")
});

/// `GET /api/docs`
#[utoipa::path(
    get,
    path = "/api/docs",
    tag = tags::OPERATION,
    operation_id = "docs",
    summary = "This document as a page",
    responses((status = 200, description = "HTML", body = String, content_type = "text/html")),
)]
pub(super) fn page() -> Response<Body> {
    let mut response = Response::new(body::full(PAGE));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    headers.insert(CONTENT_SECURITY_POLICY, POLICY.clone());
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

/// The hash by which a browser knows what is in the page's only element of this name.
fn hash_of(element: &str) -> String {
    let inside =
        PAGE.split_once(&format!("<{element}>")).and_then(|(_, rest)| rest.split_once(&format!("</{element}>")));
    let (inside, _) = inside.unwrap_or_default();
    format!("sha256-{}", STANDARD.encode(Sha256::digest(inside)))
}
