//! What can be seen of a server from outside: a host's status and metrics, a process's memory.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context as _;
use serde::Deserialize;
use tokio::time::Instant;

use crate::client::Connection;
use crate::payload;

/// `/api/status`, as much of it as is looked at.
#[derive(Deserialize)]
pub(crate) struct Status {
    pub(crate) functions: Vec<FunctionStatus>,
    pub(crate) sessions: Vec<SessionStatus>,
}

#[derive(Deserialize)]
pub(crate) struct FunctionStatus {
    pub(crate) function: String,
    pub(crate) kind: String,
    pub(crate) instances: Instances,
    pub(crate) cold_starts: u64,
    /// How it came into memory the last time.
    pub(crate) last_cold_start: Option<ColdStart>,
}

#[derive(Deserialize)]
pub(crate) struct Instances {
    pub(crate) idle: usize,
    pub(crate) busy: usize,
}

#[derive(Deserialize)]
pub(crate) struct ColdStart {
    pub(crate) total_ms: f64,
    /// By the phase's name; what was in memory already has none.
    pub(crate) phases_ms: serde_json::Map<String, serde_json::Value>,
}

#[derive(Deserialize)]
pub(crate) struct SessionStatus {
    pub(crate) size_bytes: u64,
}

/// Asks a host for its status.
pub(crate) async fn status(host: SocketAddr) -> anyhow::Result<Status> {
    let mut connection = Connection::open(host).await?;
    let reply = connection.ask(&payload::get(host, "/api/status")).await?;
    serde_json::from_slice(reply.body).context("the host's status is not as expected")
}

/// The function of this name in a host's status.
pub(crate) async fn function(host: SocketAddr, name: &str) -> anyhow::Result<FunctionStatus> {
    let found = status(host).await?.functions.into_iter().find(|function| function.function == name);
    found.with_context(|| format!("the host's status has no function {name}"))
}

/// A metric of a host, summed over its labels; none where there is no such metric.
pub(crate) async fn metric(host: SocketAddr, name: &str) -> Option<f64> {
    let mut connection = Connection::open(host).await.ok()?;
    let reply = connection.ask(&payload::get(host, "/metrics")).await.ok()?;
    sum(std::str::from_utf8(reply.body).ok()?, name)
}

fn sum(metrics: &str, name: &str) -> Option<f64> {
    let lines = metrics
        .lines()
        .filter(|line| line.strip_prefix(name).is_some_and(|rest| rest.starts_with('{') || rest.starts_with(' ')));
    let numbers = lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok());
    numbers.reduce(|one, two| one + two)
}

/// A process's resident memory in KB: proc(5), `VmRSS`.
pub(crate) fn resident_kb(process: u32) -> anyhow::Result<f64> {
    let text = std::fs::read_to_string(format!("/proc/{process}/status")).context("no memory figure of the process")?;
    let number =
        text.lines().find_map(|line| line.strip_prefix("VmRSS:")?.trim().strip_suffix("kB")?.trim().parse().ok());
    number.context("this system does not say how much memory a process has")
}

/// The same once it stays: what goes on behind the answers, such as giving memory back, is over.
pub(crate) async fn settled_kb(process: u32) -> anyhow::Result<f64> {
    /// It stays when it has changed by no more than this share for this long; nobody waits longer than the limit.
    const STAYS: (f64, Duration) = (0.005, Duration::from_secs(1));
    const LIMIT: Duration = Duration::from_secs(10);
    let begun = Instant::now();
    let (mut since, mut reference) = (begun, resident_kb(process)?);
    loop {
        tokio::time::sleep(Duration::from_millis(50)).await;
        let (now, found) = (Instant::now(), resident_kb(process)?);
        if (found - reference).abs() > STAYS.0 * reference {
            (since, reference) = (now, found);
        }
        if now - since >= STAYS.1 || now - begun >= LIMIT {
            return Ok(found);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_metric_is_summed_and_a_missing_one_is_none() {
        let text =
            "# TYPE moved_total counter\nmoved_total{way=\"in\"} 5\nmoved_total{way=\"out\"} 7\nmoved_total_2 9\n";
        assert_eq!(sum(text, "moved_total"), Some(12.0));
        assert_eq!(sum(text, "moved_total_2"), Some(9.0));
        assert_eq!(sum(text, "moved"), None);
    }
}
