//! Clients of other servers, unchanged.

use std::path::Path;

use nocti_tests::{HostProcess, fixture_model, repository};
use tempfile::TempDir;
use tokio::process::Command;

use super::{ask, run, text};

/// The types that there is a model of each, as its file calls them.
const TYPES: [&str; 14] = [
    "bool", "uint8", "uint16", "uint32", "uint64", "int8", "int16", "int32", "int64", "float16", "bfloat16", "float",
    "double", "string",
];

#[tokio::test]
async fn tritons_python_clients_work() {
    let folder = nocti::config::tool_folder().expect("a folder of tools").join("clients");
    let python = folder.join("bin/python");
    assert!(python.exists(), "there is no {}: `scripts/setup clients` makes it", python.display());
    let store = TempDir::new().unwrap();
    let host = HostProcess::start(store.path(), &[]).await;
    let deploy = async |file: &Path, name: &str| {
        ask(&host, &["deploy", text(file), "--name", name, "--version", "1.0.0"]).await.expect(0);
    };
    deploy(&fixture_model("addsub.onnx"), "simple").await;
    deploy(&fixture_model("slow.onnx"), "slow").await;
    for name in TYPES {
        deploy(&fixture_model(&format!("identity_{name}.onnx")), &format!("identity-{name}")).await;
    }
    let mut checks = Command::new(python);
    checks.arg(repository().join("tests/e2e/clients/triton.py"));
    // Whatever the machine reaches other hosts through.
    checks.env("no_proxy", "127.0.0.1");
    checks.args([host.url.trim_start_matches("http://"), &host.grpc_address]);
    let ran = run(checks).await.expect(0);
    assert!(ran.out.ends_with("all checks passed\n"), "{ran:?}");
}
