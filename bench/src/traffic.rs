//! How soon a change of traffic holds, and whether it costs a request: under a load that does not wait, an alias is pointed from one
//! version to another and back.
//!
//! The time is from the sending of the change to the first request from which on every one is answered by the new version, so what the
//! change takes to be written is in it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use bytes::Bytes;
use tokio::time::Instant;

use crate::caller::Protocol;
use crate::cases::{Goal, Subject};
use crate::client::Connection;
use crate::functions::{Function, Kind};
use crate::models::Model;
use crate::payload::Form;
use crate::plan::Plan;
use crate::report::{Outcome, Report};
use crate::server::Start;
use crate::stage::{self, Host};

const SWITCH: &str = "traffic/switch_ms";
const LOST: &str = "traffic/lost";

/// The first is what the functions of the benchmark are deployed as.
const VERSIONS: [&str; 2] = ["1.0.0", "2.0.0"];

const PER_SECOND: u32 = 1000;
const CLIENTS: u32 = 8;

/// Changes, and how long each is watched.
const CHANGES: usize = 40;
const CHANGES_QUICK: usize = 6;
const WATCHED: Duration = Duration::from_millis(250);

/// A request: when it was sent, and which of the versions answered it.
struct Asked {
    sent: Instant,
    by: Option<usize>,
}

pub(crate) async fn measure(report: &mut Report, plan: &Plan, start: &Start) -> anyhow::Result<()> {
    if ![SWITCH, LOST].into_iter().any(|case| plan.wants(case)) {
        return Ok(());
    }
    let function = Function::plain(Kind::ModelOnly, Model::Cnn);
    let host = Host::start(&plan.programs.nocti, &[function], start).await?;
    let folder = function.folder()?;
    let manifest = folder.path().join("nocti.toml");
    std::fs::write(&manifest, std::fs::read_to_string(&manifest)?.replace(VERSIONS[0], VERSIONS[1]))?;
    host.deploy(folder.path(), &function.name()).await?;

    let target = stage::target(&host.server, Subject::Function(function), Protocol::Rest(Form::Json));
    let enough = Arc::new(AtomicBool::new(false));
    let clients: Vec<_> = (0..CLIENTS)
        .map(|client| {
            let (requests, enough) = (Arc::clone(&target.requests), Arc::clone(&enough));
            tokio::spawn(load(target.address, requests, client, enough))
        })
        .collect();
    let mut control = Connection::open(host.server.address).await?;
    let mut changes = Vec::new();
    for change in 0..if plan.quick { CHANGES_QUICK } else { CHANGES } {
        tokio::time::sleep(WATCHED).await;
        let to = change % VERSIONS.len();
        let body = format!("{{\"weights\": {{\"{}\": 1}}}}", VERSIONS[to]);
        let request = format!(
            "PUT /api/functions/{}/aliases/live HTTP/1.1\r\nhost: {}\r\ncontent-length: {}\r\n\r\n{body}",
            function.name(),
            host.server.address,
            body.len()
        );
        changes.push((Instant::now(), to));
        control.ask(request.as_bytes()).await.context("the change is refused")?;
    }
    tokio::time::sleep(WATCHED).await;
    enough.store(true, Ordering::Relaxed);
    let mut asked = Vec::new();
    for client in clients {
        asked.extend(client.await.context("a client failed")??);
    }
    asked.sort_by_key(|asked| asked.sent);
    let slowest = changes.iter().map(|&(at, to)| followed(&asked, at, to)).collect::<anyhow::Result<Vec<_>>>()?;
    let slowest = slowest.into_iter().max().unwrap_or_default();
    let lost = asked.iter().filter(|asked| asked.by.is_none()).count();
    for (case, value, unit, most) in
        [(SWITCH, slowest.as_secs_f64() * 1e3, "ms", 50.0), (LOST, lost as f64, "count", 0.0)]
    {
        if plan.wants(case) {
            report.add(case, Outcome::new(value, unit, Some(Goal::AtMost(most))));
        }
    }
    Ok(())
}

/// From the change to the first request after the last one, until the next change, that another version answered.
fn followed(asked: &[Asked], at: Instant, to: usize) -> anyhow::Result<Duration> {
    let watched = asked.iter().filter(|asked| asked.sent >= at && asked.sent < at + WATCHED);
    let (mut first, mut last) = (None, 0);
    for (number, request) in watched.enumerate() {
        if request.by.is_some_and(|by| by != to) {
            (first, last) = (None, number);
        } else if first.is_none() {
            first = Some(request.sent);
        }
    }
    let first = first.with_context(|| format!("a change does not hold after {WATCHED:?}, {last} requests"))?;
    Ok(first - at)
}

/// Sends requests at their times, whatever becomes of them.
async fn load(
    address: std::net::SocketAddr,
    requests: Arc<Vec<Bytes>>,
    client: u32,
    enough: Arc<AtomicBool>,
) -> anyhow::Result<Vec<Asked>> {
    let mut connection = Connection::open(address).await?;
    let every = Duration::from_secs(1) * CLIENTS / PER_SECOND;
    let mut turn = tokio::time::interval_at(Instant::now() + every * client / CLIENTS, every);
    let mut all = Vec::new();
    for request in requests.iter().cycle() {
        turn.tick().await;
        if enough.load(Ordering::Relaxed) {
            break;
        }
        let sent = Instant::now();
        let by = match connection.ask(request).await {
            Ok(reply) => VERSIONS.iter().position(|version| contains(reply.body, version)),
            Err(_) => None,
        };
        if by.is_none() {
            connection = Connection::open(address).await?;
        }
        all.push(Asked { sent, by });
    }
    ensure!(!all.is_empty(), "a client sent nothing");
    Ok(all)
}

/// Whether an answer is of this version.
fn contains(body: &[u8], version: &str) -> bool {
    let said = format!("\"model_version\":\"{version}\"");
    body.windows(said.len()).any(|window| window == said.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_holds_from_the_first_request_that_no_other_version_answers_after() {
        let at = Instant::now();
        let asked = |answers: &[(u64, Option<usize>)]| -> Vec<Asked> {
            answers.iter().map(|&(ms, by)| Asked { sent: at + Duration::from_millis(ms), by }).collect()
        };
        let found = |answers| followed(&asked(answers), at, 1).expect("it holds");
        assert_eq!(found(&[(0, Some(1)), (1, Some(1))]), Duration::ZERO);
        assert_eq!(
            found(&[(1, Some(0)), (2, Some(1)), (3, Some(0)), (4, None), (5, Some(1))]),
            Duration::from_millis(4)
        );
        assert_eq!(found(&[(1, Some(1)), (300, Some(0))]), Duration::from_millis(1), "that is after the next change");
        assert!(followed(&asked(&[(1, Some(0))]), at, 1).is_err());
        assert!(contains(br#"{"model_name":"f","model_version":"2.0.0"}"#, "2.0.0"));
    }
}
