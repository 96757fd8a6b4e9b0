//! `wasi:nn` 0.2.0-rc-2024-08-19, which the bindings `wasi-nn` 0.7 speak: `set-input`, `compute`, `get-output`.
//!
//! It differs from the latest in `inference` alone; the other interfaces are the latest's under another version, and are
//! handed on to it. What a context holds is charged to the guest as if the guest held it.

use std::sync::Arc;

use wasmtime::component::{Linker, Resource};

use super::bindings as latest;
use super::{Answer, Fault, Graph, GuestTensor, HasNn, NnCtx, NnView};
use crate::nn::NnError;
use bindings::{errors, graph, inference, tensor};

mod generated {
    wasmtime::component::bindgen!({
        path: "../wit/wasi-nn-2024-08-19",
        world: "wasi:nn/ml",
        imports: {
            "wasi:nn/inference@0.2.0-rc-2024-08-19.[method]graph-execution-context.compute": async | trappable,
            "wasi:nn/graph@0.2.0-rc-2024-08-19.load": async | trappable,
            "wasi:nn/tensor@0.2.0-rc-2024-08-19.[method]tensor.data": async | trappable,
            default: trappable,
        },
        with: {
            "wasi:nn/tensor@0.2.0-rc-2024-08-19.tensor": crate::nn::wit::GuestTensor,
            "wasi:nn/graph@0.2.0-rc-2024-08-19.graph": crate::nn::wit::Graph,
            "wasi:nn/inference@0.2.0-rc-2024-08-19.graph-execution-context": super::Context,
            "wasi:nn/errors@0.2.0-rc-2024-08-19.error": crate::nn::wit::Fault,
        },
    });
}

use generated::wasi::nn as bindings;

pub(super) fn add_to_linker<T: NnView + 'static>(linker: &mut Linker<T>) -> wasmtime::Result<()> {
    tensor::add_to_linker::<T, HasNn>(linker, T::nn)?;
    graph::add_to_linker::<T, HasNn>(linker, T::nn)?;
    inference::add_to_linker::<T, HasNn>(linker, T::nn)?;
    errors::add_to_linker::<T, HasNn>(linker, T::nn)
}

// === what is this dialect's own ===

/// A graph with what was set for its next run and what its last one gave.
#[expect(unreachable_pub, reason = "generated code exports it again")]
pub struct Context {
    graph: Graph,
    /// By their full names, each at most once. They stay for further runs until they are replaced.
    inputs: Vec<(String, GuestTensor)>,
    /// Empty before the first run and after one that failed.
    outputs: Vec<(String, GuestTensor)>,
}

impl Context {
    fn new(graph: &Graph) -> Self {
        Self { graph: Graph(Arc::clone(&graph.0)), inputs: Vec::new(), outputs: Vec::new() }
    }

    /// Only inputs of the model are kept, so that a guest cannot make the host keep more names than the model has.
    fn set_input(&mut self, name: String, tensor: GuestTensor) -> Result<(), NnError> {
        tensor.tensor().map_err(|error| NnError::InvalidInput(format!("input '{name}': {error}")))?;
        let name = self.graph.input_name(name);
        if !self.graph.takes(&name) {
            let known = quoted(self.graph.0.signature().inputs.iter().map(|spec| spec.name.as_str()));
            return Err(NnError::InvalidInput(format!("the model has no input '{name}'; it takes {known}")));
        }
        self.inputs.retain(|(set, _)| *set != name);
        self.inputs.push((name, tensor));
        Ok(())
    }

    /// An output of the last run, by name or position. It can be had again.
    fn output(&self, name: &str) -> Result<GuestTensor, Fault> {
        if self.outputs.is_empty() {
            let text = "there are no outputs before `compute` has succeeded".into();
            return Err(Fault { code: latest::errors::ErrorCode::RuntimeError, text });
        }
        let by_name = self.outputs.iter().find(|(output, _)| output == name);
        let found = by_name.or_else(|| self.outputs.get(name.parse::<usize>().ok()?));
        found.map(|(_, tensor)| tensor.clone()).ok_or_else(|| {
            let known = quoted(self.outputs.iter().map(|(name, _)| name.as_str()));
            NnError::InvalidInput(format!("the model has no output '{name}'; it gives {known}")).into()
        })
    }
}

fn quoted<'a>(names: impl Iterator<Item = &'a str>) -> String {
    names.map(|name| format!("'{name}'")).collect::<Vec<_>>().join(", ")
}

impl inference::Host for NnCtx<'_> {}

