//! `nocti logs`, as a user types it.

use std::process::Stdio;

use nocti_tests::{HostProcess, fixture_guest, nocti};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader};

use super::{ask, run, text};

async fn host(settings: &[(&str, &str)]) -> (HostProcess, TempDir) {
    let store = TempDir::new().unwrap();
    let host = HostProcess::start(store.path(), settings).await;
    ask(&host, &["deploy", text(&fixture_guest("misbehave"))]).await.expect(0);
    (host, store)
}

async fn print(host: &HostProcess, message: &str) {
    let x = json!({"name": "x", "datatype": "INT64", "shape": [1], "data": [1]});
    let request = json!({"inputs": [x], "parameters": {"mode": "print", "message": message}}).to_string();
    ask(host, &["invoke", "misbehave", "-d", &request]).await.expect(0);
}

#[tokio::test]
async fn what_was_printed_is_shown_and_followed_until_the_host_stops() {
    let (host, _store) = host(&[]).await;
    assert_eq!(ask(&host, &["logs", "misbehave"]).await.expect(0).out, "");
    print(&host, "one").await;
    let mut command = host.command(&["logs", "misbehave", "-f", "--version", "1.0.0"]);
    let mut following = command.stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true).spawn().unwrap();
    let mut lines = BufReader::new(following.stdout.take().unwrap()).lines();
    let mut next = async || lines.next_line().await.unwrap().expect("it goes on");
    for message in ["one", "two"] {
        if message == "two" {
            print(&host, "two").await;
        }
        for stream in ["stdout", "stderr"] {
            let line = next().await;
            let words: Vec<&str> = line.split_whitespace().collect();
            assert_eq!((words[1], words[2], words[4]), ("1.0.0", stream, message), "{line}");
        }
    }
    let ran = ask(&host, &["logs", "misbehave", "--json", "-n", "1", "--since", "1h"]).await.expect(0);
    let line: Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!((&line["stream"], &line["text"]), (&"stderr".into(), &"two".into()));
    ask(&host, &["logs", "misbehave", "--version", "2"]).await.expect_error(1, &["version '2' is not found"]);
    ask(&host, &["logs", "nobody"]).await.expect_error(1, &["'nobody' is not found"]);
    let ran = ask(&host, &["logs", "misbehave", "--since", "yesterday"]).await.expect(2);
    assert!(ran.out.is_empty() && ran.err.contains("'yesterday' is neither a time ago"), "{ran:?}");

    host.signal("TERM").await;
    let ended = following.wait_with_output().await.unwrap();
    let said = String::from_utf8(ended.stderr).unwrap();
    assert!(ended.status.success() && said.contains("that was all"), "{said}");
    assert_eq!(host.wait().await.0, Some(0));
}

#[tokio::test]
async fn a_disk_that_fails_is_one_warning() {
    let place = tempfile::NamedTempFile::new().unwrap();
    let below = place.path().join("logs");
    let (host, _store) = host(&[("NOCTI_LOGS_DIR", text(&below))]).await;
    for message in ["one", "two", "three"] {
        print(&host, message).await;
        // Only when that one was tried.
        host.logged("cannot be written").await;
    }
    host.signal("TERM").await;
    let (code, log) = host.wait().await;
    assert_eq!((code, log.matches("cannot be written").count()), (Some(0), 1), "{log}");
}

#[tokio::test]
async fn the_settings_are_shown() {
    let mut command = nocti();
    command.args(["serve", "--print-config", "--store", "here"]).env("NOCTI_LOGS_MAX_AGE", "24h");
    let shown = run(command).await.expect(0).out;
    for line in ["[logs]", "dir = \"here/cache/logs\"", "max_bytes = \"8MiB\"", "max_age = \"24h\"", "requests = false"]
    {
        assert!(shown.contains(line), "'{line}' is not in {shown}");
    }
}
