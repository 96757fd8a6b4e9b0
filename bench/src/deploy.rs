//! What a change of code sends, counted on the wire: a function of a large model is deployed, then with another component.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context as _, ensure};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{AbortHandle, JoinSet};

use crate::cases::Goal;
use crate::functions::guest;
use crate::models::Model;
use crate::plan::Plan;
use crate::report::{Outcome, Report};
use crate::server::Start;
use crate::stage::{self, Host};

/// What is deployed: the component among the guests, and what its manifest says beside it.
struct Subject {
    case: &'static str,
    goal: Option<Goal>,
    component: &'static str,
    tokenizer: bool,
    signature: &'static str,
}

const NAME: &str = "changed";

pub(crate) async fn measure(report: &mut Report, plan: &Plan, start: &Start) -> anyhow::Result<()> {
    let plain = Subject {
        case: "deploy/code_only_kb",
        goal: Some(Goal::AtMost(1000.0)),
        component: "passthrough",
        tokenizer: false,
        signature: Model::Minilm.signature(),
    };
    // Its component is initialised when it is built, and has the tokenizer's tables in it from then on.
    let initialised = Subject {
        case: "deploy/code_only_kb/sentences",
        goal: None,
        component: "sentences",
        tokenizer: true,
        signature: "inputs = [{ name = \"text\", datatype = \"BYTES\", shape = [-1] }]\n\
                    outputs = [{ name = \"embeddings\", datatype = \"FP32\", shape = [-1, 384] }]\n",
    };
    for subject in [plain, initialised] {
        if plan.wants(subject.case) {
            subject.measure(report, &plan.programs.nocti, start).await?;
        }
    }
    Ok(())
}

impl Subject {
    async fn measure(&self, report: &mut Report, nocti: &Path, start: &Start) -> anyhow::Result<()> {
        let host = Host::empty(nocti, start)?;
        let wire = Wire::to(host.server.address).await?;
        stage::deploy(nocti, wire.address, self.version("1.0.0")?.path(), NAME).await?;
        let whole = wire.take();
        stage::deploy(nocti, wire.address, self.version("1.0.1")?.path(), NAME).await?;
        let changed = wire.take();
        ensure!(changed > 0 && changed < whole, "{changed} bytes of {whole} cannot be what a change of code sends");
        let kb = |bytes: u64| bytes as f64 / 1000.0;
        report.add(self.case, Outcome { baseline: Some(kb(whole)), ..Outcome::new(kb(changed), "kB", self.goal) });
        Ok(())
    }

    /// A folder with a component that no other version has.
    fn version(&self, version: &str) -> anyhow::Result<TempDir> {
        let folder = tempfile::tempdir().context("no temporary folder")?;
        let mut component = std::fs::read(guest(self.component)?)?;
        // A custom section, called `v`.
        component.extend([0, u8::try_from(2 + version.len())?, 1, b'v']);
        component.extend(version.as_bytes());
        std::fs::write(folder.path().join("component.wasm"), component)?;
        let model = Model::Minilm.path();
        ensure!(model.is_file(), "{} is not there; `make models` makes it", model.display());
        let mut text = format!(
            "name = \"{NAME}\"\nversion = \"{version}\"\n[component]\npath = \"component.wasm\"\n\
             [signature]\n{}[limits]\nmemory = \"256MiB\"\n[[model]]\nname = \"minilm\"\npath = {}\n",
            self.signature,
            quoted(&model)
        );
        if self.tokenizer {
            write!(text, "[assets]\n\"tokenizer.json\" = {}\n", quoted(&model.with_file_name("tokenizer.json")))?;
        }
        std::fs::write(folder.path().join("nocti.toml"), text)?;
        Ok(folder)
    }
}

fn quoted(path: &Path) -> String {
    format!("{:?}", path.display().to_string())
}

/// A way to a host that counts what clients send. It ends with this.
struct Wire {
    address: SocketAddr,
    sent: Arc<AtomicU64>,
    task: AbortHandle,
}

impl Wire {
    async fn to(host: SocketAddr) -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let (address, sent) = (listener.local_addr()?, Arc::new(AtomicU64::new(0)));
        let counted = Arc::clone(&sent);
        let task = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                connections.spawn(carry(client, host, Arc::clone(&counted)));
            }
        });
        Ok(Self { address, sent, task: task.abort_handle() })
    }

    /// What was sent since the last time.
    fn take(&self) -> u64 {
        self.sent.swap(0, Ordering::Relaxed)
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn carry(mut client: TcpStream, host: SocketAddr, sent: Arc<AtomicU64>) -> std::io::Result<()> {
    let mut server = TcpStream::connect(host).await?;
    let ((mut from_client, mut to_client), (mut from_server, mut to_server)) = (client.split(), server.split());
    let there = async {
        let mut buffer = vec![0; 64 << 10];
        loop {
            let count = from_client.read(&mut buffer).await?;
            if count == 0 {
                return to_server.shutdown().await;
            }
            sent.fetch_add(count as u64, Ordering::Relaxed);
            to_server.write_all(&buffer[..count]).await?;
        }
    };
    let back = async { tokio::io::copy(&mut from_server, &mut to_client).await.map(drop) };
    tokio::try_join!(there, back).map(drop)
}
