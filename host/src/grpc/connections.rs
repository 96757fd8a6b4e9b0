//! The gRPC server: listener, connections, and the wrapper that is the same for every call. Only HTTP/2 without TLS.
//!
//! A client that goes away resets its stream; hyper then drops the call's future, which cancels the work.

use std::collections::HashMap;
use std::convert::Infallible;
use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures::future::{BoxFuture, FutureExt};
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tonic::Status;
use tonic::body::Body;
use tonic::codec::CompressionEncoding;
use tonic::server::NamedService;
use tonic_health::pb::health_server::HealthServer;

use super::health::HostHealth;
use super::messages::grpc_inference_service_server::GrpcInferenceServiceServer;
use super::reflection;
use super::respond::{self, GrpcError};
use super::service::Service;
use crate::host::Host;

/// How long a client may take to begin.
const PREFACE_TIMEOUT: Duration = Duration::from_secs(30);

/// A client that says nothing for so long is asked whether it is there, and has as long to answer.
const KEEP_ALIVE: Duration = Duration::from_secs(30);

/// Calls of one connection at once.
const MAX_STREAMS: u32 = 200;

/// Bytes that a client may send before it is told to go on, of one call and of a connection. What is held of each message beside
/// these has its own limit.
const STREAM_WINDOW: u32 = 1 << 20;
const CONNECTION_WINDOW: u32 = 4 << 20;

pub(super) type Inference = GrpcInferenceServiceServer<Service>;

/// One service, whatever its type.
pub(super) type Call = Box<dyn Fn(Request<Incoming>) -> BoxFuture<'static, Response<Body>> + Send + Sync>;

/// All services by name.
type Services = HashMap<&'static str, Call>;

/// Methods of other servers that clients may try, and why they are not here.
const NOT_SERVED: [(&str, &str); 4] = [
    ("SystemSharedMemory", "shared memory is not supported: send tensors in the message, as raw_input_contents"),
    ("CudaSharedMemory", "shared memory is not supported: send tensors in the message, as raw_input_contents"),
    ("TraceSetting", "tracing is not supported"),
    ("LogSettings", "the log's level is set when the host starts (setting `log`)"),
];

/// Serves until `stop`, then lets calls in flight finish for `drain_timeout` at most. True when all of them did.
pub async fn serve(host: Arc<Host>, listener: TcpListener, stop: CancellationToken) -> bool {
    let services = Arc::new(services(&host, &stop));
    let graceful = GracefulShutdown::new();
    let connections = Arc::new(Semaphore::new(host.config.connections.min(Semaphore::MAX_PERMITS)));
    loop {
        // One past the limit waits to be accepted, until another has ended.
        let accepted = async {
            let permit = Arc::clone(&connections).acquire_owned().await;
            (permit, listener.accept().await)
        };
        let (permit, accepted) = tokio::select! {
            () = stop.cancelled() => break,
            accepted = accepted => accepted,
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                // Out of file descriptors, most likely: existing connections have to end first.
                tracing::warn!(%error, "cannot accept a gRPC connection");
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        let (services, watcher, stop) = (Arc::clone(&services), graceful.watcher(), stop.clone());
        tokio::spawn(async move {
            connection(services, stream, watcher, stop).await;
            drop(permit);
        });
    }
    // In this order: who sees new connections refused must not be told on an open one that the host is ready.
    host.draining.store(true, Ordering::Relaxed);
    drop(listener);
    tokio::time::timeout(host.config.drain_timeout, graceful.shutdown()).await.is_ok()
}

/// Serves a connection until its client closes it, or the server drains.
async fn connection(services: Arc<Services>, stream: TcpStream, watcher: Watcher, stop: CancellationToken) {
    // Answers are small and complete: waiting to fill a packet only delays them.
    let _ = stream.set_nodelay(true);
    let begins = tokio::time::timeout(PREFACE_TIMEOUT, begins(&stream));
    // One that has not begun has nothing to finish.
    let Some(Ok(Ok(()))) = stop.run_until_cancelled(begins).await else { return };
    let service = service_fn(move |request| serve_call(Arc::clone(&services), request));
    let connection = http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .keep_alive_interval(KEEP_ALIVE)
        .keep_alive_timeout(KEEP_ALIVE)
        .max_concurrent_streams(MAX_STREAMS)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .serve_connection(TokioIo::new(stream), service);
    if let Err(error) = watcher.watch(connection).await {
        tracing::debug!(%error, "gRPC connection ended");
    }
}

/// Waits for HTTP/2's preface (RFC 9113, section 3.4), or for what cannot become one; who serves the connection tells which.
async fn begins(stream: &TcpStream) -> std::io::Result<()> {
    const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    let mut buffer = [0; PREFACE.len()];
    loop {
        let count = stream.peek(&mut buffer).await?;
        if count == 0 || count == PREFACE.len() || !PREFACE.starts_with(&buffer[..count]) {
            return Ok(());
        }
        // A part of the preface: the rest is on its way.
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

fn services(host: &Arc<Host>, stop: &CancellationToken) -> Services {
    let limit_bytes = usize::try_from(host.config.body_bytes).unwrap_or(usize::MAX);
    let inference = Inference::new(Service { host: Arc::clone(host), stop: stop.clone() })
        .accept_compressed(CompressionEncoding::Gzip)
        .accept_compressed(CompressionEncoding::Deflate)
        .max_decoding_message_size(limit_bytes);
    let health = HealthServer::new(HostHealth { host: Arc::clone(host), stop: stop.clone() });
    let mut services =
        Services::from([(Inference::NAME, call_of(inference)), (HealthServer::<HostHealth>::NAME, call_of(health))]);
    match reflection::services() {
        Ok(reflection) => services.extend(reflection),
        Err(error) => tracing::error!(%error, "gRPC reflection is not served"),
    }
    services
}

/// A generated service as a function.
pub(super) fn call_of<S>(service: S) -> Call
where
    S: tonic::codegen::Service<Request<Incoming>, Response = Response<Body>, Error = Infallible>,
    S: Clone + Send + Sync + 'static,
    S::Future: Send + 'static,
{
    Box::new(move |request| {
        // They are always ready, and cloned for each call in tonic's own router as well.
        let answer = service.clone().call(request);
        answer.map(|answer| answer.unwrap_or_else(|never| match never {})).boxed()
    })
}

/// The outer half of every call: everything that is the same for all of them.
async fn serve_call(services: Arc<Services>, request: Request<Incoming>) -> Result<Response<Body>, Infallible> {
    let started = Instant::now();
    let path = request.uri().path().to_owned();
    let (service, method) = path.trim_start_matches('/').split_once('/').unwrap_or_default();
    let not_served = NOT_SERVED.iter().find(|(prefix, _)| service == Inference::NAME && method.starts_with(prefix));
    let response = match (services.get(service), not_served) {
        (_, Some((_, why))) => Status::unimplemented(*why).into_http(),
        (Some(call), None) => call(request).await,
        (None, None) => Status::unimplemented("there is no such service").into_http(),
    };
    let ms = started.elapsed().as_micros() as f64 / 1000.0;
    // The chain of causes is for the operator alone.
    let status = response.extensions().get::<Status>();
    match status.and_then(Error::source).and_then(|source| source.downcast_ref::<GrpcError>()) {
        Some(error) => respond::log(error, &path, ms),
        None => tracing::debug!(path, ms, "call"),
    }
    Ok(response)
}
