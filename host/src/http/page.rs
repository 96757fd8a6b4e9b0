//! Web pages that call: which may read answers, and which may change what is deployed.
//!
//! A browser sends what a page asks for, whoever's page it is, and only keeps the answer from it (CORS). That is too late for what
//! a request has changed, so those that change something are refused where they come from a page that is not named in
//! `http.cors_origins`. That goes for this host's own origin too: functions, which nobody has to trust, serve their pages from it,
//! and whoever owns a name may make it lead here (DNS rebinding). A client that is no browser says no origin.

use http::header::ORIGIN;
use http::{HeaderMap, HeaderName, HeaderValue};

use super::respond::HttpError;

static SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// Whether pages of this origin are named, or all are.
pub(super) fn is_named(origins: &[String], origin: &HeaderValue) -> bool {
    origins.iter().any(|named| named == "*" || named.as_bytes() == origin.as_bytes())
}

/// Refuses a request that would change something for a page that may not.
pub(super) fn may_change(origins: &[String], headers: &HeaderMap) -> Result<(), HttpError> {
    let mut said = headers.get_all(ORIGIN).iter().peekable();
    let allowed = match said.peek() {
        Some(_) => said.all(|origin| is_named(origins, origin)),
        // Browsers say the origin with whatever changes something; this is for one that would not.
        None => headers.get(&SEC_FETCH_SITE).is_none_or(|site| site == "none"),
    };
    if allowed {
        return Ok(());
    }
    let origin = headers.get(ORIGIN).and_then(|origin| origin.to_str().ok()).unwrap_or("another origin");
    Err(HttpError::ForeignPage(origin.chars().take(100).collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn may(origins: &[&str], headers: &[(&str, &str)]) -> bool {
        let origins: Vec<String> = origins.iter().map(ToString::to_string).collect();
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(HeaderName::try_from(*name).expect("a name"), value.parse().expect("a value"));
        }
        may_change(&origins, &map).is_ok()
    }

    #[test]
    fn clients_and_named_pages_may() {
        for headers in [
            &[("host", "nocti.example")][..],
            &[("host", "x"), ("sec-fetch-site", "none")],
            &[("host", "x"), ("origin", "https://one.example"), ("sec-fetch-site", "cross-site")],
        ] {
            assert!(may(&["https://one.example"], headers), "{headers:?}");
        }
        assert!(may(&["*"], &[("host", "x"), ("origin", "null")]));
    }

    #[test]
    fn other_pages_may_not() {
        for headers in [
            &[("host", "localhost:8000"), ("origin", "http://evil.example")][..],
            &[("host", "localhost:8000"), ("origin", "http://localhost:3000")],
            &[("host", "localhost:8000"), ("origin", "null")],
            &[("host", "localhost:8000"), ("origin", "")],
            // A function's page, and one whose owner made its name lead here.
            &[("host", "localhost:8000"), ("origin", "http://localhost:8000"), ("sec-fetch-site", "same-origin")],
            &[("host", "evil.example:8000"), ("origin", "http://evil.example:8000")],
            &[("host", "1.evil.example"), ("origin", "http://1.evil.example"), ("sec-fetch-site", "same-origin")],
            &[("host", "localhost:8000"), ("origin", "http://localhost:8000"), ("origin", "http://evil.example")],
            &[("origin", "http://localhost:8000")],
            &[("host", "localhost:8000"), ("sec-fetch-site", "cross-site")],
            &[("host", "localhost:8000"), ("sec-fetch-site", "same-site")],
            &[("host", "localhost:8000"), ("sec-fetch-site", "same-origin")],
        ] {
            assert!(!may(&["https://one.example"], headers), "{headers:?}");
        }
    }
}
