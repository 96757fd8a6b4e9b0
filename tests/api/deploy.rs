//! `POST /api/functions`: versions, aliases, and bundles that are not what they should be.

use nocti::registry::digest::{Blob, Digest};
use nocti::registry::manifest::{Manifest, Model, ModelOptions};
use nocti::registry::nocti_toml::Project;
use nocti_tests::{Answer, TestHost, bundle, bundle_with, fixture_guest, fixture_model, model_bundle, write};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::{mode, tensor};

const PREAMBLE: &[u8] = b"\0asm\x0d\0\x01\0";

/// Deploys what must be refused, and sees that nothing has come of it.
async fn refused(host: &TestHost, bundle: impl Into<reqwest::Body>, code: &str, parts: &[&str]) -> Answer {
    let before = host.get("/api/functions").await.expect(200);
    let revisions = revisions(host);
    let answer = host.post("/api/functions", bundle).await;
    answer.expect_error(400, code, parts);
    assert_eq!(host.get("/api/functions").await.expect(200), before);
    assert_eq!(self::revisions(host), revisions);
    answer
}

/// The names of everything below the store's `functions`.
fn revisions(host: &TestHost) -> Vec<String> {
    let folder = host.store().join("functions");
    let Ok(functions) = std::fs::read_dir(&folder) else { return Vec::new() };
    let mut found = Vec::new();
    for function in functions {
        let function = function.expect("it can be listed").path();
        for revision in std::fs::read_dir(&function).expect("a function's folder") {
            found.push(revision.expect("it can be listed").path().display().to_string());
        }
    }
    found.sort();
    found
}

fn simple(version: &str) -> Vec<u8> {
    model_bundle("simple", version, &fixture_model("addsub.onnx"))
}

async fn answers(host: &TestHost, path: &str) -> Value {
    let numbers: Vec<i32> = (0..16).collect();
    let input = |name: &str| tensor(name, "INT32", &[1, 16], json!(numbers));
    host.post(path, json!({"inputs": [input("INPUT0"), input("INPUT1")]}).to_string()).await.expect(200)
}

/// A custom section of a component.
fn section(name: &str, content: &[u8]) -> Vec<u8> {
    let mut inner = leb(name.len());
    inner.extend_from_slice(name.as_bytes());
    inner.extend_from_slice(content);
    [vec![0], leb(inner.len()), inner].concat()
}

fn leb(mut number: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    while number >= 0x80 {
        bytes.push(u8::try_from(number & 0x7f).expect("seven bits") | 0x80);
        number >>= 7;
    }
    bytes.push(u8::try_from(number).expect("seven bits"));
    bytes
}

/// A bundle of a manifest that no honest writer would write.
fn forged(manifest: &[u8]) -> Vec<u8> {
    let digest = Digest::of(manifest).to_string();
    [PREAMBLE, &section("nocti.manifest", manifest), &section("nocti.digest", digest.as_bytes())].concat()
}

fn manifest() -> Manifest {
    Manifest::new("forged".parse().expect("a name"), "1".parse().expect("a version"))
}

// === versions and aliases ===

