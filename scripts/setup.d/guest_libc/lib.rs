//! What Rust's standard library expects of wasi-libc and Debian's, which is older, lacks: threads, sockets and `realpath`.
//! A guest that mentions them would not link. Here they are refused at run time, as on a system that has none of them:
//! "not supported" or, for a new thread, "resource temporarily unavailable". Guests reach the network through wasi:http, not through
//! sockets, and no wasi-libc of this target has threads.
//!
//! Compiled to one object file by guest_debian.sh; the linker takes from it what a guest uses.
#![no_std]
#![feature(thread_local)]

use core::ffi::{c_char, c_int, c_void};
use core::ptr;

type Pointer = *mut c_void;

// wasi-libc's numbers.
const EAGAIN: c_int = 6;
const ENOTSUP: c_int = 58;
const ESRCH: c_int = 71;
const EAI_SYSTEM: c_int = -11;

unsafe extern "C" {
    #[thread_local]
    static mut errno: c_int;
}

fn not_supported() -> c_int {
    // SAFETY: libc's own variable, and there is one thread.
    unsafe { errno = ENOTSUP };
    -1
}

// --- threads ---

#[unsafe(no_mangle)]
extern "C" fn pthread_create(_: Pointer, _: Pointer, _: Pointer, _: Pointer) -> c_int {
    EAGAIN
}

#[unsafe(no_mangle)]
extern "C" fn pthread_join(_: Pointer, _: Pointer) -> c_int {
    ESRCH
}

#[unsafe(no_mangle)]
extern "C" fn pthread_detach(_: Pointer) -> c_int {
    ESRCH
}

// Attributes are filled in before a thread is asked for, and have no bearing on the refusal.

#[unsafe(no_mangle)]
extern "C" fn pthread_attr_init(_: Pointer) -> c_int {
    0
}

#[unsafe(no_mangle)]
extern "C" fn pthread_attr_setstacksize(_: Pointer, _: usize) -> c_int {
    0
}

#[unsafe(no_mangle)]
extern "C" fn pthread_attr_destroy(_: Pointer) -> c_int {
    0
}

// --- sockets ---

#[unsafe(no_mangle)]
extern "C" fn socket(_: c_int, _: c_int, _: c_int) -> c_int {
    not_supported()
}

#[unsafe(no_mangle)]
extern "C" fn connect(_: c_int, _: Pointer, _: u32) -> c_int {
    not_supported()
}

#[unsafe(no_mangle)]
extern "C" fn bind(_: c_int, _: Pointer, _: u32) -> c_int {
    not_supported()
}

#[unsafe(no_mangle)]
extern "C" fn listen(_: c_int, _: c_int) -> c_int {
    not_supported()
}

#[unsafe(no_mangle)]
extern "C" fn getsockname(_: c_int, _: Pointer, _: Pointer) -> c_int {
    not_supported()
}

#[unsafe(no_mangle)]
extern "C" fn getpeername(_: c_int, _: Pointer, _: Pointer) -> c_int {
    not_supported()
}

#[unsafe(no_mangle)]
extern "C" fn setsockopt(_: c_int, _: c_int, _: c_int, _: Pointer, _: u32) -> c_int {
    not_supported()
}

#[unsafe(no_mangle)]
extern "C" fn sendto(_: c_int, _: Pointer, _: usize, _: c_int, _: Pointer, _: u32) -> isize {
    not_supported() as isize
}

#[unsafe(no_mangle)]
extern "C" fn recvfrom(_: c_int, _: Pointer, _: usize, _: c_int, _: Pointer, _: Pointer) -> isize {
    not_supported() as isize
}

#[unsafe(no_mangle)]
extern "C" fn getaddrinfo(_: Pointer, _: Pointer, _: Pointer, _: Pointer) -> c_int {
    not_supported();
    EAI_SYSTEM
}

#[unsafe(no_mangle)]
extern "C" fn freeaddrinfo(_: Pointer) {}

#[unsafe(no_mangle)]
extern "C" fn gai_strerror(_: c_int) -> *const c_char {
    c"names cannot be resolved".as_ptr()
}

// --- files ---

#[unsafe(no_mangle)]
extern "C" fn realpath(_: Pointer, _: Pointer) -> *mut c_char {
    not_supported();
    ptr::null_mut()
}
