//! `GET /api/functions/NAME/versions/V/bundle`: a version as the file that it was deployed from.

use std::ops::Range;
use std::sync::Arc;

use futures::TryStreamExt;
use http::header::{
    ACCEPT_RANGES, CONTENT_DISPOSITION, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG, IF_RANGE, RANGE,
};
use http::response::Builder;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::{Frame, Incoming};
use utoipa::IntoParams;

use crate::host::Host;
use crate::http::body::{Body, BoxError};
use crate::http::openapi::refusals::Downloading;
use crate::http::openapi::{Octets, tags};
use crate::http::respond::HttpError;
use crate::invoke::InvokeError;
use crate::registry::bundle::Layout;
use crate::registry::catalog::CatalogError;
use crate::registry::excerpt::excerpt;
use crate::registry::store::StoreError;

/// Which part of the bundle.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
#[expect(dead_code, reason = "it describes what is read")]
struct RangeHeader {
    /// The bytes that are wanted: `bytes=FIRST-[LAST]`. Several ranges, and what is none, are all of it.
    #[param(rename = "Range", nullable = false, example = "bytes=0-")]
    range: Option<String>,
    /// The version's digest in quotes, as `ETag` has it: of another one, all is wanted.
    #[param(rename = "If-Range", nullable = false)]
    if_range: Option<String>,
}

/// `GET /api/functions/NAME/versions/V/bundle`
#[utoipa::path(
    get,
    path = "/api/functions/{function}/versions/{version}/bundle",
    tag = tags::MANAGEMENT,
    operation_id = "downloadBundle",
    summary = "A version's bundle",
    description = "The file that `nocti build` wrote, byte by byte. One that others wrote may have had its parts in another order; this \
                   one has the same digest, and deploys as the same version.",
    params(
        ("function" = String, Path, description = "A function's name", example = "digits"),
        ("version" = String, Path, description = "A version's name", example = "1.0.0"),
        RangeHeader,
    ),
    responses(
        (status = 200, description = "The bundle", body = inline(Octets), content_type = "application/wasm"),
        (status = 206, description = "A part of it", body = inline(Octets), content_type = "application/wasm"),
        Downloading,
    ),
)]
pub(crate) async fn download(
    host: &Arc<Host>,
    name: &str,
    version: &str,
    request: &Request<Incoming>,
) -> Result<Response<Body>, HttpError> {
    let function = host.catalog.function(name)?;
    let found = function.versions.get(version).ok_or_else(|| CatalogError::UnknownVersion {
        function: function.name().clone(),
        version: excerpt(version),
        existing: function.versions.keys().cloned().collect(),
    })?;
    let place = host.admit.open_stream().map_err(InvokeError::from)?;
    let store = &host.lifecycle.parts.store;
    // What is not there has a status of its own, as long as there is no head.
    if let Some(gone) = store.lacks(found.manifest.blobs().collect()).await?.pop() {
        return Err(StoreError::Missing { object: format!("blob {}", gone.sha256) }.into());
    }
    let (layout, etag) = (Layout::of(&found.manifest), format!("\"{}\"", found.digest));
    let size = layout.size_bytes();
    let wanted = wanted(request.headers(), &etag, size)?;
    let range = wanted.clone().unwrap_or(0..size);
    let head = head(wanted.as_ref(), size)
        .header(CONTENT_LENGTH, range.end - range.start)
        .header(CONTENT_TYPE, "application/wasm")
        .header(CONTENT_DISPOSITION, format!("attachment; filename=\"{}-{}.wasm\"", found.function, found.name))
        .header(ACCEPT_RANGES, "bytes")
        .header(ETAG, etag);
    let bytes = store.stream(layout.within(range)).map_ok(move |bytes| {
        let _place = &place;
        Frame::data(bytes)
    });
    let body = StreamBody::new(bytes.map_err(BoxError::from)).boxed_unsync();
    head.body(body).map_err(|error| HttpError::Internal(error.to_string()))
}

fn head(part: Option<&Range<u64>>, size: u64) -> Builder {
    match part {
        None => Response::builder().status(StatusCode::OK),
        Some(Range { start, end }) => {
            let range = format!("bytes {start}-{}/{size}", end.saturating_sub(1));
            Response::builder().status(StatusCode::PARTIAL_CONTENT).header(CONTENT_RANGE, range)
        }
    }
}

/// The part that is wanted; `None`: all of it.
fn wanted(headers: &HeaderMap, etag: &str, size: u64) -> Result<Option<Range<u64>>, HttpError> {
    if headers.get(IF_RANGE).is_some_and(|wanted| wanted != etag) {
        return Ok(None);
    }
    let range = headers.get(RANGE).and_then(|value| value.to_str().ok());
    match range.and_then(|range| parsed(range, size)) {
        Some(range) if range.is_empty() => Err(HttpError::Range { size_bytes: size }),
        range => Ok(range),
    }
}

/// A range of bytes, an empty one where it is none of so many. (RFC 9110, section 14.1.2)
fn parsed(text: &str, size: u64) -> Option<Range<u64>> {
    let (first, last) = text.trim().strip_prefix("bytes=")?.split_once('-')?;
    let number =
        |text: &str| text.trim().parse::<u64>().ok().filter(|_| text.trim().bytes().all(|b| b.is_ascii_digit()));
    match (first.trim(), last.trim()) {
        ("", last) => Some(size.saturating_sub(number(last)?)..size),
        (first, "") => Some(number(first)?.min(size)..size),
        (first, last) => {
            let (first, last) = (number(first)?, number(last)?);
            (first <= last).then(|| first.min(size)..last.saturating_add(1).min(size))
        }
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use proptest::prelude::*;

    use super::*;

    fn of(range: &str, if_range: Option<&str>) -> Result<Option<Range<u64>>, String> {
        let mut headers = HeaderMap::new();
        headers.insert(RANGE, HeaderValue::from_str(range).unwrap());
        headers.extend(if_range.map(|etag| (IF_RANGE, HeaderValue::from_str(etag).unwrap())));
        wanted(&headers, "\"e\"", 100).map_err(|error| error.to_string())
    }

    #[test]
    fn ranges_are_those_of_the_standard() {
        assert_eq!(of("bytes=0-", None), Ok(Some(0..100)));
        assert_eq!(of("bytes=10-19", Some("\"e\"")), Ok(Some(10..20)));
        assert_eq!(of("bytes=90-1000", None), Ok(Some(90..100)));
        assert_eq!(of("bytes=-10", None), Ok(Some(90..100)));
        assert_eq!(of("bytes=-1000", None), Ok(Some(0..100)));
        for all in ["bytes=5-4", "bytes=0-1,5-6", "bytes=x-", "bytes=+1-", "lines=0-1", "bytes=-", ""] {
            assert_eq!(of(all, None), Ok(None), "{all}");
        }
        assert_eq!(of("bytes=10-", Some("\"another\"")), Ok(None));
        for none in ["bytes=100-", "bytes=-0", "bytes=18446744073709551615-"] {
            assert!(of(none, None).unwrap_err().contains("100 bytes"), "{none}");
        }
    }

    proptest! {
        #[test]
        fn no_text_is_a_range_beyond_the_end(text in "bytes=[0-9 ]{0,20}-[0-9 ]{0,20}|\\PC*", size: u64) {
            if let Some(range) = parsed(&text, size) {
                prop_assert!(range.start <= range.end && range.end <= size);
            }
        }
    }
}
