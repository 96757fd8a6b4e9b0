//! The load: connections that send prepared requests one after another and look at no more of an answer than they must, so
//! that a request costs the client less than any server.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use bytes::Bytes;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::Instant;

use crate::caller::Caller;
use crate::compare::Target;

/// Whole requests: HTTP's heads and bodies, gRPC's messages with their prefix.
pub(crate) type Requests = Arc<Vec<Bytes>>;

/// A connection that stays open.
pub(crate) struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
}

/// An answer with status 200.
pub(crate) struct Reply<'c> {
    pub(crate) head: &'c [u8],
    pub(crate) body: &'c [u8],
}

/// How long to go on.
#[derive(Clone, Copy)]
pub(crate) struct Span {
    pub(crate) time: Duration,
    /// Slow models are given more time, until there are so many answers to take the median of.
    pub(crate) answers: usize,
}

/// What a run of the load found.
#[derive(Clone, Copy)]
pub(crate) struct Load {
    pub(crate) p50_us: f64,
    pub(crate) per_second: f64,
    pub(crate) answers: usize,
}

/// Sends requests by so many clients at once. Each begins with another request.
pub(crate) async fn run(target: &Target, clients: usize, span: Span) -> anyhow::Result<Load> {
    let mut callers = Vec::new();
    for _ in 0..clients {
        callers.push(Caller::open(target).await?);
    }
    let started = Instant::now();
    let each = span.answers.div_ceil(clients);
    let tasks: Vec<_> = callers
        .into_iter()
        .enumerate()
        .map(|(first, caller)| {
            let requests = Arc::clone(&target.requests);
            tokio::spawn(one_client(caller, requests, first, started + span.time, each))
        })
        .collect();
    let mut latencies = Vec::new();
    for task in tasks {
        latencies.extend(task.await.context("a client failed")??);
    }
    let passed = started.elapsed().as_secs_f64();
    let answers = latencies.len();
    let (_, median, _) = latencies.select_nth_unstable(answers / 2);
    Ok(Load { p50_us: median.as_secs_f64() * 1e6, per_second: answers as f64 / passed, answers })
}

async fn one_client(
    mut caller: Caller,
    requests: Requests,
    first: usize,
    end: Instant,
    at_least: usize,
) -> anyhow::Result<Vec<Duration>> {
    let mut latencies = Vec::with_capacity(1 << 14);
    let mut sent = Instant::now();
    for request in requests.iter().cycle().skip(first) {
        caller.ask(request).await?;
        let now = Instant::now();
        latencies.push(now - sent);
        if now >= end && latencies.len() >= at_least {
            break;
        }
        sent = now;
    }
    Ok(latencies)
}

impl Connection {
    pub(crate) async fn open(address: SocketAddr) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(address).await.with_context(|| format!("cannot connect to {address}"))?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, buffer: vec![0; 64 << 10] })
    }

    /// Sends a request and reads the answer, which must have status 200 and say how long it is or come in chunks; those are
    /// left as they come.
    pub(crate) async fn ask(&mut self, request: &[u8]) -> anyhow::Result<Reply<'_>> {
        self.stream.write_all(request).await?;
        let mut filled = 0;
        let (head, whole) = loop {
            filled += self.read(filled).await?;
            if let Some(end) = self.buffer[..filled].windows(4).position(|four| four == b"\r\n\r\n") {
                let head = end + 4;
                match header(&self.buffer[..head], "content-length") {
                    Some(length) => break (head, head + length),
                    None => break (head, self.chunks(head, &mut filled).await?),
                }
            }
        };
        if self.buffer.len() < whole {
            self.buffer.resize(whole, 0);
        }
        while filled < whole {
            filled += self.read(filled).await?;
        }
        let reply = Reply { head: &self.buffer[..head], body: &self.buffer[head..whole] };
        if !reply.head.starts_with(b"HTTP/1.1 200 ") {
            bail!("{}{}", String::from_utf8_lossy(reply.head), String::from_utf8_lossy(reply.body));
        }
        Ok(reply)
    }

    /// Reads on to the end of an answer in chunks; where that is.
    async fn chunks(&mut self, head: usize, filled: &mut usize) -> anyhow::Result<usize> {
        let said = self.buffer[..head].to_ascii_lowercase();
        if !said.windows(10).any(|some| some == b": chunked\r") {
            bail!("an answer that does not say how long it is: {}", String::from_utf8_lossy(&said));
        }
        loop {
            if let Some(length) = chunked_length(&self.buffer[head..*filled]) {
                return Ok(head + length);
            }
            if *filled == self.buffer.len() {
                self.buffer.resize(2 * *filled, 0);
            }
            *filled += self.read(*filled).await?;
        }
    }

    async fn read(&mut self, filled: usize) -> anyhow::Result<usize> {
        match self.stream.read(&mut self.buffer[filled..]).await? {
            0 => bail!("the server closed the connection within an answer"),
            count => Ok(count),
        }
    }
}

impl Reply<'_> {
    /// The JSON of the body and the binary tensors behind it.
    pub(crate) fn parts(&self) -> anyhow::Result<(&[u8], &[u8])> {
        let json = header(self.head, "inference-header-content-length").unwrap_or(self.body.len());
        self.body.split_at_checked(json).context("an answer shorter than its JSON")
    }
}

/// The number in a header.
fn header(head: &[u8], name: &str) -> Option<usize> {
    head.split(|byte| *byte == b'\n').find_map(|line| {
        let (found, value) = line.split_at_checked(name.len())?;
        let value = found.eq_ignore_ascii_case(name.as_bytes()).then(|| value.strip_prefix(b":"))??;
        std::str::from_utf8(value).ok()?.trim().parse().ok()
    })
}

/// How long a body in chunks is (RFC 9112, 7.1), if its end is there.
fn chunked_length(body: &[u8]) -> Option<usize> {
    let mut at = 0;
    loop {
        let line = body.get(at..)?.windows(2).position(|two| two == b"\r\n")?;
        let size = std::str::from_utf8(&body[at..at + line]).ok()?.split(';').next()?.trim();
        let size = usize::from_str_radix(size, 16).ok()?;
        if size == 0 {
            // Trailers end as a head does.
            let end = body[at + line..].windows(4).position(|four| four == b"\r\n\r\n")?;
            return Some(at + line + end + 4);
        }
        at += line + 2 + size + 2;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_end_where_the_last_one_does() {
        let body = b"5;x=y\r\n0\r\n\r\n\r\nA\r\n0123456789\r\n0\r\n\r\nmore";
        assert_eq!(chunked_length(body), Some(body.len() - 4));
        assert_eq!(chunked_length(&body[..body.len() - 5]), None);
        assert_eq!(chunked_length(b"0\r\na: b\r\n\r\n"), Some(11));
    }

    #[test]
    fn a_header_is_found_in_any_case_and_only_whole() {
        let head = b"HTTP/1.1 200 OK\r\nx-content-length: 5\r\nContent-Length: 17\r\n\r\n";
        assert_eq!(header(head, "content-length"), Some(17));
        assert_eq!(header(head, "content"), None);
    }
}
