//! Requests that functions send: to where the manifest allows, and nowhere else.

use nocti_tests::{Reply, TestHost, Upstream, bundle_with, eventually, fixture_guest};

/// A host with `misbehave-http`, which may send requests to these.
async fn host(allow: &[&str]) -> TestHost {
    let host = TestHost::start().await;
    let allow = allow.iter().map(|entry| entry.parse().unwrap_or_else(|error| panic!("{entry}: {error}"))).collect();
    let bundle = bundle_with(&fixture_guest("misbehave-http"), |project| project.manifest.network.allow = allow);
    host.deployed(bundle).await;
    host
}

/// What the function tells of its request.
async fn told(host: &TestHost, path_and_query: &str) -> String {
    let answer = host.get(&format!("/functions/misbehave-http{path_and_query}")).await;
    assert_eq!(answer.status, 200, "{path_and_query}: {}", answer.text());
    answer.text()
}

async fn fetch(host: &TestHost, url: &str) -> String {
    told(host, &format!("/fetch?url={url}")).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_to_an_allowed_server_arrives_and_is_answered() {
    let upstream = Upstream::start(|_| Reply::text("hello")).await;
    let host = host(&[&format!("http://{}", upstream.address)]).await;
    let url = format!("http://{}/there?a=b", upstream.address);
    let text = told(&host, &format!("/fetch?method=POST&body=content&url={url}")).await;
    assert_eq!(text, "status 200\ncontent-length: 5\nhello");
    let seen = upstream.seen();
    assert_eq!(seen.len(), 1, "{seen:?}");
    let seen = seen[0].to_ascii_lowercase();
    assert!(seen.starts_with("post /there?a=b http/1.1\r\n"), "{seen}");
    assert!(
        seen.contains(&format!("host: {}\r\n", upstream.address)) && seen.contains("x-sent: content\r\n"),
        "{seen}"
    );
    assert!(seen.contains("7\r\ncontent\r\n"), "{seen}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answers_trailers_reach_the_function() {
    let answer = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nx-sum: 1\r\n\r\n";
    let upstream = Upstream::start(|_| Reply::Bytes(answer.to_owned())).await;
    let host = host(&[&format!("http://{}", upstream.address)]).await;
    let text = fetch(&host, &format!("http://{}/", upstream.address)).await;
    assert_eq!(text, "status 200\ntrailer x-sum: 1\nhello");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_other_server_is_refused_before_anything_is_sent() {
    let upstream = Upstream::start(|_| Reply::text("reached")).await;
    let port = upstream.address.rsplit(':').next().expect("there is a port");
    // Allowed is what looks like the server, and is not.
    let near =
        [format!("https://127.0.0.1:{port}"), "http://127.0.0.1".to_owned(), format!("http://*.localhost:{port}")];
    let host = host(&near.each_ref().map(String::as_str)).await;
    for authority in [
        format!("127.0.0.1:{port}"),
        format!("localhost:{port}"),
        format!("127.1:{port}"),
        format!("2130706433:{port}"),
        format!("0x7f.0.0.1:{port}"),
        format!("[::ffff:127.0.0.1]:{port}"),
        format!("x.localhost@127.0.0.1:{port}"),
        format!("127.0.0.1.localhost:{port}x"),
        "example.com".to_owned(),
    ] {
        let text = fetch(&host, &format!("http://{authority}/")).await;
        let refused = ["ErrorCode::HttpRequestDenied", "ErrorCode::HttpRequestUriInvalid"];
        assert!(refused.iter().any(|code| text == format!("error: {code}")), "{authority}: {text}");
    }
    assert_eq!(fetch(&host, &format!("ftp://127.0.0.1:{port}/")).await, "error: ErrorCode::HttpProtocolError");
    assert_eq!(upstream.seen(), [] as [&str; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redirect_leads_nowhere_else() {
    let inside = Upstream::start(|_| Reply::text("secret")).await;
    let location = format!("http://{}/", inside.address);
    let redirect = format!("HTTP/1.1 302 Found\r\nlocation: {location}\r\ncontent-length: 0\r\n\r\n");
    let outside = Upstream::start(move |_| Reply::Bytes(redirect.clone())).await;
    let host = host(&[&format!("http://{}", outside.address)]).await;
    let text = fetch(&host, &format!("http://{}/", outside.address)).await;
    assert_eq!(text, format!("status 302\nlocation: {location}\ncontent-length: 0\n"), "the host follows none");
    assert_eq!(fetch(&host, &location).await, "error: ErrorCode::HttpRequestDenied");
    assert_eq!(inside.seen(), [] as [&str; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tunnel_is_refused() {
    let upstream = Upstream::start(|_| Reply::text("")).await;
    let host = host(&[&format!("http://{}", upstream.address)]).await;
    let text = told(&host, &format!("/fetch?method=CONNECT&url=http://{}/", upstream.address)).await;
    assert_eq!(text, "error: ErrorCode::HttpRequestMethodInvalid");
    assert_eq!(upstream.seen(), [] as [&str; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_goes_wrong_has_its_code() {
    let upstream = Upstream::start(|request| match request.split(' ').nth(1) {
        Some("/nonsense") => Reply::Bytes("nonsense\r\n\r\n".to_owned()),
        Some("/short") => Reply::Bytes("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nabc".to_owned()),
        Some("/pause") => Reply::Unfinished("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nabc".to_owned()),
        Some("/silent") => Reply::Unfinished(String::new()),
        Some("/switch") => Reply::Bytes(
            "HTTP/1.1 101 Switching Protocols\r\nupgrade: other\r\nconnection: upgrade\r\n\r\nother".to_owned(),
        ),
        Some("/nothing") => Reply::Bytes(String::new()),
        // To TLS, which it does not speak.
        _ => Reply::Bytes("no TLS".to_owned()),
    })
    .await;
    let closed = {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("loopback has a free port");
        listener.local_addr().expect("it listens")
    };
    let host = host(&[
        &format!("http://{}", upstream.address),
        &format!("https://{}", upstream.address),
        &format!("http://{closed}"),
    ])
    .await;
    let at = |path: &str| format!("http://{}{path}", upstream.address);
    for (query, outcome) in [
        (at("/nonsense"), "error: ErrorCode::HttpProtocolError"),
        (at("/switch"), "error: ErrorCode::HttpProtocolError"),
        (at("/nothing"), "error: ErrorCode::HttpResponseIncomplete"),
        (format!("{}&first_byte=50", at("/silent")), "error: ErrorCode::ConnectionReadTimeout"),
        (format!("http://{closed}/"), "error: ErrorCode::ConnectionRefused"),
        (format!("https://{}/", upstream.address), "error: ErrorCode::TlsProtocolError"),
    ] {
        assert_eq!(fetch(&host, &query).await, outcome, "{query}");
    }
    for (query, part) in [
        (at("/short"), "HttpResponseIncomplete"),
        (format!("{}&between_bytes=50", at("/pause")), "ConnectionReadTimeout"),
    ] {
        let text = fetch(&host, &query).await;
        assert!(
            text.starts_with("status 200\ncontent-length: 10\nbroken off:") && text.ends_with("abc"),
            "{part}: {text}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn localhost_is_this_machine() {
    let upstream = Upstream::start(|_| Reply::text("hello")).await;
    let port = upstream.address.rsplit(':').next().expect("there is a port");
    let host = host(&[&format!("http://localhost:{port}")]).await;
    let text = fetch(&host, &format!("http://LOCALHOST:{port}/")).await;
    assert_eq!(text, "status 200\ncontent-length: 5\nhello");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_instance_has_so_many_connections_and_gives_them_back() {
    let upstream = Upstream::start(|_| Reply::text("hello")).await;
    let host = host(&[&format!("http://{}", upstream.address)]).await;
    let url = format!("http://{}/", upstream.address);
    assert_eq!(told(&host, &format!("/hoard?count=32&url={url}")).await, "status 200");
    assert_eq!(told(&host, "/count").await, "2", "the same instance");
    eventually("all given back", async || {
        (told(&host, &format!("/hoard?count=32&url={url}")).await == "status 200").then_some(())
    })
    .await;
    let text = told(&host, &format!("/hoard?count=33&url={url}")).await;
    assert_eq!(text, "error: ErrorCode::ConnectionLimitReached");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_functions_end_ends_its_requests() {
    let upstream = Upstream::start(|_| Reply::Unfinished(String::new())).await;
    let host = TestHost::start().await;
    let address = upstream.address.clone();
    let bundle = bundle_with(&fixture_guest("misbehave-http"), |project| {
        project.manifest.network.allow = vec![format!("http://{address}").parse().expect("a destination")];
        project.manifest.limits.timeout = std::time::Duration::from_millis(300);
    });
    host.deployed(bundle).await;
    let answer = host.get(&format!("/functions/misbehave-http/fetch?url=http://{address}/")).await;
    answer.expect_error(504, "deadline_exceeded", &["limits.timeout"]);
    eventually("the connection's end", async || (upstream.open() == 0).then_some(())).await;
}
