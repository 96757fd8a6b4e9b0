//! What a session of ONNX Runtime takes: tensors, as its own allocator counts them, and all that it is made of, as the process's
//! allocator does.

use std::ffi::{CStr, c_char};
use std::ptr;

use ort::AsPointer;
use ort::memory::Allocator;
use ort::session::Session;

use super::device::Target;

/// Bytes that the session's allocator has taken: weights that are its own and what runs needed so far. Mapped weights are not
/// among them. `None` where this ONNX Runtime does not say.
pub(super) fn allocated_bytes(session: &Session, target: Target) -> Option<u64> {
    let allocator = Allocator::new(session, target.memory().ok()?).ok()?;
    statistic(&allocator, c"TotalAllocated")
}

/// A statistic of an allocator, by its name in onnxruntime's `AllocatorStats`.
#[expect(unsafe_code, reason = "`ort` has no safe interface for an allocator's statistics")]
fn statistic(allocator: &Allocator, name: &CStr) -> Option<u64> {
    let api = ort::api();
    let mut pairs = ptr::null_mut();
    // SAFETY: the allocator is alive as long as its reference; `pairs` is released below, after the text was copied.
    let status = unsafe { (api.AllocatorGetStats)(allocator.ptr(), &raw mut pairs) };
    if !status.0.is_null() {
        // SAFETY: the status is an error's, which is the caller's to release.
        unsafe { (api.ReleaseStatus)(status.0) };
        return None;
    }
    // SAFETY: without an error the call gave pairs; keys and values are C strings that live as long as these.
    unsafe {
        let value: *const c_char = (api.GetKeyValue)(pairs, name.as_ptr());
        let number = if value.is_null() { None } else { CStr::from_ptr(value).to_str().ok()?.parse().ok() };
        (api.ReleaseKeyValuePairs)(pairs);
        number
    }
}

/// Bytes that this process has allocated and not freed, by all threads. `None` where the allocator does not say.
pub(super) fn heap_bytes() -> Option<u64> {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    {
        // SAFETY: mallinfo2(3) takes nothing, locks what it looks at, and may be called from any thread at any time.
        #[expect(unsafe_code, reason = "the allocator has no safe interface for it")]
        let info = unsafe { libc::mallinfo2() };
        Some((info.uordblks + info.hblkhd) as u64)
    }
    #[cfg(not(all(target_os = "linux", target_env = "gnu")))]
    None
}

/// What `make` gives, and by how much the heap grew for it: others may have allocated meanwhile, or freed.
pub(super) fn growth<T>(make: impl FnOnce() -> T) -> (T, Option<u64>) {
    let before = heap_bytes();
    let made = make();
    let grown = before.zip(heap_bytes()).map(|(before, after)| after.saturating_sub(before));
    (made, grown)
}
