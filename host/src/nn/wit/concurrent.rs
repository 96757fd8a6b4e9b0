//! `nocti:function/concurrent`: `compute` for instances that serve several requests at once, of which one waits for it.
//!
//! `wasi:nn` itself has no async functions, and a host function of such a type keeps the whole instance until it returns.

use wasmtime::AsContextMut;
use wasmtime::component::{Accessor, Linker, Resource};

use super::bindings::errors::ErrorCode;
use super::latest::Context;
use super::{Answer, Fault, GuestTensor, HasNn, NnCtx, NnView};
use generated::nocti::function::concurrent;

mod generated {
    wasmtime::component::bindgen!({
        path: "../wit",
        world: "nocti:function/concurrent-imports",
        imports: {
            "nocti:function/concurrent@0.1.0.compute": store | trappable,
            default: trappable,
        },
        with: {
            "wasi:nn": crate::nn::wit::bindings,
        },
    });
}

pub(super) fn add_to_linker<T: NnView + 'static>(linker: &mut Linker<T>) -> wasmtime::Result<()> {
    concurrent::add_to_linker::<T, HasNn>(linker, T::nn)
}

fn unwanted() -> Fault {
    Fault { code: ErrorCode::Timeout, text: "nobody waits for the answer any more".into() }
}

impl concurrent::Host for NnCtx<'_> {}

impl<T: NnView + 'static> concurrent::HostWithStore<T> for HasNn {
    async fn compute(
        accessor: &Accessor<T, Self>,
        context: Resource<Context>,
        inputs: Vec<(String, Resource<GuestTensor>)>,
    ) -> Answer<Vec<(String, Resource<GuestTensor>)>> {
        let abandoned = accessor.with(|mut store| {
            let mut store = store.as_context_mut();
            // The last one is the host's own call.
            let task = store.async_call_stack()?.last();
            wasmtime::error::Ok(task.and_then(|task| store.data().abandoned(task)).unwrap_or_default())
        })?;
        let outputs = match accessor.with(|mut store| store.get().take(&context, inputs))? {
            // A guest task cannot be ended from outside, but what it waits for can.
            Ok((graph, inputs)) => tokio::select! {
                outputs = graph.compute(inputs) => outputs,
                () = abandoned.cancelled() => Err(unwanted()),
            },
            Err(fault) => Err(fault),
        };
        accessor.with(|mut store| store.get().give(outputs))
    }
}
