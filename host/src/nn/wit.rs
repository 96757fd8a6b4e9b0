//! `wasi:nn` for guests: handles to tensors and sessions that stay on the host's side, in the two dialects that published
//! bindings speak.
//!
//! Here is what the dialects share: what a guest may reach and hold, and the verbs on it. `latest` and `older` only put them
//! into their dialect's words. No ONNX Runtime types here. A guest's mistake (a wrong shape, type or name) is an error value
//! to the guest; only a handle that does not exist traps. Handles live in the instance's resource table and end with it at
//! the latest.

use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Weak};

use bytes::Bytes;
use tokio_util::sync::CancellationToken;
use wasmtime::component::{GuestTaskId, HasData, Linker, Resource, ResourceTable};

use super::held::AnyTensor;
use super::{Model, Models, Named, NnError};
use crate::registry::device::Device;

mod concurrent;
mod latest;
mod older;
mod tensor;

pub use latest::bindings;
pub use tensor::{GuestTensor, wasi_type};

use bindings::errors::ErrorCode;
use bindings::graph::{ExecutionTarget, GraphEncoding};

/// What one instance may reach of the model plane.
pub struct NnState {
    models: Arc<Models>,
    /// The bundle's models by name.
    named: Arc<Named>,
    /// Models the guest loaded from bytes of its own, for the budget.
    private: Vec<Weak<Model>>,
    /// Bytes of models the guest may hold loaded that way at once, and of tensors.
    budget_bytes: u64,
    /// Bytes of the tensors it holds.
    held_bytes: Arc<AtomicU64>,
}

impl NnState {
    /// `named` are the bundle's models; `budget_bytes` bounds those the guest loads itself and the tensors it holds.
    pub fn new(models: Arc<Models>, named: Arc<Named>, budget_bytes: u64) -> Self {
        Self { models, named, private: Vec::new(), budget_bytes, held_bytes: Arc::default() }
    }

    /// Whether the guest holds models that it loaded from bytes.
    pub fn holds_private_models(&self) -> bool {
        self.private.iter().any(|model| model.strong_count() > 0)
    }
}

/// Each takes memory of the host's beside its size.
const MAX_PRIVATE_SESSIONS: usize = 8;

/// Gives the store's data a view of its `wasi:nn` part.
pub trait NnView: Send {
    fn nn(&mut self) -> NnCtx<'_>;

    /// Cancelled when nobody waits any more for the request that this task was begun for.
    fn abandoned(&self, task: GuestTaskId) -> Option<CancellationToken>;
}

/// The `wasi:nn` part of a store with the table that its handles live in.
pub struct NnCtx<'a> {
    pub state: &'a mut NnState,
    pub table: &'a mut ResourceTable,
}

struct HasNn;

impl HasData for HasNn {
    type Data<'a> = NnCtx<'a>;
}

/// Adds the four `wasi:nn` interfaces of each dialect to a linker.
pub fn add_to_linker<T: NnView + 'static>(linker: &mut Linker<T>) -> wasmtime::Result<()> {
    latest::add_to_linker(linker)?;
    older::add_to_linker(linker)
}

/// Adds the `compute` that suspends its own request alone, for guests that serve several.
pub fn add_concurrent_to_linker<T: NnView + 'static>(linker: &mut Linker<T>) -> wasmtime::Result<()> {
    concurrent::add_to_linker(linker)
}

/// A model as a guest holds it.
pub struct Graph(Arc<Model>);

/// An error handle.
pub struct Fault {
    code: ErrorCode,
    text: String,
}

impl From<NnError> for Fault {
    fn from(error: NnError) -> Self {
        let code = match &error {
            NnError::InvalidModel { .. } => ErrorCode::InvalidEncoding,
            // The interface's words: "cannot access a hardware feature requested".
            NnError::Device { .. } => ErrorCode::Security,
            NnError::InvalidInput(_) => ErrorCode::InvalidArgument,
            NnError::Unsupported(_) => ErrorCode::UnsupportedOperation,
            NnError::Run { .. } => ErrorCode::RuntimeError,
            NnError::NoMemory { .. } => ErrorCode::TooLarge,
            NnError::Ended(_) => ErrorCode::Unknown,
        };
        Self { code, text: error.to_string() }
    }
}

/// What a dialect's function gives: the inner result is the guest's, the outer one traps.
type Answer<T> = wasmtime::Result<Result<T, Resource<Fault>>>;

