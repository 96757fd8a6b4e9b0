//! THE data path: from a call that the protocol understood to an answer.
//!
//! Each line is one concept with one verb; the order is the design. Nothing here knows HTTP statuses or wire formats.

use std::sync::Arc;

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use tokio::time::Instant;
use wasmtime_wasi_http::Error as HttpError;

use crate::admit::{AdmitError, Gate, Held, Permit};
use crate::deadline::{Deadline, DeadlinePassed};
use crate::elsewhere::{BrokenOff, elsewhere};
use crate::host::Host;
use crate::lifecycle::{Cause, Kind, Live, WakeError};
use crate::nn::NnError;
use crate::protocol::predict::PredictRequest;
use crate::protocol::{ProtocolError, check, classify};
use crate::registry::catalog::{CatalogError, Destined, Version};
use crate::registry::revision::FunctionKind;
use crate::runtime::http::{Place, ResponseBody};
use crate::runtime::typed::{self, Question};
use crate::runtime::{RuntimeError, http as guest_http};
use crate::shadow::Original;
use crate::telemetry::metrics::Timer;
use crate::telemetry::{Asked, Call, Calls, Outcome, Part, Parts};
use crate::tensor::{Signature, Tensor};

pub mod copies;

/// Who is asked: a function and, if the caller cares, a version or alias.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    pub function: String,
    pub version: Option<String>,
}

/// A request that was let in, before anything of its body is read: which version answers, and until when.
pub struct Begun {
    version: Arc<Version>,
    /// The version that is to get a copy.
    shadow: Option<Arc<Version>>,
    /// For the whole of the request, its body included.
    pub due: Deadline,
    held: Held,
    /// What its time goes into.
    parts: Parts,
}

/// Tensors as an answer, and which version gave them.
pub struct Answer {
    pub version: Arc<Version>,
    pub outputs: Vec<(String, Tensor)>,
    /// A request is in its function until its answer is written: large ones take memory and time.
    _permit: Permit,
}

impl Answer {
    /// Bytes of its tensors, the lengths of strings included.
    pub fn size_bytes(&self) -> usize {
        self.outputs.iter().map(|(_, tensor)| tensor.raw().len()).sum()
    }
}

impl From<Question> for Asked {
    fn from(question: Question) -> Self {
        match question {
            Question::Predict => Self::Predict,
            Question::Explain => Self::Explain,
        }
    }
}

