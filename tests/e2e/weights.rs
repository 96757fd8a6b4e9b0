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
    maps.lines().filter(|line| line.contains("/weights-")).map(file).collect()
}

#[tokio::test]
async fn sessions_of_a_model_map_one_file_and_a_single_one_needs_none() {
    let several = mapped(3).await;
    assert!(several.len() >= 3 && several.iter().all(|file| *file == several[0]), "{several:?}");
    assert!(mapped(1).await.is_empty());
}
