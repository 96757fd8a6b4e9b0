//! Tensors in a body, tensors in the answer's: the way of a request through the host is the same in whatever form they are.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Request, Response};
use hyper::body::Incoming;

use super::body::{self, Body};
use super::encoding;
use super::respond::{self, HttpError};
use crate::elsewhere::elsewhere;
use crate::host::Host;
use crate::invoke::{self, Answer, Begun, InvokeError, Target};
use crate::protocol::ProtocolError;
use crate::protocol::predict::PredictRequest;
use crate::registry::catalog::Version;
use crate::runtime::typed::Question;
use crate::telemetry::Outcome;
use crate::tensor::Signature;

/// JSON that takes a while, both ways: so much of it as text, or of elements that become text.
const LARGE_JSON_BYTES: usize = 256 << 10;

/// The header that says with which other requests one belongs: while traffic is split, they go to the same version. The
/// parameter `routing_key` of a body counts before it.
pub(super) static ROUTING_KEY: HeaderName = HeaderName::from_static("nocti-routing-key");

/// How tensors are put into bodies.
pub(super) struct Form<R> {
    /// Where the JSON ends and binary data begins, as the head says; `None`: all of it is JSON, or as slow to read.
    pub(super) json_length: fn(&Request<Incoming>) -> Result<Option<usize>, HttpError>,
    /// Reads a body for a function of that name and signature, whose JSON is so long.
    pub(super) read: R,
    /// The shadow of a version that was drawn before.
    pub(super) shadow: Option<Arc<Version>>,
}

/// How a request wants its answer.
pub(super) trait Writer: Send + 'static {
    /// Bytes of what becomes text, which takes a while.
    fn text_bytes(&self, answer: &Answer) -> usize {
        answer.size_bytes()
    }

    fn write(self, answer: &Answer) -> Result<Response<Body>, ProtocolError>;
}

/// Asks a function. What its version says is said before the body is read; all that comes of it is counted.
pub(super) async fn ask<R, W>(
    host: &Host,
    target: &Target,
    question: Question,
    mut request: Request<Incoming>,
    form: Form<R>,
) -> Result<Response<Body>, HttpError>
where
    R: FnOnce(&str, &Signature, Bytes, Option<usize>) -> Result<(PredictRequest, W), ProtocolError> + Send + 'static,
    W: Writer,
{
    let key = request.headers().get(&ROUTING_KEY).map(HeaderValue::as_bytes);
    let begun = invoke::begin(host, target, key, question.into()).map_err(HttpError::from);
    let begun = begun.map(|(begun, call)| (begun.shadowed_by(form.shadow), call));
    let (begun, mut call) = body::refused(&mut request, begun).await?;
    let wanted = encoding::wanted(request.headers());
    let answer = async {
        let head =
            encoding::of_request(request.headers()).and_then(|encoding| Ok((encoding, (form.json_length)(&request)?)));
        let (encoding, json_length) = body::refused(&mut request, head).await?;
        let (limit_bytes, aligned_at) = (host.config.body_bytes, json_length.unwrap_or(0));
        let collected = body::collect(request, limit_bytes, aligned_at);
        let body = begun.due.bound(collected).await.map_err(InvokeError::from)??;
        let (begun, body) = encoding::decoded(begun, body, encoding, limit_bytes, aligned_at).await?;
        let (begun, (request, writer)) = read(begun, form.read, body, json_length).await?;
        let begun = match request.routing_key()? {
            Some(key) => begun.routed(host, target, &key, &mut call)?,
            None => begun,
        };
        let answer = invoke::ask(host, begun, question, request).await?;
        let is_large =
            writer.text_bytes(&answer) >= LARGE_JSON_BYTES || encoding::takes_long(wanted, answer.size_bytes());
        // With the answer, whose place in the function is free when it is written and compressed.
        elsewhere(is_large, move || Ok(encoding::encode(writer.write(&answer)?, wanted))).await?
    }
    .await;
    if let Err(error) = &answer {
        call.tell(": ", error);
    }
    call.end(answer.as_ref().map_or_else(respond::outcome, |_| Outcome::Ok));
    answer
}

/// The leave to be here goes with the body, which stays in memory when the caller goes away meanwhile.
async fn read<R, T>(begun: Begun, read: R, body: Bytes, json_length: Option<usize>) -> Result<(Begun, T), HttpError>
where
    R: FnOnce(&str, &Signature, Bytes, Option<usize>) -> Result<T, ProtocolError> + Send + 'static,
    T: Send + 'static,
{
    // Of binary data at most its strings and booleans are looked at.
    const LARGE_BYTES: usize = 4 << 20;
    let is_large = json_length.unwrap_or(body.len()) >= LARGE_JSON_BYTES || body.len() >= LARGE_BYTES;
    let reading = elsewhere(is_large, move || {
        let (version, undeclared) = (begun.version(), Signature::default());
        let signature = version.record.signature.as_ref().unwrap_or(&undeclared);
        let read = read(version.function.as_str(), signature, body, json_length);
        (begun, read)
    });
    let (begun, read) = reading.await?;
    Ok((begun, read?))
}
