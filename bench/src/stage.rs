//! The servers of a run: the baseline with the models that are asked of it, and a host over a new store.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use tempfile::TempDir;
use tokio::process::Command;
use tokio::task::JoinSet;

use crate::caller::Protocol;
use crate::cases::Subject;
use crate::client::Connection;
use crate::compare::Target;
use crate::functions::Function;
use crate::grpc;
use crate::models::Model;
use crate::payload;
use crate::server::{Server, Start};

/// Where the programs are.
#[derive(Clone)]
pub(crate) struct Programs {
    pub(crate) nocti: PathBuf,
    pub(crate) baseline: PathBuf,
}

/// A baseline server; it ends with this.
pub(crate) struct Baseline {
    pub(crate) server: Server,
    _models: TempDir,
}

/// A host; it ends with this, and its store too.
pub(crate) struct Host {
    pub(crate) server: Server,
    nocti: PathBuf,
    store: TempDir,
}

/// What is left of a host that has ended.
pub(crate) struct Stopped {
    nocti: PathBuf,
    store: TempDir,
}

impl Baseline {
    /// Starts it with these models. `before` are the words before the program's own.
    pub(crate) fn start(programs: &Programs, models: &[Model], before: &[&str], start: &Start) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir().context("no temporary folder")?;
        for model in models {
            let path = model.path();
            ensure!(path.is_file(), "{} is not there; `make bench` makes it", path.display());
            std::os::unix::fs::symlink(path, folder.path().join(format!("{}.onnx", model.name())))?;
        }
        let mut words: Vec<OsString> = before.iter().map(OsString::from).collect();
        words.extend([programs.baseline.clone().into(), "serve".into(), "--models".into(), folder.path().into()]);
        Ok(Self { server: Server::start(&words, start)?, _models: folder })
    }
}

impl Host {
    /// Starts a host over a new store.
    pub(crate) fn empty(nocti: &Path, start: &Start) -> anyhow::Result<Self> {
        let store = tempfile::tempdir().context("no temporary folder")?;
        let server = serve(nocti, store.path(), &[], start)?;
        Ok(Self { server, nocti: nocti.to_owned(), store })
    }

    /// Starts a host over a new store and deploys the functions.
    pub(crate) async fn start(nocti: &Path, functions: &[Function], start: &Start) -> anyhow::Result<Self> {
        let host = Self::empty(nocti, start)?;
        for function in functions {
            host.deploy(function.folder()?.path(), &function.name()).await?;
        }
        Ok(host)
    }

    /// Deploys a folder, a bundle or a model under this name, by the command line as a user does.
    pub(crate) async fn deploy(&self, what: &Path, name: &str) -> anyhow::Result<()> {
        deploy(&self.nocti, self.server.address, what, name).await
    }

    /// Deploys many, two at a time, which is what keeps a host of two cores busy.
    pub(crate) async fn deploy_all(&self, all: Vec<(PathBuf, String)>) -> anyhow::Result<()> {
        let mut tasks = JoinSet::new();
        for (what, name) in all {
            if tasks.len() == 2 {
                tasks.join_next().await.expect("there are two").context("a deploy failed")??;
            }
            let (nocti, address) = (self.nocti.clone(), self.server.address);
            tasks.spawn(async move { deploy(&nocti, address, &what, &name).await });
        }
        while let Some(deployed) = tasks.join_next().await {
            deployed.context("a deploy failed")??;
        }
        Ok(())
    }

    /// Ends it as an operator would, and gives what it said; the store stays.
    pub(crate) fn stop(self, patience: Duration) -> anyhow::Result<(Stopped, String)> {
        Ok((Stopped { nocti: self.nocti, store: self.store }, self.server.stop(patience)?))
    }
}

impl Stopped {
    /// A process over the same store. `before` are the words before the program's own.
    pub(crate) fn start(self, before: &[&str], start: &Start) -> anyhow::Result<Host> {
        let server = serve(&self.nocti, self.store.path(), before, start)?;
        Ok(Host { server, nocti: self.nocti, store: self.store })
    }
}

/// Deploys to whatever is at an address.
pub(crate) async fn deploy(nocti: &Path, server: SocketAddr, what: &Path, name: &str) -> anyhow::Result<()> {
    let mut command = Command::new(nocti);
    command.arg("deploy").arg(what).args(["--name", name, "--server"]).arg(format!("http://{server}"));
    let output = command.kill_on_drop(true).output().await;
    let output = output.with_context(|| format!("cannot start {}", nocti.display()))?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "cannot deploy {name}: {}", said.trim());
    Ok(())
}

/// Whether a host has a setting of this name; `serve --print-config` lists them all.
pub(crate) async fn has_setting(nocti: &Path, name: &str) -> anyhow::Result<bool> {
    let output = Command::new(nocti).args(["serve", "--print-config"]).kill_on_drop(true).output().await;
    let output = output.with_context(|| format!("cannot start {}", nocti.display()))?;
    let lists = |line: &str| line.split_once('=').is_some_and(|(key, _)| key.trim() == name);
    Ok(String::from_utf8_lossy(&output.stdout).lines().any(lists))
}

/// Starts a host over a store, which may be a URL.
pub(crate) fn serve(nocti: &Path, store: &Path, before: &[&str], start: &Start) -> anyhow::Result<Server> {
    let mut words: Vec<OsString> = before.iter().map(OsString::from).collect();
    words.push(nocti.into());
    words.extend(["serve", "--listen", "127.0.0.1:0", "--grpc-listen", "127.0.0.1:0", "--store"].map(OsString::from));
    words.push(store.into());
    Server::start(&words, start)
}

/// A server to ask this of it in this protocol.
pub(crate) fn target(server: &Server, subject: Subject, protocol: Protocol) -> Target {
    let payloads = subject.model().payloads();
    let (address, requests) = match protocol {
        Protocol::Rest(form) => {
            let (address, path) = (server.address, subject.path());
            (address, payloads.iter().map(|inputs| payload::request(address, &path, inputs, form).into()).collect())
        }
        Protocol::Grpc => {
            let name = subject.name();
            (server.grpc, payloads.iter().map(|inputs| grpc::message(&name, inputs)).collect())
        }
    };
    Target { address, process: server.id(), protocol, requests: Arc::new(requests) }
}

/// Whether a host takes and gives binary tensors: it says so in its metadata.
pub(crate) async fn speaks_binary(host: SocketAddr) -> anyhow::Result<bool> {
    let mut connection = Connection::open(host).await?;
    let reply = connection.ask(&payload::get(host, "/v2")).await?;
    let metadata: serde_json::Value = serde_json::from_slice(reply.body)?;
    let extensions = metadata["extensions"].as_array().into_iter().flatten();
    Ok(extensions.into_iter().any(|extension| extension == "binary_tensor_data"))
}
