//! The listener and its connections, and what every request goes through: id, span, one log line, one exit for errors.
//!
//! A connection ends when its client closes it, or when the server drains. A client that goes away while its request is
//! being served drops the request's future, which cancels the work.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Poll;
use std::time::Duration;

use http::{HeaderName, HeaderValue, Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use tokio::net::TcpListener;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::body::{self, Body};
use super::respond::{self, HttpError};
use super::route::{Route, route};
use super::{infer, metrics, raw};
use crate::api;
use crate::host::Host;
use crate::runtime::typed::Question;

/// How long a client may take for a request's head.
const HEADER_TIMEOUT: Duration = Duration::from_secs(30);

/// Requests that this process has begun to serve.
static BEGUN: AtomicU64 = AtomicU64::new(1);

static REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Why the server cannot serve.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    #[error("cannot listen on {address}: {}; choose another address with --listen", describe(.reason))]
    // Not named `source`: the message has all of it.
    Listen { address: SocketAddr, reason: std::io::Error },
}

fn describe(error: &std::io::Error) -> String {
    match error.kind() {
        std::io::ErrorKind::AddrInUse => "the address is already in use".into(),
        _ => error.to_string(),
    }
}

/// Takes the address; port 0 takes a free one.
pub async fn listen(address: SocketAddr) -> Result<TcpListener, ServerError> {
    TcpListener::bind(address).await.map_err(|reason| ServerError::Listen { address, reason })
}

/// Serves until `stop`, then lets requests in flight finish for `drain_timeout` at most. True when all of them did.
pub async fn serve(host: Arc<Host>, listener: TcpListener, stop: CancellationToken) -> bool {
    let graceful = GracefulShutdown::new();
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                // Out of file descriptors, most likely: existing connections have to end first.
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        // Answers are small and complete: waiting to fill a packet only delays them.
        let _ = stream.set_nodelay(true);
        let host = Arc::clone(&host);
        let last = AtomicU64::new(0);
        let service = service_fn(move |request| {
            // Others were served since this connection's last request.
            let this = BEGUN.fetch_add(1, Ordering::Relaxed);
            let crowded = this.saturating_sub(last.swap(this, Ordering::Relaxed)) > 1;
            serve_request(Arc::clone(&host), request, crowded)
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEADER_TIMEOUT)
            .serve_connection(TokioIo::new(stream), service);
        let connection = graceful.watch(connection);
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "connection ended");
            }
        });
    }
    // In this order: who sees new connections refused must not be told on an open one that the host is ready.
    host.draining.store(true, Ordering::Relaxed);
    drop(listener);
    tokio::time::timeout(host.config.drain_timeout, graceful.shutdown()).await.is_ok()
}

/// The outer half of every request: everything that is the same for all of them.
async fn serve_request(
    host: Arc<Host>,
    request: Request<Incoming>,
    crowded: bool,
) -> Result<Response<Body>, Infallible> {
    let started = Instant::now();
    let id = request_id(&request);
    let (method, uri) = (request.method().clone(), request.uri().clone());
    let result = answer(&host, request, crowded).await;
    let ms = started.elapsed().as_micros() as f64 / 1000.0;
    let mut response = match result {
        Ok(response) => {
            tracing::debug!(id = ?id, %method, path = uri.path(), status = response.status().as_u16(), ms, "request");
            response
        }
        Err(error) => {
            let response = respond::error(&error);
            // Logged here and nowhere below: the chain of causes is for the operator alone.
            let status = response.status();
            let cause = respond::chain(&error);
            if status.is_server_error() {
                tracing::warn!(id = ?id, %method, path = uri.path(), status = status.as_u16(), ms, error = cause, "request failed");
            } else {
                tracing::debug!(id = ?id, %method, path = uri.path(), status = status.as_u16(), ms, error = cause, "request refused");
            }
            response
        }
    };
    response.headers_mut().insert(REQUEST_ID.clone(), id);
    Ok(response)
}

/// Lets the tasks run that are ready on this thread. Sending an answer wakes its client, which is most of what sending costs;
/// a client that finds several answers has been woken once for all of them. So those that are ready together go out
/// together.
async fn behind_others() {
    let mut yielded = false;
    std::future::poll_fn(|context| {
        if std::mem::replace(&mut yielded, true) {
            return Poll::Ready(());
        }
        // Not tokio's `yield_now`, which would ask the system for new events first.
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

/// The inner half: route, answer, `?`.
async fn answer(host: &Arc<Host>, mut request: Request<Incoming>, crowded: bool) -> Result<Response<Body>, HttpError> {
    let route = route(request.method(), request.uri().path());
    let route = body::refused(&mut request, route).await?;
    let calls = matches!(route, Route::Infer(_) | Route::Explain(_) | Route::Function { .. });
    let response = match route {
        Route::Infer(target) => infer::ask(host, &target, Question::Predict, request).await,
        Route::Explain(target) => infer::ask(host, &target, Question::Explain, request).await,
        Route::Function { target, path } => raw::call(host, &target, &path, request).await,
        Route::Live => Ok(infer::health(host, false)),
        Route::Ready => Ok(infer::health(host, true)),
        Route::ServerMetadata => Ok(infer::server_metadata()),
        Route::ModelMetadata(target) => infer::model_metadata(host, &target),
        Route::ModelReady(target) => infer::model_ready(host, &target),
        Route::Deploy => api::functions::deploy(host, request).await,
        Route::ListFunctions => Ok(api::functions::list(host)),
        Route::ShowFunction(name) => api::functions::show(host, &name),
        Route::DeleteFunction(name) => api::functions::delete(Arc::clone(host), name).await,
        Route::DeleteVersion(name, version) => api::functions::delete_version(Arc::clone(host), name, version).await,
        Route::Status => Ok(api::status::status(host)),
        Route::Metrics => Ok(metrics::metrics(host)),
    };
    if crowded && calls {
        behind_others().await;
    }
    response
}

/// The caller's id, if it gave a sensible one, or the next number of this process.
fn request_id(request: &Request<Incoming>) -> HeaderValue {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    match request.headers().get(&REQUEST_ID) {
        Some(given) if !given.is_empty() && given.len() <= 128 => given.clone(),
        _ => HeaderValue::from(NEXT.fetch_add(1, Ordering::Relaxed)),
    }
}
