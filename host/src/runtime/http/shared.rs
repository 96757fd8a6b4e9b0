//! `wasi:http/handler@0.3`: several requests in one instance at once. Here is a request's side of it.
//!
//! Who has a seat in an instance is in `seats`, the instance's own task in `work`. A request ends for its caller at its deadline or when
//! its seat is dropped. Its guest task can be ended only with the instance, so the instance takes no more requests then, and
//! ends with the last one it has, or when the time is over of those whose answers it has given: what they left behind may be at work.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use http_body_util::BodyExt;
use tokio::sync::oneshot;
use tokio::time::Sleep;
use tokio_util::sync::CancellationToken;
use wasmtime_wasi_http::{Error as HttpError, WasiBody};

mod seats;
mod work;

pub use seats::Seat;
pub(in crate::runtime) use seats::Seats;
pub(super) use work::open;

use crate::deadline::Deadline;
use crate::runtime::RuntimeError;

/// A request on its way into an instance.
struct Job {
    request: Request<WasiBody>,
    answer: oneshot::Sender<Result<Response<WasiBody>, RuntimeError>>,
    /// Cancelled when nobody waits for the answer any more.
    abandoned: CancellationToken,
}

/// The guest behind a response. Keeps the request's seat.
pub(super) struct Guest {
    seat: Seat,
    due: Deadline,
    /// Runs while the next frame is awaited.
    deadline: Option<Pin<Box<Sleep>>>,
    /// It has passed.
    overdue: bool,
}

pub(super) async fn handle<B, H>(
    mut seat: Seat,
    request: Request<B>,
    due: Deadline,
    held: H,
) -> Result<(Response<WasiBody>, Guest), RuntimeError>
where
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<HttpError>,
    H: Send + 'static,
{
    seat.hold(Box::new(held));
    let (answer, answered) = oneshot::channel();
    let request = request.map(|body| body.map_err(Into::into).boxed_unsync());
    seat.send(Job { request, answer, abandoned: seat.abandoned() });
    match due.bound(answered).await? {
        Ok(Ok(response)) => Ok((response, Guest { seat, due, deadline: None, overdue: false })),
        Ok(Err(error)) => {
            seat.finish();
            Err(error)
        }
        // The instance has ended.
        Err(_) => Err(due.bound(seat.failed()).await?),
    }
}

impl Guest {
    /// Why the request failed, if it has: the instance has ended, and the body with it, or its time is over.
    pub(super) fn failure(&self) -> Option<String> {
        let failure = self.seat.failure().map(|failure| failure.to_string());
        failure.or_else(|| self.overdue.then(|| self.due.passed().to_string()))
    }

    /// Ready when the request's time is over.
    pub(super) fn poll_over(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let due = self.due;
        let deadline = self.deadline.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(due.at())));
        ready!(deadline.as_mut().poll(context));
        self.overdue = true;
        Poll::Ready(())
    }

    /// Nothing more will be asked for: the guest may go on with what it still has to do.
    pub(super) fn finish(&mut self) {
        self.seat.finish();
    }
}
