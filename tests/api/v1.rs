//! KServe's V1 protocol.

use nocti_tests::{TestHost, example, fixture_guest, model_bundle};
use serde_json::json;

#[tokio::test(flavor = "multi_thread")]
async fn predictions_come_in_rows() {
    let host = TestHost::start().await;
    host.deployed(model_bundle("iris", "1", &example("iris/iris.onnx"))).await;
    host.deploy_model("pair", "addsub.onnx").await.expect(201);
    assert_eq!(host.get("/").await.expect(200), json!({"status": "alive"}));
    assert_eq!(host.get("/v1/models").await.expect(200), json!({"models": ["iris", "pair"]}));
    assert_eq!(host.get("/v1/models/iris").await.expect(200), json!({"name": "iris", "ready": true}));

    let flowers = json!([[5.1, 3.5, 1.4, 0.2], [6.7, 3.0, 5.2, 2.3]]);
    let v2 = json!({"inputs": [{"name": "features", "datatype": "FP32", "shape": [2, 4], "data": flowers}]});
    let outputs = host.infer("iris", &v2).await.expect(200)["outputs"].clone();
    let label = outputs.as_array().unwrap().iter().find(|output| output["name"] == "label").cloned().expect("a label");
    for body in [json!({"instances": flowers}), json!({"inputs": flowers}), json!({"inputs": {"features": flowers}})] {
        let answer = host.post("/v1/models/iris:predict", body.to_string()).await.expect(200);
        let rows = answer["predictions"].as_array().expect("rows");
        assert_eq!(rows.len(), 2, "{answer}");
        for (row, label) in rows.iter().zip(label["data"].as_array().unwrap()) {
            assert_eq!(row["label"], *label, "{answer}");
        }
    }
    // Both doors name an input that nobody has.
    host.post("/v1/models/pair:predict", r#"{"instances": [{"INPUT0": 1, "NONE": 2}]}"#).await.expect_error(
        400,
        "invalid_request",
        &["unexpected inference input 'NONE' for model 'pair'"],
    );
    let row = |from: i32| (from..from + 16).collect::<Vec<i32>>();
    let body = json!({"instances": [{"INPUT0": row(1), "INPUT1": row(1)}]});
    let answer = host.post("/v1/models/pair/versions/1.0.0:predict", body.to_string()).await.expect(200);
    assert_eq!(answer["predictions"][0]["OUTPUT1"], json!(vec![0; 16]));
}

#[tokio::test(flavor = "multi_thread")]
async fn explanations_are_given_where_there_are_any() {
    let host = TestHost::start().await;
    host.deploy(&fixture_guest("misbehave")).await.expect(201);
    host.deploy_model("same", "identity_int64.onnx").await.expect(201);
    let answer = host.post("/v1/models/misbehave:explain", json!({"instances": [1]}).to_string()).await.expect(200);
    assert_eq!(answer, json!({"explanations": ["mode "]}));
    let body = json!({"instances": [[1]]}).to_string();
    host.post("/v1/models/same:explain", body.clone()).await.expect_error(501, "not_explainable", &["'same'"]);
    host.post("/v1/models/none:predict", body).await.expect_error(404, "not_found", &["none"]);
    host.get("/v1/models/none").await.expect_error(404, "not_found", &["none"]);
    host.get("/v1/models/same:predict").await.expect_error(405, "method_not_allowed", &["POST"]);
    host.post("/v1/models/same:predict", "{").await.expect_error(400, "invalid_request", &[]);
}
