//! Deadline: by when a request must be answered, asked in one way everywhere.
//!
//! A leaf. A deadline is a point in time; whatever is awaited past it is dropped, and dropping is how work is
//! cancelled throughout the host (a queued job leaves its queue, a running model is terminated, an instance retires).

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use pin_project_lite::pin_project;
use tokio::time::{Instant, Sleep};

/// The point in time by which a request must be answered, queueing included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Deadline {
    at: Instant,
    span: Duration,
    set_by: SetBy,
}

/// Whose deadline it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum SetBy {
    Function,
    Client,
}

/// The deadline passed first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{}: it took longer than {span:?} ({}), the body's upload and waiting included", .set_by.passed(), .set_by.name())]
pub struct DeadlinePassed {
    span: Duration,
    set_by: SetBy,
}

impl Deadline {
    /// `span` from now, which is as long as the function may take.
    pub fn after(span: Duration) -> Self {
        Self::of(Instant::now(), span)
    }

    /// The same from a moment that is known already.
    pub fn of(began: Instant, span: Duration) -> Self {
        Self { at: began + span, span, set_by: SetBy::Function }
    }

    /// `span` from now, which is as long as the client waits.
    pub fn asked(span: Duration) -> Self {
        Self { at: Instant::now() + span, span, set_by: SetBy::Client }
    }

    /// The same span from an earlier moment.
    pub fn since(self, began: Instant) -> Self {
        Self { at: began + self.span, ..self }
    }

    /// The one that passes first.
    pub fn sooner(self, other: Option<Self>) -> Self {
        other.filter(|other| other.at < self.at).unwrap_or(self)
    }

    /// The point in time.
    pub fn at(self) -> Instant {
        self.at
    }

    /// The error that it has passed.
    pub fn passed(self) -> DeadlinePassed {
        DeadlinePassed { span: self.span, set_by: self.set_by }
    }

    /// Awaits `work` until the deadline; it is dropped with what this gives.
    pub fn bound<F: Future>(self, work: F) -> Bound<F> {
        Bound { work, due: self, timer: None }
    }
}

pin_project! {
    /// What [`Deadline::bound`] awaits. Not an async function: that would have a second place for the work, and a request is
    /// inside several of these.
    pub struct Bound<F> {
        #[pin]
        work: F,
        due: Deadline,
        #[pin]
        timer: Option<Sleep>,
    }
}

impl<F: Future> Future for Bound<F> {
    type Output = Result<F::Output, DeadlinePassed>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        // Most of what is awaited is ready at once, and then a timer is most of what it would cost.
        if let Poll::Ready(output) = this.work.poll(context) {
            return Poll::Ready(Ok(output));
        }
        if this.timer.is_none() {
            this.timer.set(Some(tokio::time::sleep_until(this.due.at)));
        }
        let passed = this.timer.as_pin_mut().is_some_and(|timer| timer.poll(context).is_ready());
        if passed { Poll::Ready(Err(this.due.passed())) } else { Poll::Pending }
    }
}

impl SetBy {
    fn name(self) -> &'static str {
        match self {
            Self::Function => "limits.timeout",
            Self::Client => "the client's timeout",
        }
    }

    /// A client that ends a call by itself says it in these words; who matches them must not see who was quicker.
    fn passed(self) -> &'static str {
        match self {
            Self::Function => "the deadline passed",
            Self::Client => "Deadline Exceeded",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn work_past_the_deadline_is_dropped() {
        let due = Deadline::after(Duration::from_secs(1));
        let passed = due.bound(std::future::pending::<()>()).await.expect_err("it never ends");
        assert!(passed.to_string().contains("longer than 1s (limits.timeout)"), "{passed}");
        let later = Deadline::after(Duration::from_secs(1));
        assert_eq!(later.bound(async { 7 }).await, Ok(7));
        assert!(due < later);
        let client = Deadline::asked(Duration::from_millis(1));
        assert_eq!(client.sooner(Some(later)), client);
        assert_eq!(later.sooner(Some(client)), client);
        assert_eq!(later.sooner(None), later);
        let earlier = Instant::now() - Duration::from_millis(600);
        assert!(due.bound(std::future::ready(())).await.is_ok() && later.since(earlier) < later);
    }
}
