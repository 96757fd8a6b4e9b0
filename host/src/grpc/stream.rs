//! `ModelStreamInfer`: many inferences on one stream, answered in their order. An error is an answer like any other, unless the
//! client wants it to end the stream.

use std::sync::Arc;

use futures::stream::{self, Stream, StreamExt};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use tonic::{Status, Streaming};

use super::infer::{self, broken};
use super::messages::infer_parameter::ParameterChoice;
use super::messages::{InferParameter, ModelInferResponse, ModelStreamInferResponse};
use super::respond::{self, GrpcError};
use super::undecoded::Undecoded;
use crate::admit;
use crate::deadline::Deadline;
use crate::host::Host;
use crate::trace::Context;

/// Requests of one stream that are worked on at once; further ones wait in the connection.
const AT_ONCE: usize = 8;

/// Says of an answer that no other follows for its request. Clients that ask for it wait for it.
const FINAL: &str = "triton_final_response";

/// What is the same for all requests of a stream.
pub(super) struct Terms {
    /// Until when the client waits, for all of it.
    pub(super) due: Option<Deadline>,
    /// Whether an error ends the stream.
    pub(super) strict: bool,
    /// The host is told to stop: what was begun is answered, and then the stream ends.
    pub(super) stop: CancellationToken,
    /// Where it belongs, for the log.
    pub(super) context: Context,
}

/// The answers to a stream of requests.
pub(super) fn answers(
    host: Arc<Host>,
    requests: Streaming<Undecoded>,
    terms: Terms,
    open: admit::Stream,
) -> impl Stream<Item = Result<ModelStreamInferResponse, Status>> {
    let (stop, stopped, terms) = (terms.stop.clone(), terms.stop.clone(), Arc::new(terms));
    let end = stream::once(async move {
        // It had its place until now, or until the client went.
        drop(open);
        stopped.is_cancelled().then(|| Err(Status::unavailable("the host is stopping")))
    });
    requests
        .take_until(stop.cancelled_owned())
        .map(move |message| answer(Arc::clone(&host), message, Arc::clone(&terms)))
        .buffered(AT_ONCE)
        .chain(end.filter_map(std::future::ready))
}

/// A task of its own: a client that reads slowly must not hold up what it asked for, which has a place in its function. It ends
/// when the stream does.
fn answer(
    host: Arc<Host>,
    message: Result<Undecoded, Status>,
    terms: Arc<Terms>,
) -> impl Future<Output = Result<ModelStreamInferResponse, Status>> {
    let task = AbortOnDropHandle::new(tokio::spawn(async move {
        let message = match message {
            Ok(message) => message,
            // Nothing can be read after it.
            Err(status) => return Err(respond::status(broken(&host, &status))),
        };
        let started = Instant::now();
        let answered = match host.admit.arrive() {
            Ok(place) => infer::infer(&host, message, place, started, terms.due).await,
            Err(full) => Err((full.into(), String::new())),
        };
        let (error, id) = match answered {
            Ok(response) => return Ok(good(response)),
            Err(failed) => failed,
        };
        respond::log(&error, &terms.context, "ModelStreamInfer", started.elapsed().as_micros() as f64 / 1000.0);
        if terms.strict { Err(respond::status(error)) } else { Ok(bad(&error, id)) }
    }));
    async move {
        let interrupted = |error: tokio::task::JoinError| {
            Err(respond::status(GrpcError::Internal(format!("an inference was interrupted: {error}"))))
        };
        task.await.unwrap_or_else(interrupted)
    }
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
