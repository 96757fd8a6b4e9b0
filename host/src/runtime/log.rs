//! What guests print: lines in the host's log, few and each with the function's name, and in the function's own.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::io::AsyncWrite;
use tokio::time::Instant;
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};
use wasmtime_wasi::p2::{OutputStream, Pollable, StreamError, StreamResult};

use crate::logs::{Log, Stream, plain};
use crate::trace;

/// A longer line is cut into pieces of this size, and no single write may be longer.
const MAX_LINE_BYTES: usize = 4096;

/// What the instances of one version may print in a second, together, into the host's log; the rest is dropped there, and counted.
const LINES_PER_SECOND: u32 = 200;

/// How much a version has printed in the second that began at `since`.
struct Budget {
    since: Instant,
    lines: u32,
    dropped: u64,
}

impl Budget {
    /// Nothing printed yet.
    fn new() -> Self {
        Self { since: Instant::now(), lines: 0, dropped: 0 }
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

/// Where what the instances of one version print goes.
pub struct Output {
    /// `name@version`.
    function: Arc<str>,
    budget: Mutex<Budget>,
    log: Log,
}

impl Output {
    /// `function` is `name@version`, `log` the function's own.
    pub fn new(function: Arc<str>, log: Log) -> Arc<Self> {
        Arc::new(Self { function, budget: Mutex::new(Budget::new()), log })
    }

    /// What the host has to tell a function's author, among what the function prints.
    pub(super) fn note(&self, text: &str) {
        self.log.line(Stream::Host, trace::current_id().as_deref(), text, false);
        if self.may_print() {
            tracing::warn!(target: "nocti::guest", function = &*self.function, "{text}");
        }
    }

    /// A trap, and the calls that the guest was in, for its author alone: what the host's operators and callers are told of it is
    /// the request's failure.
    pub(super) fn trapped(&self, reason: &str, calls: &[String]) {
        let request = trace::current_id();
        let line = |text: &str| self.log.line(Stream::Host, request.as_deref(), text, false);
        line(&format!("trapped: {}", reason.lines().next().unwrap_or_default()));
        calls.iter().enumerate().for_each(|(depth, call)| line(&format!("  {depth}: {call}")));
    }

    /// A line of the guest's; `cut`: it goes on in the next.
    fn line(&self, stream: Stream, text: &str, cut: bool) {
        self.log.line(stream, trace::current_id().as_deref(), text, cut);
        if self.may_print() {
            let (function, stream, text) = (&*self.function, stream.name(), plain(text));
            tracing::info!(target: "nocti::guest", function, stream, "{text}");
        }
    }

    /// Whether one more line may go into the host's log; says how many did not.
    fn may_print(&self) -> bool {
        let Some(dropped) = self.budget.lock().unwrap_or_else(PoisonError::into_inner).take() else { return false };
        if dropped > 0 {
            let function = &*self.function;
            tracing::warn!(target: "nocti::guest", function, dropped, "it prints too much; lines are missing");
        }
        true
    }
}

/// Standard output or error of one function's instances.
#[derive(Clone)]
pub(super) struct GuestOutput {
    output: Arc<Output>,
    stream: Stream,
}

impl GuestOutput {
    pub(super) fn new(output: &Arc<Output>, stream: Stream) -> Self {
        Self { output: Arc::clone(output), stream }
    }

    fn lines(&self) -> Lines {
        Lines { to: self.clone(), pending: Vec::new() }
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
    to: GuestOutput,
    pending: Vec<u8>,
}

impl Lines {
    fn push(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            if byte == b'\n' {
                self.emit();
                continue;
            }
            if self.pending.len() == MAX_LINE_BYTES {
                self.emit_piece();
            }
            self.pending.push(byte);
        }
    }

    /// The line is whole.
    fn emit(&mut self) {
        if !self.pending.is_empty() {
            self.to.output.line(self.to.stream, &String::from_utf8_lossy(&self.pending), false);
            self.pending.clear();
        }
    }

    /// The line goes on; a character at the cut stays whole.
    fn emit_piece(&mut self) {
        let last = self.pending.utf8_chunks().last();
        let end = self.pending.len() - last.map_or(0, |last| unfinished(last.invalid()));
        self.to.output.line(self.to.stream, &String::from_utf8_lossy(&self.pending[..end]), true);
        self.pending.drain(..end);
    }
}

/// How many of these bytes, which end a text and are none, may become a character when others follow.
fn unfinished(invalid: &[u8]) -> usize {
    match std::str::from_utf8(invalid) {
        Err(error) if error.error_len().is_none() => invalid.len() - error.valid_up_to(),
        _ => 0,
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
        let mut budget = Budget::new();
        let printed = (0..LINES_PER_SECOND + 50).filter(|_| budget.take().is_some()).count();
        assert_eq!(printed, LINES_PER_SECOND as usize);
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(budget.take(), Some(50));
        assert_eq!(budget.take(), Some(0));
    }

    fn lines() -> Lines {
        GuestOutput::new(&Output::new("f@1".into(), Log::default()), Stream::Stdout).lines()
    }

    #[tokio::test(start_paused = true)]
    async fn a_line_without_an_end_does_not_grow() {
        let mut lines = lines();
        for _ in 0..10 {
            lines.push(&[b'x'; MAX_LINE_BYTES]);
            assert!(lines.pending.len() <= MAX_LINE_BYTES);
        }
        assert!(lines.to.output.budget.lock().expect("nothing panicked").lines >= 9);
    }

    #[tokio::test(start_paused = true)]
    async fn a_cut_leaves_characters_whole() {
        let cut = |text: &[u8]| {
            let mut lines = lines();
            lines.push(&[&[b'x'; MAX_LINE_BYTES][text.len()..], text, b"y"].concat());
            std::mem::take(&mut lines.pending)
        };
        assert_eq!(cut("é".as_bytes()), b"y");
        assert_eq!(cut(&"é".as_bytes()[..1]), b"\xc3y");
        assert_eq!(cut(&"🦀".as_bytes()[..3]), b"\xf0\x9f\xa6y");
        assert_eq!(cut(b"\xa9\xff"), b"y", "no character begins like this");
    }
}
