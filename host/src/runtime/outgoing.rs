//! Requests that functions send: only to where the manifest's `network.allow` says, in bounded number and time.
//!
//! Every request is checked, so a redirect, which the guest follows itself, leads nowhere else. One connection serves one request. It
//! ends with the response's body, or with the instance: whoever holds the response holds the connection.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use wasmtime_wasi_http::{Error as HttpError, RequestOptions, WasiBody, WasiHttpHooks};

mod address;
mod connect;
mod exchange;

use super::log::Output;
use crate::destination::{Destination, Origin, Scheme};
use crate::logs::Log;

/// Connections that one instance may have open at once.
const MAX_CONNECTIONS: usize = 32;

/// Connections of all instances of the process: each takes a file descriptor that a client could have had.
const ALL_CONNECTIONS: usize = 1024;
static CONNECTIONS: Semaphore = Semaphore::const_new(ALL_CONNECTIONS);

/// One version may have this part of what the process has, so that no function takes it all.
const PART: usize = 4;

/// What one instance may send.
pub(super) struct Outgoing {
    version: Arc<Sender>,
    connections: Arc<Semaphore>,
}

/// What the instances of one version may send together.
pub struct Sender {
    /// Where requests that were refused are told of, so that the function's author finds out why.
    output: Arc<Output>,
    allow: Vec<Destination>,
    connections: Arc<Semaphore>,
    lookups: Arc<Semaphore>,
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
    _of_version: OwnedSemaphorePermit,
    _of_process: tokio::sync::SemaphorePermit<'static>,
}

type Sent = (http::Response<WasiBody>, Box<dyn Future<Output = Result<(), HttpError>> + Send>);

impl Sender {
    /// `allow` is the manifest's list; what is refused is told to `output`.
    pub fn new(output: &Arc<Output>, allow: &[Destination]) -> Arc<Self> {
        Arc::new(Self {
            output: Arc::clone(output),
            allow: allow.to_vec(),
            connections: Arc::new(Semaphore::new(ALL_CONNECTIONS / PART)),
            lookups: Arc::new(Semaphore::new(connect::ALL_LOOKUPS / PART)),
        })
    }

    /// Where the request goes, if it may go there.
    fn checked(&self, request: &http::Request<WasiBody>) -> Result<Origin, HttpError> {
        let origin = origin(request.uri())?;
        // A tunnel would lead past the list.
        if request.method() == http::Method::CONNECT {
            return Err(HttpError::HttpRequestMethodInvalid);
        }
        let allowed = self.allow.iter().any(|destination| destination.includes(&origin));
        if allowed { Ok(origin) } else { Err(HttpError::HttpRequestDenied) }
    }

    /// Tells of a request that was refused. What went wrong later is the function's own business: it has the error.
    fn note(&self, to: &str, error: &HttpError) {
        if let Some(why) = refusal(error) {
            self.output.note(&format!("a request to {to} was refused: {why}"));
        }
    }
}

impl Outgoing {
    pub(super) fn new(version: &Arc<Sender>) -> Self {
        Self { version: Arc::clone(version), connections: Arc::new(Semaphore::new(MAX_CONNECTIONS)) }
    }

    /// Nothing may be sent.
    pub(super) fn none() -> Self {
        Self::new(&Sender::new(&Output::new("".into(), Log::default()), &[]))
    }

    fn place(&self) -> Result<Place, HttpError> {
        let full = |_| HttpError::ConnectionLimitReached;
        Ok(Place {
            _of_instance: Arc::clone(&self.connections).try_acquire_owned().map_err(full)?,
            _of_version: Arc::clone(&self.version.connections).try_acquire_owned().map_err(full)?,
            _of_process: CONNECTIONS.try_acquire().map_err(full)?,
        })
    }
}

/// Why a request was refused; `None`: it was not, but failed.
fn refusal(error: &HttpError) -> Option<&'static str> {
    match error {
        HttpError::HttpRequestDenied => Some("network.allow does not have it"),
        HttpError::HttpRequestUriInvalid => Some(
            "network.allow cannot have it; a server is a name, or an address as four numbers or in brackets, without a user",
        ),
        HttpError::HttpRequestMethodInvalid => Some("a tunnel would lead past network.allow"),
        HttpError::DestinationIpProhibited => {
            Some("the name leads to no public address; another one has to be allowed itself, as an address")
        }
        HttpError::ConnectionLimitReached => {
            Some("too many connections are open: an instance may have 32, a version 256, the process 1024")
        }
        _ => None,
    }
}

/// As it stands in the log.
fn shown(uri: &http::Uri) -> String {
    const MOST_CHARS: usize = 200;
    let authority = uri.authority().map_or("no server", |authority| authority.as_str());
    let text = uri.scheme_str().map_or_else(|| authority.to_owned(), |scheme| format!("{scheme}://{authority}"));
    text.chars().take(MOST_CHARS).collect()
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
        let (version, times) = (Arc::clone(&self.version), Times::new(options));
        let admitted = version.checked(&request).and_then(|origin| Ok((origin, self.place()?)));
        Box::new(async move {
            let connected = async {
                let (origin, place) = admitted?;
                let stream = tokio::time::timeout(times.connect, connect::connect(&origin, &version.lookups));
                Ok((stream.await.map_err(|_| HttpError::ConnectionTimeout)??, place))
            };
            let connected = connected.await;
            let (stream, place) = connected.inspect_err(|error| version.note(&shown(request.uri()), error))?;
            exchange::exchange(stream, request, times, place).await
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_leaves_connections_to_others() {
        let version = || Sender::new(&Output::new("f@1".into(), Log::default()), &[]);
        let (greedy, other) = (version(), version());
        let instances: Vec<_> = (0..2 * ALL_CONNECTIONS / MAX_CONNECTIONS).map(|_| Outgoing::new(&greedy)).collect();
        let places: Vec<_> =
            instances.iter().flat_map(|instance| (0..MAX_CONNECTIONS).map(|_| instance.place())).collect();
        assert_eq!(places.iter().filter(|place| place.is_ok()).count(), ALL_CONNECTIONS / PART);
        assert!(Outgoing::new(&other).place().is_ok());
        drop(places);
        assert!(instances[0].place().is_ok(), "they are given back");
    }
}
