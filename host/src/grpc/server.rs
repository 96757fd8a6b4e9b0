//! The gRPC server: its services, and the wrapper that is the same for every call.
//!
//! A client that goes away resets its stream; hyper then drops the call's future, which cancels the work.

use std::collections::HashMap;
use std::convert::Infallible;
use std::error::Error;
use std::sync::Arc;

use futures::future::{BoxFuture, FutureExt};
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::service::service_fn;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tonic::Status;
use tonic::body::Body;
use tonic::codec::CompressionEncoding;
use tonic::server::NamedService;
use tonic_health::pb::health_server::HealthServer;

use super::health::HostHealth;
use super::messages::grpc_inference_service_server::GrpcInferenceServiceServer;
use super::packed;
use super::reflection;
use super::respond::{self, GrpcError};
use super::service::Service;
use super::small;
use crate::host::Host;
use crate::listener::Listener;
use crate::trace::Context;

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

/// Serves until `stop`, then drains. True when all calls in flight could finish.
pub async fn serve(host: Arc<Host>, listener: Listener, stop: CancellationToken) -> bool {
    let services = Arc::new(services(&host, &stop));
    let connection = || {
        let services = Arc::clone(&services);
        service_fn(move |request| serve_call(Arc::clone(&services), request))
    };
    listener.serve(&host, stop, connection).await
}

fn services(host: &Arc<Host>, stop: &CancellationToken) -> Services {
    let health = HealthServer::new(HostHealth { host: Arc::clone(host), stop: stop.clone() })
        .max_decoding_message_size(small::MAX_BYTES);
    let mut services = Services::from([
        (Inference::NAME, inference(host, stop)),
        (HealthServer::<HostHealth>::NAME, call_of(health, small::request)),
    ]);
    match reflection::services(stop) {
        Ok(reflection) => services.extend(reflection),
        Err(error) => tracing::error!(%error, "gRPC reflection is not served"),
    }
    services
}

/// Inferences bound how long their messages may take themselves.
fn inference(host: &Arc<Host>, stop: &CancellationToken) -> Call {
    let service = |limit_bytes| {
        Inference::new(Service { host: Arc::clone(host), stop: stop.clone() })
            .accept_compressed(CompressionEncoding::Gzip)
            .accept_compressed(CompressionEncoding::Deflate)
            .max_decoding_message_size(limit_bytes)
    };
    let limit_bytes = usize::try_from(host.config.body_bytes).unwrap_or(usize::MAX);
    let inferences = call_of(service(limit_bytes), packed::marked);
    let questions = call_of(service(small::MAX_BYTES), small::request);
    Box::new(move |request| match request.uri().path().rsplit('/').next() {
        Some("ModelInfer" | "ModelStreamInfer") => inferences(request),
        _ => questions(request),
    })
}

/// A generated service as a function. `request` makes what it gets of what comes.
pub(super) fn call_of<S, B>(
    service: S,
    request: impl Fn(Request<Incoming>) -> Request<B> + Send + Sync + 'static,
) -> Call
where
    S: tonic::codegen::Service<Request<B>, Response = Response<Body>, Error = Infallible>,
    S: Clone + Send + Sync + 'static,
    S::Future: Send + 'static,
{
    Box::new(move |came| {
        // They are always ready, and cloned for each call in tonic's own router as well.
        let answer = service.clone().call(request(came));
        answer.map(|answer| answer.unwrap_or_else(|never| match never {})).boxed()
    })
}

/// The outer half of every call: everything that is the same for all of them.
async fn serve_call(services: Arc<Services>, mut request: Request<Incoming>) -> Result<Response<Body>, Infallible> {
    let started = Instant::now();
    let context = Context::of(request.headers());
    // For who has more to log of it.
    context.mark(request.headers_mut());
    let path = request.uri().path().to_owned();
    let (service, method) = path.trim_start_matches('/').split_once('/').unwrap_or_default();
    let not_served = NOT_SERVED.iter().find(|(prefix, _)| service == Inference::NAME && method.starts_with(prefix));
    let mut response = match (services.get(service), not_served) {
        (_, Some((_, why))) => Status::unimplemented(*why).into_http(),
        (Some(call), None) => context.around(call(request)).await,
        (None, None) => Status::unimplemented("there is no such service").into_http(),
    };
    // Only where it is logged.
    let ms = || started.elapsed().as_micros() as f64 / 1000.0;
    // The chain of causes is for the operator alone.
    let status = response.extensions().get::<Status>();
    match status.and_then(Error::source).and_then(|source| source.downcast_ref::<GrpcError>()) {
        Some(error) => respond::log(error, &context, &path, ms()),
        None => tracing::debug!(id = %context, path, ms = ms(), "call"),
    }
    context.mark(response.headers_mut());
    Ok(response)
}
