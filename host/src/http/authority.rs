//! Whom a request is for: the host and port that its client named.

use std::net::SocketAddr;

use http::header::HOST;
use http::uri::Authority;
use http::{HeaderValue, Request, Version};

use super::respond::HttpError;

/// Makes the request's one `host` what its target names, else what that header says, else `local`, where this host listens.
///
/// RFC 9112, section 3.2, and RFC 9113, section 8.3.1: HTTP/2 has it in `:authority`, and HTTP/1.0 need not say it at all.
pub(super) fn settle<B>(request: &mut Request<B>, local: SocketAddr) -> Result<(), HttpError> {
    let mut hosts = request.headers().get_all(HOST).iter();
    let (first, more) = (hosts.next(), hosts.next().is_some());
    if more || (first.is_none() && request.version() == Version::HTTP_11) {
        return Err(HttpError::BadRequest("a request of HTTP/1.1 has exactly one header host".into()));
    }
    let named = first.is_some_and(|host| !host.is_empty());
    let valid = first.is_none_or(|host| host.is_empty() || is_host(host.as_bytes()));
    if !valid || request.uri().authority().is_some_and(|authority| !is_host(authority.as_str().as_bytes())) {
        return Err(HttpError::BadRequest("the request's host is not NAME, or NAME:PORT".into()));
    }
    let host = match request.uri().authority() {
        Some(authority) => HeaderValue::try_from(authority.as_str()),
        None if named => return Ok(()),
        None => HeaderValue::try_from(local.to_string()),
    };
    let host = host.map_err(|_| HttpError::BadRequest("the request's host is no text".into()))?;
    request.headers_mut().insert(HOST, host);
    Ok(())
}

/// Host and port, and no user: a browser's address bar has them, but no request.
fn is_host(text: &[u8]) -> bool {
    let is_plain = |part: &[u8]| part.iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-'));
    // Nearly all are a name or an address of digits, and a port: nothing in them needs to be taken apart.
    match text.iter().rposition(|byte| *byte == b':') {
        Some(colon) if is_port(&text[colon + 1..]) && is_plain(&text[..colon]) => true,
        None if is_plain(text) => true,
        _ => !text.contains(&b'@') && Authority::try_from(text).is_ok(),
    }
}

fn is_port(text: &[u8]) -> bool {
    matches!(text.len(), 1..=4) && text.iter().all(u8::is_ascii_digit)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settled(version: Version, target: &str, hosts: &[&str]) -> Option<String> {
        let mut request = Request::builder().version(version).uri(target);
        for host in hosts {
            request = request.header(HOST, *host);
        }
        let mut request = request.body(()).expect("a request");
        settle(&mut request, ([127, 0, 0, 1], 8000).into()).ok()?;
        let hosts: Vec<_> = request.headers().get_all(HOST).iter().collect();
        assert_eq!(hosts.len(), 1);
        Some(hosts[0].to_str().expect("text").to_owned())
    }

    #[test]
    fn the_target_counts_before_the_header_and_that_before_the_address() {
        for (version, target, hosts, host) in [
            (Version::HTTP_11, "/x", &["a.example:81"][..], "a.example:81"),
            (Version::HTTP_11, "http://b.example/x", &["a.example"], "b.example"),
            (Version::HTTP_11, "/x", &[""], "127.0.0.1:8000"),
            (Version::HTTP_2, "http://[::1]:82/x", &[], "[::1]:82"),
            (Version::HTTP_2, "http://b.example/x", &["a.example"], "b.example"),
            (Version::HTTP_2, "/x", &[], "127.0.0.1:8000"),
            (Version::HTTP_10, "/x", &[], "127.0.0.1:8000"),
            (Version::HTTP_10, "/x", &["a.example"], "a.example"),
        ] {
            assert_eq!(settled(version, target, hosts).as_deref(), Some(host), "{version:?} {target} {hosts:?}");
        }
    }

    #[test]
    fn a_request_that_does_not_say_it_or_says_it_twice_is_refused() {
        for (version, target, hosts) in [
            (Version::HTTP_11, "/x", &[][..]),
            (Version::HTTP_11, "http://b.example/x", &[]),
            (Version::HTTP_11, "/x", &["a", "a"]),
            (Version::HTTP_10, "/x", &["a", "b"]),
            (Version::HTTP_2, "http://b.example/x", &["a", "b"]),
            (Version::HTTP_11, "/x", &["user@a.example"]),
            (Version::HTTP_11, "/x", &["a b"]),
            (Version::HTTP_11, "http://user@a.example/x", &["a.example"]),
        ] {
            assert_eq!(settled(version, target, hosts), None, "{version:?} {target} {hosts:?}");
        }
    }
}
