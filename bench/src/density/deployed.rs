//! Thousands of deployed functions that are asleep: how long a host takes to start with them, what they take in memory, and how
//! soon one of them answers.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use tokio::time::Instant;

use crate::cases::Goal;
use crate::client::Connection;
use crate::cold::PATIENCE;
use crate::observe;
use crate::payload::{self, Numbers};
use crate::plan::Plan;
use crate::quantile::{median, quantile};
use crate::report::{Outcome, Report};
use crate::stage::Host;
use crate::variants;

const START: &str = "density/10k/start_s";
const RESIDENT: &str = "density/10k/rss_mb";
const FIRST: &str = "density/10k/first_p99_ms";

const FUNCTIONS: usize = 10_000;
const FUNCTIONS_QUICK: usize = 500;
const MODELS: usize = 100;
/// First calls, each of another function.
const CALLS: usize = 500;

pub(super) async fn measure(report: &mut Report, plan: &Plan) -> anyhow::Result<()> {
    if ![START, RESIDENT, FIRST].into_iter().any(|case| plan.wants(case)) {
        return Ok(());
    }
    let count = if plan.quick { FUNCTIONS_QUICK } else { FUNCTIONS };
    let host = Host::empty(&plan.programs.nocti, &plan.unpinned)?;
    let folder = tempfile::tempdir().context("no temporary folder")?;
    let models = variants::write(folder.path(), MODELS)?;
    Report::note(&format!("density/10k: deploying {count} functions of {MODELS} models"));
    host.deploy_all((0..count).map(|index| (models[index % MODELS].clone(), name(index))).collect()).await?;
    let (mut store, _) = host.stop(PATIENCE)?;

    let (mut starts, mut residents) = (Vec::new(), Vec::new());
    let host = loop {
        let host = store.start(&[], &plan.unpinned)?;
        starts.push(ready(&host).await?.as_secs_f64());
        residents.push(observe::settled_kb(host.server.id()).await? / 1024.0);
        if starts.len() == 3 {
            break host;
        }
        (store, _) = host.stop(PATIENCE)?;
    };
    let firsts = first_calls(&host, count, plan).await?;
    for (case, found, unit, most) in [
        (START, median(starts), "s", 2.0),
        (RESIDENT, median(residents), "MB", 300.0),
        (FIRST, quantile(firsts, 0.99), "ms", 50.0),
    ] {
        if plan.wants(case) {
            report.add(case, Outcome::new(found, unit, Some(Goal::AtMost(most))));
        }
    }
    Ok(())
}

fn name(index: usize) -> String {
    format!("f{index}")
}

/// From the process's start until the host says that it is ready.
async fn ready(host: &Host) -> anyhow::Result<Duration> {
    let address = host.server.address;
    let mut connection = Connection::open(address).await?;
    let request = payload::get(address, "/readyz");
    while let Err(error) = connection.ask(&request).await {
        ensure!(host.server.begun.elapsed() < PATIENCE, "the host does not become ready: {error:#}");
        tokio::time::sleep(Duration::from_millis(1)).await;
        connection = Connection::open(address).await?;
    }
    Ok(host.server.begun.elapsed())
}

/// Milliseconds of first calls, one after another, each of a function that was not asked before.
async fn first_calls(host: &Host, count: usize, plan: &Plan) -> anyhow::Result<Vec<f64>> {
    let network = variants::answers(plan).await?;
    let address = host.server.address;
    let mut connection = Connection::open(address).await?;
    let mut order = Numbers::new(0).shuffled(count);
    order.truncate(CALLS);
    let mut took = Vec::new();
    for (call, index) in order.into_iter().enumerate() {
        let request = variants::request(address, &name(index), call);
        let begun = Instant::now();
        let asked = variants::ask(&mut connection, &request, index % MODELS, &network[call % network.len()]).await;
        asked.with_context(|| name(index))?;
        took.push(begun.elapsed().as_secs_f64() * 1e3);
    }
    Ok(took)
}
