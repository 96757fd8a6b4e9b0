//! `wasi:nn` 0.2.0-rc-2024-10-28: `compute` takes the inputs and gives the outputs.

use std::sync::Arc;

use wasmtime::component::{Linker, Resource};

use super::{Answer, Fault, Graph, GuestTensor, HasNn, NnCtx, NnView};
use crate::nn::NnError;
use crate::nn::held::AnyTensor;
use bindings::{errors, graph, inference, tensor};

mod generated {
    wasmtime::component::bindgen!({
        path: "../wit",
        world: "nocti:function/host-imports",
        imports: {
            "wasi:nn/inference@0.2.0-rc-2024-10-28.[method]graph-execution-context.compute": async | trappable,
            "wasi:nn/graph@0.2.0-rc-2024-10-28.load": async | trappable,
            "wasi:nn/tensor@0.2.0-rc-2024-10-28.[method]tensor.data": async | trappable,
            default: trappable,
        },
        with: {
            "wasi:nn/tensor@0.2.0-rc-2024-10-28.tensor": crate::nn::wit::GuestTensor,
            "wasi:nn/graph@0.2.0-rc-2024-10-28.graph": crate::nn::wit::Graph,
            "wasi:nn/inference@0.2.0-rc-2024-10-28.graph-execution-context": super::Context,
            "wasi:nn/errors@0.2.0-rc-2024-10-28.error": crate::nn::wit::Fault,
        },
    });
}

pub use generated::wasi::nn as bindings;

pub(super) fn add_to_linker<T: NnView + 'static>(linker: &mut Linker<T>) -> wasmtime::Result<()> {
    tensor::add_to_linker::<T, HasNn>(linker, T::nn)?;
    graph::add_to_linker::<T, HasNn>(linker, T::nn)?;
    inference::add_to_linker::<T, HasNn>(linker, T::nn)?;
    errors::add_to_linker::<T, HasNn>(linker, T::nn)
}

/// A graph bound for computing; `wasi:nn` wants it apart from the graph.
pub struct Context(Graph);

impl graph::Host for NnCtx<'_> {
    async fn load(
        &mut self,
        builder: Vec<Vec<u8>>,
        encoding: graph::GraphEncoding,
        target: graph::ExecutionTarget,
    ) -> Answer<Resource<Graph>> {
        let loaded = self.load_graph(builder, encoding, target).await;
        self.answer_handle(loaded)
    }

    fn load_by_name(&mut self, name: String) -> Answer<Resource<Graph>> {
        let found = self.graph_by_name(&name);
        self.answer_handle(found)
    }
}

impl graph::HostGraph for NnCtx<'_> {
    fn init_execution_context(&mut self, handle: Resource<Graph>) -> Answer<Resource<Context>> {
        let graph = Graph(Arc::clone(&self.table.get(&handle)?.0));
        self.answer_handle(Ok(Context(graph)))
    }

    fn drop(&mut self, handle: Resource<Graph>) -> wasmtime::Result<()> {
        self.let_go(handle)
    }
}

impl inference::Host for NnCtx<'_> {}

impl inference::HostGraphExecutionContext for NnCtx<'_> {
    async fn compute(
        &mut self,
        handle: Resource<Context>,
        inputs: Vec<(String, Resource<GuestTensor>)>,
    ) -> Answer<Vec<(String, Resource<GuestTensor>)>> {
        let outputs = match self.take(&handle, inputs)? {
            Ok((graph, inputs)) => graph.compute(inputs).await,
            Err(fault) => Err(fault),
        };
        self.give(outputs)
    }

    fn drop(&mut self, handle: Resource<Context>) -> wasmtime::Result<()> {
        self.let_go(handle)
    }
}

type Tensors = Vec<(String, AnyTensor)>;

impl NnCtx<'_> {
    /// What a guest's `compute` asks for.
    pub(super) fn take(
        &mut self,
        handle: &Resource<Context>,
        inputs: Vec<(String, Resource<GuestTensor>)>,
    ) -> wasmtime::Result<Result<(Graph, Tensors), Fault>> {
        let graph = Graph(Arc::clone(&self.table.get(handle)?.0.0));
        let mut tensors = Vec::with_capacity(inputs.len());
        let mut malformed = None;
        for (name, handle) in inputs {
            // Owned handles: all must leave the table, also after the first mistake.
            match self.table.delete(handle)?.into_tensor() {
                Ok(tensor) => tensors.push((graph.input_name(name), tensor)),
                Err(error) => malformed = Some(NnError::InvalidInput(format!("input '{name}': {error}"))),
            }
        }
        Ok(match malformed {
            Some(error) => Err(error.into()),
            None => Ok((graph, tensors)),
        })
    }

    /// What came of it.
    pub(super) fn give(&mut self, outputs: Result<Tensors, Fault>) -> Answer<Vec<(String, Resource<GuestTensor>)>> {
        let outputs = match outputs {
            Ok(outputs) => outputs,
            Err(fault) => return self.answer(Err(fault)),
        };
        let handles = outputs.into_iter().map(|(name, output)| Ok((name, self.push(output)?)));
        Ok(Ok(handles.collect::<wasmtime::Result<_>>()?))
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
        self.let_go(handle)
    }
}
