//! `GET /api/functions/NAME/versions/V/bundle`: what was deployed comes back.

use nocti_tests::{Answer, TestHost, fixture_model, model_bundle};
use reqwest::Method;

use super::blobs::Function;

const PATH: &str = "/api/functions/hello/versions/1/bundle";

async fn ranged(host: &TestHost, range: &str, if_range: Option<&str>) -> Answer {
    let request = host.request(Method::GET, PATH).header("range", range);
    host.send(if_range.into_iter().fold(request, |request, etag| request.header("if-range", etag))).await
}

fn header<'a>(answer: &'a Answer, name: &str) -> &'a str {
    answer.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_identical_bundle_comes_back() {
    let host = TestHost::start().await;
    let function = Function::new("1");
    host.deployed(function.bundle.clone()).await;
    let model = model_bundle("simple", "1", &fixture_model("addsub.onnx"));
    host.deployed(model.clone()).await;
    assert_eq!(host.get("/api/functions/simple/versions/1/bundle").await.body, model);
    let answer = host.get(PATH).await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.body, function.bundle);
    let etag = format!("\"{}\"", function.manifest.digest());
    for (name, value) in [
        ("content-type", "application/wasm"),
        ("content-length", &function.bundle.len().to_string()),
        ("etag", &etag),
        ("accept-ranges", "bytes"),
        ("content-disposition", "attachment; filename=\"hello-1.wasm\""),
    ] {
        assert_eq!(header(&answer, name), value);
    }
    let head = host.send(host.request(Method::HEAD, PATH)).await;
    assert_eq!((head.status, head.body.len()), (200, 0));
    assert_eq!(header(&head, "content-length"), function.bundle.len().to_string());
    // It deploys as the same.
    host.post("/api/functions", answer.body).await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn parts_of_it_are_put_together_from_anywhere() {
    let host = TestHost::start().await;
    let function = Function::new("1");
    host.deployed(function.bundle.clone()).await;
    let size = function.bundle.len();
    for at in [0, 1, 7, 8, 100, size / 3, size / 2, size - 100_100, size - 1] {
        let answer = ranged(&host, &format!("bytes={at}-"), None).await;
        assert_eq!((answer.status, &answer.body[..]), (206, &function.bundle[at..]), "{at}");
        assert_eq!(header(&answer, "content-range"), format!("bytes {at}-{}/{size}", size - 1));
        let answer = ranged(&host, &format!("bytes=0-{at}"), None).await;
        assert_eq!((answer.status, &answer.body[..]), (206, &function.bundle[..=at]), "{at}");
    }
    let etag = format!("\"{}\"", function.manifest.digest());
    assert_eq!(ranged(&host, "bytes=5-9", Some(&etag)).await.body, function.bundle[5..10]);
    assert_eq!(ranged(&host, "bytes=5-9", Some("\"another\"")).await.body, function.bundle);
    let answer = ranged(&host, &format!("bytes={size}-"), None).await;
    answer.expect_error(416, "out_of_range", &[&format!("{size} bytes")]);
    assert_eq!(header(&answer, "content-range"), format!("bytes */{size}"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_there_is_told() {
    let host = TestHost::start().await;
    let function = Function::new("1");
    host.deployed(function.bundle.clone()).await;
    host.get("/api/functions/none/versions/1/bundle").await.expect_error(404, "not_found", &["'none'"]);
    for version in ["2", "live", "..%2f1"] {
        let answer = host.get(&format!("/api/functions/hello/versions/{version}/bundle")).await;
        answer.expect_error(404, "not_found", &["has versions 1"]);
    }
    let blob = function.manifest.blobs().next().expect("a component").sha256;
    std::fs::remove_file(host.store().join("blobs/sha256").join(blob.to_string())).expect("it is there");
    host.get(PATH).await.expect_error(500, "damaged", &[&blob.to_string(), "is missing from the store"]);
}
