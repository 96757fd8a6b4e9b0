//! What guests print: lines into the host's log, each with the function's name, bounded in length and number.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::io::AsyncWrite;
use tokio::time::Instant;
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};
use wasmtime_wasi::p2::{OutputStream, Pollable, StreamError, StreamResult};

/// A longer line is cut into pieces of this size, and no single write may be longer.
const MAX_LINE_BYTES: usize = 4096;

/// What the instances of one version may print in a second, together; the rest is dropped, and counted.
const LINES_PER_SECOND: u32 = 200;

/// How much a version has printed in the second that began at `since`.
pub struct Budget {
    since: Instant,
    lines: u32,
    dropped: u64,
}

impl Budget {
    /// Nothing printed yet.
    pub fn new() -> Arc<Mutex<Self>> {
        Arc::new(Mutex::new(Self { since: Instant::now(), lines: 0, dropped: 0 }))
    }

    /// Whether one more line may be printed, and how many were dropped since the last one.
    fn take(&mut self) -> Option<u64> {
        if self.since.elapsed() >= Duration::from_secs(1) {
            (self.since, self.lines) = (Instant::now(), 0);
        }
        if self.lines == LINES_PER_SECOND {
            self.dropped += 1;
            return None;
        }
        self.lines += 1;
        Some(std::mem::take(&mut self.dropped))
    }
}

/// What the host has to tell a function's author, among what the function prints.
pub(super) fn note(function: &str, budget: &Mutex<Budget>, text: &str) {
    if may_print(function, budget) {
        tracing::warn!(target: "nocti::guest", function, "{text}");
    }
}

/// Whether one more line may be printed; says how many were not.
fn may_print(function: &str, budget: &Mutex<Budget>) -> bool {
    let Some(dropped) = budget.lock().unwrap_or_else(PoisonError::into_inner).take() else { return false };
    if dropped > 0 {
        tracing::warn!(target: "nocti::guest", function, dropped, "it prints too much; lines are missing");
    }
    true
}

/// Standard output or error of one function's instances.
#[derive(Clone)]
pub(super) struct GuestOutput {
    /// `name@version`.
    function: Arc<str>,
    stream: &'static str,
    budget: Arc<Mutex<Budget>>,
}

impl GuestOutput {
    pub(super) fn new(function: &Arc<str>, stream: &'static str, budget: &Arc<Mutex<Budget>>) -> Self {
        Self { function: Arc::clone(function), stream, budget: Arc::clone(budget) }
    }

    fn lines(&self) -> Lines {
        Lines { output: self.clone(), pending: Vec::new() }
    }
}

impl IsTerminal for GuestOutput {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for GuestOutput {
    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        Box::new(self.lines())
    }

    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(self.lines())
    }
}

/// One open stream: the start of a line that has not ended yet.
struct Lines {
    output: GuestOutput,
    pending: Vec<u8>,
}

impl Lines {
    fn push(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            if byte == b'\n' || self.pending.len() == MAX_LINE_BYTES {
                self.emit();
            }
            if byte != b'\n' {
                self.pending.push(byte);
            }
        }
    }

    fn emit(&mut self) {
        let pending = std::mem::take(&mut self.pending);
        if pending.is_empty() {
            return;
        }
        let GuestOutput { function, stream, budget } = &self.output;
        if !may_print(function, budget) {
            return;
        }
        let line = String::from_utf8_lossy(&pending);
        tracing::info!(target: "nocti::guest", function = &**function, stream, "{line}");
    }
}

impl Drop for Lines {
    fn drop(&mut self) {
        self.emit();
    }
}

#[async_trait]
impl Pollable for Lines {
    async fn ready(&mut self) {}
}

#[async_trait]
impl OutputStream for Lines {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        // The interface's rule; it also bounds how long the guest holds this thread.
        if bytes.len() > MAX_LINE_BYTES {
            return Err(StreamError::trap("a write is longer than check-write permits"));
        }
        self.push(&bytes);
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(MAX_LINE_BYTES)
    }
}

impl AsyncWrite for Lines {
    fn poll_write(
        mut self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
        bytes: &[u8],
    ) -> std::task::Poll<std::io::Result<usize>> {
        let taken = &bytes[..bytes.len().min(MAX_LINE_BYTES)];
        self.push(taken);
        std::task::Poll::Ready(Ok(taken.len()))
    }

    fn poll_flush(
        self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<std::io::Result<()>> {
        std::task::Poll::Ready(Ok(()))
    }

    fn poll_shutdown(
        self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<std::io::Result<()>> {
        std::task::Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_flood_is_cut_to_its_budget_and_what_is_missing_is_counted() {
        let budget = Budget::new();
        let take = || budget.lock().expect("nothing panicked").take();
        let printed = (0..LINES_PER_SECOND + 50).filter(|_| take().is_some()).count();
        assert_eq!(printed, LINES_PER_SECOND as usize);
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(take(), Some(50));
        assert_eq!(take(), Some(0));
    }

    #[tokio::test(start_paused = true)]
    async fn a_line_without_an_end_does_not_grow() {
        let output = GuestOutput::new(&"f@1".into(), "stdout", &Budget::new());
        let mut lines = output.lines();
        for _ in 0..10 {
            lines.push(&[b'x'; MAX_LINE_BYTES]);
            assert!(lines.pending.len() <= MAX_LINE_BYTES);
        }
        assert!(output.budget.lock().expect("nothing panicked").lines >= 9);
    }
}
