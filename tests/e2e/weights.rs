//! A model's weights are in memory once, however many of its runs can go on at once.

use nocti_tests::{HostProcess, example};
use serde_json::json;
use tempfile::TempDir;

use super::{ask, infer, text};

/// Where a host that has answered with so many sessions of a model has weights mapped: of each mapping, the file.
async fn mapped(sessions: usize) -> Vec<String> {
    let (store, folder) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let host = HostProcess::start(store.path(), &[]).await;
    let model = example("digits/model/digits.onnx");
    let manifest = format!(
        "name = \"digits\"\nversion = \"1\"\n[[model]]\nname = \"digits\"\npath = {:?}\nsessions = {sessions}\n",
        text(&model)
    );
    std::fs::write(folder.path().join("nocti.toml"), manifest).unwrap();
    ask(&host, &["deploy", text(folder.path())]).await.expect(0);
    let image = json!({"name": "image", "datatype": "FP32", "shape": [1, 1, 8, 8], "data": vec![0.5; 64]});
    infer(&host, "digits", json!([image])).await.expect(200);
    let maps = std::fs::read_to_string(format!("/proc/{}/maps", host.id())).unwrap();
    // Device and inode: proc(5).
    let file = |line: &str| line.split_whitespace().skip(3).take(2).collect::<Vec<_>>().join(" ");
    maps.lines().filter(|line| line.contains("/cache/models/")).map(file).collect()
}

#[tokio::test]
async fn sessions_of_a_model_map_one_file() {
    for sessions in [1, 3] {
        let files = mapped(sessions).await;
        assert!(files.len() >= sessions && files.iter().all(|file| *file == files[0]), "{files:?}");
    }
}
