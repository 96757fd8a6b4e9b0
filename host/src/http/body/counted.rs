//! A body whose end is the end of its request's count.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use super::BoxError;
use crate::telemetry::{Call, Outcome};

/// A response's body as a function writes it. Whether the caller stayed for all of it shows in the count.
pub struct Counted<B: Body> {
    body: B,
    /// Bytes that are still to come, where that was said before.
    left: Option<u64>,
    /// The request, and what it comes to if its answer is whole.
    call: Option<(Call, Outcome)>,
}

impl<B: Body> Counted<B> {
    /// `length` is how many bytes will be sent of it, if that was said in its head.
    pub fn new(body: B, length: Option<u64>, call: Call, whole: Outcome) -> Self {
        Self { body, left: length, call: Some((call, whole)) }
    }
}

impl<B> Body for Counted<B>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<BoxError>,
{
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(context));
        match (&frame, self.call.take()) {
            (Some(Ok(frame)), call) => {
                let sent = frame.data_ref().map_or(0, |data| data.len() as u64);
                self.left = self.left.map(|left| left.saturating_sub(sent));
                self.call = call;
            }
            (Some(Err(_)), Some((call, _))) => call.end(Outcome::Failed),
            (None, Some((call, whole))) => call.end(whole),
            (_, None) => {}
        }
        Poll::Ready(frame.map(|frame| frame.map_err(Into::into)))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl<B: Body> Drop for Counted<B> {
    fn drop(&mut self) {
        // Nobody asks for more of a body that is at its end as far as is known.
        if (self.left == Some(0) || self.body.is_end_stream())
            && let Some((call, whole)) = self.call.take()
        {
            call.end(whole);
        }
    }
}
