//! A response's body that is there already, in several buffers: each goes to the socket as it is.

use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use super::BoxError;

/// The buffers that have not gone yet; none is empty.
pub(super) struct Frames(VecDeque<Bytes>);

impl Frames {
    pub(super) fn new(buffers: impl IntoIterator<Item = Bytes>) -> Self {
        Self(buffers.into_iter().filter(|buffer| !buffer.is_empty()).collect())
    }
}

impl Body for Frames {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        Poll::Ready(self.0.pop_front().map(|buffer| Ok(Frame::data(buffer))))
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_empty()
    }

    /// Exact, so that the response has a content-length.
    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.0.iter().map(|buffer| buffer.len() as u64).sum())
    }
}
