//! Memory use does not grow with what is deployed: hundreds of MiB pass through tens.

use std::fs::File;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use nocti_tests::{HostProcess, example, nocti};
use tempfile::TempDir;
use tokio::process::Command;

use super::{LIMIT, get, text};

const ASSET_BYTES: u64 = 400 << 20;

/// What a host may take more than before, and what a command may take at all. They were seen to take 21 and 12 MiB.
const HOST_GROWTH: u64 = 96 << 20;
const COMMAND_PEAK: u64 = 64 << 20;

/// A folder whose bundle is large: the component of hello-http with an asset of zeros, which take no room on the disk.
fn large_project() -> TempDir {
    let folder = TempDir::new().unwrap();
    let component = example("target/wasm32-wasip2/release/hello_http.wasm");
    let manifest = format!(
        "name = \"large\"\nversion = \"1.0.0\"\n[component]\npath = {:?}\n[assets]\nzeros = \"zeros\"\n",
        text(&component)
    );
    std::fs::write(folder.path().join("nocti.toml"), manifest).unwrap();
    File::create(folder.path().join("zeros")).unwrap().set_len(ASSET_BYTES).unwrap();
    folder
}

/// The most memory of a process that was ever resident, in bytes; `None` when it has ended.
fn peak_memory(process: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kibibytes: u64 = line.trim().trim_end_matches("kB").trim().parse().expect("the kernel writes a number");
    Some(kibibytes << 10)
}

/// Runs a command that must succeed; what it printed, and its peak memory as last seen before it ended.
async fn measured(mut command: Command, folder: &Path) -> (String, u64) {
    let printed = folder.join("printed");
    command.stdout(File::create(&printed).unwrap()).stderr(Stdio::inherit()).kill_on_drop(true);
    let mut child = command.spawn().unwrap();
    let process = child.id().expect("it is running");
    let mut turn = tokio::time::interval(Duration::from_millis(2));
    let mut peak = 0;
    let ended = tokio::time::timeout(LIMIT, async {
        loop {
            tokio::select! {
                status = child.wait() => break status.unwrap(),
                _ = turn.tick() => peak = peak_memory(process).unwrap_or(peak),
            }
        }
    });
    let status = ended.await.unwrap_or_else(|_| panic!("{command:?} hangs"));
    assert!(status.success(), "{command:?}: {status}");
    assert!(peak > 1 << 20, "{command:?} was seen running");
    (std::fs::read_to_string(printed).unwrap(), peak)
}

#[tokio::test]
async fn hundreds_of_mebibytes_are_built_inspected_and_deployed_in_little_memory() {
    let (store, project, folder) = (TempDir::new().unwrap(), large_project(), TempDir::new().unwrap());
    let bundle = folder.path().join("large.wasm");
    let host = HostProcess::start(store.path(), &[]).await;
    let before = peak_memory(host.id()).expect("it is running");

    let mut command = nocti();
    command.args(["build", text(project.path()), "-o", text(&bundle)]);
    let (_, peak) = measured(command, folder.path()).await;
    assert!(peak < COMMAND_PEAK, "build took {} MiB", peak >> 20);
    assert!(bundle.metadata().unwrap().len() > ASSET_BYTES);

    let mut command = nocti();
    command.args(["inspect", text(&bundle)]);
    let (printed, peak) = measured(command, folder.path()).await;
    assert!(peak < COMMAND_PEAK, "inspect took {} MiB", peak >> 20);
    assert!(
        printed.contains("bundle of a http function") && printed.contains("/assets/zeros (400.0 MiB)"),
        "{printed}"
    );

    let (printed, peak) = measured(host.command(&["deploy", text(&bundle)]), folder.path()).await;
    assert!(peak < COMMAND_PEAK, "deploy took {} MiB", peak >> 20);
    assert!(printed.starts_with("deployed large 1.0.0"), "{printed}");
    let answer = get(&host, "/functions/large/").await;
    assert_eq!((answer.status, answer.text().as_str()), (200, "Hello from WebAssembly! You sent GET /\n"));
    let growth = peak_memory(host.id()).expect("it is running") - before;
    assert!(growth < HOST_GROWTH, "the host grew by {} MiB", growth >> 20);
}
