//! What takes connections, for HTTP and for gRPC: how many there may be, how long a client may take to begin and to go on, and
//! their end when the host stops. What a request is, its callers know.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::{BufMut, Bytes};
use http::{Request, Response};
use http_body::Body;
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::Service;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

use crate::host::Host;
use crate::progress::{InPieces, Progress, Streams};

/// How long a client may take to begin, and in HTTP/1.1 for each request's head, which it may also leave a connection without for so
/// long; how long its connection may take nothing of an answer. In HTTP/2 one that says nothing for so long is asked whether it is
/// there, and has as long to answer.
const PATIENCE: Duration = Duration::from_secs(30);

/// HTTP/2: how long a client may take nothing of one answer, whatever it takes of others. Longer, since many clients make room only when
/// half of what they have is empty: who reads slowly may say nothing for a while.
const ANSWER_PATIENCE: Duration = Duration::from_secs(120);

/// HTTP/2: requests of one connection at once.
const MAX_STREAMS: u32 = 200;

/// HTTP/2: bytes that a client may send before it is told to go on, of one request and of a connection. What is held of each body
/// beside these has its own limit.
const STREAM_WINDOW: u32 = 1 << 20;
const CONNECTION_WINDOW: u32 = 4 << 20;

/// What a client of HTTP/2 begins with (RFC 9113, section 3.4); no method of HTTP/1.1 begins like it.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// An address that was taken.
pub struct Listener {
    socket: TcpListener,
    speaks: Speaks,
}

/// What clients may speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Speaks {
    /// HTTP/1.1, or HTTP/2 where the client begins with that (h2c, with prior knowledge).
    Either,
    Http2,
}

/// Why an address cannot be taken.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address}: {}; choose another address with {flag}", describe(.reason))]
pub struct ListenError {
    address: SocketAddr,
    flag: &'static str,
    // Not named `source`: the message has all of it.
    reason: io::Error,
}

fn describe(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::AddrInUse => "the address is already in use".into(),
        _ => error.to_string(),
    }
}

impl Listener {
    /// Takes the address, which `flag` sets; port 0 takes a free one.
    pub async fn bind(address: SocketAddr, flag: &'static str, speaks: Speaks) -> Result<Self, ListenError> {
        let socket = TcpListener::bind(address).await.map_err(|reason| ListenError { address, flag, reason })?;
        Ok(Self { socket, speaks })
    }

    /// The address that was taken, with the port that port 0 became.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    /// Serves until `stop`, then lets requests in flight finish for `drain_timeout` at most. True when all of them did. `service`
    /// makes what answers the requests of one connection.
    pub async fn serve<S, B>(self, host: &Host, stop: CancellationToken, service: impl Fn() -> S) -> bool
    where
        S: Service<Request<Incoming>, Response = Response<B>, Error: Into<BoxError>> + Send + 'static,
        S::Future: Send + 'static,
        B: Body<Data = Bytes, Error: Into<BoxError>> + Send + Unpin + 'static,
    {
        let graceful = GracefulShutdown::new();
        let places = Arc::new(Semaphore::new(host.config.connections.min(Semaphore::MAX_PERMITS)));
        while let Some((stream, place)) = stop.run_until_cancelled(self.accept(&places)).await {
            let (watcher, stop, service) = (graceful.watcher(), stop.clone(), service());
            tokio::spawn(async move {
                // One that has not begun has nothing to finish.
                if let Some(Ok(begun)) = stop.run_until_cancelled(begin(stream)).await
                    && let Err(error) = converse(begun, self.speaks, watcher, service).await
                {
                    tracing::debug!(%error, "connection ended");
                }
                drop(place);
            });
        }
        // In this order: who sees new connections refused must not be told on an open one that the host is ready.
        host.draining.store(true, Ordering::Relaxed);
        drop(self.socket);
        tokio::time::timeout(host.config.drain_timeout, graceful.shutdown()).await.is_ok()
    }

