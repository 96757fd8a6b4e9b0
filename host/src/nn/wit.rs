//! `wasi:nn` 0.2.0-rc-2024-10-28 for guests: handles to tensors and sessions that stay on the host's side.
//!
//! No ONNX Runtime types here. A guest's mistake (a wrong shape, type or name) is an error value to the guest; only a
//! handle that does not exist traps. Handles live in the instance's resource table and end with it at the latest.

use std::collections::HashMap;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Weak};

use bytes::Bytes;
use wasmtime::component::{HasData, Linker, Resource, ResourceTable};

use super::{Model, Models, NnError};
use crate::registry::device::Device;
use crate::tensor::Tensor;

mod tensor;

pub use tensor::{GuestTensor, wasi_type};

mod generated {
    wasmtime::component::bindgen!({
        path: "../wit",
        world: "nocti:function/host-imports",
        imports: {
            "wasi:nn/inference@0.2.0-rc-2024-10-28.[method]graph-execution-context.compute": async | trappable,
            "wasi:nn/graph@0.2.0-rc-2024-10-28.load": async | trappable,
            default: trappable,
        },
        with: {
            "wasi:nn/tensor@0.2.0-rc-2024-10-28.tensor": super::GuestTensor,
            "wasi:nn/graph@0.2.0-rc-2024-10-28.graph": super::Graph,
            "wasi:nn/inference@0.2.0-rc-2024-10-28.graph-execution-context": super::Context,
            "wasi:nn/errors@0.2.0-rc-2024-10-28.error": super::Fault,
        },
    });
}

pub use generated::wasi::nn as bindings;
use generated::wasi::nn::{errors, graph, inference};

/// What one instance may reach of the model plane.
pub struct NnState {
    models: Arc<Models>,
    /// The bundle's models by name.
    by_name: Arc<HashMap<String, Arc<Model>>>,
    /// Sessions the guest loaded from bytes of its own, for the budget.
    private: Vec<Weak<Model>>,
    /// Bytes of models the guest may hold loaded that way at once, and of tensors.
    budget_bytes: u64,
    /// Bytes of the tensors it holds.
    held_bytes: Arc<AtomicU64>,
}

impl NnState {
    /// `by_name` are the bundle's models; `budget_bytes` bounds those the guest loads itself and the tensors it holds.
    pub fn new(models: Arc<Models>, by_name: Arc<HashMap<String, Arc<Model>>>, budget_bytes: u64) -> Self {
        Self { models, by_name, private: Vec::new(), budget_bytes, held_bytes: Arc::default() }
    }
}

/// Each is a thread of the host's, whatever its size.
const MAX_PRIVATE_SESSIONS: usize = 8;

/// Gives the store's data a view of its `wasi:nn` part.
pub trait NnView: Send {
    fn nn(&mut self) -> NnCtx<'_>;
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

/// Adds the four `wasi:nn` interfaces to a linker.
pub fn add_to_linker<T: NnView + 'static>(linker: &mut Linker<T>) -> wasmtime::Result<()> {
    bindings::tensor::add_to_linker::<T, HasNn>(linker, T::nn)?;
    graph::add_to_linker::<T, HasNn>(linker, T::nn)?;
    inference::add_to_linker::<T, HasNn>(linker, T::nn)?;
    errors::add_to_linker::<T, HasNn>(linker, T::nn)
}

/// A model as a guest holds it.
pub struct Graph(Arc<Model>);

/// A graph bound for computing; `wasi:nn` wants it apart from the graph.
pub struct Context(Arc<Model>);

/// An error handle.
pub struct Fault {
    code: errors::ErrorCode,
    text: String,
}

impl From<NnError> for Fault {
    fn from(error: NnError) -> Self {
        use errors::ErrorCode;
        let code = match &error {
            NnError::InvalidModel { .. } => ErrorCode::InvalidEncoding,
            // The interface's words: "cannot access a hardware feature requested".
            NnError::Device { .. } => ErrorCode::Security,
            NnError::InvalidInput(_) => ErrorCode::InvalidArgument,
            NnError::Unsupported(_) => ErrorCode::UnsupportedOperation,
            NnError::Run { .. } => ErrorCode::RuntimeError,
            NnError::Ended(_) => ErrorCode::Unknown,
        };
        Self { code, text: error.to_string() }
    }
}

