//! The real binary as a process, for what only a process shows: signals, kills, its command line.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

/// `nocti serve` in a process of its own; killed when dropped.
pub struct HostProcess {
    pub url: String,
    child: Child,
    log: tokio::task::JoinHandle<String>,
}

impl HostProcess {
    /// Starts a host over `store` on a free port and waits until it serves.
    pub async fn start(store: &Path, environment: &[(&str, &str)]) -> Self {
        let mut command = nocti();
        command.args(["serve", "--listen", "127.0.0.1:0", "--store"]).arg(store);
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
        let mut seen = String::new();
        let url = loop {
            let line = lines.next_line().await.expect("the log is text");
            let line = line.unwrap_or_else(|| panic!("the host ended before it served:\n{seen}"));
            seen.push_str(&line);
            seen.push('\n');
            if let Some((_, url)) = line.split_once("listening on ") {
                break url.trim().to_owned();
            }
        };
        // Read on, or the pipe fills and the host waits for us.
        let log = tokio::spawn(async move {
            while let Ok(Some(line)) = lines.next_line().await {
                seen.push_str(&line);
                seen.push('\n');
            }
            seen
        });
        Self { url, child, log }
    }

    /// The process id.
    pub fn id(&self) -> u32 {
        self.child.id().expect("it is running")
    }

    /// SIGKILL: no time for anything.
    pub async fn kill(mut self) {
        self.child.kill().await.expect("it is ours to kill");
    }

    /// SIGTERM.
    pub async fn terminate(&self) {
        let sent = Command::new("kill").arg("-TERM").arg(self.id().to_string()).status().await;
        assert!(sent.expect("kill(1) is there").success());
    }

    /// Waits for the end; the exit code and the log.
    pub async fn wait(mut self) -> (Option<i32>, String) {
        let status = self.child.wait().await.expect("it is our child");
        (status.code(), self.log.await.expect("the log is read to its end"))
    }
}

/// The `nocti` binary that belongs to these tests.
pub fn nocti() -> Command {
    let mut command = Command::new(binary());
    command.env_remove("NOCTI_SERVER").env("NO_COLOR", "1").stdin(Stdio::null());
    command
}

/// target/debug/nocti, beside the folder of the test binaries.
fn binary() -> PathBuf {
    let test = std::env::current_exe().expect("a running test has a file");
    let folder = test.parent().and_then(Path::parent).expect("target/debug/deps");
    folder.join("nocti")
}
