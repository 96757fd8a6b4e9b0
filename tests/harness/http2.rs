//! Requests over HTTP/2 without TLS, with prior knowledge.

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;

use super::{Answer, TestHost};

impl TestHost {
    /// One request on a connection of its own.
    pub async fn over_http2(&self, method: http::Method, path: &str, body: impl Into<Bytes>) -> Answer {
        let stream = TcpStream::connect(self.url.trim_start_matches("http://")).await.expect("the host listens");
        let handshake = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await;
        let (mut sender, connection) = handshake.expect("it speaks HTTP/2");
        let connection = tokio::spawn(connection);
        let request = http::Request::builder().method(method).uri(format!("{}{path}", self.url));
        let request = request.body(Full::new(body.into())).expect("a request");
        let (head, body) = sender.send_request(request).await.expect("the host answers").into_parts();
        assert_eq!(head.version, http::Version::HTTP_2);
        let body = body.collect().await.expect("the answer is whole").to_bytes();
        drop(sender);
        connection.await.expect("no panic").expect("it is ended in good order");
        Answer { status: head.status.as_u16(), headers: head.headers, body: body.to_vec() }
    }
}
