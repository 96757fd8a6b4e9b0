//! The real binary, as a user, a signal, a kill or a full disk meets it: a file per subject.

#![expect(clippy::unwrap_used, reason = "what a test prepares works, or the test fails")]

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use nocti_tests::{Answer, HostProcess, nocti};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

mod blobs;
mod clients;
mod commands;
mod copies;
mod described;
mod descriptors;
mod dev;
mod examples;
mod full_disk;
mod https;
mod kill;
mod kills;
mod log;
mod logs;
#[cfg(target_os = "linux")]
mod memory;
mod oci;
mod projects;
mod python;
mod search;
mod signals;
mod snapshot;
mod start;
mod stores;
mod templates;
#[cfg(target_os = "linux")]
mod threads;
mod traces;
mod traffic;
#[cfg(target_os = "linux")]
mod weights;

/// No command takes this long, unless it hangs.
const LIMIT: Duration = Duration::from_secs(300);

/// What a command did.
#[derive(Debug)]
struct Ran {
    code: Option<i32>,
    out: String,
    err: String,
}

/// Runs a command to its end.
async fn run(command: Command) -> Ran {
    run_with(command, "").await
}

/// Runs a command to its end with something on its standard input.
async fn run_with(mut command: Command, input: &str) -> Ran {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let mut child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let mut stdin = child.stdin.take().expect("it is piped");
    // A command that does not read it is none the worse for it.
    let _ = stdin.write_all(input.as_bytes()).await;
    drop(stdin);
    let output = tokio::time::timeout(LIMIT, child.wait_with_output()).await;
    let output = output.unwrap_or_else(|_| panic!("{command:?} hangs")).expect("its output can be read");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("commands print text");
    Ran { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
}

/// `nocti WORDS...` in a folder.
async fn nocti_in(folder: &Path, words: &[&str]) -> Ran {
    let mut command = nocti();
    command.current_dir(folder).args(words);
    run(command).await
}

/// `nocti WORDS...` against a host.
async fn ask(host: &HostProcess, words: &[&str]) -> Ran {
    run(host.command(words)).await
}

impl Ran {
    /// Asserts the exit code.
    #[track_caller]
    fn expect(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "{self:#?}");
        self
    }

    /// Asserts that it failed with one message that has `parts` in it, that nobody would call a crash, and that nothing
    /// was printed for a script to read.
    #[track_caller]
    fn expect_error(self, code: i32, parts: &[&str]) -> Self {
        let ran = self.expect(code);
        assert_eq!(ran.out, "", "{ran:#?}");
        let message = ran.message();
        for part in parts {
            assert!(message.contains(part), "'{part}' is not in: {message}");
        }
        for word in ["panicked", "backtrace", "Error {", "Custom {", "Os {"] {
            assert!(!ran.err.contains(word), "'{word}' is in: {}", ran.err);
        }
        ran
    }

    /// The error's text: it begins the last line that begins so, and goes on to the end.
    #[track_caller]
    fn message(&self) -> &str {
        let start = self.err.rfind("error: ").unwrap_or_else(|| panic!("no error: {self:#?}"));
        self.err[start + "error: ".len()..].trim_end()
    }

    /// Standard output as JSON, which must be all there is.
    #[track_caller]
    fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {self:#?}"))
    }
}

async fn get(host: &HostProcess, path: &str) -> Answer {
    let response = client().get(format!("{}{path}", host.url)).send().await.expect("the host answers");
    Answer::read(response).await
}

async fn post(host: &HostProcess, path: &str, body: impl Into<reqwest::Body>) -> Answer {
    let response = client().post(format!("{}{path}", host.url)).body(body).send().await.expect("the host answers");
    Answer::read(response).await
}

/// `POST /v2/models/FUNCTION/infer` with these inputs.
async fn infer(host: &HostProcess, function: &str, inputs: Value) -> Answer {
    post(host, &format!("/v2/models/{function}/infer"), json!({"inputs": inputs}).to_string()).await
}

fn client() -> reqwest::Client {
    // It speaks TLS as well, and panics where nobody says by what. The first to say so wins, and all say the same.
    let _ = tokio_rustls::rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder().no_proxy().build().expect("a client needs nothing")
}

/// A file's JSON.
fn json_file(path: &Path) -> Value {
    let text = std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// A path as commands take it.
fn text(path: &Path) -> &str {
    path.to_str().expect("paths of tests are text")
}
