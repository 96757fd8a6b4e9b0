//! The memory of a warm instance of `digits` that waits: what a thousand of them take more than one.
//!
//! A thousand are made by a thousand requests that all wait for company at the model, for up to a second. What connections and
//! a large batch take is there before, from a thousand requests to a function that is its model alone.

use anyhow::Context as _;

use crate::cases::Goal;
use crate::client::Connection;
use crate::examples::Example;
use crate::models::Model;
use crate::observe;
use crate::payload::{self, Form};
use crate::plan::Plan;
use crate::report::{Outcome, Report};
use crate::stage::Host;

const CASE: &str = "density/instance_kb";
const INSTANCES: usize = 1000;

/// The name of the function without instances.
const DIRECT: &str = "direct";

pub(super) async fn measure(report: &mut Report, plan: &Plan) -> anyhow::Result<()> {
    if !plan.wants(CASE) {
        return Ok(());
    }
    if open_files().is_some_and(|most| most < INSTANCES + 100) {
        report.not_measured(CASE, "not measured: it needs more open files: `ulimit -n 4096`");
        return Ok(());
    }
    let company = format!("max_batch = {INSTANCES}\nmax_delay = \"1s\"\n");
    let limits = format!("[limits]\nconcurrency = {INSTANCES}\n");
    let instances = format!("[instances]\nmax_warm = {INSTANCES}\nidle_timeout = \"10m\"\n");
    let path = "path = \"model/digits.onnx\"\n";
    let many = Example::Digits
        .folder(|manifest| manifest.replace(path, &format!("{path}{company}")) + &limits + &instances)?;
    let direct = tempfile::tempdir().context("no temporary folder")?;
    let manifest = format!(
        "name = {DIRECT:?}\nversion = \"1.0.0\"\n[[model]]\nname = \"digits\"\npath = {:?}\n{company}{limits}",
        Example::Digits.model().display().to_string()
    );
    std::fs::write(direct.path().join("nocti.toml"), manifest)?;

    let host = Host::empty(&plan.programs.nocti, &plan.unpinned)?;
    host.deploy(direct.path(), DIRECT).await?;
    host.deploy(&many.path, Example::Digits.name()).await?;
    let (process, address) = (host.server.id(), host.server.address);
    let question = Example::Digits.question()?;
    let digits = question.request(address);
    let payloads = Model::Cnn.payloads();
    let directly: Vec<Vec<u8>> = payloads
        .iter()
        .map(|inputs| payload::request(address, &format!("/v2/models/{DIRECT}/infer"), inputs, Form::Json))
        .collect();

    at_once(&host, &directly).await?;
    at_once(&host, &directly).await?;
    question.ask(&mut Connection::open(address).await?, address).await?;
    let idle = || async { anyhow::Ok(observe::function(address, Example::Digits.name()).await?.instances.idle) };
    let few = idle().await?;
    let before = observe::settled_kb(process).await?;
    at_once(&host, &[digits]).await?;
    let (many, after) = (idle().await?, observe::settled_kb(process).await?);
    if many < INSTANCES / 2 || idle().await? != many || few == 0 {
        let why = format!("not measured: the host kept {few} idle instances, then {many}, then {}", idle().await?);
        report.not_measured(CASE, &why);
        return Ok(());
    }
    let each = (after - before) / (many - few) as f64;
    report.add(CASE, Outcome::new(each, "KB", Some(Goal::AtMost(150.0))));
    Ok(())
}

/// One request on each of [`INSTANCES`] connections, all at once; the connections end with this.
async fn at_once(host: &Host, requests: &[Vec<u8>]) -> anyhow::Result<()> {
    // All of them before the first request: a host that is busy may make a new one wait for a second.
    let mut connections = Vec::new();
    for _ in 0..INSTANCES {
        connections.push(Connection::open(host.server.address).await?);
    }
    let mut tasks = tokio::task::JoinSet::new();
    for (mut connection, request) in connections.into_iter().zip(requests.iter().cycle().cloned()) {
        tasks.spawn(async move { connection.ask(&request).await.map(drop) });
    }
    while let Some(asked) = tasks.join_next().await {
        asked.context("a client failed")??;
    }
    Ok(())
}

/// How many files a process started from here may open; none where the system does not say.
fn open_files() -> Option<usize> {
    let limits = std::fs::read_to_string("/proc/self/limits").ok()?;
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_whitespace().next()?.parse().ok()
}
