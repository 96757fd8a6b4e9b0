//! Requests that functions send: only to where the manifest's `network.allow` says, in bounded number and time.
//!
//! Every request is checked, so a redirect, which the guest follows itself, leads nowhere else. One connection serves one request. It
//! ends with the response's body, or with the instance: whoever holds the response holds the connection.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use wasmtime_wasi_http::{Error as HttpError, RequestOptions, WasiBody, WasiHttpHooks};

mod address;
mod connect;
mod exchange;

use super::log::{self, Budget};
use crate::destination::{Destination, Origin, Scheme};

/// Connections that one instance may have open at once.
const MAX_CONNECTIONS: usize = 32;

/// Connections of all instances of the process: each takes a file descriptor that a client could have had.
static ALL_CONNECTIONS: Semaphore = Semaphore::const_new(1024);

/// What one instance may send.
pub(super) struct Outgoing {
    /// `name@version`, for the log.
    function: Arc<str>,
    /// Where requests that were refused are told of, so that the function's author finds out why.
    output: Arc<Mutex<Budget>>,
    allow: Arc<[Destination]>,
    connections: Arc<Semaphore>,
}

/// How long the steps of a request may take. What the guest asks for counts, up to a limit.
#[derive(Debug, Clone, Copy)]
struct Times {
    /// Finding the address, connecting and TLS together.
    connect: Duration,
    first_byte: Duration,
    between_bytes: Duration,
}

/// A connection that counts. Given back when it is dropped.
#[derive(Debug)]
struct Place {
    _of_instance: OwnedSemaphorePermit,
    _of_process: tokio::sync::SemaphorePermit<'static>,
}

type Sent = (http::Response<WasiBody>, Box<dyn Future<Output = Result<(), HttpError>> + Send>);

impl Outgoing {
    pub(super) fn new(function: &Arc<str>, output: &Arc<Mutex<Budget>>, allow: &Arc<[Destination]>) -> Self {
        Self {
            function: Arc::clone(function),
            output: Arc::clone(output),
            allow: Arc::clone(allow),
            connections: Arc::new(Semaphore::new(MAX_CONNECTIONS)),
        }
    }

    /// Nothing may be sent.
    pub(super) fn none() -> Self {
        let nowhere: Arc<[Destination]> = Arc::new([]);
        Self::new(&"".into(), &Budget::new(), &nowhere)
    }

    /// Where the request goes, if it may go there.
    fn checked(&self, request: &http::Request<WasiBody>) -> Result<Origin, HttpError> {
        let origin = origin(request.uri())?;
        // A tunnel would lead past the list.
        if request.method() == http::Method::CONNECT {
            return Err(HttpError::HttpRequestMethodInvalid);
        }
        if self.allow.iter().any(|destination| destination.includes(&origin)) {
            return Ok(origin);
        }
        let reason = format!("a request to {origin} was refused: network.allow does not have it");
        log::note(&self.function, &self.output, &reason);
        Err(HttpError::HttpRequestDenied)
    }

    fn place(&self) -> Result<Place, HttpError> {
        let of_instance = Arc::clone(&self.connections).try_acquire_owned();
        match (of_instance, ALL_CONNECTIONS.try_acquire()) {
            (Ok(of_instance), Ok(of_process)) => Ok(Place { _of_instance: of_instance, _of_process: of_process }),
            _ => Err(HttpError::ConnectionLimitReached),
        }
    }
}

/// Where a request goes.
fn origin(uri: &http::Uri) -> Result<Origin, HttpError> {
    let scheme = match uri.scheme_str() {
        Some("http") => Scheme::Http,
        Some("https") => Scheme::Https,
        _ => return Err(HttpError::HttpRequestUriInvalid),
    };
    // With a user in it, it is no host to this parser, whatever another one would make of it.
    let authority = uri.authority().ok_or(HttpError::HttpRequestUriInvalid)?;
    Origin::parse(scheme, authority.as_str()).ok_or(HttpError::HttpRequestUriInvalid)
}

impl Times {
    fn new(options: Option<RequestOptions>) -> Self {
        const CONNECT: Duration = Duration::from_secs(10);
        const BYTES: Duration = Duration::from_secs(60);
        /// Longer than any request to a function may take.
        const MOST: Duration = Duration::from_secs(3600);
        let options = options.unwrap_or_default();
        let within = |asked: Option<Duration>, otherwise| asked.unwrap_or(otherwise).min(MOST);
        Self {
            connect: within(options.connect_timeout, CONNECT),
            first_byte: within(options.first_byte_timeout, BYTES),
            between_bytes: within(options.between_bytes_timeout, BYTES),
        }
    }
}

impl WasiHttpHooks for Outgoing {
    /// What a guest may write at once; it may be two of these ahead of its client. Most answers are shorter, so that their
    /// guest need not be stopped and resumed.
    fn p2_outgoing_body_chunk_size(&mut self) -> usize {
        256 << 10
    }

    fn p3_outgoing_body_chunk_size(&mut self) -> usize {
        256 << 10
    }

    fn send_request(
        &mut self,
        request: http::Request<WasiBody>,
        options: Option<RequestOptions>,
        _: Box<dyn Future<Output = Result<(), HttpError>> + Send>,
    ) -> Box<dyn Future<Output = Result<Sent, HttpError>> + Send> {
        let admitted = self.checked(&request).and_then(|origin| Ok((origin, self.place()?)));
        Box::new(async move {
            let (origin, place) = admitted?;
            let times = Times::new(options);
            let stream = tokio::time::timeout(times.connect, connect::connect(&origin));
            let stream = stream.await.map_err(|_| HttpError::ConnectionTimeout)??;
            exchange::exchange(stream, request, times, place).await
        })
    }
}
