//! Deadline: by when a request must be answered, asked in one way everywhere.
//!
//! A leaf. A deadline is a point in time; whatever is awaited past it is dropped, and dropping is how work is
//! cancelled throughout the host (a queued job leaves its queue, a running model is terminated, an instance retires).

use std::task::Poll;
use std::time::Duration;

use tokio::time::Instant;

/// The point in time by which a request must be answered, queueing included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Deadline {
    at: Instant,
    span: Duration,
}

/// The deadline passed first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the deadline passed: it took longer than {0:?} (limits.timeout), the body's upload and waiting included")]
pub struct DeadlinePassed(Duration);

impl Deadline {
    /// `span` from now.
    pub fn after(span: Duration) -> Self {
        Self { at: Instant::now() + span, span }
    }

    /// Awaits `work` until the deadline, then drops it.
    pub async fn bound<F: Future>(self, work: F) -> Result<F::Output, DeadlinePassed> {
        let mut work = std::pin::pin!(work);
        // Most of what is awaited is ready at once, and then a timer is most of what it would cost.
        if let Poll::Ready(output) = futures::poll!(work.as_mut()) {
            return Ok(output);
        }
        tokio::time::timeout_at(self.at, work).await.map_err(|_| DeadlinePassed(self.span))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn work_past_the_deadline_is_dropped() {
        let due = Deadline::after(Duration::from_secs(1));
        assert_eq!(due.bound(std::future::pending::<()>()).await, Err(DeadlinePassed(Duration::from_secs(1))));
        let later = Deadline::after(Duration::from_secs(1));
        assert_eq!(later.bound(async { 7 }).await, Ok(7));
        assert!(due < later);
    }
}
