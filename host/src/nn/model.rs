//! A model as a version or a guest holds it: its name there, how its jobs are to be run, and the session that it shares.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::NnError;
use super::held::{AnyTensor, Shaped};
use super::job::{Caller, Inputs, KeptOutputs, Outputs};
use super::queue::LaneId;
use super::session::{Policy, Session};
use crate::telemetry::Usage;
use crate::tensor::{Signature, TensorSpec};

/// One user's hold on a session. Its jobs take turns with those of the session's other users.
pub struct Model {
    name: String,
    session: Arc<Session>,
    policy: Policy,
    caller: Caller,
}

impl Model {
    /// `name` is what the user calls the model, for messages; `usage` is where its runs are counted.
    pub fn new(name: &str, session: Arc<Session>, policy: Policy, usage: Option<Arc<Usage>>) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let caller = Caller { lane: LaneId(NEXT.fetch_add(1, Ordering::Relaxed)), usage };
        Self { name: name.to_owned(), session, policy, caller }
    }

    /// Runs the model once. Inputs that do not fit are refused before they reach the queue; dropping the future cancels.
    pub async fn compute(&self, inputs: Inputs) -> Result<Outputs, NnError> {
        let inputs = self.fit(inputs)?;
        self.session.compute(&self.caller, self.policy, inputs).await.map_err(|error| error.of(&self.name))
    }

    /// The same for inputs that may lie on a device, and with outputs that stay on the model's until they are read.
    /// Inputs that lie there as well go in as they are; from any other device they come through the host's memory.
    pub async fn compute_keeping(&self, mut inputs: Vec<(String, AnyTensor)>) -> Result<KeptOutputs, NnError> {
        let device = self.session.device();
        for (_, input) in &mut inputs {
            if let AnyTensor::Held(held) = input
                && (held.device() != device || !device.has_own_memory())
            {
                *input = AnyTensor::Host(held.fetch().await?);
            }
        }
        if device.has_own_memory() {
            let inputs = self.fit(inputs)?;
            let outputs = self.session.compute_keeping(&self.caller, self.policy, inputs).await;
            return outputs.map_err(|error| error.of(&self.name));
        }
        let on_host = |(name, input): (String, AnyTensor)| (name, input.on_host().expect("all others were fetched"));
        let outputs = self.compute(inputs.into_iter().map(on_host).collect()).await?;
        Ok(outputs.into_iter().map(|(name, output)| (name, output.into())).collect())
    }

    /// Inputs and outputs as the model declares them.
    pub fn signature(&self) -> &Signature {
        self.session.signature()
    }

    /// The session, which others may use as well.
    pub fn session(&self) -> &Arc<Session> {
        &self.session
    }

    /// The inputs in the model's order, if they are the model's.
    fn fit<T: Shaped>(&self, mut inputs: Vec<(String, T)>) -> Result<Vec<(String, T)>, NnError> {
        let required = &self.signature().inputs;
        for (at, (name, _)) in inputs.iter().enumerate() {
            if inputs[..at].iter().any(|(earlier, _)| earlier == name) {
                return refuse(format!("input '{name}' for model '{}' is given twice", self.name));
            }
        }
        for (name, tensor) in &inputs {
            let Some(spec) = self.specs().find(|spec| spec.name == *name) else {
                let known: Vec<_> = required.iter().map(|spec| format!("'{}'", spec.name)).collect();
                let known = known.join(", ");
                return refuse(format!("model '{}' has no input '{name}'; it takes {known}", self.name));
            };
            if spec.datatype != tensor.datatype() {
                return refuse(format!(
                    "inference input '{name}' data-type is '{}', but model '{}' expects '{}'",
                    tensor.datatype(),
                    self.name,
                    spec.datatype
                ));
            }
            if !spec.admits(tensor.shape()) {
                return refuse(format!(
                    "unexpected shape for input '{name}' for model '{}'. Expected {:?}, got {:?}",
                    self.name,
                    spec.shape,
                    tensor.shape()
                ));
            }
        }
        if let Some(missing) = required.iter().find(|spec| !inputs.iter().any(|(name, _)| *name == spec.name)) {
            return refuse(format!("missing required input '{}' for model '{}'", missing.name, self.name));
        }
        // Jobs with the same inputs in another order can share a run.
        if inputs.len() > 1 {
            inputs.sort_by_cached_key(|(name, _)| self.specs().position(|spec| spec.name == *name));
        }
        Ok(inputs)
    }

    fn specs(&self) -> impl Iterator<Item = &TensorSpec> {
        self.signature().inputs.iter().chain(self.session.optional())
    }
}

fn refuse<T>(text: String) -> Result<T, NnError> {
    Err(NnError::InvalidInput(text))
}