impl NnCtx<'_> {
    fn answer<T>(&mut self, result: Result<T, Fault>) -> Answer<T> {
        Ok(match result {
            Ok(value) => Ok(value),
            Err(fault) => Err(self.table.push(fault)?),
        })
    }

    /// A handle of the value, or of what went wrong.
    fn answer_handle<T: Send + 'static>(&mut self, result: Result<T, Fault>) -> Answer<Resource<T>> {
        match result {
            Ok(value) => Ok(Ok(self.table.push(value)?)),
            Err(fault) => self.answer(Err(fault)),
        }
    }

    async fn load_graph(
        &mut self,
        mut builder: Vec<Vec<u8>>,
        encoding: GraphEncoding,
        target: ExecutionTarget,
    ) -> Result<Graph, Fault> {
        if !matches!(encoding, GraphEncoding::Onnx | GraphEncoding::Autodetect) {
            let text = format!("this host runs ONNX models, not {encoding:?}");
            return Err(Fault { code: ErrorCode::InvalidEncoding, text });
        }
        match (builder.pop(), builder.len()) {
            (Some(bytes), 0) => self.load_bytes(bytes, target).await,
            (None, _) => Err(NnError::InvalidInput("an ONNX model is one builder, got none".into()).into()),
            (Some(_), others) => {
                Err(NnError::InvalidInput(format!("an ONNX model is one builder, got {}", others + 1)).into())
            }
        }
    }

    async fn load_bytes(&mut self, bytes: Vec<u8>, target: ExecutionTarget) -> Result<Graph, Fault> {
        let wish = match target {
            ExecutionTarget::Cpu => Device::Cpu,
            ExecutionTarget::Gpu => Device::Cuda(None),
            ExecutionTarget::Tpu => return Err(NnError::Unsupported("there are no TPUs here".into()).into()),
        };
        self.state.private.retain(|model| model.strong_count() > 0);
        if self.state.private.len() >= MAX_PRIVATE_SESSIONS {
            let text = format!("an instance may hold {MAX_PRIVATE_SESSIONS} models that it loaded from bytes");
            return Err(Fault { code: ErrorCode::TooLarge, text });
        }
        let held: u64 =
            self.state.private.iter().filter_map(Weak::upgrade).map(|model| model.session().file_bytes()).sum();
        if held.saturating_add(bytes.len() as u64) > self.state.budget_bytes {
            let text = format!(
                "a model of {} bytes does not fit: {held} of {} bytes are taken (limits.memory)",
                bytes.len(),
                self.state.budget_bytes
            );
            return Err(Fault { code: ErrorCode::TooLarge, text });
        }
        let model = self.state.models.open_private("loaded from bytes", Bytes::from(bytes), wish).await?;
        let model = Arc::new(model);
        self.state.private.push(Arc::downgrade(&model));
        Ok(Graph(model))
    }

    fn graph_by_name(&self, name: &str) -> Result<Graph, Fault> {
        if let Some(model) = self.state.named.get(name) {
            return Ok(Graph(Arc::clone(model)));
        }
        let mut known: Vec<_> = self.state.named.names().map(|name| format!("'{name}'")).collect();
        known.sort();
        let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
        let text = format!("there is no model '{name}' in the bundle; it has {known}");
        Err(Fault { code: ErrorCode::NotFound, text })
    }

    /// Deletes a handle of any kind.
    fn let_go<T: 'static>(&mut self, handle: Resource<T>) -> wasmtime::Result<()> {
        self.table.delete(handle)?;
        Ok(())
    }
}

impl Graph {
    /// Runs the model; inputs go by their full names. Outputs stay on the model's device until they are read. All outputs are of types that `wasi:nn` has.
    async fn compute(&self, inputs: Vec<(String, AnyTensor)>) -> Result<Vec<(String, AnyTensor)>, Fault> {
        let outputs = self.0.compute_keeping(inputs).await?;
        match outputs.iter().find(|(_, output)| wasi_type(output.datatype()).is_none()) {
            Some((name, output)) => Err(NnError::Unsupported(format!(
                "output '{name}' is of type {}, for which wasi:nn has no tensor type",
                output.datatype()
            ))
            .into()),
            None => Ok(outputs),
        }
    }

    /// Inputs go by name or, as other hosts allow, by position in decimal: the name either way.
    fn input_name(&self, name: String) -> String {
        let inputs = &self.0.signature().inputs;
        if inputs.iter().any(|spec| spec.name == name) {
            return name;
        }
        name.parse::<usize>().ok().and_then(|index| inputs.get(index)).map_or(name, |spec| spec.name.clone())
    }

    /// Whether the model has an input of that name, one with a default included.
    fn takes(&self, name: &str) -> bool {
        self.0.session().signature_for(|optional| optional == name).inputs.iter().any(|spec| spec.name == name)
    }
}
