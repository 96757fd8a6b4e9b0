//! How long the first piece of a streamed answer is on its way: from the guest's write to the client's read.
//!
//! The guest writes what its clock says as an event and lets the answer go on for a while; the client compares that with the
//! same clock, the machine's, once it has read the event. So what the guest needs to begin is not in it, and what the guest's
//! call to its clock takes is.

use std::time::{Duration, SystemTime};

use anyhow::{Context as _, ensure};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::cases::Goal;
use crate::functions;
use crate::payload;
use crate::plan::Plan;
use crate::quantile::median;
use crate::report::{Outcome, Report};
use crate::server::Start;
use crate::stage::Host;

/// The cases, and a component for each among the tests' guests.
const CASES: [(&str, &str); 2] =
    [("stream/first_byte_ms/http02", "misbehave_http"), ("stream/first_byte_ms/http03", "http_p3")];

/// Answers that are not counted, and those that are.
const WARM_UP: usize = 20;
const ANSWERS: usize = 300;

pub(crate) async fn measure(report: &mut Report, plan: &Plan, start: &Start) -> anyhow::Result<()> {
    for (case, component) in CASES {
        if plan.wants(case) {
            let value = first_byte_ms(plan, start, component).await.context(case)?;
            report.add(case, Outcome::new(value, "ms", Some(Goal::AtMost(1.0))));
        }
    }
    Ok(())
}

async fn first_byte_ms(plan: &Plan, start: &Start, component: &str) -> anyhow::Result<f64> {
    let folder = tempfile::tempdir().context("no temporary folder")?;
    let path = functions::guest(component)?;
    let manifest =
        format!("name = \"clock\"\nversion = \"1.0.0\"\n[component]\npath = {:?}\n", path.display().to_string());
    std::fs::write(folder.path().join("nocti.toml"), manifest)?;
    let host = Host::empty(&plan.programs.nocti, start)?;
    host.deploy(folder.path(), "clock").await?;

    let mut stream = TcpStream::connect(host.server.address).await.context("cannot connect")?;
    let request = payload::get(host.server.address, "/functions/clock/clock?ms=10");
    let mut delays = Vec::with_capacity(ANSWERS);
    for _ in 0..WARM_UP + if plan.quick { WARM_UP } else { ANSWERS } {
        delays.push(ask(&mut stream, &request).await?);
    }
    Ok(median(delays.into_iter().skip(WARM_UP).map(|delay| delay.as_secs_f64() * 1e3)))
}

/// Reads a whole answer; how long its event was on its way.
async fn ask(stream: &mut TcpStream, request: &[u8]) -> anyhow::Result<Duration> {
    const END: &[u8] = b"\r\n0\r\n\r\n";
    let sent = SystemTime::UNIX_EPOCH.elapsed()?;
    stream.write_all(request).await?;
    let (mut answer, mut delay) = (Vec::with_capacity(1 << 10), None);
    loop {
        let count = stream.read_buf(&mut answer).await?;
        let now = SystemTime::UNIX_EPOCH.elapsed()?;
        ensure!(count > 0, "the host closed the connection within an answer: {}", String::from_utf8_lossy(&answer));
        if delay.is_none()
            && let Some(written) = event(&answer)
        {
            ensure!(sent <= written && written <= now, "the guest's clock is another one than the client's");
            delay = Some(now - written);
        }
        if answer.ends_with(END) {
            return delay.with_context(|| format!("no time in it: {}", String::from_utf8_lossy(&answer)));
        }
    }
}

/// The time in the first event, once that is whole.
fn event(answer: &[u8]) -> Option<Duration> {
    let text = std::str::from_utf8(answer).ok()?;
    let (number, _) = text.split_once("data: ")?.1.split_once("\n\n")?;
    number.parse().ok().map(Duration::from_nanos)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_read_once_it_is_whole() {
        let answer = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n14\r\ndata: 1790000000123\n\n\r\n";
        assert_eq!(event(answer), Some(Duration::from_nanos(1_790_000_000_123)));
        assert_eq!(event(&answer[..answer.len() - 3]), None);
    }
}
