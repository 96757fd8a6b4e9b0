//! THE data path: from a call that the protocol understood to an answer.
//!
//! Each line is one concept with one verb; the order is the design. Nothing here knows HTTP statuses or wire formats.

use std::sync::Arc;

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use wasmtime_wasi_http::Error as HttpError;

use crate::admit::{AdmitError, Held};
use crate::deadline::{Deadline, DeadlinePassed};
use crate::host::Host;
use crate::lifecycle::{Kind, WakeError};
use crate::nn::NnError;
use crate::protocol::predict::PredictRequest;
use crate::protocol::{ProtocolError, check};
use crate::registry::catalog::{CatalogError, Version};
use crate::registry::revision::FunctionKind;
use crate::runtime::http::ResponseBody;
use crate::runtime::typed::{self, Question};
use crate::runtime::{RuntimeError, http as guest_http};
use crate::tensor::{Signature, Tensor};

/// Who is asked: a function and, if the caller cares, a version or alias.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    pub function: String,
    pub version: Option<String>,
}

/// A request that was let in, before anything of its body is read: which version answers, and until when.
pub struct Begun {
    version: Arc<Version>,
    /// For the whole of the request, its body included.
    pub due: Deadline,
    held: Held,
}

/// How a function is spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Manner {
    Tensors,
    Http,
}

/// What is asked.
pub enum Call<B> {
    /// Tensors in, tensors out: an answer, or what explains it.
    Ask(Question, PredictRequest),
    /// A raw HTTP request.
    Http(Request<B>),
}

/// What is answered.
pub enum Reply {
    Outputs { version: Arc<Version>, outputs: Vec<(String, Tensor)> },
    Http(Response<ResponseBody>),
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
    #[error("the deadline passed")]
    Deadline(#[from] DeadlinePassed),
    #[error(transparent)]
    Protocol(#[from] ProtocolError),
    #[error(transparent)]
    Model(#[from] NnError),
    #[error("function '{function}': {source}")]
    Guest { function: String, source: RuntimeError },
    #[error("function '{0}' is an http function: call it at /functions/{0}/")]
    NotPredictable(String),
    #[error("function '{0}' does not explain its answers: it exports no nocti:function/explainer")]
    NotExplainable(String),
    #[error("function '{0}' does not speak HTTP: call it at /v2/models/{0}/infer")]
    NotHttp(String),
}

/// Lets a request in. One of the wrong kind must not wake anything, and one too many must not take memory.
pub fn begin(host: &Host, target: &Target, manner: Manner) -> Result<Begun, InvokeError> {
    // Alias and traffic weights become an immutable version; it sets the time.
    let version = host.catalog.resolve(&target.function, target.version.as_deref())?;
    match (version.record.kind, manner) {
        (FunctionKind::Http, Manner::Http) | (FunctionKind::ModelOnly | FunctionKind::Typed, Manner::Tensors) => {}
        (FunctionKind::Http, Manner::Tensors) => {
            return Err(InvokeError::NotPredictable(version.function.to_string()));
        }
        (FunctionKind::ModelOnly | FunctionKind::Typed, Manner::Http) => {
            return Err(InvokeError::NotHttp(version.function.to_string()));
        }
    }
    let limits = &version.manifest.limits;
    let (due, held) = (Deadline::after(limits.timeout), host.admit.hold(version.digest, limits.concurrency)?);
    Ok(Begun { version, due, held })
}

/// Answers a call. Dropping the future cancels the work, wherever it is.
pub async fn invoke<B>(host: &Host, begun: Begun, call: Call<B>) -> Result<Reply, InvokeError>
where
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<HttpError>,
{
    let Begun { version, due, held } = begun;
    let function = || version.function.to_string();
    let permit = held.enter(due).await?;
    let live = due.bound(host.lifecycle.wake(&version)).await?;
    if !host.catalog.has(&version) {
        // Deleted after it was resolved: this request is the last that may use it.
        host.lifecycle.forget(&version.digest);
    }
    let live = live.map_err(|source| InvokeError::Wake { function: function(), source })?;
    let guest = |source| match source {
        RuntimeError::Deadline(passed) => InvokeError::Deadline(passed),
        RuntimeError::NotExported(_) => InvokeError::NotExplainable(function()),
        source => InvokeError::Guest { function: function(), source },
    };

    match (&live.kind, call) {
        (Kind::ModelOnly(session), Call::Ask(Question::Predict, request)) => {
            let given = |name: &str| request.inputs.iter().any(|(input, _)| input == name);
            check::check_inputs(&function(), &session.signature_for(given), &request)?;
            let wanted = request.outputs;
            let outputs = due.bound(session.compute(request.inputs)).await??;
            let outputs = check::select_outputs(&function(), outputs, wanted.as_deref())?;
            Ok(Reply::Outputs { version, outputs })
        }
        (Kind::Typed(pool), Call::Ask(question, mut request)) => {
            let undeclared = Signature::default();
            let signature = version.record.signature.as_ref().unwrap_or(&undeclared);
            // The signature speaks of answers; what explains them is the function's own choice.
            let explained = (question == Question::Explain).then(|| request.outputs.take());
            check::check_given_inputs(&function(), signature, &request)?;
            let wanted = explained.unwrap_or_else(|| request.outputs.take());
            let lease = due.bound(host.lifecycle.check_out(pool)).await?.map_err(guest)?;
            let outputs = due.bound(typed::ask(lease, question, request)).await?.map_err(guest)?;
            if question == Question::Predict {
                check::check_outputs(&function(), signature, &outputs)?;
            }
            let outputs = check::select_outputs(&function(), outputs, wanted.as_deref())?;
            Ok(Reply::Outputs { version, outputs })
        }
        (Kind::Http(pool), Call::Http(request)) => {
            let lease = due.bound(host.lifecycle.check_out(pool)).await?.map_err(guest)?;
            let held = (permit, Arc::clone(&live));
            guest_http::handle(lease, request, due, held).await.map(Reply::Http).map_err(guest)
        }
        (Kind::ModelOnly(_), Call::Ask(Question::Explain, _)) => Err(InvokeError::NotExplainable(function())),
        (Kind::Http(_), Call::Ask(..)) => Err(InvokeError::NotPredictable(function())),
        (Kind::ModelOnly(_) | Kind::Typed(_), Call::Http(_)) => Err(InvokeError::NotHttp(function())),
    }
}
