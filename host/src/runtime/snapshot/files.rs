//! Files that are the same in every build: without times, and without what tells one folder's copy from another's. Guests do not
//! ask for these, but their C library does, and leaves the answers lying in memory.

use wasmtime::StoreContextMut;
use wasmtime::component::{Linker, Resource};
use wasmtime_wasi::filesystem::{Descriptor, WasiFilesystemView};
use wasmtime_wasi::p2::FsResult;
use wasmtime_wasi::p2::bindings::filesystem::types::{
    DescriptorStat, ErrorCode, HostDescriptor, MetadataHashValue, PathFlags,
};

use super::State;

type Answer<T> = wasmtime::Result<(Result<T, ErrorCode>,)>;

/// Puts them in the place of WASI's own.
pub(super) fn add_to_linker(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    linker.allow_shadowing(true);
    let mut types = linker.instance("wasi:filesystem/types@0.2.12")?;
    types.func_wrap_async(
        "[method]descriptor.stat",
        |mut store: StoreContextMut<'_, State>, (file,): (Resource<Descriptor>,)| {
            Box::new(async move { answer(store.data_mut().filesystem().stat(file).await.map(timeless)) })
        },
    )?;
    types.func_wrap_async(
        "[method]descriptor.stat-at",
        |mut store: StoreContextMut<'_, State>, (folder, flags, path): (Resource<Descriptor>, PathFlags, String)| {
            Box::new(
                async move { answer(store.data_mut().filesystem().stat_at(folder, flags, path).await.map(timeless)) },
            )
        },
    )?;
    let hash = MetadataHashValue { lower: 0, upper: 0 };
    types.func_wrap(
        "[method]descriptor.metadata-hash",
        move |_: StoreContextMut<'_, State>, _: (Resource<Descriptor>,)| answer(Ok(hash)),
    )?;
    types.func_wrap(
        "[method]descriptor.metadata-hash-at",
        move |_: StoreContextMut<'_, State>, _: (Resource<Descriptor>, PathFlags, String)| answer(Ok(hash)),
    )?;
    linker.allow_shadowing(false);
    Ok(())
}

fn timeless(stat: DescriptorStat) -> DescriptorStat {
    DescriptorStat {
        data_access_timestamp: None,
        data_modification_timestamp: None,
        status_change_timestamp: None,
        ..stat
    }
}

fn answer<T>(result: FsResult<T>) -> Answer<T> {
    match result {
        Ok(value) => Ok((Ok(value),)),
        Err(error) => Ok((Err(error.downcast()?),)),
    }
}
