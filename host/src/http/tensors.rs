//! Tensors in a body, tensors in the answer's: the way of a request through the host is the same in whatever form they are.

use bytes::Bytes;
use http::{Request, Response};
use hyper::body::Incoming;

use super::body::{self, Body};
use super::encoding;
use super::respond::{self, HttpError};
use crate::host::Host;
use crate::invoke::{self, Answer, Begun, InvokeError, Target};
use crate::protocol::ProtocolError;
use crate::protocol::predict::PredictRequest;
use crate::runtime::typed::Question;
use crate::telemetry::Outcome;
use crate::tensor::Signature;

/// How tensors are put into bodies.
pub(super) struct Form<R> {
    /// Where the JSON ends and binary data begins; `None`: all of it is JSON, or as slow to read.
    pub(super) json_length: Option<usize>,
    /// Reads a body for a function of that name and signature. What it says of its answer is in what writes that.
    pub(super) read: R,
}

/// Asks a function. What can be said before the body is read is said then; the others are counted with what came of them.
pub(super) async fn ask<R, W>(
    host: &Host,
    target: &Target,
    question: Question,
    mut request: Request<Incoming>,
    form: Form<R>,
) -> Result<Response<Body>, HttpError>
where
    R: FnOnce(&str, &Signature, Bytes) -> Result<(PredictRequest, W), ProtocolError> + Send + 'static,
    W: FnOnce(&Answer) -> Result<Response<Body>, ProtocolError> + Send + 'static,
{
    let begun = encoding::of_request(request.headers())
        .and_then(|encoding| Ok((encoding, invoke::begin(host, target, question.into())?)));
    let (encoding, (begun, call)) = body::refused(&mut request, begun).await?;
    let answering = async {
        let (limit_bytes, aligned_at) = (host.config.body_bytes, form.json_length.unwrap_or(0));
        let collected = body::collect(request, limit_bytes, aligned_at);
        let body = begun.due.bound(collected).await.map_err(InvokeError::from)??;
        let (begun, body) = encoding::decoded(begun, body, encoding, limit_bytes, aligned_at).await?;
        let (begun, (request, write)) = read(begun, form, body).await?;
        let answer = invoke::ask(host, begun, question, request).await?;
        Ok(write(&answer)?)
    };
    let answer = answering.await;
    call.end(answer.as_ref().map_or_else(respond::outcome, |_| Outcome::Ok));
    answer
}

/// Large bodies take the processor for a while: not on the executor. The leave to be here goes with the body, which stays in
/// memory when the caller goes away meanwhile.
async fn read<R, T>(begun: Begun, form: Form<R>, body: Bytes) -> Result<(Begun, T), HttpError>
where
    R: FnOnce(&str, &Signature, Bytes) -> Result<T, ProtocolError> + Send + 'static,
    T: Send + 'static,
{
    const LARGE_JSON_BYTES: usize = 256 << 10;
    // Of binary data at most its strings and booleans are looked at.
    const LARGE_BYTES: usize = 4 << 20;
    let is_large = form.json_length.unwrap_or(body.len()) >= LARGE_JSON_BYTES || body.len() >= LARGE_BYTES;
    let reading = move || {
        let (version, undeclared) = (begun.version(), Signature::default());
        let signature = version.record.signature.as_ref().unwrap_or(&undeclared);
        let read = (form.read)(version.function.as_str(), signature, body);
        (begun, read)
    };
    let (begun, read) = if is_large {
        let read = tokio::task::spawn_blocking(reading).await;
        read.map_err(|error| HttpError::Internal(format!("reading a body: {error}")))?
    } else {
        reading()
    };
    Ok((begun, read?))
}
