//! `--soak`: random calls over many functions under a budget that holds few of their models, every answer checked.
//!
//! Every second function is typed, the others are their models alone. A function's answer tells its model's number, so an answer of
//! another function's model is a wrong one.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::answer::Answer;
use crate::client::Connection;
use crate::cold::PATIENCE;
use crate::observe;
use crate::payload::Numbers;
use crate::plan::Plan;
use crate::quantile::quantile;
use crate::report::Report;
use crate::server::Start;
use crate::stage::{self, Host, Stopped};
use crate::variants;

const FUNCTIONS: usize = 2000;
const MODELS: usize = 200;
/// The share of the models that the budget holds.
const HELD: f64 = 0.05;
const CLIENTS: usize = 8;
/// Failures that are told; the others are only counted.
const TOLD: usize = 10;

/// What one client found.
#[derive(Default)]
struct Found {
    took_ms: Vec<f64>,
    failures: Vec<String>,
}

pub(crate) async fn run(plan: &Plan, minutes: f64) -> anyhow::Result<()> {
    let network = Arc::new(variants::answers(plan).await?);
    let (store, session_bytes) = prepare(plan).await?;
    let budget = (session_bytes as f64 * MODELS as f64 * HELD).ceil();
    let mut settings = Vec::new();
    if stage::has_setting(&plan.programs.nocti, "models").await? {
        Report::note(&format!("a model takes {session_bytes} bytes, the budget is {budget:.0}"));
        settings.push(("NOCTI_MEMORY_MODELS", format!("{budget:.0}")));
    } else {
        Report::note("this host has no setting memory.models: it keeps every model");
    }
    let host = store.start(&[], &Start { settings, ..plan.unpinned.clone() })?;
    let (address, process) = (host.server.address, host.server.id());
    Report::note(&format!("{CLIENTS} clients for {minutes} minutes"));
    let end = Instant::now() + Duration::from_secs_f64(minutes * 60.0);
    let mut clients = JoinSet::new();
    for client in 0..CLIENTS {
        clients.spawn(one_client(address, client, Arc::clone(&network), end));
    }
    let mut all = Found::default();
    while let Some(found) = clients.join_next().await {
        let Found { took_ms, failures } = found.context("a client failed")?;
        all.took_ms.extend(took_ms);
        all.failures.extend(failures);
    }
    let status = observe::status(address).await?;
    let cold_starts: u64 = status.functions.iter().map(|function| function.cold_starts).sum();
    let evictions = observe::metric(address, "nocti_evictions_total").await;
    let (right, wrong) = (all.took_ms.len(), all.failures.len());
    let percentile = |share| quantile(all.took_ms.iter().copied(), share);
    for (name, value) in [
        ("requests", (right + wrong).to_string()),
        ("errors", wrong.to_string()),
        ("cold starts", cold_starts.to_string()),
        ("evictions", evictions.map_or("this host does not count them".into(), |count| count.to_string())),
        ("p50", format!("{:.3} ms", percentile(0.5))),
        ("p99", format!("{:.3} ms", percentile(0.99))),
        ("slowest", format!("{:.3} ms", percentile(1.0))),
        ("loaded models", status.sessions.len().to_string()),
        ("resident", format!("{:.1} MB", observe::resident_kb(process)? / 1024.0)),
    ] {
        Report::note(&format!("{name:<14} {value}"));
    }
    for failure in all.failures.iter().take(TOLD) {
        Report::note(failure);
    }
    host.stop(PATIENCE)?;
    ensure!(wrong == 0, "{wrong} of {} requests failed", right + wrong);
    Ok(())
}

/// A store with the functions, and the bytes that a loaded model takes by the host's own measure.
async fn prepare(plan: &Plan) -> anyhow::Result<(Stopped, u64)> {
    let host = Host::empty(&plan.programs.nocti, &plan.unpinned)?;
    let folder = tempfile::tempdir().context("no temporary folder")?;
    let models = variants::write(folder.path(), MODELS)?;
    let typed = models.iter().map(|model| variants::typed(folder.path(), model)).collect::<anyhow::Result<Vec<_>>>()?;
    Report::note(&format!("deploying {FUNCTIONS} functions of {MODELS} models"));
    let what = |index: usize| if is_typed(index) { &typed[model(index)] } else { &models[model(index)] };
    host.deploy_all((0..FUNCTIONS).map(|index| (what(index).clone(), name(index))).collect()).await?;
    let address = host.server.address;
    let mut connection = Connection::open(address).await?;
    connection.ask(&variants::request(address, &name(0), 0)).await?;
    let status = observe::status(address).await?;
    let bytes = status.sessions.first().context("the host's status tells no session")?.size_bytes;
    Ok((host.stop(PATIENCE)?.0, bytes))
}

fn name(index: usize) -> String {
    format!("soak-{index}")
}

fn model(index: usize) -> usize {
    index % MODELS
}

/// Every model has functions of both kinds.
fn is_typed(index: usize) -> bool {
    index / MODELS % 2 == 1
}

async fn one_client(host: SocketAddr, client: usize, network: Arc<Vec<Answer>>, end: Instant) -> Found {
    let mut found = Found::default();
    let mut chance = Numbers::new(client);
    let mut open: Option<Connection> = None;
    while Instant::now() < end {
        let (index, payload) = (chance.place(FUNCTIONS), chance.place(network.len()));
        let request = variants::request(host, &name(index), payload);
        let begun = Instant::now();
        let asked = async {
            let mut connection = match open.take() {
                Some(connection) => connection,
                None => Connection::open(host).await?,
            };
            variants::ask(&mut connection, &request, model(index), &network[payload]).await?;
            anyhow::Ok(connection)
        };
        // After a failure a new connection: what is left of the answer may still be in the old one.
        match asked.await {
            Ok(connection) => {
                found.took_ms.push(begun.elapsed().as_secs_f64() * 1e3);
                open = Some(connection);
            }
            Err(error) => found.failures.push(format!("{}: {error:#}", name(index))),
        }
    }
    found
}
