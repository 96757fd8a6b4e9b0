//! POSIX threads for a system without any: Debian's wasi-libc is older than Rust's standard library expects and lacks these
//! functions, which newer ones answer in the same way. `std::thread::spawn` then fails with "resource temporarily unavailable"
//! instead of the link failing. Compiled to one object file by guest_debian.sh, and linked into guests that use them.
#![no_std]

use core::ffi::{c_int, c_void};

/// wasi-libc's numbers.
const EAGAIN: c_int = 6;
const ESRCH: c_int = 71;

#[unsafe(no_mangle)]
extern "C" fn pthread_create(_: *mut c_void, _: *const c_void, _: *const c_void, _: *mut c_void) -> c_int {
    EAGAIN
}

// No thread was ever created, so none can be waited for or let go.

#[unsafe(no_mangle)]
extern "C" fn pthread_join(_: *mut c_void, _: *mut *mut c_void) -> c_int {
    ESRCH
}

#[unsafe(no_mangle)]
extern "C" fn pthread_detach(_: *mut c_void) -> c_int {
    ESRCH
}

// Attributes are filled in before a thread is asked for, and have no bearing on the refusal.

#[unsafe(no_mangle)]
extern "C" fn pthread_attr_init(_: *mut c_void) -> c_int {
    0
}

#[unsafe(no_mangle)]
extern "C" fn pthread_attr_setstacksize(_: *mut c_void, _: usize) -> c_int {
    0
}

#[unsafe(no_mangle)]
extern "C" fn pthread_attr_destroy(_: *mut c_void) -> c_int {
    0
}
