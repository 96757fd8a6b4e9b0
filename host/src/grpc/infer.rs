//! One inference: a message in, a message out.

use std::time::Duration;

use tokio::time::Instant;
use tonic::{Code, Request, Status, Streaming};

use super::messages::{ModelInferRequest, ModelInferResponse};
use super::packed::Packing;
use super::respond::{self, GrpcError};
use super::undecoded::Undecoded;
use super::{answer, request, timeout};
use crate::admit::Arrived;
use crate::deadline::Deadline;
use crate::elsewhere::elsewhere;
use crate::host::Host;
use crate::invoke::{self, Begun, InvokeError, Target};
use crate::protocol::predict::PredictRequest;
use crate::runtime::typed::Question;
use crate::telemetry::{Asked, Outcome};

/// How long a message may take to come. Whose time that is, the function's or nobody's, is in the message.
const UPLOAD: Duration = Duration::from_secs(60);

/// What a call's metadata say of its requests.
#[derive(Clone)]
pub(super) struct Said {
    /// Until when the client waits.
    pub(super) due: Option<Deadline>,
    /// The routing key of those that have none of their own.
    key: Option<Vec<u8>>,
}

impl Said {
    pub(super) fn by<T>(request: &Request<T>) -> Self {
        let headers = request.metadata().as_ref();
        Self { due: timeout::asked(headers), key: headers.get(ROUTING_KEY).map(|key| key.as_bytes().to_owned()) }
    }
}

/// The metadata that say with which other requests one belongs.
const ROUTING_KEY: &str = "nocti-routing-key";

/// `ModelInfer`.
pub(super) async fn call(
    host: &Host,
    request: Request<Streaming<Undecoded>>,
    said: Said,
) -> Result<ModelInferResponse, GrpcError> {
    let (began, packing) = (Instant::now(), Packing::of(&request));
    let due = said.due;
    let mut messages = request.into_inner();
    // Before anything of the message takes memory.
    let place = host.admit.arrive()?;
    let upload = Deadline::asked(UPLOAD).sooner(due);
    let message = upload.bound(messages.message()).await.map_err(|passed| match Some(upload) == due {
        true => GrpcError::from(InvokeError::from(passed)),
        false => GrpcError::Stalled(UPLOAD),
    })?;
    let message = message.map_err(|status| broken(host, &status))?;
    let message = message.ok_or_else(|| GrpcError::Broken("there is none".into()))?;
    infer(host, message.packed_by(packing), place, began, &said).await.map_err(|(error, _)| error)
}

/// Infers; an error comes with the id of its request, as far as that could be read. The place is given up for one in the function.
pub(super) async fn infer(
    host: &Host,
    message: Undecoded,
    place: Arrived,
    began: Instant,
    said: &Said,
) -> Result<ModelInferResponse, (GrpcError, String)> {
    let decoded = decode(place, message, host.config.body_bytes).await;
    let (place, length, message) = decoded.map_err(|error| (error, String::new()))?;
    let id = message.id.clone();
    let target = target(&message.model_name, &message.model_version);
    drop(place);
    let own_key = request::routing_key(&message).map_err(|error| (error.into(), id.clone()))?;
    let begun = invoke::begin(host, &target, own_key.as_ref().or(said.key.as_ref()).map(Vec::as_slice), Asked::Predict);
    let (mut begun, mut call) = begun.map_err(|error| (error.into(), id.clone()))?;
    // The message's upload included, as over HTTP.
    (begun.due, call) = (begun.due.since(began).sooner(said.due), call.since(began));
    let answered = ask(host, begun, message, length).await;
    if let Err(error) = &answered {
        call.tell(": ", error);
    }
    call.end(answered.as_ref().map_or_else(respond::outcome, |_| Outcome::Ok));
    answered.map_err(|error| (error, id))
}

/// Whom a message means; without a version it has an empty one.
pub(super) fn target(function: &str, version: &str) -> Target {
    Target { function: function.to_owned(), version: Some(version.to_owned()).filter(|version| !version.is_empty()) }
}

/// Why there is no message.
pub(super) fn broken(host: &Host, status: &Status) -> GrpcError {
    match status.code() {
        Code::OutOfRange | Code::ResourceExhausted => GrpcError::TooLarge { limit_bytes: host.config.body_bytes },
        _ => GrpcError::Broken(status.message().to_owned()),
    }
}

async fn ask(
    host: &Host,
    begun: Begun,
    message: ModelInferRequest,
    length: usize,
) -> Result<ModelInferResponse, GrpcError> {
    let (begun, request) = read(begun, message, length).await?;
    let id = request.id.clone();
    let answer = invoke::ask(host, begun, Question::Predict, request).await?;
    Ok(answer::write(&answer, id))
}

/// Large messages take a while. The place goes with the message, which stays in memory when the caller goes away meanwhile.
async fn decode(
    place: Arrived,
    message: Undecoded,
    limit_bytes: u64,
) -> Result<(Arrived, usize, ModelInferRequest), GrpcError> {
    let decoding = elsewhere(message.is_large(), move || {
        let message = message.unpacked(limit_bytes)?;
        Ok((place, message.len(), message.decode_request()?))
    });
    decoding.await?
}

/// The same for large tensors, with the leave to be in the function.
async fn read(begun: Begun, message: ModelInferRequest, length: usize) -> Result<(Begun, PredictRequest), GrpcError> {
    const LARGE_BYTES: usize = 1 << 20;
    let (begun, request) = elsewhere(length >= LARGE_BYTES, move || (begun, request::read(message, length))).await?;
    Ok((begun, request?))
}
