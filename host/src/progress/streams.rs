//! HTTP/2: an answer that its client takes nothing of ends, and the others of its connection go on.
//!
//! The socket shows nothing of it: its client may read others, and say that it is there. But hyper asks a body for more once the last
//! of it has gone to the connection, which takes only what the client has room for. So an answer waits for its client while nobody
//! asks for what comes after a piece. hyper tells that to nobody: the body and the task that sends it, one inside the other, tell
//! each other, and a timer runs only where there is something to wait for.

use std::cell::Cell;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use futures::future::{MapOk, TryFutureExt};
use http::Response;
use http_body::{Body, Frame, SizeHint};
use hyper::rt::Executor;
use hyper::service::Service;
use pin_project_lite::pin_project;
use tokio::time::{Instant, Sleep, sleep};

/// The most of a body that goes to the connection at once, which is a frame of HTTP/2 as clients take them.
const PIECE_BYTES: usize = 16 << 10;

/// What the bodies said that were asked by this thread.
#[derive(Clone, Copy)]
enum Said {
    Nothing,
    /// There is no more yet.
    Later,
    Piece,
}

thread_local! {
    static SAID: Cell<Said> = const { Cell::new(Said::Nothing) };
}

/// Runs the tasks that send answers, which end once nothing was taken of a body in pieces for `patience`.
#[derive(Clone)]
pub struct Streams {
    pub patience: Duration,
}

impl<F> Executor<F> for Streams
where
    F: Future<Output: Send> + Send + 'static,
{
    fn execute(&self, stream: F) {
        tokio::spawn(Watched { stream, patience: self.patience, waits: None });
    }
}

pin_project! {
    /// A task that sends an answer. What is dropped before its end is reset, and what the connection has of it is let go.
    struct Watched<F> {
        #[pin]
        stream: F,
        patience: Duration,
        waits: Option<Pin<Box<Sleep>>>,
    }
}

impl<F: Future> Future for Watched<F> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let this = self.project();
        SAID.set(Said::Nothing);
        if this.stream.poll(context).is_ready() {
            return Poll::Ready(());
        }
        match (SAID.get(), &mut *this.waits) {
            (Said::Piece, Some(waits)) => waits.as_mut().reset(Instant::now() + *this.patience),
            (Said::Piece, waits) => *waits = Some(Box::pin(sleep(*this.patience))),
            (Said::Later, waits) => *waits = None,
            (Said::Nothing, _) => {}
        }
        ready!(this.waits.as_mut().map_or(Poll::Pending, |waits| waits.as_mut().poll(context)));
        tracing::debug!("an answer was given up: its client takes nothing of it");
        Poll::Ready(())
    }
}

/// A service whose answers go out in pieces.
pub struct InPieces<S>(pub S);

impl<S, R, B> Service<R> for InPieces<S>
where
    S: Service<R, Response = Response<B>>,
{
    type Response = Response<Pieces<B>>;
    type Error = S::Error;
    type Future = MapOk<S::Future, fn(Response<B>) -> Response<Pieces<B>>>;

    fn call(&self, request: R) -> Self::Future {
        self.0.call(request).map_ok(|answer| answer.map(Pieces::of))
    }
}

/// A body of which no more goes to the connection at once than a piece.
pub struct Pieces<B> {
    body: B,
    /// Of the body's last frame, what has not gone.
    rest: Bytes,
}

impl<B> Pieces<B> {
    fn of(body: B) -> Self {
        Self { body, rest: Bytes::new() }
    }
}

impl<B: Body<Data = Bytes> + Unpin> Pieces<B> {
    fn poll_piece(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        if self.rest.is_empty() {
            let frame = match ready!(Pin::new(&mut self.body).poll_frame(context)) {
                Some(Ok(frame)) => frame,
                end => return Poll::Ready(end),
            };
            match frame.into_data() {
                Ok(data) if data.len() > PIECE_BYTES => self.rest = data,
                Ok(data) => return Poll::Ready(Some(Ok(Frame::data(data)))),
                Err(other) => return Poll::Ready(Some(Ok(other))),
            }
        }
        let piece = match self.rest.len() > PIECE_BYTES {
            true => self.rest.split_to(PIECE_BYTES),
            // A copy: nobody watches how long the connection keeps the last piece, which is not to keep the others.
            false => Bytes::copy_from_slice(&std::mem::take(&mut self.rest)),
        };
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }
}

impl<B: Body<Data = Bytes> + Unpin> Body for Pieces<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let piece = self.poll_piece(context);
        SAID.set(if piece.is_pending() { Said::Later } else { Said::Piece });
        piece
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let (rest, body) = (self.rest.len() as u64, self.body.size_hint());
        let mut hint = SizeHint::new();
        hint.set_lower(body.lower() + rest);
        if let Some(upper) = body.upper() {
            hint.set_upper(upper + rest);
        }
        hint
    }
}

#[cfg(test)]
mod tests;
