//! A store on a disk that is full, and on one that is read-only: real ones, mounted for the host's process alone.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

use nocti_tests::{Answer, HostProcess, bundle, example, fixture_model, nocti};
use serde_json::json;
use tempfile::TempDir;
use tokio::process::Command;

use super::{Ran, ask, client, get, infer, post, run, text};

/// `nocti serve` with a file system of its own at `disk`, mounted with these options; `None` where this machine does not
/// let us mount one.
#[expect(clippy::print_stderr, reason = "who runs the tests is to know what was not tested")]
async fn serve_on_own_disk(disk: &Path, options: &str, store: &Path) -> Option<Command> {
    const UNSHARE: [&str; 3] = ["--user", "--map-root-user", "--mount"];
    let mount = "mount -t tmpfs -o \"$1\" tmpfs \"$2\"";
    let mut trial = Command::new("unshare");
    trial.args(UNSHARE).args(["sh", "-c", mount, "sh", options, text(disk)]).kill_on_drop(true);
    if !trial.output().await.is_ok_and(|output| output.status.success()) {
        #[expect(clippy::disallowed_methods, reason = "a switch of the tests, not a setting of the host")]
        let required = std::env::var_os("REQUIRE_MOUNT").is_some();
        assert!(!required, "REQUIRE_MOUNT is set, and this machine does not allow to mount a file system");
        eprintln!("skipped: this machine does not allow to mount a file system for one process");
        return None;
    }
    let nocti = nocti();
    let nocti = nocti.as_std();
    let mut command = Command::new("unshare");
    for (name, value) in nocti.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    let script = format!("{mount} && shift 2 && exec \"$@\"");
    command.args(UNSHARE).args(["sh", "-c", &script, "sh", options, text(disk)]).arg(nocti.get_program());
    command.args(["serve", "--listen", "127.0.0.1:0", "--grpc-listen", "127.0.0.1:0", "--store", text(store)]);
    Some(command)
}

/// The disk as this process can reach it.
fn seen_from_here(host: &HostProcess, disk: &Path) -> PathBuf {
    PathBuf::from(format!("/proc/{}/root{}", host.id(), text(disk)))
}

/// A folder like hello-http with an asset of so many zeros.
fn project(version: &str, asset_bytes: u64) -> TempDir {
    let folder = TempDir::new().unwrap();
    let component = example("target/wasm32-wasip2/release/hello_http.wasm");
    let manifest = format!(
        "name = \"hello\"\nversion = \"{version}\"\n[component]\npath = {:?}\n[assets]\nzeros = \"zeros\"\n",
        text(&component)
    );
    std::fs::write(folder.path().join("nocti.toml"), manifest).unwrap();
    File::create(folder.path().join("zeros")).unwrap().set_len(asset_bytes).unwrap();
    folder
}

/// Writes zeros until there is no room left.
fn fill(file: &Path) {
    let mut file = File::create(file).unwrap();
    for size in [1 << 20, 4096, 1] {
        while file.write_all(&vec![0; size]).is_ok() {}
    }
}

async fn deploy(host: &HostProcess, path: &Path, more: &[&str]) -> Ran {
    ask(host, &[&["deploy", text(path)], more].concat()).await
}

async fn versions(host: &HostProcess, function: &str) -> Vec<String> {
    let shown = get(host, &format!("/api/functions/{function}")).await;
    let shown = if shown.status == 404 { json!({"versions": []}) } else { shown.expect(200) };
    let versions = shown["versions"].as_array().expect("a list").iter();
    versions.map(|version| version["version"].as_str().expect("a name").to_owned()).collect()
}