/// Why there is no answer; whose fault it is can be told from the variant.
#[derive(Debug, thiserror::Error)]
pub enum InvokeError {
    #[error(transparent)]
    Unknown(#[from] CatalogError),
    #[error(transparent)]
    NotAdmitted(#[from] AdmitError),
    #[error("function '{function}' cannot be loaded: {source}")]
    Wake { function: String, source: WakeError },
    #[error(transparent)]
    Deadline(#[from] DeadlinePassed),
    #[error(transparent)]
    Protocol(#[from] ProtocolError),
    #[error(transparent)]
    Model(#[from] NnError),
    #[error("function '{function}': {source}")]
    Guest { function: String, source: RuntimeError },
    #[error(transparent)]
    Broken(#[from] BrokenOff),
    #[error("function '{0}' is an http function: call it at /functions/{0}/ (`nocti invoke {0} --http /`)")]
    NotPredictable(String),
    #[error("function '{0}' does not explain its answers: it exports no nocti:function/explainer")]
    NotExplainable(String),
    #[error("function '{0}' does not speak HTTP: call it at /v2/models/{0}/infer")]
    NotHttp(String),
}

/// Lets a request in; its [`Call`] is to be ended with what comes of it. One of the wrong kind must not wake anything, and one
/// too many must not take memory. `key` is its routing key, if its head has one.
pub fn begin(host: &Host, target: &Target, key: Option<&[u8]>, asked: Asked) -> Result<(Begun, Call), InvokeError> {
    // Alias and traffic weights become an immutable version; it sets the time.
    let Destined { version, shadow } = host.catalog.resolve_for(key, &target.function, target.version.as_deref())?;
    let began = Instant::now();
    let gate = gate(host, &version);
    let call = gate.calls.begin(asked, began);
    match hold(host, (version, shadow), gate, asked, began) {
        Ok(begun) => Ok((Begun { parts: call.parts.clone(), ..begun }, call)),
        Err(error) => {
            call.end(if matches!(error, InvokeError::NotAdmitted(_)) { Outcome::Refused } else { Outcome::Invalid });
            Err(error)
        }
    }
}

/// How the requests to a version went.
pub fn calls(host: &Host, version: &Version) -> Arc<Calls> {
    Arc::clone(&gate(host, version).calls)
}

/// Brings a version into memory that no request has asked for yet, and sees that it can serve one.
pub async fn prepare(host: &Host, version: &Arc<Version>) -> Result<(), InvokeError> {
    let (name, due) = (version.function.as_str(), Deadline::after(version.manifest.limits.timeout));
    let live = due.bound(host.lifecycle.wake(version, Cause::Rollout)).await?;
    let live = live.map_err(|source| InvokeError::Wake { function: name.to_owned(), source })?;
    match &live.kind {
        // No instance that began with it: whoever asks for one is told why.
        Kind::Typed(pool) | Kind::Http(pool) if pool.counts() == (0, 0) => {
            let lease = due.bound(host.lifecycle.check_out(pool)).await?;
            lease.map(drop).map_err(|source| failed(name, source))
        }
        Kind::ModelOnly(_) | Kind::Typed(_) | Kind::Http(_) => Ok(()),
    }
}

/// How requests come to a version.
fn gate(host: &Host, version: &Version) -> Arc<Gate> {
    let calls = || {
        let (function, version) = (version.function.as_str(), version.name.as_str());
        Calls::new(function, version, host.logs.of_requests(function, version))
    };
    host.admit.gate(version.digest, version.manifest.limits.concurrency, calls)
}

fn hold(
    host: &Host,
    (version, shadow): (Arc<Version>, Option<Arc<Version>>),
    gate: Arc<Gate>,
    asked: Asked,
    began: Instant,
) -> Result<Begun, InvokeError> {
    if (asked == Asked::Http) != (version.record.kind == FunctionKind::Http) {
        return Err(wrong_kind(&version));
    }
    let (due, held) = (Deadline::of(began, version.manifest.limits.timeout), host.admit.hold(gate)?);
    Ok(Begun { version, shadow, due, held, parts: Parts::default() })
}

/// Tensors in, tensors out: an answer, or what explains it. Dropping the future cancels the work, wherever it is.
pub async fn ask(
    host: &Host,
    mut begun: Begun,
    question: Question,
    mut request: PredictRequest,
) -> Result<Answer, InvokeError> {
    let shadow = begun.shadow.take().filter(|_| question == Question::Predict);
    let original = shadow.map(|shadow| Original::of(shadow, &request));
    let Inside { version, due, live, permit, parts } = begun.enter(host).await?;
    let name = version.function.as_str();
    let (wanted, classes) = (request.outputs.clone(), std::mem::take(&mut request.classes));
    let outputs = match (&live.kind, question) {
        (Kind::ModelOnly(model), Question::Predict) => {
            let given = |name: &str| request.inputs.iter().any(|(input, _)| input == name);
            check::check_inputs(name, &model.session().signature_for(given), &request)?;
            let _part = parts.begin(Part::Model);
            due.bound(model.compute(request.inputs)).await??
        }
        (Kind::Typed(pool), question) => {
            let undeclared = Signature::default();
            let signature = version.record.signature.as_ref().unwrap_or(&undeclared);
            if question == Question::Explain {
                // The signature speaks of answers; what explains them is the function's own choice.
                request.outputs = None;
            }
            check::check_given_inputs(name, signature, &request)?;
            let lease = due.bound(host.lifecycle.check_out(pool)).await?.map_err(|source| failed(name, source))?;
            let _timer = (Timer::begin(&host.metrics.guest_seconds), parts.begin(Part::Guest));
            let outputs =
                due.bound(typed::ask(lease, question, request)).await?.map_err(|source| failed(name, source))?;
            if question == Question::Predict {
                check::check_outputs(name, signature, &outputs)?;
            }
            outputs
        }
        (Kind::ModelOnly(_), Question::Explain) => return Err(InvokeError::NotExplainable(name.into())),
        (Kind::Http(_), _) => return Err(wrong_kind(&version)),
    };
    let outputs = check::select_outputs(name, outputs, wanted.as_deref())?;
    if let Some(original) = original {
        copies::offer(host, *original, &version, &outputs);
    }
    let answer = Answer { version, outputs, _permit: permit };
    if classes.is_empty() { Ok(answer) } else { classified(answer, classes).await }
}

/// Looking at all elements of large outputs takes a while.
async fn classified(mut answer: Answer, classes: Vec<(String, usize)>) -> Result<Answer, InvokeError> {
    const LARGE_BYTES: usize = 64 << 10;
    let bytes = answer.size_bytes();
    let work = move || {
        let signature = answer.version.record.signature.clone().unwrap_or_default();
        classify::classify_outputs(&signature, &mut answer.outputs, &classes).map(|()| answer)
    };
    Ok(elsewhere(bytes >= LARGE_BYTES, work).await??)
}

/// A raw HTTP request to a function that speaks it. The function is left when the response's body has ended.
pub async fn call<B>(host: &Host, begun: Begun, request: Request<B>) -> Result<Response<ResponseBody>, InvokeError>
where
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<HttpError>,
{
    let Inside { version, due, live, permit, parts } = begun.enter(host).await?;
    let name = version.function.as_str();
    let Kind::Http(pool) = &live.kind else { return Err(wrong_kind(&version)) };
    let place = match pool.seat(due) {
        Some(seat) => Place::Seat(seat),
        None => {
            let lease = due.bound(host.lifecycle.check_out(pool)).await?;
            Place::Instance(lease.map_err(|source| failed(name, source))?)
        }
    };
    let held = (permit, Arc::clone(&live), Timer::begin(&host.metrics.guest_seconds), parts.begin(Part::Guest));
    guest_http::handle(place, request, due, held).await.map_err(|source| failed(name, source))
}

/// A request inside its function, whose version is in memory.
struct Inside {
    version: Arc<Version>,
    due: Deadline,
    live: Arc<Live>,
    permit: Permit,
    parts: Parts,
}

impl Begun {
    /// Which version answers.
    pub fn version(&self) -> &Version {
        &self.version
    }

    /// The same request, to be copied for a version that was found where it was resolved.
    pub fn shadowed_by(self, shadow: Option<Arc<Version>>) -> Self {
        Self { shadow: shadow.or(self.shadow), ..self }
    }

    /// The same request with its routing key, which only its body told: another version may have to answer.
    pub fn routed(self, host: &Host, target: &Target, key: &[u8], call: &mut Call) -> Result<Self, InvokeError> {
        let destined = host.catalog.resolve_for(Some(key), &target.function, target.version.as_deref());
        // One that was let in is answered, whatever has been deleted since.
        let Some(Destined { version, shadow }) = destined.ok().filter(|to| to.version.digest != self.version.digest)
        else {
            return Ok(self);
        };
        // Its place first: nobody needs two.
        drop(self);
        let gate = gate(host, &version);
        call.turn_to(&gate.calls);
        let begun = hold(host, (version, shadow), gate, call.asked, call.began)?;
        Ok(Self { parts: call.parts.clone(), ..begun })
    }

    async fn enter(self, host: &Host) -> Result<Inside, InvokeError> {
        let Self { version, due, held, parts, .. } = self;
        let waiting = parts.begin(Part::Wait);
        let permit = held.enter(due).await?;
        drop(waiting);
        if let Some(live) = host.lifecycle.awake(&version) {
            return Ok(Inside { version, due, live, permit, parts });
        }
        let waking = parts.begin(Part::Wake);
        let put_away = PutAway { host, version: &version };
        // Boxed, as it is rare: a request has its place in memory for all that it may come to.
        let live = due.bound(Box::pin(host.lifecycle.wake(&version, Cause::Request))).await?;
        drop((put_away, waking));
        let live = live.map_err(|source| InvokeError::Wake { function: version.function.to_string(), source })?;
        Ok(Inside { version, due, live, permit, parts })
    }
}

/// However waking ends: a version that was deleted since it was resolved is not to stay in memory.
struct PutAway<'h> {
    host: &'h Host,
    version: &'h Version,
}

impl Drop for PutAway<'_> {
    fn drop(&mut self) {
        if !self.host.catalog.has(self.version) {
            self.host.lifecycle.forget(&self.version.digest);
            self.host.admit.forget(&self.version.digest);
            self.host.shadows.forget(&self.version.digest);
            let function = self.host.catalog.function(self.version.function.as_str());
            // One that cannot be read is there still, and so are its logs.
            if matches!(function, Err(CatalogError::UnknownFunction(_))) {
                self.host.logs.forget(self.version.function.as_str());
            }
        }
    }
}

fn wrong_kind(version: &Version) -> InvokeError {
    let function = version.function.to_string();
    match version.record.kind {
        FunctionKind::Http => InvokeError::NotPredictable(function),
        FunctionKind::ModelOnly | FunctionKind::Typed => InvokeError::NotHttp(function),
    }
}

fn failed(function: &str, source: RuntimeError) -> InvokeError {
    match source {
        RuntimeError::Deadline(passed) => InvokeError::Deadline(passed),
        RuntimeError::NotExported(_) => InvokeError::NotExplainable(function.to_owned()),
        source => InvokeError::Guest { function: function.to_owned(), source },
    }
}
