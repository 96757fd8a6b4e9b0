//! Deploys that send what is missing, and downloads, as a user types them.

use std::path::{Path, PathBuf};

use nocti::registry::digest::Blob;
use nocti_tests::{Answer, HostProcess, bundle, example, nocti};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use super::{ask, client, get, nocti_in, run, text};

pub(super) const LARGE_BYTES: usize = 3_000_000;

/// A folder with a component and a large asset, which is the same in all versions.
pub(super) fn project(version: &str) -> TempDir {
    let folder = TempDir::new().unwrap();
    let component = example("target/wasm32-wasip2/release/hello_http.wasm");
    let mut component = std::fs::read(component).unwrap();
    component.extend([0, u8::try_from(2 + version.len()).unwrap(), 1, b'v']);
    component.extend(version.as_bytes());
    std::fs::write(folder.path().join("c.wasm"), component).unwrap();
    std::fs::write(folder.path().join("large"), large()).unwrap();
    let manifest = format!(
        "name = \"hello\"\nversion = \"{version}\"\n[component]\npath = \"c.wasm\"\n[assets]\nlarge = \"large\"\n"
    );
    std::fs::write(folder.path().join("nocti.toml"), manifest).unwrap();
    folder
}

/// Bytes that do not become smaller.
fn large() -> Vec<u8> {
    let next = |state: &u64| Some(state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1));
    let states = std::iter::successors(Some(1_u64), next).take(LARGE_BYTES);
    states.map(|state| u8::try_from(state >> 56).unwrap()).collect()
}

async fn deployed(host: &HostProcess, path: &Path) -> Value {
    ask(host, &["deploy", text(path), "--json"]).await.expect(0).json()
}

async fn host() -> (HostProcess, TempDir) {
    let store = TempDir::new().unwrap();
    (HostProcess::start(store.path(), &[]).await, store)
}

#[tokio::test]
async fn a_change_of_code_sends_the_code_alone() {
    let (host, _store) = host().await;
    let first = deployed(&host, project("1.0.0").path()).await;
    assert!(first["sent_bytes"].as_u64() > Some(LARGE_BYTES as u64), "{first}");
    assert_eq!(first["saved_bytes"], 0, "what compression saves was not there: {first}");
    let second = deployed(&host, project("1.1.0").path()).await;
    assert!(second["sent_bytes"].as_u64().unwrap() < 1_000_000, "{second}");
    assert_eq!(second["saved_bytes"], LARGE_BYTES, "{second}");
    let ran = ask(&host, &["deploy", text(project("1.2.0").path())]).await.expect(0);
    assert!(ran.out.contains("\n  sent    ") && ran.out.contains(" MiB were there already\n"), "{ran:?}");
    let again = ask(&host, &["deploy", text(project("1.2.0").path())]).await.expect(0);
    assert!(again.out.starts_with("already there: hello 1.2.0"), "{again:?}");
    for version in ["1.0.0", "1.1.0", "1.2.0"] {
        assert_eq!(get(&host, &format!("/functions/hello@{version}/")).await.status, 200);
    }
    let taken = project("1.0.0");
    std::fs::write(taken.path().join("large"), vec![1; LARGE_BYTES]).unwrap();
    ask(&host, &["deploy", text(taken.path())]).await.expect_error(1, &["other content", "raise `version`"]);
}

