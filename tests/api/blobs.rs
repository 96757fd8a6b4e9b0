//! `/api/blobs`: deploys by parts, uploads that break off and go on, and what nobody refers to.

use std::time::Duration;

use nocti::registry::bundle::Layout;
use nocti::registry::digest::{Blob, Digest};
use nocti::registry::manifest::Manifest;
use nocti::registry::nocti_toml::Project;
use nocti_tests::{Answer, TestHost, eventually, example, fixture_model, model_bundle, write};
use reqwest::Method;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

const MANIFEST: &str = "application/vnd.nocti.manifest+json";

/// A function of all kinds of parts: its manifest, and the content of each.
pub(super) struct Function {
    pub(super) bundle: Vec<u8>,
    pub(super) manifest: Manifest,
    pub(super) parts: Vec<Vec<u8>>,
    _folder: TempDir,
}

impl Function {
    pub(super) fn new(version: &str) -> Self {
        let folder = TempDir::new().expect("a temporary folder");
        let component = std::fs::read(example("target/wasm32-wasip2/release/hello_http.wasm")).expect("it is built");
        let (model, large) = (fixture_model("addsub.onnx"), vec![7; 100_000]);
        for (name, content) in [("c.wasm", &component), ("large", &large), ("version", &version.as_bytes().to_vec())] {
            std::fs::write(folder.path().join(name), content).expect("the folder takes it");
        }
        let text = format!(
            "name='hello'\nversion='{version}'\n[component]\npath='c.wasm'\n[[model]]\nname='m'\npath='{}'\n\
             [assets]\n'a/large'='large'\nversion='version'\n",
            model.display()
        );
        let project = Project::parse(folder.path(), &text).expect("the project is valid");
        let bundle = write(&project);
        let manifest = manifest_of(&bundle);
        let model = std::fs::read(model).expect("it is there");
        let parts = vec![component, model, large, version.as_bytes().to_vec()];
        assert_eq!(manifest.blobs().collect::<Vec<_>>(), parts.iter().map(|part| Blob::of(part)).collect::<Vec<_>>());
        Self { bundle, manifest, parts, _folder: folder }
    }
}

/// The manifest at a bundle's front.
fn manifest_of(bundle: &[u8]) -> Manifest {
    let mut splitter = nocti::registry::split::Splitter::new();
    splitter.push(bundle.to_vec().into()).expect("a bundle");
    (*splitter.finish().expect("a whole one")).clone()
}

fn path(blob: Blob, offset: usize) -> String {
    format!("/api/blobs/{}?size_bytes={}&offset={offset}", blob.sha256, blob.size)
}

async fn put(host: &TestHost, path: &str, body: impl Into<reqwest::Body>) -> Answer {
    host.send(host.request(Method::PUT, path).body(body)).await
}

async fn missing(host: &TestHost, blobs: impl IntoIterator<Item = Blob>) -> Value {
    let blobs = blobs.into_iter().map(|blob| json!({"sha256": blob.sha256, "size_bytes": blob.size}));
    let asked = json!({"blobs": blobs.collect::<Vec<_>>()});
    host.post("/api/blobs/missing", asked.to_string()).await.expect(200)["missing"].take()
}

async fn deploy(host: &TestHost, manifest: &Manifest) -> Answer {
    let request = host.request(Method::POST, "/api/functions").header("content-type", MANIFEST);
    host.send(request.body(manifest.canonical_json())).await
}

