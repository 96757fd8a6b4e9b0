//! Initialisation while the bundle is built: what it leaves in memory is what every instance begins with. A handle of the
//! host's would mean nothing there, so models wait until there are requests, and what WASI keeps is given back.

use std::cell::Cell;

thread_local! {
    static RUNNING: Cell<bool> = const { Cell::new(false) };
}

/// Whether this is a build.
pub(crate) fn is_running() -> bool {
    RUNNING.get()
}

/// Initialises, and leaves no handle of the C library's behind.
pub(crate) fn run<T>(init: impl FnOnce() -> T) -> T {
    RUNNING.set(true);
    let initialised = init();
    RUNNING.set(false);
    forget_folders();
    initialised
}

#[cfg(target_family = "wasm")]
#[allow(
    unsafe_code,
    reason = "the C library keeps handles of folders, and Rust's standard library does not reach them"
)]
fn forget_folders() {
    unsafe extern "C" {
        /// Drops what the C library knows of the folders it was given; the next access to a file asks again.
        safe fn __wasilibc_reset_preopens();
    }
    __wasilibc_reset_preopens();
}

/// Natively nothing is kept.
#[cfg(not(target_family = "wasm"))]
fn forget_folders() {}
