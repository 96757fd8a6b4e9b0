//! A host over a store that another one left behind.

use nocti_tests::{TestHost, eventually, fixture_guest};
use serde_json::{Value, json};

use super::{mode, tensor};

fn digests(functions: &Value) -> Vec<String> {
    let versions = functions["versions"].as_array().expect("a list");
    versions.iter().map(|version| version["digest"].to_string()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_deployed_answers_after_a_restart() {
    let host = TestHost::start().await;
    host.deploy_model("simple", "addsub.onnx").await.expect(201);
    for folder in ["misbehave", "free", "misbehave-http"] {
        host.deploy(&fixture_guest(folder)).await.expect(201);
    }
    host.deploy_model("gone", "scalar.onnx").await.expect(201);
    host.delete("/api/functions/gone").await.expect(200);
    let names = ["simple", "misbehave", "free", "misbehave-http"];
    let list = host.get("/api/functions").await.expect(200);
    let mut before = Vec::new();
    for name in names {
        before.push(host.get(&format!("/api/functions/{name}")).await.expect(200));
    }

    let (drained, store) = host.stop().await;
    assert!(drained, "nothing was in flight");
    let host = TestHost::start_over(store, |_| {}).await;

    assert_eq!(host.get("/api/functions").await.expect(200), list);
    for (name, before) in names.iter().zip(before) {
        let after = host.get(&format!("/api/functions/{name}")).await.expect(200);
        assert_eq!(digests(&after), digests(&before));
        assert_eq!(after, before);
    }
    let numbers: Vec<i32> = (0..16).collect();
    let input = |name: &str| tensor(name, "INT32", &[1, 16], json!(numbers));
    host.infer("simple", &json!({"inputs": [input("INPUT0"), input("INPUT1")]})).await.expect(200);
    host.infer("misbehave", &mode("count", json!({}), &[])).await.expect(200);
    let read = mode("read-file", json!({"path": "/assets/folder/nested.txt"}), &[]);
    host.infer("free", &read).await.expect(200);
    assert_eq!(host.get("/functions/misbehave-http/count").await.text(), "1");
    host.get("/api/functions/gone").await.expect_error(404, "not_found", &[]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_revision_leaves_the_other_functions_alone() {
    let host = TestHost::start().await;
    host.deploy_model("broken", "scalar.onnx").await.expect(201);
    host.deploy_model("whole", "scalar.onnx").await.expect(201);
    let (_, mut store) = host.stop().await;
    let revision = store.path().join("functions/broken/00000000000000000001.json");
    let text = std::fs::read_to_string(&revision).expect("it was deployed");
    let request = json!({"inputs": [tensor("x", "FP32", &[1], json!([1]))]});
    for damaged in ["", "{", &text[..text.len() / 2], &text.replace("\"revision\": 1", "\"revision\": 2"), "\0\0\0"] {
        std::fs::write(&revision, damaged).expect("it can be damaged");
        let host = TestHost::start_over(store, |_| {}).await;
        host.infer("whole", &request).await.expect(200);
        host.infer("broken", &request).await.expect_error(500, "damaged", &["function 'broken' cannot be used"]);
        let answer = host.get("/api/functions/broken").await;
        answer.expect_error(500, "damaged", &["functions/broken/00000000000000000001.json", "backup"]);
        store = host.stop().await.1;
    }
    std::fs::write(&revision, text).expect("it can be restored");
    let host = TestHost::start_over(store, |_| {}).await;
    host.infer("broken", &request).await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_model_file_is_said_and_a_new_deploy_mends_it() {
    let host = TestHost::start().await;
    host.deploy_model("scalar", "scalar.onnx").await.expect(201);
    let shown = host.get("/api/functions/scalar").await.expect(200);
    let sha256 = shown["versions"][0]["models"][0]["sha256"].as_str().expect("text").to_owned();
    std::fs::remove_file(host.store().join("blobs/sha256").join(&sha256)).expect("it is there");
    let request = json!({"inputs": [tensor("x", "FP32", &[1], json!([1]))]});
    let answer = host.infer("scalar", &request).await;
    answer.expect_error(
        500,
        "load_failed",
        &["function 'scalar' cannot be loaded", &sha256, "deploy the version again"],
    );
    host.deploy_model("scalar", "scalar.onnx").await.expect(200);
    host.infer("scalar", &request).await.expect(200);
}

/// As long as something was prepared of it, the file itself is not read.
#[tokio::test(flavor = "multi_thread")]
async fn a_model_that_has_changed_on_the_disk_answers_nothing_and_a_new_deploy_mends_it() {
    let host = TestHost::start().await;
    host.deploy_model("scalar", "scalar.onnx").await.expect(201);
    let digest = host.get("/api/functions/scalar").await.expect(200)["versions"][0]["models"][0]["sha256"].clone();
    let (_, store) = host.stop().await;
    let blob = store.path().join("blobs/sha256").join(digest.as_str().expect("a digest"));
    let mut bytes = std::fs::read(&blob).expect("it is there");
    *bytes.last_mut().expect("a byte") ^= 1;
    std::fs::write(&blob, bytes).expect("it can be damaged");
    std::fs::remove_dir_all(store.path().join("cache")).expect("it may go");
    let host = TestHost::start_over(store, |_| {}).await;
    let request = json!({"inputs": [tensor("x", "FP32", &[1], json!([1]))]});
    host.infer("scalar", &request).await.expect_error(500, "damaged", &["deploy the same version again"]);
    host.deploy_model("scalar", "scalar.onnx").await.expect(200);
    host.infer("scalar", &request).await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_last_start_saved_hides_no_change_and_may_be_damaged() {
    let host = TestHost::start().await;
    host.deploy_model("kept", "scalar.onnx").await.expect(201);
    host.deploy_model("gone", "scalar.onnx").await.expect(201);
    let (_, mut store) = host.stop().await;
    let saved = store.path().join("cache/catalog.snapshot");
    // By now the files are old enough to be known again.
    eventually("the saved catalog", async || {
        let host = TestHost::start_over(std::mem::replace(&mut store, tempfile::TempDir::new().ok()?), |_| {}).await;
        store = host.stop().await.1;
        let text = std::fs::read_to_string(&saved).ok()?;
        (text.contains("kept") && text.contains("gone")).then_some(())
    })
    .await;
    let before = std::fs::read(&saved).expect("it was written");

    let host = TestHost::start_over(store, |_| {}).await;
    host.deploy_model("new", "scalar.onnx").await.expect(201);
    host.delete("/api/functions/gone").await.expect(200);
    let list = host.get("/api/functions").await.expect(200);
    let mut store = host.stop().await.1;
    let request = json!({"inputs": [tensor("x", "FP32", &[1], json!([1]))]});
    for content in [&before[..], &before[..before.len() / 2], b"", b"{}\n0123456789abcdef\n"] {
        std::fs::write(&saved, content).expect("it can be replaced");
        let host = TestHost::start_over(store, |_| {}).await;
        assert_eq!(host.get("/api/functions").await.expect(200), list);
        host.infer("kept", &request).await.expect(200);
        host.infer("new", &request).await.expect(200);
        host.get("/api/functions/gone").await.expect_error(404, "not_found", &[]);
        store = host.stop().await.1;
    }
}
