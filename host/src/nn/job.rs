//! One run of a model, from the caller's request to the owner thread's answer.
//!
//! A job ends by being answered or by being dropped: dropping the caller's `Ticket` takes a waiting job out of the queue
//! (the owner skips it when it gets there) and terminates a running one, so a deadline or a closed connection needs nothing but a drop.

use std::sync::Arc;

use ort::ErrorCode;
use ort::session::RunOptions;
use ort::session::Session as OrtSession;
use tokio::sync::oneshot;

use super::{NnError, value};
use crate::tensor::Tensor;

/// Outputs under their names, in the model's order.
pub type Outputs = Vec<(String, Tensor)>;

/// What the owner thread gets.
pub(super) struct Job {
    inputs: Vec<(String, Tensor)>,
    run: Arc<RunOptions>,
    answer: oneshot::Sender<Result<Outputs, NnError>>,
}

/// What the caller awaits.
pub(super) struct Ticket {
    answer: oneshot::Receiver<Result<Outputs, NnError>>,
    _run: Terminate,
}

/// Ends a run when dropped. After the run that is harmless: options are never used twice.
pub(super) struct Terminate(pub(super) Arc<RunOptions>);

impl Drop for Terminate {
    fn drop(&mut self) {
        let _ = self.0.terminate();
    }
}

impl Job {
    /// A job with inputs that were checked against the model.
    pub(super) fn new(model: &str, inputs: Vec<(String, Tensor)>) -> Result<(Self, Ticket), NnError> {
        let run = RunOptions::new().map(Arc::new).map_err(|error| run_error(model, &error))?;
        let (sender, receiver) = oneshot::channel();
        Ok((Self { inputs, run: Arc::clone(&run), answer: sender }, Ticket { answer: receiver, _run: Terminate(run) }))
    }

    /// Runs the model, unless nobody waits for the answer any more.
    pub(super) fn execute(self, model: &str, session: &mut OrtSession) {
        if self.answer.is_closed() {
            return;
        }
        let result = run(model, session, &self.inputs, &self.run);
        // The caller may have gone in the meantime; then nobody misses the answer.
        let _ = self.answer.send(result);
    }
}

/// Runs a model on this thread.
pub(super) fn run(
    model: &str,
    session: &mut OrtSession,
    inputs: &[(String, Tensor)],
    options: &RunOptions,
) -> Result<Outputs, NnError> {
    // What is lent to ONNX Runtime stays here until its outputs have been looked at.
    let lent: Vec<Tensor> = inputs.iter().map(|(_, tensor)| value::aligned(tensor)).collect();
    let mut values = Vec::with_capacity(inputs.len());
    for ((name, _), tensor) in inputs.iter().zip(&lent) {
        values.push((name.as_str(), value::to_ort(name, tensor)?));
    }
    let outputs = session.run_with_options(values, options).map_err(|error| run_error(model, &error))?;
    outputs.into_iter().map(|(name, output)| Ok((name.to_owned(), value::from_ort(name, output, &lent)?))).collect()
}

/// ONNX Runtime finds some mistakes of the caller's only on the way, and says so by its code.
fn run_error(model: &str, error: &ort::Error) -> NnError {
    let reason = without_source_location(&error.to_string());
    match error.code() {
        ErrorCode::InvalidArgument => NnError::InvalidInput(format!("model '{model}' refuses its inputs: {reason}")),
        _ => NnError::Run { model: model.to_owned(), reason },
    }
}

/// ONNX Runtime begins some messages with a path of its own sources, which means nothing to anybody here.
pub(super) fn without_source_location(message: &str) -> String {
    message.split_whitespace().filter(|word| !word.starts_with("/onnxruntime_src")).collect::<Vec<_>>().join(" ")
}

impl Ticket {
    pub(super) async fn outputs(mut self, model: &str) -> Result<Outputs, NnError> {
        (&mut self.answer).await.unwrap_or_else(|_| Err(NnError::Ended(model.to_owned())))
    }
}