impl NnCtx<'_> {
    /// The inner result is the guest's, the outer one traps.
    fn answer<T>(&mut self, result: Result<T, Fault>) -> wasmtime::Result<Result<T, Resource<Fault>>> {
        Ok(match result {
            Ok(value) => Ok(value),
            Err(fault) => Err(self.table.push(fault)?),
        })
    }

    async fn load_bytes(&mut self, bytes: Vec<u8>, target: graph::ExecutionTarget) -> Result<Graph, Fault> {
        let wish = match target {
            graph::ExecutionTarget::Cpu => Device::Cpu,
            graph::ExecutionTarget::Gpu => Device::Cuda(None),
            graph::ExecutionTarget::Tpu => return Err(NnError::Unsupported("there are no TPUs here".into()).into()),
        };
        self.state.private.retain(|session| session.strong_count() > 0);
        if self.state.private.len() >= MAX_PRIVATE_SESSIONS {
            let text = format!("an instance may hold {MAX_PRIVATE_SESSIONS} models that it loaded from bytes");
            return Err(Fault { code: errors::ErrorCode::TooLarge, text });
        }
        let held: u64 =
            self.state.private.iter().filter_map(Weak::upgrade).map(|model| model.session().size_bytes()).sum();
        if held.saturating_add(bytes.len() as u64) > self.state.budget_bytes {
            let text = format!(
                "a model of {} bytes does not fit: {held} of {} bytes are taken (limits.memory)",
                bytes.len(),
                self.state.budget_bytes
            );
            return Err(Fault { code: errors::ErrorCode::TooLarge, text });
        }
        let model = self.state.models.open_private("loaded from bytes", Bytes::from(bytes), wish).await?;
        let model = Arc::new(model);
        self.state.private.push(Arc::downgrade(&model));
        Ok(Graph(model))
    }

    async fn compute(
        &mut self,
        session: &Model,
        inputs: Vec<(String, Resource<GuestTensor>)>,
    ) -> wasmtime::Result<Result<Vec<(String, Tensor)>, Fault>> {
        let mut tensors = Vec::with_capacity(inputs.len());
        let mut malformed = None;
        for (name, handle) in inputs {
            // Owned handles: all must leave the table, also after the first mistake.
            match self.table.delete(handle)?.into_tensor() {
                Ok(tensor) => tensors.push((input_name(session, name), tensor)),
                Err(error) => malformed = Some(NnError::InvalidInput(format!("input '{name}': {error}"))),
            }
        }
        if let Some(error) = malformed {
            return Ok(Err(error.into()));
        }
        let outputs = match session.compute(tensors).await {
            Ok(outputs) => outputs,
            Err(error) => return Ok(Err(error.into())),
        };
        Ok(match outputs.iter().find(|(_, output)| wasi_type(output.datatype()).is_none()) {
            Some((name, output)) => Err(NnError::Unsupported(format!(
                "output '{name}' is of type {}, for which wasi:nn has no tensor type",
                output.datatype()
            ))
            .into()),
            None => Ok(outputs),
        })
    }
}

/// Inputs go by name or, as other hosts allow, by position in decimal.
fn input_name(session: &Model, name: String) -> String {
    let inputs = &session.signature().inputs;
    if inputs.iter().any(|spec| spec.name == name) {
        return name;
    }
    name.parse::<usize>().ok().and_then(|index| inputs.get(index)).map_or(name, |spec| spec.name.clone())
}

// === the generated interfaces ===

impl graph::Host for NnCtx<'_> {
    async fn load(
        &mut self,
        mut builder: Vec<Vec<u8>>,
        encoding: graph::GraphEncoding,
        target: graph::ExecutionTarget,
    ) -> wasmtime::Result<Result<Resource<Graph>, Resource<Fault>>> {
        let result = match encoding {
            graph::GraphEncoding::Onnx | graph::GraphEncoding::Autodetect => match (builder.pop(), builder.len()) {
                (Some(bytes), 0) => self.load_bytes(bytes, target).await,
                (None, _) => Err(NnError::InvalidInput("an ONNX model is one builder, got none".into()).into()),
                (Some(_), others) => {
                    Err(NnError::InvalidInput(format!("an ONNX model is one builder, got {}", others + 1)).into())
                }
            },
            other => Err(Fault {
                code: errors::ErrorCode::InvalidEncoding,
                text: format!("this host runs ONNX models, not {other:?}"),
            }),
        };
        let result = match result {
            Ok(graph) => Ok(self.table.push(graph)?),
            Err(fault) => Err(fault),
        };
        self.answer(result)
    }

    fn load_by_name(&mut self, name: String) -> wasmtime::Result<Result<Resource<Graph>, Resource<Fault>>> {
        let result = match self.state.by_name.get(&name) {
            Some(session) => Ok(self.table.push(Graph(Arc::clone(session)))?),
            None => {
                let mut known: Vec<_> = self.state.by_name.keys().map(|name| format!("'{name}'")).collect();
                known.sort();
                let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
                let text = format!("there is no model '{name}' in the bundle; it has {known}");
                Err(Fault { code: errors::ErrorCode::NotFound, text })
            }
        };
        self.answer(result)
    }
}

impl graph::HostGraph for NnCtx<'_> {
    fn init_execution_context(
        &mut self,
        handle: Resource<Graph>,
    ) -> wasmtime::Result<Result<Resource<Context>, Resource<Fault>>> {
        let session = Arc::clone(&self.table.get(&handle)?.0);
        Ok(Ok(self.table.push(Context(session))?))
    }

    fn drop(&mut self, handle: Resource<Graph>) -> wasmtime::Result<()> {
        self.table.delete(handle)?;
        Ok(())
    }
}

impl inference::Host for NnCtx<'_> {}

impl inference::HostGraphExecutionContext for NnCtx<'_> {
    async fn compute(
        &mut self,
        handle: Resource<Context>,
        inputs: Vec<(String, Resource<GuestTensor>)>,
    ) -> wasmtime::Result<Result<Vec<(String, Resource<GuestTensor>)>, Resource<Fault>>> {
        let session = Arc::clone(&self.table.get(&handle)?.0);
        let result = match NnCtx::compute(self, &session, inputs).await? {
            Ok(outputs) => {
                let mut handles = Vec::with_capacity(outputs.len());
                for (name, output) in outputs {
                    handles.push((name, self.push(output)?));
                }
                Ok(handles)
            }
            Err(fault) => Err(fault),
        };
        self.answer(result)
    }

    fn drop(&mut self, handle: Resource<Context>) -> wasmtime::Result<()> {
        self.table.delete(handle)?;
        Ok(())
    }
}

impl errors::Host for NnCtx<'_> {}

impl errors::HostError for NnCtx<'_> {
    fn code(&mut self, handle: Resource<Fault>) -> wasmtime::Result<errors::ErrorCode> {
        Ok(self.table.get(&handle)?.code)
    }

    fn data(&mut self, handle: Resource<Fault>) -> wasmtime::Result<String> {
        Ok(self.table.get(&handle)?.text.clone())
    }

    fn drop(&mut self, handle: Resource<Fault>) -> wasmtime::Result<()> {
        self.table.delete(handle)?;
        Ok(())
    }
}
