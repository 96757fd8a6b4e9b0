//! The full list of what the host offers to guests.

use wasmtime::Engine;
use wasmtime::component::Linker;
use wasmtime_wasi_config::WasiConfig;

use super::state::State;
use crate::nn;

/// A linker with every import a guest may use; which of them do anything is decided by [`super::state`].
pub fn linker(engine: &Engine) -> wasmtime::Result<Linker<State>> {
    let mut linker = Linker::new(engine);
    wasmtime_wasi::p2::add_to_linker_async(&mut linker)?;
    wasmtime_wasi_http::p2::add_only_http_to_linker_async(&mut linker)?;
    wasmtime_wasi_config::add_to_linker(&mut linker, |state: &mut State| WasiConfig::new(state.config()))?;
    nn::wit::add_to_linker(&mut linker)?;
    Ok(linker)
}
