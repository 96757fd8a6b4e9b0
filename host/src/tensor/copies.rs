//! How many bytes of tensors were copied, for tests: built with the cargo feature `count-copies`, nothing without.
//!
//! What counts: the elements of a tensor written from one buffer to another on their way from the received body to ONNX
//! Runtime or a guest, and from there to the socket. What does not: frames of the network put into the body as they come,
//! and elements that change their form, from or to JSON. The count is the process's, over all hosts in it.

#[cfg(feature = "count-copies")]
static MOVED_BYTES: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);

/// To be called wherever `bytes` of a tensor are copied.
#[inline]
pub fn moved(bytes: usize) {
    #[cfg(feature = "count-copies")]
    MOVED_BYTES.fetch_add(bytes as u64, std::sync::atomic::Ordering::Relaxed);
    #[cfg(not(feature = "count-copies"))]
    let _ = bytes;
}

/// The bytes copied since the process started; `None` in a build that does not count.
pub fn moved_bytes() -> Option<u64> {
    #[cfg(feature = "count-copies")]
    return Some(MOVED_BYTES.load(std::sync::atomic::Ordering::Relaxed));
    #[cfg(not(feature = "count-copies"))]
    None
}