impl inference::HostGraphExecutionContext for NnCtx<'_> {
    fn set_input(&mut self, handle: Resource<Context>, name: String, tensor: Resource<GuestTensor>) -> Answer<()> {
        let tensor = self.table.delete(tensor)?;
        let set = self.table.get_mut(&handle)?.set_input(name, tensor);
        self.answer(set.map_err(Fault::from))
    }

    async fn compute(&mut self, handle: Resource<Context>) -> Answer<()> {
        let context = self.table.get_mut(&handle)?;
        // What nobody can get any more needs no room during the run.
        context.outputs.clear();
        let graph = Graph(Arc::clone(&context.graph.0));
        let inputs = context.inputs.iter().map(|(name, input)| Ok((name.clone(), input.tensor()?.clone())));
        let inputs = inputs.collect::<Result<Vec<_>, crate::tensor::TensorError>>()?;
        let outputs = match graph.compute(inputs).await {
            Ok(outputs) => outputs,
            Err(fault) => return self.answer(Err(fault)),
        };
        let outputs = outputs.into_iter().map(|(name, output)| Ok((name, self.charged(output)?)));
        let outputs = outputs.collect::<wasmtime::Result<_>>()?;
        self.table.get_mut(&handle)?.outputs = outputs;
        Ok(Ok(()))
    }

    fn get_output(&mut self, handle: Resource<Context>, name: String) -> Answer<Resource<GuestTensor>> {
        let output = self.table.get(&handle)?.output(&name);
        self.answer_handle(output)
    }

    fn drop(&mut self, handle: Resource<Context>) -> wasmtime::Result<()> {
        self.let_go(handle)
    }
}

// === what is the latest's ===

impl graph::Host for NnCtx<'_> {
    async fn load(
        &mut self,
        builder: Vec<Vec<u8>>,
        encoding: graph::GraphEncoding,
        target: graph::ExecutionTarget,
    ) -> Answer<Resource<Graph>> {
        latest::graph::Host::load(self, builder, encoding.into(), target.into()).await
    }

    fn load_by_name(&mut self, name: String) -> Answer<Resource<Graph>> {
        latest::graph::Host::load_by_name(self, name)
    }
}

impl graph::HostGraph for NnCtx<'_> {
    fn init_execution_context(&mut self, handle: Resource<Graph>) -> Answer<Resource<Context>> {
        let context = Context::new(self.table.get(&handle)?);
        self.answer_handle(Ok(context))
    }

    fn drop(&mut self, handle: Resource<Graph>) -> wasmtime::Result<()> {
        self.let_go(handle)
    }
}

impl tensor::Host for NnCtx<'_> {}

impl tensor::HostTensor for NnCtx<'_> {
    fn new(
        &mut self,
        dimensions: Vec<u32>,
        ty: tensor::TensorType,
        data: Vec<u8>,
    ) -> wasmtime::Result<Resource<GuestTensor>> {
        latest::tensor::HostTensor::new(self, dimensions, ty.into(), data)
    }

    fn dimensions(&mut self, handle: Resource<GuestTensor>) -> wasmtime::Result<Vec<u32>> {
        latest::tensor::HostTensor::dimensions(self, handle)
    }

    fn ty(&mut self, handle: Resource<GuestTensor>) -> wasmtime::Result<tensor::TensorType> {
        latest::tensor::HostTensor::ty(self, handle).map(Into::into)
    }

    async fn data(&mut self, handle: Resource<GuestTensor>) -> wasmtime::Result<Vec<u8>> {
        latest::tensor::HostTensor::data(self, handle).await
    }

    fn drop(&mut self, handle: Resource<GuestTensor>) -> wasmtime::Result<()> {
        self.let_go(handle)
    }
}

impl errors::Host for NnCtx<'_> {}

impl errors::HostError for NnCtx<'_> {
    fn code(&mut self, handle: Resource<Fault>) -> wasmtime::Result<errors::ErrorCode> {
        latest::errors::HostError::code(self, handle).map(Into::into)
    }

    fn data(&mut self, handle: Resource<Fault>) -> wasmtime::Result<String> {
        latest::errors::HostError::data(self, handle)
    }

    fn drop(&mut self, handle: Resource<Fault>) -> wasmtime::Result<()> {
        self.let_go(handle)
    }
}

/// Enumerations that have the same cases in both dialects.
macro_rules! same_cases {
    ($($from:ty => $to:ty: $($case:ident),+;)+) => {$(
        impl From<$from> for $to {
            fn from(value: $from) -> Self {
                match value { $(<$from>::$case => Self::$case),+ }
            }
        }
    )+};
}

same_cases! {
    tensor::TensorType => latest::tensor::TensorType: Fp16, Fp32, Fp64, Bf16, U8, I32, I64;
    latest::tensor::TensorType => tensor::TensorType: Fp16, Fp32, Fp64, Bf16, U8, I32, I64;
    graph::GraphEncoding => latest::graph::GraphEncoding:
        Openvino, Onnx, Tensorflow, Pytorch, Tensorflowlite, Ggml, Autodetect;
    graph::ExecutionTarget => latest::graph::ExecutionTarget: Cpu, Gpu, Tpu;
    latest::errors::ErrorCode => errors::ErrorCode: InvalidArgument, InvalidEncoding, Timeout, RuntimeError,
        UnsupportedOperation, TooLarge, NotFound, Security, Unknown;
}
