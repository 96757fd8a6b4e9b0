//! Calls into http functions, whichever `wasi:http` they are written for.
//!
//! `own` is 0.2, where an instance has one request at a time; `shared` is 0.3, where it has several. Both bodies stream, both ways: who
//! reads slowly makes the other side wait. What a guest still does after its answer has the request's deadline.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::header::CONTENT_LENGTH;
use http::{Request, Response};
use http_body::{Body, Frame, SizeHint};
use wasmtime_wasi_http::{Error as HttpError, WasiBody};

mod own;
mod shared;

pub use shared::Seat;
pub(super) use shared::Seats;

use super::instance::Bound;
use super::{Lease, RuntimeError};
use crate::deadline::Deadline;

/// Where a request is served.
pub enum Place {
    /// In an instance that serves no other yet.
    Instance(Lease),
    /// Beside others.
    Seat(Seat),
}

/// The response's body, as the guest writes it. Ends the guest's work on it when it is dropped before its end.
pub struct ResponseBody {
    /// `name@version`, for the log.
    function: Arc<str>,
    body: WasiBody,
    guest: Guest,
    /// Bytes that are still to come, where the head says how many there are.
    left: Option<u64>,
}

/// Who writes it.
enum Guest {
    Own(own::Guest),
    Shared(shared::Guest),
}

/// Why a response breaks off after its head.
#[derive(Debug, thiserror::Error)]
#[error("the function's response broke off: {0}")]
pub struct BrokenOff(String);

/// What a guest has left when nobody wants its answer any more. The last byte of an answer is often read before the guest has
/// returned, and it would be a pity about the instance.
const GRACE: Duration = Duration::from_secs(1);

/// Hands the request to the guest; the response's head comes back, its body streams. `held` is let go when the guest is
/// done with the request.
pub async fn handle<B, H>(
    place: Place,
    request: Request<B>,
    due: Deadline,
    held: H,
) -> Result<Response<ResponseBody>, RuntimeError>
where
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<HttpError>,
    H: Send + 'static,
{
    let seat = match place {
        Place::Instance(lease) if matches!(**lease.bound(), Bound::Http(_)) => {
            let function = lease.function();
            let (response, guest) = own::handle(lease, request, due, held).await?;
            return respond(function, response, Guest::Own(guest));
        }
        Place::Instance(lease) => shared::open(lease, due)?,
        Place::Seat(seat) => seat,
    };
    let function = seat.function();
    let (response, guest) = shared::handle(seat, request, due, held).await?;
    respond(function, response, Guest::Shared(guest))
}

fn respond(
    function: Arc<str>,
    response: Response<WasiBody>,
    guest: Guest,
) -> Result<Response<ResponseBody>, RuntimeError> {
    if response.status().is_informational() {
        return Err(RuntimeError::BadAnswer(format!("it answered with status {}", response.status().as_u16())));
    }
    let length = response.headers().get(CONTENT_LENGTH);
    let left = length.and_then(|length| length.to_str().ok()?.parse().ok());
    Ok(response.map(|body| ResponseBody { function, body, guest, left }))
}

impl Guest {
    fn failure(&self) -> Option<String> {
        match self {
            Self::Own(guest) => guest.failure(),
            Self::Shared(guest) => guest.failure(),
        }
    }

    fn poll_over(&mut self, context: &mut Context<'_>) -> Poll<()> {
        match self {
            Self::Own(guest) => guest.poll_over(context),
            Self::Shared(guest) => guest.poll_over(context),
        }
    }

    fn finish(&mut self) {
        match self {
            Self::Own(guest) => guest.finish(),
            Self::Shared(guest) => guest.finish(),
        }
    }
}

impl ResponseBody {
    /// The next frame; what goes wrong is told in words.
    fn poll_guest_frame(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, String>>> {
        let mut frame = Pin::new(&mut self.body).poll_frame(context);
        if frame.is_pending() {
            ready!(self.guest.poll_over(context));
            // Once more: it may have written just before.
            frame = Pin::new(&mut self.body).poll_frame(context);
        }
        Poll::Ready(match (frame, self.guest.failure()) {
            (Poll::Ready(Some(Ok(frame))), _) => Some(Ok(frame)),
            (_, Some(failure)) => Some(Err(failure)),
            (Poll::Ready(Some(Err(error))), None) => Some(Err(format!("{error:?}"))),
            (Poll::Pending, None) => Some(Err("it ended without finishing its response".into())),
            (Poll::Ready(None), None) => {
                self.guest.finish();
                None
            }
        })
    }
}

impl Drop for ResponseBody {
    fn drop(&mut self) {
        if self.is_end_stream() {
            self.guest.finish();
        }
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = BrokenOff;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BrokenOff>>> {
        let frame = self.poll_guest_frame(context);
        let data = match &frame {
            Poll::Ready(Some(Ok(frame))) => frame.data_ref().map_or(0, |data| data.len() as u64),
            _ => 0,
        };
        self.left = self.left.map(|left| left.saturating_sub(data));
        if self.left == Some(0) {
            // Nobody will ask for what comes after the last byte.
            self.guest.finish();
        }
        frame.map_err(|reason| {
            // The head is out, so this is the only place where it can be said.
            tracing::warn!(function = &*self.function, reason, "a response broke off after its head");
            BrokenOff(reason)
        })
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream() && self.guest.failure().is_none()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
