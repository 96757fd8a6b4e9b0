//! How soon a host sees what another has deployed: two hosts over one store, a folder and a bucket.
//!
//! The time is from the start of the command that deploys to the answer of the other host that has the version. It is the longest of
//! some, since what is promised is a bound.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};
use tokio::time::Instant;

use crate::cases::Goal;
use crate::client::Connection;
use crate::functions::{Function, Kind};
use crate::models::Model;
use crate::payload;
use crate::plan::Plan;
use crate::report::{Outcome, Report};
use crate::server::{Server, Start};
use crate::stage;

const FOLDER: &str = "store/seen_ms/folder";
const BUCKET: &str = "store/seen_ms/bucket";

/// Deploys, by turns to the one and the other host.
const DEPLOYS: usize = 20;
const DEPLOYS_QUICK: usize = 4;
const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) async fn measure(report: &mut Report, plan: &Plan) -> anyhow::Result<()> {
    if plan.wants(FOLDER) {
        let folder = tempfile::tempdir().context("no temporary folder")?;
        measure_over(report, plan, FOLDER, folder.path().as_os_str().to_owned(), &[]).await?;
    }
    if plan.wants(BUCKET) {
        let Some(python) = &plan.bucket_server else {
            report.not_measured(
                BUCKET,
                "not measured: there is no server of buckets; `scripts/setup buckets` installs it",
            );
            return Ok(());
        };
        let bucket = Bucket::start(python).await?;
        measure_over(report, plan, BUCKET, "s3://bucket/bench".into(), &bucket.settings()).await?;
    }
    Ok(())
}

async fn measure_over(
    report: &mut Report,
    plan: &Plan,
    case: &str,
    store: OsString,
    settings: &[(&'static str, String)],
) -> anyhow::Result<()> {
    let nocti = &plan.programs.nocti;
    let no_folder = "no temporary folder";
    let caches = [tempfile::tempdir().context(no_folder)?, tempfile::tempdir().context(no_folder)?];
    let mut hosts = Vec::new();
    for cache in &caches {
        let mut start = Start { settings: settings.to_vec(), ..plan.unpinned.clone() };
        start.settings.push(("NOCTI_CACHE_DIR", cache.path().display().to_string()));
        hosts.push(stage::serve(nocti, Path::new(&store), &[], &start)?);
    }
    let mut longest = Duration::ZERO;
    for deploy in 0..if plan.quick { DEPLOYS_QUICK } else { DEPLOYS } {
        let (to, other) = (&hosts[deploy % 2], &hosts[(deploy + 1) % 2]);
        longest = longest.max(seen(nocti, to, other, &format!("1.0.{deploy}")).await.with_context(|| case.to_owned())?);
    }
    report.add(case, Outcome::new(longest.as_secs_f64() * 1e3, "ms", Some(Goal::AtMost(2000.0))));
    Ok(())
}

/// Deploys a version to one host; how long it takes until the other shows it.
async fn seen(nocti: &Path, to: &Server, other: &Server, version: &str) -> anyhow::Result<Duration> {
    let function = Function::plain(Kind::ModelOnly, Model::Cnn);
    let folder = function.folder()?;
    let manifest = folder.path().join("nocti.toml");
    std::fs::write(&manifest, std::fs::read_to_string(&manifest)?.replace("1.0.0", version))?;
    // All functions: one that is not there yet is no error then.
    let request = payload::get(other.address, "/api/functions");
    let mut connection = Connection::open(other.address).await?;
    let begun = Instant::now();
    stage::deploy(nocti, to.address, folder.path(), &function.name()).await?;
    loop {
        let answer: Value = serde_json::from_slice(connection.ask(&request).await?.body)?;
        let versions = answer["functions"][0]["versions"].as_array().into_iter().flatten();
        if versions.into_iter().any(|shown| shown == version) {
            return Ok(begun.elapsed());
        }
        ensure!(begun.elapsed() < PATIENCE, "{version} is not seen by the other host after {PATIENCE:?}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// A bucket's server; it ends with this.
struct Bucket {
    address: SocketAddr,
    _server: Child,
    _folder: TempDir,
}

impl Bucket {
    async fn start(python: &Path) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir().context("no temporary folder")?;
        let mut command = Command::new(python);
        command.arg(crate::repository().join("tests/e2e/stores/serve.py")).current_dir(folder.path());
        let server = command.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true).spawn();
        let mut server = server.with_context(|| format!("cannot start {}", python.display()))?;
        let mut said = BufReader::new(server.stdout.take().context("it is piped")?).lines();
        let port =
            tokio::time::timeout(PATIENCE, said.next_line()).await.context("the bucket's server says nothing")?;
        let port: u16 =
            port?.context("the bucket's server has ended")?.parse().context("the bucket's server says no port")?;
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        Ok(Self { address, _server: server, _folder: folder })
    }

    /// What a host needs to use it.
    fn settings(&self) -> Vec<(&'static str, String)> {
        let own = [("AWS_ENDPOINT", format!("http://{}", self.address)), ("AWS_ALLOW_HTTP", "true".to_owned())];
        let all = [("AWS_REGION", "us-east-1"), ("AWS_ACCESS_KEY_ID", "bench"), ("AWS_SECRET_ACCESS_KEY", "bench")];
        own.into_iter().chain(all.map(|(name, value)| (name, value.to_owned()))).collect()
    }
}
