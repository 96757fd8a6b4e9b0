//! The real binary as a process, for what only a process shows: signals, kills, its command line.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

use super::eventually;

/// `nocti serve` in a process of its own; killed when dropped.
pub struct HostProcess {
    pub url: String,
    /// Where gRPC is served: address and port.
    pub grpc_address: String,
    child: Child,
    log: tokio::task::JoinHandle<()>,
    /// What it has logged.
    seen: Arc<Mutex<String>>,
}

impl HostProcess {
    /// Starts a host over `store` on a free port and waits until it serves.
    pub async fn start(store: &Path, environment: &[(&str, &str)]) -> Self {
        let mut command = nocti();
        command.args(["serve", "--listen", "127.0.0.1:0", "--grpc-listen", "127.0.0.1:0", "--store"]).arg(store);
        command.envs(environment.iter().copied());
        Self::spawn(command).await
    }

    /// Starts a command that serves in the end.
    pub async fn spawn(mut command: Command) -> Self {
        let mut child = command
            .stderr(Stdio::piped())
            .stdout(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .expect("the binary is built: `cargo build` makes it");
        let mut lines = BufReader::new(child.stderr.take().expect("it is piped")).lines();
        let (mut seen, mut grpc_address) = (String::new(), String::new());
        let url = loop {
            let line = lines.next_line().await.expect("the log is text");
            let line = line.unwrap_or_else(|| panic!("the host ended before it served:\n{seen}"));
            seen.push_str(&line);
            seen.push('\n');
            if let Some((_, address)) = line.split_once("gRPC on ") {
                address.trim().clone_into(&mut grpc_address);
            }
            if let Some((_, url)) = line.split_once("listening on ") {
                break url.trim().to_owned();
            }
        };
        // Read on, or the pipe fills and the host waits for us.
        let seen = Arc::new(Mutex::new(seen));
        let all = Arc::clone(&seen);
        let log = tokio::spawn(async move {
            while let Ok(Some(line)) = lines.next_line().await {
                let mut seen = all.lock().expect("nobody panics with it");
                seen.push_str(&line);
                seen.push('\n');
            }
        });
        Self { url, grpc_address, child, log, seen }
    }

    /// The process id.
    pub fn id(&self) -> u32 {
        self.child.id().expect("it is running")
    }

    /// SIGKILL: no time for anything.
    pub async fn kill(mut self) {
        self.child.kill().await.expect("it is ours to kill");
    }

    /// Sends a signal by its name, such as `TERM`.
    pub async fn signal(&self, name: &str) {
        let sent = Command::new("kill").args(["-s", name]).arg(self.id().to_string()).status().await;
        assert!(sent.expect("kill(1) is there").success());
    }

    /// Waits until it has logged something with these words.
    pub async fn logged(&self, words: &str) {
        eventually(words, async || self.seen.lock().expect("nobody panics with it").contains(words).then_some(()))
            .await;
    }

    /// Waits for the end, which must not take longer than half a minute; the exit code and the log.
    pub async fn wait(mut self) -> (Option<i32>, String) {
        let ended = tokio::time::timeout(Duration::from_secs(30), self.child.wait()).await;
        let status = ended.expect("the host ends").expect("it is our child");
        self.log.await.expect("the log is read to its end");
        (status.code(), self.seen.lock().expect("nobody panics with it").clone())
    }

    /// `nocti WORDS...` as a client of this host.
    pub fn command(&self, words: &[&str]) -> Command {
        let mut command = nocti();
        command.args(words).env("NOCTI_SERVER", &self.url);
        command
    }
}

/// The `nocti` binary that belongs to these tests, in the environment of a shell: without what cargo set for the tests
/// and without settings for a host.
pub fn nocti() -> Command {
    #[expect(clippy::disallowed_methods, reason = "children inherit the environment; nothing is configured by it here")]
    let variables = std::env::vars_os();
    let mut command = Command::new(binary());
    for (name, _) in variables {
        let text = name.to_string_lossy();
        let of_cargo = text.starts_with("CARGO_") && !["CARGO_HOME", "CARGO_TARGET_DIR"].contains(&&*text);
        let setting = text.starts_with("NOCTI_") && text != "NOCTI_HOME";
        if of_cargo || setting || text == "CARGO" || text == "RUSTUP_TOOLCHAIN" {
            command.env_remove(name);
        }
    }
    // A message must not depend on it.
    command.env("RUST_BACKTRACE", "1").env("NO_COLOR", "1").stdin(Stdio::null());
    command
}

/// Where the set-up put what Nocti needs.
pub fn tools() -> PathBuf {
    #[expect(clippy::disallowed_methods, reason = "as the host finds them")]
    let variable = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let cache = || variable("XDG_CACHE_HOME").or_else(|| Some(variable("HOME")?.join(".cache")));
    variable("NOCTI_HOME").or_else(|| Some(cache()?.join("nocti"))).expect("a home")
}

/// target/debug/nocti, beside the folder of the test binaries.
fn binary() -> PathBuf {
    let test = std::env::current_exe().expect("a running test has a file");
    let folder = test.parent().and_then(Path::parent).expect("target/debug/deps");
    folder.join("nocti")
}
