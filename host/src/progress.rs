//! Progress: a connection whose other end takes nothing for too long ends.
//!
//! A client that stops reading would else keep its connection, and whatever makes the answer, for as long as it likes: bytes that the
//! system has taken for it are acknowledged by a machine, not by a reader.

mod streams;

pub use streams::{InPieces, Streams};

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;

/// A stream whose writes fail once nothing could be written for `patience`.
pub struct Progress<S> {
    stream: S,
    patience: Duration,
    /// Runs while a write waits.
    waits: Option<Pin<Box<Sleep>>>,
}

impl<S> Progress<S> {
    pub fn new(stream: S, patience: Duration) -> Self {
        Self { stream, patience, waits: None }
    }

    /// What came of a write.
    fn watched(&mut self, context: &mut Context<'_>, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if written.is_ready() {
            self.waits = None;
            return written;
        }
        let patience = self.patience;
        let waits = self.waits.get_or_insert_with(|| Box::pin(tokio::time::sleep(patience)));
        waits.as_mut().poll(context).map(|()| Err(io::Error::new(io::ErrorKind::TimedOut, "the client does not read")))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Progress<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Progress<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.watched(context, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffers: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, buffers);
        self.watched(context, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::time::Instant;

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(30);

    #[tokio::test(start_paused = true)]
    async fn a_reader_who_takes_nothing_ends_it() {
        let (ours, mut theirs) = tokio::io::duplex(64);
        let mut stream = Progress::new(ours, PATIENCE);
        // As long as some of it is read now and then, it goes on for as long as it takes.
        let slowly = async {
            for _ in 0..10 {
                tokio::time::sleep(PATIENCE - Duration::from_secs(1)).await;
                theirs.read_exact(&mut [0; 64]).await.expect("it is sent");
            }
        };
        let (written, ()) = tokio::join!(stream.write_all(&[7; 704]), slowly);
        written.expect("it is read");
        let since = Instant::now();
        let error = stream.write_all(&[7; 1]).await.expect_err("nobody reads");
        assert_eq!((error.kind(), since.elapsed().as_secs()), (io::ErrorKind::TimedOut, PATIENCE.as_secs()));
    }

    #[tokio::test(start_paused = true)]
    async fn who_has_nothing_to_send_waits_for_ever() {
        let (ours, mut theirs) = tokio::io::duplex(64);
        let mut stream = Progress::new(ours, PATIENCE);
        let late = async {
            tokio::time::sleep(10 * PATIENCE).await;
            theirs.write_all(b"late").await.expect("it is there");
        };
        let mut buffer = [0; 4];
        let (read, ()) = tokio::join!(stream.read_exact(&mut buffer), late);
        read.expect("it comes");
        stream.write_all(&buffer).await.expect("there is room");
    }
}
