//! One run of a model on the thread that asks for it.

use std::borrow::Cow;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use ort::ErrorCode;
use ort::session::{RunOptions, Session as OrtSession, SessionInputs};

use super::device::Target;
use super::held::{AnyTensor, Held};
use super::job::{Inputs, KeptOutputs, Outputs};
use super::session::Session;
use super::{NnError, value};

/// Why a run gave no outputs. It does not know what its caller calls the model.
#[derive(Debug)]
pub(super) enum RunError {
    /// ONNX Runtime found that the inputs do not go together, which nobody could see before.
    Refused(String),
    /// ONNX Runtime failed.
    Failed(String),
    /// A tensor cannot go in or come out.
    Tensor(NnError),
    /// The session ended while the job was with it.
    Ended,
}

/// Runs the model. Inputs fit it, as far as its declarations say. A panic is an error of this run alone.
pub(super) fn run(
    session: &mut OrtSession,
    inputs: &Inputs,
    options: Option<&RunOptions>,
) -> Result<Outputs, RunError> {
    guarded(|| run_unguarded(session, inputs, options))
}

/// The same, but outputs stay on the device of `owner`, whose ONNX Runtime session this is, and so may `held` inputs.
pub(super) fn run_keeping(
    session: &mut OrtSession,
    inputs: &Inputs,
    held: &[(String, Held)],
    owner: &Arc<Session>,
    options: &RunOptions,
) -> Result<KeptOutputs, RunError> {
    guarded(|| run_bound(session, inputs, held, owner, options))
}

fn guarded<T>(run: impl FnOnce() -> Result<T, RunError>) -> Result<T, RunError> {
    catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|_| {
        tracing::error!("a run panicked");
        Err(RunError::Failed("the run broke off; the host's log says more".into()))
    })
}

fn run_unguarded(session: &mut OrtSession, inputs: &Inputs, options: Option<&RunOptions>) -> Result<Outputs, RunError> {
    // What is lent to ONNX Runtime stays here until its outputs have been looked at.
    let lent: Vec<_> = inputs.iter().map(|(_, tensor)| value::aligned(tensor)).collect();
    let mut values = Vec::with_capacity(inputs.len());
    for ((name, _), tensor) in inputs.iter().zip(&lent) {
        values.push((Cow::Borrowed(name.as_str()), value::to_ort(name, tensor).map_err(RunError::Tensor)?));
    }
    let values = SessionInputs::<0>::ValueMap(values);
    let outputs = match options {
        Some(options) => session.run_with_options(values, options),
        None => session.run(values),
    };
    let take = |(name, output): (&str, _)| Ok((name.to_owned(), value::from_ort(name, output, &lent)?));
    outputs
        .map_err(|error| run_error(&error))?
        .into_iter()
        .map(take)
        .collect::<Result<_, _>>()
        .map_err(RunError::Tensor)
}

fn run_bound(
    session: &mut OrtSession,
    inputs: &Inputs,
    held: &[(String, Held)],
    owner: &Arc<Session>,
    options: &RunOptions,
) -> Result<KeptOutputs, RunError> {
    let failed = |error: ort::Error| run_error(&error);
    // A binding of its own for each run: one that is used again writes where the last run's outputs are.
    let mut binding = session.create_binding().map_err(failed)?;
    for (name, tensor) in inputs {
        let value = value::copied_to_ort(name, tensor).map_err(RunError::Tensor)?;
        binding.bind_input(name, &value).map_err(failed)?;
    }
    for (name, tensor) in held {
        binding.bind_input(name, tensor.value()).map_err(failed)?;
    }
    let (device, host) = (owner.device().memory().map_err(failed)?, Target::Cpu.memory().map_err(failed)?);
    for spec in &owner.signature().outputs {
        let memory = if Held::can_be(spec.datatype) { &device } else { &host };
        binding.bind_output_to_device(&spec.name, memory).map_err(failed)?;
    }
    binding.synchronize_inputs().map_err(failed)?;
    let outputs = session.run_binding_with_options(&binding, options).map_err(failed)?;
    let keep = |(name, output): (&str, _)| {
        let refused = |reason| RunError::Tensor(NnError::Unsupported(format!("output '{name}' {reason}")));
        let (datatype, _) = value::kind(&output).map_err(refused)?;
        let output = if Held::can_be(datatype) {
            AnyTensor::Held(Held::new(output, owner).map_err(refused)?)
        } else {
            AnyTensor::Host(value::from_ort(name, output, &[]).map_err(RunError::Tensor)?)
        };
        Ok((name.to_owned(), output))
    };
    outputs.into_iter().map(keep).collect()
}

/// ONNX Runtime finds some mistakes of the caller's only on the way, and says so by its code.
fn run_error(error: &ort::Error) -> RunError {
    let reason = without_source_location(&error.to_string());
    match error.code() {
        ErrorCode::InvalidArgument => RunError::Refused(reason),
        _ => RunError::Failed(reason),
    }
}

/// ONNX Runtime begins some messages with a path of its own sources, which means nothing to anybody here.
pub(super) fn without_source_location(message: &str) -> String {
    message.split_whitespace().filter(|word| !word.starts_with("/onnxruntime_src")).collect::<Vec<_>>().join(" ")
}

impl RunError {
    /// As the model's user is told.
    pub(super) fn of(self, model: &str) -> NnError {
        match self {
            Self::Refused(reason) => NnError::InvalidInput(format!("model '{model}' refuses its inputs: {reason}")),
            Self::Failed(reason) => NnError::Run { model: model.to_owned(), reason },
            Self::Tensor(error) => error,
            Self::Ended => NnError::Ended(model.to_owned()),
        }
    }
}