#[tokio::test]
async fn what_has_come_of_a_part_is_not_sent_again() {
    let (host, _store) = host().await;
    let (large, sent) = (large(), 2_000_000);
    let blob = Blob::of(&large);
    let mut stream = TcpStream::connect(host.url.trim_start_matches("http://")).await.unwrap();
    let head = format!(
        "PUT /api/blobs/{}?size_bytes={} HTTP/1.1\r\nhost: t\r\ncontent-length: {}\r\n\r\n",
        blob.sha256, blob.size, blob.size
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(&large[..sent]).await.unwrap();
    let asked = json!({"blobs": [{"sha256": blob.sha256, "size_bytes": blob.size}]}).to_string();
    let has_come = async || {
        let answer = client().post(format!("{}/api/blobs/missing", host.url)).body(asked.clone()).send().await.unwrap();
        (Answer::read(answer).await.json()["missing"][0]["offset"] == sent).then_some(())
    };
    nocti_tests::eventually("what was sent", has_come).await;
    drop(stream);
    let answer = deployed(&host, project("1.0.0").path()).await;
    assert!(answer["saved_bytes"].as_u64() >= Some(1_900_000), "{answer}");
    assert_eq!(get(&host, "/functions/hello/").await.status, 200);
}

#[tokio::test]
async fn a_bundle_comes_back_as_it_was() {
    let (host, _store) = host().await;
    let project = project("1.0.0");
    let deployed = deployed(&host, project.path()).await;
    let folder = TempDir::new().unwrap();
    let download = async |words: &[&str]| {
        let mut command = host.command(&[&["download", "hello@1.0.0"], words].concat());
        command.current_dir(folder.path());
        run(command).await
    };
    let file = folder.path().join("hello-1.0.0.wasm");
    let ran = download(&[]).await.expect(0);
    assert!(ran.out.starts_with("wrote hello-1.0.0.wasm ("), "{ran:?}");
    assert!(ran.out.contains(deployed["digest"].as_str().unwrap()), "{ran:?}");
    let expected = bundle(project.path());
    assert!(std::fs::read(&file).unwrap() == expected);
    download(&[]).await.expect_error(1, &["hello-1.0.0.wasm is there already", "--force"]);
    download(&["-o", ".", "--force"]).await.expect_error(1, &[". is a folder"]);
    download(&["-o", "-"]).await.expect_error(2, &["standard output"]);
    let answer = download(&["--force", "--json"]).await.expect(0).json();
    assert_eq!((&answer["digest"], &answer["size_bytes"]), (&deployed["digest"], &json!(expected.len())));

    // What broke off goes on; what is no part of it is begun anew; what is whole is taken as it is.
    let part = folder.path().join("other.wasm.part");
    let mut damaged = expected.clone();
    damaged[expected.len() - 100] ^= 1;
    let mut elsewhere = bundle(self::project("2.0.0").path());
    elsewhere.truncate(LARGE_BYTES);
    let beginnings = [&expected[..2_000_000], &expected[..10], &expected, b"something else", &damaged, &elsewhere];
    for (number, beginning) in beginnings.iter().enumerate() {
        std::fs::write(&part, beginning).unwrap();
        download(&["-o", "other.wasm", "--force"]).await.expect(0);
        assert!(std::fs::read(folder.path().join("other.wasm")).unwrap() == expected, "beginning {number}");
        assert!(!part.exists());
    }
    std::fs::remove_file(folder.path().join("other.wasm")).unwrap();
    for (target, parts) in [("hello@9", &["has versions 1.0.0"][..]), ("none@1", &["'none'"])] {
        ask(&host, &["download", target, "-o", text(&folder.path().join("x"))]).await.expect_error(1, parts);
    }
    ask(&host, &["download", "hello"]).await.expect_error(2, &["say which version", "hello@VERSION"]);
    assert_eq!(names(folder.path()), ["hello-1.0.0.wasm"], "nothing else is left");
    nocti_in(folder.path(), &["inspect", "hello-1.0.0.wasm"]).await.expect(0);
}

pub(super) fn names(folder: &Path) -> Vec<String> {
    let entries: Vec<PathBuf> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    entries.iter().map(|path| path.file_name().unwrap().to_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn without_a_host_a_download_leaves_nothing() {
    let folder = TempDir::new().unwrap();
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let mut command = nocti();
    command.current_dir(folder.path()).args(["--server", &format!("http://127.0.0.1:{port}"), "download", "f@1"]);
    run(command).await.expect_error(1, &["nocti serve", "--server"]);
    assert_eq!(names(folder.path()), [""; 0]);
}
