//! `ModelStreamInfer`: many inferences on one stream, answered in their order. An error is an answer like any other, unless the
//! client wants it to end the stream.

use std::sync::Arc;

use futures::future::FutureExt;
use futures::stream::{self, Stream, StreamExt};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use tonic::{Status, Streaming};

use super::infer::{self, Said, broken};
use super::messages::infer_parameter::ParameterChoice;
use super::messages::{InferParameter, ModelInferResponse, ModelStreamInferResponse};
use super::packed::Packing;
use super::respond::{self, GrpcError};
use super::undecoded::Undecoded;
use crate::admit;
use crate::host::Host;
use crate::trace::Context;

/// Requests of one stream that are worked on at once; further ones wait in the connection.
const AT_ONCE: usize = 8;

/// Says of an answer that no other follows for its request. Clients that ask for it wait for it.
const FINAL: &str = "triton_final_response";

/// What is the same for all requests of a stream.
pub(super) struct Terms {
    /// Until when the client waits for all of it, among others.
    pub(super) said: Said,
    /// Whether an error ends the stream.
    pub(super) strict: bool,
    /// The host is told to stop: what was begun is answered, and then the stream ends.
    pub(super) stop: CancellationToken,
    /// Where it belongs, for the log.
    pub(super) context: Context,
    pub(super) packing: Option<Packing>,
}

/// The answers to a stream of requests.
pub(super) fn answers(
    host: Arc<Host>,
    requests: Streaming<Undecoded>,
    terms: Terms,
    open: admit::Stream,
) -> impl Stream<Item = Result<ModelStreamInferResponse, Status>> {
    let terms = Arc::new(terms);
    let end = stream::once(async move {
        // It had its place until now, or until the client went.
        drop(open);
        None
    });
    asked(Arc::clone(&host), requests, Arc::clone(&terms))
        .map(move |message| answer(Arc::clone(&host), message, Arc::clone(&terms)))
        .buffered(AT_ONCE)
        .chain(end.filter_map(std::future::ready))
}

/// The requests, and at last why there are no more, unless the client has sent all it wanted.
fn asked(
    host: Arc<Host>,
    requests: Streaming<Undecoded>,
    terms: Arc<Terms>,
) -> impl Stream<Item = Result<Undecoded, Status>> {
    stream::unfold(Some(requests), move |requests| {
        let (host, terms) = (Arc::clone(&host), Arc::clone(&terms));
        async move {
            let (mut requests, began) = (requests?, Instant::now());
            match terms.stop.run_until_cancelled(requests.next()).await {
                Some(Some(Ok(message))) => Some((Ok(message.packed_by(terms.packing)), Some(requests))),
                // Nothing can be read after it.
                Some(Some(Err(status))) => Some((Err(ended(broken(&host, &status), &terms, began)), None)),
                Some(None) => None,
                // The client's last request was among those that were begun.
                None if matches!(requests.next().now_or_never(), Some(None)) => None,
                None => Some((Err(Status::unavailable("the host is stopping")), None)),
            }
        }
    })
}

/// A task of its own: a client that reads slowly must not hold up what it asked for, which has a place in its function. It ends
/// when the stream does.
fn answer(
    host: Arc<Host>,
    message: Result<Undecoded, Status>,
    terms: Arc<Terms>,
) -> impl Future<Output = Result<ModelStreamInferResponse, Status>> {
    let (started, for_task) = (Instant::now(), Arc::clone(&terms));
    let task = AbortOnDropHandle::new(tokio::spawn(terms.context.around(async move {
        let (message, terms) = (message?, for_task);
        let answered = match host.admit.arrive() {
            Ok(place) => infer::infer(&host, message, place, started, &terms.said).await,
            Err(full) => Err((full.into(), String::new())),
        };
        match answered {
            Ok(response) => Ok(good(response)),
            Err((error, _)) if terms.strict => Err(ended(error, &terms, started)),
            Err((error, id)) => {
                log(&error, &terms, started);
                Ok(bad(&error, id))
            }
        }
    })));
    async move {
        let interrupted = |error: tokio::task::JoinError| {
            Err(ended(GrpcError::Internal(format!("an inference was interrupted: {error}")), &terms, started))
        };
        task.await.unwrap_or_else(interrupted)
    }
}

/// The status that an error ends the stream with. The wrapper of every call has seen it begin, and sees nothing of this.
fn ended(error: GrpcError, terms: &Terms, began: Instant) -> Status {
    log(&error, terms, began);
    respond::status(error)
}

fn log(error: &GrpcError, terms: &Terms, began: Instant) {
    respond::log(error, &terms.context, "ModelStreamInfer", began.elapsed().as_micros() as f64 / 1000.0);
}

fn good(mut response: ModelInferResponse) -> ModelStreamInferResponse {
    let last = InferParameter { parameter_choice: Some(ParameterChoice::BoolParam(true)) };
    response.parameters.insert(FINAL.to_owned(), last);
    ModelStreamInferResponse { error_message: String::new(), infer_response: Some(response) }
}

/// The id says which request it was.
fn bad(error: &GrpcError, id: String) -> ModelStreamInferResponse {
    let response = ModelInferResponse { id, ..ModelInferResponse::default() };
    ModelStreamInferResponse { error_message: respond::message(error), infer_response: Some(response) }
}
