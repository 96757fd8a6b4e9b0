//! Signals: the first lets requests in flight finish, the second does not wait for them.

use std::io::ErrorKind;
use std::time::Duration;

use nocti_tests::{HostProcess, eventually, fixture_model};
use serde_json::json;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::{ask, text};

/// A host with a model-only function `same`, whose drain takes as long as it says.
async fn host(drain_timeout: &str) -> (HostProcess, TempDir) {
    let store = TempDir::new().unwrap();
    let host = HostProcess::start(store.path(), &[("NOCTI_DRAIN_TIMEOUT", drain_timeout)]).await;
    let model = fixture_model("identity_int64.onnx");
    ask(&host, &["deploy", text(&model), "--name", "same"]).await.expect(0);
    (host, store)
}

fn request() -> String {
    json!({"inputs": [{"name": "input", "datatype": "INT64", "shape": [1, 2], "data": [3, 4]}]}).to_string()
}

async fn connect(host: &HostProcess) -> std::io::Result<TcpStream> {
    TcpStream::connect(host.url.trim_start_matches("http://")).await
}

/// A request whose body the host waits for: it has said so.
async fn in_flight(host: &HostProcess) -> TcpStream {
    let mut stream = connect(host).await.unwrap();
    let length = request().len();
    let head = format!(
        "POST /v2/models/same/infer HTTP/1.1\r\nhost: test\r\nexpect: 100-continue\r\ncontent-length: {length}\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let go_on = "HTTP/1.1 100 Continue\r\n\r\n";
    let mut answer = vec![0; go_on.len()];
    stream.read_exact(&mut answer).await.unwrap();
    assert_eq!(String::from_utf8_lossy(&answer), go_on);
    stream
}

/// Waits until nobody takes connections there any more.
async fn refuses_connections(host: &HostProcess) {
    eventually("connections are refused", async || match connect(host).await {
        Ok(_) => None,
        // It came while the listener went.
        Err(error) if error.kind() == ErrorKind::ConnectionReset => None,
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::ConnectionRefused, "{error}");
            Some(())
        }
    })
    .await;
}

#[tokio::test]
async fn the_first_signal_lets_requests_in_flight_finish() {
    for signal in ["TERM", "INT"] {
        let (host, _store) = host("10m").await;
        let mut idle = connect(&host).await.unwrap();
        let mut stream = in_flight(&host).await;
        host.signal(signal).await;
        refuses_connections(&host).await;

        stream.write_all(request().as_bytes()).await.unwrap();
        let mut answer = String::new();
        // The host closes the connection, so that nobody sends another request on it.
        tokio::time::timeout(Duration::from_secs(30), stream.read_to_string(&mut answer)).await.unwrap().unwrap();
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.contains("\"data\":[3,4]"), "{signal}: {answer}");
        assert_eq!(idle.read(&mut [0]).await.unwrap_or(0), 0, "an idle connection is closed");

        let (code, log) = host.wait().await;
        assert_eq!(code, Some(0), "{log}");
        assert!(log.contains("stopping: requests in flight may finish") && log.contains("stopped"), "{log}");
        assert!(!log.contains("did not finish") && !log.contains("panicked"), "{log}");
    }
}

#[tokio::test]
async fn the_second_signal_stops_at_once() {
    for (first, second) in [("TERM", "TERM"), ("INT", "INT"), ("TERM", "INT")] {
        let (host, _store) = host("10m").await;
        let mut stream = in_flight(&host).await;
        host.signal(first).await;
        refuses_connections(&host).await;
        host.signal(second).await;
        // Only the second signal can end it this soon.
        let (code, log) = host.wait().await;
        assert_eq!(code, Some(0), "{log}");
        assert!(log.contains("signal again to stop at once") && !log.contains("panicked"), "{log}");
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
        assert!(answer.is_empty(), "{}", String::from_utf8_lossy(&answer));
    }
}

#[tokio::test]
async fn the_drain_ends_when_its_time_is_over() {
    let (host, _store) = host("50ms").await;
    let _stream = in_flight(&host).await;
    host.signal("TERM").await;
    let (code, log) = host.wait().await;
    assert_eq!(code, Some(0), "{log}");
    assert!(log.contains("requests in flight did not finish within 50ms"), "{log}");
}

#[tokio::test]
async fn an_idle_host_stops_at_the_first_signal_and_starts_again_as_it_was() {
    let (host, store) = host("10m").await;
    host.signal("INT").await;
    let (code, log) = host.wait().await;
    assert_eq!(code, Some(0), "{log}");
    let host = HostProcess::start(store.path(), &[]).await;
    let ran = ask(&host, &["invoke", "same", "--json", "-d", &request()]).await.expect(0);
    assert_eq!(ran.json()["outputs"][0]["data"], json!([3, 4]));
}
