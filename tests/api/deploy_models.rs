//! `POST /api/functions` with ONNX files that cannot be served, or hardly.

use std::time::Duration;

use nocti::registry::nocti_toml::Project;
use nocti_tests::{TestHost, bundle_with, fixture_guest, fixture_model, write};
use serde_json::json;

use super::tensor;

async fn nothing_is_deployed(host: &TestHost) {
    assert_eq!(host.get("/api/functions").await.expect(200), json!({"functions": []}));
    assert!(!host.store().join("functions").read_dir().is_ok_and(|mut names| names.next().is_some()));
    assert_eq!(host.get("/api/status").await.expect(200)["sessions"], json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_corrupt_model_is_refused_and_no_path_of_the_host_shown() {
    let host = TestHost::start().await;
    let answer = host.deploy_model("corrupt", "corrupt.onnx").await;
    answer.expect_error(400, "invalid_model", &["model 'corrupt' cannot be loaded"]);
    let store = host.store().display().to_string();
    assert!(!answer.text().contains(&store) && !answer.text().contains("blobs/"), "{}", answer.text());
    nothing_is_deployed(&host).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn models_cut_off_anywhere_are_refused_or_whole() {
    let host = TestHost::start().await;
    let folder = tempfile::TempDir::new().expect("a temporary folder");
    let model = std::fs::read(fixture_model("slow.onnx")).expect("it is there");
    for end in (1..model.len()).step_by(model.len() / 30) {
        let file = folder.path().join("cut.onnx");
        std::fs::write(&file, &model[..end]).expect("it can be written");
        let (name, version) = ("cut".parse().expect("a name"), format!("{end}").parse().expect("a version"));
        let answer = host.post("/api/functions", write(&Project::for_model(&file, name, version))).await;
        answer.expect_error(400, "invalid_model", &["model 'cut' cannot be loaded"]);
    }
    nothing_is_deployed(&host).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_output_that_is_no_tensor_is_refused_with_the_way_to_export_without() {
    let host = TestHost::start().await;
    let answer = host.deploy_model("sequence", "sequence_output.onnx").await;
    answer.expect_error(400, "invalid_model", &["output 'pair'", "only tensors", "'zipmap': False"]);
    nothing_is_deployed(&host).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn weights_in_another_file_are_refused_wherever_they_hide() {
    let host = TestHost::start().await;
    for file in ["external", "external_beside", "external_constant", "external_branch"] {
        let answer = host.deploy_model("external", &format!("{file}.onnx")).await;
        answer.expect_error(400, "invalid_model", &["model 'external'", "another file", "as one file"]);
        assert!(!answer.text().contains("passwd") && !answer.text().contains("root"), "{}", answer.text());
    }
    nothing_is_deployed(&host).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_bad_model_beside_good_ones_is_named() {
    let host = TestHost::start().await;
    let bundle = bundle_with(&fixture_guest("free"), |project| {
        project.models.truncate(3);
        project.models[1].file.path = fixture_model("corrupt.onnx");
    });
    let answer = host.post("/api/functions", bundle).await;
    answer.expect_error(400, "invalid_model", &["model 'nan' cannot be loaded"]);
    nothing_is_deployed(&host).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_that_is_not_there_is_said_and_not_replaced() {
    let host = TestHost::start().await;
    let (name, version) = ("on-gpu".parse().expect("a name"), "1".parse().expect("a version"));
    let mut project = Project::for_model(&fixture_model("scalar.onnx"), name, version);
    project.models[0].options.device = "cuda:99".parse().expect("a device");
    let answer = host.post("/api/functions", write(&project)).await;
    answer.expect_error(400, "invalid_model", &["model 'on-gpu' cannot run on cuda:99"]);
    nothing_is_deployed(&host).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_model_does_not_disturb_the_version_that_serves() {
    let host = TestHost::start().await;
    host.deploy_model("scalar", "scalar.onnx").await.expect(201);
    let (name, version) = ("scalar".parse().expect("a name"), "2".parse().expect("a version"));
    let broken = Project::for_model(&fixture_model("corrupt.onnx"), name, version);
    host.post("/api/functions", write(&broken)).await.expect_error(400, "invalid_model", &[]);
    let request = json!({"inputs": [tensor("x", "FP32", &[1], json!([1]))]});
    assert_eq!(host.infer("scalar", &request).await.expect(200)["model_version"], "1.0.0");
    assert_eq!(host.get("/api/functions/scalar").await.expect(200)["revision"], 1);
}

/// The warm-up runs a model on zeros, and nobody knows how long that takes.
#[tokio::test(flavor = "multi_thread")]
async fn a_model_that_never_ends_on_zeros_is_deployed_all_the_same() {
    let host = TestHost::start().await;
    let deploy = host.deploy_model("endless", "endless_on_zeros.onnx");
    let answer = tokio::time::timeout(Duration::from_secs(60), deploy).await;
    answer.expect("the warm-up ends by itself").expect(201);
}
