//! Threads of models: a group for each, or one group for all.

use std::path::Path;

use nocti_tests::{HostProcess, fixture_model};
use serde_json::json;
use tempfile::TempDir;

use super::{ask, text};

const MODELS: [&str; 8] = ["uint8", "uint16", "uint32", "uint64", "int8", "int16", "int32", "int64"];

/// A folder with a function of one model that wants four threads.
fn project(folder: &Path, name: &str) {
    let model = format!("identity_{name}.onnx");
    std::fs::copy(fixture_model(&model), folder.join("model.onnx")).unwrap();
    let manifest = format!(
        "name = \"{name}\"\nversion = \"1\"\n[[model]]\nname = \"model\"\npath = \"model.onnx\"\nintra_threads = 4\n"
    );
    std::fs::write(folder.join("nocti.toml"), manifest).unwrap();
}

/// How many threads a host has gained when all models are loaded and have answered.
async fn gained(settings: &[(&str, &str)]) -> usize {
    let store = TempDir::new().unwrap();
    let host = HostProcess::start(store.path(), settings).await;
    let threads = || std::fs::read_dir(format!("/proc/{}/task", host.id())).unwrap().count();
    let before = threads();
    for name in MODELS {
        let folder = TempDir::new().unwrap();
        project(folder.path(), name);
        ask(&host, &["deploy", text(folder.path())]).await.expect(0);
        let input = json!({"name": "input", "datatype": name.to_uppercase(), "shape": [1, 2], "data": [3, 4]});
        let request = json!({"inputs": [input]}).to_string();
        ask(&host, &["invoke", name, "-d", &request]).await.expect(0);
    }
    threads().saturating_sub(before)
}

#[tokio::test]
async fn models_share_one_group_of_threads_where_the_host_says_so() {
    // Three threads beside the one that runs it, for each model.
    let own = gained(&[]).await;
    assert!(own >= 3 * MODELS.len(), "{own}");
    let shared = gained(&[("NOCTI_ONNXRUNTIME_THREADS", "2")]).await;
    // Other threads come and go with what the host reads and loads, in both alike.
    assert!(shared + 2 * MODELS.len() < own, "{shared} and {own}");
}
