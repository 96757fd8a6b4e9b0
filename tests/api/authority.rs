//! Whom a request is for, whichever HTTP it comes by.

use nocti_tests::{TestHost, fixture_guest};
use reqwest::Method;

const OWN: &str = "/functions/misbehave-http";
const SHARED: &str = "/functions/http-p3";

async fn host() -> TestHost {
    let host = TestHost::start().await;
    host.deploy(&fixture_guest("misbehave-http")).await.expect(201);
    host.deploy(&fixture_guest("http-p3")).await.expect(201);
    host
}

fn authority(host: &TestHost) -> &str {
    host.url.trim_start_matches("http://")
}

#[tokio::test(flavor = "multi_thread")]
async fn functions_are_called_over_http2_as_over_http1() {
    let host = host().await;
    for function in [OWN, SHARED] {
        let answer = host.over_http2(Method::GET, &format!("{function}/target?a=b"), "").await;
        let (text, authority) = (answer.text(), format!("Some(\"{}\")", authority(&host)));
        assert_eq!(answer.status, 200, "{function}: {text}");
        assert!(text.contains(&authority) && text.contains("/target?a=b"), "{function}: {text}");
        let copied = host.over_http2(Method::POST, &format!("{function}/copy"), vec![b'x'; 1 << 20]).await;
        assert_eq!(copied.status, 200, "{function}");
        assert!(copied.body.iter().filter(|&&byte| byte == b'x').count() >= 1 << 20, "{function}");
        assert_eq!(host.over_http2(Method::HEAD, &format!("{function}/count"), "").await.status, 200, "{function}");
        let live = host.over_http2(Method::HEAD, "/healthz", "").await;
        assert_eq!((live.status, live.body.len()), (200, 0));
        assert_ne!(live.headers["content-length"], "0", "as long as that of GET");
        host.over_http2(Method::GET, &format!("{function}/trap"), "").await.expect_error(502, "function_failed", &[]);
    }
    let length = host.over_http2(Method::POST, &format!("{OWN}/read-body"), vec![b'x'; 5 << 20]).await;
    assert_eq!(length.text(), (5 << 20).to_string());
    assert_eq!(host.over_http2(Method::GET, &format!("{OWN}/big?mib=4"), "").await.body.len(), 4 << 20);
}

#[tokio::test(flavor = "multi_thread")]
async fn old_and_proxied_requests_have_an_authority_too() {
    let host = host().await;
    let own = authority(&host);
    for function in [OWN, SHARED] {
        for (request, seen) in [
            (format!("GET {function}/target HTTP/1.0\r\n\r\n"), own),
            (format!("GET {function}/target HTTP/1.1\r\nhost:\r\nconnection: close\r\n\r\n"), own),
            // The target counts, whatever the header says.
            (
                format!(
                    "GET http://one.example:81{function}/target HTTP/1.1\r\nhost: two.example\r\nconnection: close\r\n\r\n"
                ),
                "one.example:81",
            ),
        ] {
            let answer = host.raw(request.as_bytes()).await;
            assert!(answer.contains(" 200 OK") && answer.contains(&format!("Some(\"{seen}\")")), "{request}: {answer}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_says_once_whom_it_is_for() {
    let host = TestHost::start().await;
    for hosts in ["", "host: a\r\nhost: a\r\n", "host: a\r\nhost: b\r\n", "host: a b\r\n", "host: user@a\r\n"] {
        let answer = host.raw(format!("GET /healthz HTTP/1.1\r\n{hosts}connection: close\r\n\r\n").as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 400 ") && answer.contains("invalid_request"), "{hosts:?}: {answer}");
    }
    let answer = host.raw(b"GET /healthz HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
}
