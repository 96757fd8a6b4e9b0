//! Work that takes the processor for a while: not on the executor, whose threads are for those who wait.

use tokio::task::JoinError;
use tokio_util::task::AbortOnDropHandle;

/// The work panicked, or was ended with the host.
#[derive(Debug, thiserror::Error)]
#[error("work on a request or an answer broke off")]
pub struct BrokenOff(#[from] JoinError);

/// What the work gives, which is done on a thread that may take its time if it `is_large`. It goes on when its caller goes meanwhile, but
/// for one that has not begun: what it takes memory by, and the leave for that, go with it.
pub async fn elsewhere<T: Send + 'static>(
    is_large: bool,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, BrokenOff> {
    if !is_large {
        return Ok(work());
    }
    Ok(AbortOnDropHandle::new(tokio::task::spawn_blocking(work)).await?)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;

    #[tokio::test]
    async fn work_that_panics_is_an_error_of_its_caller() {
        let work = || -> u32 { panic!("of the work") };
        let error = elsewhere(true, work).await.expect_err("it panicked");
        assert_eq!(error.to_string(), "work on a request or an answer broke off");
    }

    /// Who sends and goes away must not be able to fill the memory with what no limit counts.
    #[test]
    fn work_that_has_not_begun_keeps_its_leave_until_it_is_let_go() {
        let runtime = tokio::runtime::Builder::new_current_thread().max_blocking_threads(1).build().expect("a runtime");
        let (go_on, wait) = std::sync::mpsc::channel::<()>();
        let begun = Arc::new(AtomicBool::new(false));
        runtime.block_on(async {
            let busy = tokio::task::spawn_blocking(move || wait.recv());
            let leave = Arc::clone(&begun);
            let mut working = Box::pin(elsewhere(true, move || leave.store(true, Ordering::Relaxed)));
            assert!(futures::poll!(&mut working).is_pending());
            drop(working);
            assert_eq!(Arc::strong_count(&begun), 2, "it is still in the queue");
            go_on.send(()).expect("it waits");
            busy.await.expect("no panic").expect("it was told");
            // Behind it on the only thread.
            tokio::task::spawn_blocking(|| ()).await.expect("no panic");
        });
        assert_eq!(Arc::strong_count(&begun), 1);
        assert!(!begun.load(Ordering::Relaxed), "nobody waits for it");
    }
}
