//! Files and text in place of tensors: `curl --data-binary @3.png HOST/functions/digits`.

use nocti_tests::{TestHost, example};
use reqwest::Method;
use serde_json::json;

use super::tensor;

fn npy(descr: &str, shape: &str, data: &[u8]) -> Vec<u8> {
    let header = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}\n");
    let length = u16::try_from(header.len()).expect("a short header").to_le_bytes();
    [b"\x93NUMPY\x01\x00", &length[..], header.as_bytes(), data].concat()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_picture_or_an_array_is_enough() {
    let host = TestHost::start().await;
    host.deploy(&example("digits")).await.expect(201);
    let samples = std::fs::read_dir(example("digits/model/samples")).expect("samples");
    let mut files = samples.map(|file| file.expect("a file").path());
    let picture = files.find(|file| file.extension().is_some_and(|extension| extension == "png")).expect("a picture");
    let picture = std::fs::read(picture).expect("it can be read");
    // As curl sends it.
    let form = "application/x-www-form-urlencoded";
    let request = host.request(Method::POST, "/functions/digits").header("content-type", form).body(picture.clone());
    let by_file = host.send(request).await.expect(200);
    let parameters = json!({"content_type": "base64"});
    use base64::Engine as _;
    let encoded = base64::engine::general_purpose::STANDARD.encode(&picture);
    let request = json!({"inputs": [{"name": "png", "datatype": "BYTES", "shape": [1], "parameters": parameters, "data": [encoded]}]});
    assert_eq!(by_file["outputs"], host.infer("digits", &request).await.expect(200)["outputs"]);

    let pixels: Vec<u8> = (0..64).collect();
    let by_array = host.post("/functions/digits/", npy("|u1", "(1, 8, 8)", &pixels)).await.expect(200);
    let request = json!({"inputs": [tensor("image", "UINT8", &[1, 8, 8], json!(pixels))]});
    assert_eq!(by_array["outputs"], host.infer("digits", &request).await.expect(200)["outputs"]);
    // The protocol's own JSON does as well.
    let by_json = host.post("/functions/digits", request.to_string()).await.expect(200);
    assert_eq!(by_json["outputs"], by_array["outputs"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_fits_no_input_or_several_says_which_there_are() {
    let host = TestHost::start().await;
    host.deploy_model("text", "identity_string.onnx").await.expect(201);
    host.deploy_model("pair", "addsub.onnx").await.expect(201);
    let answer = host.post("/functions/text", "any text").await.expect(200);
    assert_eq!(answer["outputs"][0]["data"], json!(["any text"]));
    host.post("/functions/pair", "any text").await.expect_error(
        400,
        "invalid_request",
        &["no input for text", "'INPUT0' INT32"],
    );
    let array = npy("<i4", "(1, 16)", &[0; 64]);
    host.post("/functions/pair", array.clone()).await.expect_error(
        400,
        "invalid_request",
        &["several inputs", "?input=NAME"],
    );
    host.post("/functions/pair?input=INPUT0", array).await.expect_error(400, "invalid_request", &["'INPUT1'"]);
    let other = npy("<f4", "(1, 16)", &[0; 64]);
    host.post("/functions/pair", other).await.expect_error(
        400,
        "invalid_request",
        &["no input for an array of FP32 [1, 16]"],
    );
    host.post("/functions/pair", npy("<i4", "(2, 16)", &[0; 64])).await.expect_error(
        400,
        "invalid_request",
        &[".npy file"],
    );
    host.get("/functions/pair").await.expect_error(400, "wrong_kind", &[]);
    host.post("/functions/pair/below", "x").await.expect_error(400, "wrong_kind", &[]);
}