    /// The next connection and its place among those that there may be. One past the limit waits to be accepted, until another
    /// has ended.
    async fn accept(&self, places: &Arc<Semaphore>) -> (TcpStream, Option<OwnedSemaphorePermit>) {
        const LONGEST_PAUSE: Duration = Duration::from_secs(1);
        // Nobody closes it.
        let place = Arc::clone(places).acquire_owned().await.ok();
        let mut pause = Duration::from_millis(10);
        loop {
            let error = match self.socket.accept().await {
                Ok((stream, _)) => return (stream, place),
                Err(error) => error,
            };
            // Out of file descriptors, most likely: existing connections have to end first.
            tracing::warn!(%error, "cannot accept a connection");
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }
}

/// A connection whose client has begun, and what it began with: all of HTTP/2's preface, or what cannot become it.
type Begun<T> = (T, Vec<u8>);

/// Waits for the client to begin, for a while.
async fn begin<T: AsyncRead + Unpin>(mut stream: T) -> io::Result<Begun<T>> {
    let mut first = Vec::with_capacity(PREFACE.len());
    let reading = async {
        loop {
            let left = PREFACE.len() - first.len();
            let count = stream.read_buf(&mut (&mut first).limit(left)).await?;
            if count == 0 || first == PREFACE || !PREFACE.starts_with(&first) {
                return Ok(());
            }
        }
    };
    tokio::time::timeout(PATIENCE, reading).await.map_err(io::Error::from).flatten()?;
    Ok((stream, first))
}

/// Serves a connection until its client closes it, or the host drains.
async fn converse<S, B>(
    begun: Begun<TcpStream>,
    speaks: Speaks,
    watcher: Watcher,
    service: S,
) -> Result<(), hyper::Error>
where
    S: Service<Request<Incoming>, Response = Response<B>, Error: Into<BoxError>>,
    S::Future: Send + 'static,
    B: Body<Data = Bytes, Error: Into<BoxError>> + Send + Unpin + 'static,
{
    let (stream, first) = begun;
    // Answers are small and complete: waiting to fill a packet only delays them.
    let _ = stream.set_nodelay(true);
    // Where nothing else is spoken, who does not speak HTTP/2 is told so by it.
    let is_http2 = first == PREFACE || speaks == Speaks::Http2;
    let (reader, writer) = stream.into_split();
    let stream = tokio::io::join(io::Cursor::new(first).chain(reader), writer);
    let stream = TokioIo::new(Progress::new(stream, PATIENCE));
    if is_http2 {
        let connection = http2::Builder::new(Streams { patience: ANSWER_PATIENCE })
            .timer(TokioTimer::new())
            .keep_alive_interval(PATIENCE)
            .keep_alive_timeout(PATIENCE)
            .max_concurrent_streams(MAX_STREAMS)
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .serve_connection(stream, InPieces(service));
        watcher.watch(connection).await
    } else {
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(PATIENCE)
            .serve_connection(stream, service);
        watcher.watch(connection).await
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt;

    use super::*;

    #[tokio::test]
    async fn a_beginning_may_come_byte_by_byte_and_nothing_of_it_is_lost() {
        for (sent, expected) in [
            (&b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\nmore"[..], PREFACE),
            (b"PRI * HTTP/1.1\r\n", b"PRI * HTTP/1"),
            (b"POST / HTTP/1.1\r\n", b"PO"),
            (b"PRI *", b"PRI *"),
            (b"", b""),
        ] {
            let (mut client, server) = tokio::io::duplex(1);
            let client = tokio::spawn(async move {
                let _ = client.write_all(sent).await;
            });
            let (server, first) = begin(server).await.expect("it is read");
            assert_eq!(first, expected);
            drop(server);
            client.await.expect("no panic");
        }
        // All at once: no more is taken than can be looked at.
        let all = &b"GET / HTTP/1.1\r\nhost: a.example\r\n\r\n"[..];
        let (rest, first) = begin(all).await.expect("it is read");
        assert_eq!([&first, rest].concat(), all);
    }

    #[tokio::test(start_paused = true)]
    async fn who_does_not_begin_is_not_waited_for() {
        let (mut client, server) = tokio::io::duplex(100);
        client.write_all(b"PRI * HTTP/2.0\r\n\r\nSM").await.expect("there is room");
        assert_eq!(begin(server).await.expect_err("it says no more").kind(), io::ErrorKind::TimedOut);
    }
}
