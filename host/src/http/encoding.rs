//! Compressed bodies: those of requests, and those of answers where the caller asks for it.
//! (RFC 9110, section 8.4)

use bytes::Bytes;
use futures::FutureExt;
use http::header::{ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_LENGTH, VARY};
use http::{HeaderMap, HeaderValue, Response};
use http_body::Body as _;
use http_body_util::BodyExt;

use super::body::{self, Body, BodyError};
use super::respond::HttpError;
use crate::compression::{Encoding, InflateError};
use crate::elsewhere::elsewhere;

/// How a request's body is compressed, if it is.
pub(crate) fn of_request(headers: &HeaderMap) -> Result<Option<Encoding>, HttpError> {
    let Some(value) = headers.get(CONTENT_ENCODING) else { return Ok(None) };
    let name = value.to_str().unwrap_or_default().trim().to_ascii_lowercase();
    if name.is_empty() || name == "identity" {
        return Ok(None);
    }
    Encoding::of(&name).map(Some).ok_or_else(|| HttpError::UnsupportedEncoding(excerpt(&name)))
}

fn excerpt(name: &str) -> String {
    name.chars().take(32).collect()
}

/// The body as it was before it was compressed, which must keep within `limit_bytes`. The byte at `aligned_at` lies on a boundary that
/// suits every element type. The `leave` to be here goes with the body, which stays in memory when the caller goes away meanwhile.
pub(super) async fn decoded<L: Send + 'static>(
    leave: L,
    body: Bytes,
    encoding: Option<Encoding>,
    limit_bytes: u64,
    aligned_at: usize,
) -> Result<(L, Bytes), HttpError> {
    let Some(encoding) = encoding else { return Ok((leave, body)) };
    let decoding = elsewhere(true, move || (leave, decode(&body, encoding, limit_bytes, aligned_at)));
    let (leave, decoded) = decoding.await?;
    Ok((leave, decoded?))
}

fn decode(body: &[u8], encoding: Encoding, limit_bytes: u64, aligned_at: usize) -> Result<Bytes, BodyError> {
    let mut received = body::Received::new(0, aligned_at);
    match encoding.inflate(body, limit_bytes, |piece| received.put(piece)) {
        Ok(()) => Ok(received.finish()),
        Err(InflateError::TooLarge { limit_bytes }) => Err(BodyError::TooLarge { limit_bytes }),
        Err(InflateError::Corrupt(reason)) => Err(BodyError::Corrupt { encoding: encoding.name(), reason }),
    }
}

/// What a caller wants answers to be compressed by, if anything. Of what it likes as much the first counts, and what is sent as it
/// is last.
pub(super) fn wanted(headers: &HeaderMap) -> Option<Encoding> {
    let values = headers.get_all(ACCEPT_ENCODING).iter().filter_map(|value| value.to_str().ok());
    let (mut best, mut identity): (Option<(f32, Encoding)>, f32) = (None, 0.0);
    for item in values.flat_map(|value| value.split(',')) {
        let item = item.to_ascii_lowercase();
        let mut parts = item.split(';').map(str::trim);
        let name = parts.next().unwrap_or_default();
        let weight = parts.find_map(|part| part.strip_prefix("q=")).map_or(1.0, |q| q.trim().parse().unwrap_or(0.0));
        match Encoding::of(name) {
            Some(encoding) if weight > best.map_or(0.0, |(weight, _)| weight) => best = Some((weight, encoding)),
            None if name == "identity" => identity = weight,
            _ => {}
        }
    }
    best.filter(|(weight, _)| *weight >= identity).map(|(_, encoding)| encoding)
}

/// Answers below that gain nothing by it.
const SMALL_BYTES: u64 = 1024;

/// Whether compressing an answer of so many bytes, or of more once they are text, takes a while.
pub(super) fn takes_long(wanted: Option<Encoding>, bytes: usize) -> bool {
    wanted.is_some() && bytes as u64 >= SMALL_BYTES
}

/// The answer as [`encode`] has it, for answers that have no place to keep meanwhile.
pub(super) async fn encoded(response: Response<Body>, wanted: Option<Encoding>) -> Result<Response<Body>, HttpError> {
    let bytes = response.body().size_hint().lower();
    let is_large = takes_long(wanted, usize::try_from(bytes).unwrap_or(usize::MAX));
    Ok(elsewhere(is_large, move || encode(response, wanted)).await?)
}

/// The answer, which is there already, compressed if that is wanted and it is not too small to gain by it. Whoever keeps answers is told
/// that another caller may get this one in another form.
pub(super) fn encode(mut response: Response<Body>, wanted: Option<Encoding>) -> Response<Body> {
    if response.body().size_hint().exact().is_none_or(|bytes| bytes < SMALL_BYTES)
        || response.headers().contains_key(CONTENT_ENCODING)
    {
        return response;
    }
    response.headers_mut().append(VARY, HeaderValue::from_static("accept-encoding"));
    let Some(encoding) = wanted else { return response };
    let (mut head, body) = response.into_parts();
    let Some(Ok(collected)) = body.collect().now_or_never() else {
        return Response::from_parts(head, body::full(Bytes::new()));
    };
    let plain = collected.to_bytes();
    let Ok(compressed) = encoding.compress(&plain) else { return Response::from_parts(head, body::full(plain)) };
    head.headers.remove(CONTENT_LENGTH);
    head.headers.insert(CONTENT_ENCODING, HeaderValue::from_static(encoding.name()));
    Response::from_parts(head, body::full(compressed))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accepts(value: &str) -> Option<Encoding> {
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT_ENCODING, value.parse().unwrap());
        wanted(&headers)
    }

    #[test]
    fn what_a_caller_likes_best_is_taken() {
        assert_eq!(accepts("gzip, deflate, br"), Some(Encoding::Gzip));
        assert_eq!(accepts("gzip;q=0.2, DEFLATE;q=0.5"), Some(Encoding::Deflate));
        assert_eq!(accepts("gzip;q=0, br"), None);
        assert_eq!(accepts("gzip;Q=0, deflate ; Q=0.1"), Some(Encoding::Deflate));
        assert_eq!(accepts("identity"), None);
        assert_eq!(accepts("identity;q=1, gzip;q=0.5"), None);
        assert_eq!(accepts("gzip;q=0.5, identity;q=0.5"), Some(Encoding::Gzip));
    }

    #[test]
    fn what_is_corrupt_is_called_so() {
        let whole = Encoding::Gzip.compress(b"something").unwrap();
        for body in [b"no gzip at all, whatever it says".as_slice(), &whole[..whole.len() - 4]] {
            let error = decode(body, Encoding::Gzip, 100, 0).unwrap_err().to_string();
            assert!(error.contains("content-encoding, gzip, says"), "{error}");
        }
    }
}
