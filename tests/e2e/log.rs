//! What the log has, and what callers cannot fill it with.

use nocti_tests::{HostProcess, Reply, Upstream, bundle_with, fixture_guest, fixture_model, model_bundle};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::{get, post};

#[tokio::test(flavor = "multi_thread")]
async fn every_request_of_a_function_that_is_refused_is_a_line() {
    let upstream = Upstream::start(|_| Reply::text("hello")).await;
    let port = upstream.address.rsplit(':').next().unwrap();
    let store = TempDir::new().unwrap();
    let host = HostProcess::start(store.path(), &[]).await;
    let bundle = bundle_with(&fixture_guest("misbehave-http"), |project| {
        project.manifest.network.allow = vec![format!("http://{}", upstream.address).parse().unwrap()];
    });
    assert_eq!(post(&host, "/api/functions", bundle).await.status, 201);
    let refused = ["localhost.", "127.1", "2130706433", "someone@127.0.0.1", "example.com"];
    for name in refused {
        let answer = get(&host, &format!("/functions/misbehave-http/fetch?url=http://{name}:{port}/")).await;
        assert!(answer.text().starts_with("error: "), "{name}: {}", answer.text());
    }
    let url = format!("http://{}/", upstream.address);
    for path in [format!("/fetch?method=CONNECT&url={url}"), format!("/hoard?count=33&url={url}")] {
        let answer = get(&host, &format!("/functions/misbehave-http{path}")).await;
        assert!(answer.text().starts_with("error: "), "{path}: {}", answer.text());
    }
    host.signal("TERM").await;
    let (_, log) = host.wait().await;
    for name in refused {
        let line = format!("a request to http://{name}:{port} was refused: ");
        assert!(log.contains(&line), "{line} is not in:\n{log}");
    }
    for why in ["a tunnel would lead past", "too many connections are open"] {
        let line = format!("a request to http://{} was refused: {why}", upstream.address);
        assert!(log.contains(&line), "{line} is not in:\n{log}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_callers_bring_about_is_no_line() {
    let store = TempDir::new().unwrap();
    let host = HostProcess::start(store.path(), &[("NOCTI_LIMITS_HELD_REQUESTS", "1")]).await;
    let model = model_bundle("same", "1", &fixture_model("identity_int64.onnx"));
    assert_eq!(post(&host, "/api/functions", model).await.status, 201);
    let explained = post(&host, "/v2/models/same/explain", r#"{"inputs": []}"#).await;
    explained.expect_error(501, "not_explainable", &["'same'"]);
    let mut held = TcpStream::connect(host.url.trim_start_matches("http://")).await.unwrap();
    let head = "POST /v2/models/same/infer HTTP/1.1\r\nhost: h\r\nexpect: 100-continue\r\ncontent-length: 2\r\n\r\n";
    held.write_all(head.as_bytes()).await.unwrap();
    held.read_exact(&mut [0; 12]).await.unwrap();
    post(&host, "/v2/models/same/infer", "{}").await.expect_error(503, "overloaded", &[]);
    drop(held);
    host.signal("TERM").await;
    let (_, log) = host.wait().await;
    assert!(!log.contains("WARN") && !log.contains("overloaded"), "{log}");
}
