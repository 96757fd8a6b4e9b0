//! The full list of what the host offers to guests.

use wasmtime::component::{Linker, Resource};
use wasmtime::{Engine, StoreContextMut};
use wasmtime_wasi_config::WasiConfig;
use wasmtime_wasi_http::WasiHttpView;
use wasmtime_wasi_http::p2::bindings::http::types::{HostOutgoingRequest, Method, OutgoingRequest};
use wasmtime_wasi_http::p3;
use wasmtime_wasi_http::p3::bindings::http::types::{self as p3_types, HostRequest};

use super::engine::Calls;
use super::state::State;
use crate::nn;

/// A linker with every import a guest may use; which of them do anything is decided by [`super::state`].
pub fn linker(engine: &Engine, calls: Calls) -> wasmtime::Result<Linker<State>> {
    let mut linker = Linker::new(engine);
    wasmtime_wasi::p2::add_to_linker_async(&mut linker)?;
    wasmtime_wasi_http::p2::add_only_http_to_linker_async(&mut linker)?;
    wasmtime_wasi_config::add_to_linker(&mut linker, |state: &mut State| WasiConfig::new(state.config()))?;
    nn::wit::add_to_linker(&mut linker)?;
    bound_methods(&mut linker)?;
    if calls == Calls::Concurrent {
        wasmtime_wasi::p3::add_to_linker(&mut linker)?;
        wasmtime_wasi_http::p3::add_to_linker(&mut linker)?;
        nn::wit::add_concurrent_to_linker(&mut linker)?;
        bound_concurrent_methods(&mut linker)?;
    }
    Ok(linker)
}

/// A longer name of a method is refused.
const MAX_METHOD_BYTES: usize = 64;

/// A method's name may be as long as a guest's memory, and is kept by the host with each request the guest makes.
fn bound_methods(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    linker.allow_shadowing(true);
    linker.instance("wasi:http/types@0.2.12")?.func_wrap(
        "[method]outgoing-request.set-method",
        |mut store: StoreContextMut<'_, State>, (request, method): (Resource<OutgoingRequest>, Method)| match &method {
            Method::Other(name) if name.len() > MAX_METHOD_BYTES => Ok((Err(()),)),
            _ => Ok((HostOutgoingRequest::set_method(&mut store.data_mut().http(), request, method)?,)),
        },
    )?;
    linker.allow_shadowing(false);
    Ok(())
}

fn bound_concurrent_methods(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    linker.allow_shadowing(true);
    linker.instance("wasi:http/types@0.3.0")?.func_wrap(
        "[method]request.set-method",
        |mut store: StoreContextMut<'_, State>, (request, method): (Resource<p3::Request>, p3_types::Method)| {
            match &method {
                p3_types::Method::Other(name) if name.len() > MAX_METHOD_BYTES => Ok((Err(()),)),
                _ => Ok((HostRequest::set_method(&mut store.data_mut().http(), request, method)?,)),
            }
        },
    )?;
    linker.allow_shadowing(false);
    Ok(())
}
