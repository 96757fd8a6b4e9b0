//! One connection: HTTP/1.1, or HTTP/2 where the client begins with that (h2c, with prior knowledge).

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::graceful::Watcher;
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

use super::server::serve_request;
use crate::host::Host;

/// How long a client may take for a request's head, and how long it may leave a connection without any.
const HEADER_TIMEOUT: Duration = Duration::from_secs(30);

/// HTTP/2: a client that says nothing for so long is asked whether it is there, and has as long to answer.
const KEEP_ALIVE: Duration = Duration::from_secs(30);

/// HTTP/2: requests of one connection at once.
const MAX_STREAMS: u32 = 200;

/// HTTP/2: bytes that a client may send before it is told to go on, of one request and of a connection. What is held of each body
/// beside these has its own limit.
const STREAM_WINDOW: u32 = 1 << 20;
const CONNECTION_WINDOW: u32 = 4 << 20;

/// Requests that this process has begun to serve.
static BEGUN: AtomicU64 = AtomicU64::new(1);

/// Serves a connection until its client closes it, or the server drains.
pub(super) async fn serve(host: Arc<Host>, stream: TcpStream, watcher: Watcher, stop: CancellationToken) {
    // Answers are small and complete: waiting to fill a packet only delays them.
    let _ = stream.set_nodelay(true);
    let begins = tokio::time::timeout(HEADER_TIMEOUT, begins_with_http2(&stream));
    // One that has not begun has nothing to finish.
    let Some(Ok(Ok(is_http2))) = stop.run_until_cancelled(begins).await else { return };
    let last = AtomicU64::new(0);
    let service = service_fn(move |request| {
        // Others were served since this connection's last request.
        let this = BEGUN.fetch_add(1, Ordering::Relaxed);
        let crowded = this.saturating_sub(last.swap(this, Ordering::Relaxed)) > 1;
        serve_request(Arc::clone(&host), request, crowded)
    });
    let stream = TokioIo::new(stream);
    let ended = if is_http2 {
        let connection = http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .keep_alive_interval(KEEP_ALIVE)
            .keep_alive_timeout(KEEP_ALIVE)
            .max_concurrent_streams(MAX_STREAMS)
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .serve_connection(stream, service);
        watcher.watch(connection).await
    } else {
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEADER_TIMEOUT)
            .serve_connection(stream, service);
        watcher.watch(connection).await
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "connection ended");
    }
}

/// Whether the client begins with HTTP/2's preface (RFC 9113, section 3.4); no method of HTTP/1.1 begins like it.
async fn begins_with_http2(stream: &TcpStream) -> std::io::Result<bool> {
    const PREFACE: &[u8] = b"PRI * HTTP/2";
    let mut buffer = [0; PREFACE.len()];
    loop {
        let count = stream.peek(&mut buffer).await?;
        if count == 0 || count == PREFACE.len() || !PREFACE.starts_with(&buffer[..count]) {
            return Ok(buffer[..count] == *PREFACE);
        }
        // A part of the preface: the rest is on its way.
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}