#[tokio::test(flavor = "multi_thread")]
async fn the_same_content_may_be_deployed_again() {
    let host = TestHost::start().await;
    let first = host.post("/api/functions", simple("1.0.0")).await.expect(201);
    let again = host.post("/api/functions", simple("1.0.0")).await.expect(200);
    assert_eq!(first, again);
    assert_eq!(revisions(&host).len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_never_changes() {
    let host = TestHost::start().await;
    host.deployed(simple("1.0.0")).await;
    let other = model_bundle("simple", "1.0.0", &fixture_model("scalar.onnx"));
    let answer = host.post("/api/functions", other).await;
    answer.expect_error(
        409,
        "version_taken",
        &["version '1.0.0' of function 'simple'", "other content", "another version"],
    );
    assert_eq!(revisions(&host).len(), 1);
    answers(&host, "/v2/models/simple/infer").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_version_takes_the_traffic_unless_it_shall_not() {
    let host = TestHost::start().await;
    host.deployed(simple("1")).await;
    let answer = host.post("/api/functions?no_traffic=true", simple("2")).await.expect(201);
    assert_eq!(answer["aliases"], json!({"live": {"1": 100}}));
    assert_eq!(answers(&host, "/v2/models/simple/infer").await["model_version"], "1");
    assert_eq!(answers(&host, "/v2/models/simple/versions/2/infer").await["model_version"], "2");
    // The same again with traffic changes where requests go, and that alone.
    let answer = host.post("/api/functions", simple("2")).await;
    assert_eq!(answer.json()["aliases"], json!({"live": {"2": 100}}));
    assert_eq!(answers(&host, "/v2/models/simple/infer").await["model_version"], "2");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_function_without_traffic_says_so() {
    let host = TestHost::start().await;
    host.post("/api/functions?no_traffic=true", simple("1")).await.expect(201);
    for path in ["/v2/models/simple", "/v2/models/simple/ready", "/v2/models/simple/versions/live"] {
        host.get(path).await.expect_error(404, "no_traffic", &["gets no traffic", "name a version", "has versions 1"]);
    }
    answers(&host, "/v2/models/simple/versions/1/infer").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_alias_than_live_can_point_at_a_version() {
    let host = TestHost::start().await;
    host.deployed(simple("1")).await;
    let answer = host.post("/api/functions?alias=canary", simple("2")).await.expect(201);
    assert_eq!(answer["aliases"], json!({"canary": {"2": 100}, "live": {"1": 100}}));
    assert_eq!(answers(&host, "/v2/models/simple/versions/canary/infer").await["model_version"], "2");
    assert_eq!(answers(&host, "/v2/models/simple/infer").await["model_version"], "1");
    let answer = host.post("/api/functions?alias=1", simple("3")).await;
    answer.expect_error(409, "name_clash", &["'1' cannot be both a version and an alias"]);
    let answer = host.post("/api/functions", simple("canary")).await;
    answer.expect_error(409, "name_clash", &["'canary' cannot be both"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn parameters_that_mean_nothing_are_refused() {
    let host = TestHost::start().await;
    for (query, part) in [
        ("traffic=none", "there is no parameter 'traffic'; there are alias, no_traffic, by, message, revision"),
        ("no_traffic=maybe", "parameter 'no_traffic' must be true or false, not 'maybe'"),
        ("alias=Not%20a%20name", "parameter alias"),
        ("alias=", "parameter alias"),
    ] {
        let answer = host.post(&format!("/api/functions?{query}"), simple("1")).await;
        answer.expect_error(400, "invalid_request", &[part]);
    }
    assert_eq!(revisions(&host), Vec::<String>::new());
}

// === bundles that are none ===

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_bundle_is_told_what_it_is() {
    let host = TestHost::start().await;
    let onnx = std::fs::read(fixture_model("addsub.onnx")).expect("it is there");
    let project = Project::load(&fixture_guest("misbehave")).expect("a project");
    let component = std::fs::read(&project.component.expect("it has one").file.path).expect("it is built");
    let cases: [(Vec<u8>, &[&str]); 9] = [
        (vec![], &["cut off after 0 bytes"]),
        (b"hello".to_vec(), &["not a WebAssembly file", "nocti build"]),
        (onnx, &["not a WebAssembly file", ".onnx", "nocti deploy"]),
        (b"PK\x03\x04zipzipzip".to_vec(), &["not a WebAssembly file"]),
        (b"\0asm\x01\0\0\0".to_vec(), &["core module, not a component", "--target wasm32-wasip2"]),
        (b"\0asm\x02\0\0\0".to_vec(), &["not a Nocti bundle", "version"]),
        (PREAMBLE.to_vec(), &["not a Nocti bundle", "nocti build"]),
        (component, &["not a Nocti bundle", "nocti build"]),
        (vec![0xa5; 100_000], &["not a WebAssembly file"]),
    ];
    for (bundle, parts) in cases {
        refused(&host, bundle, "invalid_bundle", parts).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bundle_cut_off_anywhere_is_refused() {
    let host = TestHost::start().await;
    host.deployed(simple("1.0.0")).await;
    let bundle = bundle_with(&fixture_guest("free"), |project| project.models.truncate(2));
    let last = bundle.len() - 1;
    let places = (0..64).chain((64..last).step_by(last / 40)).chain([last - 1, last]);
    for end in places {
        refused(&host, bundle[..end].to_vec(), "invalid_bundle", &[]).await;
    }
    refused(&host, bundle[..last].to_vec(), "invalid_bundle", &["is cut off after", "inside"]).await;
    answers(&host, "/v2/models/simple/infer").await;
    host.deployed(bundle).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bundle_with_a_changed_byte_is_refused() {
    let host = TestHost::start().await;
    let bundle = bundle_with(&fixture_guest("free"), |project| project.models.truncate(2));
    let last = bundle.len() - 1;
    for at in (0..32).chain((32..last).step_by(last / 60)).chain([last]) {
        let mut damaged = bundle.clone();
        damaged[at] ^= 0x10;
        refused(&host, damaged, "invalid_bundle", &[]).await;
    }
    let mut damaged = bundle.clone();
    damaged[last] ^= 1;
    refused(&host, damaged, "invalid_bundle", &["nocti.asset.", "is damaged: its sha256 should be"]).await;
    let mut longer = bundle.clone();
    longer.extend(section("nocti.asset.more", b"more"));
    refused(&host, longer, "invalid_bundle", &["nocti.asset.more", "the manifest does not list it"]).await;
    let mut longer = bundle;
    longer.extend(section("name", b""));
    refused(&host, longer, "invalid_bundle", &["must come before models and assets"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_manifest_against_the_rules_is_refused_with_all_that_is_wrong() {
    let host = TestHost::start().await;
    let text = |manifest: &Manifest| String::from_utf8(manifest.canonical_json()).expect("JSON is text");
    let good = text(&manifest());
    let mut many = manifest();
    many.limits.memory = 1;
    many.limits.concurrency = 0;
    many.instances.reuse = 0;
    many.network.allow = vec!["https://example.com".parse().expect("a destination"); 65];
    let mut two = manifest();
    let model = |name: &str| Model {
        name: name.parse().expect("a name"),
        blob: Blob::of(b"a model"),
        options: ModelOptions::default(),
    };
    two.models = vec![model("one"), model("other")];
    let mut twice = manifest();
    twice.models = vec![model("one"), model("one")];
    let cases: [(String, &[&str]); 10] = [
        (good.clone(), &["component: ", "exactly one", "0"]),
        (text(&two), &["component: ", "exactly one", "2"]),
        (text(&twice), &["models: 'one' is there twice"]),
        (text(&many), &["limits.memory", "limits.concurrency", "instances.reuse", "network.allow"]),
        (good.replacen('{', "{\"colour\":\"blue\",", 1), &["unknown field `colour`"]),
        (good.replace("\"tags\":[],", ""), &["missing field `tags`"]),
        (good.replace("\"allow\":[]", "\"allow\":[\"example.com\"]"), &["the scheme is missing"]),
        (good.replace("forged", "Not A Name"), &["Not A Name"]),
        (good.replace("forged", "../../etc"), &["../../etc"]),
        ("{".to_owned(), &["manifest is not valid"]),
    ];
    for (manifest, parts) in cases {
        refused(&host, forged(manifest.as_bytes()), "invalid_bundle", parts).await;
    }
    let wrong_digest = [PREAMBLE, &section("nocti.manifest", good.as_bytes()), &section("nocti.digest", &[b'0'; 64])];
    let parts = ["nocti.manifest is damaged: its sha256 should be 0000"];
    refused(&host, wrong_digest.concat(), "invalid_bundle", &parts).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_that_breaks_off_leaves_nothing() {
    let host = TestHost::start().await;
    let bundle = bundle(&fixture_guest("free"));
    let size = bundle.len();
    let head =
        format!("POST /api/functions HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\ncontent-length: {size}\r\n\r\n");
    for sent in [0, 100, size / 2, size - 1] {
        let address = host.url.trim_start_matches("http://");
        let mut stream = tokio::net::TcpStream::connect(address).await.expect("it listens");
        stream.write_all(head.as_bytes()).await.expect("it reads");
        let mut go_on = [0; "HTTP/1.1 100 Continue\r\n\r\n".len()];
        stream.read_exact(&mut go_on).await.expect("it is ready for the bundle");
        stream.write_all(&bundle[..sent]).await.expect("it reads");
        drop(stream);
    }
    // It stops when the last of them is over.
    let (drained, store) = host.stop().await;
    assert!(drained, "each is over when its client has gone");
    let host = TestHost::start_over(store, |_| {}).await;
    assert_eq!(host.get("/api/functions").await.expect(200), json!({"functions": []}));
    assert_eq!(revisions(&host), Vec::<String>::new());
    host.deployed(bundle).await;
}

/// Deploys are streams: the bound on bodies is for requests.
#[tokio::test(flavor = "multi_thread")]
async fn a_bundle_may_be_larger_than_a_requests_body() {
    let host = TestHost::start_with(|config| config.body_bytes = 100).await;
    host.deployed(simple("1")).await;
}

// === components that this host cannot run ===

#[tokio::test(flavor = "multi_thread")]
async fn an_import_that_no_host_has_is_named() {
    let host = TestHost::start().await;
    let bundle = bundle(&fixture_guest("missing-import"));
    refused(&host, bundle, "invalid_component", &["imports", "nocti-test:missing/nothing"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_component_that_is_no_function_is_told_what_one_exports() {
    let host = TestHost::start().await;
    let folder = tempfile::TempDir::new().expect("a temporary folder");
    let file = folder.path().join("other.wasm");
    let with = |content: &[u8]| {
        std::fs::write(&file, content).expect("it can be written");
        bundle_with(&fixture_guest("misbehave"), |project| {
            project.component.as_mut().expect("it has one").file.path = file.clone();
        })
    };
    let parts = ["exports nothing", "nocti:function/predictor", "wasi:http/incoming-handler"];
    refused(&host, with(&[PREAMBLE, &section("name", b"x")].concat()), "invalid_component", &parts).await;
    let nonsense = [PREAMBLE, &[7, 3, 0xff, 0xff, 0xff]].concat();
    refused(&host, with(&nonsense), "invalid_component", &["the component cannot be used"]).await;
}

/// `init` runs with the first request, so such a function can be deployed; what it says then must be clear.
#[tokio::test(flavor = "multi_thread")]
async fn a_function_that_cannot_start_says_why_when_it_is_called() {
    let host = TestHost::start().await;
    let cases: [(&str, u16, &str, &[&str]); 3] = [
        ("error", 503, "unavailable", &["init fails because MISBEHAVE_INIT says so"]),
        ("trap", 502, "function_failed", &["function 'bad-start'", "unreachable"]),
        ("loop", 504, "deadline_exceeded", &["deadline"]),
    ];
    for (init, status, code, parts) in cases {
        let mut project = Project::load(&fixture_guest("bad-start")).expect("a project");
        project.manifest.version = init.parse().expect("a version");
        project.manifest.env.insert("MISBEHAVE_INIT".into(), init.into());
        project.manifest.limits.timeout = std::time::Duration::from_secs(2);
        host.deployed(write(&project)).await;
        for _ in 0..2 {
            let answer = host.infer("bad-start", &mode("echo", json!({}), &[])).await;
            answer.expect_error(status, code, parts);
        }
    }
}