/// Sends the beginning of a blob and goes away.
async fn break_off(host: &TestHost, content: &[u8], from: usize, to: usize) {
    let blob = Blob::of(content);
    let mut stream = TcpStream::connect(host.url.trim_start_matches("http://")).await.expect("the host listens");
    let head =
        format!("PUT {} HTTP/1.1\r\nhost: t\r\ncontent-length: {}\r\n\r\n", path(blob, from), content.len() - from);
    stream.write_all(head.as_bytes()).await.expect("it reads");
    stream.write_all(&content[from..to]).await.expect("it reads");
    let come = async || (missing(host, [blob]).await[0]["offset"] == to).then_some(());
    eventually("what was sent", come).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_function_goes_in_parts_and_is_the_same_as_a_bundle() {
    let (host, other) = (TestHost::start().await, TestHost::start().await);
    let function = Function::new("1");
    let blobs: Vec<Blob> = function.manifest.blobs().collect();
    let answer = deploy(&host, &function.manifest).await;
    answer.expect_error(409, "blobs_missing", &[&blobs[0].sha256.to_string(), "and 3 more", "/api/blobs"]);
    let expected = blobs.iter().map(|blob| json!({"sha256": blob.sha256, "size_bytes": blob.size}));
    assert_eq!(answer.json()["blobs"], expected.clone().collect::<Value>());
    let expected = expected.map(|mut blob| {
        blob["offset"] = 0.into();
        blob
    });
    assert_eq!(missing(&host, blobs.clone()).await, expected.collect::<Value>());

    for (blob, part) in blobs.iter().zip(&function.parts) {
        let sent = put(&host, &path(*blob, 0), part.clone()).await.expect(201);
        assert_eq!(sent, json!({"sha256": blob.sha256, "size_bytes": blob.size}));
        put(&host, &path(*blob, 0), part.clone()).await.expect(200);
    }
    assert_eq!(missing(&host, blobs).await, json!([]));
    let by_parts = deploy(&host, &function.manifest).await.expect(201);
    let whole = other.post("/api/functions", function.bundle.clone()).await.expect(201);
    assert_eq!(by_parts, whole);
    assert_eq!(by_parts["size_bytes"], function.bundle.len());
    assert_eq!(Layout::of(&function.manifest).size_bytes(), function.bundle.len() as u64);
    assert_eq!(host.get("/functions/hello/").await.status, 200);
    assert_eq!(deploy(&host, &function.manifest).await.status, 200, "it was there already");

    // Of the next version it lacks what is new in it.
    let next = Function::new("2");
    assert_eq!(missing(&host, next.manifest.blobs()).await[0]["sha256"], json!(Digest::of(b"2")));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_goes_on_where_it_broke_off() {
    let host = TestHost::start().await;
    let content: Vec<u8> = (0..1_000_000_u32).flat_map(u32::to_le_bytes).collect();
    let blob = Blob::of(&content);
    break_off(&host, &content, 0, 1_000_000).await;
    for (wrong, body) in [(0, content.clone()), (999_999, vec![]), (4_000_000, vec![])] {
        let answer = eventually_not_busy(&host, &path(blob, wrong), body).await;
        answer.expect_error(409, "wrong_offset", &["1000000 bytes", "offset=1000000"]);
        assert_eq!(answer.json()["offset"], 1_000_000);
    }
    break_off(&host, &content, 1_000_000, 2_500_000).await;
    let answer = eventually_not_busy(&host, &path(blob, 2_500_000), content[2_500_000..3_000_000].to_vec()).await;
    answer.expect_error(409, "upload_incomplete", &["3000000 of 4000000"]);
    assert_eq!(answer.json()["offset"], 3_000_000);
    eventually_not_busy(&host, &path(blob, 3_000_000), content[3_000_000..].to_vec()).await.expect(201);
    assert_eq!(missing(&host, [blob]).await, json!([]));
    assert_eq!(std::fs::read_dir(host.store().join("cache/uploads")).expect("it is there").count(), 0);
}

/// What broke off a moment ago may be in the way until the host has noticed.
async fn eventually_not_busy(host: &TestHost, path: &str, body: Vec<u8>) -> Answer {
    eventually("its turn", async || {
        let answer = put(host, path, body.clone()).await;
        (answer.status != 409 || answer.json()["code"] != "upload_busy").then_some(answer)
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_the_blob_is_refused() {
    let host = TestHost::start().await;
    let blob = Blob::of(b"right");
    let answer = put(&host, &path(blob, 0), "wrong").await;
    answer.expect_error(400, "wrong_content", &["sha256 is", "offset=0"]);
    assert_eq!(answer.json()["offset"], 0);
    let answer = put(&host, &path(blob, 0), "right and more").await;
    answer.expect_error(400, "wrong_content", &["more bytes than size_bytes, 5"]);
    assert_eq!(missing(&host, [blob]).await[0]["offset"], 0);
    put(&host, &path(blob, 0), "right").await.expect(201);
    put(&host, &path(Blob::of(b""), 0), "").await.expect(201);
}

#[tokio::test(flavor = "multi_thread")]
async fn names_and_numbers_that_mean_nothing_are_refused() {
    let host = TestHost::start().await;
    let digest = Digest::of(b"x").to_string();
    for name in [
        "..%2f..%2f..%2fetc%2fpasswd",
        "x",
        &digest.to_uppercase(),
        &format!("sha256:{digest}"),
        &format!("{digest}%00"),
        &format!("..%2f{}", &digest[3..]),
    ] {
        let answer = put(&host, &format!("/api/blobs/{name}?size_bytes=1"), "x").await;
        answer.expect_error(400, "invalid_request", &["is not a sha256 digest"]);
        let asked = json!({"blobs": [{"sha256": name, "size_bytes": 1}]}).to_string();
        host.post("/api/blobs/missing", asked).await.expect_error(400, "invalid_request", &["is not a sha256 digest"]);
    }
    for (query, part) in [
        ("", "?size_bytes=N"),
        ("?size_bytes=-1", "must be a number, not '-1'"),
        ("?size_bytes=9223372036854775808", "must be a number"),
        ("?size_bytes=1&offset=-1", "must be a number, not '-1'"),
        ("?size_bytes=1&size=1", "there is no parameter 'size'"),
    ] {
        put(&host, &format!("/api/blobs/{digest}{query}"), "x").await.expect_error(400, "invalid_request", &[part]);
    }
    let largest = put(&host, &format!("/api/blobs/{digest}?size_bytes={}", i64::MAX), "x").await;
    largest.expect_error(413, "too_large", &["uploads.max_bytes"]);
    put(&host, &format!("/api/blobs/{digest}/..?size_bytes=1"), "x").await.expect_error(404, "not_found", &[]);
    host.get(&format!("/api/blobs/{digest}")).await.expect_error(405, "method_not_allowed", &["PUT"]);

    let many: Vec<Value> = (0..501).map(|size| json!({"sha256": digest, "size_bytes": size})).collect();
    for (blobs, part) in [(json!([]), "not 0"), (many.into(), "not 501")] {
        let answer = host.post("/api/blobs/missing", json!({"blobs": blobs}).to_string()).await;
        answer.expect_error(400, "invalid_request", &["must name 1 to 500 blobs", part]);
    }
    let negative = json!({"blobs": [{"sha256": digest, "size_bytes": -1}]}).to_string();
    host.post("/api/blobs/missing", negative).await.expect_error(400, "invalid_request", &["integer `-1`"]);
    assert_eq!(std::fs::read_dir(host.store().join("cache/uploads")).map_or(0, Iterator::count), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_manifest_alone_is_checked_as_one_in_a_bundle() {
    let host = TestHost::start().await;
    let send = async |body: String| {
        let request = host.request(Method::POST, "/api/functions").header("content-type", MANIFEST);
        host.send(request.body(body)).await
    };
    send("{}".into()).await.expect_error(400, "invalid_bundle", &["the manifest is not valid"]);
    let function = Function::new("1");
    let text = String::from_utf8(function.manifest.canonical_json()).expect("JSON");
    send(format!(" {text}")).await.expect_error(400, "invalid_bundle", &["canonical form"]);
    send(text.replace("\"name\":\"hello\"", "\"name\":\"../hello\"")).await.expect_error(
        400,
        "invalid_bundle",
        &["name"],
    );
    send(text.replacen('{', "{\"of_the_future\":1,", 1)).await.expect_error(400, "invalid_bundle", &["of_the_future"]);
    send(" ".repeat(2 << 20)).await.expect_error(413, "too_large", &["1048576 bytes"]);
    // Sizes that nobody has seen make no work.
    let huge = text.replace("\"size\":100000", "\"size\":18446744073709551615");
    send(huge).await.expect_error(409, "blobs_missing", &[]);
    assert_eq!(host.get("/api/functions").await.expect(200), json!({"functions": []}));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_refers_to_is_collected_and_all_else_stays() {
    let host = TestHost::start_with(|config| {
        config.blob_grace = Duration::from_secs(1);
        config.uploads.max_age = Duration::ZERO;
    })
    .await;
    let function = Function::new("1");
    host.deployed(function.bundle.clone()).await;
    host.deployed(model_bundle("gone", "1", &fixture_model("scalar.onnx"))).await;
    host.delete("/api/functions/gone").await.expect(200);
    let (waste, broken) = (vec![1; 1000], vec![2; 1000]);
    put(&host, &path(Blob::of(&waste), 0), waste.clone()).await.expect(201);
    put(&host, &path(Blob::of(&broken), 0), broken[..500].to_vec()).await.expect_error(409, "upload_incomplete", &[]);
    // The component, the model, two assets, the manifest.
    let count = |folder: &str| std::fs::read_dir(host.store().join(folder)).map_or(0, Iterator::count);
    let collected = || (count("blobs/sha256"), count("trash/sha256"), count("cache/uploads")) == (5, 0, 0);
    eventually("all waste is gone", async || collected().then_some(())).await;
    assert_eq!(missing(&host, function.manifest.blobs()).await, json!([]));
    assert_eq!(host.get("/api/functions/hello/versions/1/bundle").await.body, function.bundle);
    // The blob, the deleted function's model and its manifest; counted when the collection is over.
    let counted = async || {
        let metrics = host.get("/metrics").await.text();
        let value = |name: &str| metrics.lines().find_map(|line| line.strip_prefix(name)?.trim().parse::<u64>().ok());
        (value("nocti_collected_blobs_total") == Some(3) && value("nocti_collected_bytes_total") > Some(1000))
            .then_some(())
    };
    eventually("three blobs counted", counted).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_in_the_trash_is_as_good_as_there() {
    let host = TestHost::start().await;
    let function = Function::new("1");
    let trash = || {
        for entry in std::fs::read_dir(host.store().join("blobs/sha256")).expect("it is there") {
            let file = entry.expect("it can be listed");
            std::fs::rename(file.path(), host.store().join("trash/sha256").join(file.file_name()))
                .expect("it is there");
        }
    };
    for (blob, part) in function.manifest.blobs().zip(&function.parts) {
        put(&host, &path(blob, 0), part.clone()).await.expect(201);
    }
    trash();
    assert_eq!(missing(&host, function.manifest.blobs()).await, json!([]));
    trash();
    deploy(&host, &function.manifest).await.expect(201);
    trash();
    assert_eq!(host.get("/functions/hello/").await.status, 200);
    trash();
    assert_eq!(host.get("/api/functions/hello/versions/1/bundle").await.body, function.bundle);
    trash();
    let (_, store) = host.stop().await;
    let host = TestHost::start_over(store, |_| {}).await;
    assert_eq!(host.get("/functions/hello/").await.status, 200, "after a restart");
}
