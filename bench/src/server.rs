//! A server as a process: started on its core, known by its address, gone when dropped.

use std::ffi::OsString;
use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context as _, bail};
use tokio::time::Instant;

/// A server that answers.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    /// Where it speaks gRPC.
    pub(crate) grpc: SocketAddr,
    /// Before its process was there.
    pub(crate) begun: Instant,
    child: Child,
    log: Option<JoinHandle<String>>,
    /// Its addresses, gRPC's first, then the end of its log.
    ended: mpsc::Receiver<String>,
}

/// How servers are started.
#[derive(Clone)]
pub(crate) struct Start {
    /// The cores they are kept on, as taskset takes them, if there are any to give out.
    pub(crate) cores: Option<String>,
    /// Path of ONNX Runtime: the same for all.
    pub(crate) library: PathBuf,
    /// How long one may take until it answers.
    pub(crate) patience: Duration,
    /// Settings of a host, as variables of its environment.
    pub(crate) settings: Vec<(&'static str, String)>,
}

impl Start {
    /// The words that keep a program on the cores, before its own.
    pub(crate) fn pin(&self) -> Vec<OsString> {
        let cores = self.cores.as_ref().map(|cores| ["taskset", "--cpu-list", cores].map(OsString::from));
        cores.into_iter().flatten().collect()
    }
}

impl Server {
    /// Starts a program and waits until it says on standard error that it has `gRPC on ADDRESS` and is
    /// `listening on http://ADDRESS`.
    pub(crate) fn start(words: &[OsString], start: &Start) -> anyhow::Result<Self> {
        let mut line = start.pin();
        line.extend_from_slice(words);
        let begun = Instant::now();
        let shown = words.first().map(|word| word.to_string_lossy().into_owned()).unwrap_or_default();
        let mut child = Command::new(&line[0])
            .args(&line[1..])
            .env("NOCTI_ONNXRUNTIME_LIBRARY", &start.library)
            // As nocti does by itself: the baseline is not to be slower for its journal.
            .env("ORT_DISABLE_TELEMETRY", "1")
            .envs(start.settings.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start {shown}"))?;
        let stderr = child.stderr.take().expect("it is piped");
        let (found, addresses) = mpsc::channel();
        // Reads to the end, or the pipe fills and the server waits for us.
        let log = std::thread::spawn(move || {
            let mut seen = String::new();
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                let address = line.split_once("gRPC on ").or_else(|| line.split_once("listening on http://"));
                if let Some((_, address)) = address {
                    let _ = found.send(address.trim().to_owned());
                }
                seen.push_str(&line);
                seen.push('\n');
            }
            seen
        });
        // From here on the process ends with this value, whatever happens.
        let to_come = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut server = Self { address: to_come, grpc: to_come, begun, child, log: Some(log), ended: addresses };
        server.grpc = server.next_address(&shown, start)?;
        server.address = server.next_address(&shown, start)?;
        Ok(server)
    }

    fn next_address(&mut self, shown: &str, start: &Start) -> anyhow::Result<SocketAddr> {
        match self.ended.recv_timeout(start.patience) {
            Ok(address) => address.parse().with_context(|| format!("{shown} says it listens on {address}")),
            Err(_) => bail!("{shown} did not start; it said:\n{}", self.end()),
        }
    }

    /// The process's id.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Asks the process to end, as an operator would, and gives what it said.
    pub(crate) fn stop(mut self, patience: Duration) -> anyhow::Result<String> {
        let sent = Command::new("kill").args(["-s", "TERM", &self.child.id().to_string()]).status();
        if !sent.context("kill is not here")?.success() {
            bail!("the server had ended before it was asked to:\n{}", self.end());
        }
        // Nothing comes but the end of the log, which is the process's.
        match self.ended.recv_timeout(patience) {
            Err(mpsc::RecvTimeoutError::Disconnected) => Ok(self.end()),
            Ok(_) | Err(mpsc::RecvTimeoutError::Timeout) => bail!("the server does not end"),
        }
    }

    /// Kills what is still there; what it said.
    fn end(&mut self) -> String {
        // It fails where the process has ended already, which is what is wanted.
        let _ = self.child.kill();
        let _ = self.child.wait();
        self.log.take().and_then(|log| log.join().ok()).unwrap_or_default()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.end();
    }
}
