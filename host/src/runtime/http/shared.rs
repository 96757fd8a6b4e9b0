//! `wasi:http/handler@0.3`: several requests in one instance at once. Here is a request's side of it.
//!
//! Who has a seat in an instance is in `seats`, the instance's own task in `work`. A request ends for its caller at its deadline or when
//! its seat is dropped. Its guest task can be ended only with the instance, so the instance takes no more requests then, and
//! ends with the last one it has, or when the time is over of those whose answers it has given: what they left behind may be at work.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Request, Response};
use http_body::{Body, Frame, SizeHint};
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

/// The response's body, as the guest writes it. Keeps the request's seat.
pub(super) struct GuestBody {
    body: WasiBody,
    seat: Seat,
    due: Deadline,
    /// Runs while the next frame is awaited.
    deadline: Option<Pin<Box<Sleep>>>,
}

pub(super) async fn handle<B, H>(
    mut seat: Seat,
    request: Request<B>,
    due: Deadline,
    held: H,
) -> Result<Response<GuestBody>, RuntimeError>
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
        Ok(Ok(response)) => Ok(response.map(|body| GuestBody { body, seat, due, deadline: None })),
        Ok(Err(error)) => {
            seat.finish();
            Err(error)
        }
        // The instance has ended.
        Err(_) => Err(due.bound(seat.failed()).await?),
    }
}

impl Drop for GuestBody {
    fn drop(&mut self) {
        if self.is_end_stream() {
            self.finish();
        }
    }
}

impl GuestBody {
    /// The next frame; what goes wrong is told in words.
    pub(super) fn poll_frame(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, String>>> {
        if let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(context) {
            return Poll::Ready(match (frame, self.seat.failure()) {
                (Some(Ok(frame)), _) => Some(Ok(frame)),
                // The instance has ended, and the body with it.
                (_, Some(failure)) => Some(Err(failure.to_string())),
                (Some(Err(error)), None) => Some(Err(format!("{error:?}"))),
                (None, None) => {
                    self.seat.finish();
                    None
                }
            });
        }
        let due = self.due;
        let deadline = self.deadline.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(due.at())));
        std::task::ready!(deadline.as_mut().poll(context));
        Poll::Ready(Some(Err(due.passed().to_string())))
    }

    /// Nothing more will be asked for: the guest may go on with what it still has to do.
    pub(super) fn finish(&mut self) {
        self.seat.finish();
    }

    pub(super) fn is_end_stream(&self) -> bool {
        self.body.is_end_stream() && self.seat.failure().is_none()
    }

    pub(super) fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
