//! Work that takes the processor for a while: not on the executor.

use super::respond::HttpError;

/// JSON that takes a while, both ways: so much of it as text, or of elements that become text.
pub(super) const LARGE_JSON_BYTES: usize = 256 << 10;

/// What the work gives, which is done on a thread that may take its time if it `is_large`.
pub(super) async fn elsewhere<T: Send + 'static>(
    is_large: bool,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, HttpError> {
    if !is_large {
        return Ok(work());
    }
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|error| HttpError::Internal(format!("reading or writing a body: {error}")))
}