#[tokio::test]
async fn a_full_disk_refuses_a_deploy_and_keeps_what_was_there() {
    let disk = TempDir::new().unwrap();
    let Some(command) = serve_on_own_disk(disk.path(), "size=48m", &disk.path().join("store")).await else { return };
    let host = HostProcess::spawn(command).await;
    let small = project("1.0.0", 1000);
    deploy(&host, small.path(), &[]).await.expect(0);
    let works = async || assert_eq!(get(&host, "/functions/hello/").await.status, 200);
    works().await;

    // Too big: a part of it is written before the disk is full, once into the cache, by parts, and once into the store.
    let large = project("2.0.0", 60 << 20);
    let full = ["no space is left in the store", "nothing was changed", "free some space"];
    deploy(&host, large.path(), &[]).await.expect_error(1, &full);
    let uploads = ["no space is left on the host's disk for uploads", "nothing was changed", "free some space"];
    let blob = format!("{}/api/blobs/{}?size_bytes={}", host.url, "0".repeat(64), 60 << 20);
    let sent = client().put(blob).body(vec![0; 60 << 20]).send().await.unwrap();
    Answer::read(sent).await.expect_error(507, "uploads_full", &uploads);
    post(&host, "/api/functions", bundle(large.path())).await.expect_error(507, "storage_full", &full);
    assert_eq!(versions(&host, "hello").await, ["1.0.0"]);
    works().await;
    // It has given back what it took, so something smaller has room.
    let fits = project("2.0.0", 10 << 20);
    deploy(&host, fits.path(), &[]).await.expect(0);
    assert_eq!(versions(&host, "hello").await, ["1.0.0", "2.0.0"]);
    works().await;

    // Not one byte is left.
    let filler = seen_from_here(&host, disk.path()).join("filler");
    fill(&filler);
    deploy(&host, project("3.0.0", 1000).path(), &[]).await.expect_error(1, &full);
    let (same, iris) = (fixture_model("identity_int64.onnx"), example("iris/iris.onnx"));
    deploy(&host, &same, &["--name", "same"]).await.expect_error(1, &full);
    ask(&host, &["delete", "hello@1.0.0", "-y"]).await.expect_error(1, &full);
    assert_eq!(versions(&host, "hello").await, ["1.0.0", "2.0.0"]);
    assert_eq!(versions(&host, "same").await, [""; 0]);
    works().await;
    assert_eq!(get(&host, "/functions/hello@1.0.0/").await.status, 200, "a version that has to be loaded first");
    ask(&host, &["list"]).await.expect(0);

    std::fs::remove_file(&filler).unwrap();
    deploy(&host, &same, &["--name", "same"]).await.expect(0);
    let input = json!([{"name": "input", "datatype": "INT64", "shape": [1, 1], "data": [5]}]);
    assert_eq!(infer(&host, "same", input).await.expect(200)["outputs"][0]["data"], json!([5]));
    deploy(&host, &iris, &[]).await.expect(0);
    host.signal("TERM").await;
    let (code, log) = host.wait().await;
    assert!(code == Some(0) && !log.contains("panicked"), "{log}");
}

/// By parts it is on the disk twice for a moment.
#[tokio::test]
async fn what_fits_once_and_not_twice_goes_whole() {
    let disk = TempDir::new().unwrap();
    let Some(command) = serve_on_own_disk(disk.path(), "size=48m", &disk.path().join("store")).await else { return };
    let host = HostProcess::spawn(command).await;
    deploy(&host, project("1.0.0", 30 << 20).path(), &[]).await.expect(0);
    assert_eq!(get(&host, "/functions/hello/").await.status, 200);
}

#[tokio::test]
async fn a_full_disk_at_the_start_is_named() {
    let disk = TempDir::new().unwrap();
    // One inode is the root folder's: not even a folder can be made.
    let Some(command) = serve_on_own_disk(disk.path(), "nr_inodes=1", &disk.path().join("store")).await else { return };
    let ran = run(command).await.expect_error(1, &[text(&disk.path().join("store"))]);
    assert_eq!(ran.message().lines().count(), 1, "{ran:?}");
}

#[tokio::test]
async fn a_read_only_store_is_named() {
    let disk = TempDir::new().unwrap();
    let Some(command) = serve_on_own_disk(disk.path(), "ro", &disk.path().join("store")).await else { return };
    let ran = run(command).await.expect_error(1, &[text(&disk.path().join("store")), "ead-only"]);
    assert_eq!(ran.message().lines().count(), 1, "{ran:?}");
}

#[tokio::test]
async fn without_a_cache_that_can_be_written_functions_answer_all_the_same() {
    for options in ["size=64k", "ro"] {
        let (disk, store) = (TempDir::new().unwrap(), TempDir::new().unwrap());
        let Some(mut command) = serve_on_own_disk(disk.path(), options, store.path()).await else { return };
        command.env("NOCTI_CACHE_DIR", disk.path()).env("NOCTI_LIFECYCLE_MODEL_IDLE", "1ms");
        let host = HostProcess::spawn(command).await;
        // A component with a large asset, and one with a model.
        deploy(&host, project("1.0.0", 1 << 20).path(), &[]).await.expect(0);
        deploy(&host, &example("digits"), &[]).await.expect(0);
        for _ in 0..3 {
            assert_eq!(get(&host, "/functions/hello/").await.status, 200, "{options}");
            let image = json!([{"name": "image", "datatype": "UINT8", "shape": [1, 8, 8], "data": vec![0; 64]}]);
            infer(&host, "digits", image).await.expect(200);
        }
        host.signal("TERM").await;
        let (code, log) = host.wait().await;
        assert!(code == Some(0) && !log.contains("panicked"), "{log}");
    }
}
