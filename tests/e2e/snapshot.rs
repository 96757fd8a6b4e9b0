//! Functions that are initialised when their bundle is built: their instances begin where `init` ended, and a bundle that cannot be
//! made says why.

use std::time::Duration;

use nocti::registry::nocti_toml::Project;
use nocti::runtime::snapshot::{SnapshotError, Uninitialised, initialise};
use nocti_tests::{HostProcess, fixture_guest, fixture_model};
use serde_json::json;
use tempfile::TempDir;

use super::{Ran, ask, infer, nocti_in, text};

/// A folder with the fixture `ahead`, whose `init` does what `mode` says.
fn function(mode: &str) -> TempDir {
    let folder = TempDir::new().unwrap();
    let guest = Project::load(&fixture_guest("ahead")).unwrap_or_else(|error| panic!("{error}"));
    let component = &guest.component.as_ref().unwrap().file.path;
    let manifest = format!(
        "name = \"ahead\"\nversion = \"1.0.0\"\n[component]\npath = {:?}\n[[model]]\nname = \"scalar\"\npath = {:?}\n\
         [assets]\n\"words/first.txt\" = \"first.txt\"\n[env]\nAHEAD_INIT = {mode:?}\n",
        component.canonicalize().unwrap(),
        fixture_model("scalar.onnx"),
    );
    std::fs::write(folder.path().join("nocti.toml"), manifest).unwrap();
    std::fs::write(folder.path().join("first.txt"), "a word\n").unwrap();
    folder
}

async fn build(mode: &str) -> (Ran, TempDir) {
    let folder = function(mode);
    (nocti_in(folder.path(), &["build"]).await, folder)
}

#[tokio::test]
async fn instances_begin_where_init_ended() {
    let store = TempDir::new().unwrap();
    let host = HostProcess::start(store.path(), &[]).await;
    let folder = function("well");
    let ran = ask(&host, &["deploy", text(folder.path())]).await.expect(0);
    assert!(ran.err.contains("initialised ahead: "), "{ran:?}");
    for request in 1..3 {
        let answer = infer(&host, "ahead", json!([])).await.expect(200);
        let said = format!("a word ahead, request {request}, file read again: true");
        assert_eq!(answer["outputs"][0]["data"], json!([said]));
    }
    let x = json!([{"name": "x", "datatype": "FP32", "shape": [2], "data": [1.5, 2.0]}]);
    let answer = infer(&host, "ahead", x).await.expect(200);
    assert_eq!(answer["outputs"][0]["data"], json!([3.5]), "the model that init named");
}

#[tokio::test]
async fn the_same_folder_makes_the_same_bundle() {
    let (ran, one) = build("well").await;
    ran.expect(0);
    let (ran, other) = build("well").await;
    ran.expect(0);
    let bundle = |folder: &TempDir| std::fs::read(folder.path().join("ahead-1.0.0.wasm")).unwrap();
    assert!(bundle(&one) == bundle(&other), "they differ");
}

#[tokio::test]
async fn a_bundle_that_cannot_be_initialised_is_not_made() {
    for (mode, said) in [
        ("error", "its `init` failed: the stars are not right"),
        ("trap", "its `init` stopped: wasm trap: "),
        ("exhaust", "its `init` stopped: it needs more memory than its limit of 134217728 bytes (limits.memory)"),
        ("onnx", "#load: models can be loaded and run by requests, not when a bundle is built"),
        ("file", "its `init` keeps open what only requests can have: a file"),
        ("print", "or standard output or error that it has printed to"),
    ] {
        let (ran, folder) = build(mode).await;
        assert_eq!(ran.code, Some(1), "{mode}: {ran:#?}");
        assert!(ran.message().contains(said), "'{said}' is not in: {}", ran.message());
        assert!(!folder.path().join("ahead-1.0.0.wasm").exists(), "{mode}");
    }
}

#[test]
fn an_init_that_does_not_end_is_stopped() {
    let guest = Project::load(&fixture_guest("ahead")).unwrap_or_else(|error| panic!("{error}"));
    let component = std::fs::read(&guest.component.unwrap().file.path).unwrap();
    let assets = TempDir::new().unwrap();
    let endless = Uninitialised {
        component: &component,
        assets: assets.path(),
        env: vec![("AHEAD_INIT".to_owned(), "loop".to_owned())],
        memory_bytes: 128 << 20,
        time_limit: Duration::from_millis(100),
    };
    let error = initialise(&endless).expect_err("it does not end");
    assert!(matches!(error, SnapshotError::TimedOut(_)), "{error}");
    assert_eq!(error.to_string(), "its `init` takes longer than 0.1 s");
}
