//! Deadline: the only timeout type, so that "how long may this take" is asked in one way everywhere.
//!
//! A leaf. A deadline is a point in time; whatever is awaited past it is dropped, and dropping is how work is
//! cancelled throughout the host (a queued job leaves its queue, a running model is terminated, an instance retires).

use std::time::Duration;
use tokio::time::Instant;

/// The point in time by which a request must be answered, queueing included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Deadline(Instant);

/// The deadline passed first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the deadline passed")]
pub struct DeadlinePassed;

impl Deadline {
    /// `span` from now. A span too long to be represented counts as thirty years.
    pub fn after(span: Duration) -> Self {
        let now = Instant::now();
        Self(now.checked_add(span).unwrap_or_else(|| now + Duration::from_secs(30 * 365 * 24 * 3600)))
    }

    /// Awaits `work` until the deadline, then drops it.
    pub async fn bound<F: Future>(self, work: F) -> Result<F::Output, DeadlinePassed> {
        tokio::time::timeout_at(self.0, work).await.map_err(|_| DeadlinePassed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn work_past_the_deadline_is_dropped() {
        let due = Deadline::after(Duration::from_secs(1));
        assert_eq!(due.bound(std::future::pending::<()>()).await, Err(DeadlinePassed));
        let later = Deadline::after(Duration::from_secs(1));
        assert_eq!(later.bound(async { 7 }).await, Ok(7));
        assert!(due < later);
    }

    #[tokio::test]
    async fn an_endless_span_is_no_overflow() {
        assert!(Deadline::after(Duration::MAX) > Deadline::after(Duration::from_secs(1)));
    }
}
