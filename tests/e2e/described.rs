//! The host does what its OpenAPI document says, as far as schemathesis can tell: it makes requests from the document, good and
//! bad ones, and holds the answers against it.

use nocti_tests::{HostProcess, example, fixture_guest, fixture_model, repository};
use tempfile::TempDir;
use tokio::process::Command;

use super::{ask, run, text};

#[tokio::test]
async fn the_host_keeps_to_its_openapi_document() {
    let folder = nocti::config::tool_folder().expect("a folder of tools").join("clients");
    let program = folder.join("bin/schemathesis");
    assert!(program.exists(), "there is no {}: `scripts/setup clients` makes it", program.display());
    let (store, scratch) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let host = HostProcess::start(store.path(), &[]).await;
    for folder in [example("digits"), example("hello-http"), fixture_guest("misbehave")] {
        ask(&host, &["deploy", text(&folder)]).await.expect(0);
    }
    // `spare` is what is deleted.
    for name in ["simple", "spare"] {
        ask(&host, &["deploy", text(&fixture_model("addsub.onnx")), "--name", name, "--version", "1.0.0"])
            .await
            .expect(0);
    }
    let mut checks = Command::new(program);
    // It leaves files where it runs.
    checks.current_dir(scratch.path());
    // Whatever the machine reaches other hosts through.
    checks.env("no_proxy", "127.0.0.1");
    checks.arg("--config-file").arg(repository().join("tests/e2e/clients/schemathesis.toml"));
    checks.args(["run", "--no-color", &format!("{}/api/openapi.json", host.url)]);
    let ran = run(checks).await.expect(0);
    assert!(ran.out.contains("No issues found"), "{}\n{}", ran.out, ran.err);
    // What was not to be deleted is there, and the host did not fall over silently.
    ask(&host, &["show", "digits"]).await.expect(0);
}
