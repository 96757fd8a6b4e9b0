//! What every request goes through: id, trace, one log line, one exit for errors.
//!
//! A client that goes away while its request is being served drops the request's future, which cancels the work.

use std::convert::Infallible;
use std::sync::Arc;

use http::{Method, Request, Response, Version};
use hyper::body::Incoming;
use hyper::service::service_fn;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::body::{self, Body};
use super::cors::Caller;
use super::respond::{self, HttpError};
use super::route::{Route, route};
use super::{authority, cors, docs, encoding, health, infer, metrics, model, openapi, page, raw, repository, v1};
use crate::api;
use crate::host::Host;
use crate::listener::Listener;
use crate::trace::Context;

/// Serves until `stop`, then drains. True when all requests in flight could finish.
pub async fn serve(host: Arc<Host>, listener: Listener, stop: CancellationToken) -> bool {
    let connection = || {
        let host = Arc::clone(&host);
        service_fn(move |request| serve_request(Arc::clone(&host), request))
    };
    listener.serve(&host, stop, connection).await
}

/// The outer half of every request: everything that is the same for all of them.
async fn serve_request(host: Arc<Host>, mut request: Request<Incoming>) -> Result<Response<Body>, Infallible> {
    let started = Instant::now();
    let context = Context::of(request.headers());
    let caller = cors::caller(&host.config.cors_origins, request.headers());
    let (method, uri, version) = (request.method().clone(), request.uri().clone(), request.version());
    // Nobody else looks at them.
    if uri.path().starts_with("/functions/") {
        context.hand_on(request.headers_mut());
    }
    let result = context.around(answer(&host, request, caller.as_ref())).await;
    // Only where it is logged.
    let ms = || started.elapsed().as_micros() as f64 / 1000.0;
    let mut response = match result {
        Ok(response) => {
            tracing::debug!(id = %context, %method, path = uri.path(), status = response.status().as_u16(), ms = ms(), "request");
            response
        }
        Err(error) => {
            let response = respond::error(&error);
            // Logged here and nowhere below: the chain of causes is for the operator alone.
            let status = response.status();
            let cause = respond::chain(&error);
            if respond::is_ours(&error) {
                tracing::warn!(id = %context, %method, path = uri.path(), status = status.as_u16(), ms = ms(), error = cause, "request failed");
            } else {
                tracing::debug!(id = %context, %method, path = uri.path(), status = status.as_u16(), ms = ms(), error = cause, "request refused");
            }
            response
        }
    };
    // Over HTTP/1.1 hyper sees to it.
    if method == Method::HEAD && version == Version::HTTP_2 {
        response = body::without(response);
    }
    context.mark(response.headers_mut());
    if let Some(caller) = caller {
        caller.mark(response.headers_mut());
    }
    Ok(response)
}

/// The inner half: route, answer, `?`.
async fn answer(
    host: &Arc<Host>,
    mut request: Request<Incoming>,
    caller: Option<&Caller>,
) -> Result<Response<Body>, HttpError> {
    let settled = authority::settle(&mut request, host.address);
    body::refused(&mut request, settled).await?;
    if let Some(response) = caller.and_then(|caller| caller.preflight(&request)) {
        return Ok(response);
    }
    let route = found(host, &request);
    let route = body::refused(&mut request, route).await?;
    // Tensors are compressed where they are written; a function that speaks HTTP does it for itself; a log may go on for ever, a bundle is large.
    let is_done = matches!(
        route,
        Route::Infer(_)
            | Route::Explain(_)
            | Route::Function { .. }
            | Route::V1Predict(_)
            | Route::V1Explain(_)
            | Route::ReadLog(_)
            | Route::Bundle(..)
    );
    let wanted = if is_done { None } else { encoding::wanted(request.headers()) };
    let response = match route {
        Route::Infer(target) => infer::infer(host, &target, request).await,
        Route::Explain(target) => infer::explain(host, &target, request).await,
        Route::V1Predict(target) => v1::predict(host, &target, request).await,
        Route::V1Explain(target) => v1::explain(host, &target, request).await,
        Route::V1List => Ok(v1::list(host)),
        Route::V1Ready(target) => v1::ready(host, &target),
        Route::Alive => Ok(v1::alive()),
        Route::Function { target, path } => raw::call(host, &target, &path, request).await,
        Route::Live => Ok(health::live(host)),
        Route::Ready => Ok(health::ready(host)),
        Route::ServerMetadata => Ok(health::server_metadata()),
        Route::ModelList => Ok(model::list(host)),
        Route::ModelMetadata(target) => model::metadata(host, &target),
        Route::ModelReady(target) => model::ready(host, &target),
        Route::ModelConfig(target) => model::config(host, &target),
        Route::ModelStatistics(None) => model::all_statistics(host),
        Route::ModelStatistics(Some(target)) => model::statistics(host, &target),
        Route::RepositoryIndex => repository::index(host, request).await,
        Route::RepositoryLoad(name) => repository::load(host, &name, request).await,
        Route::RepositoryUnload(name) => repository::unload(host, &name, request).await,
        Route::Deploy => api::functions::deploy(host, request).await,
        Route::ListFunctions => api::list::list(host, &request).await,
        Route::Search => api::search::search(host, &request).await,
        Route::ShowFunction(name) => api::functions::show(host, &name),
        Route::DeleteFunction(name) => api::functions::delete(host, name, &request).await,
        Route::DeleteVersion(name, version) => api::functions::delete_version(host, name, version, &request).await,
        Route::SetLabels(name, version) => api::labels::set(host, name, version, request).await,
        Route::SetTraffic(name, alias) => api::traffic::set(host, name, &alias, request).await,
        Route::DeleteAlias(name, alias) => api::traffic::delete_alias(host, name, &alias, &request).await,
        Route::BeginRollout(name, alias) => api::rollout::begin(host, name, &alias, request).await,
        Route::EndRollout(name, alias) => api::rollout::end(host, name, &alias, &request).await,
        Route::Rollback(name) => api::traffic::rollback(host, name, request).await,
        Route::Restore(name, revision) => api::traffic::restore(host, name, &revision, request).await,
        Route::History(name) => api::history::list(host, &name, &request).await,
        Route::Diff(name) => api::history::diff(host, &name, &request).await,
        Route::ReadLog(name) => api::logs::read(host, &name, &request).await,
        Route::Bundle(name, version) => api::bundle::download(host, &name, &version, &request).await,
        Route::MissingBlobs => api::blobs::missing(host, request).await,
        Route::PutBlob(sha256) => api::blobs::put(host, &sha256, request).await,
        Route::Status => Ok(api::status::status(host)),
        Route::OpenApi => Ok(openapi::document()),
        Route::Docs => Ok(docs::page()),
        Route::Metrics => Ok(metrics::metrics(host)),
    };
    if is_done { response } else { encoding::encoded(response?, wanted).await }
}

/// What the request means, if its client may ask for that.
fn found(host: &Host, request: &Request<Incoming>) -> Result<Route, HttpError> {
    let route = route(request.method(), request.uri().path())?;
    if route.changes() {
        page::may_change(&host.config.cors_origins, request.headers())?;
    }
    Ok(route)
}
