use std::net::SocketAddr;

use indicatif::ProgressBar;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use super::*;

fn client(address: SocketAddr) -> Client {
    // As `cli::run` does for a process.
    let _ = tokio_rustls::rustls::crypto::ring::default_provider().install_default();
    Client::of(&format!("http://{address}/")).expect("a valid address")
}

/// A host that takes one request, answers it and gives back what it was sent.
async fn host(status: &str, body: &str) -> (Client, JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let client = client(listener.local_addr().expect("it is bound"));
    let response = format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\n\r\n{body}", body.len());
    let received = tokio::spawn(async move {
        let (mut connection, _) = listener.accept().await.expect("a connection");
        let mut request = Vec::new();
        let length = loop {
            connection.read_buf(&mut request).await.expect("a request");
            let text = String::from_utf8_lossy(&request).to_lowercase();
            if let Some((head, _)) = text.split_once("\r\n\r\n") {
                let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
                break head.len() + 4 + length.map_or(0, |length| length.parse::<usize>().expect("a number"));
            }
        };
        while request.len() < length {
            connection.read_buf(&mut request).await.expect("the request's body");
        }
        connection.write_all(response.as_bytes()).await.expect("the client waits");
        String::from_utf8(request).expect("text")
    });
    (client, received)
}

#[tokio::test]
async fn answers_are_json() {
    let (client, received) = host("200 OK", r#"{"functions":[]}"#).await;
    assert_eq!(client.get("/api/functions").await.expect("an answer"), serde_json::json!({"functions": []}));
    assert!(received.await.expect("one request").starts_with("GET /api/functions HTTP/1.1\r\n"));
}

#[tokio::test]
async fn a_refusal_is_the_hosts_own_message() {
    let (client, _) = host("404 Not Found", r#"{"error":"there is no 'x'","code":"not_found"}"#).await;
    let error = client.delete("/api/functions/x").await.expect_err("it was refused");
    assert_eq!(error.to_string(), "there is no 'x'");
    assert!(matches!(error.downcast_ref(), Some(ClientError::Refused { status: StatusCode::NOT_FOUND, .. })));
}

#[tokio::test]
async fn something_else_that_listens_is_told_from_a_host() {
    for status in ["404 Not Found", "200 OK"] {
        let (client, _) = host(status, "<html>").await;
        let error = client.get("/api/status").await.expect_err("it is no host").to_string();
        assert!(error.contains("does not answer like a Nocti host"), "{error}");
    }
}

#[tokio::test]
async fn without_a_host_the_message_says_how_to_start_one() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("it is bound");
    drop(listener);
    let error = client(address).get("/api/status").await.expect_err("nobody listens").to_string();
    assert_eq!(
        error,
        format!("no Nocti host answers at http://{address}: start one with `nocti serve` or set --server")
    );
}

#[tokio::test]
async fn an_upload_says_its_length_and_moves_the_bar() {
    let (client, received) = host("201 Created", "{}").await;
    let file = tempfile::NamedTempFile::new().expect("a temporary file");
    std::fs::write(file.path(), ["y", &"x".repeat(300_000), "z", "y"].concat()).expect("a temporary file");
    let bar = ProgressBar::hidden();
    let content = Content::of(file.path(), vec![1..300_001, 300_001..300_002], &bar);
    let (status, _) = client.upload(Method::POST, "/api/functions?alias=live", content).await.expect("taken");
    let received = received.await.expect("one request");
    let (head, body) = received.split_once("\r\n\r\n").expect("a head and a body");
    assert_eq!((status, body.len(), bar.position()), (StatusCode::CREATED, 300_001, body.len() as u64));
    assert!(body.starts_with('x') && body.ends_with("xz"));
    assert!(head.contains(&format!("content-length: {}", body.len())) && !head.contains("transfer-encoding"), "{head}");
}

#[test]
fn only_addresses_of_hosts_are_taken() {
    for server in ["localhost:8000", "https://h", "file:///x", "http://", ""] {
        let error = Client::of(server).expect_err("it is no address");
        assert!(error.is::<WrongUsage>(), "{server}: {error}");
    }
}
