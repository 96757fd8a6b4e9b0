//! What a function can reach: what its manifest gives it, and nothing else of the machine.

use nocti_tests::{TestHost, bundle_with, fixture_guest};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use super::mode;

/// What a function is told where its files end: no such thing anywhere but in `/assets`, and no way out of there.
const NOTHING: &str = "error: No such file or directory (os error 44)";
const NO_WAY: &str = "error: Operation not permitted (os error 63)";
/// What it is told of every address, of every name, and of every HTTP request.
const NO_CONNECTION: &str = "error: Permission denied (os error 2)";
const NO_NAMES: &str = "error: failed to lookup address information: Non-recoverable error";
const NO_REQUEST: &str = "error: ErrorCode::HttpRequestDenied";

async fn with_assets() -> TestHost {
    let host = TestHost::start().await;
    host.deployed(bundle_with(&fixture_guest("free"), |project| project.models.clear())).await;
    host
}

/// What the guest tells of its attempt.
async fn attempt(host: &TestHost, behaviour: &str, parameters: Value) -> String {
    let answer = host.infer("free", &mode(behaviour, parameters, &[])).await.expect(200);
    answer["outputs"][0]["data"][0].as_str().expect("text").to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_environment_is_the_manifests_alone() {
    let host = TestHost::start().await;
    host.deployed(bundle_with(&fixture_guest("free"), |project| {
        project.models.clear();
        project.manifest.env.insert("LABELS".into(), "en = é".into());
        project.manifest.env.insert("EMPTY".into(), String::new());
    }))
    .await;
    assert_eq!(attempt(&host, "read-env", json!({})).await, "EMPTY=\nLABELS=en = é\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_configuration_is_the_manifests_environment_alone() {
    let host = TestHost::start().await;
    host.deployed(bundle_with(&fixture_guest("free"), |project| {
        project.models.clear();
        project.manifest.env.insert("LABELS".into(), "en = é".into());
        project.manifest.env.insert("EMPTY".into(), String::new());
    }))
    .await;
    assert_eq!(attempt(&host, "read-config", json!({})).await, "EMPTY=\nLABELS=en = é\n");
    for (key, value) in
        [("LABELS", "Some(\"en = é\")"), ("EMPTY", "Some(\"\")"), ("labels", "None"), ("PATH", "None"), ("", "None")]
    {
        assert_eq!(attempt(&host, "read-config", json!({"key": key})).await, value, "{key}");
    }
    host.deployed(bundle_with(&fixture_guest("free"), |project| {
        project.models.clear();
        project.manifest.version = "2.0.0".parse().expect("a version");
    }))
    .await;
    assert_eq!(attempt(&host, "read-config", json!({})).await, "", "another version has its own, or none");
}

#[tokio::test(flavor = "multi_thread")]
async fn assets_can_be_read() {
    let host = with_assets().await;
    assert_eq!(attempt(&host, "list-files", json!({"path": "/assets"})).await, "README.md\nfolder");
    let nested = std::fs::read_to_string(fixture_guest("free").join("nested.txt")).expect("it is there");
    assert_eq!(attempt(&host, "read-file", json!({"path": "/assets/folder/nested.txt"})).await, nested);
    let up_and_down = json!({"path": "/assets/folder/../folder/nested.txt"});
    assert_eq!(attempt(&host, "read-file", up_and_down).await, nested);
}

/// Where a function might look for more than it has, and what it is told.
fn outside(host: &TestHost) -> Vec<(String, &'static str)> {
    let store = host.store().display().to_string();
    let paths = [
        ("/", NOTHING),
        ("..", NOTHING),
        ("/etc/passwd", NOTHING),
        ("../etc/passwd", NOTHING),
        ("/proc/self/environ", NOTHING),
        (&store, NOTHING),
        ("/assets//etc/passwd", NOTHING),
        ("/assets/..", NO_WAY),
        ("/assets/../..", NO_WAY),
        ("/assets/../etc/passwd", NO_WAY),
        ("/assets/../../../../../../etc/passwd", NO_WAY),
        ("/assets/folder/../../../../../../../../etc/passwd", NO_WAY),
        ("/assets/./../../../../../../../etc/passwd", NO_WAY),
    ];
    paths.map(|(path, told)| (path.to_owned(), told)).to_vec()
}

#[tokio::test(flavor = "multi_thread")]
async fn no_file_outside_the_assets_can_be_read() {
    let host = with_assets().await;
    for (path, refusal) in outside(&host) {
        for behaviour in ["read-file", "list-files"] {
            assert_eq!(attempt(&host, behaviour, json!({"path": path})).await, refusal, "{behaviour} {path}");
        }
    }
}

/// A link can only come there by somebody of the machine, and even then it leads nowhere.
#[tokio::test(flavor = "multi_thread")]
async fn a_link_out_of_the_assets_leads_nowhere() {
    let host = with_assets().await;
    attempt(&host, "list-files", json!({"path": "/assets"})).await;
    let mut entries = std::fs::read_dir(host.store().join("cache/assets")).expect("assets are unpacked here");
    let folder = entries.next().expect("the function's").expect("it can be listed").path().join("assets");
    let secret = host.store().join("secret");
    std::fs::write(&secret, "secret").expect("it can be written");
    for (name, target) in
        [("absolute", secret.as_path()), ("relative", "../../../../secret".as_ref()), ("up", "..".as_ref())]
    {
        std::os::unix::fs::symlink(target, folder.join(name)).expect("the assets are unpacked here");
    }
    for path in ["/assets/absolute", "/assets/relative", "/assets/up", "/assets/up/up", "/assets/folder/../relative"] {
        for behaviour in ["read-file", "list-files"] {
            let told = attempt(&host, behaviour, json!({"path": path})).await;
            assert_eq!(told, NO_WAY, "{behaviour} {path}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_can_be_written() {
    let host = with_assets().await;
    let before = attempt(&host, "read-file", json!({"path": "/assets/README.md"})).await;
    for (path, refusal) in [
        ("/assets/new", NO_WAY),
        ("/assets/README.md", NO_WAY),
        ("/assets/folder/new", NO_WAY),
        ("/new", NOTHING),
        ("/tmp/new", NOTHING),
        ("new", NOTHING),
    ] {
        assert_eq!(attempt(&host, "write-file", json!({"path": path})).await, refusal, "{path}");
    }
    assert_eq!(attempt(&host, "read-file", json!({"path": "/assets/README.md"})).await, before);
    assert_eq!(attempt(&host, "list-files", json!({"path": "/assets"})).await, "README.md\nfolder");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_function_without_assets_has_no_files_at_all() {
    let host = TestHost::start().await;
    host.deployed(bundle_with(&fixture_guest("free"), |project| {
        project.models.clear();
        project.assets.clear();
    }))
    .await;
    for path in ["/", "/assets", ".", "/etc/passwd"] {
        for behaviour in ["list-files", "read-file", "write-file"] {
            let told = attempt(&host, behaviour, json!({"path": path})).await;
            assert_eq!(told, NOTHING, "{behaviour} {path}");
        }
    }
}

/// Somebody listens, so that a refusal is the host's.
async fn listener() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("it is bound").to_string();
    (listener, address)
}

/// Where a function might try to reach, and what it is told when it connects.
fn reach<'a>(own: &'a str, listener: &'a str) -> [(&'a str, &'static str); 4] {
    [(own, NO_CONNECTION), (listener, NO_CONNECTION), ("localhost:80", NO_NAMES), ("example.com:80", NO_NAMES)]
}

async fn assert_untouched(listener: &TcpListener) {
    let accepted =
        std::future::poll_fn(|context| std::task::Poll::Ready(listener.poll_accept(context).is_ready())).await;
    assert!(!accepted, "somebody came");
}

#[tokio::test(flavor = "multi_thread")]
async fn there_is_no_network() {
    let host = with_assets().await;
    let (listener, address) = listener().await;
    let own = host.url.trim_start_matches("http://").to_owned();
    for (address, refusal) in reach(&own, &address) {
        assert_eq!(attempt(&host, "connect", json!({"address": address})).await, refusal, "{address}");
        assert_eq!(attempt(&host, "http-get", json!({"authority": address})).await, NO_REQUEST, "{address}");
    }
    assert_untouched(&listener).await;
}

/// The same for functions that speak HTTP: what `misbehave-http` tells of its attempt.
async fn http_attempt(host: &TestHost, path_and_query: &str) -> String {
    let answer = host.get(&format!("/functions/misbehave-http{path_and_query}")).await;
    assert_eq!(answer.status, 200, "{path_and_query}: {}", answer.text());
    answer.text()
}

#[tokio::test(flavor = "multi_thread")]
async fn http_functions_read_their_assets_and_nothing_else() {
    let host = TestHost::start().await;
    host.deploy(&fixture_guest("misbehave-http")).await.expect(201);
    let readme = std::fs::read_to_string(fixture_guest("README.md")).expect("it is there");
    assert_eq!(http_attempt(&host, "/read?path=/assets").await, "README.md\nfolder");
    assert_eq!(http_attempt(&host, "/read?path=/assets/README.md").await, readme);
    for (path, refusal) in outside(&host) {
        assert_eq!(http_attempt(&host, &format!("/read?path={path}")).await, refusal, "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn http_functions_have_no_network() {
    let host = TestHost::start().await;
    host.deploy(&fixture_guest("misbehave-http")).await.expect(201);
    let own = host.url.trim_start_matches("http://").to_owned();
    let (listener, address) = listener().await;
    for (address, refusal) in reach(&own, &address) {
        assert_eq!(http_attempt(&host, &format!("/connect?address={address}")).await, refusal, "{address}");
        assert_eq!(http_attempt(&host, &format!("/get?authority={address}")).await, NO_REQUEST, "{address}");
    }
    assert_untouched(&listener).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn http_functions_have_the_memory_of_the_manifest() {
    let host = TestHost::start().await;
    host.deployed(bundle_with(&fixture_guest("misbehave-http"), |project| project.manifest.limits.memory = 16 << 20))
        .await;
    assert_eq!(http_attempt(&host, "/count").await, "1");
    let answer = host.get("/functions/misbehave-http/exhaust").await;
    answer.expect_error(502, "function_failed", &["function 'misbehave-http'", "limits.memory", "16777216 bytes"]);
    assert_eq!(http_attempt(&host, "/count").await, "1", "a new instance");
}
